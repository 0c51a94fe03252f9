/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon on the system bus: the name org.virtmicro1, an object for the manager and
 * one for every domain (units/org.virtmicro1.xml, docs/org.virtmicro1.5.scd).
 * All functions are for the main thread; the bus is served by another, whether or not the main loop turns.
 */
#pragma once

#include <glib.h>

#include "driver.h"

typedef struct DbusService DbusService;

/* Connects to the system bus. No bus is an error that a daemon can live with: log it and go on. */
DbusService *dbus_service_new(Driver *driver, GError **err);
/* Exports the objects, follows the driver's events, then asks for the name. */
gboolean dbus_service_start(DbusService *service, GError **err);
/* Gives the name back. Waits for operations that run, unanswered. NULL is fine; free it before the driver. */
void dbus_service_free(DbusService *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DbusService, dbus_service_free)
