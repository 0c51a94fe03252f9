/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The attacker's first calls, made on a thread whose filter has just been installed.
 * A filter that works kills the process before any of them returns.
 *
 * The option parser does not know it: the argument is removed before main() sees it, and kept in the
 * environment.
 */
#include "test_hook.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "cleanup.h"

#define OPTION  "--test-hook="
#define SOME_FD 3 /* whether it is open does not matter */

__attribute__((constructor)) static void take_option(int argc, char **argv) {
        static char harmless[] = "--no-reboot";

        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], OPTION, strlen(OPTION)) == 0) {
                        (void) setenv("VMM_TEST_HOOK", argv[i] + strlen(OPTION), 1);
                        argv[i] = harmless; /* in its place */
                }
}

#ifndef SYS_dup2 /* later architectures have one call for both */
#define SYS_dup2 SYS_dup3
#endif

#define ATTEMPT(name, ...)                                                                                             \
        static void try_##name(const struct thread_role *role) {                                                       \
                (void) role;                                                                                           \
                (void) syscall(__VA_ARGS__);                                                                           \
        }

static struct iovec some = { (void *) "x", 1 };
static struct msghdr message = { .msg_iov = &some, .msg_iovlen = 1 };
static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "\0abstract" };

/* Files, programs, other processes. */
ATTEMPT(openat, SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY)
ATTEMPT(execve, SYS_execve, "/bin/sh", NULL, NULL)
ATTEMPT(ptrace, SYS_ptrace, PTRACE_ATTACH, 1, NULL, NULL)
ATTEMPT(kill, SYS_kill, 1, SIGTERM)
ATTEMPT(tgkill, SYS_tgkill, getpid() + 1, getpid() + 1, 0)
ATTEMPT(clone, SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)
ATTEMPT(prlimit, SYS_prlimit64, 0, RLIMIT_NOFILE, &(struct rlimit) { 0 }, NULL)

