/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What outlives the daemon, as files:
 *
 *   CONFIG_DIR/NAME.xml             the definition of a persistent domain
 *   CONFIG_DIR/autostart/NAME.xml   a link to it: start with the host
 *   STATE_DIR/NAME.xml              <domstatus>: a running domain, for re-adoption
 *   STATE_DIR/NAME.ctl              its monitor's control socket (process/spawn.c)
 *   STATE_DIR/ID.CHANNEL.sock       a channel's socket (conf/domain_def.h)
 *   STATE_DIR/NAME.exit             where the monitor says why it ended (vmm/ctl/ctl.h)
 *   STATE_DIR/lock, autostarted     of the daemon itself (driver.c)
 *
 * A definition that cannot be read is reported and left alone: it is the operator's.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "domain/internal.h"
#include "util/file.h"

char *config_path(const Driver *driver, const char *name) {
        g_autofree char *file = g_strconcat(name, ".xml", NULL);
        return g_build_filename(driver->config->config_dir, file, NULL);
}

static char *autostart_path(const Driver *driver, const char *name) {
        g_autofree char *file = g_strconcat(name, ".xml", NULL);
        return g_build_filename(driver->config->config_dir, "autostart", file, NULL);
}

char *state_path(const Driver *driver, const char *name, const char *suffix) {
        g_autofree char *file = g_strconcat(name, suffix, NULL);
        return g_build_filename(driver->config->state_dir, file, NULL);
}

/* Disks take their time: whoever looks at a domain, the main loop included, does not wait for them. */
gboolean config_save(Domain *d, const DomainDef *def, GError **err) {
        g_autofree char *path = config_path(d->driver, def->name);
        g_autofree char *xml = domain_def_format(def,
                                                 DOMAIN_FORMAT_INACTIVE | DOMAIN_FORMAT_SECURE | DOMAIN_FORMAT_OWN);
        g_autofree char *text = g_strdup_printf("<!--\n"
                                                "  This file belongs to virtmicrod, which may rewrite it at any time.\n"
                                                "  To change the domain:  virsh -c micro:///system edit DOMAIN\n"
                                                "-->\n%s", xml);
        domain_unlock(d);
        gboolean ok = file_write_atomic(path, text, err);
        domain_lock(d);
        return ok;
}

gboolean config_replace(Domain *d, DomainDef *def, GError **err) {
        if (!config_save(d, def, err)) {
                domain_def_free(def);
                return FALSE;
        }
        DomainDef **slot = domain_active(d) ? &d->newdef : &d->def;
        domain_def_free(*slot);
        *slot = def;
        return TRUE;
}

gboolean autostart_link(Domain *d, const char *name, gboolean on, GError **err) {
        g_autofree char *link = autostart_path(d->driver, name);
        g_autofree char *target = config_path(d->driver, name);
        domain_unlock(d);
        gboolean ok = on ? file_link_atomic(link, target, err) : file_remove(link, err);
        domain_lock(d);
        return ok;
}

gboolean config_delete(Domain *d, const char *name, GError **err) {
        g_autofree char *path = config_path(d->driver, name);
        if (!autostart_link(d, name, FALSE, err))
                return FALSE;
        domain_unlock(d);
        gboolean ok = file_remove(path, err);
        domain_lock(d);
        return ok;
}

/* The name of a domain whose definition is in `file`, or NULL for files of another kind. */
static char *name_from_file(const char *file) {
        if (!g_str_has_suffix(file, ".xml"))
                return NULL;
        return g_strndup(file, strlen(file) - strlen(".xml"));
}

static void config_load_one(Driver *driver, const char *name) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = config_path(driver, name);
        g_autofree char *autostart = autostart_path(driver, name);
        g_autofree char *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, &err)) {
                g_warning("cannot read '%s', so its domain is not known: %s", path, err->message);
                return;
        }
        DomainDef *def = domain_def_parse(text, DOMAIN_PARSE_OWN, driver->config->schema_dir, &err);
        if (!def || strcmp(def->name, name) != 0) {
                g_warning("ignoring '%s': %s", path, def ? "the file is not named after its domain" : err->message);
                domain_def_free(def);
                return;
        }
        domain_def_drop_channel_paths(def, driver->config->state_dir); /* earlier versions have kept them */
        g_autoptr(Domain) d = domain_new(driver, def);
        d->persistent = TRUE;
        d->autostart = g_file_test(autostart, G_FILE_TEST_IS_SYMLINK);
        if (!driver_insert(driver, d))
                g_warning("ignoring '%s': another domain has its UUID", path);
}

void config_load_all(Driver *driver) {
        g_autoptr(GDir) dir = g_dir_open(driver->config->config_dir, 0, NULL);
        const char *file;
        while (dir && (file = g_dir_read_name(dir))) {
                g_autofree char *name = name_from_file(file);
                if (name)
                        config_load_one(driver, name);
        }
}

gboolean status_write(const Driver *driver, const DomainDef *def, const DomainRuntime *run, int state, int reason,
                      GError **err) {
        g_autofree char *path = state_path(driver, def->name, ".xml");
        g_autofree char *live = domain_def_format(def, DOMAIN_FORMAT_STATUS | DOMAIN_FORMAT_SECURE);
        g_autofree char *terminals = terminals_format(run->terminals, def);
        g_autofree char *head = g_markup_printf_escaped(
                "<domstatus state='%d' reason='%d' pid='%d' start-time='%" G_GUINT64_FORMAT "' uid='%u' unit='%s' "
                "machine='%s' cgroup='%s' registered='%d' reboot-pending='%d' terminals='%s'>\n",
                state, reason, (int) vmm_pid(run->vmm), vmm_start_time(run->vmm), run->uid, run->unit, run->machine,
                run->cgroup ? run->cgroup : "", run->registered, run->reboot_pending,
                terminals);
        g_autofree char *text = g_strconcat(head, live, "</domstatus>\n", NULL);
        return file_write_atomic(path, text, err);
}

gboolean status_save(Domain *d, GError **err) {
        return status_write(d->driver, d->def, &d->run, d->state, d->reason, err);
}

void status_delete(Domain *d) {
        static const char *const suffixes[] = { ".xml", ".ctl", ".exit" };
        for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
                g_autofree char *path = state_path(d->driver, d->name, suffixes[i]);
                (void) g_unlink(path);
        }
}
