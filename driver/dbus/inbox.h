/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the main thread to the thread of D-Bus: the driver's events and the ends of operations, in their order. */
#pragma once

#include "dbus/calls.h"
#include "driver.h"

typedef struct Inbox Inbox;

typedef struct InboxItem {
        guint8 uuid[16];
        char *name;                 /* the domain's at the time of the event */
        const char *event, *detail; /* static; NULL: just a change */
        Call *call;                 /* an operation that has run; NULL: an event */
} InboxItem;

/* `handle` gets each item, and `idle` comes when they are through, for the time being; both in `context`. */
Inbox *inbox_new(GMainContext *context, void (*handle)(InboxItem *item, gpointer data), void (*idle)(gpointer data),
                 gpointer data);
void inbox_free(Inbox *inbox); /* the context does not run any more */

/* From the main thread. */
void inbox_put_event(Inbox *inbox, const DomainEvent *event);
void inbox_put_call(Inbox *inbox, Call *call); /* takes it */
