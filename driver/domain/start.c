/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting a domain:
 *
 *   open what the definition names     cheap refusals before any process exists
 *   spawn the monitor                  it waits, holding nothing
 *   scope                              the monitor enters it before it maps guest memory
 *   status                             from here on another daemon finds it and its resources, should this one die
 *   TAPs, network ports, machined
 *   status again                       with the names of these
 *   hand everything over, START
 *   place its threads on their CPUs
 *
 * All of it works on a copy of the definition and a Launch, with the domain's job held but its lock dropped.
 * Nothing of the domain changes before the guest runs, so undoing a failed start is launch_undo() alone. A destroy
 * meanwhile kills the monitor, if there is one, interrupts the wait for another process, and leaves a note in
 * d->starting that fails the start at its next step.
 */
#include <string.h>
#include <unistd.h>

#include "domain/affinity.h"
#include "domain/launch.h"
#include "systemd/scope.h"
#include "util/error.h"

/* What a monitor that locks its guest's memory may lock beyond it, bytes. */
#define MEMLOCK_OVERHEAD (64ull << 20)
/* Milliseconds: a killed monitor closes its socket first, its process may end somewhat later. */
#define END_WAIT_MS 500

const VmmCallbacks domain_vmm_callbacks = { .event = domain_on_event, .exited = domain_on_exited };

/* From here on a destroy finds the monitor. */
static void show_monitor(Vmm *vmm, gpointer data) {
        Domain *d = data;
        domain_lock(d);
        d->starting.vmm = vmm_ref(vmm);
        if (d->starting.destroyed)
                vmm_kill(vmm, SIGKILL);
        domain_unlock(d);
}

static gboolean launch_spawn(Launch *l, GError **err) {
        const DriverConfig *config = l->domain->driver->config;
        char uuid[37];
        VmmCallbacks callbacks = domain_vmm_callbacks;
        g_autofree char *socket_path = state_path(l->domain->driver, l->def->name, ".ctl");
        domain_uuid_format(l->def->uuid, uuid);
        VmmSpawn spawn = {
                .binary = config->vmm_path,
                .name = l->def->name,
                .uuid = uuid,
                .machine = l->machine,
                .uid = l->uid,
                .socket_path = socket_path,
                .log_path = JOURNAL_STREAM_SOCKET,
                .log_fd = -1,
                .journal_fd = journal_connect(),
                .memlock = l->def->memory.locked ? l->def->memory.maximum_kib * 1024 + MEMLOCK_OVERHEAD : 0,
                .made = show_monitor,
                .made_data = l->domain,
        };
        callbacks.data = domain_ref(l->domain);
        l->vmm = vmm_spawn(&spawn, &callbacks, err);
        if (spawn.journal_fd >= 0)
                (void) close(spawn.journal_fd);
        if (!l->vmm)
                domain_unref(l->domain);
        return l->vmm != NULL;
}

static gboolean launch_scope(Launch *l, GError **err) {
        Driver *driver = l->domain->driver;
        if (!driver->bus) {
                return error_set(err, VIR_ERR_OPERATION_FAILED,
                                 "there is no system bus, so systemd cannot make the scope '%s'", l->unit);
        }
        g_autoptr(GError) failed = NULL;
        gboolean ok = scope_start(driver->bus, l->def, l->unit, l->slice, vmm_pid(l->vmm),
                                  driver->config->shutdown_timeout, &failed);
        /* A call that took too long may still succeed; one that failed because the unit existed did not start ours. */
        l->scope_started = ok || error_code(failed) == VIR_ERR_OPERATION_TIMEOUT ||
                           error_code(failed) == VIR_ERR_OPERATION_ABORTED;
        if (!ok) {
                g_propagate_error(err, g_steal_pointer(&failed));
                return FALSE;
        }
        l->cgroup = scope_cgroup_path(driver->bus, l->unit, err);
        return l->cgroup && scope_check_limits(l->cgroup, l->def, err);
}

