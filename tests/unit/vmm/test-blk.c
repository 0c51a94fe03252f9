/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block device, over an image in memory: requests in good shape and bad.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/seccomp.h"
#include "dev/blk.h"
#include "driver.h"
#include "watch.h"

#define IMAGE_SIZE (4u << 20)
#define HEADER     DATA_START
#define STATUS     (DATA_START + 64)
#define DATA       (DATA_START + 4096)

struct fixture {
        struct driver driver;
        struct ring ring;
        int image; /* another descriptor of the same file */
        unsigned errors, last_operation, last_policy;
        int last_error;
        _Atomic unsigned served;
        bool is_quiet;
};

int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);

static _Atomic unsigned flush_calls;
static _Atomic int flush_error;
static _Atomic bool flush_blocks; /* fdatasync() comes back when it is false again */
static _Atomic unsigned flushing, flushing_max;

int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret);
int __real_statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret);

static bool hide_alignment;

/* With hide_alignment the kernel is one that does not tell what O_DIRECT wants. */
int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret) {
        int r = __real_statx(dir, path, flags, mask, ret);

        CHECK(flags & AT_STATX_DONT_SYNC); /* a file server may be gone */
        if (hide_alignment)
                ret->stx_mask &= STATX_BASIC_STATS;
        return r;
}

int __wrap_close(int fd);
int __real_close(int fd);

static _Atomic bool close_blocks;
static _Atomic unsigned closing;

int __wrap_close(int fd) {
        bool is_image = fd >= IMAGE_FD_MIN;

        closing += is_image;
        while (is_image && close_blocks)
                (void) usleep(1000);
        return __real_close(fd);
}

int __wrap_fdatasync(int fd) {
        unsigned now = ++flushing;

        if (now > flushing_max)
                flushing_max = now;
        flush_calls++;
        while (flush_blocks)
                (void) usleep(1000);
        flushing--;
        errno = flush_error;
        return flush_error ? -1 : __real_fdatasync(fd);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t offset);

static _Atomic int write_error;
static _Atomic bool read_blocks, write_blocks;
static _Atomic unsigned reading, writing;

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __real_pthread_mutex_destroy(pthread_mutex_t *mutex);

static _Atomic unsigned mutexes_destroyed;

/* One that was destroyed cannot be locked: EINVAL. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
        CHECK_EQ(__real_pthread_mutex_lock(mutex), 0);
        return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex) {
        int r = __real_pthread_mutex_destroy(mutex);

        mutexes_destroyed++;
        return r;
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset) {
        writing++;
        while (write_blocks)
                (void) usleep(1000);
        writing--;
        errno = write_error;
        return write_error ? -1 : __real_pwritev64(fd, iov, n, offset);
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset) {
        reading++;
        while (read_blocks)
                (void) usleep(1000);
        reading--;
        return __real_preadv64(fd, iov, n, offset);
}

static void on_io_error(void *arg, int error, unsigned operation, enum ctl_error_policy policy) {
        struct fixture *f = arg;

        f->last_policy = policy;
        f->errors++;
        f->last_error = error;
        f->last_operation = operation;
}

static void fixture_fd(struct fixture *f, struct blk_config *config, uint64_t features) {
        struct virtio_device *dev;

        config->name = "vda";
        config->io_error = on_io_error;
        config->arg = f;
        CHECK_EQ(blk_new(config, &dev), 0);
        driver_init(&f->driver, dev);
        driver_activate(&f->driver, features);
        ring_init(&f->ring, &f->driver, 0, 128);
}

static void fixture_init(struct fixture *f, struct blk_config config, uint64_t features) {
        memset(f, 0, sizeof(*f));
        f->image = memfd_create("image", MFD_CLOEXEC);
        CHECK(f->image >= 0 && ftruncate(f->image, IMAGE_SIZE) == 0);
        config.fd = dup(f->image);
        fixture_fd(f, &config, features);
}

static void fixture_done(struct fixture *f) {
        CHECK(!f->driver.needs_reset);
        driver_done(&f->driver);
        close_fd(&f->image);
}

/* As fixture_done() after a request that broke the device: it serves nothing until reset. */
static void fixture_done_broken(struct fixture *f) {
        CHECK(f->driver.needs_reset);
        CHECK_EQ(f->driver.dev->guest_errors.count, 1);
        driver_done(&f->driver);
        close_fd(&f->image);
}

static void put_header(struct fixture *f, uint32_t type, uint64_t sector) {
        struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };
        memcpy(driver_at(&f->driver, HEADER, sizeof(header)), &header, sizeof(header));
}

static uint8_t *status_of(struct fixture *f) {
        return driver_at(&f->driver, STATUS, 1);
}

/* One request with `len` bytes at DATA; returns its status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, bool to_device) {
        struct segment out[] = { { HEADER, 16 }, { DATA, len }, { STATUS, 1 } };
        struct segment in[] = { { HEADER, 16 }, { DATA, len }, { STATUS, 1 } };
        struct segment none[] = { { HEADER, 16 }, { STATUS, 1 } };

        put_header(f, type, sector);
        *status_of(f) = 0xee;
        if (len == 0)
                (void) ring_add(&f->ring, none, 1, 1);
        else if (to_device)
                (void) ring_add(&f->ring, out, 2, 1);
        else
                (void) ring_add(&f->ring, in, 1, 2);
        ring_kick(&f->ring);
        (void) ring_wait(&f->ring);
        return *status_of(f);
}

static void test_read_write(void) {
        uint8_t buffer[4096], *data;
        struct ctl_disk_stats stats;
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        data = driver_at(&f.driver, DATA, sizeof(buffer));
        memset(data, 0xa5, 4096);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 3, 4096, true), VIRTIO_BLK_S_OK);
        CHECK(pread(f.image, buffer, sizeof(buffer), 3 * 512) == sizeof(buffer));
        CHECK(memcmp(buffer, data, sizeof(buffer)) == 0);
        memset(data, 0, 4096);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 4, 1024, false), VIRTIO_BLK_S_OK);
        CHECK(data[0] == 0xa5 && data[1023] == 0xa5 && data[1024] == 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 0, 0, false), VIRTIO_BLK_S_OK);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
        CHECK(f.driver.interrupts[0] > 0);

        blk_stats(f.driver.dev, &stats);
        CHECK_EQ(stats.wr_req, 1);
        CHECK_EQ(stats.wr_bytes, 4096);
        CHECK_EQ(stats.rd_req, 2);
        CHECK_EQ(stats.rd_bytes, 1024);
        CHECK_EQ(stats.flush_req, 1);
        CHECK_EQ(stats.capacity, IMAGE_SIZE);
        CHECK_EQ(stats.errors, 0);
        fixture_done(&f);
}

/* §2.7.4.3: how a driver cuts a request into descriptors is its own affair. */
static void test_framing(void) {
        struct fixture f;
        uint8_t *data, expected[512];

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        memset(expected, 0x17, sizeof(expected));
        CHECK(pwrite(f.image, expected, sizeof(expected), 0) == sizeof(expected));
        data = driver_at(&f.driver, DATA, 1024);
        put_header(&f, VIRTIO_BLK_T_IN, 0);
        struct segment odd[] = { { HEADER, 1 }, { HEADER + 1, 14 }, { HEADER + 15, 1 },
                                 { DATA, 1 },   { DATA + 1, 300 },  { DATA + 301, 212 } };
        (void) ring_add(&f.ring, odd, 3, 3);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 513);
        CHECK(memcmp(data, expected, 512) == 0);
        CHECK_EQ(data[512], VIRTIO_BLK_S_OK);
        fixture_done(&f);
}

