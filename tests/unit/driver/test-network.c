/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Network ports, with libvirt's own client library, when nobody answers it: a socket in a mount namespace of the test
 * takes connections and does no more.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver.h"
#include "net/network.h"
#include "util/error.h"

#define LIMIT_S 1

static int listen_in_silence(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/libvirt/virtnetworkd-sock" };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), ==, 0);
        g_assert_cmpint(mount("tmpfs", "/run", "tmpfs", 0, NULL), ==, 0);
        g_assert_cmpint(mkdir("/run/libvirt", 0755), ==, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(fd, 8), ==, 0);
        return fd;
}

/* Libvirt may still make the port when it answers, so until then nobody is told that the port is gone. */
static void test_creation_that_nobody_awaits(void) {
        DomainDef def = { .name = (char *) "vm" };
        DomainNic nic = {
                .type = DOMAIN_NIC_NETWORK,
                .source = (char *) "lan",
                .portid = g_strdup("5f2e1d1c-0a3b-4c5d-8e7f-112233445566"),
        };
        g_autoptr(GError) err = NULL;
        int fd = listen_in_silence();
        LibvirtClient *client = libvirt_client_new(LIMIT_S);
        g_assert_false(network_port_create(client, &def, &nic, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_TIMEOUT);
        g_assert_nonnull(nic.portid);
        g_clear_error(&err);

        gint64 before = g_get_monotonic_time();
        g_assert_false(network_port_delete(client, nic.source, nic.portid, &err));
        g_assert_nonnull(strstr(err->message, "has not ended"));
        g_assert_cmpint(g_get_monotonic_time() - before, <, LIMIT_S * G_TIME_SPAN_SECOND / 2);
        g_clear_error(&err);

        (void) close(fd); /* and with it the connection that waits there */
        while (network_is_silent(client))
                g_usleep(1000);
        gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
        do { /* libvirt is asked again, and is not there */
                g_clear_error(&err);
                g_assert_false(network_port_delete(client, nic.source, nic.portid, &err));
        } while (strstr(err->message, "has not ended") && g_get_monotonic_time() < deadline);
        g_assert_nonnull(strstr(err->message, "cannot reach libvirt"));
        libvirt_client_free(client);
        g_free(nic.portid);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (unshare(CLONE_NEWNS) < 0) {
                g_print("1..0 # SKIP cannot make a mount namespace: %s\n", g_strerror(errno));
                return 77;
        }
        g_test_add_func("/network/creation-that-nobody-awaits", test_creation_that_nobody_awaits);
        return g_test_run();
}
