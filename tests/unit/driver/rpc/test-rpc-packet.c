/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Framing: what the bytes of a packet are, how a stream is cut into packets, which lengths are refused. */
#include <string.h>

#include "rpc/params.h"
#include "util/error.h"

static const RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 9, RPC_TYPE_CALL, 7, RPC_STATUS_OK };

static void test_header_bytes(void) {
        static const guint8 expected[] = { 0, 0, 0, 0x1c, 0x20, 0x00, 0x80, 0x86, 0, 0, 0, 1, 0, 0,
                                           0, 9, 0, 0,    0,    0,    0,    0,    0, 7, 0, 0, 0, 0 };
        g_autoptr(RpcPacket) packet = rpc_packet_new(&header, 0);
        g_assert_cmpmem(packet->data, packet->size, expected, sizeof(expected));
}

/* Feeds bytes in pieces of `step`; the number of packets, -1 for a stream that cannot be followed. */
static int feed(RpcReader *reader, const guint8 *data, gsize size, gsize step) {
        int packets = 0;
        while (size > 0) {
                gsize want;
                guint8 *where = rpc_reader_want(reader, &want);
                gsize n = MIN(MIN(want, step), size);
                g_assert_cmpuint(n, >, 0);
                memcpy(where, data, n);
                data += n;
                size -= n;
                g_autoptr(RpcPacket) packet = NULL;
                if (!rpc_reader_advance(reader, n, &packet, NULL))
                        return -1;
                packets += packet != NULL;
        }
        return packets;
}

static void test_reader_pieces(void) {
        g_autoptr(RpcPacket) small = rpc_packet_new(&header, 0);
        g_autoptr(RpcPacket) big = rpc_packet_new(&header, 300000);
        memset(big->data + big->payload, 'x', 300000);
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_byte_array_append(bytes, small->data, small->size);
        g_byte_array_append(bytes, big->data, big->size);
        g_byte_array_append(bytes, small->data, small->size);
        static const gsize steps[] = { 1, 3, 28, 4096, 1 << 20 };
        for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
                RpcReader reader;
                rpc_reader_init(&reader, RPC_PACKET_MAX);
                g_assert_cmpint(feed(&reader, bytes->data, bytes->len, steps[i]), ==, 3);
                rpc_reader_clear(&reader);
        }
}

static void test_reader_lengths(void) {
        static const struct {
                guint32 length;
                gsize limit;
                int packets;
        } rows[] = {
                { 0, RPC_PACKET_MAX, -1 },
                { 4, RPC_PACKET_MAX, -1 },
                { 27, RPC_PACKET_MAX, -1 },
                { 28, RPC_PACKET_MAX, 0 },
                { RPC_PACKET_MAX, RPC_PACKET_MAX, 0 },
                { RPC_PACKET_MAX + 1, RPC_PACKET_MAX, -1 },
                { 0xffffffff, RPC_PACKET_MAX, -1 },
                { 65537, 65536, -1 },
                { 65536, 65536, 0 },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                RpcReader reader;
                guint32 length = GUINT32_TO_BE(rows[i].length);
                rpc_reader_init(&reader, rows[i].limit);
                g_assert_cmpint(feed(&reader, (guint8 *) &length, 4, 4), ==, rows[i].packets);
                rpc_reader_clear(&reader);
        }
}

/* A peer that announces 32 MiB and sends a little gets memory for a little. */
static void test_reader_memory(void) {
        RpcReader reader;
        guint32 length = GUINT32_TO_BE(RPC_PACKET_MAX);
        guint8 some[100] = { 0 };
        rpc_reader_init(&reader, RPC_PACKET_MAX);
        g_assert_cmpint(feed(&reader, (guint8 *) &length, 4, 4), ==, 0);
        g_assert_cmpint(feed(&reader, some, sizeof(some), 100), ==, 0);
        g_assert_cmpuint(reader.capacity, <=, 65536);
        rpc_reader_clear(&reader);
}

