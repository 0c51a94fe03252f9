/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ends of consoles and channels after their names have gone to somebody else. The strangers are real: the kernel
 * gives the lowest free number to the next pty, and a path to whoever binds it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain/internal.h"
#include "util/error.h"

#define PTYS_MAX 512
#define TICK_US  20000

static int open_master(char path[64]) {
        int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(grantpt(fd), ==, 0);
        g_assert_cmpint(unlockpt(fd), ==, 0);
        g_assert_cmpint(ptsname_r(fd, path, 64), ==, 0);
        return fd;
}

/* A new master whose slave has the name; `others` are those that came before it. */
static int open_namesake(const char *path, int *others, guint *n) {
        g_usleep(TICK_US); /* times of change have the resolution of the kernel's tick */
        for (*n = 0; *n < PTYS_MAX; (*n)++) {
                char name[64];
                int fd = open_master(name);
                if (strcmp(name, path) == 0)
                        return fd;
                others[*n] = fd;
        }
        g_assert_not_reached();
}

static DomainDef *def_with(DomainCharBackend backend, const char *path) {
        g_autoptr(GError) err = NULL;
        g_autofree char *xml = g_strdup_printf(
                "<domain type='kvm'><name>a</name><memory>65536</memory><os><type>hvm</type></os><devices>%s</devices>"
                "</domain>",
                backend == DOMAIN_CHAR_PTY ? "<serial type='pty'><target port='0'/></serial>"
                                           : "<channel type='unix'><target type='virtio' name='a'/></channel>");
        DomainDef *def = domain_def_parse(xml, 0, "/nonexistent", &err);
        g_assert_no_error(err);
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = def->chars->pdata[i];
                g_free(chr->path);
                chr->path = g_strdup(path);
        }
        return def;
}

static void check_refused(Terminals *terminals, const char *path) {
        g_autoptr(GError) err = NULL;
        g_assert_cmpint(terminals_open(terminals, path, &err), ==, -1);
        g_assert_nonnull(err);
}

/* The next daemon's table of the same devices. */
static Terminals *pass_on(const DomainDef *def, const char *text) {
        GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);
        Terminals *terminals = terminals_restore(def, text);
        (void) g_log_set_always_fatal(fatal);
        return terminals;
}

static void check_says(int from, int to, const char *text) {
        char buffer[16] = "";
        ssize_t size = (ssize_t) strlen(text);
        g_assert_cmpint(write(from, text, strlen(text)), ==, size);
        g_assert_cmpint(read(to, buffer, sizeof(buffer) - 1), ==, size);
        g_assert_cmpstr(buffer, ==, text);
}

static void test_pty(void) {
        char path[64];
        int others[PTYS_MAX], master = open_master(path);
        guint n = 0;
        g_autoptr(GError) err = NULL;
        DomainDef *def = def_with(DOMAIN_CHAR_PTY, path);
        g_autoptr(GHashTable) terminals = terminals_new();
        g_assert_true(terminals_hold(terminals, path, &err));
        g_autofree char *note = terminals_format(terminals, def);
        g_autoptr(GHashTable) next = terminals_restore(def, note);
        g_autoptr(GHashTable) of_old_daemon = terminals_restore(def, "");
        Terminals *all[] = { terminals, next, of_old_daemon };
        for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
                int slave = terminals_open(all[i], path, &err);
                g_assert_no_error(err);
                check_says(slave, master, "hello");
                (void) close(slave);
        }
        g_autofree char *noted_again = terminals_format(next, def);
        g_assert_cmpstr(noted_again, ==, note);
        (void) close(master);
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                check_refused(all[i], path);

        int stranger = open_namesake(path, others, &n);
        int by_name = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        g_assert_cmpint(by_name, >=, 0); /* this is whom a name leads to */
        (void) close(by_name);
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                check_refused(all[i], path);
        g_autoptr(GHashTable) late = pass_on(def, note);
        check_refused(late, path);
        (void) close(stranger);
        while (n > 0)
                (void) close(others[--n]);
        domain_def_free(def);
}

static int listen_on(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        return fd;
}

static void test_channel(void) {
        g_autofree char *dir = g_dir_make_tmp("terminals-XXXXXX", NULL);
        g_autofree char *path = g_build_filename(dir, "channel", NULL);
        g_autofree char *aside = g_build_filename(dir, "aside", NULL);
        g_autoptr(GError) err = NULL;
        DomainDef *def = def_with(DOMAIN_CHAR_UNIX, path);
        g_autoptr(GHashTable) terminals = terminals_new();
        int listener = listen_on(path);
        g_assert_true(terminals_hold(terminals, path, &err));
        g_autofree char *note = terminals_format(terminals, def);
        /* Renamed, not removed: the inode's number stays taken. */
        g_assert_cmpint(g_rename(path, aside), ==, 0);
        int stranger = listen_on(path);
        int client = terminals_open(terminals, path, &err);
        g_assert_no_error(err);
        int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(server, >=, 0);
        check_says(client, server, "hello");
        g_assert_cmpint(accept4(stranger, NULL, NULL, SOCK_CLOEXEC), ==, -1);
        g_autoptr(GHashTable) late = pass_on(def, note);
        check_refused(late, path);
        (void) close(server);
        (void) close(client);
        (void) close(listener);
        check_refused(terminals, path);
        (void) close(stranger);
        (void) g_unlink(path);
        (void) g_unlink(aside);
        (void) g_rmdir(dir);
        domain_def_free(def);
}

static void test_unknown(void) {
        g_autoptr(GHashTable) terminals = terminals_new();
        g_autoptr(GError) err = NULL;
        check_refused(terminals, "/dev/null");
        check_refused(NULL, "/dev/null");
        g_assert_false(terminals_hold(terminals, "/nonexistent/socket", &err));
        g_assert_nonnull(err);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/domain/terminals/pty", test_pty);
        g_test_add_func("/domain/terminals/channel", test_channel);
        g_test_add_func("/domain/terminals/unknown", test_unknown);
        return g_test_run();
}
