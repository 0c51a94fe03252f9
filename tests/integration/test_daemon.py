"""The daemon as a program: run by hand without systemd's sockets, and upgraded while guests run."""
import contextlib
import grp
import os
import pathlib
import shutil
import signal
import stat
import subprocess

import pytest

import helpers
import output

DAEMON = pathlib.Path("/usr/sbin/virtmicrod")
KERNEL = helpers.HALTING
UNITS = ["virtmicrod.socket", "virtmicrod-ro.socket", "virtmicrod.service"]
SOCKETS = [pathlib.Path("/run/libvirt", name) for name in ("virtmicrod-sock", "virtmicrod-sock-ro")]


@pytest.fixture
def no_units():
    """Neither systemd's sockets nor the service exist."""
    helpers.run("systemctl", "stop", *UNITS)
    assert not any(path.exists() for path in SOCKETS)
    yield
    helpers.run("systemctl", "start", *UNITS[:2])


@contextlib.contextmanager
def by_hand(*options):
    """A daemon run by the test, once it listens. SIGTERM ends it, which has to succeed."""
    process = subprocess.Popen([DAEMON, *options], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # The read-only socket is made last.
        helpers.wait_for(lambda: process.poll() is not None or SOCKETS[1].exists(), what="the daemon listens")
        assert process.poll() is None
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(helpers.CALL) == 0
    finally:
        process.kill()
        process.wait()


def rights(path):
    found = path.stat()
    return stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, grp.getgrgid(found.st_gid).gr_name


def test_sockets_of_its_own(no_units, make_domain):
    """They exist while it runs; the next daemon, systemd's or not, finds its domains."""
    domain = make_domain(define=False)
    with by_hand():
        assert [rights(path) for path in SOCKETS] == [(True, 0o666, 0, "libvirt")] * 2
        helpers.virsh("define", domain.path)
        domain.start("--paused")
        number, monitor = domain.id(), helpers.monitor_of(domain)
        assert domain.name in helpers.virsh("list", "--name", readonly=True)
        text = helpers.virsh("destroy", domain.name, readonly=True, check=False)
        assert "read only access prevents virDomainDestroy" in text
    assert not any(path.exists() for path in SOCKETS)
    with by_hand():
        assert (domain.state(), domain.id(), helpers.monitor_of(domain)) == ("paused", number, monitor)
    helpers.run("systemctl", "start", *UNITS[:2])
    assert (domain.state(), domain.id(), helpers.monitor_of(domain)) == ("paused", number, monitor)


def test_sockets_follow_the_settings(no_units, tmp_path):
    """Without polkit the socket's mode decides, so it is not open to everybody."""
    settings = tmp_path / "virtmicrod.conf"
    settings.write_text('auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "daemon"\n')
    with by_hand("-f", settings):
        assert [rights(path) for path in SOCKETS] == [(True, 0o660, 0, "daemon"), (True, 0o666, 0, "daemon")]
        assert helpers.virsh("uri").strip() == helpers.URI


def test_sockets_that_a_killed_daemon_left(no_units):
    with pytest.raises(AssertionError), by_hand() as process:
        process.kill()
        process.wait()
    assert all(path.exists() for path in SOCKETS)
    inodes = [path.stat().st_ino for path in SOCKETS]
    with by_hand():
        helpers.wait_for(lambda: [path.stat().st_ino for path in SOCKETS] != inodes)
        assert helpers.virsh("uri").strip() == helpers.URI


def refused(*options):
    """The error of a daemon that refuses to start."""
    result = helpers.run(DAEMON, *options, check=False, timeout=20)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stderr


def test_a_second_daemon_is_turned_away(make_domain):
    """It must not touch the first one's domains: it would take a running start for an abandoned one."""
    domain = make_domain()
    domain.start("--paused")
    helpers.virsh("list")
    pid, before = helpers.daemon_pid(), helpers.resources()
    assert f"cannot start: operation failed: another virtmicrod is running, process {pid}: it holds '{helpers.STATE}/lock'" \
        in refused()
    assert domain.state() == "paused" and helpers.resources() == before
    domain.virsh("resume")  # its monitor still listens to the first
    assert domain.state() == "running" and helpers.daemon_pid() == pid


def test_sockets_of_another_daemon_are_left_alone(tmp_path):
    """A daemon with its own directories may run beside the first, but not on the same sockets."""
    helpers.virsh("list")
    settings = tmp_path / "virtmicrod.conf"
    settings.write_text(f'config_dir = "{tmp_path}/config"\nstate_dir = "{tmp_path}/state"\n')
    before = [path.stat().st_ino for path in SOCKETS]
    assert f"cannot listen on {SOCKETS[0]}: Address already in use" in refused("-f", settings)
    assert [path.stat().st_ino for path in SOCKETS] == before
    assert helpers.virsh("uri").strip() == helpers.URI


# Upgrades


def replace(path):
    """As a package manager does: a new file takes over the name."""
    before = path.stat().st_ino
    fresh = path.with_name(path.name + ".dpkg-new")
    shutil.copy2(path, fresh)
    fresh.rename(path)
    assert path.stat().st_ino != before


def executable(pid):
    return os.readlink(f"/proc/{pid}/exe")


@pytest.mark.parametrize("verb", ["try-restart", "restart"])
def test_upgrade_of_paused_domains(no_leaks, make_domain, verb):
    """Daemon and monitor are replaced; running domains keep the old monitor, a start uses the new one."""
    old, new = make_domain(), make_domain()
    old.start("--paused")
    number, monitor, daemon = old.id(), helpers.monitor_of(old), helpers.daemon_pid()
    replace(DAEMON)
    replace(pathlib.Path(helpers.VMM))
    assert executable(daemon) == f"{DAEMON} (deleted)" and executable(monitor).endswith("(deleted)")
    helpers.run("systemctl", verb, UNITS[2])
    assert helpers.daemon_pid() != daemon and executable(helpers.daemon_pid()) == str(DAEMON)
    new.start("--paused")
    assert (old.state(), old.id(), helpers.monitor_of(old)) == ("paused", number, monitor)
    assert not executable(helpers.monitor_of(new)).endswith("(deleted)")
    for domain in old, new:
        domain.virsh("resume")
        assert domain.state() == "running"
        domain.virsh("destroy")


def test_upgrade_under_a_guest(no_leaks, make_domain, make_disk):
    """Console, statistics, disk and power button keep working; an open console ends instead of hanging."""
    domain = make_domain(kernel=helpers.Kernel("6.12"), devices=helpers.disk_xml(make_disk()))
    with domain.boot() as console:
        console.command("echo kept >/tmp/kept")
        replace(DAEMON)
        replace(pathlib.Path(helpers.VMM))
        helpers.run("systemctl", "try-restart", UNITS[2])
        console.expect("the daemon ends", helpers.CALL)  # two threads of virsh print at once
        assert console.process.wait(helpers.CALL) != 0
    with domain.console() as console:
        console.prompt()
        before = int(output.words(domain.virsh("domblkstat", "vda"))["wr_bytes"])
        assert console.command("cat /tmp/kept; dd if=/dev/zero of=/dev/vda bs=1M count=1 conv=fsync").startswith("kept")
    stats = output.stats(domain.virsh("domstats"))[domain.name]
    assert stats["state.state"] == "1" and int(stats["cpu.time"]) > 0
    assert int(stats["block.0.wr.bytes"]) - before >= 1 << 20
    assert output.told("shutdown", domain.name, "--mode", "acpi") == f"Domain '{domain.name}' is being shutdown\n\n"
    domain.wait_state("shut off", helpers.BOOT)
    assert domain.virsh("domstate", "--reason").strip() == "shut off (shutdown)"


# What happens around it


@contextlib.contextmanager
def private_bus():
    """A bus that can be killed without harm to the host: its process and address."""
    process = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"],
                               stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_losing_the_bus_ends_the_daemon_for_a_restart(no_leaks, make_domain, no_units, monkeypatch):
    """Without a bus no domain could start. The guest stays, and the next daemon finds it."""
    helpers.run("systemctl", "start", *UNITS[:2])
    domain = make_domain()
    domain.start("--paused")
    number, monitor = domain.id(), helpers.monitor_of(domain)
    helpers.run("systemctl", "stop", *UNITS)
    with private_bus() as (bus, address):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        with pytest.raises(AssertionError), by_hand() as daemon:
            assert helpers.virsh("domstate", domain.name).strip() == "paused"
            bus.kill()
            assert daemon.wait(helpers.CALL) == 1
    assert helpers.unit_property(UNITS[2], "Restart") == "on-failure"
    helpers.run("systemctl", "start", *UNITS[:2])
    assert (domain.state(), domain.id(), helpers.monitor_of(domain)) == ("paused", number, monitor)


def test_hangup_changes_nothing(journal_start):
    helpers.virsh("list")
    pid = helpers.daemon_pid()
    helpers.run("systemctl", "kill", "-s", "HUP", "--kill-whom=main", UNITS[2])
    helpers.wait_for(lambda: any("SIGHUP ignored: settings are read when the daemon starts" in str(entry["MESSAGE"])
                                 for entry in helpers.journal(journal_start, UNITS[2])), what="the daemon says why")
    helpers.virsh("list")
    assert helpers.daemon_pid() == pid
