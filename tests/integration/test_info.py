"""What virsh shows of a booted guest with two disks and two NICs, and of an inactive domain like it."""
import json
import re
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
import output
from clients import connection

MAC_BRIDGE = "52:54:00:78:00:02"
MAC_NETWORK = "52:54:00:79:00:02"
NETWORK = """<network><name>info-net</name><bridge name='info-br' stp='off' delay='0'/>
<ip address='192.168.79.1' netmask='255.255.255.0'><dhcp><range start='192.168.79.10' end='192.168.79.20'/></dhcp></ip>
</network>"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A libvirt network with a DHCP server."""
    path = tmp_path_factory.mktemp("network") / "network.xml"
    path.write_text(NETWORK)
    helpers.run("virsh", "-c", "network:///system", "net-create", path)
    yield "info-net"
    helpers.run("virsh", "-c", "network:///system", "net-destroy", "info-net")


@pytest.fixture(scope="module")
def devices(module_bridge, network, make_module_disk):
    """The domain's devices, and the values that tests compare with."""
    disk, readonly = make_module_disk(16), make_module_disk(8)
    xml = (helpers.disk_xml(disk) + helpers.disk_xml(readonly, "vdb", readonly=True)
           + helpers.interface_xml(module_bridge, mac=MAC_BRIDGE) + helpers.interface_xml(network=network, mac=MAC_NETWORK))
    return {"xml": xml, "bridge": module_bridge, "network": network, "disk": disk, "readonly": readonly}


@pytest.fixture(scope="module")
def idle(devices, make_module_domain):
    return make_module_domain(devices=devices["xml"], vcpus=2)


@pytest.fixture(scope="module")
def guest(devices, make_module_domain):
    """Booted, with addresses on both NICs, and after some reads and writes."""
    domain = make_module_domain(devices=devices["xml"], cmdline=f"{helpers.CMDLINE} vm.ip=192.168.78.2/24")
    with domain.boot() as console:
        console.command("ping -c 3 -W 5 192.168.78.1")
        console.command("ip link set eth1 up; udhcpc -q -n -t 20 -T 1 -i eth1 -s /etc/udhcpc", timeout=helpers.BOOT)
        console.command("dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct")
        console.command("dd if=/dev/zero of=/dev/vda bs=1M count=2 conv=fsync")
    return domain


def taps(domain):
    """The domain's TAPs, in the order of its NICs."""
    return [row[0] for row in output.table(domain.virsh("domiflist"))]


def link_stats(name):
    """The host kernel's counters from the guest's side: the TAP sends what the guest receives."""
    link, = json.loads(helpers.run("ip", "-j", "-s", "link", "show", name).stdout)
    return {"rx": link["stats64"]["tx"], "tx": link["stats64"]["rx"]}


def test_dominfo_inactive(idle):
    told = output.pairs(idle.virsh("dominfo"))
    assert {key: value for key, value in told.items() if key != "UUID"} == {
        "Id": "-", "Name": idle.name, "OS Type": "hvm", "State": "shut off", "CPU(s)": "2", "Max memory": "131072 KiB",
        "Used memory": "131072 KiB", "Persistent": "yes", "Autostart": "disable", "Managed save": "no"}
    assert told["UUID"] == idle.virsh("domuuid").strip()


def test_dominfo(guest):
    told = output.pairs(guest.virsh("dominfo"))
    assert (told["Id"], told["State"], told["CPU(s)"]) == (str(guest.id()), "running", "1")
    assert told["Max memory"] == told["Used memory"] == "131072 KiB"
    assert float(told["CPU time"].rstrip("s")) > 1


def test_domiflist(guest, devices):
    rows = output.table(guest.virsh("domiflist"))
    assert [row[1:] for row in rows] == [["bridge", devices["bridge"], "virtio", MAC_BRIDGE],
                                         ["network", devices["network"], "virtio", MAC_NETWORK]]
    assert {row[0] for row in rows} <= helpers.taps()


def test_domiflist_inactive(idle, guest):
    for rows in (output.table(idle.virsh("domiflist")), output.table(guest.virsh("domiflist", "--inactive"))):
        assert [(row[0], row[4]) for row in rows] == [("-", MAC_BRIDGE), ("-", MAC_NETWORK)]


