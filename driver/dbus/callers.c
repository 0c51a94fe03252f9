/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Anybody may send anything at any rate, and GLib would queue it all for the main context.
 * So calls are taken off the connection by a filter, which runs on GLib's own thread, and
 * wait here:
 *
 *   filter     a call that is too large, or beyond its sender's SENDER_CALLS_MAX, is refused
 *              at once; others wait for their sender's user id
 *   identify   asks the bus for it, once for all that a sender has waiting
 *   turn       when the context has nothing else to do: one call of the next user. Users
 *              take turns, so that a user's flood holds up that user alone
 *
 * Answers wait too: when more than SENT_MAX bytes of them have been queued, turns pause
 * until the bus has taken them.
 *
 * The lock guards what the filter sees, the table of senders; the rest belongs to the
 * context's thread.
 */
#include "dbus/callers.h"

#define CALL_BYTES_MAX   4096u /* of header and arguments; the longest of these is a name */
#define SENDER_CALLS_MAX 64u   /* that wait for its user id */
#define USER_CALLS_MAX   256u  /* that wait for a turn */
#define SENT_MAX         (1024u * 1024u)

#define LIMITS_EXCEEDED "org.freedesktop.DBus.Error.LimitsExceeded"

struct Callers {
        gatomicrefcount refs;
        GDBusConnection *bus;
        GMainContext *context;
        GCancellable *cancellable;
        guint filter;
        void (*handle)(BusCall *call, gpointer data);
        gpointer data;
        GMutex lock;
        GHashTable *senders; /* unique name -> Sender */
        gboolean ended;      /* under the lock */
        /* Context's thread. */
        GHashTable *users; /* uid -> User */
        GQueue turns;      /* User*: those with calls that wait */
        GSource *turn;     /* NULL: there is nothing to do, or answers are being sent */
        gboolean flushing;
        gsize sent;      /* bytes of answers since the last flush */
        guint under_way; /* questions to the bus */
};

/* A connection to the bus whose user is being asked for. */
typedef struct Sender {
        Callers *callers;
        char *name;
        GQueue calls; /* GDBusMessage*; under the lock */
} Sender;

typedef struct User {
        guint32 uid;
        GQueue calls; /* BusCall* */
} User;

static void sender_free(gpointer data) {
        Sender *sender = data;

        g_queue_clear_full(&sender->calls, g_object_unref);
        g_free(sender->name);
        g_free(sender);
}

static void user_free(gpointer data) {
        User *user = data;

        g_queue_clear_full(&user->calls, (GDestroyNotify) bus_call_free);
        g_free(user);
}

static void callers_unref(gpointer data) {
        Callers *callers = data;

        if (!g_atomic_ref_count_dec(&callers->refs))
                return;
        g_hash_table_unref(callers->senders);
        g_hash_table_unref(callers->users);
        g_object_unref(callers->cancellable);
        g_object_unref(callers->bus);
        g_main_context_unref(callers->context);
        g_mutex_clear(&callers->lock);
        g_free(callers);
}

/* Takes the message. */
static void refuse(GDBusConnection *bus, GDBusMessage *message, const char *text) {
        bus_call_fail(bus_call_new(bus, message), LIMITS_EXCEEDED, text);
}

/* --- Turns ------------------------------------------------------------------------ */

static void schedule(Callers *callers);

static void flushed(GObject *source, GAsyncResult *result, gpointer data) {
        Callers *callers = data;

        (void) g_dbus_connection_flush_finish(G_DBUS_CONNECTION(source), result, NULL);
        callers->under_way--;
        callers->flushing = FALSE;
        schedule(callers);
        callers_unref(callers);
}

static void flush(Callers *callers) {
        callers->flushing = TRUE;
        callers->sent = 0;
        callers->under_way++;
        g_atomic_ref_count_inc(&callers->refs);
        g_dbus_connection_flush(callers->bus, callers->cancellable, flushed, callers);
}

