/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers of /proc and /sys. They look at every call: CPUs and memory come and go. A host
 * without NUMA in its kernel counts as one cell, 0.
 */
#include "rpc/node.h"

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
        error_set(err, VIR_ERR_SYSTEM_ERROR, "%s", failure->message);
        return NULL;
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

/* Frequency of the first CPU in /proc/cpuinfo; 0: not told. */
static int read_mhz(void) {
        g_autofree char *text = read_text(NULL, "/proc/cpuinfo");
        const char *line = text ? strstr(text, "cpu MHz") : NULL;
        line = line ? strchr(line, ':') : NULL;
        return line ? (int) g_ascii_strtod(line + 1, NULL) : 0;
}

/* Value of a topology file of a CPU, as a string that is the same for CPUs that share the thing. */
static char *read_topology(unsigned cpu, const char *name) {
        return read_text(NULL, CPU_DIR "/cpu%u/topology/%s", cpu, name);
}

/* How many sockets there are, and how many cores the largest of them has; both at least 1. */
static void count_topology(const CpuMap *online, guint *ret_sockets, guint *ret_cores) {
        g_autoptr(GHashTable) sockets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autoptr(GHashTable) cores = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        guint most = 1;
        for (int cpu = 0; cpu <= cpumap_last(online); cpu++) {
                if (!cpumap_get(online, (unsigned) cpu))
                        continue;
                g_autofree char *socket = read_topology((unsigned) cpu, "physical_package_id");
                g_autofree char *core = read_topology((unsigned) cpu, "core_id");
                g_autofree char *key = g_strdup_printf("%s:%s", socket ? socket : "0", core ? core : "0");
                if (!g_hash_table_add(cores, g_steal_pointer(&key)))
                        continue;
                char *name = g_strdup(socket ? socket : "0");
                guint n = GPOINTER_TO_UINT(g_hash_table_lookup(sockets, name)) + 1;
                (void) g_hash_table_replace(sockets, name, GUINT_TO_POINTER(n));
                most = MAX(most, n);
        }
        *ret_sockets = MAX(g_hash_table_size(sockets), 1);
        *ret_cores = most;
}

/* Clients multiply nodes, sockets, cores and threads; what does not come out even is told as one socket of CPUs. */
gboolean node_get_info(rpc_node_info_ret *ret, GError **err) {
        CpuMap present, online, cells;
        NodeMemory memory;
        struct utsname host;
        guint sockets, cores;
        if (!node_get_cpus(&present, &online, err) || !node_get_cells(&cells, err) ||
            !node_get_memory(-1, &memory, err) || uname(&host) < 0)
                return FALSE;
        count_topology(&online, &sockets, &cores);
        guint cpus = cpumap_count(&online), nodes = MAX(cpumap_count(&cells), 1);
        guint threads = MAX(cpus / (sockets * cores), 1);
        guint per_node = sockets % nodes == 0 ? sockets / nodes : 0;
        if (per_node == 0 || nodes * per_node * cores * threads != cpus) {
                nodes = per_node = threads = 1;
                cores = cpus;
        }
        *ret = (rpc_node_info_ret) {
                .memory = memory.total, .cpus = (int) cpus, .mhz = read_mhz(), .nodes = (int) nodes,
                .sockets = (int) per_node, .cores = (int) cores, .threads = (int) threads,
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
                error_set(err, VIR_ERR_INVALID_ARG, "Invalid cpuNum in virNodeGetCPUStats: %d", cpu);
                return FALSE;
        }
        guint64 tick = 1000000000u / (guint64) MAX(sysconf(_SC_CLK_TCK), 1);
        *ret = (NodeCpuTimes) { (t[2] + t[5] + t[6]) * tick, (t[0] + t[1]) * tick, t[3] * tick, t[4] * tick };
        return TRUE;
}

/* --- Memory --- */

/* The number after "NAME:" at the start of a line, or after "Node N NAME:". */
static guint64 meminfo_get(const char *text, const char *name) {
        for (const char *found = strstr(text, name); found; found = strstr(found + 1, name)) {
                const char *end = found + strlen(name);
                if (*end == ':' && (found == text || found[-1] == '\n' || found[-1] == ' '))
                        return g_ascii_strtoull(end + 1, NULL, 10);
        }
        return 0;
}

static gboolean check_cell(int cell, GError **err) {
        CpuMap cells;
        if (!node_get_cells(&cells, err))
                return FALSE;
        if (cell >= 0 && (guint) cell < CPUMAP_BITS && cpumap_get(&cells, (unsigned) cell))
                return TRUE;
        error_set(err, VIR_ERR_INVALID_ARG, "host has no NUMA cell %d", cell);
        return FALSE;
}

gboolean node_get_memory(int cell, NodeMemory *ret, GError **err) {
        if (cell != -1 && !check_cell(cell, err))
                return FALSE;
        g_autofree char *text = NULL;
        if (cell >= 0)
                text = read_text(NULL, NODE_DIR "/node%d/meminfo", cell);
        if (!text)
                text = read_text(err, "/proc/meminfo");
        if (!text)
                return FALSE;
        ret->total = meminfo_get(text, "MemTotal");
        ret->free = meminfo_get(text, "MemFree");
        ret->buffers = meminfo_get(text, "Buffers");
        ret->cached = meminfo_get(text, cell >= 0 ? "FilePages" : "Cached");
        return TRUE;
}

gboolean node_get_free_pages(int cell, guint kib, guint64 *ret, GError **err) {
        NodeMemory memory;
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
        error_set(err, VIR_ERR_INVALID_ARG, "page size %u is not available", kib);
        return FALSE;
}
