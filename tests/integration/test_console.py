"""Consoles: `virsh console` as an operator uses it, and streams of other clients."""
import os
import re
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
from clients import connection, error_of


@pytest.fixture(scope="module")
def guest(make_module_domain):
    """A booted guest, with a shell at its prompt on the first serial port."""
    domain = make_module_domain()
    domain.boot().close()
    return domain


def path_of(domain):
    return domain.virsh("ttyconsole").strip()


def test_console(guest):
    with guest.console() as console:
        console.prompt()
        assert console.command("echo $((40 + 2))").strip() == "42"
        assert guest.name in helpers.virsh("list", "--name").split()


def test_console_says_how_to_leave(guest):
    command = ["virsh", "-c", helpers.URI, "console", guest.name]
    with helpers.Console(guest.name, command=command) as console:
        console.expect(f"Connected to domain '{guest.name}'")
        console.expect(r"Escape character is \^\] \(Ctrl \+ \]\)")
        console.prompt()
        console.send("\x1d")
        assert console.process.wait(helpers.CALL) == 0


def test_console_can_be_detached_and_reattached(guest):
    for number in range(2):
        with guest.console() as console:
            console.prompt()
            assert console.command(f"echo number {number}").strip() == f"number {number}"


def test_a_second_console_is_refused(guest):
    with guest.console() as first:
        first.prompt()
        with guest.console() as second:
            second.expect("error: operation failed: Active console session exists for this domain")
            assert second.process.wait(helpers.CALL) == 1
        assert first.command("echo still here").strip() == "still here"


def test_force_cuts_the_first_console_off(guest):
    with guest.console() as first:
        first.prompt()
        with guest.console("--force") as second:
            second.prompt()
            assert second.command("echo mine").strip() == "mine"
            assert first.process.wait(helpers.CALL) is not None


def test_safe_console(guest):
    with guest.console("--safe") as console:
        console.prompt()


def test_much_output_arrives_whole(guest):
    with guest.console() as console:
        console.prompt()
        lines = console.command("seq 1 300", timeout=helpers.BOOT).split()
    assert lines == [str(number) for number in range(1, 301)]


def test_console_by_device_name(guest):
    with guest.console("--devname", "serial0") as console:
        console.prompt()
    with guest.console("--devname", "serial7") as console:
        console.expect("error: internal error: cannot find character device serial7")


def test_console_needs_a_running_domain(make_domain):
    domain = make_domain()
    with domain.console() as console:
        console.expect("error: The domain is not running")
        assert console.process.wait(helpers.CALL) == 1


def test_console_of_a_domain_that_has_none(make_domain):
    domain = make_domain(console=False)
    domain.start("--paused")
    with domain.console() as console:
        console.expect("error: internal error: cannot find character device")


def test_ttyconsole_is_a_terminal_for_other_programs(guest):
    path = path_of(guest)
    with helpers.Console(guest.name, command=["socat", "-,raw,echo=0", f"{path},raw,echo=0"]) as console:
        console.prompt()
        assert console.command("echo by socat").strip() == "by socat"


def test_console_ends_with_the_guest(make_domain):
    domain = make_domain()
    domain.start("--paused")
    with domain.console() as console:
        helpers.wait_for(lambda: console.process.poll() is None)
        domain.virsh("destroy")
        console.process.wait(helpers.CALL)


def test_start_console_shows_the_boot(make_domain):
    cmdline = f"{helpers.CMDLINE} vm.run=poweroff".replace("quiet", "loglevel=6")  # the first line is a notice
    domain = make_domain(cmdline=cmdline)
    command = ["virsh", "-c", helpers.URI, "start", domain.name, "--console"]
    with helpers.Console(domain.name, command=command) as console:
        console.expect(f"Domain '{domain.name}' started")
        console.expect("Connected to domain")
        console.expect("Linux version")
        console.expect("virtmicro-guest: init reached")
        console.process.wait(helpers.BOOT)
    domain.wait_state("shut off")


def test_create_console(make_domain):
    domain = make_domain(define=False)
    command = ["virsh", "-c", helpers.URI, "create", str(domain.path), "--paused", "--console"]
    with helpers.Console(domain.name, command=command) as console:
        console.expect(f"Domain '{domain.name}' created from")
        console.expect("Connected to domain")
        domain.virsh("destroy")
        console.process.wait(helpers.CALL)


# Streams


def receive_until(stream, pattern):
    data = b""
    while not re.search(pattern, data):
        part = stream.recv(1024)
        assert part, f"the stream ended after {data!r}"
        data += part
    return data


def test_stream(guest):
    with connection() as conn:
        stream = conn.newStream()
        conn.lookupByName(guest.name).openConsole(None, stream)
        stream.send(b"\n")
        receive_until(stream, rb"guest# ")
        stream.send(b"echo $((6 * 9))\n")
        receive_until(stream, rb"\n54\r?\n")
        stream.finish()
        del stream


def test_aborted_stream_frees_the_console(guest):
    with connection() as conn:
        domain = conn.lookupByName(guest.name)
        for _ in range(3):
            stream = conn.newStream()
            domain.openConsole(None, stream)
            stream.abort()
        del domain, stream


