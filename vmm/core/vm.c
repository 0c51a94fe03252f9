/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A virtual machine's life: states and what moves between them.
 *
 *   RUNNING <-> PAUSED     vm_pause, vm_resume; vm_reset keeps either
 *   -> SHUTDOWN            the guest powered off, or rebooted with on_reboot other than restart
 *   -> CRASHED             the guest panicked, or a vCPU cannot go on
 *   SHUTDOWN, CRASHED -> RUNNING   vm_reset
 *   CRASHED -> RUNNING, PAUSED     at once, with on_crash restart: as it was before
 *
 * The guest's own requests come on vCPU threads (ports, failures). There the request
 * is noted as a bit in `pending`, the gate is closed, so that this vCPU runs no further,
 * and an eventfd wakes the control thread, which does all the rest. When several
 * requests come together the worst one counts: crash, power off, reboot.
 *
 * Whether the process ends with the guest is the business of who made the VM: the
 * callback tells it the state.
 */
#include "vm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "../base/cleanup.h"
#include "../base/log.h"
#include "../dev/power.h"
#include "loop.h"
#include "machine.h"
#include "virtio.h"

enum request {
        REQUEST_REBOOT = BIT(0),
        REQUEST_POWER_OFF = BIT(1),
        REQUEST_VCPU_FAILED = BIT(2),
        REQUEST_PANIC = BIT(3),
};

struct vm {
        struct vm_callbacks callbacks;
        enum ctl_action on_poweroff, on_reboot, on_crash;
        struct machine *machine;
        enum ctl_state state;
        enum ctl_reason reason;
        enum ctl_action end_action; /* the one that applied, in SHUTDOWN and CRASHED */
        bool reboot_asked; /* the next power off is a restart (vm_reboot_button) */

        atomic_uint pending; /* enum request; set on vCPU threads */
        int event_fd;
        struct loop_source *event_source;
};

void vm_config_init(struct vm_config *config) {
        *config = (struct vm_config) {
                .memory = 256ull << 20,
                .vcpus = 1,
                .sockets = 1,
                .dies = 1,
                .cores = 1,
                .threads = 1,
                .on_poweroff = CTL_ACTION_DESTROY,
                .on_reboot = CTL_ACTION_RESTART,
                .on_crash = CTL_ACTION_DESTROY,
                .kvm_fd = -EBADF,
                .kernel_fd = -EBADF,
                .initrd_fd = -EBADF,
                .serial_fd = -EBADF,
        };
}

void vm_config_done(struct vm_config *config) {
        close_fd(&config->kvm_fd);
        close_fd(&config->kernel_fd);
        close_fd(&config->initrd_fd);
        close_fd(&config->serial_fd);
}

static void post(struct vm *vm, enum request request) {
        uint64_t one = 1;
        ssize_t n;

        vcpus_hold(vm->machine->vcpus);
        atomic_fetch_or(&vm->pending, request);
        n = write(vm->event_fd, &one, sizeof(one));
        (void) n; /* a full counter wakes as well */
}

static void on_power_off(void *arg) {
        post(arg, REQUEST_POWER_OFF);
}

static void on_reset_request(void *arg) {
        post(arg, REQUEST_REBOOT);
}

static void on_panicked(void *arg) {
        post(arg, REQUEST_PANIC);
}

static void on_vcpu_failed(void *arg) {
        post(arg, REQUEST_VCPU_FAILED);
}

static int on_prepare_vcpu(void *arg) {
        struct vm *vm = arg;

        return vm->callbacks.prepare_vcpu ? vm->callbacks.prepare_vcpu(vm->callbacks.arg) : 0;
}

static int on_prepare_device(void *arg) {
        struct vm *vm = arg;

        return vm->callbacks.prepare_device ? vm->callbacks.prepare_device(vm->callbacks.arg) : 0;
}

static const struct machine_ops machine_ops = {
        .power_off = on_power_off,
        .reset_request = on_reset_request,
        .panicked = on_panicked,
        .vcpu_failed = on_vcpu_failed,
        .prepare_vcpu = on_prepare_vcpu,
        .prepare_device = on_prepare_device,
};

