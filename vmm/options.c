/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line: options with one argument each, "--name value" or "--name=value", and
 * lists of "key=value" inside the arguments of --disk and --net. A table maps each option
 * to its function; nothing is opened or looked up here.
 */
#include "options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

const char options_help[] =
        "Usage: virtmicro-vmm --kernel FILE [OPTION...]\n"
        "\n"
        "Runs one virtual machine on KVM, its console on standard input and output.\n"
        "On a terminal, Ctrl-A X ends it.\n"
        "\n"
        "  --kernel FILE          bzImage or ELF kernel for x86_64\n"
        "  --initrd FILE          initial RAM disk\n"
        "  --cmdline TEXT         kernel command line (default: console=ttyS0, or hvc0)\n"
        "  --machine VERSION      machine that the guest sees, as micro-1 (default: micro, the newest)\n"
        "  --memory SIZE          guest memory, with suffix M or G (default: 256M)\n"
        "  --cpus N               number of vCPUs, 1 to 32 (default: 1)\n"
        "  --disk PATH[,readonly][,cache=writeback|writethrough|none|unsafe][,discard][,serial=TEXT]\n"
        "                         raw image or block device as virtio disk\n"
        "  --net tap=NAME[,mac=XX:XX:XX:XX:XX:XX][,mtu=N][,vhost=on|off]\n"
        "                         existing TAP interface as virtio network interface\n"
        "  --rng                  virtio entropy device\n"
        "  --vsock CID            virtio socket device; CID is the guest's address, 3 or more\n"
        "  --console serial|virtio  which console is on standard input and output (default: serial)\n"
        "  --console-log FILE     append what the guest writes there to FILE as well\n"
        "  --no-reboot            exit when the guest reboots\n"
        "  --name TEXT            name of the machine, for process lists\n"
        "  --uid N                user to become when started as root (default: 65534)\n"
        "  --help, --version\n"
        "\n"
        "Disk and interface options can be given several times.\n"
        "Exit status: 0 when the guest powered off; 1 when it crashed, was ended, or could not be run.\n"
        "\n"
        "virtmicrod starts it with --control-fd N --uid N --name TEXT --uuid UUID\n"
        "[--journal-fd N] [--machine-name TEXT]; everything else then comes by the control socket.\n";

struct parser {
        struct options *options;
        const char *option; /* being parsed; for messages */
        char *text;
};

static int complain(const struct parser *p, const char *what, const char *value) {
        (void) snprintf(p->text, OPTIONS_TEXT_MAX, "%.32s: %.48s '%.128s'", p->option, what, value);
        return -EINVAL;
}

static int parse_number(const struct parser *p, const char *value, uint64_t max, uint64_t *ret) {
        unsigned long long number;
        char *end;

        errno = 0;
        number = strtoull(value, &end, 10);
        if (!isdigit((unsigned char) value[0]) || *end != 0 || errno != 0)
                return complain(p, "not a number:", value);
        if (number > max)
                return complain(p, "too large:", value);
        *ret = number;
        return 0;
}

static int parse_kernel(struct parser *p, char *value) {
        p->options->kernel = value;
        return 0;
}

static int parse_initrd(struct parser *p, char *value) {
        p->options->initrd = value;
        return 0;
}

static int parse_cmdline(struct parser *p, char *value) {
        static_assert(CTL_CMDLINE_MAX == 2048, "the message tells it");

        if (strlen(value) >= CTL_CMDLINE_MAX)
                return complain(p, "longer than 2047 bytes:", value);
        p->options->cmdline = value;
        return 0;
}

/* A plain number means MiB. */
static int parse_memory(struct parser *p, char *value) {
        size_t len = strlen(value);
        unsigned shift = 20;
        uint64_t number;
        int r;

        if (len > 0 && (value[len - 1] == 'M' || value[len - 1] == 'm'))
                value[len - 1] = 0;
        else if (len > 0 && (value[len - 1] == 'G' || value[len - 1] == 'g')) {
                value[len - 1] = 0;
                shift = 30;
        }
        r = parse_number(p, value, UINT64_MAX >> (shift + 2), &number);
        if (r < 0)
                return r;
        p->options->memory = number << shift;
        return 0;
}

static int parse_cpus(struct parser *p, char *value) {
        uint64_t number;
        int r = parse_number(p, value, CTL_VCPUS_MAX, &number);

        if (r < 0)
                return r;
        if (number == 0)
                return complain(p, "too small:", value);
        p->options->cpus = (unsigned) number;
        return 0;
}

