#!/bin/sh
# Installs the sample of settings unless there is a file already: install-conf.sh SAMPLE DESTINATION, run by meson.
# What is installed like this is not in meson's list, so `ninja uninstall` leaves it too.
set -eu
destination=${DESTDIR:-}$2
[ -z "${MESON_INSTALL_DRY_RUN:-}" ] || exit 0
if [ -e "$destination" ] || [ -L "$destination" ]; then
    [ -n "${MESON_INSTALL_QUIET:-}" ] || echo "Keeping $destination"
    exit 0
fi
[ -n "${MESON_INSTALL_QUIET:-}" ] || echo "Installing $1 to ${destination%/*}"
install -D -m 644 "$1" "$destination"
