/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One method call as it came from the bus, until it is answered. On the thread of D-Bus, and there alone. */
#pragma once

#include <gio/gio.h>

typedef struct BusCall {
        GDBusConnection *bus;
        GDBusMessage *message;
        guint32 uid; /* of the caller */
        gsize *sent; /* counts bytes of answers; NULL: not counted */
} BusCall;

/* Takes the message. */
BusCall *bus_call_new(GDBusConnection *bus, GDBusMessage *message);
void bus_call_free(BusCall *call); /* without an answer */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusCall, bus_call_free)

/* These answer and free it. A caller that wants no answer gets none. `body`: a tuple, taken if floating, or NULL. */
void bus_call_return(BusCall *call, GVariant *body);
void bus_call_fail(BusCall *call, const char *name, const char *text);
void bus_call_fail_error(BusCall *call, const GError *err); /* as names.h translates it */

const char *bus_call_path(const BusCall *call);
const char *bus_call_interface(const BusCall *call); /* "" when the message has none */
const char *bus_call_member(const BusCall *call);
const char *bus_call_sender(const BusCall *call);
GVariant *bus_call_arguments(const BusCall *call); /* a tuple with a reference */
