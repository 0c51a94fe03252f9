/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power off, reset and the power button.
 */
#pragma once

#include <stdint.h>

#include "../core/bus.h"
#include "../core/irq.h"
#include "../core/part.h"

/* Registers, one byte each, from the device's port on. */
#define POWER_SLEEP_CONTROL 0u
#define POWER_SLEEP_STATUS  1u
#define POWER_RESET         2u
#define POWER_EVENT         3u /* reading clears */

#define POWER_RESET_VALUE   1u
#define POWER_EVENT_BUTTON  1u
#define POWER_EVENT_HOTPLUG 2u /* look at hotplug.h's registers */
#define POWER_SLEEP_TYPE_S5 5u

struct power;

struct power_ops {
        /* The guest asks for it; on its vCPU thread, which must not return to the guest. */
        void (*off)(void *arg);
        void (*reset)(void *arg);
};

int power_new(struct parts *parts, struct bus *pio, struct irq *irq, const struct power_ops *ops, void *arg,
              struct power **ret);
struct power *power_free(struct power *power); /* NULL is fine; returns NULL */

/* Presses the button; any thread. */
void power_button(struct power *power);
/* The guest asks for a reset in another way than by the device's registers; as power_ops.reset. */
void power_ask_reset(struct power *power);
/* Raises an event, POWER_EVENT_*; any thread. */
void power_event(struct power *power, uint8_t event);
