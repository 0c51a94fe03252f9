/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls for other daemons that cannot be reached: what the client is told, and when. A socket listens where such a
 * daemon would, with nobody behind it. The integration tests talk to real daemons.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "rpc/handlers.h"
#include "rpc/relay_internal.h"

#define PROC_DEFINE_NETWORK 41
#define PROC_NUM_NETWORKS   52
#define PROC_NUM_POOLS      71
#define PROC_VOL_DOWNLOAD   209
#define PROC_REGISTER       313
#define PROC_DEREGISTER     314
#define BACKLOG_FULL        8 /* connections are enough for a backlog of 0 */

typedef struct Upstream {
        char *path;
        int fd;
        int others[BACKLOG_FULL]; /* that fill the backlog */
} Upstream;

static void upstream_listen(Upstream *upstream, const Harness *harness) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        upstream->path = g_build_filename(harness->dir, "run", "virtnetworkd-sock", NULL);
        g_assert_cmpuint(g_strlcpy(addr.sun_path, upstream->path, sizeof(addr.sun_path)), <, sizeof(addr.sun_path));
        upstream->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(upstream->fd, (struct sockaddr *) &addr, sizeof(addr)), ==, 0);
        g_assert_cmpint(listen(upstream->fd, 0), ==, 0);
        for (gsize i = 0; i < G_N_ELEMENTS(upstream->others); i++)
                upstream->others[i] = -1;
}

static void upstream_fill(Upstream *upstream) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int r = 0;
        g_strlcpy(addr.sun_path, upstream->path, sizeof(addr.sun_path));
        for (gsize i = 0; i < G_N_ELEMENTS(upstream->others) && r == 0; i++) {
                upstream->others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                r = connect(upstream->others[i], (struct sockaddr *) &addr, sizeof(addr));
        }
        g_assert_cmpint(r, ==, -1);
        g_assert_cmpint(errno, ==, EAGAIN);
}

static void upstream_close(Upstream *upstream) {
        for (gsize i = 0; i < G_N_ELEMENTS(upstream->others); i++)
                if (upstream->others[i] >= 0)
                        (void) close(upstream->others[i]);
        (void) close(upstream->fd);
        g_assert_cmpint(g_unlink(upstream->path), ==, 0);
        g_free(upstream->path);
}

static void send_call(Wire *wire, gint32 proc) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, wire->serial++, RPC_STATUS_OK };
        wire_send(wire, rpc_packet_encode(&header, (xdrproc_t) xdr_rpc_none, NULL, NULL));
}

/* The error of the next reply. */
static int take_error(Wire *wire, char **ret_text) {
        g_autoptr(RpcPacket) reply = wire_receive(wire, 20000);
        g_assert_nonnull(reply);
        return wire_error(reply, ret_text);
}

static void open_client(Harness *harness, Wire *wire) {
        harness_start(harness);
        harness->config->neighbour_timeout = 1;
        wire_connect(wire, harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(wire, "micro:///system", 0), ==, 0);
}

static void close_client(Harness *harness, Wire *wire) {
        wire_close(wire);
        harness_stop(harness);
}

static void test_missing(void) {
        Harness harness;
        Wire wire;
        open_client(&harness, &wire);
        g_assert_cmpint(wire_call_simple(&wire, PROC_NUM_NETWORKS), ==, VIR_ERR_NO_SUPPORT);
        close_client(&harness, &wire);
}

/* NO_SUPPORT makes clients fall back for good, so a busy daemon is another error. */
static void test_backlog(void) {
        Harness harness;
        Wire wire;
        Upstream upstream;
        g_autofree char *text = NULL;
        open_client(&harness, &wire);
        upstream_listen(&upstream, &harness);
        upstream_fill(&upstream);
        send_call(&wire, PROC_NUM_NETWORKS);
        send_call(&wire, PROC_NUM_NETWORKS);
        g_assert_cmpint(take_error(&wire, &text), ==, VIR_ERR_RESOURCE_BUSY);
        g_assert_nonnull(
                strstr(text, "libvirt's network daemon takes no connection: its backlog has been full for 1 s"));
        g_assert_cmpint(take_error(&wire, NULL), ==, VIR_ERR_RESOURCE_BUSY);
        upstream_close(&upstream);
        g_assert_cmpint(wire_call_simple(&wire, PROC_NUM_NETWORKS), ==, VIR_ERR_NO_SUPPORT);
        close_client(&harness, &wire);
}

