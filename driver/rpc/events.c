/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain events to clients. Two generations of the protocol are served: registrations of
 * the newer one have an id of their own that each of their events starts with, and may be
 * limited to one domain; those of the older one are one per kind of event, without an id.
 *
 * Every kind that libvirt knows can be registered, even those that never occur: clients
 * such as `virsh event --all` give up at the first refusal.
 */
#include <string.h>

#include "rpc/callbacks.h"
#include "rpc/handlers.h"
#include "rpc/server_internal.h"
#include "util/error.h"

#define EVENTS_MAX 27 /* virDomainEventID up to MEMORY_DEVICE_SIZE_CHANGE */

/* Procedures that carry each kind of event; 0: the older protocol does not have it. */
static const struct EventProc {
        guint16 modern, legacy;
} event_procs[EVENTS_MAX] = {
        [VIR_DOMAIN_EVENT_ID_LIFECYCLE] = { 318, 107 },
        [VIR_DOMAIN_EVENT_ID_REBOOT] = { 319, 169 },
        [VIR_DOMAIN_EVENT_ID_RTC_CHANGE] = { 320, 170 },
        [VIR_DOMAIN_EVENT_ID_WATCHDOG] = { 321, 171 },
        [VIR_DOMAIN_EVENT_ID_IO_ERROR] = { 322, 172 },
        [VIR_DOMAIN_EVENT_ID_GRAPHICS] = { 323, 173 },
        [VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON] = { 324, 195 },
        [VIR_DOMAIN_EVENT_ID_CONTROL_ERROR] = { 325, 224 },
        [VIR_DOMAIN_EVENT_ID_BLOCK_JOB] = { 326, 241 },
        [VIR_DOMAIN_EVENT_ID_DISK_CHANGE] = { 327, 248 },
        [VIR_DOMAIN_EVENT_ID_TRAY_CHANGE] = { 328, 268 },
        [VIR_DOMAIN_EVENT_ID_PMWAKEUP] = { 329, 269 },
        [VIR_DOMAIN_EVENT_ID_PMSUSPEND] = { 330, 270 },
        [VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE] = { 331, 276 },
        [VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK] = { 332, 292 },
        [VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED] = { 333, 311 },
        [VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2] = { 339, 0 },
        [VIR_DOMAIN_EVENT_ID_TUNABLE] = { 346, 0 },
        [VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE] = { 348, 0 },
        [VIR_DOMAIN_EVENT_ID_DEVICE_ADDED] = { 354, 0 },
        [VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION] = { 359, 0 },
        [VIR_DOMAIN_EVENT_ID_JOB_COMPLETED] = { 363, 0 },
        [VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED] = { 367, 0 },
        [VIR_DOMAIN_EVENT_ID_METADATA_CHANGE] = { 379, 0 },
        [VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD] = { 385, 0 },
        [25 /* MEMORY_FAILURE, libvirt 6.9 */] = { 423, 0 },
        [26 /* MEMORY_DEVICE_SIZE_CHANGE, libvirt 7.9 */] = { 438, 0 },
};

/* The wire's shape of an event, whose strings stay the event's. */
typedef union EventPayload {
        rpc_domain_event domain;
        rpc_lifecycle_event lifecycle;
        rpc_io_error_event io_error;
        rpc_io_error_reason_event io_error_reason;
        rpc_disk_change_event disk_change;
        rpc_metadata_event metadata;
        rpc_agent_event agent;
        rpc_device_event device;
        rpc_tunable_event tunable;
} EventPayload;

static rpc_text text_or_empty(char *text) {
        return text ? text : (rpc_text) "";
}

