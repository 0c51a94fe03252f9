/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages of the control protocol: every type in good shape, then bent in every way
 * that ctl_check() and ctl_receive() have to notice.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "../test.h"
#include "base/cleanup.h"
#include "ctl/message.h"

static const struct {
        uint16_t type;
        size_t length;
        unsigned fds_min, fds_max;
} requests[] = {
        { CTL_HELLO, sizeof(struct ctl_hello), 0, 0 },
        { CTL_SET_MACHINE, sizeof(struct ctl_machine), 1, 1 },
        { CTL_SET_KERNEL, sizeof(struct ctl_file), 1, 1 },
        { CTL_SET_INITRD, sizeof(struct ctl_file), 1, 1 },
        { CTL_SET_CMDLINE, sizeof(struct ctl_cmdline), 0, 0 },
        { CTL_SET_SERIAL, sizeof(struct ctl_header), 1, 2 },
        { CTL_SET_EXIT_RECORD, sizeof(struct ctl_header), 1, 1 },
        { CTL_ADD_DISK, sizeof(struct ctl_disk), 1, 1 },
        { CTL_ADD_NIC, sizeof(struct ctl_nic), 1, 2 },
        { CTL_ADD_PORT, sizeof(struct ctl_port), 1, 2 },
        { CTL_ADD_RNG, sizeof(struct ctl_rng), 1, 1 },
        { CTL_ADD_VSOCK, sizeof(struct ctl_vsock), 1, 1 },
        { CTL_START, sizeof(struct ctl_start), 0, 0 },
        { CTL_SET_CPU, sizeof(struct ctl_cpu), 0, 0 },
        { CTL_PAUSE, sizeof(struct ctl_header), 0, 0 },
        { CTL_RESUME, sizeof(struct ctl_header), 0, 0 },
        { CTL_POWER_BUTTON, sizeof(struct ctl_header), 0, 0 },
        { CTL_RESET, sizeof(struct ctl_header), 0, 0 },
        { CTL_NMI, sizeof(struct ctl_header), 0, 0 },
        { CTL_SET_LINK, sizeof(struct ctl_link), 0, 0 },
        { CTL_SET_ACTIONS, sizeof(struct ctl_actions), 0, 0 },
        { CTL_REBOOT_BUTTON, sizeof(struct ctl_header), 0, 0 },
        { CTL_REMOVE, sizeof(struct ctl_remove), 0, 0 },
        { CTL_QUIT, sizeof(struct ctl_header), 0, 0 },
        { CTL_QUERY, sizeof(struct ctl_header), 0, 0 },
        { CTL_STATS, sizeof(struct ctl_stats), 0, 0 },
        { CTL_LIST, sizeof(struct ctl_list), 0, 0 },
};

static void message_init(struct ctl_message *m, uint16_t type, size_t length, unsigned n_fds) {
        memset(m, 0, sizeof(*m));
        ctl_header_init(&m->header, type, 7, length);
        m->length = length;
        m->n_fds = n_fds;
        /* What every good message has: a place, and the device that it is about. */
        if (type >= CTL_ADD_DISK && type <= CTL_ADD_RNG && length >= sizeof(struct ctl_rng))
                ((struct ctl_rng *) m->data)->place.id = 1;
        if (type == CTL_ADD_VSOCK && length >= sizeof(struct ctl_vsock))
                *(struct ctl_vsock *) m->data =
                        (struct ctl_vsock) { .header = m->header, .place.id = 1, .cid = CTL_CID_MIN };
        if (type == CTL_SET_LINK || type == CTL_REMOVE)
                ((struct ctl_link *) m->data)->id = 1;
}

static int check(struct ctl_message *m) {
        char text[CTL_TEXT_MAX];
        int r = ctl_check(m, CTL_SENDER_DAEMON, CTL_VERSION, text);

        CHECK((r < 0) == (text[0] != '\0'));
        return r;
}

