"""Fixtures of the integration tests. Each leaves the system as it found it."""
import itertools
import os
import pathlib
import time

import pytest

import helpers

NUMBERS = itertools.count(1)
UNITS = ("virtmicrod.service", "virtmicrod.socket", "virtmicrod-ro.socket")


def unique(prefix):
    return f"{prefix}{os.getpid() % 1000}x{next(NUMBERS)}"


def pytest_sessionstart(session):
    """Tests restart the daemon more often than systemd permits by default: five times in ten seconds."""
    for kernel in (helpers.HALTING, helpers.SPINNING):
        kernel.write()
    drop_ins = [pathlib.Path(f"/run/systemd/system/{unit}.d/50-tests.conf") for unit in UNITS]
    if all(path.exists() for path in drop_ins):
        return
    for path in drop_ins:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[Unit]\nStartLimitIntervalSec=0\n")
    helpers.run("systemctl", "daemon-reload")


def pytest_runtest_setup(item):
    """Without the socket every test would time out: fail with a clear message instead."""
    item.test_start = time.time()
    if not os.path.exists("/run/libvirt/virtmicrod-sock"):
        pytest.fail("virtmicrod.socket is not listening on /run/libvirt/virtmicrod-sock", pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the daemon logged during it."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed and getattr(item, "test_start", None):
        entries = helpers.journal(matches=[f"--since=@{item.test_start:.0f}", "_COMM=virtmicrod", "+",
                                           "_COMM=virtmicro-vmm", "+", "UNIT=virtmicrod.service"])
        lines = [f"{entry.get('SYSLOG_IDENTIFIER')}: {entry.get('MESSAGE')}" for entry in entries]
        report.sections.append(("journal", "\n".join(lines[-80:])))


@pytest.fixture
def journal_start():
    """The end of the journal before the test."""
    return helpers.journal_cursor()


@pytest.fixture
def kernel():
    """The kernel that most tests boot: it is the faster one."""
    return helpers.Kernel("6.12")


@pytest.fixture(params=["vmlinuz-6.1", "vmlinuz-6.12", "vmlinux-6.1"])
def any_kernel(request):
    """Each kernel and format in turn."""
    return helpers.Kernel(request.param.partition("-")[2], request.param)


@pytest.fixture
def domain_name():
    return unique("t")


def domain_factory(directory, request):
    """make(**arguments of helpers.domain_xml) defines a domain, and the fixture's teardown removes it.

    Its kernel is the test file's KERNEL, unless one is given.
    """
    made = []
    default = getattr(request.module, "KERNEL", helpers.Kernel("6.12"))

    def make(name=None, define=True, **arguments):
        domain = helpers.Domain(name or unique("t"))
        arguments.setdefault("kernel", default)
        path = directory / f"{domain.name}.xml"
        path.write_text(helpers.domain_xml(domain.name, **arguments))
        domain.path = path
        made.append(domain)
        if define:
            helpers.virsh("define", path)
        return domain

    yield make
    for domain in made:
        domain.remove()


@pytest.fixture
def make_domain(tmp_path, request):
    """make_domain(…) defines a domain and removes it after the test."""
    yield from domain_factory(tmp_path, request)


@pytest.fixture
def paused(make_domain):
    """A domain whose guest has not executed anything yet."""
    domain = make_domain()
    domain.start("--paused")
    return domain


@pytest.fixture(scope="module")
def make_module_domain(tmp_path_factory, request):
    """make_domain for domains shared by the tests of a file."""
    yield from domain_factory(tmp_path_factory.mktemp("domains"), request)


def disk_factory():
    """make(MiB) makes a raw image where the daemon may open it; the fixture's teardown removes it."""
    made = []
    directory = helpers.pathlib.Path("/var/lib/libvirt/images")

    def make(size=16):
        path = directory / f"{unique('disk')}.raw"
        with path.open("wb") as file:
            file.truncate(size << 20)
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink(missing_ok=True)


make_disk = pytest.fixture(disk_factory, name="make_disk")
make_module_disk = pytest.fixture(disk_factory, scope="module", name="make_module_disk")


def bridge_device(address):
    name = unique("tb")
    helpers.run("ip", "link", "add", name, "type", "bridge", "forward_delay", "0")
    helpers.run("ip", "address", "add", address, "dev", name)
    helpers.run("ip", "link", "set", name, "up")
    yield name
    helpers.run("ip", "link", "delete", name)


@pytest.fixture
def bridge():
    """A bridge with an address for the host: guests may take 192.168.77.2 and up."""
    yield from bridge_device("192.168.77.1/24")


@pytest.fixture(scope="module")
def module_bridge():
    """A bridge shared by the tests of a file: guests may take 192.168.78.2 and up."""
    yield from bridge_device("192.168.78.1/24")


@pytest.fixture
def network():
    """libvirt's stock network, active."""
    active = "default" in helpers.run("virsh", "net-list", "--name").stdout.split()
    if not active:
        helpers.run("virsh", "net-start", "default")
    yield "default"
    if not active:
        helpers.run("virsh", "net-destroy", "default")


@pytest.fixture
def no_leaks():
    """Fails the test if its domains leave anything behind. List it before make_domain."""
    with helpers.nothing_left():
        yield


@pytest.fixture(scope="module")
def no_module_leaks():
    """no_leaks for domains shared by the tests of a file. List it before make_module_domain."""
    with helpers.nothing_left():
        yield
