/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM's interrupt controllers: two PICs and the IOAPIC. The local APICs belong to the vCPUs.
 */
#pragma once

#include "part.h"

struct irqchip;

/* Makes them, before there are vCPUs; `vm_fd` stays the caller's and outlives this. */
int irqchip_new(struct parts *parts, int vm_fd, struct irqchip **ret);
struct irqchip *irqchip_free(struct irqchip *irqchip); /* NULL is fine; returns NULL */
