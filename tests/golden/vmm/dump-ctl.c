/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints a session of the control protocol as both programs would put it on the socket: dump-ctl VERSION. Every type
 * of message is in it, every field has a value. The output for a version is that version's contract; it is also what
 * the recorded peers of the unit tests say and expect.
 *
 *   > ADD_DISK fds=1 length=320 0=31434d56... 43=53455249414c
 *
 * `>` is from the daemon, `<` from the monitor; then what is not zero, by offset.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/message.h"

static uint32_t version, serial;

static bool is_gap(const uint8_t *p, size_t at, size_t length) {
        for (size_t i = at; i < at + 4 && i < length; i++)
                if (p[i])
                        return false;
        return true;
}

static void print(char direction, const struct ctl_header *header, unsigned fds) {
        const uint8_t *p = (const uint8_t *) header;

        (void) printf("%c %s fds=%u length=%u", direction, ctl_type_name(header->type), fds, header->length);
        for (size_t i = 0; i < header->length; i++) {
                if (!p[i])
                        continue;
                (void) printf(" %zu=", i);
                for (; i < header->length && !is_gap(p, i, header->length); i++)
                        (void) printf("%02x", p[i]);
        }
        (void) printf("\n");
}

static void fit(struct ctl_header *header, unsigned fds) {
        char text[CTL_TEXT_MAX];

        if (ctl_fit(header, version, fds, text) == 0)
                return;
        (void) fprintf(stderr, "%s\n", text);
        exit(1);
}

static void say(uint16_t type, void *message, size_t length, unsigned fds) {
        ctl_header_init(message, type, ++serial, length);
        fit(message, fds);
        print('>', message, fds);
}

static void answer(uint16_t type, void *message) {
        ctl_header_init(message, type | CTL_REPLY, serial, ctl_reply_size(type));
        fit(message, 0);
        print('<', message, 0);
}

static void ok(uint16_t type) {
        struct ctl_reply reply = {};
        answer(type, &reply);
}

static void tell(uint16_t type, void *message, size_t length) {
        ctl_header_init(message, type, 0, length);
        fit(message, 0);
        print('<', message, 0);
}

static void hello(void) {
        struct ctl_hello m = { .version_min = 1, .version_max = version };
        struct ctl_hello_reply reply = { .version = version, .state = CTL_STATE_SETUP };

        say(CTL_HELLO, &m, sizeof(m), 0);
        answer(CTL_HELLO, &reply);
}

static void machine(void) {
        struct ctl_machine m = {
                .memory_bytes = 1ull << 30,
                .hugepage_size = 2ull << 20,
                .rtc_offset = -3600,
                .flags = CTL_MACHINE_LOCKED | CTL_MACHINE_SHARED | CTL_MACHINE_HUGETLB | CTL_MACHINE_UTC_LOCALTIME,
                .vcpus = 4,
                .sockets = 1,
                .dies = 2,
                .cores = 3,
                .threads = 4,
                .on_poweroff = CTL_ACTION_PRESERVE,
                .on_reboot = CTL_ACTION_RESTART,
                .on_crash = CTL_ACTION_PRESERVE,
                .uuid = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
                .name = "web1",
                .version = version >= 3 ? CTL_MACHINE_MICRO_1 : 0,
        };

        say(CTL_SET_MACHINE, &m, sizeof(m), 1);
        ok(CTL_SET_MACHINE);
}

static void files(void) {
        struct ctl_file m = { .name = "vmlinuz" };
        struct ctl_cmdline cmdline = { .text = "console=ttyS0" };
        struct ctl_header header;

        say(CTL_SET_KERNEL, &m, sizeof(m), 1);
        ok(CTL_SET_KERNEL);
        say(CTL_SET_INITRD, &m, sizeof(m), 1);
        ok(CTL_SET_INITRD);
        say(CTL_SET_CMDLINE, &cmdline, sizeof(cmdline), 0);
        ok(CTL_SET_CMDLINE);
        say(CTL_SET_SERIAL, &header, sizeof(header), 2);
        ok(CTL_SET_SERIAL);
        say(CTL_SET_EXIT_RECORD, &header, sizeof(header), 1);
        ok(CTL_SET_EXIT_RECORD);
}

static void devices(void) {
        struct ctl_disk disk = {
                .place = { .id = 1, .slot = 5 },
                .flags = CTL_DISK_READONLY | CTL_DISK_DISCARD,
                .cache = CTL_CACHE_UNSAFE,
                .serial = "SERIAL",
                .name = "vda",
                .error_policy = CTL_ERROR_ENOSPC,
                .rerror_policy = CTL_ERROR_STOP,
        };
        struct ctl_nic nic = {
                .place = { .id = 2, .slot = 6 },
                .flags = CTL_NIC_LINK_DOWN,
                .mtu = 9000,
                .mac = { 0x52, 0x54, 0, 1, 2, 3 },
                .name = "vnet0",
        };
        struct ctl_port console = { .place = { .id = 3, .slot = 7 }, .flags = CTL_PORT_CONSOLE };
        struct ctl_port channel = { .place = { .id = 4, .slot = 7 }, .name = "org.example.0" };
        struct ctl_vsock vsock = { .place = { .id = 6, .slot = 8 }, .cid = CTL_CID_MIN };
        struct ctl_rng rng = { .place = { .id = 5, .slot = 4 }, .rate_bytes = 1024, .rate_period = 1000 };

        say(CTL_ADD_DISK, &disk, sizeof(disk), 1);
        ok(CTL_ADD_DISK);
        say(CTL_ADD_NIC, &nic, sizeof(nic), 1);
        ok(CTL_ADD_NIC);
        say(CTL_ADD_PORT, &console, sizeof(console), 2);
        ok(CTL_ADD_PORT);
        say(CTL_ADD_PORT, &channel, sizeof(channel), 1);
        ok(CTL_ADD_PORT);
        say(CTL_ADD_RNG, &rng, sizeof(rng), 1);
        ok(CTL_ADD_RNG);
        if (version < 3)
                return;
        say(CTL_ADD_VSOCK, &vsock, sizeof(vsock), 1);
        ok(CTL_ADD_VSOCK);
}

