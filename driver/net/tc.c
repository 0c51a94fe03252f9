/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bandwidth limits of a TAP, by traffic control, so they hold for vhost-net too.
 *
 *   inbound   (to the guest: egress of the TAP)    root qdisc htb 1:, one class 1:1 with
 *             rate = average, ceil = peak, and fq_codel below it where the host has it
 *   outbound  (from the guest: ingress of the TAP) qdisc ingress ffff: with a filter that
 *             polices to average and drops the excess
 *
 * The same layout and units as libvirt's: average and peak are in kilobytes (1000 bytes)
 * per second, as tc's "kbps"; burst is in KiB. The kernel counts time in ticks of 64 ns.
 *
 * Changing the inbound limit of a live TAP changes the class in place. A policer cannot be
 * changed; it is replaced, and frames in between pass.
 *
 * A TAP of the operator's may have qdiscs of the operator's. So only what was set here,
 * which callers know, is removed, and nothing else is overwritten.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#include "net/netlink.h"
#include "util/error.h"

#define HTB_HANDLE     TC_H_MAKE(1u << 16, 0)
#define HTB_CLASS      TC_H_MAKE(1u << 16, 1)
#define LEAF_HANDLE    TC_H_MAKE(2u << 16, 0)
#define INGRESS_HANDLE TC_H_MAKE(0xffffu << 16, 0)

#define NS_PER_TICK   64u           /* PSCHED_SHIFT in the kernel */
#define BYTES_PER_KB  1000u         /* rates */
#define BYTES_PER_KIB 1024u         /* bursts */
#define BURST_MIN     (80u * 1024u) /* has to hold a frame of the guest's segmentation offload: 64 KiB and headers */
#define RTAB_CELL_LOG 9             /* cells of 512 bytes: the 256 of them cover such a frame */
#define RTAB_CELLS    256

static guint32 ticks(guint64 bytes, guint64 rate) {
        gdouble t = (gdouble) bytes * 1e9 / (gdouble) rate / NS_PER_TICK;
        return t >= G_MAXUINT32 ? G_MAXUINT32 : (guint32) t;
}

static struct nl_msg *tc_message(int type, int flags, int ifindex, guint32 parent, guint32 handle, const char *kind) {
        struct tcmsg info = {
                .tcm_family = AF_UNSPEC,
                .tcm_ifindex = ifindex,
                .tcm_parent = parent,
                .tcm_handle = handle,
        };
        struct nl_msg *message = nlmsg_alloc_simple(type, flags);

        if (!message || nlmsg_append(message, &info, sizeof(info), NLMSG_ALIGNTO) < 0)
                g_error("out of memory");
        if (kind)
                (void) nla_put_string(message, TCA_KIND, kind);
        return message;
}

static struct tc_ratespec rate_spec(guint64 rate) {
        return (struct tc_ratespec) {
                .cell_log = RTAB_CELL_LOG,
                .linklayer = TC_LINKLAYER_ETHERNET,
                .cell_align = -1,
                .rate = (guint32) MIN(rate, G_MAXUINT32),
        };
}

/* Most tools send it; policing demands it still. */
static void put_rate_table(struct nl_msg *message, int attribute, guint64 rate) {
        guint32 table[RTAB_CELLS];

        for (guint i = 0; i < RTAB_CELLS; i++)
                table[i] = ticks((guint64) (i + 1) << RTAB_CELL_LOG, rate);
        (void) nla_put(message, attribute, sizeof(table), table);
}

static void put_rate64(struct nl_msg *message, int attribute, guint64 rate) {
        if (rate > G_MAXUINT32)
                (void) nla_put_u64(message, attribute, rate);
}

/* For deleting something that may not exist. */
static void delete_qdisc(NetlinkSocket *sock, int ifindex, guint32 parent, guint32 handle) {
        (void) netlink_exchange(sock, tc_message(RTM_DELQDISC, 0, ifindex, parent, handle, NULL), NULL, NULL, NULL);
}

/* --- Inbound -------------------------------------------------------------------------------------- */

