/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of this folder share. */
#pragma once

#include "systemd/scope.h"

#define SYSTEMD_NAME    "org.freedesktop.systemd1"
#define SYSTEMD_PATH    "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER SYSTEMD_NAME ".Manager"

#define BUS_TIMEOUT_MS 25000 /* one method call; D-Bus's own default */

/*
 * A method call with libvirt's error for what the service answers: VIR_ERR_DBUS_SERVICE and its text. NULL on
 * error; *missing (unless NULL) says whether the service's answer was that there is no such unit, machine or job.
 */
GVariant *bus_call(GDBusConnection *bus, const char *name, const char *path, const char *interface, const char *method,
                   GVariant *parameters, gboolean *missing, GError **err);

/*
 * Calls a method of systemd's manager that returns a job and waits for the job to be removed.
 * FALSE when it did not end in "done"; *missing as above.
 */
gboolean job_run(GDBusConnection *bus, const char *unit, const char *method, GVariant *parameters, guint timeout_s,
                 gboolean *missing, GError **err);

/* One property of a unit as a variant of its own type; NULL with *err, *missing as above. */
GVariant *unit_get_property(GDBusConnection *bus, const char *unit, const char *interface, const char *property,
                            gboolean *missing, GError **err);

/*
 * Adds a group's properties to an a(sv) builder. With `reset`, what the definition does not limit is sent
 * too, as unlimited; without, it is left out.
 */
void limits_add_cputune(GVariantBuilder *properties, const DomainDef *def, gboolean reset);
void limits_add_memtune(GVariantBuilder *properties, const DomainDef *def, gboolean reset);
void limits_add_blkiotune(GVariantBuilder *properties, const DomainDef *def, gboolean reset);
/* After the above: names all CPUs where a definition that names none finds a bound in force, since systemd does not
 * lift it. */
void limits_widen_cpus(GVariantBuilder *properties, const char *group, const DomainDef *def);
/* What these come to: CPUWeight; CPU time per second in us (0: no quota) and its period (0: systemd's default). */
guint64 limits_cpu_weight(const DomainDef *def);
void limits_cpu_quota(const DomainDef *def, guint64 *ret_per_second, guint64 *ret_period);
/* AllowedCPUs, a union of what threads may use; FALSE: any. AllowedMemoryNodes; NULL: any. */
gboolean limits_allowed_cpus(const DomainDef *def, CpuMap *ret);
const CpuMap *limits_allowed_nodes(const DomainDef *def);
/*
 * Whether the host has, and a control group enforces, what a definition asks for; VIR_ERR_CONFIG_UNSUPPORTED with the
 * name of the file when not.
 */
gboolean limits_check_cputune(const char *group, const DomainDef *def, GError **err);
gboolean limits_check_memtune(const char *group, const DomainDef *def, GError **err);
gboolean limits_check_blkiotune(const char *group, const DomainDef *def, GError **err);
/* The bound on tasks follows from the devices and vCPUs. */
guint64 limits_tasks_max(const DomainDef *def);
void limits_add_tasks(GVariantBuilder *properties, const DomainDef *def);
gboolean limits_check_tasks(const char *group, const DomainDef *def, GError **err);
