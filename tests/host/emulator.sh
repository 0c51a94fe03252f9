#!/usr/bin/env bash
# The QEMU that emulates the test host where there is no nested virtualisation.
#
#   emulator.sh build   fetches it if need be (cached) and prints its path
#
# Debian 12's QEMU 7.2 gets SVM wrong: of 16 nested guests that booted a stock
# 6.12 kernel, half died early or hung, with QEMU's own monitor. Of 20 under
# QEMU 10 none did. So unless a newer one is installed, the backport is
# unpacked beside it, and used from there.
set -euo pipefail
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

newest_broken=7

installed_is_good() {
    local version
    version=$(qemu-system-x86_64 --version | sed -n -E 's/^QEMU emulator version ([0-9]+)\..*/\1/p')
    [ "${version:-0}" -gt "$newest_broken" ]
}

fetch() {
    local work=$1
    need_apt_lists
    private_apt_open "$work" "$(debian_sources; other_suite bookworm-backports)" &&
        private_apt "$work" apt-get -y -d --no-install-recommends -t bookworm-backports install qemu-system-x86 \
            >>"$work/update.log" 2>&1
}

# Sets the library path for what the backport may need newer than installed.
write_wrapper() {
    cat >"$1" <<'EOF'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/tree/usr/lib/x86_64-linux-gnu exec "$here/tree/usr/bin/qemu-system-x86_64" "$@"
EOF
    chmod +x "$1"
}

build() {
    local output=$1 work=$1.new package
    rm -rf "$work"
    mkdir -p "$work/output/tree"
    say "emulator: fetching a newer QEMU"
    fetch "$work" || die "cannot fetch QEMU from the backports: $work/update.log"
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/output/tree"
    done
    write_wrapper "$work/output/qemu"
    "$work/output/qemu" --version >/dev/null || die "the backported QEMU does not run"
    mv "$work/output" "$output"
    rm -rf "$work"
}

build_once() {
    [ -d "$1" ] || build "$1"
}

case ${1:-} in
build)
    if installed_is_good; then
        command -v qemu-system-x86_64
    else
        output=$cache/emulator-$(key_of "$0")
        locked emulator build_once "$output" >&2
        echo "$output/qemu"
    fi
    ;;
*) die "usage: emulator.sh build" ;;
esac
