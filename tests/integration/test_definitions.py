"""Definition files: written atomically, and none is lost because another one is bad."""
import contextlib
import pathlib

import pytest

import helpers
import output

CONFIG = pathlib.Path("/etc/libvirt/micro")
KERNEL = helpers.HALTING


def in_daemon(*command):
    """Runs a command in the daemon's mount namespace."""
    helpers.run("nsenter", "-t", helpers.daemon_pid(), "-m", *command)


def snapshot(directory):
    """Names, kinds and contents of everything in it."""
    def content(path):
        return path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()

    return {str(path.relative_to(directory)): content(path) for path in directory.rglob("*")}


@contextlib.contextmanager
def mounted_over_config(options):
    """A separate file system over the directory of definitions, with the same content. Yields its path."""
    helpers.virsh("list")
    seen = pathlib.Path(f"/proc/{helpers.daemon_pid()}/root{CONFIG}")
    in_daemon("mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", CONFIG)
    try:
        helpers.run("cp", "-a", f"{CONFIG}/.", seen)
        yield seen
    finally:
        in_daemon("umount", CONFIG)


@contextlib.contextmanager
def read_only():
    with mounted_over_config("size=1m") as directory:
        in_daemon("mount", "-o", "remount,ro", CONFIG)
        yield directory


@contextlib.contextmanager
def without_space():
    """Files can be created but not written."""
    with mounted_over_config("size=64k") as directory:
        with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield directory


@contextlib.contextmanager
def without_inodes():
    """No file can be created."""
    with mounted_over_config("nr_inodes=64") as directory:
        with contextlib.suppress(OSError):
            for number in range(64):
                (directory / f"filler{number}").touch()
        yield directory


def all_of(domain):
    """Everything that the daemon keeps of a definition."""
    return domain.xml("--inactive"), domain.virsh("dominfo"), domain.virsh("desc", "--config"), domain.state()


CHANGES = ["define {path}", "desc --config {name} other", "desc --config {name} --title other",
           "metadata --config {name} --uri http://example.org/e --key e --set <e/>", "setmaxmem --config {name} 262144",
           "schedinfo --config {name} --set cpu_shares=777", "memtune --config {name} --hard-limit 900000",
           "vcpupin --config {name} 0 0", "setvcpus --config {name} 1",
           "domiftune --config {name} 52:54:00:99:00:01 --inbound 1000"]
