/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making, changing and dropping definitions. The rules for names and UUIDs are
 * libvirt's: a definition may replace the one with the same name and UUID, and nothing
 * else may share either. Files change before memory does, all or nothing (persist.c), so
 * that an error leaves both as they were.
 */
#include <string.h>

#include "domain/internal.h"
#include "util/error.h"
#include "util/file.h"

#define UNDEFINE_FLAGS                                                                                                 \
        (VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM |       \
         VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | UNDEFINE_TPM | UNDEFINE_KEEP_TPM)
#define UNDEFINE_TPM      32u /* VIR_DOMAIN_UNDEFINE_TPM and _KEEP_TPM: libvirt has them from 8.9 on */
#define UNDEFINE_KEEP_TPM 64u

static DomainDef *parse(Driver *driver, const char *xml, gboolean validate, GError **err) {
        guint flags = (validate ? DOMAIN_PARSE_VALIDATE : 0) |
                      (driver->config->reject_legacy_devices ? DOMAIN_PARSE_REJECT_LEGACY : 0);
        DomainDef *def = domain_def_parse(xml, flags, driver->config->schema_dir, err);
        if (def)
                domain_def_drop_channel_paths(def, driver->config->state_dir);
        return def;
}

static void log_notes(const Domain *d, const DomainDef *def) {
        for (guint i = 0; i < def->notes->len; i++)
                domain_log(d, G_LOG_LEVEL_MESSAGE, "%s", (const char *) g_ptr_array_index(def->notes, i));
}

/* Fails unless `d`, which shares name or UUID with `def`, shares both. Lock held. */
static gboolean check_same(const Domain *d, const DomainDef *def, GError **err) {
        char uuid[37];
        domain_uuid_format(d->uuid, uuid);
        if (memcmp(d->uuid, def->uuid, 16) != 0) {
                return error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", def->name,
                                 uuid);
        }
        if (strcmp(d->name, def->name) != 0) {
                return error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' is already defined with uuid %s", d->name,
                                 uuid);
        }
        return TRUE;
}

/*
 * Begins the job of `d`, which `def` redefines. FALSE without an error: it was removed or renamed while this waited,
 * so another domain may be meant.
 */
static gboolean claim_existing(Domain *d, const DomainDef *def, GError **err) {
        g_autoptr(GError) busy = NULL;
        domain_lock(d);
        gboolean same = check_same(d, def, err);
        domain_unlock(d);
        if (!same)
                return FALSE;
        if (!domain_job_begin(d, &busy)) {
                if (error_code(busy) != VIR_ERR_NO_DOMAIN)
                        g_propagate_error(err, g_steal_pointer(&busy));
                return FALSE;
        }
        if (check_same(d, def, NULL))
                return TRUE;
        domain_job_end(d);
        return FALSE;
}

/* Adds a domain with *def (taken), its job held. NULL: name or UUID was taken meanwhile. */
static Domain *claim_new(Driver *driver, DomainDef **def) {
        Domain *d = domain_new(driver, *def);
        (void) domain_job_begin(d, NULL);
        if (driver_insert(driver, d)) {
                *def = NULL;
                return d;
        }
        d->def = NULL;
        domain_job_end(d);
        domain_unref(d);
        return NULL;
}

/*
 * Finds the domain that `def` redefines, or adds a new one made of *def (taken). The result has its job held.
 * *ret_new tells which. The loop only repeats when another thread wins a race for the name.
 */
static Domain *claim(Driver *driver, DomainDef **def, gboolean *ret_new, GError **err) {
        for (;;) {
                g_autoptr(GError) failed = NULL;
                Domain *d = driver_lookup_by_uuid(driver, (*def)->uuid, NULL);
                if (!d)
                        d = driver_lookup_by_name(driver, (*def)->name, NULL);
                *ret_new = !d;
                if (!d) {
                        d = claim_new(driver, def);
                        if (d)
                                return d;
                        continue;
                }
                if (claim_existing(d, *def, &failed))
                        return d;
                domain_unref(d);
                if (failed) {
                        g_propagate_error(err, g_steal_pointer(&failed));
                        return NULL;
                }
        }
}

/* Makes `def` (taken) the persistent definition. Lock and job held. */
static void set_persistent_def(Domain *d, DomainDef *def) {
        DomainDef **slot = domain_active(d) ? &d->newdef : &d->def;
        if (*slot != def)
                domain_def_free(*slot);
        *slot = def;
        d->persistent = TRUE;
}