/* `ours`: one of ours already exists. */
static gboolean add_htb(NetlinkSocket *sock, const char *name, int ifindex, gboolean ours, GError **err) {
        struct nl_msg *message =
                tc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_ROOT, HTB_HANDLE, "htb");
        struct nlattr *options = nla_nest_start(message, TCA_OPTIONS);
        struct tc_htb_glob glob = { .version = 3, .rate2quantum = 10, .defcls = TC_H_MIN(HTB_CLASS) };
        g_autofree char *text = NULL;
        int r;

        (void) nla_put(message, TCA_HTB_INIT, sizeof(glob), &glob);
        (void) nla_nest_end(message, options);
        r = netlink_exchange(sock, message, NULL, NULL, &text);
        if (r == 0 || (r == -EEXIST && ours))
                return TRUE;
        if (r == -EEXIST)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "interface '%s' has a root qdisc already: remove it (tc qdisc del dev %s root) or the "
                                 "<inbound> limit",
                                 name, name);
        return error_set_errno(err, r, "cannot limit what TAP '%s' sends to the guest (qdisc htb)%s%s", name,
                               text ? ": " : "", text ? text : "");
}

static gboolean set_class(NetlinkSocket *sock, const char *name, int ifindex, const DomainBandwidth *limit,
                          GError **err) {
        guint64 rate = limit->average * BYTES_PER_KB, ceil = MAX(limit->peak * BYTES_PER_KB, rate);
        guint64 burst = limit->burst ? limit->burst * BYTES_PER_KIB : MAX(rate / 100, BURST_MIN); /* 10 ms */
        struct tc_htb_opt opt = {
                .rate = rate_spec(rate),
                .ceil = rate_spec(ceil),
                .buffer = ticks(burst, rate),
                .cbuffer = ticks(MAX(ceil / 100, BURST_MIN), ceil),
        };
        struct nl_msg *message = tc_message(RTM_NEWTCLASS, NLM_F_CREATE, ifindex, HTB_HANDLE, HTB_CLASS, "htb");
        struct nlattr *options = nla_nest_start(message, TCA_OPTIONS);

        put_rate64(message, TCA_HTB_RATE64, rate);
        put_rate64(message, TCA_HTB_CEIL64, ceil);
        (void) nla_put(message, TCA_HTB_PARMS, sizeof(opt), &opt);
        (void) nla_nest_end(message, options);
        return netlink_request(sock, message, err, "cannot limit what TAP '%s' sends to the guest", name);
}

/* Fair among the guest's flows and short, unlike the plain queue; optional. */
static void add_leaf(NetlinkSocket *sock, int ifindex) {
        struct nl_msg *message =
                tc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, HTB_CLASS, LEAF_HANDLE, "fq_codel");
        (void) netlink_exchange(sock, message, NULL, NULL, NULL);
}

static gboolean is_limit(const DomainBandwidth *limit) {
        return limit && limit->average > 0;
}

static gboolean set_inbound(NetlinkSocket *sock, const char *name, int ifindex, const DomainBandwidth *from,
                            const DomainBandwidth *to, GError **err) {
        if (!is_limit(to)) {
                if (is_limit(from))
                        delete_qdisc(sock, ifindex, TC_H_ROOT, HTB_HANDLE);
                return TRUE;
        }
        if (!add_htb(sock, name, ifindex, is_limit(from), err))
                return FALSE;
        if (!set_class(sock, name, ifindex, to, err)) {
                if (!is_limit(from))
                        delete_qdisc(sock, ifindex, TC_H_ROOT, HTB_HANDLE);
                return FALSE;
        }
        add_leaf(sock, ifindex);
        return TRUE;
}

/* --- Outbound --------------------------------------------------------------------------------------- */

