#!/usr/bin/env bash
# The test host's disk: a Debian system with systemd as PID 1, made of packages
# only. It boots the 6.1 guest kernel, whose initramfs switches to it.
#
#   image.sh build   makes it (cached) and prints its directory
#
# The directory holds host.img, key (SSH, for root) and packages.txt (versions).
set -euo pipefail
# shellcheck source=tests/host/lib.sh
. "$(dirname "$0")/lib.sh"

# Proxies and the like configured for apt hold for the bootstrap as well.
proxy_options() {
    apt-config dump | sed -n -E 's/^(Acquire::[a-z]+::Proxy[^ ]* .*)$/--aptopt=\1/p'
}

bootstrap() {
    local tree=$1 log=$2 include options
    include=$(packages_of "$host_scripts/packages" | paste -sd,)
    mapfile -t options < <(proxy_options)
    debian_sources | mmdebstrap --mode=root --variant=minbase --include="$include" "${options[@]}" \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$tree" - >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "mmdebstrap failed"
    }
}

write_file() {
    install -d "$(dirname "$1")"
    cat >"$1"
}

configure_network() {
    local tree=$1
    echo virtmicro-host >"$tree/etc/hostname"
    printf '127.0.0.1 localhost virtmicro-host\n::1 localhost\n' >"$tree/etc/hosts"
    rm -f "$tree/etc/resolv.conf"
    echo 'nameserver 10.0.2.3' >"$tree/etc/resolv.conf"
    # QEMU's user network; every other link is left to the tests.
    write_file "$tree/etc/systemd/network/10-outside.network" <<'EOF'
[Match]
Name=eth0

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
EOF
    chroot "$tree" systemctl -q enable systemd-networkd.service
    chroot "$tree" systemctl -q mask systemd-networkd-wait-online.service
}

configure_ssh() {
    local tree=$1 directory=$2
    ssh-keygen -q -t ed25519 -N '' -C test-host -f "$directory/key"
    install -d -m 700 "$tree/root/.ssh"
    install -m 600 "$directory/key.pub" "$tree/root/.ssh/authorized_keys"
    write_file "$tree/etc/ssh/sshd_config.d/host.conf" <<'EOF'
UseDNS no
UsePAM yes
PrintMotd no
MaxSessions 200
MaxStartups 200
EOF
}

configure_services() {
    local tree=$1 unit
    # The journal's and the kernel's words belong in the serial log, a login prompt does not.
    for unit in serial-getty@ttyS0.service getty@tty1.service systemd-timesyncd.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
        fstrim.timer logrotate.timer libvirt-guests.service ModemManager.service; do
        chroot "$tree" systemctl -q mask "$unit"
    done
    # Sockets start it when a client comes.
    chroot "$tree" systemctl -q disable libvirtd.service
    chroot "$tree" systemctl -q enable libvirtd.socket libvirtd-ro.socket
    chroot "$tree" systemctl -q set-default multi-user.target
    write_file "$tree/etc/systemd/system/host-ready.service" <<'EOF'
[Unit]
Description=Says on the serial line that the test host is up
After=ssh.service systemd-networkd.service systemd-machined.service dbus.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "host-ready: $(systemctl is-active ssh.service)" >/dev/ttyS0'

[Install]
WantedBy=multi-user.target
EOF
    chroot "$tree" systemctl -q enable host-ready.service
}

configure_kernel() {
    local tree=$1
    cp -a "$2/modules-6.1/." "$tree/usr/lib/modules/"
    printf '%s\n' tun bridge vhost_net >"$tree/etc/modules-load.d/host.conf"
    # The emulator's virtual GIF loses nested guests' interrupts; without nesting in turn nothing needs it.
    echo 'options kvm_amd nested=0 vgif=0 vls=0' >"$tree/etc/modprobe.d/host.conf"
    # Where the machine is busy the disk may take longer than the 90 s that systemd gives it.
    printf 'LABEL=guests %s ext4 noatime,x-systemd.device-timeout=600 0 0\n' "$guest_directory" >"$tree/etc/fstab"
    mkdir -p "$tree$guest_directory"
}

# libvirtd asks every emulator it finds for its capabilities, which takes long here.
hide_emulator() {
    local tree=$1
    install -d "$tree/opt/qemu/bin"
    mv "$tree"/usr/bin/qemu-system-* "$tree/opt/qemu/bin/"
    # It looks for its firmware relative to itself.
    ln -s /usr/share "$tree/opt/qemu/share"
}

slim() {
    local tree=$1
    rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/etc/apt/apt.conf.d/99mmdebstrap \
        "$tree"/usr/share/qemu/*.img.gz "$tree"/var/log/*.log
    : >"$tree/etc/machine-id"
}

make_filesystem() {
    local tree=$1 image=$2
    truncate -s 6G "$image"
    mke2fs -q -F -t ext4 -L host -E lazy_itable_init=1,lazy_journal_init=1 -d "$tree" "$image"
}

build() {
    local output=$1 guests=$2 work=$1.new
    rm -rf "$work"
    mkdir -p "$work/output"
    say "host image: bootstrapping Debian 12 (about two minutes)"
    need_apt_lists
    bootstrap "$work/tree" "$work/mmdebstrap.log"
    say "host image: configuring"
    configure_network "$work/tree"
    configure_ssh "$work/tree" "$work/output"
    configure_services "$work/tree"
    configure_kernel "$work/tree" "$guests"
    : >"$work/tree/etc/default/locale"
    hide_emulator "$work/tree"
    # shellcheck disable=SC2016  # dpkg-query expands it
    chroot "$work/tree" dpkg-query -W -f '${Package} ${Version}\n' >"$work/output/packages.txt"
    slim "$work/tree"
    make_filesystem "$work/tree" "$work/output/host.img"
    mv "$work/output" "$output"
    rm -rf "$work"
    say "host image: done, $(du -h "$output/host.img" | cut -f1)"
}

build_once() {
    [ -d "$1" ] || build "$1" "$2"
    prune image "$1"
}

case ${1:-} in
build)
    guests=$("$host_scripts/guest.sh" build)
    output=$cache/image-$(key_of "$0" "$host_scripts/packages" <(echo "$guests"))
    locked image build_once "$output" "$guests" >&2
    echo "$output"
    ;;
*) die "usage: image.sh build" ;;
esac
