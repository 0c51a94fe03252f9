/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The board: a hardware-reduced ACPI machine without firmware.
 *
 *   of the architecture  vCPUs with their interrupt controllers, in KVM; serial port, clock and the like; how a kernel
 * is booted (arch/) power block, slots   which ACPI's tables point to (dev/power.c, dev/hotplug.c) PCI one bus: virtio
 * devices from slot 1 on, the panic device in the last
 *
 * Whatever has state is one of the machine's parts (core/part.h). A reset works in place and walks them: devices first
 * (on their own loops, until no request uses guest memory), then the interrupt chips and the vCPUs' registers, and last
 * the image: kernel and tables, loaded again from the same open files. The first boot is such a reset too, so this path
 * is always exercised.
 */
#include "machine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"
#include "../core/virtio.h"
#include "../core/virtio_pci.h"
#include "../dev/hotplug.h"
#include "../dev/power.h"
#include "../dev/pvpanic.h"

static int check_kvm(int kvm_fd, const char **ret_text) {
        static const int needed[] = { KVM_CAP_IRQCHIP, KVM_CAP_USER_MEMORY, KVM_CAP_MP_STATE,      KVM_CAP_IRQ_ROUTING,
                                      KVM_CAP_IRQFD,   KVM_CAP_IOEVENTFD,   KVM_CAP_IMMEDIATE_EXIT };

        *ret_text = "/dev/kvm is not the KVM interface that this program knows";
        if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
                return -EOPNOTSUPP;
        *ret_text = "the host's KVM is too old: Linux 4.11 or later is needed";
        for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
                if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long) needed[i]) <= 0)
                        return -EOPNOTSUPP;
        return arch_check_kvm(kvm_fd, ret_text);
}

static int check_topology(const struct topology *t, const char **ret_text) {
        *ret_text = "the number of vCPUs is not supported, or does not fit the CPU topology";
        if (t->vcpus == 0 || t->vcpus > CTL_VCPUS_MAX || t->sockets == 0 || t->dies == 0 || t->cores == 0 ||
            t->threads == 0)
                return -EINVAL;
        if (t->sockets > TOPOLOGY_PART_MAX || t->dies > TOPOLOGY_PART_MAX || t->cores > TOPOLOGY_PART_MAX ||
            t->threads > TOPOLOGY_PART_MAX || (uint64_t) t->sockets * t->dies * t->cores * t->threads < t->vcpus)
                return -EINVAL;
        return arch_check_topology(t, ret_text);
}

static int create_vm(struct machine *m, const char **ret_text) {
        int r;

        *ret_text = "KVM cannot create a virtual machine";
        do
                m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
        while (m->vm_fd < 0 && errno == EINTR);
        if (m->vm_fd < 0)
                return -errno;
        r = arch_vm_init(m->kvm_fd, m->vm_fd, ret_text);
        if (r < 0)
                return r;
        *ret_text = "KVM has no in-kernel interrupt controller";
        r = arch_irqchip_new(&m->parts, m->vm_fd, &m->irqchip);
        if (r < 0)
                return r;
        return irq_new(m->vm_fd, &m->irq);
}

static const char *memory_error(int error, unsigned flags) {
        if (error == -EINVAL)
                return "the memory size has to be a multiple of 2 MiB (or of the huge page size), 64 MiB or more";
        if (flags & GUEST_MEM_HUGETLB)
                return "the host does not have enough free huge pages of this size for the guest: see vm.nr_hugepages";
        return "the host cannot give the guest this much memory";
}

static int create_memory(struct machine *m, const struct vm_config *config, const char **ret_text) {
        int r;

        r = guest_mem_new(config->memory, config->memory_flags, config->hugepage_size, &m->mem);
        if (r < 0) {
                *ret_text = memory_error(r, config->memory_flags);
                return r;
        }
        *ret_text = "KVM does not take the guest's memory";
        for (unsigned i = 0; i < m->mem->n_regions; i++) {
                struct kvm_userspace_memory_region region = {
                        .slot = i,
                        .guest_phys_addr = m->mem->region[i].gpa,
                        .memory_size = m->mem->region[i].size,
                        .userspace_addr = (uint64_t) m->mem->region[i].host,
                };

                if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                        return -errno;
        }
        return 0;
}

static void on_power_off(void *arg) {
        struct machine *m = arg;
        m->ops->power_off(m->arg);
}

