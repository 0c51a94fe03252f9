/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a definition's tuning becomes properties of a scope (systemd.resource-control(5)).
 *
 * All limits are the scope's; it has no sub-groups. So libvirt's limits per thread are mapped to
 * limits of the whole VM:
 *
 *   shares                  CPUWeight, the number unchanged but within 1..10000. It is always
 *                           set: VMs then compete as equals, not by their numbers of threads
 *   global quota            CPUQuota = quota / period
 *   quota (of each vCPU)    CPUQuota = vCPUs * quota / period, plus the emulator's own
 *                           quota if there is one; used when there is no global quota
 *   cpuset, pins            AllowedCPUs = union of what any thread may use
 *   numatune                AllowedMemoryNodes: strict and restrictive are the same here, others are
 *                           refused before (conf/vmm_config.c)
 *   hard, soft, swap limit  MemoryMax, MemoryHigh, MemorySwapMax
 *   min_guarantee           MemoryMin
 *   blkiotune               IOWeight, IODeviceWeight, IO{Read,Write}{Bandwidth,IOPS}Max
 *
 * systemd takes G_MAXUINT64 for "no limit" and for "default weight", and an empty list
 * for "any CPU"; lists of devices add up, so an empty one goes before a new one.
 */
#include <unistd.h>

#include "systemd/scope_internal.h"

#define CPU_PERIOD_DEFAULT_US 100000u
#define CPU_WEIGHT_MAX        10000u
#define CPU_WEIGHT_DEFAULT    100u

/* Properties of devices: which member of DomainBlkioDevice goes where. */
typedef guint64 (*DeviceValue)(const DomainBlkioDevice *device);

static void add_u64(GVariantBuilder *properties, const char *name, guint64 value) {
        g_variant_builder_add(properties, "(sv)", name, g_variant_new_uint64(value));
}

static void add_limit(GVariantBuilder *properties, const char *name, gboolean set, guint64 value, guint64 unset,
                      gboolean reset) {
        if (set || reset)
                add_u64(properties, name, set ? value : unset);
}

/* --- CPU -------------------------------------------------------------------------------- */

/* CPU time per second of wall clock, in microseconds; 0: no quota. */
static guint64 per_second(gint64 quota_us, guint64 period_us) {
        guint64 period = period_us ? period_us : CPU_PERIOD_DEFAULT_US;
        return quota_us <= 0 ? 0 : MAX(1, (guint64) ((gdouble) quota_us / period * G_USEC_PER_SEC));
}

void limits_cpu_quota(const DomainDef *def, guint64 *ret_per_second, guint64 *ret_period) {
        const DomainCpuTune *tune = &def->cputune;

        *ret_per_second = per_second(tune->global_quota_us, tune->global_period_us);
        *ret_period = tune->global_period_us;
        if (*ret_per_second || tune->quota_us <= 0)
                return;
        *ret_per_second = per_second(tune->quota_us, tune->period_us) * MAX(1, def->vcpus) +
                          per_second(tune->emulator_quota_us, tune->emulator_period_us);
        *ret_period = tune->period_us;
}

/* FALSE when some thread may run anywhere. */
static gboolean merge_cpus(CpuMap *map, const CpuMap *cpus) {
        if (!cpus || cpumap_is_empty(cpus))
                return FALSE;
        for (gsize i = 0; i < sizeof(map->bytes); i++)
                map->bytes[i] |= cpus->bytes[i];
        return TRUE;
}

gboolean limits_allowed_cpus(const DomainDef *def, CpuMap *ret) {
        *ret = (CpuMap) {};
        if (!merge_cpus(ret, domain_def_emulator_cpus(def)))
                return FALSE;
        for (unsigned i = 0; i < def->vcpus; i++)
                if (!merge_cpus(ret, domain_def_vcpu_cpus(def, i)))
                        return FALSE;
        return TRUE;
}

static void add_map(GVariantBuilder *properties, const char *name, const CpuMap *map) {
        gsize n = map ? (gsize) (cpumap_last(map) / 8 + 1) : 0;
        g_variant_builder_add(properties, "(sv)", name,
                              g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, map ? map->bytes : NULL, n, 1));
}

const CpuMap *limits_allowed_nodes(const DomainDef *def) {
        const DomainNumaTune *numa = &def->numatune;
        gboolean bound = numa->present && !cpumap_is_empty(&numa->nodeset) &&
                         (numa->mode == DOMAIN_NUMA_STRICT || numa->mode == DOMAIN_NUMA_RESTRICTIVE);
        return bound ? &numa->nodeset : NULL;
}

guint64 limits_cpu_weight(const DomainDef *def) {
        guint64 shares = def->cputune.shares;
        return shares ? CLAMP(shares, 1, CPU_WEIGHT_MAX) : CPU_WEIGHT_DEFAULT;
}

