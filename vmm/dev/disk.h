/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host side of a block device: a raw image file or a block device behind one
 * descriptor. Offsets and lengths are bytes that the caller has checked against `size`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk {
        int fd; /* owned from disk_init() on */
        bool is_block;
        bool direct_lost;      /* opened with O_DIRECT, which the guest's sectors are too small for */
        uint64_t size;         /* bytes, multiple of logical_size: a file's last sector may be a part of one */
        uint64_t file_size;    /* what there was of it at first */
        uint32_t logical_size; /* bytes: 512, or a block device's own sector */
        uint32_t physical_size;
        uint32_t memory_align; /* what O_DIRECT demands of buffers; 1 without it */
        uint32_t offset_align; /* and of offsets and lengths */
};

#define DISK_INIT                                                                                                      \
        { .fd = -EBADF }

/*
 * Finds out what the descriptor is. -EINVAL: neither a regular file nor a block device,
 * -EBADF: not open for what is wanted, -ENODATA: not one sector in it. Takes the fd only
 * on success, and moves it to IMAGE_FD_MIN or above.
 */
int disk_init(struct disk *disk, int fd, bool readonly);
void disk_done(struct disk *disk);

/*
 * Transfers all of the vectors at `offset`; 0 or a negative errno (-ENODATA: the file ended early). *bounce is the
 * calling thread's, NULL at first: an aligned buffer for guest buffers that are not, to be freed at the end.
 */
int disk_read(const struct disk *disk, const struct iovec *iov, unsigned n, uint64_t offset, uint8_t **bounce);
int disk_write(const struct disk *disk, const struct iovec *iov, unsigned n, uint64_t offset, uint8_t **bounce);
/* Linux reports a failed write-back only once: never run two at a time, and never again after a failure. */
int disk_flush(const struct disk *disk);
/* Discarding is a hint: success where the host cannot do it. */
int disk_discard(const struct disk *disk, uint64_t offset, uint64_t len);
int disk_write_zeroes(const struct disk *disk, uint64_t offset, uint64_t len, bool unmap);
