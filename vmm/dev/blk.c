/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio block device (virtio 1.2 §5.2), one request queue: what the driver sees of
 * it. Its requests are carried out in blk_io.c, by threads of their own.
 *
 * A request is a chain: a 16-byte header that the device reads, data in one direction,
 * and one status byte, the last that the device writes. How the driver cut this
 * into descriptors does not matter (§2.7.4.3). A chain without room for header or
 * status cannot be answered and breaks the device; everything else that is wrong with a
 * request gets an error status.
 *
 * Caching (§5.2.6.2): with FLUSH negotiated, writes are stable after the next flush.
 * Without it, because the host configured write-through or the driver did not
 * take the feature, each write is stable when it completes. "unsafe" acknowledges flushes
 * and does nothing.
 *
 * Bounds: BLK_DATA_MAX per request, which is what size_max * seg_max allow; ranges of
 * discard and write-zeroes by their advertised limits; BLK_REQUESTS_MAX at work.
 *
 * Threads: all on the device's loop, which waits for no I/O. Workers report to it through a note (`again`). Any
 * thread may read the counters.
 */
#include "blk.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "../base/cleanup.h"
#include "../core/again.h"
#include "../core/virtio.h"
#include "blk_io.h"
#include "kind.h"

#define SECTOR_SHIFT   9
#define BLK_QUEUE_SIZE VQ_SIZE_MAX
#define BLK_SEG_MAX    (BLK_QUEUE_SIZE - 2) /* header and status take one each */
#define BLK_SIZE_MAX   (256u << 10)
_Static_assert(BLK_DATA_MAX >= BLK_SEG_MAX * BLK_SIZE_MAX, "what the configuration allows is served");

struct blk {
        struct virtio_device dev;
        struct virtqueue queue;
        struct virtio_blk_config config;
        struct again again;
        char name[CTL_NAME_MAX];
        struct blk_io io;
};

/* What the workers have left for the loop. */
static void blk_notices(void *arg) {
        struct blk *b = arg;
        unsigned notices = blk_io_take_notices(&b->io);

        if (notices & BLK_NOTICE_FAULT)
                virtio_device_fail(&b->dev, "%s", b->io.fault);
        if (notices & BLK_NOTICE_IDLE)
                b->dev.transport->idle(&b->dev);
}

static void blk_raise(void *arg) {
        again_raise(&((struct blk *) arg)->again);
}

static void blk_kick(struct virtio_device *dev, unsigned index) {
        struct blk *b = (struct blk *) dev;

        blk_io_kick(&b->io);
        blk_notices(b);
}

static int blk_start(struct virtio_device *dev, int (*enter_thread)(void *role)) {
        return blk_io_start(&((struct blk *) dev)->io, enter_thread);
}

static int blk_activate(struct virtio_device *dev) {
        blk_io_open(&((struct blk *) dev)->io);
        return 0;
}

static bool blk_reset(struct virtio_device *dev) {
        return blk_io_close(&((struct blk *) dev)->io);
}

static bool blk_quiesce(struct virtio_device *dev) {
        return blk_io_quiesce(&((struct blk *) dev)->io);
}

static void blk_resume(struct virtio_device *dev) {
        struct blk *b = (struct blk *) dev;

        blk_io_resume(&b->io);
        blk_notices(b);
}

static bool blk_release(struct virtio_device *dev) {
        return blk_io_release(&((struct blk *) dev)->io);
}

static void blk_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        struct blk *b = (struct blk *) dev;
        memcpy(data, (uint8_t *) &b->config + offset, len);
}

/* Both kinds of thread end before what they share goes: workers raise notes, the loop takes the workers' lock. */
static void blk_free(struct virtio_device *dev) {
        struct blk *b = (struct blk *) dev;

        blk_io_stop(&b->io);
        b->dev.loop = loop_free(b->dev.loop);
        blk_io_done(&b->io);
        again_done(&b->again);
        free(b);
}

static const struct virtio_device_ops blk_ops = {
        .config_read = blk_config_read,
        .start = blk_start,
        .activate = blk_activate,
        .reset = blk_reset,
        .quiesce = blk_quiesce,
        .resume = blk_resume,
        .kick = blk_kick,
        .release = blk_release,
        .free = blk_free,
};

static uint64_t blk_features(const struct blk *b) {
        uint64_t features = BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_BLK_SIZE) |
                            BIT64(VIRTIO_BLK_F_TOPOLOGY);

        if (b->io.cache != CTL_CACHE_WRITETHROUGH)
                features |= BIT64(VIRTIO_BLK_F_FLUSH);
        if (b->io.readonly)
                return features | BIT64(VIRTIO_BLK_F_RO);
        if (b->io.discard)
                features |= BIT64(VIRTIO_BLK_F_DISCARD);
        return features | BIT64(VIRTIO_BLK_F_WRITE_ZEROES);
}

