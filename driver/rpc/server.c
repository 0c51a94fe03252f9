/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Accepts clients and keeps the list of them. A client's user is known only once it is
 * accepted, so all are accepted, and then judged:
 *
 *   - one more than max_user_clients of its user, or than max_clients in all, is turned away;
 *   - one that has to authenticate waits unread while max_anonymous_clients do so, or a
 *     quarter of that of its own user. The wait is short: authentication has a time limit.
 *
 * Neither limit counts the superuser's clients or holds them up.
 */
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/callbacks.h"
#include "rpc/server_internal.h"
#include "rpc/stream.h"
#include "util/error.h"

/* At the daemon's end: the time that calls get to finish with another process. */
#define STOP_GRACE_S    3
#define ACCEPT_PAUSE_MS 100u /* pause after a failure: the daemon is out of descriptors, and will be for a while */

static void socket_listen(RpcSocket *sock);

static gboolean server_may_serve(const RpcServer *server, const RpcClient *client) {
        guint max = MAX(server->config->max_anonymous_clients, 1);
        return server->anonymous < max && client->user->anonymous < MAX(max / 4, 1);
}

static void server_serve(RpcServer *server, RpcClient *client) {
        server->anonymous++;
        client->user->anonymous++;
        rpc_client_serve(client);
}

/* Serves those whose turn it is: the first of each user that has room. */
static void server_serve_waiting(RpcServer *server) {
        for (GList *item = server->waiting.head, *next; item; item = next) {
                RpcClient *client = item->data;
                next = item->next;
                if (server->anonymous >= MAX(server->config->max_anonymous_clients, 1))
                        return;
                if (!server_may_serve(server, client))
                        continue;
                g_queue_delete_link(&server->waiting, item);
                server_serve(server, client);
        }
}

/* Why another client of this user is turned away; NULL: it is not. */
static const char *server_refusal(const RpcServer *server, const RpcUser *user) {
        if (rpc_user_is_trusted(user))
                return NULL;
        if (user->clients >= MAX(server->config->max_user_clients, 1))
                return "max_user_clients";
        return server->untrusted >= MAX(server->config->max_clients, 1) ? "max_clients" : NULL;
}

static void server_list(RpcServer *server, RpcClient *client) {
        g_ptr_array_add(server->clients, client);
        client->user->clients++;
        if (!rpc_user_is_trusted(client->user))
                server->untrusted++;
}

RpcClient *rpc_server_admit(RpcServer *server, int fd, gboolean readonly, RpcAuth auth, const RpcPeer *peer) {
        RpcUser *user = rpc_users_get(server->users, peer->uid);
        const char *refusal = server_refusal(server, user);
        if (refusal) {
                g_info("client %d (uid %u) is turned away: %s", (int) peer->pid, peer->uid, refusal);
                (void) close(fd);
                rpc_user_unref(user);
                return NULL;
        }
        RpcClient *client = rpc_client_new(server, fd, readonly, auth, peer);
        server_list(server, client);
        rpc_user_unref(user);
        if (auth == RPC_AUTH_NONE || peer->uid == 0) {
                server_serve(server, client);
                rpc_client_authenticated(client);
        } else {
                g_queue_push_tail(&server->waiting, client);
                server_serve_waiting(server);
        }
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

static gboolean socket_pause_over(gpointer data) {
        RpcSocket *sock = data;
        sock->source = 0;
        socket_listen(sock);
        return G_SOURCE_REMOVE;
}

static gboolean server_acceptable(int listener, GIOCondition condition, gpointer data) {
        RpcSocket *sock = data;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
                server_accept(sock->server, sock, fd);
                return G_SOURCE_CONTINUE;
        }
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                return G_SOURCE_CONTINUE;
        g_warning("cannot accept a client: %s", g_strerror(errno));
        sock->source = g_timeout_add(ACCEPT_PAUSE_MS, socket_pause_over, sock);
        return G_SOURCE_REMOVE;
}

static void socket_listen(RpcSocket *sock) {
        if (sock->source == 0)
                sock->source = g_unix_fd_add(sock->fd, G_IO_IN, server_acceptable, sock);
}

void rpc_server_client_authenticated(RpcServer *server, RpcClient *client) {
        server->anonymous--;
        client->user->anonymous--;
        server_serve_waiting(server);
}

void rpc_server_client_closed(RpcServer *server, RpcClient *client) {
        if (!client->served)
                (void) g_queue_remove(&server->waiting, client);
        else if (!client->authenticated)
                rpc_server_client_authenticated(server, client);
        if (!g_ptr_array_remove_fast(server->clients, client))
                return;
        client->user->clients--;
        if (!rpc_user_is_trusted(client->user))
                server->untrusted--;
        rpc_client_unref(client);
        rpc_workers_resume(server->workers);
}

static void server_domain_event(const DomainEvent *event, gpointer data) {
        rpc_events_deliver(data, event);
}

RpcServer *rpc_server_new(Driver *driver, const DriverConfig *config, GError **err) {
        g_autoptr(RpcServer) server = g_new0(RpcServer, 1);
        if (virInitialize() < 0) /* typed parameters need it */
                g_warning("cannot initialize libvirt's client library");
        server->driver = driver;
        server->config = config;
        server->users = rpc_users_new();
        server->own = rpc_users_get(server->users, 0);
        server->clients = g_ptr_array_new();
        server->callbacks = rpc_callbacks_new();
        g_queue_init(&server->waiting);
        server->interruptible = g_ptr_array_new();
        server->names =
                neighbour_new("the resolver", "resolvectl status, and getent passwd", config->neighbour_timeout * 1000);
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
        for (guint i = 0; i < server->sockets->len; i++)
                socket_listen(&g_array_index(server->sockets, RpcSocket, i));
}

/* virsh does not notice on an open console that its connection has gone, so the console is ended first. */
static void client_dismiss(RpcClient *of_table) {
        g_autoptr(RpcClient) client = rpc_client_ref(of_table);
        while (client->streams->len > 0)
                rpc_stream_abort(g_ptr_array_index(client->streams, client->streams->len - 1));
        rpc_client_close(client);
}

/* Repeated, since an interrupted call may go on to its next wait. */
static gboolean end_waits(gpointer data) {
        rpc_calls_interrupt(data, NULL);
        return G_SOURCE_CONTINUE;
}

void rpc_server_stop(RpcServer *server) {
        if (server->stopped)
                return;
        server->stopped = TRUE;
        server->accepting = FALSE;
        for (guint i = 0; server->sockets && i < server->sockets->len; i++)
                g_clear_handle_id(&g_array_index(server->sockets, RpcSocket, i).source, g_source_remove);
        while (server->clients->len > 0)
                client_dismiss(g_ptr_array_index(server->clients, server->clients->len - 1));
        if (server->listener != 0)
                driver_remove_listener(server->driver, server->listener);
        while (server->deferred > 0)
                (void) g_main_context_iteration(NULL, TRUE);
        guint grace = g_timeout_add_seconds(STOP_GRACE_S, end_waits, server);
        rpc_workers_free(server->workers); /* ending calls may still push work */
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
        g_hash_table_unref(server->callbacks);
        rpc_user_unref(server->own);
        rpc_users_free(server->users);
        g_free(server);
}

unsigned rpc_server_client_count(RpcServer *server) {
        return server->clients->len;
}
