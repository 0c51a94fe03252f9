/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sets of host CPUs or NUMA nodes as a value type, in libvirt's notation ("0-3,^2,8")
 * and in libvirt's wire layout (bit n of byte n/8, least significant first).
 */
#pragma once

#include <glib.h>

#define CPUMAP_BITS 2048u

typedef struct CpuMap {
        guint8 bytes[CPUMAP_BITS / 8];
} CpuMap;

gboolean cpumap_parse(const char *text, CpuMap *ret, GError **err); /* VIR_ERR_INVALID_ARG */
char *cpumap_format(const CpuMap *map);                             /* "0-3,8"; "" when empty */
gboolean cpumap_is_empty(const CpuMap *map);
gboolean cpumap_get(const CpuMap *map, unsigned bit);
void cpumap_set(CpuMap *map, unsigned bit);
unsigned cpumap_count(const CpuMap *map);
gboolean cpumap_is_subset(const CpuMap *map, const CpuMap *of);
int cpumap_last(const CpuMap *map); /* -1 when empty */
/* From and to the wire: `len` bytes, missing ones are zero, excess ones are ignored. */
void cpumap_from_bytes(CpuMap *map, const guint8 *bytes, gsize len);
void cpumap_fill(CpuMap *map, unsigned bits); /* sets 0..bits-1 */
