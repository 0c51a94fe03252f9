/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A relay as its own files see it. */
#pragma once

#include "rpc/relay.h"
#include "rpc/server_internal.h"

#define RELAY_STREAMS_MAX 256u /* of a client with one driver, as of consoles */

typedef enum RelayPhase {
        RELAY_IDLE,       /* no connection; one is made for the next call, or by the timer for callbacks */
        RELAY_CONNECTING, /* the other daemon's backlog is full: the timer tries again */
        RELAY_GREETING,   /* the handshake, callbacks included */
        RELAY_READY,
} RelayPhase;

/* A call without a reply. */
typedef struct RelayCall {
        RpcHeader header;
        GBytes *args; /* of one that registers a callback; NULL for others */
        int id;       /* the client's, of one that deregisters a callback */
} RelayCall;

/* A registration of the client's for events. */
typedef struct RelayCallback {
        int id;       /* what the client knows it by */
        int upstream; /* the other daemon's id; -1: not registered there at present */
        gint32 proc;  /* that registers it */
        GBytes *args; /* with these */
} RelayCallback;

typedef struct RelayNames RelayNames;

struct RpcRelay {
        RpcClient *client; /* owns the relay */
        RpcUpstream upstream;
        RelayPhase phase;
        RpcConn *conn;     /* NULL before RELAY_GREETING */
        gint32 step;       /* procedure of the handshake that is being waited for */
        guint32 serial;    /* of the handshake */
        RelayNames *names; /* being looked up for the handshake */
        guint restoring;   /* the callback whose registration is being waited for in the handshake */
        GQueue waiting;    /* RpcPacket*: calls that came before the handshake was over */
        GArray *pending;   /* RelayCall */
        GArray *streams;   /* RpcHeader of streams that are open */
        GArray *callbacks; /* RelayCallback */
        int last_id;       /* of callbacks */
        guint timer;       /* while RELAY_IDLE or RELAY_CONNECTING: the next attempt; then: relay_watch() */
        gint64 heard;      /* when the other daemon last sent a packet, or owed none */
        guint delay;       /* seconds before the next attempt at a connection for callbacks */
};

/* relay.c */
const char *relay_name(const RpcRelay *relay); /* the driver's */
RpcConn *relay_conn_new(RpcRelay *relay, int fd);
/* The handshake is over: passes on waiting calls. */
void relay_set_ready(RpcRelay *relay);
/* Fails everything that waits for the other daemon with `err`. The relay may be gone afterwards. */
void relay_fail(RpcRelay *relay, const GError *err);

/* relay_connect.c: from RELAY_IDLE to RELAY_READY, in the end, or to relay_fail() */
void relay_connect(RpcRelay *relay);
void relay_handshake(RpcRelay *relay, const RpcPacket *packet);
void relay_names_forget(RpcRelay *relay); /* the relay no longer needs them */
void relay_watch(RpcRelay *relay);        /* a call is pending: silence counts from here on */
void relay_call(RpcRelay *relay, gint32 proc, xdrproc_t encode, gpointer args); /* a step of the handshake */
void relay_call_packet(RpcRelay *relay, gint32 proc, GBytes *payload);          /* the same */

/* relay_events.c */
/* Notes what a relayed call and its reply register; FALSE with *err: the call is refused. */
gboolean relay_events_call(RpcRelay *relay, const RpcProc *proc, RpcPacket *packet, RelayCall *ret, GError **err);
/* A callback not registered there at present: it is dropped, and the client answered. */
gboolean relay_events_drop(RpcRelay *relay, const RpcProc *proc, const RpcPacket *packet);
void relay_events_reply(RpcRelay *relay, const RelayCall *call, RpcPacket *reply);
gboolean relay_events_translate(RpcRelay *relay, RpcPacket *event); /* FALSE: no callback of ours */
void relay_events_lost(RpcRelay *relay);
void relay_events_restore(RpcRelay *relay); /* the last steps of the handshake, before relay_set_ready() */
void relay_events_restored(RpcRelay *relay, const RpcPacket *reply);