static void number(void *words, size_t size, uint64_t first) {
        for (size_t i = 0; i < size / sizeof(first); i++)
                ((uint64_t *) words)[i] = first + i;
}

static void queries(void) {
        struct ctl_query_reply query = {
                .state = CTL_STATE_RUNNING,
                .reason = CTL_REASON_REQUEST,
                .vcpus = 2,
                .vcpu_tid = { 2, 3 },
        };
        struct ctl_stats_reply stats = {
                .guest_errors = 3,
                .n = 2,
                .more = 1,
                .device = { { .id = 1, .type = CTL_ADD_DISK, .error = -28 }, { .id = 2, .type = CTL_ADD_NIC } },
        };
        struct ctl_list_reply list = {
                .n = 2,
                .more = 1,
                .entry = { { .place = { 1, 0, 5 }, .type = CTL_ADD_DISK },
                           { .place = { 5, 0, 4 }, .type = CTL_ADD_RNG } },
        };
        struct ctl_stats stats_request = { .after = 0 };
        struct ctl_list list_request = { .after = 0 };
        struct ctl_header header;

        number(&stats.device[0].disk, sizeof(stats.device[0].disk), 1000);
        number(&stats.device[1].nic, sizeof(stats.device[1].nic), 5000);
        say(CTL_QUERY, &header, sizeof(header), 0);
        answer(CTL_QUERY, &query);
        say(CTL_STATS, &stats_request, sizeof(stats_request), 0);
        answer(CTL_STATS, &stats);
        say(CTL_LIST, &list_request, sizeof(list_request), 0);
        answer(CTL_LIST, &list);
}

static void events(void) {
        struct ctl_event_state state = { .state = CTL_STATE_PAUSED, .reason = CTL_REASON_REQUEST };
        struct ctl_event_state stopped = { .state = CTL_STATE_PAUSED, .reason = CTL_REASON_IO_ERROR };
        struct ctl_event_io_error io_error = { .id = 1, .error = -5, .write = 2, .policy = CTL_ERROR_STOP };
        struct ctl_event_port port = { .id = 4, .open = 1 };
        struct ctl_event_removed removed = { .id = 5 };
        struct ctl_header header;

        tell(CTL_EVENT_STATE, &state, sizeof(state));
        tell(CTL_EVENT_RESET, &header, sizeof(header));
        tell(CTL_EVENT_IO_ERROR, &io_error, sizeof(io_error));
        tell(CTL_EVENT_PORT, &port, sizeof(port));
        tell(CTL_EVENT_STATE, &stopped, sizeof(stopped));
        tell(CTL_EVENT_REMOVED, &removed, sizeof(removed));
}

static void run(void) {
        static const uint16_t plain[] = { CTL_PAUSE, CTL_RESUME, CTL_POWER_BUTTON, CTL_RESET };
        struct ctl_start start = { .flags = CTL_START_PAUSED };
        struct ctl_actions actions = { .on_reboot = CTL_ACTION_RESTART, .on_crash = CTL_ACTION_PRESERVE };
        struct ctl_link link = { .id = 2, .up = 1 };
        struct ctl_remove remove = { .id = 5, .flags = CTL_REMOVE_FORCE };
        struct ctl_reply refusal = { .error = -6, .text = "NMI: No such device or address" };
        struct ctl_header header;

        say(CTL_START, &start, sizeof(start), 0);
        ok(CTL_START);
        queries();
        for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
                say(plain[i], &header, sizeof(header), 0);
                ok(plain[i]);
        }
        say(CTL_NMI, &header, sizeof(header), 0);
        answer(CTL_NMI, &refusal);
        say(CTL_SET_LINK, &link, sizeof(link), 0);
        ok(CTL_SET_LINK);
        say(CTL_REMOVE, &remove, sizeof(remove), 0);
        ok(CTL_REMOVE);
        say(CTL_SET_ACTIONS, &actions, sizeof(actions), 0);
        ok(CTL_SET_ACTIONS);
        say(CTL_REBOOT_BUTTON, &header, sizeof(header), 0);
        ok(CTL_REBOOT_BUTTON);
        events();
        say(CTL_QUIT, &header, sizeof(header), 0);
        ok(CTL_QUIT);
}

int main(int argc, char **argv) {
        version = argc == 2 ? (uint32_t) strtoul(argv[1], NULL, 10) : 0;
        if (version < CTL_VERSION_PROMISED || version > CTL_VERSION)
                return 1;
        hello();
        machine();
        files();
        devices();
        run();
        return 0;
}
