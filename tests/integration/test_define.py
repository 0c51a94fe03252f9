"""Definitions: defining, editing, tagging and undefining by virsh, and what dumpxml then shows."""
import os
import pathlib
import xml.etree.ElementTree as ElementTree

import pytest

import helpers
import output

CONFIG = pathlib.Path("/etc/libvirt/micro")
KERNEL = helpers.HALTING
TAG = "http://example.org/tag/1"


def parsed(domain, *options):
    return ElementTree.fromstring(domain.xml(*options))


def files_of(domain):
    return sorted(str(path.relative_to(CONFIG)) for path in CONFIG.rglob(f"{domain.name}.xml"))


def rewrite(domain, before, after):
    """Edits the file that the domain is defined from."""
    text = domain.path.read_text()
    assert before in text
    domain.path.write_text(text.replace(before, after))


def edit(domain, editor, check=True):
    result = helpers.run("virsh", "-c", helpers.URI, "edit", domain.name, check=check,
                         env={**os.environ, "VISUAL": editor})
    return result.stdout + result.stderr


def validates(tmp_path, xml):
    path = tmp_path / "dumped.xml"
    path.write_text(xml)
    return helpers.run("virt-xml-validate", path, "domain", check=False).returncode == 0


def test_define(make_domain):
    domain = make_domain(define=False)
    assert output.told("define", domain.path) == f"Domain '{domain.name}' defined from {domain.path}\n\n"
    assert domain.state() == "shut off"
    assert files_of(domain) == [f"{domain.name}.xml"]
    assert (CONFIG / f"{domain.name}.xml").stat().st_mode & 0o777 == 0o600


def test_undefine(make_domain):
    domain = make_domain()
    domain.virsh("autostart")
    assert output.told("undefine", domain.name) == f"Domain '{domain.name}' has been undefined\n\n"
    assert not domain.exists()
    assert files_of(domain) == []


def test_undefine_with_options_of_other_drivers(make_domain):
    domain = make_domain()
    domain.virsh("undefine", "--managed-save", "--snapshots-metadata", "--nvram")
    assert not domain.exists()


def test_dumpxml_has_what_was_defined(make_domain):
    domain = make_domain(memory=96, vcpus=2, uid="11111111-2222-3333-4444-555555555555")
    root = parsed(domain)
    assert root.get("type") == "kvm" and root.get("id") is None
    assert root.findtext("name") == domain.name
    assert root.findtext("uuid") == "11111111-2222-3333-4444-555555555555"
    assert root.findtext("memory") == root.findtext("currentMemory") == str(96 * 1024)
    assert root.find("memory").get("unit") == "KiB"
    assert root.findtext("vcpu") == "2"
    assert (root.find("os/type").get("arch"), root.findtext("os/type")) == ("x86_64", "hvm")
    assert root.findtext("os/kernel") == str(KERNEL.kernel)
    assert root.findtext("os/initrd") == str(KERNEL.initrd)
    assert root.findtext("os/cmdline") == helpers.CMDLINE
    assert [root.findtext(f"on_{what}") for what in ("poweroff", "reboot", "crash")] == ["destroy", "restart", "destroy"]
    assert root.find("devices/console/target").get("type") == "serial"


def test_a_definition_without_uuid_and_mac_gets_them(make_domain):
    root = parsed(make_domain(devices="<interface type='bridge'><source bridge='br0'/></interface>"))
    assert len(root.findtext("uuid")) == 36
    assert root.find("devices/interface/mac").get("address").startswith("52:54:00:")


def test_defining_what_was_dumped_changes_nothing(make_domain, make_disk):
    devices = helpers.disk_xml(make_disk()) + helpers.interface_xml("br0") + "<rng model='virtio'>" \
        "<backend model='random'>/dev/urandom</backend></rng>"
    domain = make_domain(devices=devices, extra="<title>t &amp; t</title><cputune><shares>300</shares></cputune>")
    before = domain.xml("--inactive")
    domain.path.write_text(before)
    helpers.virsh("define", domain.path)
    assert domain.xml("--inactive") == before
    assert (CONFIG / f"{domain.name}.xml").read_text().find("<title>t &amp; t</title>") > 0


def test_live_and_inactive_xml_validate(make_domain, make_disk, bridge, tmp_path):
    devices = helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge) + \
        "<channel type='unix'><target type='virtio' name='org.example.0'/></channel>"
    domain = make_domain(devices=devices)
    domain.start("--paused")
    live, inactive = domain.xml(), domain.xml("--inactive")
    assert live != inactive
    assert validates(tmp_path, live)
    assert validates(tmp_path, inactive)


