/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hardware that a microVM replaces by a counterpart. Each function replaces it, with a
 * note in def->notes, or (under DOMAIN_PARSE_REJECT_LEGACY) fails with
 * VIR_ERR_CONFIG_UNSUPPORTED and says what to write instead.
 */
#pragma once

#include "conf/domain_parse.h"

gboolean legacy_machine_is_foreign(const char *machine); /* NULL is not */
/* The version of the machine, and machine types other than ours. */
gboolean legacy_machine(DomainDef *def, guint flags, GError **err);
/* CPU models by name. */
gboolean legacy_cpu(DomainDef *def, guint flags, GError **err);
/* on_crash='coredump-…'. */
gboolean legacy_crash_action(DomainDef *def, guint flags, GError **err);
/* Another hypervisor's program. The path is shown to clients and never run. */
gboolean legacy_emulator(DomainDef *def, guint flags, GError **err);
/* CD-ROM and floppy drives, buses other than virtio; targets are renamed. Before disks are sorted. */
gboolean legacy_disks(DomainDef *def, guint flags, GError **err);
/* NIC models other than virtio. */
gboolean legacy_nics(DomainDef *def, guint flags, GError **err);
/* Notes that a PCI address of a bus, slot or function that a microVM does not have is replaced. */
void legacy_note_address(DomainDef *def, const char *kind, const char *name);
