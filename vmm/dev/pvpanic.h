/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The panic device: how a guest kernel says that it has crashed.
 */
#pragma once

#include <stdbool.h>

#include "../core/part.h"
#include "../core/pci.h"

struct pvpanic;

/* `panicked` runs on the vCPU thread; `goes_on`: the guest will now dump itself (kdump). */
int pvpanic_new(struct parts *parts, struct pci_host *host, void (*panicked)(void *arg, bool goes_on), void *arg,
                struct pvpanic **ret);
struct pvpanic *pvpanic_free(struct pvpanic *pvpanic); /* NULL is fine; returns NULL */
