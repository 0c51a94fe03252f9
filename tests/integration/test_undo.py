"""A start that fails at any step says why and leaves nothing behind; the domain can be started afterwards."""
import contextlib
import os
import pathlib
import subprocess
import time

import pytest

import helpers

KERNEL = helpers.HALTING
LIBEXEC = pathlib.Path("/usr/libexec")


def expect_failure(domain, text):
    """The start fails with the text, and changes nothing."""
    with helpers.nothing_left():
        with pytest.raises(helpers.CommandError) as error:
            domain.start()
        assert text in error.value.stderr, error.value.stderr
        assert domain.state() == "shut off"


@contextlib.contextmanager
def moved_away(path):
    """Moves the file away while the block runs."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@pytest.fixture
def full_domain(make_domain, make_disk, bridge):
    """A domain with a device of each kind, so that each failure has much to undo."""
    devices = (helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge=bridge)
               + "<channel type='unix'><target type='virtio' name='org.test.0'/></channel>"
               + "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")

    def make(**arguments):
        return make_domain(devices=devices + arguments.pop("devices", ""), **arguments)

    return make


def starts(domain):
    domain.start()
    assert domain.state() == "running"
    domain.virsh("destroy")


def test_missing_files(full_domain, kernel):
    expect_failure(full_domain(devices=helpers.disk_xml("/nope.raw", "vdb")), "Cannot access storage file '/nope.raw'")
    for missing in ("kernel", "initrd"):
        other = helpers.Kernel(kernel.version)
        setattr(other, missing, pathlib.Path("/nope"))
        expect_failure(full_domain(kernel=other), f"Cannot access {missing} '/nope'")


def test_invalid_kernel(full_domain, kernel, tmp_path):
    other = helpers.Kernel(kernel.version)
    other.kernel = tmp_path / "text"
    other.kernel.write_text("not a kernel\n" * 1000)
    expect_failure(full_domain(kernel=other), "neither")


def test_disk_in_use(full_domain, make_domain, make_disk):
    disk = make_disk()
    owner = make_domain(devices=helpers.disk_xml(disk))
    owner.start()
    expect_failure(full_domain(devices=helpers.disk_xml(disk, "vdb")), "is in use by another process")
    owner.virsh("destroy")


def test_no_monitor(full_domain):
    domain = full_domain()
    with moved_away(LIBEXEC / "virtmicro-vmm"):
        expect_failure(domain, "virtmicro-vmm")
    starts(domain)


def test_no_kvm(full_domain):
    domain = full_domain()
    with moved_away(pathlib.Path("/dev/kvm")):
        expect_failure(domain, "/dev/kvm")
    starts(domain)


def test_scope_that_is_refused(full_domain):
    """The unit's name is taken: it contains the next id, which is predictable."""
    probe, domain = full_domain(), full_domain()
    probe.start()
    number = probe.id()
    probe.virsh("destroy")
    unit = f"machine-{helpers.unit_escape(f'micro-{number + 1}-{domain.name}')}.scope"
    sleeper = helpers.subprocess.Popen(["systemd-run", "--scope", f"--unit={unit}", "--slice=machine", "sleep", "600"])
    helpers.wait_for(lambda: helpers.unit_property(unit, "ActiveState") == "active", what="the unit's name is taken")
    try:
        expect_failure(domain, "already")
    finally:
        helpers.run("systemctl", "stop", unit)
        sleeper.wait()
    starts(domain)


def test_invalid_partition(full_domain):
    expect_failure(full_domain(extra="<resource><partition>machine</partition></resource>"), "partition")


def test_missing_bridge(full_domain):
    expect_failure(full_domain(devices=helpers.interface_xml(bridge="nobridge0")), "nobridge0")


def test_second_interface_name_is_taken(full_domain, bridge):
    """The first TAP exists already when the second fails."""
    taken = helpers.interface_xml(bridge=bridge, target=bridge)
    expect_failure(full_domain(devices=taken), bridge)


def test_inactive_network(full_domain):
    xml = "<network><name>asleep</name><bridge name='virbr77'/><ip address='192.168.177.1' netmask='255.255.255.0'/></network>"
    path = pathlib.Path("/tmp/asleep.xml")
    path.write_text(xml)
    helpers.virsh("net-define", path)
    try:
        expect_failure(full_domain(devices=helpers.interface_xml(network="asleep")), "asleep")
        helpers.virsh("net-start", "asleep")
        domain = full_domain(devices=helpers.interface_xml(network="asleep"))
        starts(domain)
        # The port was released: libvirt's own driver lists none.
        assert helpers.virsh("net-port-list", "asleep").strip() == ""
    finally:
        helpers.virsh("net-destroy", "asleep", check=False)
        helpers.virsh("net-undefine", "asleep", check=False)
        path.unlink()


def test_memory_that_the_host_does_not_have(full_domain):
    """Strict overcommit makes the kernel refuse the mapping, after everything else was created."""
    setting = pathlib.Path("/proc/sys/vm/overcommit_memory")
    before = setting.read_text()
    domain = full_domain(memory=1 << 16)
    setting.write_text("2\n")
    try:
        expect_failure(domain, "memory")
    finally:
        setting.write_text(before)


def test_state_directory_full(full_domain):
    """Nothing can be written below /run/libvirt/micro: neither a status nor a socket."""
    domain = full_domain()
    helpers.virsh("list")
    helpers.run("nsenter", "-t", helpers.daemon_pid(), "-m", "mount", "-t", "tmpfs", "-o", "ro", "none", helpers.STATE)
    try:
        with pytest.raises(helpers.CommandError, match="Read-only file system"):
            domain.start()
    finally:
        helpers.run("nsenter", "-t", helpers.daemon_pid(), "-m", "umount", helpers.STATE)
    assert domain.state() == "shut off"
    starts(domain)
    assert not os.path.exists(helpers.STATE / f"{domain.name}.xml")


def idle_time(pid):
    """Seconds between the last work of a process and its end."""
    last, since = None, time.monotonic()
    while True:
        try:
            worked = pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]
        except OSError:
            return time.monotonic() - since
        if worked != last:
            last, since = worked, time.monotonic()
        time.sleep(0.005)


def test_refusal_ends_the_start_at_once(no_leaks, make_domain, make_disk):
    """A monitor that has said no is not waited for. The best of a few attempts counts, as the host may be busy."""
    domain = make_domain(devices=helpers.disk_xml(make_disk(0)))
    idle = []
    for _ in range(4):
        with subprocess.Popen(["virsh", "-c", helpers.URI, "start", domain.name], stderr=subprocess.PIPE, text=True) as start:
            (monitor,) = helpers.wait_for(helpers.monitors, interval=0.01)
            idle.append(idle_time(monitor))
            assert "is empty" in start.stderr.read()
    assert min(idle) < 0.4, idle
