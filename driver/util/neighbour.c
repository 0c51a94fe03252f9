/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call runs on a thread of its neighbour's pool while the caller waits on a condition.
 * A caller that times out or is interrupted leaves; the thread cannot be interrupted and
 * stays until the library returns. It then undoes a success that nobody awaits.
 *
 * NEIGHBOUR_THREADS bounds the threads that can be stuck. While all are, further calls
 * fail at once: the neighbour evidently does not answer, and queueing would only make
 * more callers wait. A thread that returns admits calls again.
 *
 * Nothing waits for the pool, so that a stuck neighbour does not hold up the end of the
 * daemon. Calls keep the Neighbour alive.
 */
#include "util/neighbour.h"

#include "util/error.h"

#define NEIGHBOUR_THREADS 4u /* calls that are served side by side, and that can be stuck */

struct Neighbour {
        gatomicrefcount refs; /* the owner's and one for each call */
        char *name, *hint;
        guint limit_ms;
        GThreadPool *pool;
        GMutex lock;
        GCond changed;
        guint stuck;         /* threads whose callers have left; lock held */
        gint64 silent_since; /* start of the oldest call whose caller has left; lock held */
};

typedef struct Call {
        Neighbour *neighbour;
        const NeighbourOps *ops;
        gpointer data;
        gint64 begun;
        /* The thread's until `done`. */
        gboolean ok;
        GError *err;
        /* Lock held. */
        gboolean running, done, left;
} Call;

static void neighbour_unref(Neighbour *neighbour) {
        if (!g_atomic_ref_count_dec(&neighbour->refs))
                return;
        g_mutex_clear(&neighbour->lock);
        g_cond_clear(&neighbour->changed);
        g_free(neighbour->name);
        g_free(neighbour->hint);
        g_free(neighbour);
}

static void call_free(Call *call) {
        g_atomic_rc_box_release_full(call->data, call->ops->clear);
        g_clear_error(&call->err);
        neighbour_unref(call->neighbour);
        g_free(call);
}

/* FALSE: its caller has left before it began. */
static gboolean call_enter(Call *call) {
        g_mutex_lock(&call->neighbour->lock);
        call->running = !call->left;
        g_mutex_unlock(&call->neighbour->lock);
        return call->running;
}

/* FALSE: its caller has left meanwhile. */
static gboolean call_hand_over(Call *call) {
        Neighbour *neighbour = call->neighbour;
        g_mutex_lock(&neighbour->lock);
        gboolean wanted = !call->left;
        call->done = TRUE;
        g_cond_broadcast(&neighbour->changed);
        g_mutex_unlock(&neighbour->lock);
        return wanted;
}

static void call_unstick(Call *call) {
        g_mutex_lock(&call->neighbour->lock);
        call->neighbour->stuck--;
        g_mutex_unlock(&call->neighbour->lock);
}

static void call_main(gpointer item, gpointer unused) {
        Call *call = item;
        if (!call_enter(call)) {
                call_free(call);
                return;
        }
        call->ok = call->ops->run(call->data, &call->err);
        if (call_hand_over(call))
                return;
        if (call->ok && call->ops->undo)
                call->ops->undo(call->data);
        call_unstick(call);
        call_free(call);
}

Neighbour *neighbour_new(const char *name, const char *hint, guint limit_ms) {
        Neighbour *neighbour = g_new0(Neighbour, 1);
        g_atomic_ref_count_init(&neighbour->refs);
        neighbour->name = g_strdup(name);
        neighbour->hint = g_strdup(hint);
        neighbour->limit_ms = limit_ms;
        g_mutex_init(&neighbour->lock);
        g_cond_init(&neighbour->changed);
        neighbour->pool = g_thread_pool_new(call_main, NULL, (gint) NEIGHBOUR_THREADS, FALSE, NULL);
        return neighbour;
}

void neighbour_free(Neighbour *neighbour) {
        if (!neighbour)
                return;
        g_thread_pool_free(neighbour->pool, FALSE, FALSE);
        neighbour_unref(neighbour);
}

