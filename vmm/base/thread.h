/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads with stacks of the size that this program needs.
 */
#pragma once

#include <pthread.h>

/*
 * The deepest user is a device with a chain of 256 vectors (4 KiB) and a line of text on the stack; with
 * sanitizers some 100 KiB. Below 2 MiB the kernel cannot back a stack by a huge page, which would cost more
 * than all the rest.
 */
#define THREAD_STACK_BYTES (256u << 10)

/* As pthread_create(), but returns a negative errno. */
int thread_new(pthread_t *ret, void *(*fn)(void *arg), void *arg);
