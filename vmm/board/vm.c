/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A virtual machine's life: states and what moves between them.
 *
 *   RUNNING <-> PAUSED     vm_pause, vm_resume, an I/O error; vm_reset keeps either
 *   -> SHUTDOWN            the guest powered off, or rebooted with on_reboot other than restart
 *   -> CRASHED             the guest panicked, or a vCPU cannot go on
 *   SHUTDOWN, CRASHED -> RUNNING   vm_reset
 *   CRASHED -> RUNNING, PAUSED     at once, with on_crash restart: as it was before
 *
 * Nothing here blocks. A pause, a reset or an NMI completes when the vCPUs are at the gate and the devices have
 * finished their requests, which may take as long as the host's storage does. So requests are kept as state,
 * and advance() takes the machine as far towards them as it can; an eventfd calls it again when something has
 * changed. Meanwhile the control thread serves everything else, and requests may be added or withdrawn.
 *
 * The guest's own requests come on vCPU threads (ports, failures). There the request
 * is noted as a bit in `pending`, the gate is closed, so that this vCPU runs no further,
 * and an eventfd wakes the control thread, which does all the rest. When several
 * requests come together the worst one counts: crash, power off, reboot.
 *
 * A device that is removed comes to its end while the guest runs on. Only to take it off the bus are the vCPUs called
 * to the gate; its threads are joined and its memory is freed when they have been let go again.
 *
 * A guest can ask for a restart with its first instruction, and each restart costs this thread work and the
 * daemon an event. So when restarts follow each other within a second, RESTART_PAUSE_MS pass before the fourth
 * and each later one. Until the timer fires, the request stays in `pending` and the vCPUs at the gate; other
 * operations (pause, other actions, reset) work as usual.
 *
 * Whether the process ends with the guest is up to the creator of the VM: the callback reports the state.
 */
#include "vm.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>

#include "../base/cleanup.h"
#include "../base/log.h"
#include "../core/loop.h"
#include "../core/pci.h"
#include "../core/virtio.h"
#include "../core/virtio_pci.h"
#include "../dev/hotplug.h"
#include "../dev/power.h"
#include "machine.h"
#include "version.h"

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
        bool reboot_asked;          /* the next power off is a restart (vm_reboot_button) */

        /* What is wanted, */
        bool pause_wanted, reset_wanted, nmi_wanted;
        enum ctl_reason pause_reason;
        bool restarting; /* the guest restarts by itself: after a crash its state is CRASHED meanwhile */
        /* and how far it is. */
        bool standing;             /* the vCPUs were called to the gate */
        bool quiesced;             /* the devices were asked to stand still */
        bool resetting;            /* the devices were asked to reset */
        int result[VM_OPERATIONS]; /* of the last one */

        struct virtio_device *unplugged; /* to be freed when the vCPUs run again; NULL: none */
        unsigned unplugged_slot;
        uint32_t unplug_asked;      /* slots whose devices the guest was asked to let go of */
        uint32_t unplug_told;       /* slots that the guest is to look at when they are empty */
        uint64_t guest_errors_gone; /* of devices that are gone */

        atomic_uint pending; /* enum request; set on vCPU threads */
        atomic_uint ejected; /* PCI slots whose devices the guest has let go of; likewise */
        int event_fd;        /* there is something for advance() */
        struct loop_source *event_source;

        uint64_t restarted_ns;    /* CLOCK_MONOTONIC; 0: never */
        unsigned restarts_in_row; /* each within a second of the one before */
        int timer_fd;             /* the next restart is due */
        struct loop_source *timer_source;
};

