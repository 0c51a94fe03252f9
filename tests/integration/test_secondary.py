"""Networks, storage, node devices and the rest of libvirt's drivers: relayed to libvirt's own daemons."""
import contextlib
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
import output
from clients import EventLoop, connection, error_of

KERNEL = helpers.HALTING
NETWORK = "<network><name>relayed</name><bridge name='relay-br' stp='off' delay='0'/></network>"
SOCKETS = ["libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"]


def both(command, driver, *args):
    """What virsh prints through virtmicrod and directly from libvirt's driver."""
    return helpers.virsh(command, *args), helpers.virsh(command, *args, uri=f"{driver}:///system")


@pytest.fixture
def network(tmp_path):
    """A network defined through virtmicrod."""
    path = tmp_path / "network.xml"
    path.write_text(NETWORK)
    helpers.virsh("net-define", path)
    yield "relayed"
    helpers.virsh("net-destroy", "relayed", check=False)
    helpers.virsh("net-undefine", "relayed", check=False)


@pytest.fixture
def pool(tmp_path):
    """A pool of files defined and started through virtmicrod."""
    directory = tmp_path / "pool"
    directory.mkdir()
    helpers.virsh("pool-define-as", "relayed", "dir", "--target", directory)
    helpers.virsh("pool-start", "relayed")
    yield directory
    helpers.virsh("pool-destroy", "relayed", check=False)
    helpers.virsh("pool-undefine", "relayed", check=False)


@pytest.mark.parametrize("command, driver", [("net-list", "network"), ("nodedev-list", "nodedev"), ("iface-list", "interface"),
                                             ("nwfilter-list", "nwfilter")])
def test_lists_are_libvirts(command, driver):
    options = ["--all"] if command in ("net-list", "iface-list") else []
    relayed, direct = both(command, driver, *options)
    assert relayed == direct
    assert relayed.strip() or command == "iface-list"


def test_net_list(network):
    rows = output.table(output.told("net-list", "--all"))
    assert ["relayed", "inactive", "no", "yes"] in rows
    helpers.virsh("net-start", network)
    helpers.virsh("net-autostart", network)
    assert ["relayed", "active", "yes", "yes"] in output.table(helpers.virsh("net-list"))
    assert "relay-br" in helpers.links()
    assert output.pairs(helpers.virsh("net-info", network))["Bridge"] == "relay-br"
    relayed, direct = both("net-dumpxml", "network", network)
    assert relayed == direct and ElementTree.fromstring(relayed).findtext("name") == "relayed"
    helpers.virsh("net-destroy", network)
    assert "relay-br" not in helpers.links()


def test_errors_are_libvirts():
    relayed, direct = (helpers.virsh("net-start", "no-such-network", check=False, uri=uri)
                       for uri in (helpers.URI, "network:///system"))
    assert relayed == direct and "error: failed to get network 'no-such-network'" in relayed
    with connection() as conn:
        assert error_of(conn.networkLookupByName, "no-such-network")[0] == 43
        assert error_of(conn.storagePoolLookupByName, "no-such-pool")[0] == 49
        assert error_of(conn.storageVolLookupByPath, "/no/such/volume")[0] == 50


def test_pool_list(pool):
    assert ["relayed", "active", "no"] in output.table(helpers.virsh("pool-list", "--all"))
    helpers.virsh("vol-create-as", "relayed", "disk.raw", "1M", "--format", "raw")
    assert output.table(helpers.virsh("vol-list", "relayed")) == [["disk.raw", str(pool / "disk.raw")]]
    assert helpers.virsh("vol-path", "disk.raw", "--pool", "relayed").strip() == str(pool / "disk.raw")
    assert (pool / "disk.raw").stat().st_size == 1 << 20
    relayed, direct = both("pool-dumpxml", "storage", "relayed")
    assert relayed == direct