def test_second_stream_has_a_code(guest):
    with connection() as conn, connection() as other:
        domain = conn.lookupByName(guest.name)
        stream = conn.newStream()
        domain.openConsole(None, stream)
        code, text = error_of(other.lookupByName(guest.name).openConsole, None, other.newStream())
        assert (code, text) == (9, "operation failed: Active console session exists for this domain")
        forced = other.newStream()
        other.lookupByName(guest.name).openConsole(None, forced, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        with pytest.raises(libvirt.libvirtError) as ended:
            while stream.recv(1024):  # the guest's output so far comes first
                pass
        assert ended.value.get_error_code() == 39
        forced.finish()
        del domain, stream, forced


def test_stream_of_an_ended_guest_reads_its_end(make_domain):
    domain = make_domain()
    domain.start("--paused")
    with connection() as conn:
        stream = conn.newStream()
        conn.lookupByName(domain.name).openConsole(None, stream)
        domain.virsh("destroy")
        code = error_of(stream.recv, 1024)[0]
        assert code in (0, 39)
        del stream


# Channels


def test_channel(make_domain):
    """The live XML has the path of a channel's socket, and a stream reaches the same channel."""
    domain = make_domain(devices="<channel type='unix'><target type='virtio' name='org.example.0'/></channel>")
    domain.start("--paused")
    channel = ElementTree.fromstring(domain.xml()).find("devices/channel")
    assert channel.find("source").get("mode") == "bind"
    assert os.path.exists(channel.find("source").get("path"))
    with connection() as conn:
        stream = conn.newStream()
        conn.lookupByName(domain.name).openChannel("org.example.0", stream)
        stream.abort()
        code, text = error_of(conn.lookupByName(domain.name).openChannel, "no.such.channel", conn.newStream())
        assert code == 1 and "cannot find channel no.such.channel" in text
        del stream
    domain.virsh("destroy")
    assert not os.path.exists(channel.find("source").get("path"))


def test_several_consoles_and_a_channel(no_leaks, make_domain):
    """A serial port and two virtio consoles at once, each with a shell, and a channel on its own terminal."""
    name = "org.example.pty"
    domain = make_domain(
        cmdline=f"console=hvc0 console=ttyS0 {helpers.FAST}",
        devices="<console type='pty'><target type='virtio' port='1'/></console>" * 2
                + f"<channel type='pty'><target type='virtio' name='{name}'/></channel>")
    with domain.boot() as serial, domain.console("--devname", "console1") as first:
        first.prompt()
        serial.command("(PS1='guest# ' setsid sh -i </dev/hvc1 >/dev/hvc1 2>&1 &)")
        with domain.console("--devname", "console2") as second:
            second.prompt()
            for console, terminal in ((serial, "ttyS0"), (first, "hvc0"), (second, "hvc1")):
                assert console.command("readlink /proc/self/fd/0").strip() == f"/dev/{terminal}"
                assert console.command(f"echo only-{terminal}").strip() == f"only-{terminal}"
        for console in (serial, first):
            assert "only-hvc1" not in console.log
        port = serial.command(f"grep -lx {name} /sys/class/virtio-ports/*/name").split("/")[4]
        channel = ElementTree.fromstring(domain.xml()).find("devices/channel")
        assert channel.find("target").get("name") == name
        path = channel.find("source").get("path")
        with helpers.Console(None, command=["socat", "-,raw,echo=0", f"{path},raw,echo=0"]) as host:
            serial.command(f"exec 7<>/dev/{port}; echo from-the-guest >&7")
            host.expect("from-the-guest")
            host.send("from-the-host\n")
            assert serial.command("head -n 1 <&7").strip() == "from-the-host"


AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


def socket_of(domain):
    return ElementTree.fromstring(domain.xml()).find("devices/channel/source").get("path")


def test_channel_of_a_copied_domain(no_leaks, make_domain, tmp_path):
    """Defined from another domain's live XML, it gets its own socket and leaves the other's alone."""
    first, second = make_domain(devices=AGENT, kernel=helpers.HALTING), make_domain(define=False)
    first.start("--paused")
    inode = os.stat(socket_of(first)).st_ino
    xml = re.sub(r"<uuid>.*</uuid>", "", first.xml().replace(f"<name>{first.name}<", f"<name>{second.name}<"))
    second.path.write_text(re.sub(r"<mac address=.*/>", "", xml))
    helpers.virsh("define", second.path)
    assert ElementTree.fromstring(second.xml()).find("devices/channel/source") is None
    second.start("--paused")
    assert socket_of(second) != socket_of(first)
    assert os.stat(socket_of(first)).st_ino == inode
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert socket_of(second) != socket_of(first)
    assert ElementTree.fromstring(second.xml("--inactive")).find("devices/channel/source") is None


def test_channel_of_a_domain_with_a_long_name(no_leaks, make_domain):
    domain = make_domain(name="n" * 120, devices=AGENT)
    domain.start("--paused")
    assert os.path.exists(socket_of(domain))


# Where nobody types


def test_console_in_a_file(no_leaks, make_domain):
    """A serial port and a virtio console write to files, so the boot can be read afterwards."""
    first, second = (helpers.pathlib.Path("/var/log") / f"virtmicro-{name}.log" for name in ("serial", "hvc"))
    domain = make_domain(console=False, cmdline=f"console=hvc0 console=ttyS0 {helpers.FAST} vm.run=poweroff",
                         devices=f"<serial type='file'><source path='{first}'/></serial>"
                                 f"<console type='file'><source path='{second}'/><target type='virtio'/></console>")
    try:
        domain.start()
        domain.wait_state("shut off", helpers.BOOT)
        assert "virtmicro-guest: init reached" in first.read_text()
        assert "virtmicro-guest: init reached" in second.read_text()
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)

