/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hardware of a virtual machine: its board and everything on it.
 */
#pragma once

#include "../base/seccomp.h"
#include "pci.h"
#include "vcpus.h"
#include "vm.h"

#define MACHINE_DEVICES_MAX CTL_DEVICES_MAX
_Static_assert(MACHINE_DEVICES_MAX == PCI_SLOTS - 2, "all slots but those of the host bridge and the panic device");

struct machine_ops {
        /* On vCPU threads; the vCPU must not run on: see vcpus_hold(). */
        void (*power_off)(void *arg);
        void (*reset_request)(void *arg);
        void (*panicked)(void *arg);
        void (*vcpu_failed)(void *arg);
        /* A vcpus_pause(), reset or quiesce that had to wait is done; any thread. */
        void (*settled)(void *arg);
};

struct kvm_irqchip;

struct machine {
        const struct machine_ops *ops;
        void *arg;
        int (*enter_thread)(void *role); /* see struct vm_confinement; NULL: nothing */
        struct thread_role serial_role;
        int kvm_fd, vm_fd, kernel_fd, initrd_fd;
        char cmdline[CTL_CMDLINE_MAX];
        struct topology topology;
        struct guest_mem *mem;
        struct bus pio, mmio;
        struct irq *irq;
        struct kvm_irqchip *chips; /* as after power on */
        struct pci_host *pci;
        struct serial *serial;
        struct rtc *rtc;
        struct power *power;
        struct pvpanic *pvpanic;
        struct vcpus *vcpus;
        struct virtio_device *device[MACHINE_DEVICES_MAX];
        unsigned n_devices;
};

/* Takes the config's descriptors. Errors as vm_new(). */
int machine_new(struct vm_config *config, const struct machine_ops *ops, void *arg, int (*enter_thread)(void *role),
                struct machine **ret, const char **ret_text);
struct machine *machine_free(struct machine *machine); /* ends all its threads; NULL is fine; returns NULL */

int machine_add(struct machine *machine, struct virtio_device *dev);

/* Starts the threads of devices and vCPUs; the latter wait at the gate. */
int machine_start(struct machine *machine, const char **ret_text);
/*
 * Restore the state after power on, with the kernel loaded, for the first boot and any other. No vCPU may run.
 * Between the two, wait until machine_is_busy() is false: devices may have requests in flight.
 */
void machine_reset_begin(struct machine *machine);
int machine_reset_end(struct machine *machine, const char **ret_text);
/* Quiesces all devices: nothing changes memory or storage once machine_is_busy() is false. No vCPU may run. */
void machine_quiesce(struct machine *machine);
void machine_resume(struct machine *machine);
bool machine_is_busy(const struct machine *machine);
