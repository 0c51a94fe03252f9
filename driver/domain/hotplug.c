/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hot plug. A device comes by the steps of plug.h, with the status written between them, so that a daemon that finds
 * the domain after any of them either has the device or gives back all that it had: what is in the status and not in
 * the monitor is gone (compare()).
 *
 * It leaves when the monitor says so, not when a call asks for it, because the guest decides when, and may let go of a
 * device that nobody has asked for. Until then it is the domain's in every respect: it stays in the live definition,
 * and its target, address and host resources stay taken. A call that has asked waits for a few seconds, without the
 * job, and succeeds whether the device is gone by then or not; that is what libvirt's clients expect, who look at the
 * definition or wait for the event. Meanwhile a second request is refused; after that it may be repeated, since a guest
 * that was not up yet may have missed the first.
 *
 * The monitor's limits follow: tasks of the scope for its threads, and the size of files that it may write, which
 * grows only.
 */
#include "domain/hotplug.h"

#include "domain/plug.h"
#include "systemd/scope.h"
#include "util/error.h"

#define UNPLUG_WAIT_SECONDS 5 /* as QEMU's driver waits */
/* A device that is taken away has no request at work; what the monitor waits for is storage alone. */
#define TAKE_AWAY_WAIT_MS 5000
#define TAKE_AWAY_STEP_US 20000

/* --- Attach ------------------------------------------------------------------------------ */

typedef struct Attach {
        Plug *plug;
        PlugHost host;
        guint32 id;
        gboolean sent; /* the monitor has it, or may have */
} Attach;

static void attach_free(gpointer data) {
        Attach *attach = data;
        plug_free(attach->plug);
        g_hash_table_unref(attach->host.terminals);
        g_free(attach);
}

static gboolean note(const Domain *d, const DomainDef *def, GError **err) {
        return status_write(d->driver, def, &d->run, d->state, d->reason, err);
}

static gboolean open_and_note(Domain *d, Attach *attach, GError **err) {
        if (!domain_learn_devices(d, TRUE, err)) /* so that its id is a new one */
                return FALSE;
        domain_unlock(d);
        gboolean ok = plug_prepare(attach->plug, &attach->host, err) && plug_open(attach->plug, &attach->host, err);
        domain_lock(d);
        terminals_move(d->run.terminals, attach->host.terminals);
        if (!ok)
                return FALSE;
        attach->id = device_ids_give(d->run.devices, plug_alias(attach->plug));
        return note(d, attach->host.def, err);
}

/* The TAP has its name now. */
static gboolean connect_and_note(Domain *d, Attach *attach, GError **err) {
        if (!attach->plug->kind->connect)
                return TRUE;
        domain_unlock(d);
        gboolean ok = plug_connect(attach->plug, &attach->host, err);
        domain_lock(d);
        return ok && note(d, attach->host.def, err);
}

static gboolean raise_limits(Domain *d, const Attach *attach, GError **err) {
        return scope_apply_tasks(d->driver->bus, d->run.unit, d->run.cgroup, attach->host.def, err) &&
               vmm_allow_file_size(d->run.vmm, attach->plug->file_size, err);
}

static gboolean send(Domain *d, Attach *attach, GError **err) {
        gboolean refused;
        domain_unlock(d);
        gboolean ok = raise_limits(d, attach, err);
        if (ok) {
                ok = plug_send(attach->plug, &attach->host, d->run.vmm, attach->id, &refused, err);
                attach->sent = ok || !refused;
        }
        plug_close(attach->plug);
        domain_lock(d);
        return ok;
}

/* Takes a second at most. */
static gboolean remove_by_force(Vmm *vmm, guint32 id, GError **err) {
        struct ctl_remove message = { .id = id, .flags = CTL_REMOVE_FORCE };
        struct ctl_reply reply;
        return vmm_call_briefly(vmm, CTL_REMOVE, &message, sizeof(message), &reply, sizeof(reply), err);
}

static gboolean is_listed(const GArray *listed, guint32 id) {
        for (guint i = 0; i < listed->len; i++)
                if (g_array_index(listed, struct ctl_list_entry, i).place.id == id)
                        return TRUE;
        return FALSE;
}

/* Without an answer it may be there, unless the monitor has ended. */
static gboolean may_have_device(Vmm *vmm, guint32 id) {
        g_autoptr(GArray) listed = vmm_list_devices(vmm, FALSE, NULL);
        return listed ? is_listed(listed, id) : !vmm_wait(vmm, 0);
}

