"""The demo, as `./run demo` runs it: as root, where virtmicro is installed."""
import pathlib
import re

import pytest

import helpers

SCRIPT = pathlib.Path("/root/tests/demo/demo.sh")


def traces():
    """Everything that it could leave on a user's machine."""
    temporary = {path.name for path in pathlib.Path("/tmp").glob("tmp.*")}
    watchers = helpers.run("pgrep", "-f", "busctl monitor", check=False).stdout.split()
    return helpers.resources(), set(helpers.links()), helpers.virsh("list", "--all", "--uuid"), temporary, watchers


def run_demo(**kwargs):
    return helpers.run(SCRIPT, check=False, timeout=helpers.BOOT, cwd="/", **kwargs)


def test_demo():
    """It shows what README.md says, succeeds, and leaves nothing."""
    helpers.virsh("list")
    before = traces()
    result = run_demo()
    text = result.stdout.replace("\r", "")
    assert result.returncode == 0, text + result.stderr
    for pattern in [
            r"^Domain 'demo' defined from demo\.xml$", r"^virtmicro-guest: init reached", r"^guest# ",
            r"^ \d+ +demo +running$", r"^3 packets transmitted, 3 received, 0% packet loss",
            r"machine-micro\\x2d\d+\\x2ddemo\.scope - virtmicro VM demo \([0-9a-f-]{36}\)$",
            r"^ +Tasks: \d+ \(limit: \d+\)$",
            r"^micro-\d+-demo vm +libvirt-micro", r"^  net\.0\.name=vnet\d+$", r"^  balloon\.current=131072$",
            r"^Domain 'demo' destroyed$", r"^Domain 'demo' has been undefined$",
            r'^DomainEvent \[".*","demo","Defined","Added"\]$', r'^DomainEvent \[".*","demo","Started","Booted"\]$',
            r'^DomainEvent \[".*","demo","Stopped","Destroyed"\]$',
            r'^DomainEvent \[".*","demo","Undefined","Removed"\]$',
    ]:
        assert re.search(pattern, text, re.MULTILINE), f"{pattern}\n{text}"
    helpers.wait_for(lambda: traces() == before, what=f"all is as it was: {before}, {traces()}")


def test_demo_that_fails_leaves_nothing():
    """It finds no guest to boot."""
    helpers.virsh("list")
    before = traces()
    kernel = helpers.Kernel("6.12", "vmlinuz-6.12").kernel
    helpers.run("mount", "--bind", "/dev/null", kernel)
    try:
        result = run_demo()
    finally:
        helpers.run("umount", kernel)
    assert result.returncode != 0 and "kernel" in result.stdout
    helpers.wait_for(lambda: traces() == before, what=f"all is as it was: {before}, {traces()}")


def test_demo_spares_a_domain_of_the_same_name(make_domain):
    domain = make_domain(name="demo")
    domain.start("--paused")
    before = traces()
    result = run_demo()
    assert result.returncode != 0 and "demo: there is a domain 'demo' already" in result.stderr
    assert traces() == before and domain.state() == "paused"


@pytest.fixture
def bridge_demo0():
    helpers.run("ip", "link", "add", "demo0", "type", "bridge")
    yield
    helpers.run("ip", "link", "delete", "demo0")


def test_demo_spares_a_bridge_of_the_same_name(bridge_demo0):
    before = traces()
    result = run_demo()
    assert result.returncode != 0 and "File exists" in result.stderr
    assert traces() == before
