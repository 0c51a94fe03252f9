/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assembling a VM from requests. Each request is complete in itself: a device is
 * created, with its descriptors looked at, when it is added, so that the error names
 * the right one. Console ports are collected, because all of them share one
 * device, which is made at START.
 *
 * A descriptor leaves the message only when what it was for has succeeded; the
 * dispatcher closes the others.
 */
#include "setup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/cleanup.h"
#include "../core/cpuid.h"
#include "../core/memory.h"
#include "../core/topology.h"
#include "../core/virtio.h"
#include "../dev/blk.h"
#include "../dev/net.h"
#include "../dev/rng.h"

#define MEMORY_STEP (2ull << 20)

static int fail(char *text, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *text, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, CTL_TEXT_MAX, format, ap);
        va_end(ap);
        return error;
}

/* With `why`, or with the system's words for the error. */
static int fail_errno(char *text, int error, const char *kind, const char *name, const char *why) {
        return fail(text, error, "%s '%s': %s", kind, name, why ?: strerror(-error));
}

void setup_init(struct setup *setup, struct notes *notes) {
        memset(setup, 0, sizeof(*setup));
        vm_config_init(&setup->config);
        setup->notes = notes;
        setup->console.port_open = notes_port_open;
        setup->console.arg = notes;
        for (unsigned i = 0; i < CTL_PORTS_MAX; i++)
                setup->console.ports[i].fd = setup->console.ports[i].log_fd = -EBADF;
}

void setup_done(struct setup *setup) {
        for (unsigned i = setup->n_joined; i < setup->n_devices; i++)
                setup->devices[i]->ops->free(setup->devices[i]);
        setup->n_devices = setup->n_joined = 0;
        for (unsigned i = 0; i < CTL_PORTS_MAX; i++) {
                close_fd(&setup->console.ports[i].fd);
                close_fd(&setup->console.ports[i].log_fd);
        }
        vm_config_done(&setup->config);
}

static int check_topology(const struct ctl_machine *m, char *text) {
        uint64_t cpus = 1;
        const uint32_t parts[] = { m->sockets, m->dies, m->cores, m->threads };

        if (m->vcpus < 1 || m->vcpus > CTL_VCPUS_MAX)
                return fail(text, -EINVAL, "%u vCPUs: 1 to %u are possible", m->vcpus, CTL_VCPUS_MAX);
        for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
                if (parts[i] < 1 || parts[i] > TOPOLOGY_PART_MAX)
                        return fail(text, -EINVAL, "CPU topology %u.%u.%u.%u has a part outside 1 to %u", m->sockets,
                                    m->dies, m->cores, m->threads, TOPOLOGY_PART_MAX);
                cpus *= parts[i];
        }
        if (cpus < m->vcpus)
                return fail(text, -EINVAL, "CPU topology has room for %llu of %u vCPUs", (unsigned long long) cpus,
                            m->vcpus);
        return 0;
}

