/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a domain, whatever its cause. It waits for the domain's monitor alone; what goes back to other
 * processes does so in the background (release.c). The monitor reports a state change (on_event records why),
 * its process ends (on_exited), and a background thread takes the job and cleans up; a destroy does the same
 * synchronously and leaves nothing for the background thread to do.
 */
#include "domain/device.h"
#include "domain/hotplug.h"
#include "systemd/scope.h"
#include "util/error.h"
#include "util/file.h"

/* Forgets the running half: the persistent definition comes back. Lock held. */
static void forget_runtime(Domain *d) {
        console_kick_all(d);
        g_clear_pointer(&d->run.vmm, vmm_unref);
        g_clear_pointer(&d->run.unit, g_free);
        g_clear_pointer(&d->run.machine, g_free);
        g_clear_pointer(&d->run.cgroup, g_free);
        g_clear_pointer(&d->run.terminals, g_hash_table_unref);
        g_clear_pointer(&d->run.devices, device_ids_free);
        driver_drop_uid(d->driver, d->run.uid);
        d->run = (DomainRuntime) { 0 };
        if (d->newdef) {
                domain_def_free(d->def);
                d->def = g_steal_pointer(&d->newdef);
        }
        d->def->id = -1;
}

void domain_cleanup_runtime(Domain *d) {
        domain_unlock(d);
        if (d->run.vmm) {
                vmm_kill(d->run.vmm, SIGKILL);
                if (!vmm_wait(d->run.vmm, KILL_WAIT_MS))
                        domain_log(d, G_LOG_LEVEL_WARNING, "monitor %d did not terminate", (int) vmm_pid(d->run.vmm));
        }
        devices_release(d, d->def);
        domain_release(d, d->run.unit, d->run.registered ? d->run.machine : NULL);
        domain_lock(d);
        status_delete(d);
}

static const char *stop_text(int detail) {
        switch (detail) {
        case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
                return "shut down";
        case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
                return "destroyed";
        case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
                return "the guest crashed";
        default:
                return "its monitor failed";
        }
}

void domain_stop(Domain *d, int reason, int detail) {
        domain_cleanup_runtime(d);
        d->state = VIR_DOMAIN_SHUTOFF;
        d->reason = reason;
        g_atomic_int_add(&d->driver->n_active, -1); /* before the event, whose listeners query it */
        event_lifecycle(d, VIR_DOMAIN_EVENT_STOPPED, detail);
        domain_log(d, G_LOG_LEVEL_MESSAGE, "stopped: %s", stop_text(detail));
        forget_runtime(d);
        if (!d->persistent)
                driver_remove(d);
}

/* What libvirt calls the end of a guest that its monitor has reported. */
static void note_end(Domain *d, enum ctl_state state, enum ctl_reason reason) {
        d->run.ended = TRUE;
        if (state == CTL_STATE_CRASHED) {
                d->run.end_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
                d->run.end_detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
        } else {
                d->run.end_reason = VIR_DOMAIN_SHUTOFF_SHUTDOWN;
                d->run.end_detail = VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN;
        }
}

static void take_end(Domain *d, guint32 state, guint32 reason) {
        switch (state) {
        case CTL_STATE_SHUTDOWN:
                note_end(d, state, reason);
                d->state = VIR_DOMAIN_SHUTDOWN;
                d->reason = VIR_DOMAIN_SHUTDOWN_USER;
                event_lifecycle(d, VIR_DOMAIN_EVENT_SHUTDOWN,
                                reason == CTL_REASON_GUEST ? VIR_DOMAIN_EVENT_SHUTDOWN_GUEST
                                                           : VIR_DOMAIN_EVENT_SHUTDOWN_HOST);
                break;
        case CTL_STATE_CRASHED:
                note_end(d, state, reason);
                d->state = VIR_DOMAIN_CRASHED;
                d->reason = reason == CTL_REASON_PANIC ? VIR_DOMAIN_CRASHED_PANICKED : VIR_DOMAIN_CRASHED_UNKNOWN;
                event_lifecycle(d, VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED);
                break;
        default:
                break;
        }
}

