/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One virtual machine: memory, vCPUs, interrupt chips, the PCI host and what hangs
 * off it. Configuration comes as a struct vm_config full of open descriptors, whether
 * from the control socket or from the command line; vm_new() opens nothing by path.
 *
 * Life: vm_new -> vm_add_virtio (each device) -> vm_start -> pause/resume/reset... ->
 * vm_free. All functions are called from the control thread (main's) unless noted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../core/cpu_features.h"
#include "../ctl/ctl.h"

struct machine_version;
struct vm;
struct virtio_device;

struct vm_config {
        const struct machine_version *version;
        uint64_t memory;       /* bytes */
        unsigned memory_flags; /* enum guest_mem_flags */
        uint64_t hugepage_size;
        unsigned vcpus, sockets, dies, cores, threads;
        struct cpu_features cpu_features;
        enum ctl_action on_poweroff, on_reboot, on_crash;
        int64_t rtc_offset; /* seconds ahead of UTC */
        int kvm_fd;
        int kernel_fd;     /* -EBADF: none, vm_new() refuses */
        int initrd_fd;     /* -EBADF: none */
        int serial_fd;     /* pty master, or -EBADF: output is dropped */
        int serial_log_fd; /* gets a copy of the output; -EBADF: none */
        char cmdline[CTL_CMDLINE_MAX];
};

/* How the process drops privileges. Negative errno. */
struct vm_confinement {
        /* First thing on each new thread, with its struct thread_role: installs its system call filter. */
        int (*enter_thread)(void *role);
        /* Limits the size of files to `size` bytes. Called before any guest data is read. */
        int (*limit_files)(uint64_t size);
};

/* Operations that may have to wait for vCPUs to stop and for devices to finish their requests. */
enum vm_operation {
        VM_PAUSE = 0,
        VM_RESET,
        VM_NMI,
        VM_OPERATIONS,
};

#define VM_PENDING 1 /* `finished` will be called */

struct vm_callbacks {
        /* The run state changed. Called on the control thread's loop. */
        void (*state_changed)(void *arg, enum ctl_state state, enum ctl_reason reason);
        /* The guest rebooted and was reset in place. Same thread. */
        void (*was_reset)(void *arg);
        /* All that returned VM_PENDING for this operation are done: 0 or a negative errno. Same thread. */
        void (*finished)(void *arg, enum vm_operation operation, int result);
        /* The device in the slot is gone, and nothing of it is left. Same thread. */
        void (*removed)(void *arg, unsigned slot);
        void *arg;
        const struct vm_confinement *confinement; /* NULL: none */
};

/* Fills in defaults: the newest version, one vCPU, fds -EBADF, restart on reboot. */
void vm_config_init(struct vm_config *config);
/* Closes what is still in the config. */
void vm_config_done(struct vm_config *config);

/*
 * Builds the machine: memory, irqchip, PCI host, serial, RTC, ACPI devices. Takes the
 * config's fds (leaves -EBADF behind). On error *ret_text, if not NULL, is a
 * sentence for the operator ("kernel 'x' is neither bzImage nor ELF"), static or
 * inside the vm's own storage: valid until the next call of this function.
 * `control` is the control thread's loop.
 */
struct loop;
int vm_new(struct vm_config *config, const struct vm_callbacks *callbacks, struct loop *control, struct vm **ret,
           const char **ret_text);
struct vm *vm_free(struct vm *vm); /* stops everything; NULL is fine; returns NULL */

/*
 * Plugs a device into a PCI slot, 0: the first free one, and takes it (freed with the VM). The slot, or a negative
 * errno. Before vm_start() only.
 */
int vm_add_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot);

/*
 * Hot plug: vm_add_virtio() for a machine that was started, which also tells the guest. On error it stays the caller's.
 * -EFBIG: its image is larger than this process may make a file.
 */
int vm_plug_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot);
/*
 * Asks the guest to let go of the device, which it may do at any time or never; may be repeated. It is taken away at
 * once where no driver uses it, at the next reset of the machine, and with `force` whatever its driver does: the guest
 * gets nothing from it any more then. removed() follows, at the earliest before this returns; that may take as long as
 * the host's storage does. A guest may also give a device away without having been asked. -ENOENT: there is none;
 * -EALREADY: it is on its way out.
 */
int vm_unplug_virtio(struct vm *vm, unsigned slot, bool force);

/* It is on its way out: the guest has let go of it, or has to do without it. */
bool vm_is_leaving(const struct vm *vm, unsigned slot);

/* Loads the kernel, starts device loops and vCPU threads. Errors as vm_new(). */
int vm_start(struct vm *vm, bool paused, const char **ret_text);

/*
 * None of these waits for anything. 0, VM_PENDING or a negative errno.
 *
 * Pause: done when no vCPU runs, no device changes guest memory or storage any more, and what they wrote is
 * stable. Also 0 when that is so already. A resume on the way there makes it -ECANCELED.
 */
int vm_pause(struct vm *vm);
int vm_resume(struct vm *vm); /* never pending */
int vm_reset(struct vm *vm);  /* in place: devices, vCPUs, kernel loaded anew; keeps paused/running */
int vm_nmi(struct vm *vm);
/* A disk's error policy wants the guest paused; it will be when it is. */
void vm_pause_for_error(struct vm *vm);
/* It was asked to pause and is not paused yet. */
bool vm_is_pausing(const struct vm *vm);

int vm_power_button(struct vm *vm);
/* The same for a reboot, for which machines have no button: the power off that follows is a restart. */
int vm_reboot_button(struct vm *vm);
/* Replaces the actions of struct vm_config (CTL_SET_ACTIONS). */
void vm_set_actions(struct vm *vm, enum ctl_action on_poweroff, enum ctl_action on_reboot, enum ctl_action on_crash);

enum ctl_state vm_state(const struct vm *vm);
enum ctl_reason vm_reason(const struct vm *vm);
/* SHUTDOWN or CRASHED: which of the configured actions applies, DESTROY or PRESERVE (the VM restarts itself) */
enum ctl_action vm_end_action(const struct vm *vm);
/* Kernel thread ids (gettid) of the vCPUs; returns how many were written. */
unsigned vm_vcpu_tids(const struct vm *vm, pid_t *tids, unsigned max);
uint64_t vm_guest_errors(const struct vm *vm); /* protocol violations, all devices */
