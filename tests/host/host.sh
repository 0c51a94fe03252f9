#!/usr/bin/env bash
# The test host: boots the image under QEMU and runs commands in it.
#
#   host.sh build | start | reboot | stop | status | sh [CMD…] | copy SRC… DEST | deploy | logs
#
# The disk is written to a throw-away overlay: a restart gives a clean system.
# VIRTMICRO_HOST names an instance, so that several run side by side.
set -euo pipefail
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

instance=${VIRTMICRO_HOST:-default}
state=$cache/host-$instance
build=${VIRTMICRO_BUILD:-$top/build}
boot_seconds=${VIRTMICRO_BOOT_TIMEOUT:-240}

# The pid of this instance's QEMU, if it is alive and truly that.
host_pid() {
    local pid
    [ -f "$state/pid" ] || return 1
    pid=$(<"$state/pid")
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$state/serial.log" || return 1
    echo "$pid"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Sockets live in a short directory: their paths are limited to 107 bytes.
control_socket() {
    echo "$(<"$state/sockets")/ssh"
}

ssh_options() {
    printf '%s\n' -F none -i "$state/key" -p "$(<"$state/port")" \
        -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        -o ServerAliveInterval=15 -o ServerAliveCountMax=8 \
        -o ControlPath="$(control_socket)"
}

# One connection for all commands, reopened when lost.
open_connection() {
    local options
    mapfile -t options < <(ssh_options)
    ssh "${options[@]}" -O check root@127.0.0.1 >/dev/null 2>&1 && return
    rm -f "$(control_socket)"
    ssh "${options[@]}" -o ConnectTimeout=60 -M -N -f root@127.0.0.1 </dev/null >"$state/ssh.log" 2>&1 ||
        die "cannot reach the host: $(tail -n 3 "$state/ssh.log")"
}

remote() {
    local options
    mapfile -t options < <(ssh_options)
    if [ $# -eq 0 ]; then
        ssh "${options[@]}" -t root@127.0.0.1
    else
        # shellcheck disable=SC2029  # the words are a command line for the shell there
        ssh "${options[@]}" root@127.0.0.1 "$*"
    fi
}

synchronize() {
    local options
    mapfile -t options < <(ssh_options)
    rsync -e "ssh $(printf '%q ' "${options[@]}")" "$@"
}

need_running() {
    host_pid >/dev/null || die "the host \"$instance\" is not running: ./run host start"
    locked "connect-$instance" open_connection
}

# The emulator's SVM is not sound with several processors: of 40 guests that were booted two at a time in hosts of two,
# 9 crashed, and once the host itself; of 38 in hosts of one, none.
# Without five-level page tables (la57) a nested guest's page walks are shorter.
acceleration() {
    case $1 in
    kvm) echo -accel kvm -cpu host -smp "${VIRTMICRO_SMP:-2}" ;;
    tcg) echo -accel tcg,thread=multi -cpu max,la57=off -smp "${VIRTMICRO_SMP:-1}" ;;
    esac
}

emulator() {
    case $1 in
    kvm) echo qemu-system-x86_64 ;;
    tcg) "$host_scripts/emulator.sh" build ;;
    esac
}

launch() {
    local image=$1 guests=$2 kind accel qemu append
    kind=$("$host_scripts/accel.sh" nested)
    read -r -a accel <<<"$(acceleration "$kind")"
    qemu=$(emulator "$kind")
    say "host \"$instance\": booting ($kind)"
    free_port >"$state/port"
    cp "$image/key" "$state/key"
    : >"$state/serial.log"
    append='console=ttyS0 net.ifnames=0 vm.root=/dev/vda systemd.show_status=no loglevel=4 mitigations=off'
    # Where the machine is busy a disk may take longer than the 90 s that systemd waits for it.
    append+=' systemd.default_timeout_start_sec=600'
    "$qemu" -name "test-host-$instance" -nodefaults -display none -daemonize -pidfile "$state/pid" \
        -machine q35 "${accel[@]}" -m "${VIRTMICRO_MEMORY:-4G}" \
        -kernel "$guests/vmlinuz-6.1" -initrd "$guests/initrd-6.1.img" \
        -append "$append" \
        -drive "file=$image/host.img,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -drive "file=$guests/guest.img,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -netdev "user,id=outside,restrict=on,hostfwd=tcp:127.0.0.1:$(<"$state/port")-:22" \
        -device virtio-net-pci,netdev=outside -device virtio-rng-pci \
        -serial "file:$state/serial.log" >"$state/qemu.log" 2>&1
}

ready_count() {
    grep -c '^host-ready: active' "$state/serial.log" || true
}

