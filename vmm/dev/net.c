/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio network device (virtio 1.2 §5.1): one pair of queues, no control queue.
 *
 * Every frame starts with the 12-byte struct virtio_net_hdr_mrg_rxbuf (§5.1.6), which
 * the TAP speaks too (IFF_VNET_HDR, TUNSETVNETHDRSZ), so checksum and segmentation
 * offloads are the kernel's work in both directions and headers pass through as they
 * are; the kernel checks them. Only num_buffers is ours.
 *
 * Transmit writes the driver's vectors to the TAP. What the TAP refuses is dropped and
 * counted, as a cable would.
 *
 * Receive reads into the next buffer of the driver's and lets the surplus run into
 * `frame`: small frames are never copied, large ones spread over mergeable buffers
 * (§5.1.6.4) in one go. A frame for which there are too few buffers stays in `frame`
 * until the driver adds some. Without buffers the TAP is not polled.
 *
 * With a vhost-net descriptor the kernel runs the queues (vhost_net.c) and only
 * configuration and link state are left here. A descriptor that is no TAP, but keeps
 * frame borders and carries the header, works without offloads.
 *
 * Threads: the device's loop, except the counters, which any thread may read.
 */
#include "net.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../core/again.h"
#include "../core/virtio.h"
#include "kind.h"
#include "vhost_net.h"

#define NET_QUEUE_SIZE 256u
#define NET_RX         0u
#define NET_TX         1u
#define NET_HEADER     sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define NET_FRAME_MAX  (NET_HEADER + 18 + 65535) /* header, Ethernet with VLAN tag, the longest GSO packet */
#define NET_BUDGET     128u                      /* frames per direction and turn of the loop */
#define NET_DRAIN_MAX  2048u                     /* frames thrown away when the link comes up */

struct net_counters {
        _Atomic uint64_t rx_packets, rx_bytes, rx_drops;
        _Atomic uint64_t tx_packets, tx_bytes, tx_drops;
};

struct net {
        struct virtio_device dev;
        struct virtqueue queues[2];
        struct virtio_net_config config;
        char name[CTL_NAME_MAX];
        int tap_fd;
        bool is_tap;
        bool active;
        bool quiet; /* the machine stands still */
        bool link_up;
        bool rx_blocked; /* no buffers */
        bool rx_dead;    /* the TAP is gone; other errors cost a frame and pass */
        struct loop_source *source;
        struct vhost_net *vhost; /* NULL: user space */
        struct again again;
        struct net_counters counters;
        struct vq_chain chain;
        size_t frame_len; /* a frame that waits for buffers, or 0 */
        uint8_t frame[NET_FRAME_MAX];
};

/* The chains that one received frame takes. */
struct net_spread {
        uint16_t heads[VQ_SIZE_MAX];
        uint32_t written[VQ_SIZE_MAX];
        unsigned n;
};

