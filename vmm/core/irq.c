/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GSI routing. The first ARCH_LINES GSIs are the interrupt controller's lines one to one, each one after them is one
 * MSI-X vector of some device.
 *
 * A GSI is taken with its vector and comes back with it; the lowest free one goes first. Its route exists from the
 * first time that the guest programs the vector until then.
 *
 * KVM takes the table as a whole, so it is kept here under a lock and handed over after each change of an MSI.
 * The guest causes such changes by programming MSI-X vectors. A vector's eventfd is attached only while the
 * guest has it unmasked: signals raised meanwhile stay in the eventfd's counter (which is the pending bit), and
 * KVM delivers them when it is attached.
 */
#include "irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"

/*
 * The lines, and a vector for each queue and one for the configuration of MACHINE_DEVICES_MAX devices: 37 for a console
 * with all its ports, 3 for an interface, 2 for the others; below 150. KVM's own limit is 4096.
 */
#define IRQ_ROUTES_MAX 256u

struct irq {
        int vm_fd;
        pthread_mutex_t lock; /* guards the rest */
        bool taken[IRQ_ROUTES_MAX];
        struct kvm_irq_routing *table;
};

static int commit(struct irq *irq) {
        if (ioctl(irq->vm_fd, KVM_SET_GSI_ROUTING, irq->table) < 0)
                return -errno;
        return 0;
}

static void free_p(struct irq **irq) {
        irq_free(*irq);
}

int irq_new(int vm_fd, struct irq **ret) {
        CLEANUP(free_p) struct irq *irq = NULL;
        int r;

        irq = calloc(1, sizeof(*irq));
        if (!irq)
                return -ENOMEM;
        irq->vm_fd = vm_fd;
        (void) pthread_mutex_init(&irq->lock, NULL);
        irq->table = calloc(1, sizeof(*irq->table) + IRQ_ROUTES_MAX * sizeof(irq->table->entries[0]));
        if (!irq->table)
                return -ENOMEM;
        for (unsigned line = 0; line < ARCH_LINES; line++) {
                arch_line_route(line, &irq->table->entries[irq->table->nr++]);
                irq->taken[line] = true;
        }
        r = commit(irq);
        if (r < 0)
                return r;
        *ret = TAKE(irq);
        return 0;
}

struct irq *irq_free(struct irq *irq) {
        if (!irq)
                return NULL;
        (void) pthread_mutex_destroy(&irq->lock);
        free(irq->table);
        free(irq);
        return NULL;
}

void irq_set_line(struct irq *irq, unsigned line, unsigned level) {
        struct kvm_irq_level state = { .irq = line, .level = level };

        (void) ioctl(irq->vm_fd, KVM_IRQ_LINE, &state);
}

int irq_msi_new(struct irq *irq, unsigned *ret_gsi) {
        int r = -ENOSPC;

        (void) pthread_mutex_lock(&irq->lock);
        for (unsigned gsi = ARCH_LINES; gsi < IRQ_ROUTES_MAX && r < 0; gsi++)
                if (!irq->taken[gsi]) {
                        irq->taken[gsi] = true;
                        *ret_gsi = gsi;
                        r = 0;
                }
        (void) pthread_mutex_unlock(&irq->lock);
        return r;
}

/* Under the lock. False: there was no route. */
static bool remove_route(struct irq *irq, unsigned gsi) {
        struct kvm_irq_routing *table = irq->table;

        for (unsigned i = ARCH_LINES; i < table->nr; i++)
                if (table->entries[i].gsi == gsi) {
                        table->entries[i] = table->entries[--table->nr];
                        table->entries[table->nr] = (struct kvm_irq_routing_entry) { 0 }; /* none equals a new one */
                        return true;
                }
        return false;
}

void irq_msi_free(struct irq *irq, const unsigned *gsis, unsigned n) {
        bool changed = false;

        (void) pthread_mutex_lock(&irq->lock);
        for (unsigned i = 0; i < n; i++) {
                if (remove_route(irq, gsis[i]))
                        changed = true;
                irq->taken[gsis[i]] = false;
        }
        /* A table that KVM refused stays what it was there: a route too many, to which nothing is attached. */
        if (changed)
                (void) commit(irq);
        (void) pthread_mutex_unlock(&irq->lock);
}

/* The table's entry for an MSI, appended when it has none: there is room for all GSIs. Under the lock. */
static struct kvm_irq_routing_entry *msi_entry(struct irq *irq, unsigned gsi) {
        struct kvm_irq_routing *table = irq->table;

        for (unsigned i = ARCH_LINES; i < table->nr; i++)
                if (table->entries[i].gsi == gsi)
                        return &table->entries[i];
        return &table->entries[table->nr++];
}

int irq_msi_route(struct irq *irq, unsigned gsi, uint64_t address, uint32_t data) {
        struct kvm_irq_routing_entry entry = {
                .gsi = gsi,
                .type = KVM_IRQ_ROUTING_MSI,
                .u.msi = { .address_lo = (uint32_t) address, .address_hi = (uint32_t) (address >> 32), .data = data },
        };
        struct kvm_irq_routing_entry *slot, old;
        unsigned nr;
        int r = 0;

        (void) pthread_mutex_lock(&irq->lock);
        nr = irq->table->nr;
        slot = msi_entry(irq, gsi);
        old = *slot;
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): it has no padding, and other differences do no harm */
        if (memcmp(slot, &entry, sizeof(entry)) != 0) {
                *slot = entry;
                r = commit(irq);
        }
        /* A route that KVM refused must neither block other vectors' changes nor be taken for active. */
        if (r < 0) {
                *slot = old;
                irq->table->nr = nr;
        }
        (void) pthread_mutex_unlock(&irq->lock);
        return r;
}

static int set_irqfd(const struct irq *irq, unsigned gsi, int fd, uint32_t flags) {
        struct kvm_irqfd irqfd = { .fd = (uint32_t) fd, .gsi = gsi, .flags = flags };

        if (ioctl(irq->vm_fd, KVM_IRQFD, &irqfd) < 0)
                return -errno;
        return 0;
}

int irq_msi_attach(struct irq *irq, unsigned gsi, int fd) {
        return set_irqfd(irq, gsi, fd, 0);
}

int irq_msi_detach(struct irq *irq, unsigned gsi, int fd) {
        return set_irqfd(irq, gsi, fd, KVM_IRQFD_FLAG_DEASSIGN);
}
