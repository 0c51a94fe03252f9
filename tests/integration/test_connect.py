"""The connection and the host: who may connect, and what virsh shows of the host."""
import os
import socket
import xml.etree.ElementTree as ElementTree

import pytest

import helpers
import output
from clients import connection, error_of

VERSION = "0.1.0"
KERNEL = helpers.HALTING


def as_nobody(*args, **kwargs):
    """virsh as a user whom no policy mentions."""
    return helpers.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME=/tmp", "virsh",
                       "-q", "-c", helpers.URI, *args, check=False, **kwargs)


def memory_of_host():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(output.pairs(file.read())["MemTotal"].split()[0])


def test_uri():
    assert helpers.virsh("uri").strip() == "micro:///system"


def test_another_uri_is_refused_with_advice():
    text = helpers.virsh("uri", uri="micro:///session?socket=/run/libvirt/virtmicrod-sock", check=False)
    assert "error: failed to connect to the hypervisor" in text
    assert "unexpected micro URI 'micro:///session', try micro:///system" in text


def test_version():
    told = output.pairs(output.told("version", "--daemon"))
    library = told["Using library"]
    assert library.startswith("libvirt ")
    assert told["Using API"] == library.replace("libvirt", "MICRO")
    assert told["Running hypervisor"] == f"MICRO {VERSION}"
    assert told["Running against daemon"] == library.removeprefix("libvirt ")


def test_hostname():
    assert helpers.virsh("hostname").strip() in (socket.gethostname(), socket.getfqdn())


def test_nodeinfo():
    told = output.pairs(helpers.virsh("nodeinfo"))
    assert told["CPU model"] == os.uname().machine
    assert int(told["CPU(s)"]) == os.cpu_count()
    assert told["Memory size"] == f"{memory_of_host()} KiB"
    layout = [int(told[name]) for name in ("NUMA cell(s)", "CPU socket(s)", "Core(s) per socket", "Thread(s) per core")]
    assert layout[0] * layout[1] * layout[2] * layout[3] == os.cpu_count()


def test_capabilities():
    capabilities = ElementTree.fromstring(helpers.virsh("capabilities"))
    assert capabilities.findtext("host/cpu/arch") == "x86_64"
    assert capabilities.findtext("guest/os_type") == "hvm"
    assert capabilities.find("guest/arch").get("name") == "x86_64"
    assert capabilities.findtext("guest/arch/wordsize") == "64"
    assert capabilities.find("guest/arch/domain").get("type") == "kvm"
    assert capabilities.findtext("guest/arch/emulator") == helpers.VMM


def test_domcapabilities():
    capabilities = ElementTree.fromstring(helpers.virsh("domcapabilities"))
    assert capabilities.findtext("path") == helpers.VMM
    assert capabilities.findtext("domain") == "kvm"
    assert capabilities.findtext("arch") == "x86_64"
    assert int(capabilities.find("vcpu").get("max")) >= os.cpu_count()
    buses = [value.text for value in capabilities.findall("devices/disk/enum[@name='bus']/value")]
    assert buses == ["virtio"]
    assert capabilities.find("os/loader").get("supported") == "no"


def test_machine_versions():
    """Installers take the first machine; `canonical` says what becomes of its name."""
    machines = ElementTree.fromstring(helpers.virsh("capabilities")).findall("guest/arch/machine")
    assert machines[0].text == "micro"
    assert machines[0].get("canonical") == machines[-1].text == "micro-1"
    for name in ("micro", "micro-1"):
        told = ElementTree.fromstring(helpers.virsh("domcapabilities", "--machine", name))
        assert told.findtext("machine") == "micro-1"


def test_domcapabilities_with_all_options():
    told = helpers.virsh("domcapabilities", "--virttype", "kvm", "--arch", "x86_64", "--machine", "micro-1",
                         "--emulatorbin", helpers.VMM)
    assert told == helpers.virsh("domcapabilities")


@pytest.mark.parametrize("option, value, message", [
    ("--virttype", "bogus", "unknown virttype: bogus"),
    ("--arch", "bogus", "unknown architecture: bogus"),
    ("--arch", "aarch64", "aarch64"),
    ("--machine", "bogus", "bogus"),
    ("--machine", "micro-99", "there are micro (the newest), micro-1"),
])
def test_domcapabilities_of_unknown_values(option, value, message):
    text = helpers.virsh("domcapabilities", option, value, check=False)
    assert "error: failed to get emulator capabilities" in text
    assert f"invalid argument: {message}" in text or message in text.rpartition("invalid argument")[2]


def test_maxvcpus():
    capabilities = ElementTree.fromstring(helpers.virsh("domcapabilities"))
    assert helpers.virsh("maxvcpus").strip() == capabilities.find("vcpu").get("max")


def test_alive_and_secure():
    with connection() as conn:
        assert (conn.isAlive(), conn.isSecure(), conn.isEncrypted()) == (1, 1, 0)
        assert conn.getURI() == helpers.URI
        assert conn.getType() == "MICRO"


def test_list(make_domain):
    idle, paused = make_domain(), make_domain()
    paused.start("--paused")
    everything = output.told("list", "--all")
    assert everything.splitlines()[0].split() == ["Id", "Name", "State"]
    rows = output.table(everything)
    assert ["-", idle.name, "shut off"] in rows
    assert [str(paused.id()), paused.name, "paused"] in rows
    active = output.table(output.told("list"))
    assert idle.name not in [row[1] for row in active]
    assert paused.name in [row[1] for row in active]


