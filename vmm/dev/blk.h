/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio block device over a raw file or block device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../ctl/ctl.h"

struct virtio_device;

/*
 * A host I/O error: `operation` as in ctl_event_io_error.write, `policy` what is done: with CTL_ERROR_STOP the guest
 * has to be paused. At most one a second, and one each time that the guest has to be paused. Any thread.
 */
typedef void (*blk_error_fn)(void *arg, int error, unsigned operation, enum ctl_error_policy policy);

/* The driver has gone whose request the guest was to be paused for: it need not be any more. Any thread. */
typedef void (*blk_gone_fn)(void *arg);

struct blk_config {
        const char *name;   /* "vda"; copied */
        const char *serial; /* for GET_ID; copied; NULL: none */
        int fd;             /* the device's once blk_new() has succeeded */
        bool readonly;
        bool discard; /* offer discard, and unmapping with write-zeroes */
        enum ctl_disk_cache cache;
        enum ctl_error_policy error_policy, rerror_policy; /* of writes and the like; of reads */
        blk_error_fn io_error;                             /* optional */
        blk_gone_fn driver_gone;                           /* optional */
        void *arg;
};

/* Errors as disk_init(). */
int blk_new(const struct blk_config *config, struct virtio_device **ret);

/* Any thread. */
void blk_stats(const struct virtio_device *dev, struct ctl_disk_stats *ret);
/* The negative errno for which the guest is paused, or a flush has failed; 0: none. Any thread. */
int blk_error(const struct virtio_device *dev);
