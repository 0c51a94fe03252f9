/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages. Each is formatted on the stack and written with one write(2): lines of different threads never mix,
 * and nothing is allocated. The prefix is the program's name or, if stderr is a socket, as the journal's stream
 * is, the "<N>" priority that the journal parses. After log_to_journal() messages are sent as journal entries
 * instead (systemd's "native journal protocol").
 *
 * Level and destination are the only state, written once before threads start (a thread's system call filter
 * would not let it examine stderr). Counters of guest violations belong to the device that keeps them; a device
 * is used by one thread at a time, and a torn count would only make a log line early or late.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024u

static enum log_level max_level = LOG_LEVEL_INFO;
static bool to_stream;
static int journal_fd = -1;
static char journal_fields[LOG_FIELDS_BYTES]; /* each with its line break */
static size_t journal_fields_used;

void log_set_level(enum log_level level) {
        struct stat st;

        max_level = level;
        to_stream = fstat(STDERR_FILENO, &st) == 0 && S_ISSOCK(st.st_mode);
}

void log_to_journal(int fd, const char *const *fields, unsigned n_fields) {
        journal_fd = fd;
        journal_fields_used = 0;
        for (unsigned i = 0; i < n_fields; i++) {
                size_t len = strlen(fields[i]);

                if (len + 1 > sizeof(journal_fields) - journal_fields_used || strchr(fields[i], '\n'))
                        continue;
                memcpy(journal_fields + journal_fields_used, fields[i], len);
                journal_fields[journal_fields_used + len] = '\n';
                journal_fields_used += len + 1;
        }
}

int log_fd(void) {
        return journal_fd >= 0 ? journal_fd : STDERR_FILENO;
}

static size_t append(char *line, size_t used, const char *format, ...) __attribute__((format(printf, 3, 4)));
static size_t vappend(char *line, size_t used, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

static size_t vappend(char *line, size_t used, const char *format, va_list args) {
        int r = vsnprintf(line + used, LINE_MAX_BYTES - used, format, args);
        if (r < 0)
                return used;
        return (size_t) r < LINE_MAX_BYTES - used ? used + (size_t) r : LINE_MAX_BYTES - 1;
}

static size_t append(char *line, size_t used, const char *format, ...) {
        va_list args;

        va_start(args, format);
        used = vappend(line, used, format, args);
        va_end(args);
        return used;
}

/* A message may quote bytes of a file or guest: keep it on one line. */
static void make_printable(char *line, size_t len) {
        for (size_t i = 0; i < len; i++)
                if ((unsigned char) line[i] < ' ' || line[i] == 0x7f)
                        line[i] = '?';
}

static void emit(enum log_level level, int error, const char *prefix, const char *format, va_list args)
        __attribute__((format(printf, 4, 0)));

static void emit(enum log_level level, int error, const char *prefix, const char *format, va_list args) {
        char line[LINE_MAX_BYTES + LOG_FIELDS_BYTES];
        size_t used, start;
        ssize_t n;
        int saved = errno;

        if (journal_fd >= 0)
                used = append(line, 0, "PRIORITY=%d\nMESSAGE=", (int) level);
        else if (to_stream)
                used = append(line, 0, "<%d>", (int) level);
        else
                used = append(line, 0, "virtmicro-vmm: ");
        start = used;
        if (prefix)
                used = append(line, used, "%s: ", prefix);
        used = vappend(line, used, format, args);
        if (error != 0)
                used = append(line, used, ": %s", strerrordesc_np(abs(error)) ?: "unknown error");
        make_printable(line + start, used - start);
        line[used++] = '\n';
        if (journal_fd >= 0) {
                memcpy(line + used, journal_fields, journal_fields_used);
                used += journal_fields_used;
        }
        /* Nowhere to report that reporting failed. */
        n = write(log_fd(), line, used);
        (void) n;
        errno = saved;
}

void log_line(enum log_level level, int error, const char *format, ...) {
        va_list args;

        if (level > max_level)
                return;
        va_start(args, format);
        emit(level, error, NULL, format, args);
        va_end(args);
}

bool log_guest_may(struct log_guest *g) {
        struct timespec now = { 0 };
        uint64_t seconds;

        g->count++;
        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        seconds = (uint64_t) now.tv_sec;
        if (g->in_window == 0 || seconds - g->window_start >= LOG_GUEST_SECONDS) {
                g->window_start = seconds;
                g->in_window = 0;
        }
        if (g->in_window > LOG_GUEST_BURST)
                return false;
        g->in_window++;
        return g->in_window <= LOG_GUEST_BURST;
}

void log_guest_error(struct log_guest *g, const char *device, const char *format, ...) {
        va_list args;

        if (!log_guest_may(g) || max_level < LOG_LEVEL_WARNING)
                return;
        va_start(args, format);
        emit(LOG_LEVEL_WARNING, 0, device, format, args);
        va_end(args);
}
