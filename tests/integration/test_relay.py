"""Networks, storage and the rest: libvirt's own daemon serves them to clients of micro:///system."""
import os
import threading
import uuid

import libvirt
import pytest

import helpers
from clients import EventLoop, connection, error_of

KERNEL = helpers.HALTING
LISTS = {
    "network": libvirt.virConnect.listAllNetworks,
    "storage": libvirt.virConnect.listAllStoragePools,
    "nodedev": libvirt.virConnect.listAllDevices,
    "secret": libvirt.virConnect.listAllSecrets,
    "nwfilter": libvirt.virConnect.listAllNWFilters,
    "interface": libvirt.virConnect.listAllInterfaces,
}


@pytest.fixture
def network():
    """XML of an isolated network that uses none of the host's addresses."""
    name = f"relay-{uuid.uuid4().hex[:8]}"
    yield f"<network><name>{name}</name><bridge name='{name[:15]}'/></network>"
    helpers.run("virsh", "-c", "network:///system", "net-destroy", name, check=False)
    helpers.run("virsh", "-c", "network:///system", "net-undefine", name, check=False)


@pytest.fixture
def volume(tmp_path):
    """A volume of 4 MiB in its own pool, accessed through micro:///system."""
    name = f"relay-{uuid.uuid4().hex[:8]}"
    with connection() as conn:
        pool = conn.storagePoolCreateXML(
            f"<pool type='dir'><name>{name}</name><target><path>{tmp_path}</path></target></pool>")
        yield pool.createXML("<volume><name>v</name><capacity>4194304</capacity></volume>")
        pool.destroy()


@pytest.mark.parametrize("driver", LISTS)
def test_lists_match_libvirts(driver):
    with connection() as ours, connection(f"{driver}:///system") as theirs:
        names = [sorted(thing.UUIDString() if driver == "secret" else thing.name() for thing in LISTS[driver](conn))
                 for conn in (ours, theirs)]
    assert names[0] == names[1]


def test_life_of_a_network(network):
    with connection() as conn:
        net = conn.networkDefineXML(network)
        assert net.isActive() == 0
        net.create()
        assert os.path.isdir(f"/sys/class/net/{net.bridgeName()}")
        net.destroy()
        net.undefine()
        assert error_of(net.isActive)[0] == libvirt.VIR_ERR_NO_NETWORK


def test_events_of_networks(network):
    EventLoop.start()
    seen, done = [], threading.Event()

    def note(_conn, net, event, _detail, _opaque):
        seen.append((net.name(), event))
        if event == libvirt.VIR_NETWORK_EVENT_UNDEFINED:
            done.set()

    with connection() as conn:
        callback = conn.networkEventRegisterAny(None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, note, None)
        net = conn.networkDefineXML(network)
        name = net.name()
        net.undefine()
        assert done.wait(helpers.CALL)
        conn.networkEventDeregisterAny(callback)
    assert [event for where, event in seen if where == name] == [libvirt.VIR_NETWORK_EVENT_DEFINED,
                                                                 libvirt.VIR_NETWORK_EVENT_UNDEFINED]


def test_upload_and_download(volume, tmp_path):
    data = os.urandom(4 << 20)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    helpers.virsh("vol-upload", volume.path(), source)
    helpers.virsh("vol-download", volume.path(), target)
    assert target.read_bytes() == data


def test_holes_stay_holes(volume, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        file.truncate(4 << 20)
        file.seek(1 << 20)
        file.write(b"between two holes")
    helpers.virsh("vol-upload", "--sparse", volume.path(), source)
    helpers.virsh("vol-download", "--sparse", volume.path(), target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 2 << 20


def test_errors_are_libvirts():
    with connection() as conn:
        assert error_of(conn.networkLookupByName, "nowhere")[0] == libvirt.VIR_ERR_NO_NETWORK
        assert error_of(conn.storageVolLookupByPath, "/nowhere")[0] == libvirt.VIR_ERR_NO_STORAGE_VOL
        assert error_of(conn.networkDefineXML, "<network/>")[0] != 0


def test_readonly_clients_change_nothing(network):
    with connection(readonly=True) as conn:
        assert isinstance(conn.listAllNetworks(), list)
        assert error_of(conn.networkDefineXML, network)[0] == libvirt.VIR_ERR_OPERATION_DENIED


def test_domains_do_without_libvirtd(make_domain):
    units = ["libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"]
    domain = make_domain()
    with connection() as conn:
        assert conn.listAllNetworks() is not None
        helpers.run("systemctl", "stop", *units)
        try:
            assert error_of(conn.listAllNetworks)[0] == libvirt.VIR_ERR_NO_SUPPORT
            assert domain.name in helpers.virsh("list", "--all", "--name")
        finally:
            helpers.run("systemctl", "start", *units[1:])
        assert conn.listAllNetworks() is not None
