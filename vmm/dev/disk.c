/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw storage. All I/O is synchronous, on the block device's worker threads; host files
 * go through the page cache or, when whoever opened the descriptor chose O_DIRECT, past
 * it.
 *
 * O_DIRECT wants buffers, offsets and lengths aligned. The alignment of offsets becomes
 * visible to the guest only where the storage itself has sectors larger than 512 bytes
 * (a 4Kn block device). An image file keeps 512-byte sectors, because its partition table
 * was written for them; if its file system demands more of O_DIRECT, the page cache is
 * used after all. Buffers are the guest's, so misaligned ones go through a bounce
 * buffer, a piece at a time.
 *
 * An image whose size is no multiple of 512 is served as QEMU does: rounded up, what is not
 * there reads as zeroes, and a write to the last sector makes the file as long as it.
 *
 * Threads: any, several at a time: nothing changes between disk_init() and disk_done(),
 * which are the control thread's.
 */
#include "disk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "../base/cleanup.h"
#include "../base/iov.h"
#include "../base/seccomp.h"
#include "../core/virtqueue.h"

#define SECTOR_SIZE  512u
#define BOUNCE_SIZE  (256u << 10) /* per worker */
#define BOUNCE_ALIGN 4096u        /* the largest alignment that is served */

/*
 * The control thread asks, and must not wait for a file server or a FUSE daemon. What the host knows is as new as the
 * opening of the file.
 */
#define STATX_LOCAL (AT_EMPTY_PATH | AT_STATX_DONT_SYNC)

static const uint8_t zeroes[64u << 10] __attribute__((aligned(BOUNCE_ALIGN)));

static int init_block(struct disk *disk) {
        int logical = 0;
        unsigned physical = 0;

        if (ioctl(disk->fd, BLKGETSIZE64, &disk->size) < 0 || ioctl(disk->fd, BLKSSZGET, &logical) < 0 ||
            ioctl(disk->fd, BLKPBSZGET, &physical) < 0)
                return -errno;
        if (logical < (int) SECTOR_SIZE || logical > (int) BOUNCE_ALIGN || (logical & (logical - 1)))
                return -EINVAL;
        disk->is_block = true;
        disk->logical_size = logical;
        disk->physical_size = MAX(physical, (unsigned) logical);
        return 0;
}

/* Asks for the O_DIRECT alignment of a file; file systems that do not tell get the page size. */
static void query_alignment(struct disk *disk) {
        struct statx stx;

        disk->memory_align = disk->offset_align = BOUNCE_ALIGN;
#ifdef STATX_DIOALIGN
        if (statx(disk->fd, "", STATX_LOCAL, STATX_DIOALIGN, &stx) < 0 || !(stx.stx_mask & STATX_DIOALIGN) ||
            stx.stx_dio_offset_align == 0)
                return;
        disk->memory_align = MAX(stx.stx_dio_mem_align, 1u);
        disk->offset_align = stx.stx_dio_offset_align;
#endif
}

static int init_direct(struct disk *disk, int flags) {
        if (disk->is_block) {
                disk->memory_align = disk->offset_align = disk->logical_size;
                return 0;
        }
        query_alignment(disk);
        if (disk->offset_align <= SECTOR_SIZE && disk->memory_align <= BOUNCE_ALIGN)
                return 0;
        disk->memory_align = disk->offset_align = 1;
        disk->direct_lost = true;
        return fcntl(disk->fd, F_SETFL, flags & ~O_DIRECT) < 0 ? -errno : 0;
}

static int check_mode(int flags, bool readonly) {
        int mode = flags & O_ACCMODE;

        if (flags & O_PATH || mode == O_WRONLY || (mode == O_RDONLY && !readonly) || flags & O_APPEND)
                return -EBADF;
        return 0;
}

int disk_init(struct disk *disk, int fd, bool readonly) {
        struct disk d = { .fd = fd, .logical_size = SECTOR_SIZE, .physical_size = 4096 };
        struct statx st;
        int flags, r;

        d.memory_align = d.offset_align = 1;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || statx(fd, "", STATX_LOCAL, STATX_TYPE | STATX_SIZE, &st) < 0)
                return -errno;
        r = check_mode(flags, readonly);
        if (r < 0)
                return r;
        if (!S_ISREG(st.stx_mode) && !S_ISBLK(st.stx_mode))
                return -EINVAL;
        d.size = st.stx_size;
        r = S_ISBLK(st.stx_mode) ? init_block(&d) : 0;
        if (r < 0)
                return r;
        r = flags & O_DIRECT ? init_direct(&d, flags) : 0;
        if (r < 0)
                return r;
        d.file_size = d.size;
        d.size = (d.size + d.logical_size - 1) & ~(uint64_t) (d.logical_size - 1);
        if (d.size == 0)
                return -ENODATA;
        d.fd = fcntl(fd, F_DUPFD_CLOEXEC, IMAGE_FD_MIN);
        if (d.fd < 0)
                return errno == EINVAL ? -EMFILE : -errno; /* the process may not have as many */
        (void) close(fd);
        *disk = d;
        return 0;
}

void disk_done(struct disk *disk) {
        close_fd(&disk->fd);
}

