/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts that are only recorded. A test that includes this defines all functions of core/irq.c, so the linker
 * leaves the real ones out and no KVM is needed.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>

#include "../test.h"
#include "core/irq.h"

#define FAKE_GSIS 256u

struct irq {
        bool taken[FAKE_GSIS];
        unsigned line[ARCH_LINES], edges[ARCH_LINES];
        struct {
                uint64_t address;
                uint32_t data;
                int fd; /* attached, or -1 */
        } msi[FAKE_GSIS];
        unsigned gsis_max; /* how many there are; 0: all */
        int route_error;   /* what irq_msi_route() answers */
};

int irq_new(int vm_fd, struct irq **ret) {
        struct irq *irq = calloc(1, sizeof(*irq));

        CHECK(irq);
        for (unsigned i = 0; i < FAKE_GSIS; i++)
                irq->msi[i].fd = -1;
        *ret = irq;
        return 0;
}

struct irq *irq_free(struct irq *irq) {
        free(irq);
        return NULL;
}

void irq_set_line(struct irq *irq, unsigned pin, unsigned level) {
        CHECK(pin < ARCH_LINES);
        irq->edges[pin] += level && !irq->line[pin];
        irq->line[pin] = level;
}

int irq_msi_new(struct irq *irq, unsigned *ret_gsi) {
        unsigned gsi = 0;

        while (gsi < FAKE_GSIS && irq->taken[gsi])
                gsi++;
        if (gsi == FAKE_GSIS || (irq->gsis_max && gsi == irq->gsis_max))
                return -ENOSPC;
        irq->taken[gsi] = true;
        *ret_gsi = gsi;
        return 0;
}

void irq_msi_free(struct irq *irq, const unsigned *gsis, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                CHECK(irq->taken[gsis[i]]);
                CHECK_EQ(irq->msi[gsis[i]].fd, -1);
                irq->taken[gsis[i]] = false;
        }
}

int irq_msi_route(struct irq *irq, unsigned gsi, uint64_t address, uint32_t data) {
        if (irq->route_error < 0)
                return irq->route_error;
        irq->msi[gsi].address = address;
        irq->msi[gsi].data = data;
        return 0;
}

int irq_msi_attach(struct irq *irq, unsigned gsi, int fd) {
        CHECK_EQ(irq->msi[gsi].fd, -1);
        irq->msi[gsi].fd = fd;
        return 0;
}

int irq_msi_detach(struct irq *irq, unsigned gsi, int fd) {
        CHECK_EQ(irq->msi[gsi].fd, fd);
        irq->msi[gsi].fd = -1;
        return 0;
}
