/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running domains that a daemon finds: the real driver, with a fake monitor for each domain and a status file as an
 * earlier daemon would have left it. There is no system bus, so nothing has a scope.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/internal.h"
#include "util/error.h"

#define MONITORS 5

typedef struct Fixture {
        char *dir;
        DriverConfig config;
        Driver *driver;
        Vmm *monitor[MONITORS]; /* what the earlier daemon had */
} Fixture;

static char *name_of(unsigned i) {
        return g_strdup_printf("vm%u", i);
}

static char *state_file(Fixture *f, unsigned i, const char *suffix) {
        g_autofree char *name = name_of(i), *file = g_strconcat(name, suffix, NULL);
        return g_build_filename(f->config.state_dir, file, NULL);
}

/* Starts a monitor that serves the domain's socket, and lets go of it. `mode`: of fake-monitor.c. */
static void start_monitor_as(Fixture *f, unsigned i, const char *mode) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = state_file(f, i, ".ctl"), *log = state_file(f, i, ".log");
        int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        VmmSpawn spawn = {
                .binary = g_getenv("FAKE_MONITOR"),
                .name = mode,
                .uuid = "u",
                .uid = getuid(),
                .socket_path = path,
                .log_fd = log_fd,
        };
        f->monitor[i] = vmm_spawn(&spawn, NULL, &err);
        g_assert_no_error(err);
        vmm_disconnect(f->monitor[i]);
        (void) close(log_fd);
}

static void start_monitor(Fixture *f, unsigned i) {
        start_monitor_as(f, i, "good");
}

static void write_status_with(Fixture *f, unsigned i, const char *more, const char *devices) {
        g_autofree char *path = state_file(f, i, ".xml");
        g_autofree char *text = g_strdup_printf(
                "<domstatus state='1' reason='1' pid='%d' start-time='%" G_GUINT64_FORMAT
                "' uid='%u' unit='vm%u.scope' "
                "machine='vm%u' cgroup='' registered='0'%s><domain type='kvm' id='%u'><name>vm%u</name>"
                "<uuid>5f2e1d1c-0a3b-4c5d-8e7f-11223344556%u</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os>"
                "<type arch='x86_64'>hvm</type><kernel>/vmlinuz</kernel></os>%s</domain></domstatus>",
                (int) vmm_pid(f->monitor[i]), vmm_start_time(f->monitor[i]), 100000 + i, i, i, more, i + 1, i, i,
                devices);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void write_status(Fixture *f, unsigned i, const char *more) {
        write_status_with(f, i, more, "");
}

static void set_up(Fixture *f, gconstpointer data) {
        *f = (Fixture) { .dir = g_dir_make_tmp("test-adopt-XXXXXX", NULL) };
        f->config = (DriverConfig) {
                .config_dir = g_build_filename(f->dir, "etc", NULL),
                .state_dir = g_build_filename(f->dir, "run", NULL),
                .vmm_path = (char *) "/nonexistent/virtmicro-vmm",
                .uid_base = 100000,
        };
        g_assert_cmpint(g_mkdir(f->config.state_dir, 0700), ==, 0);
}

static void begin(Fixture *f) {
        g_autoptr(GError) err = NULL;
        gint64 before = g_get_monotonic_time();
        f->driver = driver_new(&f->config, &err);
        g_assert_no_error(err);
        g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_TIME_SPAN_SECOND); /* it waits for no monitor */
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        while (g_main_context_iteration(NULL, FALSE)) /* ends that have not been delivered yet */
                ;
        for (unsigned i = 0; i < MONITORS; i++)
                if (f->monitor[i])
                        vmm_kill(f->monitor[i], SIGKILL);
        driver_free(f->driver);
        for (unsigned i = 0; i < MONITORS; i++)
                g_clear_pointer(&f->monitor[i], vmm_unref);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_free(f->config.config_dir);
        g_free(f->config.state_dir);
        g_free(f->dir);
}

static Domain *find(Fixture *f, unsigned i) {
        g_autoptr(GError) err = NULL;
        g_autofree char *name = name_of(i);
        Domain *d = driver_lookup_by_name(f->driver, name, &err);
        g_assert_no_error(err);
        return d;
}

