/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Statistics of domains, each from its best source: the scope's cgroup (CPU, memory), the
 * monitor (disks), the kernel's view of the TAPs (interfaces), /proc (vCPU threads).
 * Getters take no job: they copy what they need under the lock, hold a reference to the
 * monitor, and ask it unlocked, so that polling clients never delay an operation.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain/internal.h"
#include "net/tap.h"
#include "systemd/scope.h"
#include "util/error.h"

/* A consistent view of a domain, taken under its lock. */
typedef struct Snapshot {
        DomainDef *def;
        Vmm *vmm; /* NULL when inactive */
        DeviceIds *devices;
        gboolean busy; /* its job is held, perhaps by a caller that waits for the monitor */
        char *cgroup;
        int state, reason;
} Snapshot;

static void snapshot_clear(Snapshot *s) {
        g_clear_pointer(&s->def, domain_def_free);
        g_clear_pointer(&s->vmm, vmm_unref);
        g_clear_pointer(&s->devices, device_ids_free);
        g_clear_pointer(&s->cgroup, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Snapshot, snapshot_clear)

static void snapshot_take(Domain *d, Snapshot *ret) {
        domain_lock(d);
        ret->def = domain_def_copy(d->def);
        ret->vmm = domain_active(d) && d->run.vmm ? vmm_ref(d->run.vmm) : NULL;
        ret->devices = device_ids_copy(d->run.devices);
        ret->busy = d->job;
        ret->cgroup = g_strdup(d->run.cgroup);
        ret->state = d->state;
        ret->reason = d->reason;
        domain_unlock(d);
}

static gboolean snapshot_take_active(Domain *d, Snapshot *ret, GError **err) {
        snapshot_take(d, ret);
        if (ret->vmm)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_INVALID, "domain is not running");
}

/* The same with the ids of devices known. */
static gboolean snapshot_take_devices(Domain *d, Snapshot *ret, GError **err) {
        domain_lock(d);
        gboolean ok = !d->run.vmm || domain_learn_devices(d, TRUE, err);
        domain_unlock(d);
        return ok && snapshot_take_active(d, ret, err);
}

/* One page; `wait`: else none that the monitor does not answer at once. */
static gboolean fetch_page(const Snapshot *s, gboolean wait, guint32 after, struct ctl_stats_reply *ret, GError **err) {
        struct ctl_stats message = { .after = after };
        if (wait)
                return vmm_call(s->vmm, CTL_STATS, &message, sizeof(message), NULL, 0, ret, sizeof(*ret), err);
        return vmm_call_briefly(s->vmm, CTL_STATS, &message, sizeof(message), ret, sizeof(*ret), err);
}

/* struct ctl_device_stats of all devices that count something, by rising ids; NULL on error. */
static GArray *fetch_monitor_stats(const Snapshot *s, gboolean wait, GError **err) {
        g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct ctl_device_stats));
        struct ctl_stats_reply page;
        guint32 after = 0;
        do {
                if (!fetch_page(s, wait, after, &page, err))
                        return NULL;
                g_array_append_vals(all, page.device, page.n);
                after = page.n > 0 ? page.device[page.n - 1].id : after;
                /* Only a full page may have another behind it: a monitor could answer one by one, slowly. */
        } while (page.more && page.n == CTL_STATS_MAX && all->len < DOMAIN_DISKS_MAX + DOMAIN_NICS_MAX);
        return g_steal_pointer(&all);
}

/* NULL: it has none. */
static const struct ctl_device_stats *stats_of(const GArray *all, const Snapshot *s, const DomainDisk *disk) {
        guint32 id = device_ids_find(s->devices, disk->alias);
        for (guint i = 0; i < all->len; i++) {
                const struct ctl_device_stats *stats = &g_array_index(all, struct ctl_device_stats, i);
                if (id != 0 && stats->id == id && stats->type == CTL_ADD_DISK)
                        return stats;
        }
        return NULL;
}

static guint64 read_rss_kib(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/status", (int) pid);
        g_autofree char *text = NULL;
        const char *line = NULL;
        if (g_file_get_contents(path, &text, NULL, NULL))
                line = strstr(text, "\nVmRSS:");
        return line ? g_ascii_strtoull(line + strlen("\nVmRSS:"), NULL, 10) : 0;
}