static void on_reset(void *arg) {
        struct machine *m = arg;
        m->ops->reset_request(m->arg);
}

static void on_panic(void *arg, bool goes_on) {
        struct machine *m = arg;

        if (!goes_on)
                m->ops->panicked(m->arg);
}

static void on_vcpu_failed(void *arg, unsigned index) {
        struct machine *m = arg;
        m->ops->vcpu_failed(m->arg);
}

/* A triple fault resets a PC without a reset register. */
static void on_vcpu_shut_down(void *arg, unsigned index) {
        on_reset(arg);
}

static void on_settled(void *arg) {
        struct machine *m = arg;
        m->ops->settled(m->arg);
}

static void on_eject(void *arg, uint32_t slots) {
        struct machine *m = arg;
        m->ops->eject(m->arg, slots);
}

static const struct power_ops power_ops = { .off = on_power_off, .reset = on_reset };

static int create_chips(struct machine *m, struct vm_config *config, const char **ret_text) {
        struct arch_chips_config chips = {
                .serial_fd = config->serial_fd,
                .serial_log_fd = config->serial_log_fd,
                .rtc_offset = config->rtc_offset,
        };
        int r = arch_chips_new(&m->parts, &m->pio, m->irq, m->power, m->pci, &chips, &m->chips, ret_text);

        config->serial_fd = chips.serial_fd;
        config->serial_log_fd = chips.serial_log_fd;
        return r;
}

static int create_devices(struct machine *m, struct vm_config *config, const char **ret_text) {
        int r;

        *ret_text = "cannot create the machine's devices";
        r = power_new(&m->parts, &m->pio, m->irq, &power_ops, m, &m->power);
        if (r < 0)
                return r;
        r = hotplug_new(&m->parts, &m->pio, m->power, on_eject, m, &m->hotplug);
        if (r < 0)
                return r;
        r = pci_host_new(&m->parts, m->version, &m->mmio, &m->pci);
        if (r < 0)
                return r;
        r = pvpanic_new(&m->parts, m->pci, on_panic, m, &m->pvpanic);
        if (r < 0)
                return r;
        return create_chips(m, config, ret_text);
}

static int create_vcpus(struct machine *m, const struct cpu_features *features, const char **ret_text) {
        struct vcpus_config config = {
                .parts = &m->parts,
                .kvm_fd = m->kvm_fd,
                .vm_fd = m->vm_fd,
                .version = m->version,
                .topology = m->topology,
                .features = features,
                .pio = &m->pio,
                .mmio = &m->mmio,
                .enter_thread = m->enter_thread,
                .failed = on_vcpu_failed,
                .shut_down = on_vcpu_shut_down,
                .parked = on_settled,
                .arg = m,
        };

        *ret_text = "KVM cannot create the vCPUs";
        return vcpus_new(&config, &m->vcpus);
}

static int image_reset(struct part *part, const char **ret_text) {
        struct machine *m = CONTAINER_OF(part, struct machine, image);
        struct arch_image image = {
                .version = m->version,
                .topology = &m->topology,
                .mem = m->mem,
                .kernel_fd = m->kernel_fd,
                .initrd_fd = m->initrd_fd,
                .cmdline = m->cmdline,
        };

        return arch_boot(&image, m->vcpus, ret_text);
}

static const struct part_ops image_ops = { .reset = image_reset };

static void take_config(struct machine *m, struct vm_config *config) {
        m->version = config->version;
        m->kvm_fd = take_fd(&config->kvm_fd);
        m->kernel_fd = take_fd(&config->kernel_fd);
        m->initrd_fd = take_fd(&config->initrd_fd);
        memcpy(m->cmdline, config->cmdline, sizeof(m->cmdline));
        m->cmdline[sizeof(m->cmdline) - 1] = 0;
        m->topology =
                (struct topology) { config->vcpus, config->sockets, config->dies, config->cores, config->threads };
}

static int build(struct machine *m, struct vm_config *config, const char **ret_text) {
        int r;

        r = check_kvm(m->kvm_fd, ret_text);
        if (r < 0)
                return r;
        r = check_topology(&m->topology, ret_text);
        if (r < 0)
                return r;
        r = create_vm(m, ret_text);
        if (r < 0)
                return r;
        r = create_memory(m, config, ret_text);
        if (r < 0)
                return r;
        r = create_devices(m, config, ret_text);
        if (r < 0)
                return r;
        r = create_vcpus(m, &config->cpu_features, ret_text);
        if (r < 0)
                return r;
        part_add(&m->parts, &m->image, PART_IMAGE, &image_ops);
        return 0;
}

