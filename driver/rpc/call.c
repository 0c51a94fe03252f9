/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call: decode the arguments, run the handler, encode the result or the error, send
 * it. For worker calls the first three happen in the worker, so that a large reply costs
 * the main loop nothing but the write. The client may be gone when the call is done;
 * whatever the call opened for it is then closed.
 */
#include "rpc/client.h"
#include "rpc/server_internal.h"
#include "rpc/stream.h"
#include "util/error.h"

static void call_free_payload(RpcCall *call) {
        if (call->args)
                xdr_free(call->proc->args_xdr, call->args);
        if (call->ret)
                xdr_free(call->proc->ret_xdr, call->ret);
        g_clear_pointer(&call->args, g_free);
        g_clear_pointer(&call->ret, g_free);
        g_clear_pointer(&call->packet, rpc_packet_free);
}

static gboolean call_decode(RpcCall *call, GError **err) {
        call->args = g_malloc0(MAX(call->proc->args_size, 1));
        call->ret = g_malloc0(MAX(call->proc->ret_size, 1));
        gboolean ok = rpc_packet_decode(call->packet, call->proc->args_xdr, call->args, err);
        g_clear_pointer(&call->packet, rpc_packet_free);
        return ok;
}

/* A handler that fails without saying why would leave the client waiting. */
static void call_encode(RpcCall *call, const GError *error) {
        RpcHeader header = call->header;
        header.type = RPC_TYPE_REPLY;
        header.status = RPC_STATUS_OK;
        g_autoptr(GError) err = NULL;
        if (!error)
                call->reply = rpc_packet_encode(&header, call->proc->ret_xdr, call->ret, &err);
        if (!call->reply)
                call->reply = rpc_packet_error(&call->header, RPC_TYPE_REPLY, error ? error : err);
        call_free_payload(call);
}

static void call_encode_failure(RpcCall *call, GError *err) {
        g_autoptr(GError) error = err;
        if (!error)
                error_set(&error, VIR_ERR_INTERNAL_ERROR, "%s failed", call->proc->api);
        call_encode(call, error);
}

static void call_run(gpointer data) {
        RpcCall *call = data;
        GError *err = NULL;
        if (call->interrupt)
                g_cancellable_push_current(call->interrupt);
        if (call_decode(call, &err) && call->proc->handler(call, &err))
                call_encode(call, NULL);
        else
                call_encode_failure(call, err);
        if (call->interrupt)
                g_cancellable_pop_current(call->interrupt);
}

static void call_take_autodestroy(RpcCall *call) {
        if (call->reply->header.status != RPC_STATUS_OK)
                return;
        if (call->client->closed)
                rpc_client_autodestroy(call->client, &call->guest);
        else
                rpc_client_note_guest(call->client, &call->guest);
}

static void call_done(gpointer data) {
        RpcCall *call = data;
        g_autoptr(RpcClient) client = call->client;
        if (call->interrupt) {
                (void) g_ptr_array_remove_fast(call->server->interruptible, call);
                g_clear_object(&call->interrupt);
        }
        client->user->input.used -= call->charged;
        if (call->autodestroy)
                call_take_autodestroy(call);
        gboolean ok = call->reply->header.status == RPC_STATUS_OK;
        rpc_client_reply(client, g_steal_pointer(&call->reply));
        if (call->stream && ok)
                rpc_stream_attach(call->stream, client, &call->header);
        else if (call->stream)
                rpc_stream_discard(call->stream, client);
        g_free(call);
}

void rpc_call_finish(RpcCall *call, const GError *err) {
        call_encode(call, err);
        call_done(call);
}

static void call_run_inline(RpcCall *call) {
        GError *err = NULL;
        if (!call_decode(call, &err) || !call->proc->handler(call, &err))
                call_encode_failure(call, err);
        else if (call->deferred)
                return;
        else
                call_encode(call, NULL);
        call_done(call);
}

void rpc_calls_interrupt(RpcServer *server, const RpcClient *client) {
        for (guint i = 0; i < server->interruptible->len; i++) {
                const RpcCall *call = g_ptr_array_index(server->interruptible, i);
                if (!client || (call->client == client && !(call->proc->flags & RPC_WRITE)))
                        g_cancellable_cancel(call->interrupt);
        }
}

static RpcLane call_lane(const RpcCall *call) {
        if (call->proc->flags & RPC_NEIGHBOUR)
                return RPC_LANE_NEIGHBOUR;
        return call->proc->flags & RPC_HIGH ? RPC_LANE_HIGH : RPC_LANE_NORMAL;
}

static void call_push(RpcCall *call) {
        RpcLane lane = call_lane(call);
        if (lane == RPC_LANE_NEIGHBOUR) {
                call->interrupt = g_cancellable_new();
                g_ptr_array_add(call->server->interruptible, call);
        }
        rpc_workers_push(call->server->workers, call->client->user, lane, call_run, call_done, call);
}

void rpc_call_start(RpcServer *server, RpcClient *client, const RpcProc *proc, RpcPacket *packet) {
        RpcCall *call = g_new0(RpcCall, 1);
        call->server = server;
        call->driver = server->driver;
        call->config = server->config;
        call->client = rpc_client_ref(client);
        call->proc = proc;
        call->header = packet->header;
        call->packet = packet;
        call->readonly = client->readonly;
        call->charged = packet->size;
        client->user->input.used += call->charged;
        if (proc->kind == RPC_KIND_INLINE)
                call_run_inline(call);
        else
                call_push(call);
}
