"""What many starts and stops leave: nothing."""
import pathlib

import helpers

ROUNDS = 20
GROWTH_MAX = 4096  # KiB that the daemon may grow by in 20 rounds: caches, not leaks


def daemon_memory():
    status = pathlib.Path(f"/proc/{helpers.daemon_pid()}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def daemon_threads():
    return len(list(pathlib.Path(f"/proc/{helpers.daemon_pid()}/task").iterdir()))


def test_rounds(make_domain, make_disk, bridge):
    devices = (helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge=bridge)
               + "<channel type='unix'><target type='virtio' name='org.test.0'/></channel>")
    domain = make_domain(devices=devices)
    for _ in range(3):  # warm: pools of threads, caches of D-Bus and libraries
        domain.start()
        domain.virsh("destroy")
    with helpers.nothing_left():
        memory, threads = daemon_memory(), daemon_threads()
        for number in range(ROUNDS):
            domain.start(*(["--paused"] if number % 2 else []))
            assert domain.state() == ("paused" if number % 2 else "running")
            domain.virsh("destroy")
    assert daemon_memory() - memory < GROWTH_MAX
    assert daemon_threads() <= threads + 2
    assert helpers.unit_property("virtmicrod.service", "NRestarts") == "0"
