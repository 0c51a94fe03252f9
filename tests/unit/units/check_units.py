#!/usr/bin/env python3
"""Holds the files of units/ to what systemd and the code say of them.

    check_units.py verify BUILT SOURCE     systemd-analyze has nothing to say against the units
    check_units.py security BUILT SOURCE   the service's exposure stays below a bound
    check_units.py reasons BUILT SOURCE    what weakens the service most is mentioned where it is left out
    check_units.py actions BUILT SOURCE    the polkit actions that the daemon asks for are in the policy
    check_units.py policies BUILT SOURCE   the XML files are well-formed

BUILT is the build's units directory, SOURCE the tree's top. Exit status 77: a tool is not installed.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

SKIP = 77
# Tenths, and no more than there are: a new right has to show up here. What is left is root, namespaces, the
# network and the file system, all of it explained in the unit.
EXPOSURE_MAX = 43
NAMES = ("virtmicrod.service", "virtmicrod.socket", "virtmicrod-ro.socket")
# Directives of systemd.exec(5) that confine, and that the unit does not set or not to their strictest.
LEFT_OUT = ("PrivateNetwork", "PrivateDevices", "PrivateTmp", "PrivateUsers", "ProtectHome", "ProtectHostname",
            "ProtectProc", "ProcSubset", "RestrictNamespaces", "RootDirectory", "User", "DynamicUser")


def need(tool):
    if not shutil.which(tool):
        print(f"{tool} is not installed")
        sys.exit(SKIP)


def stage(built, source, directory):
    """Puts the units into one directory, with a program that exists."""
    for name in NAMES:
        origin = built / name if (built / name).exists() else source / "units" / name
        text = re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", origin.read_text(), flags=re.M)
        (pathlib.Path(directory) / name).write_text(text)


def verify(built, source):
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as directory:
        stage(built, source, directory)
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:"}
        result = subprocess.run(["systemd-analyze", "verify", "--man=no",
                                 *(f"{directory}/{name}" for name in NAMES)],
                                capture_output=True, text=True, check=False, env=environment)
    # Units of this machine that ours pull in are not ours to judge.
    ours = [line for line in result.stderr.splitlines() if "virtmicro" in line]
    assert not ours, "\n".join(ours)


def security(built, source):
    need("systemd-analyze")
    result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                             f"--threshold={EXPOSURE_MAX}", str(built / "virtmicrod.service")],
                            capture_output=True, text=True, check=False)
    print(result.stdout.splitlines()[-1] if result.stdout else "", result.stderr)
    assert result.returncode == 0, f"exposure is above {EXPOSURE_MAX / 10}:\n{result.stdout}"


def reasons(built, source):
    text = (built / "virtmicrod.service").read_text()
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    missing = [name for name in LEFT_OUT if f"{name}=" not in comments]
    assert not missing, f"no word on {', '.join(missing)}"


def actions(built, source):
    known = {action.get("id") for action in ElementTree.parse(source / "units/org.virtmicro1.policy").iter("action")}
    asked = set()
    for path in (source / "driver").rglob("*.[ch]"):
        asked |= set(re.findall(r'"(org\.virtmicro[a-z0-9.]*\.(?:monitor|manage))"', path.read_text()))
    assert asked and asked <= known, f"not in the policy: {asked - known}"
    rules = set(re.findall(r'"(org\.[a-z0-9.]+)"', (source / "units/60-virtmicro.rules").read_text()))
    assert rules <= known, f"in the rules alone: {rules - known}"


def policies(built, source):
    for name in ("org.virtmicro1.xml", "org.virtmicro1.conf", "org.virtmicro1.policy"):
        ElementTree.parse(source / "units" / name)


if __name__ == "__main__":
    globals()[sys.argv[1]](pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
