/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An event loop: epoll, one eventfd that wakes it, and a queue of calls from other
 * threads. A loop runs on a thread of its own (loop_start) or on the caller's
 * (loop_run); its sources are touched by that thread alone and need no lock.
 *
 * loop_call() puts a call that lives on the caller's stack into a list under a lock, wakes the loop, and waits
 * on a condition variable. The loop runs the calls between two rounds of events, so a call never sees a source
 * in the middle of its callback. If no thread runs the loop, the call runs on the caller's thread, so tests,
 * start-up and tear-down can use devices without threads.
 *
 * A callback may remove any source, even one whose event is in the same batch: removed sources are only marked,
 * skipped, and freed after the batch.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "../base/cleanup.h"
#include "../base/thread.h"

#define LOOP_BATCH      16
#define LOOP_NAME_BYTES 16u /* TASK_COMM_LEN */

struct loop_source {
        struct loop *loop;
        struct loop_source *next;
        int fd;
        bool removed;
        loop_fd_fn fn;
        void *arg;
};

struct pending_call {
        struct pending_call *next;
        loop_call_fn fn;
        void *arg;
        bool done;
};

struct loop {
        char name[LOOP_NAME_BYTES];
        int epoll_fd, wake_fd;
        struct loop_source *sources, *removed;
        atomic_bool stop;

        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t changed;
        struct pending_call *calls, **calls_tail;
        bool running; /* a thread is inside loop_run() */
        pthread_t thread;

        bool started; /* loop_start() made the thread; owner's thread only */
        int (*prepare)(void *arg);
        void *prepare_arg;
        bool prepared;
        int prepare_result;
};

static void wake(struct loop *loop) {
        uint64_t one = 1;
        ssize_t n = write(loop->wake_fd, &one, sizeof(one));
        (void) n; /* a full counter wakes as well */
}

int loop_new(const char *name, struct loop **ret) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
        struct loop *loop;
        int r;

        loop = calloc(1, sizeof(*loop));
        if (!loop)
                return -ENOMEM;
        (void) snprintf(loop->name, sizeof(loop->name), "%s", name);
        (void) pthread_mutex_init(&loop->lock, NULL);
        (void) pthread_cond_init(&loop->changed, NULL);
        loop->calls_tail = &loop->calls;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
            epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
                r = -errno;
                loop_free(loop);
                return r;
        }
        *ret = loop;
        return 0;
}

static void free_list(struct loop_source **list) {
        while (*list) {
                struct loop_source *source = *list;
                *list = source->next;
                free(source);
        }
}

struct loop *loop_free(struct loop *loop) {
        if (!loop)
                return NULL;
        if (loop->started) {
                loop_stop(loop);
                (void) pthread_join(loop->thread, NULL);
        }
        free_list(&loop->sources);
        free_list(&loop->removed);
        close_fd(&loop->epoll_fd);
        close_fd(&loop->wake_fd);
        (void) pthread_cond_destroy(&loop->changed);
        (void) pthread_mutex_destroy(&loop->lock);
        free(loop);
        return NULL;
}

/* Takes the first call off the list; NULL when there is none. */
static struct pending_call *next_call(struct loop *loop) {
        struct pending_call *call;

        (void) pthread_mutex_lock(&loop->lock);
        call = loop->calls;
        if (call) {
                loop->calls = call->next;
                if (!loop->calls)
                        loop->calls_tail = &loop->calls;
        }
        (void) pthread_mutex_unlock(&loop->lock);
        return call;
}

/* `call` is on the caller's stack: gone once done is seen. */
static void run_calls(struct loop *loop) {
        struct pending_call *call;

        while ((call = next_call(loop))) {
                call->fn(call->arg);
                (void) pthread_mutex_lock(&loop->lock);
                call->done = true;
                (void) pthread_cond_broadcast(&loop->changed);
                (void) pthread_mutex_unlock(&loop->lock);
        }
}

static void run_events(struct loop *loop, const struct epoll_event *events, int n) {
        for (int i = 0; i < n; i++) {
                struct loop_source *source = events[i].data.ptr;

                if (!source) {
                        uint64_t count;
                        ssize_t got = read(loop->wake_fd, &count, sizeof(count));
                        (void) got;
                } else if (!source->removed)
                        source->fn(source->arg, events[i].events);
        }
        free_list(&loop->removed);
}

