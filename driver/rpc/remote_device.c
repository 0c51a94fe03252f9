/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices that are attached, changed and detached. The two oldest calls have no flags: they are about the running
 * domain.
 */
#include "rpc/handlers.h"

gboolean rpc_domain_attach_device(RpcCall *call, GError **err) {
        const rpc_d_text_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_attach_device(domain, args->text, VIR_DOMAIN_AFFECT_LIVE, err);
}

gboolean rpc_domain_attach_device_flags(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_attach_device(domain, args->text, args->flags, err);
}

gboolean rpc_domain_detach_device(RpcCall *call, GError **err) {
        const rpc_d_text_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_detach_device(domain, args->text, VIR_DOMAIN_AFFECT_LIVE, err);
}

gboolean rpc_domain_detach_device_flags(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_detach_device(domain, args->text, args->flags, err);
}

gboolean rpc_domain_detach_device_alias(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_detach_device_alias(domain, args->text, args->flags, err);
}

gboolean rpc_domain_update_device_flags(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_update_device(domain, args->text, args->flags, err);
}