def test_live_xml_has_what_the_machine_has(make_domain, make_disk, bridge):
    domain = make_domain(devices=helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge))
    domain.start("--paused")
    live, inactive = parsed(domain), parsed(domain, "--inactive")
    assert live.get("id") == str(domain.id()) and inactive.get("id") is None
    tap = live.find("devices/interface/target").get("dev")
    assert tap in helpers.taps()
    assert live.find("devices/console").get("tty") == live.find("devices/console/source").get("path")
    aliases = {alias.get("name") for alias in live.iter("alias")}
    assert {"virtio-disk0", "net0", "serial0"} <= aliases
    assert inactive.find("devices/interface/target") is None
    assert inactive.find("devices/console").get("tty") is None
    assert not list(inactive.iter("alias"))
    assert live.findtext("uuid") == inactive.findtext("uuid")


def test_validate(make_domain):
    domain = make_domain(define=False)
    helpers.virsh("define", domain.path, "--validate")
    domain.virsh("undefine")
    rewrite(domain, "<vcpu>", "<nonsense/><vcpu>")
    text = helpers.virsh("define", domain.path, "--validate", check=False)
    assert "error: XML document failed to validate against schema" in text and "nonsense" in text
    assert not domain.exists()
    helpers.virsh("define", domain.path)
    assert parsed(domain).find("nonsense") is None


@pytest.mark.parametrize("machine", ["", " machine='micro'", " machine='micro-1'"])
def test_a_definition_has_a_machine_version(make_domain, machine):
    domain = make_domain(define=False)
    rewrite(domain, "<type arch='x86_64'>", f"<type arch='x86_64'{machine}>")
    helpers.virsh("define", domain.path)
    assert parsed(domain).find("os/type").get("machine") == "micro-1"


def test_an_unknown_machine_version_is_refused(make_domain):
    domain = make_domain(define=False)
    rewrite(domain, "<type", "<type machine='micro-99'")
    text = helpers.virsh("define", domain.path, check=False)
    assert "unsupported configuration: Emulator 'virtmicro-vmm' does not support machine type 'micro-99'" in text
    assert "there are micro (the newest), micro-1" in text
    assert not domain.exists()


def test_redefine(make_domain):
    domain = make_domain(uid="22222222-2222-3333-4444-555555555555")
    rewrite(domain, "<memory unit='MiB'>128<", "<memory unit='MiB'>256<")
    helpers.virsh("define", domain.path)
    assert parsed(domain).findtext("memory") == str(256 * 1024)
    assert parsed(domain).findtext("uuid") == "22222222-2222-3333-4444-555555555555"


def test_redefine_of_a_running_domain_waits_for_its_next_start(make_domain):
    domain = make_domain(uid="23232323-2222-3333-4444-555555555555")
    domain.start("--paused")
    rewrite(domain, "<memory unit='MiB'>128<", "<memory unit='MiB'>256<")
    helpers.virsh("define", domain.path)
    assert parsed(domain).findtext("memory") == str(128 * 1024)
    assert parsed(domain, "--inactive").findtext("memory") == str(256 * 1024)
    domain.virsh("destroy")
    assert parsed(domain).findtext("memory") == str(256 * 1024)


def test_name_and_uuid_are_taken_only_together(make_domain):
    domain = make_domain(uid="33333333-2222-3333-4444-555555555555")
    before = domain.xml()
    same_name = make_domain(domain.name, define=False, uid="33333333-0000-3333-4444-555555555555", memory=512)
    same_uuid = make_domain(define=False, uid="33333333-2222-3333-4444-555555555555", memory=512)
    no_uuid = make_domain(domain.name, define=False, memory=512)
    for command in ("define", "create"):
        text = helpers.virsh(command, same_uuid.path, check=False)
        assert f"domain '{domain.name}' is already defined with uuid 33333333-2222-3333-4444-555555555555" in text
        text = helpers.virsh(command, no_uuid.path, check=False)
        assert f"domain '{domain.name}' already exists with uuid 33333333-2222-3333-4444-555555555555" in text
        assert not same_uuid.exists()
    assert no_uuid.path == same_name.path
    assert domain.xml() == before and domain.state() == "shut off"


def test_same_name_with_another_uuid_is_refused(make_domain):
    domain = make_domain(uid="44444444-2222-3333-4444-555555555555")
    rewrite(domain, "44444444-2222", "55555555-2222")
    text = helpers.virsh("define", domain.path, check=False)
    assert f"operation failed: domain '{domain.name}' already exists with uuid 44444444-2222" in text
    assert domain.virsh("domuuid").strip() == "44444444-2222-3333-4444-555555555555"


def test_edit(make_domain):
    domain = make_domain()
    told = edit(domain, "sed -i s/131072/163840/g")
    assert f"Domain '{domain.name}' XML configuration edited." in told
    assert parsed(domain).findtext("memory") == "163840"
    assert f"Domain '{domain.name}' XML configuration not changed." in edit(domain, "true")


