/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * D-Bus calls that block the calling worker: plain ones, and ones that start a job in
 * systemd and last until that job is over.
 *
 * systemd announces the end of a job by the signal JobRemoved, which may arrive before the
 * caller has seen the reply that names the job. So the subscription comes first, in a main
 * context that only this call iterates, and signals wait there until the job's name is
 * known. The thread's current GCancellable interrupts either (util/neighbour.h). Against a
 * lost signal (systemd re-executes itself), the job object is checked for once a second.
 */
#include "systemd/scope_internal.h"
#include "util/error.h"

typedef struct JobWait {
        char *path;   /* of the job; NULL until known */
        char *result; /* NULL until removed */
} JobWait;

/* Whether the service says so; that there is no service is no answer. */
static gboolean error_is_missing(const GError *error) {
        static const char *const names[] = {
                SYSTEMD_NAME ".NoSuchUnit",
                SYSTEMD_NAME ".UnitMasked",
                "org.freedesktop.machine1.NoSuchMachine",
                "org.freedesktop.DBus.Error.UnknownObject",
        };
        g_autofree char *name = g_dbus_error_get_remote_error(error);

        for (gsize i = 0; name && i < G_N_ELEMENTS(names); i++)
                if (g_str_equal(name, names[i]))
                        return TRUE;
        return FALSE;
}

static void set_call_error(GError **err, const char *name, const char *method, gboolean *missing, GError *error) {
        if (missing)
                *missing = error_is_missing(error);
        (void) g_dbus_error_strip_remote_error(error);
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                error_set(err, VIR_ERR_OPERATION_ABORTED, "the wait for %s of %s was interrupted", method, name);
        else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
                error_set(err, VIR_ERR_OPERATION_TIMEOUT, "%s does not answer %s within %d s", name, method,
                          BUS_TIMEOUT_MS / 1000);
        else
                error_set(err, VIR_ERR_DBUS_SERVICE, "error from service: %s: %s", method, error->message);
}

GVariant *bus_call(GDBusConnection *bus, const char *name, const char *path, const char *interface, const char *method,
                   GVariant *parameters, gboolean *missing, GError **err) {
        g_autoptr(GError) error = NULL;
        GVariant *reply;

        if (missing)
                *missing = FALSE;
        if (!bus) {
                if (parameters)
                        g_variant_unref(g_variant_ref_sink(parameters));
                return error_null(err, VIR_ERR_NO_CONNECT, "there is no connection to the system bus");
        }
        reply = g_dbus_connection_call_sync(bus, name, path, interface, method, parameters, NULL,
                                            G_DBUS_CALL_FLAGS_NONE, BUS_TIMEOUT_MS, g_cancellable_get_current(),
                                            &error);
        if (!reply)
                set_call_error(err, name, method, missing, error);
        return reply;
}

/* --- Jobs --------------------------------------------------------------------------------- */

static void job_removed(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                        const char *signal, GVariant *parameters, gpointer data) {
        JobWait *wait = data;
        const char *job, *result;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(uoss)")))
                return;
        g_variant_get(parameters, "(u&o&s&s)", NULL, &job, NULL, &result);
        if (!wait->result && g_strcmp0(job, wait->path) == 0)
                wait->result = g_strdup(result);
}

/* The job object is gone without a signal: it has run, and the unit shows its result. */
static gboolean job_is_gone(GDBusConnection *bus, const char *path) {
        gboolean missing;
        g_autoptr(GVariant) state = bus_call(bus, SYSTEMD_NAME, path, "org.freedesktop.DBus.Properties", "Get",
                                             g_variant_new("(ss)", SYSTEMD_NAME ".Job", "State"), &missing, NULL);
        return !state && missing;
}

static gboolean tick(gpointer data) {
        *(gboolean *) data = TRUE;
        return G_SOURCE_CONTINUE;
}

/* The cancellable's source only wakes the loop. */
static gboolean wake(GCancellable *cancellable, gpointer data) {
        return G_SOURCE_REMOVE;
}

