/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server as its own files see it. */
#pragma once

#include "rpc/client.h"
#include "rpc/server.h"
#include "util/neighbour.h"

struct RpcServer {
        Driver *driver;
        const DriverConfig *config;
        RpcWorkers *workers;
        GArray *sockets; /* RpcSocket */
        RpcUsers *users;
        RpcUser *own;             /* the user of the server's own work, which no quota holds up */
        GPtrArray *clients;       /* RpcClient*, a reference each */
        guint untrusted;          /* of them, those that are not the superuser's */
        GQueue waiting;           /* RpcClient* that are not served yet, in order of arrival */
        guint anonymous;          /* clients that are served and not authenticated */
        GHashTable *callbacks;    /* callbacks.c */
        guint deferred;           /* calls that wait for polkit */
        GPtrArray *interruptible; /* RpcCall*: those that may wait for another process */
        Neighbour *names;         /* the resolver, and the user and group database */
        guint listener;           /* of domain events */
        gboolean accepting, stopped;
};

typedef struct RpcSocket {
        RpcServer *server;
        int fd;
        gboolean readonly;
        RpcAuth auth;
        char *path;   /* to be unlinked at the end; NULL when systemd made it */
        guint source; /* of clients, or of the end of a pause after a failure */
} RpcSocket;

/* sockets.c */
GArray *rpc_sockets_open(RpcServer *server, GError **err);
void rpc_sockets_close(GArray *sockets);

/* Takes a connected socket; the server keeps the client. NULL: turned away, as its user or all have too many. */
RpcClient *rpc_server_admit(RpcServer *server, int fd, gboolean readonly, RpcAuth auth, const RpcPeer *peer);

/* What clients report to the server. */
void rpc_server_client_closed(RpcServer *server, RpcClient *client);
void rpc_server_client_authenticated(RpcServer *server, RpcClient *client); /* before it is read */
