/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains that do not run, with their files in a temporary directory: several clients at once, and disks that fail. The
 * integration tests have those that need a monitor.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "domain/internal.h"
#include "util/error.h"

#define UUID_A "5f2e1d1c-0a3b-4c5d-8e7f-112233445566"
#define UUID_B "6a2e1d1c-0a3b-4c5d-8e7f-112233445566"
#define ROUNDS 60 /* of races, which either side may win */

typedef struct Fixture {
        char *dir;
        DriverConfig *config;
        Driver *driver;
} Fixture;

static void fixture_up(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        f->dir = g_dir_make_tmp("domain-XXXXXX", NULL);
        g_autofree char *file = g_build_filename(f->dir, "conf", NULL);
        g_autofree char *text = g_strdup_printf("config_dir = \"%s/etc\"\nstate_dir = \"%s/state\"\n", f->dir, f->dir);
        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        f->config = driver_config_load(file, &err);
        g_assert_no_error(err);
        f->driver = driver_new(f->config, &err);
        g_assert_no_error(err);
}

static void remove_tree(const char *path) {
        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK) && g_file_test(path, G_FILE_TEST_IS_DIR)) {
                g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
                const char *name;
                while ((name = g_dir_read_name(dir))) {
                        g_autofree char *child = g_build_filename(path, name, NULL);
                        remove_tree(child);
                }
        }
        (void) g_remove(path);
}

static void fixture_down(Fixture *f, gconstpointer unused) {
        driver_free(f->driver);
        driver_config_free(f->config);
        remove_tree(f->dir);
        g_free(f->dir);
}

static Domain *define(Driver *driver, const char *name, const char *uuid, GError **err) {
        g_autofree char *xml = g_strdup_printf(
                "<domain type='kvm'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os>"
                "<type arch='x86_64'>hvm</type><kernel>/vmlinuz</kernel></os></domain>",
                name, uuid);
        return driver_define_xml(driver, xml, 0, err);
}

static Domain *must_define(Fixture *f, const char *name, const char *uuid) {
        g_autoptr(GError) err = NULL;
        Domain *d = define(f->driver, name, uuid, &err);
        g_assert_no_error(err);
        return d;
}

/* A file of the configuration directory, or NULL. */
static char *stored(Fixture *f, const char *file) {
        g_autofree char *path = g_build_filename(f->config->config_dir, file, NULL);
        char *text = NULL;
        (void) g_file_get_contents(path, &text, NULL, NULL);
        return text;
}

static gboolean holds(Fixture *f, const char *file, const char *uuid) {
        g_autofree char *text = stored(f, file);
        return text && strstr(text, uuid);
}

/* Tables and files say the same, also to the next daemon. */
static void assert_known(Fixture *f, const char *name, const char *uuid) {
        g_autoptr(Domain) d = driver_lookup_by_name(f->driver, name, NULL);
        g_autofree char *file = g_strconcat(name, ".xml", NULL);
        g_auto(DomainHandle) handle = { 0 };
        char text[37];
        g_assert_nonnull(d);
        domain_get_handle(d, &handle);
        domain_uuid_format(handle.uuid, text);
        g_assert_cmpstr(handle.name, ==, name);
        g_assert_cmpstr(text, ==, uuid);
        g_assert_true(holds(f, file, uuid));
}

static void assert_unknown(Fixture *f, const char *name) {
        g_autoptr(Domain) d = driver_lookup_by_name(f->driver, name, NULL);
        g_autofree char *file = g_strconcat(name, ".xml", NULL);
        g_autofree char *text = stored(f, file);
        g_assert_null(d);
        g_assert_null(text);
}

static unsigned count_domains(Fixture *f) {
        g_autoptr(GPtrArray) all = driver_list(f->driver, 0, NULL);
        return all->len;
}

/* Removes and forgets. */
static void drop(Domain *d) {
        g_autoptr(GError) err = NULL;
        g_assert_true(domain_undefine(d, 0, &err));
        domain_unref(d);
}

