/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl/ctl.h"

struct option_disk {
        const char *path, *serial;
        bool readonly, direct, discard;
        enum ctl_disk_cache cache;
};

struct option_net {
        const char *tap;
        uint8_t mac[6];
        bool has_mac, no_vhost;
        uint16_t mtu;
};

/* Strings point into argv, which is cut up. */
struct options {
        bool help, version;

        /* Run by hand. */
        const char *kernel, *initrd, *cmdline, *console_log;
        const char *machine; /* NULL: the newest version */
        uint64_t memory;     /* bytes */
        unsigned cpus;
        struct option_disk disk[CTL_DISKS_MAX];
        struct option_net net[CTL_NICS_MAX];
        unsigned n_disks, n_nets;
        bool rng, no_reboot, virtio_console;
        uint32_t cid; /* of the guest's sockets; 0: it has none */

        /* Run by the daemon. */
        int control_fd, journal_fd; /* -1: not given */
        const char *machine_name, *uuid;

        /* Both. */
        const char *name;
        uid_t uid;
        bool has_uid;
};

#define OPTIONS_TEXT_MAX 256u

/* -EINVAL: `text` says what is wrong with which argument. */
int options_parse(struct options *ret, int argc, char **argv, char text[static OPTIONS_TEXT_MAX]);

extern const char options_help[];
