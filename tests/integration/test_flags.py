"""virsh's options: those that apply to microVMs work, the others are refused with a reason."""
import os

import libvirt
import pytest

import helpers
import output
from clients import connection, error_of

NO_SUPPORT = "this function is not supported by the connection driver: "
KERNEL = helpers.HALTING


@pytest.fixture(scope="module")
def paused(make_module_domain):
    domain = make_module_domain(vcpus=2, extra="<title>of two</title>")
    domain.start("--paused")
    return domain


@pytest.fixture(scope="module")
def running(make_module_domain):
    domain = make_module_domain()
    domain.start()
    return domain


@pytest.fixture(scope="module")
def idle(make_module_domain):
    return make_module_domain()


def told_by(domain, command):
    return domain.virsh(*command.split(), check=False)


@pytest.mark.parametrize("command, function", [("shutdown", "virDomainShutdownFlags"), ("reboot", "virDomainReboot")])
def test_modes_of_other_guests_are_refused(running, command, function):
    for mode, flag in ("initctl", 4), ("signal", 8), ("paravirt", 16):
        assert f"error: invalid argument: unsupported flags (0x{flag:x}) in function {function}" \
            in told_by(running, f"{command} --mode {mode}")
    assert running.state() == "running"


def test_start_with_options_of_saved_states(make_domain):
    """There are no saved states, so these options change nothing."""
    domain = make_domain()
    for option in "--force-boot", "--bypass-cache", "--reset-nvram":
        domain.start("--paused", option)
        assert domain.virsh("domstate", "--reason").strip() == "paused (user)"
        domain.virsh("destroy", "--remove-logs")


def test_start_autodestroy(no_leaks, make_domain):
    """The domain goes with the virsh that started it."""
    domain = make_domain()
    helpers.run("virsh", "-q", "-c", helpers.URI, "start", domain.name, "--paused", "--autodestroy")
    domain.wait_state("shut off")
    assert domain.virsh("domstate", "--reason").strip() == "shut off (destroyed)"


def test_descriptors_are_not_passed(no_leaks, make_domain):
    """A microVM has no init that could take them."""
    domain = make_domain()
    for command, function in (["start", domain.name], "virDomainCreateWithFiles"), \
            (["create", domain.path], "virDomainCreateXMLWithFiles"):
        text = helpers.run("virsh", "-c", helpers.URI, *command, "--pass-fds", "1", check=False).stderr
        assert NO_SUPPORT + function in text
    assert domain.state() == "shut off"


def test_cpu_stats(paused):
    """There are totals, but no figures per host processor."""
    head, *rows = told_by(paused, "cpu-stats --total").splitlines()
    assert head == "Total:"
    assert [row.split()[0] for row in rows if row] == ["cpu_time", "user_time", "system_time"]
    assert told_by(paused, "cpu-stats --start 0 --count 1").strip() == "No per-CPU stats available"
    assert "error: Start CPU 999 is out of range" in told_by(paused, "cpu-stats --start 999")
    assert "error: Invalid value for number of CPUs to show" in told_by(paused, "cpu-stats --count -1")


def test_vcpuinfo_pretty(paused, idle):
    count = os.cpu_count()
    everywhere = f"0-{count - 1} (out of {count})" if count > 1 else "0 (out of 1)"
    for domain, vcpus in (paused, 2), (idle, 1):
        lines = [line for line in told_by(domain, "vcpuinfo --pretty").splitlines() if line.startswith("CPU Affinity")]
        assert [output.pairs(line)["CPU Affinity"] for line in lines] == [everywhere] * vcpus


def test_dumpxml_options(paused):
    whole = paused.xml()
    assert paused.xml("--security-info") == whole  # a microVM has no password in its XML
    for option in "--migratable", "--update-cpu":
        assert paused.xml(option) == whole
    assert paused.xml("--inactive", "--migratable") == paused.xml("--inactive")
    assert paused.xml("--xpath", "//domain/title").strip() == "<title>of two</title>"


