/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queues of a network device, run by the kernel.
 */
#pragma once

#include <stdint.h>

struct guest_mem;
struct vhost_net;
struct virtqueue;

/* Becomes the owner of /dev/vhost-net `fd`; takes it on success. -EOPNOTSUPP: it lacks a feature that is offered. */
int vhost_net_new(int fd, struct vhost_net **ret);
struct vhost_net *vhost_net_free(struct vhost_net *net); /* NULL is fine; returns NULL */

/* Negotiated features and guest memory, before any queue. */
int vhost_net_activate(struct vhost_net *net, uint64_t features, const struct guest_mem *mem);
/*
 * Starts an enabled queue between the eventfds (call_fd < 0: no interrupts) and the TAP (-1: link down). On error the
 * kernel has let go of all queues.
 */
int vhost_net_queue(struct vhost_net *net, unsigned index, const struct virtqueue *vq, int kick_fd, int call_fd,
                    int tap_fd);
/* Connects the started queues to the TAP, or with -1 disconnects them. */
void vhost_net_set_backend(struct vhost_net *net, int tap_fd);
/* The kernel lets go of all queues. */
void vhost_net_stop(struct vhost_net *net);
