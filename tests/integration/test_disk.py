"""Disks: what a guest writes is there for the next boot, and the XML's attributes mean something."""
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


def test_several_disks_of_all_kinds(no_leaks, make_domain, make_disk):
    """One boot: a read-only disk refuses writes, discard frees the host's blocks, direct I/O and sync caches work."""
    readonly, discard, direct, sync = (make_disk(8) for _ in range(4))
    discard.write_bytes(b"x" * (8 << 20))
    block = helpers.run("losetup", "--find", "--show", make_disk(4)).stdout.strip()
    xml = {
        "vda": helpers.disk_xml(readonly, "vda", readonly=True),
        "vdb": helpers.disk_xml(discard, "vdb").replace("type='raw'", "type='raw' discard='unmap'"),
        "vdc": helpers.disk_xml(direct, "vdc").replace("type='raw'", "type='raw' cache='none'"),
        "vdd": helpers.disk_xml(sync, "vdd").replace("type='raw'", "type='raw' cache='directsync'"),
        "vde": helpers.disk_xml(block, "vde"),
    }
    domain = make_domain(devices="".join(xml.values()))
    try:
        with domain.boot() as console:
            assert console.command("cat /sys/block/vda/ro").strip() == "1"
            console.command("! dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null")
            console.command("blkdiscard /dev/vdb || fstrim -h >/dev/null 2>&1; true")
            for name in ("vdc", "vdd", "vde"):
                console.command(f"dd if=/dev/urandom of=/tmp/{name} bs=4096 count=64 2>/dev/null")
                console.command(f"dd if=/tmp/{name} of=/dev/{name} bs=4096 conv=fsync 2>/dev/null")
                console.command("echo 3 >/proc/sys/vm/drop_caches")
                console.command(f"dd if=/dev/{name} bs=4096 count=64 2>/dev/null | cmp - /tmp/{name}")
            assert console.command("cat /sys/block/vdc/queue/write_cache").strip() == "write back"
            assert console.command("cat /sys/block/vdd/queue/write_cache").strip() == "write through"
            assert int(console.command("cat /sys/block/vdb/queue/discard_max_bytes")) > 0
            assert int(console.command("cat /sys/block/vdc/queue/discard_max_bytes")) == 0
        domain.virsh("destroy")
        assert readonly.read_bytes() == bytes(8 << 20)
    finally:
        domain.virsh("destroy", check=False)
        helpers.run("losetup", "-d", block)


def test_root_on_a_disk_full_of_errors(make_domain, make_disk):
    """The image shrinks under the guest: an I/O error in the guest and an event, not the monitor's end."""
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
