/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hardware of a virtual machine: its board and everything on it.
 */
#pragma once

#include "../base/seccomp.h"
#include "../core/part.h"
#include "../core/pci.h"
#include "../core/vcpus.h"
#include "vm.h"

#define MACHINE_DEVICES_MAX CTL_DEVICES_MAX
_Static_assert(MACHINE_DEVICES_MAX == PCI_SLOTS - 2, "all slots but those of the host bridge and the panic device");

struct machine_ops {
        /* On vCPU threads; the vCPU must not run on: see vcpus_hold(). */
        void (*power_off)(void *arg);
        void (*reset_request)(void *arg);
        void (*panicked)(void *arg);
        void (*vcpu_failed)(void *arg);
        /* The guest has let go of the devices in these PCI slots. */
        void (*eject)(void *arg, uint32_t slots);
        /* A vcpus_pause(), reset or quiesce that had to wait is done; any thread. */
        void (*settled)(void *arg);
};

struct arch_chips;
struct arch_irqchip;

struct machine {
        /* What a reset or a pause walks: all that has state. Once parts_are_busy() is false, a reset goes on, a pause
         * is done. */
        struct parts parts;
        const struct machine_ops *ops;
        void *arg;
        int (*enter_thread)(void *role); /* see struct vm_confinement; NULL: nothing */
        struct thread_role serial_role;
        int kvm_fd, vm_fd, kernel_fd, initrd_fd;
        char cmdline[CTL_CMDLINE_MAX];
        const struct machine_version *version;
        struct topology topology;
        struct guest_mem *mem;
        struct bus pio, mmio;
        struct irq *irq;
        struct arch_irqchip *irqchip;
        struct part image; /* what the machine boots: kernel and tables in memory, and where they are entered */
        struct pci_host *pci;
        struct arch_chips *chips;
        struct power *power;
        struct hotplug *hotplug;
        struct pvpanic *pvpanic;
        struct vcpus *vcpus;
        struct virtio_device *device[MACHINE_DEVICES_MAX];
        unsigned n_devices;
};

/* Takes the config's descriptors. Errors as vm_new(). */
int machine_new(struct vm_config *config, const struct machine_ops *ops, void *arg, int (*enter_thread)(void *role),
                struct machine **ret, const char **ret_text);
struct machine *machine_free(struct machine *machine); /* ends all its threads; NULL is fine; returns NULL */

/* At a PCI slot, 0: the first free one. The slot, or a negative errno. */
int machine_add(struct machine *machine, struct virtio_device *dev, unsigned slot);
/* The same after machine_start(), and tells the guest. The device is complete when the guest can first see it. */
int machine_plug(struct machine *machine, struct virtio_device *dev, unsigned slot);

struct virtio_device *machine_find(const struct machine *machine, unsigned slot); /* NULL: no virtio device there */
/* A device that virtio_pci_leave() was called for and that is not busy any more; NULL: there is none. */
struct virtio_device *machine_leaver(const struct machine *machine);
/* Takes it off the bus, with all vCPUs at the gate. It is the caller's then, to be freed when they run again. */
void machine_unplug(struct machine *machine, struct virtio_device *dev);

/* Starts the threads of devices and vCPUs; the latter wait at the gate. */
int machine_start(struct machine *machine, const char **ret_text);