WAYS = {
    "read-only": (read_only, "Read-only file system", ["autostart {name}", "autostart --disable {marked}",
                                                       "undefine {name}", "domrename {name} renamed"]),
    "no space": (without_space, "No space left on device", ["domrename {name} renamed"]),
    "no inodes": (without_inodes, "No space left on device", ["autostart {name}", "autostart {marked}",
                                                              "domrename {name} renamed"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_written_has_not_changed(make_domain, way):
    """Neither in the daemon nor on disk, running or not; and the change can be made afterwards."""
    spoil, message, more = WAYS[way]
    interface = helpers.interface_xml(bridge="br0", mac="52:54:00:99:00:01")
    idle, marked, fresh = make_domain(devices=interface, vcpus=2), make_domain(), make_domain(define=False)
    paused = make_domain(vcpus=2)
    marked.virsh("autostart")
    paused.start("--paused")
    for domain in idle, marked, paused:
        domain.virsh("desc", "--config", "as it was")
    idle.path.write_text(idle.xml("--inactive").replace("131072", "163840"))
    with spoil() as directory:
        domains, files = [all_of(domain) for domain in (idle, marked, paused)], snapshot(directory)
        changes = [change.format(name=idle.name, path=idle.path, marked=marked.name) for change in CHANGES + more]
        changes += [f"define {fresh.path}"]
        changes += [change.format(name=paused.name) for change in CHANGES if not change.startswith(("define", "domif"))]
        for change in changes:
            text = helpers.virsh(*change.split(), check=False)
            assert "error: " in text and message in text, f"{change}: {text}"
            assert snapshot(directory) == files, change
        assert [all_of(domain) for domain in (idle, marked, paused)] == domains
        assert not fresh.exists()
    for domain in idle, fresh:
        helpers.virsh("define", domain.path)
    idle.virsh("desc", "--config", "other")
    assert "163840" in idle.xml() and idle.virsh("desc").strip() == "other"
    assert (CONFIG / f"{fresh.name}.xml").exists() and not list(CONFIG.rglob("*.new"))


def test_live_change_that_cannot_be_kept_for_the_next_start(make_domain):
    """A change of both live and config is made in both or in neither."""
    domain = make_domain()
    domain.start("--paused")
    before = domain.xml(), domain.xml("--inactive")
    with read_only():
        for change in ("desc --live --config {} other", "schedinfo --live --config {} --set cpu_shares=777"):
            assert "Read-only file system" in helpers.virsh(*change.format(domain.name).split(), check=False)
    assert (domain.xml(), domain.xml("--inactive")) == before


# Definitions that were damaged


@pytest.fixture
def damaged(make_domain):
    """Definitions that cannot be loaded: file and expected message."""
    origin = make_domain()
    text = (CONFIG / f"{origin.name}.xml").read_text()
    found = {
        "dmg-cut": (text.replace(origin.name, "dmg-cut").partition("</devices>")[0], "Premature end of data"),
        "dmg-empty": ("", "empty"),
        "dmg-binary": ("\0\1\2" * 1000, "empty"),
        "dmg-uuid": (text.replace(origin.name, "dmg-uuid").replace("<uuid>", "<uuid>x"), "malformed uuid element"),
        "dmg-name": (text.replace(origin.name, "aaa-whole"), "the domain in it is 'aaa-whole', which has its own file"),
        "dmg-device": (text.replace(origin.name, "dmg-device").replace("hvm<", "xen<"), "xen"),
        "dmg-directory": (None, "Is a directory"),
    }
    origin.virsh("undefine")
    yield {CONFIG / f"{name}.xml": told for name, told in found.items()}
    for name in found:
        path = CONFIG / f"{name}.xml"
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    helpers.run("systemctl", "restart", "virtmicrod.service")


def test_damaged_definitions_are_reported_and_left_alone(make_domain, damaged, journal_start):
    """The others are loaded, unchanged."""
    whole, running = make_domain(name="aaa-whole"), make_domain(name="zzz-whole")
    whole.virsh("desc", "kept")
    running.start("--paused")
    number = running.id()
    helpers.run("systemctl", "stop", "virtmicrod.service")
    for path, (text, _) in damaged.items():
        path.mkdir() if text is None else path.write_text(text)
    files = snapshot(CONFIG)
    helpers.run("systemctl", "start", "virtmicrod.service")
    assert (whole.virsh("desc").strip(), running.state(), running.id()) == ("kept", "paused", number)
    listed = helpers.virsh("list", "--all", "--name").split()
    assert not [name for name in listed if name.startswith("dmg-")]
    assert snapshot(CONFIG) == files

    def told():
        return [entry["MESSAGE"] for entry in helpers.journal(journal_start, unit="virtmicrod.service")
                if "dmg-" in entry["MESSAGE"]]

    helpers.wait_for(lambda: len(told()) >= len(damaged), what="the journal reports each")
    for path, (_, message) in damaged.items():
        lines = [line for line in told() if f"'{path}'" in line]
        assert len(lines) == 1 and message in lines[0], f"{path}: {told()}"


def test_a_file_that_was_renamed(make_domain, journal_start):
    """As after `mv web1.xml web2.xml`: the file's name decides."""
    domain = make_domain()
    number, file, moved = domain.virsh("domuuid").strip(), CONFIG / f"{domain.name}.xml", CONFIG / f"{domain.name}-moved.xml"
    file.rename(moved)
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert helpers.virsh("domuuid", moved.stem).strip() == number
    assert f"<name>{moved.stem}</name>" in moved.read_text() and not domain.exists()
    helpers.wait_for(lambda: [entry for entry in helpers.journal(journal_start, unit="virtmicrod.service")
                              if f"'{moved}' was renamed from '{domain.name}'" in entry["MESSAGE"]])
    helpers.virsh("undefine", moved.stem)


def test_damaged_definition_of_a_running_domain(no_leaks, make_domain):
    """It keeps running as a transient domain until it is defined again; the damaged file is kept."""
    domain = make_domain(uid="78787878-2222-3333-4444-555555555555")
    domain.start("--paused")
    number, file = domain.id(), CONFIG / f"{domain.name}.xml"
    file.write_text(file.read_text()[:300])
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert (domain.state(), domain.id()) == ("paused", number)
    assert output.pairs(domain.virsh("dominfo"))["Persistent"] == "no" and len(file.read_text()) == 300
    helpers.virsh("define", domain.path)
    assert output.pairs(domain.virsh("dominfo"))["Persistent"] == "yes" and len(file.read_text()) > 300
    kept = CONFIG / f"{domain.name}.xml.old"
    assert len(kept.read_text()) == 300
    kept.unlink()
    domain.virsh("destroy")
    assert domain.state() == "shut off"


def test_two_definitions_with_one_uuid(make_domain, journal_start):
    """As after `cp web1.xml web2.xml` with only the name changed: one is loaded, and the other's file is named."""
    domain = make_domain()
    copy = CONFIG / "dmg-copy.xml"
    copy.write_text((CONFIG / f"{domain.name}.xml").read_text().replace(domain.name, "dmg-copy"))
    files = snapshot(CONFIG)
    try:
        helpers.run("systemctl", "restart", "virtmicrod.service")
        known = {domain.name, "dmg-copy"} & set(helpers.virsh("list", "--all", "--name").split())
        assert len(known) == 1 and snapshot(CONFIG) == files
        (other,) = {domain.name, "dmg-copy"} - known
        helpers.wait_for(lambda: [entry for entry in helpers.journal(journal_start, unit="virtmicrod.service")
                                  if f"{other}.xml' is ignored: another domain has its UUID" in entry["MESSAGE"]])
    finally:
        copy.unlink()
        helpers.run("systemctl", "restart", "virtmicrod.service")
    assert domain.exists()
