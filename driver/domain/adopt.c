/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding running domains again after the daemon was restarted, upgraded or killed. Each
 * status file names a monitor by pid and start time; a monitor that still runs is
 * connected to and asked for its guest's state; one that has ended has left an exit
 * record, or nothing if it was killed. Either way the domain's end is reported as an
 * event.
 *
 * A guest that runs is never ended, hidden or doubled by the daemon's own trouble:
 *
 *   all files are read before anything is opened that stays open; a daemon that has no
 *   descriptor to read them with does not start, and systemd tries again
 *   a domain is gone only if the kernel says that its process is; everything else is
 *   tried again in the background until it has succeeded (process/vmm_connect.c)
 *   until then the domain is shown as it was last known, calls that need the monitor fail
 *   with a sentence, destroy works, and no other domain waits
 *   what an earlier daemon has told the monitor, but not written down, is taken back
 *   a status that is damaged is made up from what kernel and systemd say (status.c); a start
 *   is refused while anybody serves the domain's control socket (domain_check_free())
 */
#include <string.h>

#include "domain/affinity.h"
#include "domain/launch.h"
#include "domain/nic_change.h"
#include "domain/status.h"
#include "systemd/scope.h"
#include "util/error.h"
#include "util/file.h"

/* A domain that an earlier daemon started. */
typedef struct Found {
        Domain *domain;
        pid_t pid;
        guint64 start_time;
        gboolean recovered; /* its status file is of no use */
} Found;

static void found_free(gpointer data) {
        Found *found = data;
        domain_unref(found->domain);
        g_free(found);
}

/* --- The domain ------------------------------------------------------------------------- */

/* A different definition with this name stays on disk untouched: the running guest is what counts. */
static void make_room(Driver *driver, const DomainDef *def) {
        g_autoptr(Domain) other = driver_lookup_by_name(driver, def->name, NULL);
        if (!other)
                return;
        g_warning("the definition of domain '%s' is ignored: a domain of this name and another UUID runs", def->name);
        domain_lock(other);
        driver_remove(other);
        domain_unlock(other);
}

/* The domain that a live definition belongs to: a persistent one, or a new transient one. Takes the definition. */
static Domain *attach(Driver *driver, Status *status) {
        DomainDef *def = g_steal_pointer(&status->def);
        Domain *d = driver_lookup_by_uuid(driver, def->uuid, NULL);
        int id = def->id;
        if (d && strcmp(d->name, def->name) == 0) {
                d->newdef = d->def;
                d->def = def;
        } else {
                if (d) /* renamed on disk while it ran */
                        driver_remove(d);
                g_clear_pointer(&d, domain_unref);
                make_room(driver, def);
                d = domain_new(driver, def);
                (void) driver_insert(driver, d);
        }
        d->def->id = id;
        d->state = status->state;
        d->reason = status->reason;
        d->run = (DomainRuntime) {
                .unit = g_strdup(status->unit),
                .machine = g_strdup(status->machine),
                .cgroup = g_strdup(status->cgroup),
                .terminals = terminals_restore(def, status->terminals),
                .devices = device_ids_parse(status->devices, def),
                .registered = status->registered != 0,
                .uid = status->uid,
                .reboot_pending = status->reboot_pending != 0,
                .recovered = status->recovered != 0,
        };
        for (guint i = 0; i < def->nics->len; i++) {
                const DomainNic *nic = g_ptr_array_index(def->nics, i);
                if (nic->portid)
                        (void) g_hash_table_add(d->ports, g_strdup(nic->portid));
        }
        driver->last_id = MAX(driver->last_id, id);
        driver_note_uid(driver, status->uid);
        g_atomic_int_inc(&driver->n_active);
        return d;
}

/* FALSE: nothing seems to run; a start checks again. */
static gboolean recover(Driver *driver, const char *name, const char *why, Status *ret) {
        g_autoptr(Domain) d = driver_lookup_by_name(driver, name, NULL);
        status_clear(ret);
        *ret = (Status) { 0 };
        if (!status_recover(driver, name, d ? d->def : NULL, ret)) {
                g_warning("the status of domain '%s' is damaged, and its monitor does not run: %s", name, why);
                return FALSE;
        }
        g_warning("the status of domain '%s' is damaged; recovered from process %d: %s", name, (int) ret->pid, why);
        return TRUE;
}

static gboolean find_one(Driver *driver, const char *name, gpointer data, GError **err) {
        GPtrArray *all = data;
        g_autoptr(GError) failed = NULL;
        g_auto(Status) status = { 0 };
        if (!status_load(driver, name, &status, &failed)) {
                if (file_error_is_shortage(failed)) {
                        g_propagate_error(err, g_steal_pointer(&failed));
                        return FALSE;
                }
                if (!recover(driver, name, failed->message, &status))
                        return TRUE;
        }
        Found *found = g_new0(Found, 1);
        found->recovered = failed != NULL;
        found->pid = status.pid;
        found->start_time = status.start_time;
        found->domain = attach(driver, &status);
        g_ptr_array_add(all, found);
        return TRUE;
}

/* --- The monitor ------------------------------------------------------------------------ */

/* Background, with the job that connect_one() began: a domain without its monitor is cleaned up like any that ended. */
static void finish_lost(Domain *d, gpointer data) {
        int reason, detail;
        domain_lock(d);
        domain_read_exit_record(d, &reason, &detail);
        domain_log(d, G_LOG_LEVEL_MESSAGE, "ended while the daemon was away (%s)",
                   detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN  ? "shut down"
                   : detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED ? "the guest crashed"
                                                                : "its monitor was killed");
        domain_stop(d, reason, detail);
        domain_job_end(d);
        autostart_resume(d);
}