static void set_state(struct vm *vm, enum ctl_state state, enum ctl_reason reason) {
        vm->state = state;
        vm->reason = reason;
        if (vm->callbacks.state_changed)
                vm->callbacks.state_changed(vm->callbacks.arg, state, reason);
}

/* With the vCPUs at the gate: back to power on. */
static int reset_in_place(struct vm *vm) {
        const char *text;
        int r;

        r = machine_reset(vm->machine, &text);
        if (r < 0) {
                log_error(r, "cannot reset the guest: %s", text);
                return r;
        }
        atomic_store(&vm->pending, 0);
        vm->reboot_asked = false;
        vcpus_release(vm->machine->vcpus);
        if (vm->callbacks.was_reset)
                vm->callbacks.was_reset(vm->callbacks.arg);
        return 0;
}

/* A guest that comes up again by itself. That it had crashed is told nevertheless; a power off then was a reboot. */
static void restart(struct vm *vm, enum ctl_state end_state, enum ctl_reason reason) {
        enum ctl_state before = vm->state;

        if (end_state == CTL_STATE_CRASHED)
                set_state(vm, CTL_STATE_CRASHED, reason);
        if (reset_in_place(vm) < 0) {
                vm->end_action = CTL_ACTION_DESTROY;
                set_state(vm, CTL_STATE_CRASHED, CTL_REASON_VCPU_ERROR);
                return;
        }
        if (before == CTL_STATE_RUNNING)
                vcpus_resume(vm->machine->vcpus);
        if (end_state == CTL_STATE_CRASHED)
                set_state(vm, before, CTL_REASON_NONE);
}

static void end(struct vm *vm, enum ctl_action action, enum ctl_state state, enum ctl_reason reason) {
        vm->end_action = action;
        if (action == CTL_ACTION_RESTART)
                return restart(vm, state, reason);
        set_state(vm, state, reason);
}

