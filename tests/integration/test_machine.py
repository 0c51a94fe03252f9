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


# --- What the XML asks for -------------------------------------------------------------------------------------------

def feature(policy, name):
    return f"<cpu mode='host-passthrough'><feature policy='{policy}' name='{name}'/></cpu>"


def cpu_flags(domain):
    with domain.boot() as console:
        return console.command("grep -m1 ^flags /proc/cpuinfo").split()


def test_nothing_is_nested_unless_asked_for(no_leaks, make_domain):
    assert not {"svm", "vmx"} & set(cpu_flags(make_domain()))


def test_nested_virtualisation_on_request(no_leaks, make_domain):
    """On a host that has it; elsewhere the start says what is missing."""
    name = "vmx" if "vmx" in helpers.pathlib.Path("/proc/cpuinfo").read_text().split() else "svm"
    domain = make_domain(extra=feature("require", name))
    if helpers.pathlib.Path(f"/sys/module/kvm_{'intel' if name == 'vmx' else 'amd'}/parameters/nested").read_text().strip() \
            in ("1", "Y"):
        assert name in cpu_flags(domain)
    else:
        assert f"CPU feature '{name}' is required" in domain.virsh("start", check=False)


def test_a_feature_is_hidden(no_leaks, make_domain):
    assert "rdrand" not in cpu_flags(make_domain(extra=feature("disable", "rdrand")))


@pytest.mark.parametrize("policy, name, text", [
    ("require", "cmt", "unsupported configuration: CPU feature 'cmt' is required, and the host's KVM does not have it"),
    ("forbid", "fpu", "unsupported configuration: CPU feature 'fpu' is forbidden, and the host has it")])
def test_a_host_that_does_not_fit(no_leaks, make_domain, policy, name, text):
    assert text in make_domain(extra=feature(policy, name)).virsh("start", "--paused", check=False)


def test_names_have_one_limit(no_leaks, make_domain):
    """The longest name that a file can have beside what is appended to it works throughout, one byte more nowhere."""
    domain = make_domain(name="n" * 247)
    domain.start("--paused")
    assert domain.state() == "paused"
    domain.virsh("destroy")
    domain.path.write_text(domain.path.read_text().replace("n" * 247, "n" * 248))
    assert "name is longer than 247 bytes" in helpers.virsh("define", domain.path, check=False)