void domain_get_info(Domain *d, virDomainInfoPtr ret) {
        CgroupStats cgroup;
        g_auto(Snapshot) s = { 0 };
        snapshot_take(d, &s);
        *ret = (virDomainInfo) {
                .state = (unsigned char) s.state,
                .maxMem = s.def->memory.maximum_kib,
                .memory = s.def->memory.current_kib,
                .nrVirtCpu = (unsigned short) s.def->vcpus,
        };
        if (s.cgroup && cgroup_read_stats(s.cgroup, &cgroup, NULL))
                ret->cpuTime = cgroup.cpu_usage_ns;
}

/* --- Disks ------------------------------------------------------------------------------- */

/* An empty path means all disks together, as in libvirt. */
static gboolean fetch_disk_stats(Domain *d, const char *path, struct ctl_disk_stats *ret, GError **err) {
        g_auto(Snapshot) s = { 0 };
        if (!snapshot_take_devices(d, &s, err))
                return FALSE;
        const DomainDisk *wanted = *path ? domain_def_find_disk(s.def, path) : NULL;
        if (*path && !wanted)
                return error_set(err, VIR_ERR_INVALID_ARG, "invalid path '%s' not assigned to domain", path);
        if (wanted && wanted->source && device_ids_find(s.devices, wanted->alias) == 0)
                return error_set(err, VIR_ERR_OPERATION_FAILED, "the running domain does not have disk '%s'", path);
        g_autoptr(GArray) all = fetch_monitor_stats(&s, TRUE, err);
        if (!all)
                return FALSE;
        memset(ret, 0, sizeof(*ret));
        for (guint i = 0; i < s.def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(s.def->disks, i);
                const struct ctl_device_stats *stats = !wanted || disk == wanted ? stats_of(all, &s, disk) : NULL;
                const guint64 *from = stats ? (const guint64 *) &stats->disk : NULL;
                for (gsize k = 0; from && k < sizeof(*ret) / sizeof(guint64); k++)
                        ((guint64 *) ret)[k] += from[k];
        }
        return TRUE;
}

gboolean domain_get_block_stats(Domain *d, const char *path, virDomainBlockStatsPtr ret, GError **err) {
        struct ctl_disk_stats stats;
        if (!fetch_disk_stats(d, path, &stats, err))
                return FALSE;
        *ret = (virDomainBlockStatsStruct) {
                .rd_req = (long long) stats.rd_req,
                .rd_bytes = (long long) stats.rd_bytes,
                .wr_req = (long long) stats.wr_req,
                .wr_bytes = (long long) stats.wr_bytes,
                .errs = (long long) stats.errors,
        };
        return TRUE;
}

typedef struct DiskField {
        const char *param; /* of virDomainBlockStatsFlags */
        const char *stat;  /* of virConnectGetAllDomainStats, behind "block.N." */
        gsize offset;      /* in struct ctl_disk_stats */
} DiskField;

#define DISK_FIELD(p, s, member)                                                                                       \
        { p, s, G_STRUCT_OFFSET(struct ctl_disk_stats, member) }

static const DiskField disk_fields[] = {
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_READ_REQ, "rd.reqs", rd_req),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_READ_BYTES, "rd.bytes", rd_bytes),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES, "rd.times", rd_time_ns),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_WRITE_REQ, "wr.reqs", wr_req),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES, "wr.bytes", wr_bytes),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES, "wr.times", wr_time_ns),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ, "fl.reqs", flush_req),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, "fl.times", flush_time_ns),
        DISK_FIELD(VIR_DOMAIN_BLOCK_STATS_ERRS, "errors", errors),
};

static guint64 disk_field(const struct ctl_disk_stats *stats, const DiskField *f) {
        return *(const guint64 *) G_STRUCT_MEMBER_P(stats, f->offset);
}

gboolean domain_get_block_stats_params(Domain *d, const char *path, guint flags, virTypedParameterPtr *params, int *n,
                                       GError **err) {
        struct ctl_disk_stats stats;
        int capacity = 0;
        *params = NULL;
        *n = 0;
        if (!error_check_flags(flags, VIR_TYPED_PARAM_STRING_OKAY, "virDomainBlockStatsFlags", err) ||
            !fetch_disk_stats(d, path, &stats, err))
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(disk_fields); i++)
                if (virTypedParamsAddLLong(params, n, &capacity, disk_fields[i].param,
                                           (long long) disk_field(&stats, &disk_fields[i])) < 0)
                        break;
        return TRUE;
}

