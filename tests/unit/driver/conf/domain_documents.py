#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks libvirt's schema of domains and makes one document for each element, attribute and listed value below <domain>.

Usage: domain_documents.py SCHEMA.rng PROGRAM [ARGUMENT...]. PROGRAM gets on its standard input, for each document, its
path ("devices/disk/driver/@queues"), the value, and the document, each ended by a zero byte.

A document has what the schema demands on the way to its target, and nothing else: optional things are left out, and of
alternatives the first plain one is taken. A definition that refers to itself is entered once. Where the schema only has a
pattern, the first of SAMPLES that matches it is taken.
"""
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

RNG = "{http://relaxng.org/ns/structure/1.0}"
BASE = {"name": "<name>x</name>", "memory": "<memory>65536</memory>", "vcpu": "<vcpu>2</vcpu>",
        "os": "<os><type>hvm</type><kernel>/k</kernel></os>"}
SAMPLES = ["1", "2", "vda", "/x", "x", "52:54:00:00:00:01", "0x1", "5000c50015ea71ad", "0000:00:00.0", "KiB", "10.0.0.1",
           "9f0c2a54-6b7d-4e21-8c3f-000052540025", "naa.5000c50015ea71ad", "1.1", "0.0", "2001-01-01", "fe.0.0000",
           "fe80::1", "2-3", "pc-1.0", "1000", "ipv4", "2030-01-01T00:00:00", "share_pt", "vepa", "opt/x"]
NUMBERS = {"unsignedInt", "unsignedLong", "unsignedShort", "int", "long", "short", "integer", "positiveInteger"}
# What the driver checks more closely than the schema, by path.
VALUES = {
    "cputune/shares": "1024", "cputune/period": "10000", "cputune/quota": "10000", "cputune/global_period": "10000",
    "cputune/global_quota": "10000", "cputune/emulator_period": "10000", "cputune/emulator_quota": "10000",
    "cputune/iothread_period": "10000", "cputune/iothread_quota": "10000", "cputune/vcpupin/@vcpu": "1",
    "blkiotune/weight": "500", "blkiotune/device/weight": "500", "memory": "65536", "currentMemory": "65536",
    "vcpu": "2", "vcpu/@current": "1", "clock/@timezone": "Etc/UTC", "os/type/@arch": "x86_64",
    "devices/interface/mtu/@size": "1500", "memoryBacking/hugepages/page/@size": "2048", "os/type": "hvm",
    "cpu/topology/@sockets": "2", "cpu/topology/@dies": "1", "cpu/topology/@cores": "1", "cpu/topology/@threads": "1",
    "cpu/feature/@name": "svm", "devices/emulator": "/usr/bin/qemu-system-x86_64",
}
CHARS = ("serial", "console", "channel")
for _device in CHARS:
    VALUES.update({f"devices/{_device}/source/@mode": "bind", f"devices/{_device}/source/@path": "/x",
                   f"devices/{_device}/target/@port": "0", f"devices/{_device}/log/@file": "/x.log"})
ON_PCI = ("disk", "interface", "rng", "vsock", "controller")
for _device in ON_PCI:
    VALUES.update({f"devices/{_device}/address/@domain": "0x0000", f"devices/{_device}/address/@bus": "0x00",
                   f"devices/{_device}/address/@slot": "0x05", f"devices/{_device}/address/@function": "0x0"})
VALUES["devices/controller/@index"] = "0"
VALUES["devices/vsock/cid/@address"] = "3"
ALIAS = "ua-x"
# The source of a disk or interface, by type.
SOURCES = {
    "disk": {None: {"file": "/x"}, "file": {"file": "/x"}, "block": {"dev": "/x"}, "volume": {"pool": "p", "volume": "v"}},
    "interface": {"bridge": {"bridge": "br0"}, "network": {"network": "n"}},
}
PREFERRED = ["random", "pty", "file", "network", "bridge", "kvm", "hvm", "virtio", "disk", "x86_64", "tap", "utc", "dynamic", "vda"]


def tag(node):
    return node.tag[len(RNG):] if isinstance(node.tag, str) and node.tag.startswith(RNG) else None


def patterns(node):
    return [child for child in node if tag(child) and tag(child) not in ("name", "anyName", "nsName", "param")]


class Schema:
    def __init__(self, path):
        self.defines = {}
        self.load(pathlib.Path(path))

    def load(self, path):
        self.read(ET.parse(path).getroot(), path)

    def read(self, root, path):
        for node in root:
            if tag(node) == "include":
                self.load(path.parent / node.get("href"))
                self.read(node, path)
            elif tag(node) == "div":
                self.read(node, path)
            elif tag(node) == "define":
                self.define(node)

    def define(self, node):
        name = node.get("name")
        group = ET.Element(RNG + "group")
        group.extend(patterns(node))
        if node.get("combine") and name in self.defines:
            both = ET.Element(RNG + node.get("combine"))
            both.extend([self.defines[name], group])
            group = both
        self.defines[name] = group

    def children(self, node):
        return [self.defines[node.get("name")]] if tag(node) == "ref" else patterns(node)


def names(node):
    """Names that an element or attribute pattern stands for."""
    if node.get("name"):
        return [node.get("name")]
    cls = next(child for child in node if tag(child) in ("name", "anyName", "nsName", "choice"))
    if tag(cls) == "name":
        return [cls.text.strip()]
    return [child.text.strip() for child in cls if tag(child) == "name"] or ["any"]


class Walk:
    """Finds every target; a target is the chain of patterns from <domain> to it."""

    def __init__(self, schema):
        self.schema = schema
        self.found = {}  # (path, value) -> document

    def run(self):
        self.visit(self.schema.defines["domain"], (), "", ())

    def visit(self, node, chain, path, refs):
        kind = tag(node)
        chain += (node,)
        if kind == "notAllowed" or any(tag(child) == "notAllowed" for child in node):
            return
        if kind == "ref":
            if node.get("name") in refs:
                return
            refs += (node.get("name"),)
        elif kind == "element":
            for name in names(node):
                self.element(node, chain, path, name, refs)
            return
        elif kind == "attribute":
            for name in names(node):
                full = f"{path}/@{name}".lstrip("/")
                for value in self.values(node, full, refs):
                    self.emit(full, value, chain)
            return
        for child in self.schema.children(node):
            self.visit(child, chain, path, refs)

    def element(self, node, chain, path, name, refs):
        prefix = ""
        if node.get("ns"):
            prefix = node.get("ns").split("/domain/")[-1].split("/")[0] + ":" if "/domain/" in node.get("ns") else ""
        inner = "" if name == "domain" and not path else f"{path}/{prefix}{name}".lstrip("/")
        if inner:
            for value in self.values(node, inner, refs) or [None]:
                self.emit(inner, value, chain)
        for child in patterns(node):
            self.visit(child, chain, inner, refs)

    def values(self, node, path, refs):
        """The listed values of an attribute or of an element's text, else one sample; [] for an element without text."""
        found = []
        self.collect(node, path, refs, found)
        if path in VALUES:
            return [VALUES[path]] + [value for value, listed in found if listed and value != VALUES[path]]
        if path.endswith("/alias/@name"):
            return [ALIAS]
        if found or tag(node) == "attribute":
            listed = [value for value, is_listed in found if is_listed]
            return list(dict.fromkeys(listed + [value for value, is_listed in found if not is_listed][:1])) or ["x"]
        return []

    def collect(self, node, path, refs, found):
        for child in self.schema.children(node):
            kind = tag(child)
            if kind == "value":
                found.append((child.text.strip(), True))
            elif kind == "data":
                found += [(text, False) for text in [sample(child)] if text]
            elif kind == "text":
                found.append(("x", False))
            elif kind == "ref":
                if child.get("name") not in refs:
                    self.collect(child, path, refs + (child.get("name"),), found)
            elif kind not in ("element", "attribute"):
                self.collect(child, path, refs, found)

    def emit(self, path, value, chain):
        if (path, value) not in self.found:
            self.found[path, value] = Document(self, chain, path, value).text()


