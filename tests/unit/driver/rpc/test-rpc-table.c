/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole table of procedures, as hostile clients go through it: rights are checked before a byte of the arguments is
 * looked at, and numbers that a read-only client chooses are never trusted with a size.
 */
#include <string.h>

#include "harness.h"
#include "rpc/params.h"

enum { CLOSE = 2, NODE_GET_FREE_PAGES = 340 };

static Harness harness;

/* Matches no layout: code that decodes it fails. */
static const guint8 garbage[] = { 0xff, 0xff, 0xff, 0xff, 0xff };

/* The reply to a call with any payload; NULL when none has come. */
static RpcPacket *call_with(Wire *wire, gint32 proc, const void *payload, gsize size) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, wire->serial++, RPC_STATUS_OK };
        RpcPacket *packet = rpc_packet_new(&header, size);
        memcpy(packet->data + packet->payload, payload, size);
        wire_send(wire, packet);
        RpcPacket *reply = wire_receive(wire, 20000);
        while (reply && (reply->header.type != RPC_TYPE_REPLY || reply->header.serial != header.serial)) {
                rpc_packet_free(reply); /* an event */
                reply = wire_receive(wire, 20000);
        }
        return reply;
}

/* The code of the refusal. */
static int refusal(Wire *wire, gint32 proc) {
        g_autoptr(RpcPacket) reply = call_with(wire, proc, garbage, sizeof(garbage));
        g_assert_nonnull(reply);
        return reply->header.status == RPC_STATUS_ERROR ? wire_error(reply, NULL) : 0;
}

static gboolean is_served(const RpcProc *proc) {
        return proc->kind != RPC_KIND_UNKNOWN && proc->kind != RPC_KIND_REFUSED;
}

/* The error is about rights, not about arguments that do not decode. */
static void test_read_only_comes_first(void) {
        Wire wire;
        guint denied = 0;
        wire_connect(&wire, &harness, TRUE, RPC_AUTH_NONE, 1000);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        for (gint32 nr = 1; nr <= RPC_PROC_LAST; nr++) {
                const RpcProc *proc = rpc_proc_find(nr);
                if (!is_served(proc) || !(proc->flags & RPC_WRITE))
                        continue;
                g_test_message("%s", proc->api);
                g_assert_cmpint(refusal(&wire, nr), ==, VIR_ERR_OPERATION_DENIED);
                denied++;
        }
        g_assert_cmpuint(denied, >, 80);
        wire_close(&wire);
}

static void test_authentication_comes_first(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_POLKIT, 1000);
        for (gint32 nr = 1; nr <= RPC_PROC_LAST; nr++) {
                const RpcProc *proc = rpc_proc_find(nr);
                if (proc->kind != RPC_KIND_UNKNOWN && !(proc->flags & RPC_NOAUTH))
                        g_assert_cmpint(refusal(&wire, nr), ==, VIR_ERR_RPC); /* "authentication required" */
        }
        RpcClient *client = g_ptr_array_index(harness.server->clients, harness.server->clients->len - 1);
        g_assert_false(client->authenticated || client->open);
        wire_close(&wire);
}

static void test_open_comes_first(void) {
        Wire wire;
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 1000);
        for (gint32 nr = 1; nr <= RPC_PROC_LAST; nr++) {
                const RpcProc *proc = rpc_proc_find(nr);
                if (is_served(proc) && !(proc->flags & RPC_NOOPEN))
                        g_assert_cmpint(refusal(&wire, nr), ==, VIR_ERR_INTERNAL_ERROR); /* "connection not open" */
        }
        wire_close(&wire);
}

/* --- Sizes that the client chooses --- */

static const guint32 extremes[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x00010001 };

/* Three numbers after `prefix`: whatever they are counts of, the answer is an error or not too large. */
static void check_numbers(Wire *wire, gint32 nr, const guint8 *prefix, gsize prefix_size) {
        const guint n = G_N_ELEMENTS(extremes);
        guint8 payload[256] = { 0 };
        memcpy(payload, prefix, prefix_size);
        for (guint i = 0; i < n * n * n; i++) {
                const guint32 words[] = { GUINT32_TO_BE(extremes[i % n]), GUINT32_TO_BE(extremes[i / n % n]),
                                          GUINT32_TO_BE(extremes[i / n / n]), 0 };
                memcpy(payload + prefix_size, words, sizeof(words));
                g_autoptr(RpcPacket) reply = call_with(wire, nr, payload, prefix_size + sizeof(words));
                g_assert_nonnull(reply);
                g_assert_cmpuint(reply->size, <, 9 * 1024 * 1024);
        }
}