# The first time since QEMU was started, or the given time.
wait_until_ready() {
    local deadline=$((SECONDS + boot_seconds)) time=${1:-1}
    until [ "$(ready_count)" -ge "$time" ]; do
        host_pid >/dev/null || fail_start "QEMU has ended: $(tail -n 3 "$state/qemu.log")"
        ! grep -q 'Kernel panic' "$state/serial.log" || fail_start "its kernel panicked"
        [ "$SECONDS" -lt "$deadline" ] || fail_start "not up after $boot_seconds s"
        sleep 0.3
    done
}

fail_start() {
    tail -n 40 "$state/serial.log" >&2
    stop || true
    die "the host did not start: $1"
}

load_kvm() {
    remote 'modprobe -q kvm-amd || modprobe -q kvm-intel; test -w /dev/kvm && test -c /dev/vhost-net' ||
        die "no usable /dev/kvm or /dev/vhost-net in the host"
}

start() {
    local image guests
    if host_pid >/dev/null; then
        need_running
        return
    fi
    image=$("$host_scripts/image.sh" build)
    guests=$("$host_scripts/guest.sh" build)
    mkdir -p "$state"
    mktemp -d /tmp/test-host.XXXXXX >"$state/sockets"
    launch "$image" "$guests" || die "QEMU did not start: $(tail -n 3 "$state/qemu.log")"
    wait_until_ready
    need_running
    load_kvm
    say "host \"$instance\": up"
}

stop() {
    local pid
    if [ -f "$state/sockets" ] && [ -f "$state/port" ]; then
        close_connection
    fi
    pid=$(host_pid) || return 0
    kill "$pid" 2>/dev/null || true
    wait_until_gone 100 || {
        say "host \"$instance\": does not end, killed"
        kill -KILL "$pid" 2>/dev/null || true
        wait_until_gone 100 || die "host \"$instance\": pid $pid cannot be killed"
    }
    rm -f "$state/pid"
}

# Waits this many tenths of a second. A zombie counts as gone: it has no command line.
wait_until_gone() {
    local tenths
    for ((tenths = 0; tenths < $1; tenths++)); do
        host_pid >/dev/null || return 0
        sleep 0.1
    done
    return 1
}

# Reboots through systemd; the disk keeps its contents.
reboot() {
    local times
    times=$(ready_count)
    remote 'systemctl reboot' || true # the connection may break first
    hang_up
    wait_until_ready $((times + 1))
    need_running
    load_kvm
    say "host \"$instance\": up again"
}

hang_up() {
    local options
    mapfile -t options < <(ssh_options)
    ssh "${options[@]}" -O exit root@127.0.0.1 >/dev/null 2>&1 || true
    rm -f "$(control_socket)"
}

close_connection() {
    hang_up
    rmdir "$(<"$state/sockets")" 2>/dev/null || true
    rm -f "$state/sockets"
}

status() {
    local pid
    if pid=$(host_pid); then
        echo "host \"$instance\": running, pid $pid, SSH on 127.0.0.1:$(<"$state/port"), serial log $state/serial.log"
    else
        echo "host \"$instance\": not running"
        return 1
    fi
}

# Installs the build and makes the system reload.
deploy() {
    local stage=$state/stage
    rm -rf "$stage"
    DESTDIR=$stage meson install -C "$build" --no-rebuild --quiet
    # -K: /lib and /sbin are links in the host.
    synchronize -rlpK --chown=root:root "$stage/" root@127.0.0.1:/
    synchronize -rlp --delete --exclude __pycache__ "$top"/tests/{integration,demo,bench} root@127.0.0.1:/root/tests/
    synchronize -p "$top/README.md" root@127.0.0.1:/root/tests/
    # The monitor that attacks its own filters, for test_sandbox.py; a build without tests has none.
    if [[ -x $build/vmm/virtmicro-vmm-hostile ]]; then
        synchronize -p "$build/vmm/virtmicro-vmm-hostile" root@127.0.0.1:/root/tests/
    fi
    "$host_scripts/programs.py" "$build" "$state/programs"
    synchronize -rlp --delete "$state/programs" root@127.0.0.1:/root/tests/
    remote sh -s <"$host_scripts/after-install.sh"
}

command=${1:-status}
shift || true
case $command in
build) "$host_scripts/image.sh" build ;;
start) mkdir -p "$state" && locked "start-$instance" start ;;
stop) stop ;;
status) status ;;
reboot) need_running && reboot ;;
sh) need_running && remote "$@" ;;
copy) need_running && synchronize -rlp "${@:1:$#-1}" "root@127.0.0.1:${*: -1}" ;;
fetch) need_running && synchronize -rlp "root@127.0.0.1:$1" "$2" ;;
deploy) need_running && deploy ;;
logs) cat "$state/serial.log" ;;
*) die "host: no such command: $command" ;;
esac