static int state_of(Domain *d) {
        int state, reason;
        domain_get_state(d, &state, &reason);
        return state;
}

static void iterate_until_state(Domain *d, int state) {
        gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
        while (state_of(d) != state && g_get_monotonic_time() < deadline)
                if (!g_main_context_iteration(NULL, FALSE))
                        g_usleep(1000);
        g_assert_cmpint(state_of(d), ==, state);
}

/* They are children of this process, and nobody has reaped them. */
static gboolean lives(Fixture *f, unsigned i) {
        siginfo_t info = { 0 };
        g_assert_cmpint(waitid(P_PID, (id_t) vmm_pid(f->monitor[i]), &info, WEXITED | WNOHANG | WNOWAIT), ==, 0);
        return info.si_pid == 0;
}

static void wait_for_end(Fixture *f, unsigned i) {
        for (unsigned n = 0; n < 5000 && lives(f, i); n++)
                g_usleep(1000);
        g_assert_false(lives(f, i));
}

/* Four monitors that the host has stopped: the fifth is managed at once, and the four when they go on. */
static void test_mute_ones(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        for (unsigned i = 0; i < MONITORS; i++) {
                start_monitor(f, i);
                write_status(f, i, "");
                if (i < MONITORS - 1)
                        vmm_kill(f->monitor[i], SIGSTOP);
        }
        begin(f);
        g_assert_cmpuint(driver_count_active(f->driver), ==, MONITORS);
        g_autoptr(Domain) healthy = find(f, MONITORS - 1);
        gint64 before = g_get_monotonic_time();
        g_assert_true(domain_suspend(healthy, &err));
        g_assert_true(domain_resume(healthy, &err));
        g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_TIME_SPAN_SECOND);

        g_autoptr(Domain) mute = find(f, 0);
        g_autofree char *xml = domain_get_xml(mute, 0, &err);
        g_assert_nonnull(xml);
        g_assert_cmpint(state_of(mute), ==, VIR_DOMAIN_RUNNING);
        g_assert_false(domain_suspend(mute, &err));
        g_assert_nonnull(strstr(err->message, "does not answer"));
        g_clear_error(&err);
        vmm_kill(f->monitor[0], SIGCONT);
        before = g_get_monotonic_time();
        while (!domain_suspend(mute, NULL) && g_get_monotonic_time() - before < 20 * G_TIME_SPAN_SECOND)
                g_usleep(10000);
        g_assert_cmpint(state_of(mute), ==, VIR_DOMAIN_PAUSED);

        g_autoptr(Domain) unwanted = find(f, 1); /* still mute */
        g_assert_true(domain_destroy(unwanted, 0, &err));
        wait_for_end(f, 1);
}

/* What the monitor says wins over the file. */
static void test_state_is_the_monitors(Fixture *f, gconstpointer data) {
        start_monitor(f, 0);
        write_status(f, 0, " reboot-pending='1'");
        begin(f);
        g_autoptr(Domain) d = find(f, 0);
        domain_lock(d);
        d->state = VIR_DOMAIN_PAUSED; /* before its greeting is handed over, which the main loop does */
        domain_unlock(d);
        iterate_until_state(d, VIR_DOMAIN_RUNNING);
        gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
        while (d->run.reboot_pending && g_get_monotonic_time() < deadline)
                g_usleep(1000);
        g_assert_false(d->run.reboot_pending); /* power off is power off again */
}

static void test_lost(Fixture *f, gconstpointer data) {
        start_monitor(f, 0);
        write_status(f, 0, "");
        vmm_kill(f->monitor[0], SIGKILL);
        wait_for_end(f, 0);
        begin(f);
        gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
        while (driver_count_active(f->driver) > 0 && g_get_monotonic_time() < deadline)
                g_usleep(1000);
        g_assert_cmpuint(driver_count_active(f->driver), ==, 0);
}

