/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: tuning is mostly numbers in elements of their own, so each group
 * has a table of element names and members. Ranges are those of the kernel interfaces
 * behind them, worded as libvirt words them.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/domain_names.h"
#include "util/error.h"

typedef struct CputuneNumber {
        const char *name;
        gsize offset;
        gint64 min, max;
        gboolean negative; /* below 0: no limit */
} CputuneNumber;

static const CputuneNumber cputune_numbers[] = {
        { "shares", offsetof(DomainCpuTune, shares), DOMAIN_SHARES_MIN, DOMAIN_SHARES_MAX, FALSE },
        { "period", offsetof(DomainCpuTune, period_us), DOMAIN_PERIOD_MIN, DOMAIN_PERIOD_MAX, FALSE },
        { "quota", offsetof(DomainCpuTune, quota_us), DOMAIN_QUOTA_MIN, DOMAIN_QUOTA_MAX, TRUE },
        { "global_period", offsetof(DomainCpuTune, global_period_us), DOMAIN_PERIOD_MIN, DOMAIN_PERIOD_MAX, FALSE },
        { "global_quota", offsetof(DomainCpuTune, global_quota_us), DOMAIN_QUOTA_MIN, DOMAIN_QUOTA_MAX, TRUE },
        { "emulator_period", offsetof(DomainCpuTune, emulator_period_us), DOMAIN_PERIOD_MIN, DOMAIN_PERIOD_MAX, FALSE },
        { "emulator_quota", offsetof(DomainCpuTune, emulator_quota_us), DOMAIN_QUOTA_MIN, DOMAIN_QUOTA_MAX, TRUE },
};

static gboolean is_in_range(const CputuneNumber *number, gint64 value) {
        return value == 0 || (value < 0 && number->negative) || (value >= number->min && value <= number->max);
}

static gboolean parse_cputune_number(const xmlNode *cputune, const CputuneNumber *number, DomainCpuTune *tune,
                                     guint flags, GError **err) {
        const xmlNode *node = xml_first(cputune, number->name);
        g_autofree char *text = xml_text(node);
        gint64 value = 0;
        if (!node)
                return TRUE;
        if (!text || !xml_parse_i64(text, &value)) {
                return error_set(err, VIR_ERR_XML_ERROR, "can't parse cputune %s value", number->name);
        }
        if (!is_in_range(number, value) && !domain_parse_is_own(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "Value of cputune '%s' must be in range [%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT "]",
                                 number->name, number->min, number->max);
        }
        memcpy((char *) tune + number->offset, &value, sizeof(value));
        return TRUE;
}

static gboolean has_pin(const GArray *pins, unsigned vcpu) {
        for (guint i = 0; i < pins->len; i++)
                if (g_array_index(pins, DomainVcpuPin, i).vcpu == vcpu)
                        return TRUE;
        return FALSE;
}

static int compare_pins(gconstpointer a, gconstpointer b) {
        const DomainVcpuPin *left = a, *right = b;
        return left->vcpu < right->vcpu ? -1 : left->vcpu > right->vcpu;
}

/* Pins of vCPUs beyond the maximum are dropped, as libvirt does. */
static gboolean parse_vcpupin(const xmlNode *node, DomainDef *def, GError **err) {
        DomainVcpuPin pin = { 0 };
        g_autofree char *cpuset = xml_attr(node, "cpuset");
        if (!xmlHasProp(node, (const xmlChar *) "vcpu")) {
                return error_set(err, VIR_ERR_XML_ERROR, "Missing required attribute 'vcpu' in element 'vcpupin'");
        }
        if (!xml_attr_uint(node, "vcpu", G_MAXUINT, &pin.vcpu, err))
                return FALSE;
        if (!cpuset) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "missing cpuset for vcpupin");
        }
        if (has_pin(def->cputune.vcpupin, pin.vcpu)) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "duplicate vcpupin for vcpu '%u'", pin.vcpu);
        }
        if (!domain_parse_cpuset(cpuset, "cpuset", &pin.cpus, err))
                return FALSE;
        if (pin.vcpu < def->vcpus_max)
                g_array_append_val(def->cputune.vcpupin, pin);
        return TRUE;
}

static gboolean parse_emulatorpin(const xmlNode *cputune, DomainCpuTune *tune, GError **err) {
        const xmlNode *node = xml_first(cputune, "emulatorpin");
        g_autofree char *cpuset = xml_attr(node, "cpuset");
        if (!node)
                return TRUE;
        if (xml_next(node, "emulatorpin") != NULL) {
                return error_set(err, VIR_ERR_XML_ERROR, "only one emulatorpin is supported");
        }
        if (!cpuset) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "missing cpuset for emulatorpin");
        }
        tune->has_emulatorpin = TRUE;
        return domain_parse_cpuset(cpuset, "cpuset", &tune->emulatorpin, err);
}

