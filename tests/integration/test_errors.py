"""Refusals: the code that clients branch on, the text that a user reads, and that nothing changed."""
import os
import pathlib

import pytest

import helpers
from clients import connection, error_of

CONFIG = pathlib.Path("/etc/libvirt/micro")
IMAGES = pathlib.Path("/var/lib/libvirt/images")
KERNEL = helpers.Kernel("6.12", "vmlinuz-6.12")

INTERNAL, NO_SUPPORT, INVALID_ARG, FAILED, NO_TARGET, NO_NAME, XML_ERROR, XML_DETAIL, SYSTEM, NO_DOMAIN, INVALID, \
    UNSUPPORTED, NO_METADATA, SCHEMA = 1, 3, 8, 9, 20, 21, 27, 35, 38, 42, 55, 67, 80, 92


@pytest.fixture(scope="module")
def conn():
    with connection() as opened:
        yield opened


def everything():
    """Everything that the daemon knows and stores, and everything that domains occupy."""
    definitions = {str(path): path.read_bytes() for path in CONFIG.rglob("*") if path.is_file()}
    return helpers.virsh("list", "--all", "--uuid", "--name"), definitions, helpers.resources()


@pytest.fixture
def unchanged():
    before = everything()
    yield
    helpers.wait_for(lambda: everything() == before, timeout=10, what="everything is as before")


def xml_of(domain_name, **arguments):
    arguments.setdefault("kernel", KERNEL)
    return helpers.domain_xml(domain_name, **arguments)


GOOD = xml_of("bad")
BAD_XML = {
    "not xml": ("no xml at all", XML_DETAIL, "(domain_definition):1: "),
    "not well-formed": (GOOD.replace("</os>", ""), XML_DETAIL, "(domain_definition):1: "),
    "empty": ("", XML_DETAIL, "domain_definition"),
    "another root": ("<network><name>n</name></network>", XML_ERROR,
                     "expecting root element of 'domain', not 'network'"),
    "no name": (GOOD.replace("<name>bad</name>", ""), NO_NAME, "missing name information"),
    "empty name": (GOOD.replace("<name>bad</name>", "<name></name>"), NO_NAME, "missing name information"),
    "slash in name": (GOOD.replace("<name>bad<", "<name>a/b<"), XML_ERROR, "name a/b cannot contain '/'"),
    "newline in name": (GOOD.replace("<name>bad<", "<name>a\nb<"), XML_DETAIL, "invalid char in name: \n"),
    "dots as name": (GOOD.replace("<name>bad<", "<name>..<"), XML_ERROR, "name cannot be '..'"),
    "name is too long": (GOOD.replace("<name>bad<", f"<name>{'n' * 300}<"), XML_ERROR, "name is longer than"),
    "no memory": (GOOD.replace("<memory unit='MiB'>128</memory>", ""), XML_ERROR, "Memory size must be specified"),
    "memory is a word": (GOOD.replace(">128<", ">much<"), XML_ERROR, "memory"),
    "memory is negative": (GOOD.replace(">128<", ">-128<"), XML_ERROR, "memory"),
    "memory in parsecs": (GOOD.replace("'MiB'", "'parsec'"), INVALID_ARG, "unknown suffix 'parsec'"),
    "memory overflows": (GOOD.replace(">128<", ">99999999999999999999<"), XML_ERROR, "memory"),
    "uuid is none": (GOOD.replace("<memory", "<uuid>no-uuid</uuid><memory", 1), INTERNAL, "malformed uuid element"),
    "no vcpu": (GOOD.replace("<vcpu>1<", "<vcpu>0<"), INTERNAL, "at least one vCPU"),
    "vcpu is a word": (GOOD.replace("<vcpu>1<", "<vcpu>some<"), XML_ERROR, "vcpu"),
    "too many vcpus": (GOOD.replace("<vcpu>1<", "<vcpu>100000<"), UNSUPPORTED, "100000 vCPUs are more than the limit of"),
    "unknown domain type": (GOOD.replace("type='kvm'", "type='foo'"), UNSUPPORTED, "invalid domain type foo"),
    "another domain type": (GOOD.replace("type='kvm'", "type='xen'"), UNSUPPORTED, "xen"),
    "unknown os type": (GOOD.replace(">hvm<", ">exe<"), UNSUPPORTED, "exe"),
    "unknown architecture": (GOOD.replace("'x86_64'", "'pdp11'"), UNSUPPORTED, "pdp11"),
    "unknown bus": (xml_of("bad", devices=helpers.disk_xml("/x").replace("bus='virtio'", "bus='bogus'")), XML_ERROR,
                    "Invalid value for attribute 'bus' in element 'target': 'bogus'"),
    "disk without target": (xml_of("bad", devices="<disk type='file'><source file='/x'/></disk>"), NO_TARGET,
                            "missing target information"),
    "twice the same target": (xml_of("bad", devices=helpers.disk_xml("/x") + helpers.disk_xml("/y")), XML_ERROR,
                              "target 'vda' duplicated for disk sources '/x' and '/y'"),
    "bad mac": (xml_of("bad", devices=helpers.interface_xml("br0", mac="52:54:00:xx")), XML_ERROR, "52:54:00:xx"),
    "multicast mac": (xml_of("bad", devices=helpers.interface_xml("br0", mac="01:00:5e:00:00:01")), XML_ERROR,
                      "expected unicast mac address, found multicast '01:00:5e:00:00:01'"),
    "passed-through hardware": (xml_of("bad", devices="<hostdev mode='subsystem' type='pci'/>"), UNSUPPORTED, "hostdev"),
    "shares out of range": (xml_of("bad", extra="<cputune><shares>1</shares></cputune>"), UNSUPPORTED,
                            "Value of cputune 'shares' must be in range [2, 262144]"),
    "an entity": ("<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/shadow'>]>" + GOOD.replace(">bad<", ">&e;<"), XML_ERROR,
                  "a document type declaration is not allowed"),
}


