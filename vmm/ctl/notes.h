/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tells the daemon what device threads report: host I/O errors, and ports opened or closed by the guest.
 */
#pragma once

#include "../board/devices.h"
#include "../core/loop.h"
#include "ctl.h"

typedef void (*notes_send_fn)(void *arg, struct ctl_header *event);
typedef void (*notes_stop_fn)(void *arg);

struct notes {
        int event_fd, timer_fd;
        struct loop_source *event_source, *timer_source;
        const struct devices *devices;
        notes_send_fn send;
        notes_stop_fn stop;
        void *arg;
};

/*
 * `send` is called on the loop's thread with one complete event at a time, which it may change; `stop` when the event
 * before said that the guest is to be paused.
 */
int notes_init(struct notes *notes, struct loop *loop, const struct devices *devices, notes_send_fn send,
               notes_stop_fn stop, void *arg);
/* After the loop was freed, or before it has run. */
void notes_done(struct notes *notes);

/* Tells the state of all ports, changed or not: there is somebody new who knows none. Loop's thread. */
void notes_tell_ports(struct notes *notes);

/* Tells what there is still to tell of a device that is about to be forgotten. Loop's thread. */
void notes_tell_last(struct notes *notes, struct device *d);

/* There are reports. Any thread; `arg`: the notes. */
void notes_wake(void *arg);
