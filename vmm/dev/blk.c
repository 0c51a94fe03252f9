/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virtio block device (virtio 1.2 §5.2), one request queue.
 *
 * A request is a chain: a 16-byte header that the device reads, data in one direction,
 * and one status byte, the last that the device writes. How the driver cut this
 * into descriptors does not matter (§2.7.4.3). A chain without room for header or
 * status cannot be answered and breaks the device; everything else that is wrong with a
 * request gets an error status.
 *
 * Caching (§5.2.6.2): with FLUSH negotiated, writes are stable after the next flush.
 * Without it, because the host configured write-through or the driver did not
 * take the feature, each write is followed by fdatasync. "unsafe" acknowledges flushes
 * and does nothing.
 *
 * Bounds: BLK_DATA_MAX per request, which is what size_max * seg_max allow; ranges of
 * discard and write-zeroes by their advertised limits; BLK_BUDGET requests per turn of
 * the loop.
 *
 * Threads: all on the device's loop, except the counters, which any thread may read.
 */
#include "blk.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../core/again.h"
#include "../core/virtio.h"
#include "disk.h"

#define SECTOR_SHIFT   9
#define BLK_QUEUE_SIZE VQ_SIZE_MAX
#define BLK_SEG_MAX    (BLK_QUEUE_SIZE - 2) /* header and status take one each */
#define BLK_SIZE_MAX   (256u << 10)
#define BLK_DATA_MAX   (64u << 20) /* >= BLK_SEG_MAX * BLK_SIZE_MAX */
#define BLK_RANGES_MAX 1u          /* discard and write-zeroes segments per request */
#define BLK_RANGE_MAX  (1u << 18)  /* sectors per segment: 128 MiB, so that zeroing by hand stays short */
#define BLK_BUDGET     256u        /* requests per turn of the loop */
#define BLK_BATCH      16u         /* requests completed before the guest is told */

enum operation { OPERATION_READ = 0, OPERATION_WRITE = 1, OPERATION_OTHER = 2 };

struct blk_counters {
        _Atomic uint64_t rd_req, rd_bytes, rd_time_ns;
        _Atomic uint64_t wr_req, wr_bytes, wr_time_ns;
        _Atomic uint64_t flush_req, flush_time_ns;
        _Atomic uint64_t errors;
};

struct blk {
        struct virtio_device dev;
        struct virtqueue queue;
        struct virtio_blk_config config;
        struct disk disk;
        struct again again;
        char name[CTL_NAME_MAX];
        char serial[VIRTIO_BLK_ID_BYTES];
        bool readonly, discard;
        enum ctl_disk_cache cache;
        void (*io_error)(void *arg, int error, unsigned operation);
        void *arg;
        uint64_t last_error_ns;
        struct blk_counters counters;
        struct vq_chain chain;
};

struct request {
        uint32_t type;
        uint64_t sector;
        size_t data_in;  /* bytes the device may write before the status byte */
        size_t data_out; /* bytes after the header */
        size_t written;  /* data bytes that were written */
};

