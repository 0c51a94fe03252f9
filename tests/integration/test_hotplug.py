"""Devices that come and go while the domain runs, as virsh and clients of the binding do it, and what the guest sees."""
import os
import pathlib
import signal
import threading
import time
import uuid
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
import output
from clients import connection, error_of, watching

CONFIG, LIVE = libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE
FORCE = libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
MAC = "52:54:00:79:01:01"
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
CONFIG_DIR = pathlib.Path("/etc/libvirt/micro")
CYCLES = 200  # of a device


@pytest.fixture
def images(make_disk):
    return [make_disk(16), make_disk(64)]


@pytest.fixture
def halting(make_domain):
    domain = make_domain(kernel=helpers.HALTING)
    domain.start()
    return domain


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def guest(request, make_module_domain):
    """The kernels that Debian ships, up."""
    domain = make_module_domain(kernel=helpers.Kernel(request.param))
    domain.boot().close()
    yield domain
    domain.virsh("destroy")


@pytest.fixture
def console(guest):
    with guest.console() as console:
        console.prompt()
        yield console


def elements(domain, path, *options):
    return ElementTree.fromstring(domain.xml(*options)).findall(f"devices/{path}")


def targets(domain, *options):
    return [disk.find("target").get("dev") for disk in elements(domain, "disk", *options)]


def slots(domain, *options):
    return [address.get("slot") for address in elements(domain, "*/address", *options)]


def kill_daemon():
    os.kill(helpers.daemon_pid(), signal.SIGKILL)
    helpers.wait_for(lambda: helpers.unit_property("virtmicrod.service", "ActiveState") == "active"
                     and helpers.daemon_pid() > 0, what="the daemon is back")


def gone(domain, target):
    helpers.wait_for(lambda: target not in targets(domain), helpers.BOOT, what=f"{target} is gone")


def shows(console, command, *words):
    """What the guest prints, in the end."""
    helpers.wait_for(lambda: console.command(command, check=False).split() == list(words), helpers.BOOT, 1, (command, words))


DEVICES = "ls /sys/block /sys/class/net | grep -E 'vd|eth' || true"


def reads(console, disk):
    """A disk that is merely listed may have no interrupts."""
    shows(console, f"dd if=/dev/{disk} bs=1M count=4 2>/dev/null | wc -c", str(4 << 20))


def attach(guest, console, image):
    """A disk that comes as the guest's only one, and works."""
    guest.virsh("attach-disk", image, "vda", "--live")
    shows(console, DEVICES, "vda")
    reads(console, "vda")


# The guest


def test_guest_sees_devices_come_and_go(guest, console, images, bridge):
    """A disk larger than any at the start, an interface, a generator: used by the guest, and gone again."""
    first, second = images
    guest.virsh("attach-disk", first, "vda", "--live")
    guest.virsh("attach-disk", second, "vdb", "--live", "--config")
    guest.virsh("attach-interface", "bridge", bridge, "--mac", MAC, "--model", "virtio", "--live")
    with connection() as conn:
        conn.lookupByName(guest.name).attachDeviceFlags(RNG, LIVE)
    shows(console, "cat /sys/block/vd?/size /sys/class/net/eth0/address", "32768", "131072", MAC)
    console.command("echo at-the-end | dd of=/dev/vdb bs=1M seek=63 conv=fsync 2>/dev/null", helpers.BOOT)
    with second.open("rb") as image:
        image.seek(63 << 20)
        assert image.read(10) == b"at-the-end"
    console.command("ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0")
    console.command("ping -c 2 -w 60 192.168.77.1", helpers.BOOT)
    helpers.wait_for(lambda: "virtio_rng" in console.command("cat /sys/class/misc/hw_random/rng_current", check=False))
    assert output.table(guest.virsh("domblkstat", "vdb"))
    assert (targets(guest), targets(guest, "--inactive")) == (["vda", "vdb"], ["vdb"])

    guest.virsh("detach-disk", "vda", "--live")
    guest.virsh("detach-disk", "vdb", "--live", "--config")
    guest.virsh("detach-interface", "bridge", "--mac", MAC, "--live")
    with connection() as conn:
        conn.lookupByName(guest.name).detachDeviceFlags(RNG, LIVE)
    helpers.wait_for(lambda: not slots(guest), helpers.BOOT, what="all of them are gone")
    shows(console, DEVICES)
    assert (targets(guest), targets(guest, "--inactive")) == ([], [])
    assert not helpers.taps()


def test_guest_gives_a_device_away(guest, console, images):
    """Nobody has asked for it, nor listens when it happens: the next daemon notices."""
    units = "virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service"
    attach(guest, console, images[0])
    console.command("(sleep 10; echo 0 > /sys/bus/pci/slots/1/power) </dev/null >/dev/null 2>&1 & true")
    pid, image = helpers.monitor_of(guest), str(images[0])
    helpers.run("systemctl", "stop", *units)
    helpers.wait_for(lambda: image not in helpers.descriptors(pid), helpers.BOOT, what="the monitor closes it")
    helpers.run("systemctl", "start", *units[:2])
    gone(guest, "vda")


