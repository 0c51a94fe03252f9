/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPU registers. A machine reset does not make new vCPUs: what KVM reported right after they
 * were made is kept and written back. That covers general, segment, control and debug
 * registers, the FPU with its extended state, the local APIC, pending events, the run state
 * (which is what sends application processors back to waiting for SIPI), and every MSR that KVM
 * lists and can read, among them KVM's own (clock, async page fault, steal time), so that a new
 * kernel starts with none of them enabled. The time stamp counter keeps running: writing it
 * would desynchronise the vCPUs.
 *
 * Entry: the Linux/x86 boot protocol, "64-bit boot protocol", demands long mode with
 * paging, a flat code segment at selector 0x10 and data segment at 0x18, interrupts off
 * and RSI with the address of the boot parameters. PVH demands 32-bit protected mode
 * without paging and EBX with the address of the start info.
 *
 * Called while no vCPU runs, from the control thread.
 */
#include "vcpu_state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../../base/cleanup.h"
#include "../arch.h"

#define MSR_TSC              0x10u
#define MSR_FEATURE_CONTROL  0x3au
#define MSR_MISC_ENABLE      0x1a0u
#define MSR_MTRR_DEF_TYPE    0x2ffu
#define MISC_ENABLE_FAST_STR BIT64(0)
#define MTRR_ENABLED         BIT64(11)
#define MTRR_TYPE_WRITE_BACK 6u

#define CR0_PE     BIT64(0)
#define CR0_ET     BIT64(4)
#define CR0_WP     BIT64(16)
#define CR0_PG     BIT64(31)
#define CR4_PAE    BIT64(5)
#define EFER_LME   BIT64(8)
#define EFER_LMA   BIT64(10)
#define RFLAGS_SET BIT64(1)

#define APIC_LVT_LINT1 0x360u
#define APIC_MODE_NMI  0x400u

#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TASK 0x20u

#define SEGMENT_CODE 0xbu /* execute, read, accessed */
#define SEGMENT_DATA 0x3u /* read, write, accessed */
#define SEGMENT_TASK 0xbu /* busy 32-bit (or 64-bit) TSS */

struct vcpu_state {
        struct kvm_regs regs;
        struct kvm_sregs sregs;
        struct kvm_xsave xsave;
        struct kvm_xcrs xcrs;
        struct kvm_debugregs debugregs;
        struct kvm_vcpu_events events;
        struct kvm_lapic_state lapic;
        struct kvm_mp_state mp_state;
        bool has_xsave, has_xcrs;
        unsigned n_msrs;
        struct kvm_msr_entry *msrs;
};

static int set_msr(int vcpu_fd, uint32_t index, uint64_t value) {
        struct {
                struct kvm_msrs header;
                struct kvm_msr_entry entry;
        } one = { .header.nmsrs = 1, .entry = { .index = index, .data = value } };
        int r = ioctl(vcpu_fd, KVM_SET_MSRS, &one);

        if (r < 0)
                return -errno;
        return r == 1 ? 0 : -EINVAL;
}

/* False: this MSR cannot be read on this host. */
static bool get_msr(int vcpu_fd, struct kvm_msr_entry *entry) {
        struct {
                struct kvm_msrs header;
                struct kvm_msr_entry entry;
        } one = { .header.nmsrs = 1, .entry = { .index = entry->index } };

        if (ioctl(vcpu_fd, KVM_GET_MSRS, &one) != 1)
                return false;
        entry->data = one.entry.data;
        return true;
}

static int set_lint1(int vcpu_fd) {
        struct kvm_lapic_state lapic;
        uint32_t lvt = APIC_MODE_NMI;

        if (ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic) < 0)
                return -errno;
        memcpy(lapic.regs + APIC_LVT_LINT1, &lvt, sizeof(lvt));
        if (ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic) < 0)
                return -errno;
        return 0;
}

int vcpu_state_init(int vcpu_fd) {
        /* Without MTRRs, Linux treats all memory as uncached. The others are optional. */
        (void) set_msr(vcpu_fd, MSR_MTRR_DEF_TYPE, MTRR_ENABLED | MTRR_TYPE_WRITE_BACK);
        (void) set_msr(vcpu_fd, MSR_MISC_ENABLE, MISC_ENABLE_FAST_STR);
        return set_lint1(vcpu_fd);
}

