/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client's life: what it sends is sorted into calls, stream data and keepalive; calls go
 * through the checks (program, version, procedure, authentication, open connection,
 * read-only) and then to dispatch.c or relay.c. As in a stock daemon, these are dropped
 * silently: replies, events, data for a stream that has ended.
 *
 * Back-pressure is not reading. A client is read from while it has fewer calls under way
 * than max_client_requests, while it takes its replies, and while its streams take their
 * input. Before authentication it may send only small packets, one call at a time, for a
 * limited time. Events cannot be held back: a client that does not take them is
 * disconnected, and so is the worst of a user's clients when together they leave too much.
 */
#include "rpc/client.h"

#include <string.h>

#include "rpc/callbacks.h"
#include "rpc/relay.h"
#include "rpc/server_internal.h"
#include "rpc/stream.h"
#include "util/error.h"

#define ANONYMOUS_PACKET_MAX 65536u
#define ANONYMOUS_SECONDS    60u
#define PROMPT_MINUTES       5u     /* while a person is asked for a password */
#define CALL_BYTES_FREE      65536u /* a call of this size is never refused because of its user's other calls */
#define EVENTS_MAX           (2u * 1024u * 1024u)   /* bytes of events; 10000, beyond what the socket holds */
#define AUTODESTROY_LOOK     256u                   /* guests */
#define PENDING_HIGH         (1024u * 1024u)        /* unsent bytes above which no more is read or produced */
#define PENDING_MAX          (256u * 1024u * 1024u) /* this holds more than five of the largest replies */

static void client_packet(gpointer data, RpcPacket *packet);
static void client_sent(gpointer data);
static void client_closed(gpointer data, const GError *err);

static const RpcConnOps client_ops = { client_packet, client_sent, client_closed, .ends_unread = TRUE };

static gboolean client_anonymous_timeout(gpointer data) {
        RpcClient *client = data;
        if (client->in_flight > 0 && ++client->auth_minutes < PROMPT_MINUTES)
                return G_SOURCE_CONTINUE;
        client->auth_timer = 0;
        g_info("client %d has not authenticated itself in time", (int) client->peer.pid);
        rpc_client_close(client);
        return G_SOURCE_REMOVE;
}

RpcClient *rpc_client_new(RpcServer *server, int fd, gboolean readonly_socket, RpcAuth auth, const RpcPeer *peer) {
        RpcClient *client = g_rc_box_new0(RpcClient);
        client->server = server;
        client->peer = *peer;
        client->auth = auth;
        client->readonly_socket = client->readonly = readonly_socket;
        client->streams = g_ptr_array_new();
        client->user = rpc_users_get(server->users, peer->uid);
        client->callbacks = g_ptr_array_new_with_free_func(g_free);
        client->autodestroy_look = AUTODESTROY_LOOK;
        client->autodestroy = g_array_new(FALSE, FALSE, sizeof(RpcGuest));
        client->auth_cancel = g_cancellable_new();
        client->conn = rpc_conn_new(fd, ANONYMOUS_PACKET_MAX, &client_ops, client);
        rpc_conn_set_budgets(client->conn, &client->user->input, &client->user->output);
        return client;
}

void rpc_client_serve(RpcClient *client) {
        client->served = TRUE;
        client->auth_timer = g_timeout_add_seconds(ANONYMOUS_SECONDS, client_anonymous_timeout, client);
        rpc_client_update_reading(client);
}

RpcClient *rpc_client_ref(RpcClient *client) {
        return g_rc_box_acquire(client);
}

static void client_clear(RpcClient *client) {
        rpc_conn_unref(client->conn);
        g_ptr_array_unref(client->streams);
        g_ptr_array_unref(client->callbacks);
        g_array_unref(client->autodestroy);
        g_clear_pointer(&client->identity, rpc_packet_free);
        g_object_unref(client->auth_cancel);
        rpc_user_unref(client->user);
}

void rpc_client_unref(RpcClient *client) {
        g_rc_box_release_full(client, (GDestroyNotify) client_clear);
}

void rpc_client_authenticated(RpcClient *client) {
        if (client->authenticated || client->closed)
                return;
        rpc_server_client_authenticated(client->server, client);
        client->authenticated = TRUE;
        g_clear_handle_id(&client->auth_timer, g_source_remove);
        rpc_conn_set_limit(client->conn, RPC_PACKET_MAX);
        rpc_client_update_reading(client);
}

