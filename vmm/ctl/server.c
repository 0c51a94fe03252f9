/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control server (docs/control-protocol.md). It runs on the control thread, whose
 * loop is also the machine's: state changes, notes of devices and signals arrive there.
 *
 * One peer at a time. A new peer replaces the current one, because a restarted daemon cannot close its
 * predecessor's connection. A peer that breaks the framing or does not read its messages is dropped; the guest
 * keeps running. Before START there is nothing worth keeping: the monitor exits when its peer leaves.
 *
 * Every packet is judged by ctl_check() first, then by the state, then by its handler. Each request gets
 * exactly one reply; unused descriptors are closed. Requests that depend on the host's storage (PAUSE, RESET,
 * NMI) are answered when done; other requests are served meanwhile.
 *
 * Signals are the buttons that systemd's tools press. SIGTERM comes when the scope is stopped, which overrides
 * all configured actions: the guest's power button is pressed, and if it cannot react (not started, paused,
 * ended) or a second one comes, the monitor ends. SIGINT is `machinectl reboot`, SIGRTMIN+4 `machinectl
 * poweroff`. Before the monitor ends by its own decision it writes the exit record, into a mapping of one page:
 * the file's descriptor is closed at once, so that whoever takes the monitor over cannot make the file grow.
 */
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "../base/cleanup.h"
#include "../base/log.h"
#include "../board/fail.h"
#include "../board/vm.h"
#include "../core/loop.h"
#include "message.h"
#include "notes.h"
#include "setup.h"

#define PACKETS_PER_TURN 16
#define OWED_MAX         8u /* replies to requests that are not done yet */

/* Replies that the peer will get. */
struct owed {
        uint16_t type;
        uint32_t serial;
};

struct server {
        const struct ctl_server_config *config;
        struct loop *loop;
        int listen_fd, peer_fd, signal_fd;
        struct ctl_exit_record *exit_record; /* a mapping, or NULL */
        struct loop_source *listen_source, *peer_source, *signal_source;
        uint32_t version; /* of the protocol, agreed on in HELLO; 0: the peer has not said it */
        bool started;     /* START has succeeded */
        bool stop_asked;  /* SIGTERM has pressed the power button */
        bool is_ending;
        int result;
        struct log_guest restarts, crashes; /* those after which the guest restarts by itself, as often as it likes */
        struct owed owed[OWED_MAX];
        unsigned n_owed;
        struct notes notes;
        struct setup setup;
        struct vm *vm;
        struct ctl_message message;
};

static enum ctl_state server_state(const struct server *s) {
        return s->vm ? vm_state(s->vm) : CTL_STATE_SETUP;
}

/* The magic makes it valid, so it comes last. */
static void write_exit_record(struct server *s, enum ctl_state state, enum ctl_reason reason, int error) {
        struct ctl_exit_record *record = s->exit_record;

        if (!record)
                return;
        record->state = state;
        record->reason = reason;
        record->error = error;
        __atomic_store_n(&record->magic, CTL_MAGIC, __ATOMIC_RELEASE);
}

/* Ends the monitor; the first call decides why. */
static void server_end(struct server *s, enum ctl_state state, enum ctl_reason reason, int error) {
        if (s->is_ending)
                return;
        s->is_ending = true;
        s->result = error;
        write_exit_record(s, state, reason, error);
        loop_stop(s->loop);
}

static void peer_close(struct server *s) {
        s->peer_source = loop_remove(s->peer_source);
        close_fd(&s->peer_fd);
        s->version = 0;
        s->n_owed = 0;
}

/* Drops a peer that is not replaced: before START nothing is worth keeping. */
static void peer_lose(struct server *s) {
        peer_close(s);
        if (!s->started)
                server_end(s, CTL_STATE_SETUP, CTL_REASON_NONE, -ECONNRESET);
}

/*
 * A peer that does not read replies or events loses its connection, and can query after reconnecting. Messages
 * that its version of the protocol cannot express are not sent.
 */
static void peer_send(struct server *s, struct ctl_header *message) {
        char text[CTL_TEXT_MAX];
        int r;

        if (s->peer_fd < 0 || ctl_fit(message, s->version ?: CTL_VERSION_MIN, 0, text) < 0)
                return;
        r = ctl_send(s->peer_fd, message, NULL, 0);
        if (r < 0) {
                log_warning(r, "control peer dropped: cannot send %s", ctl_type_name(message->type));
                peer_lose(s);
        }
}

