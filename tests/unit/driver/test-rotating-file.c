/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that rotate: every boundary of size and number, and the failure of each step. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/rotating_file.h"

typedef struct Fixture {
        char *dir, *path;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
        g_autofree char *dir = g_dir_make_tmp("rotating-XXXXXX", NULL);
        f->dir = realpath(dir, NULL);
        f->path = g_build_filename(f->dir, "log", NULL);
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        free(f->dir);
        g_free(f->path);
}

static RotatingFile *open_file(Fixture *f, guint64 max_size, guint max_backups) {
        g_autoptr(GError) err = NULL;
        RotatingFile *file = rotating_file_new(f->path, max_size, max_backups);
        g_assert_true(rotating_file_open(file, TRUE, &err));
        return file;
}

static void append(RotatingFile *file, const char *text) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpuint(rotating_file_append(file, text, strlen(text), &err), ==, strlen(text));
        g_assert_no_error(err);
}

static void assert_lost(RotatingFile *file, const char *text, gsize kept, const char *why) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpuint(rotating_file_append(file, text, strlen(text), &err), ==, kept);
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_assert_nonnull(strstr(err->message, why));
}

/* NULL: there is no such file. Backup -1 is the file itself. */
static void assert_file(Fixture *f, int backup, const char *expected) {
        g_autofree char *path = backup < 0 ? g_strdup(f->path) : g_strdup_printf("%s.%d", f->path, backup);
        g_autofree char *text = NULL;
        struct stat st;
        (void) g_file_get_contents(path, &text, NULL, NULL);
        g_assert_cmpstr(text, ==, expected);
        if (text) {
                g_assert_cmpint(stat(path, &st), ==, 0);
                g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        }
}

static void assert_files(Fixture *f, const char *file, const char *first, const char *second, const char *third) {
        assert_file(f, -1, file);
        assert_file(f, 0, first);
        assert_file(f, 1, second);
        assert_file(f, 2, third);
        assert_file(f, 3, NULL);
}

static void test_sizes(Fixture *f, gconstpointer data) {
        RotatingFile *file = open_file(f, 4, 3);
        append(file, "abc");
        assert_files(f, "abc", NULL, NULL, NULL);
        append(file, "d"); /* exactly full */
        assert_files(f, "abcd", NULL, NULL, NULL);
        append(file, "");
        assert_files(f, "abcd", NULL, NULL, NULL);
        append(file, "e");
        assert_files(f, "e", "abcd", NULL, NULL);
        append(file, "fghijklm"); /* more than one at once */
        assert_files(f, "m", "ijkl", "efgh", "abcd");
        append(file, "nopqrstuvwxyz");
        assert_files(f, "yz", "uvwx", "qrst", "mnop");
        rotating_file_free(file);
}

/* A line that ends near to the limit is the last of its file; there is no such line in one long line. */
static void test_lines(Fixture *f, gconstpointer data) {
        g_autofree char *line = g_strnfill(90, 'x'), *first = g_strconcat(line, "\n", NULL);
        g_autofree char *text = g_strconcat(first, "a line of its own\n", NULL);
        RotatingFile *file = open_file(f, 100, 3);
        append(file, text);
        assert_files(f, "a line of its own\n", first, NULL, NULL);
        rotating_file_free(file);
        file = open_file(f, 1000, 3);
        append(file, line); /* without an end there, it goes up to the limit */
        rotating_file_free(file);
        file = open_file(f, 110, 3);
        append(file, "yyy");
        assert_file(f, -1, "y");
        rotating_file_free(file);
}

static void test_no_backups(Fixture *f, gconstpointer data) {
        RotatingFile *file = open_file(f, 4, 0);
        append(file, "abcdef");
        assert_files(f, "ef", NULL, NULL, NULL);
        rotating_file_free(file);
}

static void test_append_and_empty(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        RotatingFile *file = open_file(f, 4, 3);
        append(file, "abcdefghij");
        rotating_file_free(file);
        file = open_file(f, 4, 3);
        append(file, "kl");
        assert_files(f, "ijkl", "efgh", "abcd", NULL);
        rotating_file_free(file);
        file = open_file(f, 2, 3); /* a lower limit than that of the last time */
        append(file, "m");
        assert_files(f, "m", "ijkl", "efgh", "abcd");
        g_assert_true(rotating_file_open(file, FALSE, &err));
        assert_files(f, "", NULL, NULL, NULL);
        append(file, "n");
        assert_files(f, "n", NULL, NULL, NULL);
        rotating_file_free(file);
}

