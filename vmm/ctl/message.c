/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packets of the control protocol (docs/control-protocol.md).
 *
 * SOCK_SEQPACKET preserves packet boundaries, and the kernel reports a truncated packet (MSG_TRUNC) or dropped
 * descriptors (MSG_CTRUNC). Either makes the whole packet invalid, and the descriptors that did arrive are
 * closed. Descriptors are received close-on-exec.
 *
 * One table describes every valid message: per type, the version that introduced it, its length, its number of
 * descriptors, and the fields with rules. Where an older version had less, the row or field says up to which
 * version, and how much. ctl_check() alone validates what is received; handlers may use every field of the
 * newest struct. Rules that depend on state (a second kernel, a missing device) are left to the handlers.
 *
 * ctl_fit() does the reverse: it converts a message to an older version. It refuses a request that would lose
 * its meaning, and truncates what the monitor reports; a value unknown to the older version becomes 0, so an
 * older daemon learns less.
 */
#include "message.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../base/cleanup.h"

enum field_kind {
        FIELD_STRING,  /* char array that holds a NUL */
        FIELD_FLAGS32, /* no bits outside `limit` */
        FIELD_ENUM32,  /* below `limit` */
        FIELD_ENUM16,
        FIELD_ENUM8,
        FIELD_LEAST16, /* 0, or at least `limit` */
        FIELD_ID,      /* not 0 */
        FIELD_CID,     /* CTL_CID_MIN at least, and not UINT32_MAX */
        FIELD_ZERO,    /* padding */
};

struct field {
        const char *name;
        enum field_kind kind;
        uint16_t offset, size;
        uint32_t limit;
        uint32_t older, older_limit; /* up to version `older`, the limit is `older_limit`; 0: never */
};

/* The shape of a message up to some version. */
struct shape {
        uint32_t version; /* 0: the end of the list */
        uint8_t fds_max;
        uint16_t length, reply_length;
};

struct rule {
        const char *name;
        uint16_t type;
        uint8_t fds_min, fds_max;
        uint16_t length;
        uint16_t reply_length; /* 0: an event */
        struct field fields[12];
        uint32_t since;        /* version that introduced it; 0: the first */
        struct shape older[2]; /* the oldest first */
};

