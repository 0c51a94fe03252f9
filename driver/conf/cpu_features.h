/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CPU features by libvirt's names, and the bits of CPUID that stand for them. */
#pragma once

#include <glib.h>

typedef struct CpuFeature {
        const char *name;
        guint32 function, index; /* leaf and sub-leaf */
        guint8 reg;              /* enum ctl_cpuid_register */
        guint8 bit;
} CpuFeature;

const CpuFeature *cpu_feature_find(const char *name); /* NULL: unknown, or not a bit of CPUID */
const CpuFeature *cpu_features_all(gsize *ret_n);
