/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tunables as libvirt's typed parameters: scheduler, memory, block I/O, NUMA, and the
 * bandwidth of an interface. Each getter and setter is a table of fields in the
 * definition; a setter changes copies and has change.c put them in force.
 */
#include <string.h>

#include "domain/nic_change.h"
#include "systemd/scope.h"
#include "util/error.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)
#define GETTER_FLAGS (AFFECT_FLAGS | VIR_TYPED_PARAM_STRING_OKAY)

/* A parameter that is one number of a definition. */
typedef struct Field {
        const char *name;
        int type;     /* VIR_TYPED_PARAM_ULLONG or LLONG */
        gsize offset; /* in DomainDef; offset of a guint64 or gint64 */
        guint64 min, max;
        guint64 unset;      /* what a getter shows for a field that is 0 */
        gboolean truncates; /* more than max is max, as with libvirt's QEMU driver */
} Field;

#define FIELD(n, t, member, lo, hi, none)                                                                              \
        {                                                                                                              \
                .name = (n), .type = VIR_TYPED_PARAM_##t, .offset = G_STRUCT_OFFSET(DomainDef, member), .min = (lo),   \
                .max = (hi), .unset = (none)                                                                           \
        }
#define PERIOD(n, member) FIELD(n, ULLONG, member, DOMAIN_PERIOD_MIN, DOMAIN_PERIOD_MAX, 100000)
#define QUOTA(n, member)  FIELD(n, LLONG, member, DOMAIN_QUOTA_MIN, DOMAIN_QUOTA_MAX, (guint64) -1)

static const Field scheduler_fields[] = {
        FIELD(VIR_DOMAIN_SCHEDULER_CPU_SHARES, ULLONG, cputune.shares, DOMAIN_SHARES_MIN, DOMAIN_SHARES_MAX, 100),
        PERIOD(VIR_DOMAIN_SCHEDULER_VCPU_PERIOD, cputune.period_us),
        QUOTA(VIR_DOMAIN_SCHEDULER_VCPU_QUOTA, cputune.quota_us),
        PERIOD(VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD, cputune.emulator_period_us),
        QUOTA(VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA, cputune.emulator_quota_us),
        PERIOD(VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, cputune.global_period_us),
        QUOTA(VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA, cputune.global_quota_us),
};

#define MEMORY(n, member, none)                                                                                        \
        {                                                                                                              \
                .name = (n), .type = VIR_TYPED_PARAM_ULLONG, .offset = G_STRUCT_OFFSET(DomainDef, memtune.member),     \
                .max = DOMAIN_MEMORY_UNLIMITED, .unset = (none), .truncates = TRUE                                     \
        }

static const Field memory_fields[] = {
        MEMORY(VIR_DOMAIN_MEMORY_HARD_LIMIT, hard_limit_kib, DOMAIN_MEMORY_UNLIMITED),
        MEMORY(VIR_DOMAIN_MEMORY_SOFT_LIMIT, soft_limit_kib, DOMAIN_MEMORY_UNLIMITED),
        MEMORY(VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT, swap_hard_limit_kib, DOMAIN_MEMORY_UNLIMITED),
        MEMORY(VIR_DOMAIN_MEMORY_MIN_GUARANTEE, min_guarantee_kib, 0),
};

static guint64 field_read(const Field *f, const DomainDef *def) {
        guint64 value = *(const guint64 *) G_STRUCT_MEMBER_P(def, f->offset);
        return value ? value : f->unset;
}

static gboolean fields_get(const Field *fields, gsize count, const DomainDef *def, virTypedParameterPtr *params,
                           int *n) {
        int capacity = *n;
        for (gsize i = 0; i < count; i++) {
                guint64 value = field_read(&fields[i], def);
                int r = fields[i].type == VIR_TYPED_PARAM_LLONG
                                ? virTypedParamsAddLLong(params, n, &capacity, fields[i].name, (gint64) value)
                                : virTypedParamsAddULLong(params, n, &capacity, fields[i].name, value);
                if (r < 0)
                        return FALSE;
        }
        return TRUE;
}