/* The rest of the last sector, behind the end of the file. */
static bool read_tail(const struct disk *disk, struct iovec *iov, unsigned n, uint64_t offset) {
        if (offset != disk->file_size || iov_size(iov, n) != disk->size - disk->file_size)
                return false;
        for (unsigned i = 0; i < n; i++)
                memset(iov[i].iov_base, 0, iov[i].iov_len);
        return true;
}

/* Transfers all vectors, however often the host returns early. */
static int transfer(const struct disk *disk, bool write, const struct iovec *iov, unsigned n, uint64_t offset) {
        struct iovec rest[VQ_SIZE_MAX];
        size_t done = 0, size = iov_size(iov, n);

        while (done < size) {
                unsigned k = iov_slice(iov, n, done, size - done, rest);
                ssize_t r;

                if (!write && read_tail(disk, rest, k, offset + done))
                        return 0;
                r = write ? pwritev(disk->fd, rest, k, offset + done) : preadv(disk->fd, rest, k, offset + done);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        return write ? -ENOSPC : -ENODATA;
                done += r;
        }
        return 0;
}

static void copy_vectors(const struct iovec *iov, unsigned n, uint8_t *flat, bool to_flat) {
        for (unsigned i = 0; i < n; i++) {
                if (to_flat)
                        memcpy(flat, iov[i].iov_base, iov[i].iov_len);
                else
                        memcpy(iov[i].iov_base, flat, iov[i].iov_len);
                flat += iov[i].iov_len;
        }
}

static int transfer_bounced(const struct disk *disk, bool write, const struct iovec *iov, unsigned n, uint64_t offset,
                            uint8_t **bounce) {
        size_t size = iov_size(iov, n);

        if (!*bounce)
                *bounce = aligned_alloc(BOUNCE_ALIGN, BOUNCE_SIZE);
        if (!*bounce)
                return -ENOMEM;
        for (size_t done = 0; done < size;) {
                struct iovec part[VQ_SIZE_MAX], flat = { *bounce, MIN(size - done, BOUNCE_SIZE) };
                unsigned k = iov_slice(iov, n, done, flat.iov_len, part);
                int r;

                if (write)
                        copy_vectors(part, k, *bounce, true);
                r = transfer(disk, write, &flat, 1, offset + done);
                if (r < 0)
                        return r;
                if (!write)
                        copy_vectors(part, k, *bounce, false);
                done += flat.iov_len;
        }
        return 0;
}

static int disk_rw(const struct disk *disk, bool write, const struct iovec *iov, unsigned n, uint64_t offset,
                   uint8_t **bounce) {
        if ((offset | iov_size(iov, n)) & (disk->offset_align - 1))
                return -EINVAL;
        /* Some kernels want each piece to be a multiple of what the offset has to be one of. */
        if (!iov_is_aligned(iov, n, MAX(disk->memory_align, disk->offset_align)))
                return transfer_bounced(disk, write, iov, n, offset, bounce);
        return transfer(disk, write, iov, n, offset);
}

int disk_read(const struct disk *disk, const struct iovec *iov, unsigned n, uint64_t offset, uint8_t **bounce) {
        return disk_rw(disk, false, iov, n, offset, bounce);
}

int disk_write(const struct disk *disk, const struct iovec *iov, unsigned n, uint64_t offset, uint8_t **bounce) {
        return disk_rw(disk, true, iov, n, offset, bounce);
}

int disk_flush(const struct disk *disk) {
        return fdatasync(disk->fd) < 0 ? -errno : 0;
}

static bool is_unsupported(int error) {
        return error == EOPNOTSUPP || error == ENOTTY || error == ENOSYS;
}

/*
 * Punching has to keep the size. Zeroing must not ask for that: a range behind the end would take blocks that no limit
 * of a file's size counts. As the caller stays before the end, it changes nothing else.
 */
static int file_range(const struct disk *disk, bool punch, uint64_t offset, uint64_t len) {
        int mode = punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE;
        return fallocate(disk->fd, mode, offset, len) < 0 ? -errno : 0;
}

static int block_range(const struct disk *disk, unsigned long request, uint64_t offset, uint64_t len) {
        uint64_t range[2] = { offset, len };
        return ioctl(disk->fd, request, range) < 0 ? -errno : 0;
}

int disk_discard(const struct disk *disk, uint64_t offset, uint64_t len) {
        int r = disk->is_block ? block_range(disk, BLKDISCARD, offset, len) : file_range(disk, true, offset, len);
        return is_unsupported(-r) ? 0 : r;
}

static int write_zeroes_by_hand(const struct disk *disk, uint64_t offset, uint64_t len) {
        while (len > 0) {
                struct iovec iov = { (void *) zeroes, MIN(len, sizeof(zeroes)) };
                int r = transfer(disk, true, &iov, 1, offset);
                if (r < 0)
                        return r;
                offset += iov.iov_len;
                len -= iov.iov_len;
        }
        return 0;
}

int disk_write_zeroes(const struct disk *disk, uint64_t offset, uint64_t len, bool unmap) {
        int r = disk->is_block ? block_range(disk, BLKZEROOUT, offset, len) : file_range(disk, unmap, offset, len);
        return is_unsupported(-r) ? write_zeroes_by_hand(disk, offset, len) : r;
}
