/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A monitor for tests of the client: it takes the monitor's arguments and serves the
 * control socket, and --name says how it misbehaves. As "version-N" it is the monitor of
 * a recorded session and knows nothing else of the protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../vmm/ctl/message.h"

#include "../ctl-session.h"

static const char *mode = "good";
static int peer = -1;

static bool is(const char *name) {
        return strcmp(mode, name) == 0;
}

static const char *option(int argc, char **argv, const char *name) {
        for (int i = 1; i + 1 < argc; i++)
                if (strcmp(argv[i], name) == 0)
                        return argv[i + 1];
        return NULL;
}

static void send_event(uint32_t state) {
        struct ctl_event_state event = { .state = state, .reason = CTL_REASON_GUEST };
        ctl_header_init(&event.header, CTL_EVENT_STATE, 0, sizeof(event));
        (void) ctl_send(peer, &event, NULL, 0);
}

/* Kind and slot of the devices in list modes; their ids are 3, 5, 7 … */
static const struct {
        uint16_t type;
        uint8_t slot;
} listed[] = { { CTL_ADD_DISK, 2 }, { CTL_ADD_NIC, 5 },  { CTL_ADD_NIC, 3 },
               { CTL_ADD_PORT, 4 }, { CTL_ADD_PORT, 4 }, { CTL_ADD_RNG, 1 } };
#define N_LISTED (sizeof(listed) / sizeof(listed[0]))

/* A page, and what is wrong with it. */
static void fill_list(const struct ctl_message *request, struct ctl_list_reply *reply) {
        uint32_t after = ((const struct ctl_list *) request->data)->after;
        struct ctl_list_entry *last = NULL;

        for (uint32_t i = 0; i < N_LISTED && strncmp(mode, "list", 4) == 0; i++) {
                last = &reply->entry[reply->n++];
                *last = (struct ctl_list_entry) {
                        .place = { .id = after + 2 * i + 3, .slot = listed[i].slot },
                        .type = listed[i].type,
                };
        }
        reply->more = is("list-short") || is("list-endless");
        for (; is("list-endless") && reply->n < CTL_LIST_MAX; reply->n++)
                reply->entry[reply->n] = (struct ctl_list_entry) {
                        .place = { .id = after + 2 * reply->n + 3, .slot = 1 },
                        .type = CTL_ADD_PORT,
                };
        if (is("list-falls"))
                last->place.id = 1;
        else if (is("list-zero"))
                reply->entry[0].place.id = 0;
        else if (is("list-kind"))
                last->type = CTL_SET_LINK;
        else if (is("list-slot"))
                last->place.slot = CTL_SLOT_MAX + 1;
        else if (is("list-segment"))
                last->place.segment = CTL_SEGMENTS_MAX;
}

static void send_reply(const struct ctl_message *request, uint32_t serial, int error, const char *text) {
        union {
                struct ctl_reply reply;
                struct ctl_hello_reply hello;
                struct ctl_query_reply query;
                struct ctl_stats_reply stats;
                struct ctl_list_reply list;
        } u = { .reply = { .error = error } };

        if (request->header.type == CTL_HELLO)
                u.hello.version = is("future") ? 99 : CTL_VERSION; /* as one of a later version says, too */
        if (request->header.type == CTL_QUERY) {
                u.query.state = CTL_STATE_RUNNING;
                u.query.vcpus = 1;
                u.query.vcpu_tid[0] = (int32_t) getpid();
        }
        if (request->header.type == CTL_LIST)
                fill_list(request, &u.list);
        (void) snprintf(u.reply.text, sizeof(u.reply.text), "%s", text);
        ctl_header_init(&u.reply.header, request->header.type | CTL_REPLY, serial,
                        ctl_reply_size(request->header.type));
        (void) ctl_send(peer, &u, NULL, 0);
}

/* A guest that flaps its ports, as fast as the daemon reads. */
static void flap_ports(void) {
        for (uint32_t i = 0; i < 4000; i++) {
                struct ctl_event_port event = { .id = i % 4 + 1, .open = i / 4 % 2 };
                ctl_header_init(&event.header, CTL_EVENT_PORT, 0, sizeof(event));
                while (ctl_send(peer, &event, NULL, 0) == -EAGAIN)
                        (void) poll(&(struct pollfd) { .fd = peer, .events = POLLOUT }, 1, -1);
        }
}

/* Answers after the caller has given up, again and again. */
static void answer_late(const struct ctl_message *request) {
        (void) poll(NULL, 0, 1500);
        for (int i = 0; i < 1000; i++)
                send_reply(request, request->header.serial, 0, "");
}

static void drop_peer(void) {
        close(peer);
        peer = -1;
}

/* Does what a mode does once. FALSE: it has been done, or there is nothing of the kind. */
static bool misbehave_once(const struct ctl_message *request) {
        static bool done;

        if (done || request->header.type == CTL_QUERY)
                return false;
        if (is("drops"))
                drop_peer();
        else if (is("late"))
                answer_late(request);
        else
                return false;
        done = true;
        return true;
}

