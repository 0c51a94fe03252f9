/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A monitor process as an object: made by spawning one (spawn.c) or by finding one
 * again after the daemon was restarted, and talked to by vmm_io.c.
 *
 * The process is known by a pidfd and by (pid, start time): signals go through the
 * pidfd, and a process that is adopted has to show the start time that the earlier
 * daemon wrote down, compared after the pidfd is open, so that a number that has been
 * reused meanwhile is noticed. The control socket's path lies in a directory that is
 * root's alone, hence who answers there is who was given the listening socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "process/spawn.h"
#include "process/vmm_internal.h"
#include "util/error.h"
#include "util/process.h"

/* --- The object ------------------------------------------------------------------------- */

static Vmm *vmm_new(pid_t pid, int pidfd, guint64 start_time, int fd, const VmmCallbacks *callbacks) {
        Vmm *vmm = g_new0(Vmm, 1);

        g_atomic_ref_count_init(&vmm->refs);
        g_mutex_init(&vmm->lock);
        g_cond_init(&vmm->cond);
        g_queue_init(&vmm->calls);
        g_queue_init(&vmm->events);
        vmm->pid = pid;
        vmm->pidfd = pidfd;
        vmm->start_time = start_time;
        vmm->fd = fd;
        if (callbacks)
                vmm->callbacks = *callbacks;
        return vmm;
}

Vmm *vmm_ref(Vmm *vmm) {
        g_atomic_ref_count_inc(&vmm->refs);
        return vmm;
}

void vmm_unref(Vmm *vmm) {
        if (!vmm || !g_atomic_ref_count_dec(&vmm->refs))
                return;
        g_queue_clear_full(&vmm->events, (GDestroyNotify) g_bytes_unref);
        (void) close(vmm->fd);
        (void) close(vmm->pidfd);
        g_free(vmm->close_reason);
        g_cond_clear(&vmm->cond);
        g_mutex_clear(&vmm->lock);
        g_free(vmm);
}

void vmm_disconnect(Vmm *vmm) {
        vmm_io_stop(vmm);
}

pid_t vmm_pid(const Vmm *vmm) {
        return vmm->pid;
}

guint64 vmm_start_time(const Vmm *vmm) {
        return vmm->start_time;
}