static const Field *field_find(const Field *fields, gsize count, const char *name) {
        for (gsize i = 0; i < count; i++)
                if (g_str_equal(fields[i].name, name))
                        return &fields[i];
        return NULL;
}

/* The value of a parameter as 64 bits; FALSE when its type is not the field's. */
static gboolean param_value(const virTypedParameter *p, int type, guint64 *ret) {
        if (p->type != type)
                return FALSE;
        *ret = type == VIR_TYPED_PARAM_LLONG ? (guint64) p->value.l : p->value.ul;
        return TRUE;
}

static gboolean check_range(const Field *f, guint64 value, GError **err) {
        gboolean unlimited = f->type == VIR_TYPED_PARAM_LLONG && ((gint64) value < 0 || value == 0);
        if (unlimited || (value >= f->min && value <= f->max))
                return TRUE;
        if (f->type != VIR_TYPED_PARAM_LLONG && value == 0 && f->min > 2)
                return TRUE; /* a period of 0 means the default */
        return error_set(err, VIR_ERR_INVALID_ARG,
                         "value of '%s' is out of range [%" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT "]", f->name,
                         f->min, f->max);
}

static gboolean fields_set(const Field *fields, gsize count, DomainDef *def, virTypedParameterPtr params, int n,
                           GError **err) {
        for (int i = 0; i < n; i++) {
                const Field *f = field_find(fields, count, params[i].field);
                guint64 value = 0;
                if (!f) {
                        return error_set(err, VIR_ERR_INVALID_ARG, "parameter '%s' not supported", params[i].field);
                }
                if (!param_value(&params[i], f->type, &value)) {
                        return error_set(err, VIR_ERR_INVALID_ARG, "invalid type of parameter '%s'", f->name);
                }
                if (f->truncates)
                        value = MIN(value, f->max);
                if (!check_range(f, value, err))
                        return FALSE;
                *(guint64 *) G_STRUCT_MEMBER_P(def, f->offset) = value;
        }
        return TRUE;
}

typedef gboolean (*ChangeFunc)(DomainDef *def, virTypedParameterPtr params, int n, GError **err);
typedef gboolean (*ReadFunc)(const DomainDef *def, virTypedParameterPtr *params, int *n);
typedef gboolean (*ApplyFunc)(GDBusConnection *bus, const char *unit, const char *cgroup, const DomainDef *def,
                              GError **err);
typedef void (*LookFunc)(const char *cgroup, DomainDef *def);

/* Parameters that one call gets or sets together. */
typedef struct Group {
        const char *getter, *setter; /* the calls' names in libvirt */
        ReadFunc read;
        ChangeFunc change;
        HostFunc host;
        LookFunc look; /* what is in force; NULL: what was asked for */
} Group;

/* A HostFunc that has the scope do what a definition says. */
static gboolean scope_follows(Domain *d, const DomainDef *def, ApplyFunc apply, GError **err) {
        domain_unlock(d);
        gboolean ok = apply(d->driver->bus, d->run.unit, d->run.cgroup, def, err);
        domain_lock(d);
        return ok;
}

/* A copy of a definition; of the live one with the limits in force, whoever set them. */
static DomainDef *copy_in_force(const Domain *d, const DomainDef *def, const Group *group) {
        DomainDef *copy = domain_def_copy(def);
        if (def->id >= 0 && group->look && d->run.cgroup)
                group->look(d->run.cgroup, copy);
        return copy;
}

/* A copy of a definition with the change made to it; NULL with *err set when it cannot be made. */
static DomainDef *changed_copy(const Domain *d, const DomainDef *def, const Group *group, virTypedParameterPtr params,
                               int n, GError **err) {
        g_autoptr(DomainDef) copy = copy_in_force(d, def, group);
        return group->change(copy, params, n, err) ? g_steal_pointer(&copy) : NULL;
}

