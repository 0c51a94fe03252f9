/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers of /proc and /sys. They read afresh at every call: CPUs and memory come and go.
 * A host without NUMA in its kernel counts as one cell, 0. The topology is
 * conf/host_info.c's, so that `virsh nodeinfo` and <capabilities> say the same.
 */
#include "rpc/node.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "util/error.h"

#define CPU_DIR  "/sys/devices/system/cpu"
#define NODE_DIR "/sys/devices/system/node"

static char *read_text(GError **err, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Without the newline at the end. */
static char *read_text(GError **err, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *path = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_autoptr(GError) failure = NULL;
        char *text = NULL;
        if (g_file_get_contents(path, &text, NULL, &failure))
                return g_strchomp(text);
        return error_null(err, VIR_ERR_SYSTEM_ERROR, "%s", failure->message);
}

static gboolean read_map(const char *path, CpuMap *ret, GError **err) {
        g_autofree char *text = read_text(err, "%s", path);
        return text && cpumap_parse(text, ret, err);
}

gboolean node_get_cpus(CpuMap *ret_present, CpuMap *ret_online, GError **err) {
        return read_map(CPU_DIR "/present", ret_present, err) && read_map(CPU_DIR "/online", ret_online, err);
}

gboolean node_get_cells(CpuMap *ret, GError **err) {
        if (g_file_test(NODE_DIR "/online", G_FILE_TEST_EXISTS))
                return read_map(NODE_DIR "/online", ret, err);
        memset(ret, 0, sizeof(*ret));
        cpumap_set(ret, 0);
        return TRUE;
}

/* --- CPUs --- */

/* Frequency of the first CPU in /proc/cpuinfo; 0: unknown. */
static int read_mhz(void) {
        g_autofree char *text = read_text(NULL, "/proc/cpuinfo");
        const char *line = text ? strstr(text, "cpu MHz") : NULL;
        line = line ? strchr(line, ':') : NULL;
        return line ? (int) g_ascii_strtod(line + 1, NULL) : 0;
}

/* Clients multiply nodes, sockets, cores and threads; a topology that does not multiply up is reported as one socket of
 * CPUs. */
gboolean node_get_info(rpc_node_info_ret *ret, GError **err) {
        g_autoptr(HostInfo) info = host_info_read("/");
        HostMemory memory;
        struct utsname host;
        if (!node_get_memory(-1, &memory, err))
                return FALSE;
        if (uname(&host) < 0) {
                return error_set_errno(err, errno, "cannot ask the kernel for its name");
        }
        guint cpus = info->cpus->len, nodes = info->cells->len, sockets = info->sockets, threads = info->threads;
        guint cores = info->dies * info->cores; /* of a socket */
        if (nodes * sockets * cores * threads != cpus) {
                nodes = sockets = threads = 1;
                cores = cpus;
        }
        *ret = (rpc_node_info_ret) {
                .memory = memory.total,
                .cpus = (int) cpus,
                .mhz = read_mhz(),
                .nodes = (int) nodes,
                .sockets = (int) sockets,
                .cores = (int) cores,
                .threads = (int) threads,
        };
        g_strlcpy(ret->model, host.machine, sizeof(ret->model));
        return TRUE;
}

gboolean node_get_cpu_times(int cpu, NodeCpuTimes *ret, GError **err) {
        g_autofree char *text = read_text(err, "/proc/stat");
        if (!text)
                return FALSE;
        g_autofree char *name = cpu < 0 ? g_strdup("\ncpu ") : g_strdup_printf("\ncpu%d ", cpu);
        g_autofree char *lines = g_strconcat("\n", text, NULL);
        const char *line = strstr(lines, name);
        guint64 t[7] = { 0 }; /* user nice system idle iowait irq softirq */
        if (!line || sscanf(line + strlen(name),
                            "%" G_GUINT64_FORMAT "%" G_GUINT64_FORMAT "%" G_GUINT64_FORMAT "%" G_GUINT64_FORMAT
                            "%" G_GUINT64_FORMAT "%" G_GUINT64_FORMAT "%" G_GUINT64_FORMAT,
                            &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6]) < 4) {
                return error_set(err, VIR_ERR_INVALID_ARG, "Invalid cpuNum in virNodeGetCPUStats: %d", cpu);
        }
        guint64 tick = 1000000000u / (guint64) MAX(sysconf(_SC_CLK_TCK), 1);
        *ret = (NodeCpuTimes) { (t[2] + t[5] + t[6]) * tick, (t[0] + t[1]) * tick, t[3] * tick, t[4] * tick };
        return TRUE;
}

/* --- Memory --- */

static gboolean check_cell(int cell, GError **err) {
        CpuMap cells;
        if (!node_get_cells(&cells, err))
                return FALSE;
        if (cell >= 0 && (guint) cell < CPUMAP_BITS && cpumap_get(&cells, (unsigned) cell))
                return TRUE;
        return error_set(err, VIR_ERR_INVALID_ARG, "host has no NUMA cell %d", cell);
}

gboolean node_get_memory(int cell, HostMemory *ret, GError **err) {
        if (cell != -1 && !check_cell(cell, err))
                return FALSE;
        if (host_memory_read("/", cell, ret) || host_memory_read("/", -1, ret))
                return TRUE;
        return error_set(err, VIR_ERR_SYSTEM_ERROR, "cannot read /proc/meminfo");
}

gboolean node_get_free_pages(int cell, guint kib, guint64 *ret, GError **err) {
        HostMemory memory;
        if (!node_get_memory(cell, &memory, err))
                return FALSE;
        guint page = (guint) (sysconf(_SC_PAGESIZE) / 1024);
        if (kib == page) {
                *ret = memory.free / page;
                return TRUE;
        }
        g_autofree char *text = NULL;
        if (cell >= 0)
                text = read_text(NULL, NODE_DIR "/node%d/hugepages/hugepages-%ukB/free_hugepages", cell, kib);
        if (!text)
                text = read_text(NULL, "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", kib);
        if (text) {
                *ret = g_ascii_strtoull(text, NULL, 10);
                return TRUE;
        }
        return error_set(err, VIR_ERR_INVALID_ARG, "page size %u is not available", kib);
}
