/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc says about a process. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* When it was started, in ticks since the host was: with its number this is a process and never another one. */
gboolean process_start_time(pid_t pid, guint64 *ret, GError **err);
/* Its real uid. FALSE: it has gone. */
gboolean process_uid(pid_t pid, guint32 *ret);
