/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket of a monitor, seen from the daemon.
 *
 * One thread, "vmm-io", receives for all monitors. It never runs code of the domains:
 * replies wake the worker that waits for them, events and the end of the process are
 * queued and handed over on the main context, in the order in which they came and so
 * many a second at most (DELIVERIES_PER_RUN). So a call may be made from any thread, the
 * main one included, and no monitor waits for another one's worker.
 *
 * A monitor that an earlier version of the daemon has started may speak an older version
 * of the protocol: HELLO's reply says so, what is sent is fitted to it, and a call that it
 * has no words for fails with a sentence that says so.
 *
 * The monitor is not trusted. Every packet passes ctl_check(); one that fails it, a
 * reply that nobody asked for, or more events than EVENTS_MAX that the daemon has not
 * consumed close the connection for good. Calls then fail with the reason; the process
 * itself is left to the domain's owner, who can still end it by its pidfd. A reply to a
 * call that has timed out is dropped.
 *
 * When the process ends, what it had sent before is received first, so that its last
 * word (why the guest stopped) precedes `exited`.
 */
#include "process/vmm_internal.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../vmm/ctl/message.h"
#include "util/error.h"

#define EVENTS_MAX      256u /* a guest that crashes and restarts in a loop makes about 30 a second */
#define PACKETS_PER_RUN 64u  /* received from one monitor before others get their turn */
/* Handed over at once, and the pause after it: 1600 a second, more than guests of an honest monitor can cause. */
#define DELIVERIES_PER_RUN 32u
#define DELIVERY_PAUSE_MS  20u
#define CALL_SECONDS    30   /* the monitor answers from its loop, at once; this is for hosts that swap */
#define START_SECONDS   180  /* START may fault in and lock all guest memory */
#define BRIEF_SECONDS   1

typedef struct Call {
        guint32 serial;
        guint16 type;
        guint seconds; /* that the reply may take */
        gboolean done;
        gpointer reply; /* room for `size` bytes, zeroed */
        gsize size;
} Call;

/* --- The thread --------------------------------------------------------------------- */

static gpointer io_thread(gpointer data) {
        GMainContext *context = data;
        g_autoptr(GMainLoop) loop = g_main_loop_new(context, FALSE);

        g_main_context_push_thread_default(context);
        g_main_loop_run(loop); /* for the life of the daemon */
        return NULL;
}

static gpointer io_context_make(gpointer unused) {
        GMainContext *context = g_main_context_new();
        g_thread_unref(g_thread_new("vmm-io", io_thread, context));
        return context;
}

static GMainContext *io_context(void) {
        static GOnce once = G_ONCE_INIT;
        return g_once(&once, io_context_make, NULL);
}

void vmm_init(void) {
        (void) io_context();
}

/* --- Towards the main context --------------------------------------------------------- */

/* The next thing to hand over. FALSE when there is nothing; an event, or NULL for the end. */
static gboolean delivery_next(Vmm *vmm, GBytes **ret_event) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        *ret_event = vmm->muted ? NULL : g_queue_pop_head(&vmm->events);
        if (*ret_event)
                return TRUE;
        if (vmm->exited && !vmm->exit_told && !vmm->muted) {
                vmm->exit_told = TRUE;
                return TRUE;
        }
        g_clear_pointer(&vmm->delivery, g_source_unref);
        return FALSE;
}

static gboolean delivery_run(gpointer data);

static void drop_ref(gpointer data) {
        vmm_unref(data);
}

/* Lock held. */
static void delivery_attach(Vmm *vmm, guint delay_ms) {
        vmm->delivery = g_timeout_source_new(delay_ms);
        g_source_set_callback(vmm->delivery, delivery_run, vmm_ref(vmm), drop_ref);
        g_source_attach(vmm->delivery, NULL);
}