static gboolean launch_register(Launch *l, GError **err) {
        int ifindex[DOMAIN_NICS_MAX];
        unsigned n = 0;
        for (guint i = 0; i < l->plugs->len; i++) {
                const Plug *plug = g_ptr_array_index(l->plugs, i);
                if (plug->ifindex > 0 && n < G_N_ELEMENTS(ifindex))
                        ifindex[n++] = plug->ifindex;
        }
        return machined_register(l->domain->driver->bus, l->machine, l->def->uuid, vmm_pid(l->vmm), ifindex, n,
                                 &l->registered, err);
}

/* One request whose answer carries nothing but success. */
static gboolean send_one(Launch *l, enum ctl_type type, gpointer message, gsize size, const int *fds, unsigned n_fds,
                         GError **err) {
        struct ctl_reply reply = { 0 };
        gboolean ok = vmm_call(l->vmm, type, message, size, fds, n_fds, &reply, sizeof(reply), err);
        l->refused = reply.error != 0;
        return ok;
}

static gboolean send_file(Launch *l, enum ctl_type type, const char *name, int fd, GError **err) {
        struct ctl_file message = { 0 };
        g_strlcpy(message.name, name, sizeof(message.name));
        return send_one(l, type, &message, sizeof(message), &fd, 1, err);
}

static gboolean send_machine(Launch *l, GError **err) {
        struct ctl_header exit_record = { 0 };
        return send_one(l, CTL_SET_EXIT_RECORD, &exit_record, sizeof(exit_record), &l->exit_fd, 1, err) &&
               send_one(l, CTL_SET_MACHINE, &l->config.machine, sizeof(l->config.machine), &l->kvm_fd, 1, err) &&
               (l->config.cpu.n == 0 ||
                send_one(l, CTL_SET_CPU, &l->config.cpu, sizeof(l->config.cpu), NULL, 0, err)) &&
               send_file(l, CTL_SET_KERNEL, l->def->os.kernel, l->kernel_fd, err) &&
               (l->initrd_fd < 0 || send_file(l, CTL_SET_INITRD, l->def->os.initrd, l->initrd_fd, err)) &&
               send_one(l, CTL_SET_CMDLINE, &l->config.cmdline, sizeof(l->config.cmdline), NULL, 0, err);
}

static gboolean send_plugs(Launch *l, GError **err) {
        const PlugHost host = launch_host(l);
        for (guint i = 0; i < l->plugs->len; i++) {
                Plug *plug = g_ptr_array_index(l->plugs, i);
                guint32 id = device_ids_find(l->devices, plug_alias(plug));
                if (!plug_send(plug, &host, l->vmm, id, &l->refused, err))
                        return FALSE;
        }
        return TRUE;
}

/* Guest memory is mapped, and locked if it is to be, within the limits of the scope. */
static gboolean launch_hand_over(Launch *l, gboolean paused, GError **err) {
        struct ctl_start start = { .flags = paused ? CTL_START_PAUSED : 0 };
        g_autoptr(GError) failed = NULL;
        if (send_machine(l, &failed) && send_plugs(l, &failed) &&
            send_one(l, CTL_START, &start, sizeof(start), NULL, 0, &failed))
                return TRUE;
        gboolean ended = !l->refused && vmm_wait(l->vmm, END_WAIT_MS);
        g_autofree char *oom = ended ? domain_describe_oom(l->domain->driver, l->unit) : NULL;
        if (oom)
                return error_set(err, VIR_ERR_OPERATION_FAILED,
                                 "the kernel has killed the monitor of domain '%s' at its start: %s", l->def->name,
                                 oom);
        g_propagate_error(err, g_steal_pointer(&failed));
        return FALSE;
}