static void test_lengths(void) {
        struct ctl_message m;

        for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
                size_t length = requests[i].length;

                message_init(&m, requests[i].type, length, requests[i].fds_min);
                CHECK_EQ(check(&m), 0);
                for (size_t l = sizeof(struct ctl_header); l <= CTL_MESSAGE_MAX; l++) {
                        message_init(&m, requests[i].type, l, requests[i].fds_min);
                        CHECK_EQ(check(&m), l == length ? 0 : -EBADMSG);
                }
                /* A header that does not say the truth. */
                message_init(&m, requests[i].type, length, requests[i].fds_min);
                m.header.length++;
                CHECK_EQ(check(&m), -EBADMSG);
                m.length = 3;
                CHECK_EQ(check(&m), -EBADMSG);
        }
}

static void test_descriptors(void) {
        struct ctl_message m;

        for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
                for (unsigned n = 0; n <= CTL_FDS_MAX; n++) {
                        bool good = n >= requests[i].fds_min && n <= requests[i].fds_max;
                        message_init(&m, requests[i].type, requests[i].length, n);
                        CHECK_EQ(check(&m), good ? 0 : -EBADMSG);
                }
}

static void test_types(void) {
        struct ctl_message m;

        for (unsigned type = 0; type <= UINT16_MAX; type++) {
                bool known = false;

                for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
                        known = known || requests[i].type == type;
                if (known)
                        continue;
                message_init(&m, type, sizeof(struct ctl_header), 0);
                CHECK_EQ(check(&m), -EOPNOTSUPP);
        }
}

static void test_versions(void) {
        struct ctl_message m;

        for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
                message_init(&m, requests[i].type, requests[i].length, requests[i].fds_min);
                m.header.version = CTL_VERSION + 1;
                CHECK_EQ(check(&m), requests[i].type == CTL_HELLO ? 0 : -EPROTONOSUPPORT);
                m.header.magic ^= 1;
                CHECK_EQ(check(&m), -EBADMSG);
        }
}

/* A message of the type, with one byte range set to a value. */
static int check_bent(uint16_t type, size_t length, unsigned n_fds, size_t at, size_t n, uint8_t value) {
        struct ctl_message m;

        message_init(&m, type, length, n_fds);
        memset(m.data + at, value, n);
        return check(&m);
}

#define BENT(t, s, fds, member, value)                                                                                 \
        check_bent(t, sizeof(s), fds, offsetof(s, member), sizeof(((s *) NULL)->member), value)

/* virtio 1.2 §5.10.4 */
static void test_cid(void) {
        static const struct {
                uint32_t cid;
                int result;
        } cases[] = { { 0, -EINVAL }, { 2, -EINVAL }, { 3, 0 }, { UINT32_MAX - 1, 0 }, { UINT32_MAX, -EINVAL } };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct ctl_message m;

                message_init(&m, CTL_ADD_VSOCK, sizeof(struct ctl_vsock), 1);
                ((struct ctl_vsock *) m.data)->cid = cases[i].cid;
                CHECK_EQ(check(&m), cases[i].result);
        }
}

/* virtio 1.2 §5.1.4.1 */
static void test_mtu(void) {
        static const struct {
                uint16_t mtu;
                int result;
        } cases[] = { { 0, 0 }, { 1, -EINVAL }, { 67, -EINVAL }, { 68, 0 }, { 1500, 0 }, { 65535, 0 } };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct ctl_message m;

                message_init(&m, CTL_ADD_NIC, sizeof(struct ctl_nic), 1);
                ((struct ctl_nic *) m.data)->mtu = cases[i].mtu;
                CHECK_EQ(check(&m), cases[i].result);
        }
}