/* Acts on what the guest asked for since the last call. */
static void handle_requests(struct vm *vm) {
        unsigned pending = atomic_exchange(&vm->pending, 0);

        if (pending == 0 || (vm->state != CTL_STATE_RUNNING && vm->state != CTL_STATE_PAUSED))
                return;
        vcpus_pause(vm->machine->vcpus);
        if (pending & REQUEST_PANIC)
                end(vm, vm->on_crash, CTL_STATE_CRASHED, CTL_REASON_PANIC);
        else if (pending & REQUEST_VCPU_FAILED)
                end(vm, vm->on_crash, CTL_STATE_CRASHED, CTL_REASON_VCPU_ERROR);
        else if (pending & REQUEST_POWER_OFF)
                end(vm, vm->reboot_asked ? CTL_ACTION_RESTART : vm->on_poweroff, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
        else
                end(vm, vm->on_reboot, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST);
}

static void on_event(void *arg, uint32_t events) {
        struct vm *vm = arg;
        uint64_t count;
        ssize_t n;

        n = read(vm->event_fd, &count, sizeof(count));
        (void) n;
        handle_requests(vm);
}

static void free_p(struct vm **vm) {
        vm_free(*vm);
}

static int watch_events(struct vm *vm, struct loop *control) {
        vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (vm->event_fd < 0)
                return -errno;
        return loop_add_fd(control, vm->event_fd, EPOLLIN, on_event, vm, &vm->event_source);
}

int vm_new(struct vm_config *config, const struct vm_callbacks *callbacks, struct loop *control, struct vm **ret,
           const char **ret_text) {
        CLEANUP(free_p) struct vm *vm = NULL;
        const char *text = "out of memory";
        int r;

        if (ret_text)
                *ret_text = text;
        vm = calloc(1, sizeof(*vm));
        if (!vm)
                return -ENOMEM;
        vm->callbacks = *callbacks;
        vm->on_poweroff = config->on_poweroff;
        vm->on_reboot = config->on_reboot;
        vm->on_crash = config->on_crash;
        vm->event_fd = -EBADF;

        if (config->kernel_fd < 0) {
                text = "there is no kernel to boot";
                r = -EINVAL;
        } else
                r = machine_new(config, &machine_ops, vm, &vm->machine, &text);
        if (r >= 0)
                r = watch_events(vm, control);
        if (r < 0) {
                if (ret_text)
                        *ret_text = text;
                return r;
        }
        *ret = TAKE(vm);
        return 0;
}

struct vm *vm_free(struct vm *vm) {
        if (!vm)
                return NULL;
        machine_free(vm->machine);
        loop_remove(vm->event_source);
        close_fd(&vm->event_fd);
        free(vm);
        return NULL;
}

int vm_add_virtio(struct vm *vm, struct virtio_device *dev) {
        if (vm->state != CTL_STATE_SETUP)
                return -EBUSY;
        return machine_add(vm->machine, dev);
}

int vm_start(struct vm *vm, bool paused, const char **ret_text) {
        const char *text = "the guest was started already";
        int r;

        r = vm->state == CTL_STATE_SETUP ? machine_reset(vm->machine, &text) : -EALREADY;
        if (r >= 0)
                r = machine_start(vm->machine, &text);
        if (r < 0) {
                if (ret_text)
                        *ret_text = text;
                return r;
        }
        if (!paused)
                vcpus_resume(vm->machine->vcpus);
        set_state(vm, paused ? CTL_STATE_PAUSED : CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

int vm_pause(struct vm *vm) {
        handle_requests(vm);
        if (vm->state == CTL_STATE_PAUSED)
                return 0;
        if (vm->state != CTL_STATE_RUNNING)
                return -EINVAL;
        vcpus_pause(vm->machine->vcpus);
        set_state(vm, CTL_STATE_PAUSED, CTL_REASON_REQUEST);
        return 0;
}

int vm_resume(struct vm *vm) {
        handle_requests(vm);
        if (vm->state == CTL_STATE_RUNNING)
                return 0;
        if (vm->state != CTL_STATE_PAUSED)
                return -EINVAL;
        vcpus_resume(vm->machine->vcpus);
        set_state(vm, CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

int vm_reset(struct vm *vm) {
        int r;

        if (vm->state == CTL_STATE_SETUP)
                return -EINVAL;
        vcpus_pause(vm->machine->vcpus);
        r = reset_in_place(vm);
        if (r < 0) {
                vm->end_action = CTL_ACTION_DESTROY;
                set_state(vm, CTL_STATE_CRASHED, CTL_REASON_VCPU_ERROR);
                return r;
        }
        if (vm->state == CTL_STATE_PAUSED)
                return 0;
        vcpus_resume(vm->machine->vcpus);
        if (vm->state != CTL_STATE_RUNNING)
                set_state(vm, CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

static int press_button(struct vm *vm, bool for_reboot) {
        if (vm->state != CTL_STATE_RUNNING)
                return -EINVAL;
        vm->reboot_asked = for_reboot;
        power_button(vm->machine->power);
        return 0;
}

int vm_power_button(struct vm *vm) {
        return press_button(vm, false);
}

int vm_reboot_button(struct vm *vm) {
        return press_button(vm, true);
}

/* KVM takes an NMI only for a vCPU that is not running at the moment. */
int vm_nmi(struct vm *vm) {
        int r;

        if (vm->state != CTL_STATE_RUNNING)
                return -EINVAL;
        vcpus_pause(vm->machine->vcpus);
        r = vcpus_nmi(vm->machine->vcpus);
        vcpus_resume(vm->machine->vcpus);
        return r;
}

void vm_set_actions(struct vm *vm, enum ctl_action on_poweroff, enum ctl_action on_reboot, enum ctl_action on_crash) {
        vm->on_poweroff = on_poweroff;
        vm->on_reboot = on_reboot;
        vm->on_crash = on_crash;
}

enum ctl_action vm_end_action(const struct vm *vm) {
        return vm->end_action;
}

enum ctl_state vm_state(const struct vm *vm) {
        return vm->state;
}

enum ctl_reason vm_reason(const struct vm *vm) {
        return vm->reason;
}

unsigned vm_vcpu_tids(const struct vm *vm, pid_t *tids, unsigned max) {
        return vcpus_tids(vm->machine->vcpus, tids, max);
}

uint64_t vm_guest_errors(const struct vm *vm) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < vm->machine->n_devices; i++)
                sum += __atomic_load_n(&vm->machine->device[i]->guest_errors.count, __ATOMIC_RELAXED);
        return sum;
}
