"""What systemd's own tools show of the daemon and its domains."""
import re

import helpers

SERVICE = "virtmicrod.service"
KERNEL = helpers.HALTING


def daemon_status():
    return helpers.unit_property(SERVICE, "StatusText")


def expect_count(count):
    text = f"{count} domain{'' if count == 1 else 's'} running"
    helpers.wait_for(lambda: daemon_status() == text, what=f"the daemon's status is {text!r}, not {daemon_status()!r}")
    assert f'Status: "{text}"' in helpers.run("systemctl", "status", "--no-pager", "--lines=0", SERVICE).stdout


def test_status_of_the_daemon_counts_domains(no_leaks, make_domain):
    """However they start and end, and across a restart of the daemon."""
    first, second, transient = make_domain(), make_domain(), make_domain(define=False)
    count = len(helpers.virsh("list", "--name").split())
    expect_count(count)
    first.start("--paused")
    expect_count(count + 1)
    helpers.virsh("create", transient.path, "--paused")
    second.start()
    expect_count(count + 3)
    helpers.run("systemctl", "restart", SERVICE)
    expect_count(count + 3)
    transient.virsh("destroy")
    expect_count(count + 2)
    helpers.os.kill(helpers.monitor_of(second), 9)
    expect_count(count + 1)
    first.virsh("destroy")
    expect_count(count)


def test_status_of_a_scope(no_leaks, make_domain):
    """The domain, its limits and usage, and its last messages."""
    domain = make_domain(kernel=helpers.Kernel("6.12"), extra="<memtune><hard_limit unit='MiB'>400</hard_limit></memtune>")
    domain.start()
    scope, monitor = helpers.scope_of(domain), helpers.monitor_of(domain)

    def status():
        return helpers.run("systemctl", "status", "--no-pager", scope).stdout

    text = helpers.wait_for(lambda: "virtmicro-vmm[" in status() and status(), what="the monitor's lines are shown")
    assert f"{scope} - virtmicro VM {domain.name} ({domain.virsh('domuuid').strip()})" in text
    assert re.search(r"Memory: [\d.]+M \(max: 400\.0M", text)
    assert re.search(r"Tasks: [1-9]\d* \(limit: \d+\)", text)
    assert f"─{monitor} virtmicro-vmm" in text
    assert re.search(rf"virtmicro-vmm\[{monitor}\]: guest runs", text)


def test_cgtop_lists_the_scope(make_domain):
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    domain.start()
    text = helpers.run("systemd-cgtop", "--batch", "--iterations=1", "machine.slice").stdout
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    _, tasks, _, memory, *_ = rows[f"machine.slice/{helpers.scope_of(domain)}"]
    assert int(tasks) > 1 and memory.endswith("M")


def test_journal_of_the_daemon_names_the_machine(make_domain, journal_start):
    """All messages about a running domain can be found by each of the three fields."""
    video = "<video><model type='vga'/></video>"
    domain = make_domain(devices=video, uid="67676767-2222-3333-4444-555555555555")
    domain.start("--paused")
    machine, uid = f"micro-{domain.id()}-{domain.name}", domain.virsh("domuuid").strip()
    helpers.virsh("define", domain.path)
    helpers.run("systemctl", "restart", SERVICE)
    domain.virsh("destroy")

    def messages(field):
        return [entry["MESSAGE"] for entry in helpers.journal(journal_start, matches=[field, "_COMM=virtmicrod"])]

    def told():
        return [text for text in messages(f"MACHINE={machine}") if "stopped" in text]

    helpers.wait_for(told, what="the journal has the domain's end")
    whole = messages(f"LIBVIRT_DOMAIN={domain.name}")
    assert whole == messages(f"DOMAIN_UUID={uid}")
    life = messages(f"MACHINE={machine}")
    for what, text in zip(("started", "left out", "found again", "stopped"), life, strict=True):
        assert what in text
    assert whole[len(whole) - len(life):] == life
