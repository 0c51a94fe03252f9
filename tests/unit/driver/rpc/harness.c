/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "harness.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/params.h"
#include "util/error.h"

static void remove_tree(const char *path) {
        GDir *dir = g_dir_open(path, 0, NULL);
        for (const char *name; dir && (name = g_dir_read_name(dir));) {
                g_autofree char *child = g_build_filename(path, name, NULL);
                remove_tree(child);
        }
        if (dir)
                g_dir_close(dir);
        (void) g_remove(path);
}

void harness_start(Harness *harness) {
        g_autoptr(GError) err = NULL;
        harness->dir = g_dir_make_tmp("rpc-XXXXXX", NULL);
        g_autofree char *file = g_build_filename(harness->dir, "conf", NULL);
        g_autofree char *text = g_strdup_printf("config_dir = \"%s/etc\"\nstate_dir = \"%s/state\"\n"
                                                "socket_dir = \"%s/run\"\nkeepalive_interval = 1\n"
                                                "keepalive_count = 1\nmax_anonymous_clients = 3\n"
                                                "max_user_clients = 20\nmax_clients = 50\n"
                                                "unix_sock_group = \"\"\n",
                                                harness->dir, harness->dir, harness->dir);
        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        harness->config = driver_config_load(file, &err);
        g_assert_no_error(err);
        harness->driver = driver_new(harness->config, &err);
        g_assert_no_error(err);
        harness->server = rpc_server_new(harness->driver, harness->config, &err);
        g_assert_no_error(err);
        rpc_server_start(harness->server);
}

void harness_stop(Harness *harness) {
        rpc_server_free(harness->server);
        driver_free(harness->driver);
        driver_config_free(harness->config);
        remove_tree(harness->dir);
        g_free(harness->dir);
}

void wire_connect(Wire *wire, Harness *harness, gboolean readonly, RpcAuth auth, uid_t uid) {
        int fds[2];
        const RpcPeer peer = { .pid = getpid(), .uid = uid, .gid = uid };
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        *wire = (Wire) { .fd = fds[0], .serial = 1 };
        rpc_reader_init(&wire->reader, RPC_PACKET_MAX);
        (void) rpc_server_admit(harness->server, fds[1], readonly, auth, &peer);
}

void wire_close(Wire *wire) {
        rpc_reader_clear(&wire->reader);
        (void) close(wire->fd);
        while (g_main_context_iteration(NULL, FALSE))
                ;
}

void wire_send_bytes(Wire *wire, const void *data, gsize size) {
        const guint8 *p = data;
        while (size > 0) {
                ssize_t n = send(wire->fd, p, size, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && errno != EAGAIN)
                        return; /* the server has closed */
                if (n < 0) {
                        (void) g_main_context_iteration(NULL, FALSE);
                        continue;
                }
                p += n;
                size -= n;
        }
}

void wire_send(Wire *wire, RpcPacket *packet) {
        wire_send_bytes(wire, packet->data, packet->size);
        rpc_packet_free(packet);
}

/* 1: a packet or progress; 0: nothing there; -1: closed. */
static int wire_poll(Wire *wire, RpcPacket **ret) {
        gsize want;
        guint8 *where = rpc_reader_want(&wire->reader, &want);
        ssize_t n = recv(wire->fd, where, want, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0)
                return -1;
        g_assert_true(rpc_reader_advance(&wire->reader, n, ret, NULL));
        return 1;
}

RpcPacket *wire_receive(Wire *wire, guint ms) {
        gint64 end = g_get_monotonic_time() + (gint64) ms * 1000;
        RpcPacket *packet = NULL;
        while (!packet && g_get_monotonic_time() < end) {
                int r = wire_poll(wire, &packet);
                if (r < 0)
                        return NULL;
                if (r == 0 && !g_main_context_iteration(NULL, FALSE))
                        g_usleep(500);
        }
        return packet;
}

gboolean wire_is_closed(Wire *wire) {
        for (gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC; g_get_monotonic_time() < end;) {
                RpcPacket *packet = NULL;
                int r = wire_poll(wire, &packet);
                rpc_packet_free(packet);
                if (r < 0)
                        return TRUE;
                if (r == 0 && !g_main_context_iteration(NULL, FALSE))
                        g_usleep(500);
        }
        return FALSE;
}

int wire_error(const RpcPacket *packet, char **ret_text) {
        rpc_error error = { 0 };
        g_assert_cmpuint(packet->header.status, ==, RPC_STATUS_ERROR);
        g_assert_true(rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_error, &error, NULL));
        g_assert_cmpint(error.level, ==, VIR_ERR_ERROR);
        int code = error.code;
        if (ret_text)
                *ret_text = g_strdup(*error.message);
        xdr_free((xdrproc_t) xdr_rpc_error, &error);
        return code;
}

int wire_call(Wire *wire, gint32 proc, xdrproc_t args_xdr, gpointer args, xdrproc_t ret_xdr, gpointer ret) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, wire->serial++, RPC_STATUS_OK };
        RpcPacket *call = rpc_packet_encode(&header, args_xdr, args, NULL);
        g_assert_nonnull(call);
        wire_send(wire, call);
        g_autoptr(RpcPacket) reply = wire_receive(wire, 5000);
        g_assert_nonnull(reply);
        g_assert_cmpuint(reply->header.type, ==, RPC_TYPE_REPLY);
        g_assert_cmpuint(reply->header.serial, ==, header.serial);
        g_assert_cmpint(reply->header.proc, ==, proc);
        if (reply->header.status != RPC_STATUS_OK)
                return wire_error(reply, NULL);
        g_assert_true(rpc_packet_decode(reply, ret_xdr, ret, NULL));
        return 0;
}

int wire_call_simple(Wire *wire, gint32 proc) {
        return wire_call(wire, proc, (xdrproc_t) xdr_rpc_none, NULL, (xdrproc_t) xdr_rpc_none, NULL);
}

int wire_open(Wire *wire, const char *name, guint flags) {
        char *text = (char *) name;
        rpc_open_args args = { name ? &text : NULL, flags };
        return wire_call(wire, RPC_PROC_CONNECT_OPEN, (xdrproc_t) xdr_rpc_open_args, &args, (xdrproc_t) xdr_rpc_none,
                         NULL);
}

void wire_define(Wire *wire, const char *name, rpc_domain *ret) {
        g_autofree char *xml = g_strdup_printf("<domain type='kvm'><name>%s</name><memory unit='MiB'>64</memory>"
                                               "<os><type>hvm</type><kernel>/boot/vmlinuz</kernel></os></domain>",
                                               name);
        rpc_text_args args = { xml };
        g_assert_cmpint(wire_call(wire, 11, (xdrproc_t) xdr_rpc_text_args, &args, (xdrproc_t) xdr_rpc_domain, ret), ==,
                        0);
}
