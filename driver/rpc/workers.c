/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three thread pools. Any job that waits for nobody but a guest may run in a normal
 * worker; when those are all busy, jobs that do not wait for a guest go to the priority
 * workers, so that `list` or `destroy` still answers while every normal worker does. Those
 * that change a domain (destroy, define, undefine) may have to wait for its job,
 * JOB_WAIT_SECONDS at most. What may wait for another process (libvirt's daemons, systemd,
 * the resolver) has the third pool to itself, so that one that does not answer holds up
 * only calls that need it.
 *
 * Jobs wait here, by user, and users take turns: however much one user asks for, another's
 * next job begins as soon as a worker is free. A user other than the superuser has at most
 * half of a pool at a time, and all of them together leave a quarter to the superuser. No
 * job is begun for a user who does not take finished results.
 *
 * A job has two halves: `func` in the worker and `done` on the main thread. Results come
 * back at the priority of domain events and in the order in which jobs ended, so a client
 * sees the events that its call emitted before the reply.
 */
#include "rpc/dispatch.h"
#include "rpc/users.h"

/* A lane's own workers. */
typedef struct Pool {
        GThreadPool *threads; /* NULL: it has none */
        guint max;
        guint busy, untrusted; /* jobs that run there, and those of them that are not the superuser's */
} Pool;

typedef struct Job {
        RpcWorkers *workers;
        RpcUser *user;
        guint64 number; /* in order of arrival */
        RpcLane pool;   /* where it runs */
        void (*func)(gpointer data);
        void (*done)(gpointer data);
        gpointer data;
} Job;

/* Main thread only. */
struct RpcWorkers {
        Pool pools[RPC_LANES];
        GQueue turns; /* RpcUser*, a reference each: those with jobs that wait */
        guint64 last_number;
        guint jobs; /* not done */
};

static void workers_begin(RpcWorkers *workers);

static gboolean job_done(gpointer data) {
        Job *job = data;
        RpcWorkers *workers = job->workers;
        Pool *pool = &workers->pools[job->pool];
        pool->busy--;
        if (!rpc_user_is_trusted(job->user))
                pool->untrusted--;
        job->user->running[job->pool]--;
        workers->jobs--;
        job->done(job->data);
        rpc_user_unref(job->user);
        g_free(job);
        workers_begin(workers);
        return G_SOURCE_REMOVE;
}

static void job_run(gpointer data, gpointer user_data) {
        Job *job = data;
        job->func(job->data);
        g_idle_add_full(G_PRIORITY_DEFAULT, job_done, job, NULL);
}

static gboolean pool_init(Pool *pool, guint max, GError **err) {
        pool->max = max;
        if (max > 0)
                pool->threads = g_thread_pool_new(job_run, NULL, (gint) max, FALSE, err);
        return max == 0 || pool->threads;
}

RpcWorkers *rpc_workers_new(guint normal, guint priority, guint neighbour, GError **err) {
        RpcWorkers *workers = g_new0(RpcWorkers, 1);
        g_queue_init(&workers->turns);
        if (pool_init(&workers->pools[RPC_LANE_NORMAL], MAX(normal, 1), err) &&
            pool_init(&workers->pools[RPC_LANE_HIGH], priority, err) &&
            pool_init(&workers->pools[RPC_LANE_NEIGHBOUR], MAX(neighbour, 1), err))
                return workers;
        rpc_workers_free(workers);
        return NULL;
}

void rpc_workers_free(RpcWorkers *workers) {
        if (!workers)
                return;
        workers_begin(workers);
        while (workers->jobs > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        for (guint i = 0; i < RPC_LANES; i++)
                if (workers->pools[i].threads)
                        g_thread_pool_free(workers->pools[i].threads, FALSE, TRUE);
        g_free(workers);
}

/* --- Turns --- */

static gboolean pool_has_room(const Pool *pool, guint running, gboolean trusted) {
        if (pool->busy >= pool->max)
                return FALSE;
        return trusted || (running < MAX(pool->max / 2, 1) && pool->untrusted < MAX(pool->max - pool->max / 4, 1));
}

/* The lane whose workers may take a job of this lane now; RPC_LANES: none. */
static RpcLane choose_pool(const RpcWorkers *workers, const RpcUser *user, RpcLane lane) {
        const RpcLane choices[] = { lane == RPC_LANE_HIGH ? RPC_LANE_NORMAL : lane, lane };
        for (guint i = 0; i < G_N_ELEMENTS(choices); i++)
                if (pool_has_room(&workers->pools[choices[i]], user->running[choices[i]], rpc_user_is_trusted(user)))
                        return choices[i];
        return RPC_LANES;
}

/* The user's oldest job that may begin now, or NULL. */
static Job *take_job(RpcWorkers *workers, RpcUser *user) {
        RpcLane first = RPC_LANES, pool = RPC_LANES;
        guint64 number = G_MAXUINT64;
        if (!rpc_user_is_trusted(user) && user->output.used > RPC_USER_OUTPUT_HIGH)
                return NULL;
        for (RpcLane lane = 0; lane < RPC_LANES; lane++) {
                const Job *job = g_queue_peek_head(&user->waiting[lane]);
                RpcLane choice = job && job->number < number ? choose_pool(workers, user, lane) : RPC_LANES;
                if (choice == RPC_LANES)
                        continue;
                first = lane;
                pool = choice;
                number = job->number;
        }
        Job *job = first < RPC_LANES ? g_queue_pop_head(&user->waiting[first]) : NULL;
        if (job)
                job->pool = pool;
        return job;
}

static void job_begin(RpcWorkers *workers, Job *job) {
        Pool *pool = &workers->pools[job->pool];
        pool->busy++;
        if (!rpc_user_is_trusted(job->user))
                pool->untrusted++;
        job->user->running[job->pool]++;
        /* An error means that no thread could be made now; the job stays queued for the existing ones. */
        (void) g_thread_pool_push(pool->threads, job, NULL);
}

static gboolean user_waits(RpcUser *user) {
        for (RpcLane lane = 0; lane < RPC_LANES; lane++)
                if (!g_queue_is_empty(&user->waiting[lane]))
                        return TRUE;
        return FALSE;
}

/* One turn of each user, until nobody's next job may begin. */
static void workers_begin(RpcWorkers *workers) {
        for (guint idle = 0; idle < workers->turns.length;) {
                RpcUser *user = g_queue_pop_head(&workers->turns);
                Job *job = take_job(workers, user);
                idle = job ? 0 : idle + 1;
                if (job)
                        job_begin(workers, job);
                user->has_turn = user_waits(user);
                if (user->has_turn)
                        g_queue_push_tail(&workers->turns, user);
                else
                        rpc_user_unref(user);
        }
}

void rpc_workers_resume(RpcWorkers *workers) {
        if (workers)
                workers_begin(workers);
}

void rpc_workers_push(RpcWorkers *workers, RpcUser *user, RpcLane lane, void (*func)(gpointer data),
                      void (*done)(gpointer data), gpointer data) {
        Job *job = g_new0(Job, 1);
        *job = (Job) { workers, rpc_user_ref(user), ++workers->last_number, lane, func, done, data };
        workers->jobs++;
        g_queue_push_tail(&user->waiting[lane], job);
        if (!user->has_turn)
                g_queue_push_tail(&workers->turns, rpc_user_ref(user));
        user->has_turn = TRUE;
        workers_begin(workers);
}
