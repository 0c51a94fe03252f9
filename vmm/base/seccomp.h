/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One system call filter per kind of thread.
 */
#pragma once

enum thread_kind {
        THREAD_CONTROL, /* the main thread: control socket, building the machine */
        THREAD_VCPU,
        THREAD_DEVICE, /* device loops */
        THREAD_KIND_MAX,
};

/*
 * Installs the kind's filter on the calling thread, for good; any other call kills the
 * process with SIGSYS. The main thread goes first: the threads it makes inherit its
 * filter and narrow it with their own. Needs no_new_privs (sandbox_enter() sets it).
 */
int seccomp_enter(enum thread_kind kind);
