/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../test.h"
#include "core/loop.h"

static struct loop *make(void) {
        struct loop *loop;

        CHECK_EQ(loop_new("a-name-that-is-too-long", &loop), 0);
        return loop;
}

static void note_thread(void *arg) {
        *(pthread_t *) arg = pthread_self();
}

static void test_call_without_a_thread(void) {
        struct loop *loop = make();
        pthread_t thread;

        loop_call(loop, note_thread, &thread);
        CHECK(pthread_equal(thread, pthread_self()));
        loop_free(loop);
        CHECK(!loop_free(NULL));
}

struct nested {
        struct loop *loop;
        pthread_t outer, inner;
};

static void call_nested(void *arg) {
        struct nested *n = arg;

        note_thread(&n->outer);
        loop_call(n->loop, note_thread, &n->inner);
}

static void test_call_on_the_thread(void) {
        struct nested n = { .loop = make() };

        CHECK_EQ(loop_start(n.loop, NULL, NULL), 0);
        CHECK_EQ(loop_start(n.loop, NULL, NULL), -EALREADY);
        loop_call(n.loop, call_nested, &n);
        CHECK(!pthread_equal(n.outer, pthread_self()));
        CHECK(pthread_equal(n.outer, n.inner));
        loop_free(n.loop);
}

static void count(void *arg) {
        ++*(unsigned *) arg;
}

struct caller {
        struct loop *loop;
        unsigned *counter;
};

static void *call_often(void *arg) {
        struct caller *c = arg;

        for (unsigned i = 0; i < 1000; i++)
                loop_call(c->loop, count, c->counter);
        return NULL;
}

/* The counter is not atomic, since only the loop's thread touches it. */
static void test_calls_from_many_threads(void) {
        unsigned counter = 0;
        struct caller c = { .loop = make(), .counter = &counter };
        pthread_t threads[4];

        CHECK_EQ(loop_start(c.loop, NULL, NULL), 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(pthread_create(&threads[i], NULL, call_often, &c), 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(pthread_join(threads[i], NULL), 0);
        loop_free(c.loop);
        CHECK_EQ(counter, 4000);
}

static int refuse(void *arg) {
        ++*(unsigned *) arg;
        return -EPERM;
}

static void test_prepare(void) {
        struct loop *loop = make();
        unsigned prepared = 0;

        CHECK_EQ(loop_start(loop, refuse, &prepared), -EPERM);
        CHECK_EQ(prepared, 1);
        loop_free(loop);
}

struct pair {
        struct loop *loop;
        struct loop_source *source[2];
        int fd[2][2];
        unsigned seen;
};

/* Whichever comes first removes both. */
static void remove_both(void *arg, uint32_t events) {
        struct pair *p = arg;

        CHECK(events & EPOLLIN);
        p->seen++;
        p->source[0] = loop_remove(p->source[0]);
        p->source[1] = loop_remove(p->source[1]);
        loop_stop(p->loop);
}

static void test_removal_inside_a_batch(void) {
        struct pair p = { .loop = make() };

        for (unsigned i = 0; i < 2; i++) {
                CHECK_EQ(pipe(p.fd[i]), 0);
                CHECK_EQ(write(p.fd[i][1], "x", 1), 1);
                CHECK_EQ(loop_add_fd(p.loop, p.fd[i][0], EPOLLIN, remove_both, &p, &p.source[i]), 0);
        }
        CHECK_EQ(loop_run(p.loop), 0);
        CHECK_EQ(p.seen, 1);
        CHECK(!loop_remove(NULL));
        loop_free(p.loop);
        for (unsigned i = 0; i < 4; i++)
                close(p.fd[i / 2][i % 2]);
}

int main(void) {
        RUN(test_call_without_a_thread);
        RUN(test_call_on_the_thread);
        RUN(test_calls_from_many_threads);
        RUN(test_prepare);
        RUN(test_removal_inside_a_batch);
        return 0;
}
