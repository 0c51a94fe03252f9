/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drops the process's privileges: after sandbox_enter() its open descriptors are all it has to reach the host.
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

/* Minimum for consoles and serial ports that write to a file, should all disks be smaller; bytes. */
#define SANDBOX_FILE_MIN (16ull << 20)

/*
 * Limits the size of files that this process writes to `size` bytes, or SANDBOX_FILE_MIN if that is more:
 * beyond it, writes fail with -EFBIG. Irreversible; a limit that is already lower stays.
 */
int sandbox_limit_files(uint64_t size);

/*
 * Call this while there is only one thread, when all files are open. Other users than root need a user
 * namespace; without one *ret_confined is false, the process still sees the host's files, and only no_new_privs
 * and seccomp_enter() confine it. On error *ret_step names what failed, and the process is unusable.
 */
int sandbox_enter(const struct sandbox_config *config, bool *ret_confined, const char **ret_step);