static gboolean parse_cputune(const xmlNode *cputune, DomainDef *def, guint flags, GError **err) {
        for (gsize i = 0; i < G_N_ELEMENTS(cputune_numbers); i++)
                if (!parse_cputune_number(cputune, &cputune_numbers[i], &def->cputune, flags, err))
                        return FALSE;
        XML_FOREACH (pin, cputune, "vcpupin")
                if (!parse_vcpupin(pin, def, err))
                        return FALSE;
        g_array_sort(def->cputune.vcpupin, compare_pins);
        return parse_emulatorpin(cputune, &def->cputune, err);
}

static gboolean parse_memtune(const xmlNode *memtune, DomainMemTune *tune, GError **err) {
        const struct {
                const char *name;
                guint64 *value;
        } limits[] = {
                { "hard_limit", &tune->hard_limit_kib },
                { "soft_limit", &tune->soft_limit_kib },
                { "min_guarantee", &tune->min_guarantee_kib },
                { "swap_hard_limit", &tune->swap_hard_limit_kib },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(limits); i++) {
                if (!xml_child_kib(memtune, limits[i].name, limits[i].value, err))
                        return FALSE;
                *limits[i].value = MIN(*limits[i].value, DOMAIN_MEMORY_UNLIMITED);
        }
        return TRUE;
}

static gboolean parse_weight(const xmlNode *parent, guint flags, guint *ret, GError **err) {
        guint64 weight = 0;
        if (!xml_child_u64(parent, "weight", &weight, err))
                return FALSE;
        if (weight != 0 && (weight < DOMAIN_WEIGHT_MIN || weight > DOMAIN_WEIGHT_MAX) && !domain_parse_is_own(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "Value of blkiotune 'weight' must be in range [%u, %u]", DOMAIN_WEIGHT_MIN,
                                 DOMAIN_WEIGHT_MAX);
        }
        *ret = (guint) MIN(weight, G_MAXUINT);
        return TRUE;
}

static gboolean parse_iops(const xmlNode *device, const char *name, guint *ret, GError **err) {
        guint64 value = 0;
        if (!xml_child_u64(device, name, &value, err))
                return FALSE;
        if (value > G_MAXUINT) {
                return error_set(err, VIR_ERR_XML_ERROR, "could not parse %s: too large", name);
        }
        *ret = (guint) value;
        return TRUE;
}

static gboolean parse_blkio_device(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_autoptr(DomainBlkioDevice) device = g_new0(DomainBlkioDevice, 1);
        GPtrArray *devices = def->blkiotune.devices;
        device->path = xml_child_text(node, "path");
        if (!device->path) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "missing per-device path");
        }
        for (guint i = 0; i < devices->len; i++) {
                if (strcmp(((DomainBlkioDevice *) g_ptr_array_index(devices, i))->path, device->path) == 0) {
                        return error_set(err, VIR_ERR_XML_ERROR, "duplicate blkio device path '%s'", device->path);
                }
        }
        if (!parse_weight(node, flags, &device->weight, err) ||
            !parse_iops(node, "read_iops_sec", &device->read_iops_sec, err) ||
            !parse_iops(node, "write_iops_sec", &device->write_iops_sec, err) ||
            !xml_child_u64(node, "read_bytes_sec", &device->read_bytes_sec, err) ||
            !xml_child_u64(node, "write_bytes_sec", &device->write_bytes_sec, err))
                return FALSE;
        if (devices->len == DOMAIN_BLKIO_MAX) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %u devices in blkiotune",
                                 DOMAIN_BLKIO_MAX);
        }
        g_ptr_array_add(devices, g_steal_pointer(&device));
        return TRUE;
}

static gboolean parse_blkiotune(const xmlNode *blkiotune, DomainDef *def, guint flags, GError **err) {
        if (!parse_weight(blkiotune, flags, &def->blkiotune.weight, err))
                return FALSE;
        XML_FOREACH (device, blkiotune, "device")
                if (!parse_blkio_device(device, def, flags, err))
                        return FALSE;
        return TRUE;
}

static gboolean parse_numatune(const xmlNode *numatune, DomainNumaTune *tune, GError **err) {
        const xmlNode *memory = xml_first(numatune, "memory");
        g_autofree char *mode = xml_attr(memory, "mode"), *nodeset = xml_attr(memory, "nodeset");
        int word = mode ? xml_word_index(domain_numa_mode_names, mode) : DOMAIN_NUMA_STRICT;
        if (!memory)
                return TRUE;
        if (word < 0) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Unsupported NUMA memory tuning mode '%s'", mode);
        }
        if (!nodeset) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "nodeset for NUMA memory tuning must be set if 'placement' is 'static'");
        }
        tune->present = TRUE;
        tune->mode = (DomainNumaMode) word;
        return domain_parse_cpuset(nodeset, "nodeset", &tune->nodeset, err);
}

gboolean domain_parse_tuning(const xmlNode *root, DomainDef *def, guint flags, GError **err) {
        return parse_cputune(xml_first(root, "cputune"), def, flags, err) &&
               parse_memtune(xml_first(root, "memtune"), &def->memtune, err) &&
               parse_blkiotune(xml_first(root, "blkiotune"), def, flags, err) &&
               parse_numatune(xml_first(root, "numatune"), &def->numatune, err);
}
