/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the clients of one user hold together. Limits are by user, because one user can have any number of clients; the
 * superuser has only those of each client. Main thread only.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "rpc/conn.h"
#include "rpc/dispatch.h"

#define RPC_USER_INPUT_MAX     (64u << 20) /* bytes of calls that are being received, wait, or are under way */
#define RPC_USER_OUTPUT_HIGH   (16u << 20) /* bytes not taken yet, above which no further call of the user is begun */
#define RPC_USER_EVENTS_MAX    (16u << 20) /* bytes of events not taken yet, above which the slowest client goes */
#define RPC_USER_CALLBACKS_MAX 8192u       /* registrations of events */

typedef struct RpcUsers RpcUsers;

struct RpcUser {
        RpcUsers *users; /* that it is listed in */
        uid_t uid;
        guint clients;   /* connections, the ones that wait to be served included */
        guint anonymous; /* of these, served and not authenticated */
        guint callbacks; /* registrations of events */
        gsize events;    /* bytes of events that clients have not taken */
        RpcBudget input, output;
        /* workers.c */
        GQueue waiting[RPC_LANES]; /* calls, by lane */
        guint running[RPC_LANES];  /* calls, by the lane whose workers they have */
        gboolean has_turn;
};

RpcUsers *rpc_users_new(void);
void rpc_users_free(RpcUsers *users); /* all users are gone by then */

/* A user's entry, made on demand; freed with the last reference. */
RpcUser *rpc_users_get(RpcUsers *users, uid_t uid);
RpcUser *rpc_user_ref(RpcUser *user);
void rpc_user_unref(RpcUser *user);

/* The superuser, to whom limits that protect users from each other do not apply. */
static inline gboolean rpc_user_is_trusted(const RpcUser *user) {
        return user->uid == 0;
}
