#!/bin/sh
# Disassembles the ACPI tables and compares them with the checked-in listings, then
# compiles the DSDT's listing again: iasl has to find nothing wrong with it.
#
#   acpi.sh DUMP-ACPI DIRECTORY-OF-LISTINGS   (UPDATE=1 rewrites the listings)
set -eu
dump=$1 listings=$2
command -v iasl >/dev/null || { echo "skipped: there is no iasl" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two sockets of three cores of two threads: APIC ids with gaps.
"$dump" "$work" 2 3 2 8
cd "$work"
iasl -d ./*.dat >iasl.log 2>&1 || { cat iasl.log; exit 1; }

# Comments carry the version of iasl, the time and paths.
listing() {
    sed -e '/^\/\*/,/\*\//d' -e 's,//.*,,' -e 's/[[:space:]]*$//' "$1" | cat -s
}

status=0
for table in APIC DSDT FACP MCFG XSDT; do
    listing "$table.dsl" >"$table.listing"
    [ -z "${UPDATE-}" ] || cp "$table.listing" "$listings/$table.dsl"
    diff -u "$listings/$table.dsl" "$table.listing" || status=1
done

iasl -p again DSDT.dsl >compile.log 2>&1 || { cat compile.log; exit 1; }
grep -q ' 0 Errors, 0 Warnings' compile.log || { cat compile.log; status=1; }
exit $status