static void add(_Atomic uint64_t *counter, uint64_t n) {
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t now_ns(void) {
        struct timespec ts;
        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + ts.tv_nsec;
}

/* A host error: count it, tell the operator at most once a second. */
static uint8_t host_error(struct blk *b, int error, enum operation operation) {
        uint64_t now = now_ns();

        add(&b->counters.errors, 1);
        if (b->last_error_ns && now - b->last_error_ns < 1000000000u)
                return VIRTIO_BLK_S_IOERR;
        b->last_error_ns = now;
        log_error(error, "%s: host I/O error", b->name);
        if (b->io_error)
                b->io_error(b->arg, error, operation);
        return VIRTIO_BLK_S_IOERR;
}

static bool in_bounds(const struct blk *b, uint64_t sector, uint64_t sectors) {
        uint64_t capacity = b->disk.size >> SECTOR_SHIFT;
        return sector <= capacity && sectors <= capacity - sector;
}

/* §5.2.6.1: data comes in whole sectors; §5.2.6.2: none beyond the capacity. */
static bool is_transfer_valid(const struct blk *b, uint64_t sector, size_t len) {
        uint32_t mask = MAX(b->disk.offset_align, 1u << SECTOR_SHIFT) - 1;

        return len <= BLK_DATA_MAX && ((len | sector << SECTOR_SHIFT) & mask) == 0 &&
               in_bounds(b, sector, len >> SECTOR_SHIFT);
}

/* Without a negotiated flush each write has to be stable when it completes. */
static int sync_write(struct blk *b) {
        bool has_flush = b->dev.features & BIT64(VIRTIO_BLK_F_FLUSH);

        if (b->cache == CTL_CACHE_UNSAFE || (b->cache == CTL_CACHE_WRITEBACK && has_flush))
                return 0;
        return disk_flush(&b->disk);
}

static uint8_t do_read(struct blk *b, struct request *rq) {
        struct iovec iov[VQ_SIZE_MAX];
        uint64_t start;
        unsigned n;
        int r;

        if (!is_transfer_valid(b, rq->sector, rq->data_in))
                return VIRTIO_BLK_S_IOERR;
        start = now_ns();
        n = iov_slice(b->chain.iov + b->chain.n_out, b->chain.n_in, 0, rq->data_in, iov);
        r = disk_read(&b->disk, iov, n, rq->sector << SECTOR_SHIFT);
        if (r < 0)
                return host_error(b, r, OPERATION_READ);
        add(&b->counters.rd_req, 1);
        add(&b->counters.rd_bytes, rq->data_in);
        add(&b->counters.rd_time_ns, now_ns() - start);
        rq->written = rq->data_in;
        return VIRTIO_BLK_S_OK;
}

static uint8_t do_write(struct blk *b, struct request *rq) {
        struct iovec iov[VQ_SIZE_MAX];
        uint64_t start;
        unsigned n;
        int r;

        /* §5.2.6.2: a write to a read-only device fails. */
        if (b->readonly || !is_transfer_valid(b, rq->sector, rq->data_out))
                return VIRTIO_BLK_S_IOERR;
        start = now_ns();
        n = iov_slice(b->chain.iov, b->chain.n_out, sizeof(struct virtio_blk_outhdr), rq->data_out, iov);
        r = disk_write(&b->disk, iov, n, rq->sector << SECTOR_SHIFT);
        if (r == 0)
                r = sync_write(b);
        if (r < 0)
                return host_error(b, r, OPERATION_WRITE);
        add(&b->counters.wr_req, 1);
        add(&b->counters.wr_bytes, rq->data_out);
        add(&b->counters.wr_time_ns, now_ns() - start);
        return VIRTIO_BLK_S_OK;
}

static uint8_t do_flush(struct blk *b) {
        uint64_t start = now_ns();
        int r = b->cache == CTL_CACHE_UNSAFE || b->readonly ? 0 : disk_flush(&b->disk);

        if (r < 0)
                return host_error(b, r, OPERATION_OTHER);
        add(&b->counters.flush_req, 1);
        add(&b->counters.flush_time_ns, now_ns() - start);
        return VIRTIO_BLK_S_OK;
}

static uint8_t do_get_id(struct blk *b, struct request *rq) {
        rq->written = vq_chain_write(&b->chain, 0, b->serial, MIN(rq->data_in, sizeof(b->serial)));
        return VIRTIO_BLK_S_OK;
}

/* §5.2.6.2: flags a device does not know, and unmap with discard, are unsupported. */
static uint8_t check_range(const struct blk *b, const struct request *rq, uint64_t sector, uint32_t sectors,
                           uint32_t flags) {
        uint32_t allowed = rq->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
        uint32_t mask = (b->disk.logical_size >> SECTOR_SHIFT) - 1;

        if (flags & ~allowed)
                return VIRTIO_BLK_S_UNSUPP;
        if (sectors > BLK_RANGE_MAX || ((sector | sectors) & mask) || !in_bounds(b, sector, sectors))
                return VIRTIO_BLK_S_IOERR;
        return VIRTIO_BLK_S_OK;
}

static uint8_t do_range(struct blk *b, const struct request *rq, const struct virtio_blk_discard_write_zeroes *range) {
        uint64_t sector = le64toh(range->sector);
        uint32_t sectors = le32toh(range->num_sectors), flags = le32toh(range->flags);
        uint64_t offset = sector << SECTOR_SHIFT, len = (uint64_t) sectors << SECTOR_SHIFT;
        uint8_t status = check_range(b, rq, sector, sectors, flags);
        int r;

        if (status != VIRTIO_BLK_S_OK || sectors == 0)
                return status;
        if (rq->type == VIRTIO_BLK_T_DISCARD) {
                r = disk_discard(&b->disk, offset, len);
                return r < 0 ? host_error(b, r, OPERATION_OTHER) : VIRTIO_BLK_S_OK;
        }
        r = disk_write_zeroes(&b->disk, offset, len, b->discard && flags);
        return r < 0 ? host_error(b, r, OPERATION_WRITE) : VIRTIO_BLK_S_OK;
}

static uint8_t do_ranges(struct blk *b, struct request *rq) {
        struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES_MAX];
        size_t n = rq->data_out / sizeof(ranges[0]);
        unsigned feature = rq->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
        int r;

        if (!(b->dev.features & BIT64(feature)))
                return VIRTIO_BLK_S_UNSUPP;
        if (b->readonly || n == 0 || n > BLK_RANGES_MAX || rq->data_out % sizeof(ranges[0]))
                return VIRTIO_BLK_S_IOERR;
        (void) vq_chain_read(&b->chain, sizeof(struct virtio_blk_outhdr), ranges, n * sizeof(ranges[0]));
        for (size_t i = 0; i < n; i++) {
                uint8_t status = do_range(b, rq, &ranges[i]);
                if (status != VIRTIO_BLK_S_OK)
                        return status;
        }
        r = sync_write(b);
        return r < 0 ? host_error(b, r, OPERATION_OTHER) : VIRTIO_BLK_S_OK;
}

