"""The host reboots with running guests.

The runner reboots the host between the two parts. By hand: pytest -k "not after_reboot", ./run host reboot, pytest -k after_reboot.
"""
import json
import pathlib

import helpers

HOST_REBOOTS = True

MARKED, RUNNING, IDLE = (helpers.Domain(f"reboot-{name}") for name in ("marked", "running", "idle"))


def define(domain, **arguments):
    path = pathlib.Path("/root") / f"{domain.name}.xml"
    path.write_text(helpers.domain_xml(domain.name, helpers.Kernel("6.12"), **arguments))
    helpers.virsh("define", path)


def last_words(domain):
    """Messages about a domain from before the reboot."""
    lines = helpers.run("journalctl", "--boot=-1", "--no-pager", "-o", "json", f"LIBVIRT_DOMAIN={domain.name}").stdout
    return [json.loads(line)["MESSAGE"] for line in lines.splitlines()]


def test_guests_run():
    """Two run, one of them marked for autostart; another marked one was stopped by hand."""
    define(MARKED, extra="<on_poweroff>restart</on_poweroff>")
    define(RUNNING)
    define(IDLE)
    MARKED.virsh("autostart")
    IDLE.virsh("autostart")
    for domain in (MARKED, RUNNING):
        domain.boot().close()
    IDLE.start("--paused")
    IDLE.virsh("destroy")


def test_after_reboot_guests_had_shut_down_cleanly():
    """Each saw its power button pressed and had time to power off, and the daemon noticed."""
    for domain in (MARKED, RUNNING):
        told = last_words(domain)
        for words in ("asked to stop: pressing the guest's power button", "guest is shut down, by itself"):
            assert words in told, (domain.name, told)
        assert any("stopped: shut down" in message for message in told), (domain.name, told)


def test_after_reboot_marked_domains_run():
    """The daemon starts without any client. A new boot also starts marked domains that were stopped by hand."""
    for domain in (MARKED, IDLE):
        domain.wait_state("running", helpers.BOOT)
    assert RUNNING.state() == "shut off"
    with MARKED.console() as console:
        console.prompt()
    assert helpers.scopes() == {helpers.scope_of(MARKED), helpers.scope_of(IDLE)}
    for domain in (MARKED, IDLE, RUNNING):
        domain.remove()
