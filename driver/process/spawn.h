/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a monitor process: clone, descriptors, exec. Used by vmm.c only. */
#pragma once

#include "vmm.h"

/*
 * Runs the monitor with `listen_fd` as its control socket. Returns once the exec has
 * succeeded; on error there is no process. *ret_pidfd is close-on-exec.
 */
gboolean spawn_monitor(const VmmSpawn *spawn, int listen_fd, pid_t *ret_pid, int *ret_pidfd, GError **err);
