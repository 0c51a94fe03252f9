/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio entropy device (virtio 1.2 §5.4): one queue of buffers that the device
 * fills with random bytes. It has no configuration and no features.
 *
 * The rate limit is a token bucket of `rate_bytes` that is filled up every `rate_period`
 * by a timer. A request gets what is in the bucket, at least one byte (§5.4.6.1), and
 * waits while it is empty. The timer runs only while a request waits or the bucket is not
 * full, so an idle guest costs nothing.
 *
 * Thread: the device's loop.
 */
#include "rng.h"

#include <linux/virtio_ids.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../core/again.h"
#include "../core/virtio.h"
#include "kind.h"

#define RNG_QUEUE_SIZE  64u
#define RNG_REQUEST_MAX 4096u /* bytes given to one request */
#define RNG_BUDGET      32u   /* requests per turn of the loop */
#define RNG_PERIOD_MS   1000u

struct rng {
        struct virtio_device dev;
        struct virtqueue queue;
        int fd, timer_fd;
        struct loop_source *timer_source;
        struct again again;
        uint32_t rate_bytes, rate_period;
        uint32_t tokens; /* bytes left in this period */
        bool timer_armed;
        struct vq_chain chain;
};

static void arm_timer(struct rng *g) {
        struct itimerspec when = {
                .it_value = { .tv_sec = g->rate_period / 1000, .tv_nsec = (g->rate_period % 1000) * 1000000l },
        };

        if (g->timer_armed)
                return;
        g->timer_armed = timerfd_settime(g->timer_fd, 0, &when, NULL) == 0;
}

/* How much a request of `len` bytes gets now; 0: it waits. */
static size_t rng_allowance(struct rng *g, size_t len) {
        size_t allowed = MIN(len, RNG_REQUEST_MAX);

        if (g->rate_bytes == 0)
                return allowed;
        arm_timer(g);
        return MIN(allowed, g->tokens);
}

/* Fills the popped chain; false: it has to wait and was given back. */
static bool rng_serve(struct rng *g) {
        struct iovec iov[VQ_SIZE_MAX];
        size_t len = rng_allowance(g, g->chain.in_len);
        unsigned k = iov_slice(g->chain.iov + g->chain.n_out, g->chain.n_in, 0, len, iov);
        ssize_t n = k > 0 ? readv(g->fd, iov, k) : 0;

        vq_chain_wrote(&g->chain, 0, MAX(n, (ssize_t) 0));
        if (n <= 0) {
                vq_unpop(&g->queue, 1);
                if (k > 0)
                        arm_timer(g); /* the source has nothing now */
                return false;
        }
        if (g->rate_bytes > 0)
                g->tokens -= n;
        vq_push(&g->queue, &g->chain, n);
        return true;
}

static void rng_run(void *arg) {
        struct rng *g = arg;

        for (unsigned served = 0; virtio_queue_pop(&g->dev, 0, &g->chain) > 0;) {
                if (g->chain.in_len == 0)
                        return virtio_device_fail(&g->dev, "request without room");
                if (!rng_serve(g))
                        break;
                if (++served == RNG_BUDGET) {
                        again_raise(&g->again);
                        break;
                }
        }
        virtio_queue_flush(&g->dev, 0);
}

static void on_timer(void *arg, uint32_t events) {
        struct rng *g = arg;
        uint64_t count;

        if (read(g->timer_fd, &count, sizeof(count)) != sizeof(count))
                return;
        g->timer_armed = false;
        g->tokens = g->rate_bytes;
        rng_run(g);
}

static void rng_kick(struct virtio_device *dev, unsigned index) {
        rng_run(dev);
}

static int rng_activate(struct virtio_device *dev) {
        return 0;
}

static bool rng_reset(struct virtio_device *dev) {
        vq_reset(&((struct rng *) dev)->queue);
        return true;
}

/* There is no quiesce: a queue that is not live is not served. */
static void rng_resume(struct virtio_device *dev) {
        rng_run(dev);
}

static void rng_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
}

static void rng_free(struct virtio_device *dev) {
        struct rng *g = (struct rng *) dev;

        g->dev.loop = loop_free(g->dev.loop);
        again_done(&g->again);
        close_fd(&g->timer_fd);
        close_fd(&g->fd);
        free(g);
}

static const struct virtio_device_ops rng_ops = {
        .config_read = rng_config_read,
        .activate = rng_activate,
        .reset = rng_reset,
        .resume = rng_resume,
        .kick = rng_kick,
        .free = rng_free,
};

static void rng_init(struct rng *g, const struct rng_config *config) {
        g->fd = g->timer_fd = -EBADF;
        g->again = (struct again) AGAIN_INIT;
        g->rate_bytes = g->tokens = config->rate_bytes;
        g->rate_period = config->rate_period ?: RNG_PERIOD_MS;
        g->queue.size_max = RNG_QUEUE_SIZE;
        g->dev = (struct virtio_device) {
                .ops = &rng_ops,
                .name = "rng",
                .type = VIRTIO_ID_RNG,
                .pci_class = 0x00ff00, /* no class fits */
                .n_queues = 1,
                .queues = &g->queue,
        };
}

int rng_new(const struct rng_config *config, struct virtio_device **ret) {
        struct rng *g = calloc(1, sizeof(*g));
        int r;

        if (!g)
                return -ENOMEM;
        rng_init(g, config);
        g->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        r = g->timer_fd < 0 ? -errno : loop_new("rng", &g->dev.loop);
        if (r == 0)
                r = again_init(&g->again, g->dev.loop, rng_run, g);
        if (r == 0)
                r = loop_add_fd(g->dev.loop, g->timer_fd, EPOLLIN, on_timer, g, &g->timer_source);
        if (r < 0) {
                rng_free(&g->dev);
                return r;
        }
        g->fd = config->fd;
        g->dev.role = (struct thread_role) { .kind = THREAD_RNG, .fd = g->fd };
        *ret = &g->dev;
        return 0;
}

static int create(const struct ctl_header *message, const int *fds, unsigned n_fds, struct device_report *report,
                  struct virtio_device **ret, const char **ret_why) {
        const struct ctl_rng *m = (const struct ctl_rng *) message;
        const struct rng_config config = {
                .fd = fds[0],
                .rate_bytes = m->rate_bytes,
                .rate_period = m->rate_period,
        };

        return rng_new(&config, ret);
}

const struct device_kind rng_kind = { .name = "entropy device", .add = CTL_ADD_RNG, .max = 1, .create = create };
