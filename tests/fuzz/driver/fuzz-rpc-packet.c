/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A byte stream as a hostile peer would send it: cut into packets, which are decoded as
 * the call they claim to be, and as what a daemon that calls are relayed to could answer.
 * What decodes has to encode again, to the bytes that it was decoded from.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/handlers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Flags of optional members decode from any number but zero, and padding from any bytes, so the first encoding may
 * differ from the input. Decoding that and encoding it again must not change it.
 */
static void use_payload(const RpcPacket *packet, xdrproc_t proc, gsize size) {
        gpointer first = g_malloc0(MAX(size, 1)), second = g_malloc0(MAX(size, 1));
        if (rpc_packet_decode(packet, proc, first, NULL)) {
                g_autoptr(RpcPacket) once = rpc_packet_encode(&packet->header, proc, first, NULL);
                if (!once || !rpc_packet_decode(once, proc, second, NULL))
                        abort();
                g_autoptr(RpcPacket) twice = rpc_packet_encode(&packet->header, proc, second, NULL);
                if (!twice || twice->size != once->size || memcmp(twice->data, once->data, once->size) != 0)
                        abort();
        }
        xdr_free(proc, first);
        xdr_free(proc, second);
        g_free(first);
        g_free(second);
}

static void use_params(const RpcPacket *packet) {
        rpc_identity_args args = { 0 };
        virTypedParameterPtr params = NULL;
        int n = 0;
        if (rpc_packet_decode(packet, (xdrproc_t) xdr_rpc_identity_args, &args, NULL) &&
            rpc_params_get(args.params.params_val, args.params.params_len, &params, &n, NULL))
                virTypedParamsFree(params, n);
        xdr_free((xdrproc_t) xdr_rpc_identity_args, &args);
}

static void use_packet(const RpcPacket *packet) {
        const RpcProc *proc = rpc_proc_find(packet->header.proc);
        if (proc && proc->handler) {
                use_payload(packet, proc->args_xdr, proc->args_size);
                use_payload(packet, proc->ret_xdr, proc->ret_size);
        }
        use_payload(packet, (xdrproc_t) xdr_rpc_error, sizeof(rpc_error));
        use_params(packet);
}

/* The first byte: how many bytes arrive at once. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        RpcReader reader;
        gsize step = size > 0 ? (gsize) data[0] + 1 : 1;
        gboolean ok = TRUE;
        rpc_reader_init(&reader, 1u << 20);
        for (gsize i = MIN(size, 1); ok && i < size;) {
                gsize want;
                guint8 *where = rpc_reader_want(&reader, &want);
                gsize n = MIN(MIN(want, step), size - i);
                memcpy(where, data + i, n);
                i += n;
                g_autoptr(RpcPacket) packet = NULL;
                ok = rpc_reader_advance(&reader, n, &packet, NULL);
                if (packet)
                        use_packet(packet);
        }
        rpc_reader_clear(&reader);
        return 0;
}
