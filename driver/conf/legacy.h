/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hardware that a microVM does not have, and that clients write into XML unasked. Each
 * function either replaces or leaves out, with a note in def->notes, or (under
 * DOMAIN_PARSE_REJECT_LEGACY) fails with VIR_ERR_CONFIG_UNSUPPORTED and says what to
 * write instead.
 */
#pragma once

#include "conf/domain_parse.h"

/* An element of <devices>. *ret_handled tells whether it is one of those that are left out or refused here. */
gboolean legacy_device(const xmlNode *node, DomainDef *def, guint flags, gboolean *ret_handled, GError **err);
/* Machine types other than ours, firmware. */
gboolean legacy_os(const xmlNode *os, DomainDef *def, guint flags, GError **err);
/* Another hypervisor's program. The path is shown to clients and never run. */
gboolean legacy_emulator(DomainDef *def, guint flags, GError **err);
/* CD-ROM and floppy drives, buses other than virtio; targets are renamed. Before disks are sorted. */
gboolean legacy_disks(DomainDef *def, guint flags, GError **err);
/* NIC models other than virtio. */
gboolean legacy_nics(DomainDef *def, guint flags, GError **err);
