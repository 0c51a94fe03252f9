#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks that a program is built to be hard to attack (SECURITY.md): loaded at a random address, nothing writable that
could be read-only once it is linked, no memory that is both writable and executable.

Usage: hardening.py PROGRAM. Prints what is missing; exits 1 if something is.
"""
import re
import subprocess
import sys


def readelf(option, program):
    return subprocess.run(["readelf", "-W", option, program], capture_output=True, text=True, check=True).stdout


def problems(program):
    segments = readelf("--segments", program)
    dynamic = readelf("--dynamic", program)
    if "Type:                              DYN" not in readelf("--file-header", program) or "PIE" not in dynamic:
        yield "is not position independent"
    if "GNU_RELRO" not in segments:
        yield "has no read-only relocations"
    if not re.search(r"BIND_NOW|\bNOW\b", dynamic):
        yield "is linked lazily"
    if re.search(r"(LOAD|GNU_STACK) .*RWE", segments):
        yield "has memory that is writable and executable"


def main():
    program = sys.argv[1]
    found = list(problems(program))
    for problem in found:
        print(f"{program} {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
