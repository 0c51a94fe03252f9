/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event registrations. They are listed by kind of event and, for a single domain, by its
 * UUID, so that an event costs only what its listeners cost. A client also lists its own
 * in the order in which it made them.
 *
 * A stock client registers once for each kind and domain, and sorts out its own callbacks;
 * some speak the protocol themselves and register for each callback. So a few identical
 * ones are allowed, but not a thousand: each is sent every event.
 */
#include "rpc/callbacks.h"

#include <string.h>

#include "rpc/server_internal.h"
#include "util/error.h"

typedef struct Key {
        int event;
        gboolean one;
        guint8 uuid[16];
} Key;

typedef struct Listeners {
        Key key;
        GPtrArray *callbacks; /* RpcCallback* */
} Listeners;

static guint key_hash(gconstpointer data) {
        const Key *key = data;
        guint h = 5381 + (guint) key->event * 2 + (key->one ? 1 : 0);
        for (guint i = 0; i < sizeof(key->uuid); i++)
                h = h * 33 + key->uuid[i];
        return h;
}

static gboolean key_equal(gconstpointer data_a, gconstpointer data_b) {
        const Key *a = data_a, *b = data_b;
        return a->event == b->event && a->one == b->one && memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0;
}

static void listeners_free(gpointer data) {
        Listeners *listeners = data;
        g_ptr_array_unref(listeners->callbacks);
        g_free(listeners);
}

GHashTable *rpc_callbacks_new(void) {
        return g_hash_table_new_full(key_hash, key_equal, NULL, listeners_free);
}

static Key key_of(int event, const guint8 *uuid) {
        Key key = { .event = event, .one = uuid != NULL };
        if (uuid)
                memcpy(key.uuid, uuid, sizeof(key.uuid));
        return key;
}

static Listeners *listeners_of(GHashTable *table, int event, const guint8 *uuid) {
        Key key = key_of(event, uuid);
        return g_hash_table_lookup(table, &key);
}

static Listeners *listeners_make(GHashTable *table, int event, const guint8 *uuid) {
        Listeners *listeners = listeners_of(table, event, uuid);
        if (listeners)
                return listeners;
        listeners = g_new0(Listeners, 1);
        listeners->key = key_of(event, uuid);
        listeners->callbacks = g_ptr_array_new();
        g_hash_table_insert(table, &listeners->key, listeners);
        return listeners;
}

static gboolean is_alike(const RpcCallback *callback, int event, const guint8 *uuid) {
        return callback->event == event && callback->one == (uuid != NULL) &&
               (!uuid || memcmp(callback->uuid, uuid, sizeof(callback->uuid)) == 0);
}

static gboolean check_room(const RpcClient *client, int event, const guint8 *uuid, GError **err) {
        guint alike = 0;
        for (guint i = 0; i < client->callbacks->len; i++)
                alike += is_alike(g_ptr_array_index(client->callbacks, i), event, uuid) ? 1 : 0;
        if (client->callbacks->len >= RPC_CALLBACKS_MAX)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "too many event callbacks: a client may have %u",
                          RPC_CALLBACKS_MAX);
        else if (alike >= RPC_ALIKE_CALLBACKS_MAX)
                error_set(err, VIR_ERR_INTERNAL_ERROR,
                          "too many event callbacks: a client may have %u for one kind of "
                          "event and the same domains",
                          RPC_ALIKE_CALLBACKS_MAX);
        else if (!rpc_user_is_trusted(client->user) && client->user->callbacks >= RPC_USER_CALLBACKS_MAX)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "too many event callbacks: the clients of user %u have %u",
                          client->user->uid, RPC_USER_CALLBACKS_MAX);
        else
                return TRUE;
        return FALSE;
}

RpcCallback *rpc_callback_add(RpcClient *client, int id, int event, const guint8 *uuid, GError **err) {
        if (!check_room(client, event, uuid, err))
                return NULL;
        RpcCallback *callback = g_new0(RpcCallback, 1);
        callback->client = client;
        callback->id = id;
        callback->event = event;
        callback->one = uuid != NULL;
        if (uuid)
                memcpy(callback->uuid, uuid, sizeof(callback->uuid));
        g_ptr_array_add(client->callbacks, callback);
        client->user->callbacks++;
        g_ptr_array_add(listeners_make(client->server->callbacks, event, uuid)->callbacks, callback);
        return callback;
}

static void callback_unlist(RpcCallback *callback) {
        RpcClient *client = callback->client;
        Listeners *listeners =
                listeners_of(client->server->callbacks, callback->event, callback->one ? callback->uuid : NULL);
        (void) g_ptr_array_remove(listeners->callbacks, callback);
        if (listeners->callbacks->len == 0)
                (void) g_hash_table_remove(client->server->callbacks, &listeners->key);
        client->user->callbacks--;
}

gboolean rpc_callback_remove(RpcClient *client, RpcCallback *callback) {
        callback_unlist(callback);
        return g_ptr_array_remove(client->callbacks, callback); /* frees it */
}

void rpc_callbacks_drop(RpcClient *client) {
        for (guint i = 0; i < client->callbacks->len; i++)
                callback_unlist(g_ptr_array_index(client->callbacks, i));
        g_ptr_array_set_size(client->callbacks, 0);
}

static void receivers_add(GArray *receivers, const Listeners *listeners) {
        for (guint i = 0; listeners && i < listeners->callbacks->len; i++) {
                const RpcCallback *callback = g_ptr_array_index(listeners->callbacks, i);
                RpcReceiver receiver = { rpc_client_ref(callback->client), callback->id };
                g_array_append_val(receivers, receiver);
        }
}

static void receiver_clear(gpointer data) {
        rpc_client_unref(((RpcReceiver *) data)->client);
}

GArray *rpc_callbacks_find(GHashTable *table, int event, const guint8 uuid[16]) {
        GArray *receivers = g_array_new(FALSE, FALSE, sizeof(RpcReceiver));
        g_array_set_clear_func(receivers, receiver_clear);
        receivers_add(receivers, listeners_of(table, event, NULL));
        receivers_add(receivers, listeners_of(table, event, uuid));
        return receivers;
}
