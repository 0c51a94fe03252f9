/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls of what may never answer: results, the limit, interruption, what is left of calls that nobody waits for. */
#include <string.h>

#include "util/error.h"
#include "util/neighbour.h"

#define NEVER_MS  (600 * 1000)
#define STUCK_MAX 4 /* threads of a neighbour */

/* A gate that holds a test's calls back. */
typedef struct Gate {
        GMutex lock;
        GCond changed;
        gboolean open;
        int inside, undone, cleared;
} Gate;

typedef struct Work {
        Gate *gate;
        gboolean fails;
        int result;
} Work;

static void gate_count(Gate *gate, int *counter, int by) {
        g_mutex_lock(&gate->lock);
        *counter += by;
        g_cond_broadcast(&gate->changed);
        g_mutex_unlock(&gate->lock);
}

static void gate_wait_for(Gate *gate, const int *counter, int value) {
        gint64 deadline = g_get_monotonic_time() + 60 * G_TIME_SPAN_SECOND;
        g_mutex_lock(&gate->lock);
        while (*counter != value)
                g_assert_true(g_cond_wait_until(&gate->changed, &gate->lock, deadline));
        g_mutex_unlock(&gate->lock);
}

static void gate_open(Gate *gate) {
        g_mutex_lock(&gate->lock);
        gate->open = TRUE;
        g_cond_broadcast(&gate->changed);
        g_mutex_unlock(&gate->lock);
}

static gboolean work_run(gpointer data, GError **err) {
        Work *work = data;
        Gate *gate = work->gate;
        g_mutex_lock(&gate->lock);
        gate->inside++;
        g_cond_broadcast(&gate->changed);
        while (!gate->open)
                g_cond_wait(&gate->changed, &gate->lock);
        gate->inside--;
        g_mutex_unlock(&gate->lock);
        work->result = 42;
        if (work->fails)
                error_set(err, VIR_ERR_NO_NETWORK, "none");
        return !work->fails;
}

static void work_undo(gpointer data) {
        Gate *gate = ((Work *) data)->gate;
        gate_count(gate, &gate->undone, 1);
}

static void work_clear(gpointer data) {
        Gate *gate = ((Work *) data)->gate;
        gate_count(gate, &gate->cleared, 1);
}

static const NeighbourOps ops = { work_run, work_undo, work_clear };

static Work *work_new(Gate *gate) {
        Work *work = g_atomic_rc_box_new0(Work);
        work->gate = gate;
        return work;
}

static gboolean call(Neighbour *neighbour, Work *work, int *ret, GError **err) {
        gboolean ok = neighbour_call(neighbour, &ops, work, err);
        if (ok)
                *ret = work->result;
        g_atomic_rc_box_release_full(work, work_clear);
        return ok;
}

static Neighbour *neighbour(guint limit_ms) {
        return neighbour_new("the daemon next door", "its window", limit_ms);
}

static void test_results(void) {
        Gate gate = { .open = TRUE };
        Neighbour *next = neighbour(NEVER_MS);
        g_autoptr(GError) err = NULL;
        int result = 0;
        g_assert_true(call(next, work_new(&gate), &result, &err));
        g_assert_no_error(err);
        g_assert_cmpint(result, ==, 42);
        Work *work = work_new(&gate);
        work->fails = TRUE;
        g_assert_false(call(next, work, &result, &err));
        g_assert_cmpint(error_code(err), ==, VIR_ERR_NO_NETWORK);
        gate_wait_for(&gate, &gate.cleared, 2);
        g_assert_cmpint(gate.undone, ==, 0);
        neighbour_free(next);
}