/* A place that becomes free in time is taken. */
static void test_backlog_clears(void) {
        Harness harness;
        Wire wire;
        Upstream upstream;
        g_autofree char *text = NULL;
        open_client(&harness, &wire);
        harness.config->neighbour_timeout = 60;
        upstream_listen(&upstream, &harness);
        upstream_fill(&upstream);
        send_call(&wire, PROC_NUM_NETWORKS);
        g_assert_null(wire_receive(&wire, 300));
        for (int fd = 0; fd >= 0;) {
                fd = accept4(upstream.fd, NULL, NULL, SOCK_CLOEXEC);
                guint8 word[4];
                g_assert_null(wire_receive(&wire, 200));
                gboolean ours = recv(fd, word, sizeof(word), MSG_DONTWAIT) == sizeof(word);
                (void) close(fd);
                if (ours)
                        break;
        }
        g_assert_cmpint(take_error(&wire, &text), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_nonnull(strstr(text, "the connection to libvirt's network driver was lost"));
        upstream_close(&upstream);
        close_client(&harness, &wire);
}

static void test_silence(void) {
        Harness harness;
        Wire wire;
        Upstream upstream;
        g_autofree char *text = NULL;
        open_client(&harness, &wire);
        upstream_listen(&upstream, &harness);
        send_call(&wire, PROC_NUM_NETWORKS);
        g_assert_cmpint(take_error(&wire, &text), ==, VIR_ERR_OPERATION_TIMEOUT);
        g_assert_nonnull(strstr(text, "libvirt's network daemon has not answered for 1 s"));
        upstream_close(&upstream);
        close_client(&harness, &wire);
}

/* A client, and a daemon that does not answer. The time limit outlasts the test. */
static void open_client_of_silence(Harness *harness, Wire *wire, Upstream *upstream) {
        open_client(harness, wire);
        harness->config->neighbour_timeout = 60;
        upstream_listen(upstream, harness);
}

/* After the harness has stopped, which removes the socket. */
static void drop_silence(Upstream *upstream) {
        (void) close(upstream->fd);
        g_free(upstream->path);
}

/* The client goes, and then the server, while the other daemon is waited for. */
static void test_gone(void) {
        Harness harness;
        Wire wire;
        Upstream upstream;
        open_client_of_silence(&harness, &wire, &upstream);
        send_call(&wire, PROC_NUM_NETWORKS);
        send_call(&wire, PROC_REGISTER);
        send_call(&wire, PROC_DEREGISTER);
        g_assert_null(wire_receive(&wire, 100));
        close_client(&harness, &wire);
        drop_silence(&upstream);
}

/* Calls that wait for a silent daemon count against their user, until their client has gone. */
static void test_bytes_that_wait(void) {
        Harness harness;
        Wire wire;
        Upstream upstream;
        g_autofree char *xml = g_strnfill(100000, 'x');
        rpc_text_args args = { xml };
        open_client_of_silence(&harness, &wire, &upstream);
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, PROC_DEFINE_NETWORK, RPC_TYPE_CALL, 7, RPC_STATUS_OK };
        wire_send(&wire, rpc_packet_encode(&header, (xdrproc_t) xdr_rpc_text_args, &args, NULL));
        g_assert_null(wire_receive(&wire, 200));
        g_assert_cmpuint(harness.server->own->input.used, >=, 100000);
        wire_close(&wire);
        g_assert_cmpuint(harness.server->own->input.used, ==, 0);
        harness_stop(&harness);
        drop_silence(&upstream);
}

static void test_streams_are_bounded(void) {
        Harness harness;
        Wire wire;
        g_autofree char *text = NULL;
        open_client(&harness, &wire);
        g_assert_cmpint(wire_call_simple(&wire, PROC_NUM_POOLS), ==, VIR_ERR_NO_SUPPORT);
        RpcRelay *relay = ((RpcClient *) g_ptr_array_index(harness.server->clients, 0))->relays[RPC_UPSTREAM_STORAGE];
        g_array_set_size(relay->streams, RELAY_STREAMS_MAX);
        send_call(&wire, PROC_VOL_DOWNLOAD);
        g_assert_cmpint(take_error(&wire, &text), ==, VIR_ERR_RPC);
        g_assert_nonnull(strstr(text, "the client has 256 streams with libvirt's storage driver already"));
        g_array_set_size(relay->streams, 0);
        close_client(&harness, &wire);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        g_test_add_func("/rpc/relay/missing", test_missing);
        g_test_add_func("/rpc/relay/backlog", test_backlog);
        g_test_add_func("/rpc/relay/backlog-clears", test_backlog_clears);
        g_test_add_func("/rpc/relay/silence", test_silence);
        g_test_add_func("/rpc/relay/gone", test_gone);
        g_test_add_func("/rpc/relay/bytes-that-wait", test_bytes_that_wait);
        g_test_add_func("/rpc/relay/streams-are-bounded", test_streams_are_bounded);
        return g_test_run();
}
