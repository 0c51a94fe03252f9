"""A domain's states and the transitions between them. Few guests boot here: most only halt, or spin."""
import os
import signal
import subprocess
import time

import pytest

import helpers
import output
from clients import connection, error_of

INACTIVE = "Requested operation is not valid: domain is not running"
KERNEL = helpers.HALTING


def reason(domain):
    return domain.virsh("domstate", "--reason").strip()


def cpu_time(domain):
    return float(output.pairs(domain.virsh("dominfo"))["CPU time"].rstrip("s"))


@pytest.fixture
def idle(make_domain):
    return make_domain()


@pytest.fixture
def running(make_domain):
    domain = make_domain()
    domain.start()
    return domain


def test_start_and_destroy(idle):
    assert output.told("start", idle.name) == f"Domain '{idle.name}' started\n\n"
    assert (idle.state(), reason(idle)) == ("running", "running (booted)")
    assert "error: Domain is already active" in idle.virsh("start", check=False)
    assert output.told("destroy", idle.name) == f"Domain '{idle.name}' destroyed\n\n"
    assert (idle.state(), reason(idle)) == ("shut off", "shut off (destroyed)")


def test_start_paused(make_domain):
    idle = make_domain(kernel=helpers.SPINNING)
    idle.start("--paused")
    assert (idle.state(), reason(idle)) == ("paused", "paused (user)")
    assert output.pairs(idle.virsh("dominfo"))["State"] == "paused"
    before = cpu_time(idle)
    assert output.told("resume", idle.name) == f"Domain '{idle.name}' resumed\n\n"
    assert (idle.state(), reason(idle)) == ("running", "running (unpaused)")
    helpers.wait_for(lambda: cpu_time(idle) > before + 0.5, what="the guest runs")


def test_suspend_and_resume(make_domain):
    running = make_domain(kernel=helpers.SPINNING)
    running.start()
    assert output.told("suspend", running.name) == f"Domain '{running.name}' suspended\n\n"
    assert reason(running) == "paused (user)"
    before = cpu_time(running)
    running.virsh("suspend")
    assert reason(running) == "paused (user)"
    assert cpu_time(running) - before < 0.3
    running.virsh("resume")
    assert "Requested operation is not valid: domain is already running" in running.virsh("resume", check=False)


def test_buttons_of_a_paused_domain(paused):
    """A press of the power button waits for the guest; an NMI, which a paused guest cannot take, is refused."""
    for command in ("shutdown", "reboot"):
        paused.virsh(command)
    assert "resume it first" in paused.virsh("inject-nmi", check=False)
    assert paused.state() == "paused"


def test_shutdown_of_a_suspended_guest(no_leaks, make_domain):
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    domain.boot().close()
    domain.virsh("suspend")
    domain.virsh("shutdown")
    assert domain.state() == "paused"
    domain.virsh("resume")
    domain.wait_state("shut off", helpers.BOOT)


def test_destroy_graceful(running):
    running.virsh("destroy", "--graceful")
    assert reason(running) == "shut off (destroyed)"


def in_background(*args):
    return subprocess.Popen(["virsh", "-q", "-c", helpers.URI, *args], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True)


def destroy_at_once(domain):
    """Destroys without waiting for another operation on the domain, which fails at once too."""
    before = time.monotonic()
    domain.virsh("destroy")
    assert time.monotonic() - before < 15  # a call to a monitor may last 30
    assert domain.state() == "shut off"


def has_unread_request():
    """Whether a monitor has something to read on its control socket, which is bound under a name of its own."""
    sockets = [line.split() for line in helpers.run("ss", "-Hx").stdout.splitlines()]
    return any(fields[0] == "u_seq" and "/.ctl-" in fields[4] and int(fields[2]) > 0 for fields in sockets)


def test_destroy_interrupts_a_call_to_a_stopped_monitor(no_leaks, paused):
    paused.virsh("resume")
    os.kill(helpers.monitor_of(paused), signal.SIGSTOP)
    suspending = in_background("suspend", paused.name)
    helpers.wait_for(has_unread_request, interval=0.05, what="the request is sent")
    assert suspending.poll() is None
    destroy_at_once(paused)
    _, text = suspending.communicate(timeout=15)
    assert suspending.returncode == 1 and "the monitor has" in text
    assert reason(paused) == "shut off (destroyed)"


def test_destroy_interrupts_a_start(no_leaks, make_domain, bridge):
    """The monitor is stopped before it can answer; for a persistent and a transient domain."""
    devices = helpers.interface_xml(bridge=bridge)
    persistent, transient = make_domain(devices=devices), make_domain(devices=devices, define=False)
    for domain, command in (persistent, ("start", persistent.name)), (transient, ("create", str(transient.path))):
        before = helpers.monitors()
        starting = in_background(*command, "--paused")
        (monitor,) = helpers.wait_for(lambda: helpers.monitors() - before, interval=0.005)
        os.kill(monitor, signal.SIGSTOP)
        time.sleep(1)  # until the start waits for the monitor
        assert starting.poll() is None
        begun = time.monotonic()
        domain.virsh("destroy")
        _, text = starting.communicate(timeout=helpers.CALL)
        assert time.monotonic() - begun < 15
        assert starting.returncode == 1
        assert f"domain '{domain.name}' was destroyed while it was being started" in text
    assert not transient.exists()
    assert persistent.state() == "shut off"
    persistent.start("--paused")
    assert persistent.state() == "paused"


@pytest.mark.parametrize("command", ["suspend", "resume", "shutdown", "reboot", "reset", "destroy", "dommemstat",
                                     "domifaddr", "cpu-stats", "inject-nmi"])
