"""Autostart: once per boot of the host, and never against what an operator did since."""
import contextlib
import os
import shutil
import signal

import pytest

import helpers
from test_adopt import kill_daemon

UNITS = ["virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service"]
KERNEL = helpers.HALTING


def stop_host():
    """As a shutdown does: stops every scope, then the daemon, and clears /run."""
    for scope in helpers.scopes():
        helpers.run("systemctl", "kill", "-s", "KILL", scope)
    helpers.wait_for(lambda: not helpers.scopes(), what="all scopes are gone")
    helpers.run("systemctl", "stop", *UNITS)
    shutil.rmtree(helpers.STATE)


def start_host():
    """As a boot does: systemd-tmpfiles, the sockets, and what multi-user.target wants."""
    helpers.run("systemd-tmpfiles", "--create", "--boot")
    helpers.run("systemctl", "start", *UNITS)


def notes():
    """How often each domain's start was attempted, of those still to be started with the host."""
    found = []
    for path in (helpers.STATE / "autostart").glob("?" * 36):  # skips files still being written
        with contextlib.suppress(FileNotFoundError):
            found.append(int(path.read_text()))
    return found


def wait_for_another_daemon(before):
    helpers.wait_for(lambda: helpers.daemon_pid() not in (0, before), what="another daemon runs")


def replace_daemon():
    """kill -9; systemd starts another one."""
    wait_for_another_daemon(kill_daemon())
    helpers.wait_for(lambda: helpers.unit_property(UNITS[2], "ActiveState") == "active", what="the daemon is ready")


@pytest.fixture
def host_stopped():
    """Starts the daemon again after the test, whatever happened in it."""
    yield
    helpers.STATE.mkdir(exist_ok=True, mode=0o700)
    helpers.run("systemctl", "start", *UNITS)


def test_marked_domains_start_with_the_host(host_stopped, make_domain, make_disk, bridge):
    """Marked domains start whether they ran before or not; unmarked ones stay off."""
    devices = helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge)
    marked, marked_idle, other = make_domain(devices=devices), make_domain(), make_domain()
    for domain in marked, marked_idle:
        domain.virsh("autostart")
    for domain in marked, other:
        domain.start()
    stop_host()
    start_host()
    for domain in marked, marked_idle:
        domain.wait_state("running")
        assert domain.virsh("domstate", "--reason").strip() == "running (booted)"
    assert other.state() == "shut off"
    assert {marked.name, marked_idle.name} <= set(helpers.virsh("list", "--autostart", "--name").split())


def test_a_failing_domain_does_not_keep_others_from_starting(host_stopped, make_domain, journal_start):
    broken = make_domain(name="aaa-broken", devices=helpers.disk_xml("/no/such/disk"))
    whole = make_domain()
    for domain in broken, whole:
        domain.virsh("autostart")
    stop_host()
    start_host()
    whole.wait_state("running")
    assert broken.state() == "shut off"
    entries = helpers.wait_for(lambda: helpers.journal(journal_start, matches=[f"LIBVIRT_DOMAIN={broken.name}"]),
                               what="the journal says why")
    assert "cannot autostart" in entries[-1]["MESSAGE"] and "/no/such/disk" in entries[-1]["MESSAGE"]


def test_a_restart_of_the_daemon_starts_none(no_leaks, make_domain):
    """A domain stopped by hand stays stopped after the daemon restarts or crashes."""
    domain = make_domain()
    domain.virsh("autostart")
    domain.start("--paused")
    domain.virsh("destroy")
    for command in ("restart", UNITS[2]), ("kill", "-s", "KILL", UNITS[2]):
        before = helpers.daemon_pid()
        helpers.run("systemctl", *command)
        wait_for_another_daemon(before)
    helpers.virsh("list", check=False)
    helpers.time.sleep(2)  # nothing tells that nothing will happen
    assert domain.state() == "shut off"


