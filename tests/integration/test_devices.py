"""Devices of a definition, by virsh and by the binding, for the next start; and the interfaces of a running guest."""
import contextlib
import pathlib
import uuid
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
import output
from clients import connection, error_of, watching

MAC, OTHER = "52:54:00:79:00:01", "52:54:00:79:00:02"
CHANNEL = "<channel type='unix'><target type='virtio' name='org.test.0'/><alias name='ua-chan'/></channel>"
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
CONFIG_DIR = pathlib.Path("/etc/libvirt/micro")
CONFIG, LIVE = libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_AFFECT_LIVE


@pytest.fixture
def images(make_disk):
    return [make_disk(1), make_disk(1)]


@pytest.fixture
def idle(make_domain):
    return make_domain(devices=helpers.interface_xml("br0", mac=MAC))


@pytest.fixture
def other_bridge():
    helpers.run("ip", "link", "add", "tbother", "type", "bridge", "vlan_filtering", "1")
    yield "tbother"
    helpers.run("ip", "link", "delete", "tbother")


@pytest.fixture
def paused(make_domain, bridge):
    domain = make_domain(devices=helpers.interface_xml(bridge, mac=MAC))
    domain.start("--paused")
    return domain


def elements(domain, path, *options):
    return ElementTree.fromstring(domain.xml(*options)).findall(f"devices/{path}")


def targets(domain, *options):
    return [disk.find("target").get("dev") for disk in elements(domain, "disk", *options)]


def restart_daemon():
    helpers.run("systemctl", "restart", "virtmicrod.service")


@contextlib.contextmanager
def unwritable(domain):
    """The domain's definition cannot be written meanwhile."""
    obstacle = CONFIG_DIR / f"{domain.name}.xml.new"
    obstacle.mkdir()
    try:
        yield
    finally:
        obstacle.rmdir()


def refused(domain, *command):
    text = domain.virsh(*command, check=False)
    assert "error:" in text, text
    return text


# Disks


def test_disk(make_domain, images):
    """A disk that virsh attaches is there after a restart of the daemon, and for the guest."""
    first, second = images
    idle = make_domain()
    idle.virsh("attach-disk", first, "vda", "--config", "--mode", "readonly", "--serial", "first")
    idle.virsh("attach-disk", second, "vdb", "--persistent", "--cache", "writethrough")
    restart_daemon()
    assert targets(idle) == ["vda", "vdb"]
    assert output.table(idle.virsh("domblklist")) == [["vda", str(first)], ["vdb", str(second)]]
    with idle.boot() as console:
        assert console.command("cat /sys/block/vda/ro; cat /sys/block/vda/serial; echo; cat /sys/block/vdb/size").split() \
            == ["1", "first", "2048"]
    idle.virsh("detach-disk", "vda", "--config")
    assert (targets(idle), targets(idle, "--inactive")) == (["vda", "vdb"], ["vdb"])
    assert "target vdb already exists" in refused(idle, "attach-disk", first, "vdb", "--config")
    restart_daemon()
    assert (targets(idle), targets(idle, "--inactive")) == (["vda", "vdb"], ["vdb"])


def test_disk_update(idle, images, tmp_path):
    """What update-device is given replaces the disk; the rest of the domain stays."""
    first, second = images
    idle.virsh("attach-disk", first, "vda", "--config")
    path = tmp_path / "disk.xml"
    path.write_text(helpers.disk_xml(second, "vda", readonly=True))
    before = elements(idle, "interface")[0].find("mac").get("address")
    idle.virsh("update-device", path, "--config")
    (disk,) = elements(idle, "disk")
    assert disk.find("source").get("file") == str(second) and disk.find("readonly") is not None
    assert elements(idle, "interface")[0].find("mac").get("address") == before == MAC


def test_legacy_disk(idle, images):
    """virt-manager and virsh speak of other buses: the disk is virtio's, and dominfo says so."""
    idle.virsh("attach-disk", images[0], "sdb", "--config", "--targetbus", "scsi")
    assert targets(idle) == ["vdb"]
    assert "disk 'sdb' on bus scsi became virtio disk 'vdb'" in idle.virsh("dominfo")


# Interfaces


def test_interface(idle):
    idle.virsh("attach-interface", "bridge", "br1", "--config", "--mac", OTHER, "--model", "virtio",
               "--inbound", "1000,2000,30")
    restart_daemon()
    second = elements(idle, "interface")[1]
    assert (second.find("source").get("bridge"), second.find("bandwidth/inbound").get("peak")) == ("br1", "2000")
    assert "specify which one to detach" in refused(idle, "detach-interface", "bridge", "--config")
    idle.virsh("detach-interface", "bridge", "--config", "--mac", OTHER)
    restart_daemon()
    assert [nic.find("mac").get("address") for nic in elements(idle, "interface")] == [MAC]


