/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of machines. A definition names a version ("micro-1"), which fixes what the guest sees of the machine beyond
 * what the definition asks for; "micro" stands for the newest, and is replaced by it when a definition comes in.
 */
#pragma once

#include <glib.h>

#define MACHINE_NEWEST "micro" /* what clients may write for the newest version */

extern const char *const machine_versions[]; /* by enum ctl_machine_version, from 1 on; NULL-terminated */

const char *machine_newest(void);
/* One of ours, whether or not its version exists; not one of another hypervisor. NULL is none. */
gboolean machine_is_ours(const char *name);
/* The version that a client means; NULL: there is none of that name. `name` NULL: the newest. */
const char *machine_canonical(const char *name);
/* The version that the daemon meant in what it wrote: without one, the first, since that is older than versions. */
const char *machine_canonical_own(const char *name);
/* Fails with VIR_ERR_CONFIG_UNSUPPORTED and the versions that there are. */
gboolean machine_refuse(const char *name, GError **err);
/* The enum ctl_machine_version of a name; 0: it is no version. */
guint machine_number(const char *name);
