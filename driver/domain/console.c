/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Consoles and channels of a running domain, for clients that want their bytes. The
 * monitor holds a pty's master or a channel's listening socket; a session opens the other
 * end, which terminals.c holds. One session per device: a second client is refused unless
 * it forces its way in, which cuts off the first, whose `kicked` then closes its stream.
 */
#include <string.h>

#include "domain/internal.h"
#include "util/error.h"

typedef struct Session {
        guint64 id;
        void (*kicked)(void *arg);
        void *arg;
} Session;

void console_sessions_free(Domain *d) {
        g_clear_pointer(&d->sessions, g_hash_table_unref);
}

void console_kick_all(Domain *d) {
        GHashTableIter iter;
        gpointer value;
        if (!d->sessions)
                return;
        g_hash_table_iter_init(&iter, d->sessions);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                ((Session *) value)->kicked(((Session *) value)->arg);
        g_hash_table_remove_all(d->sessions);
}

/* Makes room for a session on `path`, or fails because one exists. */
static gboolean session_claim(Domain *d, const char *path, gboolean force, GError **err) {
        Session *other = d->sessions ? g_hash_table_lookup(d->sessions, path) : NULL;
        if (other && !force) {
                return error_set(err, VIR_ERR_OPERATION_FAILED, "Active console session exists for this domain");
        }
        if (other) {
                other->kicked(other->arg);
                g_hash_table_remove(d->sessions, path);
        }
        return TRUE;
}

static guint64 session_add(Domain *d, const char *path, void (*kicked)(void *), void *arg) {
        Session *session = g_new0(Session, 1);
        *session = (Session) { .id = ++d->last_session, .kicked = kicked, .arg = arg };
        if (!d->sessions)
                d->sessions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_hash_table_insert(d->sessions, g_strdup(path), session);
        return session->id;
}

static int open_char(Domain *d, const DomainChar *chr, gboolean force, void (*kicked)(void *), void *arg,
                     guint64 *ret_session, GError **err) {
        if (!chr->path || (chr->backend != DOMAIN_CHAR_PTY && !(chr->backend == DOMAIN_CHAR_UNIX && chr->listen))) {
                error_set(err, VIR_ERR_INTERNAL_ERROR, "character device %s is not using a PTY", chr->alias);
                return -1;
        }
        if (!session_claim(d, chr->path, force, err))
                return -1;
        int fd = terminals_open(d->run.terminals, chr->path, err);
        if (fd >= 0)
                *ret_session = session_add(d, chr->path, kicked, arg);
        return fd;
}

int domain_open_console(Domain *d, const char *alias, guint flags, void (*kicked)(void *), void *arg,
                        guint64 *ret_session, GError **err) {
        int fd = -1;
        if (!error_check_flags(flags, VIR_DOMAIN_CONSOLE_FORCE | VIR_DOMAIN_CONSOLE_SAFE, "virDomainOpenConsole", err))
                return -1;
        domain_lock(d);
        const DomainChar *chr = domain_check_active(d, err) ? domain_def_find_console(d->def, alias) : NULL;
        if (chr)
                fd = open_char(d, chr, flags & VIR_DOMAIN_CONSOLE_FORCE, kicked, arg, ret_session, err);
        else if (domain_check_active(d, NULL))
                error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot find character device %s", alias ? alias : "(null)");
        domain_unlock(d);
        return fd;
}

static const DomainChar *find_channel(const DomainDef *def, const char *name) {
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_CHANNEL &&
                    (!name || g_strcmp0(chr->target_name, name) == 0 || g_strcmp0(chr->alias, name) == 0))
                        return chr;
        }
        return NULL;
}

gboolean domain_refuse_agent(const DomainDef *def, GError **err) {
        const DomainChar *agent = find_channel(def, "org.qemu.guest_agent.0");
        if (!agent)
                return error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
        if (g_strcmp0(agent->target_state, "connected") != 0)
                return error_set(err, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "the daemon does not speak to the guest agent; a client can, on the channel's '%s'",
                         agent->path);
}

int domain_open_channel(Domain *d, const char *name, guint flags, void (*kicked)(void *), void *arg,
                        guint64 *ret_session, GError **err) {
        int fd = -1;
        if (!error_check_flags(flags, VIR_DOMAIN_CHANNEL_FORCE, "virDomainOpenChannel", err))
                return -1;
        domain_lock(d);
        const DomainChar *chr = domain_check_active(d, err) ? find_channel(d->def, name) : NULL;
        if (chr)
                fd = open_char(d, chr, flags & VIR_DOMAIN_CHANNEL_FORCE, kicked, arg, ret_session, err);
        else if (domain_check_active(d, NULL))
                error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot find channel %s", name ? name : "(null)");
        domain_unlock(d);
        return fd;
}

static gboolean has_id(gpointer key, gpointer value, gpointer data) {
        return ((Session *) value)->id == *(guint64 *) data;
}

void domain_console_close(Domain *d, guint64 session) {
        domain_lock(d);
        if (d->sessions)
                (void) g_hash_table_foreach_remove(d->sessions, has_id, &session);
        domain_unlock(d);
}
