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

#include "util/error.h"

#define AFFECT ((guint) VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

static const DeviceKind *const kinds[] = {
        &device_kind_disk,
        &device_kind_nic,
        &device_kind_char,
        &device_kind_rng,
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

void devices_release(Domain *d, const DomainDef *def) {
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
} Request;

typedef struct Action {
        /* Changes a copy of the persistent definition. */
        gboolean (*config)(const Request *request, DomainDef *def, GError **err);
        /* Changes a copy of the live definition `old`. */
        gboolean (*live)(const Request *request, const DomainDef *old, DomainDef *def, HostChange *ret, GError **err);
} Action;

/* The kind of the device that a request names, and its place; NULL with *err set when there is none. */
static const DeviceKind *locate(const Request *request, const DomainDef *def, guint *ret_index, GError **err) {
        if (request->device) {
                const DeviceKind *kind = device_kind_of(request->device);
                return kind->find(def, request->device, ret_index, err) ? kind : NULL;
        }
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (kinds[i]->find_alias(def, request->alias, ret_index))
                        return kinds[i];
        return error_null(err, VIR_ERR_INTERNAL_ERROR, "no device found with alias %s", request->alias);
}

static gboolean refuse_live(const char *verb, const DeviceKind *kind, GError **err) {
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "live %s of device '%s' is not supported: use --config and restart the domain", verb,
                         kind->elements[0]);
}

/* --- Attach ------------------------------------------------------------------------------ */

static gboolean attach_config(const Request *request, DomainDef *def, GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        if (!kind->check(def, request->device, VIR_ERR_OPERATION_INVALID, err))
                return FALSE;
        kind->insert(def, request->device);
        return TRUE;
}

static gboolean attach_live(const Request *request, const DomainDef *old, DomainDef *def, HostChange *ret,
                            GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        return kind->check(old, request->device, VIR_ERR_OPERATION_FAILED, err) && refuse_live("attach", kind, err);
}

static const Action attach = { .config = attach_config, .live = attach_live };

/* --- Detach ------------------------------------------------------------------------------ */

static gboolean detach_config(const Request *request, DomainDef *def, GError **err) {
        guint index = 0;
        const DeviceKind *kind = locate(request, def, &index, err);
        if (!kind)
                return FALSE;
        kind->remove(def, index);
        return TRUE;
}

static gboolean detach_live(const Request *request, const DomainDef *old, DomainDef *def, HostChange *ret,
                            GError **err) {
        guint index = 0;
        const DeviceKind *kind = locate(request, old, &index, err);
        return kind && refuse_live("detach", kind, err);
}

static const Action detach = { .config = detach_config, .live = detach_live };

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

static gboolean update_live(const Request *request, const DomainDef *old, DomainDef *def, HostChange *ret,
                            GError **err) {
        const DeviceKind *kind = device_kind_of(request->device);
        guint index = 0;
        if (!kind->update_live)
                return refuse_live("update", kind, err);
        return kind->find(old, request->device, &index, err) &&
               kind->update_live(old, def, index, request->device, ret, err);
}

static const Action update = { .config = update_config, .live = update_live };

/* --- All of them ------------------------------------------------------------------------- */

static DomainDef *changed_config(const Action *action, const Request *request, const DomainDef *old, GError **err) {
        g_autoptr(DomainDef) def = domain_def_copy(old);
        if (!action->config(request, def, err))
                return NULL;
        if (request->device)
                domain_def_add_notes(def, request->device->def->notes);
        return domain_def_complete_devices(def, request->parse_flags, err) ? g_steal_pointer(&def) : NULL;
}

static DomainDef *changed_live(const Action *action, const Request *request, const DomainDef *old, HostChange *ret,
                               GError **err) {
        g_autoptr(DomainDef) def = domain_def_copy(old);
        return action->live(request, old, def, ret, err) ? g_steal_pointer(&def) : NULL;
}

/* Those of `def` from the `first` on: what a change has added. */
static void log_notes(const Domain *d, const DomainDef *def, guint first) {
        for (guint i = first; i < def->notes->len; i++)
                domain_log(d, G_LOG_LEVEL_MESSAGE, "%s", (const char *) g_ptr_array_index(def->notes, i));
}

/* Both definitions are changed and checked before either is in force. */
static gboolean change(Domain *d, const Action *action, const Request *request, guint flags, GError **err) {
        DomainDef *old_live = NULL, *old_config = NULL;
        g_autoptr(DomainDef) live = NULL;
        g_autoptr(DomainDef) config = NULL;
        HostChange host = { 0 };
        if (!domain_job_begin(d, err))
                return FALSE;
        gboolean ok = domain_affect(d, flags, &old_live, &old_config, err);
        gboolean persistent = ok && old_config;
        guint n_notes = persistent ? old_config->notes->len : 0;
        ok = ok && (!old_config || (config = changed_config(action, request, old_config, err))) &&
             (!old_live || (live = changed_live(action, request, old_live, &host, err))) &&
             domain_replace_defs(d, &live, &config, host.func, host.data, err);
        g_free(host.data);
        if (ok && persistent) {
                log_notes(d, domain_persistent_def(d), n_notes);
                event_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED);
        }
        domain_job_end(d);
        return ok;
}

/* `parse` is added to the parser's flags. */
static gboolean change_by_xml(Domain *d, const Action *action, const char *xml, guint parse, guint flags,
                              GError **err) {
        const DriverConfig *config = d->driver->config;
        guint parse_flags = config->reject_legacy_devices ? DOMAIN_PARSE_REJECT_LEGACY : 0;
        g_autoptr(DomainDevice) device = domain_device_parse(xml, parse_flags | parse, err);
        if (!device)
                return FALSE;
        domain_def_drop_channel_paths(device->def, config->state_dir);
        const Request request = { .device = device, .parse_flags = parse_flags };
        return change(d, action, &request, flags, err);
}

gboolean domain_attach_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT, "virDomainAttachDeviceFlags", err) &&
               change_by_xml(d, &attach, xml, 0, flags, err);
}

gboolean domain_detach_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT, "virDomainDetachDeviceFlags", err) &&
               change_by_xml(d, &detach, xml, DOMAIN_PARSE_PARTIAL, flags, err);
}

gboolean domain_detach_device_alias(Domain *d, const char *alias, guint flags, GError **err) {
        const Request request = {
                .alias = alias,
                .parse_flags = d->driver->config->reject_legacy_devices ? DOMAIN_PARSE_REJECT_LEGACY : 0,
        };
        return error_check_flags(flags, AFFECT, "virDomainDetachDeviceAlias", err) &&
               change(d, &detach, &request, flags, err);
}

/* FORCE is about media that a guest has locked: none has. */
gboolean domain_update_device(Domain *d, const char *xml, guint flags, GError **err) {
        return error_check_flags(flags, AFFECT | VIR_DOMAIN_DEVICE_MODIFY_FORCE, "virDomainUpdateDeviceFlags", err) &&
               change_by_xml(d, &update, xml, 0, flags & AFFECT, err);
}
