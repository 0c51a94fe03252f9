/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The processor's side of core/vcpus.c: what processor a vCPU is, and the exits that only x86 has, port I/O and the
 * triple fault.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "../../base/cleanup.h"
#include "../../core/bus.h"
#include "../arch.h"
#include "apic_id.h"
#include "cpuid.h"
#include "vcpu_state.h"

struct arch_cpu {
        const struct machine_version *version;
        struct topology topology;
        struct kvm_cpuid2 *cpuid;
};

static void free_p(struct arch_cpu **cpu) {
        arch_cpu_free(*cpu);
}

int arch_cpu_new(int kvm_fd, const struct machine_version *version, const struct topology *topology,
                 struct arch_cpu **ret) {
        CLEANUP(free_p) struct arch_cpu *cpu = calloc(1, sizeof(*cpu));
        int r;

        if (!cpu)
                return -ENOMEM;
        cpu->version = version;
        cpu->topology = *topology;
        r = cpuid_new(kvm_fd, &cpu->cpuid);
        if (r < 0)
                return r;
        *ret = TAKE(cpu);
        return 0;
}

struct arch_cpu *arch_cpu_free(struct arch_cpu *cpu) {
        if (cpu)
                free(cpu->cpuid);
        free(cpu);
        return NULL;
}

const struct cpu_feature *arch_cpu_conflict(struct arch_cpu *cpu, const struct cpu_features *features) {
        cpuid_adapt(cpu->cpuid, cpu->version, &cpu->topology, 0);
        return cpuid_find_conflict(cpu->cpuid, features);
}

unsigned arch_vcpu_id(const struct topology *topology, unsigned index) {
        return topology_apic_id(topology, index);
}

int arch_vcpu_init(struct arch_cpu *cpu, const struct cpu_features *features, int kvm_fd, int vcpu_fd, unsigned index,
                   struct vcpu_state **ret) {
        static const struct cpu_features none;
        int r;

        cpuid_adapt(cpu->cpuid, cpu->version, &cpu->topology, index);
        cpuid_apply(cpu->cpuid, cpu->version, features ?: &none);
        if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpu->cpuid) < 0)
                return -errno;
        r = vcpu_state_init(vcpu_fd);
        if (r < 0)
                return r;
        return vcpu_state_save(kvm_fd, vcpu_fd, ret);
}

static void serve_io(struct kvm_run *run, const struct bus *pio) {
        uint8_t *data = (uint8_t *) run + run->io.data_offset;
        unsigned size = run->io.size, count = run->io.count;

        for (unsigned i = 0; i < count; i++, data += size) {
                if (run->io.direction == KVM_EXIT_IO_OUT)
                        bus_write(pio, run->io.port, data, size);
                else
                        bus_read(pio, run->io.port, data, size);
        }
}

enum arch_exit arch_vcpu_exit(struct kvm_run *run, const struct bus *pio) {
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
                serve_io(run, pio);
                return ARCH_EXIT_SERVED;
        case KVM_EXIT_IRQ_WINDOW_OPEN:
                return ARCH_EXIT_SERVED;
        case KVM_EXIT_SHUTDOWN:
                return ARCH_EXIT_RESET;
        default:
                return ARCH_EXIT_UNKNOWN;
        }
}

bool arch_vcpu_exit_is_access(const struct kvm_run *run) {
        return run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO;
}

/* Tells a guest with kvm-clock that it was stopped, which avoids soft lockup reports. */
void arch_vcpu_resumed(int vcpu_fd) {
        (void) ioctl(vcpu_fd, KVM_KVMCLOCK_CTRL, 0);
}

int arch_vcpu_nmi(int vcpu_fd) {
        return ioctl(vcpu_fd, KVM_NMI, 0) < 0 ? -errno : 0;
}
