"""org.virtmicro1 on the system bus: what it shows of domains, and whom it obeys."""
import contextlib
import json
import pathlib
import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

import helpers

NAME = "org.virtmicro1"
ROOT = "/org/virtmicro1"
MANAGER = "org.virtmicro1.Manager"
DOMAIN = "org.virtmicro1.Domain"
INTERACTIVE = "needs interactive authentication"
RULES = pathlib.Path("/etc/polkit-1/rules.d/10-virtmicro-test.rules")
KERNEL = helpers.HALTING


def busctl(*args, user=None, check=True):
    """What busctl prints, parsed; with check=False its result."""
    become = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"] if user else []
    result = helpers.run(*become, "busctl", "--json=short", *args, check=check)
    return json.loads(result.stdout or "{}") if check else result


def manage(method, *args, **kwargs):
    return busctl("call", NAME, ROOT, MANAGER, method, *args, **kwargs)


def path_of(domain):
    return manage("GetDomainByName", "s", domain.name)["data"][0]


def act(domain, method, *args, **kwargs):
    return busctl("call", NAME, path_of(domain), DOMAIN, method, *args, **kwargs)


def get(domain, name):
    return busctl("get-property", NAME, path_of(domain), DOMAIN, name)["data"]


def objects():
    tree = helpers.run("busctl", "tree", "--list", NAME).stdout.split()
    return {path for path in tree if path.startswith(f"{ROOT}/domain/")}


LISTENING = 3  # seconds until a client on a busy processor has registered, and until it has printed


