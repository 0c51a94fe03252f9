/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream carries bytes between a pty and STREAM packets that bear the program, procedure
 * and serial of the call that opened it.
 *
 * To the client: CONTINUE with data; CONTINUE without data says that the guest's end is closed. The pty is
 * read only while the client takes what it gets. From the client: CONTINUE with data, OK to finish, ERROR to
 * abort; both ends are confirmed with OK. Input that the pty does not take yet waits here, and beyond
 * INPUT_HIGH the client is not read from.
 *
 * A session may be cut off at any time from any thread (another client used force, or the
 * domain has ended). That only leaves a note for the main thread. Closing the session may have to wait for the
 * domain's lock, so a worker does it; the stream's memory lives until that has returned.
 */
#include "rpc/stream.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <unistd.h>

#include "rpc/server_internal.h"
#include "util/error.h"

#define INPUT_HIGH 65536u
#define SHORT_READ 512u /* bytes; a serial port gives one or two at a time */
#define GATHER_MS                                                                                                      \
        4u /* pause after a short read, to gather more: 250 wake-ups a second at most, too short to notice             \
            */
#define STREAMS_MAX 256u /* of one client */

struct RpcStream {
        gatomicrefcount refs;
        Domain *domain;
        int fd;
        guint64 session;
        gint kicked; /* atomic */

        /* Main thread only. */
        RpcClient *client; /* NULL: not attached, or closed */
        RpcHeader header;
        guint in_source, out_source, gather_source;
        gboolean end_of_output;
        gboolean blocked;  /* counted in client->streams_blocked */
        GByteArray *input; /* what the pty has not taken */
};

RpcStream *rpc_stream_new(Domain *domain) {
        RpcStream *stream = g_new0(RpcStream, 1);
        g_atomic_ref_count_init(&stream->refs);
        stream->domain = domain_ref(domain);
        stream->fd = -1;
        stream->input = g_byte_array_new();
        return stream;
}

static void stream_unref(gpointer data) {
        RpcStream *stream = data;
        if (!g_atomic_ref_count_dec(&stream->refs))
                return;
        domain_unref(stream->domain);
        g_byte_array_unref(stream->input);
        g_free(stream);
}

void rpc_stream_free(RpcStream *stream) {
        stream_unref(stream);
}

void rpc_stream_opened(RpcStream *stream, int fd, guint64 session) {
        stream->fd = fd;
        stream->session = session;
}

static void stream_end_session(gpointer data) {
        RpcStream *stream = data;
        domain_console_close(stream->domain, stream->session);
}

/* Gives up the caller's reference. */
void rpc_stream_discard(RpcStream *stream, RpcClient *client) {
        if (stream->fd >= 0)
                (void) close(stream->fd);
        stream->fd = -1;
        rpc_workers_push(client->server->workers, client->server->own, RPC_LANE_HIGH, stream_end_session, stream_unref,
                         stream);
}

void rpc_stream_close(RpcStream *stream) {
        RpcClient *client = g_steal_pointer(&stream->client);
        if (!client)
                return;
        g_clear_handle_id(&stream->in_source, g_source_remove);
        g_clear_handle_id(&stream->out_source, g_source_remove);
        g_clear_handle_id(&stream->gather_source, g_source_remove);
        if (stream->blocked)
                client->streams_blocked--;
        (void) g_ptr_array_remove(client->streams, stream);
        rpc_client_update_reading(client);
        rpc_stream_discard(stream, client);
}

static void stream_send(RpcStream *stream, RpcStatus status, const void *data, gsize size) {
        RpcHeader header = stream->header;
        header.type = RPC_TYPE_STREAM;
        header.status = status;
        RpcPacket *packet = rpc_packet_new(&header, size);
        if (size > 0)
                memcpy(packet->data + packet->payload, data, size);
        rpc_client_send(stream->client, packet);
}

static void stream_fail(RpcStream *stream, const char *text) {
        g_autoptr(GError) err = NULL;
        error_set(&err, VIR_ERR_RPC, "%s", text);
        g_autoptr(RpcClient) client = rpc_client_ref(stream->client);
        RpcHeader header = stream->header;
        rpc_stream_close(stream);
        rpc_client_send(client, rpc_packet_error(&header, RPC_TYPE_STREAM, err));
}

void rpc_stream_abort(RpcStream *stream) {
        stream_fail(stream, "the daemon ends");
}

/* The guest is gone, but its last output is still to be read. */
static gboolean stream_is_ending(const RpcStream *stream) {
        struct pollfd pollfd = { .fd = stream->fd, .events = POLLIN };
        return stream->end_of_output || (poll(&pollfd, 1, 0) > 0 && (pollfd.revents & (POLLHUP | POLLERR)));
}

static gboolean stream_note_kicked(gpointer data) {
        RpcStream *stream = data;
        if (stream->client && !stream_is_ending(stream))
                stream_fail(stream, "stream had unexpected termination");
        return G_SOURCE_REMOVE;
}