void vm_config_init(struct vm_config *config) {
        *config = (struct vm_config) {
                .version = machine_version_newest(),
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

static void wake(struct vm *vm) {
        uint64_t one = 1;
        ssize_t n = write(vm->event_fd, &one, sizeof(one));

        (void) n; /* a full counter wakes as well */
}

/* Nothing that the guest does next comes before advance() has seen the bits. */
static void hold_for(struct vm *vm, atomic_uint *to, unsigned bits) {
        vcpus_hold(vm->machine->vcpus);
        atomic_fetch_or(to, bits);
        wake(vm);
}

static void post(struct vm *vm, enum request request) {
        hold_for(vm, &vm->pending, request);
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

/* When the guest looks into the slot next, it finds nothing. */
static void on_eject(void *arg, uint32_t slots) {
        struct vm *vm = arg;

        hold_for(vm, &vm->ejected, slots);
}

static void on_settled(void *arg) {
        wake(arg);
}

static const struct machine_ops machine_ops = {
        .power_off = on_power_off,
        .reset_request = on_reset_request,
        .panicked = on_panicked,
        .vcpu_failed = on_vcpu_failed,
        .eject = on_eject,
        .settled = on_settled,
};

static void set_state(struct vm *vm, enum ctl_state state, enum ctl_reason reason) {
        vm->state = state;
        vm->reason = reason;
        if (vm->callbacks.state_changed)
                vm->callbacks.state_changed(vm->callbacks.arg, state, reason);
}

static uint64_t now_ns(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * NS_PER_S + (uint64_t) ts.tv_nsec;
}

/* Whether the guest may restart now; if not, arms the timer. */
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
                return (struct guest_end) { vm->reboot_asked ? CTL_ACTION_RESTART : vm->on_poweroff, CTL_STATE_SHUTDOWN,
                                            CTL_REASON_GUEST };
        return (struct guest_end) { vm->on_reboot, CTL_STATE_SHUTDOWN, CTL_REASON_GUEST };
}

static bool is_up(const struct vm *vm) {
        return vm->state == CTL_STATE_RUNNING || vm->state == CTL_STATE_PAUSED || vm->restarting;
}

static void finish(struct vm *vm, enum vm_operation operation, int result) {
        vm->result[operation] = result;
        if (vm->callbacks.finished)
                vm->callbacks.finished(vm->callbacks.arg, operation, result);
}

/* The guest is gone, and with it what was to be done with it. */
static void end(struct vm *vm, enum ctl_action action, enum ctl_state state, enum ctl_reason reason) {
        bool pausing = vm->pause_wanted, nmi = vm->nmi_wanted;

        vm->end_action = action;
        vm->pause_wanted = vm->nmi_wanted = vm->restarting = false;
        set_state(vm, state, reason);
        if (pausing)
                finish(vm, VM_PAUSE, -EINVAL);
        if (nmi)
                finish(vm, VM_NMI, -EINVAL);
}

/* Restarts the guest without a request from the host. A crash is still reported; a power off was really a reboot. */
static void restart(struct vm *vm, struct guest_end e) {
        count_restart(vm);
        vm->end_action = e.action;
        vm->restarting = true;
        if (e.state == CTL_STATE_CRASHED)
                set_state(vm, CTL_STATE_CRASHED, e.reason);
}

/* Acts on what the guest asked for; false: nothing, or not now. */
static bool handle_requests(struct vm *vm) {
        unsigned pending = atomic_exchange(&vm->pending, 0);
        struct guest_end e = end_of(vm, pending);

        if (pending == 0 || !is_up(vm) || vm->restarting)
                return false;
        if (e.action != CTL_ACTION_RESTART)
                end(vm, e.action, e.state, e.reason);
        else if (restart_is_due(vm))
                restart(vm, e);
        else {
                atomic_fetch_or(&vm->pending, pending);
                return false;
        }
        return true;
}

/* With the vCPUs at the gate and the devices idle: back to power on. */
static int reset_in_place(struct vm *vm) {
        const char *text;
        int r = parts_reset(&vm->machine->parts, &text);

        if (r < 0) {
                log_error(r, "cannot reset the guest: %s", text);
                end(vm, CTL_ACTION_DESTROY, CTL_STATE_CRASHED, CTL_REASON_VCPU_ERROR);
                return r;
        }
        atomic_store(&vm->pending, 0);
        vm->reboot_asked = false;
        vcpus_release(vm->machine->vcpus);
        if (vm->callbacks.was_reset)
                vm->callbacks.was_reset(vm->callbacks.arg);
        return 0;
}

/* With the vCPUs at the gate. A guest that has let go of a device, or restarts, does not find it however long it takes.
 */
static void remove_slots(struct vm *vm, uint32_t slots) {
        for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
                struct virtio_device *dev = slots & BIT(slot) ? machine_find(vm->machine, slot) : NULL;

                if (!dev)
                        continue;
                if (!virtio_pci_is_leaving(dev))
                        virtio_pci_leave(dev);
                virtio_pci_hide(dev);
        }
}

/* False: it has to wait. */
static bool advance_reset(struct vm *vm) {
        bool by_host = vm->reset_wanted, after_crash = vm->restarting && vm->state == CTL_STATE_CRASHED;
        int r;

        /* The guest that comes finds nothing that it would have to let go of. */
        remove_slots(vm, vm->unplug_asked);
        if (!vm->resetting)
                parts_reset_begin(&vm->machine->parts);
        vm->resetting = true;
        if (parts_are_busy(&vm->machine->parts))
                return false;
        vm->resetting = vm->reset_wanted = false;
        r = reset_in_place(vm);
        vm->restarting = false;
        if (r == 0 && vm->state != CTL_STATE_RUNNING && vm->state != CTL_STATE_PAUSED)
                set_state(vm, vm->pause_wanted ? CTL_STATE_PAUSED : CTL_STATE_RUNNING,
                          after_crash ? CTL_REASON_NONE : CTL_REASON_REQUEST);
        if (by_host)
                finish(vm, VM_RESET, r);
        return true;
}

static void advance_pause(struct vm *vm) {
        if (!vm->quiesced)
                parts_quiesce(&vm->machine->parts);
        vm->quiesced = true;
        if (!vm->pause_wanted || parts_are_busy(&vm->machine->parts))
                return;
        if (vm->state == CTL_STATE_RUNNING)
                set_state(vm, CTL_STATE_PAUSED, vm->pause_reason);
        finish(vm, VM_PAUSE, 0);
}

/* KVM takes an NMI only for a vCPU that is not running at the moment. */
static void advance_nmi(struct vm *vm) {
        vm->nmi_wanted = false;
        finish(vm, VM_NMI, vcpus_nmi(vm->machine->vcpus));
}

/* False: the guest has let go of none. */
static bool handle_ejects(struct vm *vm) {
        uint32_t slots = atomic_exchange(&vm->ejected, 0);

        if (!slots)
                return false;
        remove_slots(vm, slots);
        /* All are parked, so nobody holds the gate anew meanwhile. What the guest's end has closed, a reset opens. */
        if (is_up(vm) && atomic_load(&vm->pending) == 0)
                vcpus_release(vm->machine->vcpus);
        return true;
}

/* The device that can be taken off the bus now. */
static struct virtio_device *leaver(const struct vm *vm) {
        return vm->unplugged ? NULL : machine_leaver(vm->machine);
}

/* False: there is none, or the one before has to be freed first. */
static bool unplug_leaver(struct vm *vm) {
        struct virtio_device *dev = leaver(vm);

        if (!dev)
                return false;
        vm->unplugged_slot = virtio_pci_slot(dev);
        vm->guest_errors_gone += __atomic_load_n(&dev->guest_errors.count, __ATOMIC_RELAXED);
        vm->unplug_asked &= ~BIT(vm->unplugged_slot);
        machine_unplug(vm->machine, dev);
        vm->unplugged = dev;
        return true;
}

static bool free_unplugged(struct vm *vm) {
        if (!vm->unplugged)
                return false;
        vm->unplugged = virtio_pci_free(vm->unplugged);
        if (vm->unplug_told & BIT(vm->unplugged_slot))
                hotplug_up(vm->machine->hotplug, vm->unplugged_slot);
        vm->unplug_told &= ~BIT(vm->unplugged_slot);
        if (vm->callbacks.removed)
                vm->callbacks.removed(vm->callbacks.arg, vm->unplugged_slot);
        return true;
}

static bool must_stand(const struct vm *vm) {
        return vm->pause_wanted || vm->reset_wanted || vm->nmi_wanted || !is_up(vm) || vm->restarting ||
               atomic_load(&vm->pending) != 0 || atomic_load(&vm->ejected) != 0 || leaver(vm);
}

static void stand(struct vm *vm) {
        if (!vm->standing)
                (void) vcpus_pause(vm->machine->vcpus);
        vm->standing = true;
}

static void go_on(struct vm *vm) {
        if (vm->quiesced)
                parts_resume(&vm->machine->parts);
        vm->quiesced = false;
        if (vm->standing)
                vcpus_resume(vm->machine->vcpus);
        vm->standing = false;
}

/* Takes the machine as far as possible without blocking. Terminates: each turn completes a request. */
static void advance_operations(struct vm *vm) {
        while (must_stand(vm)) {
                stand(vm);
                if (!vcpus_are_parked(vm->machine->vcpus))
                        return;
                if (handle_requests(vm) || handle_ejects(vm) || unplug_leaver(vm))
                        continue;
                if (vm->nmi_wanted) {
                        advance_nmi(vm);
                        continue;
                }
                if (vm->reset_wanted || vm->restarting) {
                        if (!advance_reset(vm))
                                return;
                        continue;
                }
                if (vm->pause_wanted || !is_up(vm))
                        advance_pause(vm);
                return;
        }
        go_on(vm);
}

static void advance(struct vm *vm) {
        do
                advance_operations(vm);
        while (free_unplugged(vm));
}

static void drain(int fd) {
        uint64_t count;

        (void) !read(fd, &count, sizeof(count));
}

static void on_event(void *arg, uint32_t events) {
        struct vm *vm = arg;

        drain(vm->event_fd);
        if (vm->state != CTL_STATE_SETUP)
                advance(vm);
}

static void on_timer(void *arg, uint32_t events) {
        struct vm *vm = arg;

        drain(vm->timer_fd);
        advance(vm);
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

int vm_add_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot) {
        if (vm->state != CTL_STATE_SETUP)
                return -EBUSY;
        return machine_add(vm->machine, dev, slot);
}

/* The limit was lowered at the start; who adds an image that is larger has raised it before. */
static int check_file(const struct virtio_device *dev) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
                return -errno;
        return dev->file_size > limit.rlim_cur ? -EFBIG : 0;
}

