/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw clients against the real server: who may call what and when, and what misbehaving clients get. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "rpc/callbacks.h"
#include "rpc/params.h"

#define NONE (xdrproc_t) xdr_rpc_none

enum {
        GET_TYPE = 3,
        CLOSE = 2,
        LOOKUP_BY_NAME = 23,
        DESTROY = 12,
        NETWORK_LOOKUP_BY_NAME = 46,
        CORE_DUMP = 53,
        SUPPORTS_FEATURE = 60,
        GET_XML_DESC = 14
};

static Harness harness;

static RpcPacket *exchange(Wire *wire, RpcHeader header) {
        wire_send(wire, rpc_packet_new(&header, 0));
        return wire_receive(wire, 5000);
}

static void check_refused(Wire *wire, RpcHeader header, int code, const char *text) {
        g_autofree char *message = NULL;
        g_autoptr(RpcPacket) reply = exchange(wire, header);
        g_assert_nonnull(reply);
        g_assert_cmpint(wire_error(reply, &message), ==, code);
        g_assert_cmpstr(message, ==, text);
}

static void test_headers(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 9999, RPC_TYPE_CALL, 5, RPC_STATUS_OK };
        check_refused(&wire, header, VIR_ERR_RPC, "unknown procedure: 9999");
        header.proc = 318; /* an event */
        check_refused(&wire, header, VIR_ERR_RPC, "unknown procedure: 318");
        header.proc = -1;
        check_refused(&wire, header, VIR_ERR_RPC, "unknown procedure: -1");
        header.proc = GET_TYPE;
        check_refused(&wire, header, VIR_ERR_INTERNAL_ERROR, "internal error: connection not open");
        header.status = RPC_STATUS_CONTINUE;
        check_refused(&wire, header, VIR_ERR_RPC, "Unexpected message status 2");
        header.prog = RPC_PROGRAM_QEMU;
        header.proc = 8;
        check_refused(&wire, header, VIR_ERR_RPC, "Cannot find program 536903815 version 1");
        header.proc = 3;
        check_refused(&wire, header, VIR_ERR_NO_SUPPORT,
                      "this function is not supported by the connection driver: virDomainQemuAgentCommand");
        header.proc = 0;
        check_refused(&wire, header, VIR_ERR_RPC, "Cannot find program 536903815 version 1");
        header.prog = 425984; /* libvirt's lxc_protocol.x */
        header.proc = 1;
        check_refused(&wire, header, VIR_ERR_NO_SUPPORT,
                      "this function is not supported by the connection driver: virDomainLxcOpenNamespace");
        header.proc = 2;
        check_refused(&wire, header, VIR_ERR_RPC, "Cannot find program 425984 version 1");
        header.prog = RPC_PROGRAM_REMOTE;
        header.vers = 2;
        check_refused(&wire, header, VIR_ERR_RPC, "Cannot find program 536903814 version 2");
        wire_close(&wire);
}

/* Packets that are no calls, and data for no stream, are dropped silently. */
static void test_dropped(void) {
        static const guint types[] = { RPC_TYPE_REPLY,          RPC_TYPE_MESSAGE,     RPC_TYPE_STREAM,
                                       RPC_TYPE_REPLY_WITH_FDS, RPC_TYPE_STREAM_HOLE, 77 };
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
                RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 201, types[i], 5, RPC_STATUS_OK };
                RpcPacket *packet = rpc_packet_new(&header, 4);
                memset(packet->data + packet->payload, 0, 4);
                wire_send(&wire, packet);
        }
        g_assert_cmpint(wire_call_simple(&wire, GET_TYPE), ==, 0);
        wire_close(&wire);
}