def test_link_of_the_next_start(idle):
    assert idle.virsh("domif-getlink", MAC, "--config").split() == [MAC, "up"]
    idle.virsh("domif-setlink", MAC, "down", "--config")
    restart_daemon()
    assert idle.virsh("domif-getlink", MAC, "--config").split() == [MAC, "down"]
    idle.virsh("domif-setlink", MAC, "up")  # of a domain that is shut off, virsh changes the definition
    assert idle.virsh("domif-getlink", MAC, "--config").split() == [MAC, "up"]


# The others


def test_channel_and_rng(idle, tmp_path):
    for name, xml in ("channel", CHANNEL), ("rng", RNG):
        path = tmp_path / f"{name}.xml"
        path.write_text(xml)
        idle.virsh("attach-device", path, "--config")
        assert len(elements(idle, name)) == 1
        assert "error:" in refused(idle, "attach-device", path, "--config")
        restart_daemon()
        idle.virsh("detach-device", path, "--config")
        assert not elements(idle, name)
    idle.virsh("attach-device", tmp_path / "channel.xml", "--config")
    idle.virsh("detach-device-alias", "ua-chan", "--config")
    assert not elements(idle, "channel")


# Codes, flags, rights


def calls(domain):
    """Each procedure with a device that it would act on if it could."""
    nic = helpers.interface_xml("br0", mac=MAC)
    return [(domain.attachDeviceFlags, RNG), (domain.detachDeviceFlags, nic), (domain.updateDeviceFlags, nic),
            (domain.detachDeviceAlias, "ua-none")]