static int msr_list(int kvm_fd, struct kvm_msr_list **ret) {
        struct kvm_msr_list probe = { 0 };
        struct kvm_msr_list *list;

        /* Fails with E2BIG and says how many there are. */
        (void) ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
        list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
        if (!list)
                return -ENOMEM;
        list->nmsrs = probe.nmsrs;
        if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
                int r = -errno;
                free(list);
                return r;
        }
        *ret = list;
        return 0;
}

static int save_msrs(int kvm_fd, int vcpu_fd, struct vcpu_state *state) {
        AUTOFREE struct kvm_msr_list *list = NULL;
        int r;

        r = msr_list(kvm_fd, &list);
        if (r < 0)
                return r;
        state->msrs = calloc(list->nmsrs + 1, sizeof(*state->msrs));
        if (!state->msrs)
                return -ENOMEM;
        for (unsigned i = 0; i < list->nmsrs; i++) {
                struct kvm_msr_entry entry = { .index = list->indices[i] };

                /* A value that cannot be written back now never will be. */
                if (entry.index != MSR_TSC && get_msr(vcpu_fd, &entry) &&
                    set_msr(vcpu_fd, entry.index, entry.data) == 0)
                        state->msrs[state->n_msrs++] = entry;
        }
        return 0;
}

static void free_p(struct vcpu_state **state) {
        arch_vcpu_state_free(*state);
}

int vcpu_state_save(int kvm_fd, int vcpu_fd, struct vcpu_state **ret) {
        CLEANUP(free_p) struct vcpu_state *state = NULL;
        int r;

        state = calloc(1, sizeof(*state));
        if (!state)
                return -ENOMEM;
        r = save_msrs(kvm_fd, vcpu_fd, state);
        if (r < 0)
                return r;
        if (ioctl(vcpu_fd, KVM_GET_REGS, &state->regs) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &state->sregs) < 0 ||
            ioctl(vcpu_fd, KVM_GET_DEBUGREGS, &state->debugregs) < 0 ||
            ioctl(vcpu_fd, KVM_GET_VCPU_EVENTS, &state->events) < 0 ||
            ioctl(vcpu_fd, KVM_GET_LAPIC, &state->lapic) < 0 || ioctl(vcpu_fd, KVM_GET_MP_STATE, &state->mp_state) < 0)
                return -errno;
        state->has_xsave = ioctl(vcpu_fd, KVM_GET_XSAVE, &state->xsave) == 0;
        state->has_xcrs = ioctl(vcpu_fd, KVM_GET_XCRS, &state->xcrs) == 0;
        *ret = TAKE(state);
        return 0;
}

struct vcpu_state *arch_vcpu_state_free(struct vcpu_state *state) {
        if (!state)
                return NULL;
        free(state->msrs);
        free(state);
        return NULL;
}

/*
 * After a triple fault with paging off, KVM on AMD has lost the root of its page tables and sets it anew only when a
 * control register changes: so one is changed, on the way to its right value.
 */
static int restore_sregs(int vcpu_fd, const struct kvm_sregs *sregs) {
        struct kvm_sregs other = *sregs;

        other.cr0 ^= CR0_WP;
        if (ioctl(vcpu_fd, KVM_SET_SREGS, &other) < 0 || ioctl(vcpu_fd, KVM_SET_SREGS, sregs) < 0)
                return -errno;
        return 0;
}

/*
 * The guest may have been in VMX operation, in which KVM takes no CR4 without VMXE: locking the feature away leaves it.
 * The APIC base (in sregs) and the CPU features come before what depends on them: MSRs, then the LAPIC.
 */
