/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an architecture gives to the rest of the monitor, which knows nothing else of it. One implementation is linked,
 * arch/x86_64. As the protocol's header this one is below everything, and what implements it is above core/ and dev/:
 * so core/ can call the processor's side without knowing it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_entry;
struct bus;
struct cpu_feature;
struct cpu_features;
struct guest_mem;
struct irq;
struct kvm_irq_routing_entry;
struct kvm_run;
struct machine_version;
struct parts;
struct pci_host;
struct power;
struct topology;
struct vcpu_state;
struct vcpus;

/* --- Addresses ------------------------------------------------------------------------------ */

struct arch_layout {
        uint64_t pci_window, pci_window_size; /* for BARs */
        uint64_t ecam, ecam_size;             /* configuration space of bus 0 */
        uint64_t power, hotplug;              /* registers of dev/power.c and dev/hotplug.c, on the bus of I/O ports */
        unsigned event_line;                  /* edge triggered: it raises their events */
};
extern const struct arch_layout arch_layout;

#define ARCH_RAM_MAX 2u

struct arch_ram {
        uint64_t gpa, size;
};

/* Where `size` bytes of memory are; returns the number of ranges, ascending. */
unsigned arch_ram(uint64_t size, struct arch_ram ret[ARCH_RAM_MAX]);

/* --- The virtual machine -------------------------------------------------------------------- */

/* All return a negative errno; *ret_text is then a static sentence. */

/* Whether KVM can do what a machine needs besides what every architecture does. */
int arch_check_kvm(int kvm_fd, const char **ret_text);
int arch_check_topology(const struct topology *topology, const char **ret_text);
/* What KVM has to know of a new virtual machine before it has vCPUs. */
int arch_vm_init(int kvm_fd, int vm_fd, const char **ret_text);

/* The interrupt controller, a part of the machine. `vm_fd` stays the caller's and outlives it. */
struct arch_irqchip;
int arch_irqchip_new(struct parts *parts, int vm_fd, struct arch_irqchip **ret);
struct arch_irqchip *arch_irqchip_free(struct arch_irqchip *irqchip); /* NULL is fine; returns NULL */

#define ARCH_LINES 24u /* GSIs 0 to 23 are its lines */
void arch_line_route(unsigned line, struct kvm_irq_routing_entry *ret);

/* --- vCPUs ---------------------------------------------------------------------------------- */

/* What a machine's version says of the processor and the tables. */
struct arch_version;
extern const struct arch_version arch_micro_1;

/* The processor as guests see it: the host's, what the version makes of it, and the features asked for. */
struct arch_cpu;
int arch_cpu_new(int kvm_fd, const struct machine_version *version, const struct topology *topology,
                 struct arch_cpu **ret);
struct arch_cpu *arch_cpu_free(struct arch_cpu *cpu); /* NULL is fine; returns NULL */
/* The first feature whose presence or absence in the host contradicts its policy; NULL: none. */
const struct cpu_feature *arch_cpu_conflict(struct arch_cpu *cpu, const struct cpu_features *features);

/* What KVM calls the vCPU with this index. */
unsigned arch_vcpu_id(const struct topology *topology, unsigned index);

/* Makes a new vCPU the given processor, and reads all of its state that can be written back; the caller frees that. */
int arch_vcpu_init(struct arch_cpu *cpu, const struct cpu_features *features, int kvm_fd, int vcpu_fd, unsigned index,
                   struct vcpu_state **ret);
int arch_vcpu_restore(int vcpu_fd, const struct vcpu_state *state);
struct vcpu_state *arch_vcpu_state_free(struct vcpu_state *state); /* NULL is fine; returns NULL */

/* Where the boot processor enters the kernel, once it is as after power on. */
int arch_vcpu_enter(int vcpu_fd, const struct boot_entry *entry);

enum arch_exit {
        ARCH_EXIT_SERVED,
        ARCH_EXIT_RESET,   /* the guest shut its processor down, which resets the machine */
        ARCH_EXIT_UNKNOWN, /* not one of this architecture's own */
};

/* Serves an exit that only this architecture has. On the vCPU's thread. */
enum arch_exit arch_vcpu_exit(struct kvm_run *run, const struct bus *pio);
/* The exit was an access to a register of a device, which KVM completes at the next entry. */
bool arch_vcpu_exit_is_access(const struct kvm_run *run);
/* Time has passed for the host and not for the guest. */
void arch_vcpu_resumed(int vcpu_fd);
int arch_vcpu_nmi(int vcpu_fd);

/* --- Chips on the board --------------------------------------------------------------------- */

struct arch_chips_config {
        int serial_fd;      /* pty master, or -EBADF: output is dropped. -EBADF once it is taken */
        int serial_log_fd;  /* gets a copy of the output; -EBADF: none. The same */
        int64_t rtc_offset; /* seconds ahead of UTC */
};

/* Those that are not virtio devices and that software of this architecture expects; dev/power.c is there already. */
struct arch_chips;
int arch_chips_new(struct parts *parts, struct bus *pio, struct irq *irq, struct power *power, struct pci_host *pci,
                   struct arch_chips_config *config, struct arch_chips **ret, const char **ret_text);
struct arch_chips *arch_chips_free(struct arch_chips *chips); /* NULL is fine; returns NULL */
/* Starts their threads; `prepare` as in loop_start(). */
int arch_chips_start(struct arch_chips *chips, int (*prepare)(void *arg), void *arg);

/* --- Boot ----------------------------------------------------------------------------------- */

struct arch_image {
        const struct machine_version *version;
        const struct topology *topology;
        const struct guest_mem *mem;
        int kernel_fd, initrd_fd; /* initrd -EBADF: none. Read from offset 0; not consumed */
        const char *cmdline;
};

/* Puts kernel and tables in place, and the boot processor at the kernel's entry. Can be repeated for a reboot. */
int arch_boot(const struct arch_image *image, struct vcpus *vcpus, const char **ret_text);

/* --- System call filters -------------------------------------------------------------------- */

struct arch_ioctl {
        unsigned request; /* 0: the end of the list */
        const char *why;
};

extern const struct arch_ioctl arch_ioctls[]; /* the control thread's, for all of the above */
extern const uint32_t arch_audit;             /* AUDIT_ARCH_* of system calls */
