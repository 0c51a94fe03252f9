#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks who may include whom (HACKING.md, "Include law").

Usage: include_law.py ROOT. Prints each violation with what to do instead; exits 1 if there is one.
"""
import pathlib
import re
import sys

# Folder or file -> prefixes that its files may include. The longest matching key decides.
LAW = {
    "vmm/base": ["vmm/base/", "vmm/arch/arch.h"],
    "vmm/core": ["vmm/base/", "vmm/core/", "vmm/arch/arch.h"],
    "vmm/dev": ["vmm/base/", "vmm/core/", "vmm/dev/", "vmm/arch/arch.h", "vmm/ctl/ctl.h"],
    "vmm/arch": ["vmm/base/", "vmm/core/", "vmm/arch/", "vmm/dev/hotplug.h", "vmm/dev/output_log.h", "vmm/dev/power.h"],
    "vmm/arch/arch.h": [],
    "vmm/board": ["vmm/base/", "vmm/core/", "vmm/dev/", "vmm/board/", "vmm/arch/arch.h", "vmm/ctl/ctl.h"],
    "vmm/ctl": ["vmm/base/", "vmm/core/", "vmm/dev/", "vmm/board/", "vmm/ctl/", "vmm/arch/arch.h"],
    "vmm/ctl/ctl.h": [],
    "vmm/ctl/message": ["vmm/base/cleanup.h", "vmm/ctl/"],
    "vmm/options": ["vmm/"],
    "vmm/terminal": ["vmm/"],
    "vmm/main.c": ["vmm/"],
    "driver/util": ["driver/util/"],
    "driver/conf": ["driver/util/", "driver/conf/", "vmm/ctl/ctl.h"],
    "driver/net": ["driver/util/", "driver/conf/", "driver/net/", "driver/driver.h"],
    "driver/systemd": ["driver/util/", "driver/conf/", "driver/systemd/"],
    "driver/process": ["driver/util/", "driver/systemd/", "driver/process/", "vmm/ctl/ctl.h", "vmm/ctl/message.h"],
    "driver/domain": ["driver/util/", "driver/conf/", "driver/net/", "driver/systemd/", "driver/process/",
                      "driver/domain/", "driver/driver.h", "vmm/ctl/ctl.h"],
    "driver/rpc": ["driver/util/", "driver/conf/driver_config.h", "driver/conf/host_info.h", "driver/rpc/", "driver/driver.h"],
    "driver/dbus": ["driver/util/", "driver/dbus/", "driver/driver.h"],
    "driver/driver.h": ["driver/conf/domain_def.h"],
    "driver/main.c": ["driver/"],
}

# The monitor's folders from the bottom up: none includes one above it. The protocol's numbers and what an architecture
# provides, which include nothing, are below all that speak of them.
VMM_FOLDERS = ["vmm/base/", "vmm/core/", "vmm/dev/", "vmm/arch/", "vmm/board/", "vmm/ctl/"]
VMM_BOTTOM = ("vmm/ctl/ctl.h", "vmm/arch/arch.h")

# Generated into the build directory: no file of the tree.
GENERATED = {"remote_protocol.h", "bus_info.h"}


def included(root, source):
    """Paths, relative to root, of the project's headers that a file includes."""
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', source.read_text(), re.M):
        if pathlib.PurePath(name).name in GENERATED:
            continue
        for base in (source.parent, root, root / "driver", root / "vmm"):
            path = (base / name).resolve()
            if path.is_file():
                yield str(path.relative_to(root))
                break
        else:
            yield f"{name} (not found)"


def allowed_for(path):
    keys = [k for k in LAW if path.startswith(k)]
    return LAW[max(keys, key=len)] if keys else None


def violations(root):
    for source in sorted([*root.glob("vmm/**/*.[ch]"), *root.glob("driver/**/*.[ch]")]):
        path = str(source.relative_to(root))
        allowed = allowed_for(path)
        for header in included(root, source):
            if allowed is None or not any(header.startswith(a) for a in allowed):
                yield f"{path} may not include {header}: move what it needs into a layer below, or call through the layer above"


def upward():
    """What the table itself allows against the order of folders."""
    def height(path):
        return next((i for i, folder in enumerate(VMM_FOLDERS) if (path + "/").startswith(folder)), len(VMM_FOLDERS))
    for key in LAW:
        if key.startswith("vmm/"):
            yield from (f"the law lets {key} include {a}, which is above it" for a in LAW[key]
                        if a not in VMM_BOTTOM and height(key) < height(a))


def find_cycle(root):
    """A chain of headers that leads back to its start, or None."""
    graph = {str(h.relative_to(root)): set(included(root, h)) for h in [*root.glob("vmm/**/*.h"), *root.glob("driver/**/*.h")]}
    done = set()

    def visit(node, trail):
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node in done:
            return None
        for nxt in sorted(graph.get(node, ())):
            cycle = visit(nxt, trail + [node])
            if cycle:
                return cycle
        done.add(node)
        return None

    for header in sorted(graph):
        cycle = visit(header, [])
        if cycle:
            return cycle
    return None


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    found = [*upward(), *violations(root)]
    cycle = find_cycle(root)
    if cycle:
        found.append("headers include each other: " + " -> ".join(cycle))
    print("\n".join(found) or "include law: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