def test_guest_that_does_not_answer(guest, console, images):
    """While it is paused it cannot let go: the call returns, the device stays, and goes when the guest runs again."""
    attach(guest, console, images[0])
    guest.virsh("suspend")
    with connection() as conn, connection() as other:
        domain, same, xml = conn.lookupByName(guest.name), other.lookupByName(guest.name), helpers.disk_xml(images[0])
        first = threading.Thread(target=lambda: domain.detachDeviceFlags(xml, LIVE))
        first.start()
        time.sleep(1)
        second = error_of(same.detachDeviceFlags, xml, LIVE)
        first.join(helpers.CALL)
    assert second[0] == libvirt.VIR_ERR_OPERATION_FAILED and "in the process of unplug" in second[1]
    assert targets(guest) == ["vda"]
    assert "exists" in guest.virsh("attach-disk", images[1], "vda", "--live", check=False)
    guest.virsh("resume")
    gone(guest, "vda")
    shows(console, DEVICES)


def test_reset(guest, console, images):
    """It completes a removal that the guest has not answered; what comes while the guest boots is there in the end."""
    attach(guest, console, images[0])
    guest.virsh("suspend")
    guest.virsh("detach-disk", "vda", "--live")
    assert targets(guest) == ["vda"]
    guest.virsh("reset")
    gone(guest, "vda")
    guest.virsh("resume")
    guest.virsh("attach-disk", images[1], "vdb", "--live")
    console.prompt()
    shows(console, DEVICES, "vda")  # the guest has its own names
    guest.virsh("detach-disk", "vdb", "--live")
    gone(guest, "vdb")


def test_force(guest, console, images):
    """What a guest cannot let go of goes nevertheless. It is not told, but lives on. The last test of this guest."""
    attach(guest, console, images[0])
    guest.virsh("suspend")
    with connection() as conn:
        conn.lookupByName(guest.name).detachDeviceFlags(helpers.disk_xml(images[0]), LIVE | FORCE)
    assert targets(guest) == []
    assert str(images[0]) not in helpers.descriptors(helpers.monitor_of(guest))
    guest.virsh("resume")
    assert console.command("echo alive").strip() == "alive"


# Clients


def test_both_definitions(paused, images, bridge):
    """What comes live and persistent is in both, at one address; a shut-off domain starts with it."""
    paused.virsh("attach-disk", images[0], "vda", "--live", "--config")
    paused.virsh("attach-interface", "bridge", bridge, "--mac", MAC, "--persistent")
    assert slots(paused) == slots(paused, "--inactive") == ["0x01", "0x02"]
    (disk,) = elements(paused, "disk")
    assert disk.find("alias").get("name") == "virtio-disk0"
    paused.virsh("destroy")
    paused.start("--paused")
    assert slots(paused) == ["0x01", "0x02"]
    paused.virsh("detach-device-alias", "virtio-disk0", "--live")
    assert (targets(paused), targets(paused, "--inactive")) == ([], ["vda"])


def test_events(paused, images, make_domain):
    with watching(make_domain(uid=uuid.uuid4()), "--all") as watcher:
        paused.virsh("attach-disk", images[0], "vda", "--live")
        paused.virsh("detach-disk", "vda", "--live")
        watcher.wait_for(paused, "device-added virtio-disk0", "device-removed virtio-disk0")


def test_network(network, no_leaks, paused):
    """A port of a libvirt network comes with the interface and goes with it."""
    ports = helpers.ports_of(network)
    paused.virsh("attach-interface", "network", network, "--mac", MAC, "--live")
    assert len(helpers.ports_of(network)) == len(ports) + 1
    paused.virsh("detach-interface", "network", "--mac", MAC, "--live")
    helpers.wait_for(lambda: helpers.ports_of(network) == ports, what="the port is gone")
    assert not helpers.taps()


def test_limits_follow(paused, make_disk, bridge):
    """The scope has room for the threads of what comes, and gives it back."""
    group = helpers.cgroup_of(paused)
    before = int((group / "pids.max").read_text())
    names = [f"vd{letter}" for letter in "abcdefghijklmnopqrst"]
    for name in names:
        paused.virsh("attach-disk", make_disk(1), name, "--live")
    assert int((group / "pids.max").read_text()) >= before + 5 * len(names)
    assert int((group / "pids.current").read_text()) > before
    for name in names:
        paused.virsh("detach-disk", name, "--live")
    assert int((group / "pids.max").read_text()) == before


# Errors, and what is left of a failed step


