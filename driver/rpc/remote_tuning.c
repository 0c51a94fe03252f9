/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits and weights as typed parameters. Getters are called twice by clients: with room
 * for none, to learn how many there are, and then with room for these. Whether strings may
 * be among them is part of the flags on the wire and no business of the domain's.
 */
#include "rpc/handlers.h"
#include "util/error.h"

#define STRINGS VIR_TYPED_PARAM_STRING_OKAY

typedef gboolean (*ParamsGetter)(Domain *domain, guint flags, virTypedParameterPtr *params, int *n, GError **err);
typedef gboolean (*ParamsSetter)(Domain *domain, virTypedParameterPtr params, int n, guint flags, GError **err);

/* Takes the parameters and returns what the caller has room for; with no room *ret_count is their number. */
static gboolean put_params(virTypedParameterPtr params, int n, int room, guint flags, rpc_param **ret_val,
                           u_int *ret_len, int *ret_count, GError **err) {
        gboolean ok = rpc_params_put(params, n, RPC_PARAMS_MAX, flags, ret_val, ret_len, err);
        virTypedParamsFree(params, n);
        if (!ok)
                return FALSE;
        u_int keep = MIN(*ret_len, (u_int) room);
        *ret_count = (int) (room == 0 ? *ret_len : keep);
        for (; *ret_len > keep; (*ret_len)--)
                xdr_free((xdrproc_t) xdr_rpc_param, &(*ret_val)[*ret_len - 1]);
        return TRUE;
}

static gboolean check_room(int room, GError **err) {
        if (room >= 0 && room <= RPC_PARAMS_MAX)
                return TRUE;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "nparams too large");
}

static gboolean get_params(RpcCall *call, ParamsGetter getter, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        rpc_params_count_ret *ret = call->ret;
        if (!check_room(args->value, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        virTypedParameterPtr params = NULL;
        int n = 0;
        return domain && getter(domain, args->flags & ~(guint) STRINGS, &params, &n, err) &&
               put_params(params, n, args->value, args->flags, &ret->params.params_val, &ret->params.params_len,
                          &ret->count, err);
}

static gboolean set_params(RpcCall *call, const rpc_domain *dom, const rpc_param *val, u_int len, guint flags,
                           ParamsSetter setter, GError **err) {
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        virTypedParameterPtr params;
        int n;
        if (!domain || !rpc_params_get(val, len, &params, &n, err))
                return FALSE;
        gboolean ok = setter(domain, params, n, flags & ~(guint) STRINGS, err);
        virTypedParamsFree(params, n);
        return ok;
}

static gboolean set_params_flags(RpcCall *call, ParamsSetter setter, GError **err) {
        const rpc_d_params_flags_args *args = call->args;
        return set_params(call, &args->dom, args->params.params_val, args->params.params_len, args->flags, setter, err);
}

/* --- The scheduler --- */

gboolean rpc_domain_get_sched_type(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        rpc_text_int_ret *ret = call->ret;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        virTypedParameterPtr params = NULL;
        int n = 0;
        if (!domain || !domain_get_scheduler(domain, 0, &params, &n, err))
                return FALSE;
        virTypedParamsFree(params, n);
        ret->value = n;
        return rpc_text_put(g_strdup("posix"), &ret->text);
}

static gboolean get_sched(RpcCall *call, const rpc_domain *dom, int room, guint flags, GError **err) {
        rpc_params_ret *ret = call->ret;
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        virTypedParameterPtr params = NULL;
        int n = 0, count;
        return domain && check_room(room, err) &&
               domain_get_scheduler(domain, flags & ~(guint) STRINGS, &params, &n, err) &&
               put_params(params, n, room, flags, &ret->params.params_val, &ret->params.params_len, &count, err);
}

gboolean rpc_domain_get_sched(RpcCall *call, GError **err) {
        const rpc_d_int_args *args = call->args;
        return get_sched(call, &args->dom, args->value, 0, err);
}

gboolean rpc_domain_get_sched_flags(RpcCall *call, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        return get_sched(call, &args->dom, args->value, args->flags, err);
}

gboolean rpc_domain_set_sched(RpcCall *call, GError **err) {
        const rpc_d_params_args *args = call->args;
        return set_params(call, &args->dom, args->params.params_val, args->params.params_len, 0, domain_set_scheduler,
                          err);
}

gboolean rpc_domain_set_sched_flags(RpcCall *call, GError **err) {
        return set_params_flags(call, domain_set_scheduler, err);
}

/* --- Memory, block I/O, NUMA --- */

gboolean rpc_domain_get_memory_params(RpcCall *call, GError **err) {
        return get_params(call, domain_get_memory_params, err);
}

gboolean rpc_domain_set_memory_params(RpcCall *call, GError **err) {
        return set_params_flags(call, domain_set_memory_params, err);
}

gboolean rpc_domain_get_blkio_params(RpcCall *call, GError **err) {
        return get_params(call, domain_get_blkio_params, err);
}

gboolean rpc_domain_set_blkio_params(RpcCall *call, GError **err) {
        return set_params_flags(call, domain_set_blkio_params, err);
}

gboolean rpc_domain_get_numa_params(RpcCall *call, GError **err) {
        return get_params(call, domain_get_numa_params, err);
}

gboolean rpc_domain_set_memory(RpcCall *call, GError **err) {
        const rpc_d_hyper_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_memory(domain, args->value, VIR_DOMAIN_AFFECT_LIVE, err);
}

gboolean rpc_domain_set_max_memory(RpcCall *call, GError **err) {
        const rpc_d_hyper_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_memory(domain, args->value, VIR_DOMAIN_MEM_MAXIMUM, err);
}

gboolean rpc_domain_set_memory_flags(RpcCall *call, GError **err) {
        const rpc_d_hyper_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_memory(domain, args->value, args->flags, err);
}

/* --- Per disk and interface --- */

gboolean rpc_domain_get_nic(RpcCall *call, GError **err) {
        const rpc_d_text_int_flags_args *args = call->args;
        rpc_params_count_ret *ret = call->ret;
        if (!check_room(args->value, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        virTypedParameterPtr params = NULL;
        int n = 0;
        return domain &&
               domain_get_interface_params(domain, args->text, args->flags & ~(guint) STRINGS, &params, &n, err) &&
               put_params(params, n, args->value, args->flags, &ret->params.params_val, &ret->params.params_len,
                          &ret->count, err);
}

gboolean rpc_domain_set_nic(RpcCall *call, GError **err) {
        const rpc_d_text_params_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        virTypedParameterPtr params;
        int n;
        if (!domain || !rpc_params_get(args->params.params_val, args->params.params_len, &params, &n, err))
                return FALSE;
        gboolean ok = domain_set_interface_params(domain, args->text, params, n, args->flags & ~(guint) STRINGS, err);
        virTypedParamsFree(params, n);
        return ok;
}

gboolean rpc_domain_block_stats_flags(RpcCall *call, GError **err) {
        const rpc_d_text_int_flags_args *args = call->args;
        rpc_params_count_ret *ret = call->ret;
        if (!check_room(args->value, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        virTypedParameterPtr params = NULL;
        int n = 0;
        return domain &&
               domain_get_block_stats_params(domain, args->text, args->flags & ~(guint) STRINGS, &params, &n, err) &&
               put_params(params, n, args->value, args->flags, &ret->params.params_val, &ret->params.params_len,
                          &ret->count, err);
}
