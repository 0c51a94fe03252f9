/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "../test.h"
#include "options.h"

#define ARGS_MAX 16

/* Parses words separated by blanks. */
static int parse(struct options *o, char *text, const char *line) {
        static char buffer[1024];
        static char program[] = "virtmicro-vmm";
        char *argv[ARGS_MAX] = { program }, *rest = buffer;
        int argc = 1;

        (void) snprintf(buffer, sizeof(buffer), "%s", line);
        while (rest && argc < ARGS_MAX)
                argv[argc++] = strsep(&rest, " ");
        return options_parse(o, line[0] ? argc : 1, argv, text);
}

static void test_good(void) {
        struct options o;
        char text[OPTIONS_TEXT_MAX];

        CHECK_EQ(parse(&o, text,
                       "--kernel=k --initrd i --memory 1G --cpus 32 --rng --vsock 3 --console virtio --console-log /l"),
                 0);
        CHECK_STR(o.kernel, "k");
        CHECK_STR(o.initrd, "i");
        CHECK_EQ(o.memory, 1ull << 30);
        CHECK_EQ(o.cpus, 32);
        CHECK(o.rng && o.virtio_console && !o.no_reboot);
        CHECK_EQ(o.cid, 3);
        CHECK_STR(o.console_log, "/l");
        CHECK(!o.machine);
        CHECK_EQ(parse(&o, text, "--kernel k --machine micro-1"), 0);
        CHECK_STR(o.machine, "micro-1");
        CHECK_EQ(parse(&o, text, "--kernel k --memory 128 --disk /d,readonly,cache=none,serial=S --disk e,discard"), 0);
        CHECK_EQ(o.memory, 128ull << 20);
        CHECK_EQ(o.n_disks, 2);
        CHECK_STR(o.disk[0].path, "/d");
        CHECK_STR(o.disk[0].serial, "S");
        CHECK(o.disk[0].readonly && o.disk[0].direct && !o.disk[0].discard);
        CHECK(o.disk[1].discard && !o.disk[1].direct);
        CHECK_EQ(parse(&o, text, "--kernel k --net tap=t0,mac=52:54:00:0a:0B:0c,mtu=9000,vhost=off --net tap=t1"), 0);
        CHECK_EQ(o.n_nets, 2);
        CHECK_EQ(o.net[0].mac[5], 0x0c);
        CHECK_EQ(o.net[0].mtu, 9000);
        CHECK(o.net[0].no_vhost && o.net[0].has_mac && !o.net[1].has_mac);
        CHECK_EQ(parse(&o, text, "--control-fd 3 --uid 1000 --name n --uuid u --journal-fd 4 --machine-name m"), 0);
        CHECK_STR(o.machine_name, "m");
        CHECK(!o.machine);
        CHECK_EQ(o.control_fd, 3);
        CHECK_EQ(o.journal_fd, 4);
        CHECK_EQ(o.uid, 1000);
        CHECK_EQ(parse(&o, text, "--help"), 0);
        CHECK(o.help);
}

static void test_bad(void) {
        static const char *const lines[] = {
                "",
                "kernel",
                "--kernel",
                "--kernels k",
                "--kernel k --memory",
                "--kernel k --memory 1T",
                "--kernel k --memory -1",
                "--kernel k --memory 99999999999999999999",
                "--kernel k --cpus 0",
                "--kernel k --cpus 33",
                "--kernel k --cpus 1x",
                "--kernel k --disk d,cache=x",
                "--kernel k --disk d,x",
                "--kernel k --disk d,serial=123456789012345678901",
                "--kernel k --net mac=52:54:00:00:00:00",
                "--kernel k --net tap=t,mac=53:54:00:00:00:00",
                "--kernel k --net tap=t,mac=52:54:00:00:00",
                "--kernel k --net tap=t,mtu=70000",
                "--kernel k --net tap=t,mtu=67",
                "--kernel k --net tap=t,vhost=maybe",
                "--kernel k --console vga",
                "--kernel k --uid 0",
                "--kernel k --uid 4294967295",
                "--kernel k --rng=yes",
                "--kernel k --vsock",
                "--kernel k --vsock 2",
                "--kernel k --vsock 4294967295",
        };
        struct options o;

        for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                char text[OPTIONS_TEXT_MAX] = "";

                CHECK_EQ(parse(&o, text, lines[i]), -EINVAL);
                CHECK(text[0] != 0);
        }
}

int main(void) {
        RUN(test_good);
        RUN(test_bad);
        return 0;
}
