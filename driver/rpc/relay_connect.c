/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A relay's way to the other daemon. Nothing here blocks: the socket is connected without
 * waiting, and when the daemon's backlog is full the timer tries again until the limit.
 *
 * The handshake: AUTH_LIST, AUTH_POLKIT if asked for, CONNECT_OPEN of "<driver>:///system"
 * (read-only if the client is), then SET_IDENTITY, so that its access control sees the
 * client and not this daemon, and the client's callbacks of an earlier connection. The
 * names of user and group that belong to an identity are looked up by a worker, since that
 * may involve a directory service; without an answer they are omitted.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/params.h"
#include "rpc/relay_internal.h"
#include "util/error.h"

#define CONNECT_RETRY_MS 100

/* --- The socket --- */

/* -1 with errno. */
static int connect_to(const char *dir, const char *name, gboolean readonly) {
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

static gboolean is_missing(int error) {
        return error == ENOENT || error == ECONNREFUSED;
}

static int connect_any(const RpcRelay *relay) {
        const char *dir = relay->client->server->config->socket_dir;
        g_autofree char *name = g_strdup_printf("virt%sd", relay_name(relay));
        int fd = connect_to(dir, name, relay->client->readonly);
        if (fd < 0 && is_missing(errno))
                fd = connect_to(dir, "libvirt", relay->client->readonly);
        return fd;
}

static void connect_failed(RpcRelay *relay, int error) {
        g_autoptr(GError) err = NULL;
        if (is_missing(error))
                error_set_no_support(&err, relay_name(relay));
        else if (error == EAGAIN)
                error_set(&err, VIR_ERR_RESOURCE_BUSY,
                          "libvirt's %s daemon takes no connection: its backlog has been full for %u s",
                          relay_name(relay), relay->client->server->config->neighbour_timeout);
        else
                error_set_errno(&err, error, "cannot connect to libvirt's %s daemon", relay_name(relay));
        relay_fail(relay, err);
}

/* FALSE: the backlog is full, and there is time left. */
static gboolean connect_once(RpcRelay *relay) {
        guint limit = relay->client->server->config->neighbour_timeout;
        int fd = connect_any(relay), error = errno;
        if (fd < 0 && error == EAGAIN && g_get_monotonic_time() - relay->heard < limit * G_TIME_SPAN_SECOND)
                return FALSE;
        g_clear_handle_id(&relay->timer, g_source_remove);
        if (fd < 0) {
                connect_failed(relay, error);
                return TRUE;
        }
        relay->phase = RELAY_GREETING;
        relay->conn = relay_conn_new(relay, fd);
        rpc_conn_set_reading(relay->conn, TRUE);
        relay_watch(relay);
        relay_call(relay, RPC_PROC_AUTH_LIST, (xdrproc_t) xdr_rpc_none, NULL);
        return TRUE;
}

static gboolean connect_again(gpointer data) {
        return connect_once(data) ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

void relay_connect(RpcRelay *relay) {
        g_clear_handle_id(&relay->timer, g_source_remove);
        relay->phase = RELAY_CONNECTING;
        relay->heard = g_get_monotonic_time();
        if (!connect_once(relay))
                relay->timer = g_timeout_add(CONNECT_RETRY_MS, connect_again, relay);
}

/* --- Who the client is --- */

typedef struct Names {
        uid_t uid;
        gid_t gid;
        char *user, *group; /* NULL: not known */
} Names;

static void names_clear(gpointer data) {
        g_free(((Names *) data)->user);
        g_free(((Names *) data)->group);
}

static gboolean names_find(gpointer data, GError **err) {
        Names *names = data;
        char buffer[16384];
        struct passwd user, *user_found = NULL;
        struct group group, *group_found = NULL;
        (void) getpwuid_r(names->uid, &user, buffer, sizeof(buffer), &user_found);
        names->user = user_found ? g_strdup(user.pw_name) : NULL;
        (void) getgrgid_r(names->gid, &group, buffer, sizeof(buffer), &group_found);
        names->group = group_found ? g_strdup(group.gr_name) : NULL;
        return TRUE;
}

/* A look-up in a worker; the relay may go meanwhile. */
struct RelayNames {
        RpcRelay *relay; /* main thread only; NULL: gone */
        Neighbour *neighbour;
        Names *names;
        gboolean found;
};

static void lookup_run(gpointer data) {
        static const NeighbourOps ops = { .run = names_find, .clear = names_clear };
        RelayNames *lookup = data;
        g_autoptr(GError) err = NULL;
        lookup->found = neighbour_call(lookup->neighbour, &ops, lookup->names, &err);
        if (!lookup->found)
                g_info("a client of uid %u is relayed without its user name: %s", lookup->names->uid, err->message);
}

static void identity_add_text(virTypedParameterPtr *params, int *n, int *max, const char *name, const char *value) {
        if (value)
                (void) virTypedParamsAddString(params, n, max, name, value);
}

/* The names are those of virConnectSetIdentity(). */
static virTypedParameterPtr identity_describe(const RpcPeer *peer, const char *user, const char *group, int *n) {
        virTypedParameterPtr params = NULL;
        int max = 0;
        *n = 0;
        identity_add_text(&params, n, &max, VIR_CONNECT_IDENTITY_USER_NAME, user);
        identity_add_text(&params, n, &max, VIR_CONNECT_IDENTITY_GROUP_NAME, group);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_UNIX_USER_ID, peer->uid);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_UNIX_GROUP_ID, peer->gid);
        (void) virTypedParamsAddLLong(&params, n, &max, VIR_CONNECT_IDENTITY_PROCESS_ID, peer->pid);
        (void) virTypedParamsAddULLong(&params, n, &max, VIR_CONNECT_IDENTITY_PROCESS_TIME, peer->start_time);
        return params;
}

