"""Shared by the integration tests: stock virsh, consoles, domains, and what the system shows of them.

Timeouts are generous: under an emulator inside an emulator a guest may take a minute to boot.
"""
import contextlib
import itertools
import json
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import termios
import time
import uuid
from xml.sax.saxutils import quoteattr

import shell

URI = "micro:///system"
GUESTS = pathlib.Path("/var/lib/virtmicro-tests")
STATE = pathlib.Path("/run/libvirt/micro")
VMM = "/usr/libexec/virtmicro-vmm"
PROMPT = r"guest# "
BOOT = 300  # seconds from start to prompt
STOCK_CMDLINE = "console=ttyS0 quiet"  # each character that a kernel prints costs two exits
# Skips what is slow on an emulated processor and concerns no test: mitigations, self-tests, collecting entropy, and
# comparing clocks, for which two virtual processors take turns on a single emulated one.
FAST = ("quiet mitigations=off init_on_alloc=0 cryptomgr.notests tsc=reliable"
        " initcall_blacklist=jent_mod_init,crypto_kdf108_init,init_encrypted")
CMDLINE = f"console=ttyS0 {FAST}"
CALL = 60  # seconds for one client command


class CommandError(Exception):
    """A command failed; stderr is what the user would have seen."""

    def __init__(self, result):
        super().__init__(f"{' '.join(result.args)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        self.returncode = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr


def run(*args, check=True, timeout=CALL, **kwargs):
    """Runs a command and returns its result with text output."""
    result = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=timeout, check=False,
                            stdin=kwargs.pop("stdin", subprocess.DEVNULL) if "input" not in kwargs else None, **kwargs)
    if check and result.returncode:
        raise CommandError(result)
    return result


def virsh(*args, check=True, uri=URI, readonly=False, timeout=CALL):
    """Returns what `virsh ARGS` prints; with check=False, errors included."""
    args = [str(arg) for arg in args]
    options = ("-c", uri, "-r") if readonly else ("-c", uri)
    if shell.is_fit(args):
        result = shell.run(options, args, timeout)
    else:
        result = run("virsh", "-q", *options, *args, check=False, timeout=timeout)
    if check and result.returncode:
        raise CommandError(result)
    return result.stdout if check else result.stdout + result.stderr


def wait_for(predicate, timeout=CALL, interval=0.2, what=None):
    """Waits until predicate() is true, and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what or getattr(predicate, '__name__', predicate)}")
        time.sleep(interval)


class Console:
    """A program on its own terminal, by default `virsh console`, driven as with expect."""

    def __init__(self, domain, *options, uri=URI, command=None):
        self.buffer = ""
        self.log = ""
        master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        command = command or ["virsh", "-q", "-c", uri, "console", str(domain), *options]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.master = master

    def _read(self, timeout):
        ready, _, _ = select.select([self.master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536).decode(errors="replace")
        except OSError:  # nobody has the other side open
            return False
        self.buffer += data
        self.log += data
        return bool(data)

    def expect(self, pattern, timeout=BOOT):
        """Waits for pattern and consumes the output up to its end. Returns the match."""
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        while True:
            text = re.sub(r"\r|\x1b\[[0-9;?]*[A-Za-z]", "", self.buffer)
            match = expression.search(text)
            if match:
                self.buffer = text[match.end():]
                return match
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._read(min(1.0, remaining)):
                raise TimeoutError(f"console: {pattern!r} did not come; the last of it:\n{self.log[-2000:]}")

    def send(self, text):
        os.write(self.master, text.encode())

    def prompt(self, timeout=BOOT):
        """Waits for a shell prompt, asking for a new one: the first may have been printed before we attached.

        Input is lost until virsh has set up the terminal, so it asks repeatedly, quickly at first.
        """
        deadline = time.monotonic() + timeout
        for pause in itertools.chain((1, 1), itertools.repeat(5)):
            self.send("\n")
            try:
                self.expect(PROMPT, timeout=pause)
                return
            except TimeoutError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise

    def command(self, line, timeout=CALL, check=True):
        """Runs a line in the guest's shell and returns what it prints."""
        mark = uuid.uuid4().hex[:12]
        split = f"{mark[:6]}''{mark[6:]}"  # keeps the terminal's echo of our line from matching
        self.send(f"echo {split}; {line}; echo {split} $?\n")
        match = self.expect(rf"(?s){mark}\n(.*?){mark} (\d+)\n", timeout)
        self.expect(PROMPT, timeout)
        if check and match[2] != "0":
            raise AssertionError(f"in the guest: {line}: status {match[2]}\n{match[1]}")
        return match[1]

    def close(self):
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.send("\x1d")  # virsh's escape
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.master)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# Domains


