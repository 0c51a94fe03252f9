/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The formatter's two halves. */
#pragma once

#include "conf/domain_def_internal.h"
#include "conf/xml_write.h"

/* `live`: also what only a running domain has; `status`: also what only the daemon needs. */
void domain_format_devices(XmlWriter *w, const DomainDef *def, gboolean live, gboolean status);
