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
 * A guest can ask for a restart with its first instruction, and each one is work for this thread and news for the
 * daemon. So from the third on of those that follow each other within a second there are RESTART_PAUSE_MS between
 * them. The request stays in `pending` and the vCPUs at the gate until a timer has it looked at anew; what the
 * machine is told meanwhile (pause, other actions, reset) is done as ever.
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
#include <sys/timerfd.h>
#include <time.h>

#include "../base/cleanup.h"
#include "../base/log.h"
#include "../dev/power.h"
#include "loop.h"
#include "machine.h"
#include "virtio.h"

#define NS_PER_S         1000000000ull
#define RESTARTS_AT_ONCE 3u
#define RESTART_PAUSE_MS 100u

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

        uint64_t restarted_ns;    /* CLOCK_MONOTONIC; 0: never */
        unsigned restarts_in_row; /* each within a second of the one before */
        int timer_fd;             /* the next restart is due */
        struct loop_source *timer_source;
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
                .serial_log_fd = -EBADF,
        };
}

void vm_config_done(struct vm_config *config) {
        close_fd(&config->kvm_fd);
        close_fd(&config->kernel_fd);
        close_fd(&config->initrd_fd);
        close_fd(&config->serial_fd);
        close_fd(&config->serial_log_fd);
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

static const struct machine_ops machine_ops = {
        .power_off = on_power_off,
        .reset_request = on_reset_request,
        .panicked = on_panicked,
        .vcpu_failed = on_vcpu_failed,
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

static uint64_t now_ns(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * NS_PER_S + (uint64_t) ts.tv_nsec;
}

/* Whether the guest may restart now; if not, the timer tells when. */
static bool restart_is_due(struct vm *vm) {
        uint64_t since = now_ns() - vm->restarted_ns, pause = RESTART_PAUSE_MS * (NS_PER_S / 1000);
        struct itimerspec when = { .it_value = { .tv_nsec = (long) (pause - since) } };

        if (vm->restarts_in_row < RESTARTS_AT_ONCE || since >= pause)
                return true;
        return timerfd_settime(vm->timer_fd, 0, &when, NULL) < 0;
}

static void count_restart(struct vm *vm) {
        uint64_t now = now_ns();

        vm->restarts_in_row = now - vm->restarted_ns < NS_PER_S ? vm->restarts_in_row + 1 : 1;
        vm->restarted_ns = now;
}

/* A guest that comes up again by itself. That it had crashed is told nevertheless; a power off then was a reboot. */
static void restart(struct vm *vm, enum ctl_state end_state, enum ctl_reason reason) {
        enum ctl_state before = vm->state;

        count_restart(vm);
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

struct guest_end {
        enum ctl_action action;
        enum ctl_state state;
        enum ctl_reason reason;
};

static struct guest_end end_of(const struct vm *vm, unsigned pending) {
        if (pending & REQUEST_PANIC)
                return (struct guest_end) { vm->on_crash, CTL_STATE_CRASHED, CTL_REASON_PANIC };
        if (pending & REQUEST_VCPU_FAILED)
                return (struct guest_end) { vm->on_crash, CTL_STATE_CRASHED, CTL_REASON_VCPU_ERROR };
        if (pending & REQUEST_POWER_OFF)
                return (struct guest_end) { vm->reboot_asked ? CTL_ACTION_RESTART : vm->on_poweroff,
                                            CTL_STATE_SHUTDOWN, CTL_REASON_GUEST };
        return (struct guest_end) { vm->on_reboot, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST };
}

/* Acts on what the guest asked for since the last call. */
static void handle_requests(struct vm *vm) {
        unsigned pending = atomic_exchange(&vm->pending, 0);
        struct guest_end e = end_of(vm, pending);

        if (pending == 0 || (vm->state != CTL_STATE_RUNNING && vm->state != CTL_STATE_PAUSED))
                return;
        vcpus_pause(vm->machine->vcpus);
        if (e.action == CTL_ACTION_RESTART && !restart_is_due(vm))
                atomic_fetch_or(&vm->pending, pending);
        else
                end(vm, e.action, e.state, e.reason);
}

static void drain(int fd) {
        uint64_t count;

        (void) !read(fd, &count, sizeof(count));
}

static void on_event(void *arg, uint32_t events) {
        struct vm *vm = arg;

        drain(vm->event_fd);
        handle_requests(vm);
}

static void on_timer(void *arg, uint32_t events) {
        struct vm *vm = arg;

        drain(vm->timer_fd);
        handle_requests(vm);
}

static void free_p(struct vm **vm) {
        vm_free(*vm);
}

static int watch_events(struct vm *vm, struct loop *control) {
        int r;

        vm->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        vm->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (vm->event_fd < 0 || vm->timer_fd < 0)
                return -errno;
        r = loop_add_fd(control, vm->event_fd, EPOLLIN, on_event, vm, &vm->event_source);
        return r < 0 ? r : loop_add_fd(control, vm->timer_fd, EPOLLIN, on_timer, vm, &vm->timer_source);
}

int vm_new(struct vm_config *config, const struct vm_callbacks *callbacks, struct loop *control, struct vm **ret,
           const char **ret_text) {
        const struct vm_confinement *confinement = callbacks->confinement;
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
        vm->event_fd = vm->timer_fd = -EBADF;

        if (config->kernel_fd < 0) {
                text = "there is no kernel to boot";
                r = -EINVAL;
        } else
                r = machine_new(config, &machine_ops, vm, confinement ? confinement->enter_thread : NULL, &vm->machine,
                                &text);
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
        loop_remove(vm->timer_source);
        close_fd(&vm->event_fd);
        close_fd(&vm->timer_fd);
        free(vm);
        return NULL;
}

int vm_add_virtio(struct vm *vm, struct virtio_device *dev) {
        if (vm->state != CTL_STATE_SETUP)
                return -EBUSY;
        return machine_add(vm->machine, dev);
}

/* As long as the longest image that the guest may write, and no longer: a raw image never grows. */
static int limit_files(const struct vm *vm, const char **ret_text) {
        const struct vm_confinement *confinement = vm->callbacks.confinement;
        uint64_t size = 0;

        *ret_text = "cannot limit the size of files";
        for (unsigned i = 0; i < vm->machine->n_devices; i++)
                size = MAX(size, vm->machine->device[i]->file_size);
        return confinement ? confinement->limit_files(size) : 0;
}

int vm_start(struct vm *vm, bool paused, const char **ret_text) {
        const char *text = "the guest was started already";
        int r;

        r = vm->state == CTL_STATE_SETUP ? limit_files(vm, &text) : -EALREADY;
        if (r >= 0)
                r = machine_reset(vm->machine, &text);
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

/* A paused guest finds it pressed when it is resumed: the interrupt waits in KVM's interrupt controllers. */
static int press_button(struct vm *vm, bool for_reboot) {
        if (vm->state != CTL_STATE_RUNNING && vm->state != CTL_STATE_PAUSED)
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
