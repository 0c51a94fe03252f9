/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names that systemd, machined and libvirt agree on: the machine's from the domain's, the
 * scope's from the machine's, the slice's from <resource><partition>. The rules are
 * libvirt's own, so that tools that know how libvirt names a domain's scope find it.
 */
#include <string.h>

#include "systemd/scope.h"
#include "util/error.h"

#define MACHINE_NAME_MAX  64u /* HOST_NAME_MAX: machine names are host names */
#define PARTITION_DEFAULT "/machine"

/* A host name has no two separators in a row and none at an end. */
static void append_valid(GString *name, const char *text) {
        for (const char *c = text; *c && name->len < MACHINE_NAME_MAX; c++) {
                gboolean separator = *c == '.' || *c == '-';
                char last = name->str[name->len - 1];

                if (separator ? last != '.' && last != '-' : g_ascii_isalnum(*c))
                        g_string_append_c(name, *c);
        }
}

char *scope_machine_name(int id, const char *domain_name) {
        GString *name = g_string_new(NULL);

        g_string_printf(name, "micro-%d-", id);
        append_valid(name, domain_name);
        while (name->len > 0 && strchr(".-", name->str[name->len - 1]))
                g_string_truncate(name, name->len - 1);
        return g_string_free(name, FALSE);
}

/* systemd.unit(5), "string escaping for inclusion in unit names" */
static char *escape(const char *text) {
        GString *escaped = g_string_new(NULL);

        for (const char *c = text; *c; c++) {
                if (*c == '/')
                        g_string_append_c(escaped, '-');
                else if ((*c == '.' && c == text) || !(g_ascii_isalnum(*c) || strchr(":_.", *c)))
                        g_string_append_printf(escaped, "\\x%02x", (guchar) *c);
                else
                        g_string_append_c(escaped, *c);
        }
        return g_string_free(escaped, FALSE);
}

char *scope_unit_name(const char *machine_name) {
        g_autofree char *escaped = escape(machine_name);
        return g_strdup_printf("machine-%s.scope", escaped);
}

char *scope_slice_name(const char *partition, GError **err) {
        const char *path = partition ? partition : PARTITION_DEFAULT;

        if (path[0] != '/') {
                return error_null(err, VIR_ERR_CONFIG_UNSUPPORTED, "Resource partition '%s' must start with '/'", path);
        }
        if (path[1] == '\0' || strstr(path, "//") || g_str_has_suffix(path, "/")) {
                return error_null(err, VIR_ERR_CONFIG_UNSUPPORTED, "Resource partition '%s' has an empty component",
                                  path);
        }
        g_autofree char *escaped = escape(path + 1);
        return g_strdup_printf("%s.slice", escaped);
}
