/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Block requests on worker threads.
 *
 * A worker takes the next chain from the queue, does what it asks for, and returns it,
 * in whatever order requests are done (virtio 1.2 §5.2.6). The queue itself is where
 * requests wait: no more are taken than there are workers, plus those that wait for a
 * flush. The lock is held around everything but the host's I/O.
 *
 * Flushes are done in groups: all that came while one was running share the next. It covers what was completed
 * before it began, as §5.2.6.2 demands. There is never more than one fdatasync() at a time, because Linux
 * reports a failed write-back only once: of two at a time, one would succeed. After the first failure, data
 * that the guest believes written is lost; from then on every flush, and every write that must be stable, fails
 * until the guest is stopped (`lost`).
 *
 * A write that has to be stable when it completes (no flush negotiated, or
 * write-through) joins the next group once its data is written.
 *
 * Errors of the host follow the disk's policy. With "stop" the request is kept, the control thread pauses the
 * guest, and no request is started; resuming starts with the kept ones. Retrying a failed flush is pointless,
 * so "enospace" reports it, and "stop" pauses the guest for the first only.
 *
 * Closing (device reset) drops waiting requests, and waits only for those that touch guest memory or may still
 * change the disk. A running flush does neither and is not waited for: its requests are gone when it ends, and
 * the next flush waits for it.
 *
 * Without threads (tests) requests are done on the thread that brings them.
 */
#include "blk_io.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../base/thread.h"

#define SECTOR_SHIFT 9

enum operation { OPERATION_READ = 0, OPERATION_WRITE = 1, OPERATION_OTHER = 2 };

/* DATA_IS_LOST: by a flush before this one, which is not tried again. */
enum failure { REQUEST_FAILED, FLUSH_FAILED, DATA_IS_LOST };