static void test_bounds(void) {
        const uint64_t end = IMAGE_SIZE / 512;
        const uint64_t sectors[] = {
                end, end + 1, UINT64_MAX, UINT64_MAX / 512, UINT64_MAX / 512 + 1, 1ull << 63, 1ull << 55,
        };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        for (unsigned i = 0; i < ARRAY_SIZE(sectors); i++) {
                CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, sectors[i], 512, false), VIRTIO_BLK_S_IOERR);
                CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, sectors[i], 512, true), VIRTIO_BLK_S_IOERR);
        }
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, end - 1, 512, false), VIRTIO_BLK_S_OK);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, end - 1, 1024, false), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, end - 1, 1024, true), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 0, 511, false), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 0, 513, true), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(f.errors, 0); /* the guest's mistakes, not the host's */
        CHECK(lseek(f.image, 0, SEEK_END) == IMAGE_SIZE);
        fixture_done(&f);
}

/* More data than any driver that keeps to the limits can ask for: the same memory many times. */
static void test_huge(void) {
        struct segment segments[100] = { { HEADER, 16 } };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        for (unsigned i = 1; i < 99; i++)
                segments[i] = (struct segment) { 0x2000000, 0x1000000 };
        segments[99] = (struct segment) { STATUS, 1 };
        put_header(&f, VIRTIO_BLK_T_IN, 0);
        (void) ring_add(&f.ring, segments, 1, 99);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 0);
        CHECK_EQ(*status_of(&f), VIRTIO_BLK_S_IOERR);
        fixture_done(&f);
}

static void test_unknown(void) {
        const uint32_t types[] = { 2, 3, 5, 14, 16, 0x80000000, UINT32_MAX };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
                CHECK_EQ(request(&f, types[i], 0, 512, true), VIRTIO_BLK_S_UNSUPP);
        fixture_done(&f);
}

static void test_no_room(void) {
        struct segment short_header[] = { { HEADER, 15 }, { STATUS, 1 } };
        struct segment header = { HEADER, 16 }, status = { STATUS, 1 };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        (void) ring_add(&f.ring, &header, 1, 0); /* no status byte */
        ring_kick(&f.ring);
        fixture_done_broken(&f);

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        (void) ring_add(&f.ring, &status, 0, 1); /* no header */
        ring_kick(&f.ring);
        fixture_done_broken(&f);

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        (void) ring_add(&f.ring, short_header, 1, 1);
        ring_kick(&f.ring);
        fixture_done_broken(&f);
}

static void test_outside_memory(void) {
        struct segment bad[] = { { HEADER, 16 }, { DRIVER_MEMORY - 100, 512 }, { STATUS, 1 } };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        (void) ring_add(&f.ring, bad, 1, 2);
        ring_kick(&f.ring);
        CHECK(!ring_take(&f.ring, NULL, NULL));
        fixture_done_broken(&f);
}

static void test_indirect(void) {
        struct vring_desc *table;
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        put_header(&f, VIRTIO_BLK_T_IN, 0);
        table = driver_at(&f.driver, DATA + 0x10000, 3 * sizeof(*table));
        table[0] = (struct vring_desc) { HEADER, 16, VRING_DESC_F_NEXT, 1 };
        table[1] = (struct vring_desc) { DATA, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 };
        table[2] = (struct vring_desc) { STATUS, 1, VRING_DESC_F_WRITE, 0 };
        f.ring.vring.desc[0] = (struct vring_desc) { DATA + 0x10000, 3 * sizeof(*table), VRING_DESC_F_INDIRECT, 0 };
        *status_of(&f) = 0xee;
        ring_offer(&f.ring, 0);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 513);
        CHECK_EQ(*status_of(&f), VIRTIO_BLK_S_OK);
        fixture_done(&f);
}

static void test_writes_are_told(void) {
        struct segment in[] = { { HEADER, 16 }, { DATA, 8192 }, { STATUS, 1 } };
        uint8_t pattern[8192];
        struct fixture f;
        struct watch w;

        memset(pattern, 0x5a, sizeof(pattern));
        fixture_init(&f, (struct blk_config) {}, ~0ull);
        CHECK(pwrite(f.image, pattern, sizeof(pattern), 0) == sizeof(pattern));
        put_header(&f, VIRTIO_BLK_T_IN, 0);
        *status_of(&f) = 0xee;
        (void) ring_add(&f.ring, in, 1, 2);
        watch_begin(&w, f.driver.mem);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 8193);
        driver_settle(&f.driver);
        watch_end(&w, 4);
        fixture_done(&f);
}

static void test_read_only(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .readonly = true, .discard = true }, ~0ull);
        CHECK(f.driver.dev->host_features & BIT64(VIRTIO_BLK_F_RO));
        CHECK(!(f.driver.dev->host_features & (BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES))));
        CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 0, 512, true), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_UNSUPP);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true), VIRTIO_BLK_S_UNSUPP);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 0, 512, false), VIRTIO_BLK_S_OK);
        fixture_done(&f);
}