/* A daemon without a descriptor to read with says so and ends. The guests run on, and the next daemon finds them. */
static void test_no_descriptors(Fixture *f, gconstpointer data) {
        struct rlimit limit, few;
        start_monitor(f, 0);
        write_status(f, 0, "");
        begin(f); /* makes what is made once */
        driver_free(g_steal_pointer(&f->driver));
        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        int lowest = dup(STDIN_FILENO);
        (void) close(lowest);
        gboolean begun = FALSE, refused = FALSE;
        for (unsigned spare = 0; !begun; spare++) { /* whichever step runs out of them */
                g_autoptr(GError) err = NULL;
                few = (struct rlimit) { .rlim_cur = (rlim_t) lowest + spare, .rlim_max = limit.rlim_max };
                g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
                f->driver = driver_new(&f->config, &err);
                g_assert_true(lives(f, 0));
                begun = f->driver != NULL;
                refused |= !begun;
                g_assert_true(begun || err);
        }
        g_assert_true(refused);
        g_assert_cmpuint(driver_count_active(f->driver), ==, 1);
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        g_autoptr(Domain) d = find(f, 0);
        g_autoptr(GError) err = NULL;
        g_assert_true(domain_suspend(d, &err));
}

/* A status that is of no use, and no scope to find its monitor by: the guest is not doubled. */
static void test_no_double(Fixture *f, gconstpointer data) {
        g_autofree char *path = state_file(f, 0, ".xml");
        g_autoptr(GError) err = NULL;
        start_monitor(f, 0);
        g_assert_true(g_file_set_contents(path, data, -1, NULL));
        begin(f);
        g_autoptr(Domain) d =
                driver_define_xml(f->driver,
                                  "<domain type='kvm'><name>vm0</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os>"
                                  "<type arch='x86_64'>hvm</type><kernel>/vmlinuz</kernel></os></domain>",
                                  0, &err);
        g_assert_no_error(err);
        g_autofree char *socket_path = state_file(f, 0, ".ctl");
        for (unsigned i = 0; i < 2; i++) { /* a refused start leaves alone what refuses the next one */
                g_assert_false(domain_create(d, 0, &err));
                g_assert_nonnull(strstr(err->message, "a monitor of domain 'vm0' is running"));
                g_assert_true(lives(f, 0));
                g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS) && g_file_test(socket_path, G_FILE_TEST_EXISTS));
                g_clear_error(&err);
        }

        vmm_kill(f->monitor[0], SIGKILL);
        wait_for_end(f, 0);
        g_assert_false(domain_create(d, 0, &err)); /* there is no kernel */
        g_assert_null(strstr(err->message, "a monitor of domain"));
}

/* The guest that runs is shown, whatever else has its name. */
static void test_name_of_another_uuid(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        char uuid[37];
        g_autofree char *path = g_build_filename(f->config.config_dir, "vm0.xml", NULL);
        start_monitor(f, 0);
        write_status(f, 0, "");
        g_assert_cmpint(g_mkdir(f->config.config_dir, 0700), ==, 0);
        g_assert_true(g_file_set_contents(
                path,
                "<domain type='kvm'><name>vm0</name><uuid>6a2e1d1c-0a3b-4c5d-8e7f-112233445566</uuid>"
                "<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type>"
                "<kernel>/vmlinuz</kernel></os></domain>",
                -1, NULL));
        begin(f);
        g_autoptr(Domain) d = find(f, 0);
        domain_uuid_format(d->uuid, uuid);
        g_assert_cmpstr(uuid, ==, "5f2e1d1c-0a3b-4c5d-8e7f-112233445560");
        g_assert_true(domain_suspend(d, &err));
        g_assert_cmpuint(driver_count_active(f->driver), ==, 1);
}

/*
 * The devices that fake-monitor.c lists, in another order, and a disk that it does not have. The serial port has no id,
 * and is a console as well.
 */
