/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a host's CPUID, with leaves as an AMD and an Intel processor have them.
 */
#include <stdint.h>

#include "base/cleanup.h"
#include "core/cpuid.h"
#include "../test.h"

static struct kvm_cpuid_entry2 adapted(struct kvm_cpuid_entry2 entry) {
        const struct topology topology = { .vcpus = 2, .sockets = 1, .dies = 1, .cores = 2, .threads = 1 };
        AUTOFREE struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(entry));

        CHECK(cpuid);
        cpuid->nent = 1;
        cpuid->entries[0] = entry;
        cpuid_adapt(cpuid, &topology, 1);
        CHECK_EQ(cpuid->entries[0].function, entry.function);
        return cpuid->entries[0];
}

/* A guest sees no performance counters on either. */
static void test_no_pmu(void) {
        const uint32_t all = 0xffffffff, counters = BIT(23) | BIT(24) | BIT(28);
        struct kvm_cpuid_entry2 e;

        for (unsigned i = 0; i < 2; i++) {
                e = adapted((struct kvm_cpuid_entry2) { .function = i ? 0x80000022 : 0xa, .eax = all, .ebx = all,
                                                        .ecx = all, .edx = all });
                CHECK_EQ(e.eax | e.ebx | e.ecx | e.edx, 0);
        }
        e = adapted((struct kvm_cpuid_entry2) { .function = 0x80000001, .eax = all, .ebx = all, .ecx = all,
                                                .edx = all });
        CHECK_EQ(e.ecx, all & ~counters);
        CHECK_EQ(e.edx, all);
}

static void test_apic_id(void) {
        struct kvm_cpuid_entry2 e = adapted((struct kvm_cpuid_entry2) { .function = 1 });

        CHECK_EQ(e.ebx >> 24, 1);
        CHECK_EQ(e.ebx >> 16 & 0xff, 2);
        CHECK(e.ecx & BIT(31)); /* hypervisor */
}

int main(void) {
        RUN(test_no_pmu);
        RUN(test_apic_id);
        return 0;
}