static void test_serial(void) {
        struct segment all[] = { { HEADER, 16 }, { DATA, 20 }, { STATUS, 1 } };
        struct segment few[] = { { HEADER, 16 }, { DATA, 4 }, { STATUS, 1 } };
        struct fixture f;
        char *data;

        fixture_init(&f, (struct blk_config) { .serial = "0123456789abcdefghij" }, ~0ull);
        data = driver_at(&f.driver, DATA, 64);
        memset(data, 'z', 64);
        put_header(&f, VIRTIO_BLK_T_GET_ID, 0);
        (void) ring_add(&f.ring, few, 1, 2);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 5);
        CHECK(memcmp(data, "0123zzz", 7) == 0);
        (void) ring_add(&f.ring, all, 1, 2);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 21);
        CHECK(memcmp(data, "0123456789abcdefghijz", 21) == 0);
        fixture_done(&f);
}

static void put_range(struct fixture *f, unsigned i, uint64_t sector, uint32_t sectors, uint32_t flags) {
        struct virtio_blk_discard_write_zeroes range = { htole64(sector), htole32(sectors), htole32(flags) };
        memcpy(driver_at(&f->driver, DATA + i * sizeof(range), sizeof(range)), &range, sizeof(range));
}

static uint64_t allocated(const struct fixture *f) {
        struct stat st;

        CHECK(fstat(f->image, &st) == 0);
        return (uint64_t) st.st_blocks * 512;
}

static void fill(const struct fixture *f) {
        static uint8_t block[IMAGE_SIZE];

        memset(block, 0xff, sizeof(block));
        CHECK(pwrite(f->image, block, sizeof(block), 0) == sizeof(block));
}

static uint8_t byte_at(const struct fixture *f, uint64_t offset) {
        uint8_t byte;

        CHECK(pread(f->image, &byte, 1, offset) == 1);
        return byte;
}

static void test_discard(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .discard = true }, ~0ull);
        fill(&f);
        put_range(&f, 0, 0, 2048, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_OK);
        put_range(&f, 0, 4096, 1024, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_OK);
        CHECK_EQ(allocated(&f), IMAGE_SIZE - 3072 * 512);
        /* §5.2.6.2: unmap is for write zeroes only. */
        put_range(&f, 0, 0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_UNSUPP);
        put_range(&f, 0, IMAGE_SIZE / 512, 1, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_IOERR);
        put_range(&f, 0, UINT64_MAX, UINT32_MAX, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_IOERR);
        put_range(&f, 0, 1ull << 55, 8, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 0, true), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 17, true), VIRTIO_BLK_S_IOERR);
        /* One range a request is what the configuration says. */
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 2 * 16, true), VIRTIO_BLK_S_IOERR);
        fixture_done(&f);
}

static void test_write_zeroes(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .discard = true }, ~0ull);
        fill(&f);
        put_range(&f, 0, 1, 8, 0);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true), VIRTIO_BLK_S_OK);
        CHECK(byte_at(&f, 511) == 0xff && byte_at(&f, 512) == 0);
        CHECK(byte_at(&f, 9 * 512 - 1) == 0 && byte_at(&f, 9 * 512) == 0xff);
        CHECK_EQ(allocated(&f), IMAGE_SIZE);
        put_range(&f, 0, 2048, 2048, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true), VIRTIO_BLK_S_OK);
        CHECK_EQ(byte_at(&f, 2048 * 512), 0);
        CHECK_EQ(allocated(&f), IMAGE_SIZE - 2048 * 512);
        put_range(&f, 0, 0, 8, 2);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true), VIRTIO_BLK_S_UNSUPP);
        fixture_done(&f);

        /* Without discard=unmap nothing is given back to the host. */
        fixture_init(&f, (struct blk_config) {}, ~0ull);
        fill(&f);
        put_range(&f, 0, 2048, 2048, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, true), VIRTIO_BLK_S_OK);
        CHECK_EQ(byte_at(&f, 2048 * 512), 0);
        CHECK_EQ(allocated(&f), IMAGE_SIZE);
        CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, true), VIRTIO_BLK_S_UNSUPP);
        fixture_done(&f);
}

/* What one request of the type adds to the number of fdatasync() calls. */
static unsigned flushes(struct fixture *f, uint32_t type) {
        unsigned before = flush_calls;

        put_range(f, 0, 0, 8, 0);
        CHECK_EQ(request(f, type, 0,
                         type == VIRTIO_BLK_T_OUT     ? 512
                         : type == VIRTIO_BLK_T_FLUSH ? 0
                                                      : 16,
                         true),
                 VIRTIO_BLK_S_OK);
        return flush_calls - before;
}

/* §5.2.6.2: what is stable when. */
static void test_caching(void) {
        static const struct {
                enum ctl_disk_cache cache;
                bool offers_flush;
                uint64_t features;
                unsigned on_write, on_flush;
        } cases[] = {
                { CTL_CACHE_WRITEBACK, true, ~0ull, 0, 1 },
                { CTL_CACHE_WRITEBACK, true, ~BIT64(VIRTIO_BLK_F_FLUSH), 1, 1 }, /* the driver does not flush */
                { CTL_CACHE_WRITETHROUGH, false, ~0ull, 1, 1 },
                { CTL_CACHE_UNSAFE, true, ~0ull, 0, 0 },
                { CTL_CACHE_UNSAFE, true, ~BIT64(VIRTIO_BLK_F_FLUSH), 0, 0 },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                struct fixture f;

                fixture_init(&f, (struct blk_config) { .cache = cases[i].cache }, cases[i].features);
                CHECK_EQ((f.driver.dev->host_features & BIT64(VIRTIO_BLK_F_FLUSH)) != 0, cases[i].offers_flush);
                CHECK_EQ(flushes(&f, VIRTIO_BLK_T_OUT), cases[i].on_write);
                CHECK_EQ(flushes(&f, VIRTIO_BLK_T_WRITE_ZEROES), cases[i].on_write);
                CHECK_EQ(flushes(&f, VIRTIO_BLK_T_FLUSH), cases[i].on_flush);
                fixture_done(&f);
        }
}