@contextlib.contextmanager
def watching(command):
    """Yields a function that ends the command and returns the lines it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def lines():
        time.sleep(LISTENING)
        process.terminate()
        return process.communicate()[0].splitlines()

    time.sleep(LISTENING)
    try:
        yield lines
    finally:
        process.kill()
        process.wait()


def bus_signals():
    return watching(["busctl", "monitor", "--json=short", f"--match=type='signal',path_namespace='{ROOT}'"])


def parsed(lines):
    """(member, arguments) of each signal."""
    return [(message["member"], message["payload"]["data"]) for message in map(json.loads, lines)
            if message.get("type") == "signal" and message.get("member")]


def members(element):
    return sorted((member.tag, member.get("name"), [(arg.get("type"), arg.get("direction") or "out")
                                                    for arg in member.iter("arg")])
                  for member in element if member.tag in ("method", "signal", "property"))


def test_introspection_is_what_is_installed(make_domain):
    domain = make_domain()
    installed = ElementTree.parse("/usr/share/dbus-1/interfaces/org.virtmicro1.xml")
    for path, interface in (ROOT, MANAGER), (path_of(domain), DOMAIN):
        shown = ElementTree.fromstring(helpers.run("busctl", "introspect", "--xml-interface", NAME, path).stdout)
        query = f"interface[@name='{interface}']"
        assert members(shown.find(query)) == members(installed.find(query))


def test_objects_follow_domains(make_domain):
    before = objects()
    domain = make_domain()
    path = path_of(domain)
    uid = domain.virsh("domuuid").strip()
    assert path == f"{ROOT}/domain/{uid.replace('-', '_')}"
    assert objects() == before | {path}
    assert manage("GetDomainByUUID", "s", uid)["data"] == [path]
    assert path in manage("ListDomains", "u", 0)["data"][0]
    assert path not in manage("ListDomains", "u", 1)["data"][0]
    domain.virsh("undefine")
    assert objects() == before
    told = manage("GetDomainByName", "s", domain.name, check=False)
    assert "Domain not found" in told.stderr


def test_managed_objects(make_domain):
    domain = make_domain()
    reply = busctl("call", NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    shown = reply["data"][0][path_of(domain)][DOMAIN]
    assert shown["Name"]["data"] == domain.name
    assert shown["MaxMemory"]["data"] == 128 << 20
    assert shown["State"]["data"] == "shut off"


def test_a_life(no_leaks, make_domain):
    domain = make_domain()
    act(domain, "Start", "u", 0)
    assert domain.state() == "running"
    assert get(domain, "Id") == domain.id()
    assert get(domain, "Scope") == helpers.scope_of(domain)
    assert (get(domain, "State"), get(domain, "Reason")) == ("running", "booted")
    assert manage("GetDomainByID", "i", domain.id())["data"] == [path_of(domain)]
    act(domain, "Suspend")
    assert (get(domain, "State"), get(domain, "Reason")) == ("paused", "user")
    assert domain.state() == "paused"
    act(domain, "Resume")
    assert (get(domain, "State"), get(domain, "Reason")) == ("running", "unpaused")
    act(domain, "Destroy", "u", 0)
    assert (get(domain, "State"), get(domain, "Reason")) == ("shut off", "destroyed")
    assert (get(domain, "Id"), get(domain, "Scope")) == (-1, "")
    told = act(domain, "Destroy", "u", 0, check=False)
    assert "Requested operation is not valid: domain is not running" in told.stderr


def test_shutdown(make_domain):
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    with domain.boot():
        act(domain, "Shutdown", "u", 0)
        helpers.wait_for(lambda: get(domain, "State") == "shut off", helpers.BOOT, what="the guest has powered off")
    assert get(domain, "Reason") == "shutdown"


def test_events_are_those_of_virsh(make_domain):
    domain = make_domain()
    with bus_signals() as signals, watching(["virsh", "-c", helpers.URI, "event", "--all", "--loop"]) as events:
        domain.start()
        domain.virsh("suspend")
        domain.virsh("resume")
        domain.virsh("destroy")
        domain.virsh("undefine")
        told = re.findall(rf"event 'lifecycle' for domain '{domain.name}': (\S+) (.+)", "\n".join(events()))
        seen = parsed(signals())
    assert [tuple(data[2:]) for member, data in seen if member == "DomainEvent" and data[1] == domain.name] == told
    assert ("Started", "Booted") in told and ("Undefined", "Removed") in told
    assert [tuple(data) for member, data in seen if member == "Lifecycle"] == told


def test_a_panic_is_reported(no_leaks, make_domain):
    """By default (on_crash=destroy) the domain ends when the guest panics."""
    domain = make_domain(kernel=helpers.Kernel("6.12"), cmdline=f"{helpers.CMDLINE} vm.run=panic")
    with bus_signals() as signals:
        domain.start()
        domain.wait_state("shut off", helpers.BOOT)
        told = [tuple(data[2:]) for member, data in parsed(signals()) if member == "DomainEvent" and data[1] == domain.name]
    assert told == [("Resumed", "Unpaused"), ("Started", "Booted"), ("Crashed", "Panicked"), ("Stopped", "Crashed")]
    assert get(domain, "Reason") == "crashed"


def test_rename(make_domain):
    """The object stays, since its path is the UUID; events give the old name first, then the new one."""
    domain = make_domain()
    old, path = domain.name, path_of(domain)
    domain.name = f"{old}-renamed"
    with bus_signals() as signals, watching(["virsh", "-c", helpers.URI, "event", "--all", "--loop"]) as events:
        helpers.virsh("domrename", old, domain.name)
        told = re.findall(r"event 'lifecycle' for domain '(\S+)': (\S+) (.+)", "\n".join(events()))
        seen = parsed(signals())
    expected = [(old, "Undefined", "Renamed"), (domain.name, "Defined", "Renamed")]
    assert [event for event in told if event[0].startswith(old)] == expected
    assert [tuple(data) for member, data in seen if member == "DomainEvent" and data[0] == path] == [
        (path, *event) for event in expected]
    changes = [data[1] for member, data in seen if member == "PropertiesChanged" and data[0] == DOMAIN]
    assert {"Name": domain.name} in [{key: value["data"] for key, value in change.items()} for change in changes]
    assert path_of(domain) == path and get(domain, "Name") == domain.name
    assert "Domain not found" in manage("GetDomainByName", "s", old, check=False).stderr


def test_changes_are_announced_before_the_event(make_domain):
    domain = make_domain()
    with bus_signals() as signals:
        domain.start()
        seen = parsed(signals())
    order = [member for member, _ in seen]
    changes = [data[1] for member, data in seen if member == "PropertiesChanged" and data[0] == DOMAIN]
    assert changes[0]["State"]["data"] == "running"
    assert changes[0]["Scope"]["data"] == helpers.scope_of(domain)
    assert order.index("PropertiesChanged") < order.index("Lifecycle")
    counts = [data[1] for member, data in seen if member == "PropertiesChanged" and data[0] == MANAGER]
    assert any("ActiveDomainCount" in change for change in counts)


def test_transient_domain(no_leaks, make_domain):
    before = objects()
    domain = make_domain(define=False)
    with bus_signals() as signals:
        helpers.virsh("create", domain.path)
        path = path_of(domain)
        assert get(domain, "Persistent") is False
        domain.virsh("destroy")
        helpers.wait_for(lambda: objects() == before, what="its object is gone")
        seen = parsed(signals())
    assert ("DomainAdded", [path, domain.name]) in seen
    assert ("DomainRemoved", [path, domain.name]) in seen


def test_properties_are_live(make_domain):
    domain = make_domain()
    domain.virsh("autostart")
    assert get(domain, "Autostart") is True
    domain.virsh("desc", "--config", "--title", "--new-desc", "a title")
    assert get(domain, "Title") == "a title"


def test_xml(make_domain):
    domain = make_domain()
    assert act(domain, "GetXML", "u", 0)["data"][0].strip() == domain.xml().strip()


def test_errors_are_those_of_virsh(make_domain):
    domain = make_domain(kernel=helpers.Kernel("6.12", "no-such-kernel"))
    told = act(domain, "Start", "u", 0, check=False)
    assert "no-such-kernel" in told.stderr
    assert "error: " + told.stderr.partition(": ")[2].strip() in domain.virsh("start", check=False)


# Whom it obeys


def test_nobody_may_read_but_not_change(make_domain):
    domain = make_domain()
    assert busctl("get-property", NAME, path_of(domain), DOMAIN, "State", user="nobody")["data"] == "shut off"
    assert act(domain, "GetXML", "u", 0, user="nobody")["data"]
    for call in ("Start", "u", 0), ("Destroy", "u", 0), ("Suspend",), ("GetXML", "u", 1):
        told = act(domain, *call, user="nobody", check=False)
        assert told.returncode != 0 and INTERACTIVE in told.stderr
    assert domain.state() == "shut off"


def test_nobody_may_not_take_the_name():
    told = busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                  NAME, 2, user="nobody", check=False)
    assert "Access denied" in told.stderr


@pytest.fixture
def nobody_in_group():
    helpers.run("gpasswd", "-a", "nobody", "libvirt")
    yield
    helpers.run("gpasswd", "-d", "nobody", "libvirt")


def test_group_libvirt_may_manage(nobody_in_group, make_domain):
    domain = make_domain()
    act(domain, "Start", "u", 1, user="nobody")
    assert domain.state() == "paused"
    act(domain, "Destroy", "u", 0, user="nobody")


@pytest.fixture
def rule_for(request):
    def write(domain):
        RULES.write_text("polkit.addRule(function (action, subject) {\n"
                         f"    if (action.id == 'org.virtmicro1.manage' && action.lookup('domain') == '{domain.name}')\n"
                         "        return subject.user == 'nobody' ? polkit.Result.YES : polkit.Result.NO;\n"
                         "});\n")

    yield write
    RULES.unlink(missing_ok=True)


def test_rules_see_the_domain(rule_for, make_domain):
    mine, other = make_domain(), make_domain()
    rule_for(mine)
    helpers.wait_for(lambda: act(mine, "Start", "u", 1, user="nobody", check=False).returncode == 0,
                     what="polkit has read the rule")
    assert mine.state() == "paused"
    assert INTERACTIVE in act(other, "Start", "u", 0, user="nobody", check=False).stderr


def test_a_call_starts_the_daemon():
    helpers.run("systemctl", "stop", "virtmicrod.service")
    assert re.match(r"\d+\.\d+\.\d+$", busctl("get-property", NAME, ROOT, MANAGER, "Version")["data"])
    assert helpers.unit_property("virtmicrod.service", "ActiveState") == "active"


def test_objects_return_after_a_restart(make_domain):
    domain = make_domain()
    domain.start()
    number = domain.id()
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert (get(domain, "State"), get(domain, "Id")) == ("running", number)
