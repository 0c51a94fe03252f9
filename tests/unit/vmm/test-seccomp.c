/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of all kinds of thread, installed in child processes: what they need
 * works, and every attempt to break out ends the process with SIGSYS.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../test.h"
#include "base/cleanup.h"
#include "base/seccomp.h"
#include "base/test_hook.h"
#include "base/thread.h"

#define CLOSED   400                   /* no descriptor */
#define OWN_FD   600                   /* a disk's */
#define OWN_SIZE ((5ull << 32) + 4096) /* halves of which neither is zero */

struct job {
        struct thread_role role;
        void (*fn)(void);
};

static struct thread_role role_of(enum thread_kind kind) {
        return (struct thread_role) { kind, kind == THREAD_DISK ? OWN_FD : OWN_FD - IMAGE_FD_MIN, OWN_SIZE };
}

static void *job_thread(void *arg) {
        struct job *job = arg;

        if (seccomp_enter(&job->role) < 0)
                _exit(98);
        if (job->fn)
                job->fn();
        return NULL;
}

/* As the monitor does: control first, then the thread. Returns the wait status. */
static int run_filtered(enum thread_kind kind, void (*fn)(void)) {
        const struct thread_role control = { .kind = THREAD_CONTROL };
        struct job job = { role_of(kind), fn };
        pid_t pid = fork();
        pthread_t thread;
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_enter(&control) < 0)
                        _exit(97);
                if (kind == THREAD_CONTROL) {
                        if (fn)
                                fn();
                } else if (thread_new(&thread, job_thread, &job) != 0 || pthread_join(thread, NULL) != 0)
                        _exit(96);
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        return status;
}

static bool is_killed(int status) {
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void test_attacks(void) {
        unsigned made = 0;

        for (unsigned k = 0; k < THREAD_KIND_MAX; k++)
                for (const struct test_hook_attempt *a = test_hook_attempts; a->name; a++) {
                        char hook[64];
                        int status;

                        if (!(a->kinds & BIT(k)))
                                continue;
                        (void) snprintf(hook, sizeof(hook), "%s:%s", test_hook_kinds[k], a->name);
                        CHECK(setenv("VMM_TEST_HOOK", hook, 1) == 0);
                        status = run_filtered(k, NULL);
                        if (!is_killed(status))
                                fprintf(stderr, "%s: status %#x\n", hook, status);
                        CHECK(is_killed(status));
                        made++;
                }
        CHECK(made > 250);
        (void) unsetenv("VMM_TEST_HOOK");
}

/* Each returns what an unfiltered process gets for arguments that make no sense. */
static void expect(long r, int error) {
        if (r != -1 || errno != error)
                _exit(1);
}

static void everyone(void) {
        uint64_t one = 1;

        if (raise(0) != 0)
                _exit(2);
        expect(write(CLOSED, &one, sizeof(one)), EBADF);
        expect(read(CLOSED, &one, sizeof(one)), EBADF);
        (void) madvise(NULL, 0, MADV_DONTNEED);
}

static void allocate(void) {
        void *small = malloc(3000), *large = malloc(300000);

        if (!small || !large)
                _exit(2);
        free(small);
        free(large);
}

static void vcpu_work(void) {
        char serial[16] = {};

        everyone();
        expect(ioctl(CLOSED, KVM_RUN, 0), EBADF);
        expect(ioctl(CLOSED, KVM_IRQ_LINE, 0), EBADF);
        expect(read(CLOSED, serial, sizeof(serial)), EBADF);
        expect(write(CLOSED, serial, sizeof(serial)), EBADF);
}

static void disk_work(void) {
        struct iovec iov = { NULL, 0 };

        everyone();
        allocate();
        expect(preadv(OWN_FD, &iov, 1, 1ll << 50), EBADF);
        expect(pwritev(OWN_FD, &iov, 1, 0), EBADF);
        expect(pwritev(OWN_FD, &iov, 1, OWN_SIZE - 1), EBADF);
        expect(pwritev(OWN_FD, &iov, 1, 4ll << 32 | 0xffffffff), EBADF);
        expect(fdatasync(OWN_FD), EBADF);
        expect(close(OWN_FD), EBADF);
        expect(fallocate(OWN_FD, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, OWN_SIZE - 512, 512), EBADF);
        expect(fallocate(OWN_FD, FALLOC_FL_ZERO_RANGE, OWN_SIZE - 512, 512), EBADF);
}

static void net_work(void) {
        struct iovec iov = { NULL, 0 };
        char frame[1500];

        everyone();
        allocate();
        expect(readv(OWN_FD - IMAGE_FD_MIN, &iov, 1), EBADF);
        expect(writev(OWN_FD - IMAGE_FD_MIN, &iov, 1), EBADF);
        expect(read(OWN_FD - IMAGE_FD_MIN, frame, sizeof(frame)), EBADF);
        expect(ioctl(CLOSED, VHOST_SET_MEM_TABLE, NULL), EBADF);
}

static void console_work(void) {
        struct iovec iov = { NULL, 0 };

        everyone();
        allocate();
        expect(write(CLOSED, "longer than a number", 20), EBADF);
        expect(readv(CLOSED, &iov, 1), EBADF);
        expect(writev(CLOSED, &iov, 1), EBADF);
        expect(accept4(CLOSED, NULL, NULL, SOCK_CLOEXEC), EBADF);
        expect(close(CLOSED), EBADF);
}

/* The kernel's request numbers; its header does not go together with the C library's. */
static void raw_terminal(void) {
        static const unsigned requests[] = { TCGETS, TCSETS, 0x802c542a /* TCGETS2 */, 0x402c542b /* TCSETS2 */ };

        for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
                expect(ioctl(CLOSED, requests[i], NULL), EBADF);
}

static void vsock_work(void) {
        everyone();
        allocate();
        expect(ioctl(CLOSED, VHOST_SET_MEM_TABLE, NULL), EBADF);
        expect(ioctl(CLOSED, VHOST_VSOCK_SET_RUNNING, NULL), EBADF);
}

static void control_work(void) {
        struct msghdr msg = {};
        struct rlimit limit = { 1 << 20, 1 << 20 };

        everyone();
        allocate();
        raw_terminal();
        expect(recvmsg(CLOSED, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT), EBADF);
        expect(send(CLOSED, "x", 1, MSG_NOSIGNAL), EBADF);
        expect(ioctl(CLOSED, KVM_CREATE_VM, 0), EBADF);
        expect(fcntl(CLOSED, F_SETFL, O_NONBLOCK), EBADF);
        expect(fcntl(CLOSED, F_DUPFD_CLOEXEC, IMAGE_FD_MIN), EBADF);
        expect(fcntl(CLOSED, F_ADD_SEALS, F_SEAL_SHRINK), EBADF);
        if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || getrlimit(RLIMIT_FSIZE, &limit) < 0)
                _exit(3);
}

