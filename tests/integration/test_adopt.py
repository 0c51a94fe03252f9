"""Guests outlive the daemon: it may be killed, restarted or stopped while they run, and finds them again."""
import os
import pathlib
import signal
import socket
import subprocess
from xml.etree import ElementTree

import pytest

import helpers

KERNEL = helpers.HALTING

def kill_daemon():
    """kill -9; the next call of a client starts it again through its socket."""
    pid = helpers.daemon_pid()
    os.kill(pid, signal.SIGKILL)
    helpers.wait_for(lambda: helpers.daemon_pid() != pid, what="the killed daemon is gone")
    return pid


def test_guest_runs_through_kill_and_restart(no_leaks, make_domain, bridge):
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=helpers.interface_xml(bridge=bridge),
                         cmdline=f"{helpers.CMDLINE} vm.ip=192.168.77.2/24")
    with domain.boot() as console:
        console.command("echo kept >/tmp/kept")
    monitor, number, tty = helpers.monitor_of(domain), domain.id(), domain.virsh("ttyconsole").strip()
    live = domain.xml()

    kill_daemon()
    assert domain.state() == "running"
    helpers.run("systemctl", "restart", "virtmicrod.service")

    assert (helpers.monitor_of(domain), domain.id(), domain.virsh("ttyconsole").strip()) == (monitor, number, tty)
    assert domain.xml() == live
    with domain.console() as console:
        console.prompt()
        assert console.command("cat /tmp/kept").strip() == "kept"
        console.command("ping -c 1 -W 20 192.168.77.1")
    assert "cpu_time" in domain.virsh("cpu-stats", "--total")
    packets = helpers.virsh("domstats", "--interface", domain.name).split("net.0.rx.pkts=")[1].split()[0]
    assert int(packets) > 0

    domain.virsh("shutdown")
    domain.wait_state("shut off")


def test_a_monitor_that_does_not_answer_is_left_running(no_leaks, make_domain):
    """Stopped, as by `systemctl freeze` or paging: the daemon starts without it, and finds it later."""
    domain = make_domain()
    domain.start("--paused")
    monitor, number = helpers.monitor_of(domain), domain.id()
    os.kill(monitor, signal.SIGSTOP)
    try:
        helpers.run("systemctl", "restart", "virtmicrod.service", timeout=20)
        assert (domain.state(), domain.id()) == ("paused", number)
        domain.virsh("resume", check=False, timeout=100)  # waits, and may give up
        assert helpers.monitor_of(domain) == monitor
    finally:
        os.kill(monitor, signal.SIGCONT)
    helpers.wait_for(lambda: domain.virsh("suspend", check=False) is not None and domain.state() == "paused", 100)
    domain.virsh("resume")
    assert domain.state() == "running"


def test_mute_monitors_block_nobody(no_leaks, make_domain):
    """As many are stopped as the daemon has threads for such work; another domain does not notice."""
    mute, healthy = [make_domain() for _ in range(5)], make_domain()
    for domain in (*mute, healthy):
        domain.start("--paused")
    monitors = [helpers.monitor_of(domain) for domain in mute]
    for pid in monitors:
        os.kill(pid, signal.SIGSTOP)
    try:
        helpers.run("systemctl", "restart", "virtmicrod.service", timeout=20)
        begun = helpers.time.monotonic()
        healthy.virsh("resume")
        assert helpers.time.monotonic() - begun < 10
        assert [domain.state() for domain in mute] == ["paused"] * len(mute)
        assert "cannot reach the monitor" in mute[0].virsh("resume", check=False)
        mute[1].virsh("destroy")  # does not ask the monitor
    finally:
        for pid in monitors:
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGCONT)
    helpers.wait_for(lambda: mute[0].virsh("resume", check=False) is not None and mute[0].state() == "running",
                     what="it is managed again")


def test_daemon_reconnects_to_a_monitor(no_leaks, make_domain):
    """The monitor serves its latest peer: another one takes the daemon's place, then leaves."""
    domain = make_domain()
    domain.start("--paused")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.connect(str(helpers.STATE / f"{domain.name}.ctl"))
        helpers.time.sleep(0.5)
    domain.virsh("resume")
    assert domain.state() == "running"
    domain.virsh("suspend")
    domain.virsh("destroy")


def test_reboot_while_the_daemon_is_away(no_leaks, make_domain):
    """The reboot happens, and a later power-off ends the domain."""
    domain = make_domain(kernel=helpers.Kernel("6.12"))
    console = domain.boot()
    domain.virsh("reboot")
    stop_daemon()
    helpers.wait_for(lambda: "guest restarted" in helpers.run("journalctl", "-o", "cat", f"LIBVIRT_DOMAIN={domain.name}")
                     .stdout, helpers.BOOT, what="the guest restarts")
    console.close()
    start_daemon()
    assert domain.state() == "running"
    with domain.console() as console:
        console.prompt()
        console.send("poweroff -f\n")
    domain.wait_state("shut off", helpers.BOOT)
    assert domain.virsh("domstate", "--reason").strip() == "shut off (shutdown)"


