/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What CPUID tells the guest: the host's processor as far as KVM supports it.
 */
#pragma once

#include <linux/kvm.h>

#include "topology.h"

#define CPUID_ENTRIES_MAX 256u

/* Everything KVM supports on this host; the caller frees it. */
int cpuid_new(int kvm_fd, struct kvm_cpuid2 **ret);
/* Adapts the table to the vCPU with this index, leaf by leaf; can be repeated for the next one. */
void cpuid_adapt(struct kvm_cpuid2 *cpuid, const struct topology *topology, unsigned index);