static void free_p(struct machine **machine) {
        machine_free(*machine);
}

int machine_new(struct vm_config *config, const struct machine_ops *ops, void *arg, int (*enter_thread)(void *role),
                struct machine **ret, const char **ret_text) {
        CLEANUP(free_p) struct machine *m = NULL;
        int r;

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->ops = ops;
        m->arg = arg;
        m->parts = (struct parts) { .settled = on_settled, .arg = m };
        m->enter_thread = enter_thread;
        m->serial_role = (struct thread_role) { .kind = THREAD_SERIAL };
        m->vm_fd = -EBADF;
        take_config(m, config);
        r = build(m, config, ret_text);
        if (r < 0)
                return r;
        *ret = TAKE(m);
        return 0;
}

/* vCPUs end first, while the devices they may be waiting for still answer. */
struct machine *machine_free(struct machine *machine) {
        if (!machine)
                return NULL;
        vcpus_free(machine->vcpus);
        for (unsigned i = 0; i < machine->n_devices; i++)
                virtio_pci_free(machine->device[i]);
        arch_chips_free(machine->chips);
        pvpanic_free(machine->pvpanic);
        pci_host_free(machine->pci);
        hotplug_free(machine->hotplug);
        power_free(machine->power);
        irq_free(machine->irq);
        arch_irqchip_free(machine->irqchip);
        close_fd(&machine->vm_fd);
        guest_mem_free(machine->mem);
        close_fd(&machine->kvm_fd);
        close_fd(&machine->kernel_fd);
        close_fd(&machine->initrd_fd);
        free(machine);
        return NULL;
}

int machine_add(struct machine *machine, struct virtio_device *dev, unsigned slot) {
        int r;

        if (machine->n_devices == MACHINE_DEVICES_MAX)
                return -ENOSPC;
        r = virtio_pci_new(&machine->parts, machine->pci, machine->irq, machine->vm_fd, machine->mem, dev, slot);
        if (r < 0)
                return r;
        machine->device[machine->n_devices++] = dev;
        hotplug_add(machine->hotplug, (unsigned) r);
        return r;
}

static int start_device(const struct machine *machine, struct virtio_device *dev) {
        int r = loop_start(dev->loop, machine->enter_thread, &dev->role);

        return r == 0 && dev->ops->start ? dev->ops->start(dev, machine->enter_thread) : r;
}

int machine_plug(struct machine *machine, struct virtio_device *dev, unsigned slot) {
        int r = start_device(machine, dev);

        if (r == 0)
                r = machine_add(machine, dev, slot);
        if (r > 0)
                hotplug_up(machine->hotplug, (unsigned) r);
        return r;
}

struct virtio_device *machine_find(const struct machine *machine, unsigned slot) {
        for (unsigned i = 0; i < machine->n_devices; i++)
                if (virtio_pci_slot(machine->device[i]) == slot)
                        return machine->device[i];
        return NULL;
}

struct virtio_device *machine_leaver(const struct machine *machine) {
        for (unsigned i = 0; i < machine->n_devices; i++)
                if (virtio_pci_is_leaving(machine->device[i]) && !virtio_pci_is_busy(machine->device[i]))
                        return machine->device[i];
        return NULL;
}

void machine_unplug(struct machine *machine, struct virtio_device *dev) {
        unsigned n = 0;

        hotplug_remove(machine->hotplug, virtio_pci_slot(dev));
        virtio_pci_unplug(dev);
        for (unsigned i = 0; i < machine->n_devices; i++)
                if (machine->device[i] != dev)
                        machine->device[n++] = machine->device[i];
        machine->n_devices = n;
}

int machine_start(struct machine *machine, const char **ret_text) {
        int r;

        *ret_text = "cannot start the devices' threads";
        r = arch_chips_start(machine->chips, machine->enter_thread, &machine->serial_role);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < machine->n_devices; i++) {
                r = start_device(machine, machine->device[i]);
                if (r < 0)
                        return r;
        }
        *ret_text = "cannot start the vCPUs' threads";
        return vcpus_start(machine->vcpus);
}
