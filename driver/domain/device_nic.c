/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interfaces: told apart by their MACs, PCI addresses and, where a client has given them one, aliases. What says none
 * means the only one.
 */
#include <string.h>

#include "domain/device.h"
#include "domain/nic_change.h"
#include "util/error.h"

static const DomainNic *nic_of(const DomainDevice *device) {
        return device_only(device, nics);
}

/* Several may have one MAC. */
static gboolean nic_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        return TRUE;
}

static void nic_insert(DomainDef *def, const DomainDevice *device) {
        g_ptr_array_add(def->nics, DEVICE_COPY(device, nics));
}

static gboolean matches(const DomainNic *nic, const DomainDevice *device) {
        const DomainNic *wanted = nic_of(device);
        return (!device->named || memcmp(nic->mac, wanted->mac, sizeof(nic->mac)) == 0) &&
               (!wanted->alias || g_strcmp0(nic->alias, wanted->alias) == 0) &&
               domain_pci_matches(&nic->pci, &wanted->pci);
}

static void append(GString *text, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void append(GString *text, const char *format, ...) {
        va_list ap;
        g_string_append(text, text->len > 0 ? " and " : " with ");
        va_start(ap, format);
        g_string_append_vprintf(text, format, ap);
        va_end(ap);
}

/* " with MAC address 52:54:… and alias ua-lan" */
static char *describe(const DomainDevice *device) {
        const DomainNic *nic = nic_of(device);
        GString *text = g_string_new(NULL);
        char mac[18];
        domain_mac_format(nic->mac, mac);
        if (device->named)
                append(text, "MAC address %s", mac);
        if (nic->alias)
                append(text, "alias %s", nic->alias);
        if (nic->pci.present)
                append(text, "PCI slot 0x%02x", nic->pci.slot);
        return g_string_free(text, FALSE);
}

static gboolean nic_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        guint n = 0;
        for (guint i = 0; i < def->nics->len; i++) {
                if (!matches(g_ptr_array_index(def->nics, i), device))
                        continue;
                *ret_index = i;
                n++;
        }
        if (n == 1)
                return TRUE;
        g_autofree char *what = describe(device);
        if (n == 0)
                return error_set(err, VIR_ERR_DEVICE_MISSING, "no interface%s found", what);
        return error_set(err, VIR_ERR_OPERATION_FAILED, "multiple interfaces%s found: give %s", what,
                         device->named ? "them aliases ('ua-...')" : "a MAC address");
}

static gboolean nic_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        return device_find_alias(def->nics, G_STRUCT_OFFSET(DomainNic, alias), alias, ret_index);
}

static void nic_remove(DomainDef *def, guint index) {
        g_ptr_array_remove_index(def->nics, index);
}

/* A MAC, an address or an alias that was not given stays. */
static gboolean nic_update(DomainDef *def, guint index, const DomainDevice *device, GError **err) {
        const DomainNic *old = g_ptr_array_index(def->nics, index);
        DomainNic *nic = DEVICE_COPY(device, nics);
        memcpy(nic->mac, old->mac, sizeof(nic->mac));
        if (!nic->pci.present)
                nic->pci = old->pci;
        if (!nic->alias)
                nic->alias = g_strdup(old->alias);
        device_replace(def->nics, index, nic);
        return TRUE;
}

typedef struct Plan {
        NicChange change;
        guint in_force;
} Plan;

static gboolean nic_update_live(const DomainDef *old_def, DomainDef *def, guint index, const DomainDevice *device,
                                HostChange *ret, GError **err) {
        const DomainNic *old = g_ptr_array_index(old_def->nics, index);
        DomainNic *nic = g_ptr_array_index(def->nics, index), wanted = *nic_of(device);
        nic_keep_dictated(old, &wanted);
        if (!nic_change_check(old, &wanted, err))
                return FALSE;
        g_free(nic->source);
        nic->source = g_strdup(wanted.source);
        nic->has_vlan = wanted.has_vlan;
        nic->vlan_tag = wanted.vlan_tag;
        nic->isolated = wanted.isolated;
        nic->link_down = wanted.link_down;
        nic->inbound = wanted.inbound;
        nic->outbound = wanted.outbound;
        Plan *plan = g_new0(Plan, 1);
        plan->change = (NicChange) { .old = old, .new = nic, .in_force = &plan->in_force };
        *ret = (HostChange) { nic_follows, plan };
        return TRUE;
}

const DeviceKind device_kind_nic = {
        .elements = { "interface" },
        .check = nic_check,
        .insert = nic_insert,
        .find = nic_find,
        .find_alias = nic_find_alias,
        .remove = nic_remove,
        .update = nic_update,
        .update_live = nic_update_live,
};
