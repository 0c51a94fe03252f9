/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the build that plays an attacker (virtmicro-vmm-hostile), never installed: proves
 * that the filters are there by breaking out of them.
 */
#pragma once

#include "seccomp.h"

/*
 * If --test-hook=KIND:CALL on the command line, or VMM_TEST_HOOK=KIND:CALL in the environment, names this kind of
 * thread (control, vcpu, device), makes that call (openat, socket, execve, ptrace, kill, clone, mmap), says so and
 * exits with 99: the filter has a hole.
 */
void test_hook_fire(enum thread_kind kind);
