/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the processor reports its features: libvirt's names, and bits from Intel SDM
 * volume 2 (CPUID) and AMD APM volume 3, appendix E. Features that libvirt reads from a
 * model specific register are missing, since CPUID cannot hide them. Sorted by name.
 */
#include "conf/cpu_features.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const CpuFeature features[] = { /* name, leaf, sub-leaf, register (EAX to EDX), bit */
        { "3dnow", 0x80000001, 0, 3, 31 }, { "3dnowext", 0x80000001, 0, 3, 30 },
        { "3dnowprefetch", 0x80000001, 0, 2, 8 }, { "abm", 0x80000001, 0, 2, 5 }, { "acpi", 1, 0, 3, 22 },
        { "adx", 7, 0, 1, 19 }, { "aes", 1, 0, 2, 25 }, { "amd-no-ssb", 0x80000008, 0, 1, 26 },
        { "amd-ssbd", 0x80000008, 0, 1, 24 }, { "amd-stibp", 0x80000008, 0, 1, 15 }, { "amx-bf16", 7, 0, 3, 22 },
        { "amx-int8", 7, 0, 3, 25 }, { "amx-tile", 7, 0, 3, 24 }, { "apic", 1, 0, 3, 9 }, { "arat", 6, 0, 0, 2 },
        { "arch-capabilities", 7, 0, 3, 29 }, { "arch-lbr", 7, 0, 3, 19 }, { "avic", 0x8000000a, 0, 3, 13 },
        { "avx", 1, 0, 2, 28 }, { "avx-vnni", 7, 1, 0, 4 }, { "avx2", 7, 0, 1, 5 }, { "avx512-4fmaps", 7, 0, 3, 3 },
        { "avx512-4vnniw", 7, 0, 3, 2 }, { "avx512-bf16", 7, 1, 0, 5 }, { "avx512-fp16", 7, 0, 3, 23 },
        { "avx512-vp2intersect", 7, 0, 3, 8 }, { "avx512-vpopcntdq", 7, 0, 2, 14 }, { "avx512bitalg", 7, 0, 2, 12 },
        { "avx512bw", 7, 0, 1, 30 }, { "avx512cd", 7, 0, 1, 28 }, { "avx512dq", 7, 0, 1, 17 },
        { "avx512er", 7, 0, 1, 27 }, { "avx512f", 7, 0, 1, 16 }, { "avx512ifma", 7, 0, 1, 21 },
        { "avx512pf", 7, 0, 1, 26 }, { "avx512vbmi", 7, 0, 2, 1 }, { "avx512vbmi2", 7, 0, 2, 6 },
        { "avx512vl", 7, 0, 1, 31 }, { "avx512vnni", 7, 0, 2, 11 }, { "bmi1", 7, 0, 1, 3 }, { "bmi2", 7, 0, 1, 8 },
        { "bus-lock-detect", 7, 0, 2, 24 }, { "cid", 1, 0, 2, 10 }, { "cldemote", 7, 0, 2, 25 },
        { "clflush", 1, 0, 3, 19 }, { "clflushopt", 7, 0, 1, 23 }, { "clwb", 7, 0, 1, 24 },
        { "clzero", 0x80000008, 0, 1, 0 }, { "cmov", 1, 0, 3, 15 }, { "cmp_legacy", 0x80000001, 0, 2, 1 },
        { "cmt", 7, 0, 1, 12 }, { "core-capability", 7, 0, 3, 30 }, { "cr8legacy", 0x80000001, 0, 2, 4 },
        { "cvt16", 0x80000001, 0, 2, 18 }, { "cx16", 1, 0, 2, 13 }, { "cx8", 1, 0, 3, 8 }, { "dca", 1, 0, 2, 18 },
        { "de", 1, 0, 3, 2 }, { "decodeassists", 0x8000000a, 0, 3, 7 }, { "ds", 1, 0, 3, 21 },
        { "ds_cpl", 1, 0, 2, 4 }, { "dtes64", 1, 0, 2, 2 }, { "erms", 7, 0, 1, 9 }, { "est", 1, 0, 2, 7 },
        { "extapic", 0x80000001, 0, 2, 3 }, { "f16c", 1, 0, 2, 29 }, { "flushbyasid", 0x8000000a, 0, 3, 6 },
        { "fma", 1, 0, 2, 12 }, { "fma4", 0x80000001, 0, 2, 16 }, { "fpu", 1, 0, 3, 0 }, { "fsgsbase", 7, 0, 1, 0 },
        { "fsrm", 7, 0, 3, 4 }, { "fxsr", 1, 0, 3, 24 }, { "fxsr_opt", 0x80000001, 0, 3, 25 },
        { "gfni", 7, 0, 2, 8 }, { "hle", 7, 0, 1, 4 }, { "ht", 1, 0, 3, 28 }, { "hypervisor", 1, 0, 2, 31 },
        { "ia64", 1, 0, 3, 30 }, { "ibpb", 0x80000008, 0, 1, 12 }, { "ibrs", 0x80000008, 0, 1, 14 },
        { "ibs", 0x80000001, 0, 2, 10 }, { "intel-pt", 7, 0, 1, 25 }, { "intel-pt-lip", 0x14, 0, 2, 31 },
        { "invpcid", 7, 0, 1, 10 }, { "invtsc", 0x80000007, 0, 3, 8 }, { "la57", 7, 0, 2, 16 },
        { "lahf_lm", 0x80000001, 0, 2, 0 }, { "lbrv", 0x8000000a, 0, 3, 1 }, { "lm", 0x80000001, 0, 3, 29 },
        { "lwp", 0x80000001, 0, 2, 15 }, { "mbm_local", 0xf, 1, 3, 2 }, { "mbm_total", 0xf, 1, 3, 1 },
        { "mca", 1, 0, 3, 14 }, { "mce", 1, 0, 3, 7 }, { "md-clear", 7, 0, 3, 10 },
        { "misalignsse", 0x80000001, 0, 2, 7 }, { "mmx", 1, 0, 3, 23 }, { "mmxext", 0x80000001, 0, 3, 22 },
        { "monitor", 1, 0, 2, 3 }, { "movbe", 1, 0, 2, 22 }, { "movdir64b", 7, 0, 2, 28 },
        { "movdiri", 7, 0, 2, 27 }, { "mpx", 7, 0, 1, 14 }, { "msr", 1, 0, 3, 5 }, { "mtrr", 1, 0, 3, 12 },
        { "nodeid_msr", 0x80000001, 0, 2, 19 }, { "npt", 0x8000000a, 0, 3, 0 }, { "nrip-save", 0x8000000a, 0, 3, 3 },
        { "nx", 0x80000001, 0, 3, 20 }, { "ospke", 7, 0, 2, 4 }, { "osvw", 0x80000001, 0, 2, 9 },
        { "osxsave", 1, 0, 2, 27 }, { "pae", 1, 0, 3, 6 }, { "pat", 1, 0, 3, 16 },
        { "pause-filter", 0x8000000a, 0, 3, 10 }, { "pbe", 1, 0, 3, 31 }, { "pcid", 1, 0, 2, 17 },
        { "pclmuldq", 1, 0, 2, 1 }, { "pcommit", 7, 0, 1, 22 }, { "pconfig", 7, 0, 3, 18 }, { "pdcm", 1, 0, 2, 15 },
        { "pdpe1gb", 0x80000001, 0, 3, 26 }, { "perfctr_core", 0x80000001, 0, 2, 23 },
        { "perfctr_nb", 0x80000001, 0, 2, 24 }, { "pfthreshold", 0x8000000a, 0, 3, 12 }, { "pge", 1, 0, 3, 13 },
        { "pks", 7, 0, 2, 31 }, { "pku", 7, 0, 2, 3 }, { "pn", 1, 0, 3, 18 }, { "pni", 1, 0, 2, 0 },
        { "popcnt", 1, 0, 2, 23 }, { "pse", 1, 0, 3, 3 }, { "pse36", 1, 0, 3, 17 }, { "rdpid", 7, 0, 2, 22 },
        { "rdrand", 1, 0, 2, 30 }, { "rdseed", 7, 0, 1, 18 }, { "rdtscp", 0x80000001, 0, 3, 27 },
        { "rtm", 7, 0, 1, 11 }, { "sep", 1, 0, 3, 11 }, { "serialize", 7, 0, 3, 14 }, { "sgx", 7, 0, 1, 2 },
        { "sgx-debug", 0x12, 1, 0, 1 }, { "sgx-exinfo", 0x12, 0, 1, 0 }, { "sgx-kss", 0x12, 1, 0, 7 },
        { "sgx-mode64", 0x12, 1, 0, 2 }, { "sgx-provisionkey", 0x12, 1, 0, 4 }, { "sgx-tokenkey", 0x12, 1, 0, 5 },
        { "sgx1", 0x12, 0, 0, 0 }, { "sgx2", 0x12, 0, 0, 1 }, { "sgxlc", 7, 0, 2, 30 }, { "sha-ni", 7, 0, 1, 29 },
        { "skinit", 0x80000001, 0, 2, 12 }, { "smap", 7, 0, 1, 20 }, { "smep", 7, 0, 1, 7 }, { "smx", 1, 0, 2, 6 },
        { "spec-ctrl", 7, 0, 3, 26 }, { "ss", 1, 0, 3, 27 }, { "ssbd", 7, 0, 3, 31 }, { "sse", 1, 0, 3, 25 },
        { "sse2", 1, 0, 3, 26 }, { "sse4.1", 1, 0, 2, 19 }, { "sse4.2", 1, 0, 2, 20 },
        { "sse4a", 0x80000001, 0, 2, 6 }, { "ssse3", 1, 0, 2, 9 }, { "stibp", 7, 0, 3, 27 },
        { "svm", 0x80000001, 0, 2, 2 }, { "svm-lock", 0x8000000a, 0, 3, 2 },
        { "svme-addr-chk", 0x8000000a, 0, 3, 28 }, { "syscall", 0x80000001, 0, 3, 11 },
        { "tbm", 0x80000001, 0, 2, 21 }, { "tce", 0x80000001, 0, 2, 17 }, { "tm", 1, 0, 3, 29 },
        { "tm2", 1, 0, 2, 8 }, { "topoext", 0x80000001, 0, 2, 22 }, { "tsc", 1, 0, 3, 4 },
        { "tsc-deadline", 1, 0, 2, 24 }, { "tsc-scale", 0x8000000a, 0, 3, 4 }, { "tsc_adjust", 7, 0, 1, 1 },
        { "tsx-ldtrk", 7, 0, 3, 16 }, { "umip", 7, 0, 2, 2 }, { "v-vmsave-vmload", 0x8000000a, 0, 3, 15 },
        { "vaes", 7, 0, 2, 9 }, { "vgif", 0x8000000a, 0, 3, 16 }, { "virt-ssbd", 0x80000008, 0, 1, 25 },
        { "vmcb-clean", 0x8000000a, 0, 3, 5 }, { "vme", 1, 0, 3, 1 }, { "vmx", 1, 0, 2, 5 },
        { "vpclmulqdq", 7, 0, 2, 10 }, { "waitpkg", 7, 0, 2, 5 }, { "wbnoinvd", 0x80000008, 0, 1, 9 },
        { "wdt", 0x80000001, 0, 2, 13 }, { "x2apic", 1, 0, 2, 21 }, { "xfd", 0xd, 1, 0, 4 },
        { "xgetbv1", 0xd, 1, 0, 2 }, { "xop", 0x80000001, 0, 2, 11 }, { "xsave", 1, 0, 2, 26 },
        { "xsavec", 0xd, 1, 0, 1 }, { "xsaveerptr", 0x80000008, 0, 1, 2 }, { "xsaveopt", 0xd, 1, 0, 0 },
        { "xsaves", 0xd, 1, 0, 3 }, { "xtpr", 1, 0, 2, 14 },
};
/* clang-format on */

static int compare(const void *name, const void *feature) {
        return strcmp(name, ((const CpuFeature *) feature)->name);
}

const CpuFeature *cpu_feature_find(const char *name) {
        return bsearch(name, features, G_N_ELEMENTS(features), sizeof(features[0]), compare);
}

const CpuFeature *cpu_features_all(gsize *ret_n) {
        *ret_n = G_N_ELEMENTS(features);
        return features;
}