def test_operations_on_an_inactive_domain_are_refused(idle, command):
    assert INACTIVE in idle.virsh(command, check=False)
    assert idle.state() == "shut off"


def test_code_of_operations_on_an_inactive_domain(idle):
    with connection() as conn:
        domain = conn.lookupByName(idle.name)
        for call in (domain.suspend, domain.resume, domain.shutdown, domain.reboot, domain.reset, domain.destroy):
            assert error_of(call) == (55, INACTIVE)


def test_ids(idle):
    assert idle.virsh("domid").strip() == "-"
    idle.start("--paused")
    first, uid = idle.id(), idle.virsh("domuuid").strip()
    for key in (str(first), uid):
        assert helpers.virsh("domname", key).strip() == idle.name
        assert helpers.virsh("domstate", key).strip() == "paused"
    assert helpers.virsh("domid", uid).strip() == str(first)
    idle.virsh("destroy")
    text = helpers.virsh("domname", str(first), check=False)
    assert f"error: failed to get domain '{first}'" in text
    idle.start("--paused")
    assert idle.id() > first
    assert idle.virsh("domuuid").strip() == uid


@pytest.mark.parametrize("command", ["domstate", "domid", "domuuid", "start", "destroy", "undefine", "dumpxml", "dominfo"])
def test_no_such_domain(command):
    assert "error: failed to get domain 'no-such-domain'" in helpers.virsh(command, "no-such-domain", check=False)


def test_code_of_no_such_domain():
    with connection() as conn:
        assert error_of(conn.lookupByName, "no-such-domain") == (
            42, "Domain not found: no domain with matching name 'no-such-domain'")
        assert error_of(conn.lookupByID, 123456) == (42, "Domain not found: no domain with matching id 123456")
        code, text = error_of(conn.lookupByUUIDString, "00000000-0000-0000-0000-000000000001")
        assert (code, text) == (
            42, "Domain not found: no domain with matching uuid '00000000-0000-0000-0000-000000000001'")


def test_a_handle_of_an_undefined_domain(idle):
    with connection() as conn:
        domain = conn.lookupByName(idle.name)
        idle.virsh("undefine")
        assert error_of(domain.create) == (
            42, f"Domain not found: no domain with matching uuid '{domain.UUIDString()}'")


def test_create(make_domain, no_leaks):
    domain = make_domain(define=False)
    assert output.told("create", domain.path) == f"Domain '{domain.name}' created from {domain.path}\n\n"
    assert reason(domain) == "running (booted)"
    domain.virsh("destroy")
    assert not domain.exists()


def test_create_paused(make_domain):
    domain = make_domain(define=False)
    helpers.virsh("create", domain.path, "--paused")
    assert reason(domain) == "paused (user)"


def test_create_autodestroy(make_domain, no_leaks):
    """The domain ends with the connection that created it."""
    domain = make_domain(define=False)
    helpers.run("virsh", "-q", "-c", helpers.URI, "create", domain.path, "--paused", "--autodestroy")
    helpers.wait_for(lambda: not domain.exists(), what="the domain is gone")


def test_start_autodestroy(idle):
    with connection() as conn:
        domain = conn.lookupByName(idle.name)
        domain.createWithFlags(1 | 2)
        assert idle.state() == "paused"
        del domain  # or the connection stays open
    idle.wait_state("shut off")


def test_autodestroy_is_for_one_run(idle):
    """A later start by another client does not end with the first connection."""
    with connection() as conn:
        domain = conn.lookupByName(idle.name)
        domain.createWithFlags(1 | 2)
        idle.virsh("destroy")
        idle.virsh("start", "--paused")
        del domain
    helpers.virsh("list")
    helpers.time.sleep(2)  # nothing shows that nothing will happen
    assert idle.state() == "paused"
    idle.virsh("destroy")


def test_modes_that_need_an_agent_are_refused(running):
    for command in ("shutdown", "reboot"):
        text = running.virsh(command, "--mode", "agent", check=False)
        assert "argument unsupported" in text and "agent" in text
    assert running.state() == "running"


def test_unknown_flags_are_refused(paused):
    with connection() as conn:
        domain = conn.lookupByName(paused.name)
        for call in (domain.destroyFlags, domain.shutdownFlags, domain.undefineFlags, domain.XMLDesc, domain.createWithFlags):
            code, text = error_of(call, 1 << 20)
            assert code == 8 and "unsupported flags (0x100000)" in text
    assert paused.state() == "paused"


def test_reset_reboot_and_shutdown_of_a_guest(make_domain, no_leaks):
    """A reset and a reboot keep the id and the process."""
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    with domain.boot() as console:
        number, monitor = domain.id(), helpers.monitors()
        console.command("touch /tmp/before")
        assert output.told("reset", domain.name) == f"Domain '{domain.name}' was reset\n\n"
        console.expect("virtmicro-guest: init reached")
        console.prompt()
        assert console.command("ls /tmp/before 2>/dev/null || echo gone").strip() == "gone"
        assert output.told("reboot", domain.name, "--mode", "acpi") == f"Domain '{domain.name}' is being rebooted\n\n"
        console.expect("virtmicro-guest: init reached")
        console.prompt()
        assert (domain.state(), domain.id(), helpers.monitors()) == ("running", number, monitor)
        assert output.told("shutdown", domain.name) == f"Domain '{domain.name}' is being shutdown\n\n"
        domain.wait_state("shut off", helpers.BOOT)
        assert reason(domain) == "shut off (shutdown)"
