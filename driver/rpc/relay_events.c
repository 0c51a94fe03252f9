/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client's registrations for events of the other daemons. The client knows a callback by
 * an id of ours, the other daemon by its own, which changes when the callback is
 * registered again after that daemon's restart. All of them have their id as the whole
 * reply to the registration, as the whole argument of the deregistration, and at the
 * beginning of each event.
 *
 * When the connection is lost while there are callbacks, it is soon made again without
 * waiting for a call, with growing pauses while that fails; and the callbacks are
 * registered again before any call. Events in between are missed, as by any client of a
 * daemon that restarts.
 */
#include <string.h>

#include "rpc/callbacks.h"
#include "rpc/relay_internal.h"
#include "util/error.h"

#define CALLBACK_ARGS_MAX 1024u /* an event's number and an object: name, UUID, id */
#define RECONNECT_MAX_S   30u   /* between two attempts; they begin at one second and double */

static gboolean read_id(const RpcPacket *packet, int *ret) {
        guint32 word;
        if (rpc_packet_payload_size(packet) < sizeof(word))
                return FALSE;
        memcpy(&word, packet->data + packet->payload, sizeof(word));
        *ret = (int) GUINT32_FROM_BE(word);
        return TRUE;
}

static void write_id(RpcPacket *packet, int id) {
        guint32 word = GUINT32_TO_BE((guint32) id);
        memcpy(packet->data + packet->payload, &word, sizeof(word));
}

static RelayCallback *callback_at(const RpcRelay *relay, guint index) {
        return &g_array_index(relay->callbacks, RelayCallback, index);
}

/* By the client's id; -1: none. */
static int callback_find(const RpcRelay *relay, int id) {
        for (guint i = 0; i < relay->callbacks->len; i++)
                if (callback_at(relay, i)->id == id)
                        return (int) i;
        return -1;
}

static gboolean check_register(const RpcRelay *relay, const RpcPacket *packet, GError **err) {
        if (relay->callbacks->len >= RPC_CALLBACKS_MAX)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "too many event callbacks");
        else if (rpc_packet_payload_size(packet) > CALLBACK_ARGS_MAX)
                error_set(err, VIR_ERR_RPC, "the arguments of an event callback are longer than %u bytes",
                          CALLBACK_ARGS_MAX);
        else
                return TRUE;
        return FALSE;
}

static gboolean call_deregister(RpcRelay *relay, RpcPacket *packet, RelayCall *ret, GError **err) {
        int index = read_id(packet, &ret->id) ? callback_find(relay, ret->id) : -1;
        if (index < 0) {
                return error_set(err, VIR_ERR_INVALID_ARG, "event callback %d is not registered", ret->id);
        }
        write_id(packet, callback_at(relay, (guint) index)->upstream);
        return TRUE;
}

gboolean relay_events_call(RpcRelay *relay, const RpcProc *proc, RpcPacket *packet, RelayCall *ret, GError **err) {
        if (proc->callback == RPC_CALLBACK_DEREGISTER)
                return call_deregister(relay, packet, ret, err);
        if (proc->callback != RPC_CALLBACK_REGISTER)
                return TRUE;
        if (!check_register(relay, packet, err))
                return FALSE;
        ret->args = g_bytes_new(packet->data + packet->payload, rpc_packet_payload_size(packet));
        return TRUE;
}

gboolean relay_events_drop(RpcRelay *relay, const RpcProc *proc, const RpcPacket *packet) {
        RpcHeader header = packet->header;
        int id, index = -1;
        if (proc->callback == RPC_CALLBACK_DEREGISTER && read_id(packet, &id))
                index = callback_find(relay, id);
        if (index < 0 || callback_at(relay, (guint) index)->upstream >= 0 ||
            (relay->phase == RELAY_GREETING && (guint) index == relay->restoring))
                return FALSE;
        (void) g_array_remove_index(relay->callbacks, (guint) index);
        if ((guint) index < relay->restoring)
                relay->restoring--;
        header.type = RPC_TYPE_REPLY;
        rpc_client_reply(relay->client, rpc_packet_new(&header, 0));
        return TRUE;
}

void relay_events_reply(RpcRelay *relay, const RelayCall *call, RpcPacket *reply) {
        const RpcProc *proc = rpc_proc_find(call->header.proc);
        RelayCallback callback = { .id = relay->last_id, .proc = call->header.proc };
        if (proc->callback == RPC_CALLBACK_DEREGISTER) {
                int index = callback_find(relay, call->id);
                if (index >= 0)
                        (void) g_array_remove_index(relay->callbacks, (guint) index);
        } else if (proc->callback == RPC_CALLBACK_REGISTER && read_id(reply, &callback.upstream)) {
                callback.args = g_bytes_ref(call->args);
                g_array_append_val(relay->callbacks, callback);
                relay->last_id = (relay->last_id + 1) & G_MAXINT;
                write_id(reply, callback.id);
        }
}

/* There, too, all kinds of events of a driver share their ids. */
gboolean relay_events_translate(RpcRelay *relay, RpcPacket *event) {
        int upstream;
        if (!read_id(event, &upstream) || upstream < 0)
                return FALSE;
        for (guint i = 0; i < relay->callbacks->len; i++) {
                if (callback_at(relay, i)->upstream != upstream)
                        continue;
                write_id(event, callback_at(relay, i)->id);
                return TRUE;
        }
        return FALSE;
}

/* --- A lost connection --- */

static gboolean reconnect(gpointer data) {
        RpcRelay *relay = data;
        relay->timer = 0;
        relay_connect(relay);
        return G_SOURCE_REMOVE;
}

void relay_events_lost(RpcRelay *relay) {
        for (guint i = 0; i < relay->callbacks->len; i++)
                callback_at(relay, i)->upstream = -1;
        if (relay->callbacks->len == 0 || relay->client->closed)
                return;
        relay->timer = g_timeout_add_seconds(relay->delay, reconnect, relay);
        relay->delay = MIN(2 * relay->delay, RECONNECT_MAX_S);
}

/* From relay->restoring on. */
static void restore_next(RpcRelay *relay) {
        if (relay->restoring < relay->callbacks->len) {
                const RelayCallback *callback = callback_at(relay, relay->restoring);
                relay_call_packet(relay, callback->proc, callback->args);
        } else {
                relay_set_ready(relay);
        }
}

void relay_events_restore(RpcRelay *relay) {
        relay->restoring = 0;
        restore_next(relay);
}

/* Its object may be gone. */
void relay_events_restored(RpcRelay *relay, const RpcPacket *reply) {
        RelayCallback *callback = callback_at(relay, relay->restoring);
        if (reply->header.status == RPC_STATUS_OK && read_id(reply, &callback->upstream)) {
                relay->restoring++;
        } else {
                g_info("libvirt's %s driver does not register an event callback again", relay_name(relay));
                (void) g_array_remove_index(relay->callbacks, relay->restoring);
        }
        restore_next(relay);
}
