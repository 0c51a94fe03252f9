"""The monitor run by hand, without the daemon."""
import helpers

ARGUMENTS = ("--initrd", helpers.GUESTS / "initrd-6.12.img", "--memory", "128M")


def monitor(*arguments, kernel=helpers.GUESTS / "vmlinuz-6.12", cmdline="console=ttyS0 quiet vm.run=poweroff"):
    """Runs it to its end: exit status and all that it printed."""
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


def test_mistakes_are_told(tmp_path):
    text = tmp_path / "text"
    text.write_text("no kernel\n" * 1000)
    for arguments, words in (
        ({"kernel": "/nope"}, ("/nope", "No such file")),
        ({"kernel": text}, ("neither",)),
        ({"cmdline": "x" * 5000}, ("virtmicro-vmm: --cmdline: longer than 2047 bytes",)),
    ):
        status, output = monitor(**arguments)
        assert status == 1
        assert all(word in output for word in words), output


def test_crash_is_an_exit_status():
    status, output = monitor(cmdline="console=ttyS0 quiet vm.run=panic")
    assert status == 1
    assert "crashed" in output


def test_help_and_version():
    assert "--kernel FILE" in helpers.run(helpers.VMM, "--help").stdout
    assert helpers.run(helpers.VMM, "--version").stdout.startswith("virtmicro-vmm ")
