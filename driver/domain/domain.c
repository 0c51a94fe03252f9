/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domain object: birth, death, and the getters that need no job. A Domain lives in
 * the driver's tables from its definition (or creation) until it is neither persistent
 * nor active; handles of clients and callbacks hold references beyond that.
 */
#include <string.h>

#include "domain/internal.h"
#include "util/error.h"

Domain *domain_new(Driver *driver, DomainDef *def) {
        Domain *d = g_new0(Domain, 1);
        g_atomic_ref_count_init(&d->refs);
        d->driver = driver;
        memcpy(d->uuid, def->uuid, sizeof(d->uuid));
        g_mutex_init(&d->lock);
        g_cond_init(&d->job_done);
        d->ports = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        d->name = g_strdup(def->name);
        d->def = def;
        d->def->id = -1;
        d->state = VIR_DOMAIN_SHUTOFF;
        d->reason = VIR_DOMAIN_SHUTOFF_UNKNOWN;
        return d;
}

Domain *domain_ref(Domain *d) {
        g_atomic_ref_count_inc(&d->refs);
        return d;
}

void domain_unref(Domain *d) {
        if (!d || !g_atomic_ref_count_dec(&d->refs))
                return;
        console_sessions_free(d);
        g_hash_table_unref(d->ports);
        g_clear_pointer(&d->run.vmm, vmm_unref);
        g_free(d->run.unit);
        g_free(d->run.machine);
        g_free(d->run.cgroup);
        g_clear_pointer(&d->run.terminals, g_hash_table_unref);
        g_clear_pointer(&d->run.devices, device_ids_free);
        domain_def_free(d->def);
        domain_def_free(d->newdef);
        g_free(d->name);
        g_mutex_clear(&d->lock);
        g_cond_clear(&d->job_done);
        g_free(d);
}

gboolean domain_active(const Domain *d) {
        return d->def->id >= 0;
}

DomainDef *domain_persistent_def(const Domain *d) {
        if (!d->persistent)
                return NULL;
        return domain_active(d) ? d->newdef : d->def;
}

void domain_get_handle(Domain *d, DomainHandle *ret) {
        domain_lock(d);
        ret->name = g_strdup(d->name);
        memcpy(ret->uuid, d->uuid, sizeof(ret->uuid));
        ret->id = d->def->id;
        domain_unlock(d);
}

void domain_handle_clear(DomainHandle *handle) {
        g_clear_pointer(&handle->name, g_free);
}

gboolean domain_is_active(Domain *d) {
        domain_lock(d);
        gboolean active = domain_active(d);
        domain_unlock(d);
        return active;
}

gboolean domain_is_persistent(Domain *d) {
        domain_lock(d);
        gboolean persistent = d->persistent;
        domain_unlock(d);
        return persistent;
}

gboolean domain_is_updated(Domain *d) {
        domain_lock(d);
        gboolean updated = FALSE;
        if (domain_active(d) && d->newdef) {
                g_autoptr(DomainDef) started = domain_def_copy(d->newdef);
                started->memory.current_kib = started->memory.maximum_kib; /* as launch_new() does */
                g_autofree char *live = domain_def_format(d->def, DOMAIN_FORMAT_INACTIVE);
                g_autofree char *next = domain_def_format(started, DOMAIN_FORMAT_INACTIVE);
                updated = strcmp(live, next) != 0;
        }
        domain_unlock(d);
        return updated;
}

void domain_get_state(Domain *d, int *ret_state, int *ret_reason) {
        domain_lock(d);
        *ret_state = d->state;
        *ret_reason = d->reason;
        domain_unlock(d);
}

void domain_get_summary(Domain *d, DomainSummary *ret) {
        domain_lock(d);
        *ret = (DomainSummary) {
                .name = g_strdup(d->name),
                .id = d->def->id,
                .state = d->state,
                .reason = d->reason,
                .scope = g_strdup(d->run.unit),
                .title = g_strdup(d->def->title),
                .vcpus = d->def->vcpus,
                .memory_kib = d->def->memory.current_kib,
                .max_memory_kib = d->def->memory.maximum_kib,
                .persistent = d->persistent,
                .autostart = d->autostart,
        };
        memcpy(ret->uuid, d->uuid, sizeof(ret->uuid));
        domain_unlock(d);
}

void domain_summary_clear(DomainSummary *summary) {
        g_clear_pointer(&summary->name, g_free);
        g_clear_pointer(&summary->scope, g_free);
        g_clear_pointer(&summary->title, g_free);
}

char *domain_get_os_type(Domain *d) {
        return g_strdup("hvm");
}

guint64 domain_get_max_memory(Domain *d) {
        domain_lock(d);
        guint64 kib = d->def->memory.maximum_kib;
        domain_unlock(d);
        return kib;
}

gboolean domain_get_autostart(Domain *d) {
        domain_lock(d);
        gboolean autostart = d->autostart;
        domain_unlock(d);
        return autostart;
}

gboolean domain_affect(const Domain *d, guint flags, DomainDef **ret_live, DomainDef **ret_config, GError **err) {
        gboolean active = domain_active(d);
        if ((flags & (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)) == 0)
                flags |= active ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG;
        if ((flags & VIR_DOMAIN_AFFECT_LIVE) && !domain_check_active(d, err))
                return FALSE;
        if ((flags & VIR_DOMAIN_AFFECT_CONFIG) && !d->persistent) {
                return error_set(err, VIR_ERR_OPERATION_INVALID, "transient domains do not have any persistent config");
        }
        *ret_live = flags & VIR_DOMAIN_AFFECT_LIVE ? d->def : NULL;
        *ret_config = flags & VIR_DOMAIN_AFFECT_CONFIG ? domain_persistent_def(d) : NULL;
        return TRUE;
}