static int check_memory(const struct ctl_machine *m, char *text) {
        bool huge = m->flags & CTL_MACHINE_HUGETLB;

        if (m->memory_bytes < GUEST_MEM_MIN || m->memory_bytes % MEMORY_STEP)
                return fail(text, -EINVAL, "%llu bytes of memory: has to be a multiple of 2 MiB, and 64 MiB at least",
                            (unsigned long long) m->memory_bytes);
        if (huge != (m->hugepage_size != 0))
                return fail(text, -EINVAL, "huge pages need a size, and a size needs huge pages");
        if (huge && (m->hugepage_size & (m->hugepage_size - 1) || m->memory_bytes % m->hugepage_size))
                return fail(text, -EINVAL, "memory is no multiple of huge pages of %llu bytes",
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
                return fail(text, -EBUSY, "the machine has been set already");
        r = check_topology(m, text);
        if (r == 0)
                r = check_memory(m, text);
        if (r < 0)
                return r;
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

/* Refused here and not at START, where the sentence could not name the feature. */
static int set_cpu(struct setup *setup, const struct ctl_message *message, char *text) {
        const struct ctl_cpu *m = (const struct ctl_cpu *) message->data;
        struct vm_config *c = &setup->config;
        const struct topology topology = { c->vcpus, c->sockets, c->dies, c->cores, c->threads };
        AUTOFREE struct kvm_cpuid2 *cpuid = NULL;
        const struct cpu_feature *conflict;
        const char *name;
        int r;

        if (!setup->has_machine)
                return fail(text, -EINVAL, "the machine has to be set before its CPU");
        copy_features(m, &c->cpu_features);
        r = cpuid_new(c->kvm_fd, &cpuid);
        if (r < 0)
                return fail_errno(text, r, "CPU", "host", NULL);
        cpuid_adapt(cpuid, &topology, 0);
        conflict = cpuid_find_conflict(cpuid, &c->cpu_features);
        if (!conflict)
                return 0;
        name = m->feature[conflict - c->cpu_features.feature].name;
        if (conflict->policy == CPU_FORBID)
                return fail(text, -EOPNOTSUPP, "CPU feature '%s' is forbidden, and the host has it", name);
        return fail(text, -EOPNOTSUPP, "CPU feature '%s' is required, and the host's KVM does not have it", name);
}

static int set_fd(int *slot, struct ctl_message *message, const char *what, char *text) {
        if (*slot >= 0)
                return fail(text, -EBUSY, "the %s has been set already", what);
        *slot = take_fd(&message->fds[0]);
        return 0;
}

/* The copy of the guest's output is the second descriptor. */
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

/* The per-type limits add up to more than the number of slots. The first port takes the slot of the ports' device. */
static int check_slots(const struct setup *setup, const char *kind, const char *name, char *text) {
        unsigned n = setup->n_devices + (setup->console.n_ports > 0);

        if (n < CTL_DEVICES_MAX)
                return 0;
        return fail(text, -E2BIG, "%s '%s': there are %u PCI devices already", kind, name, n);
}

static void add_device(struct setup *setup, struct virtio_device *dev) {
        setup->devices[setup->n_devices++] = dev;
}

static int add_disk(struct setup *setup, struct ctl_message *message, char *text) {
        const struct ctl_disk *m = (const struct ctl_disk *) message->data;
        unsigned i = setup->n_disks;
        struct blk_config config = {
                .name = m->name,
                .serial = m->serial,
                .fd = message->fds[0],
                .readonly = m->flags & CTL_DISK_READONLY,
                .discard = m->flags & CTL_DISK_DISCARD,
                .cache = m->cache,
                .error_policy = m->error_policy,
                .rerror_policy = m->rerror_policy,
                .io_error = notes_io_error,
        };
        int r;

        if (i == CTL_DISKS_MAX)
                return fail(text, -E2BIG, "disk '%s': there are %u disks already", m->name, i);
        r = check_slots(setup, "disk", m->name, text);
        if (r < 0)
                return r;
        config.arg = &setup->notes->disk[i];
        r = blk_new(&config, &setup->disks[i]);
        if (r < 0)
                return fail_errno(text, r, "disk", m->name,
                                  r == -EINVAL    ? "is neither a regular file nor a block device"
                                  : r == -EBADF   ? "was not opened for the access that is wanted"
                                  : r == -ENODATA ? "is empty"
                                                  : NULL);
        (void) take_fd(&message->fds[0]);
        add_device(setup, setup->disks[setup->n_disks++]);
        return 0;
}

static int add_nic(struct setup *setup, struct ctl_message *message, char *text) {
        const struct ctl_nic *m = (const struct ctl_nic *) message->data;
        unsigned i = setup->n_nics;
        struct net_config config = {
                .name = m->name,
                .tap_fd = message->fds[0],
                .vhost_fd = message->n_fds > 1 ? message->fds[1] : -EBADF,
                .mtu = m->mtu,
                .link_up = !(m->flags & CTL_NIC_LINK_DOWN),
        };
        int r;

        if (i == CTL_NICS_MAX)
                return fail(text, -E2BIG, "interface '%s': there are %u interfaces already", m->name, i);
        r = check_slots(setup, "interface", m->name, text);
        if (r < 0)
                return r;
        memcpy(config.mac, m->mac, sizeof(config.mac));
        r = net_new(&config, &setup->nics[i]);
        if (r < 0)
                return fail_errno(text, r, "interface", m->name, NULL);
        for (unsigned k = 0; k < message->n_fds; k++)
                (void) take_fd(&message->fds[k]);
        add_device(setup, setup->nics[setup->n_nics++]);
        return 0;
}

static int add_port(struct setup *setup, struct ctl_message *message, char *text) {
        const struct ctl_port *m = (const struct ctl_port *) message->data;
        unsigned i = setup->console.n_ports;
        bool is_console = m->flags & CTL_PORT_CONSOLE;

        if (i == CTL_PORTS_MAX)
                return fail(text, -E2BIG, "port '%s': there are %u ports already", m->name, i);
        if (is_console == (m->name[0] != '\0'))
                return fail(text, -EINVAL, "port '%s': a channel has a name, a console has none", m->name);
        for (unsigned k = 0; k < i; k++)
                if (!is_console && strcmp(setup->port_names[k], m->name) == 0)
                        return fail(text, -EEXIST, "port '%s' exists already", m->name);
        if (i == 0 && check_slots(setup, "port", m->name, text) < 0)
                return -E2BIG;
        memcpy(setup->port_names[i], m->name, sizeof(setup->port_names[i]));
        setup->console.ports[i] = (struct console_port_config) {
                .name = setup->port_names[i],
                .is_console = is_console,
                .is_socket = m->flags & CTL_PORT_SOCKET,
                .fd = take_fd(&message->fds[0]),
                .log_fd = message->n_fds > 1 ? take_fd(&message->fds[1]) : -EBADF,
        };
        setup->console.n_ports++;
        return 0;
}

static int add_rng(struct setup *setup, struct ctl_message *message, char *text) {
        const struct ctl_rng *m = (const struct ctl_rng *) message->data;
        struct rng_config config = {
                .fd = message->fds[0],
                .rate_bytes = m->rate_bytes,
                .rate_period = m->rate_period,
        };
        int r;

        if (setup->rng)
                return fail(text, -EBUSY, "there is an entropy device already");
        r = check_slots(setup, "entropy device", "rng", text);
        if (r < 0)
                return r;
        r = rng_new(&config, &setup->rng);
        if (r < 0)
                return fail_errno(text, r, "entropy device", "rng", NULL);
        (void) take_fd(&message->fds[0]);
        add_device(setup, setup->rng);
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
        case CTL_ADD_DISK:
                return add_disk(setup, message, text);
        case CTL_ADD_NIC:
                return add_nic(setup, message, text);
        case CTL_ADD_PORT:
                return add_port(setup, message, text);
        case CTL_ADD_RNG:
                return add_rng(setup, message, text);
        default:
                return fail(text, -EOPNOTSUPP, "not a request of the set-up");
        }
}

static int make_console(struct setup *setup, char *text) {
        struct virtio_device *dev;
        int r;

        if (setup->console.n_ports == 0)
                return 0;
        setup->console.name = "console";
        r = console_new(&setup->console, &dev);
        if (r < 0)
                return fail_errno(text, r, "device", "console",
                                  r == -EINVAL ? "a port has a socket that does not listen" : NULL);
        for (unsigned i = 0; i < setup->console.n_ports; i++) {
                (void) take_fd(&setup->console.ports[i].fd);
                (void) take_fd(&setup->console.ports[i].log_fd);
        }
        add_device(setup, dev);
        return 0;
}

static int join_devices(struct setup *setup, struct vm *vm, char *text) {
        while (setup->n_joined < setup->n_devices) {
                struct virtio_device *dev = setup->devices[setup->n_joined];
                int r = vm_add_virtio(vm, dev);
                if (r < 0)
                        return fail_errno(text, r, "device", dev->name, NULL);
                setup->n_joined++;
        }
        return 0;
}

int setup_start(struct setup *setup, const struct vm_callbacks *callbacks, struct loop *control, bool paused,
                struct vm **ret, char text[static CTL_TEXT_MAX]) {
        const char *why = NULL;
        int r;

        if (!setup->has_machine || setup->config.kernel_fd < 0)
                return fail(text, -EINVAL, "no %s has been set", setup->has_machine ? "kernel" : "machine");
        if (setup->is_spent)
                return fail(text, -EINVAL, "an earlier START has failed");
        setup->is_spent = true;

        r = make_console(setup, text);
        if (r < 0)
                return r;
        r = vm_new(&setup->config, callbacks, control, ret, &why);
        if (r < 0)
                return fail(text, r, "%s", why ?: strerror(-r));
        r = join_devices(setup, *ret, text);
        if (r < 0)
                return r;
        r = vm_start(*ret, paused, &why);
        return r < 0 ? fail(text, r, "%s", why ?: strerror(-r)) : 0;
}
