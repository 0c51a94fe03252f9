/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statistics of domains: one disk's, one interface's, memory, CPU time, and all at once. */
#include <string.h>

#include "rpc/handlers.h"
#include "util/error.h"

#define LIST_FILTERS 0xffu /* the flags of virConnectGetAllDomainStats that choose domains */

gboolean rpc_domain_block_stats(RpcCall *call, GError **err) {
        const rpc_d_text_args *args = call->args;
        virDomainBlockStatsStruct stats = { 0 };
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_get_block_stats(domain, args->text, &stats, err))
                return FALSE;
        *(rpc_block_stats_ret *) call->ret =
                (rpc_block_stats_ret) { stats.rd_req, stats.rd_bytes, stats.wr_req, stats.wr_bytes, stats.errs };
        return TRUE;
}

gboolean rpc_domain_get_block_info(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        virDomainBlockInfo info = { 0 };
        if (!error_check_flags(args->flags, 0, "virDomainGetBlockInfo", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_get_block_info(domain, args->text, &info, err))
                return FALSE;
        *(rpc_block_info_ret *) call->ret = (rpc_block_info_ret) { info.allocation, info.capacity, info.physical };
        return TRUE;
}

gboolean rpc_domain_nic_stats(RpcCall *call, GError **err) {
        const rpc_d_text_args *args = call->args;
        virDomainInterfaceStatsStruct stats = { 0 };
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_get_interface_stats(domain, args->text, &stats, err))
                return FALSE;
        *(rpc_interface_stats_ret *) call->ret = (rpc_interface_stats_ret) {
                stats.rx_bytes, stats.rx_packets, stats.rx_errs, stats.rx_drop,
                stats.tx_bytes, stats.tx_packets, stats.tx_errs, stats.tx_drop,
        };
        return TRUE;
}

gboolean rpc_domain_memory_stats(RpcCall *call, GError **err) {
        const rpc_d_uint_flags_args *args = call->args;
        rpc_memory_stats_ret *ret = call->ret;
        virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR] = { 0 };
        if (!error_check_flags(args->flags, 0, "virDomainMemoryStats", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        int n = domain ? domain_get_memory_stats(domain, stats, MIN(args->value, VIR_DOMAIN_MEMORY_STAT_NR), err) : -1;
        if (n < 0)
                return FALSE;
        ret->stats.stats_val = g_new0(rpc_memory_stat, MAX(n, 1));
        ret->stats.stats_len = (u_int) n;
        for (int i = 0; i < n; i++)
                ret->stats.stats_val[i] = (rpc_memory_stat) { stats[i].tag, stats[i].val };
        return TRUE;
}

/* The client adds the entries of CPUs that have none itself. */
gboolean rpc_domain_get_cpu_stats(RpcCall *call, GError **err) {
        const rpc_d_cpu_stats_args *args = call->args;
        rpc_cpu_stats_ret *ret = call->ret;
        if (args->nparams > RPC_PARAMS_MAX || args->ncpus > RPC_CPU_STATS_NCPUS_MAX) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "%s",
                                 args->nparams > RPC_PARAMS_MAX ? "nparams too large" : "ncpus too large");
        }
        if (args->start_cpu < -1 || (args->start_cpu == -1 ? args->ncpus > 1 : args->nparams > 0 && args->ncpus == 0)) {
                return error_set(err, VIR_ERR_INVALID_ARG, "%u CPUs from %d on: totals (-1) are asked for alone",
                                 args->ncpus, args->start_cpu);
        }
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        int n = (int) (args->nparams * args->ncpus);
        virTypedParameterPtr params = n > 0 ? g_new0(virTypedParameter, n) : NULL;
        ret->count = domain ? domain_get_cpu_stats(domain, params, params ? args->nparams : 0, args->start_cpu,
                                                   args->ncpus, args->flags & ~(guint) VIR_TYPED_PARAM_STRING_OKAY, err)
                            : -1;
        gboolean ok = ret->count >= 0 && rpc_params_put(params, n, RPC_CPU_STATS_MAX, args->flags,
                                                        &ret->params.params_val, &ret->params.params_len, err);
        virTypedParamsFree(params, n);
        return ok;
}

/* --- virConnectGetAllDomainStats --- */

/* A domain that is named more than once is asked once: a list may have thousands of names. */
static GPtrArray *find_named(RpcCall *call, const rpc_domain *doms, u_int n) {
        g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
        GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify) domain_unref);
        for (u_int i = 0; i < n; i++) {
                g_autoptr(Domain) domain = rpc_domain_find(call, &doms[i], NULL);
                if (domain && g_hash_table_add(seen, domain)) /* one that is gone has no statistics */
                        g_ptr_array_add(found, g_steal_pointer(&domain));
        }
        return found;
}

