/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Typed parameters, domains and texts between the wire and the rest of the driver. */
#pragma once

#include <libvirt/libvirt.h>

#include "driver.h"
#include "rpc/dispatch.h"
#include "rpc/remote_protocol.h"

/*
 * To the wire, at most `max` of them. Strings go only to clients with
 * VIR_TYPED_PARAM_STRING_OKAY in `flags`. The returned array belongs to the result.
 */
gboolean rpc_params_put(virTypedParameterPtr params, int n, guint max, guint flags, rpc_param **ret_val, u_int *ret_len,
                        GError **err);
/* From the wire; free with virTypedParamsFree(). NULL and *ret_n 0 with no error when there are none. */
gboolean rpc_params_get(const rpc_param *val, u_int len, virTypedParameterPtr *ret, int *ret_n, GError **err);

/* The domain that a call is about; VIR_ERR_NO_DOMAIN as drivers phrase it. */
Domain *rpc_domain_find(RpcCall *call, const rpc_domain *dom, GError **err);
/* Fills a domain of a result. */
void rpc_domain_put(Domain *domain, rpc_domain *ret);
/* TRUE, or the result of a public call that returns a string: NULL is failure. Takes `text`. */
gboolean rpc_text_put(char *text, rpc_text *ret);

/* The layout of no arguments and of no result. */
typedef struct rpc_none {
        char unused;
} rpc_none;
bool_t xdr_rpc_none(XDR *xdr, rpc_none *object);
