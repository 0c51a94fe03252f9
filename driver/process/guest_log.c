/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one thread, "guest-log", reads all FIFOs and writes all files, so
 * that a hanging disk holds up nothing but logs. It takes turns: at most TURN_BYTES of a
 * FIFO at once, at most TURNS_PER_ROUND FIFOs before it pauses, and epoll returns ready
 * FIFOs in rotation. That bounds the work that all guests together can cause. A single
 * guest may write BURST_BYTES at full speed, more than any boot prints; then it gets
 * RATE_BYTES a second, and its monitor drops what the FIFO cannot hold.
 *
 * The FIFO outlives the daemon, as the monitor holds it open in both directions. Its
 * content does too, so the next daemon continues where this one stopped; a guest that
 * prints more than the FIFO holds meanwhile (64 KiB), or ends, loses the rest.
 *
 * The caller that adds a log claims the names, then opens the files: a second log with
 * one of the files is refused. From then on only the thread touches the log; others ask
 * for its end by leaving a note. The lock guards the table, the notes, and the flag of
 * ended logs; it is never held during file operations.
 */
#include "process/guest_log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "systemd/journal.h"
#include "util/error.h"
#include "util/rotating_file.h"

#define TURN_BYTES       65536u     /* what a FIFO holds, by default */
#define TURNS_PER_ROUND  8u         /* 512 KiB; with the pause 100 MiB/s at most, some percent of a processor */
#define ROUND_PAUSE_US   5000u      /* less than the 10 ms for which a virtio console waits for room */
#define BURST_BYTES      (8u << 20) /* as much as the four files of one log hold, by default */
#define RATE_BYTES       (1u << 20) /* a second */
#define DRAIN_BYTES      (1u << 20) /* the largest FIFO that an unprivileged process can make of one */
#define GUEST_LOG_END_MS 2000

typedef struct LogFile {
        RotatingFile *file;
        gboolean failing; /* and reported */
        guint64 lost;     /* bytes, since then */
} LogFile;

typedef struct GuestLog {
        gatomicrefcount refs; /* held by the table or, at its end, the thread; and by whoever waits for the end */
        char *fifo, *domain, *device;
        guint8 uuid[16];
        LogFile file[GUEST_LOG_FILES_MAX];
        guint n_files;
        int fd;     /* -1: being made */
        gint64 due; /* monotonic µs: no turn before this */
        gboolean resting;
        gboolean ended; /* lock held */
} GuestLog;

struct GuestLogs {
        GMutex lock;
        GCond end_done;
        GHashTable *by_fifo; /* char* of the log -> GuestLog */
        GPtrArray *ending;   /* GuestLog, out of the table */
        GPtrArray *resting;  /* GuestLog, not owned; the thread's */
        guint64 max_size;
        guint max_backups;
        int epoll_fd, wake_fd;
        gint stopping; /* atomic */
        GThread *thread;
        char buffer[TURN_BYTES];
};

/* --- One log ------------------------------------------------------------------------------ */

static GuestLog *log_new(const GuestLogs *logs, const GuestLogConfig *config) {
        GuestLog *log = g_new0(GuestLog, 1);
        g_atomic_ref_count_init(&log->refs);
        log->fifo = g_strdup(config->fifo);
        log->domain = g_strdup(config->domain);
        log->device = g_strdup(config->device);
        memcpy(log->uuid, config->uuid, sizeof(log->uuid));
        log->n_files = MIN(config->n_files, GUEST_LOG_FILES_MAX);
        for (guint i = 0; i < log->n_files; i++)
                log->file[i].file = rotating_file_new(config->file[i].path, logs->max_size, logs->max_backups);
        log->fd = -1;
        return log;
}

static void log_unref(gpointer data) {
        GuestLog *log = data;
        if (!g_atomic_ref_count_dec(&log->refs))
                return;
        for (guint i = 0; i < log->n_files; i++)
                rotating_file_free(log->file[i].file);
        if (log->fd >= 0)
                (void) close(log->fd);
        g_free(log->fifo);
        g_free(log->domain);
        g_free(log->device);
        g_free(log);
}

