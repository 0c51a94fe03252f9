/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A monitor process as an object: made by spawning one (spawn.c) or by finding one
 * again after the daemon was restarted, connected to by vmm_connect.c, and talked to by
 * vmm_io.c.
 *
 * The process is known by a pidfd and by (pid, start time): signals go through the pidfd,
 * and an adopted process has to have the start time that the earlier daemon recorded,
 * compared after the pidfd is open, so that a reused number is noticed. A process that
 * this daemon spawned is reaped with the last reference, so its number, which systemd and
 * machined get, stays its own for as long as it is used here.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/spawn.h"
#include "process/vmm_internal.h"
#include "util/error.h"
#include "util/process.h"

#define GREETING_SECONDS 30 /* as for calls: the host may be swapping */

/* --- The object ------------------------------------------------------------------------- */

static Vmm *vmm_new(pid_t pid, int pidfd, guint64 start_time, const char *path, const VmmCallbacks *callbacks) {
        Vmm *vmm = g_new0(Vmm, 1);

        g_atomic_ref_count_init(&vmm->refs);
        g_mutex_init(&vmm->lock);
        g_cond_init(&vmm->cond);
        g_queue_init(&vmm->calls);
        g_queue_init(&vmm->events);
        vmm->pid = pid;
        vmm->pidfd = pidfd;
        vmm->start_time = start_time;
        vmm->path = g_strdup(path);
        vmm->fd = -1;
        vmm->retry_ms = VMM_RETRY_MIN_MS;
        vmm->owed = g_array_new(FALSE, FALSE, sizeof(guint32));
        if (callbacks)
                vmm->callbacks = *callbacks;
        return vmm;
}

Vmm *vmm_ref(Vmm *vmm) {
        g_atomic_ref_count_inc(&vmm->refs);
        return vmm;
}

/* Does nothing for a process that still runs or is not our child. */
static void reap(int pidfd) {
        siginfo_t info;

        while (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED | WNOHANG) < 0 && errno == EINTR)
                ;
}

void vmm_unref(Vmm *vmm) {
        if (!vmm || !g_atomic_ref_count_dec(&vmm->refs))
                return;
        g_queue_clear_full(&vmm->events, (GDestroyNotify) g_bytes_unref);
        g_array_unref(vmm->owed);
        if (vmm->fd >= 0)
                (void) close(vmm->fd);
        if (vmm->pidfd >= 0) {
                reap(vmm->pidfd);
                (void) close(vmm->pidfd);
        }
        g_free(vmm->path);
        g_free(vmm->down_reason);
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
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        g_autoptr(GError) err = NULL;

        if (!vmm_find_process(vmm, &err)) {
                if (!vmm->exited)
                        g_warning("cannot send signal %d to monitor %d: %s", signal, (int) vmm->pid, err->message);
                return;
        }
        if (syscall(SYS_pidfd_send_signal, vmm->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
                g_warning("cannot send signal %d to monitor %d: %s", signal, (int) vmm->pid, g_strerror(errno));
}

/* By its number, which is its own for as long as the pidfd says that it runs. */
gboolean vmm_allow_file_size(Vmm *vmm, guint64 size, GError **err) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        struct rlimit limit;
        if (!vmm_find_process(vmm, err))
                return FALSE;
        if (vmm->exited)
                return error_set(err, VIR_ERR_OPERATION_FAILED, "monitor %d has ended", (int) vmm->pid);
        if (prlimit(vmm->pid, RLIMIT_FSIZE, NULL, &limit) < 0)
                return error_set_errno(err, errno, "cannot get the limit on the size of files of monitor %d",
                                       (int) vmm->pid);
        if (limit.rlim_cur >= size)
                return TRUE;
        limit = (struct rlimit) { size, size };
        return prlimit(vmm->pid, RLIMIT_FSIZE, &limit, NULL) == 0 ||
               error_set_errno(err, errno, "cannot raise the limit on the size of files of monitor %d", (int) vmm->pid);
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
        return error_set(err, VIR_ERR_OPERATION_FAILED, "the threads of monitor %d cannot be found", (int) vmm->pid);
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

/* Adds how the monitor ended, if that is why the greeting failed. */
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
        int fd = vmm_socket_connect(spawn->socket_path, err); /* queued until the monitor accepts */

        if (fd < 0)
                return NULL;
        if (!spawn_monitor(spawn, listen_fd, &pid, &pidfd, err)) {
                (void) close(fd);
                return NULL;
        }
        /* At worst it is a zombie, whose entry in /proc stays until it is reaped. */
        (void) process_start_time(pid, &start_time, NULL);
        Vmm *vmm = vmm_new(pid, pidfd, start_time, spawn->socket_path, callbacks);
        g_mutex_lock(&vmm->lock);
        vmm->muted = TRUE; /* nobody knows it before its greeting */
        vmm_io_watch_process(vmm);
        vmm_link_begin(vmm, fd);
        g_mutex_unlock(&vmm->lock);
        return vmm;
}

/* The first connection is the only one: a monitor that is lost before START ends. */
static gboolean await_greeting(Vmm *vmm, GError **err) {
        gint64 deadline = g_get_monotonic_time() + GREETING_SECONDS * G_TIME_SPAN_SECOND;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        while (vmm->link == VMM_LINK_GREETING)
                if (!g_cond_wait_until(&vmm->cond, &vmm->lock, deadline))
                        break;
        return vmm->link == VMM_LINK_UP || error_set(err, VIR_ERR_OPERATION_FAILED, "HELLO: %s", vmm->down_reason);
}

Vmm *vmm_spawn(const VmmSpawn *spawn, const VmmCallbacks *callbacks, GError **err) {
        int listen_fd = vmm_socket_listen(spawn->socket_path, err);
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
        if (await_greeting(vmm, err)) {
                vmm_io_unmute(vmm);
                return vmm;
        }
        explain_end(vmm, err);
        abandon(vmm, spawn->socket_path);
        return NULL;
}

Vmm *vmm_adopt(const char *socket_path, pid_t pid, guint64 start_time, const VmmCallbacks *callbacks, GError **err) {
        g_autoptr(GError) failed = NULL;
        int pidfd = -1;

        if (vmm_open_process(pid, start_time, &pidfd, &failed) == VMM_GONE) {
                g_propagate_error(err, g_steal_pointer(&failed));
                return NULL;
        }
        Vmm *vmm = vmm_new(pid, pidfd, start_time, socket_path, callbacks);
        g_mutex_lock(&vmm->lock);
        vmm->asks = TRUE;
        if (pidfd >= 0)
                vmm_io_watch_process(vmm);
        vmm_connect_first(vmm);
        g_mutex_unlock(&vmm->lock);
        return vmm;
}
