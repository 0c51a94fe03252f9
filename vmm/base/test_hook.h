/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the build that plays an attacker (virtmicro-vmm-hostile), never installed: proves
 * that the filters are there by breaking out of them.
 */
#pragma once

#include <stdbool.h>

#include "seccomp.h"

/*
 * If --test-hook=KIND:CALL on the command line, or VMM_TEST_HOOK=KIND:CALL in the environment, names this thread's
 * kind (control, vcpu, disk, ...) and one of test_hook_attempts[], makes that call, says so and exits with 99: the
 * filter has a hole.
 */
void test_hook_fire(const struct thread_role *role);

struct test_hook_attempt {
        const char *name;
        unsigned kinds; /* bits of enum thread_kind: for whom it is forbidden */
        void (*fn)(const struct thread_role *role);
};

extern const struct test_hook_attempt test_hook_attempts[]; /* ends with a name of NULL */
extern const char *const test_hook_kinds[THREAD_KIND_MAX];