int arch_vcpu_restore(int vcpu_fd, const struct vcpu_state *state) {
        (void) set_msr(vcpu_fd, MSR_FEATURE_CONTROL, 0); /* fails where there is no such register */
        if (restore_sregs(vcpu_fd, &state->sregs) < 0 || ioctl(vcpu_fd, KVM_SET_REGS, &state->regs) < 0 ||
            ioctl(vcpu_fd, KVM_SET_DEBUGREGS, &state->debugregs) < 0)
                return -errno;
        if (state->has_xcrs && ioctl(vcpu_fd, KVM_SET_XCRS, &state->xcrs) < 0)
                return -errno;
        if (state->has_xsave && ioctl(vcpu_fd, KVM_SET_XSAVE, &state->xsave) < 0)
                return -errno;
        for (unsigned i = 0; i < state->n_msrs; i++)
                (void) set_msr(vcpu_fd, state->msrs[i].index, state->msrs[i].data);
        if (ioctl(vcpu_fd, KVM_SET_LAPIC, &state->lapic) < 0 ||
            ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &state->events) < 0 ||
            ioctl(vcpu_fd, KVM_SET_MP_STATE, &state->mp_state) < 0)
                return -errno;
        return 0;
}

static struct kvm_segment segment(enum boot_mode mode, uint16_t selector, uint8_t type) {
        bool is_code = selector == SELECTOR_CODE, is_task = selector == SELECTOR_TASK;
        bool is_long = mode == BOOT_LONG_MODE;

        return (struct kvm_segment) {
                .limit = is_task ? 0x67 : 0xffffffff,
                .selector = selector,
                .type = type,
                .present = 1,
                .s = !is_task,
                .l = is_code && is_long,
                .db = !is_task && !(is_code && is_long),
                .g = !is_task,
        };
}

/* Intel SDM volume 3, 3.4.5: limit and base in pieces around the attributes. */
static uint64_t descriptor(const struct kvm_segment *s) {
        uint64_t limit = s->g ? s->limit >> 12 : s->limit;
        uint64_t attributes = s->type | (uint64_t) s->s << 4 | (uint64_t) s->dpl << 5 | (uint64_t) s->present << 7 |
                              (uint64_t) s->avl << 12 | (uint64_t) s->l << 13 | (uint64_t) s->db << 14 |
                              (uint64_t) s->g << 15;

        return (limit & 0xffff) | (s->base & 0xffffff) << 16 | attributes << 40 | (limit >> 16 & 0xf) << 48 |
               (s->base >> 24 & 0xff) << 56;
}

void boot_gdt_fill(enum boot_mode mode, uint64_t gdt[BOOT_GDT_ENTRIES]) {
        struct kvm_segment code = segment(mode, SELECTOR_CODE, SEGMENT_CODE);
        struct kvm_segment data = segment(mode, SELECTOR_DATA, SEGMENT_DATA);
        struct kvm_segment task = segment(mode, SELECTOR_TASK, SEGMENT_TASK);

        memset(gdt, 0, BOOT_GDT_ENTRIES * sizeof(gdt[0]));
        gdt[SELECTOR_CODE / 8] = descriptor(&code);
        gdt[SELECTOR_DATA / 8] = descriptor(&data);
        gdt[SELECTOR_TASK / 8] = descriptor(&task);
}

static void enter_protected(struct kvm_sregs *s, const struct boot_entry *entry) {
        s->gdt.base = entry->gdt;
        s->gdt.limit = BOOT_GDT_ENTRIES * 8 - 1;
        s->cs = segment(entry->mode, SELECTOR_CODE, SEGMENT_CODE);
        s->ds = s->es = s->fs = s->gs = s->ss = segment(entry->mode, SELECTOR_DATA, SEGMENT_DATA);
        s->tr = segment(entry->mode, SELECTOR_TASK, SEGMENT_TASK);
        s->cr0 = CR0_PE | CR0_ET;
        if (entry->mode != BOOT_LONG_MODE)
                return;
        s->cr0 |= CR0_PG;
        s->cr3 = entry->page_table;
        s->cr4 |= CR4_PAE;
        s->efer |= EFER_LME | EFER_LMA;
}

int arch_vcpu_enter(int vcpu_fd, const struct boot_entry *entry) {
        struct kvm_regs regs = { .rflags = RFLAGS_SET, .rip = entry->rip };
        struct kvm_sregs sregs;

        if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
                return -errno;
        if (entry->mode == BOOT_REAL_MODE) {
                sregs.cs.base = 0;
                sregs.cs.selector = 0;
        } else
                enter_protected(&sregs, entry);
        if (entry->mode == BOOT_PVH)
                regs.rbx = entry->argument;
        else
                regs.rsi = entry->argument;
        if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
                return -errno;
        return 0;
}
