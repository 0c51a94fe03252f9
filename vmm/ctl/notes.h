/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What device threads report to the daemon: host I/O errors, and ports opened or closed by the guest.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/loop.h"
#include "ctl.h"

struct notes;

typedef void (*notes_send_fn)(void *arg, struct ctl_header *event);
typedef void (*notes_stop_fn)(void *arg);

struct disk_note {
        struct notes *notes;
        _Atomic int error;          /* 0: nothing to tell */
        _Atomic unsigned operation; /* as ctl_event_io_error.write */
        _Atomic unsigned policy;    /* as ctl_event_io_error.policy */
        _Atomic bool stop;          /* the guest has to be paused: nothing overwrites the reason for that */
};

struct notes {
        int event_fd, timer_fd;
        struct loop_source *event_source, *timer_source;
        struct disk_note disk[CTL_DISKS_MAX];
        _Atomic bool port_open[CTL_PORTS_MAX];
        bool port_told[CTL_PORTS_MAX];
        bool port_wanted[CTL_PORTS_MAX]; /* told next time even if it is what was told */
        notes_send_fn send;
        notes_stop_fn stop;
        void *arg;
};

/*
 * `send` is called on the loop's thread with one complete event at a time, which it may change; `stop` when the event
 * before said that the guest is to be paused.
 */
int notes_init(struct notes *notes, struct loop *loop, notes_send_fn send, notes_stop_fn stop, void *arg);
/* After the loop was freed, or before it has run. */
void notes_done(struct notes *notes);

/* Tells the state of the first n_ports ports, changed or not: there is somebody new who knows none. Loop's thread. */
void notes_tell_ports(struct notes *notes, unsigned n_ports);

/* Any thread; they have the signatures of the devices' callbacks. `arg`: a disk_note; the notes. */
void notes_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy);
void notes_port_open(void *arg, unsigned port, bool open);