static void connect_one(const Found *found) {
        Domain *d = found->domain;
        g_autoptr(GError) err = NULL;
        g_autofree char *socket_path = state_path(d->driver, d->name, ".ctl");
        VmmCallbacks callbacks = domain_vmm_callbacks;
        callbacks.data = domain_ref(d);
        domain_logs_adopt(d);
        if (!domain_job_begin(d, NULL)) /* nobody else has it yet */
                return;
        d->run.vmm = vmm_adopt(socket_path, found->pid, found->start_time, &callbacks, &err);
        if (d->run.vmm) {
                scope_hold(d->driver->bus, d->run.unit);
                domain_log(d, G_LOG_LEVEL_MESSAGE, "found again, running as process %d", (int) found->pid);
                if (found->recovered)
                        status_save_or_warn(d, NULL);
                domain_job_end(d);
                return;
        }
        domain_log(d, G_LOG_LEVEL_DEBUG, "%s", err->message);
        domain_unref(d);
        driver_run(d->driver, finish_lost, d, NULL);
        domain_unlock(d);
}

gboolean driver_adopt_all(Driver *driver, GError **err) {
        g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(found_free);
        if (!persist_for_each(driver, driver->config->state_dir, find_one, all, err))
                return FALSE;
        for (guint i = 0; i < all->len; i++)
                connect_one(g_ptr_array_index(all, i));
        return TRUE;
}

/* What a monitor reports about itself on each new connection. */
typedef struct Greeting {
        Vmm *vmm;
        struct ctl_query_reply reply;
} Greeting;

static void learn_threads(Domain *d, const Greeting *greeting) {
        const gint32 *inner = greeting->reply.vcpu_tid;
        pid_t tids[DOMAIN_VCPUS_MAX] = { 0 };
        unsigned n = MIN(greeting->reply.vcpus, DOMAIN_VCPUS_MAX);
        g_autoptr(GError) err = NULL;
        if (!vmm_resolve_threads(greeting->vmm, inner, n, tids, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot get the threads of its vCPUs: %s", err->message);
        domain_lock(d);
        if (d->run.vmm == greeting->vmm)
                memcpy(d->run.vcpu_tid, tids, sizeof(tids));
        domain_unlock(d);
        affinity_watch_kick(d->driver->affinity);
}

/* Calls that need them ask again when this fails. A monitor of version 1 has none to tell. */
static void learn_devices(Domain *d, const Greeting *greeting) {
        g_autoptr(GError) err = NULL;
        domain_lock(d);
        if (d->run.vmm == greeting->vmm && !domain_learn_devices(d, FALSE, &err) &&
            !g_error_matches(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_UNSUPPORTED))
                domain_log(d, G_LOG_LEVEL_WARNING, "%s", err->message);
        domain_unlock(d);
}

/* With the job, which a change of an interface has as well. */
static void restore_links(Domain *d, const Greeting *greeting) {
        g_autoptr(GError) err = NULL;
        domain_job_wait(d);
        if (d->run.vmm == greeting->vmm && !nic_restore_links(d, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "its guest may see other link states than its XML says: %s",
                           err->message);
        domain_job_end(d);
}

/* Rare. */
static void settle(Domain *d, const Greeting *greeting) {
        g_autoptr(GError) err = NULL;
        domain_job_wait(d);
        gboolean meant = d->run.vmm == greeting->vmm;
        if (meant && greeting->reply.state == CTL_STATE_SETUP) {
                domain_log(d, G_LOG_LEVEL_WARNING, "was being started when the daemon ended: ending it");
                domain_stop(d, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        } else if (meant && !domain_send_actions(d, &err)) {
                domain_log(d, G_LOG_LEVEL_WARNING, "would restart when it powers off: %s", err->message);
        }
        domain_job_end(d);
        autostart_resume(d);
}

/* Background. A daemon that is stopping leaves guests alone, even those it has not got to. */
static void finish_greeting(Domain *d, gpointer data) {
        Greeting *greeting = data;
        if (!driver_stopping(d->driver)) {
                gboolean ready = greeting->reply.state != CTL_STATE_SETUP;
                learn_threads(d, greeting);
                if (ready) {
                        learn_devices(d, greeting);
                        restore_links(d, greeting);
                }
                if (!ready || d->run.reboot_pending)
                        settle(d, greeting);
        }
        vmm_unref(greeting->vmm);
        g_free(greeting);
}

void domain_on_greeting(Domain *d, const struct ctl_query_reply *reply) {
        Greeting *greeting = g_new0(Greeting, 1);
        *greeting = (Greeting) { .vmm = vmm_ref(d->run.vmm), .reply = *reply };
        if (reply->state != CTL_STATE_SETUP)
                autostart_done(d);
        domain_note_state(d, reply->state, reply->reason);
        driver_run(d->driver, finish_greeting, d, greeting);
}

/* --- Nobody else ------------------------------------------------------------------------- */

gboolean domain_check_free(const Driver *driver, const char *name, GError **err) {
        g_autofree char *path = state_path(driver, name, ".ctl");
        g_auto(Status) status = { 0 };
        gboolean served = FALSE;
        if (!vmm_socket_is_served(path, &served, err))
                return FALSE;
        if (!served)
                return TRUE;
        gboolean found = status_recover(driver, name, NULL, &status);
        return error_set(
                err, VIR_ERR_OPERATION_INVALID,
                "a monitor of domain '%s' is running that this daemon does not manage: restart virtmicrod to find "
                "it again, or end it with 'systemctl stop %s'",
                name, found ? status.unit : "SCOPE");
}
