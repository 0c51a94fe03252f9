#!/bin/sh
# Compares what each promised version of the control protocol puts on the socket with the checked-in sessions. That of
# version 1, which was not promised, is only played by tests.
#
#   ctl.sh DUMP-CTL DIRECTORY-OF-SESSIONS   (UPDATE=1 rewrites that of the newest version)
set -eu
dump=$1 sessions=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0 version=2
while "$dump" "$version" >"$work/v$version.txt"; do
    if [ -n "${UPDATE-}" ]; then newest=$version; fi
    version=$((version + 1))
done
if [ -n "${newest-}" ]; then cp "$work/v$newest.txt" "$sessions/"; fi
for file in "$sessions"/v*.txt; do
    [ "$(basename "$file")" != v1.txt ] || continue
    diff -u "$file" "$work/$(basename "$file")" || status=1
done
# The next version has no session: one that says so must fail.
[ -e "$sessions/v$((version - 1)).txt" ] && [ ! -e "$sessions/v$version.txt" ] || status=1
exit $status