static void tell_lost(const GuestLog *log, LogFile *file, const char *why) {
        file->failing = TRUE;
        journal_log(G_LOG_LEVEL_WARNING, log->domain, log->uuid, NULL,
                    "%s: %s: the guest's output is lost until this is fixed", log->device, why);
}

static void tell_mended(const GuestLog *log, LogFile *file) {
        journal_log(G_LOG_LEVEL_MESSAGE, log->domain, log->uuid, NULL,
                    "%s: log file '%s' is written again; %" G_GUINT64_FORMAT " bytes were lost", log->device,
                    rotating_file_path(file->file), file->lost);
        file->failing = FALSE;
        file->lost = 0;
}

static void log_write(const GuestLog *log, LogFile *file, const char *data, gsize len) {
        g_autoptr(GError) err = NULL;
        gsize kept = rotating_file_append(file->file, data, len, &err);
        if (kept == len && file->failing)
                tell_mended(log, file);
        else if (kept < len && !file->failing)
                tell_lost(log, file, err->message);
        file->lost += len - kept;
}

/* Moves one piece from the FIFO to the files. Returns its bytes; 0: the FIFO is empty. */
static gsize log_turn(GuestLogs *logs, GuestLog *log) {
        ssize_t n = read(log->fd, logs->buffer, sizeof(logs->buffer));
        if (n <= 0)
                return 0;
        for (guint i = 0; i < log->n_files; i++)
                log_write(log, &log->file[i], logs->buffer, (gsize) n);
        return (gsize) n;
}

/* --- The thread ----------------------------------------------------------------------------- */

static void set_watched(const GuestLogs *logs, GuestLog *log, gboolean watched) {
        struct epoll_event event = { .events = watched ? EPOLLIN : 0, .data.ptr = log };
        (void) epoll_ctl(logs->epoll_fd, EPOLL_CTL_MOD, log->fd, &event);
        log->resting = !watched;
}

/* A turn and what it costs: RATE_BYTES a second, after up to BURST_BYTES on credit. */
static void serve(GuestLogs *logs, GuestLog *log) {
        gint64 now = g_get_monotonic_time();
        gint64 cost = (gint64) log_turn(logs, log) * G_USEC_PER_SEC / RATE_BYTES;
        log->due = MAX(log->due, now - (gint64) (BURST_BYTES / RATE_BYTES) * G_USEC_PER_SEC) + cost;
        if (log->due <= now)
                return;
        set_watched(logs, log, FALSE);
        g_ptr_array_add(logs->resting, log);
}

/* Milliseconds until the next log has rested, or -1. */
static int wake_rested(GuestLogs *logs) {
        gint64 now = g_get_monotonic_time(), next = G_MAXINT64;
        for (guint i = logs->resting->len; i > 0; i--) {
                GuestLog *log = g_ptr_array_index(logs->resting, i - 1);
                if (log->due > now) {
                        next = MIN(next, log->due);
                        continue;
                }
                set_watched(logs, log, TRUE);
                (void) g_ptr_array_remove_index_fast(logs->resting, i - 1);
        }
        return next == G_MAXINT64 ? -1 : (int) ((next - now) / 1000 + 1);
}

static void finish(GuestLogs *logs, GuestLog *log) {
        (void) epoll_ctl(logs->epoll_fd, EPOLL_CTL_DEL, log->fd, NULL);
        (void) g_ptr_array_remove_fast(logs->resting, log);
        for (gsize done = 0, n = 1; n > 0 && done < DRAIN_BYTES; done += n)
                n = log_turn(logs, log);
        for (guint i = 0; i < log->n_files; i++)
                g_clear_pointer(&log->file[i].file, rotating_file_free);
        g_mutex_lock(&logs->lock);
        log->ended = TRUE;
        g_cond_broadcast(&logs->end_done);
        g_mutex_unlock(&logs->lock);
        log_unref(log);
}

static void finish_ending(GuestLogs *logs) {
        g_autoptr(GPtrArray) ending = NULL;
        g_mutex_lock(&logs->lock);
        ending = g_steal_pointer(&logs->ending);
        logs->ending = g_ptr_array_new();
        g_mutex_unlock(&logs->lock);
        for (guint i = 0; i < ending->len; i++)
                finish(logs, g_ptr_array_index(ending, i));
}

