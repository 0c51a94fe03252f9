/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of devices: what the control protocol can add. Each kind is described in the file of its device; the
 * table of all is board/devices.c.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../ctl/ctl.h"

struct virtio_device;

/*
 * What a device reports to the daemon. It is state and not a queue: the last error of a disk, whether a port is open
 * now. So it never waits for the control thread, and nothing that a guest does can make it grow.
 */
struct device_report {
        void (*wake)(void *arg); /* there is something to tell; any thread. NULL: nobody listens */
        void *arg;

        _Atomic uint64_t error; /* a struct device_error; 0: nothing to tell */
        _Atomic bool open;      /* of a port */
};

struct device_error {
        int32_t error;      /* negative errno; 0: none */
        uint16_t operation; /* as ctl_event_io_error.write */
        uint16_t policy;    /* as ctl_event_io_error.policy. STOP: the guest has to be paused */
};

/*
 * Any thread. The first two have the signatures of blk_error_fn and blk_gone_fn, with a struct device_report as `arg`.
 * Nothing overwrites an error for which the guest has to be paused, until it is taken. When the driver whose request it
 * was has gone, the guest need not be paused any more.
 */
void report_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy);
void report_driver_gone(void *arg);
void report_port_open(struct device_report *report, bool open);
struct device_error report_take_error(struct device_report *report);

struct device_kind {
        const char *name; /* what messages call it: "disk" */
        uint16_t add;     /* enum ctl_type: the request that adds one */
        uint8_t max;      /* in one machine */

        /*
         * Makes a device from `message`, the kind's own struct as ctl_check() has passed it, and its descriptors, which
         * are the device's when it succeeds. On error *ret_why may be a static phrase that says what is wrong with it.
         * NULL: a port, which is part of the console device.
         */
        int (*create)(const struct ctl_header *message, const int *fds, unsigned n_fds, struct device_report *report,
                      struct virtio_device **ret, const char **ret_why);
        /* Optional: the counters, and the error that it stands at. Any thread. */
        void (*stats)(const struct virtio_device *dev, struct ctl_device_stats *ret);
        /* Optional: puts the cable in or pulls it out. */
        void (*set_link)(struct virtio_device *dev, bool up);
};

extern const struct device_kind blk_kind, net_kind, port_kind, rng_kind, vsock_kind;
