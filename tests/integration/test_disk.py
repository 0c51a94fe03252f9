"""Disks: what a guest writes is there at the next boot, and the XML's attributes take effect."""
import re

import pytest

import helpers


def test_written_in_one_boot_read_in_the_next(no_leaks, make_domain, make_disk):
    disk = make_disk(16)
    domain = make_domain(devices=helpers.disk_xml(disk, extra="<serial>DISK-0001</serial>"))
    with domain.boot() as console:
        assert console.command("cat /sys/block/vda/serial").strip() == "DISK-0001"
        assert console.command("cat /sys/block/vda/size").strip() == str(16 * 2048)
        console.command("echo written-by-the-first-boot | dd of=/dev/vda bs=512 seek=100 conv=sync,fsync 2>/dev/null")
        domain.virsh("shutdown")
        domain.wait_state("shut off")
    with disk.open("rb") as image:
        image.seek(100 * 512)
        assert image.read(25) == b"written-by-the-first-boot"
    with domain.boot() as console:
        assert "written-by-the-first-boot" in console.command("dd if=/dev/vda bs=512 skip=100 count=1 2>/dev/null | tr -d '\\0'")
        statistics = domain.virsh("domblkstat", "vda")
        assert int(statistics.split("rd_req ")[1].split()[0]) > 0


def blocks(path):
    """Bytes that a file occupies in its file system."""
    return path.stat().st_blocks * 512


@pytest.fixture
def tool_disk(make_disk):
    """A disk holding a tar of util-linux's blkdiscard and its libraries: busybox's cannot write zeroes."""
    program = "/usr/sbin/blkdiscard"
    libraries = re.findall(r"/\S+", helpers.run("ldd", program).stdout)
    path = make_disk(0)
    helpers.run("tar", "-chf", path, "-P", "--transform", "s,.*/,tools/,", program, *libraries)
    return path


def zero(console, device, *options):
    """Makes the guest's kernel send a write-zeroes request."""
    tools = "/tmp/tools"
    console.command(f"LD_LIBRARY_PATH={tools} {tools}/ld-linux-x86-64.so.2 {tools}/blkdiscard -z {' '.join(options)}"
                    f" /dev/{device}")


def check_discard(console, full, kept, half):
    """Discarded blocks return to the host, zeroed ones stay allocated; without discard='unmap' nothing is freed."""
    assert int(console.command("cat /sys/block/vdb/queue/discard_max_bytes")) > 0
    assert int(console.command("cat /sys/block/vdb/queue/write_zeroes_max_bytes")) > 0
    assert int(console.command("cat /sys/block/vdc/queue/discard_max_bytes")) == 0
    assert blocks(full) >= 8 << 20
    zero(console, "vdb", "-o 6M", "-l 1M")
    assert full.read_bytes() == b"x" * (6 << 20) + bytes(1 << 20) + b"x" * (1 << 20)
    assert blocks(full) >= 8 << 20
    console.command(f"blkdiscard -o 0 -l {half} /dev/vdb")
    assert blocks(full) < (8 << 20) - half + (64 << 10)
    assert console.command("dd if=/dev/vdb bs=1M count=4 2>/dev/null | tr -d '\\0' | wc -c").strip() == "0"
    assert full.read_bytes()[half:6 << 20] == b"x" * ((6 << 20) - half)
    console.command("! blkdiscard /dev/vdf 2>/dev/null")
    zero(console, "vdf")
    assert kept.read_bytes() == bytes(4 << 20)
    assert blocks(kept) >= 4 << 20


