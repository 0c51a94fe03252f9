"""What a monitor holds, proved from outside by /proc while its guest runs."""
import os
import pathlib

import pytest

import helpers

NAMESPACES = ("mnt", "net", "ipc", "pid", "uts")


@pytest.fixture(scope="module")
def monitor(request):
    """The monitor of a running domain, and its domain."""
    name = "sandboxed"
    path = pathlib.Path(f"/tmp/{name}.xml")
    path.write_text(helpers.domain_xml(name, helpers.Kernel("6.12")))
    domain = helpers.Domain(name)
    request.addfinalizer(domain.remove)
    helpers.virsh("define", path)
    domain.start()
    return pathlib.Path(f"/proc/{helpers.monitor_of(domain)}")


def status(path):
    lines = (line.split(":", 1) for line in (path / "status").read_text().splitlines() if ":" in line)
    return {key: value.strip() for key, value in lines}


def test_uid_of_its_own_and_no_rights(monitor):
    fields = status(monitor)
    uids = set(fields["Uid"].split())
    assert len(uids) == 1 and int(uids.pop()) >= 1 << 16
    assert int(fields["Gid"].split()[0]) >= 1 << 16
    assert fields["Groups"] == ""
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0, kind
    assert fields["NoNewPrivs"] == "1"


def test_filter_in_every_thread(monitor):
    threads = sorted((monitor / "task").iterdir())
    kinds = {(thread / "comm").read_text().strip() for thread in threads}
    assert any(kind.startswith("vcpu") for kind in kinds), kinds
    assert len(threads) >= 3
    for thread in threads:
        assert status(thread)["Seccomp"] == "2", thread


def test_namespaces_are_its_own_and_empty(monitor):
    for name in NAMESPACES:
        assert os.readlink(monitor / "ns" / name) != os.readlink(f"/proc/1/ns/{name}"), name
    assert list((monitor / "root").iterdir()) == []
    assert [line.split(":")[0].strip() for line in (monitor / "net/dev").read_text().splitlines()[2:]] == ["lo"]


def test_two_monitors_share_no_uid(monitor, make_domain):
    other = make_domain()
    other.start()
    assert status(pathlib.Path(f"/proc/{helpers.monitor_of(other)}"))["Uid"] != status(monitor)["Uid"]


def test_descriptors_are_those_of_its_guest(monitor):
    allowed = ("/dev/kvm", "/dev/null", "/dev/ptmx", "/dev/pts/ptmx", "/var/lib/virtmicro-tests/", "/run/libvirt/micro/",
               "anon_inode:", "socket:", "/memfd:", "/dev/urandom")
    for entry in (monitor / "fd").iterdir():
        target = os.readlink(entry)
        assert target.startswith(allowed), f"fd {entry.name} is {target}"


def test_each_thread_dies_of_a_forbidden_call():
    """The build with the test hook: openat, socket, execve, ptrace in each kind of thread end it by SIGSYS."""
    hostile = pathlib.Path("/root/tests/virtmicro-vmm-hostile")
    kernel = helpers.Kernel("6.12")
    counted = 0
    for thread in ("control", "device", "vcpu"):
        for call in ("openat", "socket", "execve", "ptrace"):
            result = helpers.run(hostile, "--kernel", kernel.kernel, "--initrd", kernel.initrd, "--memory", "128M", "--rng",
                                 check=False, timeout=helpers.BOOT, env={"VMM_TEST_HOOK": f"{thread}:{call}"})
            assert result.returncode == -31, f"{thread}:{call}: {result.returncode} {result.stderr}"
            counted += 1
    assert counted == 12
