/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues that the host's kernel runs: what all vhost devices have in common.
 */
#pragma once

#include <stdint.h>

struct guest_mem;
struct virtqueue;

struct vhost {
        int fd;
};

#define VHOST_INIT                                                                                                     \
        { .fd = -EBADF }

/*
 * Becomes the owner of the vhost device `fd`, which it takes on success. `wanted` features have to be known to it, or
 * -EOPNOTSUPP. *ret_features, unless NULL: all that it knows. Control thread.
 */
int vhost_init(struct vhost *vhost, int fd, uint64_t wanted, uint64_t *ret_features);
void vhost_done(struct vhost *vhost);

/* Negotiated features and guest memory, before any queue. This and the following: the device's loop. */
int vhost_activate(const struct vhost *vhost, uint64_t features, const struct guest_mem *mem);
/* Places an enabled queue between the eventfds (call_fd < 0: no interrupts). What starts it depends on the device. */
int vhost_place_queue(const struct vhost *vhost, unsigned index, const struct virtqueue *vq, int kick_fd, int call_fd);
/* One request of the device's own; 0 or a negative errno. */
int vhost_request(const struct vhost *vhost, unsigned long request, const void *arg);
