/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream's state machine, with a socket pair in place of a console's pty: data both
 * ways, the guest's end, finish and abort by the client, being cut off, slow ends.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "rpc/params.h"
#include "rpc/stream.h"

static Harness harness;

static const RpcHeader call_header = { RPC_PROGRAM_REMOTE, 1, 201, RPC_TYPE_CALL, 40, RPC_STATUS_OK };

typedef struct Console {
        Wire wire;
        RpcStream *stream;
        int guest; /* the other end of what the stream reads and writes */
} Console;

static Domain *any_domain(void) {
        g_autoptr(GPtrArray) domains = driver_list(harness.driver, 0, NULL);
        g_assert_cmpuint(domains->len, ==, 1);
        return domain_ref(g_ptr_array_index(domains, 0));
}

static void console_open(Console *console, gboolean kicked) {
        int fds[2];
        g_autoptr(Domain) domain = any_domain();
        wire_connect(&console->wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&console->wire, NULL, 0), ==, 0);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), ==, 0);
        console->guest = fds[0];
        console->stream = rpc_stream_new(domain);
        rpc_stream_opened(console->stream, fds[1], 0);
        if (kicked)
                rpc_stream_kicked(console->stream);
        rpc_stream_attach(console->stream, g_ptr_array_index(harness.server->clients, harness.server->clients->len - 1),
                          &call_header);
}

static void console_close(Console *console) {
        (void) close(console->guest);
        wire_close(&console->wire);
}

static void stream_send_packet(Console *console, RpcType type, RpcStatus status, const char *data, gsize size) {
        RpcHeader header = call_header;
        header.type = type;
        header.status = status;
        RpcPacket *packet = rpc_packet_new(&header, size);
        if (size > 0)
                memcpy(packet->data + packet->payload, data, size);
        wire_send(&console->wire, packet);
}

static void check_packet(Console *console, RpcStatus status, const char *data) {
        g_autoptr(RpcPacket) packet = wire_receive(&console->wire, 5000);
        g_assert_nonnull(packet);
        g_assert_cmpuint(packet->header.type, ==, RPC_TYPE_STREAM);
        g_assert_cmpuint(packet->header.status, ==, status);
        g_assert_cmpuint(packet->header.serial, ==, call_header.serial);
        g_assert_cmpint(packet->header.proc, ==, call_header.proc);
        if (data)
                g_assert_cmpmem(packet->data + packet->payload, rpc_packet_payload_size(packet), data, strlen(data));
}

static void read_guest(Console *console, const char *expected) {
        char buffer[256];
        ssize_t n = -1;
        for (guint i = 0; i < 2000 && n < 0; i++) {
                n = recv(console->guest, buffer, sizeof(buffer), 0);
                if (n < 0 && !g_main_context_iteration(NULL, FALSE))
                        g_usleep(1000);
        }
        g_assert_cmpmem(buffer, MAX(n, 0), expected, strlen(expected));
}

static void test_data(void) {
        Console console;
        console_open(&console, FALSE);
        g_assert_cmpint(send(console.guest, "login: ", 7, 0), ==, 7);
        check_packet(&console, RPC_STATUS_CONTINUE, "login: ");
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_CONTINUE, "root\n", 5);
        read_guest(&console, "root\n");
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_OK, NULL, 0);
        check_packet(&console, RPC_STATUS_OK, "");
        read_guest(&console, "");
        /* From here on data for the stream is dropped. */
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_CONTINUE, "late", 4);
        g_assert_cmpint(wire_call_simple(&console.wire, 3), ==, 0);
        console_close(&console);
}

static void test_abort(void) {
        Console console;
        console_open(&console, FALSE);
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_ERROR, NULL, 0);
        check_packet(&console, RPC_STATUS_OK, "");
        read_guest(&console, "");
        console_close(&console);
}

/* The guest's end: one empty packet, then the client finishes. */
static void test_guest_end(void) {
        Console console;
        console_open(&console, FALSE);
        g_assert_cmpint(send(console.guest, "bye", 3, 0), ==, 3);
        (void) shutdown(console.guest, SHUT_RDWR);
        check_packet(&console, RPC_STATUS_CONTINUE, "bye");
        check_packet(&console, RPC_STATUS_CONTINUE, "");
        g_assert_null(wire_receive(&console.wire, 50));
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_OK, NULL, 0);
        check_packet(&console, RPC_STATUS_OK, "");
        console_close(&console);
}

static void test_write_failure(void) {
        Console console;
        console_open(&console, FALSE);
        (void) close(console.guest);
        check_packet(&console, RPC_STATUS_CONTINUE, "");
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_CONTINUE, "x", 1);
        check_packet(&console, RPC_STATUS_ERROR, NULL);
        console.guest = dup(0);
        console_close(&console);
}

static void test_kicked(void) {
        Console early, late;
        console_open(&early, TRUE);
        check_packet(&early, RPC_STATUS_ERROR, NULL);
        console_close(&early);
        console_open(&late, FALSE);
        rpc_stream_kicked(late.stream);
        check_packet(&late, RPC_STATUS_ERROR, NULL);
        read_guest(&late, "");
        g_assert_cmpint(wire_call_simple(&late.wire, 3), ==, 0);
        console_close(&late);
}

