/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients may put into payloads: odd flags, wrong unions, too long lists; and typed parameters both ways. */
#include <string.h>

#include "rpc/handlers.h"
#include "util/error.h"

/* Decodes the payload that `hex` spells. */
static gboolean decode_hex(const char *hex, xdrproc_t proc, gpointer object) {
        const RpcHeader header = { RPC_PROGRAM_REMOTE, 1, 1, RPC_TYPE_CALL, 1, RPC_STATUS_OK };
        gsize size = strlen(hex) / 2;
        g_autoptr(RpcPacket) packet = rpc_packet_new(&header, size);
        for (gsize i = 0; i < size; i++)
                packet->data[packet->payload + i] =
                        (guint8) (g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
        return rpc_packet_decode(packet, proc, object, NULL);
}

#define DECODE(hex, type, object) decode_hex(hex, (xdrproc_t) xdr_##type, object)
#define FREE(type, object)        xdr_free((xdrproc_t) xdr_##type, object)

/* Some Go clients send the flag of an optional member in the wrong byte order. */
static void test_optional_flag(void) {
        static const char *const flags[] = { "00000001", "01000000", "ffffffff" };
        for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
                g_autofree char *hex = g_strconcat(flags[i], "00000006", "6d6963726f3a0000", "00000001", NULL);
                rpc_open_args args = { 0 };
                g_assert_true(DECODE(hex, rpc_open_args, &args));
                g_assert_cmpstr(*args.name, ==, "micro:");
                g_assert_cmpuint(args.flags, ==, 1);
                FREE(rpc_open_args, &args);
        }
        rpc_open_args none = { 0 };
        g_assert_true(DECODE("0000000000000000", rpc_open_args, &none));
        g_assert_null(none.name);
}

/* Nothing is allocated for data that has not arrived: xdr_free() would show what a decoder has made. */
static void test_announced(void) {
        rpc_text_args text = { 0 };
        g_assert_false(DECODE("00400000"
                              "61626364",
                              rpc_text_args, &text));
        g_assert_null(text.text);
        rpc_identity_args list = { 0 };
        g_assert_false(DECODE("00000014"
                              "00000001"
                              "61000000",
                              rpc_identity_args, &list));
        g_assert_null(list.params.params_val);
        rpc_all_stats_args domains = { 0 };
        g_assert_false(DECODE("00004000"
                              "00000000",
                              rpc_all_stats_args, &domains));
        g_assert_null(domains.doms.doms_val);
        rpc_d_cpumap_flags_args map = { 0 };
        g_assert_false(DECODE("00000000"
                              "00000000000000000000000000000000"
                              "ffffffff"
                              "00000800"
                              "00000000",
                              rpc_d_cpumap_flags_args, &map));
        g_assert_null(map.cpumap.cpumap_val);
        FREE(rpc_text_args, &text);
        FREE(rpc_identity_args, &list);
        FREE(rpc_all_stats_args, &domains);
        FREE(rpc_d_cpumap_flags_args, &map);
}

#define EMPTY_DOMAIN                                                                                                   \
        "00000000"                                                                                                     \
        "00000000000000000000000000000000"                                                                             \
        "ffffffff"