/*
 * A flush that the host could not do is no success, and neither is any that follows: the kernel tells of what it has
 * lost once.
 */
static void test_failed_flush(void) {
        static const struct blk_config configs[] = { {},
                                                     { .cache = CTL_CACHE_WRITETHROUGH },
                                                     { .error_policy = CTL_ERROR_ENOSPC } };

        for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
                unsigned before;
                struct fixture f;

                fixture_init(&f, configs[i], ~0ull);
                CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
                CHECK_EQ(blk_error(f.driver.dev), 0);
                flush_error = ENOSPC;
                CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
                CHECK_EQ(f.last_error, -ENOSPC);
                CHECK_EQ(f.last_policy, CTL_ERROR_REPORT); /* to try again would not bring the data back */
                flush_error = 0;
                before = flush_calls;
                for (unsigned k = 0; k < 3; k++) {
                        CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
                        driver_reset(&f.driver); /* the guest reboots: its data is no less lost */
                        driver_activate(&f.driver, ~0ull);
                        ring_init(&f.ring, &f.driver, 0, 128);
                }
                CHECK_EQ(flush_calls, before);
                CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 0, 512, true),
                         configs[i].cache == CTL_CACHE_WRITETHROUGH ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
                CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 0, 512, false), VIRTIO_BLK_S_OK);
                CHECK_EQ(blk_error(f.driver.dev), -ENOSPC);
                fixture_done(&f);
        }
}

/* A file that shrinks under the guest: errors for it, one event a second for the operator. */
static void test_host_error(void) {
        struct ctl_disk_stats stats;
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        CHECK(ftruncate(f.image, 0) == 0);
        for (unsigned i = 0; i < 10; i++)
                CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 8, 512, false), VIRTIO_BLK_S_IOERR);
        CHECK_EQ(f.errors, 1);
        CHECK_EQ(f.last_error, -ENODATA);
        CHECK_EQ(f.last_operation, 0);
        blk_stats(f.driver.dev, &stats);
        CHECK_EQ(stats.errors, 10);
        fixture_done(&f);
}

static void test_config(void) {
        struct virtio_blk_config config;
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .discard = true }, ~0ull);
        CHECK_EQ(f.driver.dev->config_size, sizeof(config));
        f.driver.dev->ops->config_read(f.driver.dev, 0, &config, sizeof(config));
        CHECK_EQ(le64toh(config.capacity), IMAGE_SIZE / 512);
        CHECK_EQ(le32toh(config.blk_size), 512);
        CHECK(le32toh(config.seg_max) < VQ_SIZE_MAX && le32toh(config.seg_max) > 0);
        CHECK_EQ(config.write_zeroes_may_unmap, 1);
        fixture_done(&f);
}

/* An image on a file system that has O_DIRECT: its descriptor for the device. */
static int open_direct(struct fixture *f) {
        char path[] = "/var/tmp/virtmicro-test-XXXXXX";
        int fd;

        f->image = mkostemp(path, O_CLOEXEC);
        CHECK(f->image >= 0 && ftruncate(f->image, IMAGE_SIZE) == 0);
        fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        (void) unlink(path);
        if (fd < 0)
                TEST_SKIP("the file system of /var/tmp has no O_DIRECT; all other tests have passed");
        return fd;
}

/* Guest buffers that O_DIRECT would refuse. */
static void test_direct(void) {
        struct blk_config config = {};
        uint8_t pattern[8192];
        struct fixture f = {};
        uint8_t *data;

        config.fd = open_direct(&f);
        fixture_fd(&f, &config, ~0ull);
        for (unsigned i = 0; i < sizeof(pattern); i++)
                pattern[i] = i * 7;
        data = driver_at(&f.driver, DATA, 16384);
        memcpy(data + 3, pattern, sizeof(pattern));
        put_header(&f, VIRTIO_BLK_T_OUT, 8);
        struct segment out[] = { { HEADER, 16 }, { DATA + 3, 1000 }, { DATA + 1003, 7192 }, { STATUS, 1 } };
        (void) ring_add(&f.ring, out, 3, 1);
        ring_kick(&f.ring);
        (void) ring_wait(&f.ring);
        CHECK_EQ(*status_of(&f), VIRTIO_BLK_S_OK);
        memset(data, 0, 16384);
        put_header(&f, VIRTIO_BLK_T_IN, 8);
        struct segment in[] = { { HEADER, 16 }, { DATA + 5, 8192 }, { STATUS, 1 } };
        (void) ring_add(&f.ring, in, 1, 2);
        ring_kick(&f.ring);
        (void) ring_wait(&f.ring);
        CHECK_EQ(*status_of(&f), VIRTIO_BLK_S_OK);
        CHECK(memcmp(data + 5, pattern, sizeof(pattern)) == 0 && data[4] == 0);
        fixture_done(&f);
}

/* Where O_DIRECT cannot be used the operator, who has asked for it, is told. */
static void test_direct_lost(void) {
        AUTOCLOSE int log = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
        struct fixture f = {};
        struct blk_config config = {};
        char text[1024] = "";

        config.fd = open_direct(&f);
        hide_alignment = true;
        CHECK(dup2(log, STDERR_FILENO) == STDERR_FILENO);
        fixture_fd(&f, &config, ~0ull);
        CHECK(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
        hide_alignment = false;
        CHECK(!(fcntl(f.driver.dev->role.fd, F_GETFL) & O_DIRECT));
        CHECK(pread(log, text, sizeof(text) - 1, 0) > 0 && strstr(text, "vda: ") && strstr(text, "page cache"));
        CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 1, 512, false), VIRTIO_BLK_S_OK);
        fixture_done(&f);
}

static void test_wrong_files(void) {
        struct virtio_device *dev;
        struct blk_config config = { .fd = -1 };
        AUTOCLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        AUTOCLOSE int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

        CHECK(blk_new(&config, &dev) < 0);
        config.fd = null;
        CHECK_EQ(blk_new(&config, &dev), -EINVAL);
        config.fd = self;
        CHECK_EQ(blk_new(&config, &dev), -EBADF); /* not writable */
        CHECK(fcntl(self, F_GETFD) >= 0);         /* still ours */
}