static void wait_for_removal(GDBusConnection *bus, JobWait *wait, guint timeout_s) {
        GMainContext *context = g_main_context_get_thread_default();
        GCancellable *interrupt = g_cancellable_get_current();
        g_autoptr(GSource) timer = g_timeout_source_new_seconds(1);
        g_autoptr(GSource) interruption = g_cancellable_source_new(interrupt);
        gboolean ticked = FALSE;

        g_source_set_callback(timer, tick, &ticked, NULL);
        g_source_attach(timer, context);
        g_source_set_callback(interruption, G_SOURCE_FUNC(wake), NULL, NULL);
        g_source_attach(interruption, context);
        for (guint seconds = 0; !wait->result && seconds < timeout_s && !g_cancellable_is_cancelled(interrupt);) {
                (void) g_main_context_iteration(context, TRUE);
                if (!ticked)
                        continue;
                ticked = FALSE;
                seconds++;
                if (!wait->result && job_is_gone(bus, wait->path) && !g_main_context_pending(context))
                        wait->result = g_strdup("done");
        }
        g_source_destroy(timer);
        g_source_destroy(interruption);
}

static void set_job_error(GError **err, const char *unit, const char *method, const char *result) {
        if (!result && g_cancellable_is_cancelled(g_cancellable_get_current()))
                error_set(err, VIR_ERR_OPERATION_ABORTED, "the wait for %s of '%s' was interrupted", method, unit);
        else if (!result)
                error_set(err, VIR_ERR_OPERATION_TIMEOUT, "systemd does not finish %s of '%s'", method, unit);
        else
                error_set(err, VIR_ERR_DBUS_SERVICE, "error from service: %s of '%s' ended as '%s'", method, unit,
                          result);
}

static gboolean job_call(GDBusConnection *bus, const char *unit, const char *method, GVariant *parameters,
                         guint timeout_s, gboolean *missing, GError **err) {
        JobWait wait = {};
        guint subscription =
                g_dbus_connection_signal_subscribe(bus, SYSTEMD_NAME, SYSTEMD_MANAGER, "JobRemoved", SYSTEMD_PATH, NULL,
                                                   G_DBUS_SIGNAL_FLAGS_NONE, job_removed, &wait, NULL);
        g_autoptr(GVariant) reply =
                bus_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, method, parameters, missing, err);

        if (reply && g_variant_is_of_type(reply, G_VARIANT_TYPE("(o)"))) {
                g_variant_get(reply, "(o)", &wait.path);
                wait_for_removal(bus, &wait, timeout_s);
        }
        g_dbus_connection_signal_unsubscribe(bus, subscription);

        gboolean done = g_strcmp0(wait.result, "done") == 0;
        if (reply && !done)
                set_job_error(err, unit, method, wait.result);
        g_free(wait.path);
        g_free(wait.result);
        return done;
}

gboolean job_run(GDBusConnection *bus, const char *unit, const char *method, GVariant *parameters, guint timeout_s,
                 gboolean *missing, GError **err) {
        g_autoptr(GMainContext) context = NULL;
        gboolean done;

        if (!bus)
                return bus_call(bus, NULL, NULL, NULL, method, parameters, missing, err) != NULL;
        context = g_main_context_new();
        g_main_context_push_thread_default(context);
        done = job_call(bus, unit, method, parameters, timeout_s, missing, err);
        while (g_main_context_iteration(context, FALSE))
                ; /* lets the subscription go */
        g_main_context_pop_thread_default(context);
        return done;
}

/* --- Units ---------------------------------------------------------------------------------- */

GVariant *unit_get_property(GDBusConnection *bus, const char *unit, const char *interface, const char *property,
                            gboolean *missing, GError **err) {
        const char *path;
        GVariant *value = NULL;
        g_autoptr(GVariant) object = bus_call(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "GetUnit",
                                              g_variant_new("(s)", unit), missing, err);
        if (!object)
                return NULL;
        g_variant_get(object, "(&o)", &path);
        g_autoptr(GVariant) reply = bus_call(bus, SYSTEMD_NAME, path, "org.freedesktop.DBus.Properties", "Get",
                                             g_variant_new("(ss)", interface, property), missing, err);
        if (reply)
                g_variant_get(reply, "(v)", &value);
        return value;
}
