/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Port I/O and MMIO dispatch: a sorted table of disjoint ranges and a binary search.
 *
 * The guest sees an unclaimed address as a real bus shows it: reads give all ones, writes vanish. An access
 * that starts in a range and ends beyond it is unclaimed as a whole, so no device has to check for it. BARs,
 * which the guest can move, are not ranges of their own: the PCI host claims its window once and looks inside
 * it.
 *
 * vCPU threads call in parallel; devices lock for themselves.
 */
#include "bus.h"

#include <errno.h>
#include <string.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *arg) {
        unsigned at;

        if (size == 0 || base + (size - 1) < base)
                return -EINVAL;
        if (bus->n_ranges == BUS_RANGES_MAX)
                return -ENOSPC;
        for (at = 0; at < bus->n_ranges && bus->range[at].base < base; at++)
                ;
        if (at > 0 && base - bus->range[at - 1].base < bus->range[at - 1].size)
                return -EEXIST;
        if (at < bus->n_ranges && bus->range[at].base - base < size)
                return -EEXIST;
        memmove(&bus->range[at + 1], &bus->range[at], (bus->n_ranges - at) * sizeof(bus->range[0]));
        bus->range[at] = (struct bus_range) { .base = base, .size = size, .ops = ops, .arg = arg };
        bus->n_ranges++;
        return 0;
}

void bus_remove(struct bus *bus, const void *arg) {
        unsigned n = 0;

        for (unsigned i = 0; i < bus->n_ranges; i++)
                if (bus->range[i].arg != arg)
                        bus->range[n++] = bus->range[i];
        bus->n_ranges = n;
}

static const struct bus_range *find(const struct bus *bus, uint64_t address, unsigned len) {
        unsigned low = 0, high = bus->n_ranges;

        while (low < high) {
                unsigned middle = low + (high - low) / 2;
                const struct bus_range *range = &bus->range[middle];

                if (address < range->base)
                        high = middle;
                else if (address - range->base >= range->size)
                        low = middle + 1;
                else
                        return len <= range->size - (address - range->base) ? range : NULL;
        }
        return NULL;
}

void bus_read(const struct bus *bus, uint64_t address, void *data, unsigned len) {
        const struct bus_range *range = find(bus, address, len);

        memset(data, 0xff, len);
        if (range)
                range->ops->read(range->arg, address - range->base, data, len);
}

void bus_write(const struct bus *bus, uint64_t address, const void *data, unsigned len) {
        const struct bus_range *range = find(bus, address, len);

        if (range)
                range->ops->write(range->arg, address - range->base, data, len);
}