/* A request both to keep and to remove the same thing is refused, and the domain stays. */
static void test_undefine_flags(Fixture *f, gconstpointer unused) {
        static const guint contradictions[] = { 4 | 8, 32 | 64, 4 | 8 | 64 }; /* NVRAM, KEEP_NVRAM, TPM, KEEP_TPM */
        static const guint sound[] = { 4, 8, 32, 64, 4 | 64 };
        for (gsize i = 0; i < G_N_ELEMENTS(contradictions); i++) {
                g_autoptr(Domain) d = must_define(f, "a", UUID_A);
                g_autoptr(GError) err = NULL;
                g_assert_false(domain_undefine(d, contradictions[i], &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
                g_assert_nonnull(strstr(err->message, "cannot both keep and delete"));
                g_assert_cmpuint(count_domains(f), ==, 1);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(sound); i++) {
                g_autoptr(Domain) d = must_define(f, "a", UUID_A);
                g_assert_true(domain_undefine(d, sound[i], NULL));
                g_assert_cmpuint(count_domains(f), ==, 0);
        }
}

/* --- Locks ----------------------------------------------------------------------- */

/* The main loop counts domains at each event, so counting must not wait for a domain's lock. */
static void test_count_takes_no_lock(Fixture *f, gconstpointer unused) {
        g_autoptr(Domain) d = must_define(f, "a", UUID_A);
        domain_lock(d);
        g_assert_cmpuint(driver_count_active(f->driver), ==, 0);
        domain_unlock(d);
}

static gint marking_over;

static gpointer keep_marking(gpointer data) {
        for (gboolean on = TRUE; !g_atomic_int_get(&marking_over); on = !on)
                g_assert_true(domain_set_autostart(data, on, NULL));
        return NULL;
}

/* A job leaves the lock free while it writes, so a caller that asks for the state does not wait for the disk. */
static void test_lock_is_free_while_files_are_written(Fixture *f, gconstpointer unused) {
        g_autoptr(Domain) d = must_define(f, "a", UUID_A);
        gint64 deadline = g_get_monotonic_time() + 30 * G_TIME_SPAN_SECOND;
        gboolean seen = FALSE;
        g_atomic_int_set(&marking_over, 0);
        GThread *thread = g_thread_new("marks", keep_marking, d);
        while (!seen && g_get_monotonic_time() < deadline) {
                domain_lock(d);
                seen = d->job;
                domain_unlock(d);
        }
        g_atomic_int_set(&marking_over, 1);
        (void) g_thread_join(thread);
        g_assert_true(seen);
}

/* --- Names ------------------------------------------------------------------------ */

typedef struct Racer {
        Fixture *f;
        Domain *domain;   /* to rename to "b", or */
        const char *uuid; /* to define as "a" */
        gboolean ok;
        GError *err;
} Racer;

static gpointer rename_it(gpointer data) {
        Racer *racer = data;
        racer->ok = domain_rename(racer->domain, "b", &racer->err);
        return NULL;
}

static gpointer define_it(gpointer data) {
        Racer *racer = data;
        Domain *d = define(racer->f->driver, "a", racer->uuid, &racer->err);
        racer->ok = d != NULL;
        domain_unref(d);
        return NULL;
}

static void race(Racer *renamer, Racer *definer) {
        GThread *threads[2];
        g_assert_true(domain_job_begin(renamer->domain, NULL));
        domain_unlock(renamer->domain);
        threads[0] = g_thread_new("rename", rename_it, renamer);
        threads[1] = g_thread_new("define", define_it, definer);
        g_usleep(5000); /* both wait for the job by now */
        domain_lock(renamer->domain);
        domain_job_end(renamer->domain);
        for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
                (void) g_thread_join(threads[i]);
        g_assert_no_error(renamer->err);
        g_assert_true(renamer->ok);
}

/* Whichever comes first, the old name has no file, unless another domain has taken it. */
static void test_rename_against_redefinition(Fixture *f, gconstpointer unused) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                Domain *d = must_define(f, "a", UUID_A);
                Racer renamer = { .f = f, .domain = d }, definer = { .f = f, .uuid = UUID_A };
                race(&renamer, &definer);
                if (definer.err)
                        g_assert_cmpstr(definer.err->message, ==,
                                        "operation failed: domain 'b' is already defined with uuid " UUID_A);
                g_clear_error(&definer.err);
                assert_known(f, "b", UUID_A);
                assert_unknown(f, "a");
                g_assert_cmpuint(count_domains(f), ==, 1);
                drop(d);
        }
}

/* One of the two is refused, or gets the name; nothing is lost. */
static gpointer define_until_it_is(gpointer data) {
        Racer *racer = data;
        do {
                g_clear_error(&racer->err);
                (void) define_it(racer);
        } while (!racer->ok && error_code(racer->err) == VIR_ERR_OPERATION_FAILED);
        return NULL;
}

static void test_old_name_is_free_after_the_old_file(Fixture *f, gconstpointer unused) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                Domain *d = must_define(f, "a", UUID_A);
                g_assert_true(domain_set_autostart(d, TRUE, NULL));
                Racer renamer = { .f = f, .domain = d }, definer = { .f = f, .uuid = UUID_B };
                GThread *thread = g_thread_new("define", define_until_it_is, &definer);
                (void) rename_it(&renamer);
                (void) g_thread_join(thread);
                g_assert_no_error(renamer.err);
                g_assert_no_error(definer.err);
                assert_known(f, "b", UUID_A);
                assert_known(f, "a", UUID_B);
                g_assert_true(holds(f, "autostart/b.xml", UUID_A));
                g_assert_false(holds(f, "autostart/a.xml", UUID_A));
                drop(d);
                drop(driver_lookup_by_name(f->driver, "a", NULL));
        }
}

