/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interfaces: told apart by their MACs, PCI addresses and, where a client has given them one, aliases. What says none
 * means the only one.
 */
#include <fcntl.h>
#include <string.h>

#include "conf/vmm_config.h"
#include "domain/nic_change.h"
#include "domain/plug.h"
#include "util/error.h"

static const DomainNic *nic_of(const DomainDevice *device) {
        return device_only(device, nics);
}

/* Several may have one MAC. */
static gboolean nic_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        return TRUE;
}

static gpointer nic_insert(DomainDef *def, const DomainDevice *device) {
        DomainNic *nic = DEVICE_COPY(device, nics);
        g_ptr_array_add(def->nics, nic);
        return nic;
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

static gpointer nic_at(const DomainDef *def, guint index) {
        return g_ptr_array_index(def->nics, index);
}

static char *nic_name(gconstpointer device) {
        const DomainNic *nic = device;
        char mac[18];
        domain_mac_format(nic->mac, mac);
        return g_strdup_printf("interface %s", mac);
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
        *ret = (HostChange) { .func = nic_follows, .data = plan, .free_data = g_free };
        return TRUE;
}

/* --- In a monitor ------------------------------------------------------------------------ */

static void nic_list(const DomainDef *def, GPtrArray *ret) {
        for (guint i = 0; i < def->nics->len; i++)
                g_ptr_array_add(ret, g_ptr_array_index(def->nics, i));
}

static const char *nic_alias(gconstpointer device) {
        const DomainNic *nic = device;
        return nic->alias;
}

static gboolean nic_prepare(gpointer device, const PlugHost *host, GError **err) {
        DomainNic *nic = device;
        g_clear_pointer(&nic->portid, g_free);
        if (nic->type == DOMAIN_NIC_NETWORK)
                domain_choose_port(host->domain, nic);
        return TRUE;
}

static void nic_forget(gpointer device, const PlugHost *host) {
        const DomainNic *nic = device;
        if (nic->portid)
                domain_forget_port(host->domain, nic);
}

/* Without it the monitor moves the frames itself, unless <driver name='vhost'/> asks for it. *ret_fd is -1 then. */
static gboolean open_vhost(const DomainNic *nic, int *ret_fd, GError **err) {
        if (g_strcmp0(nic->driver_name, "qemu") != 0)
                *ret_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
        if (*ret_fd >= 0 || g_strcmp0(nic->driver_name, "vhost") != 0)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "vhost-net was requested for an interface, but is unavailable");
}

static gboolean nic_open(Plug *plug, const PlugHost *host, GError **err) {
        plug->type = CTL_ADD_NIC;
        return open_vhost(plug->device, &plug->fd[1], err);
}

static gboolean nic_connect(Plug *plug, const PlugHost *host, GError **err) {
        DomainNic *nic = plug->device;
        Tap made;
        plug->connected = nic->type == DOMAIN_NIC_NETWORK;
        if (plug->connected && !network_port_create(host->domain->driver->libvirt, host->def, nic, err))
                return FALSE;
        const TapConfig tap = nic_tap_config(nic);
        if (!tap_open(&tap, &made, err))
                return FALSE;
        plug->connected = TRUE;
        plug->fd[0] = made.fd;
        plug->ifindex = made.ifindex;
        plug->mtu = made.mtu;
        g_free(nic->target);
        nic->target = made.name;
        return TRUE;
}

static gboolean nic_describe(Plug *plug, const PlugHost *host, GError **err) {
        plug->size = sizeof(plug->message.nic);
        vmm_config_nic(plug->device, &plug->message.nic);
        plug->message.nic.mtu = (guint16) plug->mtu;
        return TRUE;
}

/* A TAP of our own goes with its descriptor, and takes its limits with it; the operator's keeps nothing of ours. */
static void nic_release(Domain *d, const DomainDef *def, gpointer device) {
        const DomainNic *nic = device;
        const TapLimits limits = nic_limits(nic), none = { NULL, NULL };
        if (nic->type == DOMAIN_NIC_ETHERNET && !nic->target_managed && (limits.inbound || limits.outbound))
                (void) tap_set_bandwidth(nic->target, &limits, &none, NULL);
        if (nic->type == DOMAIN_NIC_NETWORK && nic->portid)
                domain_release_port(d, nic);
}

const DeviceKind device_kind_nic = {
        .elements = { "interface" },
        .check = nic_check,
        .insert = nic_insert,
        .find = nic_find,
        .find_alias = nic_find_alias,
        .at = nic_at,
        .remove = nic_remove,
        .name = nic_name,
        .update = nic_update,
        .update_live = nic_update_live,
        .list = nic_list,
        .alias = nic_alias,
        .prepare = nic_prepare,
        .open = nic_open,
        .forget = nic_forget,
        .connect = nic_connect,
        .describe = nic_describe,
        .release = nic_release,
};