/* Live scheduler changes are reported as "cputune.NAME", pins by pin.c; memory and blkio have no names. */
static void emit_cputune(Domain *d, virTypedParameterPtr params, int n) {
        virTypedParameterPtr copy = NULL;
        int count = 0, capacity = 0;
        for (int i = 0; i < n; i++) {
                char name[VIR_TYPED_PARAM_FIELD_LENGTH];
                (void) g_snprintf(name, sizeof(name), "cputune.%s", params[i].field);
                if (params[i].type == VIR_TYPED_PARAM_LLONG)
                        (void) virTypedParamsAddLLong(&copy, &count, &capacity, name, params[i].value.l);
                else
                        (void) virTypedParamsAddULLong(&copy, &count, &capacity, name, params[i].value.ul);
        }
        event_tunable(d, copy, count);
}

/* Both definitions are checked before either changes. */
static gboolean set_params(Domain *d, const Group *group, virTypedParameterPtr params, int n, guint flags,
                           GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        g_autoptr(DomainDef) live = NULL;
        g_autoptr(DomainDef) config = NULL;
        if (!error_check_flags(flags, GETTER_FLAGS, group->setter, err) || !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &old_live, &old_config, err);
        gboolean is_live = ok && old_live;
        ok = ok && (!old_live || (live = changed_copy(d, old_live, group, params, n, err))) &&
             (!old_config || (config = changed_copy(d, old_config, group, params, n, err))) &&
             domain_replace_defs(d, &live, &config, group->host, NULL, err);
        if (ok && is_live && group->host == domain_apply_cputune)
                emit_cputune(d, params, n);
        domain_job_end(d);
        return ok;
}

static gboolean get_params(Domain *d, const Group *group, guint flags, virTypedParameterPtr *params, int *n,
                           GError **err) {
        DomainDef *live = NULL, *config = NULL;
        *params = NULL;
        *n = 0;
        if (!error_check_flags(flags, GETTER_FLAGS, group->getter, err))
                return FALSE;
        if ((flags & AFFECT_FLAGS) == AFFECT_FLAGS) {
                return error_set(err, VIR_ERR_INVALID_ARG,
                                 "values are read from the live or the persistent definition, not both");
        }
        domain_lock(d);
        gboolean ok = domain_affect(d, flags, &live, &config, err);
        g_autoptr(DomainDef) shown = ok ? copy_in_force(d, live ? live : config, group) : NULL;
        if (ok && !group->read(shown, params, n)) {
                error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot list the parameters of domain '%s'", d->name);
                ok = FALSE;
        }
        domain_unlock(d);
        return ok;
}

static gboolean scheduler_read(const DomainDef *def, virTypedParameterPtr *params, int *n) {
        return fields_get(scheduler_fields, G_N_ELEMENTS(scheduler_fields), def, params, n);
}

static gboolean scheduler_change(DomainDef *def, virTypedParameterPtr params, int n, GError **err) {
        return fields_set(scheduler_fields, G_N_ELEMENTS(scheduler_fields), def, params, n, err);
}

static const Group scheduler_group = {
        .getter = "virDomainGetSchedulerParametersFlags",
        .setter = "virDomainSetSchedulerParametersFlags",
        .read = scheduler_read,
        .change = scheduler_change,
        .host = domain_apply_cputune,
        .look = scope_read_cputune,
};

gboolean domain_get_scheduler(Domain *d, guint flags, virTypedParameterPtr *params, int *n, GError **err) {
        return get_params(d, &scheduler_group, flags, params, n, err);
}

gboolean domain_set_scheduler(Domain *d, virTypedParameterPtr params, int n, guint flags, GError **err) {
        return set_params(d, &scheduler_group, params, n, flags, err);
}

