/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue with a lock. Events that only say that something has changed are queued once per
 * domain, since the receiver looks at the domain itself; a guest can cause any number of
 * these. Lifecycle events are dropped beyond EVENTS_MAX: then the bus is behind by
 * thousands of starts, and property changes carry the same information.
 */
#include "dbus/inbox.h"

#include <string.h>

#include "dbus/names.h"
#include "util/uuid.h"

#define EVENTS_MAX 16384u
#define TURN_ITEMS 32u /* at a time: a method call may be waiting */

struct Inbox {
        GMainContext *context;
        void (*handle)(InboxItem *item, gpointer data);
        void (*idle)(gpointer data);
        gpointer data;
        /* Under the lock. */
        GMutex lock;
        GQueue items;
        GHashTable *changed; /* uuid, in an item -> that item */
        GSource *source;     /* NULL: there is nothing to take */
};

static void item_free(gpointer data) {
        InboxItem *item = data;

        if (item->call)
                call_free(item->call);
        g_free(item->name);
        g_free(item);
}

/* NULL: there is none, and the source goes. */
static InboxItem *take(Inbox *inbox) {
        g_mutex_lock(&inbox->lock);
        InboxItem *item = g_queue_pop_head(&inbox->items);
        if (item && !item->call && !item->event)
                g_hash_table_remove(inbox->changed, item->uuid);
        if (!item)
                g_clear_pointer(&inbox->source, g_source_unref);
        g_mutex_unlock(&inbox->lock);
        return item;
}

static gboolean dispatch(gpointer data) {
        Inbox *inbox = data;

        for (guint i = 0; i < TURN_ITEMS; i++) {
                InboxItem *item = take(inbox);
                if (!item) {
                        inbox->idle(inbox->data);
                        return G_SOURCE_REMOVE;
                }
                inbox->handle(item, inbox->data);
                item_free(item);
        }
        return G_SOURCE_CONTINUE;
}

/* Lock held. */
static void put(Inbox *inbox, InboxItem *item) {
        g_queue_push_tail(&inbox->items, item);
        if (inbox->source)
                return;
        inbox->source = g_idle_source_new();
        g_source_set_priority(inbox->source, G_PRIORITY_DEFAULT);
        g_source_set_callback(inbox->source, dispatch, inbox, NULL);
        g_source_attach(inbox->source, inbox->context);
}

void inbox_put_event(Inbox *inbox, const DomainEvent *event) {
        gboolean lifecycle = event->type == VIR_DOMAIN_EVENT_ID_LIFECYCLE;

        g_mutex_lock(&inbox->lock);
        lifecycle = lifecycle && inbox->items.length < EVENTS_MAX;
        if (lifecycle || !g_hash_table_contains(inbox->changed, event->domain.uuid)) {
                InboxItem *item = g_new0(InboxItem, 1);
                memcpy(item->uuid, event->domain.uuid, sizeof(item->uuid));
                item->name = g_strdup(event->domain.name);
                if (lifecycle) {
                        item->event = lifecycle_event_name(event->lifecycle.event);
                        item->detail = lifecycle_detail_name(event->lifecycle.event, event->lifecycle.detail);
                } else {
                        g_hash_table_insert(inbox->changed, item->uuid, item);
                }
                put(inbox, item);
        }
        g_mutex_unlock(&inbox->lock);
}

void inbox_put_call(Inbox *inbox, Call *call) {
        InboxItem *item = g_new0(InboxItem, 1);

        item->call = call;
        g_mutex_lock(&inbox->lock);
        put(inbox, item);
        g_mutex_unlock(&inbox->lock);
}

Inbox *inbox_new(GMainContext *context, void (*handle)(InboxItem *item, gpointer data), void (*idle)(gpointer data),
                 gpointer data) {
        Inbox *inbox = g_new0(Inbox, 1);

        inbox->context = g_main_context_ref(context);
        inbox->handle = handle;
        inbox->idle = idle;
        inbox->data = data;
        g_mutex_init(&inbox->lock);
        g_queue_init(&inbox->items);
        inbox->changed = g_hash_table_new(uuid_hash, uuid_equal);
        return inbox;
}

void inbox_free(Inbox *inbox) {
        if (!inbox)
                return;
        if (inbox->source)
                g_source_destroy(inbox->source);
        g_clear_pointer(&inbox->source, g_source_unref);
        g_queue_clear_full(&inbox->items, item_free);
        g_hash_table_unref(inbox->changed);
        g_main_context_unref(inbox->context);
        g_mutex_clear(&inbox->lock);
        g_free(inbox);
}