static gboolean read_block_info(const char *path, virDomainBlockInfoPtr ret, GError **err) {
        struct stat st;
        guint64 size = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0 || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &size) < 0)) {
                error_set_errno(err, errno, "Cannot access storage file '%s'", path);
                if (fd >= 0)
                        (void) close(fd);
                return FALSE;
        }
        (void) close(fd);
        if (!S_ISBLK(st.st_mode))
                size = (guint64) st.st_size;
        *ret = (virDomainBlockInfo) {
                .capacity = (size + 511) / 512 * 512, /* the guest sees whole sectors */
                .physical = size,
                .allocation = S_ISBLK(st.st_mode) ? size : (guint64) st.st_blocks * 512,
        };
        return TRUE;
}

gboolean domain_get_disk_errors(Domain *d, GPtrArray *targets, GArray *errors, guint *ret_disks, GError **err) {
        g_auto(Snapshot) s = { 0 };
        if (!snapshot_take_devices(d, &s, err))
                return FALSE;
        g_autoptr(GArray) all = fetch_monitor_stats(&s, TRUE, err);
        if (!all)
                return FALSE;
        *ret_disks = s.def->disks->len;
        for (guint i = 0; i < s.def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(s.def->disks, i);
                const struct ctl_device_stats *stats = stats_of(all, &s, disk);
                if (!stats || stats->error == 0)
                        continue;
                int error = stats->error == -ENOSPC ? VIR_DOMAIN_DISK_ERROR_NO_SPACE : VIR_DOMAIN_DISK_ERROR_UNSPEC;
                g_ptr_array_add(targets, g_strdup(disk->target));
                g_array_append_val(errors, error);
        }
        return TRUE;
}

gboolean domain_get_block_info(Domain *d, const char *path, virDomainBlockInfoPtr ret, GError **err) {
        g_auto(Snapshot) s = { 0 };
        snapshot_take(d, &s);
        const DomainDisk *disk = domain_def_find_disk(s.def, path);
        if (disk && disk->source)
                return read_block_info(disk->source, ret, err);
        if (disk && disk->type == DOMAIN_DISK_VOLUME) { /* of an inactive domain: the path is resolved at the start */
                g_autofree char *source = storage_volume_path(d->driver->libvirt, disk->pool, disk->volume, err);
                return source && read_block_info(source, ret, err);
        }
        if (disk)
                error_set(err, VIR_ERR_INVALID_ARG, "disk '%s' does not currently have a source assigned", path);
        else
                error_set(err, VIR_ERR_INVALID_ARG, "invalid path '%s' not assigned to domain", path);
        return FALSE;
}

/* --- Interfaces and memory -------------------------------------------------------------------- */

gboolean domain_get_interface_stats(Domain *d, const char *device, virDomainInterfaceStatsPtr ret, GError **err) {
        TapStats tap;
        g_auto(Snapshot) s = { 0 };
        if (!snapshot_take_active(d, &s, err))
                return FALSE;
        const DomainNic *nic = domain_def_find_nic(s.def, device);
        if (!nic) {
                return error_set(err, VIR_ERR_INVALID_ARG, "invalid path, '%s' is not a known interface", device);
        }
        if (!tap_get_stats(nic->target, &tap, err))
                return FALSE;
        *ret = (virDomainInterfaceStatsStruct) {
                .rx_bytes = (long long) tap.rx_bytes,
                .rx_packets = (long long) tap.rx_packets,
                .rx_errs = (long long) tap.rx_errors,
                .rx_drop = (long long) tap.rx_drops,
                .tx_bytes = (long long) tap.tx_bytes,
                .tx_packets = (long long) tap.tx_packets,
                .tx_errs = (long long) tap.tx_errors,
                .tx_drop = (long long) tap.tx_drops,
        };
        return TRUE;
}

int domain_get_memory_stats(Domain *d, virDomainMemoryStatPtr stats, unsigned max, GError **err) {
        g_auto(Snapshot) s = { 0 };
        unsigned n = 0;
        if (!snapshot_take_active(d, &s, err))
                return -1;
        if (n < max)
                stats[n++] = (virDomainMemoryStatStruct) { .tag = VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON,
                                                           .val = s.def->memory.current_kib };
        if (n < max)
                stats[n++] = (virDomainMemoryStatStruct) { .tag = VIR_DOMAIN_MEMORY_STAT_RSS,
                                                           .val = read_rss_kib(vmm_pid(s.vmm)) };
        return (int) n;
}

/* --- CPU ------------------------------------------------------------------------------------------ */

#define CPU_STATS_TOTALS 3u