def sample(data):
    pattern = [param.text for param in data if param.get("name") == "pattern"]
    low = [int(param.text) for param in data if param.get("name") == "minInclusive"]
    candidates = ([str(low[0])] if low else []) + SAMPLES
    if data.get("type") == "dateTime":
        return "2030-01-01T00:00:00"
    if data.get("type") not in NUMBERS and not pattern:
        return "x"
    for candidate in candidates:
        if all(re.fullmatch(p, candidate) for p in pattern) and (
                data.get("type") not in NUMBERS or re.fullmatch("[0-9]+", candidate)):
            return candidate
    return None


class Node:
    def __init__(self, name="", ns=None):
        self.name, self.ns = name, ns
        self.attributes, self.children, self.content = {}, [], ""

    def text(self):
        prefix, declared = "", ""
        if self.ns and "/domain/" in self.ns:
            prefix, declared = "n:", f" xmlns:n={quoteattr(self.ns)}"
        elif self.ns:
            prefix, declared = "o:", f" xmlns:o={quoteattr(self.ns)}"
        attributes = "".join(f" {key}={quoteattr(value)}" for key, value in self.attributes.items())
        inner = escape(self.content) + "".join(child.text() for child in self.children)
        return f"<{prefix}{self.name}{declared}{attributes}>{inner}</{prefix}{self.name}>"