/* Code. */
ATTEMPT(mmap, SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
ATTEMPT(mprotect, SYS_mprotect, NULL, 4096, PROT_READ | PROT_EXEC)
ATTEMPT(mmap_file, SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED, SOME_FD, 0)
ATTEMPT(madvise, SYS_madvise, NULL, 4096, MADV_MERGEABLE)

/* Sockets: to any address, or with descriptors. */
ATTEMPT(socket, SYS_socket, AF_UNIX, SOCK_DGRAM, 0)
ATTEMPT(connect, SYS_connect, SOME_FD, &address, sizeof(address))
ATTEMPT(sendmsg, SYS_sendmsg, SOME_FD, &message, MSG_NOSIGNAL)
ATTEMPT(sendto, SYS_sendto, SOME_FD, "x", 1, MSG_NOSIGNAL, &address, sizeof(address))
ATTEMPT(recvmsg, SYS_recvmsg, SOME_FD, &message, 0)

/* Descriptors: signals through them, copies of an image to numbers without write limits. */
ATTEMPT(setown, SYS_fcntl, SOME_FD, F_SETOWN, 1)
ATTEMPT(async, SYS_fcntl, SOME_FD, F_SETFL, O_ASYNC)
ATTEMPT(dup, SYS_fcntl, IMAGE_FD_MIN, F_DUPFD, 0)
ATTEMPT(dup2, SYS_dup2, IMAGE_FD_MIN, SOME_FD)

/* Growth: of images through calls without an offset, of other files through calls with one, of space past the end. */
ATTEMPT(write_image, SYS_write, IMAGE_FD_MIN, "x", 8)
ATTEMPT(writev_image, SYS_writev, IMAGE_FD_MIN, &some, 1)
ATTEMPT(truncate_image, SYS_ftruncate, IMAGE_FD_MIN, 1ll << 40)
ATTEMPT(pwrite, SYS_pwrite64, SOME_FD, "x", 1, 1ll << 40)
ATTEMPT(pwritev, SYS_pwritev, SOME_FD, &some, 1, 1ll << 40, 0)
ATTEMPT(pwritev_hidden, SYS_pwritev, (1ll << 32) + SOME_FD, &some, 1, 1ll << 40, 0) /* an int, to the kernel */
ATTEMPT(fallocate, SYS_fallocate, IMAGE_FD_MIN, 0, 0, 1ll << 40)
ATTEMPT(fallocate_keep, SYS_fallocate, IMAGE_FD_MIN, FALLOC_FL_KEEP_SIZE, 0, 1ll << 40)
ATTEMPT(zero_keep, SYS_fallocate, IMAGE_FD_MIN, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 1ll << 40)
ATTEMPT(punch_other, SYS_fallocate, SOME_FD, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)

/* Kernel interfaces behind descriptors. */
ATTEMPT(kvm_unused, SYS_ioctl, SOME_FD, KVM_CREATE_DEVICE, NULL)
ATTEMPT(vhost_unused, SYS_ioctl, SOME_FD, VHOST_SET_LOG_BASE, NULL)
ATTEMPT(block_unused, SYS_ioctl, SOME_FD, BLKSECDISCARD, NULL)
ATTEMPT(terminal_unused, SYS_ioctl, SOME_FD, TIOCSTI, "x")
ATTEMPT(kvm_create, SYS_ioctl, SOME_FD, KVM_CREATE_VM, 0)
ATTEMPT(kvm_run, SYS_ioctl, SOME_FD, KVM_RUN, 0)
ATTEMPT(vhost, SYS_ioctl, SOME_FD, VHOST_SET_MEM_TABLE, NULL)
ATTEMPT(vhost_backend, SYS_ioctl, SOME_FD, VHOST_NET_SET_BACKEND, NULL)
ATTEMPT(vsock_address, SYS_ioctl, SOME_FD, VHOST_VSOCK_SET_GUEST_CID, NULL)
ATTEMPT(vsock_running, SYS_ioctl, SOME_FD, VHOST_VSOCK_SET_RUNNING, NULL)
ATTEMPT(zero_out, SYS_ioctl, SOME_FD, BLKZEROOUT, NULL)

/* Limits of a single thread. */
ATTEMPT(behind_the_end, SYS_pwritev, role->fd, &some, 1, role->size, 0)
ATTEMPT(zero_behind_the_end, SYS_fallocate, role->fd, FALLOC_FL_ZERO_RANGE, role->size, 4096)
ATTEMPT(other_disk, SYS_pwritev, role->fd + 1, &some, 1, 0, 0)
ATTEMPT(read_other_disk, SYS_preadv, role->fd + 1, &some, 1, 0, 0)
ATTEMPT(close_other_disk, SYS_close, role->fd + 1)
ATTEMPT(other_writev, SYS_writev, role->fd + 1, &some, 1)
ATTEMPT(other_readv, SYS_readv, role->fd + 1, &some, 1)
ATTEMPT(long_write, SYS_write, role->fd, "123456789", 9)

#define CONTROL BIT(THREAD_CONTROL)
#define VCPU    BIT(THREAD_VCPU)
#define DISK    BIT(THREAD_DISK)
#define NET     BIT(THREAD_NET)
#define RNG     BIT(THREAD_RNG)
#define VSOCK   BIT(THREAD_VSOCK)
#define ALL     (BIT(THREAD_KIND_MAX) - 1)

const char *const test_hook_kinds[THREAD_KIND_MAX] = {
        [THREAD_CONTROL] = "control", [THREAD_VCPU] = "vcpu",     [THREAD_DISK] = "disk", [THREAD_NET] = "net",
        [THREAD_CONSOLE] = "console", [THREAD_SERIAL] = "serial", [THREAD_RNG] = "rng",   [THREAD_VSOCK] = "vsock",
};

#define ENTRY(name, kinds)                                                                                             \
        { #name, (kinds), try_##name }

const struct test_hook_attempt test_hook_attempts[] = {
        ENTRY(openat, ALL),
        ENTRY(execve, ALL),
        ENTRY(ptrace, ALL),
        ENTRY(kill, ALL),
        ENTRY(tgkill, ALL),
        ENTRY(clone, ALL),
        ENTRY(prlimit, ALL),
        ENTRY(mmap, ALL),
        ENTRY(mprotect, ALL),
        ENTRY(mmap_file, ALL & ~CONTROL),
        ENTRY(madvise, ALL),
        ENTRY(socket, ALL),
        ENTRY(connect, ALL),
        ENTRY(sendmsg, ALL),
        ENTRY(sendto, ALL),
        ENTRY(recvmsg, ALL),
        ENTRY(setown, ALL),
        ENTRY(async, ALL),
        ENTRY(dup, ALL),
        ENTRY(dup2, ALL),
        ENTRY(write_image, ALL),
        ENTRY(writev_image, ALL),
        ENTRY(truncate_image, ALL),
        ENTRY(pwrite, ALL),
        ENTRY(pwritev, ALL),
        ENTRY(pwritev_hidden, ALL),
        ENTRY(fallocate, ALL),
        ENTRY(fallocate_keep, ALL),
        ENTRY(zero_keep, ALL),
        ENTRY(punch_other, ALL),
        ENTRY(kvm_unused, ALL),
        ENTRY(vhost_unused, ALL),
        ENTRY(block_unused, ALL),
        ENTRY(terminal_unused, ALL),
        ENTRY(kvm_create, ALL & ~CONTROL),
        ENTRY(kvm_run, ALL & ~(CONTROL | VCPU)),
        ENTRY(vhost, ALL & ~(CONTROL | NET | VSOCK)),
        ENTRY(vhost_backend, ALL & ~(CONTROL | NET)),
        ENTRY(vsock_address, ALL),
        ENTRY(vsock_running, ALL & ~(CONTROL | VSOCK)),
        ENTRY(zero_out, ALL & ~(CONTROL | DISK)),
        ENTRY(behind_the_end, DISK),
        ENTRY(zero_behind_the_end, DISK),
        ENTRY(other_disk, DISK),
        ENTRY(read_other_disk, DISK),
        ENTRY(close_other_disk, DISK),
        ENTRY(other_writev, DISK | NET | RNG),
        ENTRY(other_readv, DISK | NET | RNG),
        ENTRY(long_write, DISK | NET | RNG | VSOCK),
        { .name = NULL },
};

void test_hook_fire(const struct thread_role *role) {
        const char *hook = getenv("VMM_TEST_HOOK"), *kind = test_hook_kinds[role->kind];

        if (!hook || strncmp(hook, kind, strlen(kind)) != 0 || hook[strlen(kind)] != ':')
                return;
        for (const struct test_hook_attempt *a = test_hook_attempts; a->name; a++)
                if (strcmp(hook + strlen(kind) + 1, a->name) == 0) {
                        a->fn(role);
                        (void) dprintf(STDERR_FILENO, "filter has a hole: %s\n", hook);
                        _exit(99);
                }
}
