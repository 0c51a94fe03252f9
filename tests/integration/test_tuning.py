"""Limits, weights and pins: virsh sets and shows what the kernel enforces, now or at the next start."""
import json
import os
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

import helpers
import output

HOST_CPUS = 2  # pins need a choice
KERNEL = helpers.HALTING
MAC = "52:54:00:78:00:03"
ALL = f"0-{os.cpu_count() - 1}" if os.cpu_count() > 1 else "0"
DEVICE = "/dev/vda"  # any block device of the host


@pytest.fixture(scope="module")
def live(make_module_domain, module_bridge):
    domain = make_module_domain(vcpus=2, devices=helpers.interface_xml(module_bridge, mac=MAC))
    domain.start("--paused")
    return domain


@pytest.fixture(scope="module")
def idle(make_module_domain):
    return make_module_domain(vcpus=2, devices=helpers.interface_xml("br0", mac=MAC))


def value_of(domain, path, *options):
    return ElementTree.fromstring(domain.xml(*options)).findtext(path)


def attribute_of(domain, path, name, *options):
    element = ElementTree.fromstring(domain.xml(*options)).find(path)
    return None if element is None else element.get(name)


def group_file(domain, name):
    return (helpers.cgroup_of(domain) / name).read_text().strip()


def threads(domain):
    """The CPUs that the monitor's threads may use, by thread name."""
    found = {}
    for pid in helpers.processes_of(domain):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            status = output.pairs((task / "status").read_text())
            found[status["Name"]] = status["Cpus_allowed_list"]
    return found


def device_number():
    number = os.stat(DEVICE).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


# CPUs


def test_vcpupin(live):
    assert output.table(live.virsh("vcpupin")) == [["0", ALL], ["1", ALL]]
    live.virsh("vcpupin", "1", "1", "--live")
    assert output.table(live.virsh("vcpupin", "1")) == [["1", "1"]]
    assert attribute_of(live, "cputune/vcpupin[@vcpu='1']", "cpuset") == "1"
    assert attribute_of(live, "cputune/vcpupin[@vcpu='1']", "cpuset", "--inactive") is None
    found = threads(live)
    assert (found["vcpu0"], found["vcpu1"]) == (ALL, "1")
    assert output.pairs(live.virsh("vcpuinfo"))["CPU Affinity"] == "-y" + "-" * (os.cpu_count() - 2)


def test_vcpupin_of_the_next_start(make_domain):
    domain = make_domain(vcpus=2)
    domain.virsh("vcpupin", "0", "0", "--config")
    assert output.table(domain.virsh("vcpupin", "0")) == [["0", "0"]]
    assert attribute_of(domain, "cputune/vcpupin[@vcpu='0']", "cpuset") == "0"
    domain.start("--paused")
    assert threads(domain)["vcpu0"] == "0"
    domain.virsh("vcpupin", "0", "1", "--live", "--config")
    assert threads(domain)["vcpu0"] == "1"
    assert attribute_of(domain, "cputune/vcpupin[@vcpu='0']", "cpuset", "--inactive") == "1"


def test_vcpupin_out_of_range(live, idle):
    for domain, where in ((live, "--live"), (idle, "--config")):
        before = domain.xml()
        assert "vcpu 9 is out of range: the domain has 2" in domain.virsh("vcpupin", "9", "0", where, check=False)
        assert "error:" in domain.virsh("vcpupin", "0", "77", where, check=False)
        assert domain.xml() == before
    assert "domain is not running" in idle.virsh("vcpupin", "0", "0", check=False)


def test_emulatorpin(live):
    assert live.virsh("emulatorpin").split() == [ALL]
    live.virsh("emulatorpin", "0", "--live")
    assert live.virsh("emulatorpin").split() == ["0"]
    assert output.table(output.told("emulatorpin", live.name)) == [["*: 0"]]
    found = threads(live)
    assert {cpus for name, cpus in found.items() if not name.startswith("vcpu")} == {"0"}
    assert found["vcpu0"] == ALL


def test_emulatorpin_inactive(idle):
    idle.virsh("emulatorpin", "1", "--config")
    assert idle.virsh("emulatorpin").split() == ["1"]
    assert attribute_of(idle, "cputune/emulatorpin", "cpuset") == "1"


def test_schedinfo_shows_defaults(idle):
    assert output.pairs(idle.virsh("schedinfo")) == {
        "Scheduler": "posix", "cpu_shares": "100", "vcpu_period": "100000", "vcpu_quota": "-1",
        "emulator_period": "100000", "emulator_quota": "-1", "global_period": "100000", "global_quota": "-1"}


