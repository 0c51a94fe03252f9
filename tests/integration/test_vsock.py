"""Sockets between host and guest: their addresses, and bytes both ways, from the start on or plugged in later."""
import base64
import socket
import struct
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest

import helpers
from clients import connection, error_of

AUTO = "<vsock model='virtio'><cid auto='yes'/></vsock>"
PORT = 1234
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
TRANSPORT = "vmw_vsock_virtio_transport"

# What runs in the guest, whose busybox knows no vsock: s = socket(AF_VSOCK, SOCK_STREAM, 0); bind(s, any CID, PORT);
# listen(s, 8); for (;;) { c = accept(s); if (fork() == 0) { while ((n = read(c, buffer, 4096)) > 0) write(c, buffer, n);
# exit(0); } close(c); }
ECHO = bytes.fromhex("""
b829000000bf28000000be0100000031d20f0589c3b8ffffffff5048b828000000d204000050b83100000089df4889e6
ba100000000f05b83200000089dfbe080000000f05b82b00000089df31f631d20f0589c5b8390000000f0585c0740bb8
0300000089ef0f05ebdb31c089ef488db42400f0ffffba001000000f0585c07e1589c2b80100000089ef488db42400f0
ffff0f05ebd4b83c00000031ff0f05
""")


def program(code):
    """An ELF file that is nothing but the code."""
    at = 0x400000
    start = at + 64 + 56
    header = struct.pack("<4s12xHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = 64 + 56 + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 7, 0, at, at, size, size, 4096) + code


def fixed(cid):
    return f"<vsock model='virtio'><cid auto='no' address='{cid}'/></vsock>"


def cid_of(domain, *options):
    found = ElementTree.fromstring(domain.xml(*options)).find("devices/vsock/cid").get("address")
    return int(found) if found else None


def connect(cid):
    """None: nobody listens there, or no driver answers yet."""
    client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    client.settimeout(helpers.CALL)
    try:
        client.connect((cid, PORT))
    except OSError:
        client.close()
        return None
    return client


def connect_when_it_listens(cid):
    return helpers.wait_for(lambda: connect(cid), timeout=helpers.BOOT, what="the guest listens")


def has_ended(client):
    try:
        return client.recv(16) == b""
    except ConnectionResetError:
        return True


def check_echo(client):
    """More than fits in the buffers on the way."""
    sent, received = bytes(range(256)) * 1024, b""
    for at in range(0, len(sent), 4096):
        client.sendall(sent[at:at + 4096])
        while len(received) < at + 4096:
            received += client.recv(65536)
    assert received == sent


def start_echo(console):
    text = base64.b64encode(program(ECHO)).decode()
    console.command(f"modprobe {TRANSPORT} && echo {text} | base64 -d >/tmp/echoes && chmod +x /tmp/echoes")
    console.command("/tmp/echoes & sleep 1")


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_in_a_guest(make_domain, kernel):
    """Bytes come through; while the guest is suspended they wait; when it ends, the connection does."""
    domain = make_domain(kernel=helpers.Kernel(kernel), devices=AUTO)
    with domain.boot() as console:
        start_echo(console)
        with connect_when_it_listens(cid_of(domain)) as client:
            check_echo(client)
            domain.virsh("suspend")
            client.sendall(b"later")
            client.settimeout(2)
            with pytest.raises(TimeoutError):
                client.recv(16)
            client.settimeout(helpers.BOOT)
            domain.virsh("resume")
            assert client.recv(16) == b"later"
            check_echo(client)
            domain.virsh("destroy")
            assert has_ended(client)


def test_plugged_in(make_domain):
    """It comes to a running guest, and is given back by it, which ends its connections; then another comes."""
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    with domain.boot() as console, connection() as conn:
        handle = conn.lookupByName(domain.name)
        start_echo(console)
        for cid in 4711, 4711, 4712:
            handle.attachDeviceFlags(fixed(cid), LIVE)
            assert cid_of(domain) == cid
            with connect_when_it_listens(cid) as client:
                check_echo(client)
                handle.detachDeviceFlags(fixed(cid), LIVE)
                helpers.wait_for(lambda: "<vsock" not in domain.xml(), what="the guest lets go of it")
                assert has_ended(client)


def test_addresses(make_domain):
    """Each guest has its own: chosen ones differ, and are the running domain's alone; one in use is refused."""
    first, second = make_domain(devices=AUTO), make_domain(devices=AUTO)
    for domain in (first, second):
        domain.start("--paused")
        assert cid_of(domain) >= 3
        assert cid_of(domain, "--inactive") is None
    assert cid_of(first) != cid_of(second)
    third = make_domain(devices=fixed(cid_of(first)))
    assert f"set guest cid {cid_of(first)}, another guest of this host has it" in third.virsh("start", check=False)
    first.virsh("destroy")
    third.start("--paused")
    before = cid_of(second)
    helpers.run("systemctl", "restart", "virtmicrod")
    assert cid_of(second) == before
    with connection() as conn:
        code, text = error_of(conn.lookupByName(second.name).attachDeviceFlags, AUTO, LIVE)
    assert code == libvirt.VIR_ERR_OPERATION_FAILED and "already has a vsock device" in text