/* The guest already runs; if its threads cannot be placed, it is ended again. */
static gboolean launch_place(Launch *l, GError **err) {
        struct ctl_header message = { 0 };
        struct ctl_query_reply reply;
        pid_t tid[DOMAIN_VCPUS_MAX] = { 0 };
        unsigned n = MIN(l->def->vcpus, DOMAIN_VCPUS_MAX);
        return !affinity_is_wanted(l->def) ||
               (vmm_call(l->vmm, CTL_QUERY, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), err) &&
                vmm_resolve_threads(l->vmm, reply.vcpu_tid, MIN(reply.vcpus, n), tid, err) &&
                affinity_apply(l->cgroup, l->def, tid, err));
}

/*
 * Ends what a failed start has begun, in reverse order. The descriptors go before the scope: an open vhost one keeps
 * a kernel thread in the cgroup, and systemd waits for it.
 */
static void launch_undo(Launch *l) {
        const PlugHost host = launch_host(l);
        if (l->vmm) {
                vmm_kill(l->vmm, SIGKILL);
                (void) vmm_wait(l->vmm, 5000);
        }
        launch_close(l);
        for (guint i = l->plugs ? l->plugs->len : 0; i-- > 0;)
                plug_undo(g_ptr_array_index(l->plugs, i), &host);
        domain_release(l->domain, l->scope_started ? l->unit : NULL, l->registered ? l->machine : NULL);
        if (l->owns_name)
                status_delete(l->domain);
}

static int first_state(gboolean paused, int *ret_reason) {
        *ret_reason = paused ? (int) VIR_DOMAIN_PAUSED_USER : (int) VIR_DOMAIN_RUNNING_BOOTED;
        return paused ? VIR_DOMAIN_PAUSED : VIR_DOMAIN_RUNNING;
}

/* The strings stay the Launch's. */
static DomainRuntime launch_runtime(const Launch *l) {
        return (DomainRuntime) {
                .vmm = l->vmm,
                .unit = l->unit,
                .machine = l->machine,
                .cgroup = l->cgroup,
                .terminals = l->terminals,
                .devices = l->devices,
                .registered = l->registered,
                .uid = l->uid,
        };
}

/* A daemon that finds this ends a monitor that has not started its guest, and releases everything named here, made or
 * not. */
static gboolean launch_note(Launch *l, gboolean paused, GError **err) {
        DomainRuntime run = launch_runtime(l);
        int reason, state = first_state(paused, &reason);
        return status_write(l->domain->driver, l->def, &run, state, reason, err);
}

static gboolean launch_connect(Launch *l, gboolean paused, GError **err) {
        const PlugHost host = launch_host(l);
        for (guint i = 0; i < l->plugs->len; i++) {
                const Plug *plug = g_ptr_array_index(l->plugs, i);
                if (plug_has_id(plug))
                        (void) device_ids_give(l->devices, plug_alias(plug));
        }
        if (!launch_note(l, paused, err))
                return FALSE;
        for (guint i = 0; i < l->plugs->len; i++)
                if (!plug_connect(g_ptr_array_index(l->plugs, i), &host, err))
                        return FALSE;
        return launch_register(l, err) && launch_note(l, paused, err);
}

static gboolean launch_run(Launch *l, gboolean paused, GError **err) {
        if (l->uid == 0) {
                return error_set(err, VIR_ERR_OPERATION_FAILED,
                                 "no uid is left for the monitor: too many domains are running");
        }
        l->machine = scope_machine_name(l->def->id, l->def->name);
        l->unit = scope_unit_name(l->machine);
        l->slice = scope_slice_name(l->def->partition, err);
        l->owns_name = l->slice && domain_check_free(l->domain->driver, l->def->name, err);
        return l->owns_name && scope_check_host(l->def, err) && launch_open(l, err) && launch_spawn(l, err) &&
               launch_scope(l, err) && launch_connect(l, paused, err) && launch_hand_over(l, paused, err) &&
               launch_place(l, err);
}

