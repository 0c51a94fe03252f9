/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Networks, storage, node devices, host interfaces, secrets and network filters are served
 * by libvirt's own daemons. Their procedures are recognised by number and relayed as they
 * are, byte for byte, over a connection per client and driver: to virt<driver>d-sock, or
 * where that is missing to the monolithic daemon's libvirt-sock. Serials pass unchanged,
 * since nobody else uses that connection once the handshake is over; so do streams, and
 * events with their callback ids.
 *
 * The handshake: AUTH_LIST, AUTH_POLKIT if asked for, CONNECT_OPEN of "<driver>:///system"
 * (read-only if the client is), then SET_IDENTITY, so that access control over there sees
 * the client and not this daemon. Calls wait meanwhile. A daemon that is missing or does
 * not serve the driver turns into VIR_ERR_NO_SUPPORT, which clients cope with. The next
 * call tries again.
 */
#include "rpc/relay.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/params.h"
#include "rpc/server_internal.h"
#include "util/error.h"

#define RELAY_PENDING_HIGH (1024u * 1024u)
#define KEEPALIVE_PING     1
#define KEEPALIVE_PONG     2

static const char *const driver_names[RPC_UPSTREAM_MAX] = {
        [RPC_UPSTREAM_NETWORK] = "network",     [RPC_UPSTREAM_STORAGE] = "storage",
        [RPC_UPSTREAM_NODEDEV] = "nodedev",     [RPC_UPSTREAM_INTERFACE] = "interface",
        [RPC_UPSTREAM_SECRET] = "secret",       [RPC_UPSTREAM_NWFILTER] = "nwfilter",
};

struct RpcRelay {
        RpcClient *client; /* owns the relay */
        RpcUpstream upstream;
        RpcConn *conn;
        gboolean ready;
        gint32 step;     /* procedure of the handshake that is being waited for */
        guint32 serial;  /* of the handshake */
        GQueue waiting;  /* RpcPacket*: calls that came before the handshake was over */
        GArray *pending; /* RpcHeader of calls without a reply */
        GArray *streams; /* RpcHeader of streams that are open */
};

static void relay_packet(gpointer data, RpcPacket *packet);
static void relay_sent(gpointer data);
static void relay_closed(gpointer data, const GError *err);

static const RpcConnOps relay_ops = { relay_packet, relay_sent, relay_closed };

/* --- The connection --- */

/* -1 with errno. */
static int relay_connect(const char *dir, const char *name, gboolean readonly) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s-sock%s", dir, name, readonly ? "-ro" : "");
        if (n < 0 || (gsize) n >= sizeof(addr.sun_path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
                return fd;
        int failure = errno;
        (void) close(fd);
        errno = failure;
        return -1;
}

static int relay_connect_any(RpcClient *client, RpcUpstream upstream) {
        const char *dir = client->server->config->socket_dir;
        g_autofree char *name = g_strdup_printf("virt%sd", driver_names[upstream]);
        int fd = relay_connect(dir, name, client->readonly);
        if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED))
                fd = relay_connect(dir, "libvirt", client->readonly);
        return fd;
}

static RpcRelay *relay_new(RpcClient *client, RpcUpstream upstream) {
        int fd = relay_connect_any(client, upstream);
        if (fd < 0)
                return NULL;
        RpcRelay *relay = g_new0(RpcRelay, 1);
        relay->client = client;
        relay->upstream = upstream;
        relay->conn = rpc_conn_new(fd, RPC_PACKET_MAX, &relay_ops, relay);
        relay->pending = g_array_new(FALSE, FALSE, sizeof(RpcHeader));
        relay->streams = g_array_new(FALSE, FALSE, sizeof(RpcHeader));
        g_queue_init(&relay->waiting);
        return relay;
}

void rpc_relay_free(RpcRelay *relay) {
        rpc_conn_unref(relay->conn);
        g_queue_clear_full(&relay->waiting, (GDestroyNotify) rpc_packet_free);
        g_array_unref(relay->pending);
        g_array_unref(relay->streams);
        g_free(relay);
}

