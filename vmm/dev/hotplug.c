/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hot plug by ACPI: a register block and an event of the Generic Event Device (power.h). The ACPI tables give each slot
 * of the PCI bus a device object; on the event the guest's AML reads UP and DOWN and notifies the objects of the slots
 * whose bits are set, with "device check" (ACPI 6.5 §5.6.6: 1) and "eject request" (3). A guest that has stopped the
 * driver evaluates _EJ0, which writes the slot's bit to EJECT.
 *
 * Nothing here depends on what the guest does with it. A bit that is not read yet and set again is one event. A device
 * can be ejected once, asked for or not; writes for empty slots go no further than this file.
 */
#include "hotplug.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"

struct hotplug {
        struct part part;
        struct bus *pio;
        struct power *power;
        hotplug_eject_fn eject;
        void *arg;
        _Atomic uint32_t up, down;
        _Atomic uint32_t present; /* slots with a device that the guest has not ejected */
};

static void hotplug_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct hotplug *hotplug = arg;
        uint32_t value = 0;

        memset(data, 0, len);
        if (len != sizeof(value))
                return;
        if (offset == HOTPLUG_UP)
                value = atomic_exchange(&hotplug->up, 0);
        else if (offset == HOTPLUG_DOWN)
                value = atomic_exchange(&hotplug->down, 0);
        memcpy(data, &value, sizeof(value));
}

static void hotplug_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct hotplug *hotplug = arg;
        uint32_t slots;

        if (offset != HOTPLUG_EJECT || len != sizeof(slots))
                return;
        memcpy(&slots, data, sizeof(slots));
        slots &= atomic_fetch_and(&hotplug->present, ~slots);
        if (slots)
                hotplug->eject(hotplug->arg, slots);
}

static const struct bus_ops bus_ops = { .read = hotplug_read, .write = hotplug_write };

/* A guest that boots finds all devices where they are. */
static int hotplug_reset(struct part *part, const char **ret_text) {
        struct hotplug *hotplug = CONTAINER_OF(part, struct hotplug, part);

        atomic_store(&hotplug->up, 0);
        atomic_store(&hotplug->down, 0);
        return 0;
}

static const struct part_ops part_ops = { .reset = hotplug_reset };

int hotplug_new(struct parts *parts, struct bus *pio, struct power *power, hotplug_eject_fn eject, void *arg,
                struct hotplug **ret) {
        AUTOFREE struct hotplug *hotplug = calloc(1, sizeof(*hotplug));
        int r;

        if (!hotplug)
                return -ENOMEM;
        hotplug->pio = pio;
        hotplug->power = power;
        hotplug->eject = eject;
        hotplug->arg = arg;
        r = bus_add(pio, arch_layout.hotplug, HOTPLUG_PORTS, &bus_ops, hotplug);
        if (r < 0)
                return r;
        part_add(parts, &hotplug->part, PART_DEVICE, &part_ops);
        *ret = TAKE(hotplug);
        return 0;
}

struct hotplug *hotplug_free(struct hotplug *hotplug) {
        if (!hotplug)
                return NULL;
        part_remove(&hotplug->part);
        bus_remove(hotplug->pio, hotplug);
        free(hotplug);
        return NULL;
}

void hotplug_add(struct hotplug *hotplug, unsigned slot) {
        atomic_fetch_or(&hotplug->present, BIT(slot));
}

void hotplug_remove(struct hotplug *hotplug, unsigned slot) {
        atomic_fetch_and(&hotplug->present, ~BIT(slot));
        atomic_fetch_and(&hotplug->up, ~BIT(slot));
        atomic_fetch_and(&hotplug->down, ~BIT(slot));
}

void hotplug_up(struct hotplug *hotplug, unsigned slot) {
        atomic_fetch_or(&hotplug->up, BIT(slot));
        power_event(hotplug->power, POWER_EVENT_HOTPLUG);
}

void hotplug_down(struct hotplug *hotplug, unsigned slot) {
        atomic_fetch_or(&hotplug->down, BIT(slot));
        power_event(hotplug->power, POWER_EVENT_HOTPLUG);
}
