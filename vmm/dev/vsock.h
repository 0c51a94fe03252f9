/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio socket device.
 */
#pragma once

#include <stdint.h>

struct virtio_device;

struct vsock_config {
        int fd;       /* /dev/vhost-vsock that has the address; the device's once vsock_new() has succeeded */
        uint32_t cid; /* the guest's address: CTL_CID_MIN or above, and not UINT32_MAX */
};

/*
 * Gives /dev/vhost-vsock the guest's address. -EADDRINUSE: another guest of the host has it. Whoever opens the
 * descriptor does this, since a confined monitor cannot: it would be able to take any guest's address.
 */
int vsock_claim(int fd, uint32_t cid);
/* -EOPNOTSUPP: the host's kernel lacks something. */
int vsock_new(const struct vsock_config *config, struct virtio_device **ret);
