/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Input: while reading is on, a source waits for the socket; each turn takes a bounded
 * number of packets, so that one busy peer does not starve the rest. Switching reading
 * off is the only back-pressure a peer gets, and it is enough: the kernel's buffers fill.
 *
 * Output: packets queue up; the first is written at once if nothing is ahead of it, the
 * rest when the socket can take more. The queue itself has no limit: owners look at
 * rpc_conn_get_pending() and stop producing, or close the connection.
 *
 * What is held either way is counted in budgets that many connections may share.
 */
#include "rpc/conn.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"

#define READS_PER_TURN 32u
#define INPUT_FREE     65536u /* a buffer of this size is never refused */

struct RpcConn {
        int fd;
        const RpcConnOps *ops;
        gpointer data;
        RpcReader reader;
        gboolean reading;
        guint in_source, out_source, hangup_source;
        GQueue out;       /* RpcPacket* */
        gsize out_offset; /* into the first packet */
        gsize out_bytes;
        RpcBudget *input, *output;
        gsize input_counted, output_counted;
};

static gboolean conn_readable(int fd, GIOCondition condition, gpointer data);
static gboolean conn_hung_up(int fd, GIOCondition condition, gpointer data);

static void budget_count(RpcBudget *budget, gsize *counted, gsize bytes) {
        if (budget)
                budget->used += bytes - *counted;
        *counted = bytes;
}

/* Brings the budgets up to date. */
static void conn_count(RpcConn *conn) {
        budget_count(conn->input, &conn->input_counted, conn->reader.capacity);
        budget_count(conn->output, &conn->output_counted, conn->out_bytes);
}

static void conn_watch(RpcConn *conn) {
        if (conn->reading)
                conn->in_source = g_unix_fd_add(conn->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, conn_readable, conn);
        else if (conn->ops->ends_unread)
                conn->hangup_source = g_unix_fd_add(conn->fd, G_IO_HUP | G_IO_ERR, conn_hung_up, conn);
}

RpcConn *rpc_conn_new(int fd, gsize packet_limit, const RpcConnOps *ops, gpointer data) {
        RpcConn *conn = g_rc_box_new0(RpcConn);
        conn->fd = fd;
        conn->ops = ops;
        conn->data = data;
        rpc_reader_init(&conn->reader, packet_limit);
        g_queue_init(&conn->out);
        (void) g_unix_set_fd_nonblocking(fd, TRUE, NULL);
        conn_watch(conn);
        return conn;
}

void rpc_conn_close(RpcConn *conn) {
        if (conn->fd < 0)
                return;
        g_clear_handle_id(&conn->in_source, g_source_remove);
        g_clear_handle_id(&conn->out_source, g_source_remove);
        g_clear_handle_id(&conn->hangup_source, g_source_remove);
        (void) close(conn->fd);
        conn->fd = -1;
        conn->reading = FALSE;
        g_queue_clear_full(&conn->out, (GDestroyNotify) rpc_packet_free);
        conn->out_bytes = conn->out_offset = 0;
        rpc_reader_clear(&conn->reader);
        conn_count(conn);
}

static void conn_clear(RpcConn *conn) {
        rpc_conn_close(conn);
}

void rpc_conn_unref(RpcConn *conn) {
        rpc_conn_close(conn);
        g_rc_box_release_full(conn, (GDestroyNotify) conn_clear);
}

/* Closes for a fault or the peer's end, and calls the owner. */
static void conn_fail(RpcConn *conn, const GError *err) {
        if (conn->fd < 0)
                return;
        rpc_conn_close(conn);
        conn->ops->closed(conn->data, err);
}

void rpc_conn_set_budgets(RpcConn *conn, RpcBudget *input, RpcBudget *output) {
        conn->input = input;
        conn->output = output;
        conn->input_counted = conn->output_counted = 0;
        conn_count(conn);
}

void rpc_conn_set_limit(RpcConn *conn, gsize packet_limit) {
        conn->reader.limit = packet_limit;
}

static gboolean conn_hung_up(int fd, GIOCondition condition, gpointer data) {
        RpcConn *conn = g_rc_box_acquire(data);
        conn->hangup_source = 0;
        conn_fail(conn, NULL);
        g_rc_box_release_full(conn, (GDestroyNotify) conn_clear);
        return G_SOURCE_REMOVE;
}