/* A guest to be destroyed with its client. */
typedef struct Goodbye {
        Driver *driver;
        RpcGuest guest;
} Goodbye;

/* Whether the domain still runs that guest: each start gives a new id. */
static gboolean runs_guest(Domain *domain, const RpcGuest *guest) {
        g_auto(DomainHandle) handle = { 0 };
        domain_get_handle(domain, &handle);
        return handle.id == guest->id;
}

static void goodbye_run(gpointer data) {
        Goodbye *goodbye = data;
        g_autoptr(GError) err = NULL;
        g_autoptr(Domain) domain = driver_lookup_by_uuid(goodbye->driver, goodbye->guest.uuid, NULL);
        if (domain && runs_guest(domain, &goodbye->guest) && !domain_destroy(domain, 0, &err))
                g_warning("cannot destroy a domain whose client has gone: %s", err->message);
}

void rpc_client_autodestroy(RpcClient *client, const RpcGuest *guest) {
        RpcServer *server = client->server;
        Goodbye *goodbye = g_new0(Goodbye, 1);
        goodbye->driver = server->driver;
        goodbye->guest = *guest;
        rpc_workers_push(server->workers, server->own, RPC_LANE_NORMAL, goodbye_run, g_free, goodbye);
}

/* The list is as long as guests that run, and up to twice that. */
static void client_forget_ended(RpcClient *client) {
        for (guint i = client->autodestroy->len; i-- > 0;) {
                const RpcGuest *guest = &g_array_index(client->autodestroy, RpcGuest, i);
                g_autoptr(Domain) domain = driver_lookup_by_uuid(client->server->driver, guest->uuid, NULL);
                if (!domain || !runs_guest(domain, guest))
                        g_array_remove_index_fast(client->autodestroy, i);
        }
        client->autodestroy_look = MAX(AUTODESTROY_LOOK, 2 * client->autodestroy->len);
}

void rpc_client_note_guest(RpcClient *client, const RpcGuest *guest) {
        if (client->autodestroy->len >= client->autodestroy_look)
                client_forget_ended(client);
        g_array_append_val(client->autodestroy, *guest);
}

/* Forgets events that were sent: no more can be left than is pending. */
static void client_count_events(RpcClient *client) {
        gsize left = MIN(client->events, rpc_conn_get_pending(client->conn));
        client->user->events -= client->events - left;
        client->events = left;
}

void rpc_client_close(RpcClient *client) {
        if (client->closed)
                return;
        client->closed = TRUE;
        rpc_conn_close(client->conn);
        g_clear_handle_id(&client->auth_timer, g_source_remove);
        rpc_keepalive_stop(client);
        g_cancellable_cancel(client->auth_cancel);
        rpc_calls_interrupt(client->server, client);
        rpc_callbacks_drop(client);
        client_count_events(client);
        while (client->streams->len > 0)
                rpc_stream_close(g_ptr_array_index(client->streams, client->streams->len - 1));
        for (guint i = 0; i < RPC_UPSTREAM_MAX; i++)
                g_clear_pointer(&client->relays[i], rpc_relay_free);
        for (guint i = 0; i < client->autodestroy->len; i++)
                rpc_client_autodestroy(client, &g_array_index(client->autodestroy, RpcGuest, i));
        rpc_server_client_closed(client->server, client);
}

static void client_closed(gpointer data, const GError *err) {
        RpcClient *client = data;
        if (err)
                g_info("client %d: %s", (int) client->peer.pid, err->message);
        rpc_client_close(client);
}

gboolean rpc_client_is_congested(const RpcClient *client) {
        return rpc_conn_get_pending(client->conn) > PENDING_HIGH;
}

void rpc_client_update_reading(RpcClient *client) {
        guint calls = client->authenticated ? MAX(client->server->config->max_client_requests, 1) : 1;
        gboolean reading = client->served && !client->closed && !client->last_reply && client->in_flight < calls &&
                           client->streams_blocked == 0 && !rpc_client_is_congested(client);
        for (guint i = 0; reading && i < RPC_UPSTREAM_MAX; i++)
                reading = !client->relays[i] || !rpc_relay_is_congested(client->relays[i]);
        rpc_conn_set_reading(client->conn, reading);
}