/* NO_SUPPORT names the function that was called, as elsewhere. */
static void relay_refuse(RpcClient *client, const RpcPacket *packet, const GError *err) {
        g_autoptr(GError) own = NULL;
        if (error_code(err) == VIR_ERR_NO_SUPPORT)
                error_set_no_support(&own, rpc_proc_find(packet->header.proc)->api);
        rpc_client_reply(client, rpc_packet_error(&packet->header, RPC_TYPE_REPLY, own ? own : err));
}

/* Everything that waits for the other daemon hears why it waits in vain; the relay is gone then. */
static void relay_give_up(RpcRelay *relay, const GError *err) {
        g_autoptr(RpcClient) client = rpc_client_ref(relay->client);
        client->relays[relay->upstream] = NULL;
        for (GList *item = relay->waiting.head; item; item = item->next)
                relay_refuse(client, item->data, err);
        for (guint i = 0; i < relay->pending->len; i++)
                rpc_client_reply(client, rpc_packet_error(&g_array_index(relay->pending, RpcHeader, i), RPC_TYPE_REPLY,
                                                          err));
        for (guint i = 0; i < relay->streams->len; i++)
                rpc_client_send(client, rpc_packet_error(&g_array_index(relay->streams, RpcHeader, i), RPC_TYPE_STREAM,
                                                         err));
        rpc_relay_free(relay);
}

static void relay_closed(gpointer data, const GError *cause) {
        RpcRelay *relay = data;
        g_autoptr(GError) err = NULL;
        if (relay->ready)
                error_set(&err, VIR_ERR_INTERNAL_ERROR, "the connection to libvirt's %s driver was lost%s%s",
                          driver_names[relay->upstream], cause ? ": " : "", cause ? cause->message : "");
        else
                error_set_no_support(&err, driver_names[relay->upstream]);
        relay_give_up(relay, err);
}

/* --- The handshake --- */

static void relay_call(RpcRelay *relay, gint32 proc, xdrproc_t encode, gpointer args) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, relay->serial, RPC_STATUS_OK };
        relay->step = proc;
        RpcPacket *packet = rpc_packet_encode(&header, encode, args, NULL);
        g_assert(packet);
        rpc_conn_send(relay->conn, packet);
}

static void relay_call_open(RpcRelay *relay) {
        g_autofree char *uri = g_strdup_printf("%s:///system", driver_names[relay->upstream]);
        rpc_open_args args = { .name = &uri, .flags = relay->client->readonly ? VIR_CONNECT_RO : 0 };
        relay_call(relay, RPC_PROC_CONNECT_OPEN, (xdrproc_t) xdr_rpc_open_args, &args);
}

static void identity_add_text(virTypedParameterPtr *params, int *n, int *max, const char *name, const char *value) {
        if (value)
                (void) virTypedParamsAddString(params, n, max, name, value);
}

/* The names are those of virConnectSetIdentity(). */
static virTypedParameterPtr identity_describe(const RpcPeer *peer, int *n) {
        virTypedParameterPtr params = NULL;
        int max = 0;
        *n = 0;
        char buffer[16384];
        struct passwd user, *user_found = NULL;
        (void) getpwuid_r(peer->uid, &user, buffer, sizeof(buffer), &user_found);
        identity_add_text(&params, n, &max, VIR_CONNECT_IDENTITY_USER_NAME, user_found ? user.pw_name : NULL);
        struct group group, *group_found = NULL;
        (void) getgrgid_r(peer->gid, &group, buffer, sizeof(buffer), &group_found);
        identity_add_text(&params, n, &max, VIR_CONNECT_IDENTITY_GROUP_NAME, group_found ? group.gr_name : NULL);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_UNIX_USER_ID, peer->uid);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_UNIX_GROUP_ID, peer->gid);
        (void) virTypedParamsAddLLong(&params, n, &max, VIR_CONNECT_IDENTITY_PROCESS_ID, peer->pid);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_PROCESS_TIME, peer->start_time);
        return params;
}

