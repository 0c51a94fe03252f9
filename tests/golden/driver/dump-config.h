/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the monitor would be told, as text that golden files can hold. */
#pragma once

#include "conf/vmm_config.h"

/* One line per message; the caller frees it. */
char *vmm_config_dump(const DomainDef *def, const VmmConfig *config);