#define DEVICES                                                                                                        \
        "<devices>"                                                                                                    \
        "<disk type='file' device='disk'><source file='/img'/><target dev='vda' bus='virtio'/>"                        \
        "<alias name='virtio-disk0'/><address type='pci' slot='0x02'/></disk>"                                         \
        "<disk type='file' device='disk'><source file='/new'/><target dev='vdb' bus='virtio'/>"                        \
        "<alias name='virtio-disk1'/><address type='pci' slot='0x07'/></disk>"                                         \
        "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet0'/>"       \
        "<link state='down'/><alias name='net0'/><address type='pci' slot='0x03'/></interface>"                        \
        "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><target dev='vnet1'/>"       \
        "<alias name='net1'/><address type='pci' slot='0x05'/></interface>"                                            \
        "<serial type='pty'><alias name='serial0'/></serial>"                                                          \
        "<channel type='unix'><source mode='bind' path='/a'/><target type='virtio' name='a'/><alias name='a'/>"        \
        "</channel>"                                                                                                   \
        "<channel type='unix'><source mode='bind' path='/b'/><target type='virtio' name='b'/><alias name='b'/>"        \
        "</channel>"                                                                                                   \
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='rng0'/>"                       \
        "<address type='pci' slot='0x01'/></rng></devices>"

static void iterate_until_file_has(const char *path, const char *text) {
        gint64 deadline = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
        for (;;) {
                g_autofree char *contents = NULL;
                (void) g_main_context_iteration(NULL, FALSE);
                if (g_file_get_contents(path, &contents, NULL, NULL) && strstr(contents, text))
                        return;
                if (g_get_monotonic_time() >= deadline)
                        g_error("'%s' is not in %s: %s", text, path, contents);
                g_usleep(1000);
        }
}

static gboolean get_disk_errors(Domain *d, GError **err) {
        g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GArray) errors = g_array_new(FALSE, FALSE, sizeof(int));
        guint n = 0;
        return domain_get_disk_errors(d, targets, errors, &n, err);
}

static gboolean get_stats(Domain *d, const char *target, GError **err) {
        virDomainBlockStatsStruct stats;
        return domain_get_block_stats(d, target, &stats, err);
}

