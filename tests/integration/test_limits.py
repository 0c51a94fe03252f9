"""Unprivileged users against everybody else: hundreds of connections, thousands of registrations, a flooded bus."""
import contextlib
import pathlib
import statistics
import subprocess
import time

import libvirt
import pytest

import helpers
import wire
from clients import connection

SOON = 30  # seconds; a hundredth of that on an idle machine, but everything shares one emulated processor
USER_CLIENTS = 100  # max_user_clients
GROWTH = 64 << 10  # KiB
KERNEL = helpers.HALTING

IDLE = """
clients = []
for _ in range(40):
    clients.append(Client(SOCKET))
print("ready", flush=True)
time.sleep(600)
"""

GUEST = """
client = Client(SOCKET)
assert client.call(AUTH_LIST).status == OK
print("ready", flush=True)
"""

# More clients than a user may have, each with as many registrations as one may have, and none reads what it gets.
LISTENERS = """
POLKIT, REGISTER = 70, 316
domain = lambda number: struct.pack(">I", 1) + text("x") + number.to_bytes(16, "big") + struct.pack(">i", -1)
clients = []
for i in range(200):
    try:
        client = Client(SOCKET_READONLY, timeout=60)
        client.call(AUTH_LIST)
        if client.call(POLKIT).status == OK and client.call(OPEN, optional_text("micro:///system") + struct.pack(">I", 1)).status == OK:
            clients.append(client)
    except (Closed, BrokenPipeError, ConnectionResetError):
        pass
registered = 0
for client in clients:
    for number in range(1024):
        reply = client.call(REGISTER, struct.pack(">i", 0) + (struct.pack(">I", 0) if number < 20 else domain(number)))
        if reply.status != OK and number >= 20:
            break
        registered += reply.status == OK
print("ready", len(clients), registered, flush=True)
time.sleep(600)
"""

FLOOD = """
import os
def align(data, n):
    return data + bytes(-len(data) % n)
def string(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\\0"
def field(code, kind, value):
    return bytes([code, 1]) + kind.encode() + b"\\0" + string(value)
def message(serial, flags, destination, path, interface, member):
    fields = b""
    for code, kind, value in ((1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination)):
        fields = align(fields, 8) + field(code, kind, value)
    return align(struct.pack("<BBBBIII", ord("l"), 1, flags, 1, 0, serial, len(fields)) + fields, 8)
bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/dbus/system_bus_socket")
bus.sendall(b"\\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\\r\\n")
bus.recv(1000)
bus.sendall(b"BEGIN\\r\\n" + message(1, 0, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"))
bus.recv(1000)
calls = message(2, 1, "org.virtmicro1", "/org/virtmicro1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects") * 100
print("ready", flush=True)
while True:
    bus.sendall(calls)
"""


@contextlib.contextmanager
def as_user(user, script):
    """Runs wire.py and then this script as an unprivileged user; yields the words after its "ready"."""
    text = pathlib.Path(wire.__file__).read_text() + "\nimport time\n" + script
    process = subprocess.Popen(["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", "python3", "-"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(text)
        process.stdin.close()
        words = process.stdout.readline().split()
        assert words and words[0] == "ready"
        yield [int(word) for word in words[1:]]
    finally:
        process.kill()
        process.wait()


def resident():
    """Resident memory of the daemon, in KiB."""
    for line in pathlib.Path(f"/proc/{helpers.daemon_pid()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError


def seconds(call, *args):
    start = time.monotonic()
    call(*args)
    return time.monotonic() - start


@pytest.fixture
def definition(make_domain):
    """A function that redefines a domain."""
    domain = make_domain()
    with connection() as conn:
        xml = conn.lookupByName(domain.name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)

        def define():
            conn.defineXML(xml)

        yield define


def median(call, count=15):
    return statistics.median(seconds(call) for _ in range(count))


def test_unauthenticated_connections_keep_nobody_out(no_leaks):
    """They never authenticate. Root gets in, and so does another user."""
    with as_user("nobody", IDLE):
        assert seconds(helpers.virsh, "list") < SOON
        with as_user("games", GUEST):
            pass


def test_listeners_that_do_not_read(no_leaks, definition):
    """A user keeps the permitted number of connections; changes cost no more, and the daemon does not grow."""
    before, usual = resident(), median(definition)
    with as_user("nobody", LISTENERS) as (clients, registered):
        assert clients == USER_CLIENTS
        assert registered <= 8192
        assert seconds(helpers.virsh, "list") < SOON
        assert median(definition) < 5 * usual + 0.1
        for _ in range(300):
            definition()
        assert resident() - before < GROWTH
        assert seconds(helpers.virsh, "list") < SOON


def test_a_flooded_bus(no_leaks, definition):
    """Calls without replies, as fast as the bus takes them: neither libvirt clients nor other users notice."""
    before = resident()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(as_user("nobody", FLOOD))
        time.sleep(3)
        assert median(definition) < 5
        assert seconds(helpers.run, "busctl", "call", "org.virtmicro1", "/org/virtmicro1", "org.virtmicro1.Manager",
                       "ListDomains", "u", "0") < SOON
        assert resident() - before < GROWTH
