/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packets of libvirt's RPC: a length, a header of six words, and a payload in XDR. A packet
 * keeps its bytes as they are on the wire, so that it can be sent or relayed as it is.
 */
#pragma once

#include <glib.h>
#include <rpc/rpc.h>

#define RPC_LENGTH_SIZE 4u /* counts itself */
#define RPC_HEADER_SIZE 24u
#define RPC_PREFIX_SIZE (RPC_LENGTH_SIZE + RPC_HEADER_SIZE)
#define RPC_PACKET_MAX  (RPC_LENGTH_SIZE + 33554432u)
#define RPC_PAYLOAD_MAX (RPC_PACKET_MAX - RPC_PREFIX_SIZE)
#define RPC_FDS_MAX     32u

#define RPC_PROGRAM_REMOTE    0x20008086u
#define RPC_PROGRAM_QEMU      0x20008087u /* programs of single libvirt drivers */
#define RPC_PROGRAM_LXC       0x00068000u
#define RPC_PROGRAM_KEEPALIVE 0x6b656570u
#define RPC_VERSION           1u

typedef enum RpcType {
        RPC_TYPE_CALL,
        RPC_TYPE_REPLY,
        RPC_TYPE_MESSAGE, /* an event, or keepalive */
        RPC_TYPE_STREAM,
        RPC_TYPE_CALL_WITH_FDS,
        RPC_TYPE_REPLY_WITH_FDS,
        RPC_TYPE_STREAM_HOLE,
} RpcType;

typedef enum RpcStatus {
        RPC_STATUS_OK,
        RPC_STATUS_ERROR,
        RPC_STATUS_CONTINUE, /* streams only */
} RpcStatus;

typedef struct RpcHeader {
        guint32 prog, vers;
        gint32 proc;
        guint32 type; /* RpcType, unchecked */
        guint32 serial;
        guint32 status; /* RpcStatus, unchecked */
} RpcHeader;

typedef struct RpcPacket {
        RpcHeader header;
        guint8 *data; /* the whole packet */
        gsize size;
        gsize payload; /* where it starts in data */
        guint n_fds;   /* descriptors announced by a packet _WITH_FDS */
} RpcPacket;

/* Room for `size` bytes of payload; the header is encoded already. */
RpcPacket *rpc_packet_new(const RpcHeader *header, gsize size);
/* Takes `data`, in any case. Fails with VIR_ERR_RPC. */
RpcPacket *rpc_packet_parse(guint8 *data, gsize size, GError **err);
void rpc_packet_free(RpcPacket *packet);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RpcPacket, rpc_packet_free)

static inline gsize rpc_packet_payload_size(const RpcPacket *packet) {
        return packet->size - packet->payload;
}

/* A packet whose payload is `object`, encoded by `proc`; for an event, after the callback's id (-1: none). */
RpcPacket *rpc_packet_encode(const RpcHeader *header, xdrproc_t proc, gpointer object, GError **err);
RpcPacket *rpc_packet_encode_event(gint32 proc_nr, int callback_id, xdrproc_t proc, gpointer object, GError **err);
/* The reply (or the stream packet, by `type`) that says why the call with this header failed. */
RpcPacket *rpc_packet_error(const RpcHeader *call, RpcType type, const GError *error);
/* Decodes the payload; `object` is zeroed memory that the caller gives to xdr_free(), in any case. */
gboolean rpc_packet_decode(const RpcPacket *packet, xdrproc_t proc, gpointer object, GError **err);

/*
 * Cuts a byte stream into packets. The owner reads at most `*ret_size` bytes to where
 * rpc_reader_want() says, and reports how many came. Memory grows with what has arrived,
 * never with what a peer announces.
 */
typedef struct RpcReader {
        guint8 *buffer;
        gsize used, capacity;
        gsize need;  /* the packet's size; 0 while the length is incomplete */
        gsize limit; /* largest packet that is accepted */
        guint skip;  /* bytes that carry descriptors after a packet _WITH_FDS */
        guint8 scratch[RPC_FDS_MAX];
} RpcReader;

void rpc_reader_init(RpcReader *reader, gsize limit);
void rpc_reader_clear(RpcReader *reader);
guint8 *rpc_reader_want(RpcReader *reader, gsize *ret_size);
/* *ret_packet is NULL when more is needed. FALSE: the stream is unusable from here on. */
gboolean rpc_reader_advance(RpcReader *reader, gsize size, RpcPacket **ret_packet, GError **err);
