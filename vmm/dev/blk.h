/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio block device over a raw file or block device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../ctl/ctl.h"

struct virtio_device;

struct blk_config {
        const char *name;   /* "vda"; copied */
        const char *serial; /* for GET_ID; copied; NULL: none */
        int fd;             /* the device's once blk_new() has succeeded */
        bool readonly;
        bool discard; /* offer discard, and unmapping with write-zeroes */
        enum ctl_disk_cache cache;
        /* Optional: a host I/O error, `operation` as in ctl_event_io_error.write. At most one a second. */
        void (*io_error)(void *arg, int error, unsigned operation);
        void *arg;
};

/* Errors as disk_init(). */
int blk_new(const struct blk_config *config, struct virtio_device **ret);

/* Any thread. */
void blk_stats(const struct virtio_device *dev, struct ctl_disk_stats *ret);
