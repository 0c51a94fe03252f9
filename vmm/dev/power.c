/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The power block of a hardware-reduced ACPI machine, four I/O bytes:
 *
 *   0 sleep control (ACPI 6.5 §4.8.3.7): bits 4:2 sleep type, bit 5 enable; type 5 is off
 *   1 sleep status: bit 7 wake; always set, no other state than off is offered
 *   2 reset (§4.8.3.6): writing POWER_RESET_VALUE resets the machine
 *   3 event: which event the Generic Event Device's interrupt is about; reading clears
 *
 * The FADT and the DSDT point here.
 *
 * Registers are served on vCPU threads; the event byte is atomic.
 */
#include "power.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"

#define SLEEP_ENABLE  BIT(5)
#define SLEEP_TYPE(v) ((v) >> 2 & 7u)
#define SLEEP_WAKE    BIT(7)
#define POWER_PORTS   4u

struct power {
        struct part part;
        struct bus *pio;
        struct irq *irq;
        const struct power_ops *ops;
        void *arg;
        atomic_uchar events;
};

static void power_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct power *power = arg;
        uint8_t value = 0;

        if (offset == POWER_SLEEP_STATUS)
                value = SLEEP_WAKE;
        else if (offset == POWER_EVENT)
                value = atomic_exchange(&power->events, 0);
        memset(data, 0, len);
        memcpy(data, &value, 1);
}

static void power_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct power *power = arg;
        uint8_t value;

        memcpy(&value, data, 1);
        if (offset == POWER_SLEEP_CONTROL && (value & SLEEP_ENABLE) && SLEEP_TYPE(value) == POWER_SLEEP_TYPE_S5)
                power->ops->off(power->arg);
        else if (offset == POWER_RESET && value == POWER_RESET_VALUE)
                power->ops->reset(power->arg);
}

static const struct bus_ops power_ops = { .read = power_read, .write = power_write };

static int power_reset(struct part *part, const char **ret_text) {
        struct power *power = CONTAINER_OF(part, struct power, part);

        atomic_store(&power->events, 0);
        irq_set_line(power->irq, arch_layout.event_line, 0);
        return 0;
}

static const struct part_ops part_ops = { .reset = power_reset };

static void free_p(struct power **power) {
        power_free(*power);
}

int power_new(struct parts *parts, struct bus *pio, struct irq *irq, const struct power_ops *ops, void *arg,
              struct power **ret) {
        CLEANUP(free_p) struct power *power = NULL;
        int r;

        power = calloc(1, sizeof(*power));
        if (!power)
                return -ENOMEM;
        power->pio = pio;
        power->irq = irq;
        power->ops = ops;
        power->arg = arg;
        r = bus_add(pio, arch_layout.power, POWER_PORTS, &power_ops, power);
        if (r < 0)
                return r;
        part_add(parts, &power->part, PART_DEVICE, &part_ops);
        *ret = TAKE(power);
        return 0;
}

struct power *power_free(struct power *power) {
        if (!power)
                return NULL;
        part_remove(&power->part);
        bus_remove(power->pio, power);
        free(power);
        return NULL;
}

void power_ask_reset(struct power *power) {
        power->ops->reset(power->arg);
}

/* The line is edge triggered: a pulse is one event. */
void power_event(struct power *power, uint8_t event) {
        atomic_fetch_or(&power->events, event);
        irq_set_line(power->irq, arch_layout.event_line, 1);
        irq_set_line(power->irq, arch_layout.event_line, 0);
}

void power_button(struct power *power) {
        power_event(power, POWER_EVENT_BUTTON);
}