/* By kind and slot; what was learned is written down, and links are set by it. */
static void test_devices_are_learned(Fixture *f, gconstpointer devices) {
        static const struct {
                const char *alias;
                guint32 id;
        } expected[] = { { "virtio-disk0", 3 }, { "virtio-disk1", 0 }, { "net0", 7 },
                         { "net1", 5 },         { "serial0", 0 },      { "a", 9 },
                         { "b", 11 },           { "rng0", 13 } };
        g_autofree char *path = state_file(f, 0, ".xml"), *log = state_file(f, 0, ".log");
        g_autoptr(GError) err = NULL;
        start_monitor_as(f, 0, "list");
        write_status_with(f, 0, devices, DEVICES);
        begin(f);
        g_autoptr(Domain) d = find(f, 0);
        g_assert_true(get_disk_errors(d, &err)); /* asks, if nobody has asked yet */
        for (gsize i = 0; i < G_N_ELEMENTS(expected); i++)
                g_assert_cmpuint(device_ids_find(d->run.devices, expected[i].alias), ==, expected[i].id);
        iterate_until_file_has(path, "devices='65549 3 0 7 5 0 0 9 11 13'");
        iterate_until_file_has(log, "link 7 down\nlink 5 up\n");
        g_assert_true(get_stats(d, "vda", &err));
        g_assert_false(get_stats(d, "vdb", &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
        g_assert_nonnull(strstr(err->message, "'vdb'"));
        g_assert_cmpuint(device_ids_give(d->run.devices, "x"), ==, 65550);
}

/* While the ids are unknown, calls fail instead of returning wrong figures. */
static void test_devices_stay_unknown(Fixture *f, gconstpointer mode) {
        g_autofree char *path = state_file(f, 0, ".xml");
        g_autoptr(GError) err = NULL;
        start_monitor_as(f, 0, mode);
        write_status_with(f, 0, "", DEVICES);
        begin(f);
        g_autoptr(Domain) d = find(f, 0);
        for (unsigned i = 0; i < 2; i++) {
                g_assert_false(i ? get_stats(d, "vda", &err) : get_disk_errors(d, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
                g_assert_nonnull(strstr(err->message, "the devices of domain 'vm0' are not known"));
                g_clear_error(&err);
        }
        g_assert_true(domain_suspend(d, &err)); /* the rest of it works */
        domain_lock(d);
        g_assert_true(status_save(d, &err));
        domain_unlock(d);
        iterate_until_file_has(path, "devices=''");
}

/* An earlier daemon may have ended after it changed a link, and before it wrote the status file. */
static void test_links_are_restored(Fixture *f, gconstpointer data) {
        g_autofree char *log = state_file(f, 0, ".log");
        start_monitor_as(f, 0, "list");
        write_status_with(f, 0, " devices='13 3 0 7 5 0 0 9 11 13'", DEVICES);
        begin(f);
        iterate_until_file_has(log, "link 7 down\nlink 5 up\n");
}

/* What the monitor has lost is gone from the live definition; what it has besides is taken from it. */
static void test_devices_are_compared(Fixture *f, gconstpointer data) {
        g_autofree char *path = state_file(f, 0, ".xml"), *log = state_file(f, 0, ".log");
        start_monitor_as(f, 0, "list");
        write_status_with(f, 0, " devices='13 3 4 7 5 0 0 9 0 13'", DEVICES);
        begin(f);
        iterate_until_file_has(path, "devices='13 3 7 5 0 0 9 0 13'");
        iterate_until_file_has(log, "remove 11 force\n");
        g_autoptr(Domain) d = find(f, 0);
        g_autofree char *xml = domain_get_xml(d, 0, NULL);
        g_assert_nonnull(strstr(xml, "<target dev='vda'"));
        g_assert_null(strstr(xml, "<target dev='vdb'"));
}

/* An operation that does not end keeps nobody else from being managed, nor from ending. */
static void test_links_wait_for_no_job(Fixture *f, gconstpointer data) {
        g_autofree char *log = state_file(f, MONITORS - 1, ".log");
        for (unsigned i = 0; i < MONITORS; i++) {
                start_monitor_as(f, i, "list");
                write_status_with(f, i, " devices='13 3 0 7 5 0 0 9 11 13'", DEVICES);
        }
        begin(f);
        Domain *busy[MONITORS - 1];
        for (unsigned i = 0; i < MONITORS - 1; i++) { /* before their greetings are handed over */
                busy[i] = find(f, i);
                domain_job_wait(busy[i]);
                domain_unlock(busy[i]);
        }
        iterate_until_file_has(log, "link 7 down\nlink 5 up\n");
        for (unsigned i = 0; i < MONITORS - 1; i++) {
                domain_lock(busy[i]);
                domain_job_end(busy[i]);
                domain_unref(busy[i]);
        }
}

#define ADD(path, data, func) g_test_add("/adopt/" path, Fixture, data, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", TRUE));
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* all of it is worth a warning */
        if (getuid() != 0) {
                g_print("1..0 # SKIP needs root, for PID namespaces\n");
                return 77;
        }
        ADD("mute-ones", NULL, test_mute_ones);
        ADD("state-is-the-monitors", NULL, test_state_is_the_monitors);
        ADD("lost", NULL, test_lost);
        ADD("no-descriptors", NULL, test_no_descriptors);
        ADD("no-double/empty", "", test_no_double);
        ADD("no-double/torn", "<domstatus state='1' pid='7'><domain type='kvm'><na", test_no_double);
        ADD("no-double/of-another",
            "<domstatus state='1' pid='7' unit='u'><domain type='kvm' id='1'><name>other</name>"
            "<memory>65536</memory><os><type>hvm</type><kernel>/k</kernel></os></domain></domstatus>",
            test_no_double);
        ADD("devices-are-learned/none", "", test_devices_are_learned);
        ADD("devices-are-learned/too-few", " devices='9 1 2'", test_devices_are_learned);
        ADD("devices-stay-unknown/falls", "list-falls", test_devices_stay_unknown);
        ADD("devices-stay-unknown/refuses", "refuses-list", test_devices_stay_unknown);
        ADD("links-are-restored", NULL, test_links_are_restored);
        ADD("links-wait-for-no-job", NULL, test_links_wait_for_no_job);
        ADD("compares-devices", NULL, test_devices_are_compared);
        ADD("name-of-another-uuid", NULL, test_name_of_another_uuid);
        return g_test_run();
}
