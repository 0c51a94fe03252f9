/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Networks, storage, node devices, host interfaces, secrets and network filters are served by libvirt's
 * own daemons. Their procedures are recognised by number and relayed byte for byte over a connection
 * per client and driver: to virt<driver>d-sock, or if that is missing to the monolithic daemon's
 * libvirt-sock. Serials pass unchanged, since nobody else uses that connection once the handshake is
 * over (relay_connect.c); so do streams. Events pass with the ids of their callbacks translated, so
 * that the client's registrations outlive the other daemon (relay_events.c).
 *
 * A relay is made with the client's first call for its driver and goes with the client. Its connection
 * comes and goes: calls wait while one is made, and fail when it is lost; the next call makes a new
 * one. The other daemon's silence is limited, not its time, since wiping a volume may take hours: while
 * calls are pending it is pinged, and given up after `neighbour_timeout` without a packet.
 *
 *   no such daemon, or one that does not serve the driver   VIR_ERR_NO_SUPPORT, which clients cope with
 *   its backlog is full                                     VIR_ERR_RESOURCE_BUSY
 *   it does not answer                                      VIR_ERR_OPERATION_TIMEOUT
 *   it is gone before it has answered                       VIR_ERR_INTERNAL_ERROR
 */
#include "rpc/relay_internal.h"
#include "util/error.h"

#define RELAY_PENDING_HIGH (1024u * 1024u)
#define KEEPALIVE_PING     1
#define KEEPALIVE_PONG     2

static const char *const driver_names[RPC_UPSTREAM_MAX] = {
        [RPC_UPSTREAM_NETWORK] = "network", [RPC_UPSTREAM_STORAGE] = "storage",
        [RPC_UPSTREAM_NODEDEV] = "nodedev", [RPC_UPSTREAM_INTERFACE] = "interface",
        [RPC_UPSTREAM_SECRET] = "secret",   [RPC_UPSTREAM_NWFILTER] = "nwfilter",
};

static void relay_packet(gpointer data, RpcPacket *packet);
static void relay_sent(gpointer data);
static void relay_closed(gpointer data, const GError *err);

static const RpcConnOps relay_ops = { relay_packet, relay_sent, relay_closed };

const char *relay_name(const RpcRelay *relay) {
        return driver_names[relay->upstream];
}

RpcConn *relay_conn_new(RpcRelay *relay, int fd) {
        RpcConn *conn = rpc_conn_new(fd, RPC_PACKET_MAX, &relay_ops, relay);
        rpc_conn_set_budgets(conn, NULL, &relay->client->user->input);
        return conn;
}

static void relay_call_clear(gpointer data) {
        g_clear_pointer(&((RelayCall *) data)->args, g_bytes_unref);
}

static void relay_callback_clear(gpointer data) {
        g_bytes_unref(((RelayCallback *) data)->args);
}

static GArray *calls_new(void) {
        GArray *calls = g_array_new(FALSE, FALSE, sizeof(RelayCall));
        g_array_set_clear_func(calls, relay_call_clear);
        return calls;
}

static RpcRelay *relay_new(RpcClient *client, RpcUpstream upstream) {
        RpcRelay *relay = g_new0(RpcRelay, 1);
        relay->client = client;
        relay->upstream = upstream;
        relay->delay = 1;
        relay->pending = calls_new();
        relay->streams = g_array_new(FALSE, FALSE, sizeof(RpcHeader));
        relay->callbacks = g_array_new(FALSE, FALSE, sizeof(RelayCallback));
        g_array_set_clear_func(relay->callbacks, relay_callback_clear);
        g_queue_init(&relay->waiting);
        return relay;
}

static void relay_disconnect(RpcRelay *relay) {
        g_clear_handle_id(&relay->timer, g_source_remove);
        relay_names_forget(relay);
        g_clear_pointer(&relay->conn, rpc_conn_unref);
        relay->phase = RELAY_IDLE;
}

