/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of the control socket against a monitor that behaves, and ones that do not. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/vmm.h"
#include "util/error.h"

typedef struct Fixture {
        char *dir, *path;
        unsigned events, greetings, exits;
        guint32 last_state, last_length;
        gboolean event_after_exit;
} Fixture;

static const char *monitor_path(void) {
        const char *path = g_getenv("FAKE_MONITOR");
        g_assert_nonnull(path);
        return path;
}

static void on_event(Vmm *vmm, const struct ctl_header *message, gpointer data) {
        Fixture *f = data;
        f->events += message->type != (CTL_QUERY | CTL_REPLY);
        f->greetings += message->type == (CTL_QUERY | CTL_REPLY);
        f->event_after_exit |= f->exits > 0;
        f->last_length = message->length;
        if (message->type == CTL_EVENT_STATE)
                f->last_state = ((const struct ctl_event_state *) message)->state;
}

static void on_exited(Vmm *vmm, gpointer data) {
        ((Fixture *) data)->exits++;
}

static void fixture_up(Fixture *f, gconstpointer unused) {
        f->dir = g_dir_make_tmp("vmm-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "sock", NULL);
}

static void fixture_down(Fixture *f, gconstpointer unused) {
        (void) g_unlink(f->path);
        g_assert_cmpint(g_rmdir(f->dir), ==, 0);
        g_free(f->path);
        g_free(f->dir);
}

static Vmm *try_start(Fixture *f, const char *mode, GError **err) {
        VmmCallbacks callbacks = { on_event, on_exited, f };
        VmmSpawn spawn = {
                .binary = monitor_path(),
                .name = mode,
                .uuid = "u",
                .uid = getuid(),
                .socket_path = f->path,
                .log_fd = -1,
        };
        return vmm_spawn(&spawn, &callbacks, err);
}

static Vmm *start(Fixture *f, const char *mode) {
        g_autoptr(GError) err = NULL;
        Vmm *vmm = try_start(f, mode, &err);
        g_assert_no_error(err);
        return vmm;
}

static void stop(Vmm *vmm) {
        vmm_kill(vmm, SIGKILL);
        g_assert_true(vmm_wait(vmm, 5000));
        vmm_disconnect(vmm);
        vmm_unref(vmm);
}

static gboolean call(Vmm *vmm, enum ctl_type type, GError **err) {
        struct ctl_header header;
        return vmm_call(vmm, type, &header, sizeof(header), NULL, 0, NULL, 0, err);
}

static void iterate_until(unsigned *counter, unsigned value) {
        gint64 deadline = g_get_monotonic_time() + 5 * G_TIME_SPAN_SECOND;
        while (*counter < value && g_get_monotonic_time() < deadline)
                if (!g_main_context_iteration(NULL, FALSE))
                        g_usleep(1000);
        g_assert_cmpuint(*counter, ==, value);
}

static void test_call(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "good");
        struct ctl_header query;
        struct ctl_query_reply reply;
        g_autoptr(GError) err = NULL;
        pid_t tid;

        g_assert_true(call(vmm, CTL_PAUSE, &err));
        g_assert_true(vmm_call(vmm, CTL_QUERY, &query, sizeof(query), NULL, 0, &reply, sizeof(reply), &err));
        g_assert_cmpint(reply.vcpu_tid[0], ==, 1);
        g_assert_true(vmm_resolve_threads(vmm, reply.vcpu_tid, 1, &tid, &err));
        g_assert_cmpint(tid, ==, vmm_pid(vmm));
        g_assert_false(vmm_resolve_threads(vmm, (gint32[]) { 4711 }, 1, &tid, &err));
        g_assert_cmpuint(vmm_start_time(vmm), >, 0);
        g_assert_null(vmm_describe_end(vmm));
        g_assert_false(vmm_wait(vmm, 1));
        stop(vmm);
}

