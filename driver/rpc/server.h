/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The face that libvirt clients see: a server that speaks libvirt's RPC on UNIX sockets
 * and turns procedures into calls of driver.h. It runs on the default main context;
 * every function here is called from the main thread.
 */
#pragma once

#include <glib.h>

#include "conf/driver_config.h"
#include "driver.h"

typedef struct RpcServer RpcServer;

/*
 * Binds the listening sockets, or takes those that systemd passed (names that end in "-ro" are read-only), and
 * starts the workers. `driver` and `config` stay the caller's and must outlive the server.
 */
RpcServer *rpc_server_new(Driver *driver, const DriverConfig *config, GError **err);
void rpc_server_free(RpcServer *server); /* stops first; NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RpcServer, rpc_server_free)

void rpc_server_start(RpcServer *server); /* clients are accepted from here on */
/*
 * Accepts no more, closes every client, waits for calls in progress; only briefly for those that wait for another
 * process.
 */
void rpc_server_stop(RpcServer *server);

unsigned rpc_server_client_count(RpcServer *server);
