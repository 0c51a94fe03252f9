"""What a guest's data relies on: storage that fails, fills up or hangs, suspended guests, and locks."""
import contextlib
import hashlib
import pathlib
import re
import subprocess

import pytest

import helpers

IMAGES = pathlib.Path("/var/lib/libvirt/images")


@contextlib.contextmanager
def full_storage(name, size):
    """A tmpfs of `size` MiB below the images directory."""
    directory = IMAGES / name
    directory.mkdir()
    helpers.run("mount", "-t", "tmpfs", "-o", f"size={size}M", "tmpfs", directory)
    try:
        yield directory
    finally:
        helpers.run("umount", "-l", directory)
        directory.rmdir()


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size << 20)
    return path


def events_of(domain):
    return helpers.Console(None, command=["virsh", "-c", helpers.URI, "event", "--all", "--loop", "--domain", domain.name])


def test_a_failed_flush_is_never_forgotten(make_domain):
    """Linux reports lost data once; the guest gets an error for every flush until it is stopped."""
    with full_storage("flush", 2) as directory:
        block = helpers.run("losetup", "--find", "--show", sparse(directory / "image", 16)).stdout.strip()
        domain = make_domain(devices=helpers.disk_xml(block))
        try:
            with domain.boot() as console:
                console.command("dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>/dev/null")
                assert domain.virsh("domblkerror").strip() == "No errors found"
                with events_of(domain) as events:
                    helpers.time.sleep(5)  # to connect; nothing says when it has registered
                    console.command("! dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync 2>/dev/null")
                    events.expect(r"'io-error' for domain .*report", helpers.CALL)
                for _ in range(3):
                    console.command("! dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>/dev/null")
                assert re.search(r"^vda: (unspecified error|no space)", domain.virsh("domblkerror"), re.M)
                assert domain.state() == "running"
            log = helpers.journal(unit=helpers.scope_of(domain))
            assert any("its flushes fail until the guest is stopped" in line["MESSAGE"] for line in log)
            domain.virsh("destroy")
            with domain.boot() as console:
                console.command("dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>/dev/null")
        finally:
            domain.virsh("destroy", check=False)
            helpers.run("losetup", "-d", block)


def test_out_of_space_pauses_and_resume_tries_again(no_leaks, make_domain):
    """When thin storage is full the guest waits, and nothing is lost once there is room."""
    with full_storage("thin", 4) as directory:
        image = sparse(directory / "image", 16)
        domain = make_domain(devices=helpers.disk_xml(image))
        with domain.boot() as console:
            console.command("dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null")
            digest = console.command("md5sum </tmp/data").split()[0]
            with events_of(domain) as events:
                helpers.time.sleep(5)  # to connect
                console.send("dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null; echo written=$?\n")
                events.expect(r"'io-error' for domain .*pause", helpers.BOOT)
                events.expect(r"'io-error-reason' for domain .*pause due to enospc", helpers.CALL)
                events.expect(r"'lifecycle' for domain .*: Suspended I/O Error", helpers.CALL)
            assert domain.virsh("domstate", "--reason").strip() == "paused (I/O error)"
            assert re.search(r"^vda: no space", domain.virsh("domblkerror"), re.M)
            domain.virsh("resume")  # too early
            helpers.wait_for(lambda: domain.virsh("domstate", "--reason").strip() == "paused (I/O error)")
            helpers.run("mount", "-o", "remount,size=32M", directory)
            domain.virsh("resume")
            console.expect("written=0", helpers.BOOT)
            console.prompt()
            assert domain.virsh("domblkerror").strip() == "No errors found"
        domain.virsh("destroy")
        assert hashlib.md5(image.read_bytes()[:8 << 20]).hexdigest() == digest


def test_other_policies(make_domain):
    """Without space, error_policy='report' fails the guest's write and 'ignore' hides that; neither pauses it."""
    def disk(directory, target, policy):
        xml = helpers.disk_xml(sparse(directory / "image", 16), target)
        return xml.replace("type='raw'", f"type='raw' error_policy='{policy}'")

    with full_storage("report", 2) as first, full_storage("ignore", 2) as second:
        domain = make_domain(devices=disk(first, "vda", "report") + disk(second, "vdb", "ignore"))
        with domain.boot() as console:
            console.command("! dd if=/dev/urandom of=/dev/vda bs=1M count=6 conv=fsync 2>/dev/null")
            console.command("dd if=/dev/urandom of=/dev/vdb bs=1M count=6 conv=fsync 2>/dev/null")
        assert domain.state() == "running"
        domain.virsh("destroy")


@contextlib.contextmanager
def frozen_storage(path):
    """A file system in a file; while it is frozen, writes to it hang."""
    directory = IMAGES / "frozen"
    directory.mkdir()
    helpers.run("mkfs.ext4", "-q", path)
    helpers.run("mount", "-o", "loop", path, directory)
    try:
        yield directory
    finally:
        helpers.run("fsfreeze", "-u", directory, check=False)
        helpers.run("umount", "-l", directory)
        directory.rmdir()


