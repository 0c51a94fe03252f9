"""How a guest's memory is backed, seen from the host: huge pages, locked, shared; and what exceeds its limit."""
import pathlib

import pytest

import helpers
import output

PAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
HUGE = "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>"
MEMORY = 128  # MiB


def free_pages():
    return int((PAGES / "free_hugepages").read_text())


@pytest.fixture
def huge_pages():
    """Enough huge pages for one guest of 128 MiB."""
    number = PAGES / "nr_hugepages"
    before = number.read_text()
    number.write_text("80")
    assert free_pages() == 80, "the host has no 160 MiB in one piece each of 2"
    yield
    number.write_text(before)


def status_of(domain):
    return output.pairs(pathlib.Path(f"/proc/{helpers.monitor_of(domain)}/status").read_text())


def guest_mapping(domain):
    """The line of the monitor's maps for the guest's memory, which is its largest mapping."""
    lines = pathlib.Path(f"/proc/{helpers.monitor_of(domain)}/maps").read_text().splitlines()

    def size(line):
        first, last = line.split()[0].split("-")
        return int(last, 16) - int(first, 16)

    return max(lines, key=size)


def test_huge_pages(no_leaks, make_domain, huge_pages):
    """A guest boots in huge pages, which are freed when it ends."""
    domain = make_domain(extra=HUGE)
    with domain.boot() as console:
        assert 80 - MEMORY // 2 <= free_pages() < 80
        assert console.command("echo $((6 * 7))").strip() == "42"
    domain.virsh("destroy")
    helpers.wait_for(lambda: free_pages() == 80)


def test_missing_huge_pages_are_reported(no_leaks, make_domain):
    assert free_pages() == 0
    domain = make_domain(extra=HUGE)
    told = domain.virsh("start", check=False)
    assert "error:" in told and "huge pages" in told, told
    assert domain.state() == "shut off"


@pytest.fixture(scope="module")
def shared(no_module_leaks, make_module_domain):
    """A booted guest whose memory is locked and shared."""
    domain = make_module_domain(extra="<memoryBacking><source type='memfd'/><access mode='shared'/><locked/></memoryBacking>")
    domain.boot().close()
    return domain


def test_locked(shared):
    """Locked memory is allocated at the start, and never swapped."""
    assert int(status_of(shared)["VmLck"].split()[0]) >= MEMORY * 1024


def test_not_locked_by_default(make_domain):
    domain = make_domain()
    domain.start("--paused")
    assert int(status_of(domain)["VmLck"].split()[0]) < MEMORY * 1024


def test_shared(shared):
    mapping = guest_mapping(shared).split()
    assert mapping[1] == "rw-s" and mapping[5].startswith("/memfd:"), mapping


def test_private(make_domain):
    """A private mapping needs no memfd, since nobody else could see it."""
    domain = make_domain(extra="<memoryBacking><source type='memfd'/><access mode='private'/></memoryBacking>")
    domain.start("--paused")
    assert guest_mapping(domain).split()[1] == "rw-p"


@pytest.mark.parametrize("limit, backing", ((65536, "<memoryBacking><locked/></memoryBacking>"), (1024, "")))
def test_start_that_exceeds_the_limit(no_leaks, make_domain, limit, backing):
    """The kernel kills the monitor at START: the error blames the limit, and a higher one helps."""
    domain = make_domain(extra=f"<memtune><hard_limit unit='KiB'>{limit}</hard_limit></memtune>{backing}")
    told = domain.virsh("start", check=False)
    assert f"the kernel has killed the monitor of domain '{domain.name}' at its start" in told, told
    assert f"it needed more memory than its limit of {limit} KiB: raise <hard_limit>" in told
    assert "socket" not in told
    assert domain.state() == "shut off"
    domain.virsh("memtune", "--hard-limit", "262144", "--config")
    domain.start("--paused")


@pytest.mark.parametrize("restarted", (False, True))
def test_guest_that_exceeds_the_limit(no_leaks, make_domain, journal_start, restarted):
    """The limit shrinks below what the monitor uses, also after a restart of the daemon."""
    domain = make_domain()
    domain.start("--paused")
    if restarted:
        helpers.run("systemctl", "restart", "virtmicrod.service")
        domain.virsh("resume")
        domain.virsh("suspend")
    helpers.run("systemctl", "set-property", "--runtime", helpers.scope_of(domain), "MemoryMax=1M", check=False)
    domain.wait_state("shut off")
    assert domain.virsh("domstate", "--reason").strip() == "shut off (crashed)"

    def told():
        entries = helpers.journal(journal_start, matches=[f"LIBVIRT_DOMAIN={domain.name}"])
        return any("the kernel has killed its monitor: it needed more memory than its limit of 1024 KiB: raise" in
                   entry["MESSAGE"] for entry in entries)

    helpers.wait_for(told, what="the journal says why")
