"""A libvirt daemon that does not answer delays only those who need it, and nothing is lost."""
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import time

import libvirt
import pytest

import helpers
from clients import connection, error_of
from helpers import ports_of

LIMIT = 10  # neighbour_timeout
SOON = 8    # seconds, on a busy emulated host: less than any limit
PORTS = helpers.STATE / "ports"
KERNEL = helpers.HALTING


def libvirtd_pid():
    return int(helpers.unit_property("libvirtd.service", "MainPID"))


@contextlib.contextmanager
def stopped(pid):
    """Stops the process; its sockets still accept connections."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def libvirtd(network):
    """PID of libvirt's daemon, which serves an active network."""
    helpers.run("virsh", "-c", "network:///system", "net-list")
    return libvirtd_pid()


def seconds(call, *args, **kwargs):
    start = time.monotonic()
    call(*args, **kwargs)
    return time.monotonic() - start


def released(network):
    return not ports_of(network) and not any(PORTS.iterdir())


def test_ends_do_not_wait(no_leaks, make_domain, network, libvirtd):
    """More domains end than there are threads to wait; the end of an unrelated one is noticed at once."""
    inside = [make_domain(devices=helpers.interface_xml(network=network)) for _ in range(5)]
    other = make_domain()
    for domain in (*inside, other):
        domain.start("--paused")
    with stopped(libvirtd):
        for domain in inside:
            os.kill(helpers.monitor_of(domain), signal.SIGKILL)
        os.kill(helpers.monitor_of(other), signal.SIGKILL)
        other.wait_state("shut off", SOON)
        for domain in inside:
            domain.wait_state("shut off", SOON)
        assert len(list(PORTS.iterdir())) == len(inside)
        # A later start of such a domain fails in time.
        assert "libvirt's network daemon has not answered for" in inside[0].virsh("start", check=False)
    helpers.wait_for(lambda: released(network), what="all ports are released")


def test_destroy_does_not_wait(no_leaks, make_domain, network, libvirtd):
    domain = make_domain(devices=helpers.interface_xml(network=network))
    domain.start("--paused")
    with stopped(libvirtd):
        assert seconds(domain.virsh, "destroy") < SOON
        assert domain.state() == "shut off"
    helpers.wait_for(lambda: released(network), what="the port is released")


def test_ports_outlive_the_daemon(no_leaks, make_domain, network, libvirtd):
    """The next daemon releases what this one could not."""
    domain = make_domain(devices=helpers.interface_xml(network=network))
    domain.start("--paused")
    (port,) = ports_of(network)
    with stopped(libvirtd):
        domain.virsh("destroy")
        assert [path.name for path in PORTS.iterdir()] == [port]
        assert seconds(helpers.run, "systemctl", "stop", "virtmicrod.service") < LIMIT + SOON
        helpers.run("systemctl", "start", "virtmicrod.service")
        assert [path.name for path in PORTS.iterdir()] == [port]
    helpers.wait_for(lambda: released(network), what="the port is released")


@pytest.fixture
def remove_libvirtd(libvirtd):
    """remove(): no libvirt daemon answers, nor can be started, until put_back() or the end of the test."""
    units = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd.service")
    listening = [unit for unit in units[:3] if helpers.unit_property(unit, "ActiveState") == "active"]

    def put_back():
        helpers.run("systemctl", "unmask", "--runtime", *units)
        helpers.run("systemctl", "start", *listening, "libvirtd.service")

    def remove():
        helpers.run("systemctl", "mask", "--runtime", *units)
        helpers.run("systemctl", "stop", *units)

    yield remove, put_back
    put_back()