def test_link_that_was_made_by_hand(host_stopped, make_domain):
    """Marks are links, and those of other tools count; without one nothing starts."""
    domain, unmarked = make_domain(), make_domain()
    unmarked.virsh("autostart")
    unmarked.virsh("autostart", "--disable")
    stop_host()
    config = helpers.pathlib.Path("/etc/libvirt/micro")
    (config / "autostart" / f"{domain.name}.xml").symlink_to(config / f"{domain.name}.xml")
    start_host()
    domain.wait_state("running")
    assert "enable" in domain.virsh("dominfo").split("Autostart:")[1].split("\n")[0]
    assert unmarked.state() == "shut off"


@contextlib.contextmanager
def stopped(units):
    """Daemons that take connections and answer nothing."""
    pids = [int(helpers.unit_property(unit, "MainPID")) for unit in units]
    pids = [pid for pid in pids if pid]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def booted_with_a_silent_libvirt():
    stop_host()
    helpers.run("virsh", "net-list")  # it runs
    with stopped(["virtnetworkd.service", "libvirtd.service"]):
        start_host()
        yield


def test_hanging_starts_block_nobody(host_stopped, make_domain, network):
    """Four starts wait for libvirt's network daemon. Another guest's end is noticed, and the daemon can be stopped.

    It undoes what it has begun, and does not begin the fifth. The next daemon starts them all, except domains that an
    operator has stopped or unmarked meanwhile.
    """
    marked = [make_domain(devices=helpers.interface_xml(network=network)) for _ in range(5)]
    stopped_by_hand, unmarked = (make_domain(name=f"zzz-{word}") for word in ("stopped", "unmarked"))
    other = make_domain()
    for domain in (*marked, stopped_by_hand, unmarked):
        domain.virsh("autostart")
    with booted_with_a_silent_libvirt():
        helpers.wait_for(lambda: len(helpers.monitors()) == 4, what="four are being started")
        other.start("--paused")
        os.kill(helpers.monitor_of(other), signal.SIGKILL)
        other.wait_state("shut off", 15)
        stopped_by_hand.start("--paused")
        stopped_by_hand.virsh("destroy")
        unmarked.virsh("autostart", "--disable")
        assert len(notes()) == len(marked) + 1
        helpers.run("systemctl", "stop", "--no-block", *UNITS)
        helpers.time.sleep(2)  # nothing shows that it waits for the four
    helpers.wait_for(lambda: helpers.unit_property(UNITS[2], "ActiveState") == "inactive", what="the daemon has ended")
    assert not helpers.monitors()
    helpers.run("systemctl", "start", *UNITS)
    for domain in marked:
        domain.wait_state("running")
    helpers.wait_for(lambda: not notes(), what="no start is pending")
    assert [domain.state() for domain in (stopped_by_hand, unmarked, other)] == ["shut off"] * 3


def test_a_start_that_two_daemons_do_not_survive_is_retried(host_stopped, make_domain, network):
    """Each daemon but the last is killed while one domain starts; the other cannot be started at all."""
    broken = make_domain(devices=helpers.disk_xml("/no/such/disk"))
    domain = make_domain(devices=helpers.interface_xml(network=network))
    for marked in broken, domain:
        marked.virsh("autostart")
    with booted_with_a_silent_libvirt():
        for attempt in range(1, 4):
            helpers.wait_for(lambda: notes() == [attempt], what="one is being started, and the other has failed")
            if attempt < 3:
                replace_daemon()
    domain.wait_state("running")
    assert not notes() and broken.state() == "shut off"


def test_a_start_that_three_daemons_do_not_survive_is_given_up(host_stopped, make_domain, network, journal_start):
    """The fourth daemon leaves alone a domain whose start three have died in."""
    domain = make_domain(devices=helpers.interface_xml(network=network))
    domain.virsh("autostart")
    with booted_with_a_silent_libvirt():
        for attempt in range(1, 4):
            helpers.wait_for(lambda: notes() == [attempt], what="it is being started")
            replace_daemon()
    helpers.wait_for(lambda: not notes(), what="the start is given up")
    entries = helpers.journal(journal_start, matches=[f"LIBVIRT_DOMAIN={domain.name}"])
    assert any("the daemon has ended in each of 3 attempts" in entry["MESSAGE"] for entry in entries)
    domain.wait_state("shut off")
    domain.start("--paused")