void rpc_conn_set_reading(RpcConn *conn, gboolean reading) {
        if (conn->fd < 0 || conn->reading == reading)
                return;
        conn->reading = reading;
        g_clear_handle_id(&conn->in_source, g_source_remove);
        g_clear_handle_id(&conn->hangup_source, g_source_remove);
        conn_watch(conn);
}

gboolean rpc_conn_is_reading(const RpcConn *conn) {
        return conn->reading;
}

gsize rpc_conn_get_pending(const RpcConn *conn) {
        return conn->out_bytes;
}

/* A buffer that would exceed the shared budget ends its connection. */
static gboolean conn_check_input(RpcConn *conn) {
        g_autoptr(GError) err = NULL;
        conn_count(conn);
        if (!conn->input || conn->input->used <= conn->input->max || conn->reader.capacity <= INPUT_FREE)
                return TRUE;
        error_set(&err, VIR_ERR_RPC, "its user's calls are more than %" G_GSIZE_FORMAT " bytes", conn->input->max);
        conn_fail(conn, err);
        return FALSE;
}

/* FALSE: nothing more to read for now. */
static gboolean conn_read_some(RpcConn *conn) {
        gsize want;
        guint8 *where = rpc_reader_want(&conn->reader, &want);
        if (!conn_check_input(conn))
                return FALSE;
        ssize_t n = recv(conn->fd, where, want, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return FALSE;
        g_autoptr(GError) err = NULL;
        RpcPacket *packet = NULL;
        if (n < 0)
                error_set_errno(&err, errno, "cannot read from socket");
        if (n <= 0 || !rpc_reader_advance(&conn->reader, n, &packet, &err)) {
                conn_fail(conn, err);
                return FALSE;
        }
        conn_count(conn);
        if (packet)
                conn->ops->packet(conn->data, packet);
        return TRUE;
}

static gboolean conn_readable(int fd, GIOCondition condition, gpointer data) {
        RpcConn *conn = g_rc_box_acquire(data);
        for (guint i = 0; i < READS_PER_TURN && conn->reading; i++)
                if (!conn_read_some(conn))
                        break;
        gboolean more = conn->reading;
        g_rc_box_release_full(conn, (GDestroyNotify) conn_clear);
        return more;
}

/* Writes what the socket takes. FALSE: the connection failed. */
static gboolean conn_flush(RpcConn *conn) {
        RpcPacket *packet;
        while ((packet = g_queue_peek_head(&conn->out))) {
                ssize_t n = send(conn->fd, packet->data + conn->out_offset, packet->size - conn->out_offset,
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        break;
                if (n < 0)
                        return FALSE;
                conn->out_offset += n;
                conn->out_bytes -= n;
                if (conn->out_offset < packet->size)
                        continue;
                rpc_packet_free(g_queue_pop_head(&conn->out));
                conn->out_offset = 0;
        }
        conn_count(conn);
        return TRUE;
}

static gboolean conn_writable(int fd, GIOCondition condition, gpointer data) {
        RpcConn *conn = g_rc_box_acquire(data);
        if (!conn_flush(conn)) {
                g_autoptr(GError) err = NULL;
                error_set_errno(&err, errno, "cannot write to socket");
                conn_fail(conn, err);
        } else {
                if (g_queue_is_empty(&conn->out))
                        g_clear_handle_id(&conn->out_source, g_source_remove);
                conn->ops->sent(conn->data);
        }
        gboolean more = conn->out_source != 0;
        g_rc_box_release_full(conn, (GDestroyNotify) conn_clear);
        return more;
}

/* A write that fails here fails again in conn_writable(), where it is safe to call the owner. */
void rpc_conn_send(RpcConn *conn, RpcPacket *packet) {
        if (conn->fd < 0) {
                rpc_packet_free(packet);
                return;
        }
        gboolean first = g_queue_is_empty(&conn->out);
        g_queue_push_tail(&conn->out, packet);
        conn->out_bytes += packet->size;
        if (first)
                (void) conn_flush(conn);
        conn_count(conn);
        if (!g_queue_is_empty(&conn->out) && conn->out_source == 0)
                conn->out_source = g_unix_fd_add(conn->fd, G_IO_OUT | G_IO_ERR, conn_writable, conn);
}