static uint8_t do_request(struct blk *b, struct request *rq) {
        switch (rq->type) {
        case VIRTIO_BLK_T_IN:
                return do_read(b, rq);
        case VIRTIO_BLK_T_OUT:
                return do_write(b, rq);
        case VIRTIO_BLK_T_FLUSH:
                return do_flush(b);
        case VIRTIO_BLK_T_GET_ID:
                return do_get_id(b, rq);
        case VIRTIO_BLK_T_DISCARD:
        case VIRTIO_BLK_T_WRITE_ZEROES:
                return do_ranges(b, rq);
        default:
                return VIRTIO_BLK_S_UNSUPP;
        }
}

/* Serves the chain in b->chain. False: it broke the device. */
static bool blk_serve(struct blk *b) {
        struct virtio_blk_outhdr header;
        struct request rq = {};
        uint32_t used;
        uint8_t status;

        if (vq_chain_read(&b->chain, 0, &header, sizeof(header)) < sizeof(header) || b->chain.in_len < 1) {
                virtio_device_fail(&b->dev, "request of %zu+%zu bytes has no room for header or status",
                                   b->chain.out_len, b->chain.in_len);
                return false;
        }
        rq.type = le32toh(header.type);
        rq.sector = le64toh(header.sector);
        rq.data_in = b->chain.in_len - 1;
        rq.data_out = b->chain.out_len - sizeof(header);

        status = do_request(b, &rq);
        (void) vq_chain_write(&b->chain, rq.data_in, &status, 1);
        /* §2.7.8.2: the used length counts from the start, so the status only counts after complete data. */
        used = rq.written == rq.data_in ? rq.data_in + 1 : rq.written;
        vq_push(&b->queue, &b->chain, used);
        return true;
}

/* Serves what is available, up to the budget, or until another thread wants something: a reset, a pause, the end. */
static void blk_run(void *arg) {
        struct blk *b = arg;
        unsigned served = 0;

        if (!b->queue.enabled)
                return;
        vq_disable_notify(&b->queue);
        while (virtio_queue_pop(&b->dev, 0, &b->chain) > 0) {
                if (!blk_serve(b))
                        return;
                served++;
                if (served % BLK_BATCH == 0)
                        virtio_queue_flush(&b->dev, 0);
                if (served == BLK_BUDGET || loop_is_called(b->dev.loop)) {
                        again_raise(&b->again);
                        break;
                }
        }
        virtio_queue_flush(&b->dev, 0);
}

