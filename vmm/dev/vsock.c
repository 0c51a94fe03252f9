/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio socket device (virtio 1.2 §5.10): sockets between guest and host, whose address is the guest's CID. The
 * host's kernel serves the receive and transmit queues (vhost.c) and gives the sockets to programs of the host. Here
 * are the configuration and the event queue, on which nothing is ever sent: what the only event is for, a guest that
 * finds itself on another host, does not happen.
 *
 * The kernel starts and stops both queues at once, so it is told to when both are placed. When it has been told to
 * stop, it has let go of them. It remembers where it was, and goes on there when the machine does.
 *
 * The CID is the guest's for as long as the descriptor is open. Connections outlive a reset of the driver: what comes
 * for one that the guest does not know is answered by it with a reset of that connection.
 *
 * Thread: the device's loop; vsock_new() the control thread.
 */
#include "vsock.h"

#include <endian.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"
#include "../core/virtio.h"
#include "kind.h"
#include "vhost.h"

#define VSOCK_QUEUES     3u /* receive, transmit, events */
#define VSOCK_BY_KERNEL  2u /* the first two */
#define VSOCK_QUEUE_SIZE 128u

/* What the queues' layout depends on; all have to be known to the kernel's side. */
#define VSOCK_LAYOUT (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))

struct vsock {
        struct virtio_device dev;
        struct virtqueue queues[VSOCK_QUEUES];
        struct virtio_vsock_config config;
        struct vhost vhost;
        bool placed[VSOCK_BY_KERNEL];
        bool quiet; /* the machine stands still */
};

/* Starts the kernel's work if it can be done, and stops it otherwise. */
static int vsock_run(const struct vsock *v) {
        int running = v->placed[0] && v->placed[1] && !v->quiet;

        return vhost_request(&v->vhost, VHOST_VSOCK_SET_RUNNING, &running);
}

static void vsock_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        const struct vsock *v = (const struct vsock *) dev;

        memcpy(data, (const uint8_t *) &v->config + offset, len);
}

static int vsock_activate(struct virtio_device *dev) {
        const struct vsock *v = (const struct vsock *) dev;

        return vhost_activate(&v->vhost, dev->features & (VSOCK_LAYOUT | dev->host_features), dev->mem);
}

static bool vsock_offload_queue(struct virtio_device *dev, unsigned index, int kick_fd, int call_fd) {
        struct vsock *v = (struct vsock *) dev;
        int r;

        if (index >= VSOCK_BY_KERNEL)
                return false;
        r = vhost_place_queue(&v->vhost, index, &v->queues[index], kick_fd, call_fd);
        v->placed[index] = r == 0;
        if (r == 0)
                r = vsock_run(v);
        if (r < 0)
                virtio_device_fail(dev, "vhost-vsock refused queue %u: %s", index, strerror(-r));
        return true;
}

/* The driver gives buffers for events, which stay where they are. */
static void vsock_kick(struct virtio_device *dev, unsigned index) {
}

static bool vsock_reset(struct virtio_device *dev) {
        struct vsock *v = (struct vsock *) dev;

        v->placed[0] = v->placed[1] = false;
        (void) vsock_run(v);
        for (unsigned i = 0; i < VSOCK_QUEUES; i++)
                vq_reset(&v->queues[i]);
        return true;
}

static bool vsock_quiesce(struct virtio_device *dev) {
        struct vsock *v = (struct vsock *) dev;

        v->quiet = true;
        (void) vsock_run(v);
        return true;
}

static void vsock_resume(struct virtio_device *dev) {
        struct vsock *v = (struct vsock *) dev;

        v->quiet = false;
        (void) vsock_run(v);
}

static void vsock_free(struct virtio_device *dev) {
        struct vsock *v = (struct vsock *) dev;

        v->dev.loop = loop_free(v->dev.loop);
        vhost_done(&v->vhost);
        free(v);
}

static const struct virtio_device_ops vsock_ops = {
        .config_read = vsock_config_read,
        .activate = vsock_activate,
        .reset = vsock_reset,
        .quiesce = vsock_quiesce,
        .resume = vsock_resume,
        .kick = vsock_kick,
        .offload_queue = vsock_offload_queue,
        .free = vsock_free,
};

static void vsock_init(struct vsock *v, const struct vsock_config *config) {
        v->vhost = (struct vhost) VHOST_INIT;
        v->config.guest_cid = htole64(config->cid);
        for (unsigned i = 0; i < VSOCK_QUEUES; i++)
                v->queues[i].size_max = VSOCK_QUEUE_SIZE;
        v->dev = (struct virtio_device) {
                .ops = &vsock_ops,
                .name = "vsock",
                .type = VIRTIO_ID_VSOCK,
                .pci_class = 0x078000, /* communication controller, other */
                .role = { .kind = THREAD_VSOCK },
                .config_size = sizeof(v->config),
                .n_queues = VSOCK_QUEUES,
                .queues = v->queues,
        };
}

int vsock_claim(int fd, uint32_t cid) {
        const uint64_t wide = cid;

        return ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &wide) < 0 ? -errno : 0;
}

/* Last of what can fail: it takes the descriptor. */
static int vsock_open(struct vsock *v, const struct vsock_config *config) {
        uint64_t features;
        int r;

        r = vhost_init(&v->vhost, config->fd, VSOCK_LAYOUT, &features);
        if (r < 0)
                return r;
        v->dev.host_features = features & BIT64(VIRTIO_VSOCK_F_SEQPACKET);
        return 0;
}

int vsock_new(const struct vsock_config *config, struct virtio_device **ret) {
        struct vsock *v = calloc(1, sizeof(*v));
        int r;

        if (!v)
                return -ENOMEM;
        vsock_init(v, config);
        r = loop_new(v->dev.name, &v->dev.loop);
        if (r == 0)
                r = vsock_open(v, config);
        if (r < 0) {
                vsock_free(&v->dev);
                return r;
        }
        *ret = &v->dev;
        return 0;
}

static int create(const struct ctl_header *message, const int *fds, unsigned n_fds, struct device_report *report,
                  struct virtio_device **ret, const char **ret_why) {
        const struct ctl_vsock *m = (const struct ctl_vsock *) message;
        const struct vsock_config config = { .fd = fds[0], .cid = m->cid };
        int r = vsock_new(&config, ret);

        *ret_why = r == -EOPNOTSUPP ? "the host's vhost-vsock is too old"
                   : r == -ENOTTY   ? "the descriptor is not /dev/vhost-vsock"
                                    : NULL;
        return r;
}

const struct device_kind vsock_kind = { .name = "socket device", .add = CTL_ADD_VSOCK, .max = 1, .create = create };
