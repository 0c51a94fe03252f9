/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System call filters. Two tables say it all: which kinds of thread make a call, and
 * why. A call that carries a command or flags has its arguments checked as well: ioctl
 * by request number, mappings never executable, clone for threads only, prctl and
 * fcntl by operation, signals to the own process only.
 *
 * Filters add up: threads start with a copy of the control thread's and can only
 * narrow it. So what any thread may call has to be covered by a row for control, too.
 *
 * Everything else kills the process. Exceptions: clone3, whose flags lie in memory
 * where no filter can see them, is answered ENOSYS, and the C library falls back to
 * clone.
 */
#include "seccomp.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "cleanup.h"
#ifdef VMM_TEST_HOOK
#include "test_hook.h"
#endif

#define C BIT(THREAD_CONTROL)
#define V BIT(THREAD_VCPU)
#define D BIT(THREAD_DEVICE)

#define KVM_TYPE   (0xaeu << 8)
#define VHOST_TYPE (0xafu << 8)
#define TYPE_MASK  0xff00u

/* What pthread_create() of glibc passes to clone. */
#define THREAD_FLAGS                                                                                                   \
        (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |             \
         CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct {
        int nr;
        unsigned kinds;
        const char *why;
} calls[] = {
        { SCMP_SYS(read), C | V | D, "eventfds, timers, signalfd, ptys; vCPUs: serial input" },
        { SCMP_SYS(write), C | V | D, "eventfds, log lines, ptys; vCPUs: serial output" },
        { SCMP_SYS(readv), C | D, "frames, entropy and console input into guest buffers" },
        { SCMP_SYS(writev), C | D, "frames and console output" },
        { SCMP_SYS(pread64), C | D, "loading the kernel; disks" },
        { SCMP_SYS(pwrite64), C | D, "exit record; zeroing disks" },
        { SCMP_SYS(preadv), C | D, "disks" },
        { SCMP_SYS(pwritev), C | D, "disks" },
        { SCMP_SYS(fdatasync), C | D, "guest flushes" },
        { SCMP_SYS(fallocate), C | D, "discard, write zeroes" },
        { SCMP_SYS(close), C | D, "descriptors of rejected messages; console peers that left" },
        { SCMP_SYS(fstat), C, "what kind of file a descriptor is" },
        { SCMP_SYS(newfstatat), C, "fstat of the C library" },
        { SCMP_SYS(statx), C, "O_DIRECT alignment" },
        { SCMP_SYS(ftruncate), C, "guest memory in a memfd" },
        { SCMP_SYS(memfd_create), C, "guest memory that is shared" },

        { SCMP_SYS(accept4), C | D, "control peers; console peers" },
        { SCMP_SYS(recvmsg), C, "control requests" },
        { SCMP_SYS(sendmsg), C | D, "control replies; console output to sockets" },
        { SCMP_SYS(epoll_create1), C, "device loops" },
        { SCMP_SYS(epoll_ctl), C | D, "sources that come and go" },
        { SCMP_SYS(epoll_wait), C | D, "loops" },
        { SCMP_SYS(poll), C | D, "console: wait for room; peer gone?" },
        { SCMP_SYS(eventfd2), C, "interrupts, notifications, loops" },
        { SCMP_SYS(timerfd_create), C, "the same" },
        { SCMP_SYS(timerfd_settime), C | D, "rate limits; when notes are collected" },
        { SCMP_SYS(signalfd4), C, "SIGTERM" },

        { SCMP_SYS(brk), C | V | D, "malloc" },
        { SCMP_SYS(munmap), C | V | D, "free; stacks of ended threads" },
        { SCMP_SYS(mremap), C, "realloc of libseccomp, for filters of further threads" },
        { SCMP_SYS(madvise), C | V | D, "huge pages for guest memory; stacks of ending threads" },
        { SCMP_SYS(mlock), C, "locked guest memory" },

        { SCMP_SYS(futex), C | V | D, "locks, joining threads" },
        { SCMP_SYS(rt_sigaction), C, "handler of the vCPU kick" },
        { SCMP_SYS(rt_sigprocmask), C | V | D, "thread start and end" },
        { SCMP_SYS(rt_sigreturn), C | V | D, "return from the vCPU kick" },
        { SCMP_SYS(restart_syscall), C | V | D, "the kernel's own, after a signal" },
        { SCMP_SYS(set_robust_list), C, "thread start" },
        { SCMP_SYS(rseq), C | V | D, "thread start and end" },
        { SCMP_SYS(getpid), C | V | D, "raising a signal" },
        { SCMP_SYS(gettid), C | V | D, "thread ids for the daemon" },
        { SCMP_SYS(getrandom), C, "malloc's seed" },
        { SCMP_SYS(clock_gettime), C | V | D, "clocks, where the vDSO has none" },
        { SCMP_SYS(exit), C | V | D, "end of a thread" },
        { SCMP_SYS(exit_group), C | V | D, "end of the process" },
};

/* Calls that are allowed only with one of these in argument `arg`, under `mask`. */
static const struct {
        int nr;
        unsigned kinds;
        unsigned arg;
        uint64_t mask, value;
        const char *why;
} checked_calls[] = {
        { SCMP_SYS(mmap), C | V | D, 2, PROT_EXEC, 0, "guest memory, malloc; never executable" },
        { SCMP_SYS(mprotect), C | V | D, 2, PROT_EXEC, 0, "malloc, guard pages of stacks; never executable" },
        { SCMP_SYS(clone), C, 0, UINT64_MAX, THREAD_FLAGS, "threads, and nothing but threads" },
        { SCMP_SYS(prctl), C, 0, UINT64_MAX, PR_SET_NAME, "thread names" },
        { SCMP_SYS(seccomp), C, 0, UINT64_MAX, SECCOMP_SET_MODE_FILTER, "filters of further threads" },
        { SCMP_SYS(fcntl), C, 1, UINT64_MAX, F_GETFL, "how a descriptor was opened" },
        { SCMP_SYS(fcntl), C, 1, UINT64_MAX, F_SETFL, "non-blocking back ends; page cache instead of O_DIRECT" },
        { SCMP_SYS(getsockopt), C, 1, UINT64_MAX, SOL_SOCKET, "does a console socket listen?" },

        { SCMP_SYS(ioctl), C, 1, TYPE_MASK, KVM_TYPE, "building the machine" },
        { SCMP_SYS(ioctl), V, 1, UINT64_MAX, KVM_RUN, "running the guest" },
        { SCMP_SYS(ioctl), V | D, 1, UINT64_MAX, KVM_IRQ_LINE, "interrupts of serial port, clock, ACPI" },
        { SCMP_SYS(ioctl), V, 1, UINT64_MAX, KVM_IRQFD, "the driver (un)masks an MSI-X vector" },
        { SCMP_SYS(ioctl), V, 1, UINT64_MAX, KVM_IOEVENTFD, "the driver moves a BAR" },
        { SCMP_SYS(ioctl), V, 1, UINT64_MAX, KVM_SET_GSI_ROUTING, "the driver programs an MSI-X vector" },
        { SCMP_SYS(ioctl), C | D, 1, TYPE_MASK, VHOST_TYPE, "vhost-net" },
        { SCMP_SYS(ioctl), C | D, 1, UINT64_MAX, TUNSETOFFLOAD, "offloads that the driver has taken" },
        { SCMP_SYS(ioctl), C | D, 1, UINT64_MAX, TUNSETVNETHDRSZ, "the header in front of frames" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TUNGETIFF, "is it a TAP?" },
        { SCMP_SYS(ioctl), C | D, 1, UINT64_MAX, BLKDISCARD, "discard" },
        { SCMP_SYS(ioctl), C | D, 1, UINT64_MAX, BLKZEROOUT, "write zeroes" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, BLKGETSIZE64, "size of a block device" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, BLKSSZGET, "its sectors" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, BLKPBSZGET, "its sectors" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TIOCGPTPEER, "hold a pty's other end open" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TCGETS, "raw mode of a pty" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TCSETS, "raw mode of a pty" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TCGETS2, "the same, by a C library that knows any speed (glibc 2.42)" },
        { SCMP_SYS(ioctl), C, 1, UINT64_MAX, TCSETS2, "the same" },
};

static void release_p(scmp_filter_ctx *ctx) {
        if (*ctx)
                seccomp_release(*ctx);
}

static int add_calls(scmp_filter_ctx ctx, enum thread_kind kind) {
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(calls) && r == 0; i++)
                if (calls[i].kinds & BIT(kind))
                        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i].nr, 0);
        return r;
}

