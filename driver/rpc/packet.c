/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A packet is: u32 length (of everything, itself included), then the header's six words
 * (program, version, procedure, type, serial, status), then the payload. Packets of the
 * types _WITH_FDS have one more word before the payload, the number of descriptors, and
 * are followed by as many single bytes, outside of the length, that carry one descriptor
 * each. Nothing that the daemon serves takes descriptors: connections read without
 * asking for control data, so the kernel closes them, and the bytes are skipped.
 *
 * The reader and the parser face hostile peers. They trust no number before comparing it
 * with a limit.
 */
#include "rpc/packet.h"

#include <string.h>

#include "rpc/remote_protocol.h"
#include "util/error.h"

#define READ_STEP 65536u /* first allocation for a packet's body; doubles as data comes in */

static guint32 get_u32(const guint8 *p) {
        guint32 value;
        memcpy(&value, p, sizeof(value));
        return GUINT32_FROM_BE(value);
}

static void put_u32(guint8 *p, guint32 value) {
        value = GUINT32_TO_BE(value);
        memcpy(p, &value, sizeof(value));
}

RpcPacket *rpc_packet_new(const RpcHeader *header, gsize size) {
        g_assert(size <= RPC_PAYLOAD_MAX);
        RpcPacket *packet = g_new0(RpcPacket, 1);
        packet->header = *header;
        packet->size = RPC_PREFIX_SIZE + size;
        packet->payload = RPC_PREFIX_SIZE;
        packet->data = g_malloc(packet->size);
        const guint32 words[] = { packet->size, header->prog,   header->vers,  (guint32) header->proc,
                                  header->type, header->serial, header->status };
        for (guint i = 0; i < G_N_ELEMENTS(words); i++)
                put_u32(packet->data + 4 * i, words[i]);
        return packet;
}

void rpc_packet_free(RpcPacket *packet) {
        if (!packet)
                return;
        g_free(packet->data);
        g_free(packet);
}

static gboolean packet_parse_fds(RpcPacket *packet, GError **err) {
        if (packet->header.type != RPC_TYPE_CALL_WITH_FDS && packet->header.type != RPC_TYPE_REPLY_WITH_FDS)
                return TRUE;
        if (rpc_packet_payload_size(packet) < 4) {
                return error_set(err, VIR_ERR_RPC, "packet without its number of descriptors");
        }
        packet->n_fds = get_u32(packet->data + packet->payload);
        packet->payload += 4;
        if (packet->n_fds > RPC_FDS_MAX) {
                return error_set(err, VIR_ERR_RPC, "too many descriptors: %u, expected at most %u", packet->n_fds,
                                 RPC_FDS_MAX);
        }
        return TRUE;
}

RpcPacket *rpc_packet_parse(guint8 *data, gsize size, GError **err) {
        g_autoptr(RpcPacket) packet = g_new0(RpcPacket, 1);
        packet->data = data;
        packet->size = size;
        packet->payload = RPC_PREFIX_SIZE;
        if (size < RPC_PREFIX_SIZE || size > RPC_PACKET_MAX || get_u32(data) != size) {
                return error_null(err, VIR_ERR_RPC, "packet of %" G_GSIZE_FORMAT " bytes is malformed", size);
        }
        packet->header = (RpcHeader) {
                .prog = get_u32(data + 4),
                .vers = get_u32(data + 8),
                .proc = (gint32) get_u32(data + 12),
                .type = get_u32(data + 16),
                .serial = get_u32(data + 20),
                .status = get_u32(data + 24),
        };
        if (!packet_parse_fds(packet, err))
                return NULL;
        return g_steal_pointer(&packet);
}

static gboolean packet_fill(RpcPacket *packet, gsize offset, xdrproc_t proc, gpointer object, GError **err) {
        XDR xdr;
        xdrmem_create(&xdr, (char *) packet->data + packet->payload + offset, rpc_packet_payload_size(packet) - offset,
                      XDR_ENCODE);
        gboolean ok = proc(&xdr, object);
        xdr_destroy(&xdr);
        if (!ok)
                error_set(err, VIR_ERR_RPC, "Unable to encode message payload");
        return ok;
}

/* Size of the encoded object. libtirpc returns 0 for an error; no object has that size. */
static gboolean payload_measure(xdrproc_t proc, gpointer object, gsize *ret, GError **err) {
        *ret = xdr_sizeof(proc, object);
        if (*ret <= RPC_PAYLOAD_MAX)
                return TRUE;
        return error_set(err, VIR_ERR_RPC, "Unable to encode message payload: %" G_GSIZE_FORMAT " bytes", *ret);
}

RpcPacket *rpc_packet_encode(const RpcHeader *header, xdrproc_t proc, gpointer object, GError **err) {
        gsize size;
        if (!payload_measure(proc, object, &size, err))
                return NULL;
        g_autoptr(RpcPacket) packet = rpc_packet_new(header, size);
        if (!packet_fill(packet, 0, proc, object, err))
                return NULL;
        return g_steal_pointer(&packet);
}

