/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices that are attached, changed and detached by calls. A call parses its device once; then copies of the
 * definitions that it affects are changed, the persistent one is checked as a whole, as if it were defined anew, and
 * both are put in force by change.c, all or nothing. What is particular to a kind of device is in its DeviceKind.
 *
 * A running domain follows only changes that its kind has a function for. Anything else is refused before anything has
 * changed, also for a call that affects both definitions.
 */
#include "domain/device.h"

#include <string.h>

#include "conf/vmm_config.h"
#include "domain/hotplug.h"
#include "util/error.h"

#define AFFECT ((guint) VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)
/* Of a detachment: the device goes at once, whatever the guest does with it. */
#define FORCE ((guint) VIR_DOMAIN_DEVICE_MODIFY_FORCE)

static const DeviceKind *const kinds[] = {
        &device_kind_disk, &device_kind_nic, &device_kind_char, &device_kind_rng, &device_kind_vsock,
};

const DeviceKind *device_kind_of(const DomainDevice *device) {
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (g_strv_contains(kinds[i]->elements, device->element))
                        return kinds[i];
        g_assert_not_reached(); /* the parser knows no others */
}

GArray *device_list(const DomainDef *def) {
        GArray *devices = g_array_new(FALSE, FALSE, sizeof(Device));
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
                g_autoptr(GPtrArray) list = g_ptr_array_new();
                kinds[i]->list(def, list);
                for (guint j = 0; j < list->len; j++)
                        g_array_append_val(devices, ((Device) { kinds[i], g_ptr_array_index(list, j) }));
        }
        return devices;
}

static const DeviceKind *kind_with_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (kinds[i]->find_alias(def, alias, ret_index))
                        return kinds[i];
        return NULL;
}

gboolean device_find(const DomainDef *def, const char *alias, Device *ret) {
        guint index = 0;
        ret->kind = kind_with_alias(def, alias, &index);
        ret->device = ret->kind ? ret->kind->at(def, index) : NULL;
        return ret->kind != NULL;
}

void device_remove(DomainDef *def, const char *alias) {
        guint index = 0;
        const DeviceKind *kind = kind_with_alias(def, alias, &index);
        if (kind)
                kind->remove(def, index);
}

void devices_release(Domain *d, const DomainDef *def) {
        domain_logs_end(d->driver, def);
        g_autoptr(GArray) devices = device_list(def);
        for (guint i = 0; i < devices->len; i++) {
                const Device *device = &g_array_index(devices, Device, i);
                if (device->kind->release)
                        device->kind->release(d, def, device->device);
        }
}

gpointer device_copy(const DomainDevice *device, gsize list) {
        g_autoptr(DomainDef) copy = domain_def_copy(device->def);
        return g_ptr_array_steal_index(G_STRUCT_MEMBER(GPtrArray *, copy, list), 0);
}

gboolean device_find_alias(const GPtrArray *list, gsize offset, const char *alias, guint *ret_index) {
        for (guint i = 0; i < list->len; i++) {
                *ret_index = i;
                if (g_strcmp0(G_STRUCT_MEMBER(char *, g_ptr_array_index(list, i), offset), alias) == 0)
                        return TRUE;
        }
        return FALSE;
}

void device_replace(GPtrArray *list, guint index, gpointer item) {
        g_ptr_array_remove_index(list, index);
        g_ptr_array_insert(list, (int) index, item);
}

/* What a call is about. */
typedef struct Request {
        const DomainDevice *device; /* NULL: the device with this alias */
        const char *alias;
        guint parse_flags;
        gboolean force;
} Request;

typedef struct Action {
        /* Changes a copy of the persistent definition. */
        gboolean (*config)(const Request *request, DomainDef *def, GError **err);
        /* Changes a copy of the live definition, d->def; NULL: it is not changed at once. */
        gboolean (*live)(const Request *request, Domain *d, DomainDef *def, HostChange *ret, GError **err);
        /* The last step of a call that affects a running domain: when it fails, the persistent definition comes back.
         */
        gboolean (*finish)(const Request *request, Domain *d, Leaving *ret, GError **err);
        gboolean shrinks; /* it makes no definition worse than it is */
} Action;

