"""Events, in the order in which things happened: `virsh event` and callbacks of libvirt's Python binding."""
import re
import time

import libvirt
import pytest

import helpers
from clients import EventLoop, Watcher, connection, watching

LIFECYCLE = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
KERNEL = helpers.HALTING
KINDS = ["lifecycle", "reboot", "metadata-change", "tunable", "io-error", "agent-lifecycle", "device-added"]


@pytest.fixture
def probe(make_domain):
    return make_domain(uid="88888888-2222-3333-4444-555555555555")


def test_list_of_kinds():
    listed = helpers.run("virsh", "-c", helpers.URI, "event", "--list").stdout.split()
    assert set(KINDS) <= set(listed)


def test_lifecycle_in_order(probe, make_domain):
    domain = make_domain(define=False, uid="99999999-2222-3333-4444-555555555555")
    told = []
    with watching(probe, "--all") as watcher:
        for command, *events in [
                (["define", domain.path], "lifecycle Defined Added"),
                (["define", domain.path], "lifecycle Defined Updated"),
                (["start", domain.name], "lifecycle Resumed Unpaused", "lifecycle Started Booted"),
                (["suspend", domain.name], "lifecycle Suspended Paused"),
                (["resume", domain.name], "lifecycle Resumed Unpaused"),
                (["reset", domain.name], "reboot"),
                (["destroy", domain.name], "lifecycle Stopped Destroyed"),
                (["start", domain.name, "--paused"], "lifecycle Started Booted", "lifecycle Suspended Paused"),
                (["undefine", domain.name], "lifecycle Undefined Removed"),
                (["destroy", domain.name], "lifecycle Stopped Destroyed")]:
            helpers.virsh(*command)
            told += events
            watcher.wait_for(domain, *told)
        assert watcher.process.poll() is None


def test_poweroff_and_crash_of_the_guest(probe, make_domain):
    """A guest that powers off, and a monitor that is killed."""
    guest = make_domain(kernel=helpers.Kernel("6.12"), cmdline=f"{helpers.CMDLINE} vm.run=poweroff")
    victim = make_domain()
    with watching(probe, "--event", "lifecycle") as watcher:
        guest.start()
        victim.start("--paused")
        helpers.run("kill", "-KILL", *[str(pid) for pid in helpers.processes_of(victim)][:1])
        watcher.wait_for(victim, "lifecycle Started Booted", "lifecycle Suspended Paused", "lifecycle Stopped Failed")
        guest.wait_state("shut off", helpers.BOOT)
        watcher.wait_for(guest, "lifecycle Resumed Unpaused", "lifecycle Started Booted",
                         "lifecycle Shutdown Finished after guest request", "lifecycle Stopped Shutdown")
    assert guest.virsh("domstate", "--reason").strip() == "shut off (shutdown)"
    assert victim.virsh("domstate", "--reason").strip() in ("shut off (failed)", "shut off (crashed)")


def test_failed_start_sends_no_start_event(probe, make_domain):
    domain = make_domain(kernel=helpers.Kernel("6.12", "no-such-kernel"))
    with watching(probe, "--all") as watcher:
        domain.virsh("start", check=False)
        domain.virsh("desc", "after")
        helpers.wait_for(lambda: any("metadata" in event for event in watcher.of(domain)), what=watcher.read())
        assert not [event for event in watcher.of(domain) if "Started" in event or "Resumed" in event]


