#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""gcc's -fanalyzer finds nothing in vmm/ and driver/ but what is known to be wrong. Usage: analyzer.py BUILD_DIR ROOT.

Each file is compiled as the build compiles it, but without optimisation, which is quickest, and without sanitizers.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

# (file, warning): why it is wrong.
FALSE_POSITIVES = {
    ("vmm/core/vcpu_state.c", "dereference of NULL ‘list’"): "errno is not 0 after a failed ioctl()",
    ("vmm/dev/blk_io.c", "dereference of NULL ‘rq’"): "a list's last pointer always leads somewhere",
    ("vmm/dev/rng.c", "leak of ‘g’"): "it is reachable by its member `dev`, which the caller gets",
    ("driver/conf/xml_read.c", "dereference of NULL ‘node’"): "a default beyond the caller's own limit",
    ("driver/domain/define.c", "dereference of NULL ‘def’"): "it is only taken together with a result",
}
TAKES_ARGUMENT = {"-o", "-MF", "-MQ"}
WARNING = re.compile(r"^(?P<path>[^:\s]+):(?P<line>\d+):\d+: (?:warning|error): (?P<text>.*?) \[.*-Wanalyzer")


def command(entry):
    """What compiles the file of an entry of compile_commands.json, with the analyzer and no output."""
    words = iter(shlex.split(entry["command"]))
    kept = []
    for word in words:
        if word in TAKES_ARGUMENT:
            next(words)
        elif not (pathlib.Path(word).name == "ccache" or word in ("-MD", "-Werror", "-c")
                  or word.startswith(("-fsanitize", "-O", "-g", "-fdiagnostics"))):
            kept.append(word)
    return [*kept, "-fanalyzer", "-O0", "-S", "-o", os.devnull]


def inside(entry, path):
    """The path relative to the source tree; "" for what is not in it."""
    path = pathlib.Path(entry["directory"], path).resolve()
    root = pathlib.Path(sys.argv[2]).resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else ""


def findings(entry):
    """(path, line, text) of each warning."""
    result = subprocess.run(command(entry), cwd=entry["directory"], stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [(inside(entry, match["path"]), match["line"], match["text"])
            for match in map(WARNING.match, result.stderr.splitlines()) if match]


def main():
    database = json.loads(pathlib.Path(sys.argv[1], "compile_commands.json").read_text())
    sources = {entry["file"]: entry for entry in database
               if inside(entry, entry["file"]).startswith(("vmm/", "driver/"))}
    assert len(sources) > 100, sources
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = sorted({finding for result in pool.map(findings, sources.values()) for finding in result})
    wrong = {(path, text) for path, _, text in found}
    problems = [f"{path}:{line}: {text}" for path, line, text in found if (path, text) not in FALSE_POSITIVES]
    problems += [f"{path}: '{text}' is not found any more: drop it here" for path, text in set(FALSE_POSITIVES) - wrong]
    print("\n".join(problems) or f"{len(sources)} files")
    return bool(problems)


sys.exit(main())
