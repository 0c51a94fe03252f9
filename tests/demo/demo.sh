#!/usr/bin/env bash
# Boots a microVM with stock virsh, shows it where operators look, and removes
# every trace of it. Run as root where virtmicro is installed; ./run demo does.
# A domain or interface that has a name of the demo's already is left alone.
set -euo pipefail
cd "$(dirname "$0")"

export SYSTEMD_COLORS=0 SYSTEMD_PAGER=
uri=micro:///system
events=$(mktemp)
monitor=
bridge=
domain=

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# A first failure is reported by what failed; the rest is removed all the same.
clean_up() {
    local status=$?
    [ -z "$domain" ] || virsh -q -c "$uri" destroy "$domain" >/dev/null 2>&1 || true
    [ -z "$domain" ] || virsh -q -c "$uri" undefine "$domain" >/dev/null 2>&1 || true
    [ -z "$bridge" ] || ip link delete "$bridge" 2>/dev/null || true
    [ -z "$monitor" ] || kill "$monitor" 2>/dev/null || true
    rm -f "$events" "$events.ready"
    [ "$status" = 0 ] || journalctl -q --no-pager -n 20 -u virtmicrod.service || true
    exit "$status"
}
trap clean_up EXIT

watch_events() {
    busctl monitor --json=short --match "type='signal',interface='org.virtmicro1.Manager'" >"$events" 2>"$events.ready" &
    monitor=$!
    timeout 20 sh -c "until grep -q Monitoring '$events.ready'; do sleep 0.1; done"
}

print_events() {
    sed -n -E 's/.*"member":"(Domain[A-Za-z]*)".*"data":(\[.*\])\}.*/\1 \2/p' "$events"
}

# A terminal for virsh: it detaches at the shell's prompt.
start_and_watch() {
    printf '\n$ virsh -c %s start --console demo\n' "$uri"
    python3 ./console.py 'guest# ' virsh -c "$uri" start --console demo
}

scope() {
    printf 'machine-micro\\x2d%s\\x2ddemo.scope' "$(virsh -q -c "$uri" domid demo | tr -d '[:space:]')"
}

prepare() {
    show systemctl start virtmicrod.socket
    if virsh -q -c "$uri" domuuid demo >/dev/null 2>&1; then
        echo "demo: there is a domain 'demo' already" >&2
        return 1
    fi
    show ip link add demo0 type bridge
    bridge=demo0
    ip address add 192.168.78.1/24 dev demo0
    ip link set demo0 up
    watch_events
}

main() {
    prepare
    show virsh -c "$uri" define demo.xml
    domain=demo
    start_and_watch
    show virsh -c "$uri" list
    show ping -q -c 3 192.168.78.2
    show systemctl status --no-pager --lines 3 "$(scope)"
    show machinectl list --no-pager
    show virsh -c "$uri" domstats --cpu-total --balloon --interface demo
    show virsh -c "$uri" destroy demo
    show virsh -c "$uri" undefine demo
    sleep 1
    printf '\nEvents on D-Bus (busctl monitor org.virtmicro1):\n'
    print_events
}

main