static void call_identity(RpcRelay *relay, const char *user, const char *group) {
        rpc_identity_args args = { 0 };
        if (relay->client->identity) {
                (void) rpc_packet_decode(relay->client->identity, (xdrproc_t) xdr_rpc_identity_args, &args, NULL);
        } else {
                int n;
                virTypedParameterPtr params = identity_describe(&relay->client->peer, user, group, &n);
                (void) rpc_params_put(params, n, RPC_IDENTITY_MAX, VIR_TYPED_PARAM_STRING_OKAY, &args.params.params_val,
                                      &args.params.params_len, NULL);
                virTypedParamsFree(params, n);
        }
        relay_call(relay, RPC_PROC_CONNECT_SET_IDENTITY, (xdrproc_t) xdr_rpc_identity_args, &args);
        xdr_free((xdrproc_t) xdr_rpc_identity_args, &args);
}

static void lookup_done(gpointer data) {
        RelayNames *lookup = data;
        RpcRelay *relay = lookup->relay;
        if (relay) {
                relay->names = NULL;
                relay->heard = g_get_monotonic_time();
                call_identity(relay, lookup->found ? lookup->names->user : NULL,
                              lookup->found ? lookup->names->group : NULL);
        }
        g_atomic_rc_box_release_full(lookup->names, names_clear);
        g_free(lookup);
}

void relay_names_forget(RpcRelay *relay) {
        if (relay->names)
                relay->names->relay = NULL;
        relay->names = NULL;
}

static void identify(RpcRelay *relay) {
        if (relay->client->identity) {
                call_identity(relay, NULL, NULL);
                return;
        }
        RelayNames *lookup = g_new0(RelayNames, 1);
        lookup->relay = relay;
        lookup->neighbour = relay->client->server->names;
        lookup->names = g_atomic_rc_box_new0(Names);
        lookup->names->uid = relay->client->peer.uid;
        lookup->names->gid = relay->client->peer.gid;
        relay->names = lookup;
        rpc_workers_push(relay->client->server->workers, relay->client->user, RPC_LANE_NEIGHBOUR, lookup_run,
                         lookup_done, lookup);
}

/* --- The handshake --- */

