"""The machine as its guest sees it: processors, memory, consoles, channels, entropy."""
import socket

import pytest

import helpers

HVC = "<console type='pty'><target type='virtio' port='0'/></console>"
CHANNEL = "org.test.0"


@pytest.fixture(scope="module")
def small(no_module_leaks, make_module_domain):
    """The console of a guest without options, with about the least memory that a stock kernel needs."""
    with make_module_domain(memory=96).boot() as console:
        yield console


@pytest.fixture(scope="module")
def pair(no_module_leaks, make_module_domain):
    """A guest with two processors, a hidden CPU feature, a channel and an entropy device."""
    cpu = ("<cpu mode='host-passthrough'><topology sockets='1' cores='2' threads='1'/>"
           "<feature policy='disable' name='rdrand'/></cpu>")
    return make_module_domain(
        vcpus=2, extra=cpu,
        devices=f"<channel type='unix'><target type='virtio' name='{CHANNEL}'/></channel>"
                "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")


@pytest.fixture(scope="module")
def pair_console(pair):
    with pair.boot() as console:
        yield console


def check_memory(console, memory):
    """Checks the guest's memory, in MiB; its kernel reserves a part."""
    total = int(console.command("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    assert memory * 1024 * 0.55 < total < memory * 1024


def test_little_memory(small):
    check_memory(small, 96)


def test_memory_around_the_hole_below_4_gib(no_leaks, make_domain):
    with make_domain(memory=3584).boot() as console:
        check_memory(console, 3584)
        assert console.command("grep -c '^100000000-.*System RAM' /proc/iomem").strip() == "1"


def test_two_processors(pair, pair_console):
    assert pair_console.command("grep -c ^processor /proc/cpuinfo").strip() == "2"
    assert pair_console.command("cat /sys/devices/system/cpu/cpu1/topology/core_id").strip() == "1"
    assert helpers.virsh("vcpucount", pair.name, "--live", "--current").strip() == "2"


def test_as_many_processors_as_there_may_be(no_leaks, make_domain):
    domain = make_domain(vcpus=32, memory=256)
    with domain.boot() as console:
        assert console.command("grep -c ^processor /proc/cpuinfo").strip() == "32"
    assert len(helpers.virsh("cpu-stats", domain.name, "--total").splitlines()) > 1
    assert helpers.virsh("vcpucount", domain.name, "--live", "--current").strip() == "32"


def test_virtio_console_alone(no_leaks, make_domain):
    """Without a serial port the console is hvc0, which the daemon adds to the command line."""
    domain = make_domain(console=False, devices=HVC, cmdline=helpers.FAST)
    with domain.boot() as console:
        assert "hvc0" in console.command("cat /sys/class/tty/console/active")
        assert "console=hvc0" in console.command("cat /proc/cmdline")


def test_entropy(pair_console):
    assert "virtio_rng" in pair_console.command("cat /sys/class/misc/hw_random/rng_current")


def test_channel(pair, pair_console):
    path = pair.xml().split("<channel type='unix'>")[1].split("path='")[1].split("'")[0]
    names = pair_console.command(f"for p in /sys/class/virtio-ports/*; do grep -l {CHANNEL} $p/name; done")
    port = "/dev/" + names.split("/")[4]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(helpers.CALL)
        client.connect(path)
        pair_console.command(f"exec 7<>{port}; echo from-the-guest >&7")
        assert client.recv(100) == b"from-the-guest\n"
        client.sendall(b"from-the-host\n")
        assert pair_console.command("head -n 1 <&7").strip() == "from-the-host"
    assert "state='connected'" in pair.xml()


# --- What the XML asks for -------------------------------------------------------------------------------------------

def feature(policy, name):
    return f"<cpu mode='host-passthrough'><feature policy='{policy}' name='{name}'/></cpu>"


def cpu_flags(console):
    return console.command("grep -m1 ^flags /proc/cpuinfo").split()


def test_no_nesting_unless_requested(small):
    assert not {"svm", "vmx"} & set(cpu_flags(small))


def test_nested_virtualisation_on_request(no_leaks, make_domain):
    """Where the host supports it; elsewhere the start says what is missing."""
    name = "vmx" if "vmx" in helpers.pathlib.Path("/proc/cpuinfo").read_text().split() else "svm"
    domain = make_domain(extra=feature("require", name))
    if helpers.pathlib.Path(f"/sys/module/kvm_{'intel' if name == 'vmx' else 'amd'}/parameters/nested").read_text().strip() \
            in ("1", "Y"):
        with domain.boot() as console:
            assert name in cpu_flags(console)
    else:
        assert f"CPU feature '{name}' is required" in domain.virsh("start", check=False)


def test_a_feature_is_hidden(pair_console):
    assert "rdrand" not in cpu_flags(pair_console)


@pytest.mark.parametrize("policy, name, text", [
    ("require", "cmt", "unsupported configuration: CPU feature 'cmt' is required, and the host's KVM does not have it"),
    ("forbid", "fpu", "unsupported configuration: CPU feature 'fpu' is forbidden, and the host has it")])
def test_unmet_feature_policies_are_refused(no_leaks, make_domain, policy, name, text):
    assert text in make_domain(extra=feature(policy, name)).virsh("start", "--paused", check=False)


def test_names_have_one_limit(no_leaks, make_domain):
    """The longest name that fits a file name with its suffixes works everywhere; one byte more is refused."""
    domain = make_domain(name="n" * 247)
    domain.start("--paused")
    assert domain.state() == "paused"
    domain.virsh("destroy")
    domain.path.write_text(domain.path.read_text().replace("n" * 247, "n" * 248))
    assert "name is longer than 247 bytes" in helpers.virsh("define", domain.path, check=False)
