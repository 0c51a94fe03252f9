#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""clang-tidy finds nothing in vmm/ and driver/ with the checks of .clang-tidy. Usage: tidy.py CLANG_TIDY BUILD_DIR ROOT."""
import pathlib
import re
import subprocess
import sys

from compile_commands import for_each, sources

FINDING = re.compile(r"^\S+:\d+:\d+: (warning|error): ")


def main():
    program, build, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()

    def findings(source):
        _, *options = source.words()
        options.remove(source.file)
        result = subprocess.run([program, "--quiet", f"--config-file={root}/.clang-tidy", source.file, "--", *options],
                                cwd=source.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                check=False)
        assert result.returncode == 0 or result.stdout, result.stderr
        return [line for line in result.stdout.splitlines() if FINDING.match(line)]

    files = sources(build, root)
    found = sorted({line for lines in for_each(findings, files) for line in lines})
    print("\n".join(found) or f"{len(files)} files")
    return bool(found)


sys.exit(main())