/* Waiting calls count as their user's input, as calls that wait for workers do. */
static void waiting_push(RpcRelay *relay, RpcPacket *packet) {
        relay->client->user->input.used += packet->size;
        g_queue_push_tail(&relay->waiting, packet);
}

static RpcPacket *waiting_pop(RpcClient *client, GQueue *waiting) {
        RpcPacket *packet = g_queue_pop_head(waiting);
        if (packet)
                client->user->input.used -= packet->size;
        return packet;
}

static void waiting_clear(RpcClient *client, GQueue *waiting) {
        RpcPacket *packet;
        while ((packet = waiting_pop(client, waiting)))
                rpc_packet_free(packet);
}

void rpc_relay_free(RpcRelay *relay) {
        relay_disconnect(relay);
        waiting_clear(relay->client, &relay->waiting);
        g_array_unref(relay->pending);
        g_array_unref(relay->streams);
        g_array_unref(relay->callbacks);
        g_free(relay);
}

/* NO_SUPPORT names the function that was called, as elsewhere. */
static void relay_refuse(RpcClient *client, const RpcHeader *call, const GError *err) {
        g_autoptr(GError) own = NULL;
        if (error_code(err) == VIR_ERR_NO_SUPPORT)
                error_set_no_support(&own, rpc_proc_find(call->proc)->api);
        rpc_client_reply(client, rpc_packet_error(call, RPC_TYPE_REPLY, own ? own : err));
}

/* An answer may end the client, and the relay with it; so pending calls are taken out first. */
void relay_fail(RpcRelay *relay, const GError *err) {
        g_autoptr(RpcClient) client = rpc_client_ref(relay->client);
        g_autoptr(GArray) pending = g_steal_pointer(&relay->pending);
        g_autoptr(GArray) streams = g_steal_pointer(&relay->streams);
        GQueue waiting = relay->waiting;
        g_queue_init(&relay->waiting);
        relay->pending = calls_new();
        relay->streams = g_array_new(FALSE, FALSE, sizeof(RpcHeader));
        relay_disconnect(relay);
        relay_events_lost(relay);
        for (GList *item = waiting.head; item; item = item->next)
                relay_refuse(client, &((RpcPacket *) item->data)->header, err);
        for (guint i = 0; i < pending->len; i++)
                rpc_client_reply(client,
                                 rpc_packet_error(&g_array_index(pending, RelayCall, i).header, RPC_TYPE_REPLY, err));
        for (guint i = 0; i < streams->len; i++)
                rpc_client_send(client, rpc_packet_error(&g_array_index(streams, RpcHeader, i), RPC_TYPE_STREAM, err));
        waiting_clear(client, &waiting);
}

static void relay_closed(gpointer data, const GError *cause) {
        RpcRelay *relay = data;
        g_autoptr(GError) err = NULL;
        error_set(&err, VIR_ERR_INTERNAL_ERROR, "the connection to libvirt's %s driver was lost%s%s", relay_name(relay),
                  cause ? ": " : "", cause ? cause->message : "");
        relay_fail(relay, err);
}

/* --- Silence --- */

static gboolean relay_is_asked(const RpcRelay *relay) {
        return relay->phase == RELAY_GREETING || relay->pending->len > 0 || relay->streams->len > 0;
}

static void relay_ping(RpcRelay *relay) {
        const RpcHeader header = { RPC_PROGRAM_KEEPALIVE, RPC_VERSION, KEEPALIVE_PING,
                                   RPC_TYPE_MESSAGE,      0,           RPC_STATUS_OK };
        if (rpc_conn_get_pending(relay->conn) == 0) /* else it has not even taken the previous packets */
                rpc_conn_send(relay->conn, rpc_packet_new(&header, 0));
}

