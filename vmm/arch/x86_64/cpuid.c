/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPUID: the host processor passed through as KVM_GET_SUPPORTED_CPUID gives it, with
 * changes where the answer depends on the virtual machine and not on the host:
 *
 *  1           APIC id, number of logical processors
 *  4           who shares a cache; cores per package        (Intel)
 *  0xb, 0x1f   the topology, one sub-leaf per level        (Intel, AMD Zen 2 and later)
 *  0x80000008  cores per package                           (AMD)
 *  0x8000001d  who shares a cache                          (AMD)
 *  0x8000001e  core, die and package of this processor     (AMD)
 *
 * Bits that the machine has or lacks whatever the host are rules of its version: x2APIC, the TSC deadline timer (which
 * KVM does not list, since it depends on the in-kernel LAPIC), the hypervisor bit; no performance monitoring. So is
 * what a guest has only when it is asked for by name: nested virtualisation. Features requested by name are applied
 * last.
 *
 * Register names and bits: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
 * The leaves from 0x40000000 on, with KVM's signature and paravirtual features, come
 * from KVM itself.
 */
#include "cpuid.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../../base/cleanup.h"
#include "apic_id.h"
#include "version.h"

#define LEAF1_EDX_HTT BIT(28)

#define LEVEL_TYPE_SMT  1u
#define LEVEL_TYPE_CORE 2u
#define LEVEL_TYPE_DIE  5u

int cpuid_new(int kvm_fd, struct kvm_cpuid2 **ret) {
        AUTOFREE struct kvm_cpuid2 *cpuid = NULL;

        cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));
        if (!cpuid)
                return -ENOMEM;
        cpuid->nent = CPUID_ENTRIES_MAX;
        if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
                return -errno;
        *ret = TAKE(cpuid);
        return 0;
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index) {
        for (unsigned i = 0; i < cpuid->nent; i++)
                if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
                        return &cpuid->entries[i];
        return NULL;
}

static void remove_leaf(struct kvm_cpuid2 *cpuid, uint32_t function) {
        unsigned kept = 0;

        for (unsigned i = 0; i < cpuid->nent; i++)
                if (cpuid->entries[i].function != function)
                        cpuid->entries[kept++] = cpuid->entries[i];
        cpuid->nent = kept;
}

static void append(struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 entry) {
        if (cpuid->nent < CPUID_ENTRIES_MAX)
                cpuid->entries[cpuid->nent++] = entry;
}

static unsigned package_ids(const struct topology *t) {
        return 1u << topology_package_shift(t);
}

/* Highest processor id, counted from the first that shares a cache of this level. */
static unsigned cache_sharing(const struct topology *t, unsigned level) {
        return level >= 3 ? (1u << topology_die_shift(t)) - 1 : (1u << topology_core_shift(t)) - 1;
}

static void adapt_1(struct kvm_cpuid_entry2 *e, const struct topology *t, unsigned apic_id) {
        e->ebx = (e->ebx & 0xffff) | MIN(package_ids(t), 255u) << 16 | apic_id << 24;
        if (package_ids(t) > 1)
                e->edx |= LEAF1_EDX_HTT;
        else
                e->edx &= ~LEAF1_EDX_HTT;
}

/* Leaves 4 and 0x8000001d: EAX[4:0] type, [7:5] level, [25:14] sharing, in leaf 4 also [31:26] cores. */
static void adapt_cache(struct kvm_cpuid_entry2 *e, const struct topology *t) {
        unsigned type = e->eax & 0x1f, level = e->eax >> 5 & 7;

        if (type == 0)
                return;
        e->eax = (e->eax & 0x3fff) | cache_sharing(t, level) << 14;
        if (e->function == 4)
                e->eax |= MIN((package_ids(t) >> topology_core_shift(t)) - 1, 63u) << 26;
}

static struct kvm_cpuid_entry2 level(uint32_t function, uint32_t index, uint32_t type, unsigned shift, unsigned count,
                                     unsigned apic_id) {
        return (struct kvm_cpuid_entry2) {
                .function = function,
                .index = index,
                .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                .eax = shift,
                .ebx = count,
                .ecx = type << 8 | index,
                .edx = apic_id,
        };
}

static void topology_leaf(struct kvm_cpuid2 *cpuid, uint32_t function, const struct topology *t, unsigned apic_id,
                          bool with_dies) {
        unsigned core_end = with_dies ? topology_die_shift(t) : topology_package_shift(t);
        unsigned cores = t->threads * t->cores * (with_dies ? 1 : t->dies);
        uint32_t index = 0;

        remove_leaf(cpuid, function);
        append(cpuid, level(function, index++, LEVEL_TYPE_SMT, topology_core_shift(t), t->threads, apic_id));
        append(cpuid, level(function, index++, LEVEL_TYPE_CORE, core_end, cores, apic_id));
        if (with_dies)
                append(cpuid,
                       level(function, index++, LEVEL_TYPE_DIE, topology_package_shift(t), cores * t->dies, apic_id));
        append(cpuid, level(function, index, 0, 0, 0, apic_id));
}

static uint32_t max_leaf(struct kvm_cpuid2 *cpuid) {
        const struct kvm_cpuid_entry2 *e = find(cpuid, 0, 0);

        return e ? e->eax : 0;
}

static void adapt_topology(struct kvm_cpuid2 *cpuid, const struct topology *t, unsigned apic_id) {
        if (max_leaf(cpuid) >= 0xb)
                topology_leaf(cpuid, 0xb, t, apic_id, false);
        if (max_leaf(cpuid) >= 0x1f)
                topology_leaf(cpuid, 0x1f, t, apic_id, true);
}