class Kernel:
    """One of the stock kernels, with its initramfs; by default as an ELF file, which need not unpack itself."""

    def __init__(self, version, image=None):
        self.version = version
        self.kernel = GUESTS / (image or f"vmlinux-{version}")
        self.initrd = GUESTS / f"initrd-{version}.img"

    def __repr__(self):
        return self.kernel.name


class CodeKernel(Kernel):
    """A kernel of a few instructions; its initramfs, which it never reads, is the same file."""

    def __init__(self, name, code):
        super().__init__("none", name)
        self.initrd = self.kernel
        self.code = code

    def write(self):
        start, code = 0x1000000, self.code.ljust(64, b"\xf4")
        header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 1, 7, 120, start, start, len(code), len(code), 4096)
        self.kernel.write_bytes(header + segment + code)


# For domains whose guest does not matter: it halts with interrupts disabled and takes no time from the tests.
HALTING = CodeKernel("halting", b"\xf4\xeb\xfd")  # hlt; jmp to it
SPINNING = CodeKernel("spinning", b"\xeb\xfe")  # jmp to itself


def disk_xml(path, target="vda", readonly=False, form="raw", extra=""):
    kind, source = ("block", "dev") if str(path).startswith("/dev/") else ("file", "file")
    return (f"<disk type='{kind}' device='disk'><driver name='qemu' type='{form}'/>"
            f"<source {source}={quoteattr(str(path))}/><target dev='{target}' bus='virtio'/>"
            f"{'<readonly/>' if readonly else ''}{extra}</disk>")


def interface_xml(bridge=None, network=None, mac=None, target=None, extra=""):
    kind, source = ("bridge", bridge) if bridge else ("network", network)
    return (f"<interface type='{kind}'><source {kind}={quoteattr(source)}/><model type='virtio'/>"
            + (f"<mac address='{mac}'/>" if mac else "")
            + (f"<target dev='{target}'/>" if target else "") + extra + "</interface>")


def domain_xml(name, kernel, cmdline=CMDLINE, memory=128, vcpus=1, devices="", extra="", console=True, uid=None):
    """Domain XML as an operator writes it. memory is in MiB; extra is placed beside <devices>."""
    serial = "<serial type='pty'/><console type='pty'/>" if console else ""
    return (f"<domain type='kvm'><name>{name}</name>" + (f"<uuid>{uid}</uuid>" if uid else "")
            + f"<memory unit='MiB'>{memory}</memory><vcpu>{vcpus}</vcpu>"
            f"<os><type arch='x86_64'>hvm</type><kernel>{kernel.kernel}</kernel><initrd>{kernel.initrd}</initrd>"
            f"<cmdline>{cmdline}</cmdline></os>{extra}<devices>{serial}{devices}</devices></domain>")


class Domain:
    """A domain by name, with the virsh commands that tests use most often."""

    def __init__(self, name, uri=URI):
        self.name = name
        self.uri = uri

    def virsh(self, command, *args, **kwargs):
        return virsh(command, self.name, *args, uri=self.uri, **kwargs)

    def start(self, *options):
        self.virsh("start", *options, timeout=CALL)

    def console(self, *options):
        return Console(self.name, *options, uri=self.uri)

    def state(self):
        return self.virsh("domstate").strip()

    def wait_state(self, state, timeout=CALL):
        wait_for(lambda: self.state() == state, timeout, what=f"{self.name} is {state}")

    def boot(self):
        """Starts the domain and returns its console at a prompt."""
        self.start()
        console = self.console()
        console.prompt()
        return console

    def xml(self, *options):
        return self.virsh("dumpxml", *options)

    def id(self):
        return int(self.virsh("domid").strip())

    def exists(self):
        return not self.virsh("domuuid", check=False).startswith("error:")

    def remove(self):
        virsh("destroy", self.name, check=False, uri=self.uri)
        virsh("undefine", self.name, "--managed-save", check=False, uri=self.uri)