static guint8 *with_fds(guint32 n, gsize *ret_size) {
        RpcHeader fds = header;
        fds.type = RPC_TYPE_CALL_WITH_FDS;
        g_autoptr(RpcPacket) packet = rpc_packet_new(&fds, 4);
        n = GUINT32_TO_BE(n);
        memcpy(packet->data + packet->payload, &n, 4);
        *ret_size = packet->size;
        return g_steal_pointer(&packet->data);
}

/* The bytes that carry descriptors lie between packets and belong to none. */
static void test_reader_fds(void) {
        RpcReader reader;
        gsize size;
        g_autofree guint8 *data = with_fds(3, &size);
        g_autoptr(RpcPacket) next = rpc_packet_new(&header, 0);
        rpc_reader_init(&reader, RPC_PACKET_MAX);
        g_assert_cmpint(feed(&reader, data, size, 5), ==, 1);
        g_assert_cmpint(feed(&reader, (const guint8 *) "\0\0\0", 3, 2), ==, 0);
        g_assert_cmpint(feed(&reader, next->data, next->size, 100), ==, 1);
        rpc_reader_clear(&reader);
}

static void test_parse_refuses(void) {
        gsize size;
        g_autoptr(GError) err = NULL;
        guint8 *many = with_fds(RPC_FDS_MAX + 1, &size);
        g_assert_null(rpc_packet_parse(many, size, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_RPC);
        RpcHeader fds = header;
        fds.type = RPC_TYPE_REPLY_WITH_FDS;
        g_autoptr(RpcPacket) none = rpc_packet_new(&fds, 0);
        g_assert_null(rpc_packet_parse(g_memdup2(none->data, none->size), none->size, NULL));
        g_assert_null(rpc_packet_parse(g_memdup2(none->data, none->size), none->size - 1, NULL));
        g_assert_null(rpc_packet_parse(g_malloc0(4), 4, NULL));
}

static void test_error_packet(void) {
        static const struct {
                int code, domain;
        } rows[] = {
                { VIR_ERR_NO_DOMAIN, VIR_FROM_DOMAIN },        { VIR_ERR_RPC, VIR_FROM_RPC },
                { VIR_ERR_AUTH_UNAVAILABLE, VIR_FROM_POLKIT }, { VIR_ERR_AUTH_FAILED, VIR_FROM_POLKIT },
                { VIR_ERR_XML_ERROR, VIR_FROM_XML },           { VIR_ERR_NO_SUPPORT, VIR_FROM_DOMAIN },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) err = g_error_new(VIRTMICRO_ERROR, rows[i].code, "text \xff of it");
                g_autoptr(RpcPacket) packet = rpc_packet_error(&header, RPC_TYPE_REPLY, err);
                rpc_error wire = { 0 };
                g_assert_cmpuint(packet->header.serial, ==, header.serial);
                g_assert_cmpuint(packet->header.status, ==, RPC_STATUS_ERROR);
                g_assert_true(rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_error, &wire, NULL));
                g_assert_cmpint(wire.code, ==, rows[i].code);
                g_assert_cmpint(wire.domain, ==, rows[i].domain);
                g_assert_true(g_utf8_validate(*wire.message, -1, NULL));
                g_assert_null(wire.dom);
                xdr_free((xdrproc_t) xdr_rpc_error, &wire);
        }
}

static void test_encode_limit(void) {
        g_autoptr(GError) err = NULL;
        rpc_hypers_ret many = { { RPC_CELLS_MAX + 1, g_new0(u_quad_t, RPC_CELLS_MAX + 1) } };
        g_assert_null(rpc_packet_encode(&header, (xdrproc_t) xdr_rpc_hypers_ret, &many, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_RPC);
        g_free(many.values.values_val);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/rpc/packet/header-bytes", test_header_bytes);
        g_test_add_func("/rpc/packet/reader-pieces", test_reader_pieces);
        g_test_add_func("/rpc/packet/reader-lengths", test_reader_lengths);
        g_test_add_func("/rpc/packet/reader-memory", test_reader_memory);
        g_test_add_func("/rpc/packet/reader-fds", test_reader_fds);
        g_test_add_func("/rpc/packet/parse-refuses", test_parse_refuses);
        g_test_add_func("/rpc/packet/error", test_error_packet);
        g_test_add_func("/rpc/packet/encode-limit", test_encode_limit);
        return g_test_run();
}