void relay_call_packet(RpcRelay *relay, gint32 proc, GBytes *payload) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, relay->serial, RPC_STATUS_OK };
        gsize size;
        const void *data = g_bytes_get_data(payload, &size);
        RpcPacket *packet = rpc_packet_new(&header, size);
        if (size > 0)
                memcpy(packet->data + packet->payload, data, size);
        relay->step = proc;
        rpc_conn_send(relay->conn, packet);
}

void relay_call(RpcRelay *relay, gint32 proc, xdrproc_t encode, gpointer args) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc, RPC_TYPE_CALL, relay->serial, RPC_STATUS_OK };
        relay->step = proc;
        RpcPacket *packet = rpc_packet_encode(&header, encode, args, NULL);
        g_assert(packet);
        rpc_conn_send(relay->conn, packet);
}

static void call_open(RpcRelay *relay) {
        g_autofree char *uri = g_strdup_printf("%s:///system", relay_name(relay));
        rpc_open_args args = { .name = &uri, .flags = relay->client->readonly ? VIR_CONNECT_RO : 0 };
        relay_call(relay, RPC_PROC_CONNECT_OPEN, (xdrproc_t) xdr_rpc_open_args, &args);
}

/* 0 (RPC_AUTH_NONE) also for an empty list. -1: nothing that a daemon can use. */
static int choose_auth(const RpcPacket *packet) {
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
static GError *refusal(RpcRelay *relay, const RpcPacket *packet) {
        GError *err = NULL;
        rpc_error wire = { 0 };
        gboolean ok = rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_error, &wire, NULL) && wire.message;
        g_info("libvirt's %s driver: %s", relay_name(relay), ok ? *wire.message : "no reason given");
        if (ok && relay->step == RPC_PROC_CONNECT_SET_IDENTITY)
                g_set_error(&err, VIRTMICRO_ERROR, wire.code, "%s", *wire.message);
        else
                error_set_no_support(&err, relay_name(relay));
        xdr_free((xdrproc_t) xdr_rpc_error, &wire);
        return err;
}

/* Daemons without the procedure (libvirt before 5.8) have no access control by identity either. */
static gboolean may_ignore(const RpcRelay *relay, const GError *err) {
        return relay->step == RPC_PROC_CONNECT_SET_IDENTITY &&
               (error_code(err) == VIR_ERR_NO_SUPPORT || error_code(err) == VIR_ERR_RPC || relay->client->readonly);
}

static void handshake_refused(RpcRelay *relay, const RpcPacket *packet) {
        g_autoptr(GError) err = refusal(relay, packet);
        if (may_ignore(relay, err))
                relay_events_restore(relay);
        else
                relay_fail(relay, err);
}

static void handshake_authenticate(RpcRelay *relay, const RpcPacket *packet) {
        int auth = choose_auth(packet);
        if (auth == RPC_AUTH_NONE) {
                call_open(relay);
        } else if (auth == RPC_AUTH_POLKIT) {
                relay_call(relay, RPC_PROC_AUTH_POLKIT, (xdrproc_t) xdr_rpc_none, NULL);
        } else {
                g_autoptr(GError) err = NULL;
                error_set_no_support(&err, relay_name(relay));
                relay_fail(relay, err);
        }
}

void relay_handshake(RpcRelay *relay, const RpcPacket *packet) {
        if (packet->header.type != RPC_TYPE_REPLY || packet->header.serial != relay->serial || relay->names)
                return;
        relay->serial++;
        switch (relay->step) {
        case RPC_PROC_AUTH_LIST:
        case RPC_PROC_AUTH_POLKIT:
        case RPC_PROC_CONNECT_OPEN:
        case RPC_PROC_CONNECT_SET_IDENTITY:
                break;
        default:
                relay_events_restored(relay, packet);
                return;
        }
        if (packet->header.status != RPC_STATUS_OK)
                handshake_refused(relay, packet);
        else if (relay->step == RPC_PROC_AUTH_LIST)
                handshake_authenticate(relay, packet);
        else if (relay->step == RPC_PROC_AUTH_POLKIT)
                call_open(relay);
        else if (relay->step == RPC_PROC_CONNECT_OPEN)
                identify(relay);
        else
                relay_events_restore(relay);
}
