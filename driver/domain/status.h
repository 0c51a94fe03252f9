/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a daemon knows of a domain that an earlier one has started. */
#pragma once

#include "domain/internal.h"

typedef struct Status {
        int state, reason, registered, reboot_pending, recovered;
        pid_t pid;
        guint64 start_time;
        guint32 uid;
        char *unit, *machine, *cgroup, *terminals;
        DomainDef *def; /* live */
} Status;

void status_clear(Status *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Status, status_clear)

/*
 * Reads the status of a domain. FALSE with file_error_is_shortage(*err): it was not read, which says nothing about it;
 * else: it is not to be made sense of.
 */
gboolean status_load(Driver *driver, const char *name, Status *ret, GError **err);
/*
 * What can be learned without the file, from the process and its scope. `known` is the persistent definition, if there
 * is one. FALSE: no monitor of a domain of this name runs.
 */
gboolean status_recover(const char *name, const DomainDef *known, Status *ret);