static void send_event(void *arg, struct ctl_header *event) {
        struct server *s = arg;

        if (s->version)
                peer_send(s, event);
}

static void send_state(struct server *s, enum ctl_state state, enum ctl_reason reason) {
        struct ctl_event_state event = { .state = state, .reason = reason };

        ctl_header_init(&event.header, CTL_EVENT_STATE, 0, sizeof(event));
        send_event(s, &event.header);
}

/* Logs each change, so the scope's journal records the guest's life. */
static void log_state(enum ctl_state state, enum ctl_reason reason) {
        static const char *const states[CTL_STATE_MAX] = {
                [CTL_STATE_RUNNING] = "guest runs",
                [CTL_STATE_PAUSED] = "guest is paused",
                [CTL_STATE_SHUTDOWN] = "guest is shut down",
                [CTL_STATE_CRASHED] = "guest crashed",
        };
        static const char *const reasons[CTL_REASON_MAX] = {
                [CTL_REASON_REQUEST] = ", as asked for",
                [CTL_REASON_GUEST] = ", by itself",
                [CTL_REASON_PANIC] = ": its kernel panicked",
                [CTL_REASON_VCPU_ERROR] = ": a vCPU cannot go on",
                [CTL_REASON_IO_ERROR] = ": the host cannot do a disk's work; resuming tries again",
        };

        log_infox("%s%s", states[state] ? states[state] : "guest is set up", reasons[reason] ? reasons[reason] : "");
}

static void on_state(void *arg, enum ctl_state state, enum ctl_reason reason) {
        struct server *s = arg;

        s->started = true; /* before the event, since sending it may lose the peer */
        if (reason == CTL_REASON_REQUEST || vm_end_action(s->vm) != CTL_ACTION_RESTART || log_guest_may(&s->crashes))
                log_state(state, reason);
        send_state(s, state, reason);
        if (state != CTL_STATE_SHUTDOWN && state != CTL_STATE_CRASHED)
                return;
        if (vm_end_action(s->vm) == CTL_ACTION_DESTROY)
                server_end(s, state, reason, 0);
}

static void on_reset(void *arg) {
        struct server *s = arg;
        struct ctl_header event;

        if (log_guest_may(&s->restarts))
                log_infox("guest restarted");
        ctl_header_init(&event, CTL_EVENT_RESET, 0, sizeof(event));
        send_event(s, &event);
}

static void reply_error(struct ctl_reply *reply, uint16_t type, int r) {
        if (r < 0 && !reply->text[0])
                (void) snprintf(reply->text, CTL_TEXT_MAX, "%s: %s", ctl_type_name(type), strerror(-r));
        reply->error = r;
}

/* Sends the replies owed for the operation. */
static void on_finished(void *arg, enum vm_operation operation, int result) {
        static const uint16_t types[VM_OPERATIONS] = {
                [VM_PAUSE] = CTL_PAUSE,
                [VM_RESET] = CTL_RESET,
                [VM_NMI] = CTL_NMI,
        };
        struct server *s = arg;
        unsigned kept = 0, n = s->n_owed;

        for (unsigned i = 0; i < n; i++) {
                struct ctl_reply reply = {};

                if (s->owed[i].type != types[operation]) {
                        s->owed[kept++] = s->owed[i];
                        continue;
                }
                ctl_header_init(&reply.header, s->owed[i].type | CTL_REPLY, s->owed[i].serial, sizeof(reply));
                reply_error(&reply, s->owed[i].type, result);
                peer_send(s, &reply.header);
                if (s->peer_fd < 0)
                        return;
        }
        s->n_owed = kept;
}

/* A disk's error policy asks for it. */
static void on_disk_stop(void *arg) {
        struct server *s = arg;

        if (s->vm)
                vm_pause_for_error(s->vm);
}

static int handle_hello(struct server *s, const struct ctl_message *message, struct ctl_hello_reply *reply,
                        char *text) {
        const struct ctl_hello *hello = (const struct ctl_hello *) message->data;

        reply->version = ctl_version_agree(CTL_VERSION_PROMISED, hello->version_min, hello->version_max);
        reply->state = server_state(s);
        if (!reply->version) {
                reply->version = CTL_VERSION;
                (void) snprintf(text, CTL_TEXT_MAX, "peer speaks protocol versions %u to %u, this monitor %u to %u",
                                hello->version_min, hello->version_max, CTL_VERSION_PROMISED, CTL_VERSION);
                return -EPROTONOSUPPORT;
        }
        s->version = reply->version;
        notes_tell_ports(&s->notes);
        return 0;
}

