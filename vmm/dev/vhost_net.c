/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost-net (vhost.c): the kernel moves frames between guest buffers and the TAP.
 *
 * A queue runs while it has a backend; setting backend -1 stops it and returns only
 * when the worker has let go. Features whose work the TAP does (checksums,
 * segmentation) do not concern vhost; the others have to be accepted by it.
 *
 * Thread: the device's loop; vhost_net_new() the control thread.
 */
#include "vhost_net.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdlib.h>

#include "../base/cleanup.h"
#include "vhost.h"

#define VHOST_QUEUES 2u

/* What the queues' layout depends on; all have to be known to the kernel's side. */
#define VHOST_FEATURES                                                                                                 \
        (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |              \
         BIT64(VIRTIO_RING_F_EVENT_IDX))

struct vhost_net {
        struct vhost vhost;
        bool started[VHOST_QUEUES];
};

int vhost_net_new(int fd, struct vhost_net **ret) {
        struct vhost_net *net = calloc(1, sizeof(*net));
        int r;

        if (!net)
                return -ENOMEM;
        r = vhost_init(&net->vhost, fd, VHOST_FEATURES, NULL);
        if (r < 0) {
                free(net);
                return r;
        }
        *ret = net;
        return 0;
}

struct vhost_net *vhost_net_free(struct vhost_net *net) {
        if (!net)
                return NULL;
        vhost_done(&net->vhost);
        free(net);
        return NULL;
}

int vhost_net_activate(struct vhost_net *net, uint64_t features, const struct guest_mem *mem) {
        return vhost_activate(&net->vhost, features & VHOST_FEATURES, mem);
}

static int set_backend(const struct vhost_net *net, unsigned index, int tap_fd) {
        struct vhost_vring_file file = { .index = index, .fd = tap_fd };

        return vhost_request(&net->vhost, VHOST_NET_SET_BACKEND, &file);
}

int vhost_net_queue(struct vhost_net *net, unsigned index, const struct virtqueue *vq, int kick_fd, int call_fd,
                    int tap_fd) {
        int r = vhost_place_queue(&net->vhost, index, vq, kick_fd, call_fd);

        if (r == 0)
                r = set_backend(net, index, tap_fd);
        if (r < 0) {
                vhost_net_stop(net); /* the device is broken, and moves no frames */
                return r;
        }
        net->started[index] = true;
        return 0;
}

void vhost_net_set_backend(struct vhost_net *net, int tap_fd) {
        for (unsigned i = 0; i < VHOST_QUEUES; i++)
                if (net->started[i])
                        (void) set_backend(net, i, tap_fd);
}

void vhost_net_stop(struct vhost_net *net) {
        vhost_net_set_backend(net, -1);
        for (unsigned i = 0; i < VHOST_QUEUES; i++)
                net->started[i] = false;
}
