/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The traffic on a monitor's control socket, seen from the daemon.
 *
 * One thread, "vmm-io", receives for all monitors. It never runs code of the domains:
 * replies wake the worker that waits for them, events and the end of the process are
 * queued and handed over on the main context, in order and at a limited rate
 * (DELIVERIES_PER_RUN). So any thread may make a call, the main one included, and no
 * monitor waits for another's worker.
 *
 * A monitor that an earlier version of the daemon started may speak an older version of
 * the protocol: HELLO's reply says so, requests are fitted to it, and a call that it does
 * not know fails with an error that says so.
 *
 * The monitor is not trusted. Every packet passes ctl_check(); one that fails it, a reply
 * that nobody waits for or waited for, or more than EVENTS_MAX unconsumed events break the
 * connection. Calls then fail with the reason, and vmm_connect.c makes a new one. A call
 * that has timed out is owed one answer, which is dropped. Events about the state of a
 * port or disk replace earlier ones about the same. And no monitor gets more than
 * PACKETS_PER_WINDOW of the thread: further packets wait in the socket, where the sender
 * runs out of room.
 *
 * When the process ends, what it had sent before is received first, so that its last event
 * (why the guest stopped) precedes `exited`. It is reaped when the last reference goes:
 * until then its number is safe to use.
 */
#include "process/vmm_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../vmm/ctl/message.h"
#include "util/error.h"

#define EVENTS_MAX 256u /* a guest that crashes and restarts in a loop makes about 30 a second */
/* 3200 a second: more than the calls and events of a busy domain, and about a hundredth of a core. */
#define PACKETS_PER_WINDOW 64u
#define WINDOW_MS          20u
#define OWED_MAX           64u /* answers to calls that have timed out; beyond that, reconnect */
/* Delivered at once, and the pause after that: 1600 a second, more than an honest monitor's guest can cause. */
#define DELIVERIES_PER_RUN 32u
#define DELIVERY_PAUSE_MS  20u
#define CALL_SECONDS       30  /* the monitor answers from its loop at once; this is for hosts that swap */
#define LONG_SECONDS       180 /* START may fault in and lock all guest memory; others wait for the host's storage */
#define BRIEF_SECONDS      1

