#!/usr/bin/env bash
# Whether this machine's /dev/kvm is good for stock Linux guests.
#
#   accel.sh nested   prints kvm when its guests can run KVM in turn, else tcg
#   accel.sh guest    prints kvm when it boots a stock kernel, else tcg
#
# VIRTMICRO_ACCEL=kvm or tcg overrides the probe, which boots a guest: a
# /dev/kvm is no proof, there are emulated ones that run little code.
set -euo pipefail
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

boots_linux() {
    local guests
    [ -w /dev/kvm ] || return 1
    guests=$("$host_scripts/guest.sh" build)
    # Not a pipe into grep -q, which would end QEMU by SIGPIPE and fail the pipe.
    timeout 30 qemu-system-x86_64 -nodefaults -display none -no-reboot -accel kvm -cpu host -m 256M \
        -kernel "$guests/vmlinuz-6.1" -initrd "$guests/initrd-6.1.img" \
        -append 'console=ttyS0 panic=-1 vm.run=poweroff' -serial stdio </dev/null 2>/dev/null |
        grep -c 'init reached' >/dev/null
}

processor_nests() {
    grep -qwE 'svm|vmx' /proc/cpuinfo &&
        grep -qE '^(1|Y)' /sys/module/kvm_{amd,intel}/parameters/nested 2>/dev/null
}

usable() {
    case $1 in
    nested) processor_nests && boots_linux ;;
    guest) boots_linux ;;
    *) die "usage: accel.sh nested|guest" ;;
    esac
}

if [ -n "${VIRTMICRO_ACCEL:-}" ]; then
    echo "$VIRTMICRO_ACCEL"
elif usable "${1:-}"; then
    echo kvm
else
    echo tcg
fi