def test_domblklist(guest, idle, devices):
    rows = [["vda", str(devices["disk"])], ["vdb", str(devices["readonly"])]]
    for domain in (guest, idle):
        assert output.table(domain.virsh("domblklist")) == rows
        assert output.table(domain.virsh("domblklist", "--details")) == [["file", "disk", *row] for row in rows]


def test_domblkinfo(guest, idle, devices):
    for domain in (guest, idle):
        for path in ("vda", devices["disk"]):
            told = {key: int(value) for key, value in output.pairs(domain.virsh("domblkinfo", path)).items()}
            assert told["Capacity"] == told["Physical"] == 16 << 20
            assert told["Allocation"] == devices["disk"].stat().st_blocks * 512
    assert int(output.pairs(idle.virsh("domblkinfo", "vdb"))["Capacity"]) == 8 << 20


def test_domblkinfo_all(guest):
    rows = output.table(guest.virsh("domblkinfo", "--all"))
    assert [row[:2] for row in rows] == [["vda", str(16 << 20)], ["vdb", str(8 << 20)]]


def test_domblkinfo_of_a_volume(make_domain, tmp_path):
    """Before any start has resolved its path."""
    helpers.virsh("pool-create-as", "info-pool", "dir", "--target", tmp_path)
    try:
        helpers.virsh("vol-create-as", "info-pool", "v.raw", "1M", "--format", "raw")
        domain = make_domain(devices="<disk type='volume'><source pool='info-pool' volume='v.raw'/><target dev='vda'/></disk>")
        assert output.pairs(domain.virsh("domblkinfo", "vda"))["Capacity"] == str(1 << 20)
        helpers.virsh("vol-delete", "v.raw", "--pool", "info-pool")
        assert "Storage volume not found" in domain.virsh("domblkinfo", "vda", check=False)
    finally:
        helpers.virsh("pool-destroy", "info-pool")


def test_domblkinfo_of_an_unknown_disk(guest):
    assert "invalid argument: invalid path 'vdz' not assigned to domain" in guest.virsh("domblkinfo", "vdz", check=False)


def test_domifstat(guest):
    for name in taps(guest):
        told = output.words(guest.virsh("domifstat", name))
        counted = link_stats(name)
        for side in ("rx", "tx"):
            assert 0 < int(told[f"{side}_packets"]) <= counted[side]["packets"]
            assert 0 < int(told[f"{side}_bytes"]) <= counted[side]["bytes"]
            assert {told[f"{side}_errs"], told[f"{side}_drop"]} <= {"0", str(counted[side]["dropped"])}


def test_domifstat_by_mac(guest):
    """virsh passes a MAC through unchanged."""
    told = output.words(guest.virsh("domifstat", MAC_BRIDGE))
    assert int(told["rx_packets"]) > 0


def test_domifstat_of_an_unknown_interface(guest):
    text = guest.virsh("domifstat", "vnetz", check=False)
    assert "error: invalid argument: invalid path, 'vnetz' is not a known interface" in text


def test_domblkstat(guest):
    told = {key: int(value) for key, value in output.words(guest.virsh("domblkstat", "vda")).items()}
    assert told["rd_bytes"] >= 4 << 20 and told["rd_req"] > 0
    assert told["wr_bytes"] >= 2 << 20 and told["wr_req"] > 0
    assert told["flush_operations"] > 0 and told["rd_total_times"] > 0 and told["wr_total_times"] > 0
    other = {key: int(value) for key, value in output.words(guest.virsh("domblkstat", "vdb")).items()}
    both = {key: int(value) for key, value in output.words(guest.virsh("domblkstat")).items()}
    assert other["wr_bytes"] == 0
    assert both["rd_bytes"] == told["rd_bytes"] + other["rd_bytes"]


def test_domblkstat_human(guest):
    told = guest.virsh("domblkstat", "vda", "--human")
    assert re.search(r"number of read operations: +[1-9]", told) and re.search(r"number of bytes written: +[1-9]", told)


