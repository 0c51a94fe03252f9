/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this architecture's code calls (base/seccomp.c). */
#include <linux/audit.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "../arch.h"

const uint32_t arch_audit = AUDIT_ARCH_X86_64;

const struct arch_ioctl arch_ioctls[] = {
        { KVM_GET_SUPPORTED_CPUID, "the host's KVM" },
        { KVM_GET_MSR_INDEX_LIST, "the host's KVM" },
        { KVM_ENABLE_CAP, "building the machine: no PMU" },
        { KVM_SET_IDENTITY_MAP_ADDR, "building the machine" },
        { KVM_SET_TSS_ADDR, "building the machine" },
        { KVM_CREATE_IRQCHIP, "building the machine" },
        { KVM_SET_CPUID2, "building the machine" },
        { KVM_KVMCLOCK_CTRL, "resume: time was taken from the guest" },
        { KVM_NMI, "virsh inject-nmi" },
        { KVM_GET_IRQCHIP, "state after power on, for resets" },
        { KVM_SET_IRQCHIP, "reset" },
        { KVM_GET_MSRS, "state after power on" },
        { KVM_SET_MSRS, "reset" },
        { KVM_GET_REGS, "state after power on" },
        { KVM_SET_REGS, "reset" },
        { KVM_GET_SREGS, "state after power on" },
        { KVM_SET_SREGS, "reset" },
        { KVM_GET_DEBUGREGS, "state after power on" },
        { KVM_SET_DEBUGREGS, "reset" },
        { KVM_GET_VCPU_EVENTS, "state after power on" },
        { KVM_SET_VCPU_EVENTS, "reset" },
        { KVM_GET_LAPIC, "state after power on" },
        { KVM_SET_LAPIC, "reset" },
        { KVM_GET_MP_STATE, "state after power on" },
        { KVM_SET_MP_STATE, "reset" },
        { KVM_GET_XSAVE, "state after power on" },
        { KVM_SET_XSAVE, "reset" },
        { KVM_GET_XCRS, "state after power on" },
        { KVM_SET_XCRS, "reset" },
        {},
};