static void test_refused(void) {
        static const struct {
                const char *hex, *why;
        } rows[] = {
                { "", "nothing" },
                { "00400001", "a string of 4 MiB and one" },
                { "ffffffff", "a string of 4 GiB" },
                { "0000000861626364", "half a string" },
                { EMPTY_DOMAIN, "no list" },
                { EMPTY_DOMAIN "00000011", "17 parameters" },
                { EMPTY_DOMAIN "ffffffff", "4 G parameters" },
                { EMPTY_DOMAIN "00000001"
                               "0000000161000000"
                               "00000008"
                               "00000000",
                  "a type that does not exist" },
                { EMPTY_DOMAIN "00000002"
                               "0000000161000000"
                               "00000007"
                               "0000000162000000"
                               "0000000161000000"
                               "00000000",
                  "a good parameter, then a bad one" },
                { EMPTY_DOMAIN "00000001"
                               "0000000161000000"
                               "00000001"
                               "00000005",
                  "no flags" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                rpc_d_params_flags_args args = { 0 };
                g_test_message("%s", rows[i].why);
                g_assert_false(DECODE(rows[i].hex, rpc_d_params_flags_args, &args));
                FREE(rpc_d_params_flags_args, &args);
        }
}

static virTypedParameterPtr sample_params(int *n) {
        virTypedParameterPtr params = NULL;
        int max = 0;
        *n = 0;
        g_assert_cmpint(virTypedParamsAddInt(&params, n, &max, "int", -1), ==, 0);
        g_assert_cmpint(virTypedParamsAddUInt(&params, n, &max, "uint", 0xffffffff), ==, 0);
        g_assert_cmpint(virTypedParamsAddLLong(&params, n, &max, "llong", G_MININT64), ==, 0);
        g_assert_cmpint(virTypedParamsAddULLong(&params, n, &max, "ullong", G_MAXUINT64), ==, 0);
        g_assert_cmpint(virTypedParamsAddDouble(&params, n, &max, "double", -0.5), ==, 0);
        g_assert_cmpint(virTypedParamsAddBoolean(&params, n, &max, "boolean", 1), ==, 0);
        g_assert_cmpint(virTypedParamsAddString(&params, n, &max, "string", "text"), ==, 0);
        return params;
}

static void test_params_round(void) {
        int n, back_n;
        virTypedParameterPtr params = sample_params(&n), back;
        rpc_params_ret wire = { 0 };
        g_assert_true(rpc_params_put(params, n, 16, VIR_TYPED_PARAM_STRING_OKAY, &wire.params.params_val,
                                     &wire.params.params_len, NULL));
        g_assert_cmpuint(wire.params.params_len, ==, 7);
        g_assert_true(rpc_params_get(wire.params.params_val, wire.params.params_len, &back, &back_n, NULL));
        g_assert_cmpint(back_n, ==, n);
        for (int i = 0; i < n; i++) {
                g_assert_cmpstr(back[i].field, ==, params[i].field);
                g_assert_cmpint(back[i].type, ==, params[i].type);
                if (params[i].type == VIR_TYPED_PARAM_STRING)
                        g_assert_cmpstr(back[i].value.s, ==, params[i].value.s);
                else
                        g_assert_cmpuint(back[i].value.ul, ==, params[i].value.ul);
        }
        FREE(rpc_params_ret, &wire);
        virTypedParamsFree(params, n);
        virTypedParamsFree(back, back_n);
}

/* Clients get strings only if they say that they take them; empty slots are never sent. */
static void test_params_strings(void) {
        int n;
        virTypedParameterPtr params = sample_params(&n);
        rpc_params_ret wire = { 0 };
        params[0].type = 0;
        g_assert_true(rpc_params_put(params, n, 16, 0, &wire.params.params_val, &wire.params.params_len, NULL));
        g_assert_cmpuint(wire.params.params_len, ==, 5);
        FREE(rpc_params_ret, &wire);
        virTypedParamsFree(params, n);
}

static void test_params_limits(void) {
        int n;
        virTypedParameterPtr params = sample_params(&n), back = NULL;
        rpc_params_ret wire = { 0 };
        g_autoptr(GError) err = NULL;
        g_assert_false(rpc_params_put(params, n, 6, VIR_TYPED_PARAM_STRING_OKAY, &wire.params.params_val,
                                      &wire.params.params_len, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_RPC);
        FREE(rpc_params_ret, &wire);
        virTypedParamsFree(params, n);
        g_autofree char *name = g_strnfill(VIR_TYPED_PARAM_FIELD_LENGTH, 'n');
        rpc_param param = { name, { VIR_TYPED_PARAM_INT, { .i = 1 } } };
        g_assert_false(rpc_params_get(&param, 1, &back, &n, NULL));
        g_assert_null(back);
}

/* Every procedure that can be called has a name for error texts; what is served has layouts. */
static void test_table(void) {
        guint served = 0, relayed = 0;
        g_assert_null(rpc_proc_find(0));
        g_assert_null(rpc_proc_find(-1));
        g_assert_null(rpc_proc_find(RPC_PROC_LAST + 1));
        for (gint32 nr = 1; nr <= RPC_PROC_LAST; nr++) {
                const RpcProc *proc = rpc_proc_find(nr);
                g_assert_nonnull(proc);
                g_assert_true((proc->kind == RPC_KIND_UNKNOWN) == (proc->api == NULL));
                gboolean own = proc->kind == RPC_KIND_INLINE || proc->kind == RPC_KIND_WORKER;
                g_assert_true(own == (proc->handler && proc->args_xdr && proc->ret_xdr));
                served += own;
                relayed += proc->kind == RPC_KIND_RELAY;
        }
        g_assert_cmpuint(served, >=, 110);
        g_assert_cmpuint(relayed, ==, 138); /* 145 less their 7 events */
}

static void test_table_readonly(void) {
        static const gint32 allowed[] = { 1,   3,   6,   7,   14,  16,  22,  23,  24,  57,  59,  64, 65,
                                          110, 159, 198, 212, 265, 273, 316, 344, 353, 283, 281, 43 };
        static const gint32 denied[] = { 9,   10,  11,  12,  26,  27,  28,  29,  33, 34, 35, 58,  197, 201,
                                         219, 231, 234, 264, 296, 342, 350, 358, 39, 42, 76, 208, 209, 145 };
        for (gsize i = 0; i < G_N_ELEMENTS(allowed); i++)
                g_assert_false(rpc_proc_find(allowed[i])->flags & RPC_WRITE);
        for (gsize i = 0; i < G_N_ELEMENTS(denied); i++)
                g_assert_true(rpc_proc_find(denied[i])->flags & RPC_WRITE);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_assert_cmpint(virInitialize(), ==, 0);
        g_test_add_func("/rpc/xdr/announced", test_announced);
        g_test_add_func("/rpc/xdr/optional-flag", test_optional_flag);
        g_test_add_func("/rpc/xdr/refused", test_refused);
        g_test_add_func("/rpc/params/round", test_params_round);
        g_test_add_func("/rpc/params/strings", test_params_strings);
        g_test_add_func("/rpc/params/limits", test_params_limits);
        g_test_add_func("/rpc/table/complete", test_table);
        g_test_add_func("/rpc/table/readonly", test_table_readonly);
        return g_test_run();
}