class Document:
    """Writes one document: what the schema demands on the chain's way, and the target at its end."""

    def __init__(self, walk, chain, path, value):
        self.walk, self.chain, self.path, self.value = walk, chain, path, value
        self.refs = []

    def text(self):
        root = Node()
        self.generate(self.chain[0], root, "", 0)
        domain = root.children[0]
        top = self.path.split("/")[0]
        parts = dict(BASE)
        attributes = {"type": "kvm"}
        if top.startswith("@"):
            attributes[top[1:]] = self.value
        else:
            mine = [child for child in domain.children
                    if child.name == top.split(":")[-1] and (":" in top) == bool(child.ns)]
            for child in mine:
                complete(child)
            parts[top] = "".join(child.text() for child in mine)
        written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
        return f"<domain{written}>{''.join(parts.values())}</domain>"

    def generate(self, node, parent, path, at):
        """Adds what `node` stands for to `parent`. `at` is its place in the chain; None: it is not on the way."""
        kind = tag(node)
        following = self.chain[at + 1] if at is not None and at + 1 < len(self.chain) else None
        if kind in ("empty", "notAllowed") or (kind in ("optional", "zeroOrMore") and at is None):
            return
        if kind == "element":
            self.element(node, parent, path, at, following)
        elif kind == "attribute":
            self.attribute(node, parent, path, at)
        elif kind in ("value", "data", "text"):
            self.content(node, parent, path)
        else:
            children = self.walk.schema.children(node)
            if kind == "choice":
                children = [following] if following is not None else [self.plain(children)]
            if kind == "ref":
                self.refs.append(node.get("name"))
            for child in children:
                self.generate(child, parent, path, at + 1 if child is following else None)
            if kind == "ref":
                self.refs.pop()

    def element(self, node, parent, path, at, following):
        is_target = at is not None and following is None
        wanted = self.path.replace(":", "/").split("/")
        name = wanted[-1] if is_target else names(node)[0]
        if at is not None and not is_target:
            name = next((n for n in names(node) if n in wanted), name)
        is_root = name == "domain" and not path
        child = Node(name, node.get("ns") or parent.ns)
        parent.children.append(child)
        for pattern in ([following] if is_root and following is not None else [] if is_root else patterns(node)):
            self.generate(pattern, child, "" if is_root else f"{path}/{name}".lstrip("/"),
                          at + 1 if pattern is following else None)
        if is_target and self.value is not None:
            child.content = self.value

    def attribute(self, node, parent, path, at):
        name = self.path.split("@")[-1] if at is not None else names(node)[0]
        if at is not None:
            parent.attributes[name] = self.value
        elif name not in parent.attributes:
            values = self.walk.values(node, f"{path}/@{name}".lstrip("/"), ())
            parent.attributes[name] = next((v for v in PREFERRED if v in values), values[0])

    def content(self, node, parent, path):
        if parent.content == "":
            parent.content = VALUES.get(path) or {"value": (node.text or "").strip(), "text": "x"}.get(tag(node)) or \
                sample(node) or "x"

    def plain(self, branches):
        """Of alternatives the one that names what every driver has, else the first; none that leads back here."""
        def rank(branch):
            values, seen = [], set()
            self.scan(branch, values, seen)
            return (bool(seen & set(self.refs)),
                    min([PREFERRED.index(v) for v in values if v in PREFERRED] or [len(PREFERRED)]))
        return min(branches, key=rank)

    def scan(self, node, values, seen):
        if tag(node) == "value":
            values.append(node.text.strip())
        if tag(node) == "ref":
            if node.get("name") in seen:
                return
            seen.add(node.get("name"))
        for child in self.walk.schema.children(node):
            self.scan(child, values, seen)


