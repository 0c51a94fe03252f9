/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call goes through four steps, each of which ends in the callback of the next:
 *
 *   calls_begin -> sender_known: who is it? The superuser skips the next step.
 *   authorize   -> authorized:   does polkit let them?
 *   run         -> done:         the operation, on a thread of the pool
 *   the answer
 *
 * Every user but the superuser may have CALLS_PER_USER_MAX calls between the second step
 * and the last, so that unanswered password prompts cannot grow without bound. That is
 * counted by user, as one user can have many connections.
 *
 * Steps run on the main thread; a thread of the pool touches nothing but its own Call.
 */
#include "dbus/calls.h"

#include "dbus/auth.h"
#include "dbus/names.h"

#define CALLS_PER_USER_MAX 32u
#define CALLS_THREADS_MAX  16 /* operations at the same time; more wait */

struct Calls {
        grefcount refs; /* one for the owner, one for each call in flight */
        GCancellable *cancellable;
        GThreadPool *pool;
        GHashTable *pending; /* uid -> how many calls */
        void (*finished)(Domain *domain, gpointer data);
        gpointer data;
};

typedef struct Call {
        Calls *calls;
        GDBusMethodInvocation *invocation;
        const char *action;
        CallFunc func;
        Domain *domain;
        guint flags;
        guint32 uid;
        gboolean counted;
        /* What the operation gave. */
        char *text;
        GError *err;
} Call;

static void calls_unref(Calls *calls) {
        if (!g_ref_count_dec(&calls->refs))
                return;
        g_object_unref(calls->cancellable);
        g_hash_table_unref(calls->pending);
        g_free(calls);
}

static gboolean call_count(Call *call) {
        gpointer key = GUINT_TO_POINTER(call->uid);
        guint n = GPOINTER_TO_UINT(g_hash_table_lookup(call->calls->pending, key));

        if (n >= CALLS_PER_USER_MAX)
                return FALSE;
        g_hash_table_insert(call->calls->pending, key, GUINT_TO_POINTER(n + 1));
        call->counted = TRUE;
        return TRUE;
}

static void call_uncount(Call *call) {
        gpointer key = GUINT_TO_POINTER(call->uid);
        guint n = GPOINTER_TO_UINT(g_hash_table_lookup(call->calls->pending, key));

        if (n > 1)
                g_hash_table_insert(call->calls->pending, key, GUINT_TO_POINTER(n - 1));
        else
                g_hash_table_remove(call->calls->pending, key);
}

static void call_free(gpointer data) {
        Call *call = data;

        if (call->counted)
                call_uncount(call);
        g_clear_object(&call->invocation);
        domain_unref(call->domain);
        g_free(call->text);
        g_clear_error(&call->err);
        calls_unref(call->calls);
        g_free(call);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, call_free)

static void call_fail(Call *call, const GError *err) {
        g_dbus_method_invocation_return_dbus_error(g_steal_pointer(&call->invocation), bus_error_name(err),
                                                   err->message);
}

static void call_fail_remote(Call *call, GError *err) {
        g_dbus_error_strip_remote_error(err);
        g_dbus_method_invocation_return_dbus_error(g_steal_pointer(&call->invocation),
                                                   "org.freedesktop.DBus.Error.AccessDenied", err->message);
}

static void call_succeed(Call *call, const char *text) {
        g_dbus_method_invocation_return_value(g_steal_pointer(&call->invocation),
                                              text ? g_variant_new("(s)", text) : NULL);
}

static gboolean call_done(gpointer data) {
        g_autoptr(Call) call = data;

        if (call->calls->finished)
                call->calls->finished(call->domain, call->calls->data);
        if (call->err)
                call_fail(call, call->err);
        else
                call_succeed(call, call->text);
        return G_SOURCE_REMOVE;
}

static void call_work(gpointer data, gpointer pool_data) {
        Call *call = data;

        (void) call->func(call->domain, call->flags, &call->text, &call->err);
        g_idle_add_full(G_PRIORITY_DEFAULT, call_done, call, NULL);
}

static void call_run(Call *call) {
        if (call->calls->pool)
                g_thread_pool_push(call->calls->pool, call, NULL);
        else
                call_free(call);
}

static void call_authorized(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(Call) call = data;
        g_autoptr(GError) err = NULL;

        if (auth_check_finish(result, &err))
                call_run(g_steal_pointer(&call));
        else
                call_fail(call, err);
}

static void call_authorize(Call *data) {
        g_autoptr(Call) call = data;
        g_auto(DomainHandle) handle = { 0 };

        if (!call_count(call)) {
                g_dbus_method_invocation_return_error(g_steal_pointer(&call->invocation), G_DBUS_ERROR,
                                                      G_DBUS_ERROR_LIMITS_EXCEEDED,
                                                      "user %u has %u calls in flight", call->uid,
                                                      CALLS_PER_USER_MAX);
                return;
        }
        domain_get_handle(call->domain, &handle);
        auth_check_async(call->invocation, call->action, handle.name, call->calls->cancellable, call_authorized, call);
        g_steal_pointer(&call);
}

static void call_sender_known(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(Call) call = data;
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &err);

        if (!reply) {
                call_fail_remote(call, err);
                return;
        }
        g_variant_get(reply, "(u)", &call->uid);
        if (call->uid == 0)
                call_run(g_steal_pointer(&call));
        else
                call_authorize(g_steal_pointer(&call));
}

Calls *calls_new(void (*finished)(Domain *domain, gpointer data), gpointer data) {
        Calls *calls = g_new0(Calls, 1);

        g_ref_count_init(&calls->refs);
        calls->cancellable = g_cancellable_new();
        calls->pool = g_thread_pool_new_full(call_work, NULL, call_free, CALLS_THREADS_MAX, FALSE, NULL);
        calls->pending = g_hash_table_new(NULL, NULL);
        calls->finished = finished;
        calls->data = data;
        return calls;
}

void calls_free(Calls *calls) {
        if (!calls)
                return;
        calls->finished = NULL;
        g_cancellable_cancel(calls->cancellable);
        g_thread_pool_free(g_steal_pointer(&calls->pool), TRUE, TRUE);
        calls_unref(calls);
}

void calls_begin(Calls *calls, GDBusMethodInvocation *invocation, const char *action, CallFunc func, Domain *domain,
                 guint flags) {
        Call *call = g_new0(Call, 1);

        g_ref_count_inc(&calls->refs);
        call->calls = calls;
        call->invocation = invocation;
        call->action = action;
        call->func = func;
        call->domain = domain_ref(domain);
        call->flags = flags;
        g_dbus_connection_call(g_dbus_method_invocation_get_connection(invocation), "org.freedesktop.DBus",
                               "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser",
                               g_variant_new("(s)", g_dbus_method_invocation_get_sender(invocation)),
                               G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, -1, calls->cancellable,
                               call_sender_known, call);
}
