"""Booting, seen through stock virsh."""
import re
import struct
import time

import pytest

import helpers

PT_NULL, PT_NOTE = 0, 4
CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"


@pytest.fixture
def kernel_without_notes():
    """An ELF kernel without a PVH entry note, which leaves the 64-bit boot protocol."""
    image = bytearray((helpers.GUESTS / "vmlinux-6.1").read_bytes())
    table, = struct.unpack_from("<Q", image, 32)  # e_phoff
    size, count = struct.unpack_from("<HH", image, 54)  # e_phentsize, e_phnum
    for header in range(table, table + size * count, size):
        if struct.unpack_from("<I", image, header)[0] == PT_NOTE:
            struct.pack_into("<I", image, header, PT_NULL)
    path = helpers.pathlib.Path("/var/lib/libvirt/images/vmlinux-without-notes")
    path.write_bytes(image)
    yield helpers.Kernel("6.1", path)
    path.unlink()


def test_boots_by_the_64_bit_protocol(no_leaks, make_domain, kernel_without_notes):
    domain = make_domain(kernel=kernel_without_notes)
    with domain.boot() as console:
        assert "6.1" in console.command("uname -r")


def check_time(console, line):
    """The seconds that a command prints match the host's, up to rounding."""
    before = time.time()
    told = int(console.command(line))
    assert before - 3 < told < time.time() + 3


def check_machine(console):
    """The paravirtual clock is used, the RTC sets the time at boot, and there is a power button without firmware."""
    messages = console.command("dmesg", timeout=helpers.BOOT)
    assert console.command(f"cat {CLOCKSOURCE}").strip() == "kvm-clock"
    check_time(console, "date +%s")
    check_time(console, "cat /sys/class/rtc/rtc0/since_epoch")
    assert re.search(r"rtc_cmos .*: setting system clock to 20\d\d-", messages)
    assert "Hypervisor detected: KVM" in messages
    assert 'Name="Power Button"' in console.command("cat /proc/bus/input/devices")
    complaints = r"ACPI (BIOS )?(Error|Warning)|Firmware Bug|nobody cared|Call Trace"
    assert not [line for line in messages.splitlines() if re.search(complaints, line)]


def test_boots_every_kernel(no_leaks, make_domain, any_kernel):
    """And each finds the machine that it should."""
    domain = make_domain(kernel=any_kernel, cmdline=helpers.STOCK_CMDLINE)
    with domain.boot() as console:
        assert any_kernel.version in console.command("uname -r")
        check_machine(console)


def test_life(no_leaks, make_domain):
    domain = make_domain()
    assert domain.state() == "shut off"
    with domain.boot() as console:
        assert domain.name in helpers.virsh("list", "--name", "--state-running").split()
        assert console.command("echo $((6 * 7))").strip() == "42"
        domain.virsh("shutdown")
        domain.wait_state("shut off")
    domain.virsh("undefine")
    assert domain.name not in helpers.virsh("list", "--all", "--name").split()


def test_transient_domain_goes_with_its_guest(no_leaks, make_domain):
    """It powers off; nobody reads its console."""
    domain = make_domain(define=False, console=False, devices="<serial type='null'/>",
                         cmdline=f"{helpers.CMDLINE} vm.run=poweroff")
    helpers.virsh("create", domain.path)
    helpers.wait_for(lambda: not domain.exists(), helpers.BOOT, what="the domain is gone")


def test_start_of_a_missing_kernel_says_which(make_domain):
    kernel = helpers.Kernel("6.12", "no-such-kernel")
    domain = make_domain(kernel=kernel)
    with pytest.raises(helpers.CommandError, match="no-such-kernel"):
        domain.start()
    assert domain.state() == "shut off"