/* For tests to read: standard error is a file of theirs. */
static void note_request(const struct ctl_message *request) {
        const struct ctl_link *link = (const struct ctl_link *) request->data;
        const struct ctl_remove *remove = (const struct ctl_remove *) request->data;

        if (request->header.type == CTL_SET_LINK)
                (void) dprintf(STDERR_FILENO, "link %u %s\n", link->id, link->up ? "up" : "down");
        else if (request->header.type == CTL_REMOVE)
                (void) dprintf(STDERR_FILENO, "remove %u%s\n", remove->id,
                               remove->flags & CTL_REMOVE_FORCE ? " force" : "");
}

/* What each mode does with a request other than HELLO. */
static void misbehave(const struct ctl_message *request) {
        uint32_t serial = request->header.serial;
        char raw[64] = "no message of the protocol";

        note_request(request);
        if (misbehave_once(request))
                return;
        if (is("garbage"))
                (void) !write(peer, raw, sizeof(raw));
        else if (is("short"))
                (void) !write(peer, raw, 1);
        else if (is("unasked"))
                send_reply(request, serial + 1000, 0, "");
        else if (is("twice")) {
                send_reply(request, serial, 0, "");
                send_reply(request, serial, 0, "");
        } else if (is("flood"))
                for (int i = 0; i < 20000; i++)
                        send_event(CTL_STATE_RUNNING);
        else if (is("ports") && request->header.type == CTL_PAUSE) {
                flap_ports();
                send_reply(request, serial, 0, "");
        } else if (is("dies"))
                _exit(7);
        else if (is("refuses"))
                send_reply(request, serial, -EINVAL, "kernel is not one:\033[31m \xff red\n");
        else if (is("refuses-list") && request->header.type == CTL_LIST)
                send_reply(request, serial, -EIO, "no list");
        else if (is("refuses-silently"))
                send_reply(request, serial, -ENOENT, "");
        else if (request->header.type == CTL_QUIT) {
                send_event(CTL_STATE_SHUTDOWN);
                send_reply(request, serial, 0, "");
                _exit(0);
        } else
                send_reply(request, serial, 0, "");
}

static void send_packet(const struct session_packet *packet, uint32_t serial) {
        struct session_packet p = *packet;

        p.header.serial = serial;
        CHECK(write(peer, p.data, p.length) == (ssize_t) p.length);
}

/* "version-2": the session of that version. */
static void load_session(struct session *session) {
        char path[512];

        CHECK(snprintf(path, sizeof(path), "%s/v%s.txt", SESSIONS, mode + strlen("version-")) < (int) sizeof(path));
        session_load(session, path);
}

/*
 * Says word for word what a monitor of that version said. A request that such a monitor would not have understood, or
 * that says something else than the recorded daemon did, ends it.
 */
static void play_session(const struct ctl_message *request) {
        static struct session session;
        const struct session_packet *asked, *answer, *state;

        if (session.n == 0)
                load_session(&session);
        asked = session_find(&session, '>', request->header.type);
        answer = session_find(&session, '<', request->header.type | CTL_REPLY);
        state = session_find(&session, '<', CTL_EVENT_STATE);
        CHECK(asked && answer && state && request->length == asked->length && request->n_fds == asked->fds);
        if (request->header.type != CTL_HELLO) {
                struct session_packet said = *asked;
                said.header.serial = request->header.serial;
                CHECK(memcmp(said.data, request->data, said.length) == 0);
        }
        if (request->header.type == CTL_PAUSE) {
                send_packet(state, 0);
                send_packet(session_find(&session, '<', CTL_EVENT_IO_ERROR), 0);
        }
        send_packet(answer, request->header.serial);
        if (request->header.type == CTL_QUIT)
                _exit(0);
}

/* Exit status 0 when exactly the descriptors that a monitor may have are open. */
static int check_fds(bool journal) {
        for (int fd = 0; fd < 256; fd++) {
                bool open = fcntl(fd, F_GETFD) >= 0;
                if (open != (fd <= (journal ? 4 : 3)))
                        return 10 + fd;
        }
        return getpid() == 1 ? 0 : 9;
}

int main(int argc, char **argv) {
        const char *name = option(argc, argv, "--name"), *journal = option(argc, argv, "--journal-fd");
        struct ctl_message message;

        if (name)
                mode = name;
        if (is("mute"))
                return 3;
        if (check_fds(journal != NULL) != 0)
                return check_fds(journal != NULL);
        if (journal && write(4, "MESSAGE=up\n", 11) != 11)
                return 8;
        for (;;) {
                struct pollfd fds[2] = { { .fd = 3, .events = POLLIN }, { .fd = peer, .events = POLLIN } };
                (void) poll(fds, 2, -1);
                if (fds[0].revents) {
                        close(peer);
                        peer = accept(3, NULL, NULL);
                        continue;
                }
                int r = ctl_receive(peer, &message);
                if (r == 0) {
                        close(peer);
                        peer = -1;
                }
                if (r != 1)
                        continue;
                if (strncmp(mode, "version-", strlen("version-")) == 0)
                        play_session(&message);
                else if (message.header.type == CTL_HELLO)
                        send_reply(&message, message.header.serial, 0, "");
                else
                        misbehave(&message); /* and keeps what descriptors came along */
        }
}
