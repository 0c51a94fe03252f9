"""A VM as systemd shows it: its scope, limits, machine and journal."""
import re

import pytest

import helpers

MIB = 1 << 20
KERNEL = helpers.HALTING


def read(domain, name):
    return (helpers.cgroup_of(domain) / name).read_text().strip()


def status(domain):
    return helpers.run("systemctl", "status", "--no-pager", helpers.scope_of(domain)).stdout


def start(make_domain, extra="", **arguments):
    domain = make_domain(extra=extra, **arguments)
    domain.start()
    return domain


def test_status_says_whose_scope_it_is(no_leaks, make_domain):
    domain = start(make_domain)
    text = status(domain)
    uid = domain.virsh("domuuid").strip()
    assert f"virtmicro VM {domain.name} ({uid})" in text
    assert re.search(r"Tasks: \d+ \(limit: \d+\)", text)
    assert "Memory:" in text and "CPU:" in text
    assert helpers.unit_property(helpers.scope_of(domain), "Slice") == "machine.slice"


def test_the_monitor_is_in_its_scope(no_leaks, make_domain):
    domain = start(make_domain)
    (pid,) = helpers.monitors() & set(helpers.processes_of(domain))  # the scope also holds KVM's kernel threads
    cgroup = helpers.pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip()
    assert cgroup == f"0::/machine.slice/{helpers.scope_of(domain)}"


def test_ordering_and_stop_follow_libvirt(make_domain):
    scope = helpers.scope_of(start(make_domain))
    assert "virt-guest-shutdown.target" in helpers.unit_property(scope, "Before").split()
    assert {"virtmicrod.service", "network.target", "remote-fs.target"} <= set(
        helpers.unit_property(scope, "After").split())
    assert helpers.unit_property(scope, "KillSignal") == "15"
    assert helpers.unit_property(scope, "DevicePolicy") == "strict"
    assert helpers.unit_property(scope, "CollectMode") == "inactive-or-failed"


def test_devices_are_out_of_reach(make_domain):
    scope = helpers.scope_of(start(make_domain))
    assert helpers.unit_property(scope, "DeviceAllow") == "/dev/null rw"


def test_cpu_limits(no_leaks, make_domain):
    domain = start(make_domain, "<cputune><shares>2048</shares><period>50000</period><quota>25000</quota></cputune>",
                   vcpus=2)
    assert read(domain, "cpu.weight") == "2048"
    assert read(domain, "cpu.max") == "50000 50000"  # each of the two may use half a CPU


def test_global_quota_overrides_that_of_the_vcpus(make_domain):
    domain = start(make_domain, "<cputune><global_period>20000</global_period><global_quota>5000</global_quota>"
                                "<period>50000</period><quota>25000</quota></cputune>", vcpus=2)
    assert read(domain, "cpu.max") == "5000 20000"


def test_vms_compete_as_equals(make_domain):
    one, two = start(make_domain), start(make_domain)
    assert read(one, "cpu.weight") == read(two, "cpu.weight") == "100"


def test_cpuset(make_domain):
    domain = make_domain(define=False)
    domain.path.write_text(domain.path.read_text().replace("<vcpu>", "<vcpu cpuset='0'>"))
    helpers.virsh("define", domain.path)
    domain.start()
    assert read(domain, "cpuset.cpus") == "0"


def test_numatune(make_domain):
    domain = start(make_domain, "<numatune><memory mode='strict' nodeset='0'/></numatune>")
    assert read(domain, "cpuset.mems") == "0"


def test_memory_limits(no_leaks, make_domain):
    domain = start(make_domain, "<memtune><hard_limit unit='MiB'>400</hard_limit><soft_limit unit='MiB'>300</soft_limit>"
                                "<swap_hard_limit unit='MiB'>500</swap_hard_limit></memtune>")
    assert read(domain, "memory.max") == str(400 * MIB)
    assert read(domain, "memory.high") == str(300 * MIB)
    assert read(domain, "memory.swap.max") == str(500 * MIB)


def test_block_limits(make_domain):
    domain = start(make_domain, "<blkiotune><weight>500</weight><device><path>/dev/vda</path>"
                                "<read_bytes_sec>1000000</read_bytes_sec><write_iops_sec>50</write_iops_sec>"
                                "</device></blkiotune>")
    assert read(domain, "io.weight").splitlines()[0] == "default 500"
    assert "rbps=1000000 wbps=max riops=max wiops=50" in read(domain, "io.max")


