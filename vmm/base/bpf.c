/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program goes through the calls one by one, in the order of the rules:
 *
 *           load number
 *           if it is NR, go on, else jump to NEXT
 *           each rule: load and compare arguments, failing to the next rule; return ALLOW
 *           return KILL
 *     NEXT: ...
 *           return KILL
 *
 * A list is good enough: the kernel keeps a bitmap of calls that are always allowed, for which the program
 * never runs, and the calls that a guest causes most come first. Nothing is allocated: the program is on the
 * stack of the thread that installs it.
 *
 * Arguments are 64 bits, which BPF compares in halves (of a little-endian host).
 */
#include "bpf.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../arch/arch.h"

#define NEXT_RULE 0xffu /* a jump's target that is not known yet */

static void emit(struct bpf_program *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k) {
        if (p->n == BPF_CODE_MAX) {
                p->overflow = true;
                return;
        }
        p->code[p->n++] = (struct sock_filter) { code, jt, jf, k };
}

static void emit_load(struct bpf_program *p, size_t offset) {
        emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t) offset);
}

static void emit_jump(struct bpf_program *p, uint16_t test, uint32_t k, uint8_t jt, uint8_t jf) {
        emit(p, BPF_JMP | test | BPF_K, jt, jf, k);
}

static void emit_return(struct bpf_program *p, uint32_t action) {
        emit(p, BPF_RET | BPF_K, 0, 0, action);
}

static size_t low(unsigned arg) {
        return offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t);
}

static size_t high(unsigned arg) {
        return low(arg) + sizeof(uint32_t);
}

static void emit_is(struct bpf_program *p, size_t offset, uint32_t mask, uint32_t value) {
        if (mask == 0)
                return;
        emit_load(p, offset);
        if (mask != UINT32_MAX)
                emit(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
        emit_jump(p, BPF_JEQ, value, 0, NEXT_RULE);
}

static void emit_below(struct bpf_program *p, unsigned arg, uint64_t value) {
        emit_load(p, high(arg));
        emit_jump(p, BPF_JGT, (uint32_t) (value >> 32), NEXT_RULE, 0);
        emit_jump(p, BPF_JEQ, (uint32_t) (value >> 32), 0, 2); /* less: the lower half does not matter */
        emit_load(p, low(arg));
        emit_jump(p, BPF_JGE, (uint32_t) value, NEXT_RULE, 0);
}

static void emit_check(struct bpf_program *p, const struct bpf_check *c) {
        switch (c->test) {
        case BPF_IS:
                emit_is(p, low(c->arg), (uint32_t) c->mask, (uint32_t) c->value);
                emit_is(p, high(c->arg), (uint32_t) (c->mask >> 32), (uint32_t) (c->value >> 32));
                break;
        case BPF_BELOW:
                emit_below(p, c->arg, c->value);
                break;
        case BPF_BELOW32:
                emit_load(p, low(c->arg));
                emit_jump(p, BPF_JGE, (uint32_t) c->value, NEXT_RULE, 0);
                break;
        case BPF_FROM32:
                emit_load(p, low(c->arg));
                emit_jump(p, BPF_JGE, (uint32_t) c->value, 0, NEXT_RULE);
                break;
        default:
                break;
        }
}

/* Points the rule's failed checks past its end. */
static void resolve(struct bpf_program *p, unsigned start) {
        for (unsigned i = start; i < p->n && !p->overflow; i++) {
                struct sock_filter *f = &p->code[i];
                uint8_t distance = (uint8_t) (p->n - i - 1);

                if (BPF_CLASS(f->code) != BPF_JMP)
                        continue;
                f->jt = f->jt == NEXT_RULE ? distance : f->jt;
                f->jf = f->jf == NEXT_RULE ? distance : f->jf;
        }
}

static void end_group(struct bpf_program *p) {
        if (p->group == 0 || p->overflow)
                return;
        emit_return(p, SECCOMP_RET_KILL_PROCESS);
        p->code[p->group - 1].k = p->n - p->group; /* the jump over the group */
        p->group = 0;
}

static void begin_group(struct bpf_program *p, int nr) {
        if (p->group > 0 && p->nr == nr)
                return;
        end_group(p);
        emit_load(p, offsetof(struct seccomp_data, nr));
        emit_jump(p, BPF_JEQ, (uint32_t) nr, 1, 0);
        emit_jump(p, BPF_JA, 0, 0, 0);
        p->group = p->n;
        p->nr = nr;
}

void bpf_begin(struct bpf_program *p) {
        p->n = p->group = 0;
        p->overflow = false;
        emit_load(p, offsetof(struct seccomp_data, arch));
        emit_jump(p, BPF_JEQ, arch_audit, 1, 0);
        emit_return(p, SECCOMP_RET_KILL_PROCESS);
}

void bpf_allow(struct bpf_program *p, int nr, const struct bpf_check *checks) {
        unsigned start;

        begin_group(p, nr);
        start = p->n;
        for (unsigned i = 0; i < BPF_CHECKS_MAX; i++)
                emit_check(p, &checks[i]);
        emit_return(p, SECCOMP_RET_ALLOW);
        resolve(p, start);
}

void bpf_refuse(struct bpf_program *p, int nr, int error) {
        begin_group(p, nr);
        emit_return(p, SECCOMP_RET_ERRNO | (uint32_t) error);
}

int bpf_install(struct bpf_program *p) {
        struct sock_fprog program;

        end_group(p);
        emit_return(p, SECCOMP_RET_KILL_PROCESS);
        if (p->overflow)
                return -E2BIG;
        program = (struct sock_fprog) { .len = (unsigned short) p->n, .filter = p->code };
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
