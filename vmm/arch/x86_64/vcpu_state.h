/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registers of one vCPU: as a processor has them after reset, and as the kernel's
 * entry point wants them.
 */
#pragma once

#include <stdint.h>

#include <linux/kvm.h>

struct vcpu_state;

/* How the boot processor enters the kernel. */
enum boot_mode {
        BOOT_LONG_MODE, /* Linux 64-bit boot protocol: RSI holds the boot parameters */
        BOOT_PVH,       /* 32-bit protected mode, paging off: EBX holds the start info */
        BOOT_REAL_MODE, /* flat 16-bit code with CS base 0, for tests */
};

struct boot_entry {
        enum boot_mode mode;
        uint64_t rip;
        uint64_t argument;   /* guest address handed to the kernel */
        uint64_t page_table; /* BOOT_LONG_MODE: guest address of the top-level table */
        uint64_t gdt;        /* guest address of a boot_gdt */
};

/* Descriptors that both protocols want: 0x10 code, 0x18 data, 0x20 task. */
#define BOOT_GDT_ENTRIES 5u
void boot_gdt_fill(enum boot_mode mode, uint64_t gdt[BOOT_GDT_ENTRIES]);

/* Sets what firmware would have set (MTRRs, LINT1); once, after CPUID. */
int vcpu_state_init(int vcpu_fd);
/* Reads all state that KVM can read and write; the caller frees it. */
int vcpu_state_save(int kvm_fd, int vcpu_fd, struct vcpu_state **ret);
