/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From FIFOs to files, with this process as monitor and as one daemon after the other. */
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/guest_log.h"
#include "util/error.h"

#define MAX_SIZE    (1u << 20)
#define MAX_BACKUPS 3u

typedef struct Fixture {
        char *dir;
        GuestLogs *logs;
} Fixture;

static GPtrArray *messages; /* what was logged */
static GMutex messages_lock;

static GLogWriterOutput keep_message(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data) {
        g_mutex_lock(&messages_lock);
        for (gsize i = 0; i < n; i++)
                if (strcmp(fields[i].key, "MESSAGE") == 0)
                        g_ptr_array_add(messages, g_strdup(fields[i].value));
        g_mutex_unlock(&messages_lock);
        return G_LOG_WRITER_HANDLED;
}

static void set_up(Fixture *f, gconstpointer data) {
        g_autofree char *dir = g_dir_make_tmp("guest-log-XXXXXX", NULL);
        f->dir = realpath(dir, NULL);
        f->logs = guest_logs_new(MAX_SIZE, MAX_BACKUPS, NULL);
        g_assert_nonnull(f->logs);
        messages = g_ptr_array_new_with_free_func(g_free);
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        guest_logs_free(f->logs);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_ptr_array_unref(messages);
        free(f->dir);
}

static char *in_dir(Fixture *f, const char *name) {
        return g_build_filename(f->dir, name, NULL);
}

/* `names`: one or two files. */
static GuestLogConfig config_of(Fixture *f, const char *fifo, const char *first, const char *second) {
        static const guint8 uuid[16];
        GuestLogConfig config = {
                .fifo = in_dir(f, fifo),
                .domain = "web1",
                .uuid = uuid,
                .device = "serial0",
                .n_files = second ? 2 : 1,
        };
        config.file[0].path = in_dir(f, first);
        config.file[1].path = second ? in_dir(f, second) : NULL;
        return config;
}

static void config_clear(GuestLogConfig *config) {
        g_free((char *) config->fifo);
        g_free((char *) config->file[0].path);
        g_free((char *) config->file[1].path);
}

static int add_log(Fixture *f, const char *fifo, const char *first, const char *second, GError **err) {
        GuestLogConfig config = config_of(f, fifo, first, second);
        int fd = guest_logs_add(f->logs, &config, err);
        config_clear(&config);
        return fd;
}

static int new_log(Fixture *f, const char *fifo, const char *file) {
        g_autoptr(GError) err = NULL;
        int fd = add_log(f, fifo, file, NULL, &err);
        g_assert_no_error(err);
        return fd;
}

static void end_log(Fixture *f, const char *fifo) {
        g_autofree char *path = in_dir(f, fifo);
        const char *const fifos[] = { path, NULL };
        guest_logs_end(f->logs, fifos);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void print(int fd, const char *text) {
        g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
}

static char *content(Fixture *f, const char *name) {
        g_autofree char *path = in_dir(f, name);
        char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return text;
}

static void assert_content(Fixture *f, const char *name, const char *expected) {
        g_autofree char *text = content(f, name);
        g_assert_cmpstr(text, ==, expected);
}

static void wait_for_content(Fixture *f, const char *name, const char *expected) {
        for (guint i = 0; i < 1000; i++) {
                g_autofree char *text = content(f, name);
                if (strcmp(text, expected) == 0)
                        return;
                g_usleep(10000);
        }
        assert_content(f, name, expected);
}

static gboolean has_message(const char *part) {
        gboolean found = FALSE;
        g_mutex_lock(&messages_lock);
        for (guint i = 0; i < messages->len; i++)
                found |= strstr(g_ptr_array_index(messages, i), part) != NULL;
        g_mutex_unlock(&messages_lock);
        return found;
}

static void wait_for_message(const char *part) {
        for (guint i = 0; i < 1000 && !has_message(part); i++)
                g_usleep(10000);
        g_assert_true(has_message(part));
}

static void test_text_arrives(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        int fd = add_log(f, "fifo", "file", "log", &err);
        g_autofree char *path = in_dir(f, "fifo");
        struct stat st;
        g_assert_no_error(err);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode, ==, S_IFIFO | 0600);
        print(fd, "one\n");
        wait_for_content(f, "file", "one\n");
        wait_for_content(f, "log", "one\n");
        print(fd, "two\n");
        (void) close(fd);
        end_log(f, "fifo");
        assert_content(f, "file", "one\ntwo\n");
        assert_content(f, "log", "one\ntwo\n");
        g_assert_cmpuint(messages->len, ==, 0);
}

