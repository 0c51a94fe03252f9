/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to standard error, one line each, with the <N> priority prefix that the
 * journal understands when standard error is not a terminal (sd-daemon(3)).
 * Library functions return errors; only main, the dispatchers and the loops log.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_INFO = 6,
};

/* Messages above this level are dropped. Set once, before threads start. */
void log_set_level(enum log_level level);

/*
 * Sends further messages to the journal, through a datagram socket connected to it, each with these fields
 * ("NAME=value", no line breaks, at most LOG_FIELDS_BYTES in total, the rest is dropped). Call before threads
 * start.
 */
#define LOG_FIELDS_BYTES 512u
void log_to_journal(int fd, const char *const *fields, unsigned n_fields);

/* Where messages go: that socket, or standard error. */
int log_fd(void);

void log_line(enum log_level level, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* `error` is an errno of either sign, appended as text; the x forms have none. */
#define log_error(error, ...)   log_line(LOG_LEVEL_ERROR, (error), __VA_ARGS__)
#define log_errorx(...)         log_line(LOG_LEVEL_ERROR, 0, __VA_ARGS__)
#define log_warning(error, ...) log_line(LOG_LEVEL_WARNING, (error), __VA_ARGS__)
#define log_warningx(...)       log_line(LOG_LEVEL_WARNING, 0, __VA_ARGS__)
#define log_infox(...)          log_line(LOG_LEVEL_INFO, 0, __VA_ARGS__)

/*
 * For messages that a guest can trigger at will: always counted, logged at most LOG_GUEST_BURST times in
 * LOG_GUEST_SECONDS, so a hostile guest can fill neither the journal nor the disk.
 */
#define LOG_GUEST_BURST   5u
#define LOG_GUEST_SECONDS 60u

struct log_guest {
        uint64_t count;        /* all so far */
        uint64_t window_start; /* seconds, CLOCK_MONOTONIC */
        uint32_t in_window;
};

/* Counts an event and returns whether it may be logged. If it is not a violation, log it with log_infox(). */
bool log_guest_may(struct log_guest *g);
void log_guest_error(struct log_guest *g, const char *device, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
