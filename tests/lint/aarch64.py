#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""All of vmm/ but arch/x86_64/ compiles for aarch64, and no other file knows which processor it is. Usage: aarch64.py COMPILER BUILD_DIR ROOT.

Nothing is linked: there is no arch/aarch64. What the files include is the kernel's and the C library's for that processor.
"""
import pathlib
import re
import subprocess
import sys

from compile_commands import for_each, sources

ELSEWHERE = ("vmm/arch/x86_64/", "driver/conf/arch.h")
SPEAKS_OF_IT = {
    "vmm": re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*__(?:x86_64|i386|amd64|aarch64|arm)", re.M),
    "driver": re.compile(r"x86_64"),
}


def main():
    compiler, build, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()

    def errors(source):
        _, *options = source.words()
        result = subprocess.run([compiler, *options, "-fsyntax-only"], cwd=source.directory, stderr=subprocess.PIPE,
                                text=True, check=False)
        return result.stderr if result.returncode else ""

    files = [source for source in sources(build, root)
             if source.path.startswith("vmm/") and not source.path.startswith(ELSEWHERE)]
    assert len(files) > 30, files
    problems = [text for text in for_each(errors, files) if text]
    problems += [f"{path.relative_to(root)}: knows the processor: that belongs into {' and '.join(ELSEWHERE)}"
                 for folder, pattern in SPEAKS_OF_IT.items() for path in sorted((root / folder).rglob("*.[ch]"))
                 if not str(path.relative_to(root)).startswith(ELSEWHERE) and pattern.search(path.read_text())]
    print("\n".join(problems) or f"{len(files)} files")
    return bool(problems)


sys.exit(main())
