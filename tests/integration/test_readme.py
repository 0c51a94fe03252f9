"""README.md's commands for a newcomer, verbatim, up to a shell in the guest.

The test host reaches no package mirror, so two commands have stand-ins: apt does nothing, and mmdebstrap makes a system
of busybox. The host's image has no kernel in it, so the test adds the links to one, and an option on the guest's
command line by which the guest's initramfs finds the disk.
"""
import pathlib
import re

import pytest

import helpers

README = pathlib.Path("/root/tests/README.md")
DISK = pathlib.Path("/var/lib/libvirt/images/web1.raw")
LINKS = {pathlib.Path("/vmlinuz"): helpers.Kernel("6.1", "vmlinuz-6.1").kernel, pathlib.Path("/initrd.img"): helpers.Kernel("6.1").initrd}

STAND_INS = {
    "sudo": 'exec "$@"',
    "apt": 'test "$1" = install',
    "mmdebstrap": r"""
        for tree; do :; done
        mkdir -p "$tree/bin" "$tree/dev" "$tree/etc" "$tree/proc" "$tree/sys"
        cp /bin/busybox "$tree/bin"
        chroot "$tree" /bin/busybox --install -s /bin
        ln -s bin "$tree/sbin"
        echo 'root::0:0:root:/:/bin/sh' >"$tree/etc/passwd"
        echo 'ttyS0::respawn:/bin/getty -L ttyS0 115200 vt100' >"$tree/etc/inittab"
        """,
}


def commands(section, of):
    """The block of commands that contains `of` in a section."""
    text = README.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if of in block]
    return block


@pytest.fixture
def newcomer(tmp_path):
    """Returns a function that wraps commands to run in their own directory with the stand-ins."""
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh -e\n{body}\n")
        path.chmod(0o755)
    for path, target in LINKS.items():
        path.symlink_to(target)
    yield lambda text: ["sh", "-ec", f"cd {tmp_path}; PATH={tmp_path}/bin:$PATH\n{text}"]
    for path in LINKS:
        path.unlink()
    helpers.virsh("destroy", "web1", check=False)
    helpers.virsh("undefine", "web1", check=False)
    for pool in set(helpers.virsh("pool-list", "--all", "--name").split()):
        helpers.virsh("pool-destroy", pool, check=False)
        helpers.virsh("pool-undefine", pool, check=False)
    DISK.unlink(missing_ok=True)


@pytest.fixture
def network(newcomer):
    helpers.run(*newcomer(commands("Install", "net-start")))
    assert "yes" in helpers.virsh("net-list", "--autostart")
    yield
    helpers.virsh("net-destroy", "default")
    helpers.virsh("net-autostart", "--disable", "default")


def test_a_first_guest(newcomer, network):
    """It ends at the guest's console; root logs in without a password."""
    text, count = re.subn(r"root=/dev/vda", r"\g<0> vm.root=/dev/vda", commands("A first guest", "virt-install"))
    assert count == 1
    with helpers.Console(None, command=newcomer(text)) as console:
        console.expect("login:")
        console.send("root\n")
        console.expect(r"^.*# $")
        console.send("mount; echo shell-of-$((40 + 2))\n")
        assert re.search(r"^/dev/\S+ on / type ext4 \(rw", console.expect(r"(?s)^(.*)^shell-of-42")[1], re.MULTILINE)
    assert helpers.Domain("web1").state() == "running"


def test_the_list_without_a_uri():
    """The variable that README names leads a plain client to virtmicro."""
    name = re.search(r"export (LIBVIRT_DEFAULT_URI)=(\S+?)`", README.read_text())
    assert helpers.run("env", f"{name[1]}={name[2]}", "virsh", "uri").stdout.strip() == helpers.URI


def test_what_cannot_enter_a_guest(make_domain):
    """machinectl's refusals, for which README names other ways."""
    domain = make_domain()
    domain.start("--paused")
    (machine,) = [name for name in helpers.machines() if name.endswith(domain.name)]
    for command in "login", "shell":
        result = helpers.run("machinectl", command, machine, check=False)
        assert result.returncode != 0 and "not" in result.stderr.lower(), result.stderr
