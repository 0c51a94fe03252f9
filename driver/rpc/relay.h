/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls for networks, storage and the like, passed on to the libvirt daemon that serves them. */
#pragma once

#include "rpc/client.h"

/* Takes the packet of a call that has been counted as in flight; the reply comes by rpc_client_reply(). */
void rpc_relay_call(RpcClient *client, const RpcProc *proc, RpcPacket *packet);
void rpc_relay_stream_packet(RpcRelay *relay, RpcPacket *packet); /* takes the packet */
void rpc_relay_resume(RpcRelay *relay);                           /* the client takes data again */
gboolean rpc_relay_is_congested(const RpcRelay *relay);           /* the client should not send more */
void rpc_relay_free(RpcRelay *relay);
