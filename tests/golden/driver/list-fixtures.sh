#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Lists the definitions of a directory that are input, not golden output.
for file in "$1"/*.xml; do
        case $file in
        *.inactive.xml | *.live.xml) ;;
        *) echo "$file" ;;
        esac
done