/* A list is as long as it says, with each entry in range; nobody looks behind its end. */
static void test_cpu_features(void) {
        struct ctl_message m;
        struct ctl_cpu *cpu = (struct ctl_cpu *) m.data;
        struct ctl_cpu_feature *last = &cpu->feature[CTL_CPU_FEATURES_MAX - 1];

        message_init(&m, CTL_SET_CPU, sizeof(*cpu), 0);
        cpu->n = CTL_CPU_FEATURES_MAX;
        *last = (struct ctl_cpu_feature) {
                .function = 0x80000001, .reg = CTL_CPUID_EDX, .bit = 31, .policy = CTL_CPU_FORBID, .name = "x"
        };
        CHECK_EQ(check(&m), 0);
        last->reg = CTL_CPUID_REGISTER_MAX;
        CHECK_EQ(check(&m), -EINVAL);
        last->reg = 0;
        last->bit = 32;
        CHECK_EQ(check(&m), -EINVAL);
        last->bit = 0;
        last->policy = CTL_CPU_POLICY_MAX;
        CHECK_EQ(check(&m), -EINVAL);
        last->policy = 0;
        memset(last->name, 'x', sizeof(last->name));
        CHECK_EQ(check(&m), -EINVAL);
        cpu->n--;
        CHECK_EQ(check(&m), 0);
        cpu->n = CTL_CPU_FEATURES_MAX + 1;
        CHECK_EQ(check(&m), -EINVAL);
}

static void test_strings(void) {
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, name, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_KERNEL, struct ctl_file, 1, name, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_INITRD, struct ctl_file, 1, name, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_CMDLINE, struct ctl_cmdline, 0, text, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, name, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, serial, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_NIC, struct ctl_nic, 1, name, 'x'), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_PORT, struct ctl_port, 1, name, 'x'), -EINVAL);
}

static void test_values(void) {
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, flags, 0xff), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, on_poweroff, CTL_ACTION_MAX), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, on_reboot, CTL_ACTION_MAX), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, on_crash, 0xff), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, on_crash, CTL_ACTION_PRESERVE), 0);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, version, 0xff), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_MACHINE, struct ctl_machine, 1, pad2, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, flags, 4), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, cache, 3), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, error_policy, CTL_ERROR_ENOSPC), 0);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, error_policy, CTL_ERROR_MAX), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, rerror_policy, CTL_ERROR_ENOSPC), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_DISK, struct ctl_disk, 1, place.id, 0), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_NIC, struct ctl_nic, 1, place.segment, CTL_SEGMENTS_MAX), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_PORT, struct ctl_port, 1, place.slot, CTL_SLOT_MAX), 0);
        CHECK_EQ(BENT(CTL_ADD_PORT, struct ctl_port, 1, place.slot, CTL_SLOT_MAX + 1), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_RNG, struct ctl_rng, 1, place.pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_VSOCK, struct ctl_vsock, 1, place.id, 0), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_VSOCK, struct ctl_vsock, 1, pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_NIC, struct ctl_nic, 1, flags, 2), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_PORT, struct ctl_port, 1, flags, 4), -EINVAL);
        CHECK_EQ(BENT(CTL_ADD_PORT, struct ctl_port, 1, pad, 4), -EINVAL);
        CHECK_EQ(BENT(CTL_START, struct ctl_start, 0, flags, 2), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_LINK, struct ctl_link, 0, up, 2), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_ACTIONS, struct ctl_actions, 0, on_crash, CTL_ACTION_MAX), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_ACTIONS, struct ctl_actions, 0, pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_SET_LINK, struct ctl_link, 0, id, 0), -EINVAL);
        CHECK_EQ(BENT(CTL_REMOVE, struct ctl_remove, 0, id, 0), -EINVAL);
        CHECK_EQ(BENT(CTL_REMOVE, struct ctl_remove, 0, flags, 2), -EINVAL);
        CHECK_EQ(BENT(CTL_STATS, struct ctl_stats, 0, pad, 1), -EINVAL);
        CHECK_EQ(BENT(CTL_LIST, struct ctl_list, 0, pad, 1), -EINVAL);
}

static int check_from_monitor(struct ctl_message *m) {
        char text[CTL_TEXT_MAX];
        return ctl_check(m, CTL_SENDER_MONITOR, CTL_VERSION, text);
}