def contents(domain):
    return domain.xml(), domain.xml("--inactive"), helpers.taps(), helpers.state_files()


def test_refusals(paused, images):
    missing = helpers.disk_xml("/nowhere", "vdz")
    paused.virsh("attach-disk", images[0], "vda", "--live")
    before = contents(paused)
    with connection() as conn:
        domain = conn.lookupByName(paused.name)
        for call, xml, code, text in (
                (domain.attachDeviceFlags, missing, libvirt.VIR_ERR_SYSTEM_ERROR, "'/nowhere'"),
                (domain.attachDeviceFlags, helpers.disk_xml(images[1]), libvirt.VIR_ERR_OPERATION_FAILED,
                 "target vda already exists"),
                (domain.attachDeviceFlags, helpers.disk_xml(images[0], "vdb"), libvirt.VIR_ERR_OPERATION_FAILED,
                 "is disk 'vda' already"),
                (domain.attachDeviceFlags, helpers.interface_xml("nobridge"), libvirt.VIR_ERR_SYSTEM_ERROR,
                 "nobridge"),
                (domain.attachDeviceFlags, "<console type='pty'><target type='virtio'/></console>",
                 libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "--config"),
                (domain.attachDeviceFlags, "<hostdev mode='subsystem' type='pci'/>",
                 libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "'hostdev'"),
                (domain.detachDeviceFlags, missing, libvirt.VIR_ERR_DEVICE_MISSING, "no target device vdz"),
                (domain.detachDeviceAlias, "net7", libvirt.VIR_ERR_INTERNAL_ERROR, "net7")):
            for flags in 0, LIVE, LIVE | CONFIG:
                found, said = error_of(call, xml, flags)
                assert (found, text in said) == (code, True), said
                assert contents(paused) == before


def test_each_failed_step_is_undone(no_leaks, paused, images, bridge):
    """The status, then the definition, cannot be written: neither monitor, TAP nor XML keeps the device."""
    before = contents(paused)
    group = helpers.cgroup_of(paused)
    limit, disk = (group / "pids.max").read_text(), helpers.disk_xml(images[0])
    for directory, flags in (helpers.STATE, LIVE), (CONFIG_DIR, LIVE | CONFIG):
        obstacle = directory / f"{paused.name}.xml.new"
        with connection() as conn:
            domain = conn.lookupByName(paused.name)
            for xml in disk, helpers.interface_xml(bridge, mac=MAC):
                obstacle.mkdir()
                try:
                    code, text = error_of(domain.attachDeviceFlags, xml, flags)
                finally:
                    obstacle.rmdir()
                assert (code, "cannot create file" in text) == (libvirt.VIR_ERR_SYSTEM_ERROR, True), text
                assert contents(paused) == before
                assert (group / "pids.max").read_text() == limit
                domain.attachDeviceFlags(xml, LIVE)  # nothing of the failed one is in the way
                domain.detachDeviceFlags(xml, LIVE)
                helpers.wait_for(lambda: contents(paused) == before, what="as before")


# The daemon's end


def test_next_daemon_knows(paused, images, bridge):
    """What came under one daemon goes under the next, and its id is not given again."""
    paused.virsh("attach-disk", images[0], "vda", "--live")
    paused.virsh("attach-interface", "bridge", bridge, "--mac", MAC, "--live")
    kill_daemon()
    assert output.table(paused.virsh("domblklist")) == [["vda", str(images[0])]]
    paused.virsh("attach-disk", images[1], "vdb", "--live")
    paused.virsh("detach-disk", "vda", "--live")
    paused.virsh("domif-setlink", MAC, "down")
    paused.virsh("detach-interface", "bridge", "--mac", MAC, "--live")
    assert (targets(paused), helpers.taps()) == (["vdb"], set())


# Many of them


def monitor_numbers(domain):
    pid = helpers.monitor_of(domain)
    return helpers.descriptors(pid), len(os.listdir(f"/proc/{pid}/task"))


def test_cycles(no_leaks, halting, images, bridge):
    """Neither program keeps anything of a device that has gone."""
    devices = [helpers.disk_xml(images[0]), helpers.interface_xml(bridge, mac=MAC), RNG]
    with connection() as conn:
        domain = conn.lookupByName(halting.name)

        def cycle():
            for xml in devices:
                domain.attachDeviceFlags(xml, LIVE)
            for xml in devices:
                domain.detachDeviceFlags(xml, LIVE)

        cycle()
        before = monitor_numbers(halting), len(helpers.descriptors(helpers.daemon_pid())), helpers.resources()
        for _ in range(CYCLES // len(devices) + 1):
            cycle()
        helpers.wait_for(lambda: (monitor_numbers(halting), len(helpers.descriptors(helpers.daemon_pid())), helpers.resources()) == before,
                         what=before)
