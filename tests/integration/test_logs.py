"""Guests' output in files: <log> of a console, type='file', rotation, and restarts of the daemon."""
import os
import pathlib
import re
import stat
import types

import pytest

import helpers
from test_adopt import kill_daemon

CONF = pathlib.Path("/etc/libvirt/virtmicrod.conf")
MAX_SIZE, BACKUPS = 2097152, 3
SMALL_SIZE = 4096  # a guest prints about a KiB a second in the test host


@pytest.fixture
def directory():
    """A fresh directory for logs, where the daemon may write."""
    path = pathlib.Path(f"/var/log/virtmicro-tests-{os.getpid()}")
    path.mkdir()
    yield path
    helpers.run("rm", "-rf", path)


@pytest.fixture(scope="module")
def guest(no_module_leaks, make_module_domain):
    """A booted guest, and its logs, named after the guest's terminals.

    hvc1's log is on a file system of 64 KiB; hvc3 goes to a file and a log.
    """
    path = pathlib.Path(f"/var/log/virtmicro-tests-{os.getpid()}-guest")
    logs = types.SimpleNamespace(ttyS0=path / "ttyS0", hvc0=path / "hvc0", small=path / "small", hvc1=path / "small" / "hvc1",
                                 hvc2=path / "hvc2", hvc3=path / "hvc3", output=path / "output")
    logs.small.mkdir(parents=True)
    helpers.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", logs.small)
    consoles = (("pty", logs.hvc0, ""), ("pty", logs.hvc1, ""), ("null", logs.hvc2, ""),
                ("file", logs.hvc3, f"<source path='{logs.output}'/>"))
    domain = make_module_domain(console=False, devices=f"<serial type='pty'>{log_xml(logs.ttyS0)}</serial>" + "".join(
        f"<console type='{kind}'>{source}<target type='virtio'/>{log_xml(log)}</console>" for kind, log, source in consoles))
    domain.logs = logs
    assert f"<log file='{logs.ttyS0}'/>" in domain.xml()
    domain.boot().close()
    yield domain
    domain.virsh("destroy")
    helpers.run("umount", logs.small)
    helpers.run("rm", "-rf", path)


@pytest.fixture
def small_files():
    """Limits log files to SMALL_SIZE, as an operator would."""
    text = CONF.read_text()
    CONF.write_text(f"{text}\nlog_max_size = {SMALL_SIZE}\n")
    helpers.run("systemctl", "restart", "virtmicrod.service")
    yield
    CONF.write_text(text)
    helpers.run("systemctl", "restart", "virtmicrod.service")


def log_xml(path, append=None):
    return f"<log file='{path}'" + (f" append='{append}'/>" if append else "/>")


def sizes(path):
    """Sizes of a log and its backups, the newest first."""
    names = [path, *(pathlib.Path(f"{path}.{number}") for number in range(BACKUPS + 2))]
    return [name.stat().st_size for name in names if name.exists()]


def wait_for_text(path, pattern):
    helpers.wait_for(lambda: re.search(pattern, path.read_text(errors="replace")), helpers.BOOT,
                     what=f"{path} has {pattern!r}; it has {path.read_text(errors='replace')[-500:]!r}")


def test_log_beside_a_console(guest):
    """`virsh console` works as usual; the file has what it shows, and what is printed with nobody attached."""
    log = guest.logs.ttyS0
    with guest.console() as console:
        console.prompt()
        assert console.command("echo $((40 + 2))").strip() == "42"
        console.send("echo $((50 + 5)) >/dev/ttyS0\n")
    wait_for_text(log, r"(?s)guest# .*42.*\n55\r?\n")
    assert log.stat().st_mode == stat.S_IFREG | 0o600
    assert f"<log file='{log}'/>" in guest.xml()
    assert not any(str(log) in name for name in helpers.descriptors(helpers.monitor_of(guest)))


def test_daemon_is_away(guest):
    """The daemon is killed, and stopped while the guest prints: nothing is lost."""
    log = guest.logs.hvc0
    with guest.console() as console:
        console.prompt()
        console.command("echo one >/dev/hvc0")
        wait_for_text(log, "one")
        console.command("{ (sleep 8; echo two >/dev/hvc0; sleep 12; echo three >/dev/hvc0) & }")
    kill_daemon()
    helpers.run("systemctl", "stop", "virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service")
    helpers.time.sleep(20)
    assert "two" not in log.read_text()
    helpers.run("systemctl", "start", "virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service")
    wait_for_text(log, r"one\r?\ntwo\r?\nthree")