static int add_checked_calls(scmp_filter_ctx ctx, enum thread_kind kind) {
        int r = 0;

        for (size_t i = 0; i < ARRAY_SIZE(checked_calls) && r == 0; i++) {
                struct scmp_arg_cmp cmp = {
                        .arg = checked_calls[i].arg,
                        .op = SCMP_CMP_MASKED_EQ,
                        .datum_a = checked_calls[i].mask,
                        .datum_b = checked_calls[i].value,
                };
                if (checked_calls[i].kinds & BIT(kind))
                        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, checked_calls[i].nr, 1, &cmp);
        }
        return r;
}

/* A thread may signal threads of its own process only: kicks, and raise(). */
static int add_tgkill(scmp_filter_ctx ctx) {
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                SCMP_CMP(0, SCMP_CMP_EQ, (scmp_datum_t) getpid()));
}

static int build(scmp_filter_ctx ctx, enum thread_kind kind) {
        int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

        if (r == 0)
                r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
        /* Looked at first: running a vCPU is an ioctl. */
        if (r == 0)
                r = seccomp_syscall_priority(ctx, SCMP_SYS(ioctl), 255);
        if (r == 0)
                r = add_calls(ctx, kind);
        if (r == 0)
                r = add_checked_calls(ctx, kind);
        if (r == 0)
                r = add_tgkill(ctx);
        if (r == 0 && kind == THREAD_CONTROL)
                r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        return r;
}

int seccomp_enter(enum thread_kind kind) {
        CLEANUP(release_p) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r;

        if (!ctx)
                return -ENOMEM;
        r = build(ctx, kind);
        if (r == 0)
                r = seccomp_load(ctx);
#ifdef VMM_TEST_HOOK
        if (r == 0)
                test_hook_fire(kind);
#endif
        return r;
}