static int parse_cache(const struct parser *p, const char *value, struct option_disk *disk) {
        disk->direct = strcmp(value, "none") == 0;
        if (disk->direct || strcmp(value, "writeback") == 0)
                disk->cache = CTL_CACHE_WRITEBACK;
        else if (strcmp(value, "writethrough") == 0)
                disk->cache = CTL_CACHE_WRITETHROUGH;
        else if (strcmp(value, "unsafe") == 0)
                disk->cache = CTL_CACHE_UNSAFE;
        else
                return complain(p, "unknown cache mode", value);
        return 0;
}

/* The value of "key=value", or NULL when `item` has another key. */
static const char *value_of(const char *item, const char *key) {
        size_t len = strlen(key);

        return strncmp(item, key, len) == 0 && item[len] == '=' ? item + len + 1 : NULL;
}

static int parse_disk_item(const struct parser *p, const char *item, struct option_disk *disk) {
        const char *value;

        if (strcmp(item, "readonly") == 0)
                disk->readonly = true;
        else if (strcmp(item, "discard") == 0)
                disk->discard = true;
        else if ((value = value_of(item, "cache")))
                return parse_cache(p, value, disk);
        else if ((value = value_of(item, "serial"))) {
                if (strlen(value) >= CTL_SERIAL_MAX)
                        return complain(p, "longer than 20 bytes:", value);
                disk->serial = value;
        } else
                return complain(p, "unknown item", item);
        return 0;
}

static int parse_disk(struct parser *p, char *value) {
        struct option_disk disk = { .cache = CTL_CACHE_WRITEBACK };
        int r;

        if (p->options->n_disks == CTL_DISKS_MAX)
                return complain(p, "one too many:", value);
        disk.path = strsep(&value, ",");
        while (value) {
                r = parse_disk_item(p, strsep(&value, ","), &disk);
                if (r < 0)
                        return r;
        }
        p->options->disk[p->options->n_disks++] = disk;
        return 0;
}

static int parse_mac(const struct parser *p, const char *value, uint8_t mac[6]) {
        unsigned byte[6];
        int used = 0;

        if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5],
                   &used) != 6 ||
            value[used] != 0 || (byte[0] & 1))
                return complain(p, "not the address of an interface:", value);
        for (unsigned i = 0; i < 6; i++)
                mac[i] = (uint8_t) byte[i];
        return 0;
}

static int parse_net_item(const struct parser *p, const char *item, struct option_net *net) {
        const char *value;
        uint64_t number;
        int r = 0;

        if ((value = value_of(item, "tap")))
                net->tap = value;
        else if ((value = value_of(item, "mac"))) {
                r = parse_mac(p, value, net->mac);
                net->has_mac = true;
        } else if ((value = value_of(item, "mtu"))) {
                r = parse_number(p, value, UINT16_MAX, &number);
                if (r >= 0 && number != 0 && number < CTL_MTU_MIN)
                        r = complain(p, "too small:", value);
                if (r >= 0)
                        net->mtu = (uint16_t) number;
        } else if ((value = value_of(item, "vhost")) && (strcmp(value, "on") == 0 || strcmp(value, "off") == 0))
                net->no_vhost = strcmp(value, "off") == 0;
        else
                r = complain(p, "unknown item", item);
        return r;
}

static int parse_net(struct parser *p, char *value) {
        struct option_net net = { 0 };
        int r;

        if (p->options->n_nets == CTL_NICS_MAX)
                return complain(p, "one too many:", value);
        while (value) {
                r = parse_net_item(p, strsep(&value, ","), &net);
                if (r < 0)
                        return r;
        }
        if (!net.tap)
                return complain(p, "needs tap=NAME", "");
        p->options->net[p->options->n_nets++] = net;
        return 0;
}

static int parse_console(struct parser *p, char *value) {
        p->options->virtio_console = strcmp(value, "virtio") == 0;
        if (!p->options->virtio_console && strcmp(value, "serial") != 0)
                return complain(p, "neither serial nor virtio:", value);
        return 0;
}

static int parse_name(struct parser *p, char *value) {
        p->options->name = value;
        return 0;
}

static int parse_uuid(struct parser *p, char *value) {
        p->options->uuid = value;
        return 0;
}

static int parse_machine(struct parser *p, char *value) {
        p->options->machine = value;
        return 0;
}