def test_domblkstat_of_an_unknown_disk(guest):
    text = guest.virsh("domblkstat", "vdz", check=False)
    assert "invalid argument: invalid path 'vdz' not assigned to domain" in text


def test_block_and_interface_stats_need_a_running_domain(idle):
    for command in ("domblkstat", "domifstat"):
        assert "domain is not running" in idle.virsh(command, "vda", check=False)


def test_dommemstat(guest):
    told = {key: int(value) for key, value in output.words(guest.virsh("dommemstat")).items()}
    assert told["actual"] == 131072
    assert 16 << 10 < told["rss"] < 160 << 10


def test_cpu_stats(guest):
    told = guest.virsh("cpu-stats")
    assert "No per-CPU stats available" in told
    totals = {words[0]: float(words[1]) for words in re.findall(r"(\w+)\s+([0-9.]+) seconds", told)}
    assert set(totals) == {"cpu_time", "user_time", "system_time"}
    assert totals["cpu_time"] > 1
    assert abs(totals["cpu_time"] - totals["user_time"] - totals["system_time"]) < 0.1
    assert "Total:" in guest.virsh("cpu-stats", "--total")


def test_vcpuinfo(guest, idle):
    told = output.pairs(guest.virsh("vcpuinfo"))
    assert (told["VCPU"], told["State"], set(told["CPU Affinity"])) == ("0", "running", {"y"})
    assert told["CPU"].isdigit() and float(told["CPU time"].rstrip("s")) > 1
    told = idle.virsh("vcpuinfo")
    assert re.findall(r"^VCPU: +(\d)", told, re.MULTILINE) == ["0", "1"]
    for field in ("State", "CPU"):
        assert re.findall(rf"^{field}: +(.*)", told, re.MULTILINE) == ["N/A"] * 2


def test_vcpucount(guest, idle):
    assert [line.split() for line in guest.virsh("vcpucount").splitlines() if line] == [
        [which, where, "1"] for which in ("maximum", "current") for where in ("config", "live")]
    assert [line.split() for line in idle.virsh("vcpucount").splitlines() if line] == [
        ["maximum", "config", "2"], ["current", "config", "2"]]
    assert idle.virsh("vcpucount", "--maximum", "--config").strip() == "2"
    assert guest.virsh("vcpucount", "--active", "--live").strip() == "1"
    assert "domain is not running" in idle.virsh("vcpucount", "--live", check=False)


def test_domifaddr_arp(guest):
    rows = output.table(guest.virsh("domifaddr", "--source", "arp"))
    assert [taps(guest)[0], MAC_BRIDGE, "ipv4", "192.168.78.2/0"] in rows


def test_domifaddr_lease(guest):
    (name, mac, protocol, address), = output.table(guest.virsh("domifaddr"))
    assert (name, mac, protocol) == (taps(guest)[1], MAC_NETWORK, "ipv4")
    assert re.fullmatch(r"192\.168\.79\.(1\d|20)/24", address)
    for option in ("--interface", name), ("--full",):
        assert output.table(guest.virsh("domifaddr", *option)) == [[name, mac, protocol, address]]


def test_domifaddr_of_an_agent(guest):
    assert "guest agent is not configured" in guest.virsh("domifaddr", "--source", "agent", check=False)


def test_ttyconsole(guest, idle):
    path = guest.virsh("ttyconsole").strip()
    assert re.fullmatch(r"/dev/pts/\d+", path)
    console = ElementTree.fromstring(guest.xml()).find("devices/console")
    assert console.get("tty") == path == console.find("source").get("path")
    assert idle.virsh("ttyconsole").strip() == ""


# domstats


