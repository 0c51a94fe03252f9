/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registrations of domain events, by client and by what they wait for. Main thread only. */
#pragma once

#include "rpc/client.h"

#define RPC_CALLBACKS_MAX       1024u /* of a client: one for each of a thousand domains */
#define RPC_ALIKE_CALLBACKS_MAX 16u   /* of a client, for one kind of event and the same domains */

/* A registration for domain events. */
typedef struct RpcCallback {
        RpcClient *client;
        int id;       /* -1: of the old protocol, whose events carry no id */
        int event;    /* virDomainEventID */
        gboolean one; /* only of the domain with this uuid */
        guint8 uuid[16];
} RpcCallback;

/* The server's table of all registrations. */
GHashTable *rpc_callbacks_new(void);

/* `uuid` NULL: of every domain. The result is the client's. NULL: there are too many. */
RpcCallback *rpc_callback_add(RpcClient *client, int id, int event, const guint8 *uuid, GError **err);
gboolean rpc_callback_remove(RpcClient *client, RpcCallback *callback);
void rpc_callbacks_drop(RpcClient *client); /* all of a client that disconnects */

/* The listeners of an event: a snapshot, as notifying one client may end it, and others. */
typedef struct RpcReceiver {
        RpcClient *client; /* a reference */
        int id;            /* of the callback */
} RpcReceiver;
GArray *rpc_callbacks_find(GHashTable *table, int event, const guint8 uuid[16]);
