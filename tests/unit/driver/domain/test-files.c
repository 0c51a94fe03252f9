/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes that span files, interrupted at each step. The linker sends the calls by which driver/ changes files through
 * this program (--wrap), which counts them and at the n-th one either ends the process, as a crash would, or makes the
 * call fail. Each run is a process of its own, and so is the daemon that looks at the outcome.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/internal.h"
#include "util/error.h"

#define UUID "5f2e1d1c-0a3b-4c5d-8e7f-112233445566"

/* --- The calls -------------------------------------------------------------------------- */

static struct {
        gboolean armed, fails; /* else it ends the process */
        int left;              /* calls until then */
} trap;

static Driver *watched;

/* Nobody who asks for a domain waits for a disk. */
static void assert_unlocked(void) {
        g_autoptr(GPtrArray) all = driver_snapshot(watched);
        for (guint i = 0; i < all->len; i++) {
                Domain *d = g_ptr_array_index(all, i);
                g_assert_true(g_mutex_trylock(&d->lock));
                g_mutex_unlock(&d->lock);
        }
}

/* TRUE: this call has to fail. */
static gboolean trapped(void) {
        if (trap.armed)
                assert_unlocked();
        if (!trap.armed || --trap.left != 0)
                return FALSE;
        if (!trap.fails)
                _exit(0);
        errno = EIO;
        return TRUE;
}

#define WRAP(type, name, declaration, arguments)                                                                       \
        type __real_##name declaration;                                                                                \
        type __wrap_##name declaration;                                                                                \
        type __wrap_##name declaration {                                                                               \
                return trapped() ? -1 : __real_##name arguments;                                                       \
        }

WRAP(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
WRAP(int, symlink, (const char *target, const char *path), (target, path))
WRAP(int, link, (const char *path, const char *to), (path, to))
WRAP(int, unlink, (const char *path), (path))

/* open() with 64-bit offsets */
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) {
        va_list ap;
        va_start(ap, flags);
        mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return trapped() ? -1 : __real_open64(path, flags, mode);
}

/* --- What is done, in a daemon of its own --------------------------------------------------- */

typedef struct World {
        char *dir;
        DriverConfig config;
} World;

static World world_new(void) {
        World w = { .dir = g_dir_make_tmp("files-XXXXXX", NULL) };
        w.config = (DriverConfig) {
                .config_dir = g_build_filename(w.dir, "etc", NULL),
                .state_dir = g_build_filename(w.dir, "run", NULL),
                .vmm_path = (char *) "/nonexistent",
                .uid_base = 100000,
        };
        return w;
}

static void world_clear(World *w) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", w->dir);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_free(w->config.config_dir);
        g_free(w->config.state_dir);
        g_free(w->dir);
}

static Driver *begin(const World *w) {
        g_autoptr(GError) err = NULL;
        Driver *driver = driver_new(&w->config, &err);
        g_assert_no_error(err);
        watched = driver;
        return driver;
}

static Domain *find(Driver *driver, const char *name) {
        return driver_lookup_by_name(driver, name, NULL);
}

static gboolean define(Driver *driver, const char *title) {
        g_autofree char *xml = g_strdup_printf(
                "<domain type='kvm'><name>a</name><uuid>" UUID "</uuid><title>%s</title><memory unit='MiB'>64</memory>"
                "<vcpu>1</vcpu><os><type arch='x86_64'>hvm</type><kernel>/vmlinuz</kernel></os></domain>",
                title);
        g_autoptr(Domain) d = driver_define_xml(driver, xml, 0, NULL);
        return d != NULL;
}

static gboolean redefine(Driver *driver) {
        return define(driver, "two");
}

static gboolean first_define(Driver *driver) {
        return define(driver, "one");
}

static const char *const foreign[] = { "not a definition", "an older one" };

/* Files of the operator's that the daemon ignores, one of them under the name that is defined. */
static gboolean put_foreign(Driver *driver) {
        static const char *const names[] = { "a.xml", "a.xml.old" };
        gboolean ok = TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(foreign); i++) {
                g_autofree char *path = g_build_filename(driver->config->config_dir, names[i], NULL);
                ok = ok && g_file_set_contents(path, foreign[i], -1, NULL);
        }
        return ok;
}

