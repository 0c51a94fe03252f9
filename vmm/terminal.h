/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's console on standard input and output, for a monitor run by hand.
 */
#pragma once

#include "core/loop.h"

struct terminal;

/* A stream socket pair: our end, and the guest's, which goes to a device. Before the process is locked in. */
int terminal_pair(int *ret_fd, int *ret_guest_fd);

/*
 * Copies between `fd`, our end, which it takes on success, and standard input and output. Puts a terminal into raw
 * mode. `quit` is called when the user types Ctrl-A X.
 */
int terminal_new(struct loop *loop, int fd, void (*quit)(void *arg), void *arg, struct terminal **ret);
/* Prints what the guest has written so far, restores the terminal. Before the loop is freed. */
struct terminal *terminal_free(struct terminal *terminal); /* NULL is fine; returns NULL */