@pytest.mark.parametrize("case", BAD_XML)
def test_bad_xml(conn, unchanged, case):
    xml, expected, message = BAD_XML[case]
    for call in (conn.defineXML, conn.createXML):
        code, text = error_of(call, xml)
        assert (code, message in text) == (expected, True), f"{case}: {code} {text}"


def test_virsh_shows_where_the_xml_is_wrong(unchanged, tmp_path):
    path = tmp_path / "bad.xml"
    path.write_text(GOOD.replace("<os>", "\n<os>").replace("</os>", ""))
    text = helpers.virsh("define", path, check=False)
    assert f"error: Failed to define domain from {path}" in text
    assert "error: (domain_definition):2: Opening and ending tag mismatch" in text


def test_missing_file_is_reported_by_virsh(unchanged):
    assert "Failed to open file '/no/such/file'" in helpers.virsh("define", "/no/such/file", check=False)


# What can be defined but not started


@pytest.fixture(scope="module")
def rubbish():
    """Files that are not kernels, and a truncated one."""
    paths = {"text": IMAGES / "rubbish.txt", "short": IMAGES / "short-kernel", "zeros": IMAGES / "zeros"}
    paths["text"].write_text("This is no kernel.\n" * 1000)
    paths["short"].write_bytes(KERNEL.kernel.read_bytes()[:3000])
    paths["zeros"].write_bytes(bytes(1 << 20))
    yield paths
    for path in paths.values():
        path.unlink()


def kernel_at(path):
    kernel = helpers.Kernel("6.12")
    kernel.kernel = path
    return kernel


