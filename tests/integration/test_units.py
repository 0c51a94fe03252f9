"""The units: what an operator enables, what the service must not do, and what domains need it to do."""
import pathlib
import re
import stat

import pytest

import helpers

SERVICE = "virtmicrod.service"
KERNEL = helpers.HALTING
SOCKETS = ("virtmicrod.socket", "virtmicrod-ro.socket")
EXPOSURE_MAX = 43  # tenths, as in the unit tests


def systemctl(*args, check=True):
    return helpers.run("systemctl", *args, check=check).stdout.strip()


def test_one_command_enables_everything():
    systemctl("disable", "--now", *SOCKETS, SERVICE)
    try:
        for unit in (*SOCKETS, SERVICE):
            assert systemctl("is-enabled", unit, check=False) == "disabled"
            assert systemctl("is-active", unit, check=False) == "inactive"
        assert not pathlib.Path("/run/libvirt/virtmicrod-sock").exists()
    finally:
        systemctl("enable", "--now", "virtmicrod.socket")
    for unit in (*SOCKETS, SERVICE):
        assert systemctl("is-enabled", unit) == "enabled"
    for unit in SOCKETS:
        assert systemctl("is-active", unit) == "active"
    assert helpers.virsh("list", "--all") is not None
    assert systemctl("is-active", SERVICE) == "active"


def test_sockets():
    for name in "virtmicrod-sock", "virtmicrod-sock-ro":
        mode = pathlib.Path("/run/libvirt", name).stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o666


def test_sockets_outlive_the_service():
    systemctl("stop", SERVICE)
    assert [systemctl("is-active", unit) for unit in SOCKETS] == ["active", "active"]
    for option in (), ("-r",):
        systemctl("stop", SERVICE)
        helpers.run("virsh", *option, "-c", helpers.URI, "list")
        assert systemctl("is-active", SERVICE) == "active"


def test_directories():
    for path in "/run/libvirt/micro", "/etc/libvirt/micro", "/etc/libvirt/micro/autostart":
        found = pathlib.Path(path).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, 0)


def test_verify():
    result = helpers.run("systemd-analyze", "verify", "--man=no", SERVICE, *SOCKETS, check=False)
    assert "virtmicro" not in result.stdout + result.stderr


def test_exposure():
    helpers.run("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE_MAX}", SERVICE)


def status_of(pid):
    return dict(re.findall(r"^(\w+):\s*(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))


def test_rights_of_the_daemon():
    helpers.virsh("list")
    status = status_of(helpers.daemon_pid())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    bounding = int(status["CapBnd"], 16)
    for number, name in (16, "SYS_MODULE"), (17, "SYS_RAWIO"), (13, "NET_RAW"), (19, "SYS_PTRACE"), (25, "SYS_TIME"), \
            (27, "MKNOD"), (39, "BPF"):
        assert not bounding >> number & 1, name


def in_mounts_of(pid, *command):
    return helpers.run("nsenter", "-t", pid, "-m", *command, check=False)


def test_what_the_daemon_may_write():
    helpers.virsh("list")
    pid = helpers.daemon_pid()
    for path in "/usr/x", "/boot/x", "/etc/x", "/proc/sys/kernel/hostname", "/sys/fs/cgroup/x":
        assert "Read-only file system" in in_mounts_of(pid, "touch", path).stderr, path
    for directory in "/etc/libvirt/micro", "/run/libvirt/micro", "/home", "/tmp", "/root":
        assert in_mounts_of(pid, "test", "-w", directory).returncode == 0, directory


@pytest.mark.parametrize("directory", ["/home", "/tmp", "/root", "/srv"])
def test_disks_may_be_anywhere(make_domain, directory):
    path = pathlib.Path(directory, "virtmicro-test.raw")
    with path.open("wb") as file:
        file.truncate(1 << 20)
    try:
        domain = make_domain(devices=helpers.disk_xml(path))
        domain.start("--paused")
        domain.virsh("destroy")
    finally:
        path.unlink()


def test_disks_on_a_later_mount(make_domain, tmp_path):
    """The service has its own mount namespace; later mounts of the host must appear in it."""
    helpers.virsh("list")
    helpers.run("mount", "-t", "tmpfs", "none", tmp_path)
    try:
        disk = tmp_path / "disk.raw"
        with disk.open("wb") as file:
            file.truncate(1 << 20)
        domain = make_domain(devices=helpers.disk_xml(disk))
        domain.start("--paused")
        domain.virsh("destroy")
    finally:
        helpers.run("umount", tmp_path)


@pytest.fixture
def loop_device(make_disk):
    device = helpers.run("losetup", "--find", "--show", make_disk(1)).stdout.strip()
    yield device
    helpers.run("losetup", "--detach", device)


def test_block_device_as_disk(make_domain, loop_device):
    domain = make_domain(devices=helpers.disk_xml(loop_device))
    domain.start("--paused")
    domain.virsh("destroy")


def test_the_service_leaves_domains_alone(make_domain):
    domain = make_domain()
    domain.start()
    number, processes = domain.id(), helpers.processes_of(domain)
    systemctl("stop", SERVICE, *SOCKETS)
    try:
        assert [pid for pid in processes if not pathlib.Path(f"/proc/{pid}").exists()] == []
    finally:
        systemctl("start", *SOCKETS)
    assert (domain.state(), domain.id(), helpers.processes_of(domain)) == ("running", number, processes)


def test_a_daemon_that_dies_comes_back(make_domain):
    domain = make_domain()
    domain.start()
    number, pid = domain.id(), helpers.daemon_pid()
    helpers.run("kill", "-KILL", pid)
    helpers.wait_for(lambda: helpers.daemon_pid() not in (0, pid), what="systemd has restarted the daemon")
    assert (domain.state(), domain.id()) == ("running", number)


def test_manual_pages():
    """Each unit names its pages, and all pages are where `man` looks."""
    named = {page.strip('"') for unit in (SERVICE, *SOCKETS)
             for page in helpers.unit_property(unit, "Documentation").split()}
    assert named == {"man:virtmicrod(8)", "man:virtmicrod.conf(5)"}
    for page, section in ("virtmicrod", 8), ("virtmicrod.conf", 5), ("virtmicro-vmm", 8), ("org.virtmicro1", 5):
        text = pathlib.Path(f"/usr/share/man/man{section}/{page}.{section}").read_text().replace(r"\&", "")
        assert re.search(rf'^\.TH "{page}" "{section}" ', text, re.MULTILINE)
        assert re.search(rf"^{re.escape(page)} \\?- ", text, re.MULTILINE), "what apropos shows of it"


def test_group_is_there():
    assert helpers.run("getent", "group", "libvirt").stdout.startswith("libvirt:")
