/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole session of a read-only client with the real server, over a driver with one
 * domain. The first byte says who the client is.
 */
#include <glib.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../../unit/driver/rpc/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_log(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
}

static Harness harness;

static void session_end(void) {
        harness_stop(&harness);
}

/* Made at the first input, and kept until the process ends. */
static void session_start(void) {
        if (harness.server)
                return;
        Wire wire;
        rpc_domain dom = { 0 };
        (void) g_log_set_default_handler(ignore_log, NULL);
        harness_start(&harness);
        wire_connect(&wire, &harness, FALSE, RPC_AUTH_NONE, 0);
        (void) wire_open(&wire, NULL, 0);
        wire_define(&wire, "web1", &dom);
        xdr_free((xdrproc_t) xdr_rpc_domain, &dom);
        wire_close(&wire);
        (void) atexit(session_end);
}

static void drain(Wire *wire) {
        char buffer[65536];
        while (recv(wire->fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
                ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Wire wire;
        if (size < 1 || size > 65536)
                return 0;
        session_start();
        wire_connect(&wire, &harness, TRUE, data[0] & 1 ? RPC_AUTH_POLKIT : RPC_AUTH_NONE, data[0] & 2 ? 1000 : 0);
        wire_send_bytes(&wire, data + 1, size - 1);
        (void) shutdown(wire.fd, SHUT_WR);
        while (rpc_server_client_count(harness.server) > 0) {
                drain(&wire);
                (void) g_main_context_iteration(NULL, TRUE);
        }
        wire_close(&wire);
        return 0;
}
