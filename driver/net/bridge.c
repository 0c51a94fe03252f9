/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ports of Linux bridges.
 *
 * A bridge that filters VLANs gives each new port its default PVID. A port for one VLAN
 * gets it as untagged PVID and loses all others, else its guest would also receive the
 * default VLAN's traffic.
 */
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#include "net/netlink.h"
#include "util/error.h"

#define VLAN_MIN 1u
#define VLAN_MAX 4094u

gboolean bridge_find(NetlinkSocket *sock, const char *name, LinkInfo *ret, GError **err) {
        gboolean missing;

        if (!netlink_get_link(sock, name, ret, &missing, err)) {
                if (missing)
                        error_set(err, VIR_ERR_SYSTEM_ERROR,
                                  "bridge '%s' does not exist: create it (ip link add %s type bridge) or name another "
                                  "in <source bridge=...>",
                                  name, name);
                return FALSE;
        }
        if (g_str_equal(ret->kind, "bridge"))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s' is not a Linux bridge%s%s%s", name,
                         ret->kind[0] ? " but of type '" : "", ret->kind, ret->kind[0] ? "'" : "");
}

static struct nl_msg *vlan_message(int type, int ifindex) {
        return netlink_link_message(type, 0, AF_BRIDGE, ifindex);
}

static void put_vlan(struct nl_msg *message, unsigned flags, unsigned tag) {
        struct bridge_vlan_info info = { .flags = (guint16) flags, .vid = (guint16) tag };
        (void) nla_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof(info), &info);
}

static void put_vlan_range(struct nl_msg *message, unsigned first, unsigned last) {
        if (first < last) {
                put_vlan(message, BRIDGE_VLAN_INFO_RANGE_BEGIN, first);
                put_vlan(message, BRIDGE_VLAN_INFO_RANGE_END, last);
        } else if (first == last)
                put_vlan(message, 0, first);
}

static gboolean set_vlan(NetlinkSocket *sock, int ifindex, guint16 tag, GError **err) {
        struct nl_msg *message = vlan_message(RTM_SETLINK, ifindex);
        struct nlattr *spec = nla_nest_start(message, IFLA_AF_SPEC);

        put_vlan(message, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED, tag);
        (void) nla_nest_end(message, spec);
        if (!netlink_request(sock, message, err, "cannot put the port into VLAN %u", tag))
                return FALSE;

        message = vlan_message(RTM_DELLINK, ifindex);
        spec = nla_nest_start(message, IFLA_AF_SPEC);
        put_vlan_range(message, VLAN_MIN, tag - 1u);
        put_vlan_range(message, tag + 1u, VLAN_MAX);
        (void) nla_nest_end(message, spec);
        return netlink_request(sock, message, err, "cannot take the port out of all VLANs but %u", tag);
}

static gboolean set_isolated(NetlinkSocket *sock, int ifindex, GError **err) {
        struct nl_msg *message = netlink_link_message(RTM_SETLINK, 0, AF_BRIDGE, ifindex);
        struct nlattr *info = nla_nest_start(message, IFLA_PROTINFO | NLA_F_NESTED);

        (void) nla_put_u8(message, IFLA_BRPORT_ISOLATED, 1);
        (void) nla_nest_end(message, info);
        return netlink_request(sock, message, err, "cannot isolate the port");
}

gboolean bridge_check(const LinkInfo *bridge, const TapConfig *config, GError **err) {
        if (!config->has_vlan)
                return TRUE;
        if (config->vlan_tag < VLAN_MIN || config->vlan_tag > VLAN_MAX) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "VLAN tag %u is not one of %u to %u",
                                 config->vlan_tag, VLAN_MIN, VLAN_MAX);
        }
        if (bridge->vlan_filtering)
                return TRUE;
        return error_set(
                err, VIR_ERR_CONFIG_UNSUPPORTED,
                "bridge '%s' does not filter VLANs: switch that on (ip link set %s type bridge vlan_filtering 1) or "
                "remove <vlan>",
                config->bridge, config->bridge);
}

gboolean bridge_plug(NetlinkSocket *sock, const LinkInfo *bridge, int ifindex, const TapConfig *config, GError **err) {
        struct nl_msg *message;

        if (!bridge_check(bridge, config, err))
                return FALSE;
        message = netlink_link_message(RTM_SETLINK, 0, AF_UNSPEC, ifindex);
        (void) nla_put_u32(message, IFLA_MASTER, (guint32) bridge->ifindex);
        if (!netlink_request(sock, message, err, "cannot plug the TAP into bridge '%s'", config->bridge))
                return FALSE;
        return (!config->has_vlan || set_vlan(sock, ifindex, config->vlan_tag, err)) &&
               (!config->isolated || set_isolated(sock, ifindex, err));
}
