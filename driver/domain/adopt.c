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
 *   a status that is damaged is made up from what kernel and systemd say (status.c); while
 *   systemd does not answer, it is asked again every few seconds
 *   a start is refused while anybody serves the domain's control socket (domain_check_free())
 */
#include <string.h>

#include "domain/affinity.h"
#include "domain/hotplug.h"
#include "domain/launch.h"
#include "domain/nic_change.h"
#include "domain/status.h"
#include "systemd/scope.h"
#include "util/error.h"
#include "util/file.h"

#define RETRY_S 3u /* between two questions to systemd about domains whose status is damaged */

struct Adoptions {
        Driver *driver;
        GThreadPool *pool; /* of one thread, for waits for systemd */
        GMutex lock;
        GQueue unknown; /* Unknown*, that wait for the timer */
        guint timer;
};

/* A domain of which systemd has not told yet. Nobody else gets the uid that its monitor may have. */
typedef struct Unknown {
        char *name;
        guint32 uid; /* 0: none */
} Unknown;

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
        domain_job_wait(other);
        if (!domain_active(other)) {
                g_warning("the definition of domain '%s' is ignored: a domain of this name and another UUID runs",
                          def->name);
                driver_remove(other);
        }
        domain_job_end(other);
}

/* The persistent domain that a live definition is of, which then has it, with lock and job; NULL: there is none. */
static Domain *claim_persistent(Driver *driver, DomainDef *def) {
        g_autoptr(Domain) d = driver_lookup_by_uuid(driver, def->uuid, NULL);
        if (!d)
                return NULL;
        domain_job_wait(d);
        if (!d->removed && !domain_active(d) && strcmp(d->name, def->name) == 0) {
                d->newdef = d->def;
                d->def = def;
                return g_steal_pointer(&d);
        }
        if (!domain_active(d)) /* renamed on disk while it ran */
                driver_remove(d);
        domain_job_end(d);
        return NULL;
}

/* The same, or a new transient domain, for which there is room unless another one runs. Takes the definition. */
static Domain *claim(Driver *driver, DomainDef *def) {
        Domain *d = claim_persistent(driver, def);
        if (d)
                return d;
        make_room(driver, def);
        d = domain_new(driver, def);
        domain_job_wait(d);
        if (driver_insert(driver, d))
                return d;
        domain_job_end(d);
        domain_unref(d);
        return NULL;
}