/* The devices in a slot are gone: one, or all ports. */
static void on_removed(void *arg, unsigned slot) {
        struct server *s = arg;
        struct device *d;

        while ((d = devices_in_slot(&s->setup.devices, slot))) {
                struct ctl_event_removed event = { .id = d->place.id };

                notes_tell_last(&s->notes, d);
                devices_forget(&s->setup.devices, d);
                ctl_header_init(&event.header, CTL_EVENT_REMOVED, 0, sizeof(event));
                send_event(s, &event.header);
        }
}

static int handle_start(struct server *s, const struct ctl_message *message, char *text) {
        const struct ctl_start *start = (const struct ctl_start *) message->data;
        const struct vm_callbacks callbacks = {
                .state_changed = on_state,
                .was_reset = on_reset,
                .finished = on_finished,
                .removed = on_removed,
                .arg = s,
                .confinement = s->config->confinement,
        };
        /* A VM that was built and could not be started is kept, to be freed at the end. */
        int r = setup_start(&s->setup, &callbacks, s->loop, start->flags & CTL_START_PAUSED, &s->vm, text);

        s->started = r == 0;
        return r;
}

static int handle_link(struct server *s, const struct ctl_message *message, char *text) {
        const struct ctl_link *link = (const struct ctl_link *) message->data;
        const struct device *d = devices_find(&s->setup.devices, link->id);

        if (!d || !d->kind->set_link)
                return fail(text, -ENODEV, "no interface has the id %u", link->id);
        d->kind->set_link(d->virtio, link->up);
        return 0;
}

/* Hot plug. */
static int handle_add(struct server *s, struct ctl_message *message, char *text) {
        return devices_plug(&s->setup.devices, s->vm, &message->header, message->fds, message->n_fds, text);
}

static int handle_remove(struct server *s, const struct ctl_message *message, char *text) {
        const struct ctl_remove *remove = (const struct ctl_remove *) message->data;

        return devices_unplug(&s->setup.devices, s->vm, remove->id, remove->flags & CTL_REMOVE_FORCE, text);
}

static int handle_actions(struct server *s, const struct ctl_message *message) {
        const struct ctl_actions *actions = (const struct ctl_actions *) message->data;

        if (s->stop_asked) /* for good: a reboot that was asked for meanwhile changes nothing */
                return 0;
        vm_set_actions(s->vm, actions->on_poweroff, actions->on_reboot, actions->on_crash);
        return 0;
}

static void unmap_exit_record(struct server *s) {
        if (s->exit_record)
                (void) munmap(s->exit_record, sizeof(*s->exit_record));
        s->exit_record = NULL;
}