/* A success that nobody waits for is undone; a failure is not. */
static void test_limit(gconstpointer fails) {
        Gate gate = { 0 };
        Neighbour *next = neighbour(100);
        g_autoptr(GError) err = NULL;
        Work *work = work_new(&gate);
        int result = 0;
        work->fails = fails != NULL;
        g_assert_false(call(next, work, &result, &err));
        g_assert_cmpint(error_code(err), ==, VIR_ERR_OPERATION_TIMEOUT);
        g_assert_nonnull(strstr(err->message, "the daemon next door has not answered for"));
        g_assert_nonnull(strstr(err->message, "s: see its window"));
        g_assert_true(neighbour_is_silent(next));
        g_assert_cmpint(gate.cleared, ==, 0);
        gate_open(&gate);
        gate_wait_for(&gate, &gate.cleared, 1);
        g_assert_cmpint(gate.undone, ==, fails ? 0 : 1);
        neighbour_free(next);
}

static gpointer cancel_inside(gpointer data) {
        gpointer *args = data;
        Gate *gate = args[0];
        gate_wait_for(gate, &gate->inside, GPOINTER_TO_INT(args[2]));
        g_cancellable_cancel(args[1]);
        return NULL;
}

/* Calls, and is interrupted once `inside` calls are at work. */
static void call_and_leave(Neighbour *next, Gate *gate, int inside) {
        g_autoptr(GCancellable) interrupt = g_cancellable_new();
        g_autoptr(GError) err = NULL;
        gpointer args[] = { gate, interrupt, GINT_TO_POINTER(inside) };
        GThread *thread = g_thread_new("cancel", cancel_inside, args);
        int result = 0;
        g_cancellable_push_current(interrupt);
        g_assert_false(call(next, work_new(gate), &result, &err));
        g_cancellable_pop_current(interrupt);
        g_assert_cmpint(error_code(err), ==, VIR_ERR_OPERATION_ABORTED);
        g_assert_nonnull(strstr(err->message, "the wait for the daemon next door was interrupted"));
        g_thread_join(thread);
}

/* While all threads are stuck, new calls fail at once. */
static void test_stuck(void) {
        Gate gate = { 0 };
        Neighbour *next = neighbour(NEVER_MS);
        g_autoptr(GError) err = NULL;
        int result = 0;
        for (int i = 1; i <= STUCK_MAX; i++)
                call_and_leave(next, &gate, i);
        g_assert_false(call(next, work_new(&gate), &result, &err));
        g_assert_cmpint(error_code(err), ==, VIR_ERR_OPERATION_TIMEOUT);
        gate_open(&gate);
        gate_wait_for(&gate, &gate.cleared, STUCK_MAX + 1);
        g_assert_cmpint(gate.undone, ==, STUCK_MAX);
        g_assert_false(neighbour_is_silent(next));
        g_assert_true(call(next, work_new(&gate), &result, NULL));
        neighbour_free(next);
}

static void test_cancelled_before(void) {
        Gate gate = { 0 };
        Neighbour *next = neighbour(NEVER_MS);
        g_autoptr(GCancellable) interrupt = g_cancellable_new();
        g_autoptr(GError) err = NULL;
        int result = 0;
        g_cancellable_cancel(interrupt);
        g_cancellable_push_current(interrupt);
        g_assert_false(call(next, work_new(&gate), &result, &err));
        g_cancellable_pop_current(interrupt);
        g_assert_cmpint(error_code(err), ==, VIR_ERR_OPERATION_ABORTED);
        gate_open(&gate);
        gate_wait_for(&gate, &gate.cleared, 1);
        neighbour_free(next);
}

/* Freeing it does not wait for stuck calls. */
static void test_free(void) {
        Gate gate = { 0 };
        Neighbour *next = neighbour(NEVER_MS);
        call_and_leave(next, &gate, 1);
        neighbour_free(next);
        g_assert_cmpint(gate.cleared, ==, 0);
        gate_open(&gate);
        gate_wait_for(&gate, &gate.cleared, 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/neighbour/results", test_results);
        g_test_add_data_func("/neighbour/limit/success", NULL, test_limit);
        g_test_add_data_func("/neighbour/limit/failure", "", test_limit);
        g_test_add_func("/neighbour/stuck", test_stuck);
        g_test_add_func("/neighbour/cancelled-before", test_cancelled_before);
        g_test_add_func("/neighbour/free", test_free);
        return g_test_run();
}