static gpointer thread_main(gpointer data) {
        GuestLogs *logs = data;
        struct epoll_event events[TURNS_PER_ROUND];
        while (!g_atomic_int_get(&logs->stopping)) {
                gboolean served = FALSE;
                finish_ending(logs);
                int n = epoll_wait(logs->epoll_fd, events, TURNS_PER_ROUND, wake_rested(logs));
                for (int i = 0; i < n; i++) {
                        eventfd_t value;
                        GuestLog *log = events[i].data.ptr;
                        served |= log != NULL;
                        if (log)
                                serve(logs, log);
                        else
                                (void) eventfd_read(logs->wake_fd, &value);
                }
                if (served)
                        g_usleep(ROUND_PAUSE_US);
        }
        return NULL;
}

static void wake(const GuestLogs *logs) {
        (void) eventfd_write(logs->wake_fd, 1);
}

static void close_fd(int fd) {
        if (fd >= 0)
                (void) close(fd);
}

GuestLogs *guest_logs_new(guint64 max_size, guint max_backups, GError **err) {
        struct epoll_event event = { .events = EPOLLIN };
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC), wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) < 0) {
                (void) error_set_errno(err, errno, "cannot watch the logs of guests");
                close_fd(epoll_fd);
                close_fd(wake_fd);
                return NULL;
        }
        GuestLogs *logs = g_new0(GuestLogs, 1);
        g_mutex_init(&logs->lock);
        g_cond_init(&logs->end_done);
        logs->by_fifo = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, log_unref);
        logs->ending = g_ptr_array_new();
        logs->resting = g_ptr_array_new();
        logs->max_size = max_size;
        logs->max_backups = max_backups;
        logs->epoll_fd = epoll_fd;
        logs->wake_fd = wake_fd;
        logs->thread = g_thread_new("guest-log", thread_main, logs);
        return logs;
}

void guest_logs_free(GuestLogs *logs) {
        if (!logs)
                return;
        g_atomic_int_set(&logs->stopping, TRUE);
        wake(logs);
        (void) g_thread_join(logs->thread);
        finish_ending(logs);
        g_hash_table_unref(logs->by_fifo);
        g_ptr_array_unref(logs->ending);
        g_ptr_array_unref(logs->resting);
        close_fd(logs->epoll_fd);
        close_fd(logs->wake_fd);
        g_cond_clear(&logs->end_done);
        g_mutex_clear(&logs->lock);
        g_free(logs);
}

/* --- Logs that come and go -------------------------------------------------------------------- */

/* The file that both would write, or NULL. */
static const char *common_file(const GuestLog *a, const GuestLog *b) {
        for (guint i = 0; i < a->n_files; i++)
                for (guint k = a == b ? i + 1 : 0; k < b->n_files; k++)
                        if (rotating_file_clashes(a->file[i].file, b->file[k].file))
                                return rotating_file_path(a->file[i].file);
        return NULL;
}

/* Lock held. */
static gboolean check_files(const GuestLogs *logs, const GuestLog *log, GError **err) {
        const char *path = common_file(log, log);
        GHashTableIter iter;
        gpointer other;
        if (path)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is the file and the log of %s: choose two",
                                 path, log->device);
        if (g_hash_table_contains(logs->by_fifo, log->fifo))
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "FIFO '%s' is in use", log->fifo);
        g_hash_table_iter_init(&iter, logs->by_fifo);
        while (g_hash_table_iter_next(&iter, NULL, &other)) {
                const GuestLog *owner = other;
                path = common_file(log, owner);
                if (path)
                        return error_set(err, VIR_ERR_RESOURCE_BUSY,
                                         "log file '%s' of %s is written by %s of the running domain '%s', or is one "
                                         "of its backups: choose another",
                                         path, log->device, owner->device, owner->domain);
        }
        return TRUE;
}