def test_several_disks_of_all_kinds(no_leaks, make_domain, make_disk, tool_disk):
    """In one boot: a read-only disk refuses writes, discard frees blocks, the guest sees its cache modes."""
    readonly, full, direct, sync, kept, through, unsafe = (make_disk(8) for _ in range(7))
    full.write_bytes(b"x" * (8 << 20))
    kept.write_bytes(b"x" * (4 << 20))
    helpers.os.sync()  # unwritten data occupies no blocks
    block = helpers.run("losetup", "--find", "--show", make_disk(4)).stdout.strip()
    xml = {
        "vda": helpers.disk_xml(readonly, "vda", readonly=True),
        "vdb": helpers.disk_xml(full, "vdb").replace("type='raw'", "type='raw' discard='unmap'"),
        "vdc": helpers.disk_xml(direct, "vdc").replace("type='raw'", "type='raw' cache='none'"),
        "vdd": helpers.disk_xml(sync, "vdd").replace("type='raw'", "type='raw' cache='directsync'"),
        "vde": helpers.disk_xml(block, "vde"),
        "vdf": helpers.disk_xml(kept, "vdf"),
        "vdg": helpers.disk_xml(through, "vdg").replace("type='raw'", "type='raw' cache='writethrough'"),
        "vdh": helpers.disk_xml(unsafe, "vdh").replace("type='raw'", "type='raw' cache='unsafe'"),
        "vdi": helpers.disk_xml(tool_disk, "vdi", readonly=True),
    }
    domain = make_domain(devices="".join(xml.values()))
    try:
        with domain.boot() as console:
            assert console.command("cat /sys/block/vda/ro").strip() == "1"
            console.command("! dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null")
            console.command("tar -x -C /tmp -f /dev/vdi")
            check_discard(console, full, kept, 4 << 20)
            for name in ("vdc", "vdd", "vde", "vdg", "vdh"):
                console.command(f"dd if=/dev/urandom of=/tmp/{name} bs=4096 count=64 2>/dev/null")
                console.command(f"dd if=/tmp/{name} of=/dev/{name} bs=4096 conv=fsync 2>/dev/null")
                console.command("echo 3 >/proc/sys/vm/drop_caches")
                console.command(f"dd if=/dev/{name} bs=4096 count=64 2>/dev/null | cmp - /tmp/{name}")
            caches = console.command("cat /sys/block/vd[cdegh]/queue/write_cache").splitlines()
            assert caches == ["write back", "write through", "write back", "write through", "write back"]
        domain.virsh("destroy")
        assert readonly.read_bytes() == bytes(8 << 20)
    finally:
        domain.virsh("destroy", check=False)
        helpers.run("losetup", "-d", block)


def test_an_image_that_shrinks_is_an_io_error(make_domain, make_disk):
    """The image shrinks under the guest: it gets an I/O error and libvirt an event, and the monitor survives."""
    disk = make_disk(8)
    domain = make_domain(devices=helpers.disk_xml(disk))
    with domain.boot() as console:
        with disk.open("r+b") as image:
            image.truncate(4 << 20)
        with helpers.Console(None, command=["virsh", "-c", helpers.URI, "event", "--all", "--loop"]) as events:
            helpers.time.sleep(5)  # to connect; nothing says when it has registered
            console.command("! dd if=/dev/vda of=/dev/null bs=4096 skip=1500 count=1 2>/dev/null")
            events.expect(rf"'io-error' for domain '{domain.name}'", helpers.CALL)
        assert console.command("echo alive").strip() == "alive"
    assert domain.state() == "running"


def test_startup_policy(no_leaks, make_domain, make_disk):
    """A missing optional disk is left out of the running domain, with an event; others prevent the start."""
    disk, missing = make_disk(), "/var/lib/libvirt/images/no-such.raw"
    optional = helpers.disk_xml(missing, target="vdb").replace("<source ", "<source startupPolicy='optional' ")
    domain = make_domain(devices=helpers.disk_xml(disk) + optional, uid="11111111-2222-3333-4444-666666666666")
    with helpers.Console(None, command=["virsh", "-c", helpers.URI, "event", "--all", "--loop"]) as events:
        helpers.time.sleep(5)  # to connect; nothing says when it has registered
        domain.start("--paused")
        events.expect(rf"'disk-change' for domain '{domain.name}'", helpers.CALL)
    assert str(disk) in domain.xml() and missing not in domain.xml()
    assert "startupPolicy='optional'" in domain.xml("--inactive")
    domain.virsh("destroy")
    domain.path.write_text(domain.path.read_text().replace("'optional'", "'requisite'"))
    helpers.virsh("define", domain.path)
    assert f"Cannot access storage file '{missing}'" in domain.virsh("start", "--paused", check=False)
