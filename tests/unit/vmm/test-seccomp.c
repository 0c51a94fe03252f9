/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of all kinds of thread, installed in child processes: what they need
 * works, and every attempt to break out ends the process with SIGSYS.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/kvm.h>

#include "base/cleanup.h"
#include "base/seccomp.h"
#include "base/test_hook.h"
#include "../test.h"

struct job {
        enum thread_kind kind;
        void (*fn)(void);
};

static void *job_thread(void *arg) {
        struct job *job = arg;

        if (seccomp_enter(job->kind) < 0)
                _exit(98);
        if (job->fn)
                job->fn();
        return NULL;
}

/* As the monitor does: control first, then the thread. Returns the wait status. */
static int run_filtered(enum thread_kind kind, void (*fn)(void)) {
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                struct job job = { kind, fn };
                pthread_t thread;

                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_enter(THREAD_CONTROL) < 0)
                        _exit(97);
                if (kind == THREAD_CONTROL) {
                        if (fn)
                                fn();
                } else if (pthread_create(&thread, NULL, job_thread, &job) != 0 || pthread_join(thread, NULL) != 0)
                        _exit(96);
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        return status;
}

static void test_attacks(void) {
        static const char *const kinds[] = { "control", "vcpu", "device" };
        static const char *const attempts[] = { "openat", "socket", "execve", "ptrace", "kill", "clone", "mmap" };

        for (unsigned k = 0; k < THREAD_KIND_MAX; k++)
                for (unsigned a = 0; a < ARRAY_SIZE(attempts); a++) {
                        char hook[64];
                        int status;

                        (void) snprintf(hook, sizeof(hook), "%s:%s", kinds[k], attempts[a]);
                        CHECK(setenv("VMM_TEST_HOOK", hook, 1) == 0);
                        status = run_filtered(k, NULL);
                        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
                                fprintf(stderr, "%s: status %#x\n", hook, status);
                        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
                }
        (void) unsetenv("VMM_TEST_HOOK");
}

static void everyday_work(void) {
        void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int r = 0;

        if (p == MAP_FAILED || munmap(p, 1 << 20) < 0)
                r = 1;
        free(malloc(300000));
        if (write(STDERR_FILENO, "", 0) != 0 || raise(0) != 0)
                r = 2;
        if (r)
                _exit(r);
}

static void kvm_ioctl(void) {
        (void) ioctl(-1, KVM_RUN, 0);
}

static void kvm_create(void) {
        (void) ioctl(-1, KVM_CREATE_VM, 0);
}

static void terminal_inject(void) {
        (void) ioctl(0, TIOCSTI, "x");
}

/* The kernel's request numbers; its header does not go together with the C library's. */
static void raw_terminal(void) {
        static const unsigned requests[] = { TCGETS, TCSETS, 0x802c542a /* TCGETS2 */, 0x402c542b /* TCSETS2 */ };

        for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
                (void) ioctl(-1, requests[i], NULL);
}

static void receive_message(void) {
        struct msghdr msg = {};
        (void) recvmsg(-1, &msg, 0);
}

static void signal_outside(void) {
        (void) syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static bool is_killed(int status) {
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void test_allowed(void) {
        for (unsigned k = 0; k < THREAD_KIND_MAX; k++)
                CHECK_EQ(run_filtered(k, everyday_work), 0);
        CHECK_EQ(run_filtered(THREAD_VCPU, kvm_ioctl), 0);
        CHECK_EQ(run_filtered(THREAD_CONTROL, kvm_create), 0);
        CHECK_EQ(run_filtered(THREAD_CONTROL, receive_message), 0);
        CHECK_EQ(run_filtered(THREAD_CONTROL, raw_terminal), 0);
}

static void test_kinds_differ(void) {
        CHECK(is_killed(run_filtered(THREAD_VCPU, kvm_create)));
        CHECK(is_killed(run_filtered(THREAD_DEVICE, kvm_create)));
        CHECK(is_killed(run_filtered(THREAD_VCPU, receive_message)));
        CHECK(is_killed(run_filtered(THREAD_DEVICE, receive_message)));
        CHECK(is_killed(run_filtered(THREAD_VCPU, raw_terminal)));
        CHECK(is_killed(run_filtered(THREAD_DEVICE, raw_terminal)));
        for (unsigned k = 0; k < THREAD_KIND_MAX; k++) {
                CHECK(is_killed(run_filtered(k, terminal_inject)));
                CHECK(is_killed(run_filtered(k, signal_outside)));
        }
}

int main(void) {
        (void) mallopt(M_ARENA_MAX, 1); /* as the monitor does: no thread asks for the number of processors */
        RUN(test_allowed);
        RUN(test_kinds_differ);
        RUN(test_attacks);
        return 0;
}
