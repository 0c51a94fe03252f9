/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a daemon knows about a domain that an earlier daemon started. */
#pragma once

#include "domain/internal.h"

typedef struct Status {
        int state, reason, registered, reboot_pending, recovered;
        int id; /* of a recovered domain */
        pid_t pid;
        guint64 start_time;
        guint32 uid;
        char *unit, *machine, *cgroup, *terminals, *devices;
        DomainDef *def; /* live */
} Status;

void status_clear(Status *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Status, status_clear)

/*
 * Reads the status of a domain. FALSE with file_error_is_shortage(*err): it could not be read for want of descriptors
 * or memory; else: it is damaged.
 */
gboolean status_load(Driver *driver, const char *name, Status *ret, GError **err);
typedef enum Recovery {
        RECOVERY_DONE,
        RECOVERY_NOTHING, /* no monitor of a domain of this name runs */
        RECOVERY_UNKNOWN, /* systemd does not answer, or there are no descriptors or memory to look with */
} Recovery;
/*
 * What kernel and systemd know of a monitor without the file. `known` is the persistent definition of this name, if
 * there is one; it is used if it has the UUID of what runs. Asks systemd. *ret is to be cleared in any case; of a
 * RECOVERY_UNKNOWN it has the process that may be the monitor with its id and uid, or no process.
 */
Recovery status_recover(const Driver *driver, const char *name, const DomainDef *known, Status *ret);
