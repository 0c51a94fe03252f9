/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A note is an eventfd in the device's own loop: it is handled after the sources that are already ready, so a
 * busy queue cannot starve the others.
 */
#include "again.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "../base/cleanup.h"

static void on_again(void *arg, uint32_t events) {
        struct again *again = arg;
        uint64_t count;

        if (read(again->fd, &count, sizeof(count)) == sizeof(count))
                again->fn(again->arg);
}

int again_init(struct again *again, struct loop *loop, loop_call_fn fn, void *arg) {
        *again = (struct again) { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = fn, .arg = arg };
        if (again->fd < 0)
                return -errno;
        return loop_add_fd(loop, again->fd, EPOLLIN, on_again, again, &again->source);
}

void again_done(struct again *again) {
        again->source = NULL;
        close_fd(&again->fd);
}

void again_raise(struct again *again) {
        const uint64_t one = 1;
        (void) !write(again->fd, &one, sizeof(one));
}
