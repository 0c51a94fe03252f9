/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One client's connection. Everything here belongs to the main thread; workers see only
 * what an RpcCall copies for them.
 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "rpc/conn.h"
#include "rpc/dispatch.h"
#include "rpc/users.h"

typedef struct RpcRelay RpcRelay;

/* The peer, as the kernel identified it when it connected. */
typedef struct RpcPeer {
        pid_t pid;
        uid_t uid;
        gid_t gid;
        guint64 start_time; /* of the process; 0: unknown */
} RpcPeer;

typedef enum RpcAuth { RPC_AUTH_NONE, RPC_AUTH_POLKIT = 2 } RpcAuth; /* as on the wire */

struct RpcClient {
        RpcServer *server;
        RpcConn *conn;
        gboolean closed;
        RpcPeer peer;
        RpcUser *user;   /* a reference */
        gboolean served; /* its turn to authenticate itself has come */
        RpcAuth auth;    /* what its socket asks for */
        gboolean authenticated;
        gboolean readonly_socket;
        gboolean readonly;   /* by its socket or its own wish */
        gboolean open;       /* between CONNECT_OPEN and CONNECT_CLOSE */
        gboolean last_reply; /* close when everything is sent */
        guint in_flight;     /* calls without a reply */
        guint auth_timer;
        guint auth_minutes;        /* that it has had for it */
        GCancellable *auth_cancel; /* ends a polkit check when the client goes */
        guint streams_blocked;     /* streams that cannot take more input now */
        GPtrArray *streams;        /* RpcStream* */
        GPtrArray *callbacks;      /* RpcCallback*, in callbacks.c */
        int last_callback_id;
        gsize events;           /* bytes of events that it has not taken, at most */
        GArray *autodestroy;    /* of RpcGuest */
        guint autodestroy_look; /* at this number, check which of them still run */
        RpcPacket *identity;    /* SET_IDENTITY of a trusted client; NULL: none */
        RpcRelay *relays[RPC_UPSTREAM_MAX];
        guint keepalive_timer;
        guint keepalive_misses;
};

/* Takes `fd`. The server learns of the end by rpc_server_client_closed(). */
RpcClient *rpc_client_new(RpcServer *server, int fd, gboolean readonly_socket, RpcAuth auth, const RpcPeer *peer);
RpcClient *rpc_client_ref(RpcClient *client);
void rpc_client_unref(RpcClient *client);
void rpc_client_close(RpcClient *client);
void rpc_client_serve(RpcClient *client); /* reads from it, for a limited time until it is authenticated */
void rpc_client_authenticated(RpcClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RpcClient, rpc_client_unref)
/* A guest to be destroyed with its client; at once when the client is already gone. */
void rpc_client_note_guest(RpcClient *client, const RpcGuest *guest);
void rpc_client_autodestroy(RpcClient *client, const RpcGuest *guest);

/* Queues a packet that is not a reply. Takes it. */
void rpc_client_send(RpcClient *client, RpcPacket *packet);
/* The same for an event; ends a client that leaves too many of them. */
void rpc_client_send_event(RpcClient *client, RpcPacket *packet);
/* Queues the last packet of a call and counts the call as done. Takes the packet. */
void rpc_client_reply(RpcClient *client, RpcPacket *packet);
/* Checks every limit of the client again: reading continues or stops. */
void rpc_client_update_reading(RpcClient *client);
/* Whether there is so much unsent output that sources of data should pause. */
gboolean rpc_client_is_congested(const RpcClient *client);

/* keepalive.c */
void rpc_keepalive_start(RpcClient *client);
void rpc_keepalive_stop(RpcClient *client);
void rpc_keepalive_packet(RpcClient *client, const RpcPacket *packet);

/* events.c */
void rpc_events_deliver(RpcServer *server, const DomainEvent *event);

/* auth.c */
gboolean rpc_peer_read(int fd, RpcPeer *ret, GError **err);