/* Cut off because the domain has ended: the last words arrive, then the end, and no error. */
static void test_kicked_at_end(void) {
        Console console;
        console_open(&console, FALSE);
        g_assert_cmpint(send(console.guest, "Power down", 10, 0), ==, 10);
        (void) close(console.guest);
        rpc_stream_kicked(console.stream);
        check_packet(&console, RPC_STATUS_CONTINUE, "Power down");
        check_packet(&console, RPC_STATUS_CONTINUE, "");
        stream_send_packet(&console, RPC_TYPE_STREAM, RPC_STATUS_OK, NULL, 0);
        check_packet(&console, RPC_STATUS_OK, "");
        console.guest = dup(0);
        console_close(&console);
}

static void test_hole(void) {
        Console console;
        console_open(&console, FALSE);
        stream_send_packet(&console, RPC_TYPE_STREAM_HOLE, RPC_STATUS_CONTINUE, "\0\0\0\0\0\0\0\1\0\0\0\0", 12);
        check_packet(&console, RPC_STATUS_ERROR, NULL);
        console_close(&console);
}

/* Another serial or procedure is another stream. */
static void test_other_serial(void) {
        Console console;
        console_open(&console, FALSE);
        RpcHeader header = call_header;
        header.type = RPC_TYPE_STREAM;
        header.serial++;
        wire_send(&console.wire, rpc_packet_new(&header, 0));
        header.serial--;
        header.proc = 296;
        wire_send(&console.wire, rpc_packet_new(&header, 0));
        g_assert_cmpint(send(console.guest, "still", 5, 0), ==, 5);
        check_packet(&console, RPC_STATUS_CONTINUE, "still");
        console_close(&console);
}

/* While the guest does not read, its client is not read from; once it reads, everything arrives. */
static void test_slow_guest(void) {
        enum { CHUNK = 32768, CHUNKS = 64 };
        Console console;
        g_autofree char *data = g_strnfill(CHUNK, 'x');
        console_open(&console, FALSE);
        RpcClient *client = g_ptr_array_index(harness.server->clients, harness.server->clients->len - 1);
        RpcHeader header = call_header;
        header.type = RPC_TYPE_STREAM;
        header.status = RPC_STATUS_CONTINUE;
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        for (guint i = 0; i < CHUNKS; i++) {
                g_autoptr(RpcPacket) packet = rpc_packet_new(&header, CHUNK);
                memcpy(packet->data + packet->payload, data, CHUNK);
                g_byte_array_append(bytes, packet->data, packet->size);
        }
        gsize sent = 0, got = 0;
        gboolean was_blocked = FALSE;
        while (got < (gsize) CHUNK * CHUNKS) {
                char buffer[65536];
                ssize_t n = send(console.wire.fd, bytes->data + sent, bytes->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                sent += n > 0 ? n : 0;
                gboolean busy = n > 0;
                while (g_main_context_iteration(NULL, FALSE))
                        busy = TRUE;
                was_blocked |= client->streams_blocked > 0;
                if (busy)
                        continue;
                n = recv(console.guest, buffer, sizeof(buffer), 0);
                g_assert_cmpint(n, >, 0);
                got += n;
        }
        g_assert_true(was_blocked);
        g_assert_cmpuint(client->streams_blocked, ==, 0);
        console_close(&console);
}

/* A client that does not read: the guest's output stays where it is. */
static void test_slow_client(void) {
        Console console;
        g_autofree char *data = g_strnfill(65536, 'y');
        gsize written = 0, got = 0;
        console_open(&console, FALSE);
        for (guint idle = 0; idle < 100;) {
                ssize_t n = send(console.guest, data, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
                written += n > 0 ? n : 0;
                idle = g_main_context_iteration(NULL, FALSE) || n > 0 ? 0 : idle + 1;
        }
        g_assert_cmpuint(written, <, 8 * 1024 * 1024);
        while (got < written) {
                g_autoptr(RpcPacket) packet = wire_receive(&console.wire, 5000);
                g_assert_nonnull(packet);
                got += rpc_packet_payload_size(packet);
        }
        g_assert_cmpuint(got, ==, written);
        console_close(&console);
}

static void test_client_vanishes(void) {
        Console console;
        console_open(&console, FALSE);
        wire_close(&console.wire);
        read_guest(&console, "");
        (void) close(console.guest);
}

int main(int argc, char **argv) {
        Wire wire;
        rpc_domain dom = { 0 };
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        harness_start(&harness);
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        wire_define(&wire, "stream", &dom);
        xdr_free((xdrproc_t) xdr_rpc_domain, &dom);
        wire_close(&wire);
        g_test_add_func("/rpc/stream/data", test_data);
        g_test_add_func("/rpc/stream/abort", test_abort);
        g_test_add_func("/rpc/stream/guest-end", test_guest_end);
        g_test_add_func("/rpc/stream/write-failure", test_write_failure);
        g_test_add_func("/rpc/stream/kicked", test_kicked);
        g_test_add_func("/rpc/stream/kicked-at-end", test_kicked_at_end);
        g_test_add_func("/rpc/stream/hole", test_hole);
        g_test_add_func("/rpc/stream/other-serial", test_other_serial);
        g_test_add_func("/rpc/stream/slow-guest", test_slow_guest);
        g_test_add_func("/rpc/stream/slow-client", test_slow_client);
        g_test_add_func("/rpc/stream/client-vanishes", test_client_vanishes);
        int r = g_test_run();
        harness_stop(&harness);
        return r;
}
