/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durable file updates. After a crash at any point a reader finds either the old or the new content under the name; a
 * stray ".new" file is overwritten by the next update. Also files that a process locks to be the only one of its
 * kind, and files written by less trusted processes.
 *
 * An update takes place with its rename() or unlink(): from then on every reader sees it, so it is a success, and
 * memory may follow. Steps that can fail (the content, its fsync, opening the directory) come first. Only the fsync
 * of the directory remains: if that fails, the outcome of a host crash is uncertain, and a warning says so.
 */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

static int open_parent(const char *path, GError **err) {
        g_autofree char *dir = g_path_get_dirname(path);
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                error_set_errno(err, errno, "cannot open directory '%s'", dir);
        return fd;
}

static void sync_parent(int dir_fd, const char *path) {
        if (fsync(dir_fd) < 0)
                g_warning("'%s' was updated, but a crash of the host may undo that: cannot sync its directory: %s",
                          path, g_strerror(errno));
        (void) close(dir_fd);
}

static gboolean write_all(int fd, const char *text, gsize len) {
        while (len > 0) {
                ssize_t n = write(fd, text, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return FALSE;
                text += n;
                len -= (gsize) n;
        }
        return TRUE;
}

/* A file with the text, on disk. */
static gboolean write_file(const char *path, const char *text, GError **err) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
                return error_set_errno(err, errno, "cannot create file '%s'", path);
        }
        int r = write_all(fd, text, strlen(text)) && fsync(fd) == 0 ? 0 : -errno;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        if (r == 0)
                return TRUE;
        (void) unlink(path);
        return error_set_errno(err, r, "cannot write file '%s'", path);
}

/* The last step: `temporary` becomes `path`, or goes away. */
static gboolean put_in_place(const char *temporary, const char *path, GError **err) {
        int dir_fd = open_parent(path, err);
        if (dir_fd >= 0 && rename(temporary, path) == 0) {
                sync_parent(dir_fd, path);
                return TRUE;
        }
        if (dir_fd >= 0) {
                error_set_errno(err, errno, "cannot replace '%s'", path);
                (void) close(dir_fd);
        }
        (void) unlink(temporary);
        return FALSE;
}

gboolean file_write_atomic(const char *path, const char *text, GError **err) {
        g_autofree char *temporary = g_strconcat(path, ".new", NULL);
        return write_file(temporary, text, err) && put_in_place(temporary, path, err);
}

gboolean file_link_atomic(const char *path, const char *target, GError **err) {
        g_autofree char *temporary = g_strconcat(path, ".new", NULL);
        (void) unlink(temporary);
        if (symlink(target, temporary) == 0)
                return put_in_place(temporary, path, err);
        return error_set_errno(err, errno, "cannot create link '%s' to '%s'", path, target);
}

gboolean file_remove(const char *path, GError **err) {
        int dir_fd = open_parent(path, err);
        if (dir_fd < 0)
                return FALSE;
        if (unlink(path) == 0) {
                sync_parent(dir_fd, path);
                return TRUE;
        }
        int r = -errno;
        (void) close(dir_fd);
        if (r != -ENOENT)
                error_set_errno(err, r, "cannot remove file '%s'", path);
        return r == -ENOENT;
}

gboolean file_rename(const char *path, const char *to, GError **err) {
        int dir_fd = open_parent(to, err);
        if (dir_fd < 0)
                return FALSE;
        if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
                sync_parent(dir_fd, to);
                return TRUE;
        }
        error_set_errno(err, errno, "cannot rename '%s' to '%s'", path, to);
        (void) close(dir_fd);
        return FALSE;
}

/* A lock of the process: unlike flock()'s, a child between fork and exec does not hold it. */
int file_take(const char *path, pid_t *ret_owner, GError **err) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        *ret_owner = 0;
        if (fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0)
                return fd;
        error_set_errno(err, errno, "cannot lock '%s'", path);
        if (fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
                *ret_owner = lock.l_pid;
        if (fd >= 0)
                (void) close(fd);
        return -1;
}

gssize file_read_head(const char *path, gpointer data, gsize size) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -1;
        gssize n = TEMP_FAILURE_RETRY(read(fd, data, size));
        int saved = errno;
        (void) close(fd);
        errno = saved;
        return n;
}

gboolean file_make_dir(const char *path, mode_t mode, GError **err) {
        if (g_mkdir_with_parents(path, (int) mode) == 0)
                return TRUE;
        return error_set_errno(err, errno, "cannot create directory '%s'", path);
}

gboolean file_error_is_shortage(const GError *err) {
        return g_error_matches(err, G_FILE_ERROR, G_FILE_ERROR_MFILE) ||
               g_error_matches(err, G_FILE_ERROR, G_FILE_ERROR_NFILE) ||
               g_error_matches(err, G_FILE_ERROR, G_FILE_ERROR_NOMEM);
}
