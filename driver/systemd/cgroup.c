/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The counters of a scope's control group (cgroup v2, Documentation/admin-guide/
 * cgroup-v2.rst): the CPU time, whose file is in every group. A group that is missing is
 * an error.
 */
#include <string.h>

#include "systemd/scope_internal.h"
#include "util/error.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

char *scope_cgroup_path(GDBusConnection *bus, const char *unit, GError **err) {
        g_autoptr(GVariant) group = unit_get_property(bus, unit, SYSTEMD_NAME ".Scope", "ControlGroup", NULL, err);

        if (!group)
                return NULL;
        const char *path = g_variant_is_of_type(group, G_VARIANT_TYPE_STRING) ? g_variant_get_string(group, NULL) : "";
        if (path[0] == '/')
                return g_strconcat(CGROUP_ROOT, path, NULL);
        return error_null(err, VIR_ERR_OPERATION_INVALID, "scope '%s' has no control group", unit);
}

static char *read_file(const char *group, const char *name) {
        g_autofree char *path = g_build_filename(group, name, NULL);
        char *text = NULL;
        (void) g_file_get_contents(path, &text, NULL, NULL);
        return text;
}

/* The number behind a key of a flat keyed file; 0 when it is not there. */
static guint64 find_key(char **lines, const char *key) {
        for (; *lines; lines++) {
                gsize n = strlen(key);
                if (g_str_has_prefix(*lines, key) && (*lines)[n] == ' ')
                        return g_ascii_strtoull(*lines + n + 1, NULL, 10);
        }
        return 0;
}

gboolean cgroup_read_stats(const char *cgroup_path, CgroupStats *ret, GError **err) {
        g_autofree char *text = read_file(cgroup_path, "cpu.stat");

        if (!text) {
                return error_set(err, VIR_ERR_OPERATION_INVALID, "control group '%s' does not exist", cgroup_path);
        }
        g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
        *ret = (CgroupStats) {
                .cpu_usage_ns = find_key(lines, "usage_usec") * 1000,
                .cpu_user_ns = find_key(lines, "user_usec") * 1000,
                .cpu_system_ns = find_key(lines, "system_usec") * 1000,
        };
        return TRUE;
}