def test_errors(idle):
    missing = helpers.disk_xml("/nowhere", "vdz")
    with connection() as conn:
        domain = conn.lookupByName(idle.name)
        for call, code, text in (
                (lambda: domain.detachDeviceFlags(missing, CONFIG), libvirt.VIR_ERR_DEVICE_MISSING, "no target device vdz"),
                (lambda: domain.updateDeviceFlags(missing, CONFIG), libvirt.VIR_ERR_DEVICE_MISSING, "no target device vdz"),
                (lambda: domain.detachDeviceAlias("ua-none", CONFIG), libvirt.VIR_ERR_INTERNAL_ERROR, "no device found"),
                (lambda: domain.attachDeviceFlags("<hostdev mode='subsystem' type='pci'/>", CONFIG),
                 libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "'hostdev'"),
                (lambda: domain.updateDeviceFlags(RNG, CONFIG), libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "'rng'"),
                (lambda: domain.attachDeviceFlags("<disk", CONFIG), libvirt.VIR_ERR_XML_DETAIL, "(device_definition):1"),
                (lambda: domain.attachDevice(RNG), libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running"),
                (lambda: domain.detachDevice(RNG), libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running"),
                (lambda: domain.updateDeviceFlags(RNG, LIVE), libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running")):
            found, said = error_of(call)
            assert (found, text in said) == (code, True), said
        for call, argument in calls(domain):
            assert error_of(call, argument, 1 << 20)[0] == libvirt.VIR_ERR_INVALID_ARG
        domain.attachDeviceFlags(RNG, 0)  # AFFECT_CURRENT
    assert len(elements(idle, "rng")) == 1


def test_read_only_clients_change_nothing(idle):
    before = idle.xml()
    with connection(readonly=True) as conn:
        domain = conn.lookupByName(idle.name)
        for call, argument in calls(domain):
            assert error_of(call, argument, CONFIG)[0] == libvirt.VIR_ERR_OPERATION_DENIED
    assert idle.xml() == before


def test_event(idle, images, make_domain):
    with watching(make_domain(uid=uuid.uuid4()), "--event", "lifecycle") as watcher:
        idle.virsh("attach-disk", images[0], "vda", "--config")
        idle.virsh("detach-disk", "vda", "--config")
        watcher.wait_for(idle, "lifecycle Defined Updated", "lifecycle Defined Updated")


# A running domain


@pytest.fixture(scope="module")
def guest(make_module_domain, module_bridge):
    """A domain with an interface on either path, both up."""
    domain = make_module_domain(devices=helpers.interface_xml(module_bridge, mac=MAC)
                                + helpers.interface_xml(module_bridge, mac=OTHER, extra="<driver name='qemu'/>"))
    with domain.boot() as console:
        console.command("ip link set eth0 up; ip link set eth1 up")
    return domain


def assert_carriers(domain, *expected):
    """What the guest has, in the end."""
    with domain.console() as console:
        console.prompt()
        helpers.wait_for(lambda: console.command("cat /sys/class/net/eth0/carrier /sys/class/net/eth1/carrier").split()
                         == list(expected), what=expected)


def links_of(domain, *options):
    return [domain.virsh("domif-getlink", mac, *options).split()[1] for mac in (MAC, OTHER)]


def test_link(guest):
    """The guest sees its cables go out and in; that they are out is known to the next daemon."""
    taps = [nic.find("target").get("dev") for nic in elements(guest, "interface")]
    assert_carriers(guest, "1", "1")
    guest.virsh("domif-setlink", taps[0], "down")
    assert (links_of(guest), links_of(guest, "--config")) == (["down", "up"], ["up", "up"])
    assert_carriers(guest, "0", "1")
    guest.virsh("domif-setlink", taps[1], "down")
    restart_daemon()
    assert (links_of(guest), links_of(guest, "--config")) == (["down", "down"], ["up", "up"])
    assert_carriers(guest, "0", "0")
    for tap in taps:
        guest.virsh("domif-setlink", tap, "up")
    assert links_of(guest) == ["up", "up"]
    assert_carriers(guest, "1", "1")


def test_link_is_undone(guest):
    """When the definition cannot be written, the guest has its cable in again."""
    down = helpers.interface_xml(elements(guest, "interface")[0].find("source").get("bridge"), mac=MAC,
                                 extra="<link state='down'/>")
    with connection() as conn, unwritable(guest):
        code, text = error_of(conn.lookupByName(guest.name).updateDeviceFlags, down, LIVE | CONFIG)
    assert (code, "cannot create file" in text) == (libvirt.VIR_ERR_SYSTEM_ERROR, True), text
    assert links_of(guest) == links_of(guest, "--config") == ["up", "up"]
    assert_carriers(guest, "1", "1")
    with connection() as conn:
        conn.lookupByName(guest.name).updateDeviceFlags(down, LIVE | CONFIG)
    assert links_of(guest) == links_of(guest, "--config") == ["down", "up"]
    assert_carriers(guest, "0", "1")


def test_bridge(paused, bridge, other_bridge):
    """The TAP moves to another bridge and VLAN; when the definition cannot be written, it is back where it was."""
    tap = elements(paused, "interface")[0].find("target").get("dev")
    there = helpers.interface_xml(other_bridge, mac=MAC, extra="<vlan><tag id='7'/></vlan><port isolated='yes'/>")
    with connection() as conn, unwritable(paused):
        code, text = error_of(conn.lookupByName(paused.name).updateDeviceFlags, there, LIVE | CONFIG)
    assert (code, "cannot create file" in text) == (libvirt.VIR_ERR_SYSTEM_ERROR, True), text
    assert helpers.links()[tap]["master"] == bridge
    with connection() as conn:
        domain = conn.lookupByName(paused.name)
        domain.updateDeviceFlags(there, LIVE | CONFIG)
        assert helpers.links()[tap]["master"] == other_bridge
        assert "isolated on" in helpers.run("bridge", "-d", "link", "show", "dev", tap).stdout
        for options in (), ("--inactive",):
            assert elements(paused, "interface", *options)[0].find("source").get("bridge") == other_bridge
        code, text = error_of(domain.updateDeviceFlags, helpers.interface_xml("nobridge", mac=MAC), LIVE | CONFIG)
        assert "bridge 'nobridge' does not exist" in text
        assert helpers.links()[tap]["master"] == other_bridge
        restart_daemon()
    with connection() as conn:
        conn.lookupByName(paused.name).updateDeviceFlags(helpers.interface_xml(bridge, mac=MAC), LIVE | CONFIG)
    assert helpers.links()[tap]["master"] == bridge


def test_limits(paused):
    """update-device changes what domiftune shows; what cannot change is named, and nothing has changed."""
    source = elements(paused, "interface")[0].find("source").get("bridge")
    limits = "<bandwidth><inbound average='1000' peak='2000' burst='64'/></bandwidth>"
    with connection() as conn:
        domain = conn.lookupByName(paused.name)
        domain.updateDeviceFlags(helpers.interface_xml(source, mac=MAC, extra=limits), LIVE | CONFIG)
        told = output.pairs(paused.virsh("domiftune", MAC))
        assert (told["inbound.average"], told["inbound.peak"]) == ("1000", "2000")
        before = paused.xml()
        code, text = error_of(domain.updateDeviceFlags,
                              helpers.interface_xml(source, mac=MAC, extra="<link state='down'/><mtu size='1400'/>"), LIVE)
        assert (code, "MTU cannot change" in text) == (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, True), text
        assert paused.xml() == before
        domain.updateDeviceFlags(helpers.interface_xml(source, mac=MAC), LIVE)
    assert set(output.pairs(paused.virsh("domiftune", MAC, "--live")).values()) == {"0"}
