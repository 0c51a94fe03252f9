/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The attacker's first calls, made on a thread whose filter has just been installed.
 * A filter that works kills the process before any of them returns.
 *
 * The program's own options know nothing of this: the argument is taken out, before
 * main() sees it, and kept in the environment.
 */
#include "test_hook.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "cleanup.h"

#define OPTION "--test-hook="

__attribute__((constructor)) static void take_option(int argc, char **argv) {
        static char harmless[] = "--no-reboot";

        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], OPTION, strlen(OPTION)) == 0) {
                        (void) setenv("VMM_TEST_HOOK", argv[i] + strlen(OPTION), 1);
                        argv[i] = harmless; /* in its place */
                }
}

static void try_openat(void) {
        (void) syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static void try_socket(void) {
        (void) syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static void try_execve(void) {
        (void) syscall(SYS_execve, "/bin/sh", NULL, NULL);
}

static void try_ptrace(void) {
        (void) syscall(SYS_ptrace, PTRACE_ATTACH, 1, NULL, NULL);
}

static void try_kill(void) {
        (void) syscall(SYS_kill, 1, SIGTERM);
}

static void try_clone(void) {
        (void) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void try_mmap(void) {
        (void) mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

void test_hook_fire(enum thread_kind kind) {
        static const char *const kinds[] = {
                [THREAD_CONTROL] = "control:", [THREAD_VCPU] = "vcpu:", [THREAD_DEVICE] = "device:",
        };
        static const struct {
                const char *name;
                void (*fn)(void);
        } attempts[] = {
                { "openat", try_openat }, { "socket", try_socket }, { "execve", try_execve }, { "ptrace", try_ptrace },
                { "kill", try_kill },     { "clone", try_clone },   { "mmap", try_mmap },
        };
        const char *hook = getenv("VMM_TEST_HOOK");

        if (!hook || strncmp(hook, kinds[kind], strlen(kinds[kind])) != 0)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
                if (strcmp(hook + strlen(kinds[kind]), attempts[i].name) == 0) {
                        attempts[i].fn();
                        (void) dprintf(STDERR_FILENO, "filter has a hole: %s\n", hook);
                        _exit(99);
                }
}