def child_of(node, name):
    """The child of that name, made if there is none."""
    for child in node.children:
        if child.name == name:
            return child
    node.children.append(Node(name))
    return node.children[-1]


def complete(node):
    """Adds what the driver demands and the schema does not."""
    kind = node.attributes.get("type")
    if node.name == "os" and any(re.match("init(?!rd)", child.name) for child in node.children):
        child_of(node, "type").content = "exe"
    elif node.name == "os":
        child_of(node, "type").content = child_of(node, "type").content or "hvm"
        if child_of(node, "type").content == "hvm":
            child_of(node, "kernel").content = child_of(node, "kernel").content or "/k"
    if node.name in SOURCES and kind in SOURCES[node.name]:
        for key, value in SOURCES[node.name][kind].items():
            child_of(node, "source").attributes.setdefault(key, value)
    if node.name == "disk":
        child_of(node, "target").attributes.setdefault("dev", "vda")
    if node.name == "interface" and any(child.name == "bandwidth" for child in node.children):
        for limit in child_of(node, "bandwidth").children:
            limit.attributes.setdefault("average", "1")
            if "floor" in limit.attributes and limit.name == "inbound":
                node.attributes["type"] = "network"
                child_of(node, "source").attributes = {"network": "n"}
    if node.name in ON_PCI:
        for address in node.children:
            if address.name == "address" and address.attributes.get("type") == "pci":
                address.attributes.setdefault("slot", "0x05")
    if node.name == "sysinfo":
        for entry in node.children:
            if entry.content:
                entry.attributes.pop("file", None)
    if node.name in CHARS and kind == "pty" and any(child.name == "source" for child in node.children):
        kind = "unix" if "mode" in child_of(node, "source").attributes else "file"
        node.attributes["type"] = kind
    if node.name in CHARS and kind in ("unix", "file"):
        child_of(node, "source").attributes.setdefault("path", "/x")
    if node.name == "numatune" and child_of(node, "memory").attributes.get("placement") != "auto":
        child_of(node, "memory").attributes.setdefault("nodeset", "0")
    if node.name == "resource" and not node.children:
        child_of(node, "partition").content = "/machine"
    if node.name == "clock" and node.attributes.get("offset") == "timezone":
        node.attributes.setdefault("timezone", "Etc/UTC")
    if node.name == "devices":
        for child in node.children:
            complete(child)
        if any(child.name == "controller" and child.attributes.get("type") == "virtio-serial" for child in node.children):
            channel = child_of(node, "channel")  # without one there is no controller
            channel.attributes["type"] = "pty"
            child_of(channel, "target").attributes = {"type": "virtio", "name": "x"}


def main():
    walk = Walk(Schema(sys.argv[1]))
    walk.run()
    data = b"".join(f"{path}\0{value or ''}\0{text}\0".encode() for (path, value), text in walk.found.items())
    return subprocess.run(sys.argv[2:], input=data, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