/* What it has on the host can be given back only then. The connection may be a new one each time. */
static void take_away(Domain *d, guint32 id) {
        gint64 deadline = g_get_monotonic_time() + TAKE_AWAY_WAIT_MS * G_TIME_SPAN_MILLISECOND;
        do {
                (void) remove_by_force(d->run.vmm, id, NULL);
                if (!may_have_device(d->run.vmm, id))
                        return;
                g_usleep(TAKE_AWAY_STEP_US);
        } while (g_get_monotonic_time() < deadline);
        domain_log(d, G_LOG_LEVEL_WARNING, "a device whose attachment failed is still there");
        domain_lock(d);
        d->run.compare_devices = TRUE;
        domain_unlock(d);
}

static gboolean attach_back(Domain *d, Attach *attach, GError **err) {
        domain_unlock(d);
        if (attach->sent)
                take_away(d, attach->id);
        plug_undo(attach->plug, &attach->host);
        gboolean ok = attach->id == 0 || scope_apply_tasks(d->driver->bus, d->run.unit, d->run.cgroup, d->def, err);
        domain_lock(d);
        if (attach->id == 0)
                return ok;
        device_ids_drop(d->run.devices, plug_alias(attach->plug));
        return note(d, d->def, ok ? err : NULL) && ok;
}

/* A HostFunc. */
static gboolean attach_follows(Domain *d, const DomainDef *def, gconstpointer data, GError **err) {
        Attach *attach = (Attach *) data;
        if (def == d->def)
                return attach_back(d, attach, err);
        return open_and_note(d, attach, err) && connect_and_note(d, attach, err) && send(d, attach, err);
}

void hotplug_attach(Domain *d, const DeviceKind *kind, DomainDef *def, gpointer device, HostChange *ret) {
        Attach *attach = g_new0(Attach, 1);
        attach->plug = plug_new(kind, device);
        attach->host = (PlugHost) { .domain = d, .def = def, .terminals = terminals_new() };
        *ret = (HostChange) {
                .func = attach_follows,
                .data = attach,
                .free_data = attach_free,
                .added = kind->alias(device),
        };
}

/* --- Detach ------------------------------------------------------------------------------ */

static gboolean check_leaving(const Domain *d, const char *alias, guint32 id, gboolean force, GError **err) {
        return force || !device_ids_is_leaving(d->run.devices, id) ||
               error_set(err, VIR_ERR_OPERATION_FAILED,
                         "device '%s' is already in the process of unplug: wait until the guest has let go of it",
                         alias);
}

gboolean hotplug_detach(Domain *d, const char *alias, gboolean force, Leaving *ret, GError **err) {
        struct ctl_remove message = { .flags = force ? CTL_REMOVE_FORCE : 0 };
        struct ctl_reply reply;
        if (!domain_device_id(d, alias, &message.id, err) || !check_leaving(d, alias, message.id, force, err))
                return FALSE;
        g_autoptr(Vmm) vmm = vmm_ref(d->run.vmm);
        domain_unlock(d);
        gboolean ok = vmm_call(vmm, CTL_REMOVE, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), err);
        domain_lock(d);
        if (!ok) {
                d->run.compare_devices = TRUE; /* it may be gone without a word */
                return FALSE;
        }
        device_ids_set_leaving(d->run.devices, message.id, TRUE);
        *ret = (Leaving) { .vmm = g_steal_pointer(&vmm), .id = message.id };
        return TRUE;
}

static gboolean is_there(const Domain *d, const Leaving *leaving) {
        return d->run.vmm == leaving->vmm && device_ids_alias(d->run.devices, leaving->id);
}

/* Here and not when a device goes, because no client waits for that, and systemd may take its time. */
static void lower_limits(Domain *d, const Vmm *vmm) {
        g_autoptr(GError) err = NULL;
        if (!domain_job_wait_briefly(d, JOB_BRIEF_MS))
                return;
        if (d->run.vmm == vmm) {
                domain_unlock(d);
                if (!scope_apply_tasks(d->driver->bus, d->run.unit, d->run.cgroup, d->def, &err))
                        domain_log(d, G_LOG_LEVEL_DEBUG, "%s", err->message);
                domain_lock(d);
        }
        domain_job_end(d);
}

