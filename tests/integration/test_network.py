"""NICs on the host's side: TAPs, bridges, VLANs, limits, libvirt's networks, addresses."""
import json
import os
import xml.etree.ElementTree as ElementTree

import pytest

import helpers
from helpers import ports_of

MAC = "52:54:00:77:00:02"
KERNEL = helpers.HALTING


def tap_of(domain, number=0):
    rows = [line.split() for line in domain.virsh("domiflist").splitlines() if line.strip()]
    return rows[number][0]


def start(make_domain, *interfaces, **arguments):
    domain = make_domain(devices="".join(interfaces), **arguments)
    domain.start()
    return domain


def bridge_json(*args):
    return json.loads(helpers.run("bridge", "-d", "-j", *args).stdout)


@pytest.fixture
def vlan_bridge(bridge):
    helpers.run("ip", "link", "set", bridge, "type", "bridge", "vlan_filtering", "1")
    return bridge


def test_tap(no_leaks, make_domain, bridge):
    domain = start(make_domain, helpers.interface_xml(bridge, mac=MAC))
    link = helpers.links()[tap_of(domain)]
    assert link["master"] == bridge
    assert link["address"] == "fe" + MAC[2:]
    assert link["mtu"] == 1500 and "UP" in link["flags"]
    assert link["inet6_addr_gen_mode"] == "none"
    assert link["linkinfo"]["info_data"]["persist"] is False
    assert not helpers.run("ip", "-6", "address", "show", "dev", link["ifname"]).stdout


def test_tap_has_the_requested_name(no_leaks, make_domain, bridge):
    domain = start(make_domain, helpers.interface_xml(bridge, target="web-eth0"))
    assert tap_of(domain) == "web-eth0"


def test_requested_vhost_is_required(no_leaks, make_domain, bridge):
    domain = make_domain(devices=helpers.interface_xml(bridge, extra="<driver name='vhost'/>"))
    os.rename("/dev/vhost-net", "/dev/vhost-net.away")
    try:
        text = domain.virsh("start", check=False)
    finally:
        os.rename("/dev/vhost-net.away", "/dev/vhost-net")
    assert "unsupported configuration: vhost-net was requested for an interface, but is unavailable" in text
    domain.start("--paused")


def test_mtu(make_domain, bridge):
    helpers.run("ip", "link", "set", bridge, "mtu", "1400")
    first = start(make_domain, helpers.interface_xml(bridge))
    second = start(make_domain, helpers.interface_xml(bridge, extra="<mtu size='1300'/>"))
    assert helpers.links()[tap_of(first)]["mtu"] == 1400
    assert helpers.links()[tap_of(second)]["mtu"] == 1300


def test_isolated_port(make_domain, bridge):
    domain = start(make_domain, helpers.interface_xml(bridge, extra="<port isolated='yes'/>"))
    (port,) = bridge_json("link", "show", "dev", tap_of(domain))
    assert port["isolated"] is True


def test_vlan(no_leaks, make_domain, vlan_bridge):
    domain = start(make_domain, helpers.interface_xml(vlan_bridge, extra="<vlan><tag id='42'/></vlan>"))
    (port,) = bridge_json("vlan", "show", "dev", tap_of(domain))
    (vlan,) = port["vlans"]
    assert vlan["vlan"] == 42 and set(vlan["flags"]) == {"PVID", "Egress Untagged"}


@pytest.mark.parametrize("source, message", [
    ("no-such-br", "bridge 'no-such-br' does not exist: create it"),
    ("lo", "interface 'lo' is not a Linux bridge"),
])
def test_other_interfaces_are_no_bridges(no_leaks, make_domain, source, message):
    domain = make_domain(devices=helpers.interface_xml(source))
    with pytest.raises(helpers.CommandError, match=message):
        domain.start()


def test_vlan_on_a_bridge_that_does_not_filter(no_leaks, make_domain, bridge):
    domain = make_domain(devices=helpers.interface_xml(bridge, extra="<vlan><tag id='42'/></vlan>"))
    with pytest.raises(helpers.CommandError, match="does not filter VLANs"):
        domain.start()


def test_one_bad_nic_undoes_the_others(no_leaks, make_domain, bridge, network):
    before = ports_of(network)
    domain = make_domain(devices=helpers.interface_xml(bridge) + helpers.interface_xml(network=network)
                         + helpers.interface_xml("no-such-br"))
    with pytest.raises(helpers.CommandError, match="no-such-br"):
        domain.start()
    assert ports_of(network) == before


def test_bandwidth(no_leaks, make_domain, bridge):
    limits = ("<bandwidth><inbound average='1000' peak='2000' burst='256'/>"
              "<outbound average='500' burst='512'/></bandwidth>")
    tap = tap_of(start(make_domain, helpers.interface_xml(bridge, extra=limits)))
    qdiscs = helpers.run("tc", "qdisc", "show", "dev", tap).stdout
    assert "qdisc htb 1: root" in qdiscs and "qdisc ingress ffff:" in qdiscs
    assert "rate 8Mbit ceil 16Mbit burst 256Kb" in helpers.run("tc", "class", "show", "dev", tap).stdout
    assert "rate 4Mbit burst 512Kb" in helpers.run("tc", "filter", "show", "dev", tap, "ingress").stdout


def test_bandwidth_changes_while_it_runs(make_domain, bridge):
    domain = start(make_domain, helpers.interface_xml(bridge))
    tap = tap_of(domain)
    domain.virsh("domiftune", tap, "--live", "--inbound", "3000,0,0", "--outbound", "1000,0,0")
    assert "rate 24Mbit ceil 24Mbit" in helpers.run("tc", "class", "show", "dev", tap).stdout
    assert "rate 8Mbit" in helpers.run("tc", "filter", "show", "dev", tap, "ingress").stdout
    domain.virsh("domiftune", tap, "--live", "--inbound", "0", "--outbound", "0")
    qdiscs = helpers.run("tc", "qdisc", "show", "dev", tap).stdout
    assert "htb" not in qdiscs and "ingress" not in qdiscs