def test_list_sorts_by_id_then_name(make_domain):
    names = [make_domain(name=f"sort{letter}{os.getpid()}").name for letter in "cab"]
    listed = [name for name in helpers.virsh("list", "--all", "--name").split() if name in names]
    assert listed == sorted(names)


def test_list_title(make_domain):
    domain = make_domain(extra="<title>A title of some words</title>")
    rows = output.table(output.told("list", "--all", "--title"))
    assert ["-", domain.name, "shut off", "A title of some words"] in rows


def test_list_filters(make_domain):
    idle, running = make_domain(), make_domain()
    transient = make_domain(define=False)
    helpers.virsh("create", transient.path, "--paused")
    running.start()
    idle.virsh("autostart")

    def listed(*options):
        found = set(helpers.virsh("list", "--name", *options).split())
        return [domain.name in found for domain in (idle, running, transient)]

    assert listed() == [False, True, True]
    assert listed("--inactive") == [True, False, False]
    assert listed("--all", "--persistent") == [True, True, False]
    assert listed("--all", "--transient") == [False, False, True]
    assert listed("--all", "--autostart") == [True, False, False]
    assert listed("--all", "--no-autostart") == [False, True, True]
    assert listed("--state-running") == [False, True, False]
    assert listed("--state-paused") == [False, False, True]
    assert listed("--all", "--state-shutoff") == [True, False, False]
    assert listed("--all", "--with-managed-save") == [False, False, False]
    assert listed("--all", "--with-snapshot") == [False, False, False]


def test_list_uuid(make_domain):
    domain = make_domain(uid="01234567-89ab-cdef-0123-456789abcdef")
    assert "01234567-89ab-cdef-0123-456789abcdef" in helpers.virsh("list", "--all", "--uuid").split()
    assert domain.virsh("domuuid").strip() == "01234567-89ab-cdef-0123-456789abcdef"


READS = ["list --all", "nodeinfo", "hostname", "capabilities", "version", "dominfo {}", "domstate {}", "dumpxml {}",
         "domstats {}", "vcpucount {}", "schedinfo {}", "memtune {}", "net-list --all"]
WRITES = {
    "define {path}": "virDomainDefineXML",
    "create {path}": "virDomainCreateXML",
    "start {name}": "virDomainCreate",
    "undefine {name}": "virDomainUndefineFlags",
    "autostart {name}": "virDomainSetAutostart",
    "destroy {name}": "virDomainDestroy",
    "suspend {name}": "virDomainSuspend",
    "resume {name}": "virDomainResume",
    "shutdown {name}": "virDomainShutdown",
    "reboot {name}": "virDomainReboot",
    "reset {name}": "virDomainReset",
    "vcpupin {name} 0 0": "virDomainPinVcpu",
    "schedinfo {name} --set cpu_shares=200": "virDomainSetSchedulerParameters",
    "memtune {name} --hard-limit 1000000": "virDomainSetMemoryParameters",
    "desc {name} words": "virDomainSetMetadata",
    "domcapabilities": "virConnectGetDomainCapabilities",
}


@pytest.fixture(scope="module")
def paused(make_module_domain):
    domain = make_module_domain()
    domain.start("--paused")
    return domain


@pytest.mark.parametrize("command", READS)
def test_readonly_reads(paused, command):
    assert helpers.virsh(*command.format(paused.name).split(), readonly=True).strip()


@pytest.mark.parametrize("command", WRITES)
def test_readonly_denies(paused, make_domain, command):
    """`start` is tried on an inactive domain, or virsh would not call the daemon."""
    domain = make_domain() if command.startswith("start") else paused
    state = domain.state()
    text = helpers.virsh(*command.format(name=domain.name, path=domain.path).split(), readonly=True, check=False)
    assert f"error: operation forbidden: read only access prevents {WRITES[command]}" in text
    assert domain.state() == state


def test_readonly_code(paused):
    with connection(readonly=True) as conn:
        domain = conn.lookupByName(paused.name)
        for call in (domain.destroy, lambda: domain.XMLDesc(1), lambda: domain.openConsole(None, conn.newStream())):
            assert error_of(call)[0] == 29
        assert domain.XMLDesc()
        assert domain.isActive() == 1


def test_nobody_may_read(paused):
    told = as_nobody("-r", "domstate", paused.name)
    assert (told.returncode, told.stdout.strip()) == (0, "paused")


def test_nobody_may_not_manage(paused):
    told = as_nobody("domstate", paused.name)
    assert told.returncode == 1
    assert ("error: authentication unavailable: no polkit agent available to authenticate action "
            "'org.libvirt.unix.manage'") in told.stderr


@pytest.fixture
def nobody_in_group():
    helpers.run("gpasswd", "-a", "nobody", "libvirt")
    yield
    helpers.run("gpasswd", "-d", "nobody", "libvirt")


def test_group_libvirt_may_manage(nobody_in_group, paused):
    told = as_nobody("domstate", paused.name)
    assert (told.returncode, told.stdout.strip()) == (0, "paused")
