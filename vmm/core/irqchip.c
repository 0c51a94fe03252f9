/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KVM has no reset for its interrupt controllers: what they are like when they are new is read then, and a reset writes
 * it back. Control thread.
 */
#include "irqchip.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"

#define N_CHIPS 3u /* PIC master and slave, IOAPIC */

struct irqchip {
        struct part part;
        int vm_fd;
        struct kvm_irqchip initial[N_CHIPS];
};

static int irqchip_reset(struct part *part, const char **ret_text) {
        struct irqchip *irqchip = CONTAINER_OF(part, struct irqchip, part);

        *ret_text = "KVM does not take the interrupt controllers' state back";
        for (unsigned i = 0; i < N_CHIPS; i++)
                if (ioctl(irqchip->vm_fd, KVM_SET_IRQCHIP, &irqchip->initial[i]) < 0)
                        return -errno;
        return 0;
}

static const struct part_ops part_ops = { .reset = irqchip_reset };

int irqchip_new(struct parts *parts, int vm_fd, struct irqchip **ret) {
        AUTOFREE struct irqchip *irqchip = NULL;

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

struct irqchip *irqchip_free(struct irqchip *irqchip) {
        if (irqchip)
                part_remove(&irqchip->part);
        free(irqchip);
        return NULL;
}