static gboolean memory_read(const DomainDef *def, virTypedParameterPtr *params, int *n) {
        /* A minimum that was not set is not shown, as with libvirt's QEMU driver. */
        gsize count = G_N_ELEMENTS(memory_fields) - (def->memtune.min_guarantee_kib == 0);
        return fields_get(memory_fields, count, def, params, n);
}

static gboolean memory_change(DomainDef *def, virTypedParameterPtr params, int n, GError **err) {
        if (!fields_set(memory_fields, G_N_ELEMENTS(memory_fields), def, params, n, err))
                return FALSE;
        const DomainMemTune *m = &def->memtune;
        if (m->swap_hard_limit_kib == 0 || m->hard_limit_kib == 0 || m->hard_limit_kib <= m->swap_hard_limit_kib)
                return TRUE;
        return error_set(err, VIR_ERR_INVALID_ARG,
                         "memory hard_limit tunable value must be lower than or equal to swap_hard_limit");
}

static gboolean memtune_follows(Domain *d, const DomainDef *def, gconstpointer unused, GError **err) {
        return scope_follows(d, def, scope_apply_memtune, err);
}

static const Group memory_group = {
        .getter = "virDomainGetMemoryParameters",
        .setter = "virDomainSetMemoryParameters",
        .read = memory_read,
        .change = memory_change,
        .host = memtune_follows,
        .look = scope_read_memtune,
};

gboolean domain_get_memory_params(Domain *d, guint flags, virTypedParameterPtr *params, int *n, GError **err) {
        return get_params(d, &memory_group, flags, params, n, err);
}

gboolean domain_set_memory_params(Domain *d, virTypedParameterPtr params, int n, guint flags, GError **err) {
        return set_params(d, &memory_group, params, n, flags, err);
}

/* --- Block I/O: per-device values come as one string "path,value,path,value" ------------------------- */

typedef struct BlkioField {
        const char *name;
        gsize offset;     /* in DomainBlkioDevice */
        gboolean wide;    /* guint64, else guint */
        guint64 min, max; /* 0 is valid too: it removes the value */
} BlkioField;

static const BlkioField blkio_fields[] = {
        { VIR_DOMAIN_BLKIO_DEVICE_WEIGHT, G_STRUCT_OFFSET(DomainBlkioDevice, weight), FALSE, DOMAIN_WEIGHT_MIN,
          DOMAIN_WEIGHT_MAX },
        { VIR_DOMAIN_BLKIO_DEVICE_READ_IOPS, G_STRUCT_OFFSET(DomainBlkioDevice, read_iops_sec), FALSE, 1, G_MAXUINT },
        { VIR_DOMAIN_BLKIO_DEVICE_WRITE_IOPS, G_STRUCT_OFFSET(DomainBlkioDevice, write_iops_sec), FALSE, 1, G_MAXUINT },
        { VIR_DOMAIN_BLKIO_DEVICE_READ_BPS, G_STRUCT_OFFSET(DomainBlkioDevice, read_bytes_sec), TRUE, 1, G_MAXUINT64 },
        { VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS, G_STRUCT_OFFSET(DomainBlkioDevice, write_bytes_sec), TRUE, 1,
          G_MAXUINT64 },
};

static guint64 blkio_get(const DomainBlkioDevice *dev, const BlkioField *f) {
        gconstpointer p = G_STRUCT_MEMBER_P(dev, f->offset);
        return f->wide ? *(const guint64 *) p : *(const guint *) p;
}

static void blkio_put(DomainBlkioDevice *dev, const BlkioField *f, guint64 value) {
        gpointer p = G_STRUCT_MEMBER_P(dev, f->offset);
        if (f->wide)
                *(guint64 *) p = value;
        else
                *(guint *) p = (guint) value;
}

static char *blkio_format(const DomainDef *def, const BlkioField *f) {
        GString *s = g_string_new(NULL);
        for (guint i = 0; i < def->blkiotune.devices->len; i++) {
                const DomainBlkioDevice *dev = g_ptr_array_index(def->blkiotune.devices, i);
                guint64 value = blkio_get(dev, f);
                if (value > 0)
                        g_string_append_printf(s, "%s%s,%" G_GUINT64_FORMAT, s->len > 0 ? "," : "", dev->path, value);
        }
        return g_string_free(s, FALSE);
}

