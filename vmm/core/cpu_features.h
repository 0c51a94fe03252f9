/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CPUID bits given to or hidden from a guest by name. */
#pragma once

#include <stdint.h>

#define CPU_FEATURES_MAX 96u

enum cpu_policy {
        CPU_DISABLE = 0, /* the guest does not see it */
        CPU_FORCE,       /* the guest sees it, whatever the host has */
        CPU_REQUIRE,     /* the host has to have it */
        CPU_OPTIONAL,    /* the guest sees it if the host has it */
        CPU_FORBID,      /* the host must not have it */
};

enum cpuid_register { CPUID_EAX = 0, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct cpu_feature {
        uint32_t function, index; /* CPUID leaf and sub-leaf */
        uint8_t reg;              /* enum cpuid_register */
        uint8_t bit;              /* 0..31 */
        uint8_t policy;           /* enum cpu_policy */
};

struct cpu_features {
        unsigned n; /* 0: the host's, with nothing nested */
        struct cpu_feature feature[CPU_FEATURES_MAX];
};
