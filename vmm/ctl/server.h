/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor's end of the control socket.
 */
#pragma once

struct ctl_server_config {
        int listen_fd; /* listening SOCK_SEQPACKET socket; the server's from here on */
        /* As in struct vm_callbacks; the argument means nothing. */
        int (*prepare_vcpu)(void *unused);
        int (*prepare_device)(void *unused);
};

/*
 * Serves the control socket on the calling thread until the guest is gone, QUIT, or
 * SIGTERM. Returns 0, or a negative errno when the monitor could not do its work.
 */
int ctl_server_run(const struct ctl_server_config *config);