/* What the filter of its threads and the limit of the process are made of. */
static void test_role(void) {
        struct virtio_device *dev;

        for (unsigned readonly = 0; readonly < 2; readonly++) {
                struct blk_config config = { .fd = memfd_create("image", MFD_CLOEXEC), .readonly = readonly };

                CHECK(config.fd >= 0 && ftruncate(config.fd, IMAGE_SIZE) == 0);
                CHECK_EQ(blk_new(&config, &dev), 0);
                CHECK_EQ(dev->role.kind, THREAD_DISK);
                CHECK(dev->role.fd >= IMAGE_FD_MIN && fcntl(dev->role.fd, F_GETFD) == FD_CLOEXEC);
                CHECK(fcntl(config.fd, F_GETFD) < 0);
                CHECK_EQ(dev->role.size, readonly ? 0 : IMAGE_SIZE);
                CHECK_EQ(dev->file_size, readonly ? 0 : IMAGE_SIZE);
                dev->ops->free(dev);
        }
}

#define MANY 1000u

/* A guest that adds a request for each one that it gets back. */
static void refill(struct driver *driver, unsigned index) {
        static const struct segment segments[] = { { HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } };
        struct fixture *f = driver->arg;
        uint32_t len;

        while (ring_take(&f->ring, NULL, &len)) {
                CHECK_EQ(len, 513);
                if (++f->served < MANY)
                        (void) ring_add(&f->ring, segments, 1, 2);
        }
}

static void threads_start(struct fixture *f) {
        CHECK_EQ(loop_start(f->driver.dev->loop, NULL, NULL), 0);
        CHECK_EQ(f->driver.dev->ops->start(f->driver.dev, NULL), 0);
}

static void threads_done(struct fixture *f) {
        driver_stop(&f->driver, false);
        close_fd(&f->image);
}

static void wait_for_count(const _Atomic unsigned *what, unsigned value) {
        for (unsigned i = 0; i < 10000 && *what != value; i++)
                (void) usleep(1000);
        CHECK_EQ(*what, value);
}

/* Waits until the workers have taken all that is in the ring, and a moment for what they do with it. */
static void wait_taken(struct fixture *f) {
        struct virtqueue *vq = &f->driver.dev->queues[0];
        uint16_t all = f->ring.vring.avail->idx;

        for (unsigned i = 0; i < 10000 && __atomic_load_n(&vq->next_avail, __ATOMIC_SEQ_CST) != all; i++)
                (void) usleep(1000);
        CHECK_EQ(vq->next_avail, all);
        (void) usleep(20000);
}

static void nothing(void *arg) {
}

/* Such a guest has the workers; the loop answers nevertheless. */
static void test_busy_guest(void) {
        struct segment segments[] = { { HEADER, 16 }, { DATA, 512 }, { STATUS, 1 } };
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        f.driver.on_interrupt = refill;
        f.driver.arg = &f;
        put_header(&f, VIRTIO_BLK_T_IN, 0);
        for (unsigned i = 0; i < 40; i++)
                (void) ring_add(&f.ring, segments, 1, 2);
        threads_start(&f);
        ring_kick(&f.ring);
        for (unsigned i = 0; i < 10000 && f.served < MANY; i++) {
                loop_call(f.driver.dev->loop, nothing, NULL);
                (void) usleep(1000);
        }
        CHECK(f.served >= MANY);
        threads_done(&f);
}

/* A request that is not waited for: a flush, or `sectors` read into memory at DATA + 512 * place. */
static void add_request(struct fixture *f, uint32_t type, unsigned place) {
        uint64_t header = HEADER + 0x100000 + 32 * place, status = STATUS + 0x200000 + place;
        struct virtio_blk_outhdr h = { .type = htole32(type) };
        struct segment segments[] = { { header, 16 }, { DATA + 512 * place, 512 }, { status, 1 } };
        struct segment flush[] = { { header, 16 }, { status, 1 } };

        memcpy(driver_at(&f->driver, header, sizeof(h)), &h, sizeof(h));
        *(uint8_t *) driver_at(&f->driver, status, 1) = 0xee;
        if (type == VIRTIO_BLK_T_FLUSH)
                (void) ring_add(&f->ring, flush, 1, 1);
        else
                (void) ring_add(&f->ring, segments, type == VIRTIO_BLK_T_OUT ? 2 : 1, type == VIRTIO_BLK_T_OUT ? 1 : 2);
        ring_kick(&f->ring);
}

static uint8_t status_at(struct fixture *f, unsigned place) {
        return *(_Atomic uint8_t *) driver_at(&f->driver, STATUS + 0x200000 + place, 1);
}

static void wait_status(struct fixture *f, unsigned place, uint8_t status) {
        for (unsigned i = 0; i < 10000 && status_at(f, place) != status; i++)
                (void) usleep(1000);
        CHECK_EQ(status_at(f, place), status);
}

/* Behind a flush that takes its time others go on; flushes themselves are one at a time, and few. */
static void test_out_of_order(void) {
        unsigned before;
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        before = flush_calls;
        flushing_max = 0;
        flush_blocks = true;
        add_request(&f, VIRTIO_BLK_T_FLUSH, 0);
        wait_for_count(&flushing, 1);
        for (unsigned i = 1; i < 6; i++)
                add_request(&f, VIRTIO_BLK_T_FLUSH, i);
        for (unsigned i = 6; i < 20; i++)
                add_request(&f, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i);
        for (unsigned i = 6; i < 20; i++)
                wait_status(&f, i, VIRTIO_BLK_S_OK);
        for (unsigned i = 0; i < 6; i++)
                CHECK_EQ(status_at(&f, i), 0xee);
        flush_blocks = false;
        for (unsigned i = 0; i < 6; i++)
                wait_status(&f, i, VIRTIO_BLK_S_OK);
        CHECK_EQ(flush_calls - before, 2);
        CHECK_EQ(flushing_max, 1);
        threads_done(&f);
}

/* Several at a time, which is what a queue has a depth for. */
static void test_parallel(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        read_blocks = true;
        for (unsigned i = 0; i < 8; i++)
                add_request(&f, VIRTIO_BLK_T_IN, i);
        wait_for_count(&reading, 4);
        read_blocks = false;
        for (unsigned i = 0; i < 8; i++)
                wait_status(&f, i, VIRTIO_BLK_S_OK);
        threads_done(&f);
}

