/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One CheckAuthorization call. No polkit, or no answer from it, is a denial.
 */
#include "dbus/auth.h"

#define POLKIT_NAME              "org.freedesktop.PolicyKit1"
#define POLKIT_PATH              "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_AUTHORITY         "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_INTERACTION 1u

static gboolean may_prompt(const BusCall *call) {
        return (g_dbus_message_get_flags(call->message) & G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION) != 0;
}

/* CheckAuthorization's ((sa{sv})sa{ss}us): subject, action, details, flags, no cancellation id. */
static GVariant *polkit_question(const BusCall *call, const char *action, const char *domain) {
        GVariantBuilder subject, details;

        g_variant_builder_init(&subject, G_VARIANT_TYPE("a{sv}"));
        g_variant_builder_add(&subject, "{sv}", "name", g_variant_new_string(bus_call_sender(call)));
        g_variant_builder_init(&details, G_VARIANT_TYPE("a{ss}"));
        g_variant_builder_add(&details, "{ss}", "domain", domain);
        return g_variant_new("((sa{sv})sa{ss}us)", "system-bus-name", &subject, action, &details,
                             may_prompt(call) ? POLKIT_ALLOW_INTERACTION : 0u, "");
}

static void answer(GTask *task, gboolean authorized, gboolean challenge) {
        const char *action = g_task_get_task_data(task);

        if (authorized)
                g_task_return_boolean(task, TRUE);
        else if (challenge)
                g_task_return_new_error(task, G_DBUS_ERROR, G_DBUS_ERROR_AUTH_FAILED,
                                        "%s needs interactive authentication", action);
        else
                g_task_return_new_error(task, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED, "%s denied by policy", action);
}

static void polkit_answered(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GTask) task = data;
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &err);
        gboolean authorized, challenge;

        if (!reply) {
                g_dbus_error_strip_remote_error(err);
                g_task_return_new_error(task, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED, "polkit: %s", err->message);
                return;
        }
        g_variant_get(reply, "((bb@a{ss}))", &authorized, &challenge, NULL);
        answer(task, authorized, challenge);
}

void auth_check_async(const BusCall *call, const char *action, const char *domain, GCancellable *cancellable,
                      GAsyncReadyCallback done, gpointer data) {
        GTask *task = g_task_new(NULL, cancellable, done, data);

        g_task_set_task_data(task, g_strdup(action), g_free);
        /* No timeout: someone may be typing a password. */
        g_dbus_connection_call(call->bus, POLKIT_NAME, POLKIT_PATH, POLKIT_AUTHORITY, "CheckAuthorization",
                               polkit_question(call, action, domain), G_VARIANT_TYPE("((bba{ss}))"),
                               G_DBUS_CALL_FLAGS_NONE, G_MAXINT, cancellable, polkit_answered, task);
}

gboolean auth_check_finish(GAsyncResult *result, GError **err) {
        return g_task_propagate_boolean(G_TASK(result), err);
}
