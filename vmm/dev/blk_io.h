/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a block device does with its host: requests taken from the queue and carried out
 * by a few threads, so that the device's loop never waits for storage.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../core/virtio.h"
#include "blk.h"
#include "disk.h"

#define BLK_WORKERS_MAX  4u
#define BLK_REQUESTS_MAX 16u         /* at work at a time; the others wait in the queue */
#define BLK_DATA_MAX     (64u << 20) /* of one request; at least what the configuration's limits allow */
#define BLK_RANGES_MAX   1u          /* discard and write-zeroes segments per request */
#define BLK_RANGE_MAX    (1u << 18)  /* sectors per segment: 128 MiB, so that zeroing by hand stays short */
#define BLK_ID_BYTES     20u

struct blk_io;

struct blk_worker {
        struct blk_io *io;
        pthread_t thread;
        uint8_t *bounce; /* disk_read()'s and disk_write()'s; allocated by them */
};

struct blk_request {
        struct blk_request *next;
        uint32_t type;
        uint64_t sector;
        size_t data_in;  /* bytes the device may write before the status byte */
        size_t data_out; /* bytes after the header */
        size_t written;  /* data bytes that were written */
        uint64_t start_ns;
        unsigned generation; /* the io's when it was taken */
        struct vq_chain chain;
};

struct blk_requests {
        struct blk_request *first, **last;
};

struct blk_counters {
        _Atomic uint64_t rd_req, rd_bytes, rd_time_ns;
        _Atomic uint64_t wr_req, wr_bytes, wr_time_ns;
        _Atomic uint64_t flush_req, flush_time_ns;
        _Atomic uint64_t errors;
        _Atomic int error; /* as ctl_stats_reply.disk_error */
};

/* What the device's loop is told. */
enum blk_notice {
        BLK_NOTICE_FAULT = 1u << 0, /* the driver broke the rules: see `fault` */
        BLK_NOTICE_IDLE = 1u << 1,  /* what blk_io_close(), _quiesce() or _release() had to wait for is done */
};

struct blk_io {
        struct virtio_device *dev;
        struct virtqueue *queue;
        struct disk disk;
        const char *name;
        char serial[BLK_ID_BYTES];
        bool readonly, discard;
        enum ctl_disk_cache cache;
        enum ctl_error_policy error_policy, rerror_policy;
        blk_error_fn io_error;
        blk_gone_fn driver_gone;
        void *arg;
        void (*notice)(void *arg); /* there are notices to take; any thread */
        void *notice_arg;
        struct blk_counters counters;

        struct blk_worker worker[BLK_WORKERS_MAX];
        unsigned n_threads; /* 0: work is done on the thread that brings it */
        int (*enter_thread)(void *role);

        pthread_mutex_t lock; /* guards the rest, and the queue */
        pthread_cond_t work, entered;
        unsigned n_entered;
        int enter_result;
        bool quit;
        bool open;      /* requests may be taken from the queue */
        bool halted;    /* an error policy has paused the guest: nothing is begun until it is resumed */
        bool kicked;    /* the queue may hold something */
        bool dirty;     /* something was written since the last flush began */
        bool quiescing; /* blk_io_quiesce() has not come to its end */
        bool closing;   /* nor has blk_io_close() */
        bool releasing; /* nor blk_io_release() */
        bool awaited;   /* BLK_NOTICE_IDLE is owed */
        bool flushing;
        unsigned running; /* requests that read or write guest memory or the disk */
        unsigned generation;
        int lost; /* negative errno of the write-back that failed: no flush succeeds any more */
        uint64_t last_error_ns;
        unsigned notices; /* enum blk_notice */
        char fault[128];
        struct blk_requests spare, syncing, group, halted_list, retry;
        struct blk_request request[BLK_REQUESTS_MAX];
};

/* `io` is zeroed but for what the configuration says and `disk`. Before all others. */
void blk_io_init(struct blk_io *io);
/* Ends the threads; waits for what they are doing. Also of an io that is only initialized. */
void blk_io_stop(struct blk_io *io);
/* After that, when no loop calls any of these any more. */
void blk_io_done(struct blk_io *io);

/* Starts the threads, as virtio_device_ops.start. */
int blk_io_start(struct blk_io *io, int (*enter_thread)(void *role));

/* Device's loop, all of them. */
void blk_io_open(struct blk_io *io); /* from now on there is a driver */
void blk_io_kick(struct blk_io *io);
/* Forgets the driver's requests. False: some are at work still, BLK_NOTICE_IDLE follows. */
bool blk_io_close(struct blk_io *io);
/* Ends what is at work, begins nothing more, and makes stable what was written. False: BLK_NOTICE_IDLE follows. */
bool blk_io_quiesce(struct blk_io *io);
/* Goes on, first with what an error policy has held back; takes requests only if the device is live. */
void blk_io_resume(struct blk_io *io);
/*
 * Closes the image, which may write what no flush has asked for (cache "unsafe") and so takes as long as the storage
 * does. After the last close and quiesce. False: BLK_NOTICE_IDLE follows.
 */
bool blk_io_release(struct blk_io *io);
/* Takes the notices; with BLK_NOTICE_FAULT `fault` says what the driver did. */
unsigned blk_io_take_notices(struct blk_io *io);
