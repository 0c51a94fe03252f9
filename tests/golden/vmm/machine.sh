#!/bin/sh
# Compares what guests see of each version of the machine with the checked-in lists. A version that was released never
# changes: what is wrong with it is right in the next one.
#
#   machine.sh DUMP-MACHINE DIRECTORY-OF-LISTS   (UPDATE=1 writes the list of a version that has none)
set -eu
dump=$1 lists=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0 number=1
while "$dump" "$number" >"$work/list.txt"; do
    list=$lists/$(head -n 1 "$work/list.txt").txt
    if [ -n "${UPDATE-}" ] && [ ! -e "$list" ]; then cp "$work/list.txt" "$list"; fi
    diff -u "$list" "$work/list.txt" || status=1
    number=$((number + 1))
done
# Each list is that of a version.
[ "$(ls "$lists" | wc -l)" -eq $((number - 1)) ] || { echo "lists without a version in $lists"; status=1; }
exit $status
