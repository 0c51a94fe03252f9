"""Runs the integration tier: pytest in test hosts, several of them side by side.

A file of tests is a unit of work. Each worker has its own host, instance "testsN", and takes file after file, the
longest first. A file that needs more processors than a host has by default says so in a line `HOST_CPUS = N`; all such
files are one unit, so that only one worker has to boot a host for them and another one afterwards. A file with a line
`HOST_REBOOTS = True` has its host rebooted before those of its tests that have "after_reboot" in their names.

A host may be lost: it is an emulator, and inside it KVM's guests are emulated too. Then a fresh one takes the rest of
the file. For the same reason a few failed tests get a second try, in fresh hosts; both outcomes are printed.

At the end durations.txt says how long hosts, files and tests took, and its first lines are printed.

When the run is interrupted its hosts are stopped. To a worker that looks like a lost host, so `ending` is set first.
"""
import collections
import contextlib
import dataclasses
import os
import queue
import re
import shlex
import signal
import subprocess
import threading
import time

AGAIN_MAX = 6  # more failures than this are no coincidence
HOSTS_MAX = 3  # for one file of tests
WORKERS_MAX = 4  # each takes 4 GiB of memory
ENDING_MAX = 30  # seconds for workers to notice an interrupt
SSH_LOST = 255  # ssh's exit status when its connection breaks
SLOW = ("test_adopt.py", "test_storage.py", "test_boot.py", "test_machine.py", "test_ends.py", "test_disk.py",
        "test_autostart.py", "test_console.py", "test_network.py", "test_logs.py")  # by durations.txt, longest first
SLOWEST_SHOWN = 10  # files and tests that are printed
DIRECTORY = "/root/tests/integration"
PYTEST_OPTIONS = ("-v", "--color=no", "-p", "no:cacheprovider", "--durations=0", "--durations-min=0.05")
JOURNAL = ("journalctl --no-pager -o short-monotonic"
           " -u 'virtmicrod*' -u 'machine-*.scope' -t virtmicrod -t virtmicro-vmm")

Unit = collections.namedtuple("Unit", "name arguments cpus reboots")


class Journal:
    """Output to terminal and log, from several threads."""

    def __init__(self, path, say):
        self.lock = threading.Lock()
        self.file = path.open("w")
        self.say_line = say

    def say(self, text):
        with self.lock:
            self.say_line(text)
            print(text, file=self.file, flush=True)

    def block(self, lines):
        with self.lock:
            text = "\n".join(lines)
            print(text, flush=True)
            print(text, file=self.file, flush=True)


