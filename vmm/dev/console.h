/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio console device: consoles (hvc0, ...) and named channels.
 */
#pragma once

#include <stdbool.h>

#include "../ctl/ctl.h"

struct virtio_device;

struct console_port_config {
        const char *name; /* of a channel; copied; NULL or "" for a console */
        bool is_console;
        bool is_socket; /* fd is a listening stream socket; else a pty master or another stream */
        int fd;         /* the device's once console_new() has succeeded; made non-blocking */
        int log_fd;     /* gets a copy of what the guest writes; the same. 0 or less: none */
};

struct console_config {
        const char *name; /* copied */
        unsigned n_ports; /* 1..CTL_PORTS_MAX */
        struct console_port_config ports[CTL_PORTS_MAX];
        /* Optional: the guest opened or closed ports[port]. The guest decides how often; loop's thread. */
        void (*port_open)(void *arg, unsigned port, bool open);
        void *arg;
};

int console_new(const struct console_config *config, struct virtio_device **ret);
