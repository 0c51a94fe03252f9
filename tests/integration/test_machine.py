"""The machine as its guest sees it: processors, memory, consoles, channels, entropy."""
import socket

import pytest

import helpers

HVC = "<console type='pty'><target type='virtio' port='0'/></console>"


@pytest.mark.parametrize("memory", [96, 3584])
def test_memory_sizes(no_leaks, make_domain, memory):
    """About the least that a stock kernel takes, and one that reaches around the hole below 4 GiB."""
    domain = make_domain(memory=memory)
    with domain.boot() as console:
        total = int(console.command("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
        assert memory * 1024 * 0.55 < total < memory * 1024
        if memory > 3072:
            assert console.command("grep -c '^100000000-.*System RAM' /proc/iomem").strip() == "1"


def test_two_processors(no_leaks, make_domain):
    domain = make_domain(vcpus=2, extra="<cpu mode='host-passthrough'><topology sockets='1' cores='2' threads='1'/></cpu>")
    with domain.boot() as console:
        assert console.command("grep -c ^processor /proc/cpuinfo").strip() == "2"
        assert console.command("cat /sys/devices/system/cpu/cpu1/topology/core_id").strip() == "1"
    assert helpers.virsh("vcpucount", domain.name, "--live", "--current").strip() == "2"


def test_as_many_processors_as_there_may_be(no_leaks, make_domain):
    domain = make_domain(vcpus=32, memory=256)
    with domain.boot() as console:
        assert console.command("grep -c ^processor /proc/cpuinfo").strip() == "32"
    assert len(helpers.virsh("cpu-stats", domain.name, "--total").splitlines()) > 1
    assert helpers.virsh("vcpucount", domain.name, "--live", "--current").strip() == "32"


def test_virtio_console_alone(no_leaks, make_domain):
    """No serial port: the console is hvc0, and the daemon says so to a kernel that was not told."""
    domain = make_domain(console=False, devices=HVC, cmdline="quiet")
    with domain.boot() as console:
        assert "hvc0" in console.command("cat /sys/class/tty/console/active")
        assert "console=hvc0" in console.command("cat /proc/cmdline")


def test_channel_and_entropy(no_leaks, make_domain):
    name = "org.test.0"
    domain = make_domain(devices=f"<channel type='unix'><target type='virtio' name='{name}'/></channel>"
                                 "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")
    with domain.boot() as console:
        assert "virtio_rng" in console.command("cat /sys/class/misc/hw_random/rng_current")
        path = domain.xml().split("<channel type='unix'>")[1].split("path='")[1].split("'")[0]
        port = "/dev/" + console.command(f"for p in /sys/class/virtio-ports/*; do grep -l {name} $p/name; done").split("/")[4]
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(helpers.CALL)
            client.connect(path)
            console.command(f"exec 7<>{port}; echo from-the-guest >&7")
            assert client.recv(100) == b"from-the-guest\n"
            client.sendall(b"from-the-host\n")
            assert console.command("head -n 1 <&7").strip() == "from-the-host"
        assert "state='connected'" in domain.xml()