static void put_police(struct nl_msg *message, const DomainBandwidth *limit) {
        guint64 rate = limit->average * BYTES_PER_KB;
        guint64 burst = limit->burst ? limit->burst * BYTES_PER_KIB : rate; /* libvirt's default: a second's worth */
        struct tc_police police = {
                .action = TC_ACT_SHOT,
                .burst = ticks(MAX(burst, BURST_MIN), rate),
                .rate = rate_spec(rate),
        };
        struct nlattr *actions = nla_nest_start(message, TCA_MATCHALL_ACT), *first = nla_nest_start(message, 1);

        (void) nla_put_string(message, TCA_ACT_KIND, "police");
        struct nlattr *options = nla_nest_start(message, TCA_ACT_OPTIONS);
        (void) nla_put(message, TCA_POLICE_TBF, sizeof(police), &police);
        put_rate_table(message, TCA_POLICE_RATE, rate);
        put_rate64(message, TCA_POLICE_RATE64, rate);
        (void) nla_nest_end(message, options);
        (void) nla_nest_end(message, first);
        (void) nla_nest_end(message, actions);
}

static gboolean add_policer(NetlinkSocket *sock, const char *name, int ifindex, const DomainBandwidth *limit,
                            GError **err) {
        struct nl_msg *message =
                tc_message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, ifindex, INGRESS_HANDLE, 0, "matchall");
        struct tcmsg *info = nlmsg_data(nlmsg_hdr(message));
        struct nlattr *options = nla_nest_start(message, TCA_OPTIONS);

        info->tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL)); /* priority 1, every protocol */
        put_police(message, limit);
        (void) nla_nest_end(message, options);
        return netlink_request(sock, message, err, "cannot limit what TAP '%s' takes from the guest", name);
}

static gboolean add_ingress(NetlinkSocket *sock, const char *name, int ifindex, GError **err) {
        struct nl_msg *message =
                tc_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_INGRESS, INGRESS_HANDLE, "ingress");
        g_autofree char *text = NULL;
        int r = netlink_exchange(sock, message, NULL, NULL, &text);

        if (r == -EEXIST)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "interface '%s' has an ingress qdisc already: remove it (tc qdisc del dev %s ingress) "
                                 "or the <outbound> limit",
                                 name, name);
        if (r < 0)
                return error_set_errno(err, r, "cannot limit what TAP '%s' takes from the guest (ingress)%s%s", name,
                                       text ? ": " : "", text ? text : "");
        return TRUE;
}

static gboolean add_outbound(NetlinkSocket *sock, const char *name, int ifindex, const DomainBandwidth *limit,
                             GError **err) {
        if (!add_ingress(sock, name, ifindex, err))
                return FALSE;
        if (add_policer(sock, name, ifindex, limit, err))
                return TRUE;
        delete_qdisc(sock, ifindex, TC_H_INGRESS, INGRESS_HANDLE);
        return FALSE;
}

static gboolean set_outbound(NetlinkSocket *sock, const char *name, int ifindex, const DomainBandwidth *from,
                             const DomainBandwidth *to, GError **err) {
        if (is_limit(from))
                delete_qdisc(sock, ifindex, TC_H_INGRESS, INGRESS_HANDLE);
        if (!is_limit(to) || add_outbound(sock, name, ifindex, to, err))
                return TRUE;
        if (is_limit(from))
                (void) add_outbound(sock, name, ifindex, from, NULL);
        return FALSE;
}

static gboolean check_limit(const char *direction, const DomainBandwidth *limit, GError **err) {
        if (!limit || limit->average > 0 || (limit->peak == 0 && limit->burst == 0))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "<%s> has a peak or a burst but no average", direction);
}

gboolean tc_set(NetlinkSocket *sock, const char *name, int ifindex, const TapLimits *from, const TapLimits *to,
                GError **err) {
        if (!check_limit("inbound", to->inbound, err) || !check_limit("outbound", to->outbound, err) ||
            !set_inbound(sock, name, ifindex, from->inbound, to->inbound, err))
                return FALSE;
        if (set_outbound(sock, name, ifindex, from->outbound, to->outbound, err))
                return TRUE;
        (void) set_inbound(sock, name, ifindex, to->inbound, from->inbound, NULL);
        return FALSE;
}