static void add(_Atomic uint64_t *counter, uint64_t n) {
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t now_ns(void) {
        struct timespec ts;
        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + ts.tv_nsec;
}

/* --- Lists ---------------------------------------------------------------------------- */

static void list_init(struct blk_requests *list) {
        list->first = NULL;
        list->last = &list->first;
}

static void list_push(struct blk_requests *list, struct blk_request *rq) {
        rq->next = NULL;
        *list->last = rq;
        list->last = &rq->next;
}

static struct blk_request *list_pop(struct blk_requests *list) {
        struct blk_request *rq = list->first;

        if (!rq)
                return NULL;
        list->first = rq->next;
        if (!list->first)
                list->last = &list->first;
        return rq;
}

static void list_move(struct blk_requests *from, struct blk_requests *to) {
        struct blk_request *rq;

        while ((rq = list_pop(from)))
                list_push(to, rq);
}

/* --- What a request does: without the lock -------------------------------------------- */

/* All return a status for the driver, or a negative errno of the host's. */

static bool in_bounds(const struct blk_io *io, uint64_t sector, uint64_t sectors) {
        uint64_t capacity = io->disk.size >> SECTOR_SHIFT;
        return sector <= capacity && sectors <= capacity - sector;
}

/* §5.2.6.1: data comes in whole sectors; §5.2.6.2: none beyond the capacity. */
static bool is_transfer_valid(const struct blk_io *io, uint64_t sector, size_t len) {
        uint32_t mask = MAX(io->disk.offset_align, 1u << SECTOR_SHIFT) - 1;

        return len <= BLK_DATA_MAX && ((len | sector << SECTOR_SHIFT) & mask) == 0 &&
               in_bounds(io, sector, len >> SECTOR_SHIFT);
}

static int do_read(struct blk_io *io, struct blk_worker *worker, struct blk_request *rq) {
        const struct vq_chain *chain = &rq->chain;
        struct iovec iov[VQ_SIZE_MAX];
        unsigned n;
        int r;

        if (!is_transfer_valid(io, rq->sector, rq->data_in))
                return VIRTIO_BLK_S_IOERR;
        n = iov_slice(chain->iov + chain->n_out, chain->n_in, 0, rq->data_in, iov);
        r = disk_read(&io->disk, iov, n, rq->sector << SECTOR_SHIFT, &worker->bounce);
        vq_chain_wrote(chain, 0, rq->data_in); /* a part, when it failed */
        if (r < 0)
                return r;
        rq->written = rq->data_in;
        return VIRTIO_BLK_S_OK;
}

static int do_write(struct blk_io *io, struct blk_worker *worker, struct blk_request *rq) {
        struct iovec iov[VQ_SIZE_MAX];
        unsigned n;

        /* §5.2.6.2: a write to a read-only device fails. */
        if (io->readonly || !is_transfer_valid(io, rq->sector, rq->data_out))
                return VIRTIO_BLK_S_IOERR;
        n = iov_slice(rq->chain.iov, rq->chain.n_out, sizeof(struct virtio_blk_outhdr), rq->data_out, iov);
        return disk_write(&io->disk, iov, n, rq->sector << SECTOR_SHIFT, &worker->bounce);
}

static int do_get_id(struct blk_io *io, struct blk_request *rq) {
        rq->written = vq_chain_write(&rq->chain, 0, io->serial, MIN(rq->data_in, sizeof(io->serial)));
        return VIRTIO_BLK_S_OK;
}

/* §5.2.6.2: flags a device does not know, and unmap with discard, are unsupported. */
static uint8_t check_range(const struct blk_io *io, const struct blk_request *rq, uint64_t sector, uint32_t sectors,
                           uint32_t flags) {
        uint32_t allowed = rq->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
        uint32_t mask = (io->disk.logical_size >> SECTOR_SHIFT) - 1;

        if (flags & ~allowed)
                return VIRTIO_BLK_S_UNSUPP;
        if (sectors > BLK_RANGE_MAX || ((sector | sectors) & mask) || !in_bounds(io, sector, sectors))
                return VIRTIO_BLK_S_IOERR;
        return VIRTIO_BLK_S_OK;
}

static int do_range(struct blk_io *io, const struct blk_request *rq,
                    const struct virtio_blk_discard_write_zeroes *range) {
        uint64_t sector = le64toh(range->sector);
        uint32_t sectors = le32toh(range->num_sectors), flags = le32toh(range->flags);
        uint64_t offset = sector << SECTOR_SHIFT, len = (uint64_t) sectors << SECTOR_SHIFT;
        uint8_t status = check_range(io, rq, sector, sectors, flags);

        if (status != VIRTIO_BLK_S_OK || sectors == 0)
                return status;
        if (rq->type == VIRTIO_BLK_T_DISCARD)
                return disk_discard(&io->disk, offset, len);
        return disk_write_zeroes(&io->disk, offset, len, io->discard && flags);
}

static int do_ranges(struct blk_io *io, struct blk_request *rq) {
        struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES_MAX];
        size_t n = rq->data_out / sizeof(ranges[0]);
        unsigned feature = rq->type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
        int r = VIRTIO_BLK_S_OK;

        if (!(io->dev->features & BIT64(feature)))
                return VIRTIO_BLK_S_UNSUPP;
        if (io->readonly || n == 0 || n > BLK_RANGES_MAX || rq->data_out % sizeof(ranges[0]))
                return VIRTIO_BLK_S_IOERR;
        (void) vq_chain_read(&rq->chain, sizeof(struct virtio_blk_outhdr), ranges, n * sizeof(ranges[0]));
        for (size_t i = 0; i < n && r == VIRTIO_BLK_S_OK; i++)
                r = do_range(io, rq, &ranges[i]);
        return r;
}

static int do_request(struct blk_io *io, struct blk_worker *worker, struct blk_request *rq) {
        switch (rq->type) {
        case VIRTIO_BLK_T_IN:
                return do_read(io, worker, rq);
        case VIRTIO_BLK_T_OUT:
                return do_write(io, worker, rq);
        case VIRTIO_BLK_T_FLUSH:
                return VIRTIO_BLK_S_OK; /* the group's */
        case VIRTIO_BLK_T_GET_ID:
                return do_get_id(io, rq);
        case VIRTIO_BLK_T_DISCARD:
        case VIRTIO_BLK_T_WRITE_ZEROES:
                return do_ranges(io, rq);
        default:
                return VIRTIO_BLK_S_UNSUPP;
        }
}

/* --- The end of a request: with the lock, from here on --------------------------------- */