/* NULL: another domain of its name or UUID runs. */
static Domain *attach(Driver *driver, Status *status) {
        DomainDef *def = g_steal_pointer(&status->def);
        int id = def->id;
        Domain *d = claim(driver, def);
        if (!d) {
                g_warning("process %d is not managed: another domain of its name or UUID runs", (int) status->pid);
                return NULL;
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
        driver_note_id(driver, id);
        driver_note_uid(driver, status->uid);
        g_atomic_int_inc(&driver->n_active);
        domain_job_end(d);
        return d;
}

/* Asks systemd. A domain of which nothing seems to run is checked again when it is started. */
static Recovery recover(Driver *driver, const char *name, Status *ret) {
        g_autoptr(Domain) d = driver_lookup_by_name(driver, name, NULL);
        DomainDef *known = NULL;
        if (d) {
                domain_lock(d);
                known = domain_persistent_def(d) ? domain_def_copy(domain_persistent_def(d)) : NULL;
                domain_unlock(d);
        }
        Recovery result = status_recover(driver, name, known, ret);
        if (result == RECOVERY_DONE)
                g_warning("the status of domain '%s' was damaged; it is recovered from process %d", name,
                          (int) ret->pid);
        else if (result == RECOVERY_NOTHING)
                g_warning("the status of domain '%s' is damaged, and its monitor does not run", name);
        domain_def_free(known);
        return result;
}

static void recover_later(Driver *driver, const char *name, const Status *status);

static Found *found_new(Driver *driver, Status *status, gboolean recovered) {
        Domain *d = attach(driver, status);
        if (!d)
                return NULL;
        Found *found = g_new0(Found, 1);
        *found = (Found) { .domain = d, .pid = status->pid, .start_time = status->start_time, .recovered = recovered };
        return found;
}

static gboolean find_one(Driver *driver, const char *name, gpointer data, GError **err) {
        g_autoptr(GError) failed = NULL;
        g_auto(Status) status = { 0 };
        Recovery result = RECOVERY_DONE;
        if (!status_load(driver, name, &status, &failed)) {
                if (file_error_is_shortage(failed)) {
                        g_propagate_error(err, g_steal_pointer(&failed));
                        return FALSE;
                }
                g_warning("the status of domain '%s': %s", name, failed->message);
                status_clear(&status);
                status = (Status) { 0 };
                result = recover(driver, name, &status);
        }
        if (result == RECOVERY_UNKNOWN) {
                g_warning("systemd does not say whether the monitor of domain '%s' runs; the daemon keeps asking",
                          name);
                recover_later(driver, name, &status);
        }
        Found *found = result == RECOVERY_DONE ? found_new(driver, &status, failed != NULL) : NULL;
        if (found)
                g_ptr_array_add(data, found);
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
        domain_job_wait(d);
        domain_logs_adopt(d);
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

/* --- Those that systemd does not tell of at first ----------------------------------------- */

static void unknown_free(gpointer data) {
        Unknown *unknown = data;
        g_free(unknown->name);
        g_free(unknown);
}

static gboolean ask_again(gpointer data) {
        Adoptions *adoptions = data;
        Unknown *unknown;
        g_mutex_lock(&adoptions->lock);
        adoptions->timer = 0;
        while ((unknown = g_queue_pop_head(&adoptions->unknown)))
                (void) g_thread_pool_push(adoptions->pool, unknown, NULL);
        g_mutex_unlock(&adoptions->lock);
        return G_SOURCE_REMOVE;
}

static void recover_later(Driver *driver, const char *name, const Status *status) {
        Adoptions *adoptions = driver->adoptions;
        Unknown *unknown = g_new0(Unknown, 1);
        *unknown = (Unknown) { .name = g_strdup(name), .uid = status->uid };
        driver_note_id(driver, status->id);
        if (unknown->uid != 0)
                driver_note_uid(driver, unknown->uid);
        g_mutex_lock(&adoptions->lock);
        g_queue_push_tail(&adoptions->unknown, unknown);
        if (adoptions->timer == 0 && !driver_stopping(driver))
                adoptions->timer = g_timeout_add_seconds(RETRY_S, ask_again, adoptions);
        g_mutex_unlock(&adoptions->lock);
}

/* To clients it was shut off, or unknown. */
static void adopt_late(Driver *driver, Status *status) {
        Found *found = found_new(driver, status, TRUE);
        if (!found)
                return;
        domain_lock(found->domain);
        event_lifecycle(found->domain, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
        domain_unlock(found->domain);
        connect_one(found);
        found_free(found);
}

static void recover_main(gpointer item, gpointer data) {
        Driver *driver = ((Adoptions *) data)->driver;
        Unknown *unknown = item;
        g_auto(Status) status = { 0 };
        g_cancellable_push_current(driver->stop);
        Recovery result = driver_stopping(driver) ? RECOVERY_NOTHING : recover(driver, unknown->name, &status);
        g_cancellable_pop_current(driver->stop);
        if (result == RECOVERY_DONE)
                adopt_late(driver, &status);
        else if (result == RECOVERY_UNKNOWN)
                recover_later(driver, unknown->name, &status);
        if (unknown->uid != 0)
                driver_drop_uid(driver, unknown->uid);
        unknown_free(unknown);
}

Adoptions *adoptions_new(Driver *driver) {
        Adoptions *adoptions = g_new0(Adoptions, 1);
        adoptions->driver = driver;
        g_mutex_init(&adoptions->lock);
        g_queue_init(&adoptions->unknown);
        adoptions->pool = g_thread_pool_new(recover_main, adoptions, 1, FALSE, NULL);
        return adoptions;
}

void adoptions_free(Adoptions *adoptions) {
        if (!adoptions)
                return;
        g_thread_pool_free(adoptions->pool, FALSE, TRUE); /* the driver is stopping and has cancelled the call */
        g_clear_handle_id(&adoptions->timer, g_source_remove);
        g_queue_clear_full(&adoptions->unknown, unknown_free);
        g_mutex_clear(&adoptions->lock);
        g_free(adoptions);
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
        gboolean ok = vmm_resolve_threads(greeting->vmm, inner, n, tids, &err);
        domain_lock(d);
        if (!ok)
                domain_log(d, G_LOG_LEVEL_WARNING, "cannot get the threads of its vCPUs: %s", err->message);
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
        if (d->run.vmm == greeting->vmm)
                hotplug_compare(d);
        domain_unlock(d);
}

/* With the job, which a change of an interface has as well, and which may wait for this very monitor. */
static void restore_links(Domain *d, const Greeting *greeting) {
        g_autoptr(GError) err = NULL;
        if (!domain_job_wait_briefly(d, JOB_BRIEF_MS)) {
                domain_lock(d);
                domain_log(d, G_LOG_LEVEL_WARNING,
                           "another operation is at work on it, so link states are not sent again");
                domain_unlock(d);
                return;
        }
        if (d->run.vmm == greeting->vmm && !nic_restore_links(d, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "its guest may see other link states than its XML says: %s",
                           err->message);
        domain_job_end(d);
}

/* Rare. FALSE: another operation is at work. */
static gboolean settle(Domain *d, const Greeting *greeting) {
        g_autoptr(GError) err = NULL;
        if (!domain_job_wait_briefly(d, JOB_BRIEF_MS))
                return FALSE;
        gboolean meant = d->run.vmm == greeting->vmm;
        if (meant && greeting->reply.state == CTL_STATE_SETUP) {
                domain_log(d, G_LOG_LEVEL_WARNING, "was being started when the daemon ended: ending it");
                domain_stop(d, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        } else if (meant && !domain_send_actions(d, &err)) {
                domain_log(d, G_LOG_LEVEL_WARNING, "would restart when it powers off: %s", err->message);
        }
        domain_job_end(d);
        autostart_resume(d);
        return TRUE;
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
                if ((!ready || d->run.reboot_pending) && !settle(d, greeting)) {
                        driver_run(d->driver, finish_greeting, d, greeting); /* after what others have to do */
                        return;
                }
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
        gboolean found = status_recover(driver, name, NULL, &status) == RECOVERY_DONE;
        return error_set(
                err, VIR_ERR_OPERATION_INVALID,
                "a monitor of domain '%s' is running that this daemon does not manage: restart virtmicrod to find "
                "it again, or end it with 'systemctl stop %s'",
                name, found ? status.unit : "SCOPE");
}
