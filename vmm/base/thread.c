/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The C library's default is 8 MiB of address space per stack. Touched in one place,
 * with transparent huge pages always on, that is 2 MiB of memory for each vCPU and
 * each device.
 */
#include "thread.h"

int thread_new(pthread_t *ret, void *(*fn)(void *arg), void *arg) {
        pthread_attr_t attributes;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        r = pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
        if (r == 0)
                r = pthread_create(ret, &attributes, fn, arg);
        (void) pthread_attr_destroy(&attributes);
        return -r;
}
