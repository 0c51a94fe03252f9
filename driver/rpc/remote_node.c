/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's CPUs and memory, for `virsh nodeinfo` and its relatives. */
#include <string.h>

#include "rpc/handlers.h"
#include "rpc/node.h"
#include "util/error.h"

gboolean rpc_node_get_info(RpcCall *call, GError **err) {
        return node_get_info(call->ret, err);
}

gboolean rpc_node_get_cpu_map(RpcCall *call, GError **err) {
        const rpc_int_int_flags_args *args = call->args;
        rpc_cpu_map_ret *ret = call->ret;
        CpuMap present, online;
        if (!error_check_flags(args->flags, 0, "virNodeGetCPUMap", err) || !node_get_cpus(&present, &online, err))
                return FALSE;
        ret->count = cpumap_last(&present) + 1;
        if (args->second)
                ret->online = cpumap_count(&online);
        if (!args->first)
                return TRUE;
        ret->cpumap.cpumap_len = VIR_CPU_MAPLEN(ret->count);
        ret->cpumap.cpumap_val = g_memdup2(online.bytes, ret->cpumap.cpumap_len);
        return TRUE;
}

/* `n` named numbers for a caller with room for `room`; without any it learns how many there are. */
static gboolean put_node_stats(rpc_node_stats_ret *ret, int room, const rpc_node_stat *stats, int n, GError **err) {
        ret->count = n;
        if (room == 0)
                return TRUE;
        if (room < n || room > RPC_PARAMS_MAX) {
                return error_set(err, VIR_ERR_INVALID_ARG, "nparams in virNodeGetCPUStats and the like must be %d", n);
        }
        ret->stats.stats_val = g_new0(rpc_node_stat, n);
        for (int i = 0; i < n; i++)
                ret->stats.stats_val[ret->stats.stats_len++] =
                        (rpc_node_stat) { g_strdup(stats[i].field), stats[i].value };
        return TRUE;
}

gboolean rpc_node_get_cpu_stats(RpcCall *call, GError **err) {
        const rpc_int_int_flags_args *args = call->args;
        NodeCpuTimes times;
        if (!error_check_flags(args->flags, 0, "virNodeGetCPUStats", err) ||
            !node_get_cpu_times(args->first, &times, err))
                return FALSE;
        const rpc_node_stat stats[] = {
                { (rpc_text) VIR_NODE_CPU_STATS_KERNEL, times.kernel },
                { (rpc_text) VIR_NODE_CPU_STATS_USER, times.user },
                { (rpc_text) VIR_NODE_CPU_STATS_IDLE, times.idle },
                { (rpc_text) VIR_NODE_CPU_STATS_IOWAIT, times.iowait },
        };
        return put_node_stats(call->ret, args->second, stats, G_N_ELEMENTS(stats), err);
}

gboolean rpc_node_get_memory_stats(RpcCall *call, GError **err) {
        const rpc_int_int_flags_args *args = call->args;
        HostMemory memory;
        if (!error_check_flags(args->flags, 0, "virNodeGetMemoryStats", err) ||
            !node_get_memory(args->second, &memory, err))
                return FALSE;
        const rpc_node_stat stats[] = {
                { (rpc_text) VIR_NODE_MEMORY_STATS_TOTAL, memory.total },
                { (rpc_text) VIR_NODE_MEMORY_STATS_FREE, memory.free },
                { (rpc_text) VIR_NODE_MEMORY_STATS_BUFFERS, memory.buffers },
                { (rpc_text) VIR_NODE_MEMORY_STATS_CACHED, memory.cached },
        };
        return put_node_stats(call->ret, args->first, stats, G_N_ELEMENTS(stats), err);
}

gboolean rpc_node_get_free_memory(RpcCall *call, GError **err) {
        HostMemory memory;
        if (!node_get_memory(-1, &memory, err))
                return FALSE;
        ((rpc_hyper_ret *) call->ret)->value = memory.free * 1024;
        return TRUE;
}

/* Cells count by number here, whether or not the numbers in between exist. */
gboolean rpc_node_get_cells_free_memory(RpcCall *call, GError **err) {
        const rpc_int_int_args *args = call->args;
        rpc_hypers_ret *ret = call->ret;
        CpuMap cells;
        if (!node_get_cells(&cells, err))
                return FALSE;
        int last = cpumap_last(&cells);
        if (args->first < 0 || args->first > last || args->second <= 0 || args->second > RPC_CELLS_MAX) {
                return error_set(err, VIR_ERR_INVALID_ARG, "start cell %d out of range (0-%d)", args->first, last);
        }
        ret->values.values_val = g_new0(u_quad_t, args->second);
        for (int cell = args->first; cell <= last && cell - args->first < args->second; cell++) {
                HostMemory memory = { 0 };
                (void) node_get_memory(cell, &memory, NULL);
                ret->values.values_val[ret->values.values_len++] = memory.free * 1024;
        }
        return TRUE;
}

gboolean rpc_node_get_free_pages(RpcCall *call, GError **err) {
        const rpc_free_pages_args *args = call->args;
        rpc_hypers_ret *ret = call->ret;
        guint64 total = (guint64) args->pages.pages_len * args->cell_count; /* 32 bits each */
        if (!error_check_flags(args->flags, 0, "virNodeGetFreePages", err))
                return FALSE;
        if (total == 0 || total > RPC_CELLS_MAX || args->start_cell < -1 || args->start_cell > (int) CPUMAP_BITS) {
                return error_set(err, VIR_ERR_INVALID_ARG, "too many or no cells and page sizes");
        }
        ret->values.values_val = g_new0(u_quad_t, total);
        for (guint i = 0; i < args->cell_count; i++)
                for (u_int page = 0; page < args->pages.pages_len; page++) {
                        guint64 count;
                        if (!node_get_free_pages(args->start_cell + (int) i, args->pages.pages_val[page], &count, err))
                                return FALSE;
                        ret->values.values_val[ret->values.values_len++] = count;
                }
        return TRUE;
}
