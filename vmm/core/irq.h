/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts into the in-kernel chips: lines of the interrupt controller, and MSIs that KVM delivers
 * when an eventfd is written.
 */
#pragma once

#include <stdint.h>

#include "../arch/arch.h"

struct irq;

/* Sets the routing of the lines; `vm_fd` stays the caller's and outlives this. */
int irq_new(int vm_fd, struct irq **ret);
struct irq *irq_free(struct irq *irq); /* NULL is fine; returns NULL */

/* Drives a line, below ARCH_LINES; any thread. */
void irq_set_line(struct irq *irq, unsigned line, unsigned level);

/* Reserves a GSI for an MSI. -ENOSPC when there is none; any thread. */
int irq_msi_new(struct irq *irq, unsigned *ret_gsi);
/* Gives GSIs back, with their routes. Nothing is attached to them any more; any thread. */
void irq_msi_free(struct irq *irq, const unsigned *gsis, unsigned n);
/* What an MSI sends; any thread. */
int irq_msi_route(struct irq *irq, unsigned gsi, uint64_t address, uint32_t data);
/* Makes writes to `fd` send the MSI, including writes made before; or stops that. Any thread. */
int irq_msi_attach(struct irq *irq, unsigned gsi, int fd);
int irq_msi_detach(struct irq *irq, unsigned gsi, int fd);