static void test_append(Fixture *f, gconstpointer data) {
        GuestLogConfig config = config_of(f, "fifo", "file", NULL);
        for (guint i = 0; i < 3; i++) {
                config.file[0].append = i < 2;
                int fd = guest_logs_add(f->logs, &config, NULL);
                print(fd, i < 2 ? "x" : "y");
                (void) close(fd);
                end_log(f, "fifo");
                assert_content(f, "file", i == 0 ? "x" : i == 1 ? "xx" : "y");
        }
        config_clear(&config);
}

/* Without a daemon the monitor goes on and does not wait; the next daemon finds what the FIFO holds. */
static void test_restart(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        g_autofree char *flood = g_strnfill(1u << 20, 'z');
        GuestLogConfig config = config_of(f, "fifo", "file", NULL);
        int fd = new_log(f, "fifo", "file");
        print(fd, "before ");
        wait_for_content(f, "file", "before ");
        guest_logs_free(f->logs);
        print(fd, "meanwhile ");
        f->logs = guest_logs_new(MAX_SIZE, MAX_BACKUPS, NULL);
        g_assert_true(guest_logs_adopt(f->logs, &config, &err));
        print(fd, "after");
        wait_for_content(f, "file", "before meanwhile after");
        guest_logs_free(f->logs);
        gssize n = write(fd, flood, 1u << 20);
        g_assert_cmpint(n, >=, 4096);
        g_assert_cmpint(write(fd, flood, 1), ==, -1);
        g_assert_cmpint(errno, ==, EAGAIN);
        f->logs = guest_logs_new(MAX_SIZE, MAX_BACKUPS, NULL);
        g_assert_true(guest_logs_adopt(f->logs, &config, &err));
        (void) close(fd);
        end_log(f, "fifo");
        g_autofree char *text = content(f, "file");
        g_assert_cmpuint(strlen(text), ==, strlen("before meanwhile after") + (gsize) n);
        config_clear(&config);
}

