/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TAP devices. A frame on the descriptor carries a virtio-net header of 12 bytes (as
 * virtio 1.x has it), which vhost-net and the monitor's own path both expect.
 *
 * The interface belongs to the descriptor: it is never made persistent, so closing the
 * last copy removes it with everything that was configured on it (bridge port, VLAN, tc).
 * That is also how each failed step here is undone. A TAP that the operator made is only
 * attached to and not configured, except for limits, which are removed when the domain
 * ends.
 *
 * The TAP's own MAC is the guest's with 0xfe in front: high, so that a bridge without its
 * own address never adopts it, and different from the guest's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/route/link.h>
#include <string.h>
#include <sys/ioctl.h>
#include <systemd/sd-device.h>
#include <unistd.h>

#include "net/netlink.h"
#include "util/error.h"

#define TUN_DEVICE      "/dev/net/tun"
#define TAP_NAME_KERNEL "vnet%d"
#define VNET_HEADER     12 /* struct virtio_net_hdr_v1 */
#define UDEV_CONTROL    "/run/udev/control"
#define UDEV_STEP_US    1000
#define UDEV_LIMIT_US   (1000 * 1000)

/* --- Making ------------------------------------------------------------------------------ */

static int open_tun(GError **err) {
        int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0 && (errno == ENOENT || errno == ENODEV))
                error_set_errno(err, errno, "cannot open " TUN_DEVICE " (is the module tun loaded?)");
        else if (fd < 0)
                error_set_errno(err, errno, "cannot open " TUN_DEVICE);
        return fd;
}

static void set_attach_error(GError **err, int error, const TapConfig *config) {
        const char *name = config->name ? config->name : "vnet";

        if (error == EBUSY && config->existing)
                error_set_errno(err, error, "cannot attach to TAP '%s': another program has it", name);
        else if (error == EBUSY)
                error_set_errno(err, error, "cannot make TAP '%s': an interface has that name", name);
        else if (error == EINVAL && config->existing)
                error_set_errno(err, error, "cannot attach to '%s': it is not a TAP with a single queue", name);
        else
                error_set_errno(err, error, "cannot %s TAP '%s'", config->existing ? "attach to" : "make", name);
}

/*
 * TUNSETIFF attaches to an existing TAP or makes a new one; only one is wanted. IFF_TUN_EXCL forbids attaching,
 * whatever appears in between; this check has the better message.
 */
static gboolean check_existence(const TapConfig *config, GError **err) {
        gboolean exists = config->name && tap_exists(config->name);

        if (config->name && strlen(config->name) >= IFNAMSIZ)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface name '%s' is longer than %d characters",
                          config->name, IFNAMSIZ - 1);
        else if (config->existing && !exists)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "TAP '%s' does not exist: create it (ip tuntap add %s mode tap) or drop managed='no'",
                          config->name ? config->name : "", config->name ? config->name : "NAME");
        else if (!config->existing && exists)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "interface '%s' exists already: remove it or name another in <target dev=...>", config->name);
        else
                return TRUE;
        return FALSE;
}

static gboolean attach(int fd, const TapConfig *config, char ret_name[IFNAMSIZ], GError **err) {
        const unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (config->existing ? 0 : IFF_TUN_EXCL);
        struct ifreq ifr = { .ifr_flags = (short) flags };
        int header = VNET_HEADER;

        g_strlcpy(ifr.ifr_name, config->name ? config->name : TAP_NAME_KERNEL, sizeof(ifr.ifr_name));
        if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
                set_attach_error(err, errno, config);
                return FALSE;
        }
        if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
                return error_set_errno(err, errno, "cannot set the header size of TAP '%s'", ifr.ifr_name);
        }
        g_strlcpy(ret_name, ifr.ifr_name, IFNAMSIZ);
        return TRUE;
}

static gboolean udev_is_done(const char *name) {
        sd_device *device = NULL;
        gboolean done;

        if (sd_device_new_from_ifname(&device, name) < 0)
                return TRUE;
        done = sd_device_get_is_initialized(device) != 0;
        sd_device_unref(device);
        return done;
}

/* udev gives a new interface a MAC of its own (MACAddressPolicy=persistent), unless it finds that one was set. Its
 * check may be stale by the time it acts, so ours is set after it is done. Without udev there is no wait. */
static void wait_for_udev(const char *name) {
        guint waited;

        if (access(UDEV_CONTROL, F_OK) < 0)
                return;
        for (waited = 0; waited < UDEV_LIMIT_US && !udev_is_done(name); waited += UDEV_STEP_US)
                g_usleep(UDEV_STEP_US);
        if (waited >= UDEV_LIMIT_US)
                g_info("udev has not finished with TAP '%s': its MAC may change", name);
}

