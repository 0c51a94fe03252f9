/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor's end of the control socket.
 */
#pragma once

struct ctl_server_config {
        int listen_fd;                            /* listening SOCK_SEQPACKET socket; the server's from here on */
        const struct vm_confinement *confinement; /* NULL: none */
};

/*
 * Serves the control socket on the calling thread until the guest is gone, QUIT, or
 * SIGTERM. Returns 0, or a negative errno when the monitor could not do its work.
 */
int ctl_server_run(const struct ctl_server_config *config);
