/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Confinement, in the order in which it uses up the privileges it needs:
 *
 *  1. unknown descriptors are closed;
 *  2. new mount, network, IPC, UTS and cgroup namespaces (the daemon created the process in a PID namespace:
 *     only a new process can enter one);
 *  3. an empty, read-only root: a tmpfs without a single file, everything else unmounted;
 *  4. limits: no core dumps, a bounded number of descriptors, any amount of locked memory (guest memory may
 *     have to be locked later, without privileges). The file size limit follows when guest memory exists, since
 *     that may be a file too;
 *  5. bounding and ambient capabilities emptied, groups dropped, user and group changed,
 *     remaining capabilities dropped;
 *  6. no_new_privs, not dumpable: other processes of the same user cannot inspect it.
 *
 * When started by an ordinary user, step 2 first creates a user namespace that maps only that user; it permits
 * steps 3 and 5. If the host does not allow user namespaces, both are skipped.
 *
 * The process can still receive descriptors and use KVM, memory and threads. seccomp_enter() restricts the
 * rest.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "seccomp.h"

/*
 * Descriptors: 32 vCPUs, 24 disks, 8 interfaces and a console of 36 queues with up to 3 eventfds each, 5 per
 * device loop, back ends: below 500. As many numbers above these are left for disk images.
 */
#define SANDBOX_NOFILE (2u * IMAGE_FD_MIN)

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

struct sandbox {
        const struct sandbox_config *config;
        bool is_root;
        bool is_confined; /* namespaces are there */
};

static int compare_fds(const void *a, const void *b) {
        return *(const int *) a - *(const int *) b;
}

static int close_others(struct sandbox *s) {
        int keep[SANDBOX_FDS_MAX];
        unsigned from = 3;

        if (s->config->n_fds > SANDBOX_FDS_MAX)
                return -E2BIG;
        for (unsigned i = 0; i < s->config->n_fds; i++)
                keep[i] = s->config->fds[i];
        qsort(keep, s->config->n_fds, sizeof(keep[0]), compare_fds);
        for (unsigned i = 0; i < s->config->n_fds; i++) {
                if (keep[i] < (int) from)
                        continue;
                if (keep[i] > (int) from && close_range(from, keep[i] - 1, 0) < 0)
                        return -errno;
                from = keep[i] + 1;
        }
        return close_range(from, ~0u, 0) < 0 ? -errno : 0;
}

static int write_proc(const char *path, const char *text) {
        AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Enters a user namespace that maps the user to itself, with all capabilities over the new namespaces. */
static int enter_user_namespace(void) {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        char map[64];
        int r;

        if (unshare(CLONE_NEWUSER | NAMESPACES) < 0)
                return -errno;
        r = write_proc("/proc/self/setgroups", "deny");
        (void) snprintf(map, sizeof(map), "%u %u 1", uid, uid);
        if (r == 0)
                r = write_proc("/proc/self/uid_map", map);
        (void) snprintf(map, sizeof(map), "%u %u 1", gid, gid);
        return r < 0 ? r : write_proc("/proc/self/gid_map", map);
}

/*
 * Whether this user can create such a namespace and use it. Some hosts let anybody create one but deny what
 * comes next (AppArmor's restriction on Ubuntu), and a process cannot leave it: so a child tries.
 */
static bool has_user_namespace(void) {
        pid_t pid = fork();
        int status = -1;

        if (pid == 0)
                _exit(enter_user_namespace() < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? 1 : 0);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return status == 0;
}

static int enter_namespaces(struct sandbox *s) {
        int r;

        if (!s->is_root && !has_user_namespace())
                return 0;
        r = s->is_root ? (unshare(NAMESPACES) < 0 ? -errno : 0) : enter_user_namespace();
        s->is_confined = r == 0;
        return r;
}

static int hide_host_name(struct sandbox *s) {
        if (!s->is_confined)
                return 0;
        return sethostname("virtmicro", strlen("virtmicro")) < 0 ? -errno : 0;
}

/* Makes the current directory, a mount point, the root. In an initramfs there is nothing to pivot away from. */
static int switch_root(void) {
        if (syscall(SYS_pivot_root, ".", ".") == 0)
                return umount2(".", MNT_DETACH) < 0 ? -errno : 0;
        if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
                return -errno;
        return 0;
}

static int empty_root(struct sandbox *s) {
        static const char *const places[] = { "/proc", "/tmp", "/run" };
        const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
        int r = -ENOENT;

        if (!s->is_confined)
                return 0;
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return -errno;
        for (unsigned i = 0; i < ARRAY_SIZE(places) && r < 0; i++)
                r = mount("none", places[i], "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555") < 0 ? -errno
                    : chdir(places[i]) < 0                                                        ? -errno
                                                                                                  : 0;
        if (r == 0)
                r = switch_root();
        if (r < 0)
                return r;
        if (chdir("/") < 0 || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
                return -errno;
        return 0;
}

/* Lowers a limit; one that is already lower stays. */
static int lower_limit(int resource, rlim_t value) {
        struct rlimit limit;

        if (getrlimit(resource, &limit) < 0)
                return -errno;
        limit.rlim_max = MIN(limit.rlim_max, value);
        limit.rlim_cur = limit.rlim_max;
        return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

/* One call: without privileges the limit can only be lowered. */
int sandbox_limit_files(uint64_t size) {
        struct rlimit limit = { .rlim_cur = MAX(size, SANDBOX_FILE_MIN), .rlim_max = MAX(size, SANDBOX_FILE_MIN) };

        if (setrlimit(RLIMIT_FSIZE, &limit) < 0 && errno != EPERM)
                return -errno;
        return 0;
}

/* RLIMIT_MEMLOCK is up to whoever started the monitor. */
static int set_limits(struct sandbox *s) {
        int r = lower_limit(RLIMIT_CORE, 0);

        return r < 0 ? r : lower_limit(RLIMIT_NOFILE, SANDBOX_NOFILE);
}

static int drop_bounding_set(struct sandbox *s) {
        if (!s->is_confined)
                return 0;
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return -errno;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

static int change_user(struct sandbox *s) {
        const struct sandbox_config *c = s->config;

        if (!s->is_root)
                return 0;
        if (c->uid == 0 || c->gid == 0 || c->uid == (uid_t) -1 || c->gid == (gid_t) -1)
                return -EINVAL;
        if (setgroups(0, NULL) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 || setresuid(c->uid, c->uid, c->uid) < 0)
                return -errno;
        return 0;
}

static int drop_capabilities(struct sandbox *s) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int lock_door(struct sandbox *s) {
        (void) umask(0077);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN); /* EFBIG says the same */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

int sandbox_enter(const struct sandbox_config *config, bool *ret_confined, const char **ret_step) {
        static const struct {
                const char *name;
                int (*fn)(struct sandbox *s);
        } steps[] = {
                { "close descriptors", close_others },
                { "enter namespaces", enter_namespaces },
                { "hide the host name", hide_host_name },
                { "empty the root directory", empty_root },
                { "set limits", set_limits },
                { "drop bounding capabilities", drop_bounding_set },
                { "change user", change_user },
                { "drop capabilities", drop_capabilities },
                { "give up privileges", lock_door },
        };
        struct sandbox s = { .config = config, .is_root = geteuid() == 0 };

        for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
                int r = steps[i].fn(&s);
                if (r < 0) {
                        *ret_step = steps[i].name;
                        return r;
                }
        }
        *ret_confined = s.is_confined;
        return 0;
}