static void test_monitor_side(void) {
        struct ctl_message m;

        for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
                uint16_t type = requests[i].type;

                message_init(&m, type | CTL_REPLY, ctl_reply_size(type), 0);
                CHECK_EQ(check_from_monitor(&m), 0);
                memset(((struct ctl_reply *) m.data)->text, 'x', CTL_TEXT_MAX);
                CHECK_EQ(check_from_monitor(&m), -EINVAL);
                message_init(&m, type | CTL_REPLY, ctl_reply_size(type), 1);
                CHECK_EQ(check_from_monitor(&m), -EBADMSG);
                message_init(&m, type | CTL_REPLY, ctl_reply_size(type) - 1, 0);
                CHECK_EQ(check_from_monitor(&m), -EBADMSG);
                message_init(&m, type, requests[i].length, requests[i].fds_min);
                CHECK_EQ(check_from_monitor(&m), -EOPNOTSUPP);
        }
        message_init(&m, CTL_EVENT_STATE, sizeof(struct ctl_event_state), 0);
        CHECK_EQ(check_from_monitor(&m), 0);
        CHECK_EQ(check(&m), -EOPNOTSUPP);
        ((struct ctl_event_state *) m.data)->state = CTL_STATE_MAX;
        CHECK_EQ(check_from_monitor(&m), -EINVAL);
        message_init(&m, CTL_QUERY | CTL_REPLY, sizeof(struct ctl_query_reply), 0);
        ((struct ctl_query_reply *) m.data)->vcpus = CTL_VCPUS_MAX + 1;
        CHECK_EQ(check_from_monitor(&m), -EINVAL);
        message_init(&m, CTL_STATS | CTL_REPLY, sizeof(struct ctl_stats_reply), 0);
        ((struct ctl_stats_reply *) m.data)->n = CTL_STATS_MAX + 1;
        CHECK_EQ(check_from_monitor(&m), -EINVAL);
        message_init(&m, CTL_LIST | CTL_REPLY, sizeof(struct ctl_list_reply), 0);
        ((struct ctl_list_reply *) m.data)->n = CTL_LIST_MAX + 1;
        CHECK_EQ(check_from_monitor(&m), -EINVAL);
}

/* What a monitor of version 1 reports is what the newest one does, with zeroes in the fields that came later. */
static void test_older_is_extended(void) {
        size_t length = offsetof(struct ctl_event_io_error, policy);
        struct ctl_message m;
        struct ctl_event_io_error *event = (struct ctl_event_io_error *) m.data;
        char text[CTL_TEXT_MAX];

        for (size_t l = length - 8; l <= sizeof(*event); l++) {
                message_init(&m, CTL_EVENT_IO_ERROR, l, 0);
                memset(m.data + l, 'x', sizeof(m.data) - l); /* of an earlier packet */
                m.header.version = 1;
                CHECK_EQ(ctl_check(&m, CTL_SENDER_MONITOR, 1, text), l == length ? 0 : -EBADMSG);
                if (l != length)
                        continue;
                CHECK_EQ(m.length, sizeof(*event));
                CHECK_EQ(m.header.length, sizeof(*event));
                CHECK_EQ(event->policy, CTL_ERROR_REPORT);
        }
        message_init(&m, CTL_EVENT_IO_ERROR, length, 0);
        CHECK_EQ(check_from_monitor(&m), -EBADMSG); /* not in version 2 */

        /* A value that version 1 did not have. */
        for (uint32_t version = 1; version <= 2; version++) {
                message_init(&m, CTL_EVENT_STATE, sizeof(struct ctl_event_state), 0);
                m.header.version = version;
                ((struct ctl_event_state *) m.data)->reason = CTL_REASON_IO_ERROR;
                CHECK_EQ(ctl_check(&m, CTL_SENDER_MONITOR, version, text), version == 1 ? -EINVAL : 0);
        }
}

