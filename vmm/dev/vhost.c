/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost: a kernel worker serves queues without waking the monitor. The monitor gives it the location of guest memory
 * in this process, each queue's three areas, and the eventfds for notifications in either direction. It checks every
 * guest address against the memory table itself. Where it stopped in a queue it remembers.
 */
#include "vhost.h"

#include <errno.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"
#include "../core/memory.h"
#include "../core/virtqueue.h"

int vhost_request(const struct vhost *vhost, unsigned long request, const void *arg) {
        return ioctl(vhost->fd, request, arg) < 0 ? -errno : 0;
}

int vhost_init(struct vhost *vhost, int fd, uint64_t wanted, uint64_t *ret_features) {
        const struct vhost v = { .fd = fd };
        uint64_t features = 0;
        int r = vhost_request(&v, VHOST_GET_FEATURES, &features);

        if (r == 0 && (features & wanted) != wanted)
                r = -EOPNOTSUPP;
        if (r == 0)
                r = vhost_request(&v, VHOST_SET_OWNER, NULL);
        if (r < 0)
                return r;
        if (ret_features)
                *ret_features = features;
        *vhost = v;
        return 0;
}

void vhost_done(struct vhost *vhost) {
        close_fd(&vhost->fd);
}

static int set_memory(const struct vhost *vhost, const struct guest_mem *mem) {
        AUTOFREE struct vhost_memory *table = calloc(1, sizeof(*table) + mem->n_regions * sizeof(table->regions[0]));

        if (!table)
                return -ENOMEM;
        for (unsigned i = 0; i < mem->n_regions; i++)
                table->regions[table->nregions++] = (struct vhost_memory_region) {
                        .guest_phys_addr = mem->region[i].gpa,
                        .memory_size = mem->region[i].size,
                        .userspace_addr = (uintptr_t) mem->region[i].host,
                };
        return vhost_request(vhost, VHOST_SET_MEM_TABLE, table);
}

int vhost_activate(const struct vhost *vhost, uint64_t features, const struct guest_mem *mem) {
        int r = vhost_request(vhost, VHOST_SET_FEATURES, &features);

        return r < 0 ? r : set_memory(vhost, mem);
}

int vhost_place_queue(const struct vhost *vhost, unsigned index, const struct virtqueue *vq, int kick_fd, int call_fd) {
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
        int r = vhost_request(vhost, VHOST_SET_VRING_NUM, &num);

        if (r == 0)
                r = vhost_request(vhost, VHOST_SET_VRING_BASE, &base);
        if (r == 0)
                r = vhost_request(vhost, VHOST_SET_VRING_ADDR, &addr);
        if (r == 0)
                r = vhost_request(vhost, VHOST_SET_VRING_KICK, &kick);
        return r < 0 ? r : vhost_request(vhost, VHOST_SET_VRING_CALL, &call);
}
