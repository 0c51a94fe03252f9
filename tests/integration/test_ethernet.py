"""<interface type='ethernet'>: a TAP in no bridge, created for the domain or by an operator."""
import pytest

import helpers

MAC = "52:54:00:66:00:02"
KERNEL = helpers.HALTING


def ethernet_xml(target=None, managed=None, mac=None, extra=""):
    attributes = "".join(f" {key}='{value}'" for key, value in (("dev", target), ("managed", managed)) if value)
    return (f"<interface type='ethernet'><target{attributes}/><model type='virtio'/>"
            + (f"<mac address='{mac}'/>" if mac else "") + extra + "</interface>")


@pytest.fixture
def tap():
    """A TAP that an operator created, configured and brought up."""
    name = "op-tap0"
    helpers.run("ip", "tuntap", "add", name, "mode", "tap")
    helpers.run("ip", "address", "add", "192.168.66.1/24", "dev", name)
    helpers.run("ip", "link", "set", name, "up", "mtu", "1450")
    yield name
    helpers.run("ip", "link", "delete", name)


def described(name):
    """A link's configuration, without the state that depends on its use."""
    link = helpers.links()[name]
    link["flags"] = sorted(set(link["flags"]) - {"LOWER_UP", "NO-CARRIER"})
    for key in ("operstate", "linkinfo"):
        del link[key]
    return link, helpers.run("tc", "qdisc", "show", "dev", name).stdout.replace("noqueue", "fq_codel").split("limit")[0]


def target_of(domain):
    return domain.virsh("domiflist").split()[0]


def test_a_tap_is_created_and_removed_with_the_domain(no_leaks, make_domain):
    """Up, in no bridge, with a MAC derived from the guest's and the requested name or a generated one."""
    domain = make_domain(devices=ethernet_xml("own-tap0", mac=MAC) + ethernet_xml() + ethernet_xml(managed="yes"))
    domain.start("--paused")
    rows = [line.split()[:3] for line in domain.virsh("domiflist").splitlines() if line.strip()]
    assert [row[1:] for row in rows] == [["ethernet", "-"]] * 3
    assert rows[0][0] == "own-tap0" and {row[0][:4] for row in rows[1:]} == {"vnet"}
    for name, *_ in rows:
        link = helpers.links()[name]
        assert "UP" in link["flags"] and "master" not in link and link["linkinfo"]["info_data"]["persist"] is False
    assert helpers.links()["own-tap0"]["address"] == "fe" + MAC[2:]
    domain.virsh("destroy")
    assert not {row[0] for row in rows} & set(helpers.links())


def test_limits_and_mtu_of_a_created_tap(no_leaks, make_domain):
    settings = "<mtu size='1300'/><bandwidth><inbound average='1000'/></bandwidth>"
    domain = make_domain(devices=ethernet_xml(extra=settings))
    domain.start("--paused")
    assert helpers.links()[target_of(domain)]["mtu"] == 1300
    assert "rate 8Mbit" in helpers.run("tc", "class", "show", "dev", target_of(domain)).stdout


def test_the_operators_tap_carries_traffic_and_stays(tap, no_leaks, make_domain):
    """It is used unchanged, and is unchanged afterwards, however the domain ends."""
    before = described(tap)
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=ethernet_xml(tap, "no", mac=MAC),
                         cmdline=f"{helpers.CMDLINE} vm.ip=192.168.66.2/24")
    with domain.boot() as console:
        assert described(tap) == before
        console.command("ping -c 2 -w 30 192.168.66.1")
        helpers.run("ping", "-c", "2", "-w", "30", "192.168.66.2")
        assert "192.168.66.2" in domain.virsh("domifaddr", "--source", "arp")
        assert f"<target dev='{tap}' managed='no'/>" in domain.xml()
    helpers.os.kill(helpers.monitor_of(domain), 9)
    domain.wait_state("shut off")
    assert described(tap) == before
    domain.start("--paused")
    domain.virsh("destroy")
    assert described(tap) == before
    assert f"<target dev='{tap}' managed='no'/>" in domain.xml()


def test_limits_on_the_operators_tap_are_removed_with_the_domain(tap, no_leaks, make_domain):
    before = described(tap)
    limits = "<bandwidth><inbound average='1000'/><outbound average='500'/></bandwidth>"
    domain = make_domain(devices=ethernet_xml(tap, "no", extra=limits))
    domain.start("--paused")
    assert "rate 8Mbit" in helpers.run("tc", "class", "show", "dev", tap).stdout
    rival = make_domain(devices=ethernet_xml(tap, "no", extra=limits))
    with pytest.raises(helpers.CommandError, match=f"cannot attach to TAP '{tap}': another program has it"):
        rival.start("--paused")
    assert "rate 8Mbit" in helpers.run("tc", "class", "show", "dev", tap).stdout
    domain.virsh("destroy")
    assert described(tap) == before
    broken = make_domain(devices=ethernet_xml(tap, "no", extra=limits) + helpers.interface_xml("no-such-br"))
    with pytest.raises(helpers.CommandError, match="no-such-br"):
        broken.start("--paused")
    assert described(tap) == before


def test_the_operators_qdisc_stays(tap, no_leaks, make_domain):
    """A limit in one direction leaves the other direction alone."""
    helpers.run("tc", "qdisc", "add", "dev", tap, "ingress")
    before = described(tap)
    domain = make_domain(devices=ethernet_xml(tap, "no", extra="<bandwidth><inbound average='1000'/></bandwidth>"))
    domain.start("--paused")
    assert "qdisc ingress ffff:" in helpers.run("tc", "qdisc", "show", "dev", tap).stdout
    text = domain.virsh("domiftune", tap, "--live", "--outbound", "1000,0,0", check=False)
    assert f"interface '{tap}' has an ingress qdisc already: remove it" in text
    assert "rate 8Mbit" in helpers.run("tc", "class", "show", "dev", tap).stdout
    domain.virsh("destroy")
    assert described(tap) == before


@pytest.mark.parametrize("target, managed, message", [
    ("no-tap0", "no", "TAP 'no-tap0' does not exist: create it"),
    ("op-tap0", "yes", "interface 'op-tap0' exists already"),
    ("lo", "no", "cannot attach to 'lo'"),
    (None, "no", "managed"),
])
def test_unusable_taps_are_refused(tap, no_leaks, make_domain, target, managed, message):
    before = described(tap)
    domain = make_domain(define=False, devices=ethernet_xml() + ethernet_xml(target, managed))
    with pytest.raises(helpers.CommandError, match=message):
        helpers.virsh("define", domain.path)
        domain.start("--paused")
    assert described(tap) == before


def test_scripts_are_refused(no_leaks, make_domain):
    """Nothing would run them."""
    domain = make_domain(devices=ethernet_xml(extra="<script path='/etc/qemu-ifup'/>"))
    with pytest.raises(helpers.CommandError, match="script"):
        domain.start("--paused")