def test_limits_change_while_it_runs(no_leaks, make_domain):
    domain = start(make_domain)
    domain.virsh("schedinfo", "--live", "--set", "cpu_shares=512", "--set", "global_quota=30000")
    assert read(domain, "cpu.weight") == "512"
    assert read(domain, "cpu.max") == "30000 100000"
    domain.virsh("schedinfo", "--live", "--set", "global_quota=-1")
    assert read(domain, "cpu.max") == "max 100000"
    domain.virsh("memtune", "--live", "--hard-limit", str(512 * 1024))
    assert read(domain, "memory.max") == str(512 * MIB)
    domain.virsh("memtune", "--live", "--hard-limit", "-1")
    assert read(domain, "memory.max") == "max"
    domain.virsh("blkiotune", "--live", "--weight", "300")
    assert read(domain, "io.weight").splitlines()[0] == "default 300"


def test_partition_becomes_a_slice(no_leaks, make_domain):
    domain = start(make_domain, "<resource><partition>/machine/web-tier</partition></resource>")
    assert helpers.unit_property(helpers.scope_of(domain), "Slice") == r"machine-web\x2dtier.slice"
    assert "machine.slice" in str(helpers.cgroup_of(domain))


def test_partition_without_a_slash_is_refused(make_domain):
    domain = make_domain(define=False, extra="<resource><partition>web</partition></resource>")
    with pytest.raises(helpers.CommandError, match="must start with '/'"):
        helpers.virsh("define", domain.path)
        domain.start()


def test_names_are_made_valid_for_machines(no_leaks, make_domain):
    domain = make_domain(name="tést _a..b-")
    domain.start()
    machine = f"micro-{domain.id()}-tsta.b"
    assert machine in helpers.machines()
    scope = f"machine-{helpers.unit_escape(machine)}.scope"
    assert helpers.unit_property(scope, "ActiveState") == "active"


def test_machine(no_leaks, make_domain, bridge):
    domain = start(make_domain, devices=helpers.interface_xml(bridge))
    machine = f"micro-{domain.id()}-{domain.name}"
    text = helpers.run("machinectl", "status", "--no-pager", machine).stdout
    assert "Service: libvirt-micro; class vm" in text
    assert f"Unit: {helpers.scope_of(domain)}" in text
    (leader,) = helpers.monitors() & set(helpers.processes_of(domain))
    assert f"Leader: {leader} " in text
    assert domain.virsh("domuuid").strip().replace("-", "") in text
    (tap,) = [line.split()[0] for line in domain.virsh("domiflist").splitlines() if line]
    assert re.search(rf"Iface:.*\b{tap}\b", text)


def test_without_machined(no_leaks, make_domain):
    """Without machined a domain has only its scope."""
    helpers.run("systemctl", "mask", "--runtime", "--now", "systemd-machined.service")
    try:
        domain = start(make_domain)
        assert helpers.unit_property(helpers.scope_of(domain), "ActiveState") == "active"
        domain.virsh("destroy")
    finally:
        helpers.run("systemctl", "unmask", "--runtime", "systemd-machined.service")


def test_killing_the_monitor_ends_the_domain(no_leaks, make_domain):
    domain = start(make_domain)
    helpers.run("systemctl", "kill", "-s", "KILL", helpers.scope_of(domain))
    domain.wait_state("shut off")
    assert "crash" in domain.virsh("domstate", "--reason") or "failed" in domain.virsh("domstate", "--reason")


def test_journal_knows_the_domain(make_domain, journal_start):
    domain = start(make_domain)
    scope, uid = helpers.scope_of(domain), domain.virsh("domuuid").strip()
    machine = f"micro-{domain.id()}-{domain.name}"

    def entries():
        return helpers.journal(journal_start, matches=[f"LIBVIRT_DOMAIN={domain.name}"])

    def monitors_entries():
        return [entry for entry in entries() if entry.get("SYSLOG_IDENTIFIER") == "virtmicro-vmm"]

    (entry, *_) = helpers.wait_for(monitors_entries, what="the monitor logs to the journal")
    assert entry["_SYSTEMD_UNIT"] == scope
    assert (entry["DOMAIN_UUID"], entry["MACHINE"]) == (uid, machine)
    assert entry["MESSAGE"] in status(domain)
    assert any(entry.get("_COMM") == "virtmicrod" and entry["DOMAIN_UUID"] == uid for entry in entries())