def test_a_port_that_can_never_be_given_back(no_leaks, make_domain, network, remove_libvirtd, journal_start):
    """The domain ends all the same, as does a start; a port is remembered for as long as libvirt could have it."""
    remove, put_back = remove_libvirtd
    domain, other = make_domain(devices=helpers.interface_xml(network=network)), make_domain()
    domain.start("--paused")
    (port,) = ports_of(network)
    remove()
    domain.virsh("destroy")
    assert domain.state() == "shut off"
    assert "cannot reach libvirt" in domain.virsh("start", check=False)
    assert domain.state() == "shut off"
    for _ in range(2):
        assert port in [path.name for path in PORTS.iterdir()]
        helpers.run("systemctl", "restart", "virtmicrod.service")
        other.start("--paused")
        other.virsh("destroy")
    late = [entry["MESSAGE"] for entry in helpers.journal(journal_start) if f"port {port}" in str(entry["MESSAGE"])]
    assert len(late) == 3 and all("is not released yet" in message for message in late)  # once for each daemon
    put_back()
    helpers.run("virsh", "net-destroy", network)
    try:
        helpers.wait_for(lambda: not any(PORTS.iterdir()), what="a port whose network is gone is forgotten")
    finally:
        helpers.run("virsh", "net-start", network)
    domain.start("--paused")
    domain.virsh("destroy")


