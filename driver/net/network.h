/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's own networks, through libvirt's public client API (network:///system): a port
 * is created for a NIC and gives the bridge to plug into; deleting the port gives it back.
 */
#pragma once

#include <glib.h>

#include "../conf/domain_def.h"

/*
 * Creates the port nic->portid for `nic` of the domain and fills in nic->actual_bridge. When it fails before libvirt
 * was asked for the port, so that there is none, nic->portid is NULL.
 * An inactive network is VIR_ERR_OPERATION_INVALID, an unknown one VIR_ERR_NO_NETWORK.
 * The port's bandwidth and VLAN, where the network dictates them, replace nic's.
 */
gboolean network_port_create(const DomainDef *def, DomainNic *nic, GError **err);
void network_port_delete(const char *network, const char *portid); /* unknown is fine; logs failures */

/* The DHCP leases of a MAC: an array of DomainIpAddress* (driver.h). */
GPtrArray *network_get_leases(const char *network, const guint8 mac[6], GError **err);

/* The path of a storage volume for <disk type='volume'> (storage:///system). */
char *storage_volume_path(const char *pool, const char *volume, GError **err);