static void test_open(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, "qemu:///system", 0), ==, VIR_ERR_NO_CONNECT);
        g_assert_cmpint(wire_open(&wire, "micro:///session", 0), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(wire_open(&wire, "micro:///system", 0x80), ==, VIR_ERR_INVALID_ARG);
        g_assert_cmpint(wire_open(&wire, "micro:///system?keepalive=1", 0), ==, 0);
        g_assert_cmpint(wire_open(&wire, "micro:///system", 0), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(wire_call_simple(&wire, GET_TYPE), ==, 0);
        g_assert_cmpint(wire_call_simple(&wire, CLOSE), ==, 0);
        g_assert_true(wire_is_closed(&wire));
        wire_close(&wire);
}

static void test_refusals(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, "", 0), ==, 0);
        RpcHeader header = { RPC_PROGRAM_REMOTE, 1, CORE_DUMP, RPC_TYPE_CALL, 9, RPC_STATUS_OK };
        check_refused(&wire, header, VIR_ERR_NO_SUPPORT,
                      "this function is not supported by the connection driver: virDomainCoreDump");
        header.proc = NETWORK_LOOKUP_BY_NAME;
        check_refused(&wire, header, VIR_ERR_NO_SUPPORT,
                      "this function is not supported by the connection driver: virNetworkLookupByName");
        header.proc = LOOKUP_BY_NAME;
        check_refused(&wire, header, VIR_ERR_RPC, "Unable to decode message payload");
        wire_close(&wire);
}

static void check_readonly(gboolean socket, guint flags, gboolean expect) {
        Wire wire;
        wire_connect(&wire, &harness, socket, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, flags), ==, 0);
        rpc_d_args args = { { (rpc_text) "x", { 0 }, -1 } };
        g_assert_cmpint(wire_call(&wire, DESTROY, (xdrproc_t) xdr_rpc_d_args, &args, NONE, NULL), ==,
                        expect ? VIR_ERR_OPERATION_DENIED : VIR_ERR_NO_DOMAIN);
        rpc_d_flags_args xml = { args.dom, VIR_DOMAIN_XML_SECURE };
        g_assert_cmpint(wire_call(&wire, GET_XML_DESC, (xdrproc_t) xdr_rpc_d_flags_args, &xml, NONE, NULL), ==,
                        expect ? VIR_ERR_OPERATION_DENIED : VIR_ERR_NO_DOMAIN);
        xml.flags = 0;
        g_assert_cmpint(wire_call(&wire, GET_XML_DESC, (xdrproc_t) xdr_rpc_d_flags_args, &xml, NONE, NULL), ==,
                        VIR_ERR_NO_DOMAIN);
        wire_close(&wire);
}

static void test_readonly(void) {
        check_readonly(FALSE, 0, FALSE);
        check_readonly(FALSE, VIR_CONNECT_RO, TRUE);
        check_readonly(TRUE, 0, TRUE);
        check_readonly(TRUE, VIR_CONNECT_RO, TRUE);
        Wire wire;
        wire_connect(&wire, &harness, TRUE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        RpcHeader header = { RPC_PROGRAM_REMOTE, 1, DESTROY, RPC_TYPE_CALL, 9, RPC_STATUS_OK };
        check_refused(&wire, header, VIR_ERR_OPERATION_DENIED,
                      "operation forbidden: read only access prevents virDomainDestroy");
        wire_close(&wire);
}

/* --- Authentication --- */

static int auth_list(Wire *wire) {
        rpc_auth_list_ret ret = { 0 };
        g_assert_cmpint(wire_call(wire, RPC_PROC_AUTH_LIST, NONE, NULL, (xdrproc_t) xdr_rpc_auth_list_ret, &ret), ==,
                        0);
        g_assert_cmpuint(ret.types.types_len, ==, 1);
        int type = ret.types.types_val[0];
        xdr_free((xdrproc_t) xdr_rpc_auth_list_ret, &ret);
        return type;
}

static void test_auth(void) {
        Wire root, user;
        wire_connect(&root, &harness, FALSE, RPC_AUTH_POLKIT, 0);
        g_assert_cmpint(auth_list(&root), ==, RPC_AUTH_NONE);
        g_assert_cmpint(wire_open(&root, NULL, 0), ==, 0);
        wire_close(&root);
        wire_connect(&user, &harness, FALSE, RPC_AUTH_POLKIT, 1000);
        g_assert_cmpint(auth_list(&user), ==, RPC_AUTH_POLKIT);
        g_assert_cmpint(wire_open(&user, NULL, 0), ==, VIR_ERR_RPC);
        g_assert_cmpint(wire_call_simple(&user, GET_TYPE), ==, VIR_ERR_RPC);
        g_assert_cmpint(wire_call_simple(&user, 9), ==, VIR_ERR_RPC);
        g_assert_cmpint(wire_call_simple(&user, RPC_PROC_AUTH_POLKIT), ==, VIR_ERR_AUTH_FAILED);
        g_assert_cmpint(wire_open(&user, NULL, 0), ==, VIR_ERR_RPC);
        wire_close(&user);
}

static void test_anonymous_size(void) {
        Wire user;
        const guint32 length = GUINT32_TO_BE(65537);
        wire_connect(&user, &harness, FALSE, RPC_AUTH_POLKIT, 1000);
        wire_send_bytes(&user, &length, 4);
        g_assert_true(wire_is_closed(&user));
        wire_close(&user);
}

static void test_identity(void) {
        Wire wire;
        rpc_identity_args args = { 0 };
        const int expected[] = { 0, VIR_ERR_ACCESS_DENIED };
        for (guint i = 0; i < 2; i++) {
                wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, i == 0 ? 0 : 1000);
                g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
                g_assert_cmpint(wire_call(&wire, RPC_PROC_CONNECT_SET_IDENTITY, (xdrproc_t) xdr_rpc_identity_args,
                                          &args, NONE, NULL),
                                ==, expected[i]);
                wire_close(&wire);
        }
}