static void blk_kick(struct virtio_device *dev, unsigned index) {
        blk_run(dev);
}

static int blk_activate(struct virtio_device *dev) {
        return 0;
}

static void blk_reset(struct virtio_device *dev) {
        vq_reset(&((struct blk *) dev)->queue);
}

static void blk_config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        struct blk *b = (struct blk *) dev;
        memcpy(data, (uint8_t *) &b->config + offset, len);
}

static void blk_free(struct virtio_device *dev) {
        struct blk *b = (struct blk *) dev;

        b->dev.loop = loop_free(b->dev.loop);
        again_done(&b->again);
        disk_done(&b->disk);
        free(b);
}

static const struct virtio_device_ops blk_ops = {
        .config_read = blk_config_read,
        .activate = blk_activate,
        .reset = blk_reset,
        .kick = blk_kick,
        .free = blk_free,
};

static uint64_t blk_features(const struct blk *b) {
        uint64_t features = BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) |
                            BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_TOPOLOGY);

        if (b->cache != CTL_CACHE_WRITETHROUGH)
                features |= BIT64(VIRTIO_BLK_F_FLUSH);
        if (b->readonly)
                return features | BIT64(VIRTIO_BLK_F_RO);
        if (b->discard)
                features |= BIT64(VIRTIO_BLK_F_DISCARD);
        return features | BIT64(VIRTIO_BLK_F_WRITE_ZEROES);
}

/* §5.2.4: the configuration, little-endian. */
static void blk_config_fill(struct blk *b) {
        uint32_t physical = MAX(b->disk.physical_size, b->disk.logical_size);

        b->config = (struct virtio_blk_config) {
                .capacity = htole64(b->disk.size >> SECTOR_SHIFT),
                .size_max = htole32(BLK_SIZE_MAX),
                .seg_max = htole32(BLK_SEG_MAX),
                .blk_size = htole32(b->disk.logical_size),
                .physical_block_exp = __builtin_ctz(physical / b->disk.logical_size),
                .min_io_size = htole16(physical / b->disk.logical_size),
                .max_discard_sectors = htole32(BLK_RANGE_MAX),
                .max_discard_seg = htole32(BLK_RANGES_MAX),
                .discard_sector_alignment = htole32(physical >> SECTOR_SHIFT),
                .max_write_zeroes_sectors = htole32(BLK_RANGE_MAX),
                .max_write_zeroes_seg = htole32(BLK_RANGES_MAX),
                .write_zeroes_may_unmap = b->discard,
        };
}

static void blk_init(struct blk *b, const struct blk_config *config) {
        (void) snprintf(b->name, sizeof(b->name), "%s", config->name ?: "disk");
        if (config->serial)
                memcpy(b->serial, config->serial, strnlen(config->serial, sizeof(b->serial)));
        b->readonly = config->readonly;
        b->discard = config->discard;
        b->cache = config->cache;
        b->io_error = config->io_error;
        b->arg = config->arg;
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
        b->again = (struct again) AGAIN_INIT;
        b->disk = (struct disk) DISK_INIT;
        blk_init(b, config);
        r = loop_new(b->name, &b->dev.loop);
        if (r == 0)
                r = again_init(&b->again, b->dev.loop, blk_run, b);
        if (r == 0)
                r = disk_init(&b->disk, config->fd, config->readonly);
        if (r < 0) {
                blk_free(&b->dev);
                return r;
        }
        if (b->disk.direct_lost)
                log_warningx("%s: its file system takes no direct I/O of 512 bytes, or does not say so (Linux 6.1): "
                             "the host's page cache is used in spite of cache=none", b->name);
        blk_config_fill(b);
        b->dev.role = (struct thread_role) { .kind = THREAD_DISK, .fd = b->disk.fd,
                                             .size = config->readonly ? 0 : b->disk.size };
        b->dev.file_size = config->readonly || b->disk.is_block ? 0 : b->disk.size;
        *ret = &b->dev;
        return 0;
}

void blk_stats(const struct virtio_device *dev, struct ctl_disk_stats *ret) {
        const struct blk *b = (const struct blk *) dev;
        const struct blk_counters *c = &b->counters;

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
                .capacity = b->disk.size,
        };
}
