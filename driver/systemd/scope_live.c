/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel enforces of a scope's limits, read from its control group (cgroup v2, Documentation/admin-guide/
 * cgroup-v2.rst). systemd silently skips what the kernel lacks or refuses, and operators may change a scope with
 * `systemctl set-property`. So this file answers three questions:
 *
 *   scope_check_host    has the host what the definition names? Before a start.
 *   limits_check_…     does the group enforce what the definition asks for? After each change of ours.
 *   scope_read_…       what does it enforce? For clients that look at a running domain.
 *
 * The third updates a copy of the definition, only where the group differs: several definitions give the same group
 * (a quota for each vCPU, or one for all), and the one that was asked for should be shown.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "systemd/scope_internal.h"
#include "util/error.h"

#define KIB_MAX           (G_MAXINT64 / 1024) /* of a limit that the kernel can hold */
#define IO_WEIGHT_DEFAULT 100u                /* the kernel's */

static char *read_text(const char *group, const char *name) {
        g_autofree char *path = g_build_filename(group, name, NULL);
        char *text = NULL;
        return g_file_get_contents(path, &text, NULL, NULL) ? g_strstrip(text) : NULL;
}

/* A file of one number or "max", which is G_MAXUINT64. FALSE when it is not there. */
static gboolean read_number(const char *group, const char *name, guint64 *ret) {
        g_autofree char *text = read_text(group, name);
        if (!text)
                return FALSE;
        *ret = g_str_equal(text, "max") ? G_MAXUINT64 : g_ascii_strtoull(text, NULL, 10);
        return TRUE;
}

static gboolean not_in_force(GError **err, const char *group, const char *file, const char *what) {
        g_autofree char *text = read_text(group, file);
        if (text)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s is not in force on this host: %s of the scope is '%s'",
                          what, file, text);
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "%s cannot be in force: this host's kernel has no %s (a control group controller is missing)",
                          what, file);
        return FALSE;
}

/* --- The host --------------------------------------------------------------------------------- */

/* What a sysfs list names; just the first when there is no such list. */
static void read_online(const char *path, CpuMap *ret) {
        g_autofree char *text = NULL;
        if (g_file_get_contents(path, &text, NULL, NULL) && cpumap_parse(g_strstrip(text), ret, NULL))
                return;
        *ret = (CpuMap) {};
        cpumap_set(ret, 0);
}

static gboolean check_online(const CpuMap *wanted, const CpuMap *online, const char *what, GError **err) {
        if (!wanted || cpumap_is_subset(wanted, online))
                return TRUE;
        g_autofree char *text = cpumap_format(wanted), *have = cpumap_format(online);
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s '%s' are not all online: this host has '%s'", what, text,
                         have);
}

static gboolean check_host_cpus(const DomainDef *def, GError **err) {
        CpuMap cpus, nodes;
        read_online("/sys/devices/system/cpu/online", &cpus);
        read_online("/sys/devices/system/node/online", &nodes);
        for (unsigned i = 0; i < def->vcpus; i++) {
                g_autofree char *what = g_strdup_printf("the CPUs of vcpu %u,", i);
                if (!check_online(domain_def_vcpu_cpus(def, i), &cpus, what, err))
                        return FALSE;
        }
        return check_online(domain_def_emulator_cpus(def), &cpus, "the CPUs of the emulator,", err) &&
               check_online(limits_allowed_nodes(def), &nodes, "the nodes of <numatune>,", err);
}

static gboolean check_device(const char *path, GError **err) {
        struct stat st;
        if (stat(path, &st) < 0)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "<blkiotune> names '%s': %s", path, g_strerror(errno));
        else if (!S_ISBLK(st.st_mode))
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "<blkiotune> names '%s', which is no block device", path);
        else
                return TRUE;
        return FALSE;
}

/* A device whose limits were all removed is still in the definition. */
static gboolean is_limited(const DomainBlkioDevice *d) {
        return d->weight || d->read_bytes_sec || d->write_bytes_sec || d->read_iops_sec || d->write_iops_sec;
}

static gboolean check_host_devices(const DomainDef *def, GError **err) {
        for (guint i = 0; i < def->blkiotune.devices->len; i++) {
                const DomainBlkioDevice *device = g_ptr_array_index(def->blkiotune.devices, i);
                if (is_limited(device) && !check_device(device->path, err))
                        return FALSE;
        }
        return TRUE;
}

gboolean scope_check_host(const DomainDef *def, GError **err) {
        return check_host_cpus(def, err) && check_host_devices(def, err);
}

/* --- CPU ------------------------------------------------------------------------------------ */

