/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a version of the machine fixes of processor and tables (core/version.h).
 */
#pragma once

#include <stdint.h>

#include "../../core/cpu_features.h"
#include "../arch.h"

#define VERSION_CPUID_RULES 8u
#define VERSION_CPU_OPT_INS 4u

/* Bits of a leaf's registers that are the machine's and not the host's; the arrays go by enum cpuid_register. */
struct cpuid_rule {
        uint32_t function; /* 0: the end of the list; leaf 0 has no rule */
        uint32_t set[4], clear[4];
};

struct arch_version {
        struct cpuid_rule cpuid[VERSION_CPUID_RULES + 1];
        struct cpu_feature cpu_opt_in[VERSION_CPU_OPT_INS]; /* absent unless asked for by name */
        unsigned n_cpu_opt_in;

        struct {
                uint8_t oem_revision; /* of each table */
                uint8_t minor;        /* of the ACPI specification, after 6 */
        } acpi;
};