void rpc_stream_kicked(void *data) {
        RpcStream *stream = data;
        g_atomic_int_set(&stream->kicked, 1);
        g_atomic_ref_count_inc(&stream->refs);
        g_idle_add_full(G_PRIORITY_DEFAULT, stream_note_kicked, stream, stream_unref);
}

static gboolean stream_gathered(gpointer data) {
        RpcStream *stream = data;
        stream->gather_source = 0;
        rpc_stream_resume(stream);
        return G_SOURCE_REMOVE;
}

static gboolean stream_readable(int fd, GIOCondition condition, gpointer data) {
        RpcStream *stream = data;
        guint8 buffer[16384];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return G_SOURCE_CONTINUE;
        if (n <= 0) {
                stream->end_of_output = TRUE;
                stream->in_source = 0;
                stream_send(stream, RPC_STATUS_CONTINUE, NULL, 0);
                return G_SOURCE_REMOVE;
        }
        stream_send(stream, RPC_STATUS_CONTINUE, buffer, n);
        if (!stream->client)
                return G_SOURCE_CONTINUE;
        gboolean is_short = (gsize) n < SHORT_READ && !(condition & (G_IO_HUP | G_IO_ERR));
        if (is_short)
                stream->gather_source = g_timeout_add(GATHER_MS, stream_gathered, stream);
        if (!is_short && !rpc_client_is_congested(stream->client))
                return G_SOURCE_CONTINUE;
        stream->in_source = 0;
        return G_SOURCE_REMOVE;
}

void rpc_stream_resume(RpcStream *stream) {
        if (stream->in_source == 0 && stream->gather_source == 0 && !stream->end_of_output)
                stream->in_source = g_unix_fd_add(stream->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, stream_readable, stream);
}

void rpc_stream_attach(RpcStream *stream, RpcClient *client, const RpcHeader *header) {
        if (client->closed) {
                rpc_stream_discard(stream, client);
                return;
        }
        stream->client = client;
        stream->header = *header;
        g_ptr_array_add(client->streams, stream);
        if (g_atomic_int_get(&stream->kicked) || client->streams->len > STREAMS_MAX)
                stream_fail(stream, "stream had unexpected termination");
        else
                rpc_stream_resume(stream);
}

gboolean rpc_stream_matches(const RpcStream *stream, const RpcHeader *header) {
        return stream->header.proc == header->proc && stream->header.serial == header->serial;
}

static void stream_set_blocked(RpcStream *stream, gboolean blocked) {
        if (stream->blocked == blocked)
                return;
        stream->blocked = blocked;
        stream->client->streams_blocked += blocked ? 1 : -1;
        rpc_client_update_reading(stream->client);
}

/* FALSE: the pty is gone. */
static gboolean stream_flush(RpcStream *stream) {
        while (stream->input->len > 0) {
                ssize_t n = write(stream->fd, stream->input->data, stream->input->len);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return TRUE;
                if (n < 0)
                        return FALSE;
                g_byte_array_remove_range(stream->input, 0, n);
        }
        return TRUE;
}

static gboolean stream_writable(int fd, GIOCondition condition, gpointer data) {
        RpcStream *stream = data;
        if (!stream_flush(stream)) {
                stream->out_source = 0;
                stream_fail(stream, "stream had I/O failure");
                return G_SOURCE_REMOVE;
        }
        stream_set_blocked(stream, stream->input->len > INPUT_HIGH);
        if (stream->input->len > 0)
                return G_SOURCE_CONTINUE;
        stream->out_source = 0;
        return G_SOURCE_REMOVE;
}

static void stream_input(RpcStream *stream, const guint8 *data, gsize size) {
        g_byte_array_append(stream->input, data, size);
        if (stream->out_source == 0 && !stream_flush(stream)) {
                stream_fail(stream, "stream had I/O failure");
                return;
        }
        if (stream->input->len > 0 && stream->out_source == 0)
                stream->out_source = g_unix_fd_add(stream->fd, G_IO_OUT | G_IO_ERR, stream_writable, stream);
        stream_set_blocked(stream, stream->input->len > INPUT_HIGH);
}

static void stream_confirm(RpcStream *stream) {
        stream_send(stream, RPC_STATUS_OK, NULL, 0);
        rpc_stream_close(stream);
}

void rpc_stream_packet(RpcStream *stream, const RpcPacket *packet) {
        if (packet->header.type == RPC_TYPE_STREAM_HOLE) {
                stream_fail(stream, "unexpected stream hole");
                return;
        }
        switch (packet->header.status) {
        case RPC_STATUS_CONTINUE:
                stream_input(stream, packet->data + packet->payload, rpc_packet_payload_size(packet));
                break;
        case RPC_STATUS_OK:
        case RPC_STATUS_ERROR:
                stream_confirm(stream);
                break;
        default:
                break;
        }
}