@pytest.mark.parametrize("define", (True, False))
def test_damaged_status(no_leaks, make_domain, network, define):
    """A guest with an unreadable status can still be managed and ended; only its own ports are released."""
    domain, other = (make_domain(devices=helpers.interface_xml(network=network) * 2, define=define or number)
                     for number in range(2))
    other.start("--paused")
    others = helpers.ports_of(network)
    helpers.virsh(*(("start", domain.name) if define else ("create", domain.path)), "--paused")
    monitor, number = helpers.monitor_of(domain), domain.id()
    stop_daemon()
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus state='3' pid='")
    start_daemon()
    assert (helpers.monitor_of(domain), domain.id()) == (monitor, number)
    helpers.wait_for(lambda: domain.state() == "paused", what="the monitor has reported it")
    assert "its status was damaged" in domain.virsh("dominfo")
    assert "already" in domain.virsh("start", check=False)
    domain.virsh("resume")
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert domain.state() == "running"
    assert len(helpers.ports_of(network) - others) == 2
    domain.virsh("destroy")
    helpers.wait_for(lambda: helpers.ports_of(network) == others, what="its ports, and no others, are released")
    if define:
        domain.start("--paused")


def test_devices_of_a_damaged_status(no_leaks, make_domain, make_disk, bridge):
    """The monitor tells which devices it has, so that they can be asked about and changed."""
    mac = "52:54:00:12:34:56"
    domain = make_domain(devices=helpers.disk_xml(make_disk()) + helpers.interface_xml(bridge=bridge, mac=mac))
    domain.start("--paused")
    devices = status_of(domain).get("devices")
    assert int(devices.split()[0]) >= 2
    stop_daemon()
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus")
    start_daemon()
    helpers.wait_for(lambda: domain.state() == "paused", what="the monitor has reported it")
    assert domain.virsh("domblkerror").strip() == "No errors found"
    assert "vda rd_req" in domain.virsh("domblkstat", "vda")
    assert mac in domain.virsh("domiflist")
    assert domain.virsh("domif-getlink", mac).split()[-1] == "up"
    domain.virsh("domif-setlink", mac, "down")
    assert domain.virsh("domif-getlink", mac).split()[-1] == "down"
    assert status_of(domain).get("devices").split()[1:] == devices.split()[1:]
    helpers.run("systemctl", "restart", "virtmicrod.service")
    assert domain.virsh("domif-getlink", mac).split()[-1] == "down"
    domain.virsh("destroy")


@pytest.fixture
def deaf_systemd():
    """set(True): systemd's answers to root do not get through the bus any more."""
    policy = pathlib.Path("/etc/dbus-1/system.d/virtmicro-tests.conf")

    def switch(deaf):
        if deaf:
            policy.write_text('<busconfig><policy context="mandatory">'
                              '<deny send_destination="org.freedesktop.systemd1" send_member="GetUnit" '
                              'send_interface="org.freedesktop.systemd1.Manager"/>'
                              '</policy></busconfig>')
        else:
            policy.unlink(missing_ok=True)
        helpers.run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                    "ReloadConfig")

    yield switch
    switch(False)


@pytest.mark.parametrize("define", (True, False))
def test_damaged_status_while_systemd_does_not_answer(no_leaks, deaf_systemd, make_domain, define):
    """Nothing is concluded from that: the guest is found once systemd answers, and cannot be doubled until then."""
    domain = make_domain(define=define)
    helpers.virsh(*(("start", domain.name) if define else ("create", domain.path)), "--paused")
    before, uid = identity(domain), status_of(domain).get("uid")
    stop_daemon()
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus")
    deaf_systemd(True)
    start_daemon()
    if define:
        assert domain.state() == "shut off"
        assert "a monitor of domain" in domain.virsh("start", check=False)
    else:
        assert not domain.exists()
        assert "a monitor of domain" in helpers.virsh("create", domain.path, check=False)
    helpers.time.sleep(5)  # for it to be asked for, in vain
    assert before[0] in helpers.monitors()
    deaf_systemd(False)
    helpers.wait_for(lambda: domain.exists() and domain.state() == "paused", what="it is found")
    assert identity(domain) == before
    assert status_of(domain).get("uid") == uid
    domain.virsh("destroy")


