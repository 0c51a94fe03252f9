/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System call filters. Two tables define them: which kinds of thread make a call, with which arguments, and
 * why. One is for system calls, the other for ioctl requests; the architecture adds those of its own (arch_ioctls).
 *
 * Filters add up: threads start with a copy of the control thread's and can only narrow it. So a call that any
 * thread may make needs a row for control as well; what control may not do, no thread can.
 *
 * This union is what confines a compromised monitor: its threads share memory, so an attacker who runs code in
 * one of them can eventually make the others run it. The narrower filters matter before that: a flaw that gives
 * limited control over one thread gives only that thread's calls, on that thread's descriptor.
 *
 * Any other call kills the process. The exception is clone3, whose flags lie in memory that filters cannot see:
 * it fails with ENOSYS, and the C library falls back to clone.
 */
#include "seccomp.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../arch/arch.h"
#include "bpf.h"
#include "cleanup.h"
#include "log.h"
#ifdef VMM_TEST_HOOK
#include "test_hook.h"
#endif

#define C   BIT(THREAD_CONTROL)
#define V   BIT(THREAD_VCPU)
#define B   BIT(THREAD_DISK)
#define N   BIT(THREAD_NET)
#define T   BIT(THREAD_CONSOLE)
#define S   BIT(THREAD_SERIAL)
#define R   BIT(THREAD_RNG)
#define K   BIT(THREAD_VSOCK)
#define ALL (C | V | B | N | T | S | R | K)

