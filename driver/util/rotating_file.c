/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: before each write the name is looked at. When it stands for the
 * file that is open, the file's size says how much still fits; else the file is opened
 * anew, so that logrotate and people with rm may do as they like. A full file is renamed
 * and a new one made under its name, with O_EXCL: whoever may write to the directory
 * cannot slip in a link to another file. Nothing is written past the limit: when a step
 * of a rotation fails, the rest of the text is the caller's to drop.
 *
 * The oldest backup is deleted before others take its place, instead of being replaced
 * by rename(): some file systems (ext4) write out a file that replaces another, and a
 * guest that floods its log would keep the disk busy.
 */
#include "util/rotating_file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

#define LINE_BYTES 80u /* a file ends with a whole line, if one ends so near to the limit */

struct RotatingFile {
        char *path;
        guint64 max_size, size;
        guint max_backups;
        int fd; /* -1: not open */
        struct stat id;
};

/* Without links, as far as the path exists. */
static char *canonical_path(const char *path) {
        char real[PATH_MAX];
        if (realpath(path, real) != NULL)
                return g_strdup(real);
        g_autofree char *dir = g_path_get_dirname(path), *name = g_path_get_basename(path);
        return realpath(dir, real) != NULL ? g_build_filename(real, name, NULL) : g_canonicalize_filename(path, "/");
}

RotatingFile *rotating_file_new(const char *path, guint64 max_size, guint max_backups) {
        RotatingFile *file = g_new0(RotatingFile, 1);
        file->path = canonical_path(path);
        file->max_size = MAX(max_size, 1);
        file->max_backups = MIN(max_backups, ROTATING_BACKUPS_MAX);
        file->fd = -1;
        return file;
}

static void file_close(RotatingFile *file) {
        if (file->fd >= 0)
                (void) close(file->fd);
        file->fd = -1;
}

void rotating_file_free(RotatingFile *file) {
        if (!file)
                return;
        file_close(file);
        g_free(file->path);
        g_free(file);
}

const char *rotating_file_path(const RotatingFile *file) {
        return file->path;
}

/* Whether `path` is `base` followed by the number of a backup. */
static gboolean is_backup(const char *path, const char *base) {
        gsize len = strlen(base);
        if (strncmp(path, base, len) != 0 || path[len] != '.' || path[len + 1] == '\0')
                return FALSE;
        return strspn(path + len + 1, G_CSET_DIGITS) == strlen(path + len + 1);
}

gboolean rotating_file_clashes(const RotatingFile *a, const RotatingFile *b) {
        return strcmp(a->path, b->path) == 0 || is_backup(a->path, b->path) || is_backup(b->path, a->path);
}

static char *backup_path(const RotatingFile *file, guint n) {
        return g_strdup_printf("%s.%u", file->path, n);
}

static gboolean check_kind(const RotatingFile *file, const struct stat *st, GError **err) {
        if (S_ISREG(st->st_mode) && st->st_nlink == 1)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "log file '%s' %s", file->path,
                         S_ISREG(st->st_mode) ? "has a second name (a hard link)" : "is not a regular file");
}

static gboolean open_path(RotatingFile *file, int flags, GError **err) {
        file_close(file);
        int fd = open(file->path,
                      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags, 0600);
        if (fd < 0 || fstat(fd, &file->id) < 0) {
                (void) error_set_errno(err, errno, "cannot open log file '%s'", file->path);
        } else if (check_kind(file, &file->id, err)) {
                file->fd = fd;
                file->size = (guint64) file->id.st_size;
                return TRUE;
        }
        if (fd >= 0)
                (void) close(fd);
        return FALSE;
}

/* FILE.0 is the youngest. */
static gboolean delete_backups(const RotatingFile *file, GError **err) {
        for (guint i = 0; i < file->max_backups; i++) {
                g_autofree char *path = backup_path(file, i);
                if (g_unlink(path) < 0 && errno != ENOENT)
                        return error_set_errno(err, errno, "cannot delete log file '%s'", path);
        }
        return TRUE;
}