/* The named domains, or all, that pass the filters. */
static GPtrArray *choose_domains(RpcCall *call, GError **err) {
        const rpc_all_stats_args *args = call->args;
        guint filters = args->flags & LIST_FILTERS;
        g_autoptr(GPtrArray) listed = NULL;
        if (args->doms.doms_len == 0 || filters != 0) {
                listed = driver_list(call->driver, filters, err);
                if (!listed || args->doms.doms_len == 0)
                        return g_steal_pointer(&listed);
        }
        g_autoptr(GPtrArray) named = find_named(call, args->doms.doms_val, args->doms.doms_len);
        for (guint i = named->len; listed && i-- > 0;)
                if (!g_ptr_array_find(listed, g_ptr_array_index(named, i), NULL))
                        g_ptr_array_remove_index(named, i);
        return g_steal_pointer(&named);
}

static gboolean put_stats(RpcCall *call, Domain *domain, rpc_stats_record *ret, GError **err) {
        const rpc_all_stats_args *args = call->args;
        virTypedParameterPtr params = NULL;
        int n = 0;
        rpc_domain_put(domain, &ret->dom);
        if (!domain_get_all_stats(domain, args->stats, args->flags & ~LIST_FILTERS, &params, &n, err))
                return FALSE;
        gboolean ok = rpc_params_put(params, n, RPC_DOMAIN_STATS_MAX, VIR_TYPED_PARAM_STRING_OKAY,
                                     &ret->params.params_val, &ret->params.params_len, err);
        virTypedParamsFree(params, n);
        return ok;
}

gboolean rpc_connect_get_all_domain_stats(RpcCall *call, GError **err) {
        rpc_all_stats_ret *ret = call->ret;
        g_autoptr(GPtrArray) domains = choose_domains(call, err);
        if (!domains)
                return FALSE;
        ret->records.records_val = g_new0(rpc_stats_record, MAX(domains->len, 1));
        gsize size = 0;
        for (guint i = 0; i < domains->len; i++) {
                rpc_stats_record *record = &ret->records.records_val[ret->records.records_len++];
                if (!put_stats(call, g_ptr_array_index(domains, i), record, err))
                        return FALSE;
                size += xdr_sizeof((xdrproc_t) xdr_rpc_stats_record, record);
                if (size > RPC_PAYLOAD_MAX) { /* no further domains once the reply is full */
                        return error_set(err, VIR_ERR_RPC, "statistics of %u domains are more than a reply can hold",
                                         i + 1);
                }
        }
        return TRUE;
}

/* --- Addresses --- */

static void put_interface(const DomainAddress *address, rpc_interface *ret) {
        ret->name = g_strdup(address->device);
        if (address->hwaddr) {
                ret->hwaddr = g_new0(rpc_text, 1);
                *ret->hwaddr = g_strdup(address->hwaddr);
        }
        guint n = address->addrs ? MIN(address->addrs->len, RPC_ADDRESSES_MAX) : 0;
        ret->addrs.addrs_val = g_new0(rpc_address, MAX(n, 1));
        for (guint i = 0; i < n; i++) {
                const DomainIpAddress *addr = g_ptr_array_index(address->addrs, i);
                ret->addrs.addrs_val[ret->addrs.addrs_len++] =
                        (rpc_address) { addr->type, g_strdup(addr->addr), addr->prefix };
        }
}

gboolean rpc_domain_interface_addresses(RpcCall *call, GError **err) {
        const rpc_d_uint_flags_args *args = call->args;
        rpc_interfaces_ret *ret = call->ret;
        if (call->readonly && args->value == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT) {
                return error_set(err, VIR_ERR_OPERATION_DENIED, "read only access prevents %s", call->proc->api);
        }
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        g_autoptr(GPtrArray) found = domain ? domain_get_addresses(domain, args->value, args->flags, err) : NULL;
        if (!found)
                return FALSE;
        ret->ifaces.ifaces_val = g_new0(rpc_interface, MAX(found->len, 1));
        for (guint i = 0; i < MIN(found->len, RPC_ADDRESSES_MAX); i++)
                put_interface(g_ptr_array_index(found, i), &ret->ifaces.ifaces_val[ret->ifaces.ifaces_len++]);
        return TRUE;
}