def test_domstats(guest, devices):
    told = output.stats(guest.virsh("domstats"))[guest.name]
    assert (told["state.state"], told["state.reason"]) == ("1", "1")
    assert int(told["cpu.time"]) > 10**9
    assert abs(int(told["cpu.time"]) - int(told["cpu.user"]) - int(told["cpu.system"])) < 10**8
    assert told["balloon.current"] == told["balloon.maximum"] == "131072"
    assert int(told["balloon.rss"]) > 16 << 10
    assert (told["vcpu.current"], told["vcpu.maximum"], told["vcpu.0.state"]) == ("1", "1", "1")
    assert int(told["vcpu.0.time"]) > 10**9
    assert [told["net.count"], told["net.0.name"], told["net.1.name"]] == ["2", *taps(guest)]
    assert int(told["net.0.rx.pkts"]) > 0 and int(told["net.1.tx.bytes"]) > 0
    assert [told["block.count"], told["block.0.name"], told["block.1.name"]] == ["2", "vda", "vdb"]
    assert told["block.0.path"] == str(devices["disk"])
    assert int(told["block.0.rd.bytes"]) >= 4 << 20 and int(told["block.0.wr.bytes"]) >= 2 << 20
    assert told["block.0.capacity"] == told["block.0.physical"] == str(16 << 20)


def test_domstats_inactive(idle):
    told = output.stats(idle.virsh("domstats"))[idle.name]
    assert (told["state.state"], told["vcpu.maximum"], told["balloon.maximum"]) == ("5", "2", "131072")
    assert [told["block.count"], told["block.1.name"], told["block.1.capacity"]] == ["2", "vdb", str(8 << 20)]
    assert not [name for name in told if name.startswith(("cpu.", "net.0", "block.0.rd"))]


@pytest.mark.parametrize("option, prefix", [("--state", "state."), ("--cpu-total", "cpu."), ("--balloon", "balloon."),
                                            ("--vcpu", "vcpu."), ("--interface", "net."), ("--block", "block.")])
def test_domstats_of_one_group(guest, option, prefix):
    told = output.stats(guest.virsh("domstats", option))[guest.name]
    assert told and {name for name in told if not name.startswith(prefix)} == set()


def test_domstats_of_domains_by_state(guest, idle):
    active = output.stats(helpers.virsh("domstats", "--state", "--list-active"))
    assert guest.name in active and idle.name not in active
    inactive = output.stats(helpers.virsh("domstats", "--state", "--list-shutoff"))
    assert idle.name in inactive and guest.name not in inactive
    both = output.stats(helpers.virsh("domstats", "--state", guest.name, idle.name))
    assert list(both) == [guest.name, idle.name]


def test_domstats_enforce_refuses_groups_that_are_not_there(guest):
    assert guest.virsh("domstats", "--enforce", "--state", "--block")
    text = guest.virsh("domstats", "--enforce", "--perf", check=False)
    assert "error: unsupported configuration: Stats types bits 0x40 are not supported by this daemon" in text


def test_domstats_raw_is_the_same(guest):
    assert output.stats(guest.virsh("domstats", "--raw", "--state")) == output.stats(guest.virsh("domstats", "--state"))


# libvirt's Python binding


def test_stats_of_another_client(guest, idle, devices):
    with connection(readonly=True) as conn:
        told = {domain.name(): fields for domain, fields in conn.getAllDomainStats()}
        assert set(told) >= {guest.name, idle.name}
        fields = told[guest.name]
        assert (fields["state.state"], fields["vcpu.maximum"], fields["net.count"]) == (libvirt.VIR_DOMAIN_RUNNING, 1, 2)
        assert fields["block.0.path"] == str(devices["disk"])
        handle = conn.lookupByName(guest.name)
        assert handle.info()[:4] == [libvirt.VIR_DOMAIN_RUNNING, 131072, 131072, 1]
        assert handle.blockInfo("vda")[0] == 16 << 20
        assert handle.blockStats("vda")[1] >= 4 << 20
        assert handle.interfaceStats(taps(guest)[0])[1] > 0
        assert handle.memoryStats()["actual"] == 131072
        assert handle.getCPUStats(True)[0]["cpu_time"] > 10**9
        assert len(handle.vcpus()[0]) == 1
        assert handle.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)[taps(guest)[1]]["addrs"]
        del handle


def test_old_lists_of_another_client(guest, idle):
    with connection(readonly=True) as conn:
        assert guest.id() in conn.listDomainsID() and conn.numOfDomains() == len(conn.listDomainsID())
        assert idle.name in conn.listDefinedDomains() and conn.numOfDefinedDomains() == len(conn.listDefinedDomains())
