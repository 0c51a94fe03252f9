#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every C file is laid out as .clang-format says. Usage: format.py CLANG_FORMAT ROOT [--fix]."""
import pathlib
import subprocess
import sys


def main():
    program, root, *fix = sys.argv[1:]
    files = [source for folder in ("driver", "vmm", "tests") for source in pathlib.Path(root, folder).rglob("*.[ch]")]
    assert files
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    status = subprocess.run([program, "--style=file", *mode, *files], check=False).returncode
    if status != 0:
        print("run `./run format`")
    return status


sys.exit(main())
