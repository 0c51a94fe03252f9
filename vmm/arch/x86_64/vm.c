/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What KVM is told of a virtual machine before it has vCPUs, and what is checked before that.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "../../base/cleanup.h"
#include "../arch.h"
#include "apic_id.h"
#include "layout.h"

#define APIC_ID_MAX 254u

int arch_check_kvm(int kvm_fd, const char **ret_text) {
        static const int needed[] = { KVM_CAP_SET_TSS_ADDR, KVM_CAP_EXT_CPUID };

        *ret_text = "the host's KVM is too old: Linux 4.11 or later is needed";
        for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
                if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long) needed[i]) <= 0)
                        return -EOPNOTSUPP;
        return 0;
}

int arch_check_topology(const struct topology *topology, const char **ret_text) {
        *ret_text = "the CPU topology does not fit the ids of the vCPUs, which have 8 bits";
        for (unsigned i = 0; i < topology->vcpus; i++)
                if (topology_apic_id(topology, i) > APIC_ID_MAX)
                        return -EINVAL;
        return 0;
}

/*
 * CPUID reports no PMU, which is enough on Intel. AMD's first four counters have no CPUID bit: KVM has to
 * disable them, before vCPUs are created. If it cannot (before Linux 5.18), they stay.
 */
static void disable_pmu(int kvm_fd, int vm_fd) {
        struct kvm_enable_cap cap = { .cap = KVM_CAP_PMU_CAPABILITY, .args = { KVM_PMU_CAP_DISABLE } };
        int has = ioctl(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long) KVM_CAP_PMU_CAPABILITY);

        if (has > 0 && (has & KVM_PMU_CAP_DISABLE))
                (void) ioctl(vm_fd, KVM_ENABLE_CAP, &cap);
}

int arch_vm_init(int kvm_fd, int vm_fd, const char **ret_text) {
        uint64_t identity = LAYOUT_KVM_IDENTITY;

        *ret_text = "KVM cannot create a virtual machine";
        if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
            ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long) LAYOUT_KVM_TSS) < 0)
                return -errno;
        disable_pmu(kvm_fd, vm_fd);
        return 0;
}