/* When the file of the new name cannot be made, everything is as before, and the new name is free. */
static void rename_against(Fixture *f, const char *file) {
        g_autofree char *obstacle = g_build_filename(f->config->config_dir, file, NULL);
        g_autoptr(GError) err = NULL;
        Domain *d = must_define(f, "a", UUID_A);
        g_assert_true(domain_set_autostart(d, TRUE, NULL));
        g_assert_cmpint(g_mkdir(obstacle, 0700), ==, 0);
        g_assert_false(domain_rename(d, "b", &err));
        g_assert_nonnull(err);
        assert_known(f, "a", UUID_A);
        g_assert_true(holds(f, "autostart/a.xml", UUID_A));
        assert_unknown(f, "b");
        g_assert_cmpint(g_rmdir(obstacle), ==, 0);
        g_assert_false(holds(f, "autostart/b.xml", UUID_A));
        Domain *other = must_define(f, "b", UUID_B);
        assert_known(f, "b", UUID_B);
        g_assert_cmpuint(count_domains(f), ==, 2);
        drop(other);
        drop(d);
}

static void test_rename_that_fails(Fixture *f, gconstpointer unused) {
        rename_against(f, "b.xml");
        rename_against(f, "autostart/b.xml");
}

/* --- Uids ------------------------------------------------------------------------- */

static void test_uids_are_not_shared(Fixture *f, gconstpointer unused) {
        const guint32 base = f->config->uid_base, last = base + 0xffff;
        g_assert_cmpuint(driver_take_uid(f->driver, 7), ==, base + 7);
        g_assert_cmpuint(driver_take_uid(f->driver, 0x10007), ==, base + 8); /* 65536 starts later */
        driver_note_uid(f->driver, base + 9);
        driver_note_uid(f->driver, base + 9); /* an older daemon gave it twice */
        driver_drop_uid(f->driver, base + 9);
        g_assert_cmpuint(driver_take_uid(f->driver, 9), ==, base + 10);
        driver_drop_uid(f->driver, base + 9);
        g_assert_cmpuint(driver_take_uid(f->driver, 9), ==, base + 9);
        g_assert_cmpuint(driver_take_uid(f->driver, 0xffff), ==, last);
        g_assert_cmpuint(driver_take_uid(f->driver, 0xffff), ==, base);
        driver_drop_uid(f->driver, last);
        g_assert_cmpuint(driver_take_uid(f->driver, 0xffff), ==, last);
}

/* --- Autostart -------------------------------------------------------------------- */

static char *autostart_note(Fixture *f, const char *name) {
        return g_build_filename(f->config->state_dir, "autostart", name, NULL);
}

static void set_note(Fixture *f, const char *name, const char *text) {
        g_autofree char *path = autostart_note(f, name);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

/* NULL: there is none. */
static char *get_note(Fixture *f, const char *name) {
        g_autofree char *path = autostart_note(f, name);
        char *text = NULL;
        (void) g_file_get_contents(path, &text, NULL, NULL);
        return text;
}

static void wait_for_no_note(Fixture *f, const char *name) {
        g_autofree char *path = autostart_note(f, name);
        for (int i = 0; i < 6000 && g_file_test(path, G_FILE_TEST_EXISTS); i++)
                g_usleep(10000);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static Domain *must_mark(Fixture *f, const char *name, const char *uuid) {
        Domain *d = must_define(f, name, uuid);
        g_assert_true(domain_set_autostart(d, TRUE, NULL));
        return d;
}

/* Of domains that cannot be started: the first daemon notes and tries them, later ones try what is noted. */
static void test_autostart_notes(Fixture *f, gconstpointer unused) {
        g_autoptr(Domain) a = must_mark(f, "a", UUID_A);
        g_autofree char *mark = g_build_filename(f->config->state_dir, "autostarted", NULL);
        driver_autostart(f->driver);
        g_assert_true(g_file_test(mark, G_FILE_TEST_EXISTS));
        wait_for_no_note(f, UUID_A);
        g_autoptr(Domain) b = must_mark(f, "b", UUID_B); /* since the boot: it has to wait for the next */
        driver_autostart(f->driver);
        g_assert_null(get_note(f, UUID_B));
        set_note(f, UUID_A, "2\n");
        set_note(f, "no-uuid.new", "");
        set_note(f, "7b2e1d1c-0a3b-4c5d-8e7f-112233445566", "0\n"); /* nobody's */
        driver_autostart(f->driver);
        wait_for_no_note(f, UUID_A);
        g_assert_null(get_note(f, "no-uuid.new"));
        g_assert_null(get_note(f, "7b2e1d1c-0a3b-4c5d-8e7f-112233445566"));
}

/* A daemon that ends leaves the rest to the next one. */
static void test_autostart_left(Fixture *f, gconstpointer unused) {
        domain_unref(must_mark(f, "a", UUID_A));
        g_atomic_int_set(&f->driver->stopping, TRUE);
        driver_autostart(f->driver);
        g_clear_pointer(&f->driver, driver_free);
        g_autofree char *text = get_note(f, UUID_A);
        g_assert_cmpstr(text, ==, "0\n");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* there may be no system bus to warn about */
#define ADD(name) g_test_add("/domain/" #name, Fixture, NULL, fixture_up, test_##name, fixture_down)
        ADD(undefine_flags);
        ADD(count_takes_no_lock);
        ADD(lock_is_free_while_files_are_written);
        ADD(rename_against_redefinition);
        ADD(old_name_is_free_after_the_old_file);
        ADD(rename_that_fails);
        ADD(uids_are_not_shared);
        ADD(autostart_notes);
        ADD(autostart_left);
        return g_test_run();
}
