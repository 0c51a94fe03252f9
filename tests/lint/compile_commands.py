# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which files of vmm/ and driver/ the build compiles, and how, for tools that check them one by one."""
import concurrent.futures
import json
import os
import pathlib
import shlex

TAKES_ARGUMENT = {"-o", "-MF", "-MQ"}


class Source:
    """A file of the tree: its path in the tree, the directory and the command that compile it."""

    def __init__(self, entry, root):
        self.directory = entry["directory"]
        self.file = entry["file"]
        self.path = self.inside(self.file, root)
        self.command = shlex.split(entry["command"])

    def inside(self, file, root):
        """The path relative to the root; "" for what is not in it."""
        path = pathlib.Path(self.directory, file).resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else ""

    def words(self):
        """The compiler, its options and the file: without output, optimisation, sanitizers and ccache."""
        words = iter(self.command)
        for word in words:
            if word in TAKES_ARGUMENT:
                next(words)
            elif not (pathlib.Path(word).name == "ccache" or word in ("-MD", "-Werror", "-c")
                      or word.startswith(("-fsanitize", "-O", "-g", "-fdiagnostics"))):
                yield word


def sources(build, root):
    """A Source for each file of vmm/ and driver/ that the build directory compiles."""
    database = json.loads(pathlib.Path(build, "compile_commands.json").read_text())
    found = {source.path: source for source in (Source(entry, root) for entry in database)
             if source.path.startswith(("vmm/", "driver/"))}
    assert len(found) > 100, found
    return list(found.values())


def for_each(function, items):
    """function(item) of each, on all processors, in the order of the items."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))
