/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening, and calls about the connection as a whole: version, features, capabilities,
 * lists of domains. What concerns the client's own state runs inline.
 */
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "rpc/handlers.h"
#include "rpc/server_internal.h"
#include "util/error.h"

#define CONNECT_URI "micro:///system"

/* VIR_DRV_FEATURE_* that are answered with yes; migration is not among them. */
enum {
        FEATURE_FD_PASSING = 8,
        FEATURE_TYPED_PARAM_STRING = 9,
        FEATURE_PROGRAM_KEEPALIVE = 10,
        FEATURE_REMOTE_EVENT_CALLBACK = 14,
        FEATURE_REMOTE_CLOSE_CALLBACK = 15,
        FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER = 16,
};

/* Clients strip their own parameters from the query; a leftover is harmless. */
static gboolean open_check_name(const char *name, GError **err) {
        if (!name || !*name)
                return TRUE;
        g_autofree char *base = g_strndup(name, strcspn(name, "?#"));
        if (strcmp(base, CONNECT_URI) == 0)
                return TRUE;
        if (g_str_has_prefix(base, "micro:"))
                error_set(err, VIR_ERR_INTERNAL_ERROR, "unexpected micro URI '%s', try %s", base, CONNECT_URI);
        else
                g_set_error(err, VIRTMICRO_ERROR, VIR_ERR_NO_CONNECT, "no connection driver available for %s", base);
        return FALSE;
}

gboolean rpc_connect_open(RpcCall *call, GError **err) {
        const rpc_open_args *args = call->args;
        RpcClient *client = call->client;
        if (client->open) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "connection already open");
        }
        if (!error_check_flags(args->flags, VIR_CONNECT_RO | VIR_CONNECT_NO_ALIASES, "virConnectOpen", err) ||
            !open_check_name(args->name ? *args->name : NULL, err))
                return FALSE;
        client->open = TRUE;
        client->readonly = client->readonly_socket || (args->flags & VIR_CONNECT_RO) != 0;
        return TRUE;
}

gboolean rpc_connect_close(RpcCall *call, GError **err) {
        call->client->open = FALSE;
        call->client->last_reply = TRUE;
        return TRUE;
}

gboolean rpc_connect_supports_feature(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        rpc_int_ret *ret = call->ret;
        switch (args->value) {
        case FEATURE_PROGRAM_KEEPALIVE:
                rpc_keepalive_start(call->client);
                G_GNUC_FALLTHROUGH;
        case FEATURE_FD_PASSING:
        case FEATURE_TYPED_PARAM_STRING:
        case FEATURE_REMOTE_EVENT_CALLBACK:
        case FEATURE_REMOTE_CLOSE_CALLBACK:
        case FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER:
                ret->value = 1;
                return TRUE;
        default:
                return TRUE;
        }
}

/* The connection closes with the daemon, which clients notice. */
gboolean rpc_connect_close_callback(RpcCall *call, GError **err) {
        return TRUE;
}

/* Only a superuser's process, such as libvirt's proxy daemon, may speak for somebody else. */
gboolean rpc_connect_set_identity(RpcCall *call, GError **err) {
        rpc_identity_args *args = call->args;
        RpcClient *client = call->client;
        if (!error_check_flags(args->flags, 0, "virConnectSetIdentity", err))
                return FALSE;
        if (client->peer.uid != 0) {
                return error_set(err, VIR_ERR_ACCESS_DENIED, "only the superuser may set a connection's identity");
        }
        RpcPacket *packet = rpc_packet_encode(&call->header, (xdrproc_t) xdr_rpc_identity_args, args, err);
        if (!packet)
                return FALSE;
        g_clear_pointer(&client->identity, rpc_packet_free);
        client->identity = packet;
        return TRUE;
}

gboolean rpc_connect_get_type(RpcCall *call, GError **err) {
        return rpc_text_put(g_strdup("MICRO"), &((rpc_text_ret *) call->ret)->text);
}

gboolean rpc_connect_get_uri(RpcCall *call, GError **err) {
        return rpc_text_put(g_strdup(CONNECT_URI), &((rpc_text_ret *) call->ret)->text);
}

gboolean rpc_connect_get_version(RpcCall *call, GError **err) {
        ((rpc_hyper_ret *) call->ret)->value = driver_get_version();
        return TRUE;
}

gboolean rpc_connect_get_lib_version(RpcCall *call, GError **err) {
        unsigned long version = LIBVIR_VERSION_NUMBER;
        (void) virGetVersion(&version, NULL, NULL);
        ((rpc_hyper_ret *) call->ret)->value = version;
        return TRUE;
}

gboolean rpc_connect_is_secure(RpcCall *call, GError **err) {
        ((rpc_int_ret *) call->ret)->value = 1;
        return TRUE;
}

gboolean rpc_connect_get_max_vcpus(RpcCall *call, GError **err) {
        const rpc_opt_text_args *args = call->args;
        if (args->text && g_ascii_strcasecmp(*args->text, "kvm") != 0) {
                return error_set(err, VIR_ERR_INVALID_ARG, "unknown type '%s'", *args->text);
        }
        ((rpc_int_ret *) call->ret)->value = DOMAIN_VCPUS_MAX;
        return TRUE;
}

typedef struct HostName {
        char name[HOST_NAME_MAX + 1];
        char *canonical; /* NULL: the resolver has none */
} HostName;

static void host_name_clear(gpointer data) {
        g_free(((HostName *) data)->canonical);
}

