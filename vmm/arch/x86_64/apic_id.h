/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The APIC ids that follow from the topology. An id has 8 bits for all parts together.
 */
#pragma once

#include "../../core/topology.h"

/* Bits that `n` siblings take in an APIC id. */
static inline unsigned topology_bits(unsigned n) {
        unsigned bits = 0;

        while ((1u << bits) < n)
                bits++;
        return bits;
}

/* Where the id of the next level starts, in bits: cores after threads, dies after cores, packages after dies. */
static inline unsigned topology_core_shift(const struct topology *t) {
        return topology_bits(t->threads);
}

static inline unsigned topology_die_shift(const struct topology *t) {
        return topology_core_shift(t) + topology_bits(t->cores);
}

static inline unsigned topology_package_shift(const struct topology *t) {
        return topology_die_shift(t) + topology_bits(t->dies);
}

/* The APIC id of the vCPU with this index; siblings fill up first. */
static inline unsigned topology_apic_id(const struct topology *t, unsigned index) {
        unsigned thread = index % t->threads;
        unsigned core = index / t->threads % t->cores;
        unsigned die = index / t->threads / t->cores % t->dies;
        unsigned package = index / t->threads / t->cores / t->dies;

        return thread | core << topology_core_shift(t) | die << topology_die_shift(t) |
               package << topology_package_shift(t);
}
