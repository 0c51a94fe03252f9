#!/usr/bin/env python3
"""Stages the unit tests of meson's suite "host" for the test host: programs.py BUILD DIRECTORY.

The suite holds tests that skip, at least in part, without something that the test host has. DIRECTORY gets the
programs, the files that their environment names, and programs.json for tests/integration/test_programs.py. A build with
sanitizers or without tests stages none.
"""
import json
import pathlib
import shutil
import subprocess
import sys

THERE = "/root/tests/programs"  # where the directory is in the test host


def in_suite(test):
    return "host" in {suite.split(":")[-1] for suite in test["suite"]}


def stage(path, directory):
    """A word of a test's command or environment; a file is replaced by its copy in the test host."""
    source = pathlib.Path(path)
    if not source.is_absolute() or not source.is_file():
        return path
    shutil.copy2(source, directory / source.name)
    return f"{THERE}/{source.name}"


def main():
    build, directory = map(pathlib.Path, sys.argv[1:])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    listed = subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True, text=True)
    programs = {
        test["name"]: {
            "command": [stage(word, directory) for word in test["cmd"]],
            "environment": {name: stage(value, directory) for name, value in test["env"].items()},
        } for test in json.loads(listed.stdout) if in_suite(test)
    }
    (directory / "programs.json").write_text(json.dumps(programs))


if __name__ == "__main__":
    main()
