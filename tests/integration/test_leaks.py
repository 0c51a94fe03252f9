"""Many starts and stops leave nothing behind."""
import pathlib

import helpers
from helpers import ports_of

KERNEL = helpers.HALTING
ROUNDS = 20
GROWTH_MAX = 4096  # KiB by which the daemon may grow in 20 rounds: caches, not leaks


def daemon_memory():
    status = pathlib.Path(f"/proc/{helpers.daemon_pid()}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def daemon_threads():
    return len(list(pathlib.Path(f"/proc/{helpers.daemon_pid()}/task").iterdir()))


def test_rounds(make_domain, make_disk, bridge):
    devices = (helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge=bridge)
               + "<channel type='unix'><target type='virtio' name='org.test.0'/></channel>")
    domain = make_domain(devices=devices)
    for _ in range(3):  # warm-up: thread pools, caches of D-Bus and libraries
        domain.start()
        domain.virsh("destroy")
    with helpers.nothing_left():
        daemon, memory, threads = helpers.daemon_pid(), daemon_memory(), daemon_threads()
        for number in range(ROUNDS):
            domain.start(*(["--paused"] if number % 2 else []))
            assert domain.state() == ("paused" if number % 2 else "running")
            domain.virsh("destroy")
    assert daemon_memory() - memory < GROWTH_MAX
    assert daemon_threads() <= threads + 2
    assert helpers.daemon_pid() == daemon


def end_by_shutdown(domain):
    domain.virsh("shutdown", "--mode", "acpi")


def end_by_scope(domain):
    helpers.run("systemctl", "stop", "--no-block", helpers.scope_of(domain))


def test_rounds_that_end_in_the_guest(make_domain, make_disk, bridge, network):
    """No client ends these domains: the daemon notices and cleans up on its own."""
    devices = (helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge=bridge)
               + helpers.interface_xml(network=network)
               + "<channel type='unix'><target type='virtio' name='org.test.0'/></channel>")
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=devices)
    ports = ports_of(network)
    domain.start("--paused")
    domain.virsh("destroy")
    with helpers.nothing_left():
        threads = daemon_threads()
        for end in end_by_shutdown, end_by_scope:
            domain.boot().close()
            assert len(ports_of(network)) == len(ports) + 1
            end(domain)
            domain.wait_state("shut off", helpers.BOOT)
            assert domain.virsh("domstate", "--reason").strip() == "shut off (shutdown)"
            assert ports_of(network) == ports
    assert daemon_threads() <= threads + 2


def test_rounds_with_a_network(make_domain, network):
    """A network's port is released however a domain ends, including by a failed start."""
    ports = ports_of(network)
    whole = make_domain(devices=helpers.interface_xml(network=network) * 2)
    broken = make_domain(devices=helpers.interface_xml(network=network) + helpers.interface_xml(bridge="no-such-br"))
    with helpers.nothing_left():
        for number in range(4):
            whole.start("--paused")
            assert len(ports_of(network)) == len(ports) + 2
            if number % 2:
                helpers.os.kill(helpers.monitor_of(whole), 9)
                whole.wait_state("shut off")
            else:
                whole.virsh("destroy")
            assert "no-such-br" in broken.virsh("start", check=False)
            assert ports_of(network) == ports