static void relay_call_identity(RpcRelay *relay) {
        rpc_identity_args args = { 0 };
        if (relay->client->identity) {
                (void) rpc_packet_decode(relay->client->identity, (xdrproc_t) xdr_rpc_identity_args, &args, NULL);
        } else {
                int n;
                virTypedParameterPtr params = identity_describe(&relay->client->peer, &n);
                (void) rpc_params_put(params, n, RPC_IDENTITY_MAX, VIR_TYPED_PARAM_STRING_OKAY,
                                      &args.params.params_val, &args.params.params_len, NULL);
                virTypedParamsFree(params, n);
        }
        relay_call(relay, RPC_PROC_CONNECT_SET_IDENTITY, (xdrproc_t) xdr_rpc_identity_args, &args);
        xdr_free((xdrproc_t) xdr_rpc_identity_args, &args);
}

static void relay_forward(RpcRelay *relay, RpcPacket *packet) {
        g_array_append_val(relay->pending, packet->header);
        rpc_conn_send(relay->conn, packet);
}

static void relay_set_ready(RpcRelay *relay) {
        relay->ready = TRUE;
        RpcPacket *packet;
        while ((packet = g_queue_pop_head(&relay->waiting)))
                relay_forward(relay, packet);
}

/* 0 (RPC_AUTH_NONE) also when there is nothing to choose from. -1: nothing that a daemon can do. */
static int relay_choose_auth(const RpcPacket *packet) {
        rpc_auth_list_ret ret = { 0 };
        int auth = -1;
        if (rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_auth_list_ret, &ret, NULL)) {
                auth = ret.types.types_len == 0 ? RPC_AUTH_NONE : -1;
                for (u_int i = 0; i < ret.types.types_len && auth != RPC_AUTH_NONE; i++)
                        if (ret.types.types_val[i] == RPC_AUTH_NONE || ret.types.types_val[i] == RPC_AUTH_POLKIT)
                                auth = ret.types.types_val[i];
        }
        xdr_free((xdrproc_t) xdr_rpc_auth_list_ret, &ret);
        return auth;
}

/* The other daemon's refusal as an error of ours. */
static GError *relay_refusal(RpcRelay *relay, const RpcPacket *packet) {
        GError *err = NULL;
        rpc_error wire = { 0 };
        gboolean ok = rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_error, &wire, NULL) && wire.message;
        g_info("libvirt's %s driver: %s", driver_names[relay->upstream], ok ? *wire.message : "no reason given");
        if (ok && relay->step == RPC_PROC_CONNECT_SET_IDENTITY)
                g_set_error(&err, VIRTMICRO_ERROR, wire.code, "%s", *wire.message);
        else
                error_set_no_support(&err, driver_names[relay->upstream]);
        xdr_free((xdrproc_t) xdr_rpc_error, &wire);
        return err;
}

/* Daemons without the procedure (libvirt before 5.8) know no access control by identity either. */
static gboolean relay_may_ignore(const RpcRelay *relay, const GError *err) {
        return relay->step == RPC_PROC_CONNECT_SET_IDENTITY &&
               (error_code(err) == VIR_ERR_NO_SUPPORT || error_code(err) == VIR_ERR_RPC || relay->client->readonly);
}

static void relay_handshake(RpcRelay *relay, const RpcPacket *packet) {
        if (packet->header.type != RPC_TYPE_REPLY || packet->header.serial != relay->serial)
                return;
        relay->serial++;
        if (packet->header.status != RPC_STATUS_OK) {
                g_autoptr(GError) err = relay_refusal(relay, packet);
                if (relay_may_ignore(relay, err))
                        relay_set_ready(relay);
                else
                        relay_give_up(relay, err);
                return;
        }
        int auth;
        switch (relay->step) {
        case RPC_PROC_AUTH_LIST:
                auth = relay_choose_auth(packet);
                if (auth == RPC_AUTH_NONE)
                        relay_call_open(relay);
                else if (auth == RPC_AUTH_POLKIT)
                        relay_call(relay, RPC_PROC_AUTH_POLKIT, (xdrproc_t) xdr_rpc_none, NULL);
                else
                        relay_closed(relay, NULL);
                break;
        case RPC_PROC_AUTH_POLKIT:
                relay_call_open(relay);
                break;
        case RPC_PROC_CONNECT_OPEN:
                relay_call_identity(relay);
                break;
        default:
                relay_set_ready(relay);
                break;
        }
}

