/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPUs: how many, where they run, and where they may run. Sizes of CPU maps are the
 * client's choice, within the protocol's limits: missing bytes are zero, excess bits are
 * dropped. A client may ask for more maps than a domain has vCPUs: it fills in the rest
 * itself.
 */
#include <string.h>

#include "rpc/handlers.h"
#include "util/cpumap.h"
#include "util/error.h"

/* `count` maps of `maplen` bytes each, both from the wire. */
static gboolean check_maps(int count, int maplen, GError **err) {
        if (count >= 0 && count <= RPC_LIST_MAX && maplen >= 0 && (gint64) count * maplen <= RPC_CPUMAPS_MAX)
                return TRUE;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "%d CPU maps of %d bytes are too many", count, maplen);
}

static void put_map(const CpuMap *map, char *ret, int maplen) {
        memcpy(ret, map->bytes, MIN((gsize) maplen, sizeof(map->bytes)));
}

gboolean rpc_domain_set_vcpus(RpcCall *call, GError **err) {
        const rpc_d_uint_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_vcpus(domain, args->value, VIR_DOMAIN_AFFECT_LIVE, err);
}

gboolean rpc_domain_set_vcpus_flags(RpcCall *call, GError **err) {
        const rpc_d_uint_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_vcpus(domain, args->value, args->flags, err);
}

static gboolean get_vcpus(RpcCall *call, const rpc_domain *dom, guint flags, GError **err) {
        rpc_int_ret *ret = call->ret;
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        ret->value = domain ? domain_get_vcpus(domain, flags, err) : -1;
        return ret->value >= 0;
}

gboolean rpc_domain_get_vcpus_flags(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        if (call->readonly && (args->flags & VIR_DOMAIN_VCPU_GUEST)) {
                return error_set(err, VIR_ERR_OPERATION_DENIED, "read only access prevents %s", call->proc->api);
        }
        return get_vcpus(call, &args->dom, args->flags, err);
}

gboolean rpc_domain_get_max_vcpus(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        return get_vcpus(call, &args->dom, VIR_DOMAIN_VCPU_MAXIMUM, err);
}

gboolean rpc_domain_get_vcpus(RpcCall *call, GError **err) {
        const rpc_d_int_int_args *args = call->args;
        rpc_vcpus_ret *ret = call->ret;
        if (!check_maps(args->first, args->second, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain)
                return FALSE;
        virVcpuInfo info[DOMAIN_VCPUS_MAX];
        int max = MIN(args->first, (int) DOMAIN_VCPUS_MAX);
        gsize size = (gsize) max * (gsize) args->second;
        ret->cpumaps.cpumaps_val = g_malloc0(MAX(size, 1));
        ret->cpumaps.cpumaps_len = size;
        int n = domain_get_vcpu_info(domain, info, max, (guint8 *) ret->cpumaps.cpumaps_val, args->second, err);
        if (n < 0)
                return FALSE;
        ret->info.info_val = g_new0(rpc_vcpu, MAX(n, 1));
        ret->info.info_len = (u_int) n;
        for (int i = 0; i < n; i++)
                ret->info.info_val[i] = (rpc_vcpu) { info[i].number, info[i].state, info[i].cpuTime, info[i].cpu };
        return TRUE;
}

/* --- Pinning --- */

static gboolean pin_vcpu(RpcCall *call, const rpc_domain *dom, guint vcpu, const char *bytes, u_int len, guint flags,
                         GError **err) {
        CpuMap map;
        cpumap_from_bytes(&map, (const guint8 *) bytes, len);
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        return domain && domain_pin_vcpu(domain, vcpu, &map, flags, err);
}

gboolean rpc_domain_pin_vcpu(RpcCall *call, GError **err) {
        const rpc_d_uint_cpumap_args *args = call->args;
        return pin_vcpu(call, &args->dom, args->value, args->cpumap.cpumap_val, args->cpumap.cpumap_len,
                        VIR_DOMAIN_AFFECT_LIVE, err);
}

gboolean rpc_domain_pin_vcpu_flags(RpcCall *call, GError **err) {
        const rpc_d_uint_cpumap_flags_args *args = call->args;
        return pin_vcpu(call, &args->dom, args->value, args->cpumap.cpumap_val, args->cpumap.cpumap_len, args->flags,
                        err);
}

gboolean rpc_domain_get_vcpu_pin(RpcCall *call, GError **err) {
        const rpc_d_int_int_flags_args *args = call->args;
        rpc_cpumaps_ret *ret = call->ret;
        if (!check_maps(args->first, args->second, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain)
                return FALSE;
        CpuMap maps[DOMAIN_VCPUS_MAX];
        int max = MIN(args->first, (int) DOMAIN_VCPUS_MAX);
        ret->count = domain_get_vcpu_pin(domain, maps, max, args->flags, err);
        if (ret->count < 0)
                return FALSE;
        gsize size = (gsize) max * (gsize) args->second;
        ret->cpumaps.cpumaps_val = g_malloc0(MAX(size, 1));
        ret->cpumaps.cpumaps_len = size;
        for (int i = 0; i < MIN(ret->count, max); i++)
                put_map(&maps[i], ret->cpumaps.cpumaps_val + (gsize) i * args->second, args->second);
        return TRUE;
}

gboolean rpc_domain_pin_emulator(RpcCall *call, GError **err) {
        const rpc_d_cpumap_flags_args *args = call->args;
        CpuMap map;
        cpumap_from_bytes(&map, (const guint8 *) args->cpumap.cpumap_val, args->cpumap.cpumap_len);
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_pin_emulator(domain, &map, args->flags, err);
}

gboolean rpc_domain_get_emulator_pin(RpcCall *call, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        rpc_cpumaps_ret *ret = call->ret;
        CpuMap map = { 0 };
        if (!check_maps(1, args->value, err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_get_emulator_pin(domain, &map, args->flags, err))
                return FALSE;
        ret->count = 1;
        int size = MIN(args->value, (int) sizeof(map.bytes));
        ret->cpumaps.cpumaps_val = g_malloc0(MAX(size, 1));
        ret->cpumaps.cpumaps_len = (u_int) size;
        put_map(&map, ret->cpumaps.cpumaps_val, size);
        return TRUE;
}
