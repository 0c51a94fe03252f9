/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupt routes on the real KVM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../test.h"
#include "base/cleanup.h"
#include "core/irq.h"

#define MSI_ADDRESS 0xfee00000u

/* While the VM's descriptor is another file, KVM takes no table. A route that was refused is not one that is there. */
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

int main(void) {
        RUN(test_refused_route);
        return 0;
}