/* --- Events --- */

static int event_register(Wire *wire, int event, rpc_domain *dom) {
        rpc_int_opt_domain_args args = { event, dom };
        rpc_int_ret ret;
        int code =
                wire_call(wire, 316, (xdrproc_t) xdr_rpc_int_opt_domain_args, &args, (xdrproc_t) xdr_rpc_int_ret, &ret);
        return code == 0 ? ret.value : -code;
}

static int call_int(Wire *wire, gint32 proc, int value) {
        rpc_int_args args = { value };
        return wire_call(wire, proc, (xdrproc_t) xdr_rpc_int_args, &args, NONE, NULL);
}

/* Lifecycle event or nothing: its callback id, -1 for the old kind. */
static void check_lifecycle(Wire *wire, int id, const char *name, int event) {
        g_autoptr(RpcPacket) packet = wire_receive(wire, 5000);
        g_assert_nonnull(packet);
        g_assert_cmpuint(packet->header.type, ==, RPC_TYPE_MESSAGE);
        g_assert_cmpuint(packet->header.serial, ==, 0);
        g_assert_cmpint(packet->header.proc, ==, id < 0 ? 107 : 318);
        if (id >= 0) {
                g_assert_cmpint(packet->data[packet->payload + 3], ==, id);
                packet->payload += 4;
        }
        rpc_lifecycle_event wire_event = { 0 };
        g_assert_true(rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_lifecycle_event, &wire_event, NULL));
        g_assert_cmpstr(wire_event.dom.name, ==, name);
        g_assert_cmpint(wire_event.event, ==, event);
        xdr_free((xdrproc_t) xdr_rpc_lifecycle_event, &wire_event);
}

static void undefine(Wire *wire, rpc_domain *dom) {
        rpc_d_flags_args args = { *dom, 0 };
        g_assert_cmpint(wire_call(wire, 231, (xdrproc_t) xdr_rpc_d_flags_args, &args, NONE, NULL), ==, 0);
        xdr_free((xdrproc_t) xdr_rpc_domain, dom);
}

