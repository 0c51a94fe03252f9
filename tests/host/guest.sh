#!/usr/bin/env bash
# Guests for the tests: two stock Debian kernels, an initramfs for each, and each
# kernel also as the plain ELF file inside its bzImage: it need not unpack itself.
#
#   guest.sh build   makes them (cached) and prints their directory
#
# The directory holds vmlinuz-V, vmlinux-V, initrd-V.img, guest.img (the same
# files as an ext4 disk for the test host) and modules-6.1/ (all of that
# kernel's modules, for the test host itself, which boots the same kernel).
set -euo pipefail
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

# Fetches the package that the cloud kernel's meta package stands for, and unpacks it.
fetch_kernel() {
    local state=$1 sources=$2 output=$3 package
    private_apt_open "$state" "$sources" || return 1
    package=$(private_apt "$state" apt-cache depends linux-image-cloud-amd64 |
        awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
    [ -n "$package" ] || return 1
    (cd "$state" && private_apt "$state" apt-get download "$package" >>"$state/update.log" 2>&1) || return 1
    dpkg-deb -x "$state/${package}"_*.deb "$output"
}

# Debian 13's kernel, or the backport of it when the mirror has only Debian 12.
fetch_new_kernel() {
    fetch_kernel "$1" "$(other_suite trixie)" "$2" || fetch_kernel "$1" "$(other_suite bookworm-backports)" "$2"
}

modules_root() {
    local found
    found=$(find "$1" -maxdepth 4 -path '*lib/modules/*' -prune -print -quit)
    [ -n "$found" ] || die "no kernel modules under $1"
    echo "$found"
}

# Moves modules to where depmod and modprobe expect them, uncompressed.
prepare_modules() {
    local kernel=$1 from version
    from=$(modules_root "$kernel")
    version=${from##*/}
    mkdir -p "$kernel/flat/lib/modules"
    mv "$from" "$kernel/flat/lib/modules/"
    find "$kernel/flat" -name '*.ko.xz' -print0 | xargs -0 -r -P 2 -n 64 xz -d
    depmod -b "$kernel/flat" "$version"
    echo "$version"
}

# The files that loading the listed modules takes; built-in ones need none.
module_files() {
    local kernel=$1 version=$2 name
    sed -n -E 's/^(load|have) //p' "$host_scripts/guest/modules" | while read -r name; do
        modprobe -d "$kernel/flat" -S "$version" --show-depends "$name" 2>/dev/null |
            awk '$1 == "insmod" { print $2 }' || true
    done | sort -u
}

install_modules() {
    local kernel=$1 version=$2 tree=$3 file
    module_files "$kernel" "$version" | while read -r file; do
        install -D -m 644 "$file" "$tree/lib/modules/$version/${file##*"/lib/modules/$version/"}"
    done
    cp "$kernel/flat/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$tree/lib/modules/$version/"
    depmod -b "$tree" "$version"
    rm -f "$tree/lib/modules/$version"/modules.{order,builtin.modinfo,symbols*,*.bin,softdep,devname}
    sed -n 's/^load //p' "$host_scripts/guest/modules" >"$tree/etc/modules"
}

install_busybox() {
    local tree=$1 applet
    install -D -m 755 "$(command -v busybox)" "$tree/bin/busybox"
    busybox --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    ln -s bin "$tree/sbin"
}

install_configuration() {
    local tree=$1
    install -m 755 "$host_scripts/guest/init" "$tree/init"
    install -m 755 "$host_scripts/guest/udhcpc" "$tree/etc/udhcpc"
    mkdir -p "$tree/etc/acpi/PWRF"
    printf '#!/bin/sh\nexec poweroff -f\n' >"$tree/etc/acpi/PWRF/00000080"
    chmod 755 "$tree/etc/acpi/PWRF/00000080"
    # shellcheck disable=SC2016  # the guest's shell expands it
    printf 'export PATH=/bin HOME=/root PS1="guest# "\n' >"$tree/etc/profile"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    mknod "$tree/dev/console" c 5 1
}

# Not compressed: unpacking costs a slow guest more than reading does the host.
make_initramfs() {
    local kernel=$1 version=$2 output=$3 tree=$1/initramfs
    mkdir -p "$tree"/{bin,dev,etc,proc,root,sys,tmp,run,mnt}
    install_busybox "$tree"
    install_modules "$kernel" "$version" "$tree"
    install_configuration "$tree"
    (cd "$tree" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0) >"$output"
}

make_guest() {
    local kernel=$1 name=$2 output=$3 version
    version=$(prepare_modules "$kernel")
    cp "$kernel"/boot/vmlinuz-* "$output/vmlinuz-$name"
    "$host_scripts/extract-vmlinux" "$output/vmlinuz-$name" >"$output/vmlinux-$name"
    make_initramfs "$kernel" "$version" "$output/initrd-$name.img"
    say "guest kernel $name is $version"
}

make_disk() {
    local output=$1
    mkdir "$output/files"
    ln "$output"/vmlinu* "$output"/initrd-* "$output/files/"
    truncate -s 512M "$output/guest.img"
    mke2fs -q -F -t ext4 -L guests -d "$output/files" "$output/guest.img"
}

build() {
    local output=$1 work=$1.new
    rm -rf "$work"
    mkdir -p "$work/output"
    say "guest kernels: fetching two Debian kernels"
    need_apt_lists
    fetch_kernel "$work/apt-old" "$(debian_sources)" "$work/old" || die "cannot fetch the 6.1 kernel: $work/apt-old/update.log"
    fetch_new_kernel "$work/apt-new" "$work/new" || die "cannot fetch the 6.12 kernel: $work/apt-new/update.log"
    make_guest "$work/old" 6.1 "$work/output"
    make_guest "$work/new" 6.12 "$work/output"
    mv "$work/old/flat/lib/modules" "$work/output/modules-6.1"
    make_disk "$work/output"
    mv "$work/output" "$output"
    rm -rf "$work"
}

build_once() {
    local output=$1
    [ -d "$output" ] || build "$output"
    prune guests "$output"
}

case ${1:-} in
build)
    output=$cache/guests-$(key_of "$0" "$host_scripts/extract-vmlinux" "$host_scripts"/guest/*)
    locked guests build_once "$output" >&2
    echo "$output"
    ;;
*) die "usage: guest.sh build" ;;
esac