/* The domain becomes what the Launch has built. Lock held. */
static void launch_publish(Launch *l, Domain *d, gboolean paused) {
        if (d->persistent)
                d->newdef = d->def;
        else
                domain_def_free(d->def);
        d->def = g_steal_pointer(&l->def);
        d->run = launch_runtime(l);
        l->vmm = NULL;
        l->uid = 0;
        l->unit = l->machine = l->cgroup = NULL;
        l->terminals = NULL;
        l->devices = NULL;
        d->state = first_state(paused, &d->reason);
        g_atomic_int_inc(&d->driver->n_active);
}

/* The order in which libvirt's QEMU driver reports a start. */
static void emit_started(Domain *d, gboolean paused) {
        if (!paused)
                event_lifecycle(d, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
        event_lifecycle(d, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
        if (paused)
                event_lifecycle(d, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
}

/* What needs the running monitor. If the guest has already ended, its event came before the domain could be found. */
static void finish_start(Domain *d) {
        guint32 state = CTL_STATE_RUNNING, reason = 0;
        (void) domain_read_vcpu_tids(d, &state, &reason);
        affinity_watch_kick(d->driver->affinity);
        if (!d->run.ended && state != CTL_STATE_PAUSED && state != CTL_STATE_RUNNING)
                domain_note_state(d, state, reason);
        status_save_or_warn(d, "a restart of the daemon would not find all of it");
        domain_log(d, G_LOG_LEVEL_MESSAGE, "started as process %d in %s", (int) vmm_pid(d->run.vmm), d->run.unit);
}

/* The last moment at which a destroy can interrupt the start: FALSE if one did. *ret_removed: the guest has given a
 * device away already. Lock held. */
static gboolean end_starting(Domain *d, gboolean *ret_removed) {
        gboolean destroyed = d->starting.destroyed;
        *ret_removed = d->starting.removed;
        g_clear_pointer(&d->starting.vmm, vmm_unref);
        g_clear_object(&d->starting.interrupt);
        d->starting = (DomainStarting) { 0 };
        return !destroyed;
}

static void interrupt_too(GCancellable *outer, gpointer inner) {
        g_cancellable_cancel(inner);
}

/* Runs it so that `interrupt`, or whatever interrupts the caller, also ends its waits for other processes. */
static gboolean launch_run_interruptibly(Launch *l, GCancellable *interrupt, gboolean paused, GError **err) {
        GCancellable *outer = g_cancellable_get_current();
        gulong handler = outer ? g_cancellable_connect(outer, G_CALLBACK(interrupt_too), interrupt, NULL) : 0;
        g_cancellable_push_current(interrupt);
        gboolean ok = launch_run(l, paused, err);
        g_cancellable_pop_current(interrupt);
        g_cancellable_disconnect(outer, handler);
        return ok;
}

gboolean domain_start(Domain *d, guint flags, GError **err) {
        gboolean paused = (flags & VIR_DOMAIN_START_PAUSED) != 0, removed;
        g_autoptr(Launch) l = launch_new(d, domain_def_copy(d->def), driver_next_id(d->driver));
        g_autoptr(GError) failed = NULL;
        domain_def_assign_aliases(l->def);
        g_autoptr(GCancellable) interrupt = g_cancellable_new();
        d->starting.active = TRUE;
        d->starting.interrupt = g_object_ref(interrupt);
        domain_unlock(d);
        gboolean ok = launch_run_interruptibly(l, interrupt, paused, &failed);
        domain_lock(d);
        if (!end_starting(d, &removed)) {
                ok = FALSE;
                error_set(err, VIR_ERR_OPERATION_ABORTED, "domain '%s' was destroyed while it was being started",
                          d->name);
        } else if (!ok) {
                g_propagate_error(err, g_steal_pointer(&failed));
        }
        if (!ok) {
                domain_unlock(d);
                launch_undo(l);
                domain_lock(d);
                return FALSE;
        }
        launch_publish(l, d, paused);
        d->run.compare_devices = removed;
        autostart_done(d);
        emit_started(d, paused);
        finish_start(d);
        return TRUE;
}
