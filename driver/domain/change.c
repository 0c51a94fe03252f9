/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing the definitions of a domain: the live one, the persistent one, or both as one change. A change has up to
 * four steps, in the order in which they are most likely to fail, and each undoes those before it when it does:
 *
 *   the host        a scope's properties, threads' CPUs, a TAP's qdisc
 *   the status      of the live definition, for the next daemon
 *   the file        of the persistent definition
 *   memory          which cannot fail
 *
 * The first three drop the domain's lock while they wait. Events still change the live definition meanwhile (whether a
 * channel is connected), so a copy that replaces it takes over what they wrote. That is why this file is the only one
 * that replaces the definition of a running domain.
 */
#include "domain/internal.h"

static DomainChar *find_channel(const DomainDef *def, const char *alias) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_CHANNEL && g_strcmp0(chr->alias, alias) == 0)
                        return chr;
        }
        return NULL;
}

static void take_channel_states(DomainDef *to, DomainDef *from) {
        for (guint i = 0; i < to->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(to->chars, i);
                DomainChar *old = chr->device == DOMAIN_CHAR_CHANNEL ? find_channel(from, chr->alias) : NULL;
                if (!old)
                        continue;
                g_free(chr->target_state);
                chr->target_state = g_steal_pointer(&old->target_state);
        }
}

static void set_live(Domain *d, DomainDef *def) {
        take_channel_states(def, d->def);
        domain_def_free(d->def);
        d->def = def;
}

static void host_returns(Domain *d, HostFunc host, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        if (host && !host(d, d->def, data, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "a change that failed is still in force: %s", err->message);
}

/* The first two steps. */
static gboolean prepare_live(Domain *d, const DomainDef *live, HostFunc host, gconstpointer data, GError **err) {
        if (host && !host(d, live, data, err)) {
                host_returns(d, host, data); /* it may have been half applied */
                return FALSE;
        }
        if (status_write(d->driver, live, &d->run, d->state, d->reason, err))
                return TRUE;
        host_returns(d, host, data);
        return FALSE;
}

static void undo_live(Domain *d, HostFunc host, gconstpointer data) {
        host_returns(d, host, data);
        status_save_or_warn(d, "a restart of the daemon would find a change that failed");
}

gboolean domain_replace_defs(Domain *d, DomainDef **live, DomainDef **config, HostFunc host, gconstpointer data,
                             GError **err) {
        guint n_saved = d->n_status_saved;
        if (*live && !prepare_live(d, *live, host, data, err))
                return FALSE;
        if (*config && !config_replace(d, g_steal_pointer(config), err)) {
                if (*live)
                        undo_live(d, host, data);
                return FALSE;
        }
        if (*live) {
                set_live(d, g_steal_pointer(live));
                if (d->n_status_saved != n_saved) /* an event meanwhile has written the old definition */
                        status_save_or_warn(d, "a restart of the daemon would undo the last change");
        }
        return TRUE;
}

void domain_replace_live(Domain *d, DomainDef *live, const char *consequence) {
        set_live(d, live);
        status_save_or_warn(d, consequence);
}