static void test_allowed(void) {
        CHECK_EQ(run_filtered(THREAD_CONTROL, control_work), 0);
        CHECK_EQ(run_filtered(THREAD_VCPU, vcpu_work), 0);
        CHECK_EQ(run_filtered(THREAD_DISK, disk_work), 0);
        CHECK_EQ(run_filtered(THREAD_NET, net_work), 0);
        CHECK_EQ(run_filtered(THREAD_CONSOLE, console_work), 0);
        CHECK_EQ(run_filtered(THREAD_SERIAL, everyone), 0);
        CHECK_EQ(run_filtered(THREAD_RNG, everyone), 0);
        CHECK_EQ(run_filtered(THREAD_VSOCK, vsock_work), 0);
}

/* What a flaw in the C library or here ends in is named in the journal, and is not SIGSYS. */
static void abort_here(void) {
        abort();
}

static void test_abort(void) {
        for (unsigned k = 0; k < THREAD_KIND_MAX; k++) {
                int status = run_filtered(k, abort_here);

                CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        }
}

/* How wide the filters are; a change that widens one has to change this as well. */
static void test_counts(void) {
        static const unsigned most[THREAD_KIND_MAX] = {
                [THREAD_CONTROL] = 50, [THREAD_VCPU] = 15,   [THREAD_DISK] = 30, [THREAD_NET] = 30,
                [THREAD_CONSOLE] = 30, [THREAD_SERIAL] = 30, [THREAD_RNG] = 30,  [THREAD_VSOCK] = 20,
        };

        for (unsigned k = 0; k < THREAD_KIND_MAX; k++) {
                fprintf(stderr, "%s: %u calls\n", test_hook_kinds[k], seccomp_count(k));
                CHECK(seccomp_count(k) > 0 && seccomp_count(k) <= most[k]);
        }
}

int main(void) {
        struct rlimit no_core = { 0, 0 };

        (void) setrlimit(RLIMIT_CORE, &no_core);
        (void) mallopt(M_ARENA_MAX, 1); /* as the monitor does: no thread asks for the number of processors */
        RUN(test_counts);
        RUN(test_allowed);
        RUN(test_abort);
        RUN(test_attacks);
        return 0;
}
