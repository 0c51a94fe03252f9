"""The stock virtinst tools: virt-install creates and boots a guest, virt-xml edits it, virt-clone copies it."""
import pytest

import helpers

STORAGE = helpers.pathlib.Path("/var/lib/libvirt/images")
TIMEOUT = 180  # they are Python, and load much of it


def tool(*args, check=True):
    return helpers.run(args[0], "--connect", helpers.URI, *args[1:], check=check, timeout=TIMEOUT)


def virt_install(name, *options, check=True):
    return tool("virt-install", "--name", name, "--memory", "256", "--osinfo", "generic", "--noautoconsole", *options,
                check=check)


@pytest.fixture
def installed(network_and_pools, domain_name, kernel):
    """A guest made with the options an operator would type. virt-install picks IDE, e1000 and a display."""
    boot = f"kernel={kernel.kernel},initrd={kernel.initrd},kernel_args={helpers.CMDLINE}"
    disk = STORAGE / f"{domain_name}.raw"
    result = virt_install(domain_name, "--import", "--boot", boot, "--disk", f"{disk},size=0.01,format=raw",
                          "--network", "network=default")
    assert "Domain creation completed." in result.stdout
    domain = helpers.Domain(domain_name)
    yield domain
    helpers.virsh("destroy", domain_name, check=False)
    helpers.virsh("undefine", domain_name, "--remove-all-storage", check=False)
    assert not disk.exists()


def pools():
    return set(helpers.virsh("pool-list", "--all", "--name").split())


@pytest.fixture(autouse=True)
def network_and_pools():
    """libvirt's own default network; the tools create a pool for each folder with images."""
    before = pools()
    helpers.virsh("net-start", "default")
    yield
    helpers.virsh("net-destroy", "default")
    for pool in pools() - before:
        helpers.virsh("pool-destroy", pool)
        helpers.virsh("pool-undefine", pool)


def test_a_guest_is_made_edited_and_cloned(installed):
    """What the tools write for an unknown hypervisor boots, and conversions are noted."""
    with installed.console() as console:
        console.prompt()
        assert console.command("ls /sys/block").split().count("vda") == 1
        assert console.command("cat /sys/class/net/eth0/address").strip() in installed.virsh("domiflist")
    messages = installed.virsh("dominfo")
    assert "became virtio disk 'vda'" in messages and "became virtio" in messages
    installed.virsh("destroy")

    assert "defined successfully" in tool("virt-xml", installed.name, "--edit", "--vcpus", "2").stdout
    assert "<vcpu placement='static'>2</vcpu>" in installed.xml()

    clone = helpers.Domain(f"{installed.name}-clone")
    try:
        assert "created successfully" in tool("virt-clone", "--original", installed.name, "--auto-clone").stdout
        assert clone.virsh("domuuid") != installed.virsh("domuuid")
        assert str(STORAGE / f"{clone.name}.raw") in clone.virsh("domblklist")
        clone.start("--paused")
        assert clone.state() == "paused"
    finally:
        clone.virsh("destroy", check=False)
        clone.virsh("undefine", "--remove-all-storage", check=False)
    assert not (STORAGE / f"{clone.name}.raw").exists()


def test_an_image_without_a_kernel_is_refused(domain_name):
    """An import without --boot is everybody's first mistake."""
    result = virt_install(domain_name, "--import", "--disk", "none", "--network", "none", check=False)
    assert result.returncode == 1
    assert f"domain '{domain_name}' has no kernel to boot" in result.stderr
    assert "add <kernel>" in result.stderr
    assert domain_name not in helpers.virsh("list", "--all", "--name")