/* Every payload starts with the domain. */
static xdrproc_t event_describe(const DomainEvent *event, rpc_domain domain, EventPayload *ret) {
        switch (event->type) {
        case VIR_DOMAIN_EVENT_ID_LIFECYCLE:
                ret->lifecycle = (rpc_lifecycle_event) { domain, event->lifecycle.event, event->lifecycle.detail };
                return (xdrproc_t) xdr_rpc_lifecycle_event;
        case VIR_DOMAIN_EVENT_ID_REBOOT:
                ret->domain = (rpc_domain_event) { domain };
                return (xdrproc_t) xdr_rpc_domain_event;
        case VIR_DOMAIN_EVENT_ID_IO_ERROR:
                ret->io_error = (rpc_io_error_event) { domain, text_or_empty(event->io_error.path),
                                                       text_or_empty(event->io_error.alias), event->io_error.action };
                return (xdrproc_t) xdr_rpc_io_error_event;
        case VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON:
                ret->io_error_reason =
                        (rpc_io_error_reason_event) { domain, text_or_empty(event->io_error.path),
                                                      text_or_empty(event->io_error.alias), event->io_error.action,
                                                      text_or_empty(event->io_error.reason) };
                return (xdrproc_t) xdr_rpc_io_error_reason_event;
        case VIR_DOMAIN_EVENT_ID_DISK_CHANGE:
                ret->disk_change = (rpc_disk_change_event) {
                        domain, event->disk_change.path ? (rpc_opt_text) &event->disk_change.path : NULL, NULL,
                        text_or_empty(event->disk_change.alias), event->disk_change.reason
                };
                return (xdrproc_t) xdr_rpc_disk_change_event;
        case VIR_DOMAIN_EVENT_ID_METADATA_CHANGE:
                ret->metadata =
                        (rpc_metadata_event) { domain, event->metadata.type,
                                               event->metadata.uri ? (rpc_opt_text) &event->metadata.uri : NULL };
                return (xdrproc_t) xdr_rpc_metadata_event;
        case VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE:
                ret->agent = (rpc_agent_event) { domain, event->agent.state, event->agent.reason };
                return (xdrproc_t) xdr_rpc_agent_event;
        case VIR_DOMAIN_EVENT_ID_DEVICE_ADDED:
        case VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED:
        case VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED:
                ret->device = (rpc_device_event) { domain, text_or_empty(event->device.alias) };
                return (xdrproc_t) xdr_rpc_device_event;
        case VIR_DOMAIN_EVENT_ID_TUNABLE:
                ret->tunable.dom = domain;
                return (xdrproc_t) xdr_rpc_tunable_event;
        default:
                return NULL;
        }
}

static void tunable_clear(const DomainEvent *event, EventPayload *payload) {
        if (event->type != VIR_DOMAIN_EVENT_ID_TUNABLE)
                return;
        payload->tunable.dom.name = NULL; /* the event's */
        xdr_free((xdrproc_t) xdr_rpc_tunable_event, &payload->tunable);
}

RpcPacket *rpc_event_encode(const DomainEvent *event, int callback_id, GError **err) {
        if (event->type < 0 || event->type >= EVENTS_MAX)
                return NULL;
        const struct EventProc *procs = &event_procs[event->type];
        gint32 proc = callback_id < 0 ? procs->legacy : procs->modern;
        rpc_domain domain = { .name = event->domain.name, .id = event->domain.id };
        memcpy(domain.uuid, event->domain.uuid, sizeof(domain.uuid));
        EventPayload payload = { 0 };
        xdrproc_t encode = event_describe(event, domain, &payload);
        if (!encode || proc == 0)
                return NULL;
        RpcPacket *packet = NULL;
        if (event->type != VIR_DOMAIN_EVENT_ID_TUNABLE ||
            rpc_params_put(event->tunable.params, event->tunable.n, RPC_TUNABLE_MAX, VIR_TYPED_PARAM_STRING_OKAY,
                           &payload.tunable.params.params_val, &payload.tunable.params.params_len, err))
                packet = rpc_packet_encode_event(proc, callback_id, encode, &payload, err);
        tunable_clear(event, &payload);
        return packet;
}

