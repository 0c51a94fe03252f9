#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Checks every golden document with libvirt's own schemas, as a client would.
# Usage: virt-validate.sh DIRECTORY. Exits 77 (skipped) when virt-xml-validate is not installed.
set -u
command -v virt-xml-validate >/dev/null || { echo "virt-xml-validate is not installed"; exit 77; }
failed=0
check() {
        if ! output=$(virt-xml-validate "$2" "$1" 2>&1); then
                echo "$output"
                failed=1
        fi
}
for file in "$1"/xml/*.inactive.xml "$1"/xml/*.live.xml; do
        check domain "$file"
done
for file in "$1"/capabilities/*.capabilities.xml; do
        check capability "$file"
done
for file in "$1"/capabilities/*.domcapabilities.xml; do
        check domaincaps "$file"
done
exit $failed
