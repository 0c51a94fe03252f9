/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket as a file: made by the daemon that starts a monitor, found by each
 * daemon that comes after it. It lies in a directory that only root can use, so whoever
 * answers there was given the listening end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "process/vmm_internal.h"
#include "util/error.h"

/*
 * An address holds about a hundred bytes, a path with a domain's name in it may have more. So both ends go through
 * /proc/self/fd, where a directory or the socket's own file has a short name.
 */
static void fill_address(struct sockaddr_un *ret, int fd, const char *name) {
        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        g_snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s%s", fd, name[0] ? "/" : "", name);
}

static int socket_new(GError **err) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                error_set_errno(err, errno, "cannot make a control socket");
        return fd;
}

/*
 * Bound under a passing name, then renamed: what was at `path` is replaced. The socket's mode, set before bind,
 * becomes the file's, less the umask: it never has a different one. 0 or a negative errno.
 */
static int bind_at(int fd, int dir_fd, const char *path) {
        struct sockaddr_un address;
        g_autofree char *name = g_strdup_printf(".ctl-%d-%08x", (int) getpid(), g_random_int());

        fill_address(&address, dir_fd, name);
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        if (renameat(dir_fd, name, AT_FDCWD, path) == 0 && listen(fd, 1) == 0)
                return 0;
        int r = -errno;
        (void) unlinkat(dir_fd, name, 0);
        (void) unlink(path);
        return r;
}

int vmm_socket_listen(const char *path, GError **err) {
        g_autofree char *dir = g_path_get_dirname(path);
        int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd, r;

        if (dir_fd < 0) {
                error_set_errno(err, errno, "cannot open '%s'", dir);
                return -1;
        }
        fd = socket_new(err);
        r = fd < 0 ? 0 : bind_at(fd, dir_fd, path);
        (void) close(dir_fd);
        if (r == 0)
                return fd; /* -1 with *err set when there is none */
        error_set_errno(err, r, "cannot listen on '%s'", path);
        (void) close(fd);
        return -1;
}

/* 0 or a negative errno. */
static int connect_to(int fd, const char *path) {
        struct sockaddr_un address;
        int file_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (file_fd < 0)
                return -errno;
        fill_address(&address, file_fd, "");
        int r = connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
        (void) close(file_fd);
        return r;
}

int vmm_socket_connect(const char *path, GError **err) {
        int fd = socket_new(err), r;

        if (fd < 0)
                return -1;
        r = connect_to(fd, path);
        if (r == 0)
                return fd;
        error_set_errno(err, r, "cannot connect to the control socket '%s'", path);
        (void) close(fd);
        return -1;
}

gboolean vmm_socket_is_served(const char *path, gboolean *ret, GError **err) {
        int fd = socket_new(err), r;

        if (fd < 0)
                return FALSE;
        r = connect_to(fd, path);
        (void) close(fd);
        /* A full queue has a listener that will empty it. Errors other than these say nothing about the listener. */
        *ret = r == 0 || r == -EAGAIN;
        if (*ret || r == -ECONNREFUSED || r == -ENOENT)
                return TRUE;
        return error_set_errno(err, r, "cannot tell whether a monitor serves '%s'", path);
}