static void quiesce_on_loop(void *arg) {
        struct fixture *f = arg;
        f->is_quiet = driver_quiesce(&f->driver);
}

static void resume_on_loop(void *arg) {
        driver_resume(&((struct fixture *) arg)->driver);
}

static void reset_on_loop(void *arg) {
        struct fixture *f = arg;

        f->driver.dev->live = f->driver.active = false;
        f->is_quiet = f->driver.dev->ops->reset(f->driver.dev);
}

static void call(struct fixture *f, loop_call_fn fn) {
        loop_call(f->driver.dev->loop, fn, f);
}

static uint64_t reads_done(const struct fixture *f) {
        struct ctl_disk_stats stats;

        blk_stats(f->driver.dev, &stats);
        return stats.rd_req;
}

static void wait_for_reads(const struct fixture *f, uint64_t n) {
        for (unsigned i = 0; i < 10000 && reads_done(f) != n; i++)
                (void) usleep(1000);
        CHECK_EQ(reads_done(f), n);
}

/* A reset that waits for requests is told of their end once, whatever else comes in between. */
static void test_reset_meets_quiesce(void) {
        for (unsigned i = 0; i < 8; i++) {
                bool quiesce_first = i & 1, resumed = i & 2, dirty = i & 4;
                struct fixture f;

                fixture_init(&f, (struct blk_config) {}, ~0ull);
                threads_start(&f);
                if (dirty) {
                        add_request(&f, VIRTIO_BLK_T_OUT, 0);
                        wait_status(&f, 0, VIRTIO_BLK_S_OK);
                }
                read_blocks = true;
                add_request(&f, VIRTIO_BLK_T_IN, 1);
                wait_for_count(&reading, 1);
                call(&f, quiesce_first ? quiesce_on_loop : reset_on_loop);
                CHECK(!f.is_quiet);
                call(&f, quiesce_first ? reset_on_loop : quiesce_on_loop);
                CHECK(!f.is_quiet);
                if (resumed)
                        call(&f, resume_on_loop);
                (void) usleep(10000);
                CHECK_EQ(f.driver.idles, 0);
                read_blocks = false;
                wait_for_count(&f.driver.idles, 1);
                (void) usleep(10000);
                CHECK_EQ(f.driver.idles, 1);
                CHECK_EQ(status_at(&f, 1), 0xee);
                threads_done(&f);
        }
}

/* A reset that waits for nothing but the end of a quiesce, which is called off. */
static void test_quiesce_is_called_off(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        add_request(&f, VIRTIO_BLK_T_OUT, 0);
        wait_status(&f, 0, VIRTIO_BLK_S_OK);
        flush_blocks = true;
        call(&f, quiesce_on_loop);
        wait_for_count(&flushing, 1);
        call(&f, reset_on_loop);
        CHECK(!f.is_quiet);
        call(&f, resume_on_loop);
        wait_for_count(&f.driver.idles, 1); /* a flush touches no guest memory */
        flush_blocks = false;
        wait_for_count(&flushing, 0);
        (void) usleep(10000);
        CHECK_EQ(f.driver.idles, 1);
        threads_done(&f);
}

/* The notice of a reset's end that the loop has not looked at yet is not the end of a quiesce. */
static void test_notice_comes_late(void) {
        struct fixture f;
        unsigned before;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        CHECK_EQ(f.driver.dev->ops->start(f.driver.dev, NULL), 0); /* the workers; the loop comes later */
        add_request(&f, VIRTIO_BLK_T_OUT, 0);
        wait_status(&f, 0, VIRTIO_BLK_S_OK);
        read_blocks = flush_blocks = true;
        add_request(&f, VIRTIO_BLK_T_IN, 1);
        wait_for_count(&reading, 1);
        reset_on_loop(&f);
        CHECK(!f.is_quiet);
        read_blocks = false;
        wait_for_reads(&f, 1);
        before = flush_calls;
        quiesce_on_loop(&f);
        CHECK(!f.is_quiet);
        CHECK_EQ(loop_start(f.driver.dev->loop, NULL, NULL), 0);
        wait_for_count(&flush_calls, before + 1);
        (void) usleep(10000);
        CHECK_EQ(f.driver.idles, 0); /* not stable yet */
        flush_blocks = false;
        wait_for_count(&f.driver.idles, 1);
        threads_done(&f);
}

/* A chain without room for a status, taken by a worker after all kicks, so that the loop does not know yet. */
static void break_queue(struct fixture *f) {
        struct segment header = { HEADER, 16 };

        read_blocks = true;
        for (unsigned i = 0; i < 4; i++)
                add_request(f, VIRTIO_BLK_T_IN, 10 + i);
        wait_for_count(&reading, 4);
        (void) ring_add(&f->ring, &header, 1, 0);
        ring_kick(&f->ring);
        read_blocks = false;
        wait_taken(f);
        CHECK(!f->driver.needs_reset);
}

/* What a driver did wrong does not break the device for the next one, and for its own whatever comes in between. */
static void test_fault_comes_late(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        CHECK_EQ(f.driver.dev->ops->start(f.driver.dev, NULL), 0);
        break_queue(&f);
        reset_on_loop(&f);
        driver_activate(&f.driver, ~0ull);
        ring_init(&f.ring, &f.driver, 0, 128);
        add_request(&f, VIRTIO_BLK_T_IN, 0);
        wait_status(&f, 0, VIRTIO_BLK_S_OK);
        CHECK(!f.driver.needs_reset);

        break_queue(&f);
        quiesce_on_loop(&f);
        f.driver.dev->transport->idle(f.driver.dev);
        resume_on_loop(&f);
        CHECK(f.driver.needs_reset);
        add_request(&f, VIRTIO_BLK_T_IN, 1);
        (void) usleep(20000);
        CHECK_EQ(status_at(&f, 1), 0xee);
        driver_stop(&f.driver, true);
        close_fd(&f.image);
}

static void release_on_loop(void *arg) {
        struct fixture *f = arg;

        f->is_quiet = f->driver.dev->ops->release(f->driver.dev);
}