/* The last event precedes the end, and the end is told once. */
static void test_quit(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "good");
        g_autoptr(GError) err = NULL;

        g_assert_true(call(vmm, CTL_QUIT, &err));
        g_assert_true(vmm_wait(vmm, 5000));
        g_assert_cmpuint(f->events, ==, 0); /* nothing but on the main context */
        iterate_until(&f->exits, 1);
        while (g_main_context_iteration(NULL, FALSE))
                ;
        g_assert_cmpuint(f->exits, ==, 1);
        g_assert_cmpuint(f->events, ==, 1);
        g_assert_false(f->event_after_exit);
        g_assert_cmpuint(f->last_state, ==, CTL_STATE_SHUTDOWN);
        g_autofree char *end = vmm_describe_end(vmm);
        g_assert_cmpstr(end, ==, "exited with status 0");
        g_assert_false(call(vmm, CTL_PAUSE, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
        vmm_kill(vmm, SIGTERM); /* nobody there: harmless */
        vmm_disconnect(vmm);
        vmm_unref(vmm);
}

static void test_disconnect_silences(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "good");
        g_autoptr(GError) err = NULL;

        g_assert_true(call(vmm, CTL_QUIT, &err));
        g_assert_true(vmm_wait(vmm, 5000));
        vmm_disconnect(vmm);
        vmm_unref(vmm);
        while (g_main_context_iteration(NULL, FALSE))
                ;
        g_assert_cmpuint(f->events + f->exits, ==, 0);
}

static void expect_failure(Fixture *f, const char *mode, int code, const char *text) {
        Vmm *vmm = start(f, mode);
        g_autoptr(GError) err = NULL;

        g_assert_false(call(vmm, CTL_PAUSE, &err));
        g_assert_error(err, VIRTMICRO_ERROR, code);
        if (!strstr(err->message, text))
                g_error("'%s' lacks '%s'", err->message, text);
        g_assert_true(g_utf8_validate(err->message, -1, NULL));
        g_assert_null(strchr(err->message, '\033'));
        stop(vmm);
}

static void test_refusals(Fixture *f, gconstpointer unused) {
        expect_failure(f, "refuses", VIR_ERR_OPERATION_FAILED, "kernel is not one: [31m ");
        expect_failure(f, "refuses-silently", VIR_ERR_OPERATION_FAILED, "the monitor refuses PAUSE: No such file");
}

static void ignore_warnings(void) {
        g_log_set_always_fatal(G_LOG_FATAL_MASK);
}

static void test_hostile(Fixture *f, gconstpointer unused) {
        ignore_warnings();
        expect_failure(f, "garbage", VIR_ERR_OPERATION_FAILED, "an invalid message");
        expect_failure(f, "short", VIR_ERR_OPERATION_FAILED, "an invalid message");
        expect_failure(f, "unasked", VIR_ERR_OPERATION_FAILED, "unexpected answer");
        expect_failure(f, "flood", VIR_ERR_OPERATION_FAILED, "faster than they can be handled");
        expect_failure(f, "dies", VIR_ERR_OPERATION_FAILED, "the monitor has");
}

/* The second answer may come before or after the next question; both ways the connection ends, no way hangs. */
static void test_answers_twice(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "twice");
        for (int i = 0; i < 3; i++) {
                g_autoptr(GError) err = NULL;
                (void) call(vmm, CTL_PAUSE, &err);
        }
        stop(vmm);
}

/* The last reference may be that of a callback on the receiving thread. */
static void assert_no_child(void) {
        siginfo_t info;
        int r = 0;
        for (int i = 0; i < 5000 && r == 0; i++) {
                g_usleep(1000);
                r = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
        }
        g_assert_cmpint(r, ==, -1);
        g_assert_cmpint(errno, ==, ECHILD);
}

