"""PCI addresses: a device is where the XML says, and stays there when others come and go."""
from xml.etree import ElementTree

import pytest

import helpers

# Modern virtio devices by their PCI device id (virtio 1.2 §4.1.2.1).
KINDS = {"0x1041": "interface", "0x1042": "disk", "0x1043": "controller", "0x1044": "rng"}


def addresses(xml):
    """Kind of device by address, as the definition has it."""
    found = {}
    for device in ElementTree.fromstring(xml).find("devices"):
        address = device.find("address")
        if address is not None:
            domain, bus, slot, function = (int(address.get(part), 0) for part in ("domain", "bus", "slot", "function"))
            found[f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"] = device.tag
    return found


def seen_by_guest(domain):
    """The same, as the guest's bus has it."""
    with domain.boot() as console:
        text = console.command("for d in /sys/bus/pci/devices/*; do echo ${d##*/} $(cat $d/device); done")
    domain.virsh("destroy")
    found = dict(line.split() for line in text.splitlines())
    return {address: KINDS[device] for address, device in found.items() if device in KINDS}


def test_guest_sees_devices_where_the_xml_has_them(no_leaks, make_domain, make_disk, bridge):
    """Of four disks the second goes, by a define of what the client has read, and an RNG comes."""
    channel = "<channel type='unix'><target type='virtio' name='org.test.0'/></channel>"
    disks = [helpers.disk_xml(make_disk(), f"vd{letter}") for letter in "abcd"]
    domain = make_domain(devices="".join(disks) + helpers.interface_xml(bridge=bridge) + channel)
    first = addresses(domain.xml("--inactive"))
    assert sorted(first.values()) == ["controller"] + 4 * ["disk"] + ["interface"]
    assert seen_by_guest(domain) == first

    root = ElementTree.fromstring(domain.xml("--inactive"))
    devices = root.find("devices")
    (second,) = [disk for disk in devices.findall("disk") if disk.find("target").get("dev") == "vdb"]
    devices.remove(second)
    devices.append(ElementTree.fromstring("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"))
    domain.path.write_text(ElementTree.tostring(root, encoding="unicode"))
    helpers.virsh("define", "--validate", domain.path)
    then = addresses(domain.xml("--inactive"))
    (gone,) = (address for address, kind in first.items() if then.get(address) != kind)
    assert then == first | {gone: "rng"}
    assert seen_by_guest(domain) == then


def test_address_of_choice(no_leaks, make_domain, make_disk):
    """Ansible's and virt-manager's way: what was read, with another slot. One that is taken is refused."""
    domain = make_domain(devices=helpers.disk_xml(make_disk(), "vda") + helpers.disk_xml(make_disk(), "vdb"))
    xml = domain.xml("--inactive")
    domain.path.write_text(xml.replace("slot='0x02'", "slot='0x1e'"))
    helpers.virsh("define", domain.path)
    assert addresses(domain.xml("--inactive")) == {"0000:00:01.0": "disk", "0000:00:1e.0": "disk"}
    assert seen_by_guest(domain) == {"0000:00:01.0": "disk", "0000:00:1e.0": "disk"}
    for slot, text in (("0x01", "Attempted double use of PCI Address 0000:00:01.0 by disk 'vda' and disk 'vdb'"),
                       ("0x1f", "Invalid PCI address 0000:00:1f.0 of disk 'vdb'")):
        domain.path.write_text(xml.replace("slot='0x02'", f"slot='{slot}'"))
        with pytest.raises(helpers.CommandError) as error:
            helpers.virsh("define", domain.path)
        assert text in error.value.stderr