/* What cpu.max says; a quota of 0 is none. FALSE when it is not there. */
static gboolean read_cpu_max(const char *group, guint64 *ret_quota_us, guint64 *ret_period_us) {
        g_autofree char *text = read_text(group, "cpu.max");
        g_auto(GStrv) words = text ? g_strsplit(text, " ", 2) : NULL;
        if (!words || !words[0] || !words[1])
                return FALSE;
        *ret_quota_us = g_str_equal(words[0], "max") ? 0 : g_ascii_strtoull(words[0], NULL, 10);
        *ret_period_us = g_ascii_strtoull(words[1], NULL, 10);
        return *ret_period_us > 0;
}

/* systemd rounds, and lengthens a period whose quota would be below the kernel's minimum (1 ms). */
static gboolean quota_in_force(const char *group, const DomainDef *def) {
        guint64 wanted, wanted_period, quota = 0, period = 0;
        limits_cpu_quota(def, &wanted, &wanted_period);
        if (!read_cpu_max(group, &quota, &period))
                return wanted == 0;
        if (wanted == 0 || quota == 0)
                return wanted == 0 && quota == 0;
        gdouble ratio = (gdouble) quota / (gdouble) period * G_USEC_PER_SEC / (gdouble) wanted;
        return quota == 1000 || (ratio > 0.99 && ratio < 1.01);
}

static gboolean weight_in_force(const char *group, const DomainDef *def) {
        guint64 weight = 0;
        return !read_number(group, "cpu.weight", &weight) ? def->cputune.shares == 0 : weight == limits_cpu_weight(def);
}

/* The group's own CPUs or nodes; systemd narrows them, an outer group may do so further. */
static gboolean set_in_force(const char *group, const char *file, const CpuMap *wanted) {
        g_autofree char *text = read_text(group, file);
        CpuMap map;
        if (!wanted)
                return TRUE;
        return text && cpumap_parse(text, &map, NULL) && memcmp(&map, wanted, sizeof(map)) == 0;
}

gboolean limits_check_cputune(const char *group, const DomainDef *def, GError **err) {
        CpuMap cpus;
        if (!check_host_cpus(def, err))
                return FALSE;
        if (!weight_in_force(group, def))
                return not_in_force(err, group, "cpu.weight", "<cputune><shares>");
        if (!quota_in_force(group, def))
                return not_in_force(err, group, "cpu.max", "the CPU quota");
        if (!set_in_force(group, "cpuset.cpus.effective", limits_allowed_cpus(def, &cpus) ? &cpus : NULL))
                return not_in_force(err, group, "cpuset.cpus.effective", "the choice of CPUs");
        if (!set_in_force(group, "cpuset.mems.effective", limits_allowed_nodes(def)))
                return not_in_force(err, group, "cpuset.mems.effective", "<numatune>");
        return TRUE;
}

void scope_read_cpus(const char *group, CpuMap *ret) {
        g_autofree char *text = read_text(group, "cpuset.cpus.effective");
        if (!text || !cpumap_parse(text, ret, NULL))
                read_online("/sys/devices/system/cpu/online", ret);
}

void scope_read_cputune(const char *group, DomainDef *def) {
        DomainCpuTune *tune = &def->cputune;
        guint64 weight, quota, period;
        if (!weight_in_force(group, def) && read_number(group, "cpu.weight", &weight))
                tune->shares = weight;
        if (quota_in_force(group, def) || !read_cpu_max(group, &quota, &period))
                return;
        tune->quota_us = tune->emulator_quota_us = 0;
        tune->global_quota_us = (gint64) MIN(quota, DOMAIN_QUOTA_MAX);
        tune->global_period_us = period;
}

/* --- Memory --------------------------------------------------------------------------------- */

typedef struct MemoryLimit {
        const char *file, *name;
        gsize offset;    /* in DomainMemTune */
        guint64 nothing; /* what the file says without one */
} MemoryLimit;

static const MemoryLimit memory_limits[] = {
        { "memory.max", "<memtune><hard_limit>", G_STRUCT_OFFSET(DomainMemTune, hard_limit_kib), G_MAXUINT64 },
        { "memory.high", "<memtune><soft_limit>", G_STRUCT_OFFSET(DomainMemTune, soft_limit_kib), G_MAXUINT64 },
        { "memory.swap.max", "<memtune><swap_hard_limit>", G_STRUCT_OFFSET(DomainMemTune, swap_hard_limit_kib),
          G_MAXUINT64 },
        { "memory.min", "<memtune><min_guarantee>", G_STRUCT_OFFSET(DomainMemTune, min_guarantee_kib), 0 },
};

/* The kernel counts in pages, and treats values beyond its range as no limit. */
static guint64 bytes_in_force(const MemoryLimit *limit, guint64 kib) {
        guint64 page = (guint64) sysconf(_SC_PAGESIZE);
        if (kib == 0 || kib >= KIB_MAX)
                return limit->nothing;
        return kib * 1024 / page * page;
}

