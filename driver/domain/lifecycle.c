/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an operator does to a domain: start, pause, press its buttons, end it. A microVM
 * has one button, ACPI power; a reboot presses it too, and the monitor remembers to
 * restart the guest once it has powered off.
 */
#include <errno.h>
#include <signal.h>

#include "conf/vmm_config.h"
#include "domain/internal.h"
#include "util/error.h"

gboolean domain_vmm_simple(Domain *d, enum ctl_type type, GError **err) {
        struct ctl_header message = { 0 };
        struct ctl_reply reply;
        domain_unlock(d);
        gboolean ok = vmm_call(d->run.vmm, type, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), err);
        domain_lock(d);
        return ok;
}

gboolean domain_send_actions(Domain *d, GError **err) {
        struct ctl_actions message = {
                .on_poweroff = vmm_config_action(d->def->on_poweroff),
                .on_reboot = vmm_config_action(d->def->on_reboot),
                .on_crash = vmm_config_action(d->def->on_crash),
        };
        struct ctl_reply reply;
        domain_unlock(d);
        gboolean ok =
                vmm_call(d->run.vmm, CTL_SET_ACTIONS, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), err);
        domain_lock(d);
        if (!ok)
                return FALSE;
        d->run.reboot_pending = FALSE;
        return status_save(d, err);
}

gboolean domain_create(Domain *d, guint flags, GError **err) {
        const guint known = VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_BYPASS_CACHE | VIR_DOMAIN_START_FORCE_BOOT |
                            VIR_DOMAIN_START_RESET_NVRAM;
        if (!error_check_flags(flags, known, "virDomainCreateWithFlags", err) || !domain_job_begin(d, err))
                return FALSE;
        gboolean ok = FALSE;
        if (domain_active(d))
                error_set(err, VIR_ERR_OPERATION_INVALID, "domain is already running");
        else
                ok = domain_start(d, flags & VIR_DOMAIN_START_PAUSED, err);
        domain_job_end(d);
        if (!ok)
                domain_settle(d);
        return ok;
}

/* Waits without the lock, so that getters do not wait. */
static gboolean wait_for_end(Domain *d, int ms) {
        domain_unlock(d);
        gboolean ended = vmm_wait(d->run.vmm, ms);
        domain_lock(d);
        return ended;
}

/* With `graceful` the monitor is asked to quit, which flushes disks, and is not killed after a time-out. */
static gboolean end_monitor(Domain *d, gboolean graceful, GError **err) {
        if (graceful && !domain_vmm_simple(d, CTL_QUIT, err))
                return FALSE;
        if (!graceful)
                vmm_kill(d->run.vmm, SIGKILL);
        if (wait_for_end(d, graceful ? QUIT_WAIT_MS : KILL_WAIT_MS))
                return TRUE;
        if (graceful)
                error_set(err, VIR_ERR_OPERATION_FAILED,
                          "monitor of domain '%s' did not quit; destroy without --graceful", d->name);
        else
                error_set_errno(err, EBUSY, "Failed to terminate process %d with SIGKILL (is a disk's storage gone?)",
                                (int) vmm_pid(d->run.vmm));
        return FALSE;
}

/*
 * Kills the monitor of a domain that runs or is being started, while another operation, which may be waiting for this
 * very monitor, still has the job; a start that waits for another process is interrupted. TRUE: the domain is ending,
 * and its clean-up is under way. *ret_vmm may be NULL even so: a start that has no monitor yet fails as soon as it
 * looks.
 */
static gboolean kill_first(Domain *d, Vmm **ret_vmm) {
        domain_lock(d);
        gboolean starting = d->starting.active;
        Vmm *vmm = starting ? d->starting.vmm : d->run.vmm;
        g_autoptr(GCancellable) interrupt = starting ? g_object_ref(d->starting.interrupt) : NULL;
        if (starting)
                d->starting.destroyed = TRUE;
        else if (vmm)
                d->run.destroyed = TRUE;
        autostart_done(d);
        if (vmm)
                vmm_kill(vmm, SIGKILL);
        *ret_vmm = vmm ? vmm_ref(vmm) : NULL;
        domain_unlock(d);
        g_cancellable_cancel(interrupt); /* its handlers take locks */
        return starting || vmm;
}

