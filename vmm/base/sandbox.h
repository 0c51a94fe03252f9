/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Takes the process's rights away: after sandbox_enter() it has its open descriptors,
 * and nothing else to reach the host by.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SANDBOX_UID_NOBODY 65534u

struct sandbox_config {
        uid_t uid; /* switched to when started as root; never 0 */
        gid_t gid;
        const int *fds; /* stay open, beside 0, 1 and 2 */
        unsigned n_fds; /* at most SANDBOX_FDS_MAX */
};

#define SANDBOX_FDS_MAX 128u

/* What a console or serial port that writes to a file gets in a machine whose disks are all smaller, bytes. */
#define SANDBOX_FILE_MIN (16ull << 20)

/*
 * From now on no file gets longer by this process than `size` bytes, or SANDBOX_FILE_MIN where that is more: writing
 * further is -EFBIG. For good; a limit that is lower already stays.
 */
int sandbox_limit_files(uint64_t size);

/*
 * Call it on the only thread, when all files are open. As root it does everything. As
 * another user it needs a user namespace to do so; without one *ret_confined is false,
 * the process keeps its view of the host, and only no_new_privs and what seccomp_enter()
 * adds hold it. On error *ret_step names what failed; the process is not usable then.
 */
int sandbox_enter(const struct sandbox_config *config, bool *ret_confined, const char **ret_step);
