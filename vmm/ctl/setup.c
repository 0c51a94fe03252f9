/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembling a VM from requests. Each is complete in itself: whatever it names is examined at once, so that the error
 * names the right one.
 *
 * A descriptor is taken from the message only once its request has succeeded; the dispatcher closes the rest.
 */
#include "setup.h"

#include <string.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"
#include "../board/fail.h"
#include "../board/version.h"
#include "../core/memory.h"
#include "../core/topology.h"

#define MEMORY_STEP (2ull << 20)

void setup_init(struct setup *setup, struct notes *notes) {
        memset(setup, 0, sizeof(*setup));
        vm_config_init(&setup->config);
        devices_init(&setup->devices, notes_wake, notes);
}

void setup_done(struct setup *setup) {
        devices_done(&setup->devices);
        vm_config_done(&setup->config);
}

static int check_topology(const struct ctl_machine *m, char *text) {
        uint64_t cpus = 1;
        const uint32_t parts[] = { m->sockets, m->dies, m->cores, m->threads };

        if (m->vcpus < 1 || m->vcpus > CTL_VCPUS_MAX)
                return fail(text, -EINVAL, "%u vCPUs: must be 1 to %u", m->vcpus, CTL_VCPUS_MAX);
        for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
                if (parts[i] < 1 || parts[i] > TOPOLOGY_PART_MAX)
                        return fail(text, -EINVAL, "CPU topology %u.%u.%u.%u: each part must be 1 to %u", m->sockets,
                                    m->dies, m->cores, m->threads, TOPOLOGY_PART_MAX);
                cpus *= parts[i];
        }
        if (cpus < m->vcpus)
                return fail(text, -EINVAL, "CPU topology has room for %llu of %u vCPUs", (unsigned long long) cpus,
                            m->vcpus);
        return 0;
}

/* NOLINTNEXTLINE(misc-redundant-expression): one number in two headers */
_Static_assert(GUEST_MEM_MIN == CTL_MEMORY_MIN, "what the protocol allows is what can be mapped");

static int check_memory(const struct ctl_machine *m, char *text) {
        bool huge = m->flags & CTL_MACHINE_HUGETLB;

        if (m->memory_bytes < GUEST_MEM_MIN || m->memory_bytes % MEMORY_STEP)
                return fail(text, -EINVAL, "%llu bytes of memory: must be a multiple of 2 MiB, and at least 64 MiB",
                            (unsigned long long) m->memory_bytes);
        if (huge != (m->hugepage_size != 0))
                return fail(text, -EINVAL, "huge pages need a size, and a size needs huge pages");
        if (huge && (m->hugepage_size & (m->hugepage_size - 1) || m->memory_bytes % m->hugepage_size))
                return fail(text, -EINVAL, "memory is not a multiple of the huge page size, %llu bytes",
                            (unsigned long long) m->hugepage_size);
        return 0;
}

static unsigned memory_flags(uint32_t flags) {
        return (flags & CTL_MACHINE_LOCKED ? GUEST_MEM_LOCKED : 0) |
               (flags & CTL_MACHINE_SHARED ? GUEST_MEM_SHARED : 0) |
               (flags & CTL_MACHINE_HUGETLB ? GUEST_MEM_HUGETLB : 0);
}

static int set_machine(struct setup *setup, struct ctl_message *message, char *text) {
        const struct ctl_machine *m = (const struct ctl_machine *) message->data;
        struct vm_config *c = &setup->config;
        int r;

        if (setup->has_machine)
                return fail(text, -EBUSY, "the machine is already set");
        r = check_topology(m, text);
        if (r == 0)
                r = check_memory(m, text);
        if (r < 0)
                return r;
        c->version = machine_version_find(m->version);
        c->memory = m->memory_bytes;
        c->memory_flags = memory_flags(m->flags);
        c->hugepage_size = m->hugepage_size;
        c->vcpus = m->vcpus;
        c->sockets = m->sockets;
        c->dies = m->dies;
        c->cores = m->cores;
        c->threads = m->threads;
        c->on_poweroff = m->on_poweroff;
        c->on_reboot = m->on_reboot;
        c->on_crash = m->on_crash;
        c->rtc_offset = m->flags & CTL_MACHINE_UTC_LOCALTIME ? m->rtc_offset : 0;
        c->kvm_fd = take_fd(&message->fds[0]);
        setup->has_machine = true;
        return 0;
}

