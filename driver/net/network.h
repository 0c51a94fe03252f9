/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's own networks and storage, through libvirt's public client API (network:///system, storage:///system): a
 * port is created for a NIC and gives the bridge to plug into; deleting the port gives it back.
 *
 * Any thread may call these. Each call ends within the limit, with VIR_ERR_OPERATION_TIMEOUT that names the daemon,
 * or with VIR_ERR_OPERATION_ABORTED when the thread's current GCancellable is cancelled (util/neighbour.h).
 */
#pragma once

#include <glib.h>

#include "../conf/domain_def.h"

typedef struct LibvirtClient LibvirtClient;

LibvirtClient *libvirt_client_new(guint timeout); /* seconds that a call may take */
void libvirt_client_free(LibvirtClient *client);  /* NULL is fine */

/*
 * Creates the port nic->portid for `nic` of the domain and fills in nic->actual_bridge. When it fails before libvirt
 * was asked for the port, so that there is none, nic->portid is NULL.
 * An inactive network is VIR_ERR_OPERATION_INVALID, an unknown one VIR_ERR_NO_NETWORK.
 * The port's bandwidth and VLAN, where the network dictates them, replace nic's.
 */
gboolean network_port_create(LibvirtClient *client, const DomainDef *def, DomainNic *nic, GError **err);
/*
 * FALSE: the port may still be there, or appear: a creation that its caller has left counts until it has ended. That
 * there is no such port or network is fine.
 */
gboolean network_port_delete(LibvirtClient *client, const char *network, const char *portid, GError **err);
typedef struct NetworkPortName {
        char *network, *portid;
} NetworkPortName;
/* All ports that active networks have for a domain: an array of NetworkPortName*, freed with its elements. */
GPtrArray *network_list_ports(LibvirtClient *client, const guint8 owner[16], GError **err);
/* Updates the limit of nic->portid in the network, which accounts for the bridge's bandwidth. */
gboolean network_port_set_bandwidth(LibvirtClient *client, const DomainNic *nic, GError **err);
/* Whether libvirt's network daemon leaves callers waiting at present. */
gboolean network_is_silent(LibvirtClient *client);

/* The DHCP leases of a MAC: an array of DomainIpAddress* (driver.h). */
GPtrArray *network_get_leases(LibvirtClient *client, const char *network, const guint8 mac[6], GError **err);

/* The path of a storage volume for <disk type='volume'>. */
char *storage_volume_path(LibvirtClient *client, const char *pool, const char *volume, GError **err);
