/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc and /sys say about the host: CPUs, memory, NUMA nodes ("cells"). */
#pragma once

#include "conf/host_info.h"
#include "rpc/remote_protocol.h"
#include "util/cpumap.h"

gboolean node_get_info(rpc_node_info_ret *ret, GError **err);
gboolean node_get_cpus(CpuMap *ret_present, CpuMap *ret_online, GError **err);

/* Nanoseconds; `cpu` -1: all together. VIR_ERR_INVALID_ARG for one that is not online. */
typedef struct NodeCpuTimes {
        guint64 kernel, user, idle, iowait;
} NodeCpuTimes;
gboolean node_get_cpu_times(int cpu, NodeCpuTimes *ret, GError **err);

/* `cell` -1: the whole host. VIR_ERR_INVALID_ARG for one that does not exist. */
gboolean node_get_memory(int cell, HostMemory *ret, GError **err);

gboolean node_get_cells(CpuMap *ret, GError **err);
/* Free pages of `kib` each in a cell. VIR_ERR_INVALID_ARG for a size that the host does not have. */
gboolean node_get_free_pages(int cell, guint kib, guint64 *ret, GError **err);
