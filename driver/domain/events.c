/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events travel from whatever thread notices them to the listeners on the main thread,
 * through one queue, so that every listener sees them in the order in which they
 * happened. Emitting takes only the queue's own lock and is allowed under any other.
 */
#include <string.h>

#include "domain/internal.h"

typedef struct Listener {
        guint id;
        DomainEventFunc func;
        gpointer data;
} Listener;

struct EventQueue {
        GMutex lock;
        GQueue pending;    /* DomainEvent* */
        GArray *listeners; /* Listener; main thread only */
        guint last_id;
        guint idle; /* source that delivers, 0: none is scheduled */
};

static void event_free(DomainEvent *event) {
        domain_handle_clear(&event->domain);
        switch (event->type) {
        case VIR_DOMAIN_EVENT_ID_METADATA_CHANGE:
                g_free(event->metadata.uri);
                break;
        case VIR_DOMAIN_EVENT_ID_IO_ERROR:
        case VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON:
                g_free(event->io_error.path);
                g_free(event->io_error.alias);
                g_free(event->io_error.reason);
                break;
        case VIR_DOMAIN_EVENT_ID_DISK_CHANGE:
                g_free(event->disk_change.path);
                g_free(event->disk_change.alias);
                break;
        case VIR_DOMAIN_EVENT_ID_DEVICE_ADDED:
        case VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED:
        case VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED:
                g_free(event->device.alias);
                break;
        case VIR_DOMAIN_EVENT_ID_TUNABLE:
                virTypedParamsFree(event->tunable.params, event->tunable.n);
                break;
        default:
                break;
        }
        g_free(event);
}

EventQueue *event_queue_new(void) {
        EventQueue *q = g_new0(EventQueue, 1);
        g_mutex_init(&q->lock);
        g_queue_init(&q->pending);
        q->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
        return q;
}

void event_queue_free(EventQueue *q) {
        if (q->idle > 0)
                g_source_remove(q->idle);
        g_queue_clear_full(&q->pending, (GDestroyNotify) event_free);
        g_array_unref(q->listeners);
        g_mutex_clear(&q->lock);
        g_free(q);
}

guint event_queue_add(EventQueue *q, DomainEventFunc func, gpointer data) {
        Listener listener = { .id = ++q->last_id, .func = func, .data = data };
        g_array_append_val(q->listeners, listener);
        return listener.id;
}

void event_queue_remove(EventQueue *q, guint id) {
        for (guint i = 0; i < q->listeners->len; i++) {
                if (g_array_index(q->listeners, Listener, i).id != id)
                        continue;
                g_array_remove_index(q->listeners, i);
                return;
        }
}

static DomainEvent *event_queue_pop(EventQueue *q) {
        g_mutex_lock(&q->lock);
        DomainEvent *event = g_queue_pop_head(&q->pending);
        if (!event)
                q->idle = 0;
        g_mutex_unlock(&q->lock);
        return event;
}

/* A listener may remove listeners, itself included, so walk by falling index. */
static void event_deliver(EventQueue *q, const DomainEvent *event) {
        for (guint i = q->listeners->len; i-- > 0;) {
                if (i >= q->listeners->len)
                        continue;
                Listener listener = g_array_index(q->listeners, Listener, i);
                listener.func(event, listener.data);
        }
}

static gboolean event_queue_dispatch(gpointer data) {
        EventQueue *q = data;
        DomainEvent *event;
        while ((event = event_queue_pop(q))) {
                event_deliver(q, event);
                event_free(event);
        }
        return G_SOURCE_REMOVE;
}

static void event_queue_push(EventQueue *q, DomainEvent *event) {
        g_mutex_lock(&q->lock);
        g_queue_push_tail(&q->pending, event);
        if (q->idle == 0)
                q->idle = g_idle_add_full(G_PRIORITY_DEFAULT, event_queue_dispatch, q, NULL);
        g_mutex_unlock(&q->lock);
}

static DomainEvent *event_new(Domain *d, int type) {
        DomainEvent *event = g_new0(DomainEvent, 1);
        event->type = type;
        event->domain.name = g_strdup(d->name);
        memcpy(event->domain.uuid, d->uuid, sizeof(event->domain.uuid));
        event->domain.id = d->def->id;
        return event;
}

void event_lifecycle(Domain *d, int what, int detail) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_LIFECYCLE);
        event->lifecycle.event = what;
        event->lifecycle.detail = detail;
        event_queue_push(d->driver->events, event);
}

void event_undefined_as(Domain *d, const char *old_name) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_LIFECYCLE);
        event->lifecycle.event = VIR_DOMAIN_EVENT_UNDEFINED;
        event->lifecycle.detail = VIR_DOMAIN_EVENT_UNDEFINED_RENAMED;
        g_free(event->domain.name);
        event->domain.name = g_strdup(old_name);
        event_queue_push(d->driver->events, event);
}

void event_simple(Domain *d, int type) {
        event_queue_push(d->driver->events, event_new(d, type));
}

void event_metadata(Domain *d, int type, const char *uri) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE);
        event->metadata.type = type;
        event->metadata.uri = g_strdup(uri);
        event_queue_push(d->driver->events, event);
}

static void event_io_error_one(Domain *d, int type, const DomainDisk *disk, int errnum, int action) {
        DomainEvent *event = event_new(d, type);
        event->io_error.path = g_strdup(disk->source ? disk->source : "");
        event->io_error.alias = g_strdup(disk->alias ? disk->alias : "");
        event->io_error.action = action;
        event->io_error.reason = g_strdup(ABS(errnum) == ENOSPC ? "enospc" : "");
        event_queue_push(d->driver->events, event);
}

void event_io_error(Domain *d, const DomainDisk *disk, int errnum, int action) {
        event_io_error_one(d, VIR_DOMAIN_EVENT_ID_IO_ERROR, disk, errnum, action);
        event_io_error_one(d, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, disk, errnum, action);
}

void event_disk_dropped(Domain *d, const DomainDisk *disk) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_DISK_CHANGE);
        event->disk_change.path = g_strdup(disk->source);
        event->disk_change.alias = g_strdup(disk->alias ? disk->alias : "");
        event->disk_change.reason = VIR_DOMAIN_EVENT_DISK_DROP_MISSING_ON_START;
        event_queue_push(d->driver->events, event);
}

void event_agent(Domain *d, gboolean connected) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE);
        event->agent.state = connected ? VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
                                       : VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED;
        event->agent.reason = VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL;
        event_queue_push(d->driver->events, event);
}

void event_device(Domain *d, int type, const char *alias) {
        DomainEvent *event = event_new(d, type);
        event->device.alias = g_strdup(alias);
        event_queue_push(d->driver->events, event);
}

void event_tunable(Domain *d, virTypedParameterPtr params, int n) {
        DomainEvent *event = event_new(d, VIR_DOMAIN_EVENT_ID_TUNABLE);
        event->tunable.params = params;
        event->tunable.n = n;
        event_queue_push(d->driver->events, event);
}
