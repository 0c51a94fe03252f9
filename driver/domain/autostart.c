/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains that start with the host: once in a boot, whatever becomes of the daemon meanwhile.
 *
 * The first daemon of a boot, whose state directory is empty, notes each marked domain that does not run:
 *
 *   STATE_DIR/autostart/UUID   it is still to be started; in it, how many attempts were begun
 *   STATE_DIR/autostarted      all of them are noted
 *
 * A note goes when its domain has been started, by anybody; when it cannot be started, for a reason of its own; and
 * when an operator destroys it or removes its mark. So the notes that a daemon finds are of starts that an earlier one
 * was stopped or killed in, and it repeats them. An attempt is counted before it is made, and uncounted when the
 * daemon's stop ended it: a domain that crashes the daemon does so ATTEMPTS_MAX times.
 *
 * The starts have threads of their own, as they may wait for other processes, which must not delay the end of a guest.
 * d->autostarting mirrors the note; both change under the domain's lock.
 */
#include <glib/gstdio.h>

#include "domain/internal.h"
#include "util/error.h"
#include "util/file.h"
#include "util/uuid.h"

#define TRIES_MAX    5u /* of one daemon, while another process does not answer in time */
#define ATTEMPTS_MAX 3u /* that the end of a daemon cut off */

static char *mark_path(const Driver *driver) {
        return g_build_filename(driver->config->state_dir, "autostarted", NULL);
}

static char *notes_path(const Driver *driver) {
        return g_build_filename(driver->config->state_dir, "autostart", NULL);
}

static char *note_path(const Domain *d) {
        g_autofree char *dir = notes_path(d->driver);
        char uuid[37];
        domain_uuid_format(d->uuid, uuid);
        return g_build_filename(dir, uuid, NULL);
}

static guint note_read(const Domain *d) {
        g_autofree char *path = note_path(d), *text = NULL;
        return g_file_get_contents(path, &text, NULL, NULL) ? (guint) g_ascii_strtoull(text, NULL, 10) : 0;
}

static void note_write(const Domain *d, guint attempts) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = note_path(d), *text = g_strdup_printf("%u\n", attempts);
        if (!file_write_atomic(path, text, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "if the daemon is restarted, it may not autostart: %s",
                           err->message);
}

void autostart_done(Domain *d) {
        g_autofree char *path = note_path(d);
        if (d->autostarting)
                (void) g_unlink(path);
        d->autostarting = FALSE;
}

/* --- One domain --------------------------------------------------------------------------- */

/* FALSE: it is no longer wanted. *ret_attempts is how many earlier daemons began. */
static gboolean begin(Domain *d, guint *ret_attempts) {
        domain_lock(d);
        *ret_attempts = note_read(d);
        if (*ret_attempts >= ATTEMPTS_MAX)
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot autostart: the daemon has ended in each of %u attempts",
                           *ret_attempts);
        if (!d->autostart || *ret_attempts >= ATTEMPTS_MAX)
                autostart_done(d);
        gboolean wanted = d->autostarting;
        if (wanted)
                note_write(d, *ret_attempts + 1);
        domain_unlock(d);
        return wanted;
}

static gboolean is_wanted(Domain *d) {
        domain_lock(d);
        gboolean wanted = d->autostarting && d->autostart;
        domain_unlock(d);
        return wanted;
}

/* The daemon ends: the next one repeats this start. */
static void leave(Domain *d, guint attempts) {
        domain_lock(d);
        if (d->autostarting)
                note_write(d, attempts);
        domain_unlock(d);
}

static void end(Domain *d) {
        domain_lock(d);
        autostart_done(d);
        domain_unlock(d);
}

/* While the host boots, libvirt's daemons may need longer to come up than the limit of one call. */
static void autostart_one(Domain *d, gpointer data) {
        guint attempts;
        if (driver_stopping(d->driver) || !begin(d, &attempts))
                return;
        for (guint tries = 1; is_wanted(d); tries++) {
                g_autoptr(GError) err = NULL;
                if (domain_create(d, 0, &err) || domain_is_active(d))
                        break;
                if (driver_stopping(d->driver)) {
                        leave(d, attempts);
                        return;
                }
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot autostart: %s", err->message);
                if (error_code(err) != VIR_ERR_OPERATION_TIMEOUT || tries == TRIES_MAX)
                        break;
        }
        end(d);
}

void autostart_resume(Domain *d) {
        domain_lock(d);
        if (d->autostarting && !domain_active(d))
                driver_run_start(d->driver, autostart_one, d, NULL);
        domain_unlock(d);
}

/* One that seems to run may only have been starting: adopt.c finds out. */
static void expect(Domain *d) {
        domain_lock(d);
        d->autostarting = TRUE;
        domain_unlock(d);
        autostart_resume(d);
}

/* --- All of them ---------------------------------------------------------------------------- */

static void expect_marked(Driver *driver) {
        g_autoptr(GError) err = NULL;
        g_autofree char *mark = mark_path(driver);
        g_autoptr(GPtrArray) marked =
                driver_list(driver, VIR_CONNECT_LIST_DOMAINS_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_INACTIVE, NULL);
        for (guint i = 0; i < marked->len; i++)
                note_write(g_ptr_array_index(marked, i), 0);
        if (!file_write_atomic(mark, "", &err))
                g_warning("a restart of the daemon would autostart domains again: %s", err->message);
        for (guint i = 0; i < marked->len; i++)
                expect(g_ptr_array_index(marked, i));
}

/* All notes are read before the first start, which writes there. */
static void expect_noted(Driver *driver) {
        g_autofree char *path = notes_path(driver);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        g_autoptr(GPtrArray) noted = g_ptr_array_new_with_free_func((GDestroyNotify) domain_unref);
        const char *name;
        while (dir && (name = g_dir_read_name(dir))) {
                guint8 uuid[16];
                g_autoptr(Domain) d = domain_uuid_parse(name, uuid) ? driver_lookup_by_uuid(driver, uuid, NULL) : NULL;
                g_autofree char *note = g_build_filename(path, name, NULL);
                if (d)
                        g_ptr_array_add(noted, g_steal_pointer(&d));
                else /* undefined since, or left by an interrupted write */
                        (void) g_unlink(note);
        }
        for (guint i = 0; i < noted->len; i++)
                expect(g_ptr_array_index(noted, i));
}

void driver_autostart(Driver *driver) {
        g_autofree char *mark = mark_path(driver);
        if (g_file_test(mark, G_FILE_TEST_EXISTS))
                expect_noted(driver);
        else
                expect_marked(driver);
}