static gboolean delivery_run(gpointer data) {
        Vmm *vmm = data;
        GBytes *event;

        for (unsigned i = 0; i < DELIVERIES_PER_RUN; i++) {
                if (!delivery_next(vmm, &event))
                        return G_SOURCE_REMOVE;
                if (event && vmm->callbacks.event)
                        vmm->callbacks.event(vmm, g_bytes_get_data(event, NULL), vmm->callbacks.data);
                if (!event && vmm->callbacks.exited)
                        vmm->callbacks.exited(vmm, vmm->callbacks.data);
                g_clear_pointer(&event, g_bytes_unref);
        }

        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        if (!vmm->delivery) /* stopped meanwhile */
                return G_SOURCE_REMOVE;
        g_source_unref(vmm->delivery);
        delivery_attach(vmm, DELIVERY_PAUSE_MS);
        return G_SOURCE_REMOVE;
}

/* Lock held. */
static void delivery_schedule(Vmm *vmm) {
        if (!vmm->delivery && !vmm->muted)
                delivery_attach(vmm, 0);
}

void vmm_io_unmute(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        vmm->muted = FALSE;
        if (vmm->exited)
                delivery_schedule(vmm);
}

/* --- Receiving: all with the lock held ------------------------------------------------- */

static void connection_close(Vmm *vmm, const char *reason) {
        if (vmm->closed)
                return;
        vmm->closed = TRUE;
        vmm->close_reason = g_strdup(reason);
        (void) shutdown(vmm->fd, SHUT_RDWR);
        g_cond_broadcast(&vmm->cond);
}

static void connection_break(Vmm *vmm, const char *reason) {
        g_warning("monitor %d: closing its control connection: %s", (int) vmm->pid, reason);
        connection_close(vmm, reason);
}

static Call *call_find(Vmm *vmm, guint32 serial) {
        for (GList *l = vmm->calls.head; l; l = l->next) {
                Call *call = l->data;
                if (call->serial == serial)
                        return call;
        }
        return NULL;
}

/* At once, on this thread: the next packet is in this version. vmm_hello() says what is wrong with another one. */
static void take_version(Vmm *vmm, const struct ctl_hello_reply *reply) {
        if (reply->reply.error == 0)
                vmm->version = ctl_version_agree(reply->version, reply->version);
}

static guint32 version_of(const Vmm *vmm) {
        return vmm->version ? vmm->version : CTL_VERSION_MIN;
}

static void take_reply(Vmm *vmm, const struct ctl_message *message) {
        Call *call = call_find(vmm, message->header.serial);

        if (!call) {
                /* Serials count up: one that was given out belongs to a call that has timed out. */
                if (message->header.serial - 1 >= vmm->last_serial)
                        connection_break(vmm, "it answered a question that was not asked");
                vmm->late = FALSE;
                return;
        }
        if (call->done || message->header.type != (call->type | CTL_REPLY)) {
                connection_break(vmm, "it answered another question");
                return;
        }
        if (call->type == CTL_HELLO)
                take_version(vmm, (const struct ctl_hello_reply *) message->data);
        memcpy(call->reply, message->data, MIN(call->size, message->length));
        call->done = TRUE;
        g_cond_broadcast(&vmm->cond);
}

static void take_event(Vmm *vmm, const struct ctl_message *message) {
        if (g_queue_get_length(&vmm->events) >= EVENTS_MAX) {
                connection_break(vmm, "it sends events faster than they can be handled");
                return;
        }
        if (vmm->muted)
                return;
        g_queue_push_tail(&vmm->events, g_bytes_new(message->data, message->length));
        delivery_schedule(vmm);
}

/* FALSE when there is nothing more to receive now. */
static gboolean receive_one(Vmm *vmm) {
        struct ctl_message message;
        char text[CTL_TEXT_MAX];
        int r = ctl_receive(vmm->fd, &message);

        if (r == -EAGAIN)
                return FALSE;
        if (r == 0 || r == -ECONNRESET) {
                connection_close(vmm, "the monitor has closed its control socket");
                return FALSE;
        }
        if (r < 0) {
                connection_break(vmm, r == -EBADMSG ? "it sent an invalid message" : g_strerror(-r));
                return FALSE;
        }
        if (ctl_check(&message, CTL_SENDER_MONITOR, version_of(vmm), text) < 0)
                connection_break(vmm, text);
        else if (message.header.type & CTL_REPLY)
                take_reply(vmm, &message);
        else
                take_event(vmm, &message);
        ctl_message_done(&message);
        return !vmm->closed;
}

