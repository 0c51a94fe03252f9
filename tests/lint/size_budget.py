#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps functions and files readable (HACKING.md, "Budgets").

Usage: size_budget.py ROOT. A function is counted from its opening brace in column 0 or at the end of its head to
the closing brace in column 0.
"""
import pathlib
import sys

FUNCTION_MAX = 100
FILE_MAX = 800
LINE_MAX = 120


def functions(lines):
    """(name line, first line number, length) of each function at file scope."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line.endswith("{") and ")" in line and not line.startswith((" ", "\t", "#", "}")):
            start = number
        elif (start is None and line.endswith(") {") and line.startswith(" ") and number > 1
              and not lines[number - 2].startswith(" ")):
            start = number - 1
        elif start is not None and line == "}":
            yield lines[start - 1].strip(), start, number - start + 1
            start = None


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    problems = []
    lengths = []
    for source in sorted([*root.glob("vmm/**/*.[ch]"), *root.glob("driver/**/*.[ch]")]):
        lines = source.read_text().splitlines()
        path = source.relative_to(root)
        if len(lines) > FILE_MAX:
            problems.append(f"{path}: {len(lines)} lines (limit {FILE_MAX}): cut it along a seam")
        problems += [f"{path}:{number}: {len(line)} columns (limit {LINE_MAX})"
                     for number, line in enumerate(lines, 1) if len(line) > LINE_MAX]
        for name, start, length in functions(lines):
            lengths.append(length)
            if length > FUNCTION_MAX:
                problems.append(f"{path}:{start}: {length} lines (limit {FUNCTION_MAX}): {name}")
    lengths.sort()
    print("\n".join(problems))
    if lengths:
        print(f"{len(lengths)} functions: median {lengths[len(lengths) // 2]}, "
              f"95th percentile {lengths[len(lengths) * 95 // 100]}, longest {lengths[-1]} lines")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
