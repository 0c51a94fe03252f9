"""Threads run where the XML and virsh say, whatever systemd and neighbours do; virsh shows what the kernel does.

Before Linux 6.2 the kernel takes affinities back when the CPUs of a control group change.
"""
import os
import pathlib
import re

import pytest

import helpers
import output

HOST_CPUS = 2  # pins need a choice
KERNEL = helpers.HALTING
ALL = f"0-{os.cpu_count() - 1}" if os.cpu_count() > 1 else "0"
PINS = "<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='1' cpuset='1'/><emulatorpin cpuset='1'/></cputune>"
WATCH = 20  # seconds for threads to return; the daemon checks every three


def threads(domain):
    """The CPUs that each thread may use, by thread name."""
    tasks = pathlib.Path(f"/proc/{helpers.monitor_of(domain)}/task").iterdir()
    found = [output.pairs((task / "status").read_text()) for task in tasks]
    return {status["Name"]: status["Cpus_allowed_list"] for status in found}


def are_at(domain, emulator, *vcpus):
    found = threads(domain)
    wanted = {f"vcpu{number}": cpus for number, cpus in enumerate(vcpus)}
    return all(cpus == wanted.get(name, emulator) for name, cpus in found.items())


def wait_at(domain, emulator, *vcpus):
    helpers.wait_for(lambda: are_at(domain, emulator, *vcpus), WATCH, what=f"{threads(domain)} are {emulator}, {vcpus}")


def set_property(unit, *values):
    helpers.run("systemctl", "set-property", "--runtime", unit, *values)


@pytest.fixture
def make_with_cpuset(make_domain):
    def make(cpuset, **arguments):
        domain = make_domain(define=False, **arguments)
        domain.path.write_text(domain.path.read_text().replace("<vcpu>", f"<vcpu cpuset='{cpuset}'>"))
        helpers.virsh("define", domain.path)
        return domain

    return make


@pytest.fixture
def pinned(make_domain):
    domain = make_domain(vcpus=2, extra=PINS)
    domain.start("--paused")
    assert are_at(domain, "1", "0", "1")
    return domain


def test_a_change_of_the_scope(pinned):
    """An operator's change: threads stay pinned as long as that is allowed, and virsh shows when it is not."""
    scope = helpers.scope_of(pinned)
    set_property(scope, "AllowedCPUs=0")
    helpers.wait_for(lambda: threads(pinned)["vcpu1"] == "0", what="the operator's bound")
    assert output.table(pinned.virsh("vcpupin")) == [["0", "0"], ["1", "0"]]
    assert pinned.virsh("emulatorpin").split() == ["0"]
    affinities = [line.split()[-1] for line in pinned.virsh("vcpuinfo").splitlines() if line.startswith("CPU Affinity")]
    assert affinities == ["y" + "-" * (os.cpu_count() - 1)] * 2
    set_property(scope, "AllowedCPUs=0-1")
    wait_at(pinned, "1", "0", "1")
    assert output.table(pinned.virsh("vcpupin")) == [["0", "0"], ["1", "1"]]


def test_a_change_while_the_daemon_is_away(pinned):
    helpers.run("systemctl", "stop", "virtmicrod.service", "virtmicrod.socket", "virtmicrod-ro.socket")
    set_property("machine.slice", "AllowedCPUs=0")
    set_property("machine.slice", "AllowedCPUs=0-1")
    helpers.run("systemctl", "start", "virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service")
    wait_at(pinned, "1", "0", "1")


def test_a_neighbour_with_a_cpuset(make_domain):
    """systemd enables the cpuset controller for the whole slice, and disables it again."""
    domain = make_domain(extra="<cputune><vcpupin vcpu='0' cpuset='0'/></cputune>")
    neighbour = make_domain(extra="<cputune><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='1'/></cputune>")
    domain.start("--paused")
    assert are_at(domain, ALL, "0")
    neighbour.start("--paused")
    assert are_at(neighbour, "1", "1")
    wait_at(domain, ALL, "0")
    neighbour.virsh("destroy")
    wait_at(domain, ALL, "0")


def test_cpuset_beside_emulatorpin(make_with_cpuset):
    domain = make_with_cpuset("0", vcpus=2, extra="<cputune><emulatorpin cpuset='1'/></cputune>")
    domain.start("--paused")
    assert are_at(domain, "1", "0", "0")
    domain.virsh("vcpupin", "1", "1", "--live")
    assert are_at(domain, "1", "0", "1")
    domain.virsh("schedinfo", "--set", "cpu_shares=200")
    assert are_at(domain, "1", "0", "1")


# What the host lacks


def refused(domain, *words):
    text = domain.virsh("start", "--paused", check=False)
    assert text.startswith("error: Failed to start domain"), text
    for word in words:
        assert word in text
    assert domain.state() == "shut off"


def test_missing_cpus(no_leaks, make_with_cpuset):
    refused(make_with_cpuset("0,77"), "unsupported configuration: the CPUs of vcpu 0, '0,77' are not all online",
            f"this host has '{ALL}'")