static gboolean blkio_read(const DomainDef *def, virTypedParameterPtr *params, int *n) {
        int capacity = *n;
        if (virTypedParamsAddUInt(params, n, &capacity, VIR_DOMAIN_BLKIO_WEIGHT, def->blkiotune.weight) < 0)
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(blkio_fields); i++) {
                g_autofree char *text = blkio_format(def, &blkio_fields[i]);
                if (virTypedParamsAddString(params, n, &capacity, blkio_fields[i].name, text) < 0)
                        return FALSE;
        }
        return TRUE;
}

static DomainBlkioDevice *blkio_device(DomainDef *def, const char *path) {
        for (guint i = 0; i < def->blkiotune.devices->len; i++) {
                DomainBlkioDevice *dev = g_ptr_array_index(def->blkiotune.devices, i);
                if (g_str_equal(dev->path, path))
                        return dev;
        }
        if (def->blkiotune.devices->len >= DOMAIN_BLKIO_MAX)
                return NULL;
        DomainBlkioDevice *dev = g_new0(DomainBlkioDevice, 1);
        dev->path = g_strdup(path);
        g_ptr_array_add(def->blkiotune.devices, dev);
        return dev;
}

static gboolean blkio_parse(DomainDef *def, const BlkioField *f, const char *text, GError **err) {
        g_auto(GStrv) items = g_strsplit(text, ",", -1);
        guint count = g_strv_length(items);
        for (guint i = 0; i + 1 < count; i += 2) {
                guint64 value = 0;
                DomainBlkioDevice *dev = blkio_device(def, items[i]);
                if (items[i][0] != '/' || !dev ||
                    !g_ascii_string_to_unsigned(items[i + 1], 10, 0, f->max, &value, NULL) ||
                    (value != 0 && value < f->min))
                        break;
                blkio_put(dev, f, value);
                if (i + 2 == count)
                        return TRUE;
        }
        return error_set(err, VIR_ERR_INVALID_ARG,
                         "unable to parse '%s' of '%s': expected /dev/path,value[,/dev/path,value...]", text, f->name);
}

static const BlkioField *blkio_find(const virTypedParameter *p) {
        for (gsize i = 0; i < G_N_ELEMENTS(blkio_fields); i++)
                if (p->type == VIR_TYPED_PARAM_STRING && g_str_equal(blkio_fields[i].name, p->field))
                        return &blkio_fields[i];
        return NULL;
}

static gboolean blkio_change_one(DomainDef *def, const virTypedParameter *p, GError **err) {
        const BlkioField *f = blkio_find(p);
        if (f)
                return blkio_parse(def, f, p->value.s, err);
        if (!g_str_equal(p->field, VIR_DOMAIN_BLKIO_WEIGHT) || p->type != VIR_TYPED_PARAM_UINT) {
                return error_set(err, VIR_ERR_INVALID_ARG, "parameter '%s' not supported, or of the wrong type",
                                 p->field);
        }
        if (p->value.ui != 0 && (p->value.ui < DOMAIN_WEIGHT_MIN || p->value.ui > DOMAIN_WEIGHT_MAX)) {
                return error_set(err, VIR_ERR_INVALID_ARG, "out of blkio weight range [%u, %u]", DOMAIN_WEIGHT_MIN,
                                 DOMAIN_WEIGHT_MAX);
        }
        def->blkiotune.weight = p->value.ui;
        return TRUE;
}

static gboolean blkio_change(DomainDef *def, virTypedParameterPtr params, int n, GError **err) {
        for (int i = 0; i < n; i++)
                if (!blkio_change_one(def, &params[i], err))
                        return FALSE;
        return TRUE;
}

