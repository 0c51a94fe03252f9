/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The addresses of a running domain: what libvirt's networks leased to its MACs, or what
 * the host's neighbour tables know of them.
 */
#include <string.h>
#include <sys/socket.h>

#include "domain/internal.h"
#include "net/tap.h"
#include "util/error.h"

static void ip_address_free(gpointer data) {
        DomainIpAddress *ip = data;
        g_free(ip->addr);
        g_free(ip);
}

static void address_free(gpointer data) {
        DomainAddress *a = data;
        g_free(a->device);
        g_free(a->hwaddr);
        g_ptr_array_unref(a->addrs);
        g_free(a);
}

static GPtrArray *neighbours(const guint8 mac[6], GError **err) {
        g_autoptr(GPtrArray) texts = neigh_lookup(mac, err);
        if (!texts)
                return NULL;
        GPtrArray *addrs = g_ptr_array_new_with_free_func(ip_address_free);
        for (guint i = 0; i < texts->len; i++) {
                gboolean v6 = strchr(g_ptr_array_index(texts, i), ':') != NULL;
                DomainIpAddress *ip = g_new0(DomainIpAddress, 1);
                *ip = (DomainIpAddress) { .type = v6 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4,
                                          .addr = g_strdup(g_ptr_array_index(texts, i)) };
                g_ptr_array_add(addrs, ip);
        }
        return addrs;
}

static GPtrArray *addresses_of(Domain *d, const DomainNic *nic, guint source, GError **err) {
        if (source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
                return neighbours(nic->mac, err);
        if (nic->type == DOMAIN_NIC_NETWORK)
                return network_get_leases(d->driver->libvirt, nic->source, nic->mac, err);
        return g_ptr_array_new_with_free_func(ip_address_free);
}

static DomainAddress *address_new(const DomainNic *nic, GPtrArray *addrs) {
        DomainAddress *a = g_new0(DomainAddress, 1);
        char mac[18];
        domain_mac_format(nic->mac, mac);
        a->device = g_strdup(nic->target ? nic->target : ""); /* lost with a damaged status */
        a->hwaddr = g_strdup(mac);
        a->addrs = addrs;
        return a;
}

GPtrArray *domain_get_addresses(Domain *d, guint source, guint flags, GError **err) {
        if (!error_check_flags(flags, 0, "virDomainInterfaceAddresses", err))
                return NULL;
        if (source > VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP) {
                return error_null(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "Unknown IP address data source %u", source);
        }
        domain_lock(d);
        g_autoptr(DomainDef) def = domain_check_active(d, err) ? domain_def_copy(d->def) : NULL;
        domain_unlock(d);
        if (!def)
                return NULL;
        if (source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT) {
                (void) domain_refuse_agent(def, err);
                return NULL;
        }
        g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(address_free);
        for (guint i = 0; i < def->nics->len; i++) {
                const DomainNic *nic = g_ptr_array_index(def->nics, i);
                GPtrArray *addrs = addresses_of(d, nic, source, err);
                if (!addrs)
                        return NULL;
                if (addrs->len > 0)
                        g_ptr_array_add(all, address_new(nic, addrs));
                else
                        g_ptr_array_unref(addrs);
        }
        return g_steal_pointer(&all);
}
