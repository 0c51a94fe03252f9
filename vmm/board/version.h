/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The versions of the machine that there are. */
#pragma once

#include <stddef.h>

#include "../core/version.h"

/* By enum ctl_machine_version; 0: the first, which is what there was before machines had versions. NULL: none. */
const struct machine_version *machine_version_find(uint32_t number);
/* By name, "micro": the newest. NULL: none. */
const struct machine_version *machine_version_named(const char *name);
const struct machine_version *machine_version_newest(void);
/* "micro-1, micro-2", cut to `size`. */
void machine_version_list(char *ret, size_t size);