def test_schedinfo(live):
    told = output.pairs(live.virsh("schedinfo", "--live", "--set", "cpu_shares=512"))
    assert told["cpu_shares"] == "512"
    assert group_file(live, "cpu.weight") == "512"
    assert value_of(live, "cputune/shares") == "512"
    assert value_of(live, "cputune/shares", "--inactive") is None


def test_schedinfo_quota(live):
    live.virsh("schedinfo", "--set", "vcpu_quota=20000")
    assert group_file(live, "cpu.max") == "40000 100000"
    live.virsh("schedinfo", "--set", "global_quota=50000", "global_period=200000")
    assert group_file(live, "cpu.max") == "50000 200000"
    live.virsh("schedinfo", "--set", "global_quota=-1", "vcpu_quota=-1")
    assert group_file(live, "cpu.max").startswith("max ")


def test_schedinfo_of_the_next_start(make_domain):
    domain = make_domain()
    domain.virsh("schedinfo", "--config", "--set", "cpu_shares=300", "global_quota=70000")
    assert output.pairs(domain.virsh("schedinfo"))["cpu_shares"] == "300"
    domain.start("--paused")
    assert group_file(domain, "cpu.weight") == "300"
    assert group_file(domain, "cpu.max") == "70000 100000"


@pytest.mark.parametrize("setting, message", [
    ("nonsense=1", "error: invalid scheduler option: nonsense"),
    ("cpu_shares=1", "invalid argument: value of 'cpu_shares' is out of range [2, 262144]"),
    ("vcpu_period=5", "invalid argument: value of 'vcpu_period' is out of range [1000, 1000000]"),
])
def test_schedinfo_refuses(live, idle, setting, message):
    for domain in (live, idle):
        before = domain.xml()
        assert message in domain.virsh("schedinfo", "--set", setting, check=False)
        assert domain.xml() == before


def test_vcpus_and_memory_of_the_next_start(make_domain):
    domain = make_domain(vcpus=4, memory=256)
    domain.virsh("setvcpus", "2", "--config")
    assert domain.virsh("vcpucount", "--config", "--active").strip() == "2"
    domain.virsh("setmem", "131072", "--config")
    assert value_of(domain, "currentMemory") == "131072"
    domain.virsh("setmaxmem", "196608", "--config")
    assert output.pairs(domain.virsh("dominfo"))["Max memory"] == "196608 KiB"
    before = domain.xml()
    assert "cannot set memory higher than max memory" in domain.virsh("setmem", "500000", "--config", check=False)
    assert "greater than max allowable vcpus" in domain.virsh("setvcpus", "5", "--config", check=False)
    assert domain.xml() == before


def test_vcpus_and_memory_of_a_running_domain(live):
    before = live.xml()
    assert "cannot resize the maximum memory on an active domain" in live.virsh("setmaxmem", "1000000", check=False)
    for command in ("setmem 100000 --live", "setvcpus 1 --live"):
        words = command.split()
        text = live.virsh(words[0], *words[1:], check=False)
        assert "cannot change while the domain runs: use --config and restart it" in text
    assert live.xml() == before


# Memory and block I/O


def test_memtune_shows_defaults(idle):
    assert output.pairs(idle.virsh("memtune")) == {
        "hard_limit": "unlimited", "soft_limit": "unlimited", "swap_hard_limit": "unlimited"}


def test_memtune(live):
    live.virsh("memtune", "--live", "--hard-limit", "300000", "--soft-limit", "250000", "--swap-hard-limit", "400000")
    assert output.pairs(live.virsh("memtune")) == {
        "hard_limit": "300000", "soft_limit": "250000", "swap_hard_limit": "400000"}
    page = os.sysconf("SC_PAGE_SIZE")
    assert int(group_file(live, "memory.max")) == 300000 * 1024 // page * page
    assert int(group_file(live, "memory.high")) == 250000 * 1024 // page * page
    assert value_of(live, "memtune/hard_limit") == "300000"
    live.virsh("memtune", "--live", "--hard-limit", "-1", "--soft-limit", "-1", "--swap-hard-limit", "-1")
    assert (group_file(live, "memory.max"), group_file(live, "memory.high")) == ("max", "max")
    assert output.pairs(live.virsh("memtune"))["hard_limit"] == "unlimited"


def test_memtune_of_the_next_start(make_domain):
    domain = make_domain()
    domain.virsh("memtune", "--config", "--hard-limit", "300000")
    assert value_of(domain, "memtune/hard_limit") == "300000"
    domain.start("--paused")
    assert int(group_file(domain, "memory.max")) // 4096 == 300000 * 1024 // 4096