static gsize encode_domain(const rpc_domain *dom, guint8 *ret, gsize size) {
        XDR xdr;
        xdrmem_create(&xdr, (char *) ret, (u_int) size, XDR_ENCODE);
        g_assert_true(xdr_rpc_domain(&xdr, (rpc_domain *) dom));
        return xdr_getpos(&xdr);
}

/* Numbers alone, after a domain, and after a domain and an empty text: the layouts that procedures have. */
static void test_numbers(void) {
        Wire root, wire;
        rpc_domain dom = { 0 };
        guint8 prefix[200] = { 0 };
        wire_connect(&root, &harness, FALSE, RPC_AUTH_NONE, 0);
        g_assert_cmpint(wire_open(&root, NULL, 0), ==, 0);
        wire_define(&root, "numbers", &dom);
        wire_connect(&wire, &harness, TRUE, RPC_AUTH_NONE, 1000);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        gsize size = encode_domain(&dom, prefix, sizeof(prefix));
        for (gint32 nr = 1; nr <= RPC_PROC_LAST; nr++) {
                const RpcProc *proc = rpc_proc_find(nr);
                gboolean counts = proc->args_size > 0 && proc->args_xdr != (xdrproc_t) xdr_rpc_none &&
                                  proc->args_xdr != (xdrproc_t) xdr_rpc_d_args;
                if (proc->kind != RPC_KIND_WORKER || (proc->flags & RPC_WRITE) || !counts)
                        continue;
                g_test_message("%s", proc->api);
                check_numbers(&wire, nr, prefix, 0);
                check_numbers(&wire, nr, prefix, size);
                check_numbers(&wire, nr, prefix, size + 4);
        }
        wire_close(&wire);
        xdr_free((xdrproc_t) xdr_rpc_domain, &dom);
        wire_close(&root);
}

/* virNodeGetFreePages multiplies cells by sizes of pages: the fault that libvirt's own daemon had. */
static void test_free_pages(void) {
        static const u_int cells[] = { 0, 1, 2, 1024, 1025, 0x40000001, 0x80000000, 0xffffffff };
        static const int starts[] = { -1, 0, 1, 2048, 2049, G_MAXINT, G_MININT };
        Wire wire;
        unsigned int pages[RPC_CELLS_MAX];
        for (guint i = 0; i < RPC_CELLS_MAX; i++)
                pages[i] = 4;
        wire_connect(&wire, &harness, TRUE, RPC_AUTH_NONE, 1000);
        g_assert_cmpint(wire_open(&wire, NULL, 0), ==, 0);
        for (guint i = 0; i < G_N_ELEMENTS(cells) * G_N_ELEMENTS(starts) * 3; i++) {
                rpc_free_pages_args args = { .pages = { (u_int[]) { 1, 4, RPC_CELLS_MAX }[i % 3], pages },
                                             .start_cell = starts[i / 3 % G_N_ELEMENTS(starts)],
                                             .cell_count = cells[i / 3 / G_N_ELEMENTS(starts)] };
                rpc_hypers_ret ret = { 0 };
                int code = wire_call(&wire, NODE_GET_FREE_PAGES, (xdrproc_t) xdr_rpc_free_pages_args, &args,
                                     (xdrproc_t) xdr_rpc_hypers_ret, &ret);
                if (code == 0)
                        g_assert_cmpuint(ret.values.values_len, ==, (guint64) args.pages.pages_len * args.cell_count);
                else
                        g_assert_cmpint(code, ==, VIR_ERR_INVALID_ARG);
                xdr_free((xdrproc_t) xdr_rpc_hypers_ret, &ret);
        }
        wire_close(&wire);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        harness_start(&harness);
        g_test_add_func("/rpc/table/read-only-comes-first", test_read_only_comes_first);
        g_test_add_func("/rpc/table/authentication-comes-first", test_authentication_comes_first);
        g_test_add_func("/rpc/table/open-comes-first", test_open_comes_first);
        g_test_add_func("/rpc/table/numbers", test_numbers);
        g_test_add_func("/rpc/table/free-pages", test_free_pages);
        int r = g_test_run();
        harness_stop(&harness);
        return r;
}
