/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A monitor is started with one clone3() that makes it the first process of a PID
 * namespace of its own and gives the daemon a pidfd in the same step, so its number never
 * belongs to another process.
 *
 * The daemon has threads, so between clone and exec the child may call only what is
 * async-signal-safe: everything it needs (arguments, paths, numbers) is laid out
 * beforehand in struct plan, and it allocates nothing. Signals are blocked around the
 * clone so that no handler of the daemon ever runs in the child.
 *
 * The child's descriptors: 0 and 1 /dev/null, 2 its log, 3 the control socket, 4 the
 * journal's socket if there is one; all others are closed. A failure before or in exec is
 * reported through a close-on-exec pipe: a record is a failure, end of file is success.
 *
 * Its log, for output beside its own journal entries (the C library's last words, and
 * whatever a monitor that was taken over writes), is a stream that the child itself
 * connects to the journal. The journal takes a line's identifier from the stream's
 * header, and the process, which determines unit and rate limit, from the kernel: the one
 * that connected or, in newer versions, the one that wrote. On the daemon's stream its
 * lines would appear under the daemon's name. The stream is non-blocking, since a stalled
 * journal must not hold up a guest. Without a journal it is the daemon's standard error,
 * unless that is a journal stream too.
 */
#include "process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/error.h"

#define CHILD_CONTROL_FD 3
#define CHILD_JOURNAL_FD 4
#define CHILD_REPORT_FD  5
#define CHILD_HIGH_FD    64 /* where descriptors wait while the low ones are filled */
#define CHILD_ARGS_MAX   16

/*
 * What a stream to the journal begins with, a line each, as sd_journal_stream_fd(3) sends it: identifier, unit (the
 * journal finds it), priority, whether lines may begin with one, whether to pass them on to syslog, kernel log and
 * console.
 */
#define STREAM_HEADER "virtmicro-vmm\n\n6\n1\n0\n0\n0\n"

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

enum step { STEP_DESCRIPTORS, STEP_LIMITS, STEP_EXEC };

struct report {
        enum step step;
        int error;
};

struct plan {
        const char *binary;
        const char *argv[CHILD_ARGS_MAX];
        struct sockaddr_un log_address; /* the journal's; empty: none */
        int null_fd, log_fd, control_fd, journal_fd, report_fd;
        rlim_t memlock;
};

/* --- In the child ------------------------------------------------------------------- */

static void child_fail(int report_fd, enum step step) {
        struct report report = { .step = step, .error = errno };
        (void) !write(report_fd, &report, sizeof(report));
        _exit(127);
}

/* Ignored signals would stay ignored across exec, and the daemon ignores SIGPIPE. */
static void child_reset_signals(void) {
        struct sigaction action = { .sa_handler = SIG_DFL };
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void) sigaction(i, &action, NULL); /* fails for SIGKILL, SIGSTOP and the C library's own */
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_park(int fd, int report_fd) {
        int parked = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_HIGH_FD);
        if (parked < 0)
                child_fail(report_fd, STEP_DESCRIPTORS);
        return parked;
}

/* The journal's stream, or -1. */
static int child_connect_log(const struct plan *plan) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd >= 0 && connect(fd, (const struct sockaddr *) &plan->log_address, sizeof(plan->log_address)) == 0 &&
            write(fd, STREAM_HEADER, strlen(STREAM_HEADER)) == (ssize_t) strlen(STREAM_HEADER))
                return fd;
        if (fd >= 0)
                (void) close(fd);
        return -1;
}

/* Two steps, because a source may occupy another's target. Returns the report pipe's new number. */
static int child_place_fds(const struct plan *plan) {
        int report = child_park(plan->report_fd, plan->report_fd);
        int null = child_park(plan->null_fd, report), control = child_park(plan->control_fd, report);
        int stream = plan->log_address.sun_path[0] ? child_connect_log(plan) : -1;
        int log = child_park(stream >= 0 ? stream : plan->log_fd, report);
        int journal = plan->journal_fd > 0 ? child_park(plan->journal_fd, report) : -1;
        unsigned first_unused = CHILD_REPORT_FD + 1;

        if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
            dup2(control, CHILD_CONTROL_FD) < 0 || (journal >= 0 && dup2(journal, CHILD_JOURNAL_FD) < 0) ||
            dup3(report, CHILD_REPORT_FD, O_CLOEXEC) < 0)
                child_fail(report, STEP_DESCRIPTORS);
        if (journal < 0)
                (void) close(CHILD_JOURNAL_FD);
        if (syscall(SYS_close_range, first_unused, ~0U, 0) < 0)
                child_fail(CHILD_REPORT_FD, STEP_DESCRIPTORS);
        return CHILD_REPORT_FD;
}

G_NORETURN static void child_run(const struct plan *plan) {
        static char *const no_environment[] = { NULL };
        int report = child_place_fds(plan);

        child_reset_signals();
        (void) setsid();
        (void) umask(077);
        if (chdir("/") < 0)
                child_fail(report, STEP_LIMITS);
        if (plan->memlock > 0) {
                struct rlimit limit = { .rlim_cur = plan->memlock, .rlim_max = plan->memlock };
                if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
                        child_fail(report, STEP_LIMITS);
        }
        (void) execve(plan->binary, (char *const *) plan->argv, no_environment);
        child_fail(report, STEP_EXEC);
        _exit(127);
}

