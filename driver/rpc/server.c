/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Accepts clients and keeps the list of them. Accepting pauses at the configured number of
 * clients, and earlier at that of clients which have not said who they are; the sockets'
 * backlogs hold the others until somebody leaves.
 */
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/server_internal.h"
#include "rpc/stream.h"
#include "util/error.h"

/* At the daemon's end: what calls get to be done with another process that answers. */
#define STOP_GRACE_S 3

static void server_update_accepting(RpcServer *server);

RpcClient *rpc_server_admit(RpcServer *server, int fd, gboolean readonly, RpcAuth auth, const RpcPeer *peer) {
        RpcClient *client = rpc_client_new(server, fd, readonly, auth, peer);
        g_ptr_array_add(server->clients, client);
        server->anonymous++;
        if (auth == RPC_AUTH_NONE || peer->uid == 0)
                rpc_client_authenticated(client);
        rpc_client_update_reading(client);
        server_update_accepting(server);
        return client;
}

static void server_accept(RpcServer *server, const RpcSocket *sock, int fd) {
        RpcPeer peer;
        g_autoptr(GError) err = NULL;
        if (rpc_peer_read(fd, &peer, &err)) {
                (void) rpc_server_admit(server, fd, sock->readonly, sock->auth, &peer);
                return;
        }
        g_warning("%s", err->message);
        (void) close(fd);
}

static gboolean server_acceptable(int listener, GIOCondition condition, gpointer data) {
        RpcSocket *sock = data;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
                server_accept(sock->server, sock, fd);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                g_warning("cannot accept a client: %s", g_strerror(errno));
                g_usleep(G_USEC_PER_SEC / 100); /* out of descriptors: do not spin */
        }
        return sock->source != 0;
}

static void server_update_accepting(RpcServer *server) {
        gboolean room = server->accepting && server->clients->len < MAX(server->config->max_clients, 1) &&
                        server->anonymous < MAX(server->config->max_anonymous_clients, 1);
        for (guint i = 0; i < server->sockets->len; i++) {
                RpcSocket *sock = &g_array_index(server->sockets, RpcSocket, i);
                if (room && sock->source == 0)
                        sock->source = g_unix_fd_add(sock->fd, G_IO_IN, server_acceptable, sock);
                else if (!room)
                        g_clear_handle_id(&sock->source, g_source_remove);
        }
}

void rpc_server_client_authenticated(RpcServer *server) {
        server->anonymous--;
        server_update_accepting(server);
}

void rpc_server_client_closed(RpcServer *server, RpcClient *client) {
        if (!client->authenticated)
                server->anonymous--;
        if (g_ptr_array_remove_fast(server->clients, client))
                rpc_client_unref(client);
        server_update_accepting(server);
}

/* Sending may close a client and take it off the list, so walk by falling index. */
static void server_domain_event(const DomainEvent *event, gpointer data) {
        RpcServer *server = data;
        for (guint i = server->clients->len; i-- > 0;) {
                if (i >= server->clients->len)
                        continue;
                g_autoptr(RpcClient) client = rpc_client_ref(g_ptr_array_index(server->clients, i));
                rpc_events_send(client, event);
        }
}

RpcServer *rpc_server_new(Driver *driver, const DriverConfig *config, GError **err) {
        g_autoptr(RpcServer) server = g_new0(RpcServer, 1);
        if (virInitialize() < 0) /* typed parameters need it */
                g_warning("cannot initialize libvirt's client library");
        server->driver = driver;
        server->config = config;
        server->clients = g_ptr_array_new();
        server->interruptible = g_ptr_array_new();
        server->names = neighbour_new("the resolver", "resolvectl status, and getent passwd",
                                      config->neighbour_timeout * 1000);
        server->workers = rpc_workers_new(config->max_workers, config->prio_workers, config->neighbour_workers, err);
        if (!server->workers)
                return NULL;
        server->sockets = rpc_sockets_open(server, err);
        if (!server->sockets)
                return NULL;
        return g_steal_pointer(&server);
}

void rpc_server_start(RpcServer *server) {
        if (server->accepting)
                return;
        server->listener = driver_add_listener(server->driver, server_domain_event, server);
        server->accepting = TRUE;
        server_update_accepting(server);
}

/* virsh does not notice on an open console that its connection has gone, so the console is ended first. */
static void client_dismiss(RpcClient *of_table) {
        g_autoptr(RpcClient) client = rpc_client_ref(of_table);
        while (client->streams->len > 0)
                rpc_stream_abort(g_ptr_array_index(client->streams, client->streams->len - 1));
        rpc_client_close(client);
}

/* Again and again, since what is interrupted may go on to the next wait. */
static gboolean end_waits(gpointer data) {
        rpc_calls_interrupt(data, NULL);
        return G_SOURCE_CONTINUE;
}

void rpc_server_stop(RpcServer *server) {
        if (server->stopped)
                return;
        server->stopped = TRUE;
        server->accepting = FALSE;
        if (server->sockets)
                server_update_accepting(server);
        while (server->clients->len > 0)
                client_dismiss(g_ptr_array_index(server->clients, server->clients->len - 1));
        if (server->listener != 0)
                driver_remove_listener(server->driver, server->listener);
        while (server->deferred > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        guint grace = g_timeout_add_seconds(STOP_GRACE_S, end_waits, server);
        rpc_workers_free(server->workers); /* what ends now may still push work */
        server->workers = NULL;
        g_source_remove(grace);
}

void rpc_server_free(RpcServer *server) {
        if (!server)
                return;
        rpc_server_stop(server);
        g_clear_pointer(&server->sockets, rpc_sockets_close);
        g_ptr_array_unref(server->clients);
        g_ptr_array_unref(server->interruptible);
        neighbour_free(server->names);
        g_free(server);
}

unsigned rpc_server_client_count(RpcServer *server) {
        return server->clients->len;
}
