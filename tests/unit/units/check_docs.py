#!/usr/bin/env python3
"""Holds the manual to the code: check_docs.py dbus|config|options SOURCE.

dbus    every interface, method, signal, property and argument of the introspection XML is in org.virtmicro1.5,
        and no others are
config  every key of virtmicrod.conf that the daemon knows is in virtmicrod.conf.5 and in the installed file, with the
        same default
options every option of virtmicro-vmm is in its page
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def members(source):
    for interface in ElementTree.parse(source / "units/org.virtmicro1.xml").iter("interface"):
        for member in interface:
            if member.tag != "annotation":
                yield interface.get("name"), member


def signature(member):
    """As the page writes it: *Name*(u _flags_, s _xml_)."""
    if member.tag == "property":
        return f"*{member.get('name')}* {member.get('type')}"
    arguments = {"in": [], "out": []}
    for arg in member.iter("arg"):
        arguments[arg.get("direction", "in")].append(f"{arg.get('type')} _{arg.get('name')}_")
    text = f"*{member.get('name')}*({', '.join(arguments['in'])})"
    return text + (f" -> {', '.join(arguments['out'])}" if arguments["out"] else "")


def dbus(source):
    page = (source / "docs/org.virtmicro1.5.scd").read_text()
    wanted = {signature(member) for _, member in members(source)}
    there = set(re.findall(r"^(\*\w+\*(?:\([^)]*\)(?: -> .*)?| [a-z]+))$", page, re.M))
    assert wanted == there, f"missing: {sorted(wanted - there)}; too many: {sorted(there - wanted)}"
    for name in {interface for interface, _ in members(source)}:
        assert name in page, name


def config(source):
    page = (source / "docs/virtmicrod.conf.5.scd").read_text()
    shipped = (source / "driver/conf/virtmicrod.conf.in").read_text()
    documented = dict(re.findall(r"^\*(\w+)\* = (.*)$", page, re.M))
    commented = dict(re.findall(r"^#(\w+) = (.*)$", shipped, re.M))
    known = set(re.findall(r'^\s+[A-Z]+\("(\w+)", ', (source / "driver/conf/driver_config.c").read_text(), re.M))
    assert known, "no table of keys"
    assert set(documented) == known, f"page: {set(documented) - known}, code: {known - set(documented)}"
    assert documented == commented, f"page: {documented}, file: {commented}"


def options(source):
    page = (source / "docs/virtmicro-vmm.8.scd").read_text()
    text = (source / "vmm/options.c").read_text()
    wanted = set(re.findall(r'"(--[a-z-]+)', text)) | set(re.findall(r"(--[a-z-]+)", text))
    missing = {option for option in wanted if f"*{option}*" not in page}
    assert wanted and not missing, f"not in the page: {missing}"


if __name__ == "__main__":
    globals()[sys.argv[1]](pathlib.Path(sys.argv[2]))
