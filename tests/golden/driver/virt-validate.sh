#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Checks every golden document with libvirt's own schemas, as a client would, and with ours.
# Usage: virt-validate.sh DIRECTORY SCHEMAS. Exits 77 (skipped) when a tool is not installed.
set -u
for tool in virt-xml-validate xmllint; do
        command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
failed=0
# check NAME-OF-LIBVIRT'S-SCHEMA OUR-SCHEMA FILE
check() {
        if ! output=$(virt-xml-validate "$3" "$1" 2>&1 && xmllint --noout --relaxng "$schemas/$2" "$3" 2>&1); then
                echo "$output"
                failed=1
        fi
}
schemas=$2
for file in "$1"/xml/*.inactive.xml "$1"/xml/*.live.xml; do
        check domain domain.rng "$file"
done
for file in "$1"/capabilities/*.capabilities.xml; do
        check capability capabilities.rng "$file"
done
for file in "$1"/capabilities/*.domcapabilities.xml; do
        check domaincaps domaincapabilities.rng "$file"
done
exit $failed