/* §5.2.4: the configuration, little-endian. */
static void blk_config_fill(struct blk *b) {
        uint32_t physical = MAX(b->io.disk.physical_size, b->io.disk.logical_size);

        b->config = (struct virtio_blk_config) {
                .capacity = htole64(b->io.disk.size >> SECTOR_SHIFT),
                .size_max = htole32(BLK_SIZE_MAX),
                .seg_max = htole32(BLK_SEG_MAX),
                .blk_size = htole32(b->io.disk.logical_size),
                .physical_block_exp = __builtin_ctz(physical / b->io.disk.logical_size),
                .min_io_size = htole16(physical / b->io.disk.logical_size),
                .max_discard_sectors = htole32(BLK_RANGE_MAX),
                .max_discard_seg = htole32(BLK_RANGES_MAX),
                .discard_sector_alignment = htole32(physical >> SECTOR_SHIFT),
                .max_write_zeroes_sectors = htole32(BLK_RANGE_MAX),
                .max_write_zeroes_seg = htole32(BLK_RANGES_MAX),
                .write_zeroes_may_unmap = b->io.discard,
        };
}

static void blk_init(struct blk *b, const struct blk_config *config) {
        struct blk_io *io = &b->io;

        (void) snprintf(b->name, sizeof(b->name), "%s", config->name ?: "disk");
        b->again = (struct again) AGAIN_INIT;
        *io = (struct blk_io) {
                .dev = &b->dev,
                .queue = &b->queue,
                .disk = DISK_INIT,
                .name = b->name,
                .readonly = config->readonly,
                .discard = config->discard,
                .cache = config->cache,
                .error_policy = config->error_policy,
                .rerror_policy = config->rerror_policy,
                .io_error = config->io_error,
                .driver_gone = config->driver_gone,
                .arg = config->arg,
                .notice = blk_raise,
                .notice_arg = b,
        };
        if (config->serial)
                memcpy(io->serial, config->serial, strnlen(config->serial, sizeof(io->serial)));
        blk_io_init(io);
        b->queue.size_max = BLK_QUEUE_SIZE;
        b->dev = (struct virtio_device) {
                .ops = &blk_ops,
                .name = b->name,
                .type = VIRTIO_ID_BLOCK,
                .pci_class = 0x018000, /* mass storage, other */
                .config_size = sizeof(b->config),
                .n_queues = 1,
                .queues = &b->queue,
                .host_features = blk_features(b),
        };
}

int blk_new(const struct blk_config *config, struct virtio_device **ret) {
        struct blk *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        blk_init(b, config);
        r = loop_new(b->name, &b->dev.loop);
        if (r == 0)
                r = again_init(&b->again, b->dev.loop, blk_notices, b);
        if (r == 0)
                r = disk_init(&b->io.disk, config->fd, config->readonly);
        if (r < 0) {
                blk_free(&b->dev);
                return r;
        }
        if (b->io.disk.direct_lost)
                log_warningx("%s: its file system takes no direct I/O of 512 bytes, or does not say so (Linux 6.1): "
                             "the host's page cache is used in spite of cache=none",
                             b->name);
        blk_config_fill(b);
        b->dev.role = (struct thread_role) { .kind = THREAD_DISK,
                                             .fd = b->io.disk.fd,
                                             .size = config->readonly ? 0 : b->io.disk.size };
        b->dev.file_size = config->readonly || b->io.disk.is_block ? 0 : b->io.disk.size;
        *ret = &b->dev;
        return 0;
}

void blk_stats(const struct virtio_device *dev, struct ctl_disk_stats *ret) {
        const struct blk *b = (const struct blk *) dev;
        const struct blk_counters *c = &b->io.counters;

        *ret = (struct ctl_disk_stats) {
                .rd_req = c->rd_req,
                .rd_bytes = c->rd_bytes,
                .rd_time_ns = c->rd_time_ns,
                .wr_req = c->wr_req,
                .wr_bytes = c->wr_bytes,
                .wr_time_ns = c->wr_time_ns,
                .flush_req = c->flush_req,
                .flush_time_ns = c->flush_time_ns,
                .errors = c->errors,
                .capacity = b->io.disk.size,
        };
}

int blk_error(const struct virtio_device *dev) {
        return ((const struct blk *) dev)->io.counters.error;
}

static int create(const struct ctl_header *message, const int *fds, unsigned n_fds, struct device_report *report,
                  struct virtio_device **ret, const char **ret_why) {
        const struct ctl_disk *m = (const struct ctl_disk *) message;
        const struct blk_config config = {
                .name = m->name,
                .serial = m->serial,
                .fd = fds[0],
                .readonly = m->flags & CTL_DISK_READONLY,
                .discard = m->flags & CTL_DISK_DISCARD,
                .cache = m->cache,
                .error_policy = m->error_policy,
                .rerror_policy = m->rerror_policy,
                .io_error = report_io_error,
                .driver_gone = report_driver_gone,
                .arg = report,
        };
        int r = blk_new(&config, ret);

        *ret_why = r == -EINVAL    ? "is neither a regular file nor a block device"
                   : r == -EBADF   ? "was not opened for the requested access"
                   : r == -ENODATA ? "is empty"
                                   : NULL;
        return r;
}

static void stats(const struct virtio_device *dev, struct ctl_device_stats *ret) {
        blk_stats(dev, &ret->disk);
        ret->error = blk_error(dev);
}

const struct device_kind blk_kind = {
        .name = "disk",
        .add = CTL_ADD_DISK,
        .max = CTL_DISKS_MAX,
        .create = create,
        .stats = stats,
};
