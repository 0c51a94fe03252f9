/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPU and memory counts, and on which host CPUs threads may run: the calls of clients.
 * Placing threads is affinity.c's; getters of a running domain ask the kernel. Counts are
 * fixed while a domain runs: there is no hot plug.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "domain/affinity.h"
#include "domain/internal.h"
#include "systemd/scope.h"
#include "util/error.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

static unsigned host_cpus(void) {
        long n = sysconf(_SC_NPROCESSORS_CONF);
        return n > 0 ? (unsigned) n : 1;
}

/* A definition's choice as libvirt reports it: all of the host's CPUs by default. */
static void put_choice(const CpuMap *cpus, CpuMap *ret) {
        if (cpus)
                *ret = *cpus;
        else
                cpumap_fill(ret, host_cpus());
}

gboolean domain_read_vcpu_tids(Domain *d, guint32 *ret_state, guint32 *ret_reason) {
        struct ctl_header message = { 0 };
        struct ctl_query_reply reply;
        pid_t tids[DOMAIN_VCPUS_MAX] = { 0 };
        g_autoptr(GError) err = NULL;
        unsigned n = MIN(d->def->vcpus, DOMAIN_VCPUS_MAX);
        domain_unlock(d);
        gboolean answered =
                vmm_call(d->run.vmm, CTL_QUERY, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), &err);
        gboolean ok = answered && vmm_resolve_threads(d->run.vmm, reply.vcpu_tid, MIN(reply.vcpus, n), tids, &err);
        domain_lock(d);
        memcpy(d->run.vcpu_tid, tids, sizeof(tids));
        if (!ok)
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot get the threads of its vCPUs: %s", err->message);
        if (answered && ret_state)
                *ret_state = reply.state;
        if (answered && ret_reason)
                *ret_reason = reply.reason;
        return answered;
}

int domain_get_vcpus(Domain *d, guint flags, GError **err) {
        DomainDef *live = NULL, *config = NULL;
        int n = -1;
        if (!error_check_flags(flags, AFFECT_FLAGS | VIR_DOMAIN_VCPU_MAXIMUM | VIR_DOMAIN_VCPU_GUEST,
                               "virDomainGetVcpusFlags", err))
                return -1;
        domain_lock(d);
        if (flags & VIR_DOMAIN_VCPU_GUEST)
                (void) domain_refuse_agent(d->def, err);
        else if (domain_affect(d, flags, &live, &config, err)) {
                const DomainDef *def = live ? live : config;
                n = (int) (flags & VIR_DOMAIN_VCPU_MAXIMUM ? def->vcpus_max : def->vcpus);
        }
        domain_unlock(d);
        return n;
}

static gboolean refuse_live(const char *what, GError **err) {
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "%s cannot change while the domain runs: use --config and restart it", what);
}

static gboolean change_vcpus(DomainDef *def, guint vcpus, gboolean maximum, GError **err) {
        guint limit = maximum ? DOMAIN_VCPUS_MAX : def->vcpus_max;
        if (vcpus < 1 || vcpus > limit) {
                return error_set(
                        err, VIR_ERR_INVALID_ARG,
                        "requested vcpus is greater than max allowable vcpus for the persistent domain: %u > %u", vcpus,
                        limit);
        }
        if (maximum && def->cpu.has_topology && vcpus != def->vcpus_max) {
                return error_set(err, VIR_ERR_INVALID_ARG, "CPU topology doesn't match the desired vcpu count");
        }
        if (maximum)
                def->vcpus_max = vcpus;
        def->vcpus = maximum ? MIN(def->vcpus, vcpus) : vcpus;
        return TRUE;
}

gboolean domain_set_vcpus(Domain *d, guint vcpus, guint flags, GError **err) {
        DomainDef *live = NULL, *config = NULL;
        if (!error_check_flags(flags, AFFECT_FLAGS | VIR_DOMAIN_VCPU_MAXIMUM, "virDomainSetVcpusFlags", err) ||
            !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &live, &config, err);
        if (ok && live)
                ok = refuse_live("the number of vCPUs", err);
        if (ok) {
                DomainDef *copy = domain_def_copy(config);
                ok = change_vcpus(copy, vcpus, flags & VIR_DOMAIN_VCPU_MAXIMUM, err);
                if (ok)
                        ok = config_replace(d, copy, err);
                else
                        domain_def_free(copy);
        }
        domain_job_end(d);
        return ok;
}

static gboolean check_memory(const DomainDef *def, guint64 kib, gboolean maximum, GError **err) {
        if (kib < DOMAIN_MEMORY_KIB_MIN)
                return error_set(err, VIR_ERR_INVALID_ARG, "a domain needs at least %u KiB of memory",
                                 DOMAIN_MEMORY_KIB_MIN);
        if (kib > DOMAIN_MEMORY_KIB_MAX)
                return error_set(err, VIR_ERR_INVALID_ARG, "a domain has at most %llu KiB of memory",
                                 DOMAIN_MEMORY_KIB_MAX);
        return maximum || kib <= def->memory.maximum_kib ||
               error_set(err, VIR_ERR_INVALID_ARG, "cannot set memory higher than max memory");
}