void limits_add_cputune(GVariantBuilder *properties, const DomainDef *def, gboolean reset) {
        const CpuMap *nodes = limits_allowed_nodes(def);
        guint64 quota, period;
        CpuMap cpus;
        gboolean pinned = limits_allowed_cpus(def, &cpus);

        limits_cpu_quota(def, &quota, &period);
        add_u64(properties, "CPUWeight", limits_cpu_weight(def));
        add_limit(properties, "CPUQuotaPeriodUSec", quota && period, period, G_MAXUINT64, reset);
        add_limit(properties, "CPUQuotaPerSecUSec", quota > 0, quota, G_MAXUINT64, reset);
        if (pinned || reset)
                add_map(properties, "AllowedCPUs", pinned ? &cpus : NULL);
        if (nodes || reset)
                add_map(properties, "AllowedMemoryNodes", nodes);
}

void limits_widen_cpus(GVariantBuilder *properties, const char *group, const DomainDef *def) {
        g_autofree char *path = g_build_filename(group, "cpuset.cpus", NULL), *text = NULL;
        CpuMap cpus;
        if (limits_allowed_cpus(def, &cpus) || !g_file_get_contents(path, &text, NULL, NULL) || !*g_strstrip(text))
                return;
        cpumap_fill(&cpus, (unsigned) MAX(1, sysconf(_SC_NPROCESSORS_CONF)));
        add_map(properties, "AllowedCPUs", &cpus);
}

/* --- Memory ------------------------------------------------------------------------------ */

static void add_kib(GVariantBuilder *properties, const char *name, guint64 kib, guint64 unset, gboolean reset) {
        gboolean set = kib > 0 && kib < DOMAIN_MEMORY_UNLIMITED;
        add_limit(properties, name, set, kib * 1024, unset, reset);
}

void limits_add_memtune(GVariantBuilder *properties, const DomainDef *def, gboolean reset) {
        const DomainMemTune *tune = &def->memtune;

        add_kib(properties, "MemoryMax", tune->hard_limit_kib, G_MAXUINT64, reset);
        add_kib(properties, "MemoryHigh", tune->soft_limit_kib, G_MAXUINT64, reset);
        add_kib(properties, "MemorySwapMax", tune->swap_hard_limit_kib, G_MAXUINT64, reset);
        add_kib(properties, "MemoryMin", tune->min_guarantee_kib, 0, reset);
}

/* --- Block I/O ---------------------------------------------------------------------------- */

static guint64 device_weight(const DomainBlkioDevice *device) {
        return device->weight;
}

static guint64 device_read_bytes(const DomainBlkioDevice *device) {
        return device->read_bytes_sec;
}

static guint64 device_write_bytes(const DomainBlkioDevice *device) {
        return device->write_bytes_sec;
}

static guint64 device_read_iops(const DomainBlkioDevice *device) {
        return device->read_iops_sec;
}

static guint64 device_write_iops(const DomainBlkioDevice *device) {
        return device->write_iops_sec;
}

static void add_devices(GVariantBuilder *properties, const char *name, const GPtrArray *devices, DeviceValue value,
                        gboolean reset) {
        GVariantBuilder list;
        gboolean any = FALSE;

        g_variant_builder_init(&list, G_VARIANT_TYPE("a(st)"));
        for (guint i = 0; devices && i < devices->len; i++) {
                const DomainBlkioDevice *device = g_ptr_array_index(devices, i);
                guint64 v = value(device);

                if (v == 0)
                        continue;
                g_variant_builder_add(&list, "(st)", device->path, v);
                any = TRUE;
        }
        if (reset)
                g_variant_builder_add(properties, "(sv)", name, g_variant_new_array(G_VARIANT_TYPE("(st)"), NULL, 0));
        if (any)
                g_variant_builder_add(properties, "(sv)", name, g_variant_builder_end(&list));
        else
                g_variant_builder_clear(&list);
}

void limits_add_blkiotune(GVariantBuilder *properties, const DomainDef *def, gboolean reset) {
        const DomainBlkioTune *tune = &def->blkiotune;

        add_limit(properties, "IOWeight", tune->weight > 0, tune->weight, G_MAXUINT64, reset);
        add_devices(properties, "IODeviceWeight", tune->devices, device_weight, reset);
        add_devices(properties, "IOReadBandwidthMax", tune->devices, device_read_bytes, reset);
        add_devices(properties, "IOWriteBandwidthMax", tune->devices, device_write_bytes, reset);
        add_devices(properties, "IOReadIOPSMax", tune->devices, device_read_iops, reset);
        add_devices(properties, "IOWriteIOPSMax", tune->devices, device_write_iops, reset);
}

/* --- Tasks ---------------------------------------------------------------------------------- */

/*
 * The monitor has a thread per vCPU, five per disk (its loop and four for its I/O), at most a few per NIC and port,
 * and the kernel counts a vhost worker per NIC. 16 on top are for the main loop and what the kernel may add.
 */
guint64 limits_tasks_max(const DomainDef *def) {
        guint devices = (def->disks ? def->disks->len : 0) + (def->nics ? def->nics->len : 0) +
                        (def->chars ? def->chars->len : 0);
        return 16 + MAX(def->vcpus, def->vcpus_max) + 6 * devices;
}

void limits_add_tasks(GVariantBuilder *properties, const DomainDef *def) {
        add_u64(properties, "TasksMax", limits_tasks_max(def));
}
