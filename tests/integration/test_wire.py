"""Packets that no libvirt client sends, and clients that vanish. The daemon keeps serving others."""
import contextlib
import itertools
import pathlib
import random
import socket
import struct
import uuid

import pytest

import helpers
import wire

INTERNAL, NO_SUPPORT, NO_CONNECT, INVALID_ARG, DENIED, RPC, NO_DOMAIN, INVALID = 1, 3, 5, 8, 29, 39, 42, 55
FLAGS = struct.pack(">I", 0)
KERNEL = helpers.HALTING


@pytest.fixture(autouse=True)
def healthy():
    """The same daemon still runs, and has released what the test's clients held."""
    helpers.virsh("list")
    pid, count = helpers.daemon_pid(), len(helpers.descriptors(helpers.daemon_pid()))
    yield
    assert helpers.virsh("uri").strip() == helpers.URI
    assert helpers.daemon_pid() == pid
    helpers.wait_for(lambda: len(helpers.descriptors(pid)) <= count, what=f"the daemon has {count} descriptors")


@pytest.fixture(scope="module")
def paused(make_module_domain):
    domain = make_module_domain()
    domain.start("--paused")
    return domain


def reference(domain):
    """A domain as an argument."""
    uid = uuid.UUID(domain.virsh("domuuid").strip())
    return wire.text(domain.name) + uid.bytes + struct.pack(">i", -1)


def lookup(client, name):
    return client.call(wire.DOMAIN_LOOKUP_BY_NAME, wire.text(name))


def header(length, program=wire.REMOTE, procedure=wire.OPEN):
    return struct.pack(">7I", length, program, 1, procedure, wire.CALL, 1, wire.OK)


@contextlib.contextmanager
def many(count):
    """`count` clients at the same time."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(wire.open_client()) for _ in range(count)]


def resident(pid):
    """Resident memory of a process, in KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError(pid)


def lookup_works():
    with wire.open_client() as client:
        return lookup(client, "no-such-domain").error()[0] == NO_DOMAIN


def as_nobody(script):
    """Runs wire.py and then this script as nobody; returns the lines that it prints."""
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "python3", "-"]
    return helpers.run(*command, input=pathlib.Path(wire.__file__).read_text() + script).stdout.splitlines()


# Framing


@pytest.mark.parametrize("length", [0, 1, 4, 27, wire.MAX_LENGTH + 1, 1 << 31, (1 << 32) - 1])
def test_impossible_lengths_end_the_connection(length):
    with wire.open_client() as client:
        client.send(header(length))
        assert client.is_closed()


def test_a_large_packet_before_authentication_ends_the_connection():
    """A client that has not opened a connection has no reason to send long packets."""
    script = (
        "\nclient = Client()\nclient.send(struct.pack('>7I', 1 << 20, REMOTE, 1, OPEN, CALL, 1, OK))\n"
        "print('closed' if client.is_closed() else 'open')\n")
    assert as_nobody(script) == ["closed"]


@pytest.mark.parametrize("size", [0, 1, 3, 4, 10, 27, 28, 40])
def test_a_client_that_leaves_in_the_middle_of_a_packet(size):
    with wire.open_client() as client:
        client.send((header(100) + bytes(72))[:size])


def test_half_a_packet_keeps_nobody_waiting():
    with wire.open_client() as slow, wire.open_client() as other:
        packet = header(28 + 8, procedure=wire.DOMAIN_LOOKUP_BY_NAME) + wire.text("none")
        slow.send(packet[:20])
        assert lookup(other, "none").error()[0] == NO_DOMAIN
        for byte in packet[20:]:
            slow.send(bytes([byte]))
        assert slow.receive().error()[0] == NO_DOMAIN


def test_announced_but_never_sent_megabytes():
    """An announced length alone takes no memory."""
    with many(20) as clients:
        before = resident(helpers.daemon_pid())
        for client in clients:
            client.send(header(wire.MAX_LENGTH))
        assert lookup_works()
        assert resident(helpers.daemon_pid()) - before < 20 << 10