UNSTARTABLE = {
    "no kernel": (dict(kernel=kernel_at("/no/such/kernel")), SYSTEM, "Cannot access kernel '/no/such/kernel': No such file"),
    "kernel is a directory": (dict(kernel=kernel_at("/etc")), UNSUPPORTED, "kernel '/etc' is not a regular file"),
    "kernel is a device": (dict(kernel=kernel_at("/dev/zero")), UNSUPPORTED, "kernel '/dev/zero' is not a regular file"),
    "kernel is text": (dict(kernel=kernel_at(IMAGES / "rubbish.txt")), FAILED, "neither a bzImage nor an ELF file"),
    "kernel is short": (dict(kernel=kernel_at(IMAGES / "short-kernel")), FAILED, "it is truncated"),
    "kernel is empty": (dict(kernel=kernel_at(IMAGES / "zeros")), FAILED, "neither a bzImage nor an ELF file"),
    "no disk": (dict(devices=helpers.disk_xml("/no/such/disk")), SYSTEM,
                "Cannot access storage file '/no/such/disk': No such file"),
    "disk is a directory": (dict(devices=helpers.disk_xml("/etc")), SYSTEM, "Cannot access storage file '/etc'"),
    "disk is a pipe": (dict(devices=helpers.disk_xml("/dev/null")), UNSUPPORTED, "'/dev/null'"),
    "no bridge": (dict(devices=helpers.interface_xml("no-such-br")), SYSTEM, "no-such-br"),
    "no network": (dict(devices=helpers.interface_xml(network="no-such-net")), 43, "no-such-net"),
    "more memory than there is": (dict(memory=1 << 20), FAILED, "the domain's memory is 1073741824 KiB but the host has"),
    "partition without slash": (dict(extra="<resource><partition>m</partition></resource>"), UNSUPPORTED, "'m'"),
    "missing rng": (dict(devices="<rng model='virtio'><backend model='random'>/dev/no-such</backend></rng>"), None,
                    "/dev/no-such"),
}


@pytest.mark.parametrize("case", UNSTARTABLE)
def test_start_of_what_cannot_start(conn, rubbish, make_domain, case):
    arguments, expected, message = UNSTARTABLE[case]
    domain = make_domain(**arguments)
    helpers.virsh("list")
    before, xml = everything(), domain.xml()
    for call in (conn.lookupByName(domain.name).create, lambda: conn.createXML(domain.xml())):
        code, text = error_of(call)
        assert message in text, f"{case}: {code} {text}"
        assert code == (expected or code) and code != 0, f"{case}: {code} {text}"
    assert domain.state() == "shut off" and domain.xml() == xml
    helpers.wait_for(lambda: everything() == before, timeout=10, what="everything is as before")


def test_create_of_what_cannot_start_leaves_no_domain(conn, unchanged):
    code, text = error_of(conn.createXML, xml_of("bad", devices=helpers.disk_xml("/no/such/disk")))
    assert (code, "/no/such/disk" in text) == (SYSTEM, True)
    assert error_of(conn.lookupByName, "bad")[0] == NO_DOMAIN


def test_initrd_that_does_not_fit(make_domain, no_leaks):
    big = IMAGES / "big-initrd"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    try:
        kernel = helpers.Kernel("6.12")
        kernel.initrd = big
        text = make_domain(kernel=kernel, memory=128).virsh("start", check=False)
        assert "error: Failed to start domain" in text and "initrd" in text and "memory" in text
    finally:
        big.unlink()


def test_disk_of_another_running_domain_is_busy(make_domain, make_disk):
    disk = make_disk()
    first, second = (make_domain(devices=helpers.disk_xml(disk)) for _ in range(2))
    first.start("--paused")
    text = second.virsh("start", check=False)
    assert f"disk 'vda': '{disk}' is in use by another process" in text
    assert (first.state(), second.state()) == ("paused", "shut off")


# Codes of other refusals


@pytest.fixture(scope="module")
def pair(make_module_domain):
    """An inactive and a paused transient domain."""
    idle = make_module_domain(devices=helpers.disk_xml("/no/such/disk"))
    live = make_module_domain(define=False)
    helpers.virsh("create", live.path, "--paused")
    return idle, live