_Static_assert(CPU_FEATURES_MAX == CTL_CPU_FEATURES_MAX && (int) CPU_FORBID == (int) CTL_CPU_FORBID &&
                       (int) CPUID_EDX == (int) CTL_CPUID_EDX,
               "a feature is what the protocol says");

static void copy_features(const struct ctl_cpu *m, struct cpu_features *ret) {
        ret->n = m->n;
        for (unsigned i = 0; i < m->n; i++) {
                const struct ctl_cpu_feature *f = &m->feature[i];

                ret->feature[i] = (struct cpu_feature) { f->function, f->index, f->reg, f->bit, f->policy };
        }
}

static void free_cpu(struct arch_cpu **cpu) {
        arch_cpu_free(*cpu);
}

/* Refused here rather than at START, where the message could not name the feature. */
static int set_cpu(struct setup *setup, const struct ctl_message *message, char *text) {
        const struct ctl_cpu *m = (const struct ctl_cpu *) message->data;
        struct vm_config *c = &setup->config;
        const struct topology topology = { c->vcpus, c->sockets, c->dies, c->cores, c->threads };
        CLEANUP(free_cpu) struct arch_cpu *cpu = NULL;
        const struct cpu_feature *conflict;
        const char *name;
        int r;

        if (!setup->has_machine)
                return fail(text, -EINVAL, "set the machine before its CPU");
        copy_features(m, &c->cpu_features);
        r = arch_cpu_new(c->kvm_fd, c->version, &topology, &cpu);
        if (r < 0)
                return fail(text, r, "CPU 'host': %s", strerror(-r));
        conflict = arch_cpu_conflict(cpu, &c->cpu_features);
        if (!conflict)
                return 0;
        name = m->feature[conflict - c->cpu_features.feature].name;
        if (conflict->policy == CPU_FORBID)
                return fail(text, -EOPNOTSUPP, "CPU feature '%s' is forbidden, and the host has it", name);
        return fail(text, -EOPNOTSUPP, "CPU feature '%s' is required, and the host's KVM does not have it", name);
}

static int set_fd(int *slot, struct ctl_message *message, const char *what, char *text) {
        if (*slot >= 0)
                return fail(text, -EBUSY, "the %s is already set", what);
        *slot = take_fd(&message->fds[0]);
        return 0;
}

/* The second descriptor gets a copy of the guest's output. */
static int set_serial(struct setup *setup, struct ctl_message *message, char *text) {
        int r = set_fd(&setup->config.serial_fd, message, "serial port", text);

        if (r == 0 && message->n_fds > 1)
                setup->config.serial_log_fd = take_fd(&message->fds[1]);
        return r;
}

static int set_cmdline(struct setup *setup, const struct ctl_message *message) {
        const struct ctl_cmdline *m = (const struct ctl_cmdline *) message->data;
        memcpy(setup->config.cmdline, m->text, sizeof(setup->config.cmdline));
        return 0;
}

int setup_request(struct setup *setup, struct ctl_message *message, char text[static CTL_TEXT_MAX]) {
        switch (message->header.type) {
        case CTL_SET_MACHINE:
                return set_machine(setup, message, text);
        case CTL_SET_KERNEL:
                return set_fd(&setup->config.kernel_fd, message, "kernel", text);
        case CTL_SET_INITRD:
                return set_fd(&setup->config.initrd_fd, message, "initrd", text);
        case CTL_SET_SERIAL:
                return set_serial(setup, message, text);
        case CTL_SET_CPU:
                return set_cpu(setup, message, text);
        case CTL_SET_CMDLINE:
                return set_cmdline(setup, message);
        default:
                return devices_add(&setup->devices, &message->header, message->fds, message->n_fds, text);
        }
}

int setup_start(struct setup *setup, const struct vm_callbacks *callbacks, struct loop *control, bool paused,
                struct vm **ret, char text[static CTL_TEXT_MAX]) {
        const char *why = NULL;
        int r;

        if (!setup->has_machine || setup->config.kernel_fd < 0)
                return fail(text, -EINVAL, "no %s has been set", setup->has_machine ? "kernel" : "machine");
        if (setup->is_spent)
                return fail(text, -EINVAL, "an earlier START failed");
        setup->is_spent = true;

        r = vm_new(&setup->config, callbacks, control, ret, &why);
        if (r < 0)
                return fail(text, r, "%s", why ?: strerror(-r));
        r = devices_join(&setup->devices, *ret, text);
        if (r < 0)
                return r;
        r = vm_start(*ret, paused, &why);
        return r < 0 ? fail(text, r, "%s", why ?: strerror(-r)) : 0;
}