def port_bandwidth(network):
    """The bandwidth of the network's only port: direction -> average, peak and burst."""
    (port,) = ports_of(network)
    document = ElementTree.fromstring(helpers.run("virsh", "net-port-dumpxml", network, port).stdout)
    return {limit.tag: tuple(int(limit.get(name, "0")) for name in ("average", "peak", "burst"))
            for limit in document.findall("bandwidth/*")}


def test_the_networks_port_follows(make_domain, network):
    """domiftune updates the network, which accounts for its bridge."""
    limits = "<bandwidth><inbound average='1000'/></bandwidth>"
    domain = start(make_domain, helpers.interface_xml(network=network, extra=limits))
    tap = tap_of(domain)
    assert port_bandwidth(network) == {"inbound": (1000, 0, 0)}
    domain.virsh("domiftune", tap, "--live", "--inbound", "3000,4000,512", "--outbound", "1000,0,0")
    assert port_bandwidth(network) == {"inbound": (3000, 4000, 512), "outbound": (1000, 0, 0)}
    assert "rate 24Mbit ceil 32Mbit" in helpers.run("tc", "class", "show", "dev", tap).stdout
    domain.virsh("domiftune", tap, "--live", "--inbound", "0", "--outbound", "0")
    assert port_bandwidth(network) == {}


def test_network(no_leaks, make_domain, network):
    before = ports_of(network)
    domain = start(make_domain, helpers.interface_xml(network=network, mac=MAC))
    (port,) = ports_of(network) - before
    document = ElementTree.fromstring(helpers.run("virsh", "net-port-dumpxml", network, port).stdout)
    assert document.findtext("owner/name") == domain.name
    assert document.findtext("owner/uuid") == domain.virsh("domuuid").strip()
    assert document.find("mac").get("address") == MAC
    assert helpers.links()[tap_of(domain)]["master"] == "virbr0"
    domain.virsh("destroy")
    assert ports_of(network) == before


def test_missing_network(no_leaks, make_domain):
    domain = make_domain(devices=helpers.interface_xml(network="no-such-net"))
    with pytest.raises(helpers.CommandError, match="Network not found: no network with matching name 'no-such-net'"):
        domain.start()


def test_inactive_network(no_leaks, make_domain, tmp_path):
    path = tmp_path / "net.xml"
    path.write_text("<network><name>sleeping</name></network>")
    helpers.run("virsh", "net-define", path)
    try:
        domain = make_domain(devices=helpers.interface_xml(network="sleeping"))
        with pytest.raises(helpers.CommandError, match="network 'sleeping' is not active: start it"):
            domain.start()
    finally:
        helpers.run("virsh", "net-undefine", "sleeping")


def test_traffic_and_addresses(make_domain, bridge):
    """The guest's traffic shows in the host's tables and counters, from the guest's side."""
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=helpers.interface_xml(bridge, mac=MAC),
                         cmdline=f"{helpers.CMDLINE} vm.ip=192.168.77.2/24")
    with domain.boot() as console:
        console.command("ping -c 3 -w 30 192.168.77.1")
        tap = tap_of(domain)
        assert "192.168.77.2" in domain.virsh("domifaddr", "--source", "arp")
        rows = [line.split() for line in domain.virsh("domifstat", tap).splitlines() if line.strip()]
        stats = {name: int(value) for _, name, value in rows}
        assert stats["rx_packets"] >= 3 and stats["tx_packets"] >= 3
        sent = int(helpers.run("cat", f"/sys/class/net/{tap}/statistics/rx_packets").stdout)
        assert stats["tx_packets"] <= sent


def test_two_guests_and_the_host_on_one_bridge(no_leaks, make_domain, bridge):
    """Each of the three reaches the other two."""
    first, second = (make_domain(kernel=helpers.Kernel("6.12"), devices=helpers.interface_xml(bridge),
                                 cmdline=f"{helpers.CMDLINE} vm.ip={address}/24")
                     for address in ("192.168.77.2", "192.168.77.3"))
    with first.boot() as one, second.boot() as other:
        one.command("ping -c 2 -w 30 192.168.77.3")
        one.command("ping -c 2 -w 30 192.168.77.1")
        other.command("ping -c 2 -w 30 192.168.77.2")
        other.command("ping -c 2 -w 30 192.168.77.1")
        for address in ("192.168.77.2", "192.168.77.3"):
            helpers.run("ping", "-c", "2", "-w", "30", address)


def test_tap_goes_with_a_killed_monitor(no_leaks, make_domain, bridge, network):
    """The ports of bridge and network are released even when the monitor is killed."""
    domain = make_domain(devices=helpers.interface_xml(bridge) + helpers.interface_xml(network=network))
    domain.start("--paused")
    assert "portid" in domain.xml()
    helpers.os.kill(helpers.monitor_of(domain), 9)
    domain.wait_state("shut off")
    helpers.wait_for(lambda: not ports_of(network), what="the port is released")


def test_lease(make_domain, network):
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=helpers.interface_xml(network=network, mac=MAC),
                         cmdline=f"{helpers.CMDLINE} vm.dhcp")
    with domain.boot() as console:
        # dnsmasq answers the guest first and updates libvirt's list of leases a little later.
        helpers.wait_for(lambda: "192.168.122." in domain.virsh("domifaddr", "--source", "lease"))
        console.command("ping -c 2 -w 20 192.168.122.1")
