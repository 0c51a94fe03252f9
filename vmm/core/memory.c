/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory: one host mapping, seen by the guest where the architecture has RAM (arch_ram()). What is between the
 * regions, devices or nothing, is not RAM, and guest_mem_span() says so.
 *
 * By default the mapping is private and anonymous, aligned to 2 MiB and advised to be backed by transparent
 * huge pages; pages appear when the guest touches them. A shared or hugetlb mapping is a memfd that can be
 * passed to a vhost-user back end: its descriptor is kept, its size sealed. Guest memory is excluded from core dumps,
 * as it holds the guest's secrets.
 *
 * The guest writes this memory at any time from its vCPUs. So two reads may differ: callers copy first and
 * check the copy.
 *
 * Each write of the monitor into it passes guest_mem_wrote(), when it has been made: what is copied before that is
 * copied again. It costs one load while nobody watches.
 *
 * No thread owns it: the layout never changes between new and free.
 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../base/cleanup.h"

#define HUGE_2M (2ull << 20)

static int memfd_open(uint64_t size, unsigned flags, uint64_t hugepage_size, int *ret) {
        AUTOCLOSE int fd = -EBADF;
        unsigned memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

        if (flags & GUEST_MEM_HUGETLB) {
                memfd_flags |= MFD_HUGETLB;
                if (hugepage_size != 0)
                        memfd_flags |= (unsigned) __builtin_ctzll(hugepage_size) << MFD_HUGE_SHIFT;
        }
        fd = memfd_create("guest-ram", memfd_flags);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (int64_t) size) < 0)
                return -errno;
        /* Who shares it could make it shorter otherwise, and what is mapped beyond its end raises SIGBUS. */
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        *ret = take_fd(&fd);
        return 0;
}

static int check_size(uint64_t size, unsigned flags, uint64_t hugepage_size) {
        if (size < GUEST_MEM_MIN || size % HUGE_2M != 0 || size > (uint64_t) INT64_MAX / 2)
                return -EINVAL;
        if (!(flags & GUEST_MEM_HUGETLB))
                return 0;
        if (hugepage_size != 0 && ((hugepage_size & (hugepage_size - 1)) != 0 || size % hugepage_size != 0))
                return -EINVAL;
        return 0;
}

/* Address space aligned to 2 MiB, so that transparent huge pages line up with the guest's. */
static void *reserve_aligned(uint64_t size) {
        uint8_t *p, *start;

        p = mmap(NULL, size + HUGE_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return NULL;
        start = (uint8_t *) (((uintptr_t) p + HUGE_2M - 1) & ~(uintptr_t) (HUGE_2M - 1));
        if (start != p)
                (void) munmap(p, (size_t) (start - p));
        (void) munmap(start + size, HUGE_2M - (size_t) (start - p));
        return start;
}

static int map_private(struct guest_mem *mem) {
        void *p;

        p = reserve_aligned(mem->size);
        if (!p)
                return -ENOMEM;
        mem->host = mmap(p, mem->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                         -1, 0);
        if (mem->host == MAP_FAILED) {
                mem->host = NULL;
                (void) munmap(p, mem->size);
                return -ENOMEM;
        }
        (void) madvise(mem->host, mem->size, MADV_HUGEPAGE);
        return 0;
}

/* Huge pages are reserved when mapped: a page missing later would raise SIGBUS. */
static int map_shared(struct guest_mem *mem, unsigned flags, uint64_t hugepage_size) {
        AUTOCLOSE int fd = -EBADF;
        int r, reserve = flags & GUEST_MEM_HUGETLB ? 0 : MAP_NORESERVE;
        void *p;

        r = memfd_open(mem->size, flags, hugepage_size, &fd);
        if (r < 0)
                return r;
        p = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED | reserve, fd, 0);
        if (p == MAP_FAILED)
                return -ENOMEM;
        mem->host = p;
        mem->fd = take_fd(&fd);
        if (!(flags & GUEST_MEM_HUGETLB))
                (void) madvise(mem->host, mem->size, MADV_HUGEPAGE);
        return 0;
}

static void lay_out(struct guest_mem *mem) {
        struct arch_ram ram[ARCH_RAM_MAX];
        uint64_t offset = 0;

        mem->n_regions = arch_ram(mem->size, ram);
        for (unsigned i = 0; i < mem->n_regions; offset += ram[i++].size)
                mem->region[i] = (struct guest_mem_region) {
                        .gpa = ram[i].gpa,
                        .size = ram[i].size,
                        .host = mem->host + offset,
                        .fd = mem->fd,
                        .offset = offset,
                };
}

static void free_p(struct guest_mem **mem) {
        guest_mem_free(*mem);
}

int guest_mem_new(uint64_t size, unsigned flags, uint64_t hugepage_size, struct guest_mem **ret) {
        CLEANUP(free_p) struct guest_mem *mem = NULL;
        int r;

        r = check_size(size, flags, hugepage_size);
        if (r < 0)
                return r;
        mem = calloc(1, sizeof(*mem));
        if (!mem)
                return -ENOMEM;
        mem->size = size;
        mem->fd = -EBADF;

        if (flags & (GUEST_MEM_SHARED | GUEST_MEM_HUGETLB))
                r = map_shared(mem, flags, hugepage_size);
        else
                r = map_private(mem);
        if (r < 0)
                return r;
        (void) madvise(mem->host, mem->size, MADV_DONTDUMP);
        if ((flags & GUEST_MEM_LOCKED) && mlock(mem->host, mem->size) < 0)
                return -errno;
        lay_out(mem);
        *ret = TAKE(mem);
        return 0;
}

struct guest_mem *guest_mem_free(struct guest_mem *mem) {
        if (!mem)
                return NULL;
        if (mem->host)
                (void) munmap(mem->host, mem->size);
        close_fd(&mem->fd);
        free(mem);
        return NULL;
}

int guest_mem_span(const struct guest_mem *mem, uint64_t gpa, uint64_t len, void **ret) {
        if (len == 0)
                return -EINVAL;
        for (unsigned i = 0; i < mem->n_regions; i++) {
                const struct guest_mem_region *region = &mem->region[i];
                uint64_t offset = gpa - region->gpa;

                if (gpa < region->gpa || offset >= region->size)
                        continue;
                if (len > region->size - offset)
                        return -EFAULT;
                *ret = region->host + offset;
                return 0;
        }
        return -EFAULT;
}

int guest_mem_write(const struct guest_mem *mem, uint64_t gpa, const void *data, uint64_t len) {
        void *p;
        int r;

        r = guest_mem_span(mem, gpa, len, &p);
        if (r < 0)
                return r;
        memcpy(p, data, len);
        guest_mem_wrote(mem, p, len);
        return 0;
}

static void tell(const struct guest_mem *mem, const struct guest_mem_watch *watch, const uint8_t *host, uint64_t len) {
        for (unsigned i = 0; i < mem->n_regions; i++) {
                const struct guest_mem_region *region = &mem->region[i];

                if (host >= region->host && host < region->host + region->size)
                        watch->wrote(watch->arg, region->gpa + (uint64_t) (host - region->host), len);
        }
}

void guest_mem_wrote(const struct guest_mem *mem, const void *host, uint64_t len) {
        const struct guest_mem_watch *watch = atomic_load_explicit(&mem->watch, memory_order_acquire);

        if (watch && len > 0)
                tell(mem, watch, host, len);
}

void guest_mem_set_watch(struct guest_mem *mem, const struct guest_mem_watch *watch) {
        atomic_store_explicit(&mem->watch, watch, memory_order_release);
}
