/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to rtnetlink with the kernel's own error, and the pieces of them that the files here share. */
#pragma once

#include <glib.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "net/tap.h"

typedef struct nl_sock NetlinkSocket;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetlinkSocket, nl_socket_free)

NetlinkSocket *netlink_open(GError **err);

/*
 * Sends `message`, which is consumed, and waits for its end. 0 or a negative errno. `valid` sees each answer before
 * that; *ret_text, where asked for, gets the kernel's explanation of an error or NULL.
 */
int netlink_exchange(NetlinkSocket *sock, struct nl_msg *message, nl_recvmsg_msg_cb_t valid, void *arg,
                     char **ret_text);

/* The same for a request that only succeeds or fails: "FORMAT: errno's text (kernel's explanation)". */
gboolean netlink_request(NetlinkSocket *sock, struct nl_msg *message, GError **err, const char *format, ...)
        G_GNUC_PRINTF(4, 5);

/* A request of a type about one interface, with its fixed header; flags are NLM_F_*. Never NULL. */
struct nl_msg *netlink_link_message(int type, int flags, int family, int ifindex);

typedef struct LinkInfo {
        int ifindex;
        guint mtu;
        char kind[32];           /* "bridge", "tun"; empty for hardware */
        gboolean vlan_filtering; /* of a bridge */
} LinkInfo;
/* FALSE with *ret_missing TRUE and no error when there is no such interface. */
gboolean netlink_get_link(NetlinkSocket *sock, const char *name, LinkInfo *ret, gboolean *ret_missing, GError **err);

/* Looks a bridge up; if there is none, the error says what to do. */
gboolean bridge_find(NetlinkSocket *sock, const char *name, LinkInfo *ret, GError **err);
/* What bridge_plug() would refuse, without doing anything. */
gboolean bridge_check(const LinkInfo *bridge, const TapConfig *config, GError **err);
/* Plugs an interface that is still down into a bridge: VLAN and isolation are in force before the first frame. */
gboolean bridge_plug(NetlinkSocket *sock, const LinkInfo *bridge, int ifindex, const TapConfig *config, GError **err);

/* Limits by tc, as tap_set_bandwidth() has them. */
gboolean tc_set(NetlinkSocket *sock, const char *name, int ifindex, const TapLimits *from, const TapLimits *to,
                GError **err);