/* A monitor without a FIFO, of an earlier version, leaves nothing to adopt. */
static void test_adopt_nothing(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        GuestLogConfig config = config_of(f, "fifo", "file", NULL);
        g_assert_false(guest_logs_adopt(f->logs, &config, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_clear_error(&err);
        g_assert_true(g_file_set_contents(config.fifo, "no FIFO", -1, NULL));
        g_assert_false(guest_logs_adopt(f->logs, &config, &err));
        g_assert_nonnull(err);
        config_clear(&config);
        int fd = new_log(f, "other", "file"); /* the failure has not kept the file from others */
        (void) close(fd);
        end_log(f, "other");
        end_log(f, "never-was");
}

static void assert_refused(Fixture *f, const char *first, const char *second, int code, const char *why) {
        g_autoptr(GError) err = NULL;
        g_autofree char *fifo = in_dir(f, "second");
        g_assert_cmpint(add_log(f, "second", first, second, &err), ==, -1);
        g_assert_error(err, VIRTMICRO_ERROR, code);
        g_assert_nonnull(strstr(err->message, why));
        g_assert_false(g_file_test(fifo, G_FILE_TEST_EXISTS));
}

static void test_shared_files(Fixture *f, gconstpointer data) {
        int fd = new_log(f, "first", "file");
        assert_refused(f, "file", NULL, VIR_ERR_RESOURCE_BUSY, "is written by serial0 of the running domain 'web1'");
        assert_refused(f, "file.0", NULL, VIR_ERR_RESOURCE_BUSY, "is written by");
        assert_refused(f, "other", "file", VIR_ERR_RESOURCE_BUSY, "is written by");
        assert_refused(f, "other", "other", VIR_ERR_CONFIG_UNSUPPORTED, "choose two");
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(add_log(f, "first", "other", NULL, &err), ==, -1);
        print(fd, "still here");
        wait_for_content(f, "file", "still here");
        (void) close(fd);
        end_log(f, "first");
        fd = new_log(f, "second", "file");
        (void) close(fd);
        end_log(f, "second");
}

static void test_failed_add(Fixture *f, gconstpointer data) {
        g_autofree char *dir = in_dir(f, "dir");
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
        assert_refused(f, "dir", NULL, VIR_ERR_SYSTEM_ERROR, "cannot open log file");
        assert_refused(f, "nowhere/file", NULL, VIR_ERR_SYSTEM_ERROR, "cannot open log file");
        g_assert_cmpint(add_log(f, "nowhere/fifo", "file", NULL, &err), ==, -1);
        g_assert_nonnull(strstr(err->message, "cannot make FIFO"));
        int fd = new_log(f, "second", "file"); /* nothing of it is left */
        (void) close(fd);
        end_log(f, "second");
}

typedef struct Flood {
        int fd;
        gint stop;
        guint64 written;
} Flood;

static gpointer flood_main(gpointer data) {
        Flood *flood = data;
        g_autofree char *text = g_strnfill(4096, 'f');
        while (!g_atomic_int_get(&flood->stop)) {
                gssize n = write(flood->fd, text, 4096);
                if (n > 0)
                        flood->written += (guint64) n;
                else
                        g_usleep(1000);
        }
        return NULL;
}

static double cpu_seconds(void) {
        struct rusage usage;
        g_assert_cmpint(getrusage(RUSAGE_SELF, &usage), ==, 0);
        return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A flood gets its burst and then 1 MiB a second; files keep to their sizes, and others are served meanwhile. */
static void test_flood(Fixture *f, gconstpointer data) {
        enum { FLOODS = 20, SECONDS = 3 };
        Flood flood[FLOODS] = { 0 };
        GThread *thread[FLOODS];
        for (guint i = 0; i < FLOODS; i++) {
                g_autofree char *fifo = g_strdup_printf("fifo%u", i), *file = g_strdup_printf("flood-%u", i);
                flood[i].fd = new_log(f, fifo, file);
                thread[i] = g_thread_new("flood", flood_main, &flood[i]);
        }
        gint64 start = g_get_monotonic_time();
        double cpu = cpu_seconds();
        int quiet = new_log(f, "quiet-fifo", "quiet");
        print(quiet, "heard");
        wait_for_content(f, "quiet", "heard");
        g_assert_cmpint(g_get_monotonic_time() - start, <, 2 * G_USEC_PER_SEC);
        g_usleep(SECONDS * G_USEC_PER_SEC);
        double seconds = (double) (g_get_monotonic_time() - start) / 1e6;
        for (guint i = 0; i < FLOODS; i++) {
                g_atomic_int_set(&flood[i].stop, TRUE);
                (void) g_thread_join(thread[i]);
                g_assert_cmpfloat((double) flood[i].written / (1 << 20), <=, 8 + seconds + 1);
                (void) close(flood[i].fd);
                for (int k = -1; k < (int) MAX_BACKUPS; k++) {
                        g_autofree char *name = k < 0 ? g_strdup_printf("%s/flood-%u", f->dir, i)
                                                      : g_strdup_printf("%s/flood-%u.%d", f->dir, i, k);
                        GStatBuf st;
                        if (g_stat(name, &st) == 0)
                                g_assert_cmpuint((guint64) st.st_size, <=, MAX_SIZE);
                }
        }
        g_test_message("%u floods: %.1f%% of a processor, the writers' included", FLOODS,
                       100 * (cpu_seconds() - cpu) / seconds);
        (void) close(quiet);
}

/* Logged once, counted, and logged again when it is over. */
static void test_full_disk(Fixture *f, gconstpointer data) {
        struct rlimit before, limit;
        int fd = new_log(f, "fifo", "file");
        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
        limit = (struct rlimit) { .rlim_cur = 6, .rlim_max = before.rlim_max };
        (void) signal(SIGXFSZ, SIG_IGN);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
        print(fd, "aaaabbbb");
        wait_for_message("cannot write log file");
        wait_for_content(f, "file", "aaaabb");
        print(fd, "cccc");
        g_usleep(100000);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        g_assert_cmpuint(messages->len, ==, 1);
        print(fd, "dddd");
        wait_for_message("6 bytes were lost");
        wait_for_content(f, "file", "aaaabbdddd");
        g_assert_cmpuint(messages->len, ==, 2);
        (void) close(fd);
}

static void add(const char *name, void (*test)(Fixture *f, gconstpointer data)) {
        g_test_add(name, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        (void) g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
        g_log_set_writer_func(keep_message, NULL, NULL);
        add("/guest-log/text-arrives", test_text_arrives);
        add("/guest-log/append", test_append);
        add("/guest-log/restart", test_restart);
        add("/guest-log/adopt-nothing", test_adopt_nothing);
        add("/guest-log/shared-files", test_shared_files);
        add("/guest-log/failed-add", test_failed_add);
        add("/guest-log/flood", test_flood);
        add("/guest-log/full-disk", test_full_disk);
        return g_test_run();
}
