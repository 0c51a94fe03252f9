/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * D-Bus calls that need a permission or may block: authorized without blocking the thread
 * of D-Bus, run on a worker thread, answered on the former.
 */
#pragma once

#include "dbus/bus_call.h"
#include "driver.h"

typedef struct Calls Calls;
typedef struct Call Call;

/* Runs on a worker thread. TRUE answers the call, with *ret_text as its one value when that is set. */
typedef gboolean (*CallFunc)(Domain *domain, guint flags, char **ret_text, GError **err);

/*
 * `done` comes on the main thread when an operation has run, in the order of the driver's events; it takes the call to
 * the thread of D-Bus, where call_finish() answers it. All other functions are for the thread of D-Bus.
 */
Calls *calls_new(void (*done)(Call *call, gpointer data), gpointer data);
/*
 * From the main thread, with the context of D-Bus as the thread's default and not running any more. Waits for
 * operations that run. No call is answered any more, and `done` is not called again.
 */
void calls_free(Calls *calls);

/*
 * Takes the call. `action` is one of auth.h's; `waits` is for operations that may wait for another process. Of the
 * arguments nothing but flags is looked at before polkit's yes.
 */
void calls_begin(Calls *calls, BusCall *bus_call, const char *action, CallFunc func, gboolean waits, Domain *domain,
                 guint flags);

Domain *call_domain(const Call *call);
void call_finish(Call *call); /* answers, and frees it */
void call_free(gpointer call);
