/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What <capabilities> says about the host, read from procfs and sysfs. */
#pragma once

#include <glib.h>

#include "conf/domain_def.h"

#define HOST_PAGE_SIZES 3 /* 4 KiB, 2 MiB, 1 GiB */

typedef struct HostCpu {
        unsigned id, socket, die, core;
        CpuMap siblings; /* threads of the same core */
} HostCpu;

typedef struct HostCell { /* a NUMA node */
        unsigned id;
        guint64 memory_kib;
        guint64 pages[HOST_PAGE_SIZES];
        GArray *distances; /* unsigned, one per cell in their order; may be empty */
        CpuMap cpus;
} HostCell;

typedef struct HostInfo {
        gboolean has_uuid;
        guint8 uuid[16];
        const char *vendor; /* "AMD", "Intel" or NULL */
        unsigned family, model, stepping;
        guint64 microcode;
        unsigned sockets, dies, cores, threads; /* sockets: of one cell, as libvirt counts */
        gboolean iommu;
        GArray *cpus;     /* HostCpu, online ones */
        GPtrArray *cells; /* HostCell* */
} HostInfo;

typedef struct HostMemory { /* KiB */
        guint64 total, free, buffers, cached;
} HostMemory;

extern const guint64 host_page_kib[HOST_PAGE_SIZES];

/* `root` is "/" except in tests. Never fails: what cannot be read stays zero, and there is at least one cell. */
HostInfo *host_info_read(const char *root);
void host_info_free(HostInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HostInfo, host_info_free)

/* Of a cell, or of the whole host: -1. FALSE when the kernel does not say. */
gboolean host_memory_read(const char *root, int cell, HostMemory *ret);

/* The two documents for a given host. */
char *capabilities_format_host(const HostInfo *info, const char *emulator);