static gboolean socket_readable(gint fd, GIOCondition condition, gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        for (unsigned i = 0; i < PACKETS_PER_RUN && !vmm->closed; i++)
                if (!receive_one(vmm))
                        break;
        return vmm->closed ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

/* The daemon is the parent only of what it has spawned itself; others are reaped by init. */
static void reap(Vmm *vmm) {
        siginfo_t info = {};
        int r;

        do
                r = waitid(P_PIDFD, (id_t) vmm->pidfd, &info, WEXITED | WNOHANG);
        while (r < 0 && errno == EINTR);
        if (r == 0 && info.si_pid != 0) {
                vmm->status = info;
                vmm->has_status = TRUE;
        }
}

static gboolean process_ended(gint fd, GIOCondition condition, gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        reap(vmm);
        while (!vmm->closed && receive_one(vmm)) /* bounded: nobody writes any more */
                ;
        connection_close(vmm, "the monitor has ended");
        vmm->exited = TRUE;
        delivery_schedule(vmm);
        g_cond_broadcast(&vmm->cond);
        return G_SOURCE_REMOVE;
}

static GSource *watch_fd(Vmm *vmm, int fd, GUnixFDSourceFunc func) {
        GSource *source = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
        g_source_set_callback(source, G_SOURCE_FUNC(func), vmm_ref(vmm), drop_ref);
        g_source_attach(source, io_context());
        return source;
}

void vmm_io_start(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        vmm->socket_source = watch_fd(vmm, vmm->fd, socket_readable);
        vmm->exit_source = watch_fd(vmm, vmm->pidfd, process_ended);
}

void vmm_io_stop(Vmm *vmm) {
        GSource *sources[3];

        g_mutex_lock(&vmm->lock);
        vmm->muted = TRUE;
        connection_close(vmm, "the daemon has closed the control connection");
        g_queue_clear_full(&vmm->events, (GDestroyNotify) g_bytes_unref);
        sources[0] = g_steal_pointer(&vmm->socket_source);
        sources[1] = g_steal_pointer(&vmm->exit_source);
        sources[2] = g_steal_pointer(&vmm->delivery);
        g_mutex_unlock(&vmm->lock);

        /* Destroying a source drops its reference, which needs the lock to be free. */
        for (unsigned i = 0; i < G_N_ELEMENTS(sources); i++) {
                if (!sources[i])
                        continue;
                g_source_destroy(sources[i]);
                g_source_unref(sources[i]);
        }
}

/* --- Calling --------------------------------------------------------------------------- */

static gboolean deadline_passed(gint64 deadline) {
        return g_get_monotonic_time() >= deadline;
}

/* Lock held. The monitor reads its socket whenever its loop runs, so a full one is rare and short. */
static int send_until(Vmm *vmm, const void *message, const int *fds, unsigned n_fds, gint64 deadline) {
        for (;;) {
                int r = vmm->closed ? -EPIPE : ctl_send(vmm->fd, message, fds, n_fds);
                if (r != -EAGAIN)
                        return r;
                if (deadline_passed(deadline))
                        return -ETIMEDOUT;
                g_mutex_unlock(&vmm->lock);
                (void) poll(&(struct pollfd) { .fd = vmm->fd, .events = POLLOUT }, 1, 100);
                g_mutex_lock(&vmm->lock);
        }
}

/* Lock held. */
static int call_exchange(Vmm *vmm, Call *call, const void *message, const int *fds, unsigned n_fds) {
        gint64 deadline = g_get_monotonic_time() + call->seconds * G_TIME_SPAN_SECOND;
        int r = send_until(vmm, message, fds, n_fds, deadline);

        while (r == 0 && !call->done) {
                if (vmm->closed)
                        r = -EPIPE;
                else if (!g_cond_wait_until(&vmm->cond, &vmm->lock, deadline) && !call->done)
                        r = vmm->closed ? -EPIPE : -ETIMEDOUT;
        }
        vmm->late = r == -ETIMEDOUT;
        return r;
}

static void set_exchange_error(Vmm *vmm, const Call *call, int r, GError **err) {
        const char *name = ctl_type_name(call->type);

        if (r == -ETIMEDOUT)
                error_set(err, VIR_ERR_OPERATION_TIMEOUT, "the monitor does not answer to %s", name);
        else if (vmm->closed)
                error_set(err, VIR_ERR_OPERATION_FAILED, "%s: %s", name, vmm->close_reason);
        else
                error_set_errno(err, r, "cannot send %s to the monitor", name);
}

/* Text of a monitor goes into logs and to terminals: control characters and broken UTF-8 do not. */
static char *sanitize_text(const char *text) {
        char *clean = g_utf8_make_valid(text, -1);
        for (char *c = clean; *c; c++)
                if (g_ascii_iscntrl(*c))
                        *c = ' ';
        return clean;
}

static gboolean check_reply(const Call *call, GError **err) {
        const struct ctl_reply *reply = call->reply;
        g_autofree char *text = sanitize_text(reply->text);

        if (reply->error == 0)
                return TRUE;
        virErrorNumber code = VIR_ERR_OPERATION_FAILED;
        if (reply->error == -EOPNOTSUPP) /* what the host cannot do is a matter of the configuration */
                code = VIR_ERR_CONFIG_UNSUPPORTED;
        if (text[0])
                error_set(err, code, "%s", text);
        else
                error_set(err, VIR_ERR_OPERATION_FAILED, "the monitor refuses %s: %s", ctl_type_name(call->type),
                          g_strerror(reply->error == G_MININT32 ? 0 : ABS(reply->error)));
        return FALSE;
}

/* Lock held. */
static int call_queued(Vmm *vmm, Call *call, const void *message, const int *fds, unsigned n_fds, GError **err) {
        g_queue_push_tail(&vmm->calls, call);
        int r = call_exchange(vmm, call, message, fds, n_fds);
        g_queue_remove(&vmm->calls, call);
        if (r < 0)
                set_exchange_error(vmm, call, r, err);
        return r;
}

static gboolean call_run(Vmm *vmm, enum ctl_type type, guint seconds, gpointer message, gsize size, const int *fds,
                         unsigned n_fds, gpointer ret_reply, gsize reply_size, GError **err) {
        guint64 reply[(CTL_MESSAGE_MAX + 7) / 8] = {};
        Call call = { .type = (guint16) type, .seconds = seconds, .reply = reply, .size = sizeof(reply) };
        char text[CTL_TEXT_MAX];

        g_mutex_lock(&vmm->lock);
        call.serial = ++vmm->last_serial;
        ctl_header_init(message, (guint16) type, call.serial, size);
        int r = ctl_fit(message, version_of(vmm), n_fds, text);
        if (r < 0)
                error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                          "the monitor is of an older version of virtmicro: %s; restart the domain", text);
        else
                r = call_queued(vmm, &call, message, fds, n_fds, err);
        g_mutex_unlock(&vmm->lock);

        if (r < 0)
                return FALSE;
        if (ret_reply)
                memcpy(ret_reply, reply, MIN(reply_size, sizeof(reply)));
        return check_reply(&call, err);
}

gboolean vmm_call(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, const int *fds, unsigned n_fds,
                  gpointer ret_reply, gsize reply_size, GError **err) {
        return call_run(vmm, type, type == CTL_START ? START_SECONDS : CALL_SECONDS, message, size, fds, n_fds,
                        ret_reply, reply_size, err);
}

static gboolean is_late(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        return vmm->late;
}

gboolean vmm_call_briefly(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, gpointer ret_reply,
                          gsize reply_size, GError **err) {
        if (is_late(vmm)) {
                error_set(err, VIR_ERR_OPERATION_TIMEOUT, "the monitor has not answered yet to an earlier call");
                return FALSE;
        }
        return call_run(vmm, type, BRIEF_SECONDS, message, size, NULL, 0, ret_reply, reply_size, err);
}