static void add(_Atomic uint64_t *counter, uint64_t n) {
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool net_wants_frames(const struct net *n) {
        return n->active && !n->quiet && n->queues[NET_RX].enabled && n->link_up && !n->rx_blocked && !n->rx_dead &&
               !n->vhost;
}

static void net_tap_event(void *arg, uint32_t events);

static void net_watch(struct net *n) {
        bool wanted = net_wants_frames(n);

        if (wanted && !n->source)
                (void) loop_add_fd(n->dev.loop, n->tap_fd, EPOLLIN, net_tap_event, n, &n->source);
        if (!wanted)
                n->source = loop_remove(n->source);
}

/* Writes one frame out; the vectors are the driver's. */
static void net_send(struct net *n, const struct vq_chain *chain) {
        ssize_t r = -1;

        if (n->link_up && chain->out_len <= NET_FRAME_MAX)
                r = writev(n->tap_fd, chain->iov, chain->n_out);
        if (r < 0)
                return add(&n->counters.tx_drops, 1);
        add(&n->counters.tx_packets, 1);
        add(&n->counters.tx_bytes, chain->out_len - NET_HEADER);
}

static void net_transmit(struct net *n) {
        struct virtqueue *vq = &n->queues[NET_TX];
        unsigned served = 0;

        if (!n->active || !vq->enabled)
                return;
        vq_disable_notify(vq);
        while (virtio_queue_pop(&n->dev, NET_TX, &n->chain) > 0) {
                if (n->chain.out_len < NET_HEADER)
                        return virtio_device_fail(&n->dev, "frame of %zu bytes has no header", n->chain.out_len);
                net_send(n, &n->chain);
                vq_push(vq, &n->chain, 0);
                if (++served == NET_BUDGET) {
                        again_raise(&n->again);
                        break;
                }
        }
        virtio_queue_flush(&n->dev, NET_TX);
}

/*
 * Puts a frame of `total` bytes into chains. Its beginning is in the popped n->chain
 * already, what did not fit there is in n->frame at its place. 1: done; 0: too few
 * buffers, all are given back.
 */
static int net_spread(struct net *n, size_t total) {
        struct virtqueue *vq = &n->queues[NET_RX];
        struct net_spread s = { .n = 1 };
        size_t done = MIN(total, n->chain.in_len);
        uint16_t num_buffers;
        struct vq_chain more;

        s.heads[0] = n->chain.head;
        s.written[0] = done;
        while (done < total) {
                if (s.n == ARRAY_SIZE(s.heads) || virtio_queue_pop(&n->dev, NET_RX, &more) <= 0) {
                        vq_unpop(vq, s.n);
                        return 0;
                }
                s.heads[s.n] = more.head;
                s.written[s.n] = vq_chain_write(&more, 0, n->frame + done, MIN(total - done, more.in_len));
                done += s.written[s.n++];
        }
        /* §5.1.6.4.1: without mergeable buffers this is 1. */
        num_buffers = htole16(s.n);
        (void) vq_chain_write(&n->chain, offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers), &num_buffers,
                              sizeof(num_buffers));
        vq_push_many(vq, s.heads, s.written, s.n);
        return 1;
}

/* Keeps the part of a frame that lies in n->chain, so that all of it is in n->frame. */
static void net_keep(struct net *n, size_t total) {
        const struct iovec *iov = n->chain.iov + n->chain.n_out;
        size_t done = 0, len = MIN(total, n->chain.in_len);

        for (unsigned i = 0; i < n->chain.n_in && done < len; i++) {
                size_t part = MIN(iov[i].iov_len, len - done);
                memcpy(n->frame + done, iov[i].iov_base, part);
                done += part;
        }
        n->frame_len = total;
}

/* Delivers a frame of which the first bytes are in n->chain; false: no more for now. */
static bool net_deliver(struct net *n, size_t total) {
        bool mergeable = n->dev.features & BIT64(VIRTIO_NET_F_MRG_RXBUF);
        unsigned offered = n->queues[NET_RX].size;

        n->frame_len = 0;
        if (total > n->chain.in_len && !mergeable) {
                vq_unpop(&n->queues[NET_RX], 1);
                add(&n->counters.rx_drops, 1);
                return true;
        }
        if (net_spread(n, total) > 0) {
                add(&n->counters.rx_packets, 1);
                add(&n->counters.rx_bytes, total - NET_HEADER);
                return true;
        }
        /* Not even a full queue of such buffers can hold it; with a full one the driver has nothing to add. */
        if (total > (size_t) offered * n->chain.in_len) {
                add(&n->counters.rx_drops, 1);
                return true;
        }
        net_keep(n, total);
        n->rx_blocked = true;
        return false;
}

/* Pops the buffer that a frame begins in; false: there is none. */
static bool net_pop_first(struct net *n) {
        if (virtio_queue_pop(&n->dev, NET_RX, &n->chain) <= 0) {
                n->rx_blocked = true;
                return false;
        }
        if (n->chain.in_len >= NET_HEADER)
                return true;
        virtio_device_fail(&n->dev, "receive buffer of %zu bytes", n->chain.in_len);
        n->rx_blocked = true;
        return false;
}