static gboolean relay_check(gpointer data) {
        RpcRelay *relay = data;
        guint limit = relay->client->server->config->neighbour_timeout;
        gint64 now = g_get_monotonic_time();
        if (!relay_is_asked(relay)) {
                relay->timer = 0;
                return G_SOURCE_REMOVE;
        }
        if (relay->names || !rpc_conn_is_reading(relay->conn)) /* we are the ones not reading */
                relay->heard = now;
        if (now - relay->heard < limit * G_TIME_SPAN_SECOND) {
                if (relay->phase == RELAY_READY)
                        relay_ping(relay);
                return G_SOURCE_CONTINUE;
        }
        g_autoptr(GError) err = NULL;
        error_set(&err, VIR_ERR_OPERATION_TIMEOUT,
                  "libvirt's %s daemon has not answered for %u s: see systemctl "
                  "status virt%sd libvirtd",
                  relay_name(relay), limit, relay_name(relay));
        relay_fail(relay, err);
        return G_SOURCE_REMOVE;
}

void relay_watch(RpcRelay *relay) {
        if (relay->timer != 0)
                return;
        relay->heard = g_get_monotonic_time();
        relay->timer = g_timeout_add_seconds(1, relay_check, relay);
}

/* --- Traffic --- */

/* Takes the packet. */
static void relay_forward(RpcRelay *relay, RpcPacket *packet) {
        g_autoptr(RpcPacket) owned = packet;
        g_autoptr(GError) err = NULL;
        RelayCall call = { .header = packet->header };
        if (!relay_events_call(relay, rpc_proc_find(packet->header.proc), packet, &call, &err)) {
                relay_refuse(relay->client, &packet->header, err);
                return;
        }
        g_array_append_val(relay->pending, call);
        relay_watch(relay);
        rpc_conn_send(relay->conn, g_steal_pointer(&owned));
}

void relay_set_ready(RpcRelay *relay) {
        g_autoptr(RpcClient) client = rpc_client_ref(relay->client);
        RpcUpstream upstream = relay->upstream;
        RpcPacket *packet;
        relay->phase = RELAY_READY;
        relay->delay = 1;
        /* A refusal may end the client. */
        while (client->relays[upstream] == relay && (packet = waiting_pop(client, &relay->waiting)))
                relay_forward(relay, packet);
}

static int call_find(const GArray *calls, const RpcHeader *header) {
        for (guint i = 0; i < calls->len; i++) {
                const RpcHeader *candidate = &g_array_index(calls, RelayCall, i).header;
                if (candidate->serial == header->serial && candidate->proc == header->proc)
                        return (int) i;
        }
        return -1;
}

static int stream_find(const GArray *streams, const RpcHeader *header) {
        for (guint i = 0; i < streams->len; i++) {
                const RpcHeader *candidate = &g_array_index(streams, RpcHeader, i);
                if (candidate->serial == header->serial && candidate->proc == header->proc)
                        return (int) i;
        }
        return -1;
}

static void relay_reply(RpcRelay *relay, RpcPacket *packet) {
        int index = call_find(relay->pending, &packet->header);
        if (index < 0) {
                rpc_packet_free(packet);
                return;
        }
        const RpcProc *proc = rpc_proc_find(packet->header.proc);
        if (packet->header.status == RPC_STATUS_OK)
                relay_events_reply(relay, &g_array_index(relay->pending, RelayCall, index), packet);
        (void) g_array_remove_index(relay->pending, (guint) index);
        if (proc->stream && packet->header.status == RPC_STATUS_OK)
                g_array_append_val(relay->streams, packet->header);
        rpc_client_reply(relay->client, packet);
}

static void relay_stream(RpcRelay *relay, RpcPacket *packet) {
        int index = stream_find(relay->streams, &packet->header);
        if (index < 0) {
                rpc_packet_free(packet);
                return;
        }
        if (packet->header.status != RPC_STATUS_CONTINUE)
                (void) g_array_remove_index(relay->streams, (guint) index);
        rpc_client_send(relay->client, packet);
}

static void relay_event(RpcRelay *relay, RpcPacket *packet) {
        if (packet->header.proc != RPC_PROC_CONNECT_EVENT_CONNECTION_CLOSED && relay_events_translate(relay, packet))
                rpc_client_send(relay->client, packet);
        else
                rpc_packet_free(packet);
}

