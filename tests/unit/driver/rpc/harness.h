/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real server over a driver whose directories are empty, and raw clients on socket
 * pairs. Everything runs in the test's own thread, which turns the main context.
 */
#pragma once

#include "rpc/remote_protocol.h"
#include "rpc/server_internal.h"
#include "util/error.h"

typedef struct Harness {
        char *dir;
        DriverConfig *config;
        Driver *driver;
        RpcServer *server;
} Harness;

void harness_start(Harness *harness);
void harness_stop(Harness *harness);

typedef struct Wire {
        int fd;
        RpcReader reader;
        guint32 serial;
} Wire;

/* A client of uid 0 (let in at once) or of another (has to authenticate itself). */
void wire_connect(Wire *wire, Harness *harness, gboolean readonly, RpcAuth auth, uid_t uid);
void wire_close(Wire *wire);
void wire_send_bytes(Wire *wire, const void *data, gsize size);
void wire_send(Wire *wire, RpcPacket *packet); /* takes it */
/* The next packet, NULL when the server has closed or `ms` have passed. */
RpcPacket *wire_receive(Wire *wire, guint ms);
gboolean wire_is_closed(Wire *wire); /* waits for the server to close */

/* Calls and waits for the reply, whose payload goes to `ret`; the error's code, 0 when there is none. */
int wire_call(Wire *wire, gint32 proc, xdrproc_t args_xdr, gpointer args, xdrproc_t ret_xdr, gpointer ret);
int wire_call_simple(Wire *wire, gint32 proc); /* no arguments, result not looked at */
int wire_open(Wire *wire, const char *name, guint flags);
/* Code and text of an error packet. */
int wire_error(const RpcPacket *packet, char **ret_text);
/* Defines a domain and returns it as the server does. */
void wire_define(Wire *wire, const char *name, rpc_domain *ret);
