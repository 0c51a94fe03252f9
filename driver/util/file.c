/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durable file updates. After a crash at any point a reader finds either the old or the
 * new content under the name; a stray ".new" file is overwritten by the next update. And
 * files that a process takes for itself, to be the only one of its kind; and files that somebody less trusted writes.
 */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

static gboolean sync_parent(const char *path, GError **err) {
        g_autofree char *dir = g_path_get_dirname(path);
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = fd < 0 ? -1 : fsync(fd);
        if (r < 0)
                error_set_errno(err, errno, "cannot sync directory '%s'", dir);
        if (fd >= 0)
                (void) close(fd);
        return r == 0;
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

gboolean file_write_atomic(const char *path, const char *text, GError **err) {
        g_autofree char *temporary = g_strconcat(path, ".new", NULL);
        int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
                error_set_errno(err, errno, "cannot create file '%s'", temporary);
                return FALSE;
        }
        gboolean ok = write_all(fd, text, strlen(text)) && fsync(fd) == 0;
        int saved = errno;
        if (close(fd) < 0 && ok) {
                ok = FALSE;
                saved = errno;
        }
        if (ok && rename(temporary, path) == 0)
                return sync_parent(path, err);
        if (ok)
                saved = errno;
        (void) g_unlink(temporary);
        error_set_errno(err, saved, "cannot write file '%s'", path);
        return FALSE;
}

gboolean file_link_atomic(const char *path, const char *target, GError **err) {
        g_autofree char *temporary = g_strconcat(path, ".new", NULL);
        (void) g_unlink(temporary);
        if (symlink(target, temporary) == 0 && rename(temporary, path) == 0)
                return sync_parent(path, err);
        int saved = errno;
        (void) g_unlink(temporary);
        error_set_errno(err, saved, "cannot create link '%s' to '%s'", path, target);
        return FALSE;
}

gboolean file_remove(const char *path, GError **err) {
        if (g_unlink(path) == 0)
                return sync_parent(path, err);
        if (errno == ENOENT)
                return TRUE;
        error_set_errno(err, errno, "cannot remove file '%s'", path);
        return FALSE;
}

/* A lock of the process: a child that is on its way to another program does not hold it, as it would flock()'s. */
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
        error_set_errno(err, errno, "cannot create directory '%s'", path);
        return FALSE;
}
