/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TAP devices and bridge ports by rtnetlink (libnl-route). A TAP is not persistent: it
 * lives exactly as long as its fd is open, so it vanishes with the monitor, however that
 * ends.
 */
#pragma once

#include <glib.h>

#include "../conf/domain_def.h"

typedef struct TapConfig {
        const char *name;   /* NULL: the kernel picks vnetN */
        gboolean existing;  /* attach to a TAP that the operator made (ethernet, managed='no') */
        const char *bridge; /* NULL: in no bridge */
        guint8 mac[6];      /* the guest's; the TAP gets it with 0xfe as first byte, as libvirt does */
        guint mtu;          /* 0: the bridge's, else 1500 */
        gboolean has_vlan;
        guint16 vlan_tag; /* 1..4094; untagged PVID of the port; the bridge must filter VLANs */
        gboolean isolated;
        const DomainBandwidth *inbound, *outbound; /* NULL: no limit; tc on the TAP */
} TapConfig;

typedef struct Tap {
        int fd; /* IFF_VNET_HDR, non-blocking, CLOEXEC */
        char *name;
        int ifindex;
        guint mtu;
} Tap;

/* Makes, configures, plugs and raises the TAP. On error nothing is left. VIR_ERR_SYSTEM_ERROR, CONFIG_UNSUPPORTED. */
gboolean tap_open(const TapConfig *config, Tap *ret, GError **err);
void tap_clear(Tap *tap); /* closes the fd */

gboolean tap_exists(const char *name);

/* NULL, or an average of 0: not limited. */
typedef struct TapLimits {
        const DomainBandwidth *inbound, *outbound;
} TapLimits;
/*
 * Replaces the limits `from`, which were set here, by `to`. A direction that neither limits is left alone: qdiscs there
 * are the operator's, and prevent limits of ours (VIR_ERR_CONFIG_UNSUPPORTED). On error `from` stays in force.
 */
gboolean tap_set_bandwidth(const char *name, const TapLimits *from, const TapLimits *to, GError **err);

/*
 * Moves a TAP from one bridge to another, or to another VLAN or isolation in it; both have a bridge, and nothing else
 * of them counts. What is in flight meanwhile is lost. On error it is where it was.
 */
gboolean tap_move(const char *name, const TapConfig *from, const TapConfig *to, GError **err);

typedef struct TapStats { /* seen from the guest: rx is what it received */
        guint64 rx_bytes, rx_packets, rx_errors, rx_drops;
        guint64 tx_bytes, tx_packets, tx_errors, tx_drops;
} TapStats;
gboolean tap_get_stats(const char *name, TapStats *ret, GError **err);

/* Neighbours of the host with this MAC: an array of char* addresses, freed with its elements. */
GPtrArray *neigh_lookup(const guint8 mac[6], GError **err);