/* Takes one call of the user whose turn it is, who then queues behind the others. */
static BusCall *next_call(Callers *callers) {
        User *user = g_queue_pop_head(&callers->turns);
        BusCall *call = g_queue_pop_head(&user->calls);

        if (g_queue_is_empty(&user->calls))
                g_hash_table_remove(callers->users, GUINT_TO_POINTER(user->uid));
        else
                g_queue_push_tail(&callers->turns, user);
        return call;
}

static gboolean take_turn(gpointer data) {
        Callers *callers = data;

        callers->handle(next_call(callers), callers->data);
        if (callers->sent > SENT_MAX)
                flush(callers);
        if (!callers->flushing && !g_queue_is_empty(&callers->turns))
                return G_SOURCE_CONTINUE;
        g_clear_pointer(&callers->turn, g_source_unref);
        return G_SOURCE_REMOVE;
}

static void schedule(Callers *callers) {
        if (callers->turn || callers->flushing || g_queue_is_empty(&callers->turns) ||
            g_cancellable_is_cancelled(callers->cancellable))
                return;
        callers->turn = g_idle_source_new(); /* at idle's priority: events and answers go first */
        g_source_set_callback(callers->turn, take_turn, callers, NULL);
        g_source_attach(callers->turn, callers->context);
}

/* Takes the message. */
static void queue_call(Callers *callers, GDBusMessage *message, guint32 uid) {
        User *user = g_hash_table_lookup(callers->users, GUINT_TO_POINTER(uid));
        BusCall *call = bus_call_new(callers->bus, message);

        call->uid = uid;
        call->sent = &callers->sent;
        if (!user) {
                user = g_new0(User, 1);
                user->uid = uid;
                g_queue_init(&user->calls);
                g_hash_table_insert(callers->users, GUINT_TO_POINTER(uid), user);
                g_queue_push_tail(&callers->turns, user);
        }
        if (user->calls.length < USER_CALLS_MAX)
                g_queue_push_tail(&user->calls, call);
        else
                bus_call_fail(call, LIMITS_EXCEEDED, "too many calls of this user are waiting");
}

/* --- Who is it? --------------------------------------------------------------------- */

/* The sender's calls; removes it from the table. */
static GQueue *sender_take(Sender *sender) {
        Callers *callers = sender->callers;
        GQueue *calls = g_queue_new();

        g_mutex_lock(&callers->lock);
        *calls = sender->calls;
        g_queue_init(&sender->calls);
        (void) g_hash_table_remove(callers->senders, sender->name); /* frees it */
        g_mutex_unlock(&callers->lock);
        return calls;
}

static void identified(GObject *source, GAsyncResult *result, gpointer data) {
        Sender *sender = data;
        Callers *callers = sender->callers;
        GQueue *calls = sender_take(sender);
        g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
        guint32 uid = 0;
        GDBusMessage *message;

        if (reply)
                g_variant_get(reply, "(u)", &uid);
        while ((message = g_queue_pop_head(calls))) {
                if (reply)
                        queue_call(callers, message, uid);
                else
                        g_object_unref(message); /* it has left the bus: no answer is needed */
        }
        g_queue_free(calls);
        callers->under_way--;
        schedule(callers);
        callers_unref(callers);
}

static gboolean identify(gpointer data) {
        Sender *sender = data;
        Callers *callers = sender->callers;

        callers->under_way++;
        g_dbus_connection_call(callers->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                               "GetConnectionUnixUser", g_variant_new("(s)", sender->name), G_VARIANT_TYPE("(u)"),
                               G_DBUS_CALL_FLAGS_NONE, -1, callers->cancellable, identified, sender);
        return G_SOURCE_REMOVE;
}

/* --- The filter; on a thread of GLib's ------------------------------------------------ */

/* An object path may be as long as a message. */
static gsize message_size(GDBusMessage *message) {
        GVariant *body = g_dbus_message_get_body(message);
        gsize size = body ? g_variant_get_size(body) : 0;
        g_autofree guchar *fields = g_dbus_message_get_header_fields(message);
        for (const guchar *field = fields; *field != G_DBUS_MESSAGE_HEADER_FIELD_INVALID; field++)
                size += g_variant_get_size(g_dbus_message_get_header(message, *field));
        return size;
}

