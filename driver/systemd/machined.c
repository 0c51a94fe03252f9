/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Registration with systemd-machined, so that machinectl, loginctl-style tools and the
 * journal know the VM as a machine. The scope is ours, so machined is given it
 * (RegisterMachine…) rather than asked to make one. machined finds the scope by the
 * leader, which therefore has to be inside already, and forgets the machine when the
 * scope ends.
 */
#include "systemd/scope_internal.h"
#include "util/error.h"

#define MACHINED_NAME    "org.freedesktop.machine1"
#define MACHINED_PATH    "/org/freedesktop/machine1"
#define MACHINED_MANAGER MACHINED_NAME ".Manager"
#define MACHINED_SERVICE "libvirt-micro" /* shown as SERVICE by machinectl list */

/* Not installed, masked or broken: the errors differ, but the name never has an owner. No answer is no proof of that.
 */
static gboolean machined_runs(GDBusConnection *bus) {
        gboolean owned = TRUE;
        g_autoptr(GVariant) reply =
                bus_call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner",
                         g_variant_new("(s)", MACHINED_NAME), NULL, NULL);
        if (reply)
                g_variant_get(reply, "(b)", &owned);
        return owned;
}

/* *missing: there is no machined, or no such machine. */
static GVariant *machined_call(GDBusConnection *bus, const char *method, GVariant *parameters, gboolean *missing,
                               GError **err) {
        GVariant *reply =
                bus_call(bus, MACHINED_NAME, MACHINED_PATH, MACHINED_MANAGER, method, parameters, missing, err);

        if (!reply && bus && !*missing)
                *missing = !machined_runs(bus);
        return reply;
}

static GVariant *bytes(const guint8 *data, gsize n) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, n, 1);
}

gboolean machined_register(GDBusConnection *bus, const char *machine, const guint8 uuid[16], pid_t leader,
                           const int *ifindexes, unsigned n, gboolean *ret_registered, GError **err) {
        g_autoptr(GError) error = NULL;
        gboolean missing = FALSE;
        GVariant *interfaces = g_variant_new_fixed_array(G_VARIANT_TYPE_INT32, ifindexes, n, sizeof(int));
        g_autoptr(GVariant) reply =
                machined_call(bus, "RegisterMachineWithNetwork",
                              g_variant_new("(s@ayssus@ai)", machine, bytes(uuid, 16), MACHINED_SERVICE, "vm",
                                            (guint32) leader, "", interfaces),
                              &missing, &error);

        *ret_registered = reply != NULL;
        if (reply || missing)
                return TRUE;
        g_propagate_error(err, g_steal_pointer(&error));
        return FALSE;
}

void machined_terminate(GDBusConnection *bus, const char *machine) {
        g_autoptr(GError) error = NULL;
        gboolean missing = FALSE;
        g_autoptr(GVariant) reply =
                machined_call(bus, "UnregisterMachine", g_variant_new("(s)", machine), &missing, &error);

        if (!reply && !missing)
                g_warning("machine '%s' stays registered: %s", machine, error->message);
}
