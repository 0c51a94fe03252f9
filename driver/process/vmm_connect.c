/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to a monitor: connecting, greeting, reconnecting.
 *
 *   down       none. An attempt is due, at first at once, then after growing pauses
 *   greeting   connected. HELLO was sent; after an interruption QUERY follows, because events were missed
 *   up         calls are sent
 *
 * A connection ends when the monitor closes it or breaks the protocol. The guest must not suffer from that, nor from
 * a daemon that cannot open a descriptor: attempts continue until there is a connection or the process is known to be
 * gone. Nobody waits for them: the receiving thread makes them, none blocks, and a greeting has no time limit, since
 * a monitor that the host has stopped answers once it is continued. Calls meanwhile wait for READY_SECONDS from the
 * beginning of the interruption and fail then.
 *
 * A monitor that breaks the protocol again and again costs a few packets each RETRY_MAX_MS, and two lines of the log
 * for a burst: the pauses grow until a connection has been in order for CALM_SECONDS.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../vmm/ctl/message.h"
#include "process/vmm_internal.h"
#include "util/error.h"
#include "util/process.h"

#define RETRY_MAX_MS 60000u
#define CALM_SECONDS 60

/* --- The process ------------------------------------------------------------------------ */

static gboolean has_ended(int pidfd) {
        return poll(&(struct pollfd) { .fd = pidfd, .events = POLLIN }, 1, 0) == 1;
}

VmmIdentity vmm_open_process(pid_t pid, guint64 start_time, int *ret_pidfd, GError **err) {
        guint64 actual = 0;
        int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);

        if (pidfd < 0) {
                gboolean gone = errno == ESRCH || errno == EINVAL; /* EINVAL: the number is a thread's */
                error_set_errno(err, errno, "cannot open process %d", (int) pid);
                return gone ? VMM_GONE : VMM_UNKNOWN;
        }
        /* The descriptor first: after that the start time cannot become another process's. */
        if (!process_start_time(pid, &actual, err)) {
                gboolean gone = has_ended(pidfd);
                (void) close(pidfd);
                return gone ? VMM_GONE : VMM_UNKNOWN;
        }
        if (actual == start_time && !has_ended(pidfd)) {
                *ret_pidfd = pidfd;
                return VMM_FOUND;
        }
        (void) close(pidfd);
        error_set(err, VIR_ERR_OPERATION_FAILED, "process %d is no longer the monitor", (int) pid);
        return VMM_GONE;
}

gboolean vmm_find_process(Vmm *vmm, GError **err) {
        if (vmm->pidfd >= 0)
                return TRUE;
        switch (vmm_open_process(vmm->pid, vmm->start_time, &vmm->pidfd, err)) {
        case VMM_FOUND:
                vmm_io_watch_process(vmm);
                return TRUE;
        case VMM_GONE:
                vmm_io_tell_exit(vmm);
                return FALSE;
        default:
                return FALSE;
        }
}

/* --- The log: the first fault of a burst, and its end ------------------------------ */

static void note_fault(Vmm *vmm, const char *what) {
        if (vmm->faults++ == 0)
                g_warning("monitor %d cannot be managed: %s; the daemon keeps trying", (int) vmm->pid, what);
}

static void note_up(Vmm *vmm) {
        if (vmm->faults == 1)
                g_message("monitor %d can be managed again", (int) vmm->pid);
}

/* The connection that has just ended worked for long enough to reset pauses and log. */
static void note_calm(Vmm *vmm) {
        gint64 up_since = vmm->up_since;

        vmm->up_since = 0;
        if (up_since == 0 || g_get_monotonic_time() - up_since < CALM_SECONDS * G_TIME_SPAN_SECOND)
                return;
        if (vmm->faults > 1)
                g_message("monitor %d: %u more connection faults before it recovered", (int) vmm->pid, vmm->faults - 1);
        vmm->faults = 0;
        vmm->retry_ms = VMM_RETRY_MIN_MS;
}

/* --- Ending and making a connection; all with the lock held --------------------------------- */

void vmm_link_close(Vmm *vmm, const char *reason) {
        if (vmm->link == VMM_LINK_DOWN)
                return;
        note_calm(vmm);
        vmm->link = VMM_LINK_DOWN;
        vmm->connections++; /* waiting calls belong to the one that has ended */
        vmm->down_since = g_get_monotonic_time();
        g_free(vmm->down_reason);
        vmm->down_reason = g_strdup(reason);
        (void) shutdown(vmm->fd, SHUT_RDWR); /* its source sees that, and has the next attempt made */
        g_cond_broadcast(&vmm->cond);
}

void vmm_link_break(Vmm *vmm, const char *reason) {
        if (vmm->link == VMM_LINK_DOWN)
                return;
        vmm_link_close(vmm, reason);
        note_fault(vmm, vmm->down_reason);
}

static int greet(Vmm *vmm, enum ctl_type type, struct ctl_header *message, gsize size) {
        char text[CTL_TEXT_MAX];

        vmm->greeting = ++vmm->last_serial;
        ctl_header_init(message, (guint16) type, vmm->greeting, size);
        int r = ctl_fit(message, vmm_version(vmm), 0, text);
        return r < 0 ? r : ctl_send(vmm->fd, message, NULL, 0);
}

