/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rows of board/version.c, as far as processor and tables go. */
#include "version.h"

#include "../../base/cleanup.h"

/* Register bits of CPUID (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). */
#define LEAF1_ECX_X2APIC       BIT(21)
#define LEAF1_ECX_TSC_DEADLINE BIT(24)
#define LEAF1_ECX_HYPERVISOR   BIT(31)

#define LEAF80000001_ECX_PERFCTR_CORE BIT(23)
#define LEAF80000001_ECX_PERFCTR_NB   BIT(24)
#define LEAF80000001_ECX_PERFCTR_LLC  BIT(28)

#define ALL UINT32_MAX

const struct arch_version arch_micro_1 = {
        /* The LAPIC is KVM's, with what KVM does not list for that reason; no performance monitoring. */
        .cpuid = { { .function = 1,
                     .set = { [CPUID_ECX] = LEAF1_ECX_X2APIC | LEAF1_ECX_TSC_DEADLINE | LEAF1_ECX_HYPERVISOR } },
                   { .function = 0xa, .clear = { ALL, ALL, ALL, ALL } },
                   { .function = 0x80000001,
                     .clear = { [CPUID_ECX] = LEAF80000001_ECX_PERFCTR_CORE | LEAF80000001_ECX_PERFCTR_NB |
                                              LEAF80000001_ECX_PERFCTR_LLC } },
                   { .function = 0x80000022, .clear = { ALL, ALL, ALL, ALL } } },
        /* Nested virtualisation is most of KVM's code, and few guests use it. */
        .cpu_opt_in = { { .function = 1, .reg = CPUID_ECX, .bit = 5 },            /* vmx */
                        { .function = 0x80000001, .reg = CPUID_ECX, .bit = 2 } }, /* svm */
        .n_cpu_opt_in = 2,
        .acpi = { .oem_revision = 1, .minor = 5 },
};
