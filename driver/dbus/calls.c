/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call goes through three steps, each of which ends in the callback of the next:
 *
 *   calls_begin -> authorized: does polkit let them? Skipped for the superuser.
 *   run         -> done:       the operation, on a thread of a pool
 *   the answer
 *
 * Every user but the superuser may have CALLS_PER_USER_MAX calls between the first step
 * and the last, so that unanswered password prompts cannot grow without bound. That is
 * counted by user, as one user can have many connections.
 *
 * What may wait for another process has a pool of its own, so that nothing else waits
 * behind it; stopping the service interrupts it (util/neighbour.h).
 *
 * Steps run on the thread of D-Bus. A thread of a pool touches nothing but its own Call;
 * the main thread only passes on the end of an operation, so that the events it caused
 * come first.
 */
#include "dbus/calls.h"

#include "dbus/auth.h"
#include "dbus/names.h"

#define CALLS_PER_USER_MAX 32u
#define CALLS_THREADS_MAX  16 /* operations at the same time; more wait */
#define STARTS_THREADS_MAX 8  /* the same of those that may wait for another process */

struct Calls {
        gatomicrefcount refs; /* one for the owner, one for each call in flight */
        GCancellable *cancellable;
        GMainContext *context;
        GThreadPool *pool, *starts;
        GHashTable *pending;                     /* uid -> how many calls */
        guint asking;                            /* of them, those that polkit is asked about */
        void (*done)(Call *call, gpointer data); /* main thread only; NULL: the owner is gone */
        gpointer data;
};

struct Call {
        Calls *calls;
        BusCall *bus_call;
        CallFunc func;
        gboolean waits; /* maybe for another process */
        Domain *domain;
        guint flags;
        guint32 uid;
        gboolean counted;
        /* What the operation gave. */
        char *text;
        GError *err;
};

static void calls_unref(Calls *calls) {
        if (!g_atomic_ref_count_dec(&calls->refs))
                return;
        g_object_unref(calls->cancellable);
        g_main_context_unref(calls->context);
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

void call_free(gpointer data) {
        Call *call = data;

        if (call->counted)
                call_uncount(call);
        bus_call_free(call->bus_call);
        domain_unref(call->domain);
        g_free(call->text);
        g_clear_error(&call->err);
        calls_unref(call->calls);
        g_free(call);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Call, call_free)

Domain *call_domain(const Call *call) {
        return call->domain;
}

void call_finish(Call *data) {
        g_autoptr(Call) call = data;

        if (call->err)
                bus_call_fail_error(g_steal_pointer(&call->bus_call), call->err);
        else
                bus_call_return(g_steal_pointer(&call->bus_call), call->text ? g_variant_new("(s)", call->text) : NULL);
}

/* --- The operation ---------------------------------------------------------------- */

static gboolean call_done(gpointer data) {
        Call *call = data;

        if (call->calls->done)
                call->calls->done(call, call->calls->data);
        else
                call_free(call);
        return G_SOURCE_REMOVE;
}

static void call_work(gpointer data, gpointer pool_data) {
        Call *call = data;

        g_cancellable_push_current(call->calls->cancellable);
        (void) call->func(call->domain, call->flags, &call->text, &call->err);
        g_cancellable_pop_current(call->calls->cancellable);
        g_idle_add_full(G_PRIORITY_DEFAULT, call_done, call, NULL);
}

static void call_run(Call *call) {
        g_thread_pool_push(call->waits ? call->calls->starts : call->calls->pool, call, NULL);
}

/* --- The permission ----------------------------------------------------------------- */

static void call_authorized(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(Call) call = data;
        g_autoptr(GError) err = NULL;

        call->calls->asking--;
        if (!auth_check_finish(result, &err))
                bus_call_fail_error(g_steal_pointer(&call->bus_call), err);
        else if (!g_cancellable_is_cancelled(call->calls->cancellable))
                call_run(g_steal_pointer(&call));
}

static void call_authorize(Call *data, const char *action) {
        g_autoptr(Call) call = data;
        g_auto(DomainHandle) handle = { 0 };
        g_autoptr(GError) err = NULL;

        if (!call_count(call)) {
                g_set_error(&err, G_DBUS_ERROR, G_DBUS_ERROR_LIMITS_EXCEEDED, "user %u has %u calls in flight",
                            call->uid, CALLS_PER_USER_MAX);
                bus_call_fail_error(g_steal_pointer(&call->bus_call), err);
                return;
        }
        domain_get_handle(call->domain, &handle);
        call->calls->asking++;
        auth_check_async(call->bus_call, action, handle.name, call->calls->cancellable, call_authorized, call);
        g_steal_pointer(&call);
}

void calls_begin(Calls *calls, BusCall *bus_call, const char *action, CallFunc func, gboolean waits, Domain *domain,
                 guint flags) {
        Call *call = g_new0(Call, 1);

        g_atomic_ref_count_inc(&calls->refs);
        call->calls = calls;
        call->bus_call = bus_call;
        call->func = func;
        call->waits = waits;
        call->domain = domain_ref(domain);
        call->flags = flags;
        call->uid = bus_call->uid;
        bus_call->sent = NULL; /* the one who counts may be gone by the time of the answer */
        if (call->uid == 0)
                call_run(call);
        else
                call_authorize(call, action);
}

/* --- Life ----------------------------------------------------------------------------- */

Calls *calls_new(void (*done)(Call *call, gpointer data), gpointer data) {
        Calls *calls = g_new0(Calls, 1);

        g_atomic_ref_count_init(&calls->refs);
        calls->cancellable = g_cancellable_new();
        calls->context = g_main_context_ref_thread_default();
        calls->pool = g_thread_pool_new_full(call_work, NULL, call_free, CALLS_THREADS_MAX, FALSE, NULL);
        calls->starts = g_thread_pool_new_full(call_work, NULL, call_free, STARTS_THREADS_MAX, FALSE, NULL);
        calls->pending = g_hash_table_new(NULL, NULL);
        calls->done = done;
        calls->data = data;
        return calls;
}

void calls_free(Calls *calls) {
        if (!calls)
                return;
        calls->done = NULL;
        g_cancellable_cancel(calls->cancellable);
        while (calls->asking > 0)
                (void) g_main_context_iteration(calls->context, TRUE);
        g_thread_pool_free(g_steal_pointer(&calls->starts), TRUE, TRUE);
        g_thread_pool_free(g_steal_pointer(&calls->pool), TRUE, TRUE);
        calls_unref(calls);
}