static ssize_t net_read(struct net *n) {
        struct iovec iov[VQ_SIZE_MAX + 1];
        size_t direct = MIN(n->chain.in_len, NET_FRAME_MAX);
        unsigned k = iov_slice(n->chain.iov + n->chain.n_out, n->chain.n_in, 0, direct, iov);
        ssize_t r;

        iov[k++] = (struct iovec) { n->frame + direct, NET_FRAME_MAX - direct };
        r = readv(n->tap_fd, iov, k);
        if (r > 0)
                vq_chain_wrote(&n->chain, 0, MIN((size_t) r, direct));
        return r;
}

/* Receives one frame; false: no more for now. */
static bool net_receive_one(struct net *n) {
        ssize_t r;

        if (!net_pop_first(n))
                return false;
        if (n->frame_len > 0) {
                (void) vq_chain_write(&n->chain, 0, n->frame, MIN(n->frame_len, n->chain.in_len));
                return net_deliver(n, n->frame_len);
        }
        r = net_read(n);
        if (r >= (ssize_t) NET_HEADER)
                return net_deliver(n, r);
        vq_unpop(&n->queues[NET_RX], 1);
        if (r < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        n->rx_dead = r == 0 || (r < 0 && errno == EBADFD);
        add(&n->counters.rx_drops, !n->rx_dead);
        return r > 0;
}

static void net_receive(struct net *n) {
        if (!net_wants_frames(n))
                return;
        for (unsigned i = 0; i < NET_BUDGET && net_receive_one(n); i++)
                ;
        net_watch(n);
        if (n->active)
                virtio_queue_flush(&n->dev, NET_RX);
}

static void net_tap_event(void *arg, uint32_t events) {
        net_receive(arg);
}

static void net_again(void *arg) {
        net_transmit(arg);
}

static void net_kick(struct virtio_device *dev, unsigned index) {
        struct net *n = (struct net *) dev;

        if (n->vhost)
                return;
        if (index == NET_TX)
                return net_transmit(n);
        n->rx_blocked = false;
        if (n->frame_len > 0)
                net_receive(n);
        net_watch(n);
}

/* Which offloads the TAP may use towards the guest: those that the driver took. */
static int net_set_offloads(struct net *n) {
        static const struct {
                unsigned feature, tun;
        } map[] = {
                { VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
                { VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
                { VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
                { VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
        };
        int header = NET_HEADER;
        unsigned long offloads = 0;

        if (!n->is_tap)
                return 0;
        for (size_t i = 0; i < ARRAY_SIZE(map); i++)
                if (n->dev.features & BIT64(map[i].feature))
                        offloads |= map[i].tun;
        if (ioctl(n->tap_fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(n->tap_fd, TUNSETOFFLOAD, offloads) < 0)
                return -errno;
        return 0;
}

/*
 * §5.1.3.1: features that require another one, or one of two. The kernel would refuse such a set from the TAP as
 * well, but only when the driver believes that it has been taken.
 */
static bool net_features_valid(const struct virtio_device *dev, uint64_t features) {
        static const struct {
                unsigned feature;
                uint64_t required; /* any of these */
        } map[] = {
                { VIRTIO_NET_F_HOST_TSO4, BIT64(VIRTIO_NET_F_CSUM) },
                { VIRTIO_NET_F_HOST_TSO6, BIT64(VIRTIO_NET_F_CSUM) },
                { VIRTIO_NET_F_HOST_ECN, BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_HOST_TSO6) },
                { VIRTIO_NET_F_GUEST_TSO4, BIT64(VIRTIO_NET_F_GUEST_CSUM) },
                { VIRTIO_NET_F_GUEST_TSO6, BIT64(VIRTIO_NET_F_GUEST_CSUM) },
                { VIRTIO_NET_F_GUEST_ECN, BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6) },
        };

        for (size_t i = 0; i < ARRAY_SIZE(map); i++)
                if ((features & BIT64(map[i].feature)) && !(features & map[i].required))
                        return false;
        return true;
}

static int net_activate(struct virtio_device *dev) {
        struct net *n = (struct net *) dev;
        int r = net_set_offloads(n);

        if (r == 0 && n->vhost)
                r = vhost_net_activate(n->vhost, dev->features, dev->mem);
        if (r < 0)
                return r;
        n->active = true;
        n->rx_blocked = n->rx_dead = false;
        net_watch(n);
        return 0;
}

/* vhost has a backend while there is a link and the machine runs. */
static int net_backend(const struct net *n) {
        return n->link_up && !n->quiet ? n->tap_fd : -1;
}

static bool net_offload_queue(struct virtio_device *dev, unsigned index, int kick_fd, int call_fd) {
        struct net *n = (struct net *) dev;
        int r;

        if (!n->vhost)
                return false;
        r = vhost_net_queue(n->vhost, index, &n->queues[index], kick_fd, call_fd, net_backend(n));
        if (r < 0)
                virtio_device_fail(dev, "vhost-net refused queue %u: %s", index, strerror(-r));
        return true;
}

static bool net_reset(struct virtio_device *dev) {
        struct net *n = (struct net *) dev;

        n->active = false;
        n->frame_len = 0;
        net_watch(n);
        if (n->vhost)
                vhost_net_stop(n->vhost);
        for (unsigned i = 0; i < dev->n_queues; i++)
                vq_reset(&n->queues[i]);
        return true;
}

/* vhost remembers where it was in its queues, and has let go of them when this returns. */
static bool net_quiesce(struct virtio_device *dev) {
        struct net *n = (struct net *) dev;

        n->quiet = true;
        net_watch(n);
        if (n->vhost)
                vhost_net_set_backend(n->vhost, -1);
        return true;
}

static void net_resume(struct virtio_device *dev) {
        struct net *n = (struct net *) dev;

        n->quiet = n->rx_blocked = false;
        if (n->vhost)
                return vhost_net_set_backend(n->vhost, net_backend(n));
        net_transmit(n);
        net_receive(n);
        net_watch(n);
}

static void net_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        struct net *n = (struct net *) dev;
        memcpy(data, (uint8_t *) &n->config + offset, len);
}

static void net_free(struct virtio_device *dev) {
        struct net *n = (struct net *) dev;

        n->dev.loop = loop_free(n->dev.loop);
        again_done(&n->again);
        n->vhost = vhost_net_free(n->vhost);
        close_fd(&n->tap_fd);
        free(n);
}

static const struct virtio_device_ops net_ops = {
        .config_read = net_config_read,
        .features_valid = net_features_valid,
        .activate = net_activate,
        .reset = net_reset,
        .quiesce = net_quiesce,
        .resume = net_resume,
        .kick = net_kick,
        .offload_queue = net_offload_queue,
        .free = net_free,
};

/* A TAP has to be one with the header and without packet information; anything else is taken as it is. */
static int net_open_tap(struct net *n, int fd) {
        struct ifreq ifr = {};
        int header = NET_HEADER, flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        if (ioctl(fd, TUNGETIFF, &ifr) < 0)
                return 0;
        if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
                return -EINVAL;
        if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
                return -errno;
        n->is_tap = true;
        return 0;
}

static uint64_t net_features(const struct net *n, const struct net_config *config) {
        uint64_t features = BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS) | BIT64(VIRTIO_NET_F_MRG_RXBUF);

        if (config->mtu)
                features |= BIT64(VIRTIO_NET_F_MTU);
        if (!n->is_tap)
                return features;
        return features | BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_HOST_TSO6) |
               BIT64(VIRTIO_NET_F_HOST_ECN) | BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4) |
               BIT64(VIRTIO_NET_F_GUEST_TSO6) | BIT64(VIRTIO_NET_F_GUEST_ECN);
}

