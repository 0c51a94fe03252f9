/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An address space of emulated registers: port I/O or MMIO. Ranges change only while no vCPU runs, so lookups take
 * no lock.
 */
#pragma once

#include <stdint.h>

#define BUS_RANGES_MAX 16u

/* `len` is 1 to 8 bytes and offset+len lies inside the range. Called on vCPU threads. */
struct bus_ops {
        void (*read)(void *arg, uint64_t offset, void *data, unsigned len);
        void (*write)(void *arg, uint64_t offset, const void *data, unsigned len);
};

struct bus_range {
        uint64_t base, size;
        const struct bus_ops *ops;
        void *arg;
};

struct bus {
        struct bus_range range[BUS_RANGES_MAX]; /* sorted, disjoint */
        unsigned n_ranges;
};

/* -EEXIST: overlaps another range, -ENOSPC: too many, -EINVAL: empty or wraps. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *arg);
/* Gives all ranges of `arg` back; that there are none is fine. */
void bus_remove(struct bus *bus, const void *arg);

/* Unclaimed addresses read as all ones and ignore writes. */
void bus_read(const struct bus *bus, uint64_t address, void *data, unsigned len);
void bus_write(const struct bus *bus, uint64_t address, const void *data, unsigned len);
