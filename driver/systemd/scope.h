/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's transient scope: its name, its creation with all limits in one
 * StartTransientUnit call, live changes by SetUnitProperties, registration with
 * systemd-machined, and the numbers that its cgroup keeps. Blocking D-Bus calls: for
 * worker threads, never the main loop's.
 */
#pragma once

#include <gio/gio.h>

#include "../conf/domain_def.h"

/* "micro-1-web1": the name that machinectl lists. */
char *scope_machine_name(int id, const char *domain_name);
/* "machine-micro\x2d1\x2dweb1.scope" */
char *scope_unit_name(const char *machine_name);
/* "machine.slice" from NULL or "/machine/…"; VIR_ERR_CONFIG_UNSUPPORTED unless it starts with '/'. */
char *scope_slice_name(const char *partition, GError **err);

/*
 * StartTransientUnit(unit, "fail", …) with `pid` inside, waits for the job. The limits come from
 * cputune, memtune, blkiotune, numatune, vcpu cpuset. On error nothing is left behind.
 */
gboolean scope_start(GDBusConnection *bus, const DomainDef *def, const char *unit, const char *slice, pid_t pid,
                     guint stop_timeout, GError **err);
/* SCOPE_UNKNOWN: systemd does not answer, which says nothing about the scope. */
typedef enum ScopeIdentity { SCOPE_OF_DOMAIN, SCOPE_OF_ANOTHER, SCOPE_UNKNOWN } ScopeIdentity;
/*
 * Whether systemd has a scope `unit` whose control group is `group` (below the root of the hierarchy), and which
 * scope_start() has started for a domain of this name. *ret_uuid is the domain's.
 */
ScopeIdentity scope_identify(GDBusConnection *bus, const char *unit, const char *group, const char *name,
                             guint8 ret_uuid[16]);
/* Holds a scope that an earlier daemon has started, as scope_start() does. Waits for nobody; any thread. */
void scope_hold(GDBusConnection *bus, const char *unit);
/*
 * Whether the kernel has killed the process of the scope, which has just ended, for want of memory. Waits two seconds
 * at most for systemd to notice. *ret_limit_kib: MemoryMax; 0: none.
 */
gboolean scope_was_oom_killed(GDBusConnection *bus, const char *unit, guint64 *ret_limit_kib);
/* Kills what is left in the scope and waits until the unit is gone; no error when it already is. */
gboolean scope_stop(GDBusConnection *bus, const char *unit, GError **err);

/*
 * Whether this host has the CPUs, NUMA nodes and block devices that the limits name, so that systemd does not skip
 * them silently: VIR_ERR_CONFIG_UNSUPPORTED. Cheap; before scope_start().
 */
gboolean scope_check_host(const DomainDef *def, GError **err);
/* Whether the kernel enforces all limits of a scope that was started; VIR_ERR_CONFIG_UNSUPPORTED when it does not. */
gboolean scope_check_limits(const char *cgroup_path, const DomainDef *def, GError **err);

/* Live changes (Runtime=true), read back. Values as in DomainDef; only the group named is sent. */
gboolean scope_apply_cputune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                             GError **err);
gboolean scope_apply_memtune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                             GError **err);
/* How many threads and processes its devices and vCPUs may need. */
gboolean scope_apply_tasks(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                           GError **err);
gboolean scope_apply_blkiotune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                               GError **err);

/*
 * What is in force, whoever set it: updates the group's members of `def`, a copy of the live definition, where the
 * control group differs. CPUs and nodes are left as they are.
 */
void scope_read_cputune(const char *cgroup_path, DomainDef *def);
void scope_read_memtune(const char *cgroup_path, DomainDef *def);
void scope_read_blkiotune(const char *cgroup_path, DomainDef *def);
/* The CPUs that its threads may use: the scope's own, less what outer groups or the host take away. */
void scope_read_cpus(const char *cgroup_path, CpuMap *ret);

/* RegisterMachineWithNetwork. No machined is fine (TRUE, *ret_registered FALSE). */
gboolean machined_register(GDBusConnection *bus, const char *machine, const guint8 uuid[16], pid_t leader,
                           const int *ifindexes, unsigned n, gboolean *ret_registered, GError **err);
void machined_terminate(GDBusConnection *bus, const char *machine); /* unregisters; unknown is fine */

typedef struct CgroupStats {
        guint64 cpu_usage_ns, cpu_user_ns, cpu_system_ns;
} CgroupStats;
/* Absolute path of a unit's cgroup below /sys/fs/cgroup. */
char *scope_cgroup_path(GDBusConnection *bus, const char *unit, GError **err);
gboolean cgroup_read_stats(const char *cgroup_path, CgroupStats *ret, GError **err);