def test_noise():
    """Random bytes behind a plausible header, for all procedures."""
    noise = random.Random(1)
    for procedure in range(1, 444):
        with wire.Client() as client:
            if procedure % 2:
                client.call(wire.AUTH_LIST)
                client.call(wire.OPEN, wire.optional_text(helpers.URI) + struct.pack(">I", 1))
            client.send_packet(procedure, noise.randbytes(noise.randrange(0, 200)))
    assert lookup_works()


# The order of things


def test_calls_before_open():
    with wire.Client() as client:
        for procedure in (wire.GET_TYPE, wire.GET_HOSTNAME, wire.LIST_ALL_DOMAINS, wire.DOMAIN_DESTROY):
            assert client.call(procedure).error() == (INTERNAL, "internal error: connection not open")
        assert client.call(wire.AUTH_LIST).status == wire.OK


def test_open_twice():
    with wire.open_client() as client:
        reply = client.call(wire.OPEN, wire.optional_text(helpers.URI) + FLAGS)
        assert reply.error() == (INTERNAL, "internal error: connection already open")
        assert lookup(client, "none").error()[0] == NO_DOMAIN


def test_open_without_a_name():
    with wire.Client() as client:
        assert client.call(wire.OPEN, wire.optional_text(None) + FLAGS).status == wire.OK


@pytest.mark.parametrize("name, code", [("qemu:///system", NO_CONNECT), ("micro:///session", INTERNAL), ("nonsense", NO_CONNECT)])
def test_open_of_another_uri(name, code):
    with wire.Client() as client:
        assert client.call(wire.OPEN, wire.optional_text(name) + FLAGS).error()[0] == code
        assert client.call(wire.GET_TYPE).error()[0] == INTERNAL


def test_any_nonzero_presence_flag_is_true():
    """A Go client sends the presence flag of a string in the wrong byte order."""
    with wire.Client() as client:
        assert client.call(wire.OPEN, b"\1\0\0\0" + wire.text(helpers.URI) + FLAGS).status == wire.OK


def test_calls_after_close():
    with wire.open_client() as client:
        assert client.call(wire.CLOSE).status == wire.OK
        assert client.is_closed()


def test_nothing_goes_without_authentication(paused):
    script = (
        "\nwith Client() as client:\n"
        "    for procedure in (OPEN, GET_TYPE, DOMAIN_DESTROY, LIST_ALL_DOMAINS, DOMAIN_OPEN_CONSOLE):\n"
        "        print(client.call(procedure, optional_text(None) + bytes(4)).error())\n")
    assert as_nobody(script) == [str((RPC, "authentication required"))] * 5
    assert paused.state() == "paused"


# Calls that make no sense


def test_cpu_stats_that_no_library_asks_for(paused):
    """libvirt's library refuses these before sending them."""
    pid = helpers.daemon_pid()
    with wire.open_client(wire.SOCKET_READONLY, flags=1) as client:
        domain = client.call(wire.DOMAIN_LOOKUP_BY_NAME, wire.text(paused.name)).payload
        for nparams, start, ncpus in ((1, -1, 0), (3, -1, 2), (3, -2, 1), (3, 0, 0), (1000, -1, 128), (0, -1, 1)):
            reply = client.call(wire.DOMAIN_GET_CPU_STATS, domain + struct.pack(">IiII", nparams, start, ncpus, 0))
            assert reply.status == wire.OK or reply.error()[0] in (INTERNAL, INVALID_ARG), (nparams, start, ncpus)
    assert helpers.daemon_pid() == pid


def test_unknown_programs_and_versions():
    with wire.open_client() as client:
        assert client.call(1, program=0x12345678).error() == (RPC, f"Cannot find program {0x12345678} version 1")
        assert client.call(9, program=wire.QEMU).error()[0] == RPC
        assert client.call(1, program=wire.QEMU).error()[0] == NO_SUPPORT
        assert client.call(2, program=wire.LXC).error()[0] == RPC
        assert client.call(1, program=wire.LXC).error()[0] == NO_SUPPORT
        assert client.call(wire.GET_TYPE, version=2).error() == (RPC, f"Cannot find program {wire.REMOTE} version 2")


