/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the versions are the monitor's (vmm/board/version.c); here are their names and numbers. A client
 * that names none, or "micro", gets the newest, and its definition says which that was, so that it stays the same
 * machine when there is a newer one.
 */
#include "conf/machine.h"

#include <string.h>

#include "../../vmm/ctl/ctl.h"
#include "util/error.h"

#define PREFIX      "micro-"
#define UNVERSIONED "microvm" /* in definitions from before there were versions */

const char *const machine_versions[] = { "micro-1", NULL };

G_STATIC_ASSERT(G_N_ELEMENTS(machine_versions) == CTL_MACHINE_VERSIONS);

const char *machine_newest(void) {
        return machine_versions[CTL_MACHINE_VERSIONS - 2];
}

static gboolean is_unversioned(const char *name) {
        return !name || strcmp(name, MACHINE_NEWEST) == 0 || strcmp(name, UNVERSIONED) == 0;
}

gboolean machine_is_ours(const char *name) {
        return name && (is_unversioned(name) || g_str_has_prefix(name, PREFIX));
}

guint machine_number(const char *name) {
        for (guint i = 0; machine_versions[i]; i++)
                if (g_strcmp0(machine_versions[i], name) == 0)
                        return i + 1;
        return 0;
}

const char *machine_canonical(const char *name) {
        guint number = is_unversioned(name) ? CTL_MACHINE_VERSIONS - 1 : machine_number(name);
        return number != 0 ? machine_versions[number - 1] : NULL;
}

gboolean machine_refuse(const char *name, GError **err) {
        g_autofree char *known = g_strjoinv(", ", (char **) machine_versions);
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "Emulator 'virtmicro-vmm' does not support machine type '%s': there are " MACHINE_NEWEST
                         " (the newest), %s",
                         name, known);
}

const char *machine_canonical_own(const char *name) {
        return is_unversioned(name) ? machine_versions[0] : machine_canonical(name);
}