static void raise_notice(struct blk_io *io, unsigned notice) {
        io->notices |= notice;
        io->notice(io->notice_arg);
}

/* Something has finished: checks whether anybody is waiting for it. */
static void settle(struct blk_io *io) {
        if (!io->awaited || io->running > 0 || io->quiescing || io->releasing)
                return;
        io->awaited = io->closing = false;
        raise_notice(io, BLK_NOTICE_IDLE);
}

static bool is_write(uint32_t type) {
        return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
}

static void count(struct blk_io *io, const struct blk_request *rq) {
        struct blk_counters *c = &io->counters;
        uint64_t time = now_ns() - rq->start_ns;

        switch (rq->type) {
        case VIRTIO_BLK_T_IN:
                add(&c->rd_req, 1);
                add(&c->rd_bytes, rq->data_in);
                add(&c->rd_time_ns, time);
                break;
        case VIRTIO_BLK_T_OUT:
                add(&c->wr_req, 1);
                add(&c->wr_bytes, rq->data_out);
                add(&c->wr_time_ns, time);
                break;
        case VIRTIO_BLK_T_FLUSH:
                add(&c->flush_req, 1);
                add(&c->flush_time_ns, time);
        }
}

/* Returns the request to the driver, unless it belongs to one that has reset the device meanwhile. */
static void complete(struct blk_io *io, struct blk_request *rq, uint8_t status) {
        uint32_t used;

        if (status == VIRTIO_BLK_S_OK)
                count(io, rq);
        if (rq->generation == io->generation) {
                (void) vq_chain_write(&rq->chain, rq->data_in, &status, 1);
                /* §2.7.8.2: the used length counts from the start: the status only after complete data. */
                used = rq->written == rq->data_in ? rq->data_in + 1 : rq->written;
                vq_push(io->queue, &rq->chain, used);
                virtio_queue_flush(io->dev, 0);
        }
        list_push(&io->spare, rq);
}

static enum ctl_error_policy policy_of(const struct blk_io *io, int error, enum operation operation,
                                       enum failure failure) {
        enum ctl_error_policy policy = operation == OPERATION_READ ? io->rerror_policy : io->error_policy;

        if (policy == CTL_ERROR_ENOSPC)
                policy = error == -ENOSPC && failure == REQUEST_FAILED ? CTL_ERROR_STOP : CTL_ERROR_REPORT;
        return policy == CTL_ERROR_STOP && failure == DATA_IS_LOST ? CTL_ERROR_REPORT : policy;
}

/* Counts it and notifies the operator: once a second, but always when the guest is to be paused. */
static void tell_error(struct blk_io *io, int error, enum operation operation, enum ctl_error_policy policy) {
        static const char *const done[] = {
                [CTL_ERROR_REPORT] = "reported to the guest",
                [CTL_ERROR_STOP] = "the guest is paused; resuming it retries the request",
                [CTL_ERROR_IGNORE] = "not reported to the guest",
        };
        uint64_t now = now_ns();

        add(&io->counters.errors, 1);
        if (policy == CTL_ERROR_STOP) {
                io->counters.error = error;
                if (io->halted)
                        return; /* the first error has been reported */
        } else if (io->last_error_ns && now - io->last_error_ns < 1000000000u)
                return;
        io->last_error_ns = now;
        log_error(error, "%s: host I/O error, %s", io->name, done[policy]);
        if (io->io_error)
                io->io_error(io->arg, error, operation, policy);
}