gboolean domain_set_memory(Domain *d, guint64 kib, guint flags, GError **err) {
        DomainDef *live = NULL, *config = NULL;
        gboolean maximum = (flags & VIR_DOMAIN_MEM_MAXIMUM) != 0;
        if (!error_check_flags(flags, AFFECT_FLAGS | VIR_DOMAIN_MEM_MAXIMUM, "virDomainSetMemoryFlags", err) ||
            !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &live, &config, err);
        if (ok && live && maximum) {
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot resize the maximum memory on an active domain");
                ok = FALSE;
        } else if (ok && live) {
                ok = refuse_live("the memory", err);
        } else if (ok && !check_memory(config, kib, maximum, err)) {
                ok = FALSE;
        } else if (ok) {
                DomainDef *copy = domain_def_copy(config);
                if (maximum)
                        copy->memory.maximum_kib = kib;
                copy->memory.current_kib = maximum ? MIN(copy->memory.current_kib, kib) : kib;
                ok = config_replace(d, copy, err);
        }
        domain_job_end(d);
        return ok;
}

/* utime + stime of a thread and the CPU it last ran on, from /proc/PID/task/TID/stat. */
static gboolean read_thread_stat(pid_t pid, pid_t tid, guint64 *ret_ns, int *ret_cpu) {
        g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/stat", (int) pid, (int) tid);
        g_autofree char *text = NULL;
        guint64 utime = 0, stime = 0;
        if (!g_file_get_contents(path, &text, NULL, NULL))
                return FALSE;
        const char *p = strrchr(text, ')');
        g_auto(GStrv) f = g_strsplit(p ? p + 2 : "", " ", 40);
        if (g_strv_length(f) < 37)
                return FALSE;
        utime = g_ascii_strtoull(f[11], NULL, 10);
        stime = g_ascii_strtoull(f[12], NULL, 10);
        *ret_ns = (utime + stime) * (1000000000ull / (guint64) sysconf(_SC_CLK_TCK));
        *ret_cpu = (int) g_ascii_strtoll(f[36], NULL, 10);
        return TRUE;
}

int domain_get_vcpu_info(Domain *d, virVcpuInfoPtr info, int max, guint8 *cpumaps, int maplen, GError **err) {
        domain_lock(d);
        if (!domain_active(d) || !d->run.vmm) {
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot retrieve vcpu information for inactive domain");
                domain_unlock(d);
                return -1;
        }
        int n = MIN((int) d->def->vcpus, max);
        for (int i = 0; i < n; i++) {
                CpuMap map;
                guint64 ns = 0;
                int cpu = -1;
                (void) read_thread_stat(vmm_pid(d->run.vmm), d->run.vcpu_tid[i], &ns, &cpu);
                info[i] =
                        (virVcpuInfo) { .number = (unsigned) i, .state = VIR_VCPU_RUNNING, .cpuTime = ns, .cpu = cpu };
                if (!affinity_get(d->run.vcpu_tid[i], &map))
                        put_choice(domain_def_vcpu_cpus(d->def, (unsigned) i), &map);
                if (cpumaps)
                        memcpy(cpumaps + (gsize) i * (gsize) maplen, map.bytes, MIN((gsize) maplen, sizeof(map.bytes)));
        }
        domain_unlock(d);
        return n;
}

static gboolean check_cpus(const CpuMap *cpus, GError **err) {
        if (!cpumap_is_empty(cpus) && cpumap_last(cpus) < (int) host_cpus())
                return TRUE;
        g_autofree char *text = cpumap_format(cpus);
        return error_set(err, VIR_ERR_INVALID_ARG, "CPUs '%s' are not among the host's %u", text, host_cpus());
}

static void put_pin(DomainDef *def, guint vcpu, const CpuMap *cpus) {
        DomainVcpuPin pin = { .vcpu = vcpu, .cpus = *cpus };
        guint i = 0;
        while (i < def->cputune.vcpupin->len && g_array_index(def->cputune.vcpupin, DomainVcpuPin, i).vcpu < vcpu)
                i++;
        if (i < def->cputune.vcpupin->len && g_array_index(def->cputune.vcpupin, DomainVcpuPin, i).vcpu == vcpu)
                g_array_index(def->cputune.vcpupin, DomainVcpuPin, i) = pin;
        else
                g_array_insert_val(def->cputune.vcpupin, i, pin);
}

static void put_emulator_pin(DomainDef *def, const CpuMap *cpus) {
        def->cputune.has_emulatorpin = TRUE;
        def->cputune.emulatorpin = *cpus;
}