# What the system shows


def unit_escape(text):
    return "".join(char if re.match(r"[0-9A-Za-z:_.]", char) else f"\\x{ord(char):02x}" for char in text)


def scope_of(domain):
    """Name of the scope unit of a running domain."""
    return f"machine-{unit_escape(f'micro-{domain.id()}-{domain.name}')}.scope"


def unit_property(unit, name):
    return run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def cgroup_of(domain):
    return pathlib.Path("/sys/fs/cgroup" + unit_property(scope_of(domain), "ControlGroup"))


def processes_of(domain):
    """PIDs in the domain's scope, including its inner groups."""
    files = cgroup_of(domain).rglob("cgroup.procs")
    pids = set()
    for file in files:
        with contextlib.suppress(OSError):  # a threaded group lists none
            pids.update(int(word) for word in file.read_text().split())
    return sorted(pids)


def monitor_of(domain):
    """PID of a running domain's monitor. The scope also holds kernel threads of KVM and vhost."""
    (pid,) = set(processes_of(domain)) & monitors()
    return pid


def machines():
    return [machine["machine"] for machine in json.loads(run("machinectl", "list", "-o", "json").stdout or "[]")]


def daemon_pid():
    return int(unit_property("virtmicrod.service", "MainPID"))


def journal_cursor():
    """A position in the journal, for journal(since=…). A true cursor would hide the first match after it."""
    return f"@{time.time():.6f}"


def journal(since=None, unit=None, matches=()):
    """Journal entries, as dictionaries."""
    command = ["journalctl", "-o", "json", "--no-pager"]
    if since:
        command.append(f"--since={since}")
    if unit:
        command += ["-u", unit]
    return [json.loads(line) for line in run(*command, *matches).stdout.splitlines()]


def links():
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "link", "show").stdout)}


def taps():
    return {name for name, link in links().items() if link.get("linkinfo", {}).get("info_kind") == "tun"}


def ports_of(network):
    """UUIDs of a libvirt network's ports, as listed by libvirt's own driver."""
    return set(run("virsh", "net-port-list", network, "--uuid").stdout.split())


def scopes():
    listed = run("systemctl", "list-units", "--plain", "--no-legend", "--all", "machine-micro*.scope").stdout
    return {line.split()[0] for line in listed.splitlines() if line}


def descriptors(pid):
    """What a process has open, with inode numbers left out."""
    found = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(re.sub(r"\[\d+\]", "[]", os.readlink(entry)))
    return sorted(found)


def monitors():
    """PIDs of all monitor processes."""
    found = set()
    for entry in pathlib.Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            # It has other mounts, so only the file's name is reliable.
            if os.path.basename(os.readlink(entry)).removesuffix(" (deleted)") == os.path.basename(VMM):
                found.add(int(entry.parent.name))
    return found


def state_files():
    return {str(path.relative_to(STATE)) for path in STATE.rglob("*")} if STATE.exists() else set()


def resources():
    """Everything that a domain takes from the system; equal before its start and after its end."""
    return {"taps": taps(), "scopes": scopes(), "monitors": monitors(), "machines": set(machines()),
            "files": state_files()}


@contextlib.contextmanager
def nothing_left(timeout=CALL):
    """Fails when the block leaves behind a TAP, scope, process, machine, file, or descriptor of the daemon."""
    virsh("list")  # starts the daemon
    before, count = resources(), len(descriptors(daemon_pid()))
    yield
    wait_for(lambda: resources() == before, timeout, what=f"resources are as before: {before}")
    wait_for(lambda: len(descriptors(daemon_pid())) <= count, timeout, what=f"the daemon has {count} descriptors")
