/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of packets: events of every shape, an error, and results whose layouts are
 * easy to get wrong. rpc/wire.txt has one "NAME:" each, with 16 bytes a line below it.
 * UPDATE_GOLDEN=1 writes the file.
 */
#include <string.h>

#include "rpc/handlers.h"
#include "util/error.h"

static const RpcHeader reply = { RPC_PROGRAM_REMOTE, 1, 3, RPC_TYPE_REPLY, 5, RPC_STATUS_OK };

static void dump(GString *out, const char *name, RpcPacket *packet) {
        g_assert_nonnull(packet);
        g_string_append_printf(out, "%s:\n", name);
        for (gsize i = 0; i < packet->size; i++)
                g_string_append_printf(out, "%02x%s", packet->data[i],
                                       i % 16 == 15 || i + 1 == packet->size ? "\n" : " ");
        rpc_packet_free(packet);
}

static void dump_event(GString *out, const char *name, DomainEvent *event) {
        event->domain = (DomainHandle) { (char *) "web1", "0123456789abcde", 7 };
        g_autofree char *legacy = g_strconcat(name, " (old protocol)", NULL);
        dump(out, name, rpc_event_encode(event, 258, NULL));
        RpcPacket *old = rpc_event_encode(event, -1, NULL);
        if (old)
                dump(out, legacy, old);
}

static void dump_events(GString *out) {
        DomainEvent lifecycle = { .type = VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                  .lifecycle = { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED } };
        DomainEvent reboot = { .type = VIR_DOMAIN_EVENT_ID_REBOOT };
        DomainEvent io_error = { .type = VIR_DOMAIN_EVENT_ID_IO_ERROR,
                                 .io_error = { (char *) "/a", (char *) "virtio-disk0", 2, (char *) "enospc" } };
        DomainEvent io_reason = io_error;
        DomainEvent title = { .type = VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, .metadata = { 1, NULL } };
        DomainEvent element = { .type = VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, .metadata = { 2, (char *) "urn:x" } };
        DomainEvent agent = { .type = VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, .agent = { 1, 2 } };
        DomainEvent tunable = { .type = VIR_DOMAIN_EVENT_ID_TUNABLE };
        int max = 0;
        io_reason.type = VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON;
        (void) virTypedParamsAddULLong(&tunable.tunable.params, &tunable.tunable.n, &max, "cputune.cpu_shares", 300);
        (void) virTypedParamsAddString(&tunable.tunable.params, &tunable.tunable.n, &max, "cputune.vcpupin0", "0-1");
        dump_event(out, "lifecycle", &lifecycle);
        dump_event(out, "reboot", &reboot);
        dump_event(out, "io-error", &io_error);
        dump_event(out, "io-error-reason", &io_reason);
        dump_event(out, "metadata-change of the title", &title);
        dump_event(out, "metadata-change of an element", &element);
        dump_event(out, "agent-lifecycle", &agent);
        dump_event(out, "tunable", &tunable);
        virTypedParamsFree(tunable.tunable.params, tunable.tunable.n);
}

#define DUMP(out, name, type, object) dump(out, name, rpc_packet_encode(&reply, (xdrproc_t) xdr_##type, object, NULL))

static void dump_params(GString *out) {
        rpc_param params[] = {
                { (char *) "i", { VIR_TYPED_PARAM_INT, { .i = -2 } } },
                { (char *) "ui", { VIR_TYPED_PARAM_UINT, { .ui = 0xfffffffe } } },
                { (char *) "l", { VIR_TYPED_PARAM_LLONG, { .l = -2 } } },
                { (char *) "ul", { VIR_TYPED_PARAM_ULLONG, { .ul = 0x0102030405060708 } } },
                { (char *) "d", { VIR_TYPED_PARAM_DOUBLE, { .d = 1.5 } } },
                { (char *) "b", { VIR_TYPED_PARAM_BOOLEAN, { .b = 1 } } },
                { (char *) "s", { VIR_TYPED_PARAM_STRING, { .s = (char *) "text" } } },
        };
        rpc_stats_record record = { { (char *) "web1", "0123456789abcde", -1 }, { G_N_ELEMENTS(params), params } };
        rpc_all_stats_ret stats = { { 1, &record } };
        rpc_params_count_ret counted = { { 1, params }, 9 };
        DUMP(out, "all-domain-stats", rpc_all_stats_ret, &stats);
        DUMP(out, "parameters with their number", rpc_params_count_ret, &counted);
}

static void dump_results(GString *out) {
        rpc_node_info_ret node = { "x86_64", 1048576, 8, 2400, 1, 1, 4, 2 };
        rpc_domain_info_ret info = { VIR_DOMAIN_RUNNING, 262144, 131072, 2, 1000000007 };
        rpc_vcpu vcpu = { 1, 1, 5000000000, 3 };
        rpc_vcpus_ret vcpus = { { 1, &vcpu }, { 3, (char *) "\x03\x00\x80" } };
        rpc_cpu_map_ret map = { { 1, (char *) "\x0f" }, 4, 4 };
        char *mac = (char *) "52:54:00:00:00:01";
        rpc_address address = { VIR_IP_ADDR_TYPE_IPV4, (char *) "192.168.122.2", 24 };
        rpc_interface nics[] = { { (char *) "vnet0", &mac, { 1, &address } }, { (char *) "lo", NULL, { 0, NULL } } };
        rpc_interfaces_ret addresses = { { 2, nics } };
        int types[] = { RPC_AUTH_POLKIT };
        rpc_auth_list_ret auth = { { 1, types } };
        DUMP(out, "node-info", rpc_node_info_ret, &node);
        DUMP(out, "domain-info", rpc_domain_info_ret, &info);
        DUMP(out, "vcpus", rpc_vcpus_ret, &vcpus);
        DUMP(out, "cpu-map", rpc_cpu_map_ret, &map);
        DUMP(out, "interface-addresses", rpc_interfaces_ret, &addresses);
        DUMP(out, "auth-list", rpc_auth_list_ret, &auth);
}

static void dump_error(GString *out) {
        g_autoptr(GError) err = NULL;
        RpcHeader call = reply;
        call.type = RPC_TYPE_CALL;
        error_set(&err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", "x");
        dump(out, "error", rpc_packet_error(&call, RPC_TYPE_REPLY, err));
}

static void test_wire(gconstpointer path) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_autofree char *expected = NULL;
        dump_error(out);
        dump_results(out);
        dump_params(out);
        dump_events(out);
        if (g_getenv("UPDATE_GOLDEN"))
                g_assert_true(g_file_set_contents(path, out->str, -1, NULL));
        g_assert_true(g_file_get_contents(path, &expected, NULL, NULL));
        g_assert_cmpstr(out->str, ==, expected);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_assert_cmpint(virInitialize(), ==, 0);
        g_assert_cmpint(argc, ==, 2);
        g_test_add_data_func("/golden/rpc/wire", argv[1], test_wire);
        return g_test_run();
}
