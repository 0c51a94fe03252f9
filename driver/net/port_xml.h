/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The <networkport> document: what a NIC asks its network for, and what the network answers. */
#pragma once

#include "conf/domain_def.h"

/* The port that the NIC would like to have. */
char *port_xml_format(const DomainDef *def, const DomainNic *nic, const char *uuid);
/*
 * Takes the bridge, and the bandwidth and VLAN where the network dictates them, over into the NIC.
 * VIR_ERR_CONFIG_UNSUPPORTED for networks that have no Linux bridge; the NIC is unchanged then.
 */
gboolean port_xml_apply(const char *xml, DomainNic *nic, GError **err);
/* Whether a port is the domain's. */
gboolean port_xml_is_owned(const char *xml, const guint8 owner[16]);