def test_volumes_travel_in_streams(pool, tmp_path):
    """Larger than a packet, in both directions."""
    size = 3 << 20
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(number * 7 % 251 for number in range(size // 64)) * 64)
    helpers.virsh("vol-create-as", "relayed", "disk.raw", str(size), "--format", "raw")
    helpers.virsh("vol-upload", "disk.raw", source, "--pool", "relayed")
    assert (pool / "disk.raw").read_bytes() == source.read_bytes()
    helpers.virsh("vol-download", "disk.raw", back, "--pool", "relayed")
    assert back.read_bytes() == source.read_bytes()


def test_sparse_volumes_keep_their_holes(pool, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    with source.open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"data")
    helpers.virsh("vol-create-as", "relayed", "disk.raw", "8M", "--format", "raw", "--allocation", "0")
    helpers.virsh("vol-upload", "disk.raw", source, "--pool", "relayed", "--sparse")
    helpers.virsh("vol-download", "disk.raw", back, "--pool", "relayed", "--sparse")
    assert back.read_bytes() == source.read_bytes()
    assert back.stat().st_blocks * 512 < 1 << 20


def test_a_domain_on_a_volume(pool, make_domain):
    helpers.virsh("vol-create-as", "relayed", "disk.raw", "2M", "--format", "raw")
    domain = make_domain(devices="<disk type='volume' device='disk'><source pool='relayed' volume='disk.raw'/>"
                                 "<target dev='vda' bus='virtio'/></disk>")
    domain.start("--paused")
    assert int(output.pairs(domain.virsh("domblkinfo", "vda"))["Capacity"]) == 2 << 20


def test_nodedev_list():
    names = helpers.virsh("nodedev-list").split()
    assert "computer" in names
    assert ElementTree.fromstring(helpers.virsh("nodedev-dumpxml", "computer")).findtext("name") == "computer"


def test_secrets(tmp_path):
    path = tmp_path / "secret.xml"
    path.write_text("<secret ephemeral='yes' private='no'><description>relayed</description></secret>")
    number = output.told("secret-define", path).split()[1]
    try:
        assert number in helpers.virsh("secret-list")
        (tmp_path / "value").write_text("secret")
        helpers.virsh("secret-set-value", number, "--plain", "--file", tmp_path / "value")
        assert helpers.virsh("secret-get-value", number).strip() == "c2VjcmV0"
    finally:
        helpers.virsh("secret-undefine", number)


def test_read_only_reads_and_does_not_write(network):
    assert "relayed" in helpers.virsh("net-list", "--all", readonly=True)
    text = helpers.virsh("net-start", network, readonly=True, check=False)
    assert "error: operation forbidden: read only access prevents virNetworkCreate" in text
    assert "relayed" not in helpers.virsh("net-list")


def test_events(network):
    EventLoop.start()
    seen = []
    with connection() as conn:
        number = conn.networkEventRegisterAny(None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE,
                                              lambda _, net, event, *rest: seen.append((net.name(), event)), None)
        helpers.virsh("net-start", network, uri="network:///system")
        helpers.virsh("net-destroy", network)
        expected = [("relayed", libvirt.VIR_NETWORK_EVENT_STARTED), ("relayed", libvirt.VIR_NETWORK_EVENT_STOPPED)]
        helpers.wait_for(lambda: seen == expected, what=f"{seen}")
        conn.networkEventDeregisterAny(number)


@contextlib.contextmanager
def without_libvirtd():
    helpers.run("systemctl", "stop", *SOCKETS, "libvirtd.service")
    try:
        yield
    finally:
        helpers.run("systemctl", "start", *SOCKETS)


def test_without_libvirtd(make_domain):
    """Domains do not need it; its own calls are unsupported while it is stopped, and work again afterwards."""
    domain = make_domain()
    assert helpers.virsh("net-list", "--all")
    with without_libvirtd():
        domain.start("--paused")
        assert domain.state() == "paused"
        for command in ("net-list", "pool-list", "nodedev-list", "secret-list"):
            text = helpers.virsh(command, check=False)
            assert "error: this function is not supported by the connection driver: vir" in text, command
        with connection() as conn:
            assert error_of(conn.listAllNetworks)[0] == 3
    assert "default" in helpers.virsh("net-list", "--all")


def test_a_call_during_which_libvirtd_dies():
    """The client gets an answer, not silence."""
    with connection() as conn:
        assert conn.listAllNetworks() is not None
        helpers.run("systemctl", "kill", "-s", "KILL", "libvirtd.service")
        code, text = error_of(conn.listAllNetworks)
        assert (code, text) in [(0, ""), (3, text)] or (code == 1 and "libvirt's network driver was lost" in text)
        helpers.wait_for(lambda: error_of(conn.listAllNetworks)[0] == 0, what="it works again")