typedef struct Call {
        guint32 serial;
        guint16 type;
        gint64 deadline;    /* for the reply; monotonic */
        guint64 connection; /* that it was sent on; Vmm.connections */
        gboolean sent, done;
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

/* The next thing to deliver: an event, or NULL for the end. FALSE when there is nothing. */
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

void vmm_io_tell(Vmm *vmm, const struct ctl_message *message) {
        if (vmm->muted)
                return;
        g_queue_push_tail(&vmm->events, g_bytes_new(message->data, message->length));
        delivery_schedule(vmm);
}

void vmm_io_tell_exit(Vmm *vmm) {
        vmm_link_close(vmm, "the monitor has ended");
        vmm->exited = TRUE;
        delivery_schedule(vmm);
        g_cond_broadcast(&vmm->cond);
}

void vmm_io_unmute(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        vmm->muted = FALSE;
        if (vmm->exited)
                delivery_schedule(vmm);
}

/* --- Receiving: all with the lock held ------------------------------------------------- */

static Call *call_find(Vmm *vmm, guint32 serial) {
        for (GList *l = vmm->calls.head; l; l = l->next) {
                Call *call = l->data;
                if (call->serial == serial)
                        return call;
        }
        return NULL;
}

guint32 vmm_version(const Vmm *vmm) {
        return vmm->version ? vmm->version : CTL_VERSION_MIN;
}

/* TRUE: the serial is of a call that has timed out, whose answer this is. */
static gboolean owed_take(Vmm *vmm, guint32 serial) {
        for (guint i = 0; i < vmm->owed->len; i++) {
                if (g_array_index(vmm->owed, guint32, i) != serial)
                        continue;
                g_array_remove_index(vmm->owed, i);
                return TRUE;
        }
        return FALSE;
}

static void owed_add(Vmm *vmm, guint32 serial) {
        if (vmm->owed->len >= OWED_MAX)
                vmm_link_break(vmm, "it owes too many answers");
        else
                g_array_append_val(vmm->owed, serial);
}

static void take_reply(Vmm *vmm, const struct ctl_message *message) {
        Call *call = call_find(vmm, message->header.serial);

        if (vmm->link == VMM_LINK_GREETING) {
                vmm_greeting_reply(vmm, message);
                return;
        }
        vmm->late = FALSE;
        if (!call) {
                if (!owed_take(vmm, message->header.serial))
                        vmm_link_break(vmm, "it sent an unexpected answer");
                return;
        }
        if (call->done || message->header.type != (call->type | CTL_REPLY)) {
                vmm_link_break(vmm, "its answer does not match the request");
                return;
        }
        memcpy(call->reply, message->data, MIN(call->size, message->length));
        call->done = TRUE;
        g_cond_broadcast(&vmm->cond);
}

/* Whether both say how the same port or disk is. */
static gboolean is_same_subject(const struct ctl_header *a, const struct ctl_header *b) {
        if (a->type != b->type)
                return FALSE;
        if (a->type == CTL_EVENT_PORT)
                return ((const struct ctl_event_port *) a)->id == ((const struct ctl_event_port *) b)->id;
        if (a->type == CTL_EVENT_IO_ERROR)
                return ((const struct ctl_event_io_error *) a)->id == ((const struct ctl_event_io_error *) b)->id;
        return FALSE;
}

/* TRUE: it replaced one that the daemon has not consumed. */
static gboolean replace_event(Vmm *vmm, const struct ctl_message *message) {
        for (GList *l = vmm->events.head; l; l = l->next) {
                if (!is_same_subject(g_bytes_get_data(l->data, NULL), (const struct ctl_header *) message->data))
                        continue;
                g_bytes_unref(l->data);
                l->data = g_bytes_new(message->data, message->length);
                return TRUE;
        }
        return FALSE;
}

static void take_event(Vmm *vmm, const struct ctl_message *message) {
        if (replace_event(vmm, message))
                return;
        if (g_queue_get_length(&vmm->events) >= EVENTS_MAX)
                vmm_link_break(vmm, "it sends events faster than they can be handled");
        else
                vmm_io_tell(vmm, message);
}

/* FALSE when there is nothing more to receive. */
static gboolean receive_one(Vmm *vmm) {
        struct ctl_message message;
        char text[CTL_TEXT_MAX];
        int r = ctl_receive(vmm->fd, &message);

        if (r == -EAGAIN)
                return FALSE;
        if (r == 0 || r == -ECONNRESET) {
                vmm_link_close(vmm, "the monitor has closed its control socket");
                return FALSE;
        }
        if (r < 0) {
                vmm_link_break(vmm, r == -EBADMSG ? "it sent an invalid message" : g_strerror(-r));
                return FALSE;
        }
        if (ctl_check(&message, CTL_SENDER_MONITOR, vmm_version(vmm), text) < 0)
                vmm_link_break(vmm, text);
        else if (message.header.type & CTL_REPLY)
                take_reply(vmm, &message);
        else
                take_event(vmm, &message);
        ctl_message_done(&message);
        return vmm->link != VMM_LINK_DOWN;
}

/* FALSE: the monitor has had its share of the thread for now. */
static gboolean window_take(Vmm *vmm) {
        gint64 now = g_get_monotonic_time();

        if (now >= vmm->window_end) {
                vmm->window_end = now + WINDOW_MS * G_TIME_SPAN_MILLISECOND;
                vmm->window_left = PACKETS_PER_WINDOW;
        }
        if (vmm->window_left == 0)
                return FALSE;
        vmm->window_left--;
        return TRUE;
}

static gboolean pause_over(gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        g_clear_pointer(&vmm->pause, g_source_unref);
        if (!vmm->stopped)
                vmm_io_watch_socket(vmm); /* where a lost connection is noticed */
        return G_SOURCE_REMOVE;
}

static gboolean socket_readable(gint fd, GIOCondition condition, gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        gboolean had_share = FALSE;

        while (vmm->link != VMM_LINK_DOWN) {
                had_share = !window_take(vmm);
                if (had_share || !receive_one(vmm))
                        break;
        }
        if (vmm->link != VMM_LINK_DOWN && !had_share)
                return G_SOURCE_CONTINUE;
        g_clear_pointer(&vmm->socket_source, g_source_unref);
        if (vmm->link == VMM_LINK_DOWN)
                vmm_connect_later(vmm);
        else
                vmm->pause = vmm_io_timer(vmm, WINDOW_MS, pause_over);
        return G_SOURCE_REMOVE;
}

/* How it ended. The daemon is the parent only of what it spawned; init reaps others. */
static void learn_status(Vmm *vmm) {
        siginfo_t info = {};
        int r;

        do
                r = waitid(P_PIDFD, (id_t) vmm->pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
        while (r < 0 && errno == EINTR);
        if (r == 0 && info.si_pid != 0) {
                vmm->status = info;
                vmm->has_status = TRUE;
        }
}

static gboolean process_ended(gint fd, GIOCondition condition, gpointer data) {
        Vmm *vmm = data;
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);

        learn_status(vmm);
        while (vmm->link != VMM_LINK_DOWN && receive_one(vmm)) /* bounded: the writer is gone */
                ;
        vmm_io_tell_exit(vmm);
        return G_SOURCE_REMOVE;
}

static GSource *watch(Vmm *vmm, GSource *source, GSourceFunc func) {
        g_source_set_callback(source, func, vmm_ref(vmm), drop_ref);
        g_source_attach(source, io_context());
        return source;
}

void vmm_io_watch_socket(Vmm *vmm) {
        GSource *source = g_unix_fd_source_new(vmm->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
        vmm->socket_source = watch(vmm, source, G_SOURCE_FUNC(socket_readable));
}

void vmm_io_watch_process(Vmm *vmm) {
        GSource *source = g_unix_fd_source_new(vmm->pidfd, G_IO_IN | G_IO_HUP | G_IO_ERR);
        vmm->exit_source = watch(vmm, source, G_SOURCE_FUNC(process_ended));
}

GSource *vmm_io_timer(Vmm *vmm, guint ms, GSourceFunc func) {
        return watch(vmm, g_timeout_source_new(ms), func);
}

void vmm_io_stop(Vmm *vmm) {
        GSource *sources[5];

        g_mutex_lock(&vmm->lock);
        vmm->muted = vmm->stopped = TRUE;
        vmm_link_close(vmm, "the daemon has closed the control connection");
        g_queue_clear_full(&vmm->events, (GDestroyNotify) g_bytes_unref);
        sources[0] = g_steal_pointer(&vmm->socket_source);
        sources[1] = g_steal_pointer(&vmm->exit_source);
        sources[2] = g_steal_pointer(&vmm->delivery);
        sources[3] = g_steal_pointer(&vmm->timer);
        sources[4] = g_steal_pointer(&vmm->pause);
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

/* Lock held. All calls give up on a missing connection READY_SECONDS after its loss. */
static gboolean await_link(Vmm *vmm, const Call *call) {
        gint64 deadline = MIN(call->deadline, vmm->down_since + READY_SECONDS * G_TIME_SPAN_SECOND);

        while (vmm->link != VMM_LINK_UP && !vmm->stopped && !vmm->exited)
                if (!g_cond_wait_until(&vmm->cond, &vmm->lock, deadline))
                        break;
        return vmm->link == VMM_LINK_UP;
}

/* Lock held. */
static gboolean is_cut_off(const Vmm *vmm, const Call *call) {
        return call->connection != vmm->connections;
}

/* Lock held. The monitor reads its socket whenever its loop runs, so a full one is rare and short. */
static int send_until(Vmm *vmm, const Call *call, const void *message, const int *fds, unsigned n_fds) {
        for (;;) {
                int r = is_cut_off(vmm, call) ? -EPIPE : ctl_send(vmm->fd, message, fds, n_fds);
                if (r != -EAGAIN)
                        return r;
                if (g_get_monotonic_time() >= call->deadline)
                        return -ETIMEDOUT;
                g_mutex_unlock(&vmm->lock);
                (void) poll(&(struct pollfd) { .fd = vmm->fd, .events = POLLOUT }, 1, 100);
                g_mutex_lock(&vmm->lock);
        }
}

/* Lock held. */
static int call_exchange(Vmm *vmm, Call *call, const void *message, const int *fds, unsigned n_fds) {
        int r = send_until(vmm, call, message, fds, n_fds);

        call->sent = r == 0;
        while (r == 0 && !call->done) {
                if (is_cut_off(vmm, call))
                        r = -EPIPE;
                else if (!g_cond_wait_until(&vmm->cond, &vmm->lock, call->deadline) && !call->done)
                        r = is_cut_off(vmm, call) ? -EPIPE : -ETIMEDOUT;
        }
        vmm->late = r == -ETIMEDOUT;
        return r;
}

static void set_exchange_error(Vmm *vmm, const Call *call, int r, GError **err) {
        const char *name = ctl_type_name(call->type);

        if (r == -ETIMEDOUT)
                error_set(err, VIR_ERR_OPERATION_TIMEOUT, "the monitor does not answer to %s", name);
        else if (is_cut_off(vmm, call) && vmm->down_reason)
                error_set(err, VIR_ERR_OPERATION_FAILED, "%s: %s", name, vmm->down_reason);
        else if (is_cut_off(vmm, call))
                error_set(err, VIR_ERR_OPERATION_FAILED, "%s: the connection to the monitor was interrupted", name);
        else
                error_set_errno(err, r, "cannot send %s to the monitor", name);
}

char *vmm_sanitize_text(const char *text) {
        char *clean = g_utf8_make_valid(text, -1);
        for (char *c = clean; *c; c++)
                if (g_ascii_iscntrl(*c))
                        *c = ' ';
        return clean;
}

static gboolean check_reply(const Call *call, GError **err) {
        const struct ctl_reply *reply = call->reply;
        g_autofree char *text = vmm_sanitize_text(reply->text);

        if (reply->error == 0)
                return TRUE;
        virErrorNumber code = VIR_ERR_OPERATION_FAILED;
        if (reply->error == -EOPNOTSUPP) /* a host that lacks something is a matter of configuration */
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
        call->connection = vmm->connections;
        g_queue_push_tail(&vmm->calls, call);
        int r = call_exchange(vmm, call, message, fds, n_fds);
        g_queue_remove(&vmm->calls, call);
        if (r < 0)
                set_exchange_error(vmm, call, r, err);
        if (r == -ETIMEDOUT && call->sent)
                owed_add(vmm, call->serial);
        return r;
}

/* Lock held. A connection missing for longer than calls wait was not lost by this call. */
static int call_locked(Vmm *vmm, Call *call, gpointer message, gsize size, const int *fds, unsigned n_fds,
                       GError **err) {
        char text[CTL_TEXT_MAX];

        if (!await_link(vmm, call)) {
                vmm->late = TRUE;
                const char *why = vmm->exited        ? "the monitor has ended"
                                  : vmm->down_reason ? vmm->down_reason
                                                     : "there is no connection yet";
                error_set(err, VIR_ERR_OPERATION_FAILED, "%s: cannot reach the monitor: %s", ctl_type_name(call->type),
                          why);
                return -ENOTCONN;
        }
        call->serial = ++vmm->last_serial;
        ctl_header_init(message, call->type, call->serial, size);
        int r = ctl_fit(message, vmm_version(vmm), n_fds, text);
        if (r == 0)
                return call_queued(vmm, call, message, fds, n_fds, err);
        error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                  "the monitor is of an older version of virtmicro: %s; restart "
                  "the domain",
                  text);
        return r;
}

static gboolean call_run(Vmm *vmm, enum ctl_type type, guint seconds, gpointer message, gsize size, const int *fds,
                         unsigned n_fds, gpointer ret_reply, gsize reply_size, GError **err) {
        guint64 reply[(CTL_MESSAGE_MAX + 7) / 8] = {};
        Call call = {
                .type = (guint16) type,
                .deadline = g_get_monotonic_time() + seconds * G_TIME_SPAN_SECOND,
                .reply = reply,
                .size = sizeof(reply),
        };

        g_mutex_lock(&vmm->lock);
        int r = call_locked(vmm, &call, message, size, fds, n_fds, err);
        g_mutex_unlock(&vmm->lock);
        if (r < 0)
                return FALSE;
        if (ret_reply)
                memcpy(ret_reply, reply, MIN(reply_size, sizeof(reply)));
        return check_reply(&call, err);
}

static guint call_seconds(enum ctl_type type) {
        switch (type) {
        case CTL_START:
        case CTL_PAUSE:
        case CTL_RESET:
        case CTL_NMI:
                return LONG_SECONDS;
        default:
                return CALL_SECONDS;
        }
}

gboolean vmm_call(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, const int *fds, unsigned n_fds,
                  gpointer ret_reply, gsize reply_size, GError **err) {
        return call_run(vmm, type, call_seconds(type), message, size, fds, n_fds, ret_reply, reply_size, err);
}

static gboolean is_late(Vmm *vmm) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&vmm->lock);
        return vmm->late;
}

gboolean vmm_call_briefly(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, gpointer ret_reply,
                          gsize reply_size, GError **err) {
        if (is_late(vmm)) {
                return error_set(err, VIR_ERR_OPERATION_TIMEOUT, "the monitor has not answered yet to an earlier call");
        }
        return call_run(vmm, type, BRIEF_SECONDS, message, size, NULL, 0, ret_reply, reply_size, err);
}