/* AMD: ECX[7:0] threads per package less one, [15:12] bits of an APIC id within the package. */
static void adapt_80000008(struct kvm_cpuid_entry2 *e, const struct topology *t) {
        e->ecx = (package_ids(t) - 1) | topology_package_shift(t) << 12;
}

/* AMD: EAX APIC id, EBX[7:0] core, [15:8] threads per core less one, ECX[7:0] node, [10:8] nodes less one. */
static void adapt_8000001e(struct kvm_cpuid_entry2 *e, const struct topology *t, unsigned apic_id) {
        e->eax = apic_id;
        e->ebx = (apic_id >> topology_core_shift(t) & 0xff) | (t->threads - 1) << 8;
        e->ecx = apic_id >> topology_package_shift(t) & 0xff;
        e->edx = 0;
}

static void adapt_entry(struct kvm_cpuid_entry2 *e, const struct topology *t, unsigned apic_id) {
        switch (e->function) {
        case 1:
                adapt_1(e, t, apic_id);
                break;
        case 4:
        case 0x8000001d:
                adapt_cache(e, t);
                break;
        case 0x80000008:
                if (e->ecx != 0) /* reserved, thus zero, on Intel */
                        adapt_80000008(e, t);
                break;
        case 0x8000001e:
                adapt_8000001e(e, t, apic_id);
                break;
        }
}

static void apply_rule(const struct cpuid_rule *rule, struct kvm_cpuid_entry2 *e) {
        e->eax = (e->eax | rule->set[CPUID_EAX]) & ~rule->clear[CPUID_EAX];
        e->ebx = (e->ebx | rule->set[CPUID_EBX]) & ~rule->clear[CPUID_EBX];
        e->ecx = (e->ecx | rule->set[CPUID_ECX]) & ~rule->clear[CPUID_ECX];
        e->edx = (e->edx | rule->set[CPUID_EDX]) & ~rule->clear[CPUID_EDX];
}

static void apply_rules(const struct machine_version *version, struct kvm_cpuid_entry2 *e) {
        for (const struct cpuid_rule *rule = version->arch->cpuid; rule->function != 0; rule++)
                if (rule->function == e->function)
                        apply_rule(rule, e);
}

void cpuid_adapt(struct kvm_cpuid2 *cpuid, const struct machine_version *version, const struct topology *topology,
                 unsigned index) {
        unsigned apic_id = topology_apic_id(topology, index);

        for (unsigned i = 0; i < cpuid->nent; i++) {
                adapt_entry(&cpuid->entries[i], topology, apic_id);
                apply_rules(version, &cpuid->entries[i]);
        }
        adapt_topology(cpuid, topology, apic_id);
}

static uint32_t *feature_register(struct kvm_cpuid2 *cpuid, const struct cpu_feature *feature) {
        struct kvm_cpuid_entry2 *e = find(cpuid, feature->function, feature->index);

        if (!e)
                return NULL;
        switch (feature->reg) {
        case CPUID_EAX:
                return &e->eax;
        case CPUID_EBX:
                return &e->ebx;
        case CPUID_ECX:
                return &e->ecx;
        default:
                return &e->edx;
        }
}

static bool has_feature(struct kvm_cpuid2 *cpuid, const struct cpu_feature *feature) {
        const uint32_t *reg = feature_register(cpuid, feature);

        return reg && (*reg & BIT(feature->bit));
}

const struct cpu_feature *cpuid_find_conflict(struct kvm_cpuid2 *cpuid, const struct cpu_features *features) {
        for (unsigned i = 0; i < features->n; i++) {
                const struct cpu_feature *f = &features->feature[i];
                if ((f->policy == CPU_REQUIRE && !has_feature(cpuid, f)) ||
                    (f->policy == CPU_FORCE && !feature_register(cpuid, f)) ||
                    (f->policy == CPU_FORBID && has_feature(cpuid, f)))
                        return f;
        }
        return NULL;
}

static bool is_same(const struct cpu_feature *a, const struct cpu_feature *b) {
        return a->function == b->function && a->index == b->index && a->reg == b->reg && a->bit == b->bit;
}

static bool is_mentioned(const struct cpu_features *features, const struct cpu_feature *feature) {
        for (unsigned i = 0; i < features->n; i++)
                if (is_same(&features->feature[i], feature))
                        return true;
        return false;
}

static void set_feature(struct kvm_cpuid2 *cpuid, const struct cpu_feature *feature, bool on) {
        uint32_t *reg = feature_register(cpuid, feature);

        if (reg)
                *reg = on ? *reg | BIT(feature->bit) : *reg & ~BIT(feature->bit);
}

void cpuid_apply(struct kvm_cpuid2 *cpuid, const struct machine_version *version, const struct cpu_features *features) {
        static const struct cpu_feature svm = { .function = 0x80000001, .reg = CPUID_ECX, .bit = 2 };

        for (unsigned i = 0; i < version->arch->n_cpu_opt_in; i++)
                if (!is_mentioned(features, &version->arch->cpu_opt_in[i]))
                        set_feature(cpuid, &version->arch->cpu_opt_in[i], false);
        for (unsigned i = 0; i < features->n; i++) {
                const struct cpu_feature *f = &features->feature[i];
                if (f->policy == CPU_DISABLE || f->policy == CPU_FORCE)
                        set_feature(cpuid, f, f->policy == CPU_FORCE);
        }
        if (!has_feature(cpuid, &svm))
                remove_leaf(cpuid, 0x8000000a); /* what SVM can do */
}