int vm_plug_virtio(struct vm *vm, struct virtio_device *dev, unsigned slot) {
        int r = vm->state == CTL_STATE_SETUP ? -EINVAL : check_file(dev);

        return r < 0 ? r : machine_plug(vm->machine, dev, slot);
}

int vm_unplug_virtio(struct vm *vm, unsigned slot, bool force) {
        struct virtio_device *dev = vm->state == CTL_STATE_SETUP ? NULL : machine_find(vm->machine, slot);

        if (!dev)
                return -ENOENT;
        if (virtio_pci_is_leaving(dev))
                return -EALREADY;
        vm->unplug_asked |= BIT(slot);
        if (force || !virtio_pci_has_driver(dev)) {
                vm->unplug_told |= BIT(slot);
                virtio_pci_leave(dev);
        } else
                hotplug_down(vm->machine->hotplug, slot);
        advance(vm);
        return 0;
}

bool vm_is_leaving(const struct vm *vm, unsigned slot) {
        const struct virtio_device *dev = machine_find(vm->machine, slot);

        return dev && virtio_pci_is_leaving(dev);
}

/* The limit is the size of the largest image that the guest may write: a raw image never grows. */
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
                parts_reset_begin(&vm->machine->parts); /* without threads nothing is at work */
        if (r >= 0)
                r = parts_reset(&vm->machine->parts, &text);
        if (r >= 0)
                r = machine_start(vm->machine, &text);
        if (r < 0) {
                if (ret_text)
                        *ret_text = text;
                return r;
        }
        vm->standing = paused;
        vm->pause_wanted = paused;
        if (!paused)
                vcpus_resume(vm->machine->vcpus);
        set_state(vm, paused ? CTL_STATE_PAUSED : CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return 0;
}

