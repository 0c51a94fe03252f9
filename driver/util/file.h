/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that must never be seen half-written, and files that one process locks. */
#pragma once

#include <glib.h>

/*
 * The first four change what readers see in one step. FALSE: nothing has changed. TRUE: it has; if a directory cannot
 * be synced, so that it may not be on disk yet, that is logged as a warning.
 */
/* Writes path by a temporary file in its directory, fsync, rename, fsync of the directory. Mode 0600. */
gboolean file_write_atomic(const char *path, const char *text, GError **err);
/* Makes path a symbolic link to target, whatever it was, in the same way. */
gboolean file_link_atomic(const char *path, const char *target, GError **err);
/* Removes path and syncs its directory; a missing file is fine, a missing directory is not. */
gboolean file_remove(const char *path, GError **err);
/* Renames a file within its directory; fails when there is one of the new name. */
gboolean file_rename(const char *path, const char *to, GError **err);
/*
 * Creates path and locks it for this process, until it ends or closes the returned descriptor. -1 when another
 * process holds it, with its id in *ret_owner, or on failure, with *ret_owner 0.
 */
int file_take(const char *path, pid_t *ret_owner, GError **err);
/*
 * At most the first `size` bytes of a file that others may write, however long it is. Returns how many, or -1 with
 * errno set; a symbolic link is not followed.
 */
gssize file_read_head(const char *path, gpointer data, gsize size);
/* mkdir -p with the mode for what is created. */
gboolean file_make_dir(const char *path, mode_t mode, GError **err);
/* Whether GLib could not open or read a file for want of descriptors or memory, which says nothing about the file. */
gboolean file_error_is_shortage(const GError *err);
