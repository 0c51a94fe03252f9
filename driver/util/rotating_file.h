/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that is appended to and never grows past a limit: when it is full it becomes FILE.0, what was FILE.0 becomes
 * FILE.1, and so on, as virtlogd does it.
 */
#pragma once

#include <glib.h>

#define ROTATING_BACKUPS_MAX 20u /* as virtlogd has it */

typedef struct RotatingFile RotatingFile;

/*
 * `path` is absolute; a symbolic link is followed now, and no more later. Opens nothing. `max_size`: bytes, 1 at least;
 * `max_backups`: how many FILE.n are kept, 0 to ROTATING_BACKUPS_MAX.
 */
RotatingFile *rotating_file_new(const char *path, guint64 max_size, guint max_backups);
void rotating_file_free(RotatingFile *file); /* NULL is fine */

const char *rotating_file_path(const RotatingFile *file);
/* Whether the two would write or rename a file of the same name. */
gboolean rotating_file_clashes(const RotatingFile *a, const RotatingFile *b);

/*
 * Opens the file, or makes it with mode 0600. Without `append` it is emptied, and its backups are deleted. A file that
 * is not a regular one, or has a second name, is VIR_ERR_CONFIG_UNSUPPORTED.
 */
gboolean rotating_file_open(RotatingFile *file, gboolean append, GError **err);

/*
 * Appends, opening the file if need be: also one that somebody has moved away or deleted. Returns how many bytes were
 * kept; fewer than `len` with *err set. The next call tries everything again.
 */
gsize rotating_file_append(RotatingFile *file, const char *data, gsize len, GError **err);