/* A guest that had ended was reset, by an operator or by its on_crash action. */
static void note_revival(Domain *d, gboolean running) {
        gboolean crashed = d->state == VIR_DOMAIN_CRASHED;
        d->run.ended = FALSE;
        if (running) {
                d->state = VIR_DOMAIN_RUNNING;
                d->reason = crashed ? VIR_DOMAIN_RUNNING_CRASHED : VIR_DOMAIN_RUNNING_BOOTED;
                event_lifecycle(d, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
        } else {
                d->state = VIR_DOMAIN_PAUSED;
                d->reason = crashed ? VIR_DOMAIN_PAUSED_CRASHED : VIR_DOMAIN_PAUSED_UNKNOWN;
                event_lifecycle(d, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
        }
}

/*
 * The monitor did as asked; the caller emits the events. Noted here as well, since an earlier crash and restart
 * may be reported after the answer.
 */
static void note_request(Domain *d, gboolean running) {
        d->run.ended = FALSE;
        if (running && d->state == VIR_DOMAIN_PAUSED) {
                d->state = VIR_DOMAIN_RUNNING;
                d->reason = VIR_DOMAIN_RUNNING_UNPAUSED;
        } else if (!running && d->state == VIR_DOMAIN_RUNNING) {
                d->state = VIR_DOMAIN_PAUSED;
                d->reason = VIR_DOMAIN_PAUSED_USER;
        }
}

/* A disk's error policy has paused the guest; only this event reports it. */
static void note_stop_by_error(Domain *d) {
        d->state = VIR_DOMAIN_PAUSED;
        d->reason = VIR_DOMAIN_PAUSED_IOERROR;
        event_lifecycle(d, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR);
        domain_log(d, G_LOG_LEVEL_WARNING,
                   "paused because of an I/O error: 'virsh domblkerror' says of which disk, "
                   "'virsh resume' tries again");
        status_save_or_warn(d, NULL);
}

void domain_note_state(Domain *d, guint32 state, guint32 reason) {
        gboolean running = state == CTL_STATE_RUNNING, lives = running || state == CTL_STATE_PAUSED;
        if (lives && (d->state == VIR_DOMAIN_CRASHED || d->state == VIR_DOMAIN_SHUTDOWN))
                note_revival(d, running);
        else if (state == CTL_STATE_PAUSED && reason == CTL_REASON_IO_ERROR && d->state == VIR_DOMAIN_RUNNING)
                note_stop_by_error(d);
        else if (lives)
                note_request(d, running);
        else if (!d->run.ended)
                take_end(d, state, reason);
}

static void on_state(Domain *d, const struct ctl_event_state *event) {
        domain_note_state(d, event->state, event->reason);
}

static void on_io_error(Domain *d, const struct ctl_event_io_error *event) {
        int action = event->policy == CTL_ERROR_STOP     ? VIR_DOMAIN_EVENT_IO_ERROR_PAUSE
                     : event->policy == CTL_ERROR_IGNORE ? VIR_DOMAIN_EVENT_IO_ERROR_NONE
                                                         : VIR_DOMAIN_EVENT_IO_ERROR_REPORT;
        for (guint i = 0; i < d->def->disks->len && event->id != 0; i++) {
                const DomainDisk *disk = g_ptr_array_index(d->def->disks, i);
                if (device_ids_find(d->run.devices, disk->alias) == event->id)
                        event_io_error(d, disk, event->error, action);
        }
}

static DomainChar *find_channel(const Domain *d, guint32 id) {
        for (guint i = 0; i < d->def->chars->len && id != 0; i++) {
                DomainChar *chr = g_ptr_array_index(d->def->chars, i);
                if (chr->device == DOMAIN_CHAR_CHANNEL && device_ids_find(d->run.devices, chr->alias) == id)
                        return chr;
        }
        return NULL;
}

static void on_port(Domain *d, const struct ctl_event_port *event) {
        DomainChar *chr = find_channel(d, event->id);
        if (!chr)
                return;
        const char *state = event->open ? "connected" : "disconnected";
        if (g_strcmp0(chr->target_state, state) == 0)
                return;
        g_free(chr->target_state);
        chr->target_state = g_strdup(state);
        if (g_strcmp0(chr->target_name, "org.qemu.guest_agent.0") == 0)
                event_agent(d, event->open != 0);
}

void domain_on_event(Vmm *vmm, const struct ctl_header *message, gpointer data) {
        Domain *d = data;
        domain_lock(d);
        if (message->type == CTL_EVENT_REMOVED && d->starting.vmm == vmm)
                d->starting.removed = TRUE;
        switch (d->run.vmm == vmm ? message->type : 0) {
        case CTL_EVENT_STATE:
                on_state(d, (const struct ctl_event_state *) message);
                break;
        case CTL_QUERY | CTL_REPLY:
                domain_on_greeting(d, (const struct ctl_query_reply *) message);
                break;
        case CTL_EVENT_RESET:
                event_simple(d, VIR_DOMAIN_EVENT_ID_REBOOT);
                break;
        case CTL_EVENT_IO_ERROR:
                on_io_error(d, (const struct ctl_event_io_error *) message);
                break;
        case CTL_EVENT_REMOVED:
                hotplug_removed(d, ((const struct ctl_event_removed *) message)->id);
                break;
        case CTL_EVENT_PORT:
                on_port(d, (const struct ctl_event_port *) message);
                break;
        default:
                break;
        }
        domain_unlock(d);
}

/* Why a monitor ended whose last event was lost. The monitor wrote the file, so it may be of any length. */
void domain_read_exit_record(Domain *d, int *ret_reason, int *ret_detail) {
        struct ctl_exit_record record;
        g_autofree char *path = state_path(d->driver, d->name, ".exit");
        *ret_reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        *ret_detail = VIR_DOMAIN_EVENT_STOPPED_FAILED;
        if (file_read_head(path, &record, sizeof(record)) != sizeof(record))
                return;
        if (record.magic != CTL_MAGIC)
                return;
        gboolean crashed = record.state == CTL_STATE_CRASHED;
        *ret_reason = crashed ? VIR_DOMAIN_SHUTOFF_CRASHED : VIR_DOMAIN_SHUTOFF_SHUTDOWN;
        *ret_detail = crashed ? VIR_DOMAIN_EVENT_STOPPED_CRASHED : VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN;
}

char *domain_describe_oom(const Driver *driver, const char *unit) {
        guint64 limit_kib = 0;
        if (!driver->bus || !scope_was_oom_killed(driver->bus, unit, &limit_kib))
                return NULL;
        if (limit_kib == 0)
                return g_strdup("the host, or the slice that its scope is in, had no memory left");
        return g_strdup_printf("it needed more memory than its limit of %" G_GUINT64_FORMAT
                               " KiB: raise <hard_limit>, which holds the guest's memory and the monitor's own",
                               limit_kib);
}

/* The monitor is gone without an event: its connection was down, or the guest ended before it was published. */
static void stop_untold(Domain *d, Vmm *vmm) {
        int reason, detail;
        domain_read_exit_record(d, &reason, &detail);
        if (detail == VIR_DOMAIN_EVENT_STOPPED_FAILED) {
                g_autofree char *end = vmm_describe_end(vmm);
                domain_log(d, G_LOG_LEVEL_WARNING, "its monitor %s", end ? end : "is gone");
                d->run.unexplained = TRUE;
        }
        domain_stop(d, reason, detail);
}

/* Background: the monitor `data` is gone; unless a destroy was quicker, so is the domain. */
static void finish_exited(Domain *d, gpointer data) {
        g_autoptr(Vmm) vmm = data;
        domain_job_wait(d);
        if (d->run.vmm == vmm && d->run.destroyed)
                domain_stop(d, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        else if (d->run.vmm == vmm && d->run.ended)
                domain_stop(d, d->run.end_reason, d->run.end_detail);
        else if (d->run.vmm == vmm)
                stop_untold(d, vmm);
        domain_job_end(d);
}

void domain_on_exited(Vmm *vmm, gpointer data) {
        Domain *d = data;
        driver_run(d->driver, finish_exited, d, vmm_ref(vmm));
        vmm_disconnect(vmm);
        domain_unref(d); /* the callbacks' reference */
}
