/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standard input and output as the guest's console. The device gets one end of a socket
 * pair, so that making it non-blocking does not change the user's terminal; the other
 * end is copied to and from standard input and output here, on the control thread's loop.
 *
 * Input that the guest does not take waits in a buffer, and standard input is not
 * watched meanwhile, not even for a hang-up, which a pipe reports while there is still
 * something in it. On a terminal Ctrl-A is the escape: Ctrl-A X quits, Ctrl-A Ctrl-A is
 * one Ctrl-A. Standard input that cannot be polled (a regular file, /dev/null) is no input.
 */
#include "terminal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/cleanup.h"

#define ESCAPE       1 /* Ctrl-A */
#define INPUT_BYTES  1024u
#define OUTPUT_BYTES 4096u

struct terminal {
        struct loop *loop;
        struct loop_source *in_source, *socket_source;
        bool in_open; /* there may be more on standard input */
        int fd;       /* our end */
        bool is_tty, escaped;
        struct termios saved;
        void (*quit)(void *arg);
        void *arg;
        uint8_t input[INPUT_BYTES];
        size_t input_len;
};

static bool write_all(int fd, const uint8_t *data, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, data, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                data += n;
                len -= (size_t) n;
        }
        return true;
}

static void on_input(void *arg, uint32_t events);

static int watch_input(struct terminal *t, bool wanted) {
        if (!wanted)
                t->in_source = loop_remove(t->in_source);
        else if (!t->in_source)
                return loop_add_fd(t->loop, STDIN_FILENO, EPOLLIN, on_input, t, &t->in_source);
        return 0;
}

static void flush_input(struct terminal *t) {
        ssize_t n;

        if (t->input_len > 0) {
                n = write(t->fd, t->input, t->input_len);
                if (n > 0) {
                        t->input_len -= (size_t) n;
                        memmove(t->input, t->input + n, t->input_len);
                }
        }
        if (t->socket_source)
                (void) loop_set_events(t->socket_source, EPOLLIN | (t->input_len > 0 ? EPOLLOUT : 0));
        (void) watch_input(t, t->in_open && t->input_len == 0);
}

/* Takes the escapes out of what was typed; what is left is appended to the input. */
static void type(struct terminal *t, const uint8_t *data, size_t len) {
        for (size_t i = 0; i < len; i++) {
                if (t->escaped) {
                        t->escaped = false;
                        if (data[i] == 'x' || data[i] == 'X')
                                t->quit(t->arg);
                        if (data[i] != ESCAPE)
                                continue;
                } else if (t->is_tty && data[i] == ESCAPE) {
                        t->escaped = true;
                        continue;
                }
                t->input[t->input_len++] = data[i];
        }
}

static void on_input(void *arg, uint32_t events) {
        struct terminal *t = arg;
        uint8_t buffer[INPUT_BYTES];
        ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer)); /* t->input is empty */

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n <= 0) {
                t->in_open = false;
                (void) watch_input(t, false);
                return;
        }
        type(t, buffer, (size_t) n);
        flush_input(t);
}

/* Copies what is there to standard output; false: there is no more. */
static bool copy_output(struct terminal *t) {
        uint8_t buffer[OUTPUT_BYTES];
        ssize_t n = read(t->fd, buffer, sizeof(buffer));

        return n > 0 && write_all(STDOUT_FILENO, buffer, (size_t) n);
}

static void on_socket(void *arg, uint32_t events) {
        struct terminal *t = arg;

        if (events & EPOLLOUT)
                flush_input(t);
        if (!copy_output(t) && (events & (EPOLLHUP | EPOLLERR)))
                t->socket_source = loop_remove(t->socket_source);
}

static int make_raw(struct terminal *t) {
        struct termios raw;

        t->is_tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &t->saved) == 0;
        if (!t->is_tty)
                return 0;
        raw = t->saved;
        cfmakeraw(&raw);
        raw.c_oflag = t->saved.c_oflag; /* messages of ours still end their lines properly */
        if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
                return -errno;
        return 0;
}

static void free_p(struct terminal **terminal) {
        terminal_free(*terminal);
}

static int watch(struct terminal *t, int fd) {
        int r;

        r = loop_add_fd(t->loop, fd, EPOLLIN, on_socket, t, &t->socket_source);
        if (r < 0)
                return r;
        r = watch_input(t, true);
        t->in_open = r == 0;
        return r == -EPERM || r == -EBADF ? 0 : r;
}

int terminal_pair(int *ret_fd, int *ret_guest_fd) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        *ret_fd = pair[0];
        *ret_guest_fd = pair[1];
        return 0;
}

int terminal_new(struct loop *loop, int fd, void (*quit)(void *arg), void *arg, struct terminal **ret) {
        CLEANUP(free_p) struct terminal *t = NULL;
        int r;

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->loop = loop;
        t->fd = -EBADF;
        t->quit = quit;
        t->arg = arg;
        r = make_raw(t);
        if (r < 0)
                return r;
        r = watch(t, fd);
        if (r < 0)
                return r;
        t->fd = fd;
        *ret = TAKE(t);
        return 0;
}

struct terminal *terminal_free(struct terminal *terminal) {
        if (!terminal)
                return NULL;
        while (terminal->fd >= 0 && copy_output(terminal))
                ;
        if (terminal->is_tty)
                (void) tcsetattr(STDIN_FILENO, TCSANOW, &terminal->saved);
        loop_remove(terminal->in_source);
        loop_remove(terminal->socket_source);
        close_fd(&terminal->fd);
        free(terminal);
        return NULL;
}
