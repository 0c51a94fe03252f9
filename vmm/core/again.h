/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device's note to itself to go on with a queue later. A guest can fill a queue as fast as a device drains
 * it, so a device handles a bounded number of chains, raises its note and returns to the loop, where control
 * calls and resets get their turn.
 */
#pragma once

#include <errno.h>

#include "loop.h"

struct again {
        int fd;
        struct loop_source *source;
        loop_call_fn fn;
        void *arg;
};

#define AGAIN_INIT                                                                                                     \
        { .fd = -EBADF }

/* fn(arg) will run on the loop's thread, once per loop turn in which the note was raised. */
int again_init(struct again *again, struct loop *loop, loop_call_fn fn, void *arg);
/* Call after the loop was freed. AGAIN_INIT alone is enough for this to be valid. */
void again_done(struct again *again);
void again_raise(struct again *again);