static gboolean blkiotune_follows(Domain *d, const DomainDef *def, gconstpointer unused, GError **err) {
        return scope_follows(d, def, scope_apply_blkiotune, err);
}

static const Group blkio_group = {
        .getter = "virDomainGetBlkioParameters",
        .setter = "virDomainSetBlkioParameters",
        .read = blkio_read,
        .change = blkio_change,
        .host = blkiotune_follows,
        .look = scope_read_blkiotune,
};

gboolean domain_get_blkio_params(Domain *d, guint flags, virTypedParameterPtr *params, int *n, GError **err) {
        return get_params(d, &blkio_group, flags, params, n, err);
}

gboolean domain_set_blkio_params(Domain *d, virTypedParameterPtr params, int n, guint flags, GError **err) {
        return set_params(d, &blkio_group, params, n, flags, err);
}

/* --- NUMA: shown, and changed by redefining ---------------------------------------------------------- */

static gboolean numa_read(const DomainDef *def, virTypedParameterPtr *params, int *n) {
        static const int modes[] = { VIR_DOMAIN_NUMATUNE_MEM_STRICT, VIR_DOMAIN_NUMATUNE_MEM_PREFERRED,
                                     VIR_DOMAIN_NUMATUNE_MEM_INTERLEAVE, VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE };
        int capacity = *n;
        g_autofree char *nodes = def->numatune.present ? cpumap_format(&def->numatune.nodeset) : g_strdup("");
        return virTypedParamsAddInt(params, n, &capacity, VIR_DOMAIN_NUMA_MODE, modes[def->numatune.mode]) == 0 &&
               virTypedParamsAddString(params, n, &capacity, VIR_DOMAIN_NUMA_NODESET, nodes) == 0;
}

gboolean domain_get_numa_params(Domain *d, guint flags, virTypedParameterPtr *params, int *n, GError **err) {
        static const Group group = { .getter = "virDomainGetNumaParameters", .read = numa_read };
        return get_params(d, &group, flags, params, n, err);
}

/* --- Bandwidth of an interface ------------------------------------------------------------------------- */

typedef struct BandwidthField {
        const char *name;
        gsize offset; /* in DomainNic */
} BandwidthField;

static const BandwidthField bandwidth_fields[] = {
        { VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, G_STRUCT_OFFSET(DomainNic, inbound.average) },
        { VIR_DOMAIN_BANDWIDTH_IN_PEAK, G_STRUCT_OFFSET(DomainNic, inbound.peak) },
        { VIR_DOMAIN_BANDWIDTH_IN_BURST, G_STRUCT_OFFSET(DomainNic, inbound.burst) },
        { VIR_DOMAIN_BANDWIDTH_IN_FLOOR, G_STRUCT_OFFSET(DomainNic, inbound.floor) },
        { VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, G_STRUCT_OFFSET(DomainNic, outbound.average) },
        { VIR_DOMAIN_BANDWIDTH_OUT_PEAK, G_STRUCT_OFFSET(DomainNic, outbound.peak) },
        { VIR_DOMAIN_BANDWIDTH_OUT_BURST, G_STRUCT_OFFSET(DomainNic, outbound.burst) },
};

static DomainNic *find_nic(const DomainDef *def, const char *device, GError **err) {
        DomainNic *nic = domain_def_find_nic(def, device);
        if (!nic)
                error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a known interface", device);
        return nic;
}

gboolean domain_get_interface_params(Domain *d, const char *device, guint flags, virTypedParameterPtr *params, int *n,
                                     GError **err) {
        DomainDef *live = NULL, *config = NULL;
        int capacity = 0;
        *params = NULL;
        *n = 0;
        if (!error_check_flags(flags, GETTER_FLAGS, "virDomainGetInterfaceParameters", err))
                return FALSE;
        domain_lock(d);
        DomainNic *nic = NULL;
        if (domain_affect(d, flags, &live, &config, err))
                nic = find_nic(live ? live : config, device, err);
        for (gsize i = 0; nic && i < G_N_ELEMENTS(bandwidth_fields); i++) {
                guint64 value = *(guint64 *) G_STRUCT_MEMBER_P(nic, bandwidth_fields[i].offset);
                guint shown = (guint) MIN(value, G_MAXUINT);
                if (virTypedParamsAddUInt(params, n, &capacity, bandwidth_fields[i].name, shown) < 0)
                        break;
        }
        domain_unlock(d);
        return nic != NULL;
}

