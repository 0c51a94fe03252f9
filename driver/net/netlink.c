/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libnl folds errnos into its own error numbers and drops the explanation that the
 * kernel may add to an error (extended acknowledgement). Both are worth having in a
 * message to an operator, so requests are built with libnl and exchanged here.
 */
#include "net/netlink.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <sys/socket.h>

#include "util/error.h"

/* The kernel answers within the request, unless it is short of memory and loses the answer. */
#define ANSWER_S 10

typedef struct Exchange {
        gboolean done;
        int error; /* 0 or a negative errno */
        char *text;
        nl_recvmsg_msg_cb_t valid;
        void *arg;
} Exchange;

NetlinkSocket *netlink_open(GError **err) {
        g_autoptr(NetlinkSocket) sock = nl_socket_alloc();
        const struct timeval limit = { .tv_sec = ANSWER_S };
        int on = 1, r;

        if (!sock)
                g_error("out of memory");
        r = nl_connect(sock, NETLINK_ROUTE);
        if (r < 0) {
                return error_null(err, VIR_ERR_SYSTEM_ERROR, "cannot open a netlink socket: %s", nl_geterror(r));
        }
        (void) setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
        (void) setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        return g_steal_pointer(&sock);
}

/* The explanation follows the error; before it comes the failed request, unless the kernel was told to cap it. */
static char *error_text(const struct nlmsgerr *error) {
        const struct nlmsghdr *header = (const struct nlmsghdr *) error - 1;
        gsize skip = sizeof(*error);

        if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
                return NULL;
        if (!(header->nlmsg_flags & NLM_F_CAPPED))
                skip += NLMSG_ALIGN(error->msg.nlmsg_len - sizeof(error->msg));
        if (header->nlmsg_len < NLMSG_HDRLEN + skip)
                return NULL;
        struct nlattr *attr = nla_find((struct nlattr *) ((const char *) error + skip),
                                       (int) (header->nlmsg_len - NLMSG_HDRLEN - skip), NLMSGERR_ATTR_MSG);
        return attr ? g_strndup(nla_data(attr), (gsize) nla_len(attr)) : NULL;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg) {
        Exchange *exchange = arg;
        exchange->done = TRUE;
        exchange->error = error->error;
        exchange->text = error_text(error);
        return NL_STOP;
}

static int on_end(struct nl_msg *message, void *arg) {
        ((Exchange *) arg)->done = TRUE;
        return NL_STOP;
}

static int on_valid(struct nl_msg *message, void *arg) {
        Exchange *exchange = arg;
        return exchange->valid ? exchange->valid(message, exchange->arg) : NL_OK;
}

static struct nl_cb *make_callbacks(Exchange *exchange) {
        struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);

        if (!cb)
                g_error("out of memory");
        nl_cb_err(cb, NL_CB_CUSTOM, on_error, exchange);
        nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_end, exchange);
        nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_end, exchange);
        nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, exchange);
        return cb;
}

int netlink_exchange(NetlinkSocket *sock, struct nl_msg *message, nl_recvmsg_msg_cb_t valid, void *arg,
                     char **ret_text) {
        Exchange exchange = { .valid = valid, .arg = arg };
        struct nl_cb *cb = make_callbacks(&exchange);
        int r = nl_send_auto(sock, message);

        while (r >= 0 && !exchange.done)
                r = nl_recvmsgs(sock, cb);
        nl_cb_put(cb);
        nlmsg_free(message);
        if (!exchange.done)
                exchange.error = -EIO;
        if (ret_text)
                *ret_text = g_steal_pointer(&exchange.text);
        g_free(exchange.text);
        return exchange.error;
}

gboolean netlink_request(NetlinkSocket *sock, struct nl_msg *message, GError **err, const char *format, ...) {
        g_autofree char *text = NULL;
        int r = netlink_exchange(sock, message, NULL, NULL, &text);
        va_list ap;

        if (r == 0)
                return TRUE;
        va_start(ap, format);
        g_autofree char *what = g_strdup_vprintf(format, ap);
        va_end(ap);
        if (text)
                error_set(err, VIR_ERR_SYSTEM_ERROR, "%s: %s (%s)", what, g_strerror(-r), text);
        else
                error_set_errno(err, r, "%s", what);
        return FALSE;
}

struct nl_msg *netlink_link_message(int type, int flags, int family, int ifindex) {
        struct ifinfomsg info = { .ifi_family = (unsigned char) family, .ifi_index = ifindex };
        struct nl_msg *message = nlmsg_alloc_simple(type, flags);

        if (!message || nlmsg_append(message, &info, sizeof(info), NLMSG_ALIGNTO) < 0)
                g_error("out of memory");
        return message;
}

static void parse_link_data(struct nlattr *data, LinkInfo *info) {
        struct nlattr *attr = nla_find(nla_data(data), nla_len(data), IFLA_BR_VLAN_FILTERING);
        info->vlan_filtering = attr && nla_len(attr) >= 1 && nla_get_u8(attr) != 0;
}

static int parse_link(struct nl_msg *message, void *arg) {
        LinkInfo *info = arg;
        const struct ifinfomsg *header = nlmsg_data(nlmsg_hdr(message));
        struct nlattr *mtu = nlmsg_find_attr(nlmsg_hdr(message), sizeof(*header), IFLA_MTU);
        struct nlattr *details = nlmsg_find_attr(nlmsg_hdr(message), sizeof(*header), IFLA_LINKINFO);
        struct nlattr *kind = details ? nla_find(nla_data(details), nla_len(details), IFLA_INFO_KIND) : NULL;
        struct nlattr *data = details ? nla_find(nla_data(details), nla_len(details), IFLA_INFO_DATA) : NULL;

        info->ifindex = header->ifi_index;
        info->mtu = mtu ? nla_get_u32(mtu) : 0;
        if (kind)
                (void) nla_strlcpy(info->kind, kind, sizeof(info->kind));
        if (data && g_str_equal(info->kind, "bridge"))
                parse_link_data(data, info);
        return NL_OK;
}

gboolean netlink_get_link(NetlinkSocket *sock, const char *name, LinkInfo *ret, gboolean *ret_missing, GError **err) {
        struct nl_msg *message = netlink_link_message(RTM_GETLINK, 0, AF_UNSPEC, 0);
        int r;

        *ret = (LinkInfo) {};
        (void) nla_put_string(message, IFLA_IFNAME, name);
        r = netlink_exchange(sock, message, parse_link, ret, NULL);
        *ret_missing = r == -ENODEV;
        if (r < 0 && r != -ENODEV)
                error_set_errno(err, r, "cannot look up interface '%s'", name);
        return r == 0;
}
