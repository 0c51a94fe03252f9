/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks polkit whether the sender of a D-Bus call may do something. The subject is the
 * sender's bus name, so that there is no process id to race with. calls.c lets the
 * superuser pass without asking.
 */
#pragma once

#include "dbus/bus_call.h"

/* units/org.virtmicro1.policy */
#define AUTH_MONITOR "org.virtmicro1.monitor"
#define AUTH_MANAGE  "org.virtmicro1.manage"

/*
 * Asks without blocking; `done` gets the result. `domain` is what polkit rules see as
 * action.lookup("domain"). The user is prompted only when the caller's message allows it.
 */
void auth_check_async(const BusCall *call, const char *action, const char *domain, GCancellable *cancellable,
                      GAsyncReadyCallback done, gpointer data);
/* FALSE: denied (G_DBUS_ERROR_ACCESS_DENIED), or _AUTH_FAILED when a prompt that did not happen could change that. */
gboolean auth_check_finish(GAsyncResult *result, GError **err);