def test_more_than_the_limit(guest, small_files):
    """A guest prints more than the limit: file and log rotate, and keep the newest text."""
    last = 4000
    with guest.console() as console:
        console.prompt()
        console.send(f"seq {last} >/dev/hvc3; echo the end >/dev/hvc3\n")
        helpers.wait_for(lambda: len(sizes(guest.logs.output)) > 1, helpers.BOOT)
        helpers.run("systemctl", "restart", "virtmicrod.service")
        console.process.wait(helpers.CALL)
    for path in (guest.logs.output, guest.logs.hvc3):
        wait_for_text(path, "the end")
        assert len(sizes(path)) == 1 + BACKUPS
        assert all(0 < size <= SMALL_SIZE for size in sizes(path))
        text = b"".join(pathlib.Path(f"{path}{suffix}").read_bytes() for suffix in (".2", ".1", ".0", ""))
        numbers = [int(word) for word in text.split()[1:-2]]
        assert numbers == list(range(numbers[0], last + 1))


def test_full_disk(guest, journal_start):
    """Output that does not fit is lost, which is reported once; when there is room again, logging continues."""
    def told():
        return [entry["MESSAGE"] for entry in helpers.journal(journal_start, "virtmicrod.service")
                if "console2" in entry["MESSAGE"]]

    ballast = guest.logs.small / "ballast"
    with guest.console() as console:
        console.prompt()
        ballast.write_bytes(bytes(60 << 10))
        console.command("seq 1 1999 >/dev/hvc1", timeout=helpers.BOOT)
        helpers.wait_for(told)
        console.command("seq 1 1999 >/dev/hvc1", timeout=helpers.BOOT)
        assert len(told()) == 1 and "No space left on device" in told()[0]
        ballast.unlink()
        console.command("echo room again >/dev/hvc1")
        wait_for_text(guest.logs.hvc1, "room again")
        helpers.wait_for(lambda: len(told()) == 2)
        assert "bytes were lost" in told()[1]


def test_flood_of_one_guest(guest):
    """A guest that only prints costs the daemon at most a quarter of a processor."""
    def cpu():
        fields = pathlib.Path(f"/proc/{helpers.daemon_pid()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    with guest.console() as console:
        console.prompt()
        console.command("{ cat /dev/zero >/dev/hvc2 & }")
        helpers.wait_for(lambda: sizes(guest.logs.hvc2)[0] > 0)
        before, start = cpu(), helpers.time.monotonic()
        helpers.time.sleep(20)
        share = (cpu() - before) / (helpers.time.monotonic() - start)
        console.command("killall cat")
    assert share < 0.25, share
    assert all(size <= MAX_SIZE for size in sizes(guest.logs.hvc2))


def test_append(no_leaks, directory, make_domain):
    """As with virtlogd, without append='on' the file and its backups hold this run of the domain only."""
    kept, fresh = directory / "kept", directory / "fresh"
    for path in (kept, fresh, pathlib.Path(f"{fresh}.0")):
        path.write_text("old\n")
    domain = make_domain(console=False, cmdline=f"console=hvc0 {helpers.FAST} vm.run=poweroff",
                         devices=f"<console type='null'><target type='virtio'/>{log_xml(kept, 'on')}</console>"
                                 f"<serial type='null'>{log_xml(fresh, 'off')}</serial>")
    domain.start()
    domain.wait_state("shut off", helpers.BOOT)
    assert kept.read_text().startswith("old\n") and "init reached" in kept.read_text()
    assert "old" not in fresh.read_text() and sizes(fresh) == [fresh.stat().st_size]


def test_two_writers_of_one_file_are_refused(no_leaks, directory, make_domain):
    shared = directory / "shared"
    first = make_domain(console=False, devices=f"<serial type='file'><source path='{shared}'/></serial>")
    second = make_domain(console=False, devices=f"<serial type='pty'>{log_xml(shared)}</serial>")
    both = make_domain(console=False, devices=f"<serial type='file'><source path='{shared}'/>{log_xml(shared)}</serial>")
    first.start("--paused")
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert f"is written by serial0 of the running domain '{first.name}'" in second.virsh("start", check=False)
    first.virsh("destroy")
    assert "choose two" in both.virsh("start", check=False)
    second.start("--paused")
    first.virsh("start", check=False)
    assert first.state() == "shut off"


def test_failed_start_releases_its_logs(no_leaks, directory, make_domain):
    """A start that fails later releases its logs, so the next start can use them."""
    log, missing = directory / "log", directory / "nowhere" / "log"
    domain = make_domain(console=False, devices=f"<serial type='pty'>{log_xml(log)}</serial>"
                                                f"<console type='pty'><target type='virtio'/>{log_xml(missing)}</console>")
    assert f"cannot open log file '{missing}'" in domain.virsh("start", check=False)
    missing.parent.mkdir()
    domain.start("--paused")


def test_pipes_are_written_directly(no_leaks, directory, make_domain):
    """An operator's pipe may be a console's file, but not a log."""
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    domain = make_domain(console=False, cmdline=f"{helpers.CMDLINE} vm.run=poweroff",
                         devices=f"<serial type='file'><source path='{fifo}'/></serial>")
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        domain.start()
        domain.wait_state("shut off", helpers.BOOT)
        assert b"init reached" in reader.read(1 << 16)
        refused = make_domain(console=False, devices=f"<serial type='pty'>{log_xml(fifo)}</serial>")
        assert "is not a regular file" in refused.virsh("start", check=False)