def test_changes_of_metadata_and_tunables(probe, make_domain):
    domain = make_domain()
    domain.start("--paused")
    with watching(probe, "--all") as watcher:
        domain.virsh("desc", "--title", "t")
        domain.virsh("desc", "words")
        domain.virsh("metadata", "--uri", "http://example.org/e", "--key", "e", "--set", "<e/>")
        helpers.wait_for(lambda: len(watcher.of(domain)) == 3, what=watcher.read())
        kinds = [event for event in watcher.of(domain)]
        assert [kind.split()[0] for kind in kinds] == ["metadata-change"] * 3
        assert "title" in kinds[0] and "description" in kinds[1] and "http://example.org/e" in kinds[2]
        domain.virsh("schedinfo", "--live", "--set", "cpu_shares=222")
        helpers.wait_for(lambda: "cputune.cpu_shares: 222" in watcher.read(), what=watcher.read())
        domain.virsh("vcpupin", "0", "0", "--live")
        helpers.wait_for(lambda: "cputune.vcpupin0: 0" in watcher.read(), what=watcher.read())
        domain.virsh("emulatorpin", "0", "--live")
        helpers.wait_for(lambda: "cputune.emulatorpin: 0" in watcher.read(), what=watcher.read())


def test_events_of_one_domain(probe, make_domain):
    other = make_domain(uid="89898989-2222-3333-4444-555555555555")
    with watching(probe, "--domain", probe.name, "--event", "lifecycle") as watcher:
        helpers.virsh("define", other.path)
        count = len(watcher.of(probe))
        helpers.virsh("define", probe.path)
        helpers.wait_for(lambda: len(watcher.of(probe)) > count)
        assert watcher.of(other) == []


def test_event_without_loop_ends_after_the_first(probe):
    with Watcher("--event", "lifecycle", "--timestamp") as watcher:
        deadline = time.monotonic() + helpers.CALL
        while watcher.process.poll() is None:
            assert time.monotonic() < deadline
            helpers.virsh("define", probe.path)
            time.sleep(0.3)
        assert watcher.process.returncode == 0
        text = watcher.read()
    assert re.search(rf"^20\d\d-.*: event 'lifecycle' for domain '{probe.name}': Defined Updated$", text, re.MULTILINE)
    assert "events received: 1" in text


def test_event_times_out():
    with Watcher("--event", "reboot", "--timeout", "1") as watcher:
        assert watcher.process.wait(helpers.CALL) == 1
        assert "event loop timed out" in watcher.read() and "events received: 0" in watcher.read()


# Callbacks


@pytest.fixture
def conn():
    """A connection whose events are delivered by a thread."""
    EventLoop.start()
    with connection() as opened:
        yield opened


def collect(conn, kind, domain=None):
    seen = []
    number = conn.domainEventRegisterAny(domain, kind, lambda _, dom, *rest: seen.append((dom.name(), *rest[:-1])), None)
    return number, seen


def test_callback(conn, make_domain):
    domain = make_domain()
    number, seen = collect(conn, LIFECYCLE)
    domain.start("--paused")
    domain.virsh("destroy")
    expected = [(domain.name, libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED),
                (domain.name, libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED),
                (domain.name, libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)]
    helpers.wait_for(lambda: [event for event in seen if event[0] == domain.name] == expected, what=f"{seen}")
    conn.domainEventDeregisterAny(number)


def test_callbacks_of_one_connection_are_independent(conn, make_domain):
    watched, other = make_domain(), make_domain()
    first, all_events = collect(conn, LIFECYCLE)
    second, one = collect(conn, LIFECYCLE, conn.lookupByName(watched.name))
    third, metadata = collect(conn, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE)
    other.start("--paused")
    watched.start("--paused")
    watched.virsh("desc", "--live", "words")
    helpers.wait_for(lambda: metadata == [(watched.name, libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, None)], what=f"{metadata}")
    assert {event[0] for event in all_events} >= {watched.name, other.name}
    assert {event[0] for event in one} == {watched.name}
    conn.domainEventDeregisterAny(first)
    count = len(all_events)
    watched.virsh("destroy")
    helpers.wait_for(lambda: one[-1][1] == libvirt.VIR_DOMAIN_EVENT_STOPPED, what=f"{one}")
    assert len(all_events) == count
    conn.domainEventDeregisterAny(second)
    conn.domainEventDeregisterAny(third)


