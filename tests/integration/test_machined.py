"""systemd's own tools on a running guest: stop its scope, power it off and reboot it as a machine."""
import pytest

import helpers

STOP = 90  # seconds; as long as a guest has to end


def stopped_as(domain, start):
    """What the daemon logs about the domain's end."""
    return [entry["MESSAGE"] for entry in helpers.journal(since=start, matches=[f"LIBVIRT_DOMAIN={domain.name}"])
            if "stopped:" in entry["MESSAGE"]]


RESTARTS = "<on_poweroff>restart</on_poweroff>"


@pytest.fixture
def booted(make_domain):
    """A guest that restarts on power-off, which must not keep its scope from being stopped."""
    domain = make_domain(extra=RESTARTS)
    domain.boot().close()
    return domain


def test_a_stopped_scope_stays_stopped(no_leaks, booted, journal_start):
    """systemctl stop, as at shutdown of the host, shuts the guest down cleanly whatever <on_poweroff> says."""
    helpers.run("systemctl", "stop", helpers.scope_of(booted), timeout=STOP)
    booted.wait_state("shut off")
    assert stopped_as(booted, journal_start) == [f"domain '{booted.name}': stopped: shut down"]
    assert booted.virsh("domstate", "--reason").strip() == "shut off (shutdown)"


@pytest.mark.parametrize("extra", ["", RESTARTS])
def test_machinectl_terminate(no_leaks, make_domain, extra):
    domain = make_domain(extra=extra)
    domain.boot().close()
    helpers.run("machinectl", "terminate", f"micro-{domain.id()}-{domain.name}", timeout=STOP)
    domain.wait_state("shut off", STOP)


def test_machinectl_reboot_and_poweroff(no_leaks, make_domain):
    """The guest reboots in the same machine, even when asked twice; then it powers off."""
    domain = make_domain()
    machine = None
    with domain.boot() as console:
        machine, pid = f"micro-{domain.id()}-{domain.name}", helpers.monitor_of(domain)
        helpers.run("machinectl", "reboot", machine)
        helpers.run("machinectl", "reboot", machine)
        console.expect("init reached")
        console.prompt()
        assert helpers.monitor_of(domain) == pid
        helpers.run("machinectl", "poweroff", machine)
        domain.wait_state("shut off", STOP)
    assert domain.virsh("domstate", "--reason").strip() == "shut off (shutdown)"