static void client_sent(gpointer data) {
        g_autoptr(RpcClient) client = rpc_client_ref(data);
        client_count_events(client);
        rpc_workers_resume(client->server->workers);
        if (client->last_reply && rpc_conn_get_pending(client->conn) == 0) {
                rpc_client_close(client);
                return;
        }
        if (!rpc_client_is_congested(client)) {
                for (guint i = 0; i < client->streams->len; i++)
                        rpc_stream_resume(g_ptr_array_index(client->streams, i));
                for (guint i = 0; i < RPC_UPSTREAM_MAX; i++)
                        if (client->relays[i])
                                rpc_relay_resume(client->relays[i]);
        }
        rpc_client_update_reading(client);
}

void rpc_client_send(RpcClient *target, RpcPacket *packet) {
        g_autoptr(RpcClient) client = rpc_client_ref(target);
        if (!client->closed && rpc_conn_get_pending(client->conn) > PENDING_MAX) {
                g_info("client %d does not read what it asked for", (int) client->peer.pid);
                rpc_client_close(client);
        }
        rpc_conn_send(client->conn, packet);
        rpc_client_update_reading(client);
}

/* The user's client with the most unsent events. */
static RpcClient *client_worst(RpcClient *client) {
        GPtrArray *clients = client->server->clients;
        for (guint i = 0; i < clients->len; i++) {
                RpcClient *other = g_ptr_array_index(clients, i);
                if (other->user == client->user && other->events > client->events)
                        client = other;
        }
        return client;
}

static void client_end_slow(RpcClient *of_list) {
        g_autoptr(RpcClient) client = rpc_client_ref(of_list);
        g_info("client %d (uid %u) does not take its events", (int) client->peer.pid, client->peer.uid);
        rpc_client_close(client);
}

void rpc_client_send_event(RpcClient *target, RpcPacket *packet) {
        g_autoptr(RpcClient) client = rpc_client_ref(target);
        if (!client->closed) {
                client->events += packet->size;
                client->user->events += packet->size;
        }
        rpc_client_send(client, packet);
        if (client->closed)
                return;
        client_count_events(client);
        if (client->events > EVENTS_MAX)
                client_end_slow(client);
        else if (!rpc_user_is_trusted(client->user) && client->user->events > RPC_USER_EVENTS_MAX)
                client_end_slow(client_worst(client));
}

void rpc_client_reply(RpcClient *client, RpcPacket *packet) {
        client->in_flight--;
        rpc_conn_send(client->conn, packet);
        if (client->last_reply && !client->closed && rpc_conn_get_pending(client->conn) == 0)
                rpc_client_close(client);
        rpc_client_update_reading(client);
}

static void client_refuse(RpcClient *client, const RpcPacket *packet, const GError *err) {
        rpc_conn_send(client->conn, rpc_packet_error(&packet->header, RPC_TYPE_REPLY, err));
        rpc_client_update_reading(client);
}

/* The function behind a call that all of libvirt's daemons answer alike; NULL: no such call. */
static const char *other_drivers_api(const RpcHeader *header) {
        static const char *const qemu[] = {
                NULL,
                "virDomainQemuMonitorCommand",
                "virDomainQemuAttach",
                "virDomainQemuAgentCommand",
                "virConnectDomainQemuMonitorEventRegister",
                "virConnectDomainQemuMonitorEventDeregister",
                NULL,
                "virDomainQemuMonitorCommandWithFiles",
        };
        gboolean is_qemu = header->prog == RPC_PROGRAM_QEMU && header->proc >= 0;

        if (header->prog == RPC_PROGRAM_LXC && header->proc == 1)
                return "virDomainLxcOpenNamespace";
        return is_qemu && (gsize) header->proc < G_N_ELEMENTS(qemu) ? qemu[header->proc] : NULL;
}

static void refuse_program(const RpcHeader *header, GError **err) {
        const char *api = other_drivers_api(header);

        if (api)
                error_set_no_support(err, api);
        else
                error_set(err, VIR_ERR_RPC, "Cannot find program %u version %u", header->prog, header->vers);
}

