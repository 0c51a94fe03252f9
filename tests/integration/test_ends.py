"""How guests end: what on_poweroff, on_reboot and on_crash do, and which events clients get."""
import pytest

import helpers
from clients import watching

BOOTED = ("lifecycle Resumed Unpaused", "lifecycle Started Booted")
REBOOTED = "reboot"
POWERED_OFF = "lifecycle Shutdown Finished after guest request"
PANICKED = "lifecycle Crashed Panicked"
RESUMED = "lifecycle Resumed Unpaused"
PAUSED = "lifecycle Suspended Paused"
DESTROYED = "lifecycle Stopped Destroyed"
PANIC = f"{helpers.CMDLINE} vm.run=panic"


@pytest.fixture
def probe(make_domain):
    return make_domain(uid="88888888-2222-3333-4444-666666666666")


def reason(domain):
    return domain.virsh("domstate", "--reason").strip()


def test_restart_on_poweroff_and_destroy_on_reboot(no_leaks, probe, make_domain):
    """The reverse of the defaults. A guest that restarts keeps its id and its monitor."""
    domain = make_domain(extra="<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot>")
    with watching(probe, "--all") as watcher, domain.boot() as console:
        number, monitor = domain.id(), helpers.monitor_of(domain)
        console.send("poweroff -f\n")
        console.expect("virtmicro-guest: init reached")
        watcher.wait_for(domain, *BOOTED, REBOOTED)
        assert (domain.state(), domain.id(), helpers.monitor_of(domain)) == ("running", number, monitor)
        console.prompt()
        console.send("reboot -f\n")
        domain.wait_state("shut off")
        watcher.wait_for(domain, *BOOTED, REBOOTED, POWERED_OFF, "lifecycle Stopped Shutdown")
    assert reason(domain) == "shut off (shutdown)"


def test_reboot_and_preserve_on_poweroff(no_leaks, probe, make_domain):
    """A preserved guest takes no power button, but a reset, after which it is like any other."""
    domain = make_domain(extra="<on_poweroff>preserve</on_poweroff>")
    with watching(probe, "--all") as watcher, domain.boot() as console:
        number = domain.id()
        console.send("reboot -f\n")
        console.expect("virtmicro-guest: init reached")
        watcher.wait_for(domain, *BOOTED, REBOOTED)
        assert (domain.state(), domain.id()) == ("running", number)
        console.prompt()
        console.send("poweroff -f\n")
        domain.wait_state("in shutdown")
        watcher.wait_for(domain, *BOOTED, REBOOTED, POWERED_OFF)
        for command in ("shutdown", "suspend", "resume"):
            assert "Requested operation is not valid" in domain.virsh(command, check=False)
        domain.virsh("reset")
        assert reason(domain) == "running (booted)"
        watcher.wait_for(domain, *BOOTED, REBOOTED, POWERED_OFF, REBOOTED, RESUMED)
        domain.virsh("suspend")
        domain.virsh("destroy")
        watcher.wait_for(domain, *BOOTED, REBOOTED, POWERED_OFF, REBOOTED, RESUMED, PAUSED, DESTROYED)


def test_preserve_on_crash(no_leaks, probe, make_domain):
    """The crashed guest is kept until it is destroyed or reset, across restarts of the daemon."""
    domain = make_domain(cmdline=PANIC, extra="<on_crash>preserve</on_crash>")
    with watching(probe, "--all") as watcher:
        domain.start()
        domain.wait_state("crashed", helpers.BOOT)
        assert reason(domain) == "crashed (panicked)"
        watcher.wait_for(domain, *BOOTED, PANICKED)
    helpers.run("systemctl", "restart", "virtmicrod.service")
    helpers.wait_for(lambda: reason(domain) == "crashed (panicked)")
    with watching(probe, "--all") as watcher:
        domain.virsh("reset")
        assert reason(domain) == "running (crashed)"
        domain.virsh("suspend")
        domain.virsh("destroy")
        watcher.wait_for(domain, REBOOTED, RESUMED, PAUSED, DESTROYED)


def test_restart_on_crash(no_leaks, probe, make_domain):
    """This guest panics at every boot; each time that is reported and it restarts, until it is destroyed."""
    domain = make_domain(cmdline=PANIC, extra="<on_crash>restart</on_crash>")
    domain.start("--paused")
    number, before = domain.id(), helpers.monitor_of(domain)
    with watching(probe, "--all") as watcher, domain.console() as console:
        domain.virsh("resume")
        for _ in range(2):
            console.expect("init reached")
        assert (domain.id(), helpers.monitor_of(domain)) == (number, before)
        assert reason(domain) == "running (crashed)"
        domain.virsh("suspend")
        domain.virsh("destroy")
        watcher.wait_for(domain, RESUMED, PANICKED, REBOOTED, RESUMED, PAUSED, DESTROYED)