/* What pthread_create() of glibc passes to clone. */
#define THREAD_FLAGS                                                                                                   \
        (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |             \
         CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* What the C library calls for epoll_wait() and poll(): the later architectures have only the later calls. */
#ifdef SYS_epoll_wait
#define WAIT_CALL SYS_epoll_wait
#define POLL_CALL SYS_poll
#else
#define WAIT_CALL SYS_epoll_pwait
#define POLL_CALL SYS_ppoll
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

/* Placeholders for values known only when a filter is installed; no real argument has one of these values. */
enum own { OWN_FD = 1, OWN_SIZE, OWN_PID, OWN_LOG };
#define OWN(what) (UINT64_MAX - (what))

/* An argument that is an int to the kernel is compared in its lower 32 bits: what is above is ignored there, too. */
#define IS(arg, value)                                                                                                 \
        { (arg), BPF_IS, UINT64_MAX, (value) }
#define IS32(arg, value)                                                                                               \
        { (arg), BPF_IS, UINT32_MAX, (value) }
#define HAS_NOT(arg, bits)                                                                                             \
        { (arg), BPF_IS, (bits), 0 }
#define BELOW(arg, value)                                                                                              \
        { (arg), BPF_BELOW, 0, (value) }
#define NO_IMAGE(arg)                                                                                                  \
        { (arg), BPF_BELOW32, 0, IMAGE_FD_MIN }
#define IMAGE(arg)                                                                                                     \
        { (arg), BPF_FROM32, 0, IMAGE_FD_MIN }
#define OWN_IMAGE IS32(0, OWN(OWN_FD))

/* Rows for the same call are adjacent; the calls that a guest causes most come first. */
static const struct {
        int nr;
        unsigned kinds;
        struct bpf_check checks[BPF_CHECKS_MAX];
        const char *why;
} calls[] = {
        { SYS_read, C | V | S, {}, "eventfds, timers, signalfd, terminals" },
        { SYS_read, B | N | T | R | K, { IS(2, sizeof(uint64_t)) }, "eventfds, timers" },
        { SYS_read, N, { IS32(0, OWN(OWN_FD)) }, "frames that came while the link was down" },
        { SYS_write, C | V | S | T, { NO_IMAGE(0) }, "eventfds, terminals, log lines; exit record" },
        { SYS_write, B | N | R | K, { NO_IMAGE(0), IS(2, sizeof(uint64_t)) }, "eventfds" },
        { SYS_write, B | N | R | K, { IS32(0, OWN(OWN_LOG)) }, "log lines" },
        { SYS_preadv, C, {}, "kernel and initrd" },
        { SYS_preadv, B, { OWN_IMAGE }, "the disk" },
        { SYS_pwritev, C, { IMAGE(0) }, "what disks' threads narrow" },
        { SYS_pwritev, B, { OWN_IMAGE, BELOW(3, OWN(OWN_SIZE)) }, "the disk, up to its end" },
        { SYS_readv, C | T, { NO_IMAGE(0) }, "console input into guest buffers" },
        { SYS_readv, N | R, { IS32(0, OWN(OWN_FD)) }, "frames, entropy into guest buffers" },
        { SYS_writev, C | T, { NO_IMAGE(0) }, "console output" },
        { SYS_writev, N, { IS32(0, OWN(OWN_FD)) }, "frames" },
        { SYS_writev, V | B | N | S | R | K, { IS32(0, STDERR_FILENO) }, "the C library's last words" },
        { SYS_fdatasync, C, { IMAGE(0) }, "what disks' threads narrow" },
        { SYS_fdatasync, B, { OWN_IMAGE }, "guest flushes" },
        /* Zeroing without KEEP_SIZE: with it, blocks could be allocated past the end, where no size limit applies. */
        { SYS_fallocate, C, { IMAGE(0), IS(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) }, "as fdatasync" },
        { SYS_fallocate, C, { IMAGE(0), IS(1, FALLOC_FL_ZERO_RANGE) }, "as fdatasync" },
        { SYS_fallocate, B, { OWN_IMAGE, IS(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) }, "discard" },
        { SYS_fallocate, B, { OWN_IMAGE, IS(1, FALLOC_FL_ZERO_RANGE), BELOW(2, OWN(OWN_SIZE)) }, "write zeroes" },

        { SYS_futex, ALL, {}, "locks, joining threads" },
        { WAIT_CALL, ALL & ~V, {}, "loops" },
        { SYS_epoll_ctl, ALL & ~(V | S), {}, "sources that come and go" },
        { SYS_timerfd_settime, C | R, {}, "rate limits; when notes are collected" },
        { POLL_CALL, C | T, {}, "console: wait for room; peer gone?" },
        { SYS_clock_gettime, ALL, {}, "clocks, where the vDSO has none" },
        { SYS_accept4, C | T, { IS(1, 0) }, "control peers, console peers, whatever their address" },
        { SYS_close, C | T, {}, "descriptors of rejected messages; console peers that left" },
        { SYS_close, B, { OWN_IMAGE }, "a disk that leaves: closing it may have to write" },
        { SYS_recvmsg, C, { IS32(2, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) }, "control requests" },
        { SYS_sendto, C, { IS32(3, MSG_NOSIGNAL), IS(4, 0), IS(5, 0) }, "control replies, to the peer: no address" },

        { SYS_statx, C, {}, "what kind of file a descriptor is, its size, O_DIRECT alignment" },
        { SYS_fcntl, C, { IS32(1, F_GETFL) }, "how a descriptor was opened" },
        { SYS_fcntl, C, { IS32(1, F_SETFL), HAS_NOT(2, O_ASYNC) }, "non-blocking back ends; page cache, not O_DIRECT" },
        { SYS_fcntl, C, { IS32(1, F_DUPFD_CLOEXEC), IS(2, IMAGE_FD_MIN) }, "disk images to where they belong" },
        { SYS_fcntl, C, { IS32(1, F_ADD_SEALS) }, "guest memory in a memfd keeps its size" },
        { SYS_getsockopt, C, { IS32(1, SOL_SOCKET), IS32(2, SO_ACCEPTCONN) }, "does a console socket listen?" },
        { SYS_ftruncate, C, { NO_IMAGE(0) }, "guest memory in a memfd" },
        { SYS_memfd_create, C, {}, "guest memory that is shared" },
        { SYS_epoll_create1, C, {}, "loops" },
        { SYS_eventfd2, C, {}, "interrupts, notifications, loops" },
        { SYS_timerfd_create, C, {}, "the same" },
        { SYS_signalfd4, C, {}, "SIGTERM" },

        { SYS_brk, ALL & ~(V | S), {}, "malloc" },
        { SYS_munmap, ALL & ~(V | S), {}, "free; stacks of ended threads" },
        { SYS_mmap, C, { HAS_NOT(2, PROT_EXEC) }, "guest memory, exit record, malloc; never executable" },
        { SYS_mmap, B | N | T | R | K, { HAS_NOT(2, PROT_EXEC), IS32(4, UINT32_MAX) }, "malloc: no file" },
        { SYS_mprotect, C, { HAS_NOT(2, PROT_EXEC) }, "malloc, guard pages of stacks; never executable" },
        { SYS_madvise, ALL, { IS32(2, MADV_DONTNEED) }, "stacks of ending threads" },
        { SYS_madvise, C, { IS32(2, MADV_HUGEPAGE) }, "guest memory" },
        { SYS_madvise, C, { IS32(2, MADV_DONTDUMP) }, "guest memory" },
        { SYS_madvise, C, { IS32(2, MADV_GUARD_INSTALL) }, "guard pages of stacks (glibc 2.42)" },
        { SYS_madvise, C, { IS32(2, MADV_GUARD_REMOVE) }, "the same" },
        { SYS_mlock, C, {}, "locked guest memory" },
        { SYS_getrandom, C, {}, "malloc's seed" },
        { SYS_prlimit64, C, { IS32(0, 0), IS32(1, RLIMIT_FSIZE), IS(3, 0) }, "no file gets longer than the disks" },
        { SYS_prlimit64, C, { IS32(0, 0), IS32(1, RLIMIT_FSIZE), IS(2, 0) }, "may a disk that comes be written?" },

        { SYS_clone, C, { IS(0, THREAD_FLAGS) }, "threads, and nothing but threads" },
        { SYS_seccomp, C, { IS(0, SECCOMP_SET_MODE_FILTER), IS(1, 0) }, "filters of further threads" },
        { SYS_prctl, C, { IS32(0, PR_SET_NAME) }, "thread names" },
        { SYS_set_robust_list, C, {}, "thread start" },
        { SYS_rseq, C, {}, "thread start" },
        { SYS_rt_sigaction, C, {}, "handler of the vCPU kick" },
        { SYS_rt_sigprocmask, ALL, {}, "thread start and end" },
        { SYS_rt_sigreturn, ALL, {}, "return from the vCPU kick" },
        { SYS_restart_syscall, ALL, {}, "the kernel's own, after a signal" },
        { SYS_getpid, ALL, {}, "abort" },
        { SYS_gettid, ALL, {}, "thread ids for the daemon; abort" },
        { SYS_tgkill, ALL, { IS32(0, OWN(OWN_PID)) }, "kicks, abort: threads of this process" },
        { SYS_exit, ALL, {}, "end of a thread" },
        { SYS_exit_group, ALL, {}, "end of the process" },
};

static const struct {
        unsigned request;
        unsigned kinds;
        const char *why;
} ioctls[] = {
        { KVM_RUN, C | V, "running the guest" },
        { KVM_IRQ_LINE, C | V | S, "interrupts of serial port, clock, ACPI" },
        { KVM_IRQFD, C | V, "the driver (un)masks an MSI-X vector" },
        { KVM_IOEVENTFD, C | V, "the driver moves a BAR" },
        { KVM_SET_GSI_ROUTING, C | V, "the driver programs an MSI-X vector" },
        { BLKDISCARD, C | B, "discard" },
        { BLKZEROOUT, C | B, "write zeroes" },
        { VHOST_SET_FEATURES, C | N | K, "vhost: the driver is ready" },
        { VHOST_SET_MEM_TABLE, C | N | K, "the same" },
        { VHOST_SET_VRING_NUM, C | N | K, "vhost: a queue starts" },
        { VHOST_SET_VRING_BASE, C | N | K, "the same" },
        { VHOST_SET_VRING_ADDR, C | N | K, "the same" },
        { VHOST_SET_VRING_KICK, C | N | K, "the same" },
        { VHOST_SET_VRING_CALL, C | N | K, "the same" },
        { VHOST_NET_SET_BACKEND, C | N, "vhost-net: a queue starts or stops, the link changes" },
        { VHOST_VSOCK_SET_RUNNING, C | K, "vhost-vsock: both queues start or stop" },
        { TUNSETOFFLOAD, C | N, "offloads that the driver has taken" },
        { TUNSETVNETHDRSZ, C | N, "the header in front of frames" },
        { VHOST_GET_FEATURES, C, "vhost: does it know the queues' layout?" },
        { VHOST_SET_OWNER, C, "vhost: whose memory it is" },
        { TUNGETIFF, C, "is it a TAP?" },
        { BLKGETSIZE64, C, "size of a block device" },
        { BLKSSZGET, C, "its sectors" },
        { BLKPBSZGET, C, "its sectors" },
        { TIOCGPTPEER, C, "hold a pty's other end open" },
        { TCGETS, C, "raw mode of a pty" },
        { TCSETS, C, "raw mode of a pty" },
        { TCGETS2, C, "the same, by a C library that knows any speed (glibc 2.42)" },
        { TCSETS2, C, "the same" },
        { KVM_GET_API_VERSION, C, "the host's KVM" },
        { KVM_CHECK_EXTENSION, C, "the host's KVM" },
        { KVM_GET_VCPU_MMAP_SIZE, C, "the host's KVM" },
        { KVM_CREATE_VM, C, "building the machine" },
        { KVM_SET_USER_MEMORY_REGION, C, "building the machine" },
        { KVM_CREATE_VCPU, C, "building the machine" },
};

/* A check with the values of this process and thread. */
static struct bpf_check resolve(struct bpf_check check, const struct thread_role *role) {
        switch (UINT64_MAX - check.value) {
        case OWN_FD:
                check.value = (uint32_t) role->fd;
                break;
        case OWN_SIZE:
                check.value = role->size;
                break;
        case OWN_PID:
                check.value = (uint32_t) getpid();
                break;
        case OWN_LOG:
                check.value = (uint32_t) log_fd();
                break;
        default:
                break;
        }
        return check;
}

static void allow_ioctl(struct bpf_program *p, unsigned request) {
        const struct bpf_check checks[BPF_CHECKS_MAX] = { IS32(1, request) };

        bpf_allow(p, SYS_ioctl, checks);
}

static void add_ioctls(struct bpf_program *p, enum thread_kind kind) {
        for (size_t i = 0; i < ARRAY_SIZE(ioctls); i++)
                if (ioctls[i].kinds & BIT(kind))
                        allow_ioctl(p, ioctls[i].request);
        for (const struct arch_ioctl *own = arch_ioctls; kind == THREAD_CONTROL && own->request != 0; own++)
                allow_ioctl(p, own->request);
}

static void add_calls(struct bpf_program *p, const struct thread_role *role) {
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
                struct bpf_check checks[BPF_CHECKS_MAX];

                for (unsigned k = 0; k < BPF_CHECKS_MAX; k++)
                        checks[k] = resolve(calls[i].checks[k], role);
                if (calls[i].kinds & BIT(role->kind))
                        bpf_allow(p, calls[i].nr, checks);
        }
}

int seccomp_enter(const struct thread_role *role) {
        struct bpf_program program;
        int r;

        bpf_begin(&program);
        /* Looked at first: running a vCPU is an ioctl. */
        add_ioctls(&program, role->kind);
        add_calls(&program, role);
        if (role->kind == THREAD_CONTROL)
                bpf_refuse(&program, SYS_clone3, ENOSYS);
        r = bpf_install(&program);
#ifdef VMM_TEST_HOOK
        if (r == 0)
                test_hook_fire(role);
#endif
        return r;
}

unsigned seccomp_count(enum thread_kind kind) {
        unsigned n = 0;
        int last = -1;

        for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
                if ((calls[i].kinds & BIT(kind)) && calls[i].nr != last) {
                        last = calls[i].nr;
                        n++;
                }
        for (size_t i = 0; i < ARRAY_SIZE(ioctls); i++)
                if (ioctls[i].kinds & BIT(kind))
                        return n + 1; /* ioctl, however many requests it has */
        return n;
}