void vmm_kill(Vmm *vmm, int signal) {
        if (syscall(SYS_pidfd_send_signal, vmm->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
                g_warning("cannot send signal %d to monitor %d: %s", signal, (int) vmm->pid, g_strerror(errno));
}

gboolean vmm_wait(Vmm *vmm, guint timeout_ms) {
        gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        while (!vmm->exited)
                if (!g_cond_wait_until(&vmm->cond, &vmm->lock, deadline))
                        break;
        return vmm->exited;
}

char *vmm_describe_end(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        if (!vmm->exited)
                return NULL;
        if (!vmm->has_status)
                return g_strdup("has ended");
        if (vmm->status.si_code == CLD_EXITED)
                return g_strdup_printf("exited with status %d", vmm->status.si_status);
        return g_strdup_printf("was killed by signal %d (%s)", vmm->status.si_status,
                               g_strsignal(vmm->status.si_status));
}

/* --- /proc ------------------------------------------------------------------------------- */

/* The last number of NSpid is the id in the innermost namespace. -1 when the thread has gone. */
static int read_inner_tid(pid_t pid, const char *tid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/status", (int) pid, tid);
        g_autofree char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return -1;
        const char *line = strstr(text, "\nNSpid:");
        if (!line)
                return -1;
        g_auto(GStrv) first = g_strsplit(line + 1, "\n", 2);
        const char *last = strrchr(g_strchomp(first[0]), '\t');
        return last ? (int) g_ascii_strtoll(last + 1, NULL, 10) : -1;
}

static unsigned resolve_thread(pid_t pid, const char *tid, const gint32 *inner, unsigned n, pid_t *ret) {
        int id = read_inner_tid(pid, tid);
        unsigned found = 0;

        for (unsigned i = 0; i < n; i++) {
                if (id <= 0 || inner[i] != id)
                        continue;
                ret[i] = (pid_t) g_ascii_strtoll(tid, NULL, 10);
                found++;
        }
        return found;
}

gboolean vmm_resolve_threads(const Vmm *vmm, const gint32 *inner, unsigned n, pid_t *ret, GError **err) {
        g_autofree char *path = g_strdup_printf("/proc/%d/task", (int) vmm->pid);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *tid;
        unsigned found = 0;

        memset(ret, 0, n * sizeof(ret[0]));
        while (dir && found < n && (tid = g_dir_read_name(dir)))
                found += resolve_thread(vmm->pid, tid, inner, n, ret);
        if (found == n)
                return TRUE;
        error_set(err, VIR_ERR_OPERATION_FAILED, "the threads of monitor %d cannot be found", (int) vmm->pid);
        return FALSE;
}

/* --- The control socket -------------------------------------------------------------------- */

/*
 * An address holds about a hundred bytes, a path with a domain's name in it may have more. So both ends go through
 * /proc/self/fd, where a directory or the socket's own file has a short name.
 */
static void fill_address(struct sockaddr_un *ret, int fd, const char *name) {
        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        g_snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s%s", fd, name[0] ? "/" : "", name);
}

static int socket_new(GError **err) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                error_set_errno(err, errno, "cannot make a control socket");
        return fd;
}

/*
 * Bound under a passing name, then renamed: what was at `path` is replaced. The mode set on the socket before bind
 * is the file's, less the umask: there is no moment with another one. 0 or a negative errno.
 */
static int bind_at(int fd, int dir_fd, const char *path) {
        struct sockaddr_un address;
        g_autofree char *name = g_strdup_printf(".ctl-%d-%08x", (int) getpid(), g_random_int());

        fill_address(&address, dir_fd, name);
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (renameat(dir_fd, name, AT_FDCWD, path) == 0 && listen(fd, 1) == 0)
                return 0;
        int r = -errno;
        (void) unlinkat(dir_fd, name, 0);
        (void) unlink(path);
        return r;
}

static int socket_listen(const char *path, GError **err) {
        g_autofree char *dir = g_path_get_dirname(path);
        int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd, r;

        if (dir_fd < 0) {
                error_set_errno(err, errno, "cannot open '%s'", dir);
                return -1;
        }
        fd = socket_new(err);
        r = fd < 0 ? 0 : bind_at(fd, dir_fd, path);
        (void) close(dir_fd);
        if (r == 0)
                return fd; /* -1 with *err set when there is none */
        error_set_errno(err, r, "cannot listen on '%s'", path);
        (void) close(fd);
        return -1;
}

/* 0 or a negative errno. */
static int connect_to(int fd, const char *path) {
        struct sockaddr_un address;
        int file_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (file_fd < 0)
                return -errno;
        fill_address(&address, file_fd, "");
        int r = connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
        (void) close(file_fd);
        return r;
}

static int socket_connect(const char *path, GError **err) {
        int fd = socket_new(err), r;

        if (fd < 0)
                return -1;
        r = connect_to(fd, path);
        if (r == 0)
                return fd;
        error_set_errno(err, r, "cannot connect to the control socket '%s'", path);
        (void) close(fd);
        return -1;
}

gboolean vmm_hello(Vmm *vmm, GError **err) {
        struct ctl_hello hello = { .version_min = CTL_VERSION_MIN, .version_max = CTL_VERSION };
        struct ctl_hello_reply reply;

        if (!vmm_call(vmm, CTL_HELLO, &hello, sizeof(hello), NULL, 0, &reply, sizeof(reply), err))
                return FALSE;
        if (reply.version >= hello.version_min && reply.version <= hello.version_max)
                return TRUE;
        error_set(err, VIR_ERR_OPERATION_FAILED, "the monitor speaks version %u of the control protocol, not %u to %u",
                  reply.version, hello.version_min, hello.version_max);
        return FALSE;
}

/* --- Making one ----------------------------------------------------------------------------- */

/* A start that failed: no process and no socket stay behind. */
static void abandon(Vmm *vmm, const char *socket_path) {
        vmm_kill(vmm, SIGKILL);
        (void) vmm_wait(vmm, 5000);
        vmm_disconnect(vmm);
        vmm_unref(vmm);
        (void) unlink(socket_path);
}

/* Says how the monitor ended, when that is why the greeting failed. */
static void explain_end(Vmm *vmm, GError **err) {
        g_autofree char *end = vmm_wait(vmm, 100) ? vmm_describe_end(vmm) : NULL;
        if (end && err && *err) {
                g_autofree char *text = g_strdup_printf("%s (it %s)", (*err)->message, end);
                g_free((*err)->message);
                (*err)->message = g_steal_pointer(&text);
        }
}

static Vmm *spawn_listening(const VmmSpawn *spawn, int listen_fd, const VmmCallbacks *callbacks, GError **err) {
        guint64 start_time = 0;
        pid_t pid = 0;
        int pidfd = -1;
        int fd = socket_connect(spawn->socket_path, err); /* queued until the monitor accepts */

        if (fd < 0)
                return NULL;
        if (!spawn_monitor(spawn, listen_fd, &pid, &pidfd, err)) {
                (void) close(fd);
                return NULL;
        }
        /* It is a zombie at worst: its entry in /proc is there until it is reaped. */
        (void) process_start_time(pid, &start_time, NULL);
        Vmm *vmm = vmm_new(pid, pidfd, start_time, fd, callbacks);
        vmm->muted = TRUE; /* nobody knows of it before it has greeted */
        vmm_io_start(vmm);
        return vmm;
}

Vmm *vmm_spawn(const VmmSpawn *spawn, const VmmCallbacks *callbacks, GError **err) {
        int listen_fd = socket_listen(spawn->socket_path, err);
        if (listen_fd < 0)
                return NULL;

        Vmm *vmm = spawn_listening(spawn, listen_fd, callbacks, err);
        (void) close(listen_fd);
        if (!vmm) {
                (void) unlink(spawn->socket_path);
                return NULL;
        }
        if (spawn->made)
                spawn->made(vmm, spawn->made_data);
        if (vmm_hello(vmm, err)) {
                vmm_io_unmute(vmm);
                return vmm;
        }
        explain_end(vmm, err);
        abandon(vmm, spawn->socket_path);
        return NULL;
}

/* Opens the process and makes sure that it is the one that was meant. */
static int open_process(pid_t pid, guint64 start_time, GError **err) {
        guint64 actual = 0;
        int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);

        if (pidfd < 0) {
                error_set_errno(err, errno, "cannot open process %d", (int) pid);
                return -1;
        }
        if (process_start_time(pid, &actual, err)) {
                if (actual == start_time)
                        return pidfd;
                error_set(err, VIR_ERR_OPERATION_FAILED, "process %d is not the monitor any more", (int) pid);
        }
        (void) close(pidfd);
        return -1;
}

Vmm *vmm_adopt(const char *socket_path, pid_t pid, guint64 start_time, const VmmCallbacks *callbacks, GError **err) {
        int pidfd = open_process(pid, start_time, err);
        if (pidfd < 0)
                return NULL;
        int fd = socket_new(err);
        if (fd < 0) {
                (void) close(pidfd);
                return NULL;
        }
        int r = connect_to(fd, socket_path);
        if (r < 0)
                g_warning("cannot connect to the control socket '%s': %s", socket_path, g_strerror(-r));
        Vmm *vmm = vmm_new(pid, pidfd, start_time, fd, callbacks);
        vmm_io_start(vmm);
        return vmm;
}
