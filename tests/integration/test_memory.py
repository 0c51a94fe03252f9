"""How a guest's memory is backed, seen from the host: huge pages, locked, shared."""
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
    """A guest boots in huge pages; they come back when it ends."""
    domain = make_domain(extra=HUGE)
    with domain.boot() as console:
        assert 80 - MEMORY // 2 <= free_pages() < 80
        assert console.command("echo $((6 * 7))").strip() == "42"
    domain.virsh("destroy")
    helpers.wait_for(lambda: free_pages() == 80)


def test_huge_pages_that_the_host_does_not_have(no_leaks, make_domain):
    assert free_pages() == 0
    domain = make_domain(extra=HUGE)
    told = domain.virsh("start", check=False)
    assert "error:" in told and "huge pages" in told, told
    assert domain.state() == "shut off"


def test_locked(no_leaks, make_domain):
    """Locked memory is there from the start, and never swapped."""
    domain = make_domain(extra="<memoryBacking><locked/></memoryBacking>")
    domain.boot().close()
    assert int(status_of(domain)["VmLck"].split()[0]) >= MEMORY * 1024


def test_locked_by_default_is_nothing(make_domain):
    domain = make_domain()
    domain.start("--paused")
    assert int(status_of(domain)["VmLck"].split()[0]) < MEMORY * 1024


def test_shared(no_leaks, make_domain):
    domain = make_domain(extra="<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>")
    domain.boot().close()
    mapping = guest_mapping(domain).split()
    assert mapping[1] == "rw-s" and mapping[5].startswith("/memfd:"), mapping


def test_private(make_domain):
    """Nobody else could see a memfd that is mapped privately, so none is made."""
    domain = make_domain(extra="<memoryBacking><source type='memfd'/><access mode='private'/></memoryBacking>")
    domain.start("--paused")
    assert guest_mapping(domain).split()[1] == "rw-p"