/* Written once as zeroes, so that a full file system is an error here and not a SIGBUS at the end. */
static int handle_exit_record(struct server *s, const struct ctl_message *message) {
        static const struct ctl_exit_record empty;
        int fd = message->fds[0];
        void *p;

        errno = ENOSPC; /* where the write is short */
        if (write(fd, &empty, sizeof(empty)) != sizeof(empty))
                return -errno;
        p = mmap(NULL, sizeof(empty), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        unmap_exit_record(s);
        s->exit_record = p;
        return 0;
}

static int handle_query(const struct server *s, struct ctl_query_reply *reply) {
        reply->state = server_state(s);
        if (!s->vm)
                return 0;
        reply->reason = vm_reason(s->vm);
        reply->vcpus = vm_vcpu_tids(s->vm, reply->vcpu_tid, CTL_VCPUS_MAX);
        return 0;
}

static int handle_stats(const struct server *s, const struct ctl_message *message, struct ctl_stats_reply *reply) {
        const struct ctl_stats *stats = (const struct ctl_stats *) message->data;
        const struct device *d = devices_next(&s->setup.devices, stats->after);

        reply->guest_errors = s->vm ? vm_guest_errors(s->vm) : 0;
        for (; d; d = devices_next(&s->setup.devices, d->place.id)) {
                struct ctl_device_stats *to = &reply->device[reply->n];

                if (!d->kind->stats)
                        continue;
                if (reply->n == CTL_STATS_MAX) {
                        reply->more = 1;
                        break;
                }
                to->id = d->place.id;
                to->type = d->kind->add;
                d->kind->stats(d->virtio, to);
                reply->n++;
        }
        return 0;
}

static int handle_list(const struct server *s, const struct ctl_message *message, struct ctl_list_reply *reply) {
        const struct ctl_list *list = (const struct ctl_list *) message->data;
        const struct device *d = devices_next(&s->setup.devices, list->after);

        for (; d && reply->n < CTL_LIST_MAX; d = devices_next(&s->setup.devices, d->place.id))
                reply->entry[reply->n++] = (struct ctl_list_entry) {
                        .place = d->place,
                        .type = d->kind->add,
                        .flags = devices_is_leaving(d, s->vm) ? CTL_LIST_LEAVING : 0,
                };
        reply->more = d != NULL;
        return 0;
}

/* What the VM does by itself; all fit one shape. */
static int handle_run_request(struct server *s, uint16_t type, char *text) {
        if (s->n_owed == OWED_MAX && (type == CTL_PAUSE || type == CTL_RESET || type == CTL_NMI))
                return fail(text, -EBUSY, "%s: %u requests have not been done yet", ctl_type_name(type), OWED_MAX);
        switch (type) {
        case CTL_PAUSE:
                return vm_pause(s->vm);
        case CTL_RESUME:
                return vm_resume(s->vm);
        case CTL_POWER_BUTTON:
                return vm_power_button(s->vm);
        case CTL_REBOOT_BUTTON:
                return s->stop_asked ? 0 : vm_reboot_button(s->vm); /* stopped for good: nothing restarts it */
        case CTL_RESET:
                return vm_reset(s->vm);
        case CTL_NMI:
                return vm_nmi(s->vm);
        default:
                return -EOPNOTSUPP;
        }
}

/* Whether the state allows the request. */
static int check_state(const struct server *s, uint16_t type, char *text) {
        const char *why = NULL;
        int r = 0;

        if (s->started && type > CTL_HELLO && type < CTL_PAUSE && type != CTL_SET_EXIT_RECORD && !devices_know(type)) {
                why = "the guest has been started";
                r = -EBUSY;
        } else if (!s->started && type >= CTL_PAUSE && type < CTL_QUIT) {
                why = "the guest has not been started";
                r = -EINVAL;
        }
        if (r < 0)
                (void) snprintf(text, CTL_TEXT_MAX, "%s: %s", ctl_type_name(type), why);
        return r;
}

union any_reply {
        struct ctl_reply reply;
        struct ctl_hello_reply hello;
        struct ctl_query_reply query;
        struct ctl_stats_reply stats;
        struct ctl_list_reply list;
};

static int dispatch(struct server *s, struct ctl_message *message, union any_reply *reply) {
        uint16_t type = message->header.type;
        char *text = reply->reply.text;

        switch (type) {
        case CTL_HELLO:
                return handle_hello(s, message, &reply->hello, text);
        case CTL_SET_EXIT_RECORD:
                return handle_exit_record(s, message);
        case CTL_START:
                return handle_start(s, message, text);
        case CTL_SET_LINK:
                return handle_link(s, message, text);
        case CTL_REMOVE:
                return handle_remove(s, message, text);
        case CTL_SET_ACTIONS:
                return handle_actions(s, message);
        case CTL_QUERY:
                return handle_query(s, &reply->query);
        case CTL_STATS:
                return handle_stats(s, message, &reply->stats);
        case CTL_LIST:
                return handle_list(s, message, &reply->list);
        case CTL_QUIT:
                return 0;
        default:
                if (s->started && devices_know(type))
                        return handle_add(s, message, text);
                return type < CTL_PAUSE ? setup_request(&s->setup, message, text) : handle_run_request(s, type, text);
        }
}

/* Before HELLO there is no version in which a message could be understood. */
static int check_message(const struct server *s, struct ctl_message *message, char *text) {
        uint16_t type = message->header.type;

        if (s->version || type == CTL_HELLO)
                return ctl_check(message, CTL_SENDER_DAEMON, s->version ?: CTL_VERSION_MIN, text);
        return fail(text, -EINVAL, "%s: HELLO has to come first", ctl_type_name(type));
}

/* Answers one packet that could be received; `r` is an error that it has earned already. */
static void serve(struct server *s, struct ctl_message *message, int r) {
        uint16_t type = message->header.type;
        union any_reply reply = {};
        char *text = reply.reply.text;

        ctl_header_init(&reply.reply.header, type | CTL_REPLY, message->header.serial, ctl_reply_size(type));
        if (r == -EMSGSIZE)
                (void) snprintf(text, CTL_TEXT_MAX, "packet of more than %u bytes or %u descriptors", CTL_MESSAGE_MAX,
                                CTL_FDS_MAX);
        if (r == 0)
                r = check_message(s, message, text);
        if (r == 0)
                r = check_state(s, type, text);
        if (r == 0)
                r = dispatch(s, message, &reply);
        ctl_message_done(message);
        if (r == VM_PENDING) {
                s->owed[s->n_owed++] = (struct owed) { .type = type, .serial = message->header.serial };
                return;
        }
        reply_error(&reply.reply, type, r);
        peer_send(s, &reply.reply.header);

        if (r == 0 && type == CTL_QUIT)
                server_end(s, CTL_STATE_SHUTDOWN, CTL_REASON_REQUEST, 0);
}

static void on_peer(void *arg, uint32_t events) {
        struct server *s = arg;

        for (unsigned i = 0; i < PACKETS_PER_TURN && s->peer_fd >= 0 && !s->is_ending; i++) {
                int r = ctl_receive(s->peer_fd, &s->message);

                if (r == -EAGAIN)
                        return;
                if (r > 0 || r == -EMSGSIZE) {
                        serve(s, &s->message, r > 0 ? 0 : r);
                        continue;
                }
                if (r < 0)
                        log_warning(r, "control peer dropped");
                peer_lose(s);
        }
}

static void on_connect(void *arg, uint32_t events) {
        struct server *s = arg;
        AUTOCLOSE int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        peer_close(s);
        s->peer_fd = take_fd(&fd);
        if (loop_add_fd(s->loop, s->peer_fd, EPOLLIN, on_peer, s, &s->peer_source) < 0)
                peer_lose(s);
}

static void on_stop(struct server *s, bool is_running) {
        if (!is_running || s->stop_asked) {
                send_state(s, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL);
                return server_end(s, CTL_STATE_SHUTDOWN, CTL_REASON_SIGNAL, 0);
        }
        s->stop_asked = true;
        log_infox("asked to stop: pressing the guest's power button");
        vm_set_actions(s->vm, CTL_ACTION_DESTROY, CTL_ACTION_DESTROY, CTL_ACTION_DESTROY);
        (void) vm_power_button(s->vm);
}

static void on_signal(void *arg, uint32_t events) {
        struct server *s = arg;
        bool is_running = s->started && vm_state(s->vm) == CTL_STATE_RUNNING && !vm_is_pausing(s->vm);
        struct signalfd_siginfo info;

        if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info) || s->is_ending)
                return; /* in the last case the guest's end has been told, in the same batch of events */
        if (info.ssi_signo == SIGTERM)
                return on_stop(s, is_running);
        if (!is_running || s->stop_asked)
                return log_infox("asked to power off or reboot, but %s", is_running ? "stops already" : "does not run");
        if (info.ssi_signo == SIGINT) {
                log_infox("asked to reboot: pressing the guest's power button, to restart it then");
                (void) vm_reboot_button(s->vm);
        } else {
                log_infox("asked to power off: pressing the guest's power button");
                (void) vm_power_button(s->vm);
        }
}