#define SIZE_OF(s, m) sizeof(((s *) NULL)->m)
#define FIELD(s, m, k, l)                                                                                              \
        { .name = #m, .kind = (k), .offset = offsetof(s, m), .size = SIZE_OF(s, m), .limit = (l) }
#define STRING(s, m)      FIELD(s, m, FIELD_STRING, 0)
#define FLAGS(s, m, mask) FIELD(s, m, FIELD_FLAGS32, mask)
#define ENUM(s, m, max)   FIELD(s, m, FIELD_ENUM32, max)
#define ENUM8(s, m, max)  FIELD(s, m, FIELD_ENUM8, max)
#define LEAST(s, m, min)  FIELD(s, m, FIELD_LEAST16, min)
#define ID(s, m)          FIELD(s, m, FIELD_ID, 0)
#define CID(s, m)         FIELD(s, m, FIELD_CID, 0)
#define ZERO(s, m)        FIELD(s, m, FIELD_ZERO, 0)
#define UP_TO(s, m)       (offsetof(s, m) + SIZE_OF(s, m))

#define REASON(s, m)                                                                                                   \
        {                                                                                                              \
                .name = #m, .kind = FIELD_ENUM32, .offset = offsetof(s, m), .size = SIZE_OF(s, m),                     \
                .limit = CTL_REASON_MAX, .older = 1, .older_limit = CTL_REASON_IO_ERROR                                \
        }

/* A struct ctl_place in the member `place`. */
#define PLACE(s)                                                                                                       \
        ID(s, place.id), FIELD(s, place.segment, FIELD_ENUM16, CTL_SEGMENTS_MAX),                                      \
                ENUM8(s, place.slot, CTL_SLOT_MAX + 1), ZERO(s, place.pad)

#define PLAIN sizeof(struct ctl_header)
#define REPLY sizeof(struct ctl_reply)

#define MACHINE_FLAGS (CTL_MACHINE_LOCKED | CTL_MACHINE_SHARED | CTL_MACHINE_HUGETLB | CTL_MACHINE_UTC_LOCALTIME)
#define DISK_FLAGS    (CTL_DISK_READONLY | CTL_DISK_DISCARD)
#define PORT_FLAGS    (CTL_PORT_CONSOLE | CTL_PORT_SOCKET)

/* One row per message. */
/* clang-format off */
static const struct rule rules[] = {
        /* name, type, fewest and most descriptors, length, length of the reply, fields */
        { "HELLO", CTL_HELLO, 0, 0, sizeof(struct ctl_hello), sizeof(struct ctl_hello_reply), {} },
        { "SET_MACHINE", CTL_SET_MACHINE, 1, 1, sizeof(struct ctl_machine), REPLY,
          { FLAGS(struct ctl_machine, flags, MACHINE_FLAGS), ENUM8(struct ctl_machine, on_poweroff, CTL_ACTION_MAX),
            ENUM8(struct ctl_machine, on_reboot, CTL_ACTION_MAX), ENUM8(struct ctl_machine, on_crash, CTL_ACTION_MAX),
            ZERO(struct ctl_machine, pad), STRING(struct ctl_machine, name),
            ENUM(struct ctl_machine, version, CTL_MACHINE_VERSIONS), ZERO(struct ctl_machine, pad2) },
          .since = 2, .older = { { 2, 1, UP_TO(struct ctl_machine, name), REPLY } } },
        { "SET_KERNEL", CTL_SET_KERNEL, 1, 1, sizeof(struct ctl_file), REPLY, { STRING(struct ctl_file, name) },
          .since = 2 },
        { "SET_INITRD", CTL_SET_INITRD, 1, 1, sizeof(struct ctl_file), REPLY, { STRING(struct ctl_file, name) },
          .since = 2 },
        { "SET_CMDLINE", CTL_SET_CMDLINE, 0, 0, sizeof(struct ctl_cmdline), REPLY,
          { STRING(struct ctl_cmdline, text) }, .since = 2 },
        { "SET_SERIAL", CTL_SET_SERIAL, 1, 2, PLAIN, REPLY, {}, .since = 2 },
        { "SET_EXIT_RECORD", CTL_SET_EXIT_RECORD, 1, 1, PLAIN, REPLY, {} },
        { "ADD_DISK", CTL_ADD_DISK, 1, 1, sizeof(struct ctl_disk), REPLY,
          { PLACE(struct ctl_disk), FLAGS(struct ctl_disk, flags, DISK_FLAGS),
            ENUM(struct ctl_disk, cache, CTL_CACHE_MAX), ENUM8(struct ctl_disk, error_policy, CTL_ERROR_MAX),
            ENUM8(struct ctl_disk, rerror_policy, CTL_ERROR_ENOSPC), ZERO(struct ctl_disk, pad),
            STRING(struct ctl_disk, serial), STRING(struct ctl_disk, name) }, .since = 2 },
        { "ADD_NIC", CTL_ADD_NIC, 1, 2, sizeof(struct ctl_nic), REPLY,
          { PLACE(struct ctl_nic), FLAGS(struct ctl_nic, flags, CTL_NIC_LINK_DOWN),
            LEAST(struct ctl_nic, mtu, CTL_MTU_MIN), STRING(struct ctl_nic, name) }, .since = 2 },
        { "ADD_PORT", CTL_ADD_PORT, 1, 2, sizeof(struct ctl_port), REPLY,
          { PLACE(struct ctl_port), FLAGS(struct ctl_port, flags, PORT_FLAGS), ZERO(struct ctl_port, pad),
            STRING(struct ctl_port, name) }, .since = 2 },
        { "ADD_RNG", CTL_ADD_RNG, 1, 1, sizeof(struct ctl_rng), REPLY, { PLACE(struct ctl_rng) }, .since = 2 },
        { "ADD_VSOCK", CTL_ADD_VSOCK, 1, 1, sizeof(struct ctl_vsock), REPLY,
          { PLACE(struct ctl_vsock), CID(struct ctl_vsock, cid), ZERO(struct ctl_vsock, pad) }, .since = 3 },
        { "SET_CPU", CTL_SET_CPU, 0, 0, sizeof(struct ctl_cpu), REPLY,
          { ENUM(struct ctl_cpu, n, CTL_CPU_FEATURES_MAX + 1), ZERO(struct ctl_cpu, pad) }, .since = 2 },
        { "START", CTL_START, 0, 0, sizeof(struct ctl_start), REPLY,
          { FLAGS(struct ctl_start, flags, CTL_START_PAUSED), ZERO(struct ctl_start, pad) }, .since = 2 },

        { "PAUSE", CTL_PAUSE, 0, 0, PLAIN, REPLY, {} },
        { "RESUME", CTL_RESUME, 0, 0, PLAIN, REPLY, {} },
        { "POWER_BUTTON", CTL_POWER_BUTTON, 0, 0, PLAIN, REPLY, {} },
        { "RESET", CTL_RESET, 0, 0, PLAIN, REPLY, {} },
        { "NMI", CTL_NMI, 0, 0, PLAIN, REPLY, {} },
        { "SET_LINK", CTL_SET_LINK, 0, 0, sizeof(struct ctl_link), REPLY,
          { ID(struct ctl_link, id), ENUM(struct ctl_link, up, 2) }, .since = 2 },
        { "SET_ACTIONS", CTL_SET_ACTIONS, 0, 0, sizeof(struct ctl_actions), REPLY,
          { ENUM8(struct ctl_actions, on_poweroff, CTL_ACTION_MAX),
            ENUM8(struct ctl_actions, on_reboot, CTL_ACTION_MAX), ENUM8(struct ctl_actions, on_crash, CTL_ACTION_MAX),
            ZERO(struct ctl_actions, pad) } },
        { "REMOVE", CTL_REMOVE, 0, 0, sizeof(struct ctl_remove), REPLY,
          { ID(struct ctl_remove, id), FLAGS(struct ctl_remove, flags, CTL_REMOVE_FORCE) }, .since = 2 },
        { "REBOOT_BUTTON", CTL_REBOOT_BUTTON, 0, 0, PLAIN, REPLY, {}, .since = 2 },

        { "QUIT", CTL_QUIT, 0, 0, PLAIN, REPLY, {} },
        { "QUERY", CTL_QUERY, 0, 0, PLAIN, sizeof(struct ctl_query_reply), {} },
        { "STATS", CTL_STATS, 0, 0, sizeof(struct ctl_stats), sizeof(struct ctl_stats_reply),
          { ZERO(struct ctl_stats, pad) }, .since = 2 },
        { "LIST", CTL_LIST, 0, 0, sizeof(struct ctl_list), sizeof(struct ctl_list_reply),
          { ZERO(struct ctl_list, pad) }, .since = 2 },

        { "EVENT_STATE", CTL_EVENT_STATE, 0, 0, sizeof(struct ctl_event_state), 0,
          { ENUM(struct ctl_event_state, state, CTL_STATE_MAX), REASON(struct ctl_event_state, reason) } },
        { "EVENT_RESET", CTL_EVENT_RESET, 0, 0, PLAIN, 0, {} },
        { "EVENT_IO_ERROR", CTL_EVENT_IO_ERROR, 0, 0, sizeof(struct ctl_event_io_error), 0,
          { ENUM(struct ctl_event_io_error, write, 3), ZERO(struct ctl_event_io_error, pad),
            ENUM(struct ctl_event_io_error, policy, CTL_ERROR_ENOSPC), ZERO(struct ctl_event_io_error, pad2) },
          .older = { { 1, 0, UP_TO(struct ctl_event_io_error, pad), 0 } } },
        { "EVENT_PORT", CTL_EVENT_PORT, 0, 0, sizeof(struct ctl_event_port), 0,
          { ENUM(struct ctl_event_port, open, 2) } },
        { "EVENT_REMOVED", CTL_EVENT_REMOVED, 0, 0, sizeof(struct ctl_event_removed), 0,
          { ID(struct ctl_event_removed, id), ZERO(struct ctl_event_removed, pad) }, .since = 2 },
};
/* clang-format on */

/* Replies: the fields common to all, then those of the replies that have more. */
static const struct field reply_fields[] = { ZERO(struct ctl_reply, pad), STRING(struct ctl_reply, text) };
static const struct field hello_reply_fields[] = { ENUM(struct ctl_hello_reply, state, CTL_STATE_MAX) };
static const struct field query_reply_fields[] = {
        ENUM(struct ctl_query_reply, state, CTL_STATE_MAX),
        REASON(struct ctl_query_reply, reason),
        ENUM(struct ctl_query_reply, vcpus, CTL_VCPUS_MAX + 1),
        ZERO(struct ctl_query_reply, pad),
};
static const struct field stats_reply_fields[] = {
        ENUM(struct ctl_stats_reply, n, CTL_STATS_MAX + 1),
        ENUM(struct ctl_stats_reply, more, 2),
};
static const struct field list_reply_fields[] = {
        ENUM(struct ctl_list_reply, n, CTL_LIST_MAX + 1),
        ENUM(struct ctl_list_reply, more, 2),
};

_Static_assert(sizeof(struct ctl_stats_reply) <= CTL_MESSAGE_MAX, "the longest message fits a packet");
_Static_assert(sizeof(struct ctl_list_reply) <= CTL_MESSAGE_MAX, "the longest message fits a packet");
_Static_assert(sizeof(struct ctl_cpu) <= CTL_MESSAGE_MAX, "the longest request fits a packet");

static const struct rule *rule_find(uint16_t type) {
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
                if (rules[i].type == type)
                        return &rules[i];
        return NULL;
}

static bool rule_is_event(const struct rule *rule) {
        return rule->reply_length == 0;
}

const char *ctl_type_name(uint16_t type) {
        const struct rule *rule = rule_find(type & ~CTL_REPLY);
        return rule ? rule->name : "?";
}

/* The message's shape in a version. */
static struct shape shape_at(const struct rule *rule, uint32_t version) {
        for (size_t i = 0; i < ARRAY_SIZE(rule->older) && rule->older[i].version; i++)
                if (version <= rule->older[i].version)
                        return rule->older[i];
        return (struct shape) { .fds_max = rule->fds_max, .length = rule->length, .reply_length = rule->reply_length };
}

static uint32_t field_limit(const struct field *field, uint32_t version) {
        return version <= field->older ? field->older_limit : field->limit;
}

size_t ctl_reply_size(uint16_t type) {
        const struct rule *rule = rule_find(type);
        return rule && rule->reply_length ? rule->reply_length : sizeof(struct ctl_reply);
}

uint32_t ctl_version_agree(uint32_t own_min, uint32_t min, uint32_t max) {
        uint32_t version = max < CTL_VERSION ? max : CTL_VERSION;
        return version >= min && version >= own_min ? version : 0;
}

void ctl_header_init(struct ctl_header *header, uint16_t type, uint32_t serial, size_t length) {
        *header = (struct ctl_header) {
                .magic = CTL_MAGIC,
                .version = CTL_VERSION,
                .type = type,
                .serial = serial,
                .length = length,
        };
}

void ctl_message_done(struct ctl_message *message) {
        for (unsigned i = 0; i < message->n_fds; i++)
                close_fd(&message->fds[i]);
        message->n_fds = 0;
}

/* Moves the descriptors of one SCM_RIGHTS block into the message; those that do not fit are closed. */
static bool take_rights(struct ctl_message *message, const struct cmsghdr *cmsg) {
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        bool fits = true;

        for (size_t i = 0; i < n; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
                if (message->n_fds < CTL_FDS_MAX) {
                        message->fds[message->n_fds++] = fd;
                        continue;
                }
                close_fd(&fd);
                fits = false;
        }
        return fits;
}

static bool header_is_good(const struct ctl_message *message) {
        return message->length >= sizeof(struct ctl_header) && message->header.magic == CTL_MAGIC;
}

int ctl_receive(int fd, struct ctl_message *ret) {
        union {
                struct cmsghdr align;
                char data[CMSG_SPACE(CTL_FDS_MAX * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = ret->data, .iov_len = sizeof(ret->data) };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        bool whole = true;
        ssize_t n;

        ret->n_fds = 0;
        ret->length = 0;
        memset(&ret->header, 0, sizeof(ret->header));
        do
                n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        whole = take_rights(ret, c) && whole;

        ret->length = n;
        if (n == 0) {
                ctl_message_done(ret);
                return 0;
        }
        if (!header_is_good(ret)) {
                ctl_message_done(ret);
                return -EBADMSG;
        }
        if (!whole || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                ctl_message_done(ret);
                return -EMSGSIZE;
        }
        return 1;
}

static int field_error(const struct rule *rule, const struct field *field, const char *what, char *text) {
        (void) snprintf(text, CTL_TEXT_MAX, "%s: %s %s", rule->name, field->name, what);
        return -EINVAL;
}

static uint32_t field_value(const struct field *field, const uint8_t *data) {
        uint32_t value = 0;

        memcpy(&value, data + field->offset, field->size); /* 1, 2 or 4 bytes, of a little-endian host */
        return value;
}

/* Returns NULL, or what is wrong with the field. */
static const char *field_fault(const struct field *field, const uint8_t *data, uint32_t version) {
        uint32_t limit = field_limit(field, version);

        switch (field->kind) {
        case FIELD_STRING:
                return memchr(data + field->offset, 0, field->size) ? NULL : "is not NUL-terminated";
        case FIELD_ZERO:
                for (size_t i = 0; i < field->size; i++)
                        if (data[field->offset + i])
                                return "is not zero";
                return NULL;
        case FIELD_FLAGS32:
                return field_value(field, data) & ~limit ? "has unknown bits" : NULL;
        case FIELD_LEAST16:
                return field_value(field, data) != 0 && field_value(field, data) < limit ? "is too small" : NULL;
        case FIELD_ID:
                return field_value(field, data) == 0 ? "is zero" : NULL;
        case FIELD_CID:
                return field_value(field, data) < CTL_CID_MIN || field_value(field, data) == UINT32_MAX
                               ? "is not the address of a guest"
                               : NULL;
        case FIELD_ENUM32:
        case FIELD_ENUM16:
        case FIELD_ENUM8:
                return field_value(field, data) >= limit ? "is out of range" : NULL;
        }
        return NULL;
}

struct field_list {
        const struct field *fields;
        size_t n;
};

/* The fields of a request or event, or those a reply has besides the common ones. */
static struct field_list fields_of(const struct rule *rule, bool is_reply) {
        if (!is_reply)
                return (struct field_list) { rule->fields, ARRAY_SIZE(rule->fields) };
        switch (rule->type) {
        case CTL_HELLO:
                return (struct field_list) { hello_reply_fields, ARRAY_SIZE(hello_reply_fields) };
        case CTL_QUERY:
                return (struct field_list) { query_reply_fields, ARRAY_SIZE(query_reply_fields) };
        case CTL_STATS:
                return (struct field_list) { stats_reply_fields, ARRAY_SIZE(stats_reply_fields) };
        case CTL_LIST:
                return (struct field_list) { list_reply_fields, ARRAY_SIZE(list_reply_fields) };
        default:
                return (struct field_list) {};
        }
}

static int check_list(const struct ctl_message *m, const struct rule *rule, struct field_list list, uint32_t version,
                      char *text) {
        for (size_t i = 0; i < list.n && list.fields[i].name; i++) {
                const char *fault = field_fault(&list.fields[i], m->data, version);
                if (fault)
                        return field_error(rule, &list.fields[i], fault, text);
        }
        return 0;
}

static int check_fields(const struct ctl_message *m, const struct rule *rule, bool is_reply, uint32_t version,
                        char *text) {
        int r = 0;

        if (is_reply)
                r = check_list(m, rule, (struct field_list) { reply_fields, ARRAY_SIZE(reply_fields) }, version, text);
        return r < 0 ? r : check_list(m, rule, fields_of(rule, is_reply), version, text);
}

/* The one list in a request. */
static int check_cpu(const struct ctl_message *m, char *text) {
        const struct ctl_cpu *cpu = (const struct ctl_cpu *) m->data;

        for (uint32_t i = 0; i < cpu->n; i++) {
                const struct ctl_cpu_feature *f = &cpu->feature[i];
                if (f->reg >= CTL_CPUID_REGISTER_MAX || f->bit > 31 || f->policy >= CTL_CPU_POLICY_MAX || f->pad ||
                    !memchr(f->name, 0, sizeof(f->name))) {
                        (void) snprintf(text, CTL_TEXT_MAX, "SET_CPU: feature %u is malformed", i);
                        return -EINVAL;
                }
        }
        return 0;
}

static int check_size(const struct ctl_message *m, const struct rule *rule, struct shape shape, bool is_reply,
                      char *text) {
        size_t length = is_reply ? shape.reply_length : shape.length;
        unsigned fds_min = is_reply ? 0 : rule->fds_min, fds_max = is_reply ? 0 : shape.fds_max;

        if (m->length != m->header.length) {
                (void) snprintf(text, CTL_TEXT_MAX, "%s: packet of %zu bytes says that it has %u", rule->name,
                                m->length, m->header.length);
                return -EBADMSG;
        }
        if (m->length != length) {
                (void) snprintf(text, CTL_TEXT_MAX, "%s: %zu bytes, has to be %zu", rule->name, m->length, length);
                return -EBADMSG;
        }
        if (m->n_fds < fds_min || m->n_fds > fds_max) {
                (void) snprintf(text, CTL_TEXT_MAX, "%s: %u descriptors, has to be %u to %u", rule->name, m->n_fds,
                                fds_min, fds_max);
                return -EBADMSG;
        }
        return 0;
}

/* Fields the version lacks are 0, which selects that version's behaviour. */
static void message_extend(struct ctl_message *m, size_t length) {
        memset(m->data + m->length, 0, length - m->length);
        m->length = m->header.length = length;
}

static int no_such_type(const struct rule *rule, uint32_t version, char *text) {
        (void) snprintf(text, CTL_TEXT_MAX, "%s: version %u of the control protocol does not have it", rule->name,
                        version);
        return -EOPNOTSUPP;
}

int ctl_check(struct ctl_message *message, enum ctl_sender sender, uint32_t version, char text[static CTL_TEXT_MAX]) {
        uint16_t type = message->header.type;
        bool is_reply = sender == CTL_SENDER_MONITOR && (type & CTL_REPLY);
        const struct rule *rule = rule_find(is_reply ? type & ~CTL_REPLY : type);
        int r;

        text[0] = '\0';
        if (!header_is_good(message)) {
                (void) snprintf(text, CTL_TEXT_MAX, "not a message of the control protocol");
                return -EBADMSG;
        }
        /* The daemon sends requests; the monitor sends replies and events. */
        if (!rule || rule_is_event(rule) != (sender == CTL_SENDER_MONITOR && !is_reply)) {
                (void) snprintf(text, CTL_TEXT_MAX, "unknown type %#x", type);
                return -EOPNOTSUPP;
        }
        /* HELLO negotiates the version, so it and its reply may carry any. */
        if (rule->type != CTL_HELLO && message->header.version != version) {
                (void) snprintf(text, CTL_TEXT_MAX, "%s: protocol version %u, have agreed on %u", rule->name,
                                message->header.version, version);
                return -EPROTONOSUPPORT;
        }
        if (rule->since > version)
                return no_such_type(rule, version, text);
        r = check_size(message, rule, shape_at(rule, version), is_reply, text);
        if (r < 0)
                return r;
        message_extend(message, is_reply ? rule->reply_length : rule->length);
        r = check_fields(message, rule, is_reply, version, text);
        return r < 0 || is_reply || type != CTL_SET_CPU ? r : check_cpu(message, text);
}

/* A value unknown to the version; it becomes 0 in what the monitor reports. */
static int fit_field(const struct rule *rule, const struct field *field, uint8_t *data, uint32_t version, bool is_told,
                     char *text) {
        if (version > field->older || !field_fault(field, data, version))
                return 0;
        if (is_told) {
                memset(data + field->offset, 0, field->size);
                return 0;
        }
        (void) snprintf(text, CTL_TEXT_MAX, "%s: version %u of the control protocol does not know this %s", rule->name,
                        version, field->name);
        return -EOPNOTSUPP;
}

/* Truncates the message. A request must not lose anything. */
static int fit_length(struct ctl_header *header, const struct rule *rule, size_t length, bool is_told, char *text) {
        const uint8_t *data = (const uint8_t *) header;

        for (size_t i = length; i < header->length && !is_told; i++) {
                if (!data[i])
                        continue;
                (void) snprintf(text, CTL_TEXT_MAX, "%s: version %u of the control protocol cannot do this", rule->name,
                                header->version);
                return -EOPNOTSUPP;
        }
        if (header->length > length)
                header->length = length;
        return 0;
}

int ctl_fit(struct ctl_header *header, uint32_t version, unsigned n_fds, char text[static CTL_TEXT_MAX]) {
        bool is_reply = header->type & CTL_REPLY;
        const struct rule *rule = rule_find(header->type & ~CTL_REPLY);
        bool is_told = is_reply || (rule && rule_is_event(rule));
        struct field_list list;
        struct shape shape;
        int r = 0;

        text[0] = '\0';
        header->version = version;
        if (!rule || version >= CTL_VERSION) /* no rule: a reply to an unknown request */
                return 0;
        if (rule->since > version && !is_reply)
                return no_such_type(rule, version, text);
        if (rule->since > version) {
                header->length = REPLY;
                return 0;
        }
        shape = shape_at(rule, version);
        if (!is_reply && n_fds > shape.fds_max) {
                (void) snprintf(text, CTL_TEXT_MAX, "%s: version %u of the control protocol takes %u descriptors",
                                rule->name, version, shape.fds_max);
                return -EOPNOTSUPP;
        }
        list = fields_of(rule, is_reply);
        for (size_t i = 0; i < list.n && list.fields[i].name && r == 0; i++)
                r = fit_field(rule, &list.fields[i], (uint8_t *) header, version, is_told, text);
        return r < 0 ? r : fit_length(header, rule, is_reply ? shape.reply_length : shape.length, is_told, text);
}

static ssize_t send_with_fds(int fd, const struct ctl_header *message, const int *fds, unsigned n_fds) {
        union {
                struct cmsghdr align;
                char data[CMSG_SPACE(CTL_FDS_MAX * sizeof(int))];
        } control = {};
        struct iovec iov = { .iov_base = (void *) message, .iov_len = message->length };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = &control,
                              .msg_controllen = CMSG_SPACE(n_fds * sizeof(int)) };

        control.align = (struct cmsghdr) {
                .cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
        return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* The monitor sends no descriptors; its filter allows no call that could. */
int ctl_send(int fd, const void *message, const int *fds, unsigned n_fds) {
        const struct ctl_header *header = message;
        ssize_t n;

        if (header->length > CTL_MESSAGE_MAX || n_fds > CTL_FDS_MAX)
                return -EMSGSIZE;
        do
                n = n_fds > 0 ? send_with_fds(fd, header, fds, n_fds) : send(fd, message, header->length, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return (size_t) n == header->length ? 0 : -EMSGSIZE;
}