def test_lists(paused, running, idle):
    """Options of `list` not covered by test_connect.py: formats, and states that microVMs never have."""
    names = {domain.name for domain in (paused, running, idle)}
    uid = paused.virsh("domuuid").strip()

    def listed(*options):
        return names & set(helpers.virsh("list", "--name", *options).split())

    assert f"{uid} {paused.name}" in " ".join(helpers.virsh("list", "--uuid", "--name").split())
    assert uid in helpers.virsh("list", "--uuid").split()
    assert str(paused.id()) in helpers.virsh("list", "--id").split()
    table = output.table(output.told("list", "--table", "--title"))
    assert [str(paused.id()), paused.name, "paused", "of two"] in table
    assert listed("--all", "--without-snapshot") == listed("--all", "--without-managed-save") == names
    assert listed("--all", "--without-checkpoint") == names
    for option in "--with-snapshot", "--with-managed-save", "--with-checkpoint", "--state-other":
        assert listed("--all", option) == set(), option
    assert listed("--state-running", "--state-paused") == {paused.name, running.name}
    assert listed("--inactive", "--persistent") == {idle.name}
    assert listed("--all", "--managed-save") == names  # changes only a column's text
    assert listed("--all", "--autostart") == set()


def test_domstats_groups_without_content(paused):
    """Groups without data for microVMs are empty, and an error with --enforce."""
    groups = {"--perf": 0x40, "--iothread": 0x80, "--memory": 0x100, "--dirtyrate": 0x200, "--vm": 0x400}
    for group, bit in groups.items():
        assert output.stats(told_by(paused, f"domstats {group}"))[paused.name] == {}
        text = told_by(paused, f"domstats --enforce {group}")
        assert f"Stats types bits 0x{bit:x} are not supported by this daemon" in text


@pytest.mark.parametrize("option, has", [
    ("--list-active", "paused running"), ("--list-inactive", "idle"), ("--list-persistent", "paused running idle"),
    ("--list-transient", ""), ("--list-running", "running"), ("--list-paused", "paused"), ("--list-shutoff", "idle"),
    ("--list-other", ""),
])
def test_domstats_of_states(request, option, has):
    domains = {name: request.getfixturevalue(name).name for name in ("paused", "running", "idle")}
    found = set(output.stats(helpers.virsh("domstats", "--state", option)))
    assert found & set(domains.values()) == {domains[name] for name in has.split()}


def test_domstats_nowait_and_backing(paused):
    assert output.stats(told_by(paused, "domstats --nowait --state"))[paused.name] == {
        "state.state": "3", "state.reason": "1"}
    assert output.stats(told_by(paused, "domstats --backing --block"))[paused.name] == {"block.count": "0"}


def test_jobs(paused, idle):
    """No job takes long enough to be watched."""
    for option, none in ("", "None"), (" --completed", "None"), (" --rawstats", "0"):
        assert output.pairs(told_by(paused, "domjobinfo" + option)) == {"Job type": none}
    assert told_by(paused, "domcontrol").strip() == "ok"
    for command in "domjobinfo", "domcontrol":
        assert "domain is not running" in told_by(idle, command)
    assert NO_SUPPORT + "virDomainAbortJob" in told_by(paused, "domjobabort")


@pytest.mark.parametrize("command, function", [
    ("domtime", "virDomainGetTime"), ("domtime --now", "virDomainSetTime"), ("guestinfo", "virDomainGetGuestInfo"),
    ("guestvcpus", "virDomainGetGuestVcpus"), ("domfsinfo", "virDomainGetFSInfo"), ("domfsfreeze", "virDomainFSFreeze"),
    ("domfstrim", "virDomainFSTrim"), ("domhostname", "virDomainGetHostname"),
    ("set-user-password root secret", "virDomainSetUserPassword"),
    ("get-user-sshkeys root", "virDomainAuthorizedSSHKeysGet"), ("qemu-agent-command {}", "virDomainQemuAgentCommand"),
    ("dompmsuspend mem", "virDomainPMSuspendForDuration"), ("send-key KEY_A", "virDomainSendKey"),
    ("managedsave", "virDomainManagedSave"), ("managedsave-dumpxml", "virDomainManagedSaveGetXMLDesc"),
    ("managedsave-define /dev/null", "virDomainManagedSaveDefineXML"),
])
def test_what_needs_an_agent_or_a_saved_state(running, command, function):
    """virsh understands this code as "not with this driver", and does nothing else."""
    name, *rest = command.split()
    assert f"error: {NO_SUPPORT}{function}" in running.virsh(name, *rest, check=False)
    assert running.state() == "running"


