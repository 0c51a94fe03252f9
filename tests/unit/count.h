/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process has, by the entries of a folder below /proc/self.
 */
#pragma once

#include <dirent.h>

#include "test.h"

/* "." and ".." count too, and with "fd" the folder's own descriptor. */
static inline unsigned count_entries(const char *path) {
        DIR *dir = opendir(path);
        unsigned n = 0;

        CHECK(dir);
        while (readdir(dir))
                n++;
        (void) closedir(dir);
        return n;
}
