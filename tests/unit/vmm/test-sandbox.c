/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a confined process looks like from outside: /proc/PID of a child that went
 * through sandbox_enter() and seccomp_enter() and stands still.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../test.h"
#include "base/cleanup.h"
#include "base/sandbox.h"
#include "base/seccomp.h"

#define TEST_UID 23456u

struct child {
        pid_t pid;
        int ready[2];
        bool confined;
};

static void *thread_main(void *arg) {
        const struct thread_role role = { .kind = THREAD_CONSOLE };
        const uint64_t ok = 1;

        if (seccomp_enter(&role) < 0 || write(*(int *) arg, &ok, sizeof(ok)) != sizeof(ok))
                _exit(5);
        for (;;)
                (void) poll(NULL, 0, -1);
        return NULL;
}

static void child_main(struct child *c) {
        struct sandbox_config config = { .uid = TEST_UID, .gid = TEST_UID, .fds = &c->ready[1], .n_fds = 1 };
        const struct thread_role control = { .kind = THREAD_CONTROL };
        const char *step = "";
        pthread_t thread;
        char state;
        int r;

        (void) mallopt(M_ARENA_MAX, 1); /* as the monitor does: no thread asks for the number of processors */
        r = sandbox_enter(&config, &c->confined, &step);

        if (r < 0) {
                fprintf(stderr, "%s: %s\n", step, strerror(-r));
                _exit(4);
        }
        state = c->confined ? 'y' : 'n';
        if (seccomp_enter(&control) < 0 || write(c->ready[1], &state, 1) != 1)
                _exit(3);
        if (pthread_create(&thread, NULL, thread_main, &c->ready[1]) != 0)
                _exit(2);
        (void) pthread_join(thread, NULL);
        _exit(1);
}

/* Starts a confined child; returns when both of its threads have their filter. */
static void child_start(struct child *c) {
        char bytes[2] = {};

        CHECK(pipe2(c->ready, O_CLOEXEC) == 0);
        c->pid = fork();
        CHECK(c->pid >= 0);
        if (c->pid == 0)
                child_main(c);
        close_fd(&c->ready[1]);
        CHECK_EQ(read(c->ready[0], &bytes[0], 1), 1);
        CHECK_EQ(read(c->ready[0], &bytes[1], 1), 1);
        c->confined = bytes[0] == 'y';
}

static void child_stop(struct child *c) {
        CHECK(kill(c->pid, SIGKILL) == 0);
        CHECK(waitpid(c->pid, NULL, 0) == c->pid);
        close_fd(&c->ready[0]);
}

/* The value of a line of a status file. */
static void status_line(const char *path, const char *key, char *ret, size_t size) {
        FILE *f = fopen(path, "re");
        char line[512];

        CHECK(f);
        ret[0] = '\0';
        while (fgets(line, sizeof(line), f))
                if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
                        char *value = line + strlen(key) + 1 + strspn(line + strlen(key) + 1, " \t");
                        value[strcspn(value, "\n")] = '\0';
                        (void) snprintf(ret, size, "%s", value);
                }
        (void) fclose(f);
}

static void check_line(const char *path, const char *key, const char *want) {
        char value[256];

        status_line(path, key, value, sizeof(value));
        if (strcmp(value, want) != 0)
                fprintf(stderr, "%s: %s\n", path, key);
        CHECK_STR(value, want);
}

static unsigned count_entries(const char *path) {
        DIR *dir = opendir(path);
        struct dirent *e;
        unsigned n = 0;

        CHECK(dir);
        while ((e = readdir(dir)))
                n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
        (void) closedir(dir);
        return n;
}

static void check_threads(const struct child *c) {
        char dir[64], path[400];
        struct dirent *e;
        unsigned n = 0;
        DIR *d;

        (void) snprintf(dir, sizeof(dir), "/proc/%d/task", c->pid);
        d = opendir(dir);
        CHECK(d);
        while ((e = readdir(d))) {
                if (e->d_name[0] == '.')
                        continue;
                (void) snprintf(path, sizeof(path), "%s/%s/status", dir, e->d_name);
                check_line(path, "CapInh", "0000000000000000");
                check_line(path, "CapPrm", "0000000000000000");
                check_line(path, "CapEff", "0000000000000000");
                check_line(path, "CapAmb", "0000000000000000");
                check_line(path, "NoNewPrivs", "1");
                check_line(path, "Seccomp", "2");
                if (c->confined)
                        check_line(path, "CapBnd", "0000000000000000");
                n++;
        }
        (void) closedir(d);
        CHECK_EQ(n, 2);
}

static void check_namespaces(const struct child *c) {
        static const char *const names[] = { "mnt", "net", "ipc", "uts", "cgroup" };
        struct stat own, other;
        char path[64];

        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
                (void) snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
                CHECK(stat(path, &own) == 0);
                (void) snprintf(path, sizeof(path), "/proc/%d/ns/%s", c->pid, names[i]);
                CHECK(stat(path, &other) == 0);
                CHECK(own.st_ino != other.st_ino);
        }
}

static void check_root(const struct child *c) {
        char path[64], line[512];
        unsigned mounts = 0;
        FILE *f;
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/root/", c->pid);
        CHECK_EQ(count_entries(path), 0);
        (void) snprintf(path, sizeof(path), "/proc/%d/root/x", c->pid);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd < 0 && errno == EROFS);
        (void) snprintf(path, sizeof(path), "/proc/%d/mountinfo", c->pid);
        f = fopen(path, "re");
        CHECK(f);
        while (fgets(line, sizeof(line), f))
                mounts++;
        (void) fclose(f);
        CHECK_EQ(mounts, 1);
}