def test_every_kind_can_be_registered(conn):
    kinds = {value for name, value in vars(libvirt).items() if name.startswith("VIR_DOMAIN_EVENT_ID_")}
    assert kinds == set(range(27))
    numbers = [collect(conn, kind)[0] for kind in sorted(kinds)]
    assert len(set(numbers)) == len(kinds)
    for number in numbers:
        conn.domainEventDeregisterAny(number)


def test_close_callback_when_the_daemon_goes(make_domain):
    """A client learns that its daemon is gone, and can reconnect."""
    EventLoop.start()
    domain = make_domain()
    domain.start("--paused")
    reasons = []
    conn = libvirt.open(helpers.URI)
    conn.registerCloseCallback(lambda _, reason, __: reasons.append(reason), None)
    helpers.run("systemctl", "restart", "virtmicrod.service")
    helpers.wait_for(lambda: reasons, what="the close callback")
    assert not conn.isAlive()
    with connection() as again:
        assert again.lookupByName(domain.name).isActive() == 1


# Guests that end at once


@pytest.fixture
def crashing_kernel():
    """It jumps to where there is no memory, and KVM cannot continue."""
    yield from written(helpers.CodeKernel("crashing", b"\xb8\x00\x00\x00\xe0\xff\xe0"))


@pytest.fixture
def faulting_kernel():
    """Its first instruction is invalid: without an IDT that is a triple fault."""
    yield from written(helpers.CodeKernel("faulting", b"\x0f\x0b"))


def written(kernel):
    kernel.write()
    yield kernel
    kernel.kernel.unlink()


def test_a_triple_fault_is_a_reset(probe, make_domain, faulting_kernel):
    """As on a PC: the guest restarts, or does what on_reboot says, and the journal says why."""
    restarting = make_domain(kernel=faulting_kernel)
    ending = make_domain(kernel=faulting_kernel, extra="<on_reboot>destroy</on_reboot>")
    with watching(probe, "--all") as watcher:
        for domain in (restarting, ending):
            domain.start()
        ending.wait_state("shut off")
        helpers.wait_for(lambda: watcher.of(restarting).count("reboot") >= 3, what=watcher.read())
        assert restarting.state() == "running"
        assert not any("Crashed" in line for domain in (restarting, ending) for line in watcher.of(domain))
    assert any("triple fault: resetting" in line["MESSAGE"] for line in helpers.journal(unit=helpers.scope_of(restarting)))
    restarting.virsh("destroy")


def test_a_guest_that_crashes_at_once(probe, make_domain, crashing_kernel):
    """Its crash is reported as one, and after its start, however short its life."""
    domains = [make_domain(kernel=crashing_kernel) for _ in range(5)]
    with watching(probe, "--event", "lifecycle") as watcher:
        for domain in domains:
            domain.start()
        for domain in domains:
            domain.wait_state("shut off")
        for domain in domains:
            helpers.wait_for(lambda: "lifecycle Stopped Crashed" in watcher.of(domain), what=watcher.read())
            told = watcher.of(domain)
            assert told[:2] == ["lifecycle Resumed Unpaused", "lifecycle Started Booted"], told
            assert told[-1] == "lifecycle Stopped Crashed", told


def test_a_guest_that_crashes_at_once_and_restarts(no_leaks, probe, make_domain, crashing_kernel):
    """At most about ten times a second, so the domain stays manageable."""
    domain = make_domain(kernel=crashing_kernel, extra="<on_crash>restart</on_crash>")
    with watching(probe, "--all") as watcher:
        start = time.monotonic()
        domain.start()
        helpers.wait_for(lambda: watcher.of(domain).count("lifecycle Crashed Panicked") >= 4, what=watcher.read())
        # Between a crash and the restart both are refused, as for any domain that has ended.
        helpers.wait_for(lambda: "error:" not in domain.virsh("suspend", check=False))
        helpers.wait_for(lambda: domain.state() == "paused", timeout=5)
        assert watcher.of(domain).count("reboot") <= 10 * (time.monotonic() - start) + 4
        helpers.wait_for(lambda: "error:" not in domain.virsh("resume", check=False))
        domain.virsh("destroy")