static void net_config_fill(struct net *n, const struct net_config *config) {
        memcpy(n->config.mac, config->mac, sizeof(n->config.mac));
        n->config.status = htole16(n->link_up ? VIRTIO_NET_S_LINK_UP : 0);
        n->config.max_virtqueue_pairs = htole16(1);
        n->config.mtu = htole16(config->mtu);
}

static void net_init(struct net *n, const struct net_config *config) {
        (void) snprintf(n->name, sizeof(n->name), "%s", config->name ?: "net");
        n->link_up = config->link_up;
        n->queues[NET_RX].size_max = n->queues[NET_TX].size_max = NET_QUEUE_SIZE;
        n->dev = (struct virtio_device) {
                .ops = &net_ops,
                .name = n->name,
                .type = VIRTIO_ID_NET,
                .pci_class = 0x020000, /* Ethernet controller */
                .config_size = offsetof(struct virtio_net_config, speed),
                .n_queues = ARRAY_SIZE(n->queues),
                .queues = n->queues,
                .host_features = net_features(n, config),
        };
        net_config_fill(n, config);
}

int net_new(const struct net_config *config, struct virtio_device **ret) {
        struct net *n = calloc(1, sizeof(*n));
        int r;

        if (!n)
                return -ENOMEM;
        n->again = (struct again) AGAIN_INIT;
        n->tap_fd = -EBADF;
        r = net_open_tap(n, config->tap_fd);
        net_init(n, config);
        if (r == 0)
                r = loop_new(n->name, &n->dev.loop);
        if (r == 0)
                r = again_init(&n->again, n->dev.loop, net_again, n);
        if (r == 0 && config->vhost_fd >= 0)
                r = vhost_net_new(config->vhost_fd, &n->vhost);
        if (r < 0) {
                net_free(&n->dev);
                return r;
        }
        n->tap_fd = config->tap_fd;
        n->dev.role = (struct thread_role) { .kind = THREAD_NET, .fd = n->tap_fd };
        *ret = &n->dev;
        return 0;
}

