/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Properties and state of a domain. The second half answers "none" for what microVMs do
 * not have (saved state, snapshots, checkpoints, jobs), because clients ask as a matter of
 * course and treat a refusal as an error.
 */
#include "rpc/handlers.h"
#include "util/error.h"

gboolean rpc_domain_get_xml_desc(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        if (call->readonly && (args->flags & (VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE))) {
                return error_set(err, VIR_ERR_OPERATION_DENIED, "%s", "virDomainGetXMLDesc with secure flag");
        }
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && rpc_text_put(domain_get_xml(domain, args->flags, err), &((rpc_text_ret *) call->ret)->text);
}

gboolean rpc_domain_get_info(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        rpc_domain_info_ret *ret = call->ret;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain)
                return FALSE;
        virDomainInfo info = { 0 };
        domain_get_info(domain, &info);
        *ret = (rpc_domain_info_ret) {
                .state = info.state,
                .max_mem = info.maxMem,
                .memory = info.memory,
                .nr_vcpus = info.nrVirtCpu,
                .cpu_time = info.cpuTime,
        };
        return TRUE;
}

gboolean rpc_domain_get_state(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        rpc_int_int_ret *ret = call->ret;
        if (!error_check_flags(args->flags, 0, "virDomainGetState", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (domain)
                domain_get_state(domain, &ret->first, &ret->second);
        return domain != NULL;
}

gboolean rpc_domain_get_os_type(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        return domain && rpc_text_put(domain_get_os_type(domain), &((rpc_text_ret *) call->ret)->text);
}

/* The many getters of one boolean. */
static gboolean get_boolean(RpcCall *call, gboolean (*getter)(Domain *domain), GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (domain)
                ((rpc_int_ret *) call->ret)->value = getter(domain) ? 1 : 0;
        return domain != NULL;
}

gboolean rpc_domain_is_active(RpcCall *call, GError **err) {
        return get_boolean(call, domain_is_active, err);
}

gboolean rpc_domain_is_persistent(RpcCall *call, GError **err) {
        return get_boolean(call, domain_is_persistent, err);
}

gboolean rpc_domain_is_updated(RpcCall *call, GError **err) {
        return get_boolean(call, domain_is_updated, err);
}

gboolean rpc_domain_get_autostart(RpcCall *call, GError **err) {
        return get_boolean(call, domain_get_autostart, err);
}

gboolean rpc_domain_get_max_memory(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (domain)
                ((rpc_hyper_ret *) call->ret)->value = domain_get_max_memory(domain);
        return domain != NULL;
}

gboolean rpc_domain_get_metadata(RpcCall *call, GError **err) {
        const rpc_d_get_metadata_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain)
                return FALSE;
        char *text = domain_get_metadata(domain, args->type, args->uri ? *args->uri : NULL, args->flags, err);
        return rpc_text_put(text, &((rpc_text_ret *) call->ret)->text);
}

gboolean rpc_domain_get_messages(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        rpc_messages_ret *ret = call->ret;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        char **messages = domain ? domain_get_messages(domain, args->flags, err) : NULL;
        if (!messages)
                return FALSE;
        ret->texts.texts_val = messages; /* the terminating NULL is left behind */
        ret->texts.texts_len = g_strv_length(messages);
        return TRUE;
}

/* --- None --- */

static gboolean check_exists(RpcCall *call, const rpc_domain *dom, GError **err) {
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        return domain != NULL;
}

static gboolean check_active(RpcCall *call, const rpc_domain *dom, GError **err) {
        g_autoptr(Domain) domain = rpc_domain_find(call, dom, err);
        if (!domain)
                return FALSE;
        if (domain_is_active(domain))
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_INVALID, "domain is not running");
}

gboolean rpc_domain_has_managed_save_image(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_snapshot_num(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_snapshot_list_names(RpcCall *call, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_snapshot_lookup_by_name(RpcCall *call, GError **err) {
        const rpc_d_text_flags_args *args = call->args;
        if (check_exists(call, &args->dom, err))
                g_set_error(err, VIRTMICRO_ERROR, VIR_ERR_NO_DOMAIN_SNAPSHOT,
                            "Domain snapshot not found: no domain snapshot with matching name '%.256s'", args->text);
        return FALSE;
}

gboolean rpc_domain_has_current_snapshot(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_list_all_snapshots(RpcCall *call, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_list_all_checkpoints(RpcCall *call, GError **err) {
        const rpc_d_int_flags_args *args = call->args;
        return check_exists(call, &args->dom, err);
}

gboolean rpc_domain_get_job_info(RpcCall *call, GError **err) {
        const rpc_d_args *args = call->args;
        return check_active(call, &args->dom, err);
}

gboolean rpc_domain_get_job_stats(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        return check_active(call, &args->dom, err);
}

gboolean rpc_domain_get_control_info(RpcCall *call, GError **err) {
        const rpc_d_flags_args *args = call->args;
        return check_active(call, &args->dom, err);
}

/* With no room, the answer is the number of disks that could have errors. */
gboolean rpc_domain_get_disk_errors(RpcCall *call, GError **err) {
        const rpc_d_uint_flags_args *args = call->args;
        rpc_disk_errors_ret *ret = call->ret;
        g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GArray) errors = g_array_new(FALSE, FALSE, sizeof(int));
        guint disks = 0;
        if (!error_check_flags(args->flags, 0, "virDomainGetDiskErrors", err))
                return FALSE;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain || !domain_get_disk_errors(domain, targets, errors, &disks, err))
                return FALSE;
        guint n = MIN(MIN(targets->len, args->value), RPC_DISK_ERRORS_MAX);
        ret->count = (int) (args->value == 0 ? MIN(disks, RPC_DISK_ERRORS_MAX) : n);
        ret->errors.errors_val = g_new0(rpc_disk_error, n);
        ret->errors.errors_len = n;
        for (guint i = 0; i < n; i++) {
                ret->errors.errors_val[i].disk = g_strdup(g_ptr_array_index(targets, i));
                ret->errors.errors_val[i].error = g_array_index(errors, int, i);
        }
        return TRUE;
}