static int parse_machine_name(struct parser *p, char *value) {
        p->options->machine_name = value;
        return 0;
}

static int parse_uid(struct parser *p, char *value) {
        uint64_t number;
        int r = parse_number(p, value, UINT32_MAX - 1, &number);

        if (r < 0)
                return r;
        if (number == 0)
                return complain(p, "the monitor does not run as root:", value);
        p->options->uid = (uid_t) number;
        p->options->has_uid = true;
        return 0;
}

static int parse_fd(const struct parser *p, const char *value, int *ret) {
        uint64_t number;
        int r = parse_number(p, value, INT32_MAX, &number);

        if (r >= 0)
                *ret = (int) number;
        return r;
}

static int parse_control_fd(struct parser *p, char *value) {
        return parse_fd(p, value, &p->options->control_fd);
}

static int parse_journal_fd(struct parser *p, char *value) {
        return parse_fd(p, value, &p->options->journal_fd);
}

static int parse_rng(struct parser *p, char *value) {
        p->options->rng = true;
        return 0;
}

static int parse_vsock(struct parser *p, char *value) {
        uint64_t number;
        int r = parse_number(p, value, UINT32_MAX - 1, &number);

        if (r < 0)
                return r;
        if (number < CTL_CID_MIN)
                return complain(p, "not the address of a guest:", value);
        p->options->cid = (uint32_t) number;
        return 0;
}

static int parse_console_log(struct parser *p, char *value) {
        p->options->console_log = value;
        return 0;
}

static int parse_no_reboot(struct parser *p, char *value) {
        p->options->no_reboot = true;
        return 0;
}

static int parse_help(struct parser *p, char *value) {
        p->options->help = true;
        return 0;
}

static int parse_version(struct parser *p, char *value) {
        p->options->version = true;
        return 0;
}

static const struct {
        const char *name;
        bool has_value;
        int (*parse)(struct parser *p, char *value);
} table[] = {
        { "--kernel", true, parse_kernel },
        { "--initrd", true, parse_initrd },
        { "--cmdline", true, parse_cmdline },
        { "--memory", true, parse_memory },
        { "--cpus", true, parse_cpus },
        { "--disk", true, parse_disk },
        { "--net", true, parse_net },
        { "--rng", false, parse_rng },
        { "--vsock", true, parse_vsock },
        { "--console", true, parse_console },
        { "--console-log", true, parse_console_log },
        { "--no-reboot", false, parse_no_reboot },
        { "--name", true, parse_name },
        { "--uid", true, parse_uid },
        { "--uuid", true, parse_uuid },
        { "--machine", true, parse_machine },
        { "--machine-name", true, parse_machine_name },
        { "--control-fd", true, parse_control_fd },
        { "--journal-fd", true, parse_journal_fd },
        { "--help", false, parse_help },
        { "--version", false, parse_version },
};

/* Parses argv[at] and returns the index of the next argument. */
static int parse_one(struct parser *p, int argc, char **argv, int at) {
        char *equals = strchr(argv[at], '='), *value = NULL;
        size_t len = equals ? (size_t) (equals - argv[at]) : strlen(argv[at]);

        p->option = argv[at];
        for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
                int r;

                if (strlen(table[i].name) != len || strncmp(table[i].name, argv[at], len) != 0)
                        continue;
                p->option = table[i].name;
                if (equals)
                        value = equals + 1;
                else if (table[i].has_value && at + 1 < argc)
                        value = argv[++at];
                if (!value == table[i].has_value)
                        return complain(p, value ? "takes no argument:" : "needs an argument", value ?: "");
                r = table[i].parse(p, value);
                return r < 0 ? r : at + 1;
        }
        return complain(p, "unknown option; --help lists them:", argv[at]);
}

static int check(const struct parser *p) {
        const struct options *o = p->options;

        if (o->help || o->version || o->kernel || o->control_fd >= 0)
                return 0;
        (void) snprintf(p->text, OPTIONS_TEXT_MAX, "there is no --kernel to boot; --help lists the options");
        return -EINVAL;
}

int options_parse(struct options *ret, int argc, char **argv, char text[static OPTIONS_TEXT_MAX]) {
        struct parser p = { .options = ret, .text = text };
        int at = 1;

        *ret = (struct options) { .memory = 256ull << 20, .cpus = 1, .control_fd = -1, .journal_fd = -1 };
        while (at < argc) {
                at = parse_one(&p, argc, argv, at);
                if (at < 0)
                        return at;
        }
        return check(&p);
}
