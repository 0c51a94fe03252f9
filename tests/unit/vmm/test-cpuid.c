/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the monitor makes of a host's CPUID, with leaves of an AMD and of an Intel processor. */
#include <stdbool.h>
#include <stdint.h>

#include "../test.h"
#include "arch/x86_64/cpuid.h"
#include "base/cleanup.h"
#include "board/version.h"

static struct kvm_cpuid_entry2 adapted(struct kvm_cpuid_entry2 entry) {
        const struct topology topology = { .vcpus = 2, .sockets = 1, .dies = 1, .cores = 2, .threads = 1 };
        AUTOFREE struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(entry));

        CHECK(cpuid);
        cpuid->nent = 1;
        cpuid->entries[0] = entry;
        cpuid_adapt(cpuid, machine_version_newest(), &topology, 1);
        CHECK_EQ(cpuid->entries[0].function, entry.function);
        return cpuid->entries[0];
}

/* A guest sees no performance counters on either. */
static void test_no_pmu(void) {
        const uint32_t all = 0xffffffff, counters = BIT(23) | BIT(24) | BIT(28);
        struct kvm_cpuid_entry2 e;

        for (unsigned i = 0; i < 2; i++) {
                e = adapted((struct kvm_cpuid_entry2) {
                        .function = i ? 0x80000022 : 0xa, .eax = all, .ebx = all, .ecx = all, .edx = all });
                CHECK_EQ(e.eax | e.ebx | e.ecx | e.edx, 0);
        }
        e = adapted(
                (struct kvm_cpuid_entry2) { .function = 0x80000001, .eax = all, .ebx = all, .ecx = all, .edx = all });
        CHECK_EQ(e.ecx, all & ~counters);
        CHECK_EQ(e.edx, all);
}

static void test_apic_id(void) {
        struct kvm_cpuid_entry2 e = adapted((struct kvm_cpuid_entry2) { .function = 1 });

        CHECK_EQ(e.ebx >> 24, 1);
        CHECK_EQ(e.ebx >> 16 & 0xff, 2);
        CHECK(e.ecx & BIT(31)); /* hypervisor */
}

/* --- Features by name --------------------------------------------------------------------- */

static const struct cpu_feature svm = { .function = 0x80000001, .reg = CPUID_ECX, .bit = 2 };
static const struct cpu_feature vmx = { .function = 1, .reg = CPUID_ECX, .bit = 5 };
static const struct cpu_feature aes = { .function = 1, .reg = CPUID_ECX, .bit = 25 };
static const struct cpu_feature fsgsbase = { .function = 7, .reg = CPUID_EBX, .bit = 0 };

/* A host with svm, vmx, aes and without fsgsbase. */
static struct kvm_cpuid2 *host_new(void) {
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));

        CHECK(cpuid);
        cpuid->nent = 4;
        cpuid->entries[0] = (struct kvm_cpuid_entry2) { .function = 1, .ecx = BIT(5) | BIT(25), .edx = BIT(0) };
        cpuid->entries[1] = (struct kvm_cpuid_entry2) { .function = 7, .ebx = BIT(3) };
        cpuid->entries[2] = (struct kvm_cpuid_entry2) { .function = 0x80000001, .ecx = BIT(2) | BIT(5) };
        cpuid->entries[3] = (struct kvm_cpuid_entry2) { .function = 0x8000000a, .eax = 1 };
        return cpuid;
}

static void add(struct cpu_features *features, struct cpu_feature feature, enum cpu_policy policy) {
        feature.policy = policy;
        features->feature[features->n++] = feature;
}

static void test_nesting_is_off(void) {
        AUTOFREE struct kvm_cpuid2 *cpuid = host_new();
        struct cpu_features none = { 0 };

        cpuid_apply(cpuid, machine_version_newest(), &none);
        CHECK_EQ(cpuid->nent, 3);
        CHECK_EQ(cpuid->entries[0].ecx, BIT(25));
        CHECK_EQ(cpuid->entries[2].ecx, BIT(5));
        CHECK_EQ(cpuid->entries[1].ebx, BIT(3));
}

static void test_nesting_on_request(void) {
        static const enum cpu_policy on[] = { CPU_REQUIRE, CPU_OPTIONAL, CPU_FORCE };

        for (unsigned i = 0; i < ARRAY_SIZE(on); i++) {
                AUTOFREE struct kvm_cpuid2 *cpuid = host_new();
                struct cpu_features features = { 0 };

                add(&features, svm, on[i]);
                add(&features, vmx, on[i]);
                CHECK(!cpuid_find_conflict(cpuid, &features));
                cpuid_apply(cpuid, machine_version_newest(), &features);
                CHECK_EQ(cpuid->nent, 4);
                CHECK_EQ(cpuid->entries[0].ecx, BIT(5) | BIT(25));
                CHECK_EQ(cpuid->entries[2].ecx, BIT(2) | BIT(5));
        }
}

static void test_features(void) {
        AUTOFREE struct kvm_cpuid2 *cpuid = host_new();
        struct cpu_features features = { 0 };

        add(&features, aes, CPU_DISABLE);
        add(&features, fsgsbase, CPU_FORCE);
        CHECK(!cpuid_find_conflict(cpuid, &features));
        cpuid_apply(cpuid, machine_version_newest(), &features);
        cpuid_apply(cpuid, machine_version_newest(), &features); /* the next vCPU */
        CHECK_EQ(cpuid->entries[0].ecx, 0);
        CHECK_EQ(cpuid->entries[1].ebx, BIT(3) | BIT(0));
}

static void test_conflicts(void) {
        const struct {
                struct cpu_feature feature;
                enum cpu_policy policy;
                bool conflict;
        } cases[] = {
                { aes, CPU_REQUIRE, false },
                { aes, CPU_FORBID, true },
                { fsgsbase, CPU_REQUIRE, true },
                { fsgsbase, CPU_FORBID, false },
                { fsgsbase, CPU_OPTIONAL, false },
                { fsgsbase, CPU_DISABLE, false },
                { { .function = 0x1234 }, CPU_FORCE, true }, /* no such leaf */
                { { .function = 0x1234 }, CPU_REQUIRE, true },
                { { .function = 0x1234 }, CPU_DISABLE, false },
        };

        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                AUTOFREE struct kvm_cpuid2 *cpuid = host_new();
                struct cpu_features features = { 0 };

                add(&features, svm, CPU_OPTIONAL);
                add(&features, cases[i].feature, cases[i].policy);
                CHECK_EQ(cpuid_find_conflict(cpuid, &features) == &features.feature[1], cases[i].conflict);
        }
}

int main(void) {
        RUN(test_nesting_is_off);
        RUN(test_nesting_on_request);
        RUN(test_features);
        RUN(test_conflicts);
        RUN(test_no_pmu);
        RUN(test_apic_id);
        return 0;
}
