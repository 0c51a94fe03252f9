/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM's scope. It is created with the monitor's process inside and every limit set in one call, so the monitor never
 * runs in its scope without limits; it is moved there before it maps guest memory, so the accounting is right from the
 * first page.
 *
 * Stopping the scope for any reason (systemctl stop, the host's shutdown) sends the monitor SIGTERM, which presses the
 * guest's power button, and SIGKILL after `stop_timeout`. Order at shutdown is libvirt's: libvirt-guests acts before
 * virt-guest-shutdown.target, scopes end after it and before the daemon. systemd only orders units that it stops in the
 * same transaction, so a daemon that does not run would order nothing: the units of guests' networks and remote disks
 * are named as well.
 *
 * The daemon holds the unit (AddRef), so that what systemd knows of its end can be asked after it: the control group is
 * gone by then. Scopes of a daemon that has gone are held by nobody, and vanish by themselves.
 *
 * The device ACL names /dev/null only: a monitor opens nothing, it holds descriptors, and opening is what the ACL
 * governs. An empty ACL would do, but systemd comments on it in the journal at every start.
 */
#include "systemd/scope_internal.h"
#include "util/error.h"

#include <signal.h>
#include <string.h>

#define JOB_TIMEOUT_S 60
#define END_POLL_MS   20u
#define END_WAIT_MS   2000u /* from the end of a process until systemd has noticed; it may be busy */

static void add_string(GVariantBuilder *properties, const char *name, const char *value) {
        g_variant_builder_add(properties, "(sv)", name, g_variant_new_string(value));
}

static void add_strings(GVariantBuilder *properties, const char *name, const char *const *values) {
        g_variant_builder_add(properties, "(sv)", name, g_variant_new_strv(values, -1));
}

/* What systemctl shows; a later daemon reads it again (scope_identify()). */
static char *describe(const char *name, const char *uuid) {
        g_autofree char *text = g_strdup_printf("virtmicro VM %s (%s)", name, uuid);
        return g_utf8_make_valid(text, -1);
}

static void add_identity(GVariantBuilder *properties, const DomainDef *def, const char *slice, pid_t pid) {
        static const char *const after[] = { "virtmicrod.service", "network.target", "remote-fs.target", NULL };
        static const char *const before[] = { "virt-guest-shutdown.target", NULL };
        char uuid[37];
        guint32 pids[1] = { (guint32) pid };

        domain_uuid_format(def->uuid, uuid);
        g_autofree char *description = describe(def->name, uuid);
        add_string(properties, "Description", description);
        add_string(properties, "Slice", slice);
        add_strings(properties, "After", after);
        add_strings(properties, "Before", before);
        g_variant_builder_add(properties, "(sv)", "PIDs",
                              g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, pids, 1, sizeof(pids[0])));
}

/* systemctl status and systemd-cgtop show what is accounted; the host's defaults leave I/O out. */
static void add_accounting(GVariantBuilder *properties) {
        static const char *const names[] = { "CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting" };
        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                g_variant_builder_add(properties, "(sv)", names[i], g_variant_new_boolean(TRUE));
}

/* Without a hold there is nothing to drop, and that is fine. */
static void scope_drop(GDBusConnection *bus, const char *unit) {
        g_autoptr(GVariant) dropped G_GNUC_UNUSED = bus_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                                             "UnrefUnit", g_variant_new("(s)", unit), NULL, NULL);
}

static void add_lifecycle(GVariantBuilder *properties, const DomainDef *def, guint stop_timeout) {
        g_variant_builder_add(properties, "(sv)", "TimeoutStopUSec",
                              g_variant_new_uint64((guint64) stop_timeout * G_USEC_PER_SEC));
        g_variant_builder_add(properties, "(sv)", "KillSignal", g_variant_new_int32(SIGTERM));
        g_variant_builder_add(properties, "(sv)", "SendSIGKILL", g_variant_new_boolean(TRUE));
        add_string(properties, "KillMode", "control-group");
        add_string(properties, "CollectMode", "inactive-or-failed");
        g_variant_builder_add(properties, "(sv)", "AddRef", g_variant_new_boolean(TRUE));
        add_string(properties, "DevicePolicy", "strict");
        g_variant_builder_add(properties, "(sv)", "DeviceAllow", g_variant_new_parsed("[('/dev/null', 'rw')]"));
        limits_add_tasks(properties, def);
}

gboolean scope_start(GDBusConnection *bus, const DomainDef *def, const char *unit, const char *slice, pid_t pid,
                     guint stop_timeout, GError **err) {
        GVariantBuilder properties;
        GVariant *parameters;

        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        add_identity(&properties, def, slice, pid);
        add_lifecycle(&properties, def, stop_timeout);
        add_accounting(&properties);
        limits_add_cputune(&properties, def, FALSE);
        limits_add_memtune(&properties, def, FALSE);
        limits_add_blkiotune(&properties, def, FALSE);
        parameters = g_variant_new("(ss@a(sv)@a(sa(sv)))", unit, "fail", g_variant_builder_end(&properties),
                                   g_variant_new_array(G_VARIANT_TYPE("(sa(sv))"), NULL, 0));
        if (job_run(bus, unit, "StartTransientUnit", parameters, JOB_TIMEOUT_S, NULL, err))
                return TRUE;
        scope_drop(bus, unit);
        return FALSE;
}

void scope_hold(GDBusConnection *bus, const char *unit) {
        if (bus)
                g_dbus_connection_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "RefUnit",
                                       g_variant_new("(s)", unit), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL, NULL);
}