static void set_silent_error(const Neighbour *neighbour, gint64 since, GError **err) {
        gint64 seconds = (g_get_monotonic_time() - since + G_TIME_SPAN_SECOND / 2) / G_TIME_SPAN_SECOND;
        error_set(err, VIR_ERR_OPERATION_TIMEOUT, "%s has not answered for %" G_GINT64_FORMAT " s: see %s",
                  neighbour->name, seconds, neighbour->hint);
}

static void wake(GCancellable *cancellable, gpointer data) {
        Neighbour *neighbour = data;
        g_mutex_lock(&neighbour->lock);
        g_cond_broadcast(&neighbour->changed);
        g_mutex_unlock(&neighbour->lock);
}

/* FALSE: time-out or interruption; the call is on its own from here. Lock held. */
static gboolean call_wait(Call *call, GCancellable *interrupt) {
        Neighbour *neighbour = call->neighbour;
        gint64 deadline = call->begun + (gint64) neighbour->limit_ms * G_TIME_SPAN_MILLISECOND;
        gboolean in_time = TRUE;
        while (!call->done && in_time && !g_cancellable_is_cancelled(interrupt))
                in_time = g_cond_wait_until(&neighbour->changed, &neighbour->lock, deadline);
        if (call->done)
                return TRUE;
        call->left = TRUE;
        if (!call->running)
                return FALSE;
        if (neighbour->stuck++ == 0)
                neighbour->silent_since = call->begun;
        return FALSE;
}

static Call *call_new(Neighbour *neighbour, const NeighbourOps *ops, gpointer data) {
        Call *call = g_new0(Call, 1);
        g_atomic_ref_count_inc(&neighbour->refs);
        call->neighbour = neighbour;
        call->ops = ops;
        call->data = g_atomic_rc_box_acquire(data);
        call->begun = g_get_monotonic_time();
        return call;
}

/* The result of a finished call, which is freed. */
static gboolean call_finish(Call *call, GError **err) {
        gboolean ok = call->ok;
        if (!ok)
                g_propagate_error(err, g_steal_pointer(&call->err));
        call_free(call);
        return ok;
}

static gboolean check_answers(Neighbour *neighbour, GError **err) {
        g_mutex_lock(&neighbour->lock);
        gboolean answers = neighbour->stuck < NEIGHBOUR_THREADS;
        gint64 since = neighbour->silent_since;
        g_mutex_unlock(&neighbour->lock);
        if (!answers)
                set_silent_error(neighbour, since, err);
        return answers;
}

gboolean neighbour_call(Neighbour *neighbour, const NeighbourOps *ops, gpointer data, GError **err) {
        GCancellable *interrupt = g_cancellable_get_current();
        if (!check_answers(neighbour, err))
                return FALSE;
        Call *call = call_new(neighbour, ops, data);
        gint64 begun = call->begun;
        gulong handler = interrupt ? g_cancellable_connect(interrupt, G_CALLBACK(wake), neighbour, NULL) : 0;
        /* An error means that no thread could be made now; the call waits for the existing ones. */
        (void) g_thread_pool_push(neighbour->pool, call, NULL);
        g_mutex_lock(&neighbour->lock);
        gboolean over = call_wait(call, interrupt);
        g_mutex_unlock(&neighbour->lock);
        gboolean interrupted = g_cancellable_is_cancelled(interrupt);
        g_cancellable_disconnect(interrupt, handler);
        if (over)
                return call_finish(call, err);
        if (interrupted)
                error_set(err, VIR_ERR_OPERATION_ABORTED, "the wait for %s was interrupted", neighbour->name);
        else
                set_silent_error(neighbour, begun, err);
        return FALSE;
}

gboolean neighbour_is_silent(Neighbour *neighbour) {
        g_mutex_lock(&neighbour->lock);
        gboolean silent = neighbour->stuck > 0;
        g_mutex_unlock(&neighbour->lock);
        return silent;
}