static const BandwidthField *bandwidth_find(const virTypedParameter *p) {
        for (gsize i = 0; i < G_N_ELEMENTS(bandwidth_fields); i++)
                if (p->type == VIR_TYPED_PARAM_UINT && g_str_equal(bandwidth_fields[i].name, p->field))
                        return &bandwidth_fields[i];
        return NULL;
}

static gboolean replace_limit(DomainBandwidth *limit, const DomainBandwidth *with, const char *name, GError **err) {
        if (with->average == 0 && (with->peak > 0 || with->burst > 0)) {
                return error_set(err, VIR_ERR_INVALID_ARG, "%s.peak and %s.burst need an %s.average", name, name, name);
        }
        *limit = *with;
        limit->present = limit->average > 0 || limit->floor > 0;
        return TRUE;
}

/* A direction that is given is replaced as a whole; the other one is kept. */
static gboolean change_bandwidth(DomainNic *nic, virTypedParameterPtr params, int n, GError **err) {
        DomainNic given = { 0 };
        gboolean inbound = FALSE, outbound = FALSE;
        for (int i = 0; i < n; i++) {
                const BandwidthField *f = bandwidth_find(&params[i]);
                if (!f) {
                        return error_set(err, VIR_ERR_INVALID_ARG, "parameter '%s' not supported, or of the wrong type",
                                         params[i].field);
                }
                *(guint64 *) G_STRUCT_MEMBER_P(&given, f->offset) = params[i].value.ui;
                inbound |= g_str_has_prefix(f->name, "inbound.");
                outbound |= g_str_has_prefix(f->name, "outbound.");
        }
        return (!inbound || replace_limit(&nic->inbound, &given.inbound, "inbound", err)) &&
               (!outbound || replace_limit(&nic->outbound, &given.outbound, "outbound", err));
}

/* Changes the bandwidth in a copy of a definition; NULL with *err set when it cannot. */
static DomainDef *with_bandwidth(const DomainDef *def, const char *device, virTypedParameterPtr params, int n,
                                 DomainNic **ret_nic, GError **err) {
        g_autoptr(DomainDef) copy = domain_def_copy(def);
        *ret_nic = find_nic(copy, device, err);
        if (!*ret_nic || !change_bandwidth(*ret_nic, params, n, err))
                return NULL;
        return g_steal_pointer(&copy);
}

gboolean domain_set_interface_params(Domain *d, const char *device, virTypedParameterPtr params, int n, guint flags,
                                     GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        g_autoptr(DomainDef) live = NULL;
        g_autoptr(DomainDef) config = NULL;
        DomainNic *nic = NULL, *config_nic = NULL;
        guint in_force = 0;
        if (!error_check_flags(flags, GETTER_FLAGS, "virDomainSetInterfaceParameters", err) ||
            !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &old_live, &old_config, err) &&
                      (!old_live || (live = with_bandwidth(old_live, device, params, n, &nic, err))) &&
                      (!old_config || (config = with_bandwidth(old_config, device, params, n, &config_nic, err))) &&
                      (!live || nic_change_check(domain_def_find_nic(old_live, device), nic, err));
        if (ok) {
                const NicChange change = {
                        .old = live ? domain_def_find_nic(old_live, device) : NULL,
                        .new = nic,
                        .in_force = &in_force,
                };
                ok = domain_replace_defs(d, &live, &config, nic_follows, &change, err);
        }
        domain_job_end(d);
        return ok;
}
