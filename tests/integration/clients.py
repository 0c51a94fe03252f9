"""Clients of libvirt's Python binding: a connection, what it raises, and its event loop."""
import contextlib
import threading

import libvirt

from helpers import URI

libvirt.registerErrorHandler(lambda *_: None, None)


def ignore(*_):
    """A close callback that has nothing to do."""


@contextlib.contextmanager
def connection(uri=URI, readonly=False):
    """An open connection."""
    conn = libvirt.openReadOnly(uri) if readonly else libvirt.open(uri)
    try:
        yield conn
    finally:
        conn.close()


def error_of(call, *args):
    """Code and text of the error that a call raises; (0, "") when it raises none."""
    try:
        call(*args)
    except libvirt.libvirtError as error:
        return error.get_error_code(), error.get_error_message()
    return 0, ""


class EventLoop:
    """libvirt's event loop on a thread; there is one in a process and it never ends."""

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
