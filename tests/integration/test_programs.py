"""Unit tests that need root and a kernel with KVM, bridges and O_DIRECT; elsewhere they skip, at least in part."""
import json
import os
import pathlib
import re

import pytest

import helpers

DIRECTORY = pathlib.Path("/root/tests/programs")
PROGRAMS = json.loads((DIRECTORY / "programs.json").read_text())


def test_none_is_missing():
    assert {"vmm-irq", "vmm-plug", "vmm-vcpus", "vmm-vm", "vmm-blk", "vmm-sandbox", "tap"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_program(name):
    program = PROGRAMS[name]
    result = helpers.run(*program["command"], check=False, timeout=helpers.BOOT, cwd=DIRECTORY,
                         env={**os.environ, **program["environment"]})
    text = result.stdout + result.stderr
    assert result.returncode == 0, f"status {result.returncode}\n{text}"
    assert not re.search(r"# SKIP|^skipped", text, re.MULTILINE), text