@pytest.fixture
def one_cpu_offline():
    switch = pathlib.Path("/sys/devices/system/cpu/cpu1/online")
    switch.write_text("0")
    yield
    switch.write_text("1")


def test_a_cpu_that_is_offline(no_leaks, one_cpu_offline, make_domain):
    refused(make_domain(vcpus=2, extra=PINS), "the CPUs of vcpu 1, '1' are not all online: this host has '0'")


def test_a_slice_that_forbids_the_pins(no_leaks, make_domain):
    """That shows only once the scope exists, which is then removed."""
    domain = make_domain(vcpus=2, extra=PINS + "<resource><partition>/narrow</partition></resource>")
    set_property("narrow.slice", "AllowedCPUs=0")
    try:
        refused(domain, "the choice of CPUs is not in force on this host: cpuset.cpus.effective of the scope is '0'")
    finally:
        helpers.run("systemctl", "stop", "narrow.slice")
        helpers.run("systemctl", "revert", "narrow.slice")


def test_a_live_change_that_is_not_in_force(make_domain):
    domain = make_domain(vcpus=2, extra="<resource><partition>/narrow</partition></resource>")
    set_property("narrow.slice", "AllowedCPUs=0")
    try:
        domain.start("--paused")
        text = domain.virsh("vcpupin", "0", "1", "--live", check=False)
        assert "error:" in text and "vcpu 0 should run on CPUs '1', but the kernel lets it run on '0'" in text
        assert output.table(domain.virsh("vcpupin", "0")) == [["0", "0"]]
        assert "vcpupin" not in domain.xml()
    finally:
        domain.virsh("destroy", check=False)
        helpers.run("systemctl", "stop", "narrow.slice")
        helpers.run("systemctl", "revert", "narrow.slice")


@pytest.mark.parametrize("extra, words", [
    ("<numatune><memory mode='strict' nodeset='0,5'/></numatune>", "the nodes of <numatune>, '0,5' are not all online"),
    ("<blkiotune><device><path>/dev/nonexistent</path><read_bytes_sec>1000000</read_bytes_sec></device></blkiotune>",
     "<blkiotune> names '/dev/nonexistent': No such file or directory"),
    ("<blkiotune><device><path>/dev/null</path><write_iops_sec>9</write_iops_sec></device></blkiotune>",
     "<blkiotune> names '/dev/null', which is no block device"),
])
def test_what_the_host_lacks(no_leaks, make_domain, extra, words):
    refused(make_domain(extra=extra), "unsupported configuration: " + words)


def test_devices_of_a_live_change(make_domain):
    domain = make_domain()
    domain.start("--paused")
    before = domain.xml()
    for path, words in ("/dev/nonexistent", "No such file"), ("/dev/null", "which is no block device"):
        text = domain.virsh("blkiotune", "--live", "--device-read-bytes-sec", f"{path},1000", check=False)
        assert f"<blkiotune> names '{path}'" in text and words in text
    assert domain.xml() == before


# Limits changed behind libvirt's back


def test_limits_in_force(make_domain):
    domain = make_domain(vcpus=2, extra="<cputune><shares>300</shares><quota>20000</quota></cputune>")
    domain.start("--paused")
    assert output.pairs(domain.virsh("schedinfo"))["vcpu_quota"] == "20000"
    set_property(helpers.scope_of(domain), "CPUWeight=700", "CPUQuota=30%", "MemoryMax=400M", "MemoryHigh=300M",
                 "IOReadBandwidthMax=/dev/vda 1M")
    told = output.pairs(domain.virsh("schedinfo"))
    assert (told["cpu_shares"], told["vcpu_quota"], told["global_quota"], told["global_period"]) == (
        "700", "-1", "30000", "100000")
    told = output.pairs(domain.virsh("memtune"))
    assert (told["hard_limit"], told["soft_limit"]) == (str(400 << 10), str(300 << 10))
    assert output.pairs(domain.virsh("blkiotune"))["device_read_bytes_sec"] == "/dev/vda,1000000"
    assert output.pairs(domain.virsh("schedinfo", "--config"))["cpu_shares"] == "300"

    domain.virsh("memtune", "--live", "--soft-limit", str(200 << 10))
    domain.virsh("schedinfo", "--live", "--set", "cpu_shares=500")
    told = output.pairs(domain.virsh("memtune")) | output.pairs(domain.virsh("schedinfo"))
    assert (told["hard_limit"], told["soft_limit"]) == (str(400 << 10), str(200 << 10))
    assert (told["cpu_shares"], told["global_quota"]) == ("500", "30000")


def test_cpu_stats_are_the_groups(make_domain):
    domain = make_domain()
    domain.start("--paused")
    told = float(re.search(r"cpu_time +([0-9.]+) seconds", domain.virsh("cpu-stats", "--total"))[1])
    lines = (helpers.cgroup_of(domain) / "cpu.stat").read_text().split()
    assert 0 < told <= int(lines[lines.index("usage_usec") + 1]) / 1e6