def addresses(conn, name, code):
    """Asks for a domain's addresses until that fails with the code; returns the message."""
    domain = conn.lookupByName(name)
    while True:
        got, text = error_of(domain.interfaceAddresses, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
        if got == code:
            return text


def test_readers_block_nobody(make_domain, network, libvirtd):
    domain = make_domain(devices=helpers.interface_xml(network=network))
    domain.start("--paused")
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(24) as pool:
        clients = [stack.enter_context(connection(readonly=True)) for _ in range(24)]
        with stopped(libvirtd):
            readers = [pool.submit(addresses, conn, domain.name, libvirt.VIR_ERR_OPERATION_TIMEOUT) for conn in clients]
            time.sleep(1)
            assert not any(reader.done() for reader in readers)
            for _ in range(3):
                assert seconds(domain.virsh, "dominfo") < SOON / 2
                assert seconds(helpers.virsh, "list") < SOON / 2
            domain.virsh("resume")
            for reader in readers:
                text = reader.result(helpers.CALL)
                assert "libvirt's network daemon has not answered for" in text
                assert "see systemctl status virtnetworkd libvirtd" in text
    helpers.wait_for(lambda: domain.virsh("domifaddr", check=False).find("error") < 0)


def test_stop_of_the_daemon_does_not_wait(make_domain, network, libvirtd):
    """The daemon stops although calls wait, and a domain being started leaves no trace."""
    domain = make_domain(devices=helpers.interface_xml(network=network))
    running = make_domain(devices=helpers.interface_xml(network=network))
    running.start("--paused")
    with stopped(libvirtd), concurrent.futures.ThreadPoolExecutor() as pool:
        start = pool.submit(helpers.run, "virsh", "-c", helpers.URI, "start", domain.name, check=False)
        read = pool.submit(helpers.run, "virsh", "-c", helpers.URI, "domifaddr", running.name, check=False)
        helpers.wait_for(lambda: len(helpers.monitors()) == 2, what="a monitor was made")
        assert seconds(helpers.run, "systemctl", "stop", "virtmicrod.service") < LIMIT + SOON
        assert start.result().returncode and read.result().returncode
        helpers.run("systemctl", "start", "virtmicrod.service")
        assert domain.state() == "shut off" and running.state() == "paused"
        assert len(helpers.monitors()) == 1
    running.virsh("destroy")
    helpers.wait_for(lambda: released(network), what="all ports are released")


def test_stop_ends_starts_on_the_bus(no_leaks, make_domain, network, libvirtd):
    """The caller learns that nobody answers any more, and what the start had begun is given back."""
    domain = make_domain(devices=helpers.interface_xml(network=network))
    path = f"/org/virtmicro1/domain/{domain.virsh('domuuid').strip().replace('-', '_')}"
    call = ("busctl", "call", "org.virtmicro1", path, "org.virtmicro1.Domain", "Start", "u", "0")
    with stopped(libvirtd), concurrent.futures.ThreadPoolExecutor() as pool:
        start = pool.submit(helpers.run, *call, check=False)
        helpers.wait_for(helpers.monitors, what="a monitor was made")
        time.sleep(1)
        assert not start.done()
        assert seconds(helpers.run, "systemctl", "stop", "virtmicrod.service") < LIMIT + SOON
        assert start.result().returncode
        assert not helpers.monitors()
        helpers.wait_for(lambda: not helpers.scopes(), what="its scope is gone")
        helpers.run("systemctl", "start", "virtmicrod.service")
        assert domain.state() == "shut off"
    helpers.wait_for(lambda: released(network), what="the port is released if it was made")
    domain.start("--paused")


def test_start_fails_in_time(no_leaks, make_domain, network, libvirtd):
    domain = make_domain(devices=helpers.interface_xml(network=network))
    with stopped(libvirtd):
        start = time.monotonic()
        text = domain.virsh("start", check=False)
        assert "Timed out during operation: libvirt's network daemon has not answered for 10 s" in text
        assert LIMIT - 1 < time.monotonic() - start < LIMIT + SOON
        assert domain.state() == "shut off"
    helpers.wait_for(lambda: released(network), what="the port is released if it was made")
    domain.start("--paused")


def test_destroy_interrupts_a_start(no_leaks, make_domain, network, libvirtd):
    domain = make_domain(devices=helpers.interface_xml(network=network))
    with stopped(libvirtd), concurrent.futures.ThreadPoolExecutor() as pool:
        start = pool.submit(helpers.run, "virsh", "-c", helpers.URI, "start", domain.name, check=False)
        helpers.wait_for(helpers.monitors, what="a monitor was made")
        time.sleep(1)
        assert seconds(domain.virsh, "destroy", check=False) < SOON
        assert "was destroyed while it was being started" in start.result().stderr
        assert domain.state() == "shut off"
    helpers.wait_for(lambda: released(network), what="the port is released if it was made")


def test_storage_daemon(make_domain, make_disk, libvirtd, tmp_path):
    domain = make_domain(devices="<disk type='volume' device='disk'><source pool='nowhere' volume='disk.raw'/>"
                                 "<target dev='vda' bus='virtio'/></disk>")
    with stopped(libvirtd):
        text = domain.virsh("start", check=False)
        assert "libvirt's storage daemon has not answered for 10 s: see systemctl status virtstoraged libvirtd" in text


def test_relayed_calls(libvirtd):
    with stopped(libvirtd):
        start = time.monotonic()
        text = helpers.virsh("net-list", check=False)
        assert "libvirt's network daemon has not answered for 10 s" in text
        assert time.monotonic() - start < LIMIT + SOON
    assert "default" in helpers.virsh("net-list", "--all")


def test_slow_calls_are_not_given_up(libvirtd, tmp_path):
    """A call that exceeds the limit completes as long as the daemon is alive."""
    pool = f"slow{os.getpid()}"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    helpers.virsh("pool-create-as", pool, "dir", "--target", tmp_path)
    helpers.virsh("vol-create-as", pool, "disk.raw", "1M", "--format", "raw")
    try:
        upload = subprocess.Popen(["virsh", "-c", helpers.URI, "vol-upload", "disk.raw", fifo, "--pool", pool],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with open(fifo, "wb") as source:
            time.sleep(LIMIT + 3)
            source.write(b"late")
        assert upload.wait(helpers.CALL) == 0, upload.stdout.read()
        assert (tmp_path / "disk.raw").read_bytes().startswith(b"late")
    finally:
        helpers.virsh("pool-destroy", pool, check=False)


def test_events_across_a_restart(network, tmp_path):
    """A client's registration outlives the libvirt daemon behind it."""
    path = tmp_path / "net.xml"
    path.write_text("<network><name>neighbour</name><bridge name='neighbour-br'/></network>")
    helpers.run("virsh", "-c", "network:///system", "net-define", path)
    listener = helpers.Console("", command=["virsh", "-c", helpers.URI, "net-event", "--loop", "--event", "lifecycle"])
    try:
        time.sleep(2)
        for _ in range(2):
            helpers.run("virsh", "-c", "network:///system", "net-start", "neighbour")
            listener.expect(r"'lifecycle' for network neighbour: Started", helpers.CALL)
            helpers.run("virsh", "-c", "network:///system", "net-destroy", "neighbour")
            listener.expect(r"'lifecycle' for network neighbour: Stopped", helpers.CALL)
            old = libvirtd_pid()
            helpers.run("systemctl", "restart", "libvirtd.service")
            helpers.wait_for(lambda: libvirtd_pid() not in (0, old))
            time.sleep(3)
    finally:
        listener.close()
        helpers.run("virsh", "-c", "network:///system", "net-destroy", "neighbour", check=False)
        helpers.run("virsh", "-c", "network:///system", "net-undefine", "neighbour")
