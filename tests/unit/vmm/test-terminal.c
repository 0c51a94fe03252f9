/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standard input as the guest's console, when it is a pipe.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../test.h"
#include "base/cleanup.h"
#include "core/loop.h"
#include "terminal.h"

struct fixture {
        struct loop *loop;
        struct terminal *terminal;
        int guest, saved_input;
};

static void on_quit(void *arg) {
        CHECK(!"quit");
}

/* Standard input is `fd`. The socket to the guest is made small, so that it fills up. */
static void fixture_init(struct fixture *f, int fd) {
        int ours, small = 4096;

        f->saved_input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
        CHECK(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
        close_fd(&fd);
        CHECK_EQ(loop_new("control", &f->loop), 0);
        CHECK_EQ(terminal_pair(&ours, &f->guest), 0);
        CHECK(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
        CHECK_EQ(terminal_new(f->loop, ours, on_quit, NULL, &f->terminal), 0);
        CHECK_EQ(loop_start(f->loop, NULL, NULL), 0);
}

static void do_free(void *arg) {
        struct fixture *f = arg;

        f->terminal = terminal_free(f->terminal);
}

static void fixture_done(struct fixture *f) {
        loop_call(f->loop, do_free, f);
        loop_free(f->loop);
        close_fd(&f->guest);
        CHECK(dup2(f->saved_input, STDIN_FILENO) == STDIN_FILENO);
        close_fd(&f->saved_input);
}

static long cpu_ns(void) {
        struct timespec ts;

        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0);
        return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

/* The writer leaves long before the guest reads: nothing is lost, and no thread spins meanwhile. */
static void test_pipe(void) {
        static uint8_t text[60000], got[sizeof(text)];
        struct fixture f;
        size_t n = 0;
        long before;
        int fds[2];

        for (size_t i = 0; i < sizeof(text); i++)
                text[i] = (uint8_t) (i % 251);
        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        CHECK(write(fds[1], text, sizeof(text)) == (ssize_t) sizeof(text));
        close_fd(&fds[1]);
        fixture_init(&f, fds[0]);
        (void) usleep(50000);
        before = cpu_ns();
        (void) usleep(200000);
        CHECK(cpu_ns() - before < 50000000l);
        while (n < sizeof(got)) {
                struct pollfd pfd = { .fd = f.guest, .events = POLLIN };
                ssize_t r;

                CHECK(poll(&pfd, 1, 10000) == 1);
                r = read(f.guest, got + n, sizeof(got) - n);
                CHECK(r > 0);
                n += (size_t) r;
        }
        CHECK(memcmp(got, text, sizeof(got)) == 0);
        before = cpu_ns();
        (void) usleep(200000);
        CHECK(cpu_ns() - before < 50000000l); /* the end is noticed once */
        fixture_done(&f);
}

/* A descriptor that cannot be watched is not used as input. */
static void test_null(void) {
        struct fixture f;

        fixture_init(&f, open("/dev/null", O_RDONLY | O_CLOEXEC));
        CHECK(write(f.guest, "\n", 1) == 1);
        fixture_done(&f);
}

int main(void) {
        RUN(test_pipe);
        RUN(test_null);
        return 0;
}