gboolean rotating_file_open(RotatingFile *file, gboolean append, GError **err) {
        if (!open_path(file, 0, err))
                return FALSE;
        if (append)
                return TRUE;
        if (ftruncate(file->fd, 0) < 0) {
                (void) error_set_errno(err, errno, "cannot empty log file '%s'", file->path);
        } else if (delete_backups(file, err)) {
                file->size = 0;
                return TRUE;
        }
        file_close(file);
        return FALSE;
}

/* Makes sure that the file under the name is the one that is open. */
static gboolean look_again(RotatingFile *file, GError **err) {
        struct stat st;
        if (lstat(file->path, &st) < 0)
                return errno == ENOENT ? open_path(file, O_EXCL, err)
                                       : error_set_errno(err, errno, "cannot look at log file '%s'", file->path);
        if (file->fd < 0 || st.st_dev != file->id.st_dev || st.st_ino != file->id.st_ino)
                return open_path(file, 0, err);
        file->size = (guint64) st.st_size;
        return TRUE;
}

static gboolean rename_one(const char *from, const char *to, GError **err) {
        if (rename(from, to) == 0 || errno == ENOENT)
                return TRUE;
        return error_set_errno(err, errno, "cannot rename log file '%s' to '%s'", from, to);
}

/* The first number that no backup has, or the last one, whose file has to go. */
static guint free_number(const RotatingFile *file) {
        guint n = 0;
        for (; n + 1 < file->max_backups; n++) {
                g_autofree char *path = backup_path(file, n);
                struct stat st;
                if (lstat(path, &st) < 0)
                        break;
        }
        return n;
}

/*
 * FILE.1 becomes FILE.2, FILE.0 becomes FILE.1, FILE becomes FILE.0. Only as far as a gap, which an attempt that has
 * failed leaves: then the next one goes on from there and costs no further backup.
 */
static gboolean rotate(RotatingFile *file, GError **err) {
        guint last = free_number(file);
        g_autofree char *to = file->max_backups > 0 ? backup_path(file, last) : g_strdup(file->path);
        if (g_unlink(to) < 0 && errno != ENOENT)
                return error_set_errno(err, errno, "cannot delete log file '%s'", to);
        for (guint i = file->max_backups > 0 ? last + 1 : 0; i > 0; i--) {
                g_autofree char *from = i > 1 ? backup_path(file, i - 2) : g_strdup(file->path);
                if (!rename_one(from, to, err))
                        return FALSE;
                g_free(to);
                to = g_steal_pointer(&from);
        }
        return open_path(file, O_EXCL, err);
}

/* How much of it goes into this file: all, or up to the end of a line near to the limit. */
static gsize part_that_fits(const RotatingFile *file, const char *data, gsize len) {
        guint64 room = file->max_size - MIN(file->size, file->max_size);
        if (len <= room)
                return len;
        gsize window = MIN(LINE_BYTES, (gsize) room);
        const char *end = window > 0 ? memrchr(data + room - window, '\n', window) : NULL;
        return end ? (gsize) (end + 1 - data) : (gsize) room;
}

static gsize write_part(RotatingFile *file, const char *data, gsize len, GError **err) {
        gsize done = 0;
        while (done < len) {
                ssize_t n = write(file->fd, data + done, len - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        (void) error_set_errno(err, n < 0 ? errno : ENOSPC, "cannot write log file '%s'", file->path);
                        break;
                }
                done += (gsize) n;
        }
        file->size += done;
        return done;
}

gsize rotating_file_append(RotatingFile *file, const char *data, gsize len, GError **err) {
        gsize done = 0;
        if (!look_again(file, err))
                return 0;
        while (done < len) {
                gsize part = part_that_fits(file, data + done, len - done);
                gsize n = write_part(file, data + done, part, err);
                done += n;
                if (n < part || (done < len && !rotate(file, err)))
                        break;
        }
        return done;
}
