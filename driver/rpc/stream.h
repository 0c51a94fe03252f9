/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams between a client and a console or channel of a domain. */
#pragma once

#include "rpc/client.h"

/*
 * In a worker: a stream without an owner. The handler opens the session with rpc_stream_kicked and the stream
 * as its callback, then sets the descriptor; or discards the stream.
 */
RpcStream *rpc_stream_new(Domain *domain);
void rpc_stream_kicked(void *stream);
void rpc_stream_opened(RpcStream *stream, int fd, guint64 session);
void rpc_stream_free(RpcStream *stream); /* one that was never opened */

/* On the main thread. The reply to the call that opened it has been queued before. */
void rpc_stream_attach(RpcStream *stream, RpcClient *client, const RpcHeader *header);
void rpc_stream_discard(RpcStream *stream, RpcClient *client);
gboolean rpc_stream_matches(const RpcStream *stream, const RpcHeader *header);
void rpc_stream_packet(RpcStream *stream, const RpcPacket *packet);
void rpc_stream_resume(RpcStream *stream); /* the client takes data again */
void rpc_stream_close(RpcStream *stream);  /* the client is gone, or was notified */
void rpc_stream_abort(RpcStream *stream);  /* tells the client, and closes */