static gboolean host_name_resolve(gpointer data, GError **err) {
        HostName *host = data;
        struct addrinfo hints = { .ai_flags = AI_CANONNAME, .ai_family = AF_UNSPEC }, *info = NULL;
        if (getaddrinfo(host->name, NULL, &hints, &info) != 0)
                return TRUE;
        if (info->ai_canonname && !g_str_has_prefix(info->ai_canonname, "localhost"))
                host->canonical = g_strdup(info->ai_canonname);
        freeaddrinfo(info);
        return TRUE;
}

/* With the domain, if the resolver returns one in time, as in other drivers. */
gboolean rpc_connect_get_hostname(RpcCall *call, GError **err) {
        static const NeighbourOps resolve = { .run = host_name_resolve, .clear = host_name_clear };
        rpc_text_ret *ret = call->ret;
        HostName *host = g_atomic_rc_box_new0(HostName);
        char name[sizeof(host->name)] = "";
        (void) gethostname(name, sizeof(name) - 1);
        g_strlcpy(host->name, name, sizeof(host->name));
        gboolean resolved = !strchr(host->name, '.') && strcmp(host->name, "localhost") != 0 &&
                            neighbour_call(call->server->names, &resolve, host, NULL);
        ret->text = g_strdup(resolved && host->canonical ? host->canonical : host->name);
        g_atomic_rc_box_release_full(host, host_name_clear);
        return TRUE;
}

gboolean rpc_connect_get_capabilities(RpcCall *call, GError **err) {
        return rpc_text_put(driver_get_capabilities(call->driver, err), &((rpc_text_ret *) call->ret)->text);
}

gboolean rpc_connect_get_domain_capabilities(RpcCall *call, GError **err) {
        const rpc_domcaps_args *args = call->args;
        char *text = driver_get_domain_capabilities(
                call->driver, args->emulator ? *args->emulator : NULL, args->arch ? *args->arch : NULL,
                args->machine ? *args->machine : NULL, args->virttype ? *args->virttype : NULL, args->flags, err);
        return rpc_text_put(text, &((rpc_text_ret *) call->ret)->text);
}

/* --- Lists --- */

static gboolean count_domains(RpcCall *call, guint flags, GError **err) {
        g_autoptr(GPtrArray) domains = driver_list(call->driver, flags, err);
        if (!domains)
                return FALSE;
        ((rpc_int_ret *) call->ret)->value = (int) domains->len;
        return TRUE;
}

gboolean rpc_connect_num_of_domains(RpcCall *call, GError **err) {
        return count_domains(call, VIR_CONNECT_LIST_DOMAINS_ACTIVE, err);
}

gboolean rpc_connect_num_of_defined_domains(RpcCall *call, GError **err) {
        return count_domains(call, VIR_CONNECT_LIST_DOMAINS_INACTIVE, err);
}

/* The domains for a list of at most `max` entries. */
static GPtrArray *list_some(RpcCall *call, guint flags, int max, GError **err) {
        if (max < 0 || max > RPC_LIST_MAX) {
                return error_null(err, VIR_ERR_INVALID_ARG, "list of %d domains, at most %d are possible", max,
                                  RPC_LIST_MAX);
        }
        GPtrArray *domains = driver_list(call->driver, flags, err);
        if (domains && domains->len > (guint) max)
                g_ptr_array_set_size(domains, max);
        return domains;
}

gboolean rpc_connect_list_domains(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        rpc_ints_ret *ret = call->ret;
        g_autoptr(GPtrArray) domains = list_some(call, VIR_CONNECT_LIST_DOMAINS_ACTIVE, args->value, err);
        if (!domains)
                return FALSE;
        ret->values.values_val = g_new0(int, MAX(domains->len, 1));
        for (guint i = 0; i < domains->len; i++) {
                g_auto(DomainHandle) handle = { 0 };
                domain_get_handle(g_ptr_array_index(domains, i), &handle);
                if (handle.id >= 0) /* it may have ended meanwhile */
                        ret->values.values_val[ret->values.values_len++] = handle.id;
        }
        return TRUE;
}

gboolean rpc_connect_list_defined_domains(RpcCall *call, GError **err) {
        const rpc_int_args *args = call->args;
        rpc_texts_ret *ret = call->ret;
        g_autoptr(GPtrArray) domains = list_some(call, VIR_CONNECT_LIST_DOMAINS_INACTIVE, args->value, err);
        if (!domains)
                return FALSE;
        ret->texts.texts_val = g_new0(rpc_text, MAX(domains->len, 1));
        for (guint i = 0; i < domains->len; i++) {
                DomainHandle handle;
                domain_get_handle(g_ptr_array_index(domains, i), &handle);
                ret->texts.texts_val[ret->texts.texts_len++] = handle.name;
        }
        return TRUE;
}

gboolean rpc_connect_list_all_domains(RpcCall *call, GError **err) {
        const rpc_int_flags_args *args = call->args;
        rpc_domains_ret *ret = call->ret;
        g_autoptr(GPtrArray) domains = driver_list(call->driver, args->flags, err);
        if (!domains)
                return FALSE;
        ret->count = domains->len;
        if (!args->value)
                return TRUE;
        ret->doms.doms_val = g_new0(rpc_domain, MAX(domains->len, 1));
        for (guint i = 0; i < domains->len; i++)
                rpc_domain_put(g_ptr_array_index(domains, i), &ret->doms.doms_val[ret->doms.doms_len++]);
        return TRUE;
}
