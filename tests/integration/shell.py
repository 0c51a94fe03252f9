"""A virsh that stays open and takes one command after another, which saves a process per command."""
import os
import re
import select
import shlex
import subprocess
import time

NOTICE = re.compile(r"error: (Disconnected from .*|Reconnected to the hypervisor)\n")
PROMPT = re.compile(r"virsh [#>] echo --err")  # of the command that follows each one
# Commands that need a terminal, an editor, or the whole process.
ALONE = {"console", "edit", "event", "net-edit", "net-event", "pool-event", "nodedev-event", "secret-event"}


def is_fit(args):
    """Whether a shell can run a command."""
    return args[0] not in ALONE and "--console" not in args and not any("\n" in arg for arg in args)


class Shell:
    """`virsh -q -c URI`, without a command."""

    def __init__(self, options):
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "99999", "VIRSH_HISTSIZE": "0"}
        self.process = subprocess.Popen(["virsh", "-q", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment)
        self.count = 0
        self.text = {self.process.stdout: "", self.process.stderr: ""}

    def _read(self, seconds):
        ready, _, _ = select.select(list(self.text), [], [], seconds)
        for stream in ready:
            data = os.read(stream.fileno(), 65536)
            if not data:
                raise EOFError
            self.text[stream] += data.decode(errors="replace")

    def _take(self, stream, mark, deadline):
        """Returns what came before the mark, and drops it and the mark."""
        while mark not in self.text[stream]:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._read(remaining)
        before, _, self.text[stream] = self.text[stream].partition(mark)
        return before

    def run(self, args, timeout):
        """Runs one command and returns its status, output and errors."""
        self.count += 1
        mark = f"mark{self.count}end"
        quoted = f"mark''{self.count}''end"  # keeps the echo of our line from matching
        line = f"{shlex.join(args)}\necho --err {quoted}\necho {quoted}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        deadline = time.monotonic() + timeout
        output = self._take(self.process.stdout, mark, deadline)
        errors = NOTICE.sub("", self._take(self.process.stderr, f"error: {mark}\n", deadline))
        output = PROMPT.split(output[output.index("\n") + 1:])[0]
        return int(re.search("^error: ", errors, re.MULTILINE) is not None), output, errors

    def close(self):
        """Ends it and returns its error messages."""
        self.process.kill()
        errors = self.text[self.process.stderr] + self.process.stderr.read().decode(errors="replace")
        self.process.wait()
        return errors


SHELLS = {}


def run(options, args, timeout):
    """Runs a command in the shell with these options; the result is like subprocess.run's."""
    shell = SHELLS.get(options) or Shell(options)
    SHELLS[options] = shell
    try:
        status, output, errors = shell.run(args, timeout)
    except (EOFError, BrokenPipeError):  # it could not connect
        status, output, errors = 1, "", SHELLS.pop(options).close()
    except TimeoutError as error:
        SHELLS.pop(options).close()
        raise subprocess.TimeoutExpired(["virsh", *args], timeout) from error
    return subprocess.CompletedProcess(["virsh", "-q", *options, *args], status, output, errors)
