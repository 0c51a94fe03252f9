"""The monitor run by hand, without the daemon."""
import termios

import pytest

import helpers

ARGUMENTS = ("--initrd", helpers.GUESTS / "initrd-6.12.img", "--memory", "128M")


def monitor(*arguments, kernel=helpers.GUESTS / "vmlinuz-6.12", cmdline="console=ttyS0 quiet vm.run=poweroff"):
    """Runs it to its end and returns its exit status and output."""
    result = helpers.run(helpers.VMM, "--kernel", kernel, *ARGUMENTS, "--cmdline", cmdline, *arguments, check=False,
                         timeout=helpers.BOOT)
    return result.returncode, result.stdout + result.stderr


def test_boots_with_all_devices(make_disk, bridge):
    helpers.run("ip", "tuntap", "add", "byhand0", "mode", "tap", "vnet_hdr")
    try:
        helpers.run("ip", "link", "set", "byhand0", "master", bridge, "up")
        status, output = monitor("--disk", f"{make_disk()},serial=BYHAND", "--net", "tap=byhand0,mac=52:54:00:00:00:07",
                                 "--rng", "--cpus", "2")
    finally:
        helpers.run("ip", "link", "delete", "byhand0")
    assert status == 0, output
    assert "init reached" in output


def terminal(*arguments):
    """Runs it on its own terminal."""
    command = [helpers.VMM, "--kernel", helpers.GUESTS / "vmlinuz-6.12", *ARGUMENTS, *arguments]
    return helpers.Console(None, command=command)


def is_raw(console):
    """Whether input goes to the guest unprocessed; a terminal's master shows the settings of its other side."""
    return not termios.tcgetattr(console.master)[3] & (termios.ICANON | termios.ISIG)


MISTAKES = {
    "no-kernel": ([], {"kernel": "/nope"}, "cannot open kernel '/nope': No such file"),
    "text-as-kernel": ([], {"kernel": "/etc/services"}, "neither"),
    "long-cmdline": ([], {"cmdline": "x" * 5000}, "--cmdline: longer than 2047 bytes"),
    "no-disk": (["--disk", "/nope"], {}, "cannot open disk '/nope': No such file"),
    "empty-disk": (["--disk", "/dev/null"], {}, "cannot use disk '/dev/null'"),
    "disk-item": (["--disk", "/nope,fast"], {}, "--disk: unknown item 'fast'"),
    "cache-mode": (["--disk", "/nope,cache=directsync"], {}, "--disk: unknown cache mode 'directsync'"),
    "no-tap": (["--net", "tap=nope0"], {}, "there is no interface 'nope0'"),
    "no-tap-name": (["--net", "mac=52:54:00:00:00:01"], {}, "--net: needs tap=NAME"),
    "no-processors": (["--cpus", "0"], {}, "--cpus: too small: '0'"),
    "little-memory": (["--memory", "1M"], {}, "cannot make the machine"),
    "root": (["--uid", "0"], {}, "--uid: the monitor does not run as root"),
    "unknown": (["--frobnicate"], {}, "--frobnicate: unknown option; --help lists them"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_reported(mistake):
    """One line says what is wrong, before anything runs."""
    arguments, keywords, words = MISTAKES[mistake]
    status, output = monitor(*arguments, **keywords)
    assert status == 1
    assert words in output
    assert len(output.splitlines()) == 1, output


def test_crash_is_an_exit_status():
    status, output = monitor(cmdline="console=ttyS0 quiet vm.run=panic")
    assert status == 1
    assert "crashed" in output


@pytest.mark.parametrize("way", ["escape", "SIGTERM", "SIGINT", "SIGHUP"])
def test_ways_to_end_it(way):
    """It ends at once and restores the terminal, even early in the guest's boot, before it has drivers."""
    with terminal("--cmdline", "earlycon=uart8250,io,0x3f8") as console:
        before = termios.tcgetattr(console.master)
        console.expect(r"bootconsole \[uart8250\] enabled")
        assert is_raw(console)
        if way == "escape":
            console.send("\x01x")
        else:
            helpers.run("kill", f"-{way}", console.process.pid)
        assert console.process.wait(helpers.CALL) == 1
        assert termios.tcgetattr(console.master) == before


def test_terminal_and_disks(make_disk):
    """Keys reach the guest unchanged, Ctrl-A when typed twice; disks follow their items; --no-reboot exits."""
    disks = {"readonly": make_disk(1), "cache=writethrough": make_disk(1), "cache=unsafe": make_disk(1),
             "cache=none,discard,serial=BY-HAND": make_disk(1)}
    options = [word for items, path in disks.items() for word in ("--disk", f"{path},{items}")]
    with terminal(*options, "--console", "virtio", "--cmdline", "console=hvc0 quiet", "--no-reboot") as console:
        before = termios.tcgetattr(console.master)
        console.prompt()
        assert is_raw(console)
        console.send("echo rea''dy; head -n 1 | xxd -p\n")
        console.expect("^ready$")
        console.send("\x01\x01-\x1d\n")
        console.expect("^012d1d0a$")
        assert console.command("cat /sys/block/vd?/ro").split() == ["1", "0", "0", "0"]
        assert console.command("cat /sys/block/vd?/queue/write_cache").splitlines() == [
            "write back", "write through", "write back", "write back"]
        assert [int(word) > 0 for word in console.command("cat /sys/block/vd?/queue/discard_max_bytes").split()] == [
            False, False, False, True]
        assert console.command("cat /sys/block/vdd/serial").strip() == "BY-HAND"
        console.command("! dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null")
        for letter in "bcd":
            console.command(f"echo for-{letter} | dd of=/dev/vd{letter} bs=512 conv=sync,fsync 2>/dev/null")
        console.send("reboot -f\n")
        assert console.process.wait(helpers.CALL) == 0
        assert termios.tcgetattr(console.master) == before
    assert [path.read_bytes()[:6].rstrip(b"\n\0") for path in disks.values()] == [b"", b"for-b", b"for-c", b"for-d"]


def test_help_and_version():
    assert "--kernel FILE" in helpers.run(helpers.VMM, "--help").stdout
    assert helpers.run(helpers.VMM, "--version").stdout.startswith("virtmicro-vmm ")