/* --- Configuring ---------------------------------------------------------------------------- */

static gboolean set_address(NetlinkSocket *sock, const TapConfig *config, const Tap *tap, GError **err) {
        struct nl_msg *message = netlink_link_message(RTM_SETLINK, 0, AF_UNSPEC, tap->ifindex);
        guint8 mac[6];

        memcpy(mac, config->mac, sizeof(mac));
        mac[0] = 0xfe;
        (void) nla_put(message, IFLA_ADDRESS, sizeof(mac), mac);
        (void) nla_put_u32(message, IFLA_MTU, tap->mtu);
        return netlink_request(sock, message, err, "cannot set address and MTU %u of TAP '%s'", tap->mtu, tap->name);
}

/* A bridge port should have no link-local address of the host's. A host without IPv6 has none anyway. */
static void disable_addresses(NetlinkSocket *sock, const Tap *tap) {
        struct nl_msg *message = netlink_link_message(RTM_SETLINK, 0, AF_UNSPEC, tap->ifindex);
        struct nlattr *spec = nla_nest_start(message, IFLA_AF_SPEC);
        struct nlattr *inet6 = nla_nest_start(message, AF_INET6);
        int r;

        (void) nla_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        (void) nla_nest_end(message, inet6);
        (void) nla_nest_end(message, spec);
        r = netlink_exchange(sock, message, NULL, NULL, NULL);
        if (r < 0 && r != -EAFNOSUPPORT)
                g_info("TAP '%s' may get a link-local address: %s", tap->name, g_strerror(-r));
}

static gboolean set_up(NetlinkSocket *sock, int ifindex, const char *name, gboolean up, GError **err) {
        struct nl_msg *message = netlink_link_message(RTM_SETLINK, 0, AF_UNSPEC, ifindex);
        struct ifinfomsg *info = nlmsg_data(nlmsg_hdr(message));

        info->ifi_flags = up ? IFF_UP : 0;
        info->ifi_change = IFF_UP;
        return netlink_request(sock, message, err, "cannot %s TAP '%s'", up ? "raise" : "lower", name);
}

static gboolean plug(NetlinkSocket *sock, const TapConfig *config, const LinkInfo *bridge, Tap *tap, GError **err) {
        tap->mtu = config->mtu ? config->mtu : bridge->mtu ? bridge->mtu : tap->mtu;
        wait_for_udev(tap->name);
        if (!set_address(sock, config, tap, err))
                return FALSE;
        if (config->bridge) {
                disable_addresses(sock, tap);
                if (!bridge_plug(sock, bridge, tap->ifindex, config, err))
                        return FALSE;
        }
        return set_up(sock, tap->ifindex, tap->name, TRUE, err);
}

static gboolean configure(NetlinkSocket *sock, const TapConfig *config, const LinkInfo *bridge, Tap *tap,
                          GError **err) {
        LinkInfo link;
        gboolean missing;

        if (!netlink_get_link(sock, tap->name, &link, &missing, err)) {
                if (missing)
                        error_set(err, VIR_ERR_SYSTEM_ERROR, "TAP '%s' has vanished", tap->name);
                return FALSE;
        }
        tap->ifindex = link.ifindex;
        tap->mtu = link.mtu;
        if (!config->existing && !plug(sock, config, bridge, tap, err))
                return FALSE;
        const TapLimits none = { NULL, NULL }, limits = { config->inbound, config->outbound };
        return tc_set(sock, tap->name, tap->ifindex, &none, &limits, err);
}

gboolean tap_open(const TapConfig *config, Tap *ret, GError **err) {
        g_autoptr(NetlinkSocket) sock = netlink_open(err);
        Tap tap = { .fd = -1 };
        LinkInfo bridge = {};
        char name[IFNAMSIZ];

        *ret = tap;
        if (!sock || !check_existence(config, err))
                return FALSE;
        if (config->bridge && !bridge_find(sock, config->bridge, &bridge, err))
                return FALSE;
        tap.fd = open_tun(err);
        if (tap.fd < 0)
                return FALSE;
        if (attach(tap.fd, config, name, err)) {
                tap.name = g_strdup(name);
                if (configure(sock, config, &bridge, &tap, err)) {
                        *ret = tap;
                        return TRUE;
                }
        }
        tap_clear(&tap);
        return FALSE;
}

void tap_clear(Tap *tap) {
        if (tap->fd >= 0)
                (void) close(tap->fd);
        tap->fd = -1;
        g_clear_pointer(&tap->name, g_free);
}

