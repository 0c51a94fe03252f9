/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two thread pools. Any job may run in a normal worker; when those are all busy, jobs that
 * do not wait for a guest go to the priority workers, so that `list` or `destroy` still
 * answers while every normal worker does. Those that change a domain (destroy, define,
 * undefine) may have to wait for its job, JOB_WAIT_SECONDS at most.
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
        GThreadPool *normal, *priority; /* priority: NULL when there are none */
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

RpcWorkers *rpc_workers_new(guint normal, guint priority, GError **err) {
        RpcWorkers *workers = g_new0(RpcWorkers, 1);
        workers->max_normal = MAX(normal, 1);
        workers->normal = g_thread_pool_new(job_run, NULL, (gint) workers->max_normal, FALSE, err);
        if (workers->normal && priority > 0)
                workers->priority = g_thread_pool_new(job_run, NULL, (gint) priority, FALSE, err);
        if (workers->normal && (workers->priority || priority == 0))
                return workers;
        rpc_workers_free(workers);
        return NULL;
}

void rpc_workers_free(RpcWorkers *workers) {
        if (!workers)
                return;
        while (workers->jobs > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        if (workers->normal)
                g_thread_pool_free(workers->normal, FALSE, TRUE);
        if (workers->priority)
                g_thread_pool_free(workers->priority, FALSE, TRUE);
        g_free(workers);
}

void rpc_workers_push(RpcWorkers *workers, gboolean high, void (*func)(gpointer data), void (*done)(gpointer data),
                      gpointer data) {
        Job *job = g_new0(Job, 1);
        gboolean priority = high && workers->priority && workers->busy_normal >= workers->max_normal;
        *job = (Job) { workers, priority ? workers->priority : workers->normal, func, done, data };
        workers->jobs++;
        if (!priority)
                workers->busy_normal++;
        /* An error says that no thread could be made now; the job stays queued for the threads there are. */
        (void) g_thread_pool_push(job->pool, job, NULL);
}
