/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A table of the users that have clients or calls under way, and their counters. server.c
 * counts clients, conn.c bytes, callbacks.c registrations, workers.c calls.
 */
#include "rpc/users.h"

struct RpcUsers {
        GHashTable *by_uid; /* uid -> RpcUser*, without a reference */
};

RpcUsers *rpc_users_new(void) {
        RpcUsers *users = g_new0(RpcUsers, 1);
        users->by_uid = g_hash_table_new(NULL, NULL);
        return users;
}

void rpc_users_free(RpcUsers *users) {
        if (!users)
                return;
        g_hash_table_unref(users->by_uid);
        g_free(users);
}

RpcUser *rpc_users_get(RpcUsers *users, uid_t uid) {
        RpcUser *user = g_hash_table_lookup(users->by_uid, GUINT_TO_POINTER(uid));
        if (user)
                return rpc_user_ref(user);
        user = g_rc_box_new0(RpcUser);
        user->users = users;
        user->uid = uid;
        user->input.max = rpc_user_is_trusted(user) ? G_MAXSIZE : RPC_USER_INPUT_MAX;
        user->output.max = G_MAXSIZE; /* replies wait before they are made, events end their client */
        for (guint i = 0; i < G_N_ELEMENTS(user->waiting); i++)
                g_queue_init(&user->waiting[i]);
        g_hash_table_insert(users->by_uid, GUINT_TO_POINTER(uid), user);
        return user;
}

RpcUser *rpc_user_ref(RpcUser *user) {
        return g_rc_box_acquire(user);
}

static void user_clear(gpointer data) {
        RpcUser *user = data;
        g_hash_table_remove(user->users->by_uid, GUINT_TO_POINTER(user->uid));
}

void rpc_user_unref(RpcUser *user) {
        g_rc_box_release_full(user, user_clear);
}
