#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""gcc's -fanalyzer finds nothing in vmm/ and driver/ but what is known to be wrong. Usage: analyzer.py BUILD_DIR ROOT.

Each file is compiled without optimisation, which is quickest.
"""
import os
import pathlib
import re
import subprocess
import sys

from compile_commands import for_each, sources

# (file, warning): why it is wrong.
FALSE_POSITIVES = {
    ("vmm/arch/x86_64/vcpu_state.c", "dereference of NULL ‘list’"): "errno is not 0 after a failed ioctl()",
    ("vmm/dev/blk_io.c", "dereference of NULL ‘rq’"): "a list's last pointer always leads somewhere",
    ("vmm/dev/net.c", "leak of ‘<unknown>’"): "it is reachable by its member `dev`, which the caller gets",
    ("vmm/dev/rng.c", "leak of ‘<unknown>’"): "likewise",
    ("vmm/dev/rng.c", "leak of ‘g’"): "likewise",
    ("driver/conf/xml_read.c", "dereference of NULL ‘node’"): "a default beyond the caller's own limit",
    ("driver/domain/define.c", "dereference of NULL ‘def’"): "it is only taken together with a result",
}
WARNING = re.compile(r"^(?P<path>[^:\s]+):(?P<line>\d+):\d+: (?:warning|error): (?P<text>.*?) \[.*-Wanalyzer")


def main():
    root = pathlib.Path(sys.argv[2]).resolve()

    def findings(source):
        """(path, line, text) of each warning."""
        result = subprocess.run([*source.words(), "-fanalyzer", "-O0", "-S", "-o", os.devnull], cwd=source.directory,
                                stderr=subprocess.PIPE, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return [(source.inside(match["path"], root), match["line"], match["text"])
                for match in map(WARNING.match, result.stderr.splitlines()) if match]

    files = sources(sys.argv[1], root)
    found = sorted({finding for result in for_each(findings, files) for finding in result})
    wrong = {(path, text) for path, _, text in found}
    problems = [f"{path}:{line}: {text}" for path, line, text in found if (path, text) not in FALSE_POSITIVES]
    problems += [f"{path}: '{text}' is not found any more: drop it here" for path, text in set(FALSE_POSITIVES) - wrong]
    print("\n".join(problems) or f"{len(files)} files")
    return bool(problems)


sys.exit(main())