static void test_fits_an_older(void) {
        struct ctl_disk disk = { .place.id = 1 };
        struct ctl_machine machine = { .version = CTL_MACHINE_MICRO_1 };
        struct ctl_header pause;
        struct ctl_event_state state = { .state = CTL_STATE_PAUSED, .reason = CTL_REASON_IO_ERROR };
        struct ctl_event_io_error error = { .id = 3, .error = -5, .policy = CTL_ERROR_STOP };
        struct ctl_reply reply = {};
        char text[CTL_TEXT_MAX];

        /* A monitor of version 1 gets only what concerns the machine as a whole. */
        ctl_header_init(&pause, CTL_PAUSE, 1, sizeof(pause));
        CHECK_EQ(ctl_fit(&pause, 1, 0, text), 0);
        CHECK_EQ(pause.version, 1);
        ctl_header_init(&disk.header, CTL_ADD_DISK, 1, sizeof(disk));
        CHECK_EQ(ctl_fit(&disk.header, 1, 1, text), -EOPNOTSUPP);
        CHECK_STR(text, "ADD_DISK: version 1 of the control protocol does not have it");
        CHECK_EQ(ctl_fit(&disk.header, 2, 1, text), 0);
        CHECK_EQ(disk.header.length, sizeof(disk));

        /* One of version 2 has one machine, which needs no name. */
        ctl_header_init(&machine.header, CTL_SET_MACHINE, 1, sizeof(machine));
        CHECK_EQ(ctl_fit(&machine.header, 2, 1, text), -EOPNOTSUPP);
        CHECK_STR(text, "SET_MACHINE: version 2 of the control protocol cannot do this");
        machine.version = 0;
        CHECK_EQ(ctl_fit(&machine.header, 2, 1, text), 0);
        CHECK_EQ(machine.header.length, offsetof(struct ctl_machine, version));

        /* What the monitor reports is truncated, and an unknown reason becomes none. */
        ctl_header_init(&error.header, CTL_EVENT_IO_ERROR, 0, sizeof(error));
        CHECK_EQ(ctl_fit(&error.header, 1, 0, text), 0);
        CHECK_EQ(error.header.length, offsetof(struct ctl_event_io_error, policy));
        ctl_header_init(&state.header, CTL_EVENT_STATE, 0, sizeof(state));
        CHECK_EQ(ctl_fit(&state.header, 2, 0, text), 0);
        CHECK_EQ(state.reason, CTL_REASON_IO_ERROR);
        CHECK_EQ(ctl_fit(&state.header, 1, 0, text), 0);
        CHECK_EQ(state.state, CTL_STATE_PAUSED);
        CHECK_EQ(state.reason, CTL_REASON_NONE);

        /* The answer to an unknown request fits any version. */
        ctl_header_init(&reply.header, 33 | CTL_REPLY, 1, sizeof(reply));
        CHECK_EQ(ctl_fit(&reply.header, 1, 0, text), 0);
        CHECK_EQ(reply.header.length, sizeof(reply));
}

