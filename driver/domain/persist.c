/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What outlives the daemon, as files:
 *
 *   CONFIG_DIR/NAME.xml             the definition of a persistent domain
 *   CONFIG_DIR/NAME.xml.old         what had this name, and was not loaded, when it was defined; .o2 and so on
 *   CONFIG_DIR/autostart/NAME.xml   a link to it: start with the host
 *   STATE_DIR/NAME.xml              <domstatus>: a running domain, for re-adoption (status.c)
 *   STATE_DIR/NAME.ctl              its monitor's control socket (process/spawn.c)
 *   STATE_DIR/ID.CHANNEL.sock       a channel's socket (conf/domain_def.h)
 *   STATE_DIR/ID.DEVICE.fifo        on the way to a log file (domain/logs.c)
 *   STATE_DIR/NAME.exit             the monitor's reason for its end (vmm/ctl/ctl.h)
 *   STATE_DIR/ports/PORTID          the network of a port to be released (release.c)
 *   STATE_DIR/ports/owner-UUID      a domain all of whose former ports are to be released (release.c)
 *   STATE_DIR/autostart/UUID        a domain that is still to be started with the host (autostart.c)
 *   STATE_DIR/autostarted           all of those are noted
 *   STATE_DIR/lock                  the daemon's own (driver.c)
 *
 * A definition that cannot be read is reported and left alone: it is the operator's.
 *
 * Of several files one decides, and it changes in one step: a persistent domain exists, under a
 * name, exactly as long as CONFIG_DIR/NAME.xml does. A link without that file means nothing. So
 * everything else is created before that file and removed after it, and what a crash leaves behind
 * is either complete or meaningless:
 *
 *   define     (an old link of that name is removed, an ignored file gets a second name) the file
 *   undefine   the file, the link
 *   rename     a link of the new name, the file is renamed, its text follows, the old link
 *
 * A daemon that finds a file whose text has a different name completes the rename, and removes links
 * without a file. Nothing is written that the parser would refuse.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "domain/internal.h"
#include "util/error.h"
#include "util/file.h"

/* Files that are kept for one name: ".o99" is as long as ".old" and ".new", for which names leave room. */
#define KEPT_MAX 99u

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

/* The text of a file; NULL with *err set when the parser would refuse it, whatever a setter let through. */
static char *config_text(const Driver *driver, const DomainDef *def, GError **err) {
        g_autofree char *xml =
                domain_def_format(def, DOMAIN_FORMAT_INACTIVE | DOMAIN_FORMAT_SECURE | DOMAIN_FORMAT_OWN);
        g_autofree char *text = g_strdup_printf("<!--\n"
                                                "  This file belongs to virtmicrod, which may rewrite it at any time.\n"
                                                "  To change the domain:  virsh -c micro:///system edit DOMAIN\n"
                                                "-->\n%s",
                                                xml);
        g_autoptr(DomainDef) again = domain_def_parse(text, DOMAIN_PARSE_OWN, driver->config->schema_dir, err);
        if (again)
                return g_steal_pointer(&text);
        g_prefix_error(err, "the definition could not be read back: ");
        return NULL;
}