def test_unknown_procedures():
    """Clients recognise an older daemon by this text, and treat it as lack of support."""
    with wire.open_client() as client:
        for procedure in (0, 444, 9999, 107, 318):
            assert client.call(procedure).error() == (RPC, f"unknown procedure: {procedure}")
        assert client.call((1 << 32) - 1).error() == (RPC, "unknown procedure: -1")


def test_procedures_that_are_not_served():
    with wire.open_client() as client:
        code, text = client.call(55).error()
        assert (code, text) == (NO_SUPPORT,
                                "this function is not supported by the connection driver: virDomainSave")


BAD_ARGUMENTS = {
    "nothing": b"",
    "half a number": b"\0\0",
    "text that is not there": struct.pack(">I", 100),
    "text that ends early": struct.pack(">I", 100) + b"short",
    "text longer than any": struct.pack(">I", 4194305) + b"x" * 100,
    "text of all bytes": struct.pack(">I", (1 << 32) - 1) + b"x" * 100,
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_arguments_that_cannot_be_decoded(case):
    with wire.open_client() as client:
        for procedure in (wire.DOMAIN_LOOKUP_BY_NAME, 8, 11, 14, 23, 160, 174, 225, 264, 344, 350, 392):
            assert client.call(procedure, BAD_ARGUMENTS[case]).error() == (RPC, "Unable to decode message payload")
        assert lookup(client, "none").error()[0] == NO_DOMAIN


def test_strange_names():
    with wire.open_client() as client:
        for name in ("", "/", "../../etc/passwd", "%s%n", "a" * 100000, "\1\2", "\u2028"):
            assert lookup(client, name).error()[0] == NO_DOMAIN
        assert client.call(wire.DOMAIN_LOOKUP_BY_NAME, struct.pack(">I", 2) + b"\xff\xfe\0\0").status == wire.ERROR


def test_status_of_a_call_has_to_be_ok():
    with wire.open_client() as client:
        assert client.call(wire.GET_TYPE, status=wire.ERROR).status == wire.ERROR


def test_packets_that_are_no_calls_are_dropped():
    with wire.open_client() as client:
        for kind, serial in itertools.product((wire.REPLY, wire.MESSAGE, 6, 77), (0, 5)):
            client.send_packet(wire.GET_TYPE, kind=kind, serial=serial)
        client.send_packet(wire.DOMAIN_OPEN_CONSOLE, b"data", kind=wire.STREAM, status=wire.CONTINUE, serial=3)
        client.send_packet(wire.DOMAIN_OPEN_CONSOLE, kind=wire.STREAM, status=wire.OK, serial=3)
        reply = client.call(wire.GET_TYPE)
        assert reply.status == wire.OK and b"MICRO" in reply.payload


def test_unexpected_descriptors():
    with wire.open_client() as client:
        client.send_packet(wire.GET_TYPE, struct.pack(">I", 2), kind=4)
        for _ in range(2):
            socket.send_fds(client.socket, [b"\0"], [client.socket.fileno()])
        assert client.receive().status in (wire.OK, wire.ERROR)
        assert lookup(client, "none").error()[0] == NO_DOMAIN
        client.send_packet(wire.GET_TYPE, struct.pack(">I", 33), kind=4)
        assert client.is_closed()


def test_ping():
    with wire.open_client() as client:
        client.send_packet(1, program=wire.KEEPALIVE, kind=wire.MESSAGE, serial=0)
        reply = client.receive()
        assert (reply.program, reply.procedure, reply.type) == (wire.KEEPALIVE, 2, wire.MESSAGE)


def test_many_calls_at_once():
    with wire.open_client() as client:
        serials = [client.send_packet(wire.GET_HOSTNAME) for _ in range(100)]
        replies = [client.receive() for _ in serials]
        assert sorted(reply.serial for reply in replies) == serials
        assert all(reply.status == wire.OK for reply in replies)


def test_a_client_that_does_not_read_its_replies():
    with wire.open_client() as greedy, wire.open_client() as other:
        greedy.socket.settimeout(2)
        before = resident(helpers.daemon_pid())
        with pytest.raises(socket.timeout):
            for _ in range(100000):
                greedy.send_packet(7)
        assert lookup(other, "none").error()[0] == NO_DOMAIN
        assert resident(helpers.daemon_pid()) - before < 32 << 10


def test_two_hundred_clients():
    with many(200) as clients:
        for client in clients:
            client.send_packet(wire.GET_HOSTNAME)
        assert all(client.receive().status == wire.OK for client in clients)


# Rights


@pytest.mark.parametrize("path, flags", [(wire.SOCKET_READONLY, 0), (wire.SOCKET_READONLY, 1), (wire.SOCKET, 1)])
def test_the_daemon_enforces_read_only(paused, path, flags):
    """It does not rely on the client."""
    with wire.open_client(path, flags) as client:
        assert lookup(client, paused.name).status == wire.OK
        code, text = client.call(wire.DOMAIN_DESTROY, reference(paused)).error()
        assert (code, text) == (DENIED, "operation forbidden: read only access prevents virDomainDestroy")
        assert client.call(14, reference(paused) + struct.pack(">I", 1)).error()[0] == DENIED
    assert paused.state() == "paused"


# Clients that vanish


def test_a_client_that_vanishes_in_the_middle_of_a_call(make_domain):
    """The start continues without it."""
    domain = make_domain()
    client = wire.open_client()
    client.send_packet(wire.DOMAIN_CREATE, reference(domain))
    client.close()
    domain.wait_state("running")
    domain.virsh("destroy")


def test_clients_that_vanish_in_the_middle_of_many_calls(paused):
    domain = reference(paused)
    for _ in range(20):
        client = wire.open_client()
        for procedure in (14, 16, 212):
            client.send_packet(procedure, domain + FLAGS)
        client.close()
    assert paused.state() == "paused"


def open_console(client, domain):
    arguments = reference(domain) + wire.optional_text(None) + FLAGS
    reply = client.call(wire.DOMAIN_OPEN_CONSOLE, arguments)
    return reply.serial if reply.status == wire.OK else reply.error()


def test_a_client_that_vanishes_in_the_middle_of_a_stream(paused):
    for _ in range(3):
        client = wire.open_client()
        serial = helpers.wait_for(lambda: isinstance(open_console(client, paused), int), what="the console is free")
        client.send_packet(wire.DOMAIN_OPEN_CONSOLE, b"x" * 1000, kind=wire.STREAM, status=wire.CONTINUE, serial=serial)
        client.close()


def test_a_stream_of_more_than_the_guest_takes(paused):
    """A paused guest reads nothing: the client is throttled, and can disconnect."""
    with wire.open_client() as client, wire.open_client() as other:
        helpers.wait_for(lambda: isinstance(open_console(client, paused), int), what="the console is free")
        client.socket.settimeout(2)
        before = resident(helpers.daemon_pid())
        with pytest.raises(socket.timeout):
            for _ in range(1000):
                client.send_packet(wire.DOMAIN_OPEN_CONSOLE, b"x" * 65536, kind=wire.STREAM, status=wire.CONTINUE,
                                   serial=client.serial)
        assert lookup(other, "none").error()[0] == NO_DOMAIN
        assert resident(helpers.daemon_pid()) - before < 32 << 10


def test_finish_and_abort_of_a_stream_are_confirmed(paused):
    with wire.open_client() as client:
        for status in (wire.OK, wire.ERROR):
            serial = client.serial + 1
            assert open_console(client, paused) == serial
            client.send_packet(wire.DOMAIN_OPEN_CONSOLE, kind=wire.STREAM, status=status, serial=serial)
            packet = client.receive()
            while packet.status == wire.CONTINUE:
                packet = client.receive()
            assert (packet.type, packet.serial, packet.status, packet.payload) == (wire.STREAM, serial, wire.OK, b"")
            helpers.wait_for(lambda: isinstance(open_console(client, paused), int), what="the console is free")
            client.send_packet(wire.DOMAIN_OPEN_CONSOLE, kind=wire.STREAM, status=wire.OK, serial=client.serial)
            assert client.receive().status == wire.OK
