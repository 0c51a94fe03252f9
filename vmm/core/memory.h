/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory: one host mapping that the guest sees as a table of regions, those that its architecture has.
 * guest_mem_span() is the only place that turns a guest address into a pointer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arch/arch.h"

#define GUEST_MEM_MIN (64ull << 20)

enum guest_mem_flags {
        GUEST_MEM_SHARED = 1u << 0,  /* memfd, MAP_SHARED */
        GUEST_MEM_HUGETLB = 1u << 1, /* explicit huge pages */
        GUEST_MEM_LOCKED = 1u << 2,  /* mlock */
};

struct guest_mem_region {
        uint64_t gpa, size; /* bytes */
        uint8_t *host;
        int fd;          /* the memory's file, not the region's own; -EBADF: private and anonymous */
        uint64_t offset; /* where the region begins in it */
};

/* Who has to know what changes: a copy of the memory that is kept up to date. */
struct guest_mem_watch {
        void (*wrote)(void *arg, uint64_t gpa, uint64_t len); /* any thread */
        void *arg;
};

struct guest_mem {
        struct guest_mem_region region[ARCH_RAM_MAX]; /* ascending */
        unsigned n_regions;
        uint8_t *host; /* start of the one mapping */
        uint64_t size;
        int fd; /* for whom it is shared with: its size is sealed. -EBADF: there is none */
        const struct guest_mem_watch *_Atomic watch;
};

/*
 * Maps `size` bytes (multiple of 2 MiB, at least GUEST_MEM_MIN). -ENOMEM when the host
 * cannot give them, -EINVAL for a bad size. The caller frees with guest_mem_free().
 */
int guest_mem_new(uint64_t size, unsigned flags, uint64_t hugepage_size, struct guest_mem **ret);
struct guest_mem *guest_mem_free(struct guest_mem *mem); /* NULL is fine; returns NULL */

/* The host address of [gpa, gpa+len), or -EFAULT unless all of it is in one region. len 0 is -EINVAL. */
int guest_mem_span(const struct guest_mem *mem, uint64_t gpa, uint64_t len, void **ret);

int guest_mem_write(const struct guest_mem *mem, uint64_t gpa, const void *data, uint64_t len);

/*
 * Who writes to a span itself says so here, after it has. [host, host+len) lies in one region; len 0 is fine. What
 * vCPUs and vhost write does not pass here: KVM and vhost have logs of their own. Any thread.
 */
void guest_mem_wrote(const struct guest_mem *mem, const void *host, uint64_t len);
/* From now on `watch` is told; NULL: nobody. The one before may be told until devices have been quiesced or have ended.
 */
void guest_mem_set_watch(struct guest_mem *mem, const struct guest_mem_watch *watch);
