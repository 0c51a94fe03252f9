/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a running domain's interface can change: a HostFunc for change.c, and its data. */
#pragma once

#include "domain/internal.h"
#include "net/tap.h"

typedef struct NicChange {
        const DomainNic *old, *new; /* of the definition in force and of its changed copy */
        guint *in_force;            /* what has been changed, as bits; 0 at first */
} NicChange;

/*
 * What a network has dictated to an interface at its start (limits, VLAN, isolation) is in the running definition
 * alone, and looks there like what its XML asked for: `wanted`, of a live change, takes over what it does not give.
 */
void nic_keep_dictated(const DomainNic *old, DomainNic *wanted);
/* What an interface says of its TAP; points into nic. */
TapConfig nic_tap_config(const DomainNic *nic);
/* What <bandwidth> asks for; points into nic. */
TapLimits nic_limits(const DomainNic *nic);

/* Whether the host can follow: VIR_ERR_OPERATION_UNSUPPORTED says what cannot change. */
gboolean nic_change_check(const DomainNic *old, const DomainNic *new, GError **err);
/* A HostFunc, whose data is a NicChange. */
gboolean nic_follows(Domain *d, const DomainDef *def, gconstpointer data, GError **err);
/*
 * Tells the monitor the link states of the live definition again, since an earlier daemon may have ended between a
 * change and its status file. A monitor that is slow or too old is not waited for. Lock and job held; may drop the
 * lock.
 */
gboolean nic_restore_links(Domain *d, GError **err);
