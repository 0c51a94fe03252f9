/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three thread pools. Any job that waits for nobody but a guest may run in a normal
 * worker; when those are all busy, jobs that do not wait for a guest go to the priority
 * workers, so that `list` or `destroy` still answers while every normal worker does. Those
 * that change a domain (destroy, define, undefine) may have to wait for its job,
 * JOB_WAIT_SECONDS at most. What may wait for another process (libvirt's daemons, systemd,
 * the resolver) has the third pool to itself, so that a neighbour which does not answer
 * holds up only those that need it.
 *
 * A job has two halves: `func` in the worker and `done` on the main thread. Results come
 * back at the priority of domain events and in the order in which jobs ended, so a client
 * sees the events of its call before the reply, as far as they were emitted before it.
 */
#include "rpc/dispatch.h"

typedef struct Job {
        RpcWorkers *workers;
        GThreadPool *pool;
        void (*func)(gpointer data);
        void (*done)(gpointer data);
        gpointer data;
} Job;

struct RpcWorkers {
        GThreadPool *normal, *priority, *neighbour; /* priority: NULL when there are none */
        guint max_normal;
        guint busy_normal; /* main thread only: queued or running there */
        guint jobs;        /* main thread only: not done */
};

static gboolean job_done(gpointer data) {
        Job *job = data;
        if (job->pool == job->workers->normal)
                job->workers->busy_normal--;
        job->workers->jobs--;
        job->done(job->data);
        g_free(job);
        return G_SOURCE_REMOVE;
}

static void job_run(gpointer data, gpointer user) {
        Job *job = data;
        job->func(job->data);
        g_idle_add_full(G_PRIORITY_DEFAULT, job_done, job, NULL);
}

/* NULL with *err when it has failed, and without when there are to be none. */
static GThreadPool *pool_new(guint threads, GError **err) {
        return threads > 0 ? g_thread_pool_new(job_run, NULL, (gint) threads, FALSE, err) : NULL;
}

RpcWorkers *rpc_workers_new(guint normal, guint priority, guint neighbour, GError **err) {
        RpcWorkers *workers = g_new0(RpcWorkers, 1);
        workers->max_normal = MAX(normal, 1);
        workers->normal = pool_new(workers->max_normal, err);
        workers->priority = workers->normal ? pool_new(priority, err) : NULL;
        gboolean ok = workers->normal && (workers->priority || priority == 0);
        workers->neighbour = ok ? pool_new(MAX(neighbour, 1), err) : NULL;
        if (workers->neighbour)
                return workers;
        rpc_workers_free(workers);
        return NULL;
}

void rpc_workers_free(RpcWorkers *workers) {
        if (!workers)
                return;
        while (workers->jobs > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        GThreadPool *pools[] = { workers->normal, workers->priority, workers->neighbour };
        for (gsize i = 0; i < G_N_ELEMENTS(pools); i++)
                if (pools[i])
                        g_thread_pool_free(pools[i], FALSE, TRUE);
        g_free(workers);
}

static GThreadPool *choose_pool(const RpcWorkers *workers, RpcLane lane) {
        if (lane == RPC_LANE_NEIGHBOUR)
                return workers->neighbour;
        if (lane == RPC_LANE_HIGH && workers->priority && workers->busy_normal >= workers->max_normal)
                return workers->priority;
        return workers->normal;
}

void rpc_workers_push(RpcWorkers *workers, RpcLane lane, void (*func)(gpointer data), void (*done)(gpointer data),
                      gpointer data) {
        Job *job = g_new0(Job, 1);
        *job = (Job) { workers, choose_pool(workers, lane), func, done, data };
        workers->jobs++;
        if (job->pool == workers->normal)
                workers->busy_normal++;
        /* An error says that no thread could be made now; the job stays queued for the threads there are. */
        (void) g_thread_pool_push(job->pool, job, NULL);
}
