/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One system call filter per kind of thread.
 */
#pragma once

#include <stdint.h>

enum thread_kind {
        THREAD_CONTROL, /* the main thread: control socket, building the machine */
        THREAD_VCPU,
        THREAD_DISK, /* a block device's loop, and whoever does its I/O */
        THREAD_NET,
        THREAD_CONSOLE,
        THREAD_SERIAL,
        THREAD_RNG,
        THREAD_VSOCK,
        THREAD_KIND_MAX,
};

/* What a thread is there for. */
struct thread_role {
        enum thread_kind kind;
        int fd;        /* the one that it moves data over: disk, TAP, entropy source; else unused */
        uint64_t size; /* disk: writes begin below this offset; 0: read-only */
};

/*
 * Descriptors of disk images are moved here or above, and everything else stays below: a filter, which sees
 * only numbers, can thus tell which of them may be written at an offset. As many are left for them as for all
 * others.
 */
#define IMAGE_FD_MIN 512

/*
 * Installs the filter of a role on the calling thread, for good; any other call kills the
 * process with SIGSYS. The main thread goes first: the threads it makes inherit its
 * filter and narrow it with their own. Needs no_new_privs (sandbox_enter() sets it).
 */
int seccomp_enter(const struct thread_role *role);

/* How many different calls a kind of thread may make. */
unsigned seccomp_count(enum thread_kind kind);