static void greet_or_close(Vmm *vmm, enum ctl_type type, struct ctl_header *message, gsize size) {
        int r = greet(vmm, type, message, size);
        if (r < 0)
                vmm_link_close(vmm, g_strerror(-r));
}

/* One number for all connections: a caller that waits for room in the socket has no lock. */
static void take_socket(Vmm *vmm, int fd) {
        if (vmm->fd < 0) {
                vmm->fd = fd;
                return;
        }
        (void) dup3(fd, vmm->fd, O_CLOEXEC);
        (void) close(fd);
}

static gboolean still_greeting(gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        g_clear_pointer(&vmm->timer, g_source_unref);
        if (vmm->link == VMM_LINK_GREETING)
                note_fault(vmm, "it does not answer");
        return G_SOURCE_REMOVE;
}

void vmm_link_begin(Vmm *vmm, int fd) {
        struct ctl_hello hello = { .version_min = CTL_VERSION_MIN, .version_max = CTL_VERSION };

        take_socket(vmm, fd);
        vmm->link = VMM_LINK_GREETING;
        vmm->version = 0;
        g_array_set_size(vmm->owed, 0);
        g_free(vmm->down_reason);
        vmm->down_reason = g_strdup("it does not answer");
        vmm_io_watch_socket(vmm);
        vmm->timer = vmm_io_timer(vmm, READY_SECONDS * 1000, still_greeting);
        greet_or_close(vmm, CTL_HELLO, &hello.header, sizeof(hello));
}

static gboolean connect_now(gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        g_autoptr(GError) err = NULL;

        g_clear_pointer(&vmm->timer, g_source_unref);
        if (vmm->stopped || vmm->exited)
                return G_SOURCE_REMOVE;
        if (vmm->faults == 0 && vmm->down_reason) /* it was closed, and not because the process has ended */
                note_fault(vmm, vmm->down_reason);
        int fd = vmm_find_process(vmm, &err) ? vmm_socket_connect(vmm->path, &err) : -1;
        if (fd >= 0) {
                vmm_link_begin(vmm, fd);
        } else if (!vmm->exited) {
                note_fault(vmm, err->message);
                g_free(vmm->down_reason);
                vmm->down_reason = g_strdup(err->message);
                vmm_connect_later(vmm);
        }
        return G_SOURCE_REMOVE;
}

void vmm_connect_later(Vmm *vmm) {
        if (vmm->stopped || vmm->exited)
                return;
        if (vmm->timer) { /* the greeting's */
                g_source_destroy(vmm->timer);
                g_source_unref(vmm->timer);
        }
        vmm->timer = vmm_io_timer(vmm, vmm->retry_ms, connect_now);
        vmm->retry_ms = MIN(2 * vmm->retry_ms, RETRY_MAX_MS);
}

void vmm_connect_first(Vmm *vmm) {
        vmm->down_since = g_get_monotonic_time();
        vmm->timer = vmm_io_timer(vmm, 0, connect_now);
}

/* --- The greeting ------------------------------------------------------------------------ */

static void link_up(Vmm *vmm) {
        vmm->link = VMM_LINK_UP;
        vmm->greeting = 0;
        vmm->up_since = g_get_monotonic_time();
        vmm->asks = TRUE;
        vmm->late = FALSE;
        g_clear_pointer(&vmm->down_reason, g_free);
        note_up(vmm);
        g_cond_broadcast(&vmm->cond);
}

/* Only a different daemon or monitor changes that, so attempts are rare. */
static void refuse(Vmm *vmm, const char *reason) {
        vmm->retry_ms = RETRY_MAX_MS;
        vmm_link_break(vmm, reason);
}

static void take_hello(Vmm *vmm, const struct ctl_hello_reply *reply) {
        struct ctl_header query = { 0 };
        g_autofree char *text = NULL;

        vmm->version = ctl_version_agree(CTL_VERSION_MIN, reply->version, reply->version);
        if (reply->reply.error < 0) {
                text = vmm_sanitize_text(reply->reply.text);
                refuse(vmm, text);
        } else if (vmm->version == 0) {
                text = g_strdup_printf("the monitor speaks version %u of the control protocol, not %u to %u",
                                       reply->version, CTL_VERSION_MIN, CTL_VERSION);
                refuse(vmm, text);
        } else if (vmm->asks) {
                greet_or_close(vmm, CTL_QUERY, &query, sizeof(query));
        } else {
                link_up(vmm);
        }
}

void vmm_greeting_reply(Vmm *vmm, const struct ctl_message *message) {
        gboolean is_query = message->header.type == (CTL_QUERY | CTL_REPLY);

        if (message->header.serial != vmm->greeting || (vmm->version == 0) == is_query ||
            (!is_query && message->header.type != (CTL_HELLO | CTL_REPLY))) {
                vmm_link_break(vmm, "it sent an unexpected answer");
        } else if (!is_query) {
                take_hello(vmm, (const struct ctl_hello_reply *) message->data);
        } else {
                link_up(vmm);
                vmm_io_tell(vmm, message);
        }
}
