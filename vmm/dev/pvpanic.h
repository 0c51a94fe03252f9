/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The panic device: how a guest kernel says that it has crashed.
 */
#pragma once

#include "../core/bus.h"

struct pvpanic;

/* `panicked` runs on the vCPU thread; `and_continues`: the guest goes on to dump itself (kdump). */
int pvpanic_new(struct bus *pio, void (*panicked)(void *arg, int and_continues), void *arg, struct pvpanic **ret);
struct pvpanic *pvpanic_free(struct pvpanic *pvpanic); /* NULL is fine; returns NULL */