/* Clients recognise an older daemon by this text: keep it. */
static const RpcProc *client_check_call(RpcClient *client, const RpcPacket *packet, GError **err) {
        const RpcHeader *header = &packet->header;
        if (header->prog != RPC_PROGRAM_REMOTE || header->vers != RPC_VERSION) {
                refuse_program(header, err);
                return NULL;
        }
        if (header->status != RPC_STATUS_OK) {
                return error_null(err, VIR_ERR_RPC, "Unexpected message status %u", header->status);
        }
        const RpcProc *proc = rpc_proc_find(header->proc);
        if (!proc || proc->kind == RPC_KIND_UNKNOWN)
                error_set(err, VIR_ERR_RPC, "unknown procedure: %d", header->proc);
        else if (!client->authenticated && !(proc->flags & RPC_NOAUTH))
                error_set(err, VIR_ERR_RPC, "authentication required");
        else if (proc->kind == RPC_KIND_REFUSED)
                error_set_no_support(err, proc->api);
        else if (!client->open && !(proc->flags & RPC_NOOPEN))
                error_set(err, VIR_ERR_INTERNAL_ERROR, "connection not open");
        else if (client->readonly && (proc->flags & RPC_WRITE))
                error_set(err, VIR_ERR_OPERATION_DENIED, "read only access prevents %s", proc->api);
        else
                return proc;
        return NULL;
}

/* Calls wait for workers with their whole packets. */
static gboolean client_check_size(RpcClient *client, const RpcPacket *packet, GError **err) {
        const RpcBudget *input = &client->user->input;
        if (packet->size <= CALL_BYTES_FREE || input->used + packet->size <= input->max)
                return TRUE;
        return error_set(err, VIR_ERR_RPC,
                         "the calls of user %u that are under way are %" G_GSIZE_FORMAT " bytes already",
                         client->peer.uid, input->used);
}

static void client_call(RpcClient *client, RpcPacket *packet) {
        g_autoptr(RpcPacket) owned = packet;
        g_autoptr(GError) err = NULL;
        const RpcProc *proc = client_check_call(client, packet, &err);
        if (!proc) {
                client_refuse(client, packet, err);
                return;
        }
        if (!client_check_size(client, packet, &err)) {
                client_refuse(client, packet, err);
                return;
        }
        client->in_flight++;
        rpc_client_update_reading(client);
        if (proc->kind == RPC_KIND_RELAY)
                rpc_relay_call(client, proc, g_steal_pointer(&owned));
        else
                rpc_call_start(client->server, client, proc, g_steal_pointer(&owned));
}

static RpcStream *client_find_stream(RpcClient *client, const RpcHeader *header) {
        for (guint i = 0; i < client->streams->len; i++) {
                RpcStream *stream = g_ptr_array_index(client->streams, i);
                if (rpc_stream_matches(stream, header))
                        return stream;
        }
        return NULL;
}

static void client_stream_packet(RpcClient *client, RpcPacket *packet) {
        g_autoptr(RpcPacket) owned = packet;
        const RpcProc *proc = rpc_proc_find(packet->header.proc);
        if (packet->header.prog != RPC_PROGRAM_REMOTE || !client->open || !proc)
                return;
        if (proc->kind == RPC_KIND_RELAY) {
                if (client->relays[proc->upstream])
                        rpc_relay_stream_packet(client->relays[proc->upstream], g_steal_pointer(&owned));
                return;
        }
        RpcStream *stream = client_find_stream(client, &packet->header);
        if (stream)
                rpc_stream_packet(stream, packet);
}

static void client_packet(gpointer data, RpcPacket *packet) {
        g_autoptr(RpcClient) client = rpc_client_ref(data);
        client->keepalive_misses = 0;
        if (packet->header.prog == RPC_PROGRAM_KEEPALIVE) {
                g_autoptr(RpcPacket) owned = packet;
                rpc_keepalive_packet(client, owned);
                return;
        }
        switch (packet->header.type) {
        case RPC_TYPE_CALL:
        case RPC_TYPE_CALL_WITH_FDS:
                client_call(client, packet);
                break;
        case RPC_TYPE_STREAM:
        case RPC_TYPE_STREAM_HOLE:
                client_stream_packet(client, packet);
                break;
        default:
                rpc_packet_free(packet);
                break;
        }
}