/* The kind of the device that a request names, and its place; NULL with *err set when there is none. */
static const DeviceKind *locate(const Request *request, const DomainDef *def, guint *ret_index, GError **err) {
        if (request->device) {
                const DeviceKind *kind = device_kind_of(request->device);
                return kind->find(def, request->device, ret_index, err) ? kind : NULL;
        }
        const DeviceKind *kind = kind_with_alias(def, request->alias, ret_index);
        return kind ? kind : error_null(err, VIR_ERR_INTERNAL_ERROR, "no device found with alias %s", request->alias);
}

static gboolean refuse_live(const char *verb, const DeviceKind *kind, gconstpointer device, GError **err) {
        g_autofree char *name = kind->name(device);
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "live %s of %s is not supported: use --config and restart the domain", verb, name);
}

/* --- Attach ------------------------------------------------------------------------------ */

static gboolean attach_config(const Request *request, DomainDef *def, GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        if (!kind->check(def, request->device, VIR_ERR_OPERATION_INVALID, err))
                return FALSE;
        (void) kind->insert(def, request->device);
        return TRUE;
}

/* What a start would check of it. */
static gboolean complete_live(DomainDef *def, const Request *request, GError **err) {
        domain_def_add_notes(def, request->device->def->notes);
        if (!domain_def_complete_devices(def, request->parse_flags, err))
                return FALSE;
        domain_def_assign_aliases(def);
        return domain_def_check_startable(def, err) && vmm_config_check_devices(def, err);
}

static gboolean attach_live(const Request *request, Domain *d, DomainDef *def, HostChange *ret, GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        if (!kind->check(d->def, request->device, VIR_ERR_OPERATION_FAILED, err))
                return FALSE;
        gpointer device = kind->insert(def, request->device);
        if (kind->is_fixed && kind->is_fixed(device))
                return refuse_live("attach", kind, device, err);
        if (!complete_live(def, request, err))
                return FALSE;
        hotplug_attach(d, kind, def, device, ret);
        return TRUE;
}

static const Action attach = { .config = attach_config, .live = attach_live };

/* --- Detach ------------------------------------------------------------------------------ */

static gboolean detach_config(const Request *request, DomainDef *def, GError **err) {
        guint index = 0;
        const DeviceKind *kind = locate(request, def, &index, err);
        if (!kind)
                return FALSE;
        g_autofree char *name = kind->name(kind->at(def, index));
        kind->remove(def, index);
        domain_def_drop_notes(def, name);
        return TRUE;
}

static gboolean detach_finish(const Request *request, Domain *d, Leaving *ret, GError **err) {
        guint index = 0;
        const DeviceKind *kind = locate(request, d->def, &index, err);
        gpointer device = kind ? kind->at(d->def, index) : NULL;
        if (!kind)
                return FALSE;
        if (kind->is_fixed && kind->is_fixed(device))
                return refuse_live("detach", kind, device, err);
        return hotplug_detach(d, kind->alias(device), request->force, ret, err);
}

static const Action detach = { .config = detach_config, .finish = detach_finish, .shrinks = TRUE };

/* --- Update ------------------------------------------------------------------------------ */

static gboolean update_config(const Request *request, DomainDef *def, GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        guint index = 0;
        if (!kind->update)
                return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                                 "persistent update of device '%s' is not supported: detach it and attach another",
                                 request->device->element);
        return kind->find(def, request->device, &index, err) && kind->update(def, index, request->device, err);
}

static gboolean update_live(const Request *request, Domain *d, DomainDef *def, HostChange *ret, GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        guint index = 0;
        if (!kind->find(d->def, request->device, &index, err))
                return FALSE;
        return kind->update_live ? kind->update_live(d->def, def, index, request->device, ret, err)
                                 : refuse_live("update", kind, kind->at(d->def, index), err);
}

static const Action update = { .config = update_config, .live = update_live };

/* --- All of them ------------------------------------------------------------------------- */

/* A definition that has more than fits can lose a device nevertheless. */
static DomainDef *changed_config(const Action *action, const Request *request, const DomainDef *old, GError **err) {
        g_autoptr(DomainDef) def = domain_def_copy(old);
        guint flags = action->shrinks ? DOMAIN_PARSE_OWN : request->parse_flags;
        if (!action->config(request, def, err))
                return NULL;
        if (request->device && !action->shrinks)
                domain_def_add_notes(def, request->device->def->notes);
        return domain_def_complete_devices(def, flags, err) ? g_steal_pointer(&def) : NULL;
}