static gboolean has_text(const char *dir_path, const char *text) {
        g_autoptr(GDir) dir = g_dir_open(dir_path, 0, NULL);
        const char *file;
        gboolean found = FALSE;
        while ((file = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(dir_path, file, NULL), *content = NULL;
                found |= g_file_get_contents(path, &content, NULL, NULL) && strcmp(content, text) == 0;
        }
        return found;
}

static gboolean undefine(Driver *driver) {
        g_autoptr(Domain) d = find(driver, "a");
        return domain_undefine(d, 0, NULL);
}

static gboolean rename_it(Driver *driver) {
        g_autoptr(Domain) d = find(driver, "a");
        return domain_rename(d, "b", NULL);
}

static gboolean mark(Driver *driver) {
        g_autoptr(Domain) d = find(driver, "a");
        return domain_set_autostart(d, TRUE, NULL);
}

static gboolean unmark(Driver *driver) {
        g_autoptr(Domain) d = find(driver, "a");
        return domain_set_autostart(d, FALSE, NULL);
}

/* What a client sees of the one domain there may be: "none", or its name, title, and mark. */
static char *describe(Driver *driver) {
        g_autoptr(GPtrArray) all = driver_list(driver, 0, NULL);
        g_assert_cmpuint(all->len, <=, 1);
        if (all->len == 0)
                return g_strdup("none");
        Domain *d = g_ptr_array_index(all, 0);
        return g_strdup_printf("%s '%s'%s%s", d->name, d->def->title, d->autostart ? " autostart" : "",
                               strcmp(d->name, d->def->name) == 0 ? "" : " with another name in its text");
}

typedef struct Case {
        const char *name;
        gboolean (*prepare[2])(Driver *driver);
        gboolean (*change)(Driver *driver);
        const char *before, *after;
} Case;

static const Case cases[] = {
        { "define", { NULL }, first_define, "none", "a 'one'" },
        { "define-over-foreign", { put_foreign }, first_define, "none", "a 'one'" },
        { "redefine", { first_define, mark }, redefine, "a 'one' autostart", "a 'two' autostart" },
        { "undefine", { first_define, mark }, undefine, "a 'one' autostart", "none" },
        { "rename", { first_define }, rename_it, "a 'one'", "b 'one'" },
        { "rename-marked", { first_define, mark }, rename_it, "a 'one' autostart", "b 'one' autostart" },
        { "autostart", { first_define }, mark, "a 'one'", "a 'one' autostart" },
        { "no-autostart", { first_define, mark }, unmark, "a 'one' autostart", "a 'one'" },
};

/* Runs a function in a child; its exit status. */
static int in_child(int (*fn)(const World *w, const Case *c), const World *w, const Case *c) {
        int status = 0;
        pid_t pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                _exit(fn(w, c));
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static int prepare(const World *w, const Case *c) {
        Driver *driver = begin(w);
        for (gsize i = 0; i < G_N_ELEMENTS(c->prepare) && c->prepare[i]; i++)
                g_assert_true(c->prepare[i](driver));
        driver_free(driver);
        return 0;
}

/* 1: it came to its end, so that there are no more steps. 0 comes from the trap. */
static int crash(const World *w, const Case *c) {
        Driver *driver = begin(w);
        trap.armed = TRUE;
        g_assert_true(c->change(driver));
        return 1;
}

/* Memory says what was answered. 1 when no call has failed. */
static int fail(const World *w, const Case *c) {
        Driver *driver = begin(w);
        trap.armed = trap.fails = TRUE;
        gboolean ok = c->change(driver);
        trap.armed = FALSE;
        g_autofree char *seen = describe(driver);
        g_assert_cmpstr(seen, ==, ok ? c->after : c->before);
        g_autofree char *path = g_build_filename(w->dir, "seen", NULL);
        g_assert_true(g_file_set_contents(path, seen, -1, NULL));
        driver_free(driver);
        return trap.left > 0;
}

/* The next daemon: the domain is there whole, as before or after, and can be changed to any state, for good. */
static int look(const World *w, const Case *c) {
        Driver *driver = begin(w);
        for (gsize i = 0; c->prepare[0] == put_foreign && i < G_N_ELEMENTS(foreign); i++)
                g_assert_true(has_text(w->config.config_dir, foreign[i]));
        g_autofree char *seen = describe(driver);
        if (strcmp(seen, c->before) != 0)
                g_assert_cmpstr(seen, ==, c->after);
        driver_free(driver);

        driver = begin(w); /* nothing is left that a third would see otherwise */
        g_autofree char *again = describe(driver);
        g_assert_cmpstr(again, ==, seen);
        g_autoptr(Domain) a = find(driver, "a");
        g_autoptr(Domain) b = find(driver, "b");
        if (a || b)
                g_assert_true(domain_undefine(a ? a : b, 0, NULL));
        driver_free(driver);

        driver = begin(w); /* what was undefined does not come back, nor what belonged to it */
        g_autofree char *gone = describe(driver);
        g_assert_cmpstr(gone, ==, "none");
        g_assert_true(first_define(driver));
        driver_free(driver);
        driver = begin(w);
        g_autofree char *fresh = describe(driver);
        g_assert_cmpstr(fresh, ==, "a 'one'");
        driver_free(driver);
        return 0;
}

/* Disk says what memory said. */
static int compare(const World *w, const Case *c) {
        g_autofree char *path = g_build_filename(w->dir, "seen", NULL), *seen = NULL;
        g_assert_true(g_file_get_contents(path, &seen, NULL, NULL));
        Driver *driver = begin(w);
        g_autofree char *found = describe(driver);
        g_assert_cmpstr(found, ==, seen);
        driver_free(driver);
        return 0;
}

/* TRUE when there are fewer than `step` calls. */
static gboolean run_step(const Case *c, int step, int (*interrupt)(const World *, const Case *)) {
        World w = world_new();
        g_assert_cmpint(in_child(prepare, &w, c), ==, 0);
        trap.left = step;
        gboolean over = in_child(interrupt, &w, c) == 1;
        if (interrupt == fail)
                g_assert_cmpint(in_child(compare, &w, c), ==, 0);
        g_assert_cmpint(in_child(look, &w, c), ==, 0);
        world_clear(&w);
        return over;
}

static void test_crash(gconstpointer data) {
        int step = 1;
        while (!run_step(data, step, crash))
                step++;
        g_assert_cmpint(step, >, 1);
}

static void test_failure(gconstpointer data) {
        int step = 1;
        while (!run_step(data, step, fail))
                step++;
        g_assert_cmpint(step, >, 1);
}

/* A name has room for what is appended to it, however often its file was ignored. */
static void test_long_name(void) {
        World w = world_new();
        g_autofree char *name = g_strnfill(DOMAIN_NAME_MAX, 'n'), *file = g_strconcat(name, ".xml", NULL),
                        *path = g_build_filename(w.config.config_dir, file, NULL),
                        *xml = g_strdup_printf("<domain type='kvm'><name>%s</name><memory unit='MiB'>64</memory><os>"
                                               "<type>hvm</type><kernel>/vmlinuz</kernel></os></domain>",
                                               name);
        driver_free(begin(&w));
        for (guint i = 1; i <= 3; i++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *text = g_strdup_printf("not a definition, the %uth", i);
                g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
                Driver *driver = begin(&w);
                g_autoptr(Domain) d = driver_define_xml(driver, xml, 0, &err);
                g_assert_no_error(err);
                g_assert_true(has_text(w.config.config_dir, text));
                g_assert_true(domain_undefine(d, 0, &err));
                driver_free(driver);
        }
        world_clear(&w);
}

int main(int argc, char **argv) {
        g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", TRUE));
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* failures of files are warnings */
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *crash_name = g_strdup_printf("/files/crash/%s", cases[i].name);
                g_autofree char *fail_name = g_strdup_printf("/files/failure/%s", cases[i].name);
                g_test_add_data_func(crash_name, &cases[i], test_crash);
                g_test_add_data_func(fail_name, &cases[i], test_failure);
        }
        g_test_add_func("/files/long-name", test_long_name);
        return g_test_run();
}
