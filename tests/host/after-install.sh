#!/bin/sh
# Run after virtmicro was installed, in the test host or elsewhere.
set -eu
systemd-sysusers virtmicro.conf
systemd-tmpfiles --create virtmicro.conf
systemctl daemon-reload
systemctl reload dbus.service
systemctl try-reload-or-restart polkit.service
systemctl try-restart virtmicrod.service
for socket in virtmicrod.socket virtmicrod-ro.socket; do
    systemctl cat "$socket" >/dev/null 2>&1 || continue
    systemctl enable --quiet --now "$socket"
done