/* The same event for another callback: only its id differs. */
static RpcPacket *event_copy(const RpcPacket *event, int callback_id) {
        gsize size = rpc_packet_payload_size(event);
        guint32 id = GUINT32_TO_BE((guint32) callback_id);
        RpcPacket *packet = rpc_packet_new(&event->header, size);
        memcpy(packet->data + packet->payload, event->data + event->payload, size);
        if (callback_id >= 0)
                memcpy(packet->data + packet->payload, &id, sizeof(id));
        return packet;
}

/* Encoded once for each generation of the protocol in use. */
void rpc_events_deliver(RpcServer *server, const DomainEvent *event) {
        g_autoptr(GArray) receivers = rpc_callbacks_find(server->callbacks, event->type, event->domain.uuid);
        g_autoptr(RpcPacket) modern = NULL;
        g_autoptr(RpcPacket) legacy = NULL;
        for (guint i = 0; i < receivers->len; i++) {
                const RpcReceiver *receiver = &g_array_index(receivers, RpcReceiver, i);
                RpcPacket **packet = receiver->id < 0 ? &legacy : &modern;
                g_autoptr(GError) err = NULL;
                if (!*packet)
                        *packet = rpc_event_encode(event, receiver->id, &err);
                if (err)
                        g_warning("cannot send an event: %s", err->message);
                if (*packet && !receiver->client->closed)
                        rpc_client_send_event(receiver->client, event_copy(*packet, receiver->id));
        }
}

/* --- Registration; all of it runs on the main thread --- */

static gboolean event_check(int event, gboolean legacy, GError **err) {
        if (event >= 0 && event < EVENTS_MAX && (!legacy || event_procs[event].legacy != 0))
                return TRUE;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "unsupported event ID %d", event);
}

/* By id, or for id -1 by event. */
static RpcCallback *callback_find(RpcClient *client, int id, int event) {
        for (guint i = 0; i < client->callbacks->len; i++) {
                RpcCallback *callback = g_ptr_array_index(client->callbacks, i);
                if (callback->id == id && (id >= 0 || callback->event == event))
                        return callback;
        }
        return NULL;
}

static gboolean callback_remove(RpcClient *client, int id, int event, GError **err) {
        RpcCallback *callback = callback_find(client, id, event);
        if (callback)
                return rpc_callback_remove(client, callback);
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "domain event callback %d not registered", id >= 0 ? id : event);
}

static gboolean legacy_add(RpcClient *client, int event, GError **err) {
        if (!event_check(event, TRUE, err))
                return FALSE;
        if (!callback_find(client, -1, event))
                return rpc_callback_add(client, -1, event, NULL, err) != NULL;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "domain event %d already registered", event);
}

gboolean rpc_event_register(RpcCall *call, GError **err) {
        const rpc_int_opt_domain_args *args = call->args;
        RpcClient *client = call->client;
        const guint8 *uuid = args->dom ? (const guint8 *) args->dom->uuid : NULL;
        if (!event_check(args->value, FALSE, err))
                return FALSE;
        RpcCallback *callback = rpc_callback_add(client, client->last_callback_id, args->value, uuid, err);
        if (!callback)
                return FALSE;
        client->last_callback_id = (client->last_callback_id + 1) & G_MAXINT;
        ((rpc_int_ret *) call->ret)->value = callback->id;
        return TRUE;
}

gboolean rpc_event_deregister(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        if (args->value >= 0)
                return callback_remove(call->client, args->value, 0, err);
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "domain event callback %d not registered", args->value);
}

gboolean rpc_event_register_legacy(RpcCall *call, GError **err) {
        rpc_int_ret *ret = call->ret;
        ret->value = 1;
        return legacy_add(call->client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, err);
}

gboolean rpc_event_deregister_legacy(RpcCall *call, GError **err) {
        return callback_remove(call->client, -1, VIR_DOMAIN_EVENT_ID_LIFECYCLE, err);
}

gboolean rpc_event_register_any_legacy(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        return legacy_add(call->client, args->value, err);
}

gboolean rpc_event_deregister_any_legacy(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        return event_check(args->value, TRUE, err) && callback_remove(call->client, -1, args->value, err);
}
