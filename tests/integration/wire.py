"""libvirt's RPC protocol by hand, for packets that no libvirt client would send."""
import socket
import struct

SOCKET = "/run/libvirt/virtmicrod-sock"
SOCKET_READONLY = "/run/libvirt/virtmicrod-sock-ro"
REMOTE = 0x20008086
QEMU = 0x20008087
LXC = 0x00068000
KEEPALIVE = 0x6B656570
CALL, REPLY, MESSAGE, STREAM = 0, 1, 2, 3
OK, ERROR, CONTINUE = 0, 1, 2
MAX_LENGTH = 4 + 33554432

OPEN = 1
CLOSE = 2
GET_TYPE = 3
DOMAIN_CREATE = 9
DOMAIN_DESTROY = 12
DOMAIN_LOOKUP_BY_NAME = 23
DOMAIN_LOOKUP_BY_UUID = 24
GET_HOSTNAME = 59
AUTH_LIST = 66
DOMAIN_OPEN_CONSOLE = 201
DOMAIN_GET_CPU_STATS = 262
LIST_ALL_DOMAINS = 273


class Closed(Exception):
    """The daemon has closed the connection."""


def text(value):
    """A string as XDR has it."""
    data = value.encode()
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def optional_text(value):
    return struct.pack(">I", 0) if value is None else struct.pack(">I", 1) + text(value)


class Packet:
    """One packet as it came."""

    def __init__(self, data):
        self.program, self.version, self.procedure, self.type, self.serial, self.status = struct.unpack(">6I", data[:24])
        self.payload = data[24:]

    def error(self):
        """Code and text of the error in it."""
        assert self.status == ERROR, f"status {self.status}, payload {self.payload!r}"
        code, _, present = struct.unpack(">III", self.payload[:12])
        length, = struct.unpack(">I", self.payload[12:16]) if present else (0,)
        return code, self.payload[16:16 + length].decode()


class Client:
    """A connection that sends what it is told and judges nothing."""

    def __init__(self, path=SOCKET, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.serial = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_packet(self, procedure, payload=b"", program=REMOTE, version=1, kind=CALL, status=OK, serial=None):
        """Sends one packet and returns its serial."""
        if serial is None:
            self.serial += 1
            serial = self.serial
        self.send(struct.pack(">7I", 28 + len(payload), program, version, procedure, kind, serial, status) + payload)
        return serial

    def _receive_exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return data

    def receive(self):
        length, = struct.unpack(">I", self._receive_exactly(4))
        return Packet(self._receive_exactly(length - 4))

    def call(self, procedure, payload=b"", **options):
        """Sends a call and waits for its reply."""
        serial = self.send_packet(procedure, payload, **options)
        while True:
            packet = self.receive()
            if packet.type == REPLY and packet.serial == serial:
                return packet

    def is_closed(self):
        """Waits until the daemon closes the connection; packets that come before are dropped."""
        try:
            while True:
                self.receive()
        except Closed:
            return True
        except socket.timeout:
            return False


def open_client(path=SOCKET, flags=0):
    """A client that has opened micro:///system."""
    client = Client(path)
    assert client.call(AUTH_LIST).status == OK
    assert client.call(OPEN, optional_text("micro:///system") + struct.pack(">I", flags)).status == OK
    return client