static bool is_paused(const struct vm *vm) {
        return vm->state == CTL_STATE_PAUSED && vm->quiesced && !parts_are_busy(&vm->machine->parts);
}

bool vm_is_pausing(const struct vm *vm) {
        return vm->pause_wanted && vm->state != CTL_STATE_PAUSED;
}

static void want_pause(struct vm *vm, enum ctl_reason reason) {
        if (!vm->pause_wanted)
                vm->pause_reason = reason;
        vm->pause_wanted = true;
        advance(vm);
}

int vm_pause(struct vm *vm) {
        if (vm->state == CTL_STATE_SETUP || !is_up(vm))
                return -EINVAL;
        want_pause(vm, CTL_REASON_REQUEST);
        if (is_paused(vm))
                return 0;
        return is_up(vm) ? VM_PENDING : -EINVAL; /* the guest may have ended meanwhile */
}

void vm_pause_for_error(struct vm *vm) {
        if (vm->state == CTL_STATE_RUNNING)
                want_pause(vm, CTL_REASON_IO_ERROR);
}

int vm_resume(struct vm *vm) {
        bool pausing = vm_is_pausing(vm);

        if (vm->state == CTL_STATE_SETUP || !is_up(vm))
                return -EINVAL;
        vm->pause_wanted = false;
        if (pausing)
                finish(vm, VM_PAUSE, -ECANCELED);
        advance(vm);
        if (vm->state == CTL_STATE_PAUSED)
                set_state(vm, CTL_STATE_RUNNING, CTL_REASON_REQUEST);
        return is_up(vm) ? 0 : -EINVAL;
}

int vm_reset(struct vm *vm) {
        if (vm->state == CTL_STATE_SETUP)
                return -EINVAL;
        vm->reset_wanted = true;
        advance(vm);
        return vm->reset_wanted ? VM_PENDING : vm->result[VM_RESET];
}

int vm_nmi(struct vm *vm) {
        if (vm->state != CTL_STATE_RUNNING)
                return -EINVAL;
        vm->nmi_wanted = true;
        advance(vm);
        return vm->nmi_wanted ? VM_PENDING : vm->result[VM_NMI];
}

/* A paused guest sees the press when it is resumed: the interrupt stays pending in KVM's interrupt controllers. */
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
        uint64_t sum = vm->guest_errors_gone;

        for (unsigned i = 0; i < vm->machine->n_devices; i++)
                sum += __atomic_load_n(&vm->machine->device[i]->guest_errors.count, __ATOMIC_RELAXED);
        return sum;
}