def test_control_does_not_wait_for_storage(make_domain, make_disk):
    """While a disk's storage hangs only a pause waits: other requests are served, and another disk works."""
    with frozen_storage(make_disk(64)) as directory:
        domain = make_domain(devices=helpers.disk_xml(sparse(directory / "image", 16)) +
                             helpers.disk_xml(make_disk(8), "vdb"))
        with domain.boot() as console:
            helpers.run("fsfreeze", "-f", directory)
            console.command("{ dd if=/dev/zero of=/dev/vda bs=4096 count=64 conv=fsync 2>/dev/null & }")
            helpers.time.sleep(2)
            console.command("dd if=/dev/zero of=/dev/vdb bs=4096 count=64 conv=fsync 2>/dev/null")
            suspend = subprocess.Popen(["virsh", "-c", helpers.URI, "suspend", domain.name], stdout=subprocess.PIPE)
            helpers.time.sleep(3)
            assert suspend.poll() is None
            before = helpers.time.monotonic()
            assert "vda wr_req" in domain.virsh("domblkstat", "vda")
            assert domain.virsh("domblkerror").strip() == "No errors found"
            assert helpers.time.monotonic() - before < 10
            helpers.run("fsfreeze", "-u", directory)
            assert suspend.wait(helpers.CALL) == 0
            assert domain.state() == "paused"
            domain.virsh("resume")
            assert console.command("wait; echo alive", timeout=helpers.BOOT).strip().endswith("alive")
        domain.virsh("destroy")


def test_a_suspended_guest_stands_still(make_domain, make_disk, bridge):
    """While it is suspended its disk does not change, and its interface sends nothing."""
    disk = make_disk(16)
    domain = make_domain(cmdline=f"{helpers.CMDLINE} vm.ip=eth0:192.168.77.2/24",
                         devices=helpers.disk_xml(disk) + helpers.interface_xml(bridge))
    with domain.boot() as console:
        tap = domain.virsh("domiflist").split()[0]
        sent = pathlib.Path(f"/sys/class/net/{tap}/statistics/rx_packets")
        console.command("{ while :; do dd if=/dev/urandom of=/dev/vda bs=64k count=200 2>/dev/null; done & }")
        flood = subprocess.Popen(["ping", "-f", "-q", "192.168.77.2"], stdout=subprocess.DEVNULL)
        try:
            for _ in range(3):
                before = int(sent.read_text())
                helpers.wait_for(lambda: int(sent.read_text()) > before, what="the guest answers")
                helpers.time.sleep(1)
                domain.virsh("suspend")
                seen = {(hashlib.sha256(disk.read_bytes()).hexdigest(), disk.stat().st_mtime_ns, sent.read_text())
                        for _ in range(4) if not helpers.time.sleep(1)}
                assert len(seen) == 1
                domain.virsh("resume")
            before = int(sent.read_text())
            helpers.wait_for(lambda: int(sent.read_text()) > before)
        finally:
            flood.kill()
            flood.wait()
    domain.virsh("destroy")


def test_shareable_disks_are_locked(make_domain, make_disk):
    """Sharers share with sharers and readers with readers; everything else is refused."""
    disk = make_disk(8)
    kinds = {"sharer": helpers.disk_xml(disk, extra="<shareable/>"), "reader": helpers.disk_xml(disk, readonly=True),
             "owner": helpers.disk_xml(disk)}
    domains = {kind: [make_domain(devices=xml) for _ in range(2)] for kind, xml in kinds.items()}
    for first in kinds:
        domains[first][0].start("--paused")
        for second in kinds:
            if first == second and first != "owner":
                domains[second][1].start("--paused")
                domains[second][1].virsh("destroy")
                continue
            with pytest.raises(helpers.CommandError, match="is in use by another process"):
                domains[second][1].start("--paused")
        domains[first][0].virsh("destroy")


def test_an_image_that_ends_within_a_sector(make_domain, make_disk):
    """An image that is not a multiple of 512 bytes is served to its end, and all report the same size."""
    disk = make_disk(1)
    disk.write_bytes(bytes(range(1, 101)) * 10)
    domain = make_domain(devices=helpers.disk_xml(disk) + helpers.disk_xml(disk, "vdb", readonly=True).replace(
        str(disk), str(make_copy(disk, make_disk))))
    with domain.boot() as console:
        for device in ("vda", "vdb"):
            assert console.command(f"cat /sys/block/{device}/size").strip() == "2"
            assert console.command(f"dd if=/dev/{device} 2>/dev/null | md5sum").split()[0] == \
                hashlib.md5(disk.read_bytes() + bytes(24)).hexdigest()
            assert re.search(r"Capacity:\s+1024$", domain.virsh("domblkinfo", device), re.M)
        console.command("dd if=/dev/zero of=/dev/vda bs=512 seek=1 count=1 conv=fsync 2>/dev/null")
    domain.virsh("destroy")
    assert disk.stat().st_size == 1024
    assert disk.read_bytes()[512:] == bytes(512)


def make_copy(path, make_disk):
    copy = make_disk(1)
    copy.write_bytes(path.read_bytes())
    return copy