def test_codes(conn, pair):
    idle, live = (conn.lookupByName(domain.name) for domain in pair)
    for call, args, expected, message in [
            (idle.suspend, (), INVALID, "domain is not running"),
            (idle.memoryStats, (), INVALID, "domain is not running"),
            (idle.vcpus, (), INVALID, "cannot retrieve vcpu information for inactive domain"),
            (idle.blockStats, ("vda",), INVALID, "domain is not running"),
            (idle.interfaceAddresses, (0,), INVALID, "domain is not running"),
            (idle.schedulerParametersFlags, (1,), INVALID, "domain is not running"),
            (idle.blockInfo, ("vda",), SYSTEM, "Cannot access storage file '/no/such/disk'"),
            (idle.blockInfo, ("vdx",), INVALID_ARG, "invalid path 'vdx' not assigned to domain"),
            (idle.metadata, (2, "http://none"), NO_METADATA, "Requested metadata element is not present"),
            (idle.metadata, (9, None), INVALID_ARG, ""),
            (idle.snapshotLookupByName, ("s1",), 72, "no domain snapshot with matching name 's1'"),
            (idle.setVcpusFlags, (1000, 2), INVALID_ARG, "greater than max allowable vcpus"),
            (live.create, (), INVALID, "domain is already running"),
            (live.setAutostart, (1,), INVALID, "cannot set autostart for transient domain"),
            (live.undefine, (), INVALID, "cannot undefine transient domain"),
            (live.schedulerParametersFlags, (2,), INVALID, "transient domains do not have any persistent config"),
            (live.setSchedulerParameters, ({"cpu_shares": 1},), INVALID_ARG, "out of range"),
            (live.interfaceStats, ("vnetz",), INVALID_ARG, "'vnetz' is not a known interface"),
            (live.interfaceAddresses, (1,), 74, "guest agent is not configured"),
            (live.pinVcpu, (7, (True,)), INVALID_ARG, "vcpu 7 is out of range"),
            (live.rename, ("other",), INVALID, "cannot rename active domain"),
    ]:
        code, text = error_of(call, *args)
        assert (code, message in text) == (expected, True), f"{call}: {code} {text}"


def test_rename(conn, make_domain):
    domain, other = make_domain(), make_domain()
    handle = conn.lookupByName(domain.name)
    assert error_of(handle.rename, other.name) == (
        INVALID, f"Requested operation is not valid: domain with name '{other.name}' already exists")
    assert error_of(handle.rename, "a/b")[0] == XML_ERROR
    old = domain.name
    domain.name = f"{old}new"
    helpers.virsh("domrename", old, domain.name)
    assert domain.state() == "shut off" and not helpers.Domain(old).exists()
    assert (CONFIG / f"{domain.name}.xml").exists() and not (CONFIG / f"{old}.xml").exists()


@pytest.mark.parametrize("command", ["save {} /tmp/x", "managedsave {}", "snapshot-create {}", "migrate {} qemu:///system",
                                     "dump {} /tmp/x", "blkdeviotune {} vda", "screenshot {}",
                                     "iothreadinfo {}", "qemu-monitor-command {} query-status"])
def test_what_microvms_cannot_do_is_not_supported(pair, command):
    _, live = pair
    text = helpers.virsh(*command.format(live.name).split(), check=False)
    assert "error: this function is not supported by the connection driver: vir" in text
    assert live.state() == "paused"


def test_secrets_of_the_host_do_not_leak_into_errors(conn, unchanged):
    code, text = error_of(conn.defineXML, BAD_XML["an entity"][0])
    assert code != 0 and "root:" not in text


def test_permissions_of_what_the_daemon_keeps(make_domain):
    domain = make_domain()
    domain.start("--paused")
    for directory in (CONFIG, helpers.STATE):
        for path in [directory, *directory.rglob("*")]:
            status = path.lstat()
            assert path.is_symlink() or status.st_mode & 0o007 == 0, f"{path}: {status.st_mode:o}"
            assert status.st_uid == os.getuid(), path
