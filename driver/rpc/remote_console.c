/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Consoles and channels: procedures whose reply is followed by a stream. */
#include "rpc/handlers.h"
#include "rpc/stream.h"

typedef int (*ConsoleOpener)(Domain *domain, const char *name, guint flags, void (*kicked)(void *arg), void *arg,
                             guint64 *ret_session, GError **err);

static gboolean open_stream(RpcCall *call, ConsoleOpener opener, GError **err) {
        const rpc_d_opt_text_flags_args *args = call->args;
        g_autoptr(Domain) domain = rpc_domain_find(call, &args->dom, err);
        if (!domain)
                return FALSE;
        RpcStream *stream = rpc_stream_new(domain);
        guint64 session = 0;
        int fd = opener(domain, args->text ? *args->text : NULL, args->flags, rpc_stream_kicked, stream, &session, err);
        if (fd < 0) {
                rpc_stream_free(stream);
                return FALSE;
        }
        rpc_stream_opened(stream, fd, session);
        call->stream = stream;
        return TRUE;
}

gboolean rpc_domain_open_console(RpcCall *call, GError **err) {
        return open_stream(call, domain_open_console, err);
}

gboolean rpc_domain_open_channel(RpcCall *call, GError **err) {
        return open_stream(call, domain_open_channel, err);
}
