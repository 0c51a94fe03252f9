/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost-net: a kernel worker moves frames between guest buffers and the TAP without waking the monitor. The
 * monitor gives it the location of guest memory in this process, each queue's three areas, and the eventfds for
 * notifications in either direction. It checks every guest address against the memory table itself.
 *
 * A queue runs while it has a backend; setting backend -1 stops it and returns only
 * when the worker has let go. Features whose work the TAP does (checksums,
 * segmentation) do not concern vhost; the others have to be accepted by it.
 *
 * Thread: the device's loop; vhost_net_new() the control thread.
 */
#include "vhost_net.h"

#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"
#include "../core/memory.h"
#include "../core/virtqueue.h"

#define VHOST_QUEUES 2u

/* What the queues' layout depends on; all have to be known to the kernel's side. */
#define VHOST_FEATURES                                                                                                 \
        (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |              \
         BIT64(VIRTIO_RING_F_EVENT_IDX))

struct vhost_net {
        int fd;
        bool started[VHOST_QUEUES];
};

static int vhost_ioctl(const struct vhost_net *vhost, unsigned long request, const void *arg) {
        return ioctl(vhost->fd, request, arg) < 0 ? -errno : 0;
}

int vhost_net_new(int fd, struct vhost_net **ret) {
        struct vhost_net *vhost = calloc(1, sizeof(*vhost));
        uint64_t features = 0;
        int r;

        if (!vhost)
                return -ENOMEM;
        vhost->fd = fd;
        r = vhost_ioctl(vhost, VHOST_GET_FEATURES, &features);
        if (r == 0 && (features & VHOST_FEATURES) != VHOST_FEATURES)
                r = -EOPNOTSUPP;
        if (r == 0)
                r = vhost_ioctl(vhost, VHOST_SET_OWNER, NULL);
        if (r < 0) {
                free(vhost);
                return r;
        }
        *ret = vhost;
        return 0;
}

struct vhost_net *vhost_net_free(struct vhost_net *vhost) {
        if (!vhost)
                return NULL;
        close_fd(&vhost->fd);
        free(vhost);
        return NULL;
}

static int set_memory(struct vhost_net *vhost, const struct guest_mem *mem) {
        AUTOFREE struct vhost_memory *table = calloc(1, sizeof(*table) + 2 * sizeof(table->regions[0]));

        if (!table)
                return -ENOMEM;
        for (unsigned i = 0; i < ARRAY_SIZE(mem->range); i++)
                if (mem->range[i].size > 0)
                        table->regions[table->nregions++] = (struct vhost_memory_region) {
                                .guest_phys_addr = mem->range[i].gpa,
                                .memory_size = mem->range[i].size,
                                .userspace_addr = (uintptr_t) mem->range[i].host,
                        };
        return vhost_ioctl(vhost, VHOST_SET_MEM_TABLE, table);
}

int vhost_net_activate(struct vhost_net *vhost, uint64_t features, const struct guest_mem *mem) {
        uint64_t wanted = features & VHOST_FEATURES;
        int r = vhost_ioctl(vhost, VHOST_SET_FEATURES, &wanted);

        return r < 0 ? r : set_memory(vhost, mem);
}

static int backend(const struct vhost_net *vhost, unsigned index, int tap_fd) {
        struct vhost_vring_file file = { .index = index, .fd = tap_fd };
        return vhost_ioctl(vhost, VHOST_NET_SET_BACKEND, &file);
}

int vhost_net_queue(struct vhost_net *vhost, unsigned index, const struct virtqueue *vq, int kick_fd, int call_fd,
                    int tap_fd) {
        struct vhost_vring_state num = { .index = index, .num = vq->size };
        struct vhost_vring_state base = { .index = index, .num = vq->next_avail };
        struct vhost_vring_addr addr = {
                .index = index,
                .desc_user_addr = (uintptr_t) vq->desc,
                .avail_user_addr = (uintptr_t) vq->avail,
                .used_user_addr = (uintptr_t) vq->used,
        };
        struct vhost_vring_file kick = { .index = index, .fd = kick_fd };
        struct vhost_vring_file call = { .index = index, .fd = call_fd < 0 ? VHOST_FILE_UNBIND : call_fd };
        int r = vhost_ioctl(vhost, VHOST_SET_VRING_NUM, &num);

        if (r == 0)
                r = vhost_ioctl(vhost, VHOST_SET_VRING_BASE, &base);
        if (r == 0)
                r = vhost_ioctl(vhost, VHOST_SET_VRING_ADDR, &addr);
        if (r == 0)
                r = vhost_ioctl(vhost, VHOST_SET_VRING_KICK, &kick);
        if (r == 0)
                r = vhost_ioctl(vhost, VHOST_SET_VRING_CALL, &call);
        if (r == 0)
                r = backend(vhost, index, tap_fd);
        if (r < 0)
                return r;
        vhost->started[index] = true;
        return 0;
}

void vhost_net_set_backend(struct vhost_net *vhost, int tap_fd) {
        for (unsigned i = 0; i < VHOST_QUEUES; i++)
                if (vhost->started[i])
                        (void) backend(vhost, i, tap_fd);
}

void vhost_net_stop(struct vhost_net *vhost) {
        vhost_net_set_backend(vhost, -1);
        for (unsigned i = 0; i < VHOST_QUEUES; i++)
                vhost->started[i] = false;
}
