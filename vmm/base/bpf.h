/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns rules about system calls into the program that the kernel runs before each call (seccomp(2), classic
 * BPF). A call that no rule allows kills the process.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#define BPF_CHECKS_MAX 3u

enum bpf_test {
        BPF_ANY = 0, /* no check; ends the list */
        BPF_IS,      /* the argument, under the mask, is the value */
        BPF_BELOW,   /* it is less than the value; 64 bits */
        BPF_BELOW32, /* so are its lower 32 bits, which is all that the kernel takes of an int */
        BPF_FROM32,  /* its lower 32 bits are the value or more */
};

struct bpf_check {
        uint8_t arg;  /* 0 to 5 */
        uint8_t test; /* enum bpf_test */
        uint64_t mask, value;
};

/*
 * Three times the size of the longest program, the control thread's. A jump within a rule reaches 255
 * instructions, and a rule has at most 2 + BPF_CHECKS_MAX * 6.
 */
#define BPF_CODE_MAX 2048u

struct bpf_program {
        struct sock_filter code[BPF_CODE_MAX];
        unsigned n;
        unsigned group; /* where the rules of the current call begin; 0: none is open */
        int nr;         /* that call */
        bool overflow;
};

void bpf_begin(struct bpf_program *p);
/*
 * Allows a call whose arguments pass all checks (BPF_CHECKS_MAX of them). Rules for the same call must be
 * adjacent; one of them must match. They are tried in order.
 */
void bpf_allow(struct bpf_program *p, int nr, const struct bpf_check *checks);
/* Fails a call with an error. */
void bpf_refuse(struct bpf_program *p, int nr, int error);
/* Installs the program on the calling thread, for good. Negative errno. */
int bpf_install(struct bpf_program *p);
