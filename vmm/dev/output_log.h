/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copy of what a guest writes to a serial port or console port: the writing end of a
 * pipe from which the daemon fills a log file, or such a file itself.
 *
 * A guest does not wait for its log: output that does not fit into the pipe is dropped, counted, and reported
 * at intervals.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../base/log.h"

struct output_log {
        int fd;        /* -EBADF: there is none */
        bool full;     /* the last text did not fit */
        uint64_t lost; /* bytes so far */
        struct log_guest told;
};

#define OUTPUT_LOG_NONE ((struct output_log) { .fd = -EBADF })

/* Takes `fd` on success, and makes it non-blocking. -EBADF: it cannot be written to. */
int output_log_init(struct output_log *log, int fd);
void output_log_done(struct output_log *log);

/*
 * Writes the vectors, VQ_SIZE_MAX at most. A pipe that is full is waited for up to `patience` milliseconds, but only
 * once until it has taken something again. `device` names the writer in messages. For device loops: base/seccomp.c lets
 * them call writev() and poll().
 */
void output_log_write(struct output_log *log, const char *device, const struct iovec *iov, unsigned n, int patience);
/* The same for a vCPU, which waits for nobody and may call write(). */
void output_log_put(struct output_log *log, const char *device, uint8_t byte);
/* What is dropped without having been written. */
void output_log_lose(struct output_log *log, const char *device, uint64_t bytes);