/* Takes the message. Lock held. NULL, or why it is refused; *ret_new is a sender to be asked about. */
static const char *keep(Callers *callers, GDBusMessage *message, Sender **ret_new) {
        const char *name = g_dbus_message_get_sender(message);
        Sender *sender = g_hash_table_lookup(callers->senders, name);

        if (callers->ended)
                return "the daemon ends";
        if (message_size(message) > CALL_BYTES_MAX)
                return "the call is too long";
        if (g_dbus_message_get_num_unix_fds(message) > 0)
                return "no method takes descriptors";
        if (sender && sender->calls.length >= SENDER_CALLS_MAX)
                return "too many calls of this connection are waiting";
        if (!sender) {
                *ret_new = sender = g_new0(Sender, 1);
                sender->callers = callers;
                sender->name = g_strdup(name);
                g_queue_init(&sender->calls);
                g_hash_table_insert(callers->senders, sender->name, sender);
                g_atomic_ref_count_inc(&callers->refs); /* until it is identified */
        }
        g_queue_push_tail(&sender->calls, message);
        return NULL;
}

static void ask_who(Callers *callers, Sender *sender) {
        g_autoptr(GSource) source = g_idle_source_new();

        g_source_set_priority(source, G_PRIORITY_DEFAULT);
        g_source_set_callback(source, identify, sender, NULL);
        g_source_attach(source, callers->context);
}

static GDBusMessage *filter(GDBusConnection *bus, GDBusMessage *message, gboolean incoming, gpointer data) {
        Callers *callers = data;
        Sender *added = NULL;
        const char *refusal;

        if (!incoming || g_dbus_message_get_message_type(message) != G_DBUS_MESSAGE_TYPE_METHOD_CALL ||
            !g_dbus_message_get_sender(message) ||
            g_strcmp0(g_dbus_message_get_interface(message), "org.freedesktop.DBus.Peer") == 0)
                return message;
        g_mutex_lock(&callers->lock);
        refusal = keep(callers, message, &added);
        g_mutex_unlock(&callers->lock);
        if (refusal)
                refuse(bus, message, refusal);
        if (added)
                ask_who(callers, added);
        return NULL;
}

/* --- Life ------------------------------------------------------------------------------ */

Callers *callers_new(GDBusConnection *bus, void (*handle)(BusCall *call, gpointer data), gpointer data) {
        Callers *callers = g_new0(Callers, 1);

        g_atomic_ref_count_init(&callers->refs);
        callers->bus = g_object_ref(bus);
        callers->context = g_main_context_ref_thread_default();
        callers->cancellable = g_cancellable_new();
        callers->handle = handle;
        callers->data = data;
        g_mutex_init(&callers->lock);
        callers->senders = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, sender_free);
        callers->users = g_hash_table_new_full(NULL, NULL, NULL, user_free);
        g_queue_init(&callers->turns);
        g_atomic_ref_count_inc(&callers->refs); /* the filter's */
        callers->filter = g_dbus_connection_add_filter(bus, filter, callers, callers_unref);
        return callers;
}

static gboolean has_senders(Callers *callers) {
        g_mutex_lock(&callers->lock);
        gboolean any = g_hash_table_size(callers->senders) > 0;
        g_mutex_unlock(&callers->lock);
        return any;
}

void callers_free(Callers *callers) {
        if (!callers)
                return;
        g_dbus_connection_remove_filter(callers->bus, callers->filter);
        g_mutex_lock(&callers->lock);
        callers->ended = TRUE;
        g_mutex_unlock(&callers->lock);
        g_cancellable_cancel(callers->cancellable);
        if (callers->turn)
                g_source_destroy(callers->turn);
        g_clear_pointer(&callers->turn, g_source_unref);
        while (callers->under_way > 0 || has_senders(callers))
                (void) g_main_context_iteration(callers->context, TRUE);
        g_queue_clear(&callers->turns);
        callers_unref(callers);
}