static void enter(struct loop *loop) {
        (void) pthread_mutex_lock(&loop->lock);
        loop->thread = pthread_self();
        loop->running = true;
        (void) pthread_cond_broadcast(&loop->changed);
        (void) pthread_mutex_unlock(&loop->lock);
}

/* From here on loop_call() calls directly; what was queued before is run here. */
static void leave(struct loop *loop) {
        bool empty;

        do {
                run_calls(loop);
                (void) pthread_mutex_lock(&loop->lock);
                empty = !loop->calls;
                if (empty)
                        loop->running = false;
                (void) pthread_mutex_unlock(&loop->lock);
        } while (!empty);
}

int loop_run(struct loop *loop) {
        struct epoll_event events[LOOP_BATCH];
        int n, r = 0;

        enter(loop);
        while (!atomic_load(&loop->stop)) {
                n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, -1);
                if (n < 0 && errno != EINTR) {
                        r = -errno;
                        break;
                }
                run_events(loop, events, n);
                run_calls(loop);
        }
        leave(loop);
        return r;
}

static void *loop_thread(void *arg) {
        struct loop *loop = arg;
        int r = 0;

        (void) prctl(PR_SET_NAME, loop->name);
        if (loop->prepare)
                r = loop->prepare(loop->prepare_arg);
        (void) pthread_mutex_lock(&loop->lock);
        loop->prepared = true;
        loop->prepare_result = r;
        (void) pthread_cond_broadcast(&loop->changed);
        (void) pthread_mutex_unlock(&loop->lock);
        if (r >= 0)
                (void) loop_run(loop);
        return NULL;
}

int loop_start(struct loop *loop, int (*prepare)(void *arg), void *arg) {
        int r;

        if (loop->started)
                return -EALREADY;
        loop->prepare = prepare;
        loop->prepare_arg = arg;
        r = thread_new(&loop->thread, loop_thread, loop);
        if (r < 0)
                return r;
        (void) pthread_mutex_lock(&loop->lock);
        while (!loop->prepared || (loop->prepare_result >= 0 && !loop->running && !atomic_load(&loop->stop)))
                (void) pthread_cond_wait(&loop->changed, &loop->lock);
        r = loop->prepare_result;
        (void) pthread_mutex_unlock(&loop->lock);
        if (r < 0) {
                (void) pthread_join(loop->thread, NULL);
                return r;
        }
        loop->started = true;
        return 0;
}

void loop_stop(struct loop *loop) {
        atomic_store(&loop->stop, true);
        wake(loop);
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg, struct loop_source **ret) {
        struct epoll_event event = { .events = events };
        struct loop_source *source;

        source = calloc(1, sizeof(*source));
        if (!source)
                return -ENOMEM;
        *source = (struct loop_source) { .loop = loop, .fd = fd, .fn = fn, .arg = arg };
        event.data.ptr = source;
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
                int r = -errno;
                free(source);
                return r;
        }
        source->next = loop->sources;
        loop->sources = source;
        if (ret)
                *ret = source;
        return 0;
}

int loop_set_events(struct loop_source *source, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = source };

        if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
                return -errno;
        return 0;
}

struct loop_source *loop_remove(struct loop_source *source) {
        struct loop_source **at;

        if (!source)
                return NULL;
        (void) epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        for (at = &source->loop->sources; *at != source; at = &(*at)->next)
                ;
        *at = source->next;
        source->removed = true;
        source->next = source->loop->removed;
        source->loop->removed = source;
        return NULL;
}

/* Queues the call for the loop's thread; false: the caller must run it. */
static bool queue_call(struct loop *loop, struct pending_call *call) {
        if (!loop->running || pthread_equal(loop->thread, pthread_self()))
                return false;
        *loop->calls_tail = call;
        loop->calls_tail = &call->next;
        return true;
}

void loop_call(struct loop *loop, loop_call_fn fn, void *arg) {
        struct pending_call call = { .fn = fn, .arg = arg };

        (void) pthread_mutex_lock(&loop->lock);
        if (!queue_call(loop, &call)) {
                (void) pthread_mutex_unlock(&loop->lock);
                fn(arg);
                return;
        }
        wake(loop);
        while (!call.done)
                (void) pthread_cond_wait(&loop->changed, &loop->lock);
        (void) pthread_mutex_unlock(&loop->lock);
}

bool loop_is_called(struct loop *loop) {
        bool called;

        (void) pthread_mutex_lock(&loop->lock);
        called = loop->calls;
        (void) pthread_mutex_unlock(&loop->lock);
        return called;
}