/* --- By name ---------------------------------------------------------------------------------- */

gboolean tap_exists(const char *name) {
        g_autoptr(NetlinkSocket) sock = netlink_open(NULL);
        LinkInfo link;
        gboolean missing;
        return sock && netlink_get_link(sock, name, &link, &missing, NULL);
}

/* The name of a TAP is lost with a status that was damaged. */
static gboolean check_known(const char *name, GError **err) {
        return name || error_set(err, VIR_ERR_OPERATION_INVALID,
                                 "the TAP of this interface is not known, since the domain's status was damaged: "
                                 "restart the domain");
}

static void set_missing(GError **err, const char *name) {
        error_set(err, VIR_ERR_OPERATION_INVALID, "interface '%s' does not exist", name);
}

gboolean tap_set_bandwidth(const char *name, const TapLimits *from, const TapLimits *to, GError **err) {
        g_autoptr(NetlinkSocket) sock = check_known(name, err) ? netlink_open(err) : NULL;
        LinkInfo link;
        gboolean missing;

        if (!sock)
                return FALSE;
        if (netlink_get_link(sock, name, &link, &missing, err))
                return tc_set(sock, name, link.ifindex, from, to, err);
        if (missing)
                set_missing(err, name);
        return FALSE;
}

static gboolean leave_bridge(NetlinkSocket *sock, int ifindex, const char *name, GError **err) {
        struct nl_msg *message = netlink_link_message(RTM_SETLINK, 0, AF_UNSPEC, ifindex);

        (void) nla_put_u32(message, IFLA_MASTER, 0);
        return netlink_request(sock, message, err, "cannot take TAP '%s' out of its bridge", name);
}

/* Lowered meanwhile, so that no frame is in a VLAN that is not the guest's. It is raised in any case. */
static gboolean replug(NetlinkSocket *sock, const char *name, int ifindex, const LinkInfo *bridge, const TapConfig *to,
                       GError **err) {
        if (!set_up(sock, ifindex, name, FALSE, err))
                return FALSE;
        gboolean ok = leave_bridge(sock, ifindex, name, err) && bridge_plug(sock, bridge, ifindex, to, err);
        return set_up(sock, ifindex, name, TRUE, ok ? err : NULL) && ok;
}

static void return_to(NetlinkSocket *sock, const char *name, int ifindex, const TapConfig *from) {
        g_autoptr(GError) lost = NULL;
        LinkInfo bridge;
        if (!bridge_find(sock, from->bridge, &bridge, &lost) || !replug(sock, name, ifindex, &bridge, from, &lost))
                g_warning("TAP '%s' could not be put back into bridge '%s': %s", name, from->bridge, lost->message);
}

/* What can be refused is, before the TAP leaves its bridge. */
gboolean tap_move(const char *name, const TapConfig *from, const TapConfig *to, GError **err) {
        g_autoptr(NetlinkSocket) sock = check_known(name, err) ? netlink_open(err) : NULL;
        LinkInfo link, bridge;
        gboolean missing;

        if (!sock)
                return FALSE;
        if (!netlink_get_link(sock, name, &link, &missing, err)) {
                if (missing)
                        set_missing(err, name);
                return FALSE;
        }
        if (!bridge_find(sock, to->bridge, &bridge, err) || !bridge_check(&bridge, to, err))
                return FALSE;
        if (replug(sock, name, link.ifindex, &bridge, to, err))
                return TRUE;
        return_to(sock, name, link.ifindex, from);
        return FALSE;
}

/* The guest receives what the host sends into the TAP, so the two sides are swapped. */
gboolean tap_get_stats(const char *name, TapStats *ret, GError **err) {
        g_autoptr(NetlinkSocket) sock = check_known(name, err) ? netlink_open(err) : NULL;
        struct rtnl_link *link = NULL;

        if (!sock)
                return FALSE;
        if (rtnl_link_get_kernel(sock, 0, name, &link) < 0) {
                set_missing(err, name);
                return FALSE;
        }
        *ret = (TapStats) {
                .rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
                .rx_packets = rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS),
                .rx_errors = rtnl_link_get_stat(link, RTNL_LINK_TX_ERRORS),
                .rx_drops = rtnl_link_get_stat(link, RTNL_LINK_TX_DROPPED),
                .tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES),
                .tx_packets = rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
                .tx_errors = rtnl_link_get_stat(link, RTNL_LINK_RX_ERRORS),
                .tx_drops = rtnl_link_get_stat(link, RTNL_LINK_RX_DROPPED),
        };
        rtnl_link_put(link);
        return TRUE;
}
