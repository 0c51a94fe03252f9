"""What confines a monitor, checked from outside through /proc while its guest runs."""
import collections
import ctypes
import os
import pathlib
import re
import signal
import socket
import struct
import time

import pytest

import helpers

ANONYMOUS = {"socket:[]", *(f"anon_inode:{kind}" for kind in
                            ("[eventfd]", "[eventpoll]", "[signalfd]", "[timerfd]", "kvm-vm", "kvm-vcpu:0"))}
PIDFD_GETFD = 438
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@pytest.fixture(scope="module")
def disk(make_module_disk):
    return make_module_disk(8)


@pytest.fixture(scope="module")
def domain(make_module_domain, module_bridge, disk):
    """Has a device of each kind."""
    return make_module_domain(
        devices=helpers.disk_xml(disk) + helpers.interface_xml(module_bridge)
        + "<console type='pty'><target type='virtio' port='1'/></console>"
        + "<channel type='unix'><target type='virtio' name='org.example.0'/></channel>"
        + "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")


@pytest.fixture(scope="module")
def monitor(domain):
    """Its monitor, once the guest has booted and uses its devices."""
    with domain.boot():
        yield pathlib.Path(f"/proc/{helpers.monitor_of(domain)}")


def status(path):
    lines = (line.split(":", 1) for line in (path / "status").read_text().splitlines() if ":" in line)
    return {key: value.strip() for key, value in lines}


def test_uid_of_its_own_and_no_rights(monitor):
    fields = status(monitor)
    uids = set(fields["Uid"].split())
    assert len(uids) == 1 and int(uids.pop()) >= 1 << 16
    assert int(fields["Gid"].split()[0]) >= 1 << 16
    assert fields["Groups"] == ""
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0, kind
    assert fields["NoNewPrivs"] == "1"


def test_filter_in_every_thread(monitor):
    threads = sorted((monitor / "task").iterdir())
    kinds = {(thread / "comm").read_text().strip() for thread in threads}
    assert any(kind.startswith("vcpu") for kind in kinds), kinds
    assert len(threads) >= 3
    for thread in threads:
        assert status(thread)["Seccomp"] == "2", thread


def test_namespaces_are_its_own_and_empty(monitor):
    for name in NAMESPACES:
        assert os.readlink(monitor / "ns" / name) != os.readlink(f"/proc/1/ns/{name}"), name
    assert list((monitor / "root").iterdir()) == []
    assert [line.split(":")[0].strip() for line in (monitor / "net/dev").read_text().splitlines()[2:]] == ["lo"]


def test_two_monitors_share_no_uid(monitor, make_domain):
    other = make_domain()
    other.start()
    assert status(pathlib.Path(f"/proc/{helpers.monitor_of(other)}"))["Uid"] != status(monitor)["Uid"]


def test_descriptors_are_those_of_its_guest(monitor, domain, disk):
    """With all devices in use it holds their files, each as often as it is used, and nothing else of the host."""
    kernel = helpers.Kernel("6.12")
    names = helpers.descriptors(monitor.name)
    found = collections.Counter(re.sub(r"^/dev/pts/\d+$", "/dev/pts/N", name) for name in names)
    own = {name: found.pop(name) for name in list(found) if name.startswith(("anon_inode:", "socket:"))}
    assert set(own) <= ANONYMOUS
    assert own["anon_inode:kvm-vm"] == own["anon_inode:kvm-vcpu:0"] == 1
    assert found == {
        "/dev/kvm": 1, str(kernel.kernel): 1, str(kernel.initrd): 1,
        "/dev/null": 2,  # standard input and output
        "/dev/ptmx": 2, "/dev/pts/N": 1,  # two consoles; the virtio one holds its other side open
        "/dev/net/tun": 1, "/dev/vhost-net": 1, "/dev/urandom": 1, str(disk): 1}


def peak_memory(pid):
    """Peak since the last call, in KiB."""
    peak = int(status(pathlib.Path(f"/proc/{pid}"))["VmHWM"].split()[0])
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak


def test_exit_record_of_any_length(make_domain):
    """The daemon reads the record only: 2 GiB behind it, in a file the monitor could write, cost nothing."""
    domain = make_domain()
    domain.start("--paused")
    peak_memory(helpers.daemon_pid())
    before = peak_memory(helpers.daemon_pid())
    os.truncate(helpers.STATE / f"{domain.name}.exit", 2 << 30)
    os.kill(helpers.monitor_of(domain), signal.SIGKILL)
    domain.wait_state("shut off")
    assert domain.virsh("domstate", "--reason").strip() == "shut off (crashed)"
    assert peak_memory(helpers.daemon_pid()) - before < 64 << 10


