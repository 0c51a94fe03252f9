/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pvpanic as a PCI device, 1b36:0011 (board/version.c), for which Linux has a driver (pvpanic-pci). A page
 * of memory with one register, the byte at 0: reading gives the events that are understood,
 * writing reports them. Bit 0: the kernel panicked and stays so; bit 1: it panicked and
 * now boots its crash kernel (docs/specs/pvpanic of QEMU).
 *
 * PCI and not the older I/O port, since an initramfs finds PCI devices by themselves. In
 * the last slot, so that the numbers of the others do not depend on it. No state beyond
 * the configuration space; called on vCPU threads.
 */
#include "pvpanic.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/cleanup.h"

#define PVPANIC_CLASS      0x088000u /* system peripheral, other */
#define PVPANIC_BAR        4096u
#define EVENT_PANICKED     BIT(0)
#define EVENT_CRASH_LOADED BIT(1)

struct pvpanic {
        struct pci_device pci; /* first */
        struct part part;
        void (*panicked)(void *arg, bool goes_on);
        void *arg;
};

static void pvpanic_read(struct pci_device *pci, uint64_t offset, void *data, unsigned len) {
        memset(data, 0, len);
        if (offset == 0)
                *(uint8_t *) data = EVENT_PANICKED | EVENT_CRASH_LOADED;
}

static void pvpanic_write(struct pci_device *pci, uint64_t offset, const void *data, unsigned len) {
        struct pvpanic *pvpanic = (struct pvpanic *) pci;
        uint8_t events = *(const uint8_t *) data;

        if (offset == 0 && (events & (EVENT_PANICKED | EVENT_CRASH_LOADED)))
                pvpanic->panicked(pvpanic->arg, !(events & EVENT_PANICKED));
}

static const struct pci_device_ops pvpanic_ops = { .bar_read = pvpanic_read, .bar_write = pvpanic_write };

static int pvpanic_reset(struct part *part, const char **ret_text) {
        struct pvpanic *pvpanic = CONTAINER_OF(part, struct pvpanic, part);

        pci_device_reset(&pvpanic->pci);
        return 0;
}

static const struct part_ops part_ops = { .reset = pvpanic_reset };

int pvpanic_new(struct parts *parts, struct pci_host *host, void (*panicked)(void *arg, bool goes_on), void *arg,
                struct pvpanic **ret) {
        AUTOFREE struct pvpanic *pvpanic = NULL;
        int r;

        pvpanic = calloc(1, sizeof(*pvpanic));
        if (!pvpanic)
                return -ENOMEM;
        pvpanic->panicked = panicked;
        pvpanic->arg = arg;
        pci_device_init(&pvpanic->pci, &pvpanic_ops, &pci_host_version(host)->panic, PVPANIC_CLASS);
        pci_device_set_bar(&pvpanic->pci, PVPANIC_BAR);
        r = pci_host_add(host, &pvpanic->pci, PCI_SLOTS - 1);
        if (r < 0)
                return r;
        part_add(parts, &pvpanic->part, PART_DEVICE, &part_ops);
        *ret = TAKE(pvpanic);
        return 0;
}

struct pvpanic *pvpanic_free(struct pvpanic *pvpanic) {
        if (!pvpanic)
                return NULL;
        part_remove(&pvpanic->part);
        pci_host_remove(&pvpanic->pci);
        pci_device_done(&pvpanic->pci);
        free(pvpanic);
        return NULL;
}