/* Closing an image may write what is in the page cache. Neither the loop nor who frees the disk waits for that. */
static void test_closing_takes_time(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .cache = CTL_CACHE_UNSAFE }, ~0ull);
        threads_start(&f);
        add_request(&f, VIRTIO_BLK_T_OUT, 0);
        wait_status(&f, 0, VIRTIO_BLK_S_OK);
        call(&f, quiesce_on_loop);
        CHECK(f.is_quiet);
        call(&f, reset_on_loop);
        CHECK(f.is_quiet);
        closing = 0;
        close_blocks = true;
        call(&f, release_on_loop);
        CHECK(!f.is_quiet);
        wait_for_count(&closing, 1);
        (void) usleep(10000);
        CHECK_EQ(f.driver.idles, 0);
        close_blocks = false;
        wait_for_count(&f.driver.idles, 1);
        close_blocks = true;
        threads_done(&f); /* there is nothing left to close */
        close_blocks = false;
        CHECK_EQ(closing, 1);
}

/* A write of a driver that has gone fails: the operator is told, but there is no guest to pause. */
static void test_error_after_reset(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .error_policy = CTL_ERROR_STOP }, ~0ull);
        threads_start(&f);
        write_blocks = true;
        add_request(&f, VIRTIO_BLK_T_OUT, 0);
        wait_for_count(&writing, 1);
        call(&f, reset_on_loop);
        CHECK(!f.is_quiet);
        write_error = EIO;
        write_blocks = false;
        wait_for_count(&f.driver.idles, 1);
        write_error = 0;
        CHECK_EQ(f.errors, 1);
        CHECK_EQ(f.last_policy, CTL_ERROR_REPORT);
        CHECK_EQ(blk_error(f.driver.dev), 0);
        driver_activate(&f.driver, ~0ull);
        ring_init(&f.ring, &f.driver, 0, 128);
        add_request(&f, VIRTIO_BLK_T_IN, 1);
        wait_status(&f, 1, VIRTIO_BLK_S_OK);
        threads_done(&f);
}

/* Lost data pauses the guest once: to try the flush again would bring nothing back. */
static void test_lost_data_stops_once(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) { .error_policy = CTL_ERROR_STOP }, ~0ull);
        threads_start(&f);
        flush_error = EIO;
        add_request(&f, VIRTIO_BLK_T_FLUSH, 0);
        for (unsigned k = 0; k < 10000 && f.errors == 0; k++)
                (void) usleep(1000);
        CHECK_EQ(f.last_policy, CTL_ERROR_STOP);
        call(&f, quiesce_on_loop);
        CHECK_EQ(status_at(&f, 0), 0xee);
        flush_error = 0;
        call(&f, resume_on_loop);
        wait_status(&f, 0, VIRTIO_BLK_S_IOERR);
        add_request(&f, VIRTIO_BLK_T_FLUSH, 1);
        wait_status(&f, 1, VIRTIO_BLK_S_IOERR);
        CHECK_EQ(f.errors, 1);
        CHECK_EQ(blk_error(f.driver.dev), -EIO);
        threads_done(&f);
}

struct late {
        struct fixture *f;
        int fd;
};

/* On the loop while the device is freed: as a kick that was on its way. */
static void late_kick(void *arg, uint32_t events) {
        const struct late *late = arg;
        unsigned before = mutexes_destroyed;
        uint64_t count;

        (void) !read(late->fd, &count, sizeof(count));
        for (unsigned i = 0; i < 200 && mutexes_destroyed == before; i++)
                (void) usleep(1000);
        late->f->driver.dev->ops->kick(late->f->driver.dev, 0);
}

static void *end_read(void *arg) {
        (void) usleep(50000);
        read_blocks = false;
        return NULL;
}