/* --- Traffic --- */

static int header_find(const GArray *headers, const RpcHeader *header) {
        for (guint i = 0; i < headers->len; i++) {
                const RpcHeader *candidate = &g_array_index(headers, RpcHeader, i);
                if (candidate->serial == header->serial && candidate->proc == header->proc)
                        return (int) i;
        }
        return -1;
}

static void relay_reply(RpcRelay *relay, RpcPacket *packet) {
        int index = header_find(relay->pending, &packet->header);
        if (index < 0) {
                rpc_packet_free(packet);
                return;
        }
        (void) g_array_remove_index(relay->pending, (guint) index);
        const RpcProc *proc = rpc_proc_find(packet->header.proc);
        if (proc->stream && packet->header.status == RPC_STATUS_OK)
                g_array_append_val(relay->streams, packet->header);
        rpc_client_reply(relay->client, packet);
}

static void relay_stream(RpcRelay *relay, RpcPacket *packet) {
        int index = header_find(relay->streams, &packet->header);
        if (index < 0) {
                rpc_packet_free(packet);
                return;
        }
        if (packet->header.status != RPC_STATUS_CONTINUE)
                (void) g_array_remove_index(relay->streams, (guint) index);
        rpc_client_send(relay->client, packet);
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
                if (packet->header.proc != RPC_PROC_CONNECT_EVENT_CONNECTION_CLOSED) {
                        rpc_client_send(relay->client, packet);
                        break;
                }
                G_GNUC_FALLTHROUGH;
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
        RpcUpstream upstream = relay->upstream;
        if (packet->header.prog != RPC_PROGRAM_REMOTE || !relay->ready) {
                g_autoptr(RpcPacket) owned = packet;
                if (packet->header.prog == RPC_PROGRAM_KEEPALIVE)
                        relay_keepalive(relay, owned);
                else
                        relay_handshake(relay, owned);
                return;
        }
        relay_deliver(relay, packet);
        /* The client may have gone, and the relay with it. */
        if (client->relays[upstream] == relay && rpc_client_is_congested(client))
                rpc_conn_set_reading(relay->conn, FALSE);
}

static void relay_sent(gpointer data) {
        RpcRelay *relay = data;
        rpc_client_update_reading(relay->client);
}

void rpc_relay_call(RpcClient *client, const RpcProc *proc, RpcPacket *packet) {
        g_autoptr(RpcPacket) owned = packet;
        RpcRelay *relay = client->relays[proc->upstream];
        if (!relay && packet->n_fds == 0)
                relay = relay_new(client, proc->upstream);
        if (!relay || packet->n_fds > 0) {
                g_autoptr(GError) err = NULL;
                error_set_no_support(&err, proc->api);
                rpc_client_reply(client, rpc_packet_error(&packet->header, RPC_TYPE_REPLY, err));
                return;
        }
        if (relay->ready) {
                relay_forward(relay, g_steal_pointer(&owned));
                return;
        }
        g_queue_push_tail(&relay->waiting, g_steal_pointer(&owned));
        if (client->relays[proc->upstream])
                return;
        client->relays[proc->upstream] = relay;
        rpc_conn_set_reading(relay->conn, TRUE);
        relay_call(relay, RPC_PROC_AUTH_LIST, (xdrproc_t) xdr_rpc_none, NULL);
}

void rpc_relay_stream_packet(RpcRelay *relay, RpcPacket *packet) {
        if (header_find(relay->streams, &packet->header) < 0)
                rpc_packet_free(packet);
        else
                rpc_conn_send(relay->conn, packet);
        rpc_client_update_reading(relay->client);
}

void rpc_relay_resume(RpcRelay *relay) {
        rpc_conn_set_reading(relay->conn, TRUE);
}

gboolean rpc_relay_is_congested(const RpcRelay *relay) {
        return rpc_conn_get_pending(relay->conn) > RELAY_PENDING_HIGH;
}