static void test_start_failures(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        VmmSpawn spawn = {
                .binary = "/nonexistent/monitor", .name = "n", .uuid = "u", .socket_path = f->path, .log_fd = -1
        };

        g_assert_null(vmm_spawn(&spawn, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_assert_cmpstr(err->message, ==, "cannot execute '/nonexistent/monitor': No such file or directory");
        g_clear_error(&err);

        g_assert_null(try_start(f, "mute", &err));
        g_assert_nonnull(strstr(err->message, "(it exited with status 3)"));
        g_clear_error(&err);

        g_assert_null(try_start(f, "future", &err));
        g_assert_nonnull(strstr(err->message, "speaks version 99"));
        g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
        assert_no_child();
}

/* A monitor of the recorded version, adopted by a daemon that came later. */
static Vmm *adopt_version(Fixture *f, const char *mode) {
        VmmCallbacks callbacks = { on_event, on_exited, f };
        g_autoptr(GError) err = NULL;
        Vmm *vmm = start(f, mode);
        Vmm *again = vmm_adopt(f->path, vmm_pid(vmm), vmm_start_time(vmm), &callbacks, &err);

        g_assert_no_error(err);
        vmm_disconnect(vmm);
        vmm_unref(vmm);
        return again;
}

/* It tells what happens to its guest, and ends when asked; the recorded monitor would have said otherwise by its
 * status. */
static void end_version(Fixture *f, Vmm *vmm) {
        g_autoptr(GError) err = NULL;

        g_assert_true(call(vmm, CTL_PAUSE, &err));
        iterate_until(&f->events, 2);
        g_assert_cmpuint(f->last_state, ==, CTL_STATE_PAUSED);
        g_assert_cmpuint(f->last_length, ==, sizeof(struct ctl_event_io_error)); /* extended */
        g_assert_true(call(vmm, CTL_QUIT, &err));
        iterate_until(&f->exits, 1);
        g_autofree char *end = vmm_describe_end(vmm);
        g_assert_cmpstr(end, !=, "exited with status 20");
        vmm_disconnect(vmm);
        vmm_unref(vmm);
}

/*
 * A guest of version 1 stays and can be ended; what its monitor does not understand is refused, with no other effect.
 */
static void test_monitor_of_version_1(Fixture *f, gconstpointer unused) {
        Vmm *vmm = adopt_version(f, "version-1");
        struct ctl_header header;
        struct ctl_query_reply query;
        struct ctl_stats_reply stats;
        struct ctl_stats request = { .after = 0 };
        g_autoptr(GError) err = NULL;

        g_assert_true(vmm_call(vmm, CTL_QUERY, &header, sizeof(header), NULL, 0, &query, sizeof(query), &err));
        g_assert_cmpuint(query.state, ==, CTL_STATE_RUNNING);
        g_assert_cmpint(query.vcpu_tid[1], ==, 3);
        g_assert_false(vmm_call(vmm, CTL_STATS, &request, sizeof(request), NULL, 0, &stats, sizeof(stats), &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_UNSUPPORTED);
        g_assert_nonnull(strstr(err->message, "STATS: version 1 of the control protocol does not have it"));
        g_assert_nonnull(strstr(err->message, "restart the domain"));
        end_version(f, vmm);
}

/* From version 2 on a guest is managed whole by each later daemon. Built once more with a newer CTL_VERSION. */
static void test_monitor_of_version_2(Fixture *f, gconstpointer unused) {
        Vmm *vmm = adopt_version(f, "version-2");
        struct ctl_query_reply query;
        struct ctl_header header;
        struct ctl_stats_reply stats;
        struct ctl_list_reply list;
        struct ctl_stats stats_request = { .after = 0 };
        struct ctl_list list_request = { .after = 0 };
        struct ctl_link link = { .id = 2, .up = 1 };
        g_autoptr(GError) err = NULL;

        g_assert_true(vmm_call(vmm, CTL_QUERY, &header, sizeof(header), NULL, 0, &query, sizeof(query), &err));
        g_assert_cmpuint(query.reply.header.version, ==, 2);
        g_assert_true(
                vmm_call(vmm, CTL_STATS, &stats_request, sizeof(stats_request), NULL, 0, &stats, sizeof(stats), &err));
        g_assert_cmpuint(stats.n, ==, 2);
        g_assert_cmpuint(stats.device[1].nic.rx_packets, ==, 5000);
        g_assert_true(vmm_call(vmm, CTL_LIST, &list_request, sizeof(list_request), NULL, 0, &list, sizeof(list), &err));
        g_assert_cmpuint(list.entry[list.n - 1].place.slot, ==, 4);
        g_assert_true(vmm_call(vmm, CTL_SET_LINK, &link, sizeof(link), NULL, 0, NULL, 0, &err));
        g_assert_true(call(vmm, CTL_NMI, &err) || err != NULL); /* the recorded answer is a refusal */
        end_version(f, vmm);
}

static void test_list(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        Vmm *vmm = start(f, "list");
        g_autoptr(GArray) all = vmm_list_devices(vmm, TRUE, &err);
        g_assert_no_error(err);
        g_assert_cmpuint(all->len, ==, 6);
        const struct ctl_list_entry *entry = &g_array_index(all, struct ctl_list_entry, 1);
        g_assert_cmpuint(entry->place.id, ==, 5);
        g_assert_cmpuint(entry->place.slot, ==, 5);
        g_assert_cmpuint(entry->type, ==, CTL_ADD_NIC);
        stop(vmm);

        vmm = start(f, "good");
        g_autoptr(GArray) none = vmm_list_devices(vmm, TRUE, &err);
        g_assert_no_error(err);
        g_assert_cmpuint(none->len, ==, 0);
        stop(vmm);

        vmm = adopt_version(f, "version-1");
        g_assert_null(vmm_list_devices(vmm, TRUE, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_UNSUPPORTED);
        stop(vmm);
}

/* A list is whole or an error, since it is taken for what the guest has. */
static void test_hostile_lists(Fixture *f, gconstpointer unused) {
        static const struct {
                const char *mode, *fault;
        } cases[] = {
                { "list-falls", "its ids do not rise" },
                { "list-zero", "its ids do not rise" },
                { "list-kind", "no known kind" },
                { "list-slot", "PCI address" },
                { "list-segment", "PCI address" },
                { "list-short", "is not full" },
                { "list-endless", "more devices than a machine" },
                { "refuses", "kernel is not one" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                Vmm *vmm = start(f, cases[i].mode);
                g_assert_null(vmm_list_devices(vmm, TRUE, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
                if (!strstr(err->message, cases[i].fault))
                        g_error("%s: '%s'", cases[i].mode, err->message);
                stop(vmm);
        }
}

static void kill_at_once(Vmm *vmm, gpointer data) {
        *(pid_t *) data = vmm_pid(vmm);
        vmm_kill(vmm, SIGKILL);
}

/* A caller that learns of the monitor as soon as it exists can end the wait for its greeting. */
static void test_killed_before_it_greets(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        pid_t pid = 0;
        VmmSpawn spawn = {
                .binary = monitor_path(),
                .name = "good",
                .uuid = "u",
                .uid = getuid(),
                .socket_path = f->path,
                .log_fd = -1,
                .made = kill_at_once,
                .made_data = &pid,
        };
        gint64 before = g_get_monotonic_time();

        g_assert_null(vmm_spawn(&spawn, NULL, &err));
        g_assert_cmpint(pid, >, 0);
        g_assert_nonnull(strstr(err->message, "(it was killed by signal 9"));
        g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_TIME_SPAN_SECOND);
        g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
}

/* A domain's name may be longer than the address of a socket. */
static void test_long_path(Fixture *f, gconstpointer unused) {
        g_free(f->path);
        f->path = g_strdup_printf("%s/%0200d", f->dir, 0);
        Vmm *vmm = start(f, "good"), *again;
        g_autoptr(GError) err = NULL;
        struct stat st;

        g_assert_cmpint(g_stat(f->path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        again = vmm_adopt(f->path, vmm_pid(vmm), vmm_start_time(vmm), NULL, &err);
        g_assert_no_error(err);
        g_assert_true(call(again, CTL_PAUSE, &err));
        vmm_disconnect(again);
        vmm_unref(again);
        stop(vmm);
}

static void test_no_directory(Fixture *f, gconstpointer unused) {
        VmmSpawn spawn = {
                .binary = monitor_path(),
                .name = "n",
                .uuid = "u",
                .socket_path = "/nonexistent/sock",
                .log_fd = -1,
        };
        g_autoptr(GError) err = NULL;

        g_assert_null(vmm_spawn(&spawn, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
}

static void test_journal_fd(Fixture *f, gconstpointer unused) {
        int pair[2];
        char line[64] = "";
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        VmmSpawn spawn = {
                .binary = monitor_path(),
                .name = "good",
                .uuid = "u",
                .machine = "micro-1-good",
                .socket_path = f->path,
                .log_fd = -1,
                .journal_fd = pair[1],
                .memlock = 1 << 20,
        };
        g_autoptr(GError) err = NULL;
        Vmm *vmm = vmm_spawn(&spawn, NULL, &err);

        g_assert_no_error(err);
        g_assert_cmpint(read(pair[0], line, sizeof(line) - 1), ==, 11);
        g_assert_cmpstr(line, ==, "MESSAGE=up\n");
        close(pair[0]);
        close(pair[1]);
        stop(vmm);
}

/* Its standard error is a stream that it has connected itself, so that the peer is the monitor, not the daemon. */
static void test_log_stream(Fixture *f, gconstpointer unused) {
        static const char expected[] = "virtmicro-vmm\n\n6\n1\n0\n0\n0\n";
        g_autofree char *path = g_build_filename(f->dir, "stream", NULL);
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct ucred peer;
        socklen_t size = sizeof(peer);
        char header[64] = "";
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(fd, 1), ==, 0);
        VmmSpawn spawn = {
                .binary = monitor_path(),
                .name = "good",
                .uuid = "u",
                .socket_path = f->path,
                .log_path = path,
                .log_fd = -1,
        };
        g_autoptr(GError) err = NULL;
        Vmm *vmm = vmm_spawn(&spawn, NULL, &err);
        g_assert_no_error(err);
        int stream = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        g_assert_cmpint(stream, >=, 0);
        g_assert_cmpint(getsockopt(stream, SOL_SOCKET, SO_PEERCRED, &peer, &size), ==, 0);
        g_assert_cmpint(peer.pid, ==, vmm_pid(vmm));
        g_assert_cmpint(read(stream, header, sizeof(header)), ==, strlen(expected));
        g_assert_cmpstr(header, ==, expected);
        stop(vmm);
        g_assert_cmpint(read(stream, header, sizeof(header)), ==, 0); /* nobody else has it */
        close(stream);
        close(fd);

        /* Nobody listens there, as when the journal is not running. */
        vmm = vmm_spawn(&spawn, NULL, &err);
        g_assert_no_error(err);
        stop(vmm);
        g_assert_cmpint(g_unlink(path), ==, 0);
}

static void test_adopt(Fixture *f, gconstpointer unused) {
        Vmm *first = start(f, "good"), *second;
        VmmCallbacks callbacks = { on_event, on_exited, f };
        pid_t pid = vmm_pid(first);
        guint64 start_time = vmm_start_time(first);
        g_autoptr(GError) err = NULL;

        g_assert_null(vmm_adopt(f->path, pid, start_time + 1, &callbacks, &err));
        g_assert_nonnull(strstr(err->message, "is no longer the monitor"));
        g_clear_error(&err);

        vmm_disconnect(first); /* its reference keeps the process from being reaped */
        second = vmm_adopt(f->path, pid, start_time, &callbacks, &err);
        g_assert_no_error(err);
        g_assert_true(call(second, CTL_PAUSE, &err));
        g_assert_true(call(second, CTL_QUIT, &err));
        iterate_until(&f->exits, 1);
        g_assert_cmpuint(f->greetings, ==, 1);
        vmm_disconnect(second);
        vmm_unref(second);
        vmm_unref(first);
        assert_no_child();
        g_assert_null(vmm_adopt(f->path, pid, start_time, &callbacks, &err));
}

/* --- Connections that are interrupted ------------------------------------------------------ */

static void test_managed_again(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "drops");
        g_autoptr(GError) err = NULL;

        ignore_warnings();
        g_assert_false(call(vmm, CTL_PAUSE, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
        g_clear_error(&err);
        g_assert_true(call(vmm, CTL_PAUSE, &err)); /* it has waited for the next connection */
        iterate_until(&f->greetings, 1);
        g_assert_cmpuint(f->exits, ==, 0);
        stop(vmm);
}

/* Whatever it is that breaks the protocol, the process can be ended, and nothing is tried after that. */
static void test_broken_again_and_again(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "garbage");
        g_autoptr(GError) err = NULL;

        ignore_warnings();
        g_assert_false(call(vmm, CTL_PAUSE, &err));
        g_clear_error(&err);
        gint64 before = g_get_monotonic_time();
        g_assert_false(call(vmm, CTL_PAUSE, &err)); /* QUERY is answered with garbage as well */
        g_assert_nonnull(strstr(err->message, "cannot reach the monitor"));
        g_assert_cmpint(g_get_monotonic_time() - before, <, 20 * G_TIME_SPAN_SECOND);
        g_clear_error(&err);
        before = g_get_monotonic_time();
        g_assert_false(call(vmm, CTL_PAUSE, &err)); /* nobody waits for ever */
        g_assert_cmpint(g_get_monotonic_time() - before, <, 12 * G_TIME_SPAN_SECOND);
        stop(vmm);
}

/* A call that was given up is owed one answer. */
static void test_late_answers(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "late");
        struct ctl_header header;
        g_autoptr(GError) err = NULL;

        ignore_warnings();
        g_assert_false(vmm_call_briefly(vmm, CTL_STATS, &header, sizeof(header), NULL, 0, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_TIMEOUT);
        g_clear_error(&err);
        iterate_until(&f->greetings, 1); /* the second answer has cost it the connection, and there is another one */
        g_assert_true(call(vmm, CTL_PAUSE, &err));
        stop(vmm);
}

/* 4000 events about four ports, which nobody fetches: there is one of each left, the last. */
static void test_flapping_ports(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "ports");
        g_autoptr(GError) err = NULL;
        gint64 before = g_get_monotonic_time();

        g_assert_true(call(vmm, CTL_PAUSE, &err));
        g_assert_cmpint(g_get_monotonic_time() - before, >, G_TIME_SPAN_SECOND); /* it was slowed down */
        iterate_until(&f->events, 4);
        while (g_main_context_iteration(NULL, FALSE))
                ;
        g_assert_cmpuint(f->events, ==, 4);
        g_assert_cmpuint(f->greetings, ==, 0); /* the connection is the first one */
        stop(vmm);
}

/* A stopped monitor, as paging may stop it: adoption does not wait, and succeeds when the monitor goes on. */
static void test_adopt_a_stopped_one(Fixture *f, gconstpointer unused) {
        Vmm *first = start(f, "good");
        VmmCallbacks callbacks = { on_event, on_exited, f };
        struct ctl_header header;
        g_autoptr(GError) err = NULL;

        vmm_disconnect(first);
        vmm_kill(first, SIGSTOP);
        gint64 before = g_get_monotonic_time();
        Vmm *second = vmm_adopt(f->path, vmm_pid(first), vmm_start_time(first), &callbacks, &err);
        g_assert_no_error(err);
        g_assert_cmpint(g_get_monotonic_time() - before, <, G_TIME_SPAN_SECOND);
        g_assert_false(vmm_call_briefly(second, CTL_STATS, &header, sizeof(header), NULL, 0, &err));
        g_assert_nonnull(strstr(err->message, "does not answer"));
        g_clear_error(&err);
        vmm_kill(first, SIGCONT);
        iterate_until(&f->greetings, 1);
        g_assert_true(call(second, CTL_PAUSE, &err));
        stop(second);
        vmm_unref(first);
}

/* Without a free descriptor nothing is known of the process, so it is not taken for gone. */
static void test_adopt_without_descriptors(Fixture *f, gconstpointer unused) {
        Vmm *first = start(f, "good");
        VmmCallbacks callbacks = { on_event, on_exited, f };
        struct rlimit limit, none;
        g_autoptr(GError) err = NULL;

        ignore_warnings();
        vmm_disconnect(first);
        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        int lowest = dup(STDIN_FILENO);
        (void) close(lowest);
        none = (struct rlimit) { .rlim_cur = (rlim_t) lowest, .rlim_max = limit.rlim_max };
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
        Vmm *second = vmm_adopt(f->path, vmm_pid(first), vmm_start_time(first), &callbacks, &err);
        g_assert_no_error(err);
        g_assert_nonnull(second);
        g_usleep(500000); /* the first attempt is made */
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        g_assert_true(call(second, CTL_PAUSE, &err));
        iterate_until(&f->greetings, 1);
        g_assert_cmpuint(f->exits, ==, 0);
        g_assert_null(vmm_describe_end(second));
        stop(second);
        vmm_unref(first);
}

/* The number of a monitor that has ended belongs to nobody else while it is still in use here. */
static void test_number_is_kept(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "good");
        pid_t pid = vmm_pid(vmm);

        vmm_kill(vmm, SIGKILL);
        g_assert_true(vmm_wait(vmm, 5000));
        g_autofree char *end = vmm_describe_end(vmm);
        g_assert_nonnull(strstr(end, "signal 9"));
        iterate_until(&f->exits, 1);
        vmm_disconnect(vmm);
        g_assert_cmpint(kill(pid, 0), ==, 0);
        vmm_unref(vmm);
        assert_no_child();
        g_assert_cmpint(kill(pid, 0), ==, -1);
}

static gpointer caller(gpointer data) {
        for (int i = 0; i < 200; i++) {
                g_autoptr(GError) err = NULL;
                g_assert_true(call(data, i % 2 ? CTL_QUERY : CTL_STATS, &err));
        }
        return NULL;
}

static void test_many_callers(Fixture *f, gconstpointer unused) {
        Vmm *vmm = start(f, "good");
        GThread *threads[8];

        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
                threads[i] = g_thread_new("caller", caller, vmm);
        for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
                g_thread_join(threads[i]);
        stop(vmm);
}

/* The monitor itself, as far as it gets without a guest. */
static void test_real(Fixture *f, gconstpointer unused) {
        VmmCallbacks callbacks = { on_event, on_exited, f };
        VmmSpawn spawn = {
                .binary = g_getenv("VIRTMICRO_VMM"),
                .name = "real",
                .uuid = "11111111-2222-3333-4444-555555555555",
                .uid = 65534,
                .socket_path = f->path,
                .log_fd = -1,
        };
        g_autoptr(GError) err = NULL;
        struct ctl_header header;
        struct ctl_query_reply query;

        if (getuid() != 0) {
                g_test_skip("needs root");
                return;
        }
        Vmm *vmm = vmm_spawn(&spawn, &callbacks, &err);
        g_assert_no_error(err);
        g_assert_true(vmm_call(vmm, CTL_QUERY, &header, sizeof(header), NULL, 0, &query, sizeof(query), &err));
        g_assert_cmpuint(query.state, ==, CTL_STATE_SETUP);
        g_assert_false(call(vmm, CTL_PAUSE, &err)); /* there is nothing to pause yet */
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_FAILED);
        g_clear_error(&err);
        g_assert_true(call(vmm, CTL_QUIT, &err));
        iterate_until(&f->exits, 1);
        g_autofree char *end = vmm_describe_end(vmm);
        g_assert_cmpstr(end, ==, "exited with status 0");
        vmm_disconnect(vmm);
        vmm_unref(vmm);
}

static gboolean may_make_namespaces(void) {
        pid_t pid = fork();
        int status = 0;
        if (pid == 0)
                _exit(unshare(CLONE_NEWPID) == 0 ? 0 : 1);
        return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (!may_make_namespaces())
                return 77;
#define ADD(name, func) g_test_add("/vmm/" name, Fixture, NULL, fixture_up, func, fixture_down)
        ADD("call", test_call);
        ADD("quit", test_quit);
        ADD("disconnect-silences", test_disconnect_silences);
        ADD("refusals", test_refusals);
        ADD("hostile", test_hostile);
        ADD("answers-twice", test_answers_twice);
        ADD("start-failures", test_start_failures);
        ADD("monitor-of-version-1", test_monitor_of_version_1);
        ADD("monitor-of-version-2", test_monitor_of_version_2);
        ADD("list", test_list);
        ADD("hostile-lists", test_hostile_lists);
        ADD("killed-before-it-greets", test_killed_before_it_greets);
        ADD("long-path", test_long_path);
        ADD("no-directory", test_no_directory);
        ADD("journal-fd", test_journal_fd);
        ADD("log-stream", test_log_stream);
        ADD("adopt", test_adopt);
        ADD("managed-again", test_managed_again);
        ADD("broken-again-and-again", test_broken_again_and_again);
        ADD("late-answers", test_late_answers);
        ADD("flapping-ports", test_flapping_ports);
        ADD("adopt-a-stopped-one", test_adopt_a_stopped_one);
        ADD("adopt-without-descriptors", test_adopt_without_descriptors);
        ADD("number-is-kept", test_number_is_kept);
        if (g_getenv("VIRTMICRO_VMM"))
                ADD("real", test_real);
        ADD("many-callers", test_many_callers);
        return g_test_run();
}