static DomainDef *changed_live(const Action *action, const Request *request, Domain *d, HostChange *ret, GError **err) {
        g_autoptr(DomainDef) def = domain_def_copy(d->def);
        return action->live(request, d, def, ret, err) ? g_steal_pointer(&def) : NULL;
}

/* Those of `def` from the `first` on: what a change has added. */
static void log_notes(const Domain *d, const DomainDef *def, guint first) {
        for (guint i = first; i < def->notes->len; i++)
                domain_log(d, G_LOG_LEVEL_MESSAGE, "%s", (const char *) g_ptr_array_index(def->notes, i));
}

/* What has changed of the persistent definition is taken back. */
static void restore_config(Domain *d, const DomainDef *old) {
        g_autoptr(DomainDef) config = domain_def_copy(old), none = NULL;
        g_autoptr(GError) err = NULL;
        if (!domain_replace_defs(d, &none, &config, NULL, NULL, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "its persistent definition keeps a change that failed: %s",
                           err->message);
}

/* Both definitions are changed and checked before either is in force. Lock and job held. */
static gboolean change_defs(Domain *d, const Action *action, const Request *request, DomainDef *old_live,
                            DomainDef *old_config, Leaving *ret, GError **err) {
        g_autoptr(DomainDef) live = NULL, config = NULL, kept = NULL;
        HostChange host = { 0 };
        g_autofree char *added = NULL;
        kept = old_config && old_live && action->finish ? domain_def_copy(old_config) : NULL;
        gboolean ok = (!old_config || (config = changed_config(action, request, old_config, err))) &&
                      (!old_live || !action->live || (live = changed_live(action, request, d, &host, err)));
        added = g_strdup(host.added);
        ok = ok && domain_replace_defs(d, &live, &config, host.func, host.data, err);
        if (host.free_data)
                host.free_data(host.data);
        if (ok && old_live && action->finish && !action->finish(request, d, ret, err)) {
                if (kept)
                        restore_config(d, kept);
                return FALSE;
        }
        if (ok && added) {
                event_device(d, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, added);
                domain_log(d, G_LOG_LEVEL_MESSAGE, "%s is attached", added);
        }
        return ok;
}

static gboolean change(Domain *d, const Action *action, const Request *request, guint flags, GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        Leaving leaving = { 0 };
        if (!domain_job_begin(d, err))
                return FALSE;
        gboolean ok =
                domain_affect(d, flags, &old_live, &old_config, err) && (!old_live || domain_check_active(d, err));
        gboolean persistent = ok && old_config;
        guint n_notes = persistent ? old_config->notes->len : 0;
        ok = ok && change_defs(d, action, request, old_live, old_config, &leaving, err);
        if (ok && persistent) {
                log_notes(d, domain_persistent_def(d), n_notes);
                event_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED);
        }
        domain_job_end(d);
        if (leaving.vmm)
                hotplug_wait(d, &leaving);
        return ok;
}

static gboolean change_by_xml(Domain *d, const Action *action, const char *xml, guint flags, GError **err) {
        const DriverConfig *config = d->driver->config;
        guint strict = config->reject_legacy_devices ? DOMAIN_PARSE_REJECT_LEGACY : 0;
        guint parse_flags = action->shrinks ? DOMAIN_PARSE_PARTIAL : strict;
        g_autoptr(DomainDevice) device = domain_device_parse(xml, parse_flags, err);
        if (!device)
                return FALSE;
        domain_def_drop_channel_paths(device->def, config->state_dir);
        const Request request = { .device = device, .parse_flags = parse_flags, .force = (flags & FORCE) != 0 };
        return change(d, action, &request, flags & AFFECT, err);
}

gboolean domain_attach_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT, "virDomainAttachDeviceFlags", err) &&
               change_by_xml(d, &attach, xml, flags, err);
}

gboolean domain_detach_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT | FORCE, "virDomainDetachDeviceFlags", err) &&
               change_by_xml(d, &detach, xml, flags, err);
}

gboolean domain_detach_device_alias(Domain *d, const char *alias, guint flags, GError **err) {
        const Request request = { .alias = alias, .force = (flags & FORCE) != 0 };
        return error_check_flags(flags, AFFECT | FORCE, "virDomainDetachDeviceAlias", err) &&
               change(d, &detach, &request, flags & AFFECT, err);
}

/* Of an update FORCE is about media that a guest has locked: none has. */
gboolean domain_update_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT | FORCE, "virDomainUpdateDeviceFlags", err) &&
               change_by_xml(d, &update, xml, flags, err);
}