Domain *driver_define_xml(Driver *driver, const char *xml, guint flags, GError **err) {
        if (!error_check_flags(flags, VIR_DOMAIN_DEFINE_VALIDATE, "virDomainDefineXMLFlags", err))
                return NULL;
        g_autoptr(DomainDef) def = parse(driver, xml, flags & VIR_DOMAIN_DEFINE_VALIDATE, err);
        gboolean is_new = FALSE;
        if (!def)
                return NULL;
        Domain *d = claim(driver, &def, &is_new, err);
        if (!d)
                return NULL;
        const DomainDef *wanted = is_new ? d->def : def;
        if (!(d->persistent ? config_save : config_create)(d, wanted, err)) {
                if (is_new)
                        driver_remove(d);
                domain_job_end(d);
                domain_unref(d);
                return NULL;
        }
        gboolean existed = d->persistent;
        log_notes(d, wanted);
        set_persistent_def(d, is_new ? d->def : g_steal_pointer(&def));
        event_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED,
                        existed ? VIR_DOMAIN_EVENT_DEFINED_UPDATED : VIR_DOMAIN_EVENT_DEFINED_ADDED);
        domain_job_end(d);
        return d;
}

Domain *driver_create_xml(Driver *driver, const char *xml, guint flags, GError **err) {
        const guint known = VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_VALIDATE | VIR_DOMAIN_START_BYPASS_CACHE |
                            VIR_DOMAIN_START_RESET_NVRAM;
        if (!error_check_flags(flags, known, "virDomainCreateXML", err))
                return NULL;
        g_autoptr(DomainDef) def = parse(driver, xml, flags & VIR_DOMAIN_START_VALIDATE, err);
        gboolean is_new = FALSE;
        if (!def)
                return NULL;
        Domain *d = claim(driver, &def, &is_new, err);
        if (!d)
                return NULL;
        if (domain_active(d)) {
                error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is already active", d->name);
                domain_job_end(d);
                domain_unref(d);
                return NULL;
        }
        log_notes(d, is_new ? d->def : def);
        DomainDef *previous = NULL;
        if (!is_new) {
                previous = d->def;
                d->def = g_steal_pointer(&def);
        }
        gboolean started = domain_start(d, flags & VIR_DOMAIN_START_PAUSED, err);
        if (previous && started) {
                domain_def_free(d->newdef);
                d->newdef = previous;
        } else if (previous) {
                domain_def_free(d->def);
                d->def = previous;
        } else if (!started) {
                driver_remove(d);
        }
        domain_job_end(d);
        if (!started)
                g_clear_pointer(&d, domain_unref);
        return d;
}

/* To remove and keep the same thing. This driver has neither, but asking for both is a mistake. */
static gboolean check_undefine_flags(guint flags, GError **err) {
        const guint nvram = VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
        const guint tpm = UNDEFINE_TPM | UNDEFINE_KEEP_TPM;
        if (!error_check_flags(flags, UNDEFINE_FLAGS, "virDomainUndefineFlags", err))
                return FALSE;
        if ((flags & nvram) == nvram)
                return error_set(err, VIR_ERR_OPERATION_INVALID, "cannot both keep and delete nvram");
        if ((flags & tpm) == tpm)
                return error_set(err, VIR_ERR_OPERATION_INVALID, "cannot both keep and delete TPM");
        return TRUE;
}

