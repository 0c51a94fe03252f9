/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupt routes on the real KVM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../test.h"
#include "base/cleanup.h"
#include "core/irq.h"

#define MSI_ADDRESS 0xfee00000u

/* While the VM's descriptor is another file, KVM takes no table. A refused route does not exist. */
static void test_refused_route(void) {
        AUTOCLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        AUTOCLOSE int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0), other = dup(vm);
        unsigned first, second;
        struct irq *irq;

        if (kvm < 0)
                TEST_SKIP("there is no /dev/kvm");
        CHECK_EQ(ioctl(vm, KVM_CREATE_IRQCHIP, 0), 0);
        CHECK_EQ(irq_new(vm, &irq), 0);
        CHECK_EQ(irq_msi_new(irq, &first), 0);
        CHECK_EQ(irq_msi_new(irq, &second), 0);
        CHECK_EQ(irq_msi_route(irq, first, MSI_ADDRESS, 0x41), 0);
        CHECK(dup2(null, vm) == vm);
        for (unsigned i = 0; i < 3; i++) {
                CHECK(irq_msi_route(irq, first, MSI_ADDRESS, 0x42) < 0);
                CHECK(irq_msi_route(irq, second, MSI_ADDRESS, 0x43) < 0);
        }
        CHECK_EQ(irq_msi_route(irq, first, MSI_ADDRESS, 0x41), 0); /* still there: nothing to do */
        CHECK(dup2(other, vm) == vm);
        CHECK_EQ(irq_msi_route(irq, first, MSI_ADDRESS, 0x42), 0);
        CHECK_EQ(irq_msi_route(irq, second, MSI_ADDRESS, 0x43), 0);
        CHECK(!irq_free(irq));
}

/* A GSI comes back with its route: the next owner finds nothing of the previous one. */
static void test_gsis_come_back(void) {
        AUTOCLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        AUTOCLOSE int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0), fd = eventfd(0, EFD_CLOEXEC);
        unsigned gsis[300], n = 0, again;
        struct irq *irq;

        CHECK_EQ(ioctl(vm, KVM_CREATE_IRQCHIP, 0), 0);
        CHECK_EQ(irq_new(vm, &irq), 0);
        while (irq_msi_new(irq, &gsis[n]) == 0)
                CHECK(++n < ARRAY_SIZE(gsis));
        CHECK_EQ(irq_msi_new(irq, &again), -ENOSPC);
        for (unsigned i = 0; i < n; i++)
                CHECK_EQ(irq_msi_route(irq, gsis[i], MSI_ADDRESS, 0x40 + i), 0);
        for (unsigned i = 0; i < 300; i++) {
                unsigned which = i * 7 % n;

                CHECK_EQ(irq_msi_attach(irq, gsis[which], fd), 0);
                CHECK_EQ(irq_msi_detach(irq, gsis[which], fd), 0);
                irq_msi_free(irq, &gsis[which], 1);
                CHECK_EQ(irq_msi_new(irq, &again), 0);
                CHECK_EQ(again, gsis[which]);
                CHECK_EQ(irq_msi_new(irq, &again), -ENOSPC);
                CHECK_EQ(irq_msi_route(irq, gsis[which], MSI_ADDRESS, i), 0);
        }
        irq_msi_free(irq, gsis, n);
        for (unsigned i = 0; i < n; i++) {
                CHECK_EQ(irq_msi_new(irq, &again), 0);
                CHECK_EQ(again, gsis[i]); /* the lowest first */
        }
        CHECK(!irq_free(irq));
}

/* A device in the place of one that is gone programs its vectors as that one did, and KVM is told nevertheless. */
static void test_same_route_again(void) {
        AUTOCLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        AUTOCLOSE int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0), other = dup(vm);
        unsigned gsi;
        struct irq *irq;

        CHECK_EQ(ioctl(vm, KVM_CREATE_IRQCHIP, 0), 0);
        CHECK_EQ(irq_new(vm, &irq), 0);
        CHECK_EQ(irq_msi_new(irq, &gsi), 0);
        CHECK_EQ(irq_msi_route(irq, gsi, MSI_ADDRESS, 0x41), 0);
        irq_msi_free(irq, &gsi, 1);
        CHECK_EQ(irq_msi_new(irq, &gsi), 0);
        CHECK(dup2(null, vm) == vm);
        CHECK(irq_msi_route(irq, gsi, MSI_ADDRESS, 0x41) < 0); /* as only KVM could say */
        CHECK(dup2(other, vm) == vm);
        CHECK_EQ(irq_msi_route(irq, gsi, MSI_ADDRESS, 0x41), 0);
        CHECK(!irq_free(irq));
}

int main(void) {
        RUN(test_refused_route);
        RUN(test_gsis_come_back);
        RUN(test_same_route_again);
        return 0;
}
