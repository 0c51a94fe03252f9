"""Clients: libvirt's Python binding (connections, errors, event loop), and `virsh event`."""
import contextlib
import os
import re
import subprocess
import threading
import time

import libvirt

import helpers
from helpers import URI

libvirt.registerErrorHandler(lambda *_: None, None)


def ignore(*_):
    """A close callback that does nothing."""


@contextlib.contextmanager
def connection(uri=URI, readonly=False):
    """An open connection."""
    conn = libvirt.openReadOnly(uri) if readonly else libvirt.open(uri)
    try:
        yield conn
    finally:
        conn.close()


def error_of(call, *args):
    """Code and text of the error that a call raises; (0, "") if it succeeds."""
    try:
        call(*args)
    except libvirt.libvirtError as error:
        return error.get_error_code(), error.get_error_message()
    return 0, ""


class EventLoop:
    """libvirt's event loop on a thread; a process has one, and it never ends."""

    started = None

    @classmethod
    def start(cls):
        if cls.started:
            return
        libvirt.virEventRegisterDefaultImpl()
        cls.started = threading.Thread(target=cls.run, daemon=True)
        cls.started.start()

    @staticmethod
    def run():
        while True:
            libvirt.virEventRunDefaultImpl()


class Watcher:
    """`virsh event` in the background."""

    def __init__(self, *options):
        self.process = subprocess.Popen(["stdbuf", "-oL", "virsh", "-c", helpers.URI, "event", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def read(self):
        self.text += (self.process.stdout.read() or b"").decode()
        return self.text

    def of(self, domain):
        """Events of a domain: kind and detail."""
        pattern = rf"event '([a-z-]+)' for domain '{re.escape(domain.name)}'(?:: (.*))?"
        return [f"{kind} {detail}".strip() for kind, detail in re.findall(pattern, self.read())]

    def wait_for(self, domain, *expected):
        helpers.wait_for(lambda: self.of(domain) == list(expected), what=f"{expected}; received: {self.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def watching(probe, *options):
    """A watcher that is known to listen, since it has seen a change of `probe`."""
    with Watcher("--loop", *options) as watcher:
        deadline = time.monotonic() + helpers.CALL
        while f"for domain '{probe.name}'" not in watcher.read():
            assert time.monotonic() < deadline, watcher.text
            helpers.virsh("define", probe.path)
            time.sleep(0.3)
        yield watcher