void hotplug_wait(Domain *d, const Leaving *leaving) {
        gint64 deadline = g_get_monotonic_time() + UNPLUG_WAIT_SECONDS * G_TIME_SPAN_SECOND;
        domain_lock(d);
        while (is_there(d, leaving) && g_cond_wait_until(&d->job_done, &d->lock, deadline))
                ;
        if (d->run.vmm == leaving->vmm)
                device_ids_set_leaving(d->run.devices, leaving->id, FALSE);
        domain_unlock(d);
        lower_limits(d, leaving->vmm);
        vmm_unref(leaving->vmm);
}

/* The monitor has let go of it: the host's side goes too. Lock and job held. */
static void finish_device(Domain *d, const char *alias_in) {
        Device device;
        g_autofree char *alias = g_strdup(alias_in);
        device_ids_drop(d->run.devices, alias);
        if (!device_find(d->def, alias, &device))
                return;
        DomainDef *live = domain_def_copy(d->def);
        g_autofree char *name = device.kind->name(device.device);
        device_remove(live, alias);
        domain_def_drop_notes(live, name);
        domain_unlock(d);
        if (device.kind->release)
                device.kind->release(d, d->def, device.device);
        domain_lock(d);
        domain_replace_live(d, live, "a restart of the daemon would find a device that is gone");
        event_device(d, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, alias);
        domain_log(d, G_LOG_LEVEL_MESSAGE, "%s is detached", alias);
}

/* --- After a time away --------------------------------------------------------------------- */

/* An attachment that the daemon did not live to note. Job held, no lock. */
static void take_unknown(Domain *d, const GArray *listed) {
        for (guint i = 0; i < listed->len; i++) {
                guint32 id = g_array_index(listed, struct ctl_list_entry, i).place.id;
                g_autoptr(GError) err = NULL;
                if (device_ids_alias(d->run.devices, id))
                        continue;
                domain_log(d, G_LOG_LEVEL_WARNING, "device %u of its monitor is unknown: taking it away", id);
                if (remove_by_force(d->run.vmm, id, &err))
                        continue;
                domain_log(d, G_LOG_LEVEL_WARNING, "device %u stays: %s", id, err->message);
                return; /* the next one would not be answered either */
        }
}

/* Job and lock held. */
static void finish_missing(Domain *d, const GArray *listed) {
        g_autoptr(GArray) devices = device_list(d->def);
        g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
        for (guint i = 0; i < devices->len; i++) {
                const Device *device = &g_array_index(devices, Device, i);
                const char *alias = device->kind->alias(device->device);
                guint32 id = device_ids_find(d->run.devices, alias);
                if (id != 0 && !is_listed(listed, id))
                        g_ptr_array_add(gone, g_strdup(alias));
        }
        for (guint i = 0; i < gone->len; i++)
                finish_device(d, g_ptr_array_index(gone, i));
}

/*
 * Nothing can be concluded of a domain whose status was lost, or while ids are unknown. An older monitor has no list,
 * and its devices do not change. Job and lock held.
 */
static void compare(Domain *d) {
        g_autoptr(GError) err = NULL;
        if (!d->run.vmm || d->run.recovered || !device_ids_are_known(d->run.devices))
                return;
        domain_unlock(d);
        g_autoptr(GArray) listed = vmm_list_devices(d->run.vmm, FALSE, &err);
        if (listed)
                take_unknown(d, listed);
        else
                domain_log(d, G_LOG_LEVEL_DEBUG, "cannot compare its devices: %s", err->message);
        domain_lock(d);
        if (listed)
                finish_missing(d, listed);
}

/* --- In the background ---------------------------------------------------------------------- */

/* The end of a job that is in the way comes back to this, so that no thread waits for it. */
static void finish_removed(Domain *d, gpointer unused) {
        const char *alias;
        if (!domain_job_try(d))
                return;
        while ((alias = device_ids_gone(d->run.devices)))
                finish_device(d, alias);
        if (d->run.compare_devices) {
                d->run.compare_devices = FALSE;
                compare(d);
        }
        domain_job_end(d);
}

void hotplug_removed(Domain *d, guint32 id) {
        if (device_ids_alias(d->run.devices, id) && device_ids_mark_gone(d->run.devices, id))
                hotplug_continue(d);
}

void hotplug_continue(Domain *d) {
        if (!d->job && (d->run.compare_devices || device_ids_gone(d->run.devices)) && !driver_stopping(d->driver))
                driver_run(d->driver, finish_removed, d, NULL);
}

void hotplug_compare(Domain *d) {
        d->run.compare_devices = TRUE;
        hotplug_continue(d);
}
