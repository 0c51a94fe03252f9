/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio entropy device.
 */
#pragma once

#include <stdint.h>

struct virtio_device;

struct rng_config {
        int fd;               /* /dev/urandom or the like; the device's once rng_new() has succeeded */
        uint32_t rate_bytes;  /* per period; 0: unlimited */
        uint32_t rate_period; /* milliseconds; 0 means 1000 */
};

int rng_new(const struct rng_config *config, struct virtio_device **ret);
