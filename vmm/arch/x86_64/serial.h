/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A 16550A serial port, COM1.
 */
#pragma once

#include "../../core/bus.h"
#include "../../core/irq.h"
#include "../../core/part.h"

struct serial;

/* Takes `fd` on success (a pty master, socket or pipe); -EBADF: output is dropped, input never comes. */
int serial_new(struct parts *parts, struct bus *pio, struct irq *irq, int fd, struct serial **ret);
struct serial *serial_free(struct serial *serial); /* NULL is fine; returns NULL */

/* Gives what the guest writes to `fd` as well, which is taken on success. Before the start. */
int serial_set_log(struct serial *serial, int fd);

/* Starts its thread; `prepare` as in loop_start(). */
int serial_start(struct serial *serial, int (*prepare)(void *arg), void *arg);
