/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPUID as the guest sees it: the host's processor as far as KVM supports it.
 */
#pragma once

#include <linux/kvm.h>

#include "../../core/cpu_features.h"
#include "../../core/topology.h"
#include "../../core/version.h"

#define CPUID_ENTRIES_MAX 256u

/* Everything KVM supports on this host; the caller frees it. */
int cpuid_new(int kvm_fd, struct kvm_cpuid2 **ret);
/* Adapts the table to the vCPU with this index, leaf by leaf; can be repeated for the next one. */
void cpuid_adapt(struct kvm_cpuid2 *cpuid, const struct machine_version *version, const struct topology *topology,
                 unsigned index);

/* The first feature whose presence or absence in the host's adapted table contradicts its policy; NULL: none. */
const struct cpu_feature *cpuid_find_conflict(struct kvm_cpuid2 *cpuid, const struct cpu_features *features);
/* Sets and clears bits of an adapted table. What the version has as opt-in is off unless it is among the features. */
void cpuid_apply(struct kvm_cpuid2 *cpuid, const struct machine_version *version, const struct cpu_features *features);
