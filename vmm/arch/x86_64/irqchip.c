/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM's interrupt controllers: two PICs and the IOAPIC, whose pins are the machine's lines. The local APICs belong to
 * the vCPUs.
 *
 * KVM has no reset for its interrupt controllers: what they are like when they are new is read then, and a reset writes
 * it back. Control thread.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "../../base/cleanup.h"
#include "../../core/part.h"
#include "../arch.h"

#define N_CHIPS 3u /* PIC master and slave, IOAPIC */

struct arch_irqchip {
        struct part part;
        int vm_fd;
        struct kvm_irqchip initial[N_CHIPS];
};

static int irqchip_reset(struct part *part, const char **ret_text) {
        struct arch_irqchip *irqchip = CONTAINER_OF(part, struct arch_irqchip, part);

        *ret_text = "KVM does not take the interrupt controllers' state back";
        for (unsigned i = 0; i < N_CHIPS; i++)
                if (ioctl(irqchip->vm_fd, KVM_SET_IRQCHIP, &irqchip->initial[i]) < 0)
                        return -errno;
        return 0;
}

_Static_assert(ARCH_LINES == KVM_IOAPIC_NUM_PINS, "a line is a pin of the IOAPIC");

static const struct part_ops part_ops = { .reset = irqchip_reset };

int arch_irqchip_new(struct parts *parts, int vm_fd, struct arch_irqchip **ret) {
        AUTOFREE struct arch_irqchip *irqchip = NULL;

        irqchip = calloc(1, sizeof(*irqchip));
        if (!irqchip)
                return -ENOMEM;
        irqchip->vm_fd = vm_fd;
        if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
                return -errno;
        for (unsigned i = 0; i < N_CHIPS; i++) {
                irqchip->initial[i].chip_id = i;
                if (ioctl(vm_fd, KVM_GET_IRQCHIP, &irqchip->initial[i]) < 0)
                        return -errno;
        }
        part_add(parts, &irqchip->part, PART_IRQCHIP, &part_ops);
        *ret = TAKE(irqchip);
        return 0;
}

struct arch_irqchip *arch_irqchip_free(struct arch_irqchip *irqchip) {
        if (irqchip)
                part_remove(&irqchip->part);
        free(irqchip);
        return NULL;
}

void arch_line_route(unsigned line, struct kvm_irq_routing_entry *ret) {
        *ret = (struct kvm_irq_routing_entry) {
                .gsi = line,
                .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = line },
        };
}
