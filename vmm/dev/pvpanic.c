/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pvpanic: one I/O byte, described to the guest as ACPI device QEMU0001, for which Linux
 * has a driver (drivers/misc/pvpanic). Reading gives the events that are understood,
 * writing reports them: bit 0 the kernel panicked and stays so, bit 1 it panicked and
 * now boots its crash kernel (docs/specs/pvpanic in QEMU). No state.
 */
#include "pvpanic.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/cleanup.h"
#include "../core/layout.h"

#define EVENT_PANICKED     BIT(0)
#define EVENT_CRASH_LOADED BIT(1)

struct pvpanic {
        void (*panicked)(void *arg, int and_continues);
        void *arg;
};

static void pvpanic_read(void *arg, uint64_t offset, void *data, unsigned len) {
        memset(data, 0, len);
        *(uint8_t *) data = EVENT_PANICKED | EVENT_CRASH_LOADED;
}

static void pvpanic_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct pvpanic *pvpanic = arg;
        uint8_t events = *(const uint8_t *) data;

        if (events & (EVENT_PANICKED | EVENT_CRASH_LOADED))
                pvpanic->panicked(pvpanic->arg, !(events & EVENT_PANICKED));
}

static const struct bus_ops pvpanic_ops = { .read = pvpanic_read, .write = pvpanic_write };

int pvpanic_new(struct bus *pio, void (*panicked)(void *arg, int and_continues), void *arg, struct pvpanic **ret) {
        AUTOFREE struct pvpanic *pvpanic = NULL;
        int r;

        pvpanic = calloc(1, sizeof(*pvpanic));
        if (!pvpanic)
                return -ENOMEM;
        pvpanic->panicked = panicked;
        pvpanic->arg = arg;
        r = bus_add(pio, LAYOUT_PORT_PVPANIC, 1, &pvpanic_ops, pvpanic);
        if (r < 0)
                return r;
        *ret = TAKE(pvpanic);
        return 0;
}

struct pvpanic *pvpanic_free(struct pvpanic *pvpanic) {
        free(pvpanic);
        return NULL;
}