static void check_fds(const struct child *c) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/fd", c->pid);
        CHECK_EQ(count_entries(path), 4); /* 0, 1, 2 and the pipe */
}

static void check_limits(const struct child *c) {
        char path[64], line[256];
        unsigned found = 0;
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/limits", c->pid);
        f = fopen(path, "re");
        CHECK(f);
        while (fgets(line, sizeof(line), f)) {
                unsigned long soft = 1, hard = 1;
                if (sscanf(line, "Max core file size %lu %lu", &soft, &hard) == 2) {
                        CHECK(soft == 0 && hard == 0);
                        found++;
                }
                if (sscanf(line, "Max open files %lu %lu", &soft, &hard) == 2) {
                        CHECK(hard <= 1024);
                        found++;
                }
        }
        (void) fclose(f);
        CHECK_EQ(found, 2);
}

static void test_root(void) {
        struct child c = {};
        char path[64];
        int stray = open("/dev/null", O_RDONLY);

        CHECK(stray >= 0);
        child_start(&c);
        CHECK(c.confined);
        (void) snprintf(path, sizeof(path), "/proc/%d/status", c.pid);
        check_line(path, "Uid", "23456\t23456\t23456\t23456");
        check_line(path, "Gid", "23456\t23456\t23456\t23456");
        check_line(path, "Groups", "");
        check_threads(&c);
        check_namespaces(&c);
        check_root(&c);
        check_fds(&c);
        check_limits(&c);
        child_stop(&c);
        close_fd(&stray);
}

static void test_ordinary_user(void) {
        struct child c = {};
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK(geteuid() != 0 || setresuid(TEST_UID + 1, TEST_UID + 1, TEST_UID + 1) == 0);
                (void) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as after an execve by that user */
                child_start(&c);
                fprintf(stderr, "confined: %d\n", c.confined);
                check_threads(&c);
                child_stop(&c);
                exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
}

/* An ordinary user of a host that lets it make a user namespace, and refuses to map anything in it. */
static void test_maps_are_refused(void) {
        struct sandbox_config config = { .uid = TEST_UID, .gid = TEST_UID };
        const char *step = "";
        bool confined = true;
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK(unshare(CLONE_NEWNS) == 0);
                CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
                CHECK(mount("none", "/proc", "tmpfs", MS_RDONLY, NULL) == 0); /* no uid_map there */
                CHECK(setresuid(TEST_UID, TEST_UID, TEST_UID) == 0);
                CHECK_EQ(sandbox_enter(&config, &confined, &step), 0);
                CHECK(!confined);
                CHECK_EQ(geteuid(), TEST_UID); /* and not nobody of a namespace without maps */
                exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
}

#define FILE_LIMIT (20 << 20)

static void write_at(int fd, off_t offset, int error) {
        struct iovec iov = { (void *) "12345678", 8 };
        ssize_t n = pwritev(fd, &iov, 1, offset);

        if (error ? n >= 0 || errno != error : n != 8)
                _exit(10);
}

/* An image can be written up to its limit and by no means further, and the limit cannot be raised. */
static void try_growing(int fd) {
        struct sandbox_config config = { .uid = TEST_UID, .gid = TEST_UID, .fds = &fd, .n_fds = 1 };
        const struct thread_role control = { .kind = THREAD_CONTROL };
        const char *step = "";
        bool confined;

        if (sandbox_enter(&config, &confined, &step) < 0 || seccomp_enter(&control) < 0 ||
            sandbox_limit_files(FILE_LIMIT) < 0)
                _exit(11);
        write_at(fd, FILE_LIMIT - 8, 0);
        write_at(fd, FILE_LIMIT, EFBIG);
        if (fallocate(fd, FALLOC_FL_ZERO_RANGE, FILE_LIMIT - 4096, 8192) == 0)
                _exit(12);
        (void) sandbox_limit_files(2 * FILE_LIMIT);
        write_at(fd, FILE_LIMIT, EFBIG);
        if (sandbox_limit_files(1) < 0) /* as much as consoles' files get is left */
                _exit(13);
        write_at(fd, SANDBOX_FILE_MIN - 8, 0);
        write_at(fd, SANDBOX_FILE_MIN, EFBIG);
        _exit(0);
}

static void test_file_limit(void) {
        char path[] = "/tmp/test-sandbox-XXXXXX";
        AUTOCLOSE int file = mkostemp(path, O_CLOEXEC);
        AUTOCLOSE int fd = fcntl(file, F_DUPFD_CLOEXEC, IMAGE_FD_MIN);
        struct stat st;
        pid_t pid;
        int status;

        CHECK(fd >= 0 && unlink(path) == 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
                try_growing(fd);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
        CHECK(fstat(fd, &st) == 0);
        CHECK_EQ(st.st_size, FILE_LIMIT);
}

static void test_uid_0_is_refused(void) {
        struct sandbox_config config = {};
        const char *step = NULL;
        bool confined;
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(sandbox_enter(&config, &confined, &step) == -EINVAL ? 0 : 1);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK_EQ(status, 0);
}

int main(void) {
        RUN(test_ordinary_user);
        if (geteuid() != 0)
                TEST_SKIP("the rest needs root");
        RUN(test_root);
        RUN(test_maps_are_refused);
        RUN(test_uid_0_is_refused);
        RUN(test_file_limit);
        return 0;
}
