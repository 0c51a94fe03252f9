/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files and links that are replaced whole or not at all, files that only one process has, files that others write. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/error.h"
#include "util/file.h"

typedef struct Fixture {
        char *dir, *path, *temporary;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
        f->dir = g_dir_make_tmp("file-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "x", NULL);
        f->temporary = g_build_filename(f->dir, "x.new", NULL);
}

static void tear_down(Fixture *f, gconstpointer data) {
        (void) g_unlink(f->path);
        (void) g_rmdir(f->path);
        (void) g_unlink(f->temporary);
        g_assert_cmpint(g_rmdir(f->dir), ==, 0); /* nothing else is in it */
        g_free(f->dir);
        g_free(f->path);
        g_free(f->temporary);
}

static void assert_content(const char *path, const char *expected) {
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_assert_cmpstr(text, ==, expected);
}

static void test_write(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        GStatBuf st;
        g_assert_true(g_file_set_contents(f->temporary, "left by a crash", -1, NULL));
        g_assert_true(file_write_atomic(f->path, "one", &err));
        g_assert_true(file_write_atomic(f->path, "two", &err));
        assert_content(f->path, "two");
        g_assert_cmpint(g_stat(f->path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        g_assert_false(g_file_test(f->temporary, G_FILE_TEST_EXISTS));
}

static void test_write_over_a_directory(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(g_mkdir(f->path, 0700), ==, 0);
        g_assert_false(file_write_atomic(f->path, "one", &err));
        g_assert_cmpint(error_code(err), ==, VIR_ERR_SYSTEM_ERROR);
        g_assert_false(g_file_test(f->temporary, G_FILE_TEST_EXISTS));
}

/* A file that a monitor has made 2 GiB long costs no more than the part that is wanted. */
static void test_read_head(Fixture *f, gconstpointer data) {
        char buffer[16];
        struct rusage before, after;
        g_assert_true(g_file_set_contents(f->path, "0123456789abcdefghij", -1, NULL));
        g_assert_cmpint(truncate(f->path, 2ll << 30), ==, 0);
        g_assert_cmpint(getrusage(RUSAGE_SELF, &before), ==, 0);
        g_assert_cmpint(file_read_head(f->path, buffer, sizeof(buffer)), ==, sizeof(buffer));
        g_assert_cmpint(getrusage(RUSAGE_SELF, &after), ==, 0);
        g_assert_cmpmem(buffer, sizeof(buffer), "0123456789abcdef", 16);
        g_assert_cmpint(after.ru_maxrss - before.ru_maxrss, <, 1024); /* KiB */
        g_assert_true(g_file_set_contents(f->path, "short", -1, NULL));
        g_assert_cmpint(file_read_head(f->path, buffer, sizeof(buffer)), ==, 5);
        g_assert_cmpint(symlink(f->path, f->temporary), ==, 0);
        g_assert_cmpint(file_read_head(f->temporary, buffer, sizeof(buffer)), ==, -1);
        g_assert_cmpint(errno, ==, ELOOP);
        g_assert_cmpint(g_unlink(f->path), ==, 0);
        g_assert_cmpint(mkfifo(f->path, 0600), ==, 0); /* nobody writes: it must not wait */
        g_assert_cmpint(file_read_head(f->path, buffer, sizeof(buffer)), ==, 0);
}

static void assert_target(const char *path, const char *expected) {
        g_autofree char *target = g_file_read_link(path, NULL);
        g_assert_cmpstr(target, ==, expected);
}

static void test_link(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(symlink("left by a crash", f->temporary), ==, 0);
        g_assert_true(file_link_atomic(f->path, "/one", &err));
        assert_target(f->path, "/one");
        g_assert_true(file_link_atomic(f->path, "/two", &err));
        assert_target(f->path, "/two");
        g_assert_true(file_remove(f->path, &err) && file_remove(f->path, &err));
}

static void test_link_over_a_directory(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(g_mkdir(f->path, 0700), ==, 0);
        g_assert_false(file_link_atomic(f->path, "/one", &err));
        g_assert_nonnull(strstr(err->message, "cannot replace"));
        g_assert_false(g_file_test(f->temporary, G_FILE_TEST_IS_SYMLINK));
}

/* 0: taken; 1: refused, with `owner` as the one who has it; 2: anything else. */
static int take_in_child(const char *path, pid_t owner) {
        int status;
        pid_t child = fork();
        if (child == 0) {
                pid_t found = 0;
                int fd = file_take(path, &found, NULL);
                _exit(fd >= 0 ? 0 : found == owner ? 1 : 2);
        }
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        g_assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_take(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        pid_t owner = 0;
        int fd = file_take(f->path, &owner, &err);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(take_in_child(f->path, getpid()), ==, 1);
        (void) close(fd);
        g_assert_cmpint(take_in_child(f->path, 0), ==, 0);
}

static void test_take_of_no_file(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        pid_t owner = -1;
        g_assert_cmpint(g_mkdir(f->path, 0700), ==, 0);
        g_assert_cmpint(file_take(f->path, &owner, &err), ==, -1);
        g_assert_cmpint(owner, ==, 0);
        g_assert_nonnull(err);
}

static void add(const char *name, void (*test)(Fixture *f, gconstpointer data)) {
        g_test_add(name, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        add("/file/write", test_write);
        add("/file/write-over-a-directory", test_write_over_a_directory);
        add("/file/link", test_link);
        add("/file/link-over-a-directory", test_link_over_a_directory);
        add("/file/read-head", test_read_head);
        add("/file/take", test_take);
        add("/file/take-of-no-file", test_take_of_no_file);
        return g_test_run();
}