def test_edit_of_a_running_domain_changes_the_next_boot(make_domain):
    domain = make_domain()
    domain.start("--paused")
    edit(domain, "sed -i s/131072/163840/g")
    assert parsed(domain).findtext("memory") == "131072"
    assert parsed(domain, "--inactive").findtext("memory") == "163840"


def test_invalid_edit_changes_nothing(make_domain):
    domain = make_domain()
    before = domain.xml()
    assert "error:" in edit(domain, "sed -i s/hvm/xen/", check=False)
    assert domain.xml() == before


def test_autostart(make_domain):
    domain = make_domain()
    link = CONFIG / "autostart" / f"{domain.name}.xml"
    assert output.pairs(domain.virsh("dominfo"))["Autostart"] == "disable"
    assert output.told("autostart", domain.name) == f"Domain '{domain.name}' marked as autostarted\n\n"
    assert output.pairs(domain.virsh("dominfo"))["Autostart"] == "enable"
    assert link.resolve() == CONFIG / f"{domain.name}.xml"
    assert output.told("autostart", domain.name, "--disable") == f"Domain '{domain.name}' unmarked as autostarted\n\n"
    assert output.pairs(domain.virsh("dominfo"))["Autostart"] == "disable"
    assert not link.is_symlink()


@pytest.fixture(scope="module", params=["inactive", "paused"])
def tagged(request, make_module_domain):
    domain = make_module_domain()
    if request.param == "paused":
        domain.start("--paused")
    return domain


def test_metadata(tagged):
    ours = ("--uri", TAG)
    text = tagged.virsh("metadata", *ours, check=False)
    assert "error: metadata not found: Requested metadata element is not present" in text
    tagged.virsh("metadata", *ours, "--key", "tag", "--set", "<role team='a &amp; b'><rack>7</rack></role>")
    element = ElementTree.fromstring(tagged.virsh("metadata", *ours))
    assert (element.tag, element.get("team"), element.findtext("rack")) == ("role", "a & b", "7")
    metadata = parsed(tagged).find("metadata")
    assert [child.tag for child in metadata] == [f"{{{TAG}}}role"]
    tagged.virsh("metadata", *ours, "--remove")
    assert "Requested metadata element is not present" in tagged.virsh("metadata", *ours, check=False)
    assert parsed(tagged).find("metadata") is None


def test_metadata_keeps_other_elements(tagged):
    for number in (1, 2):
        tagged.virsh("metadata", "--uri", f"http://example.org/{number}", "--key", f"k{number}", "--set", f"<n>{number}</n>")
    tagged.virsh("metadata", "--uri", "http://example.org/1", "--key", "k1", "--set", "<n>one</n>")
    found = {child.tag: child.text for child in parsed(tagged).find("metadata")}
    assert found == {"{http://example.org/1}n": "one", "{http://example.org/2}n": "2"}
    for number in (1, 2):
        tagged.virsh("metadata", "--uri", f"http://example.org/{number}", "--remove")


def test_desc(tagged):
    assert output.told("desc", tagged.name) == f"No description for domain: {tagged.name}\n"
    tagged.virsh("desc", "web server, third rack & spare")
    assert tagged.virsh("desc").strip() == "web server, third rack & spare"
    assert parsed(tagged).findtext("description") == "web server, third rack & spare"
    tagged.virsh("desc", "--title", "Web 3")
    assert tagged.virsh("desc", "--title").strip() == "Web 3"
    assert ["Web", "3"] == [line.split()[-2:] for line in helpers.virsh("list", "--all", "--title").splitlines()
                            if tagged.name in line][0]
    tagged.virsh("desc", "")
    assert parsed(tagged).find("description") is None


def test_a_title_is_one_line(tagged):
    result = helpers.run("virsh", "-c", helpers.URI, "desc", tagged.name, "--title", "two\nlines", check=False)
    assert result.returncode == 1
    assert "metadata title can't contain newlines" in result.stderr


def test_desc_of_live_and_config(make_domain):
    domain = make_domain()
    domain.start("--paused")
    domain.virsh("desc", "--live", "now")
    domain.virsh("desc", "--config", "later")
    assert domain.virsh("desc", "--live").strip() == "now"
    assert domain.virsh("desc", "--config").strip() == "later"
    domain.virsh("destroy")
    assert domain.virsh("desc").strip() == "later"


# Hardware of PCs


LEGACY = ("<disk type='file' device='disk'><source file='/var/lib/libvirt/images/x.raw'/><target dev='hda' bus='ide'/></disk>"
          "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>"
          "<interface type='bridge'><source bridge='br0'/><mac address='52:54:00:01:02:03'/><model type='e1000'/></interface>"
          "<graphics type='vnc' port='-1'/><video><model type='vga'/></video><input type='tablet' bus='usb'/>")
