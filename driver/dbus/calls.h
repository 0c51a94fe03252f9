/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * D-Bus calls that need a permission or may block: authorized without blocking the main
 * loop, run on a worker thread, answered from the main loop.
 */
#pragma once

#include <gio/gio.h>

#include "driver.h"

typedef struct Calls Calls;

/* Runs on a worker thread. TRUE answers the call, with *ret_text as its one value when that is set. */
typedef gboolean (*CallFunc)(Domain *domain, guint flags, char **ret_text, GError **err);

/* `finished` comes on the main thread when an operation has run, before its answer goes out. */
Calls *calls_new(void (*finished)(Domain *domain, gpointer data), gpointer data);
/* Waits for operations that run. No call is answered any more, and `finished` is not called again. */
void calls_free(Calls *calls);

/* Takes the invocation over. `action` is one of auth.h's. */
void calls_begin(Calls *calls, GDBusMethodInvocation *invocation, const char *action, CallFunc func, Domain *domain,
                 guint flags);