/* A device goes with a read at work and a loop that still has something to do: nothing that they use goes before. */
static void test_free_at_work(void) {
        struct fixture f;
        struct late late = { .f = &f, .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
        pthread_t helper;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        read_blocks = true;
        add_request(&f, VIRTIO_BLK_T_IN, 0);
        wait_for_count(&reading, 1);
        call(&f, reset_on_loop);
        CHECK_EQ(pthread_create(&helper, NULL, end_read, NULL), 0);
        CHECK_EQ(loop_add_fd(f.driver.dev->loop, late.fd, EPOLLIN, late_kick, &late, NULL), 0);
        f.driver.dev->ops->free(f.driver.dev);
        CHECK_EQ(pthread_join(helper, NULL), 0);
        guest_mem_free(f.driver.mem);
        close_fd(&late.fd);
        close_fd(&f.image);
}

/* Standing still: what is at work ends, what was written is stable, and nothing more is begun until it goes on. */
static void test_quiesce(void) {
        unsigned before;
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        loop_call(f.driver.dev->loop, quiesce_on_loop, &f);
        CHECK(f.is_quiet); /* nothing was written */
        loop_call(f.driver.dev->loop, resume_on_loop, &f);

        add_request(&f, VIRTIO_BLK_T_OUT, 0);
        wait_status(&f, 0, VIRTIO_BLK_S_OK);
        before = flush_calls;
        read_blocks = flush_blocks = true;
        add_request(&f, VIRTIO_BLK_T_IN, 1);
        wait_for_count(&reading, 1);
        loop_call(f.driver.dev->loop, quiesce_on_loop, &f);
        CHECK(!f.is_quiet);
        add_request(&f, VIRTIO_BLK_T_IN, 2);
        (void) usleep(20000);
        CHECK_EQ(f.driver.idles, 0);
        CHECK_EQ(flush_calls, before);
        read_blocks = false;
        wait_for_count(&flush_calls, before + 1);
        CHECK_EQ(f.driver.idles, 0);
        flush_blocks = false;
        wait_for_count(&f.driver.idles, 1);
        CHECK_EQ(status_at(&f, 1), VIRTIO_BLK_S_OK);
        CHECK_EQ(status_at(&f, 2), 0xee);
        loop_call(f.driver.dev->loop, resume_on_loop, &f);
        wait_status(&f, 2, VIRTIO_BLK_S_OK);
        CHECK_EQ(f.driver.idles, 1);
        threads_done(&f);
}

/* A reset waits for what touches guest memory, and for no flush. */
static void test_reset_at_work(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        threads_start(&f);
        flush_blocks = true;
        for (unsigned i = 0; i < 3; i++)
                add_request(&f, VIRTIO_BLK_T_FLUSH, i);
        wait_for_count(&flushing, 1);
        wait_taken(&f);
        loop_call(f.driver.dev->loop, reset_on_loop, &f);
        CHECK(f.is_quiet);
        driver_activate(&f.driver, ~0ull);
        ring_init(&f.ring, &f.driver, 0, 128);
        read_blocks = true;
        for (unsigned i = 10; i < 14; i++)
                add_request(&f, VIRTIO_BLK_T_IN, i);
        wait_for_count(&reading, 3); /* the fourth worker still flushes */
        loop_call(f.driver.dev->loop, reset_on_loop, &f);
        CHECK(!f.is_quiet);
        CHECK_EQ(f.driver.idles, 0);
        flush_blocks = read_blocks = false;
        wait_for_count(&f.driver.idles, 1);
        (void) usleep(20000);
        for (unsigned i = 0; i < 14; i++)
                if (i < 3 || i >= 10)
                        CHECK_EQ(status_at(&f, i), 0xee); /* nobody is told */
        driver_activate(&f.driver, ~0ull);
        ring_init(&f.ring, &f.driver, 0, 128);
        add_request(&f, VIRTIO_BLK_T_FLUSH, 20);
        wait_status(&f, 20, VIRTIO_BLK_S_OK);
        threads_done(&f);
}

/* What is done about an error of the host's, and that a request that was held back is tried again. */
static void test_policies(void) {
        static const struct {
                enum ctl_error_policy policy;
                int error;
                uint8_t status;
                bool stops;
        } cases[] = {
                { CTL_ERROR_REPORT, ENOSPC, VIRTIO_BLK_S_IOERR, false },
                { CTL_ERROR_IGNORE, EIO, VIRTIO_BLK_S_OK, false },
                { CTL_ERROR_ENOSPC, EIO, VIRTIO_BLK_S_IOERR, false },
                { CTL_ERROR_ENOSPC, ENOSPC, 0xee, true },
                { CTL_ERROR_STOP, EIO, 0xee, true },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                struct fixture f;

                fixture_init(&f, (struct blk_config) { .error_policy = cases[i].policy }, ~0ull);
                threads_start(&f);
                write_error = cases[i].error;
                memset(driver_at(&f.driver, DATA, 512), 0x5a, 512);
                add_request(&f, VIRTIO_BLK_T_OUT, 0);
                if (!cases[i].stops) {
                        wait_status(&f, 0, cases[i].status);
                        CHECK_EQ(f.last_policy,
                                 cases[i].policy == CTL_ERROR_IGNORE ? CTL_ERROR_IGNORE : CTL_ERROR_REPORT);
                        CHECK_EQ(blk_error(f.driver.dev), 0);
                        write_error = 0;
                        threads_done(&f);
                        continue;
                }
                for (unsigned k = 0; k < 10000 && blk_error(f.driver.dev) == 0; k++)
                        (void) usleep(1000);
                CHECK_EQ(blk_error(f.driver.dev), -cases[i].error);
                add_request(&f, VIRTIO_BLK_T_IN, 1); /* not begun */
                loop_call(f.driver.dev->loop, quiesce_on_loop, &f);
                CHECK_EQ(status_at(&f, 0), 0xee);
                CHECK_EQ(status_at(&f, 1), 0xee);
                CHECK_EQ(f.errors, 1);
                CHECK_EQ(f.last_policy, CTL_ERROR_STOP);
                loop_call(f.driver.dev->loop, resume_on_loop, &f); /* too early: once more */
                for (unsigned k = 0; k < 10000 && blk_error(f.driver.dev) == 0; k++)
                        (void) usleep(1000);
                CHECK_EQ(status_at(&f, 0), 0xee);
                write_error = 0;
                loop_call(f.driver.dev->loop, resume_on_loop, &f);
                wait_status(&f, 0, VIRTIO_BLK_S_OK);
                wait_status(&f, 1, VIRTIO_BLK_S_OK);
                CHECK_EQ(byte_at(&f, 0), 0x5a);
                CHECK_EQ(blk_error(f.driver.dev), 0);
                threads_done(&f);
        }
}

/* §3.1.1: before DRIVER_OK, or after the device broke, nothing is taken, whatever notes were raised before. */
static void test_not_live(void) {
        struct fixture f;

        fixture_init(&f, (struct blk_config) {}, ~0ull);
        driver_reset(&f.driver);
        ring_init(&f.ring, &f.driver, 0, 128);
        add_request(&f, VIRTIO_BLK_T_IN, 0);
        CHECK_EQ(status_at(&f, 0), 0xee);
        quiesce_on_loop(&f);
        resume_on_loop(&f);
        ring_kick(&f.ring);
        CHECK_EQ(status_at(&f, 0), 0xee);
        driver_activate(&f.driver, ~0ull);
        CHECK_EQ(status_at(&f, 0), 0xee); /* the kick is what it waits for */
        ring_kick(&f.ring);
        CHECK_EQ(status_at(&f, 0), VIRTIO_BLK_S_OK);
        fixture_done(&f);
}

int main(void) {
        RUN(test_read_write);
        RUN(test_framing);
        RUN(test_bounds);
        RUN(test_huge);
        RUN(test_unknown);
        RUN(test_no_room);
        RUN(test_outside_memory);
        RUN(test_indirect);
        RUN(test_writes_are_told);
        RUN(test_read_only);
        RUN(test_serial);
        RUN(test_discard);
        RUN(test_write_zeroes);
        RUN(test_caching);
        RUN(test_failed_flush);
        RUN(test_host_error);
        RUN(test_config);
        RUN(test_wrong_files);
        RUN(test_role);
        RUN(test_not_live);
        RUN(test_busy_guest);
        RUN(test_out_of_order);
        RUN(test_parallel);
        RUN(test_quiesce);
        RUN(test_reset_at_work);
        RUN(test_reset_meets_quiesce);
        RUN(test_quiesce_is_called_off);
        RUN(test_notice_comes_late);
        RUN(test_fault_comes_late);
        RUN(test_policies);
        RUN(test_error_after_reset);
        RUN(test_lost_data_stops_once);
        RUN(test_closing_takes_time);
        RUN(test_free_at_work);
        RUN(test_direct);
        RUN(test_direct_lost);
        return 0;
}