#define EMULATOR G_MAXUINT /* in place of a vCPU's number */

/* As libvirt's drivers report it: the field is named after the thread, the value is the list of CPUs. */
static void emit_pin(Domain *d, guint vcpu, const CpuMap *cpus) {
        char name[VIR_TYPED_PARAM_FIELD_LENGTH];
        g_autofree char *text = cpumap_format(cpus);
        virTypedParameterPtr params = NULL;
        int n = 0, capacity = 0;
        if (vcpu == EMULATOR)
                (void) g_strlcpy(name, VIR_DOMAIN_TUNABLE_CPU_EMULATORPIN, sizeof(name));
        else
                (void) g_snprintf(name, sizeof(name), VIR_DOMAIN_TUNABLE_CPU_VCPUPIN, vcpu);
        (void) virTypedParamsAddString(&params, &n, &capacity, name, text);
        event_tunable(d, params, n);
}

/* The scope's bound first, so that threads may move; changing that moves all of them. */
gboolean domain_apply_cputune(Domain *d, const DomainDef *def, gconstpointer unused, GError **err) {
        domain_unlock(d);
        gboolean ok = scope_apply_cputune(d->driver->bus, d->run.unit, d->run.cgroup, def, err);
        domain_lock(d);
        ok = ok && affinity_apply(d->run.cgroup, def, d->run.vcpu_tid, err);
        affinity_watch_kick(d->driver->affinity);
        return ok;
}

static DomainDef *with_pin(const DomainDef *def, guint vcpu, const CpuMap *cpus) {
        DomainDef *copy = domain_def_copy(def);
        if (vcpu == EMULATOR)
                put_emulator_pin(copy, cpus);
        else
                put_pin(copy, vcpu, cpus);
        return copy;
}

static gboolean check_vcpu(const DomainDef *def, guint vcpu, GError **err) {
        if (!def || vcpu == EMULATOR || vcpu < def->vcpus)
                return TRUE;
        return error_set(err, VIR_ERR_INVALID_ARG, "vcpu %u is out of range: the domain has %u", vcpu, def->vcpus);
}

static gboolean pin(Domain *d, guint vcpu, const CpuMap *cpus, guint flags, const char *function, GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        if (!error_check_flags(flags, AFFECT_FLAGS, function, err) || !check_cpus(cpus, err) ||
            !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &old_live, &old_config, err) && check_vcpu(old_live, vcpu, err) &&
                      check_vcpu(old_config, vcpu, err);
        gboolean is_live = ok && old_live;
        g_autoptr(DomainDef) live = is_live ? with_pin(old_live, vcpu, cpus) : NULL;
        g_autoptr(DomainDef) config = ok && old_config ? with_pin(old_config, vcpu, cpus) : NULL;
        ok = ok && domain_replace_defs(d, &live, &config, domain_apply_cputune, NULL, err);
        if (ok && is_live)
                emit_pin(d, vcpu, cpus);
        domain_job_end(d);
        return ok;
}

gboolean domain_pin_vcpu(Domain *d, guint vcpu, const CpuMap *cpus, guint flags, GError **err) {
        return pin(d, MIN(vcpu, EMULATOR - 1), cpus, flags, "virDomainPinVcpuFlags", err);
}

gboolean domain_pin_emulator(Domain *d, const CpuMap *cpus, guint flags, GError **err) {
        return pin(d, EMULATOR, cpus, flags, "virDomainPinEmulator", err);
}

int domain_get_vcpu_pin(Domain *d, CpuMap *maps, int max, guint flags, GError **err) {
        DomainDef *live = NULL, *config = NULL;
        int n = -1;
        if (!error_check_flags(flags, AFFECT_FLAGS, "virDomainGetVcpuPinInfo", err))
                return -1;
        domain_lock(d);
        if (domain_affect(d, flags, &live, &config, err)) {
                const DomainDef *def = live ? live : config;
                n = MIN((int) def->vcpus, max);
                for (int i = 0; i < n; i++)
                        if (!live || !affinity_get(d->run.vcpu_tid[i], &maps[i]))
                                put_choice(domain_def_vcpu_cpus(def, (unsigned) i), &maps[i]);
        }
        domain_unlock(d);
        return n;
}

gboolean domain_get_emulator_pin(Domain *d, CpuMap *ret, guint flags, GError **err) {
        DomainDef *live = NULL, *config = NULL;
        if (!error_check_flags(flags, AFFECT_FLAGS, "virDomainGetEmulatorPinInfo", err))
                return FALSE;
        domain_lock(d);
        gboolean ok = domain_affect(d, flags, &live, &config, err);
        if (ok && !(live && d->run.vmm && affinity_get(vmm_pid(d->run.vmm), ret)))
                put_choice(domain_def_emulator_cpus(live ? live : config), ret);
        domain_unlock(d);
        return ok;
}