static gboolean memory_in_force(const char *group, const MemoryLimit *limit, guint64 kib) {
        guint64 bytes, wanted = bytes_in_force(limit, kib);
        return read_number(group, limit->file, &bytes) ? bytes == wanted : wanted == limit->nothing;
}

gboolean limits_check_memtune(const char *group, const DomainDef *def, GError **err) {
        for (gsize i = 0; i < G_N_ELEMENTS(memory_limits); i++) {
                const MemoryLimit *limit = &memory_limits[i];
                if (!memory_in_force(group, limit, *(guint64 *) G_STRUCT_MEMBER_P(&def->memtune, limit->offset)))
                        return not_in_force(err, group, limit->file, limit->name);
        }
        return TRUE;
}

void scope_read_memtune(const char *group, DomainDef *def) {
        for (gsize i = 0; i < G_N_ELEMENTS(memory_limits); i++) {
                const MemoryLimit *limit = &memory_limits[i];
                guint64 *kib = G_STRUCT_MEMBER_P(&def->memtune, limit->offset), bytes;
                if (!memory_in_force(group, limit, *kib) && read_number(group, limit->file, &bytes))
                        *kib = bytes == limit->nothing ? 0 : bytes / 1024;
        }
}

/* --- Block I/O ------------------------------------------------------------------------------ */

typedef struct IoKey {
        const char *key; /* in io.max */
        gsize offset;    /* in DomainBlkioDevice */
        gboolean wide;   /* guint64, else guint */
} IoKey;

static const IoKey io_keys[] = {
        { "rbps=", G_STRUCT_OFFSET(DomainBlkioDevice, read_bytes_sec), TRUE },
        { "wbps=", G_STRUCT_OFFSET(DomainBlkioDevice, write_bytes_sec), TRUE },
        { "riops=", G_STRUCT_OFFSET(DomainBlkioDevice, read_iops_sec), FALSE },
        { "wiops=", G_STRUCT_OFFSET(DomainBlkioDevice, write_iops_sec), FALSE },
};

static guint64 io_get(const DomainBlkioDevice *device, const IoKey *key) {
        gconstpointer p = G_STRUCT_MEMBER_P(device, key->offset);
        return key->wide ? *(const guint64 *) p : *(const guint *) p;
}

static void io_put(DomainBlkioDevice *device, const IoKey *key, guint64 value) {
        gpointer p = G_STRUCT_MEMBER_P(device, key->offset);
        if (key->wide)
                *(guint64 *) p = value;
        else
                *(guint *) p = (guint) MIN(value, G_MAXUINT);
}

/* From a device's number to that of the one behind it: a disk behind a partition, the only device behind a mapper's. */
static gboolean step_down(char **number) {
        g_autofree char *partition = g_strdup_printf("/sys/dev/block/%s/partition", *number);
        g_autofree char *slaves = g_strdup_printf("/sys/dev/block/%s/slaves", *number);
        g_autofree char *below = NULL;
        g_autoptr(GDir) dir = g_dir_open(slaves, 0, NULL);
        const char *first = dir ? g_dir_read_name(dir) : NULL;
        char *text = NULL;
        if (g_file_test(partition, G_FILE_TEST_EXISTS))
                below = g_strdup_printf("/sys/dev/block/%s/../dev", *number);
        else if (first && !g_dir_read_name(dir))
                below = g_strdup_printf("%s/%s/dev", slaves, first);
        if (!below || !g_file_get_contents(below, &text, NULL, NULL))
                return FALSE;
        g_free(*number);
        *number = g_strstrip(text);
        return TRUE;
}

/* The device that systemd limits for a path, as the kernel's files name it; NULL unless the path is a block device. */
static char *device_number(const char *path) {
        struct stat st;
        if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
                return NULL;
        char *number = g_strdup_printf("%u:%u", major(st.st_rdev), minor(st.st_rdev));
        for (guint depth = 0; depth < 16 && step_down(&number); depth++)
                ;
        return number;
}

/* The words of a device's line in a nested keyed file, its number first; NULL when there is none. */
static char **find_device(const char *text, const char *number) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
                char **words = g_strsplit(*line, " ", -1);
                if (words[0] && g_str_equal(words[0], number))
                        return words;
                g_strfreev(words);
        }
        return NULL;
}

/* A value in a device's line; 0 for "max" and for what is not there. */
static guint64 io_value(char **words, const char *key) {
        for (; words && *words; words++)
                if (g_str_has_prefix(*words, key))
                        return g_ascii_strtoull(*words + strlen(key), NULL, 10);
        return 0;
}

/* Two paths may name one device: then the last one counts and others have no effect. */
static gboolean device_in_force(const char *io_max, const DomainBlkioDevice *device) {
        g_autofree char *number = device_number(device->path);
        g_auto(GStrv) words = number && io_max ? find_device(io_max, number) : NULL;
        for (gsize i = 0; i < G_N_ELEMENTS(io_keys); i++)
                if (io_get(device, &io_keys[i]) != io_value(words, io_keys[i].key))
                        return FALSE;
        return TRUE;
}