/* No guest is paused for a request of a driver that has gone. */
static void host_error(struct blk_io *io, struct blk_request *rq, int error, enum failure failure) {
        enum operation operation = rq->type == VIRTIO_BLK_T_IN ? OPERATION_READ
                                   : rq->type == VIRTIO_BLK_T_FLUSH || rq->type == VIRTIO_BLK_T_DISCARD
                                           ? OPERATION_OTHER
                                           : OPERATION_WRITE;
        enum ctl_error_policy policy =
                rq->generation == io->generation ? policy_of(io, error, operation, failure) : CTL_ERROR_REPORT;

        tell_error(io, error, operation, policy);
        if (policy == CTL_ERROR_STOP) {
                io->halted = true;
                list_push(&io->halted_list, rq);
                return;
        }
        rq->written = policy == CTL_ERROR_IGNORE ? rq->data_in : 0;
        complete(io, rq, policy == CTL_ERROR_IGNORE ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
}

/* Whether the request is done only with the next flush. */
static bool wants_sync(const struct blk_io *io, const struct blk_request *rq) {
        bool has_flush = io->dev->features & BIT64(VIRTIO_BLK_F_FLUSH);

        if (io->cache == CTL_CACHE_UNSAFE || io->readonly)
                return false;
        if (rq->type == VIRTIO_BLK_T_FLUSH)
                return true;
        return is_write(rq->type) && (io->cache == CTL_CACHE_WRITETHROUGH || !has_flush);
}

static void conclude(struct blk_io *io, struct blk_request *rq, int r) {
        if (r < 0)
                return host_error(io, rq, r, REQUEST_FAILED);
        if (r != VIRTIO_BLK_S_OK || rq->generation != io->generation || !wants_sync(io, rq))
                return complete(io, rq, (uint8_t) r);
        list_push(&io->syncing, rq);
}

/* --- Flushing -------------------------------------------------------------------------- */

/* Drops the lock meanwhile. */
static int flush_once(struct blk_io *io) {
        int r;

        if (io->lost < 0)
                return -EIO;
        io->dirty = false;
        io->flushing = true;
        (void) pthread_mutex_unlock(&io->lock);
        r = disk_flush(&io->disk);
        (void) pthread_mutex_lock(&io->lock);
        io->flushing = false;
        if (r == 0)
                return 0;
        io->counters.error = r;
        io->lost = r;
        log_error(r, "%s: data that was written is lost: its flushes fail until the guest is stopped", io->name);
        return r;
}

/* Flushes for all requests that wait for it, or, before the device is quiesced, for none. */
static void flush_group(struct blk_io *io) {
        enum failure failure = io->lost < 0 ? DATA_IS_LOST : FLUSH_FAILED;
        struct blk_request *rq;
        int r;

        list_move(&io->syncing, &io->group);
        r = flush_once(io);
        if (r < 0 && !io->group.first)
                tell_error(io, r, OPERATION_OTHER, CTL_ERROR_REPORT);
        while ((rq = list_pop(&io->group)))
                if (r < 0)
                        host_error(io, rq, r, failure);
                else
                        complete(io, rq, VIRTIO_BLK_S_OK);
}

static bool must_flush(const struct blk_io *io) {
        return io->dirty && io->lost == 0 && !io->readonly && io->cache != CTL_CACHE_UNSAFE;
}

/* --- Taking requests -------------------------------------------------------------------- */

static void fault(struct blk_io *io, const struct blk_request *rq) {
        io->open = false;
        if (rq)
                (void) snprintf(io->fault, sizeof(io->fault),
                                "request of %zu+%zu bytes has no room for header or status", rq->chain.out_len,
                                rq->chain.in_len);
        else
                (void) snprintf(io->fault, sizeof(io->fault), "queue 0 is broken");
        raise_notice(io, BLK_NOTICE_FAULT);
}

/* False: without room for header or status nothing can be answered. */
static bool parse(struct blk_io *io, struct blk_request *rq) {
        struct virtio_blk_outhdr header;

        if (vq_chain_read(&rq->chain, 0, &header, sizeof(header)) < sizeof(header) || rq->chain.in_len < 1)
                return false;
        rq->type = le32toh(header.type);
        rq->sector = le64toh(header.sector);
        rq->data_in = rq->chain.in_len - 1;
        rq->data_out = rq->chain.out_len - sizeof(header);
        rq->written = 0;
        rq->start_ns = now_ns();
        rq->generation = io->generation;
        return true;
}

/* The next chain of the queue; when there is none, the driver is asked to kick. */
static int pop(struct blk_io *io, struct vq_chain *chain) {
        int r = vq_pop(io->queue, chain);

        if (r == 0 && vq_enable_notify(io->queue))
                r = vq_pop(io->queue, chain);
        if (r > 0)
                vq_disable_notify(io->queue);
        io->kicked = r > 0;
        return r;
}

static struct blk_request *take_request(struct blk_io *io) {
        struct blk_request *rq = list_pop(&io->retry);
        int r;

        if (rq || !io->kicked || !io->spare.first)
                return rq;
        rq = list_pop(&io->spare);
        r = pop(io, &rq->chain);
        if (r > 0 && parse(io, rq)) {
                if (vq_is_pending(io->queue))
                        (void) pthread_cond_signal(&io->work);
                return rq;
        }
        if (r != 0)
                fault(io, r > 0 ? rq : NULL);
        list_push(&io->spare, rq);
        return NULL;
}

/* --- Workers ----------------------------------------------------------------------------- */

static void serve(struct blk_io *io, struct blk_worker *worker, struct blk_request *rq) {
        int r;

        io->running++;
        (void) pthread_mutex_unlock(&io->lock);
        r = do_request(io, worker, rq);
        (void) pthread_mutex_lock(&io->lock);
        io->running--;
        io->dirty = io->dirty || is_write(rq->type);
        conclude(io, rq, r);
}

/* One worker does it, without the lock: there are no requests any more. */
static void release(struct blk_io *io) {
        struct disk disk = io->disk;

        io->disk.fd = -EBADF;
        (void) pthread_mutex_unlock(&io->lock);
        disk_done(&disk);
        (void) pthread_mutex_lock(&io->lock);
        io->releasing = false;
}

/* Does one thing; false: there is nothing to do. */
static bool step(struct blk_io *io, struct blk_worker *worker) {
        struct blk_request *rq;

        if (io->syncing.first && !io->flushing) {
                flush_group(io);
                settle(io);
                return true;
        }
        if (io->quiescing && io->running == 0 && !io->flushing) {
                if (must_flush(io))
                        flush_group(io);
                else
                        io->quiescing = false;
                settle(io);
                return true;
        }
        if (io->releasing && io->disk.fd >= 0 && io->running == 0 && !io->flushing) {
                release(io);
                settle(io);
                return true;
        }
        rq = io->open && !io->halted ? take_request(io) : NULL;
        if (!rq)
                return false;
        serve(io, worker, rq);
        settle(io);
        return true;
}

/* Wakes a worker, or does the work here if there are no threads. */
static void work(struct blk_io *io) {
        if (io->n_threads > 0)
                (void) pthread_cond_signal(&io->work);
        else
                while (step(io, &io->worker[0]))
                        ;
}

static void *worker_thread(void *arg) {
        struct blk_worker *worker = arg;
        struct blk_io *io = worker->io;
        char name[16];
        int r;

        (void) snprintf(name, sizeof(name), "%.12s/io", io->name);
        (void) prctl(PR_SET_NAME, name);
        r = io->enter_thread ? io->enter_thread(&io->dev->role) : 0;
        (void) pthread_mutex_lock(&io->lock);
        io->n_entered++;
        io->enter_result = MIN(io->enter_result, r);
        (void) pthread_cond_signal(&io->entered);
        while (!io->quit && r >= 0)
                if (!step(io, worker))
                        (void) pthread_cond_wait(&io->work, &io->lock);
        (void) pthread_mutex_unlock(&io->lock);
        return NULL;
}

int blk_io_start(struct blk_io *io, int (*enter_thread)(void *role)) {
        int r = 0;

        io->enter_thread = enter_thread;
        (void) pthread_mutex_lock(&io->lock);
        while (io->n_threads < BLK_WORKERS_MAX && r == 0) {
                r = thread_new(&io->worker[io->n_threads].thread, worker_thread, &io->worker[io->n_threads]);
                io->n_threads += r == 0;
        }
        while (io->n_entered < io->n_threads)
                (void) pthread_cond_wait(&io->entered, &io->lock);
        r = MIN(r, io->enter_result);
        (void) pthread_mutex_unlock(&io->lock);
        return r;
}

/* --- For the device ------------------------------------------------------------------------ */

void blk_io_init(struct blk_io *io) {
        (void) pthread_mutex_init(&io->lock, NULL);
        (void) pthread_cond_init(&io->work, NULL);
        (void) pthread_cond_init(&io->entered, NULL);
        list_init(&io->spare);
        list_init(&io->syncing);
        list_init(&io->group);
        list_init(&io->halted_list);
        list_init(&io->retry);
        for (unsigned i = 0; i < BLK_REQUESTS_MAX; i++)
                list_push(&io->spare, &io->request[i]);
        for (unsigned i = 0; i < BLK_WORKERS_MAX; i++)
                io->worker[i].io = io;
}

void blk_io_stop(struct blk_io *io) {
        (void) pthread_mutex_lock(&io->lock);
        io->quit = true;
        (void) pthread_cond_broadcast(&io->work);
        (void) pthread_mutex_unlock(&io->lock);
        for (unsigned i = 0; i < io->n_threads; i++)
                (void) pthread_join(io->worker[i].thread, NULL);
}

void blk_io_done(struct blk_io *io) {
        for (unsigned i = 0; i < BLK_WORKERS_MAX; i++)
                free(TAKE(io->worker[i].bounce));
        (void) pthread_cond_destroy(&io->work);
        (void) pthread_cond_destroy(&io->entered);
        (void) pthread_mutex_destroy(&io->lock);
        disk_done(&io->disk);
}

void blk_io_open(struct blk_io *io) {
        (void) pthread_mutex_lock(&io->lock);
        io->open = true;
        io->kicked = io->halted = false;
        (void) pthread_mutex_unlock(&io->lock);
}

void blk_io_kick(struct blk_io *io) {
        (void) pthread_mutex_lock(&io->lock);
        io->kicked = true;
        if (io->open)
                work(io);
        (void) pthread_mutex_unlock(&io->lock);
}

/* With the lock: a notice is owed, or not. One that was raised before and not taken would come too early. */
static void await(struct blk_io *io, bool awaited) {
        io->awaited = awaited;
        if (awaited)
                io->notices &= ~(unsigned) BLK_NOTICE_IDLE;
}

bool blk_io_close(struct blk_io *io) {
        bool is_idle;

        (void) pthread_mutex_lock(&io->lock);
        io->generation++;
        if (io->halted && io->driver_gone)
                io->driver_gone(io->arg);
        io->open = io->halted = false;
        io->counters.error = io->lost;
        list_move(&io->syncing, &io->spare);
        list_move(&io->group, &io->spare);
        list_move(&io->halted_list, &io->spare);
        list_move(&io->retry, &io->spare);
        is_idle = io->running == 0 && !io->quiescing;
        io->closing = !is_idle;
        io->notices &= ~(unsigned) BLK_NOTICE_FAULT; /* the driver has gone */
        await(io, !is_idle);
        (void) pthread_mutex_unlock(&io->lock);
        return is_idle;
}

bool blk_io_quiesce(struct blk_io *io) {
        bool is_idle;

        (void) pthread_mutex_lock(&io->lock);
        io->open = false;
        io->quiescing = io->closing || io->running > 0 || io->syncing.first || io->flushing || must_flush(io);
        if (io->quiescing)
                work(io);
        is_idle = !io->quiescing;
        await(io, !is_idle);
        (void) pthread_mutex_unlock(&io->lock);
        return is_idle;
}

void blk_io_resume(struct blk_io *io) {
        (void) pthread_mutex_lock(&io->lock);
        io->quiescing = io->halted = false;
        io->awaited = io->closing;
        io->open = io->kicked = io->dev->live && !(io->notices & BLK_NOTICE_FAULT);
        io->counters.error = io->lost;
        list_move(&io->halted_list, &io->retry);
        settle(io); /* a close that waited for nothing but the end of the quiesce */
        if (io->n_threads > 0)
                (void) pthread_cond_broadcast(&io->work);
        else
                work(io);
        (void) pthread_mutex_unlock(&io->lock);
}

bool blk_io_release(struct blk_io *io) {
        bool is_idle;

        (void) pthread_mutex_lock(&io->lock);
        io->releasing = true;
        work(io);
        is_idle = !io->releasing;
        await(io, !is_idle);
        (void) pthread_mutex_unlock(&io->lock);
        return is_idle;
}

unsigned blk_io_take_notices(struct blk_io *io) {
        unsigned notices;

        (void) pthread_mutex_lock(&io->lock);
        notices = io->notices;
        io->notices = 0;
        (void) pthread_mutex_unlock(&io->lock);
        return notices;
}