NOTES = ["disk 'hda' on bus ide became virtio disk 'vda'", "cdrom 'hdc' left out: no medium",
         "interface 52:54:00:01:02:03 of model e1000 became virtio", "<graphics> left out", "<video> left out",
         "<input> left out"]


def test_legacy_devices_are_converted_and_noted(make_domain):
    domain = make_domain(devices=LEGACY)
    root = parsed(domain)
    assert [disk.find("target").attrib for disk in root.findall("devices/disk")] == [{"dev": "vda", "bus": "virtio"}]
    assert root.find("devices/interface/model").get("type") == "virtio"
    assert not [name for name in ("graphics", "video", "input") if root.find(f"devices/{name}") is not None]
    told = domain.virsh("dominfo")
    lines = told[told.index("Messages:"):].removeprefix("Messages:").splitlines()
    for note in NOTES:
        assert [line for line in lines if f"converted: {note}" in line], note
    assert len(lines) == len(NOTES)


def test_no_notes_without_a_conversion(make_domain):
    assert "Messages:" not in make_domain().virsh("dominfo")


def test_conversion_is_noted_while_the_domain_runs(make_domain):
    domain = make_domain(devices="<video><model type='vga'/></video>")
    domain.start("--paused")
    assert output.pairs(domain.virsh("dominfo"))["Messages"].startswith("converted: <video> left out")


def test_conversion_is_logged(make_domain, journal_start):
    domain = make_domain(devices="<video><model type='vga'/></video>")
    entries = helpers.wait_for(lambda: helpers.journal(journal_start, matches=[f"LIBVIRT_DOMAIN={domain.name}"]),
                               what="the journal reports the conversion")
    assert "<video> left out" in "\n".join(entry["MESSAGE"] for entry in entries)


# Transient domains


def persistent(domain):
    return output.pairs(domain.virsh("dominfo"))["Persistent"] == "yes"


@pytest.fixture
def transient(make_domain):
    domain = make_domain(define=False, uid="66666666-2222-3333-4444-555555555555")
    helpers.virsh("create", domain.path, "--paused")
    return domain


def test_transient_domain(transient):
    assert not persistent(transient)
    assert files_of(transient) == []
    text = transient.virsh("autostart", check=False)
    assert "Requested operation is not valid: cannot set autostart for transient domain" in text
    text = transient.virsh("undefine", check=False)
    assert "Requested operation is not valid: cannot undefine transient domain" in text
    for command in ("desc --config words", "schedinfo --config --set cpu_shares=200"):
        words = command.split()
        text = transient.virsh(words[0], *words[1:], check=False)
        assert "transient domains do not have any persistent config" in text, command
    transient.virsh("destroy")
    assert not transient.exists()


def test_defining_a_transient_domain_makes_it_persistent(transient):
    number = transient.id()
    helpers.virsh("define", transient.path)
    assert persistent(transient) and transient.id() == number and transient.state() == "paused"
    transient.virsh("destroy")
    assert transient.state() == "shut off"


def test_undefining_a_running_domain_makes_it_transient(make_domain):
    domain = make_domain()
    domain.start("--paused")
    domain.virsh("autostart")
    domain.virsh("undefine")
    assert not persistent(domain) and domain.state() == "paused"
    assert files_of(domain) == []
    assert output.pairs(domain.virsh("dominfo"))["Autostart"] == "disable"
    domain.virsh("destroy")
    assert not domain.exists()


def test_create_of_an_inactive_persistent_domain_starts_it_once_so(make_domain):
    domain = make_domain(uid="77777777-2222-3333-4444-555555555555")
    rewrite(domain, "<memory unit='MiB'>128<", "<memory unit='MiB'>160<")
    helpers.virsh("create", domain.path, "--paused")
    assert persistent(domain) and domain.state() == "paused"
    assert parsed(domain).findtext("memory") == str(160 * 1024)
    assert parsed(domain, "--inactive").findtext("memory") == str(128 * 1024)
    domain.virsh("destroy")
    assert parsed(domain).findtext("memory") == str(128 * 1024)


def test_create_of_a_running_domain_is_refused(transient):
    text = helpers.virsh("create", transient.path, check=False)
    assert f"Requested operation is not valid: domain '{transient.name}' is already active" in text
    assert transient.state() == "paused"


def test_create_validates(make_domain):
    domain = make_domain(define=False)
    rewrite(domain, "<vcpu>", "<nonsense/><vcpu>")
    text = helpers.virsh("create", domain.path, "--validate", "--paused", check=False)
    assert "XML document failed to validate against schema" in text
    assert not domain.exists()