class Host:
    """One instance of the test host."""

    def __init__(self, script, name, out, ending):
        self.script = str(script)
        self.name = name
        self.out = out
        self.ending = ending  # set once no host may be started
        self.starter = None  # the process that starts it
        self.cpus = None  # given at its start; None: the default
        self.is_up = False
        self.durations = []  # as pytest reports them: (test, phase, seconds)
        self.spans = []  # (what it was busy with, seconds)

    def environment(self):
        settings = {"VIRTMICRO_HOST": self.name, **({"VIRTMICRO_SMP": str(self.cpus)} if self.cpus else {})}
        return {**os.environ, **settings}

    def command(self, *words):
        return subprocess.run([self.script, *words], env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", check=False)

    def start(self, cpus):
        self.stop()
        self.cpus = cpus
        start = time.monotonic()
        self.is_up = all(self.step(word) for word in ("start", "deploy"))
        self.spans.append(("(host start)", time.monotonic() - start))
        return self.is_up

    def step(self, word):
        """Runs a command that an interrupt may cut short, in its own process group."""
        if self.ending.is_set():
            return False
        self.starter = self.popen(word, start_new_session=True)
        output = self.starter.communicate()[0]
        if self.starter.returncode and not self.ending.is_set():
            self.out.block([f"{self.name}: {word} failed", *output.splitlines()[-40:]])
        return self.starter.returncode == 0

    def stop(self):
        self.command("stop")
        self.is_up = False

    def abort(self):
        """Called by another thread, with `ending` set."""
        starter = self.starter
        if starter and starter.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(starter.pid, signal.SIGTERM)
        self.command("stop")

    def fits(self, cpus):
        return self.is_up and self.cpus == cpus

    def console(self):
        """The end of its kernel's log."""
        return self.command("logs").stdout.splitlines()[-40:]

    def journal(self):
        return self.command("sh", JOURNAL).stdout.splitlines()

    def is_emulated(self):
        return self.command("sh", "systemd-detect-virt").stdout.strip() == "qemu"

    def popen(self, *words, **kwargs):
        return subprocess.Popen([self.script, *words], env=self.environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **kwargs)


def verdict_of(line):
    """Parses a line of pytest -v: the test's name and verdict."""
    match = re.match(r"(test_\w+\.py::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", line)
    if not match:
        return None
    return match[1], {"PASSED": "passed", "SKIPPED": "skipped"}.get(match[2], "failed")


def duration_of(line):
    """Parses a line of pytest's list of durations: the test's name, the phase and its seconds."""
    match = re.match(r"([0-9.]+)s (setup|call|teardown) +(test_\w+\.py::.+)", line)
    return (match[3], match[2], float(match[1])) if match else None


def run_pytest(host, arguments, verdicts):
    """Runs pytest in a host and adds its verdicts. A test whose teardown breaks has two: the worse one counts."""
    process = host.popen("sh", f"cd {DIRECTORY} && pytest {shlex.join([*PYTEST_OPTIONS, *arguments])}")
    report, failed = [], False
    for line in map(str.rstrip, process.stdout):
        took = duration_of(line)
        if took:
            host.durations.append(took)
            continue
        told = verdict_of(line)
        if not told:
            report.append(line)
            continue
        host.out.say(f"{told[0]} {told[1]}" if told[1] == "passed" else f"{told[0]} {told[1].upper()}")
        failed = failed or told[1] == "failed"
        if verdicts.get(told[0]) != "failed":
            verdicts[told[0]] = told[1]
    status = process.wait()
    if failed or status not in (0, 5):  # 5: nothing was selected
        host.out.block(report)
    return status, failed


def run_around_reboot(host, unit, verdicts):
    """Results from before the reboot do not carry over to another host, so the first part is always run in full."""
    verdicts.clear()
    status, failed = run_pytest(host, [*unit.arguments, "-k", "not after_reboot"], verdicts)
    if status:
        return status, failed
    if not host.step("reboot"):
        return SSH_LOST, False
    return run_pytest(host, [*unit.arguments, "-k", "after_reboot"], verdicts)


def run_unit(host, unit):
    """Runs one unit of work, in another host if one is lost. Returns verdicts by test."""
    verdicts = {}
    for _ in range(HOSTS_MAX):
        if not host.fits(unit.cpus) and not host.start(unit.cpus):
            break
        if unit.reboots:
            status, failed = run_around_reboot(host, unit, verdicts)
        else:
            done = [word for name in verdicts for word in ("--deselect", name)]
            status, failed = run_pytest(host, [*unit.arguments, *done], verdicts)
        if status in (0, 5) or (status == 1 and failed):
            return verdicts
        if status != SSH_LOST or host.ending.is_set():
            break
        host.out.say(f"{host.name}: lost in {unit.name}; the end of its console:")
        host.out.block(host.console())
        host.is_up = False
    return {**verdicts, f"{unit.name}: pytest or its host broke": "failed"}


@dataclasses.dataclass
class Tier:
    """What the workers share."""
    top: object
    out: Journal
    verdicts: dict = dataclasses.field(default_factory=dict)
    journals: dict = dataclasses.field(default_factory=dict)  # of the hosts, by name
    durations: list = dataclasses.field(default_factory=list)  # of tests: (name, phase, seconds)
    spans: list = dataclasses.field(default_factory=list)  # of hosts: (host, what it was busy with, seconds)
    emulated: bool = False
    ending: threading.Event = dataclasses.field(default_factory=threading.Event)

    def work(self, host, units):
        """Runs units until none is left."""
        with contextlib.suppress(queue.Empty):
            while not self.ending.is_set():
                unit = units.get_nowait()
                self.verdicts[unit.name] = "failed"  # unless it completes
                start = time.monotonic()
                self.verdicts.update(run_unit(host, unit))
                host.spans.append((unit.name, time.monotonic() - start))
                del self.verdicts[unit.name]
        if host.is_up and not self.ending.is_set():
            self.emulated = self.emulated or host.is_emulated()
            self.journals[host.name] = host.journal()

    def run(self, units):
        """Runs units of work in as many hosts as this machine can carry."""
        waiting = queue.SimpleQueue()
        for unit in units:
            waiting.put(unit)
        count = min(os.cpu_count(), WORKERS_MAX, len(units))
        script = self.top / "tests" / "host" / "host.sh"
        hosts = [Host(script, f"tests{number + 1}", self.out, self.ending) for number in range(count)]
        threads = [threading.Thread(target=self.work, args=(host, waiting), daemon=True) for host in hosts]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # SIGINT, and SIGTERM, of which tests/run-tests makes a SystemExit
            self.interrupt(hosts, threads)
            raise
        for host in hosts:
            host.stop()
            self.durations += host.durations
            self.spans += [(host.name, *span) for span in host.spans]

    def interrupt(self, hosts, threads):
        """Stops everything; further signals are ignored meanwhile."""
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
        self.ending.set()
        self.out.say("interrupted: stopping the hosts")
        deadline = time.monotonic() + ENDING_MAX
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            for host in hosts:
                host.abort()
            for thread in threads:
                thread.join(timeout=1)
        for host in hosts:
            host.abort()

    def failed(self):
        return [name for name, verdict in self.verdicts.items() if verdict == "failed"]

    def tell_journals(self):
        for name, lines in sorted(self.journals.items()):
            self.out.block([f"the journal of host {name}, its end:", *lines[-60:]])

    def try_again(self):
        again = [name for name in self.failed() if "::" in name]
        if not again or len(again) < len(self.failed()) or len(again) > AGAIN_MAX or not self.emulated:
            return
        self.out.say(f"{len(again)} failed under the emulator and are tried once more: {', '.join(again)}")
        files = {}
        for name in again:
            files.setdefault(name.partition("::")[0], []).append(name)
        self.run([unit_of(self.top, file, names) for file, names in files.items()])


def text_of(top, file):
    return (top / "tests" / "integration" / file).read_text()


def unit_of(top, file, arguments):
    text = text_of(top, file)
    cpus = re.search(r"^HOST_CPUS = (\d+)", text, re.MULTILINE)
    reboots = re.search(r"^HOST_REBOOTS = True", text, re.MULTILINE) is not None
    return Unit(file, [file] if reboots else arguments, int(cpus[1]) if cpus else None, reboots)


def units_of(top, only):
    files = sorted(path.name for path in (top / "tests" / "integration").glob("test_*.py"))
    arguments = []
    if only:
        named = re.compile(rf"def test_\w*{re.escape(only)}", re.IGNORECASE)
        files = [file for file in files if only.lower() in file or named.search(text_of(top, file))]
        arguments = ["-k", only]
    units = merge_by_cpus([unit_of(top, file, [file, *arguments]) for file in files])
    # The ones for another host come first, so that a worker changes its host only once.
    rank = {name: number for number, name in enumerate(SLOW)}
    return sorted(units, key=lambda unit: (-(unit.cpus or 0), rank.get(unit.name, len(SLOW))))


def merge_by_cpus(units):
    """One unit of all that want the same number of processors. pytest takes options between its files."""
    merged = [unit for unit in units if not unit.cpus]
    for cpus in sorted({unit.cpus for unit in units if unit.cpus}):
        alike = [unit for unit in units if unit.cpus == cpus]
        assert not any(unit.reboots for unit in alike)
        name = " ".join(unit.name for unit in alike)
        merged.append(Unit(name, [word for unit in alike for word in unit.arguments], cpus, False))
    return merged


def file_table(tier):
    """How long each host needed to start, and each file to run in it, the longest first."""
    yield "seconds  host: file"
    for host, what, seconds in sorted(tier.spans, key=lambda span: -span[2]):
        yield f"{seconds:7.1f}  {host}: {what}"


def test_table(tier):
    """How long each test took and its fixtures, the longest first."""
    phases = collections.defaultdict(collections.Counter)
    for test, phase, seconds in tier.durations:
        phases[test][phase] += seconds
    yield "seconds    setup     call teardown  test"
    for test, took in sorted(phases.items(), key=lambda item: -item[1].total()):
        parts = " ".join(f"{took[phase]:8.1f}" for phase in ("setup", "call", "teardown"))
        yield f"{took.total():7.1f} {parts}  {test}"


def run(top, logs, only, say):
    """Runs the tests with `only` in their names, or all. Returns verdicts by test."""
    start = time.monotonic()
    tier = Tier(top, Journal(logs / "integration.log", say))
    tier.run(units_of(top, only))
    if tier.failed():
        tier.tell_journals()
        tier.try_again()
        tier.tell_journals()
    tables = list(file_table(tier)), list(test_table(tier))
    (logs / "durations.txt").write_text("".join(f"{line}\n" for table in tables for line in table))
    tier.out.block([line for table in tables for line in table[:1 + SLOWEST_SHOWN]])
    tier.out.say(f"integration: took {time.monotonic() - start:.0f} s")
    return tier.verdicts