/* cgroup v2 has no per-CPU numbers: a caller can ask how many CPUs there are, and for totals. */
int domain_get_cpu_stats(Domain *d, virTypedParameterPtr params, unsigned n, int start_cpu, unsigned ncpus, guint flags,
                         GError **err) {
        static const char *const names[] = { VIR_DOMAIN_CPU_STATS_CPUTIME, VIR_DOMAIN_CPU_STATS_USERTIME,
                                             VIR_DOMAIN_CPU_STATS_SYSTEMTIME };
        CgroupStats cgroup;
        g_auto(Snapshot) s = { 0 };
        if (!error_check_flags(flags, VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetCPUStats", err) ||
            !snapshot_take_active(d, &s, err))
                return -1;
        if (start_cpu >= 0)
                return n == 0 && ncpus == 0 ? (int) sysconf(_SC_NPROCESSORS_CONF) : 0;
        if (n == 0)
                return (int) CPU_STATS_TOTALS;
        if (!cgroup_read_stats(s.cgroup, &cgroup, err))
                return -1;
        guint64 values[] = { cgroup.cpu_usage_ns, cgroup.cpu_user_ns, cgroup.cpu_system_ns };
        unsigned count = MIN(n, CPU_STATS_TOTALS);
        for (unsigned i = 0; i < count; i++) {
                g_strlcpy(params[i].field, names[i], sizeof(params[i].field));
                params[i].type = VIR_TYPED_PARAM_ULLONG;
                params[i].value.ul = values[i];
        }
        return (int) count;
}

/* --- domstats --------------------------------------------------------------------------------------- */

/* Collects typed parameters with printf-style names. */
typedef struct Collector {
        virTypedParameterPtr *params;
        int *n;
        int capacity;
} Collector;

static void add_ullong(Collector *c, guint64 value, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void add_ullong(Collector *c, guint64 value, const char *format, ...) {
        char name[VIR_TYPED_PARAM_FIELD_LENGTH];
        va_list ap;
        va_start(ap, format);
        (void) g_vsnprintf(name, sizeof(name), format, ap);
        va_end(ap);
        (void) virTypedParamsAddULLong(c->params, c->n, &c->capacity, name, value);
}

static void add_uint(Collector *c, guint value, const char *name) {
        (void) virTypedParamsAddUInt(c->params, c->n, &c->capacity, name, value);
}

static void add_string(Collector *c, const char *value, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void add_string(Collector *c, const char *value, const char *format, ...) {
        char name[VIR_TYPED_PARAM_FIELD_LENGTH];
        va_list ap;
        va_start(ap, format);
        (void) g_vsnprintf(name, sizeof(name), format, ap);
        va_end(ap);
        (void) virTypedParamsAddString(c->params, c->n, &c->capacity, name, value);
}

static void collect_state(Collector *c, const Snapshot *s) {
        (void) virTypedParamsAddInt(c->params, c->n, &c->capacity, "state.state", s->state);
        (void) virTypedParamsAddInt(c->params, c->n, &c->capacity, "state.reason", s->reason);
}

static void collect_cpu(Collector *c, const Snapshot *s) {
        CgroupStats cgroup;
        if (!s->cgroup || !cgroup_read_stats(s->cgroup, &cgroup, NULL))
                return;
        add_ullong(c, cgroup.cpu_usage_ns, "cpu.time");
        add_ullong(c, cgroup.cpu_user_ns, "cpu.user");
        add_ullong(c, cgroup.cpu_system_ns, "cpu.system");
}

static void collect_balloon(Collector *c, const Snapshot *s) {
        add_ullong(c, s->def->memory.current_kib, "balloon.current");
        add_ullong(c, s->def->memory.maximum_kib, "balloon.maximum");
        if (s->vmm)
                add_ullong(c, read_rss_kib(vmm_pid(s->vmm)), "balloon.rss");
}

static void collect_vcpu(Collector *c, Domain *d, const Snapshot *s) {
        virVcpuInfo info[DOMAIN_VCPUS_MAX];
        add_uint(c, s->def->vcpus, "vcpu.current");
        add_uint(c, s->def->vcpus_max, "vcpu.maximum");
        int n = s->vmm ? domain_get_vcpu_info(d, info, DOMAIN_VCPUS_MAX, NULL, 0, NULL) : 0;
        for (int i = 0; i < n; i++) {
                char name[VIR_TYPED_PARAM_FIELD_LENGTH];
                (void) g_snprintf(name, sizeof(name), "vcpu.%d.state", i);
                (void) virTypedParamsAddInt(c->params, c->n, &c->capacity, name, info[i].state);
                add_ullong(c, info[i].cpuTime, "vcpu.%d.time", i);
        }
}

static void collect_interface(Collector *c, const Snapshot *s) {
        guint count = s->vmm ? s->def->nics->len : 0;
        add_uint(c, count, "net.count");
        for (guint i = 0; i < count; i++) {
                const DomainNic *nic = g_ptr_array_index(s->def->nics, i);
                TapStats t;
                if (nic->target)
                        add_string(c, nic->target, "net.%u.name", i);
                if (!tap_get_stats(nic->target, &t, NULL))
                        continue;
                add_ullong(c, t.rx_bytes, "net.%u.rx.bytes", i);
                add_ullong(c, t.rx_packets, "net.%u.rx.pkts", i);
                add_ullong(c, t.rx_errors, "net.%u.rx.errs", i);
                add_ullong(c, t.rx_drops, "net.%u.rx.drop", i);
                add_ullong(c, t.tx_bytes, "net.%u.tx.bytes", i);
                add_ullong(c, t.tx_packets, "net.%u.tx.pkts", i);
                add_ullong(c, t.tx_errors, "net.%u.tx.errs", i);
                add_ullong(c, t.tx_drops, "net.%u.tx.drop", i);
        }
}

static void collect_disk_io(Collector *c, const struct ctl_device_stats *stats, guint index) {
        for (gsize i = 0; stats && i < G_N_ELEMENTS(disk_fields); i++)
                add_ullong(c, disk_field(&stats->disk, &disk_fields[i]), "block.%u.%s", index, disk_fields[i].stat);
}

/* Without `wait` the monitor's counters are left out when it is likely to be busy. */
static void collect_block(Collector *c, const Snapshot *s, gboolean wait) {
        g_autoptr(GArray) all = s->vmm && (wait || !s->busy) ? fetch_monitor_stats(s, wait, NULL) : NULL;
        add_uint(c, s->def->disks->len, "block.count");
        for (guint i = 0; i < s->def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(s->def->disks, i);
                virDomainBlockInfo info;
                add_string(c, disk->target, "block.%u.name", i);
                if (disk->source)
                        add_string(c, disk->source, "block.%u.path", i);
                if (all)
                        collect_disk_io(c, stats_of(all, s, disk), i);
                if (!disk->source || !read_block_info(disk->source, &info, NULL))
                        continue;
                add_ullong(c, info.allocation, "block.%u.allocation", i);
                add_ullong(c, info.capacity, "block.%u.capacity", i);
                add_ullong(c, info.physical, "block.%u.physical", i);
        }
}

#define STATS_GROUPS                                                                                                   \
        (VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU |      \
         VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK)
#define STATS_FLAGS                                                                                                    \
        ((guint) VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS | VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING |         \
         VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)

static gboolean check_stats(guint stats, guint flags, GError **err) {
        if (!error_check_flags(flags, STATS_FLAGS, "virConnectGetAllDomainStats", err))
                return FALSE;
        if (!(flags & (guint) VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) || (stats & ~(guint) STATS_GROUPS) == 0)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Stats types bits 0x%x are not supported by this daemon",
                         stats & ~(guint) STATS_GROUPS);
}

gboolean domain_get_all_stats(Domain *d, guint stats, guint flags, virTypedParameterPtr *params, int *n, GError **err) {
        g_auto(Snapshot) s = { 0 };
        Collector c = { .params = params, .n = n };
        *params = NULL;
        *n = 0;
        if (!check_stats(stats, flags, err))
                return FALSE;
        snapshot_take(d, &s);
        if (stats == 0)
                stats = STATS_GROUPS;
        if (stats & VIR_DOMAIN_STATS_STATE)
                collect_state(&c, &s);
        if (stats & VIR_DOMAIN_STATS_CPU_TOTAL)
                collect_cpu(&c, &s);
        if (stats & VIR_DOMAIN_STATS_BALLOON)
                collect_balloon(&c, &s);
        if (stats & VIR_DOMAIN_STATS_VCPU)
                collect_vcpu(&c, d, &s);
        if (stats & VIR_DOMAIN_STATS_INTERFACE)
                collect_interface(&c, &s);
        if (stats & VIR_DOMAIN_STATS_BLOCK)
                collect_block(&c, &s, (flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT) == 0);
        return TRUE;
}
