/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory: one host mapping that the guest sees as the ranges that its architecture has. guest_mem_span() is
 * the only place that turns a guest address into a pointer.
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

struct guest_mem_range {
        uint64_t gpa, size; /* bytes; size 0: range not present */
        uint8_t *host;
};

struct guest_mem {
        struct guest_mem_range range[ARCH_RAM_MAX]; /* ascending */
        uint8_t *host;                              /* start of the one mapping */
        uint64_t size;
};

/*
 * Maps `size` bytes (multiple of 2 MiB, at least GUEST_MEM_MIN). -ENOMEM when the host
 * cannot give them, -EINVAL for a bad size. The caller frees with guest_mem_free().
 */
int guest_mem_new(uint64_t size, unsigned flags, uint64_t hugepage_size, struct guest_mem **ret);
struct guest_mem *guest_mem_free(struct guest_mem *mem); /* NULL is fine; returns NULL */

/* The host address of [gpa, gpa+len), or -EFAULT unless all of it is one RAM range. len 0 is -EINVAL. */
int guest_mem_span(const struct guest_mem *mem, uint64_t gpa, uint64_t len, void **ret);

int guest_mem_write(const struct guest_mem *mem, uint64_t gpa, const void *data, uint64_t len);
