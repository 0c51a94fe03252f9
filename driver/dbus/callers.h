/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Incoming method calls: their users, limits, and turns. */
#pragma once

#include "dbus/bus_call.h"

typedef struct Callers Callers;

/*
 * From here on every method call on the connection but those of org.freedesktop.DBus.Peer comes to `handle`, in the
 * thread-default main context of the caller of this function, one at a time, and users take turns.
 */
Callers *callers_new(GDBusConnection *bus, void (*handle)(BusCall *call, gpointer data), gpointer data);
/* Ends it, with the context not running any more: turns the context until nothing of it is under way. */
void callers_free(Callers *callers);