@pytest.fixture
def strict_journal():
    """A journal with a low rate limit, which journald scales by the free disk space."""
    directory = pathlib.Path("/run/systemd/journald.conf.d")
    directory.mkdir(exist_ok=True)
    (directory / "virtmicro-test.conf").write_text("[Journal]\nRateLimitIntervalSec=10min\nRateLimitBurst=100\n")
    helpers.run("systemctl", "restart", "systemd-journald.service")
    yield
    (directory / "virtmicro-test.conf").unlink()
    helpers.run("systemctl", "restart", "systemd-journald.service")


def standard_error_of(pid):
    """A copy of another process's descriptor 2."""
    pidfd = os.pidfd_open(pid)
    fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, 2, 0)
    os.close(pidfd)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def write_lines(fd, pid, lines):
    """Writes to a stream as that process: root may send any credentials."""
    uid, gid = (int(status(pathlib.Path(f"/proc/{pid}"))[name].split()[0]) for name in ("Uid", "Gid"))
    sender = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iII", pid, uid, gid))]
    with socket.socket(fileno=os.dup(fd)) as stream:
        for line in lines:
            data = line.encode()
            while data:
                try:
                    data = data[stream.sendmsg([data], sender):]
                except BlockingIOError:  # the journal has not read yet
                    time.sleep(0.01)


def test_journal_of_its_own(make_domain, strict_journal):
    """Lines on a monitor's standard error belong to its scope, and a flood of them displaces none of the daemon's."""
    since = helpers.journal_cursor()
    domain, other = make_domain(), make_domain()
    domain.start("--paused")
    monitor, scope = helpers.monitor_of(domain), helpers.scope_of(domain)
    time.sleep(2)  # the journal refreshes its view of a process once a second
    fd = standard_error_of(monitor)
    write_lines(fd, monitor, [f"<4>first line of {monitor}\n"])
    (entry,) = helpers.wait_for(lambda: helpers.journal(since, matches=[f"MESSAGE=first line of {monitor}"]))
    assert (entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) == ("virtmicro-vmm", "4")
    assert (entry["_SYSTEMD_UNIT"], entry["_PID"]) == (scope, str(monitor))
    write_lines(fd, monitor, (f"flood {i}\n" for i in range(5000)))
    os.close(fd)
    other.start("--paused")
    other.virsh("destroy")
    helpers.wait_for(lambda: [entry for entry in helpers.journal(since, "virtmicrod.service",
                                                                 [f"LIBVIRT_DOMAIN={other.name}"])
                              if entry["MESSAGE"].endswith("stopped: destroyed")])
    flood = [entry for entry in helpers.journal(since) if str(entry["MESSAGE"]).startswith("flood ")]
    assert 0 < len(flood) < 5000
    assert {entry["_SYSTEMD_UNIT"] for entry in flood} == {scope}


ATTACKS = {
    "control": ("openat", "sendmsg", "sendto", "pwritev", "kvm_unused"),
    "vcpu": ("socket", "sendmsg", "kvm_create", "mmap_file"),
    "disk": ("execve", "sendmsg", "behind_the_end", "other_disk", "fallocate_keep"),
    "serial": ("openat", "ptrace", "sendmsg", "write_image"),
    "rng": ("openat", "sendmsg", "other_readv", "kvm_run")}


def test_each_thread_dies_of_a_forbidden_call(disk):
    """A build with the test hook tries them in each kind of thread of a machine run by hand: SIGSYS ends it."""
    hostile = pathlib.Path("/root/tests/virtmicro-vmm-hostile")
    kernel = helpers.Kernel("6.12")
    for thread, calls in ATTACKS.items():
        for call in calls:
            result = helpers.run(hostile, "--kernel", kernel.kernel, "--initrd", kernel.initrd, "--memory", "128M",
                                 "--rng", "--disk", disk, check=False, timeout=helpers.BOOT,
                                 env={"VMM_TEST_HOOK": f"{thread}:{call}"})
            assert result.returncode == -31, f"{thread}:{call}: {result.returncode} {result.stderr}"


def test_no_file_gets_longer_than_the_disk(monitor, disk):
    limit = max(disk.stat().st_size, 16 << 20)
    assert re.search(rf"Max file size +{limit} +{limit} ", (monitor / "limits").read_text())
