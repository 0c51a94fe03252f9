/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets as systemd hands them over: which is read-only, and which is too open for a daemon that asks nobody. */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "rpc/server_internal.h"

typedef struct Case {
        const char *name; /* of the socket's file */
        mode_t mode;
        const char *auth;
        gboolean readonly, warns;
} Case;

static void listen_at(const char *path, mode_t mode) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        g_assert_cmpuint(g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)), <, sizeof(addr.sun_path));
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        g_assert_cmpint(chmod(path, mode), ==, 0);
        if (fd == SD_LISTEN_FDS_START)
                return;
        g_assert_cmpint(dup2(fd, SD_LISTEN_FDS_START), ==, SD_LISTEN_FDS_START);
        g_assert_cmpint(close(fd), ==, 0);
}

static void check(const Case *c) {
        g_autofree char *dir = g_dir_make_tmp("sockets-XXXXXX", NULL), *path = g_build_filename(dir, c->name, NULL);
        g_autofree char *pid = g_strdup_printf("%d", (int) getpid());
        g_autoptr(GError) err = NULL;
        DriverConfig config = { .auth_unix_ro = (char *) c->auth, .auth_unix_rw = (char *) c->auth };
        RpcServer server = { .config = &config };
        listen_at(path, c->mode);
        g_assert_true(g_setenv("LISTEN_PID", pid, TRUE));
        g_assert_true(g_setenv("LISTEN_FDS", "1", TRUE));
        if (c->warns)
                g_test_expect_message("virtmicrod", G_LOG_LEVEL_WARNING,
                                      "*virtmicrod-sock is open to every user*0666*");
        GArray *sockets = rpc_sockets_open(&server, &err);
        g_test_assert_expected_messages();
        g_assert_no_error(err);
        g_assert_cmpuint(sockets->len, ==, 1);
        const RpcSocket *sock = &g_array_index(sockets, RpcSocket, 0);
        g_assert_cmpint(sock->readonly, ==, c->readonly);
        g_assert_cmpint(sock->auth, ==, strcmp(c->auth, "none") == 0 ? RPC_AUTH_NONE : RPC_AUTH_POLKIT);
        rpc_sockets_close(sockets);
        g_assert_cmpint(g_unlink(path), ==, 0); /* systemd's: we leave it */
        g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* A warning that is not expected ends the test. */
static void test_taken(void) {
        static const Case cases[] = {
                { "virtmicrod-sock", 0666, "polkit", FALSE, FALSE },
                { "virtmicrod-sock", 0666, "none", FALSE, TRUE },
                { "virtmicrod-sock", 0660, "none", FALSE, FALSE },
                { "virtmicrod-sock-ro", 0666, "polkit", TRUE, FALSE },
                { "virtmicrod-sock-ro", 0666, "none", TRUE, FALSE },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
                check(&cases[i]);
}

int main(int argc, char **argv) {
        (void) close(SD_LISTEN_FDS_START); /* inherited from the test runner */
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/rpc/sockets/taken", test_taken);
        return g_test_run();
}