def test_memtune_refuses_contradictions(live, idle):
    for domain in (live, idle):
        before = domain.xml()
        text = domain.virsh("memtune", "--hard-limit", "500000", "--swap-hard-limit", "400000", check=False)
        assert "hard_limit tunable value must be lower than or equal to swap_hard_limit" in text
        assert domain.xml() == before


def test_blkiotune_shows_defaults(idle):
    assert output.pairs(idle.virsh("blkiotune")) == {
        "weight": "0", "device_weight": "", "device_read_iops_sec": "", "device_write_iops_sec": "",
        "device_read_bytes_sec": "", "device_write_bytes_sec": ""}


def test_blkiotune(live):
    live.virsh("blkiotune", "--live", "--weight", "300")
    live.virsh("blkiotune", "--live", "--device-read-bytes-sec", f"{DEVICE},1048576", "--device-write-iops-sec", f"{DEVICE},70")
    told = output.pairs(live.virsh("blkiotune"))
    assert (told["weight"], told["device_read_bytes_sec"], told["device_write_iops_sec"]) == (
        "300", f"{DEVICE},1048576", f"{DEVICE},70")
    assert helpers.unit_property(helpers.scope_of(live), "IOWeight") == "300"
    limits = dict(line.split(" ", 1) for line in group_file(live, "io.max").splitlines())
    assert "rbps=1048576" in limits[device_number()] and "wiops=70" in limits[device_number()]
    assert value_of(live, "blkiotune/device/read_bytes_sec") == "1048576"
    live.virsh("blkiotune", "--live", "--device-read-bytes-sec", f"{DEVICE},0", "--device-write-iops-sec", f"{DEVICE},0")
    assert "rbps=1048576" not in group_file(live, "io.max")


def test_blkiotune_of_the_next_start(make_domain):
    domain = make_domain()
    domain.virsh("blkiotune", "--config", "--weight", "200", "--device-weights", f"{DEVICE},400")
    assert output.pairs(domain.virsh("blkiotune"))["device_weight"] == f"{DEVICE},400"
    domain.start("--paused")
    assert helpers.unit_property(helpers.scope_of(domain), "IOWeight") == "200"
    assert helpers.unit_property(helpers.scope_of(domain), "IODeviceWeight") == f"{DEVICE} 400"


def test_blkiotune_refuses(live, idle):
    for domain in (live, idle):
        before = domain.xml()
        assert "out of blkio weight range [10, 1000]" in domain.virsh("blkiotune", "--weight", "5", check=False)
        assert "unable to parse" in domain.virsh("blkiotune", "--device-weights", "nonsense", check=False)
        assert domain.xml() == before


def test_numatune_shows_defaults(live):
    told = output.pairs(live.virsh("numatune"))
    assert told == {"numa_mode": "strict", "numa_nodeset": ""}


# Interfaces


def tap(domain):
    return output.table(domain.virsh("domiflist"))[0][0]


def disciplines(name):
    return {entry["kind"] for entry in json.loads(helpers.run("tc", "-j", "qdisc", "show", "dev", name).stdout)}


def test_domiftune(live):
    name = tap(live)
    assert set(output.pairs(live.virsh("domiftune", name)).values()) == {"0"}
    live.virsh("domiftune", name, "--live", "--inbound", "1000,2000,500", "--outbound", "800")
    told = output.pairs(live.virsh("domiftune", name))
    assert told == {"inbound.average": "1000", "inbound.peak": "2000", "inbound.burst": "500", "inbound.floor": "0",
                    "outbound.average": "800", "outbound.peak": "0", "outbound.burst": "0"}
    assert {"htb", "ingress"} <= disciplines(name)
    assert attribute_of(live, "devices/interface/bandwidth/inbound", "average") == "1000"
    assert attribute_of(live, "devices/interface/bandwidth/inbound", "average", "--inactive") is None
    live.virsh("domiftune", name, "--live", "--inbound", "0", "--outbound", "0")
    assert not {"htb", "ingress"} & disciplines(name)


def test_domiftune_inactive(idle):
    idle.virsh("domiftune", MAC, "--config", "--inbound", "300", "--outbound", "200,400")
    told = output.pairs(idle.virsh("domiftune", MAC))
    assert (told["inbound.average"], told["outbound.peak"]) == ("300", "400")
    assert attribute_of(idle, "devices/interface/bandwidth/outbound", "peak") == "400"


def test_domiftune_refuses(live, idle):
    for domain in (live, idle):
        before = domain.xml()
        text = domain.virsh("domiftune", "vnetz", check=False)
        assert "invalid argument: 'vnetz' is not a known interface" in text
        assert "error:" in domain.virsh("domiftune", MAC, "--inbound", "nonsense", check=False)
        assert domain.xml() == before