gboolean domain_undefine(Domain *d, guint flags, GError **err) {
        if (!check_undefine_flags(flags, err) || !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = FALSE;
        if (!d->persistent)
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot undefine transient domain");
        else
                ok = config_delete(d, d->name, err);
        if (ok) {
                event_lifecycle(d, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
                d->persistent = d->autostart = FALSE;
                g_clear_pointer(&d->newdef, domain_def_free);
                if (!domain_active(d))
                        driver_remove(d);
        }
        domain_job_end(d);
        return ok;
}

char *domain_get_xml(Domain *d, guint flags, GError **err) {
        const guint known =
                VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_UPDATE_CPU | VIR_DOMAIN_XML_MIGRATABLE;
        if (!error_check_flags(flags, known, "virDomainGetXMLDesc", err))
                return NULL;
        domain_lock(d);
        gboolean inactive = (flags & VIR_DOMAIN_XML_INACTIVE) || !domain_active(d);
        const DomainDef *def = inactive && d->newdef ? d->newdef : d->def;
        char *xml = domain_def_format(def, (inactive ? DOMAIN_FORMAT_INACTIVE : 0) |
                                                   (flags & VIR_DOMAIN_XML_SECURE ? DOMAIN_FORMAT_SECURE : 0));
        domain_unlock(d);
        return xml;
}

static gboolean check_renamable(const Domain *d, const char *name, GError **err) {
        if (domain_active(d))
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot rename active domain");
        else if (!d->persistent)
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot rename a transient domain");
        else if (g_str_equal(name, d->name))
                error_set(err, VIR_ERR_OPERATION_INVALID, "Can't rename domain to itself");
        else
                return domain_name_check(name, err);
        return FALSE;
}

/* While its files may have either name, the domain owns both: nobody else's files are mistaken for its own. */
static gboolean rename_to(Domain *d, const char *name, GError **err) {
        g_autofree char *old_name = g_strdup(d->name);
        g_autoptr(DomainDef) def = domain_def_copy(d->def);
        g_free(def->name);
        def->name = g_strdup(name);
        if (!driver_take_name(d, name)) {
                return error_set(err, VIR_ERR_OPERATION_INVALID, "domain with name '%s' already exists", name);
        }
        if (!config_rename(d, def, err)) {
                driver_drop_name(d->driver, name);
                return FALSE;
        }
        driver_set_name(d, name);
        domain_def_free(d->def);
        d->def = g_steal_pointer(&def);
        event_undefined_as(d, old_name);
        event_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_RENAMED);
        driver_drop_name(d->driver, old_name);
        return TRUE;
}

gboolean domain_rename(Domain *d, const char *name, GError **err) {
        if (!domain_job_begin(d, err))
                return FALSE;
        gboolean ok = check_renamable(d, name, err) && rename_to(d, name, err);
        domain_job_end(d);
        return ok;
}

gboolean domain_set_autostart(Domain *d, gboolean autostart, GError **err) {
        if (!domain_job_begin(d, err))
                return FALSE;
        gboolean ok = d->persistent;
        if (!ok)
                error_set(err, VIR_ERR_OPERATION_INVALID, "cannot set autostart for transient domain");
        else if ((ok = autostart_link(d, d->name, autostart, err)))
                d->autostart = autostart;
        domain_job_end(d);
        return ok;
}

/* A copy with the change made to it; NULL with *err set when it cannot be made. */
static DomainDef *with_metadata(const DomainDef *def, int type, const char *metadata, const char *key, const char *uri,
                                GError **err) {
        g_autoptr(DomainDef) copy = domain_def_copy(def);
        return domain_def_set_metadata(copy, type, metadata, key, uri, err) ? g_steal_pointer(&copy) : NULL;
}

gboolean domain_set_metadata(Domain *d, int type, const char *metadata, const char *key, const char *uri, guint flags,
                             GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        g_autoptr(DomainDef) live = NULL;
        g_autoptr(DomainDef) config = NULL;
        if (!error_check_flags(flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, "virDomainSetMetadata", err) ||
            !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &old_live, &old_config, err) &&
                      (!old_live || (live = with_metadata(old_live, type, metadata, key, uri, err))) &&
                      (!old_config || (config = with_metadata(old_config, type, metadata, key, uri, err))) &&
                      domain_replace_defs(d, &live, &config, NULL, NULL, err);
        if (ok)
                event_metadata(d, type, uri);
        domain_job_end(d);
        return ok;
}

char *domain_get_metadata(Domain *d, int type, const char *uri, guint flags, GError **err) {
        const guint both = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;
        DomainDef *live = NULL, *config = NULL;
        char *text = NULL;
        if (!error_check_flags(flags, both, "virDomainGetMetadata", err))
                return NULL;
        domain_lock(d);
        if ((flags & both) == both)
                error_set(err, VIR_ERR_INVALID_ARG,
                          "metadata is read from the live or the persistent definition, not both");
        else if (domain_affect(d, flags, &live, &config, err))
                text = domain_def_get_metadata(live ? live : config, type, uri, err);
        domain_unlock(d);
        return text;
}

char **domain_get_messages(Domain *d, guint flags, GError **err) {
        const guint known = VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING;
        if (!error_check_flags(flags, known, "virDomainGetMessages", err))
                return NULL;
        GPtrArray *texts = g_ptr_array_new();
        domain_lock(d);
        for (guint i = 0; i < d->def->notes->len && (flags == 0 || (flags & VIR_DOMAIN_MESSAGE_TAINTING)); i++)
                g_ptr_array_add(texts,
                                g_strdup_printf("converted: %s", (const char *) g_ptr_array_index(d->def->notes, i)));
        domain_unlock(d);
        g_ptr_array_add(texts, NULL);
        return (char **) g_ptr_array_free(texts, FALSE);
}
