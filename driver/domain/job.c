/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's lock and its job. The lock protects the struct for moments; the job makes a
 * whole operation exclusive, across the times in which the lock is dropped to wait for
 * the monitor, systemd or the network. A client's wait for a job ends after
 * JOB_WAIT_SECONDS with the error that libvirt's users know; work that the guest's own
 * actions cause waits as long as it takes.
 */
#include "domain/hotplug.h"
#include "util/error.h"

void domain_lock(Domain *d) {
        g_mutex_lock(&d->lock);
}

void domain_unlock(Domain *d) {
        g_mutex_unlock(&d->lock);
}

void domain_job_wait(Domain *d) {
        domain_lock(d);
        while (d->job)
                g_cond_wait(&d->job_done, &d->lock);
        d->job = TRUE;
}

gboolean domain_job_wait_briefly(Domain *d, guint ms) {
        gint64 deadline = g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND;
        domain_lock(d);
        while (d->job) {
                if (g_cond_wait_until(&d->job_done, &d->lock, deadline))
                        continue;
                domain_unlock(d);
                return FALSE;
        }
        d->job = TRUE;
        return TRUE;
}

gboolean domain_job_try(Domain *d) {
        domain_lock(d);
        if (d->job) {
                domain_unlock(d);
                return FALSE;
        }
        d->job = TRUE;
        return TRUE;
}

gboolean domain_job_begin(Domain *d, GError **err) {
        gint64 deadline = g_get_monotonic_time() + JOB_WAIT_SECONDS * G_TIME_SPAN_SECOND;
        domain_lock(d);
        while (d->job) {
                if (g_cond_wait_until(&d->job_done, &d->lock, deadline))
                        continue;
                error_set(err, VIR_ERR_OPERATION_TIMEOUT,
                          "cannot acquire state change lock of domain '%s': another operation is still at work on it",
                          d->name);
                domain_unlock(d);
                return FALSE;
        }
        if (d->removed) {
                error_set(err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", d->name);
                domain_unlock(d);
                return FALSE;
        }
        d->job = TRUE;
        return TRUE;
}

void domain_job_end(Domain *d) {
        d->job = FALSE;
        hotplug_continue(d);
        g_cond_broadcast(&d->job_done); /* all waiters have to see that it was removed */
        domain_unlock(d);
}

/* A domain that ended while no daemon ran stays active, without a monitor, until it is cleaned up. */
gboolean domain_check_active(const Domain *d, GError **err) {
        if (domain_active(d) && d->run.vmm)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_INVALID, "domain is not running");
}

gboolean domain_job_begin_active(Domain *d, GError **err) {
        if (!domain_job_begin(d, err))
                return FALSE;
        if (domain_check_active(d, err))
                return TRUE;
        domain_job_end(d);
        return FALSE;
}