void net_stats(const struct virtio_device *dev, struct ctl_nic_stats *ret) {
        const struct net_counters *c = &((const struct net *) dev)->counters;

        *ret = (struct ctl_nic_stats) {
                .rx_packets = c->rx_packets,
                .rx_bytes = c->rx_bytes,
                .rx_drops = c->rx_drops,
                .tx_packets = c->tx_packets,
                .tx_bytes = c->tx_bytes,
                .tx_drops = c->tx_drops,
        };
}

/* What came while the link was down is not for the guest. */
static void net_drain(struct net *n) {
        for (unsigned i = 0; i < NET_DRAIN_MAX; i++)
                if (read(n->tap_fd, n->frame, sizeof(n->frame)) <= 0)
                        break;
}

struct link_call {
        struct net *net;
        bool up;
};

static void net_do_set_link(void *arg) {
        const struct link_call *call = arg;
        struct net *n = call->net;

        if (n->link_up == call->up)
                return;
        n->link_up = call->up;
        n->config.status = htole16(call->up ? VIRTIO_NET_S_LINK_UP : 0);
        n->frame_len = 0;
        if (call->up)
                net_drain(n);
        if (n->vhost)
                vhost_net_set_backend(n->vhost, net_backend(n));
        net_watch(n);
        if (n->active)
                n->dev.transport->config_changed(&n->dev);
}

void net_set_link(struct virtio_device *dev, bool up) {
        struct link_call call = { .net = (struct net *) dev, .up = up };
        loop_call(dev->loop, net_do_set_link, &call);
}

static int create(const struct ctl_header *message, const int *fds, unsigned n_fds, struct device_report *report,
                  struct virtio_device **ret, const char **ret_why) {
        const struct ctl_nic *m = (const struct ctl_nic *) message;
        struct net_config config = {
                .name = m->name,
                .tap_fd = fds[0],
                .vhost_fd = n_fds > 1 ? fds[1] : -EBADF,
                .mtu = m->mtu,
                .link_up = !(m->flags & CTL_NIC_LINK_DOWN),
        };

        memcpy(config.mac, m->mac, sizeof(config.mac));
        return net_new(&config, ret);
}

static void stats(const struct virtio_device *dev, struct ctl_device_stats *ret) {
        net_stats(dev, &ret->nic);
}

const struct device_kind net_kind = {
        .name = "interface",
        .add = CTL_ADD_NIC,
        .max = CTL_NICS_MAX,
        .create = create,
        .stats = stats,
        .set_link = net_set_link,
};
