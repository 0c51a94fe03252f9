"""console.py TEXT COMMAND…: runs a command on a terminal, shows what it prints, detaches after TEXT came.

Detaching is by virsh's own key. Exits non-zero when the command ended, or three minutes went by, before that.
"""
import os
import pty
import select
import sys
import time

LIMIT = 180


def copy_until(master, text):
    seen = b""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            data = os.read(master, 65536)
        except OSError:  # the command has ended
            return False
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        seen += data
        if text in seen:
            return True
    return False


def main():
    text, command = sys.argv[1].encode(), sys.argv[2:]
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    found = copy_until(master, text)
    try:
        os.write(master, b"\x1d")
        while os.read(master, 65536):
            pass
    except OSError:
        pass
    os.waitpid(pid, 0)
    print()
    return 0 if found else 1


sys.exit(main())
