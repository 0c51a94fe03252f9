"""NICs from the guest's side, through vhost and through the monitor: the XML's settings, and intact data."""
import contextlib
import hashlib
import os
import socket
import threading
import urllib.request

import pytest

import helpers

SIZE = 4 << 20
VHOST, OWN, CUT = ({"mac": f"52:54:00:77:00:0{number}"} for number in (2, 3, 4))
PATHS = [pytest.param("eth0", "192.168.77.1", id="vhost"), pytest.param("eth1", "192.168.79.1", id="monitor")]
# virtio 1.2 §5.1.3: checksums, segments of either IP version and with congestion marks, from and to the driver.
OFFLOADS = (0, 1, 7, 8, 9, 11, 12, 13)


@pytest.fixture(scope="module")
def bridges():
    """One network per path, so that the guest's routes distinguish them."""
    names = {f"tbnic{number}": f"192.168.{number}.1/24" for number in (77, 79)}
    for name, address in names.items():
        helpers.run("ip", "link", "add", name, "type", "bridge", "forward_delay", "0")
        helpers.run("ip", "address", "add", address, "dev", name)
        helpers.run("ip", "link", "set", name, "up")
    yield list(names)
    for name in names:
        helpers.run("ip", "link", "delete", name)


@pytest.fixture(scope="module")
def domain(bridges, make_module_domain):
    first, second = bridges
    return make_module_domain(
        cmdline=f"{helpers.CMDLINE} vm.ip=eth0:192.168.77.2/24 vm.ip=eth1:192.168.79.2/24",
        devices=helpers.interface_xml(first, **VHOST)
        + helpers.interface_xml(second, **OWN, extra="<driver name='qemu'/><mtu size='1400'/>")
        + helpers.interface_xml(first, **CUT, extra="<link state='down'/>"))


@pytest.fixture(scope="module")
def console(domain):
    with domain.boot() as opened:
        yield opened


def taps_of(domain):
    return [line.split()[0] for line in domain.virsh("domiflist").splitlines() if line.strip()]


def counters(tap):
    """Bytes and packets that the guest has sent and received."""
    directory = helpers.pathlib.Path(f"/sys/class/net/{tap}/statistics")
    return [[int((directory / f"{side}_{unit}").read_text()) for unit in ("bytes", "packets")] for side in ("rx", "tx")]


def mean_length(before, after):
    return (after[0] - before[0]) / (after[1] - before[1])


@contextlib.contextmanager
def sender(address, data):
    """A TCP server that sends data to whoever connects first; yields its port."""
    with socket.create_server((address, 0)) as server:
        server.settimeout(helpers.BOOT)

        def run():
            with server.accept()[0] as connection:
                connection.settimeout(helpers.BOOT)
                connection.sendall(data)

        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        thread.join(helpers.BOOT)


def test_one_path_is_vhost(domain, console):
    """Unless driver is 'qemu' the kernel moves the frames: two of the three NICs have vhost-net."""
    targets = helpers.descriptors(helpers.monitor_of(domain))
    assert (targets.count("/dev/net/tun"), targets.count("/dev/vhost-net")) == (3, 2)


def test_address_mtu_and_link(console):
    for number, (wanted, mtu, carrier) in enumerate(((VHOST, 1500, "1"), (OWN, 1400, "1"), (CUT, 1500, "0"))):
        path = f"/sys/class/net/eth{number}"
        assert console.command(f"cat {path}/address {path}/mtu").split() == [wanted["mac"], str(mtu)]
        console.command(f"ip link set eth{number} up")
        assert console.command(f"cat {path}/carrier").strip() == carrier
    assert console.command("cat /sys/class/net/eth2/operstate").strip() == "down"


@pytest.mark.parametrize("interface, host", PATHS)
def test_offloads_are_on(domain, console, interface, host):
    """The guest has accepted them, and the TAP passes frames to it unsegmented."""
    bits = console.command(f"cat /sys/class/net/{interface}/device/features").strip()
    assert [bits[bit] for bit in OFFLOADS] == ["1"] * len(OFFLOADS), bits
    features = helpers.run("ethtool", "-k", taps_of(domain)[int(interface[-1])]).stdout
    for name in ("tx-checksumming", "tcp-segmentation-offload"):
        assert f"{name}: on" in features


@pytest.mark.parametrize("interface, host", PATHS)
def test_tcp(domain, console, interface, host):
    """Some MiB in each direction arrive intact, in frames far longer than the MTU."""
    data = os.urandom(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    tap = taps_of(domain)[int(interface[-1])]
    console.command(f"ping -c 2 -w 30 {host}")
    start = counters(tap)
    with sender(host, data) as port:
        console.command(f"nc {host} {port} </dev/null >/tmp/data", helpers.BOOT)
    middle = counters(tap)
    assert console.command("sha256sum /tmp/data", helpers.BOOT).split()[0] == digest
    console.command("pidof httpd >/dev/null || httpd -h /tmp")
    with urllib.request.urlopen(f"http://{host[:-1]}2/data", timeout=helpers.BOOT) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == digest
    end = counters(tap)
    assert mean_length(middle[0], end[0]) > 2 * 1514
    assert mean_length(start[1], middle[1]) > 2 * 1514
