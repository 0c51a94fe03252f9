/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking domains up, defining them, and moving them through their life. VIR_DOMAIN_START_
 * AUTODESTROY is a matter of the connection, so it is taken off here: the domain goes when
 * its client goes.
 */
#include <string.h>

#include "rpc/handlers.h"
#include "util/error.h"

static gboolean put_domain(Domain *domain, gpointer ret) {
        if (!domain)
                return FALSE;
        rpc_domain_put(domain, &((rpc_domain_ret *) ret)->dom);
        return TRUE;
}

gboolean rpc_domain_lookup_by_id(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        g_autoptr(Domain) domain = driver_lookup_by_id(call->driver, args->value, err);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_lookup_by_name(RpcCall *call, GError **err) {
        const rpc_text_args *args = call->args;
        g_autoptr(Domain) domain = driver_lookup_by_name(call->driver, args->text, err);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_lookup_by_uuid(RpcCall *call, GError **err) {
        const rpc_uuid_args *args = call->args;
        g_autoptr(Domain) domain = driver_lookup_by_uuid(call->driver, (const guint8 *) args->uuid, err);
        return put_domain(domain, call->ret);
}

/* --- Definition --- */

gboolean rpc_domain_define_xml(RpcCall *call, GError **err) {
        const rpc_text_args *args = call->args;
        g_autoptr(Domain) domain = driver_define_xml(call->driver, args->text, 0, err);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_define_xml_flags(RpcCall *call, GError **err) {
        const rpc_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = driver_define_xml(call->driver, args->text, args->flags, err);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_undefine(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_undefine(domain, 0, err);
}

gboolean rpc_domain_undefine_flags(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_undefine(domain, args->flags, err);
}

gboolean rpc_domain_rename(RpcCall *call, GError **err) {
        const rpc_d_opt_text_flags_args *args = call->args;
        if (!error_check_flags(args->flags, 0, "virDomainRename", err))
                return FALSE;
        if (!args->text) {
                return error_set(err, VIR_ERR_INVALID_ARG, "new_name in virDomainRename must not be NULL");
        }
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_rename(domain, *args->text, err);
}

gboolean rpc_domain_set_autostart(RpcCall *call, GError **err) {
        const rpc_d_int_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_set_autostart(domain, args->value != 0, err);
}

gboolean rpc_domain_set_metadata(RpcCall *call, GError **err) {
        const rpc_d_set_metadata_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain &&
               domain_set_metadata(domain, args->type, args->metadata ? *args->metadata : NULL,
                                   args->key ? *args->key : NULL, args->uri ? *args->uri : NULL, args->flags, err);
}

/* --- Life --- */

/* The flags for the domain; notes the client's wish. */
static guint take_autodestroy(RpcCall *call, guint flags) {
        call->autodestroy = (flags & VIR_DOMAIN_START_AUTODESTROY) != 0;
        return flags & ~(guint) VIR_DOMAIN_START_AUTODESTROY;
}

static void note_autodestroy(RpcCall *call, Domain *domain) {
        g_auto(DomainHandle) handle = { 0 };
        domain_get_handle(domain, &handle);
        memcpy(call->guest.uuid, handle.uuid, sizeof(call->guest.uuid));
        call->guest.id = handle.id;
        call->autodestroy = call->autodestroy && handle.id >= 0;
}

gboolean rpc_domain_create_xml(RpcCall *call, GError **err) {
        const rpc_text_flags_args *args = call->args;
        guint flags = take_autodestroy(call, args->flags);
        g_autoptr(Domain) domain = driver_create_xml(call->driver, args->text, flags, err);
        if (domain)
                note_autodestroy(call, domain);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_create(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_create(domain, 0, err);
}

gboolean rpc_domain_create_with_flags(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        guint flags = take_autodestroy(call, args->flags);
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_create(domain, flags, err))
                return FALSE;
        note_autodestroy(call, domain);
        return put_domain(domain, call->ret);
}

gboolean rpc_domain_destroy(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_destroy(domain, 0, err);
}

gboolean rpc_domain_destroy_flags(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_destroy(domain, args->flags, err);
}

gboolean rpc_domain_shutdown(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_shutdown(domain, 0, err);
}

gboolean rpc_domain_shutdown_flags(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_shutdown(domain, args->flags, err);
}

gboolean rpc_domain_reboot(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_reboot(domain, args->flags, err);
}

gboolean rpc_domain_reset(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        if (!error_check_flags(args->flags, 0, "virDomainReset", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_reset(domain, err);
}

gboolean rpc_domain_suspend(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_suspend(domain, err);
}

gboolean rpc_domain_resume(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_resume(domain, err);
}

gboolean rpc_domain_inject_nmi(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        if (!error_check_flags(args->flags, 0, "virDomainInjectNMI", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && domain_inject_nmi(domain, err);
}