static void relay_deliver(RpcRelay *relay, RpcPacket *packet) {
        switch (packet->header.type) {
        case RPC_TYPE_REPLY:
                relay_reply(relay, packet);
                break;
        case RPC_TYPE_STREAM:
        case RPC_TYPE_STREAM_HOLE:
                relay_stream(relay, packet);
                break;
        case RPC_TYPE_MESSAGE:
                relay_event(relay, packet);
                break;
        default:
                rpc_packet_free(packet);
                break;
        }
}

static void relay_keepalive(RpcRelay *relay, const RpcPacket *packet) {
        RpcHeader header = packet->header;
        header.proc = KEEPALIVE_PONG;
        if (packet->header.type == RPC_TYPE_MESSAGE && packet->header.proc == KEEPALIVE_PING)
                rpc_conn_send(relay->conn, rpc_packet_new(&header, 0));
}

static void relay_packet(gpointer data, RpcPacket *packet) {
        RpcRelay *relay = data;
        g_autoptr(RpcClient) client = rpc_client_ref(relay->client);
        g_autoptr(RpcPacket) owned = packet;
        RpcUpstream upstream = relay->upstream;
        gboolean ours = packet->header.prog != RPC_PROGRAM_REMOTE ||
                        (relay->phase == RELAY_GREETING && packet->header.type != RPC_TYPE_MESSAGE);
        relay->heard = g_get_monotonic_time();
        if (packet->header.prog == RPC_PROGRAM_KEEPALIVE)
                relay_keepalive(relay, packet);
        else if (ours)
                relay_handshake(relay, packet);
        else
                relay_deliver(relay, g_steal_pointer(&owned));
        /* The client may be gone, and the relay with it; or only the connection. */
        if (client->relays[upstream] == relay && relay->conn && rpc_client_is_congested(client))
                rpc_conn_set_reading(relay->conn, FALSE);
}

static void relay_sent(gpointer data) {
        RpcRelay *relay = data;
        rpc_client_update_reading(relay->client);
}

static gboolean call_check(const RpcClient *client, const RpcProc *proc, const RpcPacket *packet, GError **err) {
        const RpcRelay *relay = client->relays[proc->upstream];
        if (packet->n_fds > 0)
                return error_set_no_support(err, proc->api);
        if (proc->stream && relay && relay->streams->len >= RELAY_STREAMS_MAX)
                return error_set(err, VIR_ERR_RPC, "%s: the client has %u streams with libvirt's %s driver already",
                                 proc->api, relay->streams->len, relay_name(relay));
        return TRUE;
}

void rpc_relay_call(RpcClient *client, const RpcProc *proc, RpcPacket *packet) {
        g_autoptr(RpcPacket) owned = packet;
        g_autoptr(GError) err = NULL;
        if (!call_check(client, proc, packet, &err)) {
                relay_refuse(client, &packet->header, err);
                return;
        }
        if (!client->relays[proc->upstream])
                client->relays[proc->upstream] = relay_new(client, proc->upstream);
        RpcRelay *relay = client->relays[proc->upstream];
        if (relay->phase == RELAY_READY) {
                relay_forward(relay, g_steal_pointer(&owned));
                return;
        }
        if (relay_events_drop(relay, proc, packet))
                return;
        waiting_push(relay, g_steal_pointer(&owned));
        if (relay->phase == RELAY_IDLE)
                relay_connect(relay);
}

void rpc_relay_stream_packet(RpcRelay *relay, RpcPacket *packet) {
        if (stream_find(relay->streams, &packet->header) < 0)
                rpc_packet_free(packet);
        else
                rpc_conn_send(relay->conn, packet);
        rpc_client_update_reading(relay->client);
}

void rpc_relay_resume(RpcRelay *relay) {
        if (relay->conn)
                rpc_conn_set_reading(relay->conn, TRUE);
}

gboolean rpc_relay_is_congested(const RpcRelay *relay) {
        return relay->conn && rpc_conn_get_pending(relay->conn) > RELAY_PENDING_HIGH;
}
