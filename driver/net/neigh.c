/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's neighbour tables (ARP and NDP): which addresses it has seen a MAC use. They
 * contain only guests that have talked to the host itself.
 */
#include <linux/neighbour.h>
#include <netlink/addr.h>
#include <netlink/route/neighbour.h>
#include <string.h>
#include <sys/socket.h>

#include "net/netlink.h"
#include "util/error.h"

#define UNUSABLE (NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP)

typedef struct Search {
        const guint8 *mac;
        GPtrArray *found;
} Search;

static void match(struct nl_object *object, void *data) {
        Search *search = data;
        struct rtnl_neigh *neigh = (struct rtnl_neigh *) object;
        struct nl_addr *lladdr = rtnl_neigh_get_lladdr(neigh), *dst = rtnl_neigh_get_dst(neigh);
        int family = rtnl_neigh_get_family(neigh), state = rtnl_neigh_get_state(neigh);
        char text[64];

        if (!lladdr || !dst || nl_addr_get_len(lladdr) != 6 || (family != AF_INET && family != AF_INET6))
                return;
        if ((state > 0 && (state & UNUSABLE)) || memcmp(nl_addr_get_binary_addr(lladdr), search->mac, 6) != 0)
                return;
        g_ptr_array_add(search->found, g_strdup(nl_addr2str(dst, text, sizeof(text))));
}

GPtrArray *neigh_lookup(const guint8 mac[6], GError **err) {
        g_autoptr(NetlinkSocket) sock = netlink_open(err);
        struct nl_cache *cache = NULL;
        int r;

        if (!sock)
                return NULL;
        r = rtnl_neigh_alloc_cache(sock, &cache);
        if (r < 0) {
                return error_null(err, VIR_ERR_SYSTEM_ERROR, "cannot read the neighbour tables: %s", nl_geterror(r));
        }
        Search search = { .mac = mac, .found = g_ptr_array_new_with_free_func(g_free) };
        nl_cache_foreach(cache, match, &search);
        nl_cache_free(cache);
        return search.found;
}
