/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls to another process through a library that blocks without a time limit: libvirt's
 * client, the resolver. A Neighbour bounds how long a caller waits and how many threads
 * may be stuck.
 *
 * Waiting can be interrupted by the calling thread's current GCancellable
 * (g_cancellable_push_current()). The D-Bus calls of systemd/bus.c use the same one, so
 * that the start of an operation decides once what interrupts it.
 */
#pragma once

#include <gio/gio.h>

typedef struct Neighbour Neighbour;

/* Their data is a g_atomic_rc_box, since caller and thread may leave in either order. */
typedef struct NeighbourOps {
        gboolean (*run)(gpointer data, GError **err); /* on a thread of the neighbour's */
        void (*undo)(gpointer data);                  /* may be NULL: undoes a success that nobody awaits */
        void (*clear)(gpointer data);                 /* before the memory goes */
} NeighbourOps;

/* `name` and `hint` are for errors: "libvirt's network daemon", and what the operator should check. */
Neighbour *neighbour_new(const char *name, const char *hint, guint limit_ms);
void neighbour_free(Neighbour *neighbour); /* never waits; NULL is fine */

/*
 * Runs ops->run(data) and waits for it, at most the limit. FALSE: it has failed with *err; or it is still at work,
 * which is VIR_ERR_OPERATION_TIMEOUT, or VIR_ERR_OPERATION_ABORTED when the caller was interrupted. Then `data` is the
 * thread's alone but for the caller's reference.
 */
gboolean neighbour_call(Neighbour *neighbour, const NeighbourOps *ops, gpointer data, GError **err);

/* Does it leave callers waiting at present? */
gboolean neighbour_is_silent(Neighbour *neighbour);