def test_no_saved_state_to_remove(paused, idle):
    """virsh asks first whether there is one."""
    for domain in paused, idle:
        assert output.told("managedsave-remove", domain.name) \
            == f"Domain '{domain.name}' has no manage save image; removal skipped\n"
    assert output.pairs(idle.virsh("dominfo"))["Managed save"] == "no"


@pytest.mark.parametrize("options", [
    "--managed-save --snapshots-metadata --checkpoints-metadata --nvram", "--keep-nvram", "--tpm", "--keep-tpm",
    "--remove-all-storage --delete-storage-volume-snapshots --wipe-storage", "--snapshots-metadata",
])
def test_undefine_options(make_domain, options):
    """Options for what a microVM lacks are accepted and do nothing."""
    domain = make_domain()
    domain.virsh("undefine", *options.split())
    assert not domain.exists()


@pytest.fixture
def pool(tmp_path):
    """A pool of libvirt's in a directory."""
    helpers.virsh("pool-create-as", "flags-pool", "dir", "--target", tmp_path)
    yield tmp_path
    helpers.virsh("pool-destroy", "flags-pool")


def test_undefine_removes_storage(pool, make_domain, make_disk):
    """Volumes of pools, through libvirt's storage daemon; other files stay, and virsh says so."""
    for name in "one.raw", "two.raw":
        helpers.virsh("vol-create-as", "flags-pool", name, "1M", "--format", "raw")
    other = make_disk()
    paths = {"vda": pool / "one.raw", "vdb": pool / "two.raw", "vdc": other}
    domain = make_domain(devices="".join(helpers.disk_xml(path, target) for target, path in paths.items()))
    domain.start("--paused")
    assert "error: Storage volume deletion is supported only on stopped domains" \
        in domain.virsh("undefine", "--remove-all-storage", check=False)
    domain.virsh("destroy")
    domain.virsh("undefine", "--storage", "vda")
    assert not (pool / "one.raw").exists() and (pool / "two.raw").exists() and not domain.exists()
    helpers.virsh("define", domain.path)
    result = helpers.run("virsh", "-c", helpers.URI, "undefine", domain.name, "--remove-all-storage", check=False)
    assert "Volume 'vdb'" in result.stdout and "removed." in result.stdout
    assert not (pool / "two.raw").exists() and other.exists() and not domain.exists()


def test_cpu_host_model_is_the_hosts(make_domain):
    """All three modes give the guest the host's processor."""
    for cpu in "<cpu mode='host-model'/>", "<cpu mode='host-passthrough'/>", "<cpu mode='maximum'/>":
        domain = make_domain(extra=cpu)
        domain.start("--paused")
        assert cpu.split("'")[1] in domain.xml()
        domain.virsh("destroy")


def test_flags_of_other_clients(running):
    """Clients of the library may send what virsh itself refuses."""
    with connection() as conn:
        domain = conn.lookupByName(running.name)
        for call, flags in (domain.shutdownFlags, 0x20), (domain.reboot, 0x20), (domain.managedSave, 1 << 20):
            assert error_of(call, flags)[0] in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT)
        assert domain.hasManagedSaveImage() == 0 and domain.snapshotNum() == 0
        assert domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE and domain.controlInfo()[0] == 0
    assert running.state() == "running"
