/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the formatter's halves share, and what other XML has in common with a domain's. */
#pragma once

#include "conf/domain_def_internal.h"
#include "conf/xml_write.h"

/* `live`: with what only a running domain has; `status`: with what only the daemon needs. */
void domain_format_devices(XmlWriter *w, const DomainDef *def, gboolean live, gboolean status);

/* <vlan>, <bandwidth>: the same in a domain's interface and in a port of a network. */
void domain_format_vlan(XmlWriter *w, const DomainNic *nic);
void domain_format_bandwidth(XmlWriter *w, const DomainNic *nic);