static char *get_text(GDBusConnection *bus, const char *unit, const char *interface, const char *property) {
        g_autoptr(GVariant) value = unit_get_property(bus, unit, interface, property, NULL, NULL);
        return value && g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) ? g_variant_dup_string(value, NULL) : NULL;
}

/* The UUID stands at the end and has a fixed length. */
static gboolean parse_description(const char *text, const char *name, guint8 ret_uuid[16]) {
        gsize tail = strlen("XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX)"), len = strlen(text);
        g_autofree char *uuid = len > tail ? g_strndup(text + len - tail, tail - 1) : g_strdup("");
        g_autofree char *expected = describe(name, uuid);
        return strcmp(text, expected) == 0 && domain_uuid_parse(uuid, ret_uuid);
}

/* FALSE: systemd does not answer. *ret is NULL when it has no such unit. */
static gboolean ask_text(GDBusConnection *bus, const char *unit, const char *interface, const char *property,
                         char **ret) {
        gboolean missing = FALSE;
        g_autoptr(GVariant) value = unit_get_property(bus, unit, interface, property, &missing, NULL);
        *ret = value && g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) ? g_variant_dup_string(value, NULL) : NULL;
        return value || missing;
}

ScopeIdentity scope_identify(GDBusConnection *bus, const char *unit, const char *group, const char *name,
                             guint8 ret_uuid[16]) {
        g_autofree char *own = NULL, *description = NULL;
        if (!ask_text(bus, unit, SYSTEMD_NAME ".Scope", "ControlGroup", &own) ||
            !ask_text(bus, unit, SYSTEMD_NAME ".Unit", "Description", &description))
                return SCOPE_UNKNOWN;
        if (own && description && strcmp(own, group) == 0 && parse_description(description, name, ret_uuid))
                return SCOPE_OF_DOMAIN;
        return SCOPE_OF_ANOTHER;
}

static guint64 get_limit_kib(GDBusConnection *bus, const char *unit) {
        g_autoptr(GVariant) value = unit_get_property(bus, unit, SYSTEMD_NAME ".Scope", "MemoryMax", NULL, NULL);
        guint64 bytes = value && g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64) ? g_variant_get_uint64(value) : 0;
        return bytes == G_MAXUINT64 ? 0 : bytes / 1024;
}

gboolean scope_was_oom_killed(GDBusConnection *bus, const char *unit, guint64 *ret_limit_kib) {
        for (guint waited = 0; waited < END_WAIT_MS; waited += END_POLL_MS) {
                /* In this order: systemd sets the result before the state. */
                g_autofree char *state = get_text(bus, unit, SYSTEMD_NAME ".Unit", "ActiveState");
                g_autofree char *result = get_text(bus, unit, SYSTEMD_NAME ".Scope", "Result");
                if (g_strcmp0(result, "oom-kill") == 0) {
                        *ret_limit_kib = get_limit_kib(bus, unit);
                        return TRUE;
                }
                if (g_strcmp0(state, "active") != 0)
                        return FALSE;
                g_usleep(END_POLL_MS * 1000);
        }
        return FALSE;
}

gboolean scope_stop(GDBusConnection *bus, const char *unit, GError **err) {
        g_autoptr(GError) error = NULL;
        gboolean missing = FALSE;
        g_autoptr(GVariant) killed G_GNUC_UNUSED =
                bus_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "KillUnit",
                         g_variant_new("(ssi)", unit, "all", SIGKILL), &missing, NULL);

        if (missing)
                return TRUE;
        /* Killing fails when no process is left, which is the goal. */
        gboolean stopped =
                job_run(bus, unit, "StopUnit", g_variant_new("(ss)", unit, "replace"), JOB_TIMEOUT_S, &missing, &error);
        scope_drop(bus, unit);
        if (stopped || missing)
                return TRUE;
        g_propagate_error(err, g_steal_pointer(&error));
        return FALSE;
}

static gboolean set_properties(GDBusConnection *bus, const char *unit, GVariantBuilder *properties, GError **err) {
        g_autoptr(GVariant) reply =
                bus_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "SetUnitProperties",
                         g_variant_new("(sb@a(sv))", unit, TRUE, g_variant_builder_end(properties)), NULL, err);
        return reply != NULL;
}

gboolean scope_apply_cputune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                             GError **err) {
        GVariantBuilder properties;
        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        limits_add_cputune(&properties, def, TRUE);
        limits_widen_cpus(&properties, cgroup_path, def);
        return set_properties(bus, unit, &properties, err) && limits_check_cputune(cgroup_path, def, err);
}

gboolean scope_apply_memtune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                             GError **err) {
        GVariantBuilder properties;
        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        limits_add_memtune(&properties, def, TRUE);
        return set_properties(bus, unit, &properties, err) && limits_check_memtune(cgroup_path, def, err);
}

gboolean scope_apply_tasks(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                           GError **err) {
        GVariantBuilder properties;
        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        limits_add_tasks(&properties, def);
        return set_properties(bus, unit, &properties, err) && limits_check_tasks(cgroup_path, def, err);
}

gboolean scope_apply_blkiotune(GDBusConnection *bus, const char *unit, const char *cgroup_path, const DomainDef *def,
                               GError **err) {
        GVariantBuilder properties;
        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        limits_add_blkiotune(&properties, def, TRUE);
        return set_properties(bus, unit, &properties, err) && limits_check_blkiotune(cgroup_path, def, err);
}