def test_ports_of_a_run_whose_status_was_lost(no_leaks, make_domain, network):
    """They are given back even when libvirt answers a later daemon, and the domain runs again by then."""
    domain = make_domain(devices=helpers.interface_xml(network=network) * 2)
    before = helpers.ports_of(network)
    domain.start("--paused")
    lost = helpers.ports_of(network) - before
    stop_daemon()
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus")
    start_daemon()
    libvirtd = int(helpers.unit_property("libvirtd.service", "MainPID"))
    os.kill(libvirtd, signal.SIGSTOP)
    try:
        domain.virsh("destroy")
        stop_daemon()
        start_daemon()
        assert domain.state() == "shut off"
        starting = subprocess.Popen(["virsh", "-q", "-c", helpers.URI, "start", domain.name, "--paused"])
        helpers.wait_for(helpers.monitors, what="it is on its way to run again")
    finally:
        os.kill(libvirtd, signal.SIGCONT)
    assert starting.wait(helpers.CALL) == 0
    helpers.wait_for(lambda: not helpers.ports_of(network) & lost, what="the ports of the first run are gone")
    assert len(helpers.ports_of(network) - before) == 2
    domain.virsh("destroy")
    helpers.wait_for(lambda: helpers.ports_of(network) == before, what="the ports of the second run are gone")


def status_of(domain):
    return ElementTree.parse(helpers.STATE / f"{domain.name}.xml").getroot()


def identity(domain):
    """Process, id and UUID of a running domain, as the daemon has them."""
    domain.virsh("domid")  # there is a daemon
    return int(status_of(domain).get("pid")), domain.id(), domain.virsh("domuuid").strip()


