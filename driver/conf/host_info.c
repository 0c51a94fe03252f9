/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: CPUs come from /sys/devices/system/cpu, NUMA cells with their
 * memory and pages from /sys/devices/system/node, the rest of the CPU's identity from
 * /proc/cpuinfo, the host's UUID from its firmware (or machine-id, where the firmware
 * has none). A kernel without NUMA gets one cell with everything in it.
 */
#include "conf/host_info.h"

#include <string.h>

#include "conf/domain_def.h"

#define CELLS_MAX 1024
#define TOPOLOGY  "sys/devices/system/cpu/cpu%u/topology/"

const guint64 host_page_kib[HOST_PAGE_SIZES] = { 4, 2048, 1048576 };

/* A small file's text without the newline; NULL when it cannot be read. */
static char *read_text(const char *root, const char *format, ...) G_GNUC_PRINTF(2, 3);
static char *read_text(const char *root, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *name = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_autofree char *path = g_build_filename(root, name, NULL);
        char *text = NULL;
        return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

static unsigned to_number(char *text) {
        unsigned value = text ? (unsigned) g_ascii_strtoull(text, NULL, 10) : 0;
        g_free(text);
        return value;
}

static gboolean to_cpumap(char *text, CpuMap *ret) {
        gboolean ok = text && cpumap_parse(text, ret, NULL);
        g_free(text);
        return ok;
}

/* The number behind "name:" in cpuinfo. */
static guint64 field_number(const char *text, const char *name) {
        const char *p = text ? strstr(text, name) : NULL;
        p = p ? strchr(p, ':') : NULL;
        if (!p)
                return 0;
        p += 1 + strspn(p + 1, " \t");
        return g_ascii_strtoull(p, NULL, g_str_has_prefix(p, "0x") ? 16 : 10);
}

/* The number after "NAME:" at the start of a line, or after "Node N NAME:". */
static guint64 meminfo_number(const char *text, const char *name) {
        for (const char *found = strstr(text, name); found; found = strstr(found + 1, name)) {
                const char *end = found + strlen(name);
                if (*end == ':' && (found == text || found[-1] == '\n' || found[-1] == ' '))
                        return g_ascii_strtoull(end + 1, NULL, 10);
        }
        return 0;
}

/* A cell's page cache has a different name than the host's. */
gboolean host_memory_read(const char *root, int cell, HostMemory *ret) {
        g_autofree char *text = cell < 0 ? read_text(root, "proc/meminfo")
                                         : read_text(root, "sys/devices/system/node/node%d/meminfo", cell);
        if (!text)
                return FALSE;
        *ret = (HostMemory) {
                .total = meminfo_number(text, "MemTotal"),
                .free = meminfo_number(text, "MemFree"),
                .buffers = meminfo_number(text, "Buffers"),
                .cached = meminfo_number(text, cell < 0 ? "Cached" : "FilePages"),
        };
        return TRUE;
}

static gboolean uuid_is_usable(const guint8 uuid[16]) {
        for (unsigned i = 1; i < 16; i++)
                if (uuid[i] != uuid[0])
                        return TRUE;
        return FALSE;
}

static void read_uuid(HostInfo *info, const char *root) {
        static const char *const files[] = { "sys/class/dmi/id/product_uuid", "etc/machine-id" };
        for (gsize i = 0; i < G_N_ELEMENTS(files) && !info->has_uuid; i++) {
                g_autofree char *text = read_text(root, "%s", files[i]);
                info->has_uuid = text && domain_uuid_parse(text, info->uuid) && uuid_is_usable(info->uuid);
        }
}

static void read_identity(HostInfo *info, const char *root) {
        g_autofree char *text = read_text(root, "proc/cpuinfo");
        if (!text)
                return;
        if (strstr(text, "AuthenticAMD") != NULL)
                info->vendor = "AMD";
        else if (strstr(text, "GenuineIntel") != NULL)
                info->vendor = "Intel";
        info->family = (unsigned) field_number(text, "cpu family");
        info->model = (unsigned) field_number(text, "\nmodel\t");
        info->stepping = (unsigned) field_number(text, "stepping");
        info->microcode = field_number(text, "microcode");
}

static void read_cpu(HostInfo *info, const char *root, unsigned id) {
        HostCpu cpu = { .id = id };
        cpu.socket = to_number(read_text(root, TOPOLOGY "physical_package_id", id));
        cpu.die = to_number(read_text(root, TOPOLOGY "die_id", id));
        cpu.core = to_number(read_text(root, TOPOLOGY "core_id", id));
        if (!to_cpumap(read_text(root, TOPOLOGY "thread_siblings_list", id), &cpu.siblings))
                cpumap_set(&cpu.siblings, id);
        g_array_append_val(info->cpus, cpu);
}

static void read_cpus(HostInfo *info, const char *root) {
        CpuMap online = { 0 };
        if (!to_cpumap(read_text(root, "sys/devices/system/cpu/online"), &online))
                cpumap_fill(&online, 1);
        for (int id = 0; id <= cpumap_last(&online); id++)
                if (cpumap_get(&online, (unsigned) id))
                        read_cpu(info, root, (unsigned) id);
}

static void read_distances(HostCell *cell, const char *root) {
        g_autofree char *text = read_text(root, "sys/devices/system/node/node%u/distance", cell->id);
        g_auto(GStrv) parts = g_strsplit_set(text ? text : "", " \t", -1);
        for (guint i = 0; parts[i]; i++) {
                unsigned distance = (unsigned) g_ascii_strtoull(parts[i], NULL, 10);
                if (*parts[i] != '\0')
                        g_array_append_val(cell->distances, distance);
        }
}

/* Small pages are those that reserved huge pages leave. */
static void read_pages(HostCell *cell, const char *root) {
        guint64 rest = cell->memory_kib;
        for (unsigned i = 1; i < HOST_PAGE_SIZES; i++) {
                char *text = read_text(
                        root, "sys/devices/system/node/node%u/hugepages/hugepages-%" G_GUINT64_FORMAT "kB/nr_hugepages",
                        cell->id, host_page_kib[i]);
                cell->pages[i] = to_number(text);
                rest -= MIN(rest, cell->pages[i] * host_page_kib[i]);
        }
        cell->pages[0] = rest / host_page_kib[0];
}

static HostCell *cell_new(unsigned id) {
        HostCell *cell = g_new0(HostCell, 1);
        cell->id = id;
        cell->distances = g_array_new(FALSE, FALSE, sizeof(unsigned));
        return cell;
}

static void cell_free(gpointer data) {
        HostCell *cell = data;
        g_array_unref(cell->distances);
        g_free(cell);
}

static void read_cell(HostInfo *info, const char *root, unsigned id) {
        HostCell *cell = cell_new(id);
        HostMemory memory = { 0 };
        (void) host_memory_read(root, (int) id, &memory);
        cell->memory_kib = memory.total;
        (void) to_cpumap(read_text(root, "sys/devices/system/node/node%u/cpulist", id), &cell->cpus);
        read_pages(cell, root);
        read_distances(cell, root);
        g_ptr_array_add(info->cells, cell);
}

static void make_only_cell(HostInfo *info, const char *root) {
        HostCell *cell = cell_new(0);
        HostMemory memory = { 0 };
        (void) host_memory_read(root, -1, &memory);
        cell->memory_kib = memory.total;
        for (guint i = 0; i < info->cpus->len; i++)
                cpumap_set(&cell->cpus, g_array_index(info->cpus, HostCpu, i).id);
        cell->pages[0] = cell->memory_kib / host_page_kib[0];
        g_ptr_array_add(info->cells, cell);
}

static void read_cells(HostInfo *info, const char *root) {
        CpuMap nodes = { 0 };
        if (to_cpumap(read_text(root, "sys/devices/system/node/online"), &nodes))
                for (int id = 0; id <= cpumap_last(&nodes) && id < CELLS_MAX; id++)
                        if (cpumap_get(&nodes, (unsigned) id))
                                read_cell(info, root, (unsigned) id);
        if (info->cells->len == 0)
                make_only_cell(info, root);
}

/* How many different values a number takes among the CPUs of a map. */
static unsigned count_values(const HostInfo *info, const CpuMap *among, gsize offset) {
        g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
        for (guint i = 0; i < info->cpus->len; i++) {
                const HostCpu *cpu = &g_array_index(info->cpus, HostCpu, i);
                const unsigned *value = (const unsigned *) (const void *) ((const char *) cpu + offset);
                if (cpumap_get(among, cpu->id))
                        g_hash_table_add(seen, GUINT_TO_POINTER(*value));
        }
        return MAX(1, g_hash_table_size(seen));
}

/* Counted in the first cell; where the product is not its number of CPUs, cores make up the difference. */
static void count_topology(HostInfo *info) {
        const HostCell *cell = g_ptr_array_index(info->cells, 0);
        unsigned cpus = MAX(1, cpumap_count(&cell->cpus)), threads = 1;
        for (guint i = 0; i < info->cpus->len; i++)
                threads = MAX(threads, cpumap_count(&g_array_index(info->cpus, HostCpu, i).siblings));
        info->sockets = count_values(info, &cell->cpus, offsetof(HostCpu, socket));
        info->dies = count_values(info, &cell->cpus, offsetof(HostCpu, die));
        info->threads = threads;
        info->cores = MAX(1, cpus / (info->sockets * info->dies * threads));
}

HostInfo *host_info_read(const char *root) {
        HostInfo *info = g_new0(HostInfo, 1);
        info->cpus = g_array_new(FALSE, FALSE, sizeof(HostCpu));
        info->cells = g_ptr_array_new_with_free_func(cell_free);
        g_autofree char *groups = g_build_filename(root, "sys/kernel/iommu_groups/0", NULL);
        info->iommu = g_file_test(groups, G_FILE_TEST_IS_DIR);
        read_uuid(info, root);
        read_identity(info, root);
        read_cpus(info, root);
        read_cells(info, root);
        count_topology(info);
        return info;
}

void host_info_free(HostInfo *info) {
        if (!info)
                return;
        g_array_unref(info->cpus);
        g_ptr_array_unref(info->cells);
        g_free(info);
}