static void test_events(void) {
        Wire all, one, actor;
        rpc_domain watched = { 0 }, other = { 0 };
        wire_connect(&actor, &harness, FALSE, RPC_AUTH_NONE, 0);
        wire_connect(&all, &harness, TRUE, RPC_AUTH_NONE, 0);
        wire_connect(&one, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&actor, NULL, 0), ==, 0);
        g_assert_cmpint(wire_open(&all, NULL, 0), ==, 0);
        g_assert_cmpint(wire_open(&one, NULL, 0), ==, 0);
        wire_define(&actor, "watched", &watched);
        for (int event = 0; event < 27; event++)
                g_assert_cmpint(event_register(&all, event, NULL), ==, event);
        g_assert_cmpint(event_register(&all, 27, NULL), ==, -VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(event_register(&all, -1, NULL), ==, -VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(event_register(&one, 0, &watched), ==, 0);
        wire_define(&actor, "other", &other);
        check_lifecycle(&all, 0, "other", VIR_DOMAIN_EVENT_DEFINED);
        undefine(&actor, &watched);
        check_lifecycle(&all, 0, "watched", VIR_DOMAIN_EVENT_UNDEFINED);
        check_lifecycle(&one, 0, "watched", VIR_DOMAIN_EVENT_UNDEFINED);
        g_assert_cmpint(call_int(&all, 317, 0), ==, 0);
        g_assert_cmpint(call_int(&all, 317, 0), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(call_int(&all, 317, -1), ==, VIR_ERR_INTERNAL_ERROR);
        undefine(&actor, &other);
        g_assert_null(wire_receive(&all, 50));
        wire_close(&all);
        wire_close(&one);
        wire_close(&actor);
}

static void test_events_legacy(void) {
        Wire wire;
        rpc_domain dom = { 0 };
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        g_assert_cmpint(call_int(&wire, 167, VIR_DOMAIN_EVENT_ID_TUNABLE), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(call_int(&wire, 167, VIR_DOMAIN_EVENT_ID_REBOOT), ==, 0);
        g_assert_cmpint(wire_call_simple(&wire, 105), ==, 0);
        g_assert_cmpint(wire_call_simple(&wire, 105), ==, VIR_ERR_INTERNAL_ERROR);
        Wire actor;
        wire_connect(&actor, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&actor, NULL, 0), ==, 0);
        wire_define(&actor, "old", &dom);
        check_lifecycle(&wire, -1, "old", VIR_DOMAIN_EVENT_DEFINED);
        g_assert_cmpint(wire_call_simple(&wire, 106), ==, 0);
        g_assert_cmpint(wire_call_simple(&wire, 106), ==, VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(call_int(&wire, 168, VIR_DOMAIN_EVENT_ID_REBOOT), ==, 0);
        undefine(&actor, &dom);
        wire_close(&actor);
        wire_close(&wire);
}

static guint count_stats(Wire *wire, rpc_domain *doms, guint n, int *ret_code) {
        rpc_all_stats_args args = { .doms = { n, doms }, .stats = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_BLOCK };
        rpc_all_stats_ret ret = { 0 };
        *ret_code = wire_call(wire, 344, (xdrproc_t) xdr_rpc_all_stats_args, &args, (xdrproc_t) xdr_rpc_all_stats_ret,
                              &ret);
        guint count = ret.records.records_len;
        xdr_free((xdrproc_t) xdr_rpc_all_stats_ret, &ret);
        return count;
}

/* However often a list names a domain, its monitor is asked once. */
static void test_stats_of_a_long_list(void) {
        Wire wire;
        rpc_domain doms[RPC_LIST_MAX], one = { 0 }, other = { 0 };
        int code = 0;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        wire_define(&wire, "one", &one);
        wire_define(&wire, "other", &other);
        for (guint i = 0; i < RPC_LIST_MAX; i++)
                doms[i] = i % 1000 == 7 ? other : one;
        g_assert_cmpuint(count_stats(&wire, doms, RPC_LIST_MAX, &code), ==, 2);
        g_assert_cmpint(code, ==, 0);
        memset(doms[0].uuid, 0xee, sizeof(doms[0].uuid));
        g_assert_cmpuint(count_stats(&wire, doms, 2, &code), ==, 1);
        undefine(&wire, &one);
        undefine(&wire, &other);
        wire_close(&wire);
}

/* A domain whose disks have paths as long as XML may be; more of them than a reply can hold. */
static void test_stats_that_are_too_large(void) {
        enum { DOMAINS = 40 };
        Wire wire;
        rpc_domain all[DOMAINS] = { 0 };
        int code = 0;
        g_autofree char *path = g_strnfill(900 * 1024, 'p');
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        for (guint i = 0; i < DOMAINS; i++) {
                g_autofree char *name = g_strdup_printf("large%u", i);
                g_autofree char *xml = g_strdup_printf(
                        "<domain type='kvm'><name>%s</name><memory>65536</memory><os><type>hvm</type></os><devices>"
                        "<disk><source file='/%s'/><target dev='vda'/></disk></devices></domain>",
                        name, path);
                g_autoptr(Domain) domain = driver_define_xml(harness.driver, xml, 0, NULL);
                g_assert_nonnull(domain);
                rpc_domain_put(domain, &all[i]);
        }
        g_assert_cmpuint(count_stats(&wire, all, 3, &code), ==, 3);
        g_assert_cmpint(code, ==, 0);
        g_assert_cmpuint(count_stats(&wire, all, DOMAINS, &code), ==, 0);
        g_assert_cmpint(code, ==, VIR_ERR_RPC);
        g_assert_cmpint(wire_call_simple(&wire, GET_TYPE), ==, 0);
        for (guint i = 0; i < DOMAINS; i++)
                undefine(&wire, &all[i]);
        wire_close(&wire);
}

static int register_numbered(Wire *wire, guint number) {
        rpc_domain dom = { (rpc_text) "x", { 0 }, -1 };
        memcpy(dom.uuid, &number, sizeof(number));
        return event_register(wire, 0, &dom);
}

/* The list of callbacks is bounded. Each is for another domain, since equal ones have a limit of their own. */
static void test_events_many(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        for (guint i = 0; i < RPC_CALLBACKS_MAX; i++)
                g_assert_cmpint(register_numbered(&wire, i), ==, i);
        g_assert_cmpint(register_numbered(&wire, RPC_CALLBACKS_MAX), ==, -VIR_ERR_INTERNAL_ERROR);
        wire_close(&wire);
}

/* --- Keepalive --- */

static RpcHeader keepalive_header(gint32 proc) {
        return (RpcHeader) { RPC_PROGRAM_KEEPALIVE, 1, proc, RPC_TYPE_MESSAGE, 0, RPC_STATUS_OK };
}

static void test_ping(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_autoptr(RpcPacket) pong = exchange(&wire, keepalive_header(1));
        g_assert_nonnull(pong);
        g_assert_cmpuint(pong->header.prog, ==, RPC_PROGRAM_KEEPALIVE);
        g_assert_cmpint(pong->header.proc, ==, 2);
        g_assert_cmpuint(pong->size, ==, RPC_PREFIX_SIZE);
        wire_close(&wire);
}

/* One ping is answered, the next is not: the connection is closed at the following tick. */
static void test_keepalive_expires(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(call_int(&wire, SUPPORTS_FEATURE, 10), ==, 0);
        g_autoptr(RpcPacket) first = wire_receive(&wire, 3000);
        g_assert_nonnull(first);
        g_assert_cmpint(first->header.proc, ==, 1);
        RpcHeader answer = keepalive_header(2);
        wire_send(&wire, rpc_packet_new(&answer, 0));
        g_autoptr(RpcPacket) second = wire_receive(&wire, 3000);
        g_assert_nonnull(second);
        g_assert_null(wire_receive(&wire, 3000));
        g_assert_true(wire_is_closed(&wire));
        wire_close(&wire);
}

/* --- Rude clients --- */

static void test_vanish(void) {
        guint before = rpc_server_client_count(harness.server);
        for (guint i = 0; i < 20; i++) {
                Wire wire;
                wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
                g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
                /* Half a packet, or a call that is under way when its client goes. */
                RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 6, RPC_TYPE_CALL, 9, RPC_STATUS_OK };
                g_autoptr(RpcPacket) call = rpc_packet_new(&header, 0);
                wire_send_bytes(&wire, call->data, i % 2 ? call->size : i);
                wire_close(&wire);
        }
        for (gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
             rpc_server_client_count(harness.server) > before && g_get_monotonic_time() < end;)
                (void) g_main_context_iteration(NULL, TRUE);
        g_assert_cmpuint(rpc_server_client_count(harness.server), ==, before);
}

/* Calls without reading the replies: the server stops reading, and goes on where it stopped. */
static void test_slow_reader(void) {
        enum { CALLS = 3000, CAPABILITIES = 7 };
        Wire wire;
        int size = 4096;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        (void) setsockopt(wire.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        g_autoptr(GByteArray) calls = g_byte_array_new();
        for (guint i = 0; i < CALLS; i++) {
                RpcHeader header = { RPC_PROGRAM_REMOTE, 1, CAPABILITIES, RPC_TYPE_CALL, i, RPC_STATUS_OK };
                g_autoptr(RpcPacket) call = rpc_packet_new(&header, 0);
                g_byte_array_append(calls, call->data, call->size);
        }
        gsize sent = 0;
        for (guint idle = 0; idle < 200;) {
                ssize_t n = send(wire.fd, calls->data + sent, calls->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                sent += n > 0 ? n : 0;
                idle = n > 0 || g_main_context_iteration(NULL, FALSE) ? 0 : idle + 1;
                g_usleep(100);
        }
        RpcClient *client = g_ptr_array_index(harness.server->clients, harness.server->clients->len - 1);
        g_assert_cmpuint(rpc_conn_get_pending(client->conn), <, 2 * 1024 * 1024);
        for (guint i = 0; i < CALLS; i++) {
                if (sent < calls->len) {
                        ssize_t n = send(wire.fd, calls->data + sent, calls->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                        sent += n > 0 ? n : 0;
                }
                g_autoptr(RpcPacket) reply = wire_receive(&wire, 10000);
                g_assert_nonnull(reply);
                g_assert_cmpuint(reply->header.status, ==, RPC_STATUS_OK);
        }
        wire_close(&wire);
}

/* Descriptors that nobody asked for do not stay open. */
static void test_fds(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 443, RPC_TYPE_CALL_WITH_FDS, 9, RPC_STATUS_OK };
        RpcPacket *call = rpc_packet_new(&header, 4);
        memcpy(call->data + call->payload, "\0\0\0\2", 4);
        wire_send(&wire, call);
        wire_send_bytes(&wire, "\0\0", 2);
        g_autoptr(RpcPacket) reply = wire_receive(&wire, 5000);
        g_assert_cmpint(wire_error(reply, NULL), ==, VIR_ERR_NO_SUPPORT);
        g_assert_cmpint(wire_call_simple(&wire, GET_TYPE), ==, 0);
        wire_close(&wire);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        harness_start(&harness);
        g_test_add_func("/rpc/server/headers", test_headers);
        g_test_add_func("/rpc/server/dropped", test_dropped);
        g_test_add_func("/rpc/server/open", test_open);
        g_test_add_func("/rpc/server/refusals", test_refusals);
        g_test_add_func("/rpc/server/readonly", test_readonly);
        g_test_add_func("/rpc/server/auth", test_auth);
        g_test_add_func("/rpc/server/anonymous-size", test_anonymous_size);
        g_test_add_func("/rpc/server/identity", test_identity);
        g_test_add_func("/rpc/server/events", test_events);
        g_test_add_func("/rpc/server/events-legacy", test_events_legacy);
        g_test_add_func("/rpc/server/stats-of-a-long-list", test_stats_of_a_long_list);
        g_test_add_func("/rpc/server/stats-that-are-too-large", test_stats_that_are_too_large);
        g_test_add_func("/rpc/server/events-many", test_events_many);
        g_test_add_func("/rpc/server/ping", test_ping);
        g_test_add_func("/rpc/server/keepalive-expires", test_keepalive_expires);
        g_test_add_func("/rpc/server/vanish", test_vanish);
        g_test_add_func("/rpc/server/slow-reader", test_slow_reader);
        g_test_add_func("/rpc/server/fds", test_fds);
        int r = g_test_run();
        harness_stop(&harness);
        return r;
}
