/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests' output in files: <console type='file'>, and <log> of any character device. A
 * monitor never holds such a file: it writes into a FIFO, and the daemon moves that to
 * files that rotate (util/rotating_file.h).
 */
#pragma once

#include <glib.h>

typedef struct GuestLogs GuestLogs;

#define GUEST_LOG_FILES_MAX 2u /* of one device: its output, and the log beside it */

typedef struct GuestLogFile {
        const char *path;
        gboolean append; /* else the file is emptied when the guest starts */
} GuestLogFile;

typedef struct GuestLogConfig {
        const char *fifo;   /* its path, and the handle of this log in the calls below */
        const char *domain; /* the domain's name, for messages */
        const guint8 *uuid;
        const char *device; /* alias, such as "serial0", for messages */
        GuestLogFile file[GUEST_LOG_FILES_MAX];
        guint n_files; /* 1 at least */
} GuestLogConfig;

/* Starts the thread. `max_size`: bytes of a file; `max_backups`: older files that are kept of it. */
GuestLogs *guest_logs_new(guint64 max_size, guint max_backups, GError **err);
/* FIFOs and their content are left to the next daemon. NULL is fine. */
void guest_logs_free(GuestLogs *logs);

/*
 * Opens the files, makes the FIFO and serves it. Returns the monitor's end, which is the caller's: non-blocking, and
 * open for reading too, so that a monitor without a daemon gets no SIGPIPE. VIR_ERR_RESOURCE_BUSY when another log has
 * one of the files; -1 on error, and then nothing is left but files.
 */
int guest_logs_add(GuestLogs *logs, const GuestLogConfig *config, GError **err);
/* Serves a FIFO that another daemon has made. A file that cannot be opened is retried when there is text for it. */
gboolean guest_logs_adopt(GuestLogs *logs, const GuestLogConfig *config, GError **err);
/*
 * Their monitor is gone: the rest of these FIFOs goes to the files, and the FIFOs are deleted. Waits a moment for that
 * (GUEST_LOG_END_MS for all), so that the log of a domain that has ended is complete, but not for a hanging disk. A
 * FIFO that is not served is merely deleted.
 */
void guest_logs_end(GuestLogs *logs, const char *const *fifos); /* NULL-terminated */
