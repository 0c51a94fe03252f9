/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Conversions that many procedures share. What goes into a result is allocated with
 * GLib and freed by xdr_free(): both are malloc() and free().
 */
#include "rpc/params.h"

#include <string.h>

#include "util/error.h"

static void param_put(const virTypedParameter *param, rpc_param *ret) {
        ret->field = g_strndup(param->field, sizeof(param->field));
        ret->value.type = param->type;
        switch (param->type) {
        case VIR_TYPED_PARAM_INT:
                ret->value.rpc_value_u.i = param->value.i;
                break;
        case VIR_TYPED_PARAM_UINT:
                ret->value.rpc_value_u.ui = param->value.ui;
                break;
        case VIR_TYPED_PARAM_LLONG:
                ret->value.rpc_value_u.l = param->value.l;
                break;
        case VIR_TYPED_PARAM_ULLONG:
                ret->value.rpc_value_u.ul = param->value.ul;
                break;
        case VIR_TYPED_PARAM_DOUBLE:
                ret->value.rpc_value_u.d = param->value.d;
                break;
        case VIR_TYPED_PARAM_BOOLEAN:
                ret->value.rpc_value_u.b = param->value.b != 0;
                break;
        default:
                ret->value.rpc_value_u.s = g_strdup(param->value.s ? param->value.s : "");
                break;
        }
}

gboolean rpc_params_put(virTypedParameterPtr params, int n, guint max, guint flags, rpc_param **ret_val, u_int *ret_len,
                        GError **err) {
        *ret_len = 0;
        *ret_val = g_new0(rpc_param, MAX(n, 1));
        for (int i = 0; i < n; i++) {
                /* Entries without a type are slots that a getter left empty. */
                if (params[i].type < VIR_TYPED_PARAM_INT || params[i].type > VIR_TYPED_PARAM_STRING)
                        continue;
                if (params[i].type == VIR_TYPED_PARAM_STRING && !(flags & VIR_TYPED_PARAM_STRING_OKAY))
                        continue;
                param_put(&params[i], &(*ret_val)[(*ret_len)++]);
        }
        if (*ret_len <= max)
                return TRUE;
        return error_set(err, VIR_ERR_RPC, "too many parameters '%u' for limit '%u'", *ret_len, max);
}

static void param_get(const rpc_param *param, virTypedParameterPtr ret) {
        g_strlcpy(ret->field, param->field, sizeof(ret->field));
        ret->type = param->value.type;
        switch (ret->type) {
        case VIR_TYPED_PARAM_INT:
                ret->value.i = param->value.rpc_value_u.i;
                break;
        case VIR_TYPED_PARAM_UINT:
                ret->value.ui = param->value.rpc_value_u.ui;
                break;
        case VIR_TYPED_PARAM_LLONG:
                ret->value.l = param->value.rpc_value_u.l;
                break;
        case VIR_TYPED_PARAM_ULLONG:
                ret->value.ul = param->value.rpc_value_u.ul;
                break;
        case VIR_TYPED_PARAM_DOUBLE:
                ret->value.d = param->value.rpc_value_u.d;
                break;
        case VIR_TYPED_PARAM_BOOLEAN:
                ret->value.b = param->value.rpc_value_u.b != 0;
                break;
        default:
                ret->value.s = g_strdup(param->value.rpc_value_u.s);
                break;
        }
}

gboolean rpc_params_get(const rpc_param *val, u_int len, virTypedParameterPtr *ret, int *ret_n, GError **err) {
        *ret = NULL;
        *ret_n = 0;
        for (u_int i = 0; i < len; i++) {
                if (strlen(val[i].field) < VIR_TYPED_PARAM_FIELD_LENGTH)
                        continue;
                return error_set(err, VIR_ERR_RPC, "parameter %.64s... too big for destination", val[i].field);
        }
        *ret = g_new0(virTypedParameter, MAX(len, 1));
        for (u_int i = 0; i < len; i++)
                param_get(&val[i], &(*ret)[i]);
        *ret_n = (int) len;
        return TRUE;
}

Domain *rpc_domain_find(RpcCall *call, const rpc_domain *dom, GError **err) {
        return driver_lookup_by_uuid(call->driver, (const guint8 *) dom->uuid, err);
}

void rpc_domain_put(Domain *domain, rpc_domain *ret) {
        DomainHandle handle;
        domain_get_handle(domain, &handle);
        ret->name = handle.name;
        memcpy(ret->uuid, handle.uuid, sizeof(ret->uuid));
        ret->id = handle.id;
}

gboolean rpc_text_put(char *text, rpc_text *ret) {
        *ret = text;
        return text != NULL;
}

bool_t xdr_rpc_none(XDR *xdr, rpc_none *object) {
        return TRUE;
}
