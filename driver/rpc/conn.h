/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A non-blocking stream socket that packets are exchanged on, driven by the default main
 * context: a client's, or that of another daemon to which calls are relayed. Main thread
 * only.
 */
#pragma once

#include "rpc/packet.h"

typedef struct RpcConn RpcConn;

/* What several connections hold together; a connection adds and takes off its part. */
typedef struct RpcBudget {
        gsize used, max; /* bytes */
} RpcBudget;

typedef struct RpcConnOps {
        void (*packet)(gpointer data, RpcPacket *packet); /* the callee's to free */
        void (*sent)(gpointer data);                      /* the output queue got shorter */
        void (*closed)(gpointer data, const GError *err); /* by the peer (err NULL) or for a fault; comes once */
        gboolean ends_unread; /* the peer's end counts at once, also while its packets are not read */
} RpcConnOps;

/* Takes `fd`. Reads nothing until rpc_conn_set_reading(). Callbacks may close and unref the connection. */
RpcConn *rpc_conn_new(int fd, gsize packet_limit, const RpcConnOps *ops, gpointer data);
void rpc_conn_unref(RpcConn *conn); /* closes, without a callback */
void rpc_conn_close(RpcConn *conn); /* likewise, and drops what has not been sent */

/*
 * Counts from here on in `input` what is being received and in `output` what is to be sent; either may be NULL, both
 * must outlive the connection. It fails when `input` is full and it wants more than the smallest of buffers.
 */
void rpc_conn_set_budgets(RpcConn *conn, RpcBudget *input, RpcBudget *output);
void rpc_conn_set_limit(RpcConn *conn, gsize packet_limit);
void rpc_conn_set_reading(RpcConn *conn, gboolean reading);
gboolean rpc_conn_is_reading(const RpcConn *conn);
void rpc_conn_send(RpcConn *conn, RpcPacket *packet); /* takes the packet; a closed connection drops it */
gsize rpc_conn_get_pending(const RpcConn *conn);      /* bytes waiting to be sent */
