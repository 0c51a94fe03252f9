/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio socket device.
 */
#pragma once

#include <stdint.h>

struct virtio_device;

struct vsock_config {
        int fd;       /* /dev/vhost-vsock; the device's once vsock_new() has succeeded */
        uint32_t cid; /* the guest's address: CTL_CID_MIN or above, and not UINT32_MAX */
};

/* -EADDRINUSE: another guest of the host has this address; -EOPNOTSUPP: the host's kernel lacks something. */
int vsock_new(const struct vsock_config *config, struct virtio_device **ret);