/* logrotate and people with mv, rm, truncate. */
static void test_others_touch_the_file(Fixture *f, gconstpointer data) {
        g_autofree char *moved = g_strconcat(f->path, ".old", NULL), *text = NULL;
        RotatingFile *file = open_file(f, 4, 3);
        append(file, "abc");
        g_assert_cmpint(rename(f->path, moved), ==, 0);
        append(file, "de");
        assert_files(f, "de", NULL, NULL, NULL);
        g_assert_true(g_file_get_contents(moved, &text, NULL, NULL));
        g_assert_cmpstr(text, ==, "abc");
        g_assert_cmpint(unlink(f->path), ==, 0);
        append(file, "fgh");
        assert_files(f, "fgh", NULL, NULL, NULL);
        g_assert_cmpint(truncate(f->path, 0), ==, 0);
        append(file, "ijkl");
        assert_files(f, "ijkl", NULL, NULL, NULL);
        g_assert_cmpint(rename(moved, f->path), ==, 0);
        append(file, "m");
        assert_files(f, "abcm", NULL, NULL, NULL);
        rotating_file_free(file);
}

static void assert_refused(Fixture *f, const char *why) {
        g_autoptr(GError) err = NULL;
        RotatingFile *file = rotating_file_new(f->path, 4, 3);
        g_assert_false(rotating_file_open(file, TRUE, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_assert_nonnull(strstr(err->message, why));
        rotating_file_free(file);
}

static void test_kinds(Fixture *f, gconstpointer data) {
        g_autofree char *other = g_build_filename(f->dir, "other", NULL);
        int reader;
        g_assert_cmpint(mkfifo(f->path, 0600), ==, 0);
        reader = open(f->path, O_RDONLY | O_NONBLOCK);
        assert_refused(f, "is not a regular file");
        (void) close(reader);
        g_assert_cmpint(unlink(f->path), ==, 0);
        g_assert_true(g_file_set_contents(other, "x", -1, NULL));
        g_assert_cmpint(link(other, f->path), ==, 0);
        assert_refused(f, "has a second name");
}

/* A link is followed when the log is opened, and the files rotate in its target's folder. A later link is refused. */
static void test_links(Fixture *f, gconstpointer data) {
        g_autofree char *target = g_build_filename(f->dir, "target", NULL), *text = NULL;
        g_autofree char *backup = g_strconcat(target, ".0", NULL);
        g_assert_true(g_file_set_contents(target, "", -1, NULL));
        g_assert_cmpint(symlink(target, f->path), ==, 0);
        RotatingFile *file = open_file(f, 4, 3);
        g_assert_cmpstr(rotating_file_path(file), ==, target);
        append(file, "abcdef");
        g_assert_true(g_file_get_contents(backup, &text, NULL, NULL));
        g_assert_cmpstr(text, ==, "abcd");
        g_assert_true(g_file_test(f->path, G_FILE_TEST_IS_SYMLINK));
        g_assert_cmpint(rename(backup, target), ==, 0);
        g_assert_cmpint(unlink(target), ==, 0);
        g_assert_cmpint(symlink(f->path, target), ==, 0);
        assert_lost(file, "g", 0, "cannot open log file");
        rotating_file_free(file);
}

/* Each step of a rotation in turn: the file never grows past its limit, and all is well once the cause is gone. */
static void test_backup_that_cannot_be_deleted(Fixture *f, gconstpointer data) {
        g_autofree char *oldest = g_strconcat(f->path, ".2", NULL), *inside = g_build_filename(oldest, "x", NULL);
        RotatingFile *file = open_file(f, 4, 3);
        append(file, "aaaabbbbcccc");
        g_assert_cmpint(g_mkdir_with_parents(inside, 0700), ==, 0);
        assert_lost(file, "dddd", 0, "cannot delete log file");
        assert_lost(file, "dddd", 0, "cannot delete log file");
        assert_file(f, -1, "cccc");
        assert_file(f, 0, "bbbb");
        assert_file(f, 1, "aaaa");
        g_assert_cmpint(g_rmdir(inside) | g_rmdir(oldest), ==, 0);
        append(file, "eeee");
        assert_files(f, "eeee", "cccc", "bbbb", "aaaa");
        rotating_file_free(file);
}

/* A directory that nobody can change, not even root. */
static void protect(Fixture *f, gboolean on) {
        if (!on && getuid() == 0)
                g_assert_cmpint(seteuid(0), ==, 0);
        g_assert_cmpint(chmod(f->dir, on ? 0555 : 0755), ==, 0);
        if (on && getuid() == 0)
                g_assert_cmpint(seteuid(65534), ==, 0);
}

static void test_rename_that_fails(Fixture *f, gconstpointer data) {
        RotatingFile *file = open_file(f, 4, 3);
        append(file, "aaaabbbb");
        protect(f, TRUE);
        assert_lost(file, "cccc", 0, "cannot rename log file");
        assert_lost(file, "dddd", 0, "cannot rename log file");
        protect(f, FALSE);
        assert_files(f, "bbbb", "aaaa", NULL, NULL);
        append(file, "eeee");
        assert_files(f, "eeee", "bbbb", "aaaa", NULL);
        rotating_file_free(file);
}

static void limit(int resource, rlim_t value) {
        struct rlimit now;
        g_assert_cmpint(getrlimit(resource, &now), ==, 0);
        now.rlim_cur = value;
        g_assert_cmpint(setrlimit(resource, &now), ==, 0);
}

static void test_open_that_fails(Fixture *f, gconstpointer data) {
        struct rlimit before;
        RotatingFile *file = open_file(f, 4, 2);
        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
        append(file, "aaaa");
        limit(RLIMIT_NOFILE, 0);
        assert_lost(file, "bbbb", 0, "Too many open files");
        assert_lost(file, "cccc", 0, "Too many open files");
        limit(RLIMIT_NOFILE, before.rlim_cur);
        assert_files(f, NULL, "aaaa", NULL, NULL); /* no further rotation in vain */
        append(file, "dddd");
        assert_files(f, "dddd", "aaaa", NULL, NULL);
        rotating_file_free(file);
}

static void test_write_that_fails(Fixture *f, gconstpointer data) {
        struct rlimit before;
        RotatingFile *file = open_file(f, 100, 2);
        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
        (void) signal(SIGXFSZ, SIG_IGN);
        limit(RLIMIT_FSIZE, 6);
        append(file, "aaaa");
        assert_lost(file, "bbbb", 2, "cannot write log file");
        assert_lost(file, "cc", 0, "cannot write log file");
        limit(RLIMIT_FSIZE, before.rlim_cur);
        append(file, "dd");
        assert_files(f, "aaaabbdd", NULL, NULL, NULL);
        rotating_file_free(file);
}

static void test_directory_that_is_gone(Fixture *f, gconstpointer data) {
        g_autofree char *away = g_strconcat(f->dir, ".away", NULL);
        RotatingFile *file = open_file(f, 4, 2);
        append(file, "aaaa");
        g_assert_cmpint(rename(f->dir, away), ==, 0);
        assert_lost(file, "bb", 0, "cannot open log file");
        g_assert_cmpint(rename(away, f->dir), ==, 0);
        append(file, "cc");
        assert_files(f, "cc", "aaaa", NULL, NULL);
        rotating_file_free(file);
}

static void test_clashes(void) {
        static const struct {
                const char *a, *b;
                gboolean clash;
        } pairs[] = {
                { "/x/log", "/x/log", TRUE },    { "/x/log", "/x/../x/log", TRUE }, { "/x/log", "/x/log.0", TRUE },
                { "/x/log", "/x/log.12", TRUE }, { "/x/log.3", "/x/log", TRUE },    { "/x/log", "/x/log.", FALSE },
                { "/x/log", "/x/log.a", FALSE }, { "/x/log", "/x/log.1a", FALSE },  { "/x/log", "/x/log2", FALSE },
                { "/x/log", "/y/log", FALSE },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
                RotatingFile *a = rotating_file_new(pairs[i].a, 1, 1), *b = rotating_file_new(pairs[i].b, 1, 1);
                g_assert_cmpint(rotating_file_clashes(a, b), ==, pairs[i].clash);
                g_assert_cmpint(rotating_file_clashes(b, a), ==, pairs[i].clash);
                rotating_file_free(a);
                rotating_file_free(b);
        }
}

static void add(const char *name, void (*test)(Fixture *f, gconstpointer data)) {
        g_test_add(name, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        add("/rotating-file/sizes", test_sizes);
        add("/rotating-file/lines", test_lines);
        add("/rotating-file/no-backups", test_no_backups);
        add("/rotating-file/append-and-empty", test_append_and_empty);
        add("/rotating-file/others-touch-the-file", test_others_touch_the_file);
        add("/rotating-file/kinds", test_kinds);
        add("/rotating-file/links", test_links);
        add("/rotating-file/backup-that-cannot-be-deleted", test_backup_that_cannot_be_deleted);
        add("/rotating-file/rename-that-fails", test_rename_that_fails);
        add("/rotating-file/open-that-fails", test_open_that_fails);
        add("/rotating-file/write-that-fails", test_write_that_fails);
        add("/rotating-file/directory-that-is-gone", test_directory_that_is_gone);
        g_test_add_func("/rotating-file/clashes", test_clashes);
        return g_test_run();
}
