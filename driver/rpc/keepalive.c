/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keepalive in both directions. Clients ask for it (the feature PROGRAM_KEEPALIVE); from
 * then on the server pings them, and any packet counts as a sign of life. PINGs of the
 * client are answered at any time. While the server itself does not read from a client,
 * its silence says nothing.
 */
#include "rpc/client.h"
#include "rpc/server_internal.h"

enum { KEEPALIVE_PING = 1, KEEPALIVE_PONG = 2 };

static void keepalive_send(RpcClient *client, gint32 proc) {
        const RpcHeader header = { RPC_PROGRAM_KEEPALIVE, RPC_VERSION, proc, RPC_TYPE_MESSAGE, 0, RPC_STATUS_OK };
        rpc_client_send(client, rpc_packet_new(&header, 0));
}

static gboolean keepalive_tick(gpointer data) {
        g_autoptr(RpcClient) client = rpc_client_ref(data);
        if (!rpc_conn_is_reading(client->conn))
                return G_SOURCE_CONTINUE;
        if (client->keepalive_misses >= client->server->config->keepalive_count) {
                g_info("client %d does not answer: connection closed due to keepalive timeout", (int) client->peer.pid);
                client->keepalive_timer = 0;
                rpc_client_close(client);
                return G_SOURCE_REMOVE;
        }
        client->keepalive_misses++;
        keepalive_send(client, KEEPALIVE_PING);
        return client->closed ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

void rpc_keepalive_start(RpcClient *client) {
        guint interval = client->server->config->keepalive_interval;
        if (interval > 0 && client->keepalive_timer == 0 && !client->closed)
                client->keepalive_timer = g_timeout_add_seconds(interval, keepalive_tick, client);
}

void rpc_keepalive_stop(RpcClient *client) {
        g_clear_handle_id(&client->keepalive_timer, g_source_remove);
}

void rpc_keepalive_packet(RpcClient *client, const RpcPacket *packet) {
        if (packet->header.vers == RPC_VERSION && packet->header.type == RPC_TYPE_MESSAGE &&
            packet->header.proc == KEEPALIVE_PING)
                keepalive_send(client, KEEPALIVE_PONG);
}