RpcPacket *rpc_packet_encode_event(gint32 proc_nr, int callback_id, xdrproc_t proc, gpointer object, GError **err) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, RPC_VERSION, proc_nr, RPC_TYPE_MESSAGE, 0, RPC_STATUS_OK };
        gsize offset = callback_id < 0 ? 0 : 4, size;
        if (!payload_measure(proc, object, &size, err))
                return NULL;
        g_autoptr(RpcPacket) packet = rpc_packet_new(&header, MIN(offset + size, RPC_PAYLOAD_MAX));
        if (callback_id >= 0)
                put_u32(packet->data + packet->payload, (guint32) callback_id);
        if (!packet_fill(packet, offset, proc, object, err))
                return NULL;
        return g_steal_pointer(&packet);
}

/* virErrorDomain: clients check for POLKIT (they retry with an agent) and RPC (unknown procedures). */
static int error_domain(virErrorNumber code) {
        switch (code) {
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_AUTH_UNAVAILABLE:
                return VIR_FROM_POLKIT;
        case VIR_ERR_XML_ERROR:
        case VIR_ERR_XML_DETAIL:
        case VIR_ERR_XML_INVALID_SCHEMA:
                return VIR_FROM_XML;
        case VIR_ERR_RPC:
                return VIR_FROM_RPC;
        default:
                return VIR_FROM_DOMAIN;
        }
}

RpcPacket *rpc_packet_error(const RpcHeader *call, RpcType type, const GError *error) {
        RpcHeader header = *call;
        header.type = type;
        header.status = RPC_STATUS_ERROR;
        g_autofree char *text = g_utf8_make_valid(error->message, MIN(strlen(error->message), 65536));
        rpc_text template = (rpc_text) "%s";
        rpc_error wire = {
                .code = error_code(error),
                .message = &text,
                .level = VIR_ERR_ERROR,
                .str1 = &template,
                .str2 = &text,
                .int1 = -1,
                .int2 = -1,
        };
        wire.domain = error_domain((virErrorNumber) wire.code);
        RpcPacket *packet = rpc_packet_encode(&header, (xdrproc_t) xdr_rpc_error, &wire, NULL);
        g_assert(packet);
        return packet;
}

gboolean rpc_packet_decode(const RpcPacket *packet, xdrproc_t proc, gpointer object, GError **err) {
        XDR xdr;
        xdrmem_create(&xdr, (char *) packet->data + packet->payload, rpc_packet_payload_size(packet), XDR_DECODE);
        gboolean ok = proc(&xdr, object);
        xdr_destroy(&xdr);
        if (!ok)
                error_set(err, VIR_ERR_RPC, "Unable to decode message payload");
        return ok;
}

void rpc_reader_init(RpcReader *reader, gsize limit) {
        *reader = (RpcReader) { .limit = limit };
}

void rpc_reader_clear(RpcReader *reader) {
        g_clear_pointer(&reader->buffer, g_free);
        reader->used = reader->capacity = reader->need = 0;
}

guint8 *rpc_reader_want(RpcReader *reader, gsize *ret_size) {
        if (reader->skip > 0) {
                *ret_size = reader->skip;
                return reader->scratch;
        }
        gsize target = reader->need > 0 ? reader->need : RPC_LENGTH_SIZE;
        if (reader->used == reader->capacity) {
                gsize grown = reader->need > 0 ? MAX(READ_STEP, 2 * reader->capacity) : RPC_PREFIX_SIZE;
                reader->capacity = reader->need > 0 ? MIN(grown, reader->need) : grown;
                reader->buffer = g_realloc(reader->buffer, reader->capacity);
        }
        *ret_size = MIN(target, reader->capacity) - reader->used;
        return reader->buffer + reader->used;
}

static gboolean reader_take_length(RpcReader *reader, GError **err) {
        reader->need = get_u32(reader->buffer);
        if (reader->need >= RPC_PREFIX_SIZE && reader->need <= reader->limit)
                return TRUE;
        return error_set(err, VIR_ERR_RPC, "packet of %" G_GSIZE_FORMAT " bytes, want %u to %" G_GSIZE_FORMAT,
                         reader->need, RPC_PREFIX_SIZE, reader->limit);
}

gboolean rpc_reader_advance(RpcReader *reader, gsize size, RpcPacket **ret_packet, GError **err) {
        *ret_packet = NULL;
        if (reader->skip > 0) {
                reader->skip -= size;
                return TRUE;
        }
        reader->used += size;
        if (reader->need == 0 && reader->used == RPC_LENGTH_SIZE && !reader_take_length(reader, err))
                return FALSE;
        if (reader->need == 0 || reader->used < reader->need)
                return TRUE;
        gsize length = reader->need;
        guint8 *data = g_steal_pointer(&reader->buffer);
        rpc_reader_clear(reader);
        *ret_packet = rpc_packet_parse(data, length, err);
        if (!*ret_packet)
                return FALSE;
        reader->skip = (*ret_packet)->n_fds;
        return TRUE;
}