/* The group's own weight, "default N"; 0 when there is none. */
static guint64 read_io_weight(const char *group) {
        g_autofree char *text = read_text(group, "io.weight");
        g_auto(GStrv) words = text ? find_device(text, "default") : NULL;
        return words && words[1] ? g_ascii_strtoull(words[1], NULL, 10) : 0;
}

static gboolean has_weights(const char *group) {
        g_autofree char *cost = read_text(group, "io.weight"), *bfq = read_text(group, "io.bfq.weight");
        return cost || bfq;
}

/* Weights are checked against io.weight where there is one; the BFQ scheduler's are systemd's to convert. */
static gboolean io_weight_in_force(const char *group, const DomainBlkioTune *tune) {
        guint64 weight = read_io_weight(group);
        gboolean wanted = tune->weight > 0;
        for (guint i = 0; i < tune->devices->len; i++)
                wanted |= ((DomainBlkioDevice *) g_ptr_array_index(tune->devices, i))->weight > 0;
        if (!wanted)
                return TRUE;
        return has_weights(group) && (weight == 0 || tune->weight == 0 || weight == tune->weight);
}

gboolean limits_check_blkiotune(const char *group, const DomainDef *def, GError **err) {
        g_autofree char *io_max = read_text(group, "io.max");
        if (!check_host_devices(def, err))
                return FALSE;
        for (guint i = 0; i < def->blkiotune.devices->len; i++) {
                const DomainBlkioDevice *device = g_ptr_array_index(def->blkiotune.devices, i);
                g_autofree char *what = g_strdup_printf("<blkiotune> of '%s'", device->path);
                if (is_limited(device) && !device_in_force(io_max, device))
                        return not_in_force(err, group, "io.max", what);
        }
        if (io_weight_in_force(group, &def->blkiotune))
                return TRUE;
        return not_in_force(err, group, "io.weight", "a weight in <blkiotune>");
}

static DomainBlkioDevice *device_of(DomainDef *def, const char *number) {
        for (guint i = 0; i < def->blkiotune.devices->len; i++) {
                DomainBlkioDevice *device = g_ptr_array_index(def->blkiotune.devices, i);
                g_autofree char *own = device_number(device->path);
                if (g_strcmp0(own, number) == 0)
                        return device;
        }
        g_autofree char *link = g_strdup_printf("/sys/dev/block/%s", number), *target = g_file_read_link(link, NULL);
        if (!target || def->blkiotune.devices->len >= DOMAIN_BLKIO_MAX)
                return NULL;
        g_autofree char *name = g_path_get_basename(target);
        DomainBlkioDevice *device = g_new0(DomainBlkioDevice, 1);
        device->path = g_strdup_printf("/dev/%s", name);
        g_ptr_array_add(def->blkiotune.devices, device);
        return device;
}

void scope_read_blkiotune(const char *group, DomainDef *def) {
        g_autofree char *io_max = read_text(group, "io.max");
        guint64 weight = read_io_weight(group);
        /* The kernel's default weight, which a definition without a weight does not show. */
        if (weight > 0 && (def->blkiotune.weight > 0 || weight != IO_WEIGHT_DEFAULT))
                def->blkiotune.weight = (guint) weight;
        if (!io_max)
                return;
        for (guint i = 0; i < def->blkiotune.devices->len; i++)
                for (gsize k = 0; k < G_N_ELEMENTS(io_keys); k++)
                        io_put(g_ptr_array_index(def->blkiotune.devices, i), &io_keys[k], 0);
        g_auto(GStrv) lines = g_strsplit(io_max, "\n", -1);
        for (char **line = lines; *line; line++) {
                g_auto(GStrv) words = g_strsplit(*line, " ", -1);
                DomainBlkioDevice *device = words[0] && words[1] ? device_of(def, words[0]) : NULL;
                for (gsize k = 0; device && k < G_N_ELEMENTS(io_keys); k++)
                        io_put(device, &io_keys[k], io_value(words, io_keys[k].key));
        }
}

/* --- All of it -------------------------------------------------------------------------------- */

gboolean limits_check_tasks(const char *group, const DomainDef *def, GError **err) {
        guint64 tasks;
        return (read_number(group, "pids.max", &tasks) && tasks == limits_tasks_max(def)) ||
               not_in_force(err, group, "pids.max", "the limit on threads");
}

gboolean scope_check_limits(const char *group, const DomainDef *def, GError **err) {
        return limits_check_tasks(group, def, err) && limits_check_cputune(group, def, err) &&
               limits_check_memtune(group, def, err) && limits_check_blkiotune(group, def, err);
}
