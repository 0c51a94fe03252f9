/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who waits behind whom: jobs that wait for a guest, for another process, or for neither. */
#include "rpc/dispatch.h"
#include "rpc/users.h"

static RpcUser *root; /* has no share; test-rpc-limits.c tests those of other users */

typedef struct Gate {
        GMutex lock;
        GCond changed;
        gboolean open;
} Gate;

typedef struct Job {
        Gate *gate; /* NULL: it waits for nothing */
        guint *done;
} Job;

static void job_run(gpointer data) {
        Gate *gate = ((Job *) data)->gate;
        if (!gate)
                return;
        g_mutex_lock(&gate->lock);
        while (!gate->open)
                g_cond_wait(&gate->changed, &gate->lock);
        g_mutex_unlock(&gate->lock);
}

static void job_done(gpointer data) {
        Job *job = data;
        ++*job->done;
        g_free(job);
}

static void push(RpcWorkers *workers, RpcLane lane, Gate *gate, guint *done) {
        Job *job = g_new0(Job, 1);
        *job = (Job) { gate, done };
        rpc_workers_push(workers, root, lane, job_run, job_done, job);
}

static gboolean too_late(gpointer data) {
        *(gboolean *) data = TRUE;
        return G_SOURCE_REMOVE;
}

/* Two workers, a priority one and those for neighbours, with `n` jobs of a lane at a gate that is shut; they count in
 * *stuck. */
static RpcWorkers *workers_with_stuck(guint neighbours, RpcLane lane, guint n, Gate *gate, guint *stuck) {
        g_autoptr(GError) err = NULL;
        RpcWorkers *workers = rpc_workers_new(2, 1, neighbours, &err);
        g_assert_no_error(err);
        for (guint i = 0; i < n; i++)
                push(workers, lane, gate, stuck);
        return workers;
}

static void wait_for(const guint *done, guint n) {
        gboolean late = FALSE;
        guint timer = g_timeout_add_seconds(60, too_late, &late);
        while (*done < n && !late)
                (void) g_main_context_iteration(NULL, TRUE);
        g_assert_cmpuint(*done, ==, n);
        if (!late)
                g_source_remove(timer);
}

static void gate_open(Gate *gate) {
        g_mutex_lock(&gate->lock);
        gate->open = TRUE;
        g_cond_broadcast(&gate->changed);
        g_mutex_unlock(&gate->lock);
}

/* However many jobs wait for another process, the others are served. */
static void test_neighbours(void) {
        Gate gate = { 0 };
        guint stuck = 0, normal = 0, high = 0;
        RpcWorkers *workers = workers_with_stuck(2, RPC_LANE_NEIGHBOUR, 24, &gate, &stuck);
        for (guint i = 0; i < 8; i++)
                push(workers, RPC_LANE_NORMAL, NULL, &normal);
        push(workers, RPC_LANE_HIGH, NULL, &high);
        wait_for(&normal, 8);
        wait_for(&high, 1);
        g_assert_cmpuint(stuck, ==, 0);
        gate_open(&gate);
        wait_for(&stuck, 24);
        rpc_workers_free(workers);
}

static void test_priority(void) {
        Gate gate = { 0 };
        guint stuck = 0, high = 0, neighbour = 0;
        RpcWorkers *workers = workers_with_stuck(1, RPC_LANE_NORMAL, 4, &gate, &stuck);
        for (guint i = 0; i < 4; i++)
                push(workers, RPC_LANE_HIGH, NULL, &high);
        push(workers, RPC_LANE_NEIGHBOUR, NULL, &neighbour);
        wait_for(&high, 4);
        wait_for(&neighbour, 1);
        g_assert_cmpuint(stuck, ==, 0);
        gate_open(&gate);
        rpc_workers_free(workers); /* waits for the rest */
        g_assert_cmpuint(stuck, ==, 4);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/rpc/workers/neighbours", test_neighbours);
        g_test_add_func("/rpc/workers/priority", test_priority);
        RpcUsers *users = rpc_users_new();
        root = rpc_users_get(users, 0);
        int r = g_test_run();
        rpc_user_unref(root);
        rpc_users_free(users);
        return r;
}