/* Adds it to the table, which claims its files' names. Takes `log` if it succeeds. */
static gboolean claim(GuestLogs *logs, GuestLog *log, GError **err) {
        g_mutex_lock(&logs->lock);
        gboolean ok = check_files(logs, log, err);
        if (ok)
                g_hash_table_replace(logs->by_fifo, log->fifo, log);
        g_mutex_unlock(&logs->lock);
        return ok;
}

static void disclaim(GuestLogs *logs, GuestLog *log) {
        g_mutex_lock(&logs->lock);
        g_hash_table_remove(logs->by_fifo, log->fifo);
        g_mutex_unlock(&logs->lock);
}

static int open_fifo(const char *path, GError **err) {
        struct stat st;
        int fd = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
                return fd;
        (void) error_set_errno(err, fd < 0 ? errno : EINVAL, "cannot open FIFO '%s'", path);
        close_fd(fd);
        return -1;
}

/* From here on the log is the thread's. */
static gboolean watch(GuestLogs *logs, GuestLog *log, GError **err) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = log };
        return epoll_ctl(logs->epoll_fd, EPOLL_CTL_ADD, log->fd, &event) == 0 ||
               error_set_errno(err, errno, "cannot watch FIFO '%s'", log->fifo);
}

static gboolean open_files(const GuestLog *log, const GuestLogConfig *config, GError **err) {
        for (guint i = 0; i < log->n_files; i++)
                if (!rotating_file_open(log->file[i].file, config->file[i].append, err))
                        return FALSE;
        return TRUE;
}

static gboolean make_fifo(GuestLog *log, int *ret_writer, GError **err) {
        (void) g_unlink(log->fifo); /* left by a daemon that was killed just then */
        if (mkfifo(log->fifo, 0600) < 0)
                return error_set_errno(err, errno, "cannot make FIFO '%s'", log->fifo);
        log->fd = open_fifo(log->fifo, err);
        *ret_writer = log->fd < 0 ? -1 : open_fifo(log->fifo, err);
        return *ret_writer >= 0;
}

int guest_logs_add(GuestLogs *logs, const GuestLogConfig *config, GError **err) {
        GuestLog *log = log_new(logs, config);
        int writer = -1;
        if (!claim(logs, log, err)) {
                log_unref(log);
                return -1;
        }
        if (open_files(log, config, err) && make_fifo(log, &writer, err) && watch(logs, log, err))
                return writer;
        close_fd(writer);
        (void) g_unlink(log->fifo);
        disclaim(logs, log);
        return -1;
}

gboolean guest_logs_adopt(GuestLogs *logs, const GuestLogConfig *config, GError **err) {
        GuestLog *log = log_new(logs, config);
        if (!claim(logs, log, err)) {
                log_unref(log);
                return FALSE;
        }
        log->fd = open_fifo(log->fifo, err);
        if (log->fd >= 0 && watch(logs, log, err))
                return TRUE;
        disclaim(logs, log);
        return FALSE;
}

/* Out of the table, and on to the thread. Returns a reference for who waits, or NULL. Lock held. */
static GuestLog *begin_end(GuestLogs *logs, const char *fifo) {
        GuestLog *log = NULL;
        (void) g_hash_table_steal_extended(logs->by_fifo, fifo, NULL, (gpointer *) &log);
        if (log) {
                g_atomic_ref_count_inc(&log->refs);
                g_ptr_array_add(logs->ending, log);
        }
        return log;
}

void guest_logs_end(GuestLogs *logs, const char *const *fifos) {
        gint64 deadline = g_get_monotonic_time() + GUEST_LOG_END_MS * G_TIME_SPAN_MILLISECOND;
        g_autoptr(GPtrArray) ending = g_ptr_array_new_with_free_func(log_unref);
        g_mutex_lock(&logs->lock);
        for (; *fifos; fifos++) {
                GuestLog *log = begin_end(logs, *fifos);
                if (log)
                        g_ptr_array_add(ending, log);
                (void) g_unlink(*fifos);
        }
        wake(logs);
        for (guint i = 0; i < ending->len; i++) {
                const GuestLog *log = g_ptr_array_index(ending, i);
                while (!log->ended && g_cond_wait_until(&logs->end_done, &logs->lock, deadline))
                        ;
        }
        g_mutex_unlock(&logs->lock);
}