/* Blocked here, before there are other threads, the signals reach nobody but the signalfd. */
static int open_signals(struct server *s) {
        sigset_t mask;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGRTMIN + 4);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        if (s->signal_fd < 0)
                return -errno;
        return loop_add_fd(s->loop, s->signal_fd, EPOLLIN, on_signal, s, &s->signal_source);
}

static int server_open(struct server *s) {
        int r = loop_new("control", &s->loop);

        if (r == 0)
                r = notes_init(&s->notes, s->loop, &s->setup.devices, send_event, on_disk_stop, s);
        if (r == 0)
                r = open_signals(s);
        if (r == 0)
                r = loop_add_fd(s->loop, s->listen_fd, EPOLLIN, on_connect, s, &s->listen_source);
        return r;
}

/* The machine goes first: its threads use the rest. */
static void server_close(struct server *s) {
        s->vm = vm_free(s->vm);
        s->loop = loop_free(s->loop);
        notes_done(&s->notes);
        setup_done(&s->setup);
        close_fd(&s->listen_fd);
        close_fd(&s->peer_fd);
        close_fd(&s->signal_fd);
        unmap_exit_record(s);
}

int ctl_server_run(const struct ctl_server_config *config) {
        AUTOFREE struct server *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->config = config;
        s->listen_fd = config->listen_fd;
        s->peer_fd = s->signal_fd = -EBADF;
        s->notes.event_fd = s->notes.timer_fd = -EBADF;
        setup_init(&s->setup, &s->notes);
        r = server_open(s);
        if (r == 0)
                r = loop_run(s->loop);
        if (r == 0)
                r = s->result;
        server_close(s);
        return r;
}