static gboolean destroy_killed(Domain *d, const Vmm *killed, GError **err) {
        g_autoptr(GError) failed = NULL;
        gboolean ok = TRUE;
        if (!domain_job_begin(d, &failed)) {
                if (error_code(failed) == VIR_ERR_NO_DOMAIN) /* a transient one that was cleaned up */
                        return TRUE;
                g_propagate_error(err, g_steal_pointer(&failed));
                return FALSE;
        }
        if (killed && d->run.vmm == killed && (ok = end_monitor(d, FALSE, err)))
                domain_stop(d, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        domain_job_end(d);
        return ok;
}

static gboolean destroy_in_turn(Domain *d, gboolean graceful, GError **err) {
        if (!domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = end_monitor(d, graceful, err);
        if (ok)
                domain_stop(d, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        domain_job_end(d);
        return ok;
}

gboolean domain_destroy(Domain *d, guint flags, GError **err) {
        gboolean graceful = (flags & VIR_DOMAIN_DESTROY_GRACEFUL) != 0;
        g_autoptr(Vmm) killed = NULL;
        if (!error_check_flags(flags, VIR_DOMAIN_DESTROY_GRACEFUL | VIR_DOMAIN_DESTROY_REMOVE_LOGS,
                               "virDomainDestroyFlags", err))
                return FALSE;
        gboolean ok = !graceful && kill_first(d, &killed) ? destroy_killed(d, killed, err)
                                                          : destroy_in_turn(d, graceful, err);
        if (ok)
                domain_settle(d);
        return ok;
}

static gboolean check_running(const Domain *d, GError **err) {
        if (d->state == VIR_DOMAIN_RUNNING)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_INVALID,
                         "domain '%s' is not running but paused or ending: resume it first", d->name);
}

/* A paused guest sees the button when it is resumed; one that has ended never does. */
static gboolean check_not_ended(const Domain *d, GError **err) {
        return d->state == VIR_DOMAIN_PAUSED || check_running(d, err);
}

gboolean domain_shutdown(Domain *d, guint flags, GError **err) {
        if (!error_check_flags(flags, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
                               "virDomainShutdownFlags", err) ||
            !domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = FALSE;
        if (flags == VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
                error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "no guest agent is used: shut down with --mode acpi");
        else
                ok = check_not_ended(d, err) && domain_vmm_simple(d, CTL_POWER_BUTTON, err);
        domain_job_end(d);
        return ok;
}

gboolean domain_reboot(Domain *d, guint flags, GError **err) {
        if (!error_check_flags(flags, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN | VIR_DOMAIN_REBOOT_GUEST_AGENT,
                               "virDomainReboot", err) ||
            !domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = FALSE;
        if (flags == VIR_DOMAIN_REBOOT_GUEST_AGENT)
                error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "no guest agent is used: reboot with --mode acpi");
        else
                ok = check_not_ended(d, err) && domain_vmm_simple(d, CTL_REBOOT_BUTTON, err);
        domain_job_end(d);
        return ok;
}

gboolean domain_reset(Domain *d, GError **err) {
        if (!domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = domain_vmm_simple(d, CTL_RESET, err);
        domain_job_end(d);
        return ok;
}

gboolean domain_inject_nmi(Domain *d, GError **err) {
        if (!domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = check_running(d, err) && domain_vmm_simple(d, CTL_NMI, err);
        domain_job_end(d);
        return ok;
}

static void set_state(Domain *d, int state, int reason, int event, int detail) {
        d->state = state;
        d->reason = reason;
        event_lifecycle(d, event, detail);
        status_save_or_warn(d, NULL);
}

gboolean domain_suspend(Domain *d, GError **err) {
        if (!domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = d->state == VIR_DOMAIN_PAUSED;
        if (!ok && check_running(d, err) && domain_vmm_simple(d, CTL_PAUSE, err)) {
                set_state(d, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, VIR_DOMAIN_EVENT_SUSPENDED,
                          VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
                ok = TRUE;
        }
        domain_job_end(d);
        return ok;
}

gboolean domain_resume(Domain *d, GError **err) {
        if (!domain_job_begin_active(d, err))
                return FALSE;
        gboolean ok = FALSE;
        if (d->state == VIR_DOMAIN_RUNNING) {
                error_set(err, VIR_ERR_OPERATION_INVALID, "domain is already running");
        } else if (d->state != VIR_DOMAIN_PAUSED) {
                error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' has ended: reset or destroy it", d->name);
        } else if (domain_vmm_simple(d, CTL_RESUME, err)) {
                set_state(d, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, VIR_DOMAIN_EVENT_RESUMED,
                          VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
                ok = TRUE;
        }
        domain_job_end(d);
        return ok;
}
