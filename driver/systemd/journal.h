/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: the daemon's own entries, with the fields that say which domain they are
 * about, and the socket over which a monitor writes its own entries.
 */
#pragma once

#include <glib.h>

/* Where programs connect their standard output and error (systemd's "stdout stream" protocol). */
#define JOURNAL_STREAM_SOCKET "/run/systemd/journal/stdout"

/*
 * Makes GLib's log functions write to the journal when standard error is connected to it, else to standard
 * error. Messages above `level` ("error", "warning", "info", "debug"; NULL: info) are dropped. Called once by main.
 */
void journal_init(const char *level);

/*
 * One entry about a domain: LIBVIRT_DOMAIN=, DOMAIN_UUID=, MACHINE=. `level` is G_LOG_LEVEL_WARNING and the
 * like; each of the three may be NULL. `machine` is scope_machine_name() of a running domain.
 */
void journal_log(GLogLevelFlags level, const char *domain, const guint8 *uuid, const char *machine, const char *format,
                 ...) G_GNUC_PRINTF(5, 6);

/*
 * A datagram socket connected to the journal, for VmmSpawn.journal_fd, or -1 when there is no journal. It is
 * non-blocking: a slow journal costs lines, never a guest's time.
 */
int journal_connect(void);
