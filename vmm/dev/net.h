/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio network device over a TAP, with or without vhost-net.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../ctl/ctl.h"

struct virtio_device;

struct net_config {
        const char *name; /* copied */
        int tap_fd;       /* opened with IFF_VNET_HDR; the device's once net_new() has succeeded; made non-blocking */
        int vhost_fd;     /* likewise, /dev/vhost-net, or -EBADF */
        uint8_t mac[6];
        uint16_t mtu; /* 0: not advertised */
        bool link_up;
};

int net_new(const struct net_config *config, struct virtio_device **ret);

/* Any thread. With vhost-net in use the queues bypass the monitor and nothing is counted. */
void net_stats(const struct virtio_device *dev, struct ctl_nic_stats *ret);

/* Any thread; returns when the guest will see it. */
void net_set_link(struct virtio_device *dev, bool up);