/* Writing is slow: the lock is dropped so that nobody, the main loop included, waits for the disk. */
gboolean config_save(Domain *d, const DomainDef *def, GError **err) {
        g_autofree char *path = config_path(d->driver, def->name);
        g_autofree char *text = config_text(d->driver, def, err);
        if (!text)
                return FALSE;
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

/* A link without a file. Failing to remove it does not fail the operation: it means nothing. */
static void drop_idle_link(Domain *d, const char *name) {
        g_autoptr(GError) err = NULL;
        if (!autostart_link(d, name, FALSE, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot remove a stale autostart link: %s", err->message);
}

/*
 * A file of the name that was not loaded, or whose domain had to give way to a running one (adopt.c), is its
 * operator's: it gets a second name, that of the definition is then taken by the new one. *ret_kept stays NULL when
 * there is none.
 */
static gboolean keep_ignored(const Driver *driver, const char *name, char **ret_kept, GError **err) {
        g_autofree char *path = config_path(driver, name);
        for (guint i = 1; i <= KEPT_MAX; i++) {
                g_autofree char *kept = i == 1 ? g_strconcat(path, ".old", NULL) : g_strdup_printf("%s.o%u", path, i);
                if (link(path, kept) == 0) {
                        *ret_kept = g_steal_pointer(&kept);
                        return TRUE;
                }
                if (errno == ENOENT)
                        return TRUE;
                if (errno != EEXIST)
                        return error_set_errno(err, errno, "cannot keep '%s', which was not loaded, as '%s'", path,
                                               kept);
        }
        return error_set(err, VIR_ERR_OPERATION_FAILED,
                         "'%s' was not loaded and cannot be kept: remove some of the files '%s.old' to '%s.o%u'", path,
                         path, path, KEPT_MAX);
}

/* Lock held; it is dropped while the disk is at work. */
static gboolean keep(Domain *d, const char *name, char **ret_kept, GError **err) {
        domain_unlock(d);
        gboolean ok = keep_ignored(d->driver, name, ret_kept, err);
        domain_lock(d);
        return ok;
}

static void drop_kept(Domain *d, const char *kept) {
        domain_unlock(d);
        (void) unlink(kept);
        domain_lock(d);
}

gboolean config_create(Domain *d, const DomainDef *def, GError **err) {
        g_autofree char *kept = NULL;
        if (!autostart_link(d, def->name, FALSE, err) || !keep(d, def->name, &kept, err))
                return FALSE;
        gboolean ok = config_save(d, def, err);
        if (kept && !ok)
                drop_kept(d, kept);
        else if (kept)
                domain_log(d, G_LOG_LEVEL_WARNING, "a definition of this name was not loaded, and is kept as '%s'",
                           kept);
        return ok;
}

gboolean config_delete(Domain *d, const char *name, GError **err) {
        g_autofree char *path = config_path(d->driver, name);
        domain_unlock(d);
        gboolean ok = file_remove(path, err);
        domain_lock(d);
        if (ok)
                drop_idle_link(d, name);
        return ok;
}

static gboolean rename_file(Domain *d, const char *from, const char *to, GError **err) {
        g_autofree char *path = config_path(d->driver, from);
        g_autofree char *target = config_path(d->driver, to);
        domain_unlock(d);
        gboolean ok = file_rename(path, target, err);
        domain_lock(d);
        return ok;
}

/* The file has its new name. FALSE with *err set: its text could not be written, and it has the old name again. */
static gboolean rename_text(Domain *d, const DomainDef *def, GError **err) {
        g_autoptr(GError) failed = NULL;
        if (config_save(d, def, &failed))
                return TRUE;
        if (!rename_file(d, def->name, d->name, NULL)) {
                domain_log(d, G_LOG_LEVEL_WARNING,
                           "the file of '%s' has the old name in its text until the daemon "
                           "starts again: %s",
                           def->name, failed->message);
                return TRUE;
        }
        g_propagate_error(err, g_steal_pointer(&failed));
        return FALSE;
}

gboolean config_rename(Domain *d, const DomainDef *def, GError **err) {
        g_autofree char *target = config_path(d->driver, def->name);
        if (g_file_test(target, G_FILE_TEST_EXISTS)) /* one that was ignored: its link stays its own */
                return error_set(err, VIR_ERR_OPERATION_FAILED, "there is a file '%s': repair or remove it", target);
        gboolean ok = (!d->autostart || autostart_link(d, def->name, TRUE, err)) &&
                      rename_file(d, d->name, def->name, err) && rename_text(d, def, err);
        drop_idle_link(d, ok ? d->name : def->name);
        return ok;
}

/* The name of a domain whose definition is in `file`, or NULL for files of another kind. */
static char *name_from_file(const char *file) {
        if (!g_str_has_suffix(file, ".xml"))
                return NULL;
        return g_strndup(file, strlen(file) - strlen(".xml"));
}

/* A rename that a crash interrupted, or an operator's `mv`: the file's name wins, and its text follows. */
static gboolean finish_rename(const Driver *driver, const char *name, DomainDef *def, GError **err) {
        g_autofree char *path = config_path(driver, name), *other = config_path(driver, def->name);
        if (g_file_test(other, G_FILE_TEST_EXISTS)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the domain in it is '%s', which has its own file",
                                 def->name);
        }
        if (!domain_name_check(name, err))
                return FALSE;
        g_message("'%s' was renamed from '%s'", path, def->name);
        g_free(def->name);
        def->name = g_strdup(name);
        g_autofree char *text = config_text(driver, def, err);
        return text && file_write_atomic(path, text, err);
}

static DomainDef *config_load_def(Driver *driver, const char *name, GError **err) {
        g_autofree char *path = config_path(driver, name);
        g_autofree char *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, err))
                return NULL;
        g_autoptr(DomainDef) def = domain_def_parse(text, DOMAIN_PARSE_OWN, driver->config->schema_dir, err);
        if (!def || (strcmp(def->name, name) != 0 && !finish_rename(driver, name, def, err)))
                return NULL;
        domain_def_drop_channel_paths(def, driver->config->state_dir); /* earlier versions kept them */
        return g_steal_pointer(&def);
}

/* FALSE when the daemon cannot read files at all: not to run is better than to hide domains. */
static gboolean config_load_one(Driver *driver, const char *name, gpointer unused, GError **err) {
        g_autoptr(GError) failed = NULL;
        g_autofree char *path = config_path(driver, name), *autostart = autostart_path(driver, name);
        DomainDef *def = config_load_def(driver, name, &failed);
        if (!def && file_error_is_shortage(failed)) {
                g_propagate_error(err, g_steal_pointer(&failed));
                return FALSE;
        }
        if (!def) {
                g_warning("the definition '%s' is ignored: %s", path, failed->message);
                return TRUE;
        }
        g_autoptr(Domain) d = domain_new(driver, def);
        d->persistent = TRUE;
        d->autostart = g_file_test(autostart, G_FILE_TEST_IS_SYMLINK);
        if (!driver_insert(driver, d))
                g_warning("the definition '%s' is ignored: another domain has its UUID", path);
        return TRUE;
}

gboolean persist_for_each(Driver *driver, const char *path, NameFunc fn, gpointer data, GError **err) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, err);
        const char *file;
        while (dir && (file = g_dir_read_name(dir))) {
                g_autofree char *name = name_from_file(file);
                if (name && !fn(driver, name, data, err))
                        return FALSE;
        }
        return dir != NULL;
}

static gboolean check_link(Driver *driver, const char *name, gpointer unused, GError **never) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = config_path(driver, name), *link = autostart_path(driver, name);
        if (!g_file_test(path, G_FILE_TEST_EXISTS) && !file_remove(link, &err))
                g_warning("%s", err->message);
        return TRUE;
}

gboolean config_load_all(Driver *driver, GError **err) {
        g_autofree char *autostart = g_build_filename(driver->config->config_dir, "autostart", NULL);
        return persist_for_each(driver, driver->config->config_dir, config_load_one, NULL, err) &&
               persist_for_each(driver, autostart, check_link, NULL, err);
}
