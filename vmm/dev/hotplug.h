/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PCI slots whose devices come and go while the guest runs.
 */
#pragma once

#include <stdint.h>

#include "../core/bus.h"
#include "../core/part.h"
#include "power.h"

/* Registers of four bytes each, from the device's port on; a bit for each slot of the bus. */
#define HOTPLUG_UP    0u /* slots that have got a device; reading clears */
#define HOTPLUG_DOWN  4u /* slots whose device is to go; reading clears */
#define HOTPLUG_EJECT 8u /* written: the guest has let go of the devices in these slots */
#define HOTPLUG_PORTS 12u

struct hotplug;

/* The guest ejects the devices in these slots; on its vCPU thread, once for each device. */
typedef void (*hotplug_eject_fn)(void *arg, uint32_t slots);

int hotplug_new(struct parts *parts, struct bus *pio, struct power *power, hotplug_eject_fn eject, void *arg,
                struct hotplug **ret);
struct hotplug *hotplug_free(struct hotplug *hotplug); /* NULL is fine; returns NULL */

/* There is a device in the slot, there is none any more: what is not there cannot be ejected. Any thread. */
void hotplug_add(struct hotplug *hotplug, unsigned slot);
void hotplug_remove(struct hotplug *hotplug, unsigned slot);
/* Tells the guest of a device that has come into a slot, or asks it to let go of one. Any thread. */
void hotplug_up(struct hotplug *hotplug, unsigned slot);
void hotplug_down(struct hotplug *hotplug, unsigned slot);