def rewrite_command_line(pid, arguments):
    """What a monitor that has fallen can do to its own memory, done from outside."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # proc(5): arg_start, arg_end
    text = b"\0".join(argument.encode() for argument in arguments)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(text.ljust(end - start, b"\0")[:end - start])


@pytest.mark.parametrize("define", (True, False))
def test_status_is_not_recovered_from_what_a_monitor_says(no_leaks, make_domain, define):
    """A monitor that gives itself the name, UUID and uid of another domain changes nothing.

    The names are such that libvirt's rule for a scope's name makes the same of both.
    """
    name = f"t{os.getpid()}"
    liar, domain = (make_domain(name=each, define=define) for each in (f"{name}_", name))
    for each in (liar, domain):
        helpers.virsh(*(("start", each.name) if define else ("create", each.path)), "--paused")
    before = [identity(each) for each in (liar, domain)]
    uid = status_of(domain).get("uid")
    stop_daemon()
    rewrite_command_line(before[0][0], ["x", "--uid", "7", "--name", domain.name, "--uuid", before[1][2]])
    rewrite_command_line(before[1][0], ["x", "--uid", "0", "--name", "x", "--uuid", before[0][2]])
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus")
    start_daemon()
    assert [identity(each) for each in (liar, domain)] == before
    assert status_of(domain).get("uid") == uid
    for each in (liar, domain):
        each.virsh("destroy")


def test_status_is_not_recovered_from_a_control_group_of_somebody_else(no_leaks, make_domain):
    """Anybody with a session can make a group of the name of a scope in it, and run in it what claims to be a monitor."""
    domain = make_domain()
    domain.start("--paused")
    (monitor, _, domain_uuid), unit = identity(domain), helpers.scope_of(domain)
    stop_daemon()
    os.kill(monitor, signal.SIGKILL)
    helpers.wait_for(lambda: helpers.unit_property(unit, "ActiveState") == "inactive", what="the scope is gone")
    helpers.run("systemd-run", f"--unit={domain.name}", "-p", "Delegate=yes", "bash", "-c",
                'own=/sys/fs/cgroup$(sed s/0:://p -n /proc/self/cgroup); mkdir "$own/$1"; echo $$ >"$own/$1/cgroup.procs"; '
                'exec -a x sleep 600 --uid 1 --name "$2" --uuid "$3"', "bash", unit, domain.name, domain_uuid)
    (helpers.STATE / f"{domain.name}.xml").write_text("<domstatus")
    start_daemon()
    try:
        assert domain.state() == "shut off"
    finally:
        helpers.run("systemctl", "stop", f"{domain.name}.service")
    domain.start("--paused")
    domain.virsh("destroy")


def test_daemon_killed_in_a_start(no_leaks, make_domain, bridge):
    """At any moment: afterwards the domain is running and known, or nothing of it is left and it can be started."""
    domain = make_domain(devices=helpers.interface_xml(bridge=bridge))
    for delay in (0.02, 0.05, 0.08, 0.12, 0.2, 0.4):
        helpers.virsh("list")
        starting = subprocess.Popen(["virsh", "-q", "-c", helpers.URI, "start", domain.name, "--paused"],
                                    stderr=subprocess.DEVNULL)
        helpers.wait_for(helpers.monitors, interval=0.01)
        helpers.time.sleep(delay)
        kill_daemon()
        starting.wait(helpers.CALL)
        state = domain.state()
        if state == "shut off":
            helpers.wait_for(lambda: not helpers.monitors() and not helpers.taps() and not helpers.scopes())
            domain.start("--paused")
        assert domain.state() == "paused"
        domain.virsh("destroy")


def test_port_of_an_interrupted_start_is_released(no_leaks, make_domain, network):
    """Killed after libvirt made the port, while a stopped machined blocks the next step."""
    domain = make_domain(devices=helpers.interface_xml(network=network))
    helpers.run("systemctl", "start", "systemd-machined.service")
    machined = int(helpers.unit_property("systemd-machined.service", "MainPID"))
    before = helpers.ports_of(network)
    os.kill(machined, signal.SIGSTOP)
    try:
        starting = subprocess.Popen(["virsh", "-q", "-c", helpers.URI, "start", domain.name, "--paused"],
                                    stderr=subprocess.DEVNULL)
        helpers.wait_for(lambda: helpers.ports_of(network) != before, what="there is a port")
        kill_daemon()
        starting.wait(helpers.CALL)
    finally:
        os.kill(machined, signal.SIGCONT)
    domain.wait_state("shut off")
    helpers.wait_for(lambda: helpers.ports_of(network) == before, what="the port is released")
    domain.start("--paused")
    domain.virsh("destroy")


def test_events_come_after_a_restart(no_leaks, make_domain):
    domain = make_domain()
    domain.start()
    kill_daemon()
    helpers.virsh("list")
    with helpers.Console(None, command=["virsh", "-c", helpers.URI, "event", "--all", "--loop"]) as events:
        helpers.time.sleep(5)  # to connect; nothing says when it has registered
        domain.virsh("suspend")
        events.expect(rf"'lifecycle' for domain '{domain.name}': Suspended Paused", helpers.CALL)
        domain.virsh("resume")
        events.expect(rf"'lifecycle' for domain '{domain.name}': Resumed Unpaused", helpers.CALL)
        domain.virsh("destroy")
        events.expect(rf"'lifecycle' for domain '{domain.name}': Stopped Destroyed", helpers.CALL)


def stop_daemon():
    helpers.run("systemctl", "stop", "virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service")


def start_daemon():
    helpers.run("systemctl", "start", "virtmicrod.socket", "virtmicrod-ro.socket")


def test_what_ended_meanwhile_is_reported(no_leaks, make_domain):
    """While no daemon runs, one guest powers off, monitors are killed, and one guest stays."""
    powered_off, killed, kept = make_domain(kernel=helpers.Kernel("6.12")), make_domain(), make_domain()
    transient = make_domain(define=False)
    with powered_off.boot() as console:
        killed.start()
        kept.start()
        helpers.virsh("create", transient.path)
        monitors = {domain.name: helpers.monitor_of(domain) for domain in (powered_off, killed, kept, transient)}
        console.send("sleep 5; poweroff -f\n")
        console.expect("poweroff")
    since = helpers.journal_cursor()
    stop_daemon()
    os.kill(monitors[killed.name], signal.SIGKILL)
    os.kill(monitors[transient.name], signal.SIGKILL)
    helpers.wait_for(lambda: monitors[powered_off.name] not in helpers.monitors(), helpers.BOOT, what="the guest is off")
    start_daemon()

    powered_off.wait_state("shut off")
    killed.wait_state("shut off")
    assert powered_off.virsh("domstate", "--reason").strip() == "shut off (shutdown)"
    assert killed.virsh("domstate", "--reason").strip() == "shut off (crashed)"
    assert kept.virsh("domstate").strip() == "running"
    helpers.wait_for(lambda: not transient.exists(), what="the transient domain is gone")
    told = {entry.get("LIBVIRT_DOMAIN"): entry["MESSAGE"] for entry in helpers.journal(since)
            if "while the daemon was away" in str(entry.get("MESSAGE"))}
    assert {powered_off.name, killed.name, transient.name} <= set(told)
    assert "shut down" in told[powered_off.name]


def test_killed_monitor_is_a_crash(no_leaks, make_domain):
    domain = make_domain()
    domain.start()
    os.kill(helpers.monitor_of(domain), signal.SIGKILL)
    domain.wait_state("shut off")
    assert domain.virsh("domstate", "--reason").strip() == "shut off (crashed)"
    domain.start()
    assert domain.state() == "running"

