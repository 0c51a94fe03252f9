/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CPUID bits given to or hidden from a guest by name. */
#pragma once

#include "../ctl/ctl.h"

struct cpu_features {
        unsigned n; /* at most CTL_CPU_FEATURES_MAX; 0: the host's, with nothing nested */
        struct ctl_cpu_feature feature[CTL_CPU_FEATURES_MAX];
};
