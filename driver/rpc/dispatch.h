/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Procedures and calls: the table that says what each procedure is, and the life of one
 * call from its packet to its reply.
 */
#pragma once

#include <gio/gio.h>

#include "conf/driver_config.h"
#include "driver.h"
#include "rpc/packet.h"

typedef struct RpcClient RpcClient;
typedef struct RpcServer RpcServer;
typedef struct RpcStream RpcStream;
typedef struct RpcCall RpcCall;
typedef struct RpcUser RpcUser;

#define RPC_PROC_LAST 443

/* Procedures that code beside the table and the event encoder names. */
enum {
        RPC_PROC_CONNECT_OPEN = 1,
        RPC_PROC_AUTH_LIST = 66,
        RPC_PROC_AUTH_POLKIT = 70,
        RPC_PROC_CONNECT_EVENT_CONNECTION_CLOSED = 362,
        RPC_PROC_CONNECT_SET_IDENTITY = 419,
};

typedef enum RpcKind {
        RPC_KIND_UNKNOWN, /* no such procedure, or one that only the server sends */
        RPC_KIND_REFUSED, /* VIR_ERR_NO_SUPPORT */
        RPC_KIND_INLINE,  /* runs on the main thread and may look at its client */
        RPC_KIND_WORKER,  /* runs in a worker; `call->client` is not for it */
        RPC_KIND_RELAY,   /* goes to another daemon */
} RpcKind;

typedef enum RpcUpstream { /* the drivers that calls are relayed to */
                           RPC_UPSTREAM_NETWORK,
                           RPC_UPSTREAM_STORAGE,
                           RPC_UPSTREAM_NODEDEV,
                           RPC_UPSTREAM_INTERFACE,
                           RPC_UPSTREAM_SECRET,
                           RPC_UPSTREAM_NWFILTER,
                           RPC_UPSTREAM_MAX,
} RpcUpstream;

typedef enum RpcCallbackKind { /* kind of a callback by its argument or result */
                               RPC_CALLBACK_NONE,
                               RPC_CALLBACK_REGISTER,
                               RPC_CALLBACK_DEREGISTER,
} RpcCallbackKind;

enum {
        RPC_WRITE = 1 << 0,     /* refused to read-only clients */
        RPC_HIGH = 1 << 1,      /* asks no guest: priority workers may run it */
        RPC_NOAUTH = 1 << 2,    /* served before authentication */
        RPC_NOOPEN = 1 << 3,    /* served before CONNECT_OPEN */
        RPC_NEIGHBOUR = 1 << 4, /* may wait for another process: has its own workers */
};

/* Fills call->ret from call->args. */
typedef gboolean (*RpcHandler)(RpcCall *call, GError **err);

typedef struct RpcProc {
        const char *api; /* the public function, for error texts */
        guint8 kind;     /* RpcKind */
        guint8 flags;
        guint8 upstream; /* RpcUpstream, for relayed ones */
        guint8 stream;   /* relayed ones that open a stream */
        guint8 callback; /* RpcCallbackKind of relayed ones */
        RpcHandler handler;
        xdrproc_t args_xdr, ret_xdr;
        guint32 args_size, ret_size;
} RpcProc;

/* NULL outside 1..RPC_PROC_LAST. */
const RpcProc *rpc_proc_find(gint32 nr);

/* One run of a domain. */
typedef struct RpcGuest {
        guint8 uuid[16];
        int id;
} RpcGuest;

struct RpcCall {
        RpcServer *server;
        Driver *driver;
        const DriverConfig *config;
        RpcClient *client; /* a reference; main thread only */
        const RpcProc *proc;
        RpcHeader header;
        RpcPacket *packet; /* the arguments, until they are decoded */
        gsize charged;     /* bytes of it that the user's input counts, until the call is done */
        gpointer args, ret;
        gboolean readonly;
        GCancellable *interrupt; /* interrupts the waits of an RPC_NEIGHBOUR one */
        gboolean deferred;       /* an inline handler set it: rpc_call_finish() comes later */
        RpcStream *stream;       /* a handler opened it; the client takes it after the reply */
        gboolean autodestroy;    /* `guest` goes when the client goes */
        RpcGuest guest;
        RpcPacket *reply;
};

/* Takes the packet. Runs the call or queues it; rpc_client_reply() gets the result. */
void rpc_call_start(RpcServer *server, RpcClient *client, const RpcProc *proc, RpcPacket *packet);
/* For deferred calls: `err` (NULL: none) decides between call->ret and an error. Frees the call. */
void rpc_call_finish(RpcCall *call, const GError *err);

/*
 * Interrupts waits for other processes: of the client's read-only calls, since nobody needs their results, or with
 * client NULL of all calls.
 */
void rpc_calls_interrupt(RpcServer *server, const RpcClient *client);

/* The workers. */
typedef struct RpcWorkers RpcWorkers;
typedef enum RpcLane {
        RPC_LANE_NORMAL,
        RPC_LANE_HIGH,      /* waits for no guest: priority workers take it when all others are busy */
        RPC_LANE_NEIGHBOUR, /* may wait for another process */
        RPC_LANES,
} RpcLane;
RpcWorkers *rpc_workers_new(guint normal, guint priority, guint neighbour, GError **err);
void rpc_workers_free(RpcWorkers *workers); /* waits for running jobs, delivers the results */
/* Runs `func` in a worker, when it is the user's turn, and then `done` on the main thread. */
void rpc_workers_push(RpcWorkers *workers, RpcUser *user, RpcLane lane, void (*func)(gpointer data),
                      void (*done)(gpointer data), gpointer data);
/* A user has taken results: another job may begin. */
void rpc_workers_resume(RpcWorkers *workers);
