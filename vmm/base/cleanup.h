/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ownership by scope: a variable marked CLEANUP(fn) is released when it leaves scope,
 * TAKE() and take_fd() hand it on. Functions return a negative errno and write their
 * result to a `ret_` parameter only on success.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define AUTOFREE    CLEANUP(auto_free)
#define AUTOCLOSE   CLEANUP(auto_close)

static inline void auto_free(void *p) {
        free(*(void **) p);
}

static inline void auto_close(const int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
}

/* Hands the pointer on: evaluates to it and leaves NULL behind. */
#define TAKE(p)                                                                                                        \
        ({                                                                                                             \
                __typeof__(p) taken_ = (p);                                                                            \
                (p) = NULL;                                                                                            \
                taken_;                                                                                                \
        })

/* Hands the descriptor on and leaves -EBADF behind. */
static inline int take_fd(int *fd) {
        int taken = *fd;
        *fd = -EBADF;
        return taken;
}

/* Closes *fd if it is open and leaves -EBADF behind. Keeps errno. */
static inline void close_fd(int *fd) {
        int saved = errno;
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -EBADF;
        errno = saved;
}

#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *) ((char *) (p) -offsetof(type, member)))
#define BIT(n)                        (1u << (n))
#define BIT64(n)                      (1ull << (n))
#define MIN(a, b)                     ((a) < (b) ? (a) : (b))
#define MAX(a, b)                     ((a) > (b) ? (a) : (b))