static void test_agreement(void) {
        static const struct {
                uint32_t own_min, min, max, version;
        } cases[] = {
                { 1, 1, 1, 1 },
                { 1, 1, CTL_VERSION, CTL_VERSION },
                { 1, 1, CTL_VERSION + 1, CTL_VERSION },
                { 1, 2, 2, 2 },
                { 1, 2, UINT32_MAX, CTL_VERSION },
                { 1, CTL_VERSION + 1, CTL_VERSION + 1, 0 },
                { 1, 0, 0, 0 },
                { 1, 0, 1, 1 },
                { 1, 2, 1, 0 },
                { 2, 1, 1, 0 },
                { 2, 1, 2, 2 },
                { 2, 0, 1, 0 },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                CHECK_EQ(ctl_version_agree(cases[i].own_min, cases[i].min, cases[i].max), cases[i].version);
}

static unsigned count_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* Sends a raw packet, however malformed, with n copies of standard error. */
static void send_raw(int fd, const void *data, size_t len, unsigned n) {
        union {
                struct cmsghdr align;
                char data[CMSG_SPACE(64 * sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) data, len };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n > 0) {
                int fds[64];
                for (unsigned i = 0; i < n; i++)
                        fds[i] = 2;
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
                control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                memcpy(CMSG_DATA(&control.align), fds, n * sizeof(int));
        }
        CHECK(sendmsg(fd, &msg, 0) == (ssize_t) len);
}

static void test_receive(void) {
        struct ctl_message in;
        struct ctl_file file = {};
        uint8_t big[2 * CTL_MESSAGE_MAX] = {};
        unsigned before;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
        before = count_fds();
        CHECK_EQ(ctl_receive(fds[1], &in), -EAGAIN);

        ctl_header_init(&file.header, CTL_SET_KERNEL, 3, sizeof(file));
        CHECK_EQ(ctl_send(fds[0], &file, (int[]) { 2 }, 1), 0);
        CHECK_EQ(ctl_receive(fds[1], &in), 1);
        CHECK_EQ(in.n_fds, 1);
        CHECK(fcntl(in.fds[0], F_GETFD) & FD_CLOEXEC);
        CHECK_EQ(check(&in), 0);
        ctl_message_done(&in);
        CHECK_EQ(count_fds(), before);

        /* Sixteen descriptors arrive; one more makes the kernel cut, and all are closed. */
        send_raw(fds[0], &file, sizeof(file), CTL_FDS_MAX);
        CHECK_EQ(ctl_receive(fds[1], &in), 1);
        CHECK_EQ(in.n_fds, CTL_FDS_MAX);
        ctl_message_done(&in);
        for (unsigned n = CTL_FDS_MAX + 1; n < 40; n++) {
                send_raw(fds[0], &file, sizeof(file), n);
                CHECK_EQ(ctl_receive(fds[1], &in), -EMSGSIZE);
                CHECK_EQ(count_fds(), before);
        }

        /* Too long, too short, not ours. */
        memcpy(big, &file, sizeof(file));
        send_raw(fds[0], big, CTL_MESSAGE_MAX + 1, 2);
        CHECK_EQ(ctl_receive(fds[1], &in), -EMSGSIZE);
        CHECK_EQ(in.header.serial, 3);
        for (size_t l = 1; l < sizeof(struct ctl_header); l++) {
                send_raw(fds[0], &file, l, 1);
                CHECK_EQ(ctl_receive(fds[1], &in), -EBADMSG);
        }
        big[0] ^= 1;
        send_raw(fds[0], big, sizeof(file), 3);
        CHECK_EQ(ctl_receive(fds[1], &in), -EBADMSG);
        CHECK_EQ(count_fds(), before);

        close_fd(&fds[0]);
        CHECK_EQ(ctl_receive(fds[1], &in), 0);
        close_fd(&fds[1]);
}

static void test_send_limits(void) {
        struct ctl_header header;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        ctl_header_init(&header, CTL_PAUSE, 1, CTL_MESSAGE_MAX + 1);
        CHECK_EQ(ctl_send(fds[0], &header, NULL, 0), -EMSGSIZE);
        ctl_header_init(&header, CTL_PAUSE, 1, sizeof(header));
        CHECK_EQ(ctl_send(fds[0], &header, NULL, CTL_FDS_MAX + 1), -EMSGSIZE);
        for (unsigned i = 0; i < 100000; i++)
                if (ctl_send(fds[0], &header, NULL, 0) == -EAGAIN)
                        break;
        CHECK_EQ(ctl_send(fds[0], &header, NULL, 0), -EAGAIN);
        close_fd(&fds[1]);
        CHECK_EQ(ctl_send(fds[0], &header, NULL, 0), -ECONNRESET); /* there was unread mail */
        CHECK_EQ(ctl_send(fds[0], &header, NULL, 0), -EPIPE);      /* and no SIGPIPE */
        close_fd(&fds[0]);
}

int main(void) {
        RUN(test_lengths);
        RUN(test_descriptors);
        RUN(test_types);
        RUN(test_versions);
        RUN(test_mtu);
        RUN(test_cid);
        RUN(test_cpu_features);
        RUN(test_strings);
        RUN(test_values);
        RUN(test_monitor_side);
        RUN(test_older_is_extended);
        RUN(test_fits_an_older);
        RUN(test_agreement);
        RUN(test_receive);
        RUN(test_send_limits);
        CHECK_STR(ctl_type_name(CTL_ADD_DISK), "ADD_DISK");
        CHECK_STR(ctl_type_name(CTL_ADD_DISK | CTL_REPLY), "ADD_DISK");
        CHECK_STR(ctl_type_name(0), "?");
        return 0;
}