/* --- In the daemon ------------------------------------------------------------------ */

static void add_argument(struct plan *plan, unsigned *n, const char *option, const char *value) {
        g_assert(*n + 2 < CHILD_ARGS_MAX);
        plan->argv[(*n)++] = option;
        plan->argv[(*n)++] = value;
}

static void fill_arguments(struct plan *plan, const VmmSpawn *spawn, const char *uid) {
        unsigned n = 0;

        plan->argv[n++] = "virtmicro-vmm";
        add_argument(plan, &n, "--control-fd", G_STRINGIFY(CHILD_CONTROL_FD));
        add_argument(plan, &n, "--uid", uid);
        add_argument(plan, &n, "--name", spawn->name);
        add_argument(plan, &n, "--uuid", spawn->uuid);
        if (spawn->journal_fd > 0) {
                add_argument(plan, &n, "--journal-fd", G_STRINGIFY(CHILD_JOURNAL_FD));
                if (spawn->machine)
                        add_argument(plan, &n, "--machine-name", spawn->machine);
        }
        plan->argv[n] = NULL;
}

/* The child continues on a copy of this stack, as after fork(). */
static pid_t clone_child(const struct plan *plan, int *ret_pidfd) {
        int pidfd = -1;
        struct clone_args args = {
                .flags = CLONE_NEWPID | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
                .pidfd = (guint64) (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
        };
        sigset_t all, before;

        sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        pid_t pid = (pid_t) syscall(SYS_clone3, &args, sizeof(args));
        if (pid == 0)
                child_run(plan);
        int saved = errno;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        errno = saved;
        *ret_pidfd = pidfd;
        return pid;
}

static void set_report_error(GError **err, const char *binary, const struct report *report) {
        switch (report->step) {
        case STEP_EXEC:
                error_set_errno(err, report->error, "cannot execute '%s'", binary);
                break;
        case STEP_LIMITS:
                error_set_errno(err, report->error, "cannot set the limits of '%s'", binary);
                break;
        default:
                error_set_errno(err, report->error, "cannot hand its descriptors to '%s'", binary);
                break;
        }
}

/* TRUE once the exec has closed the pipe. */
static gboolean await_exec(int fd, const char *binary, GError **err) {
        struct report report;
        ssize_t n;

        do
                n = read(fd, &report, sizeof(report));
        while (n < 0 && errno == EINTR);
        if (n == 0)
                return TRUE;
        if (n == (ssize_t) sizeof(report))
                set_report_error(err, binary, &report);
        else
                error_set(err, VIR_ERR_INTERNAL_ERROR, "the start of '%s' ended without a report", binary);
        return FALSE;
}

static void reap(int pidfd) {
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED) < 0 && errno == EINTR)
                ;
}

static gboolean run_plan(struct plan *plan, pid_t *ret_pid, int *ret_pidfd, GError **err) {
        int report[2], pidfd = -1;

        if (pipe2(report, O_CLOEXEC) < 0) {
                return error_set_errno(err, errno, "cannot make a pipe");
        }
        plan->report_fd = report[1];
        pid_t pid = clone_child(plan, &pidfd);
        int error = errno;
        (void) close(report[1]);
        gboolean started = pid > 0;
        if (!started)
                error_set_errno(err, error, "cannot clone a process in a new PID namespace");
        else if (!await_exec(report[0], plan->binary, err)) {
                reap(pidfd);
                (void) close(pidfd);
                started = FALSE;
        }
        (void) close(report[0]);
        if (started) {
                *ret_pid = pid;
                *ret_pidfd = pidfd;
        }
        return started;
}

/* The log without a stream. */
static int fallback_log(const VmmSpawn *spawn, int null_fd) {
        if (spawn->log_fd >= 0)
                return spawn->log_fd;
        return spawn->log_path && g_log_writer_is_journald(STDERR_FILENO) ? null_fd : STDERR_FILENO;
}

gboolean spawn_monitor(const VmmSpawn *spawn, int listen_fd, pid_t *ret_pid, int *ret_pidfd, GError **err) {
        g_autofree char *uid = g_strdup_printf("%u", spawn->uid);
        struct plan plan = {
                .binary = spawn->binary,
                .log_address.sun_family = AF_UNIX,
                .control_fd = listen_fd,
                .journal_fd = spawn->journal_fd,
                .memlock = spawn->memlock,
        };

        fill_arguments(&plan, spawn, uid);
        if (spawn->log_path)
                g_strlcpy(plan.log_address.sun_path, spawn->log_path, sizeof(plan.log_address.sun_path));
        plan.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (plan.null_fd < 0) {
                return error_set_errno(err, errno, "cannot open /dev/null");
        }
        plan.log_fd = fallback_log(spawn, plan.null_fd);
        gboolean started = run_plan(&plan, ret_pid, ret_pidfd, err);
        (void) close(plan.null_fd);
        return started;
}
