/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one user can take from the others: connections, workers, memory, the time that events cost. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "rpc/callbacks.h"
#include "rpc/params.h"

#define NONE (xdrproc_t) xdr_rpc_none

enum { USER = 1000, OTHER = 1001, GET_TYPE = 3, REGISTER = 316, DEREGISTER = 317 };

static Harness harness;

static guint iterate(void) {
        guint turns = 0;
        while (g_main_context_iteration(NULL, FALSE))
                turns++;
        return turns;
}

static void open_as(Wire *wire, uid_t uid) {
        wire_connect(wire, &harness, TRUE, RPC_AUTH_NONE, uid);
        g_assert_cmpint(wire_open(wire, NULL, 0), ==, 0);
}

/* The server's end of the client that came last. */
static RpcClient *last_client(void) {
        return g_ptr_array_index(harness.server->clients, harness.server->clients->len - 1);
}

/* --- Connections --- */

static void ask_auth_list(Wire *wire) {
        RpcHeader header = { RPC_PROGRAM_REMOTE, 1, RPC_PROC_AUTH_LIST, RPC_TYPE_CALL, wire->serial++, RPC_STATUS_OK };
        wire_send(wire, rpc_packet_new(&header, 0));
}

static gboolean is_answered(Wire *wire, guint ms) {
        g_autoptr(RpcPacket) reply = wire_receive(wire, ms);
        return reply && reply->header.status == RPC_STATUS_OK;
}

/* max_anonymous_clients is 3: one for each user, three in all, and root is always let in. */
static void test_anonymous(void) {
        Wire first, second, other, third, late, root;
        wire_connect(&first, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        wire_connect(&second, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        wire_connect(&other, &harness, FALSE, RPC_AUTH_POLKIT, OTHER);
        wire_connect(&third, &harness, FALSE, RPC_AUTH_POLKIT, 1002);
        wire_connect(&late, &harness, FALSE, RPC_AUTH_POLKIT, 1003);
        wire_connect(&root, &harness, FALSE, RPC_AUTH_POLKIT, 0);
        Wire *all[] = { &first, &second, &other, &third, &late, &root };
        const gboolean served[] = { TRUE, FALSE, TRUE, TRUE, FALSE, TRUE };
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                ask_auth_list(all[i]);
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                g_assert_cmpint(is_answered(all[i], served[i] ? 5000 : 50), ==, served[i]);
        wire_close(&other);
        g_assert_true(is_answered(&late, 5000)); /* the first in the queue is of a user who already has a turn */
        wire_close(&first);
        g_assert_true(is_answered(&second, 5000));
        wire_close(&second);
        wire_close(&third);
        wire_close(&late);
        wire_close(&root);
        g_assert_cmpuint(harness.server->anonymous, ==, 0);
}

static void test_waiting_clients_leave(void) {
        Wire first, second, third;
        guint before = rpc_server_client_count(harness.server);
        wire_connect(&first, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        wire_connect(&second, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        wire_connect(&third, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        wire_close(&second);
        g_assert_cmpuint(rpc_server_client_count(harness.server), ==, before + 2);
        wire_close(&first);
        ask_auth_list(&third);
        g_assert_true(is_answered(&third, 5000));
        wire_close(&third);
        g_assert_cmpuint(rpc_server_client_count(harness.server), ==, before);
}

/* max_user_clients is 20. */
static void test_clients_of_a_user(void) {
        Wire many[20], extra, other, root;
        for (guint i = 0; i < G_N_ELEMENTS(many); i++)
                open_as(&many[i], USER);
        wire_connect(&extra, &harness, FALSE, RPC_AUTH_NONE, USER);
        g_assert_true(wire_is_closed(&extra));
        open_as(&other, OTHER);
        open_as(&root, 0);
        wire_close(&many[0]);
        open_as(&many[0], USER);
        for (guint i = 0; i < G_N_ELEMENTS(many); i++)
                wire_close(&many[i]);
        wire_close(&extra);
        wire_close(&other);
        wire_close(&root);
        g_assert_cmpuint(harness.server->untrusted, ==, 0);
}

/* max_clients is 50: users together reach it, the superuser passes. */
static void test_clients_of_all_users(void) {
        Wire many[50], extra, root;
        for (guint i = 0; i < G_N_ELEMENTS(many); i++)
                open_as(&many[i], USER + i / 20);
        wire_connect(&extra, &harness, FALSE, RPC_AUTH_NONE, 2000);
        g_assert_true(wire_is_closed(&extra));
        open_as(&root, 0);
        for (guint i = 0; i < G_N_ELEMENTS(many); i++)
                wire_close(&many[i]);
        wire_close(&extra);
        wire_close(&root);
}

static void pass_minute(RpcClient *client) {
        g_source_set_ready_time(g_main_context_find_source_by_id(NULL, client->auth_timer), 0);
        (void) iterate();
}

/* A minute at most, or five while a prompt is on somebody's screen. */
static void test_time_to_authenticate(void) {
        Wire idle, prompted;
        wire_connect(&idle, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        pass_minute(last_client());
        g_assert_true(wire_is_closed(&idle));
        wire_close(&idle);
        wire_connect(&prompted, &harness, FALSE, RPC_AUTH_POLKIT, USER);
        g_autoptr(RpcClient) client = rpc_client_ref(last_client());
        client->in_flight++;
        for (guint minute = 1; minute < 5; minute++) {
                pass_minute(client);
                g_assert_false(client->closed);
        }
        pass_minute(client);
        g_assert_true(client->closed);
        wire_close(&prompted);
}

/* --- Workers --- */

typedef struct Block {
        GMutex lock;
        GCond cond;
        gboolean open;
        guint running, done;
} Block;

static void block_run(gpointer data) {
        Block *block = data;
        g_mutex_lock(&block->lock);
        block->running++;
        g_cond_broadcast(&block->cond);
        while (!block->open)
                g_cond_wait(&block->cond, &block->lock);
        g_mutex_unlock(&block->lock);
}

static void block_done(gpointer data) {
        ((Block *) data)->done++;
}

/* Waits until as many run, and a moment longer to see whether there are more. */
static guint count_running(Block *block, guint expected) {
        gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
        g_mutex_lock(&block->lock);
        while (block->running < expected && g_cond_wait_until(&block->cond, &block->lock, end))
                ;
        g_mutex_unlock(&block->lock);
        g_usleep(20000);
        g_mutex_lock(&block->lock);
        guint running = block->running;
        g_mutex_unlock(&block->lock);
        return running;
}

static void block_release(Block *block) {
        g_mutex_lock(&block->lock);
        block->open = TRUE;
        g_cond_broadcast(&block->cond);
        g_mutex_unlock(&block->lock);
}

static void push(RpcWorkers *workers, RpcUser *user, guint n, RpcLane lane, Block *block) {
        for (guint i = 0; i < n; i++)
                rpc_workers_push(workers, user, lane, block_run, block_done, block);
}

/* Of 8 workers, 4 for priority and 4 for neighbours: a user 4, 2 and 2, all users 6, 3 and 3, root the rest. */
static void test_workers_are_shared(void) {
        RpcUsers *users = rpc_users_new();
        RpcUser *one = rpc_users_get(users, USER), *other = rpc_users_get(users, OTHER);
        RpcUser *root = rpc_users_get(users, 0);
        RpcWorkers *workers = rpc_workers_new(8, 4, 4, NULL);
        Block first = { 0 }, first_high = { 0 }, neighbour = { 0 }, second = { 0 }, second_high = { 0 };
        Block trusted = { .open = TRUE };
        push(workers, one, 100, RPC_LANE_NORMAL, &first);
        g_assert_cmpuint(count_running(&first, 4), ==, 4);
        push(workers, one, 100, RPC_LANE_HIGH, &first_high);
        g_assert_cmpuint(count_running(&first_high, 2), ==, 2);
        push(workers, one, 100, RPC_LANE_NEIGHBOUR, &neighbour);
        g_assert_cmpuint(count_running(&neighbour, 2), ==, 2);
        push(workers, other, 100, RPC_LANE_NORMAL, &second);
        g_assert_cmpuint(count_running(&second, 2), ==, 2);
        push(workers, other, 100, RPC_LANE_HIGH, &second_high);
        g_assert_cmpuint(count_running(&second_high, 1), ==, 1);
        push(workers, root, 10, RPC_LANE_NORMAL, &trusted);
        push(workers, root, 10, RPC_LANE_HIGH, &trusted);
        push(workers, root, 10, RPC_LANE_NEIGHBOUR, &trusted);
        while (trusted.done < 30)
                (void) g_main_context_iteration(NULL, TRUE);
        block_release(&first);
        block_release(&first_high);
        block_release(&neighbour);
        block_release(&second);
        block_release(&second_high);
        rpc_workers_free(workers);
        g_assert_cmpuint(first.done + first_high.done + neighbour.done, ==, 300);
        g_assert_cmpuint(second.done + second_high.done, ==, 200);
        rpc_user_unref(one);
        rpc_user_unref(other);
        rpc_user_unref(root);
        rpc_users_free(users);
}

/* No call begins for a client that leaves megabytes of answers unread, until it reads them. */
static void test_workers_wait_for_the_reader(void) {
        RpcUsers *users = rpc_users_new();
        RpcUser *user = rpc_users_get(users, USER);
        RpcWorkers *workers = rpc_workers_new(2, 1, 1, NULL);
        Block block = { .open = TRUE };
        user->output.used = RPC_USER_OUTPUT_HIGH + 1;
        push(workers, user, 5, RPC_LANE_HIGH, &block);
        g_assert_cmpuint(count_running(&block, 0), ==, 0);
        user->output.used = 0;
        rpc_workers_resume(workers);
        while (block.done < 5)
                (void) g_main_context_iteration(NULL, TRUE);
        rpc_workers_free(workers);
        rpc_user_unref(user);
        rpc_users_free(users);
}

/* --- Memory --- */

/* The beginning of a packet of 32 MiB. */
static void send_part(Wire *wire, gsize size) {
        const guint32 length = GUINT32_TO_BE(RPC_PACKET_MAX);
        g_autofree guint8 *bytes = g_malloc0(size);
        memcpy(bytes, &length, sizeof(length));
        wire_send_bytes(wire, bytes, size);
        (void) iterate();
}

/* Packets that have arrived in part count per user; a small call always passes. */
static void test_input_of_a_user(void) {
        Wire first, second, third, small, other, root;
        Wire *all[] = { &first, &second, &third, &small, &other, &root };
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                open_as(all[i], i < 4 ? USER : i == 4 ? OTHER : 0);
        send_part(&first, 17 << 20); /* buffers double: of 64 MiB this takes 32 */
        send_part(&second, 9 << 20);
        send_part(&third, 17 << 20);
        g_assert_true(wire_is_closed(&third));
        send_part(&other, 1 << 20);
        send_part(&root, 1 << 20);
        g_assert_cmpint(wire_call_simple(&small, GET_TYPE), ==, 0);
        gsize held = last_client()->server->own->input.used;
        g_assert_cmpuint(held, >=, 1 << 20);
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                wire_close(all[i]);
        g_assert_cmpuint(harness.server->own->input.used, ==, 0);
}

/* --- Events --- */

static int event_register(Wire *wire, int event, rpc_domain *dom) {
        rpc_int_opt_domain_args args = { event, dom };
        rpc_int_ret ret;
        int code = wire_call(wire, REGISTER, (xdrproc_t) xdr_rpc_int_opt_domain_args, &args,
                             (xdrproc_t) xdr_rpc_int_ret, &ret);
        return code == 0 ? ret.value : -code;
}

static rpc_domain numbered_domain(guint number) {
        rpc_domain dom = { (rpc_text) "x", { 0 }, -1 };
        memcpy(dom.uuid, &number, sizeof(number));
        return dom;
}

static void test_alike_registrations(void) {
        Wire wire;
        rpc_domain dom = numbered_domain(7);
        open_as(&wire, 0);
        for (guint i = 0; i < 2 * RPC_ALIKE_CALLBACKS_MAX; i++)
                g_assert_cmpint(event_register(&wire, 0, i % 2 ? &dom : NULL), ==, i);
        g_assert_cmpint(event_register(&wire, 0, NULL), ==, -VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(event_register(&wire, 0, &dom), ==, -VIR_ERR_INTERNAL_ERROR);
        g_assert_cmpint(event_register(&wire, 1, NULL), >=, 0);
        wire_close(&wire);
        g_assert_cmpuint(g_hash_table_size(harness.server->callbacks), ==, 0);
}

static guint count_receivers(int event, const rpc_domain *dom) {
        g_autoptr(GArray) receivers = rpc_callbacks_find(harness.server->callbacks, event, (const guint8 *) dom->uuid);
        return receivers->len;
}

/* A user with thousands of registrations gets no more; others do, and an event visits only those that it concerns. */
static void test_registrations_of_a_user(void) {
        enum { CLIENTS = RPC_USER_CALLBACKS_MAX / RPC_CALLBACKS_MAX };
        Wire wires[CLIENTS], extra, root;
        for (guint i = 0; i < CLIENTS; i++) {
                open_as(&wires[i], USER);
                for (guint n = 0; n < RPC_CALLBACKS_MAX; n++) {
                        rpc_domain dom = numbered_domain(i * RPC_CALLBACKS_MAX + n);
                        g_assert_cmpint(event_register(&wires[i], 0, &dom), >=, 0);
                }
                g_assert_cmpint(event_register(&wires[i], 1, NULL), ==, -VIR_ERR_INTERNAL_ERROR);
        }
        open_as(&extra, USER);
        g_assert_cmpint(event_register(&extra, 0, NULL), ==, -VIR_ERR_INTERNAL_ERROR);
        open_as(&root, 0);
        g_assert_cmpint(event_register(&root, 0, NULL), ==, 0);
        rpc_domain dom = numbered_domain(5), unknown = numbered_domain(1u << 30);
        g_assert_cmpuint(count_receivers(0, &dom), ==, 2);
        g_assert_cmpuint(count_receivers(0, &unknown), ==, 1);
        g_assert_cmpuint(count_receivers(1, &dom), ==, 0);
        wire_close(&wires[0]);
        g_assert_cmpint(event_register(&extra, 0, NULL), ==, 0);
        for (guint i = 1; i < CLIENTS; i++)
                wire_close(&wires[i]);
        wire_close(&extra);
        wire_close(&root);
}

static void deliver(guint n) {
        char name[201];
        memset(name, 'n', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        DomainEvent event = { .type = VIR_DOMAIN_EVENT_ID_LIFECYCLE, .domain = { .name = name, .id = 1 } };
        for (guint i = 0; i < n; i++)
                rpc_events_deliver(harness.server, &event);
}

/* A client that does not read has megabytes queued, then is dropped; one that reads misses nothing. */
static void test_slow_listener(void) {
        enum { EVENTS = 40000 };
        Wire slow, good;
        guint received = 0;
        open_as(&slow, 0);
        g_autoptr(RpcClient) client = rpc_client_ref(last_client());
        open_as(&good, USER);
        g_assert_cmpint(event_register(&slow, 0, NULL), ==, 0);
        g_assert_cmpint(event_register(&good, 0, NULL), ==, 0);
        for (guint i = 0; i < EVENTS; i++) {
                deliver(1);
                g_assert_cmpuint(client->events, <=, 2 * 1024 * 1024);
                g_assert_cmpuint(rpc_conn_get_pending(client->conn), <=, 3 * 1024 * 1024);
                while (received <= i) {
                        g_autoptr(RpcPacket) packet = wire_receive(&good, 5000);
                        g_assert_nonnull(packet);
                        received++;
                }
        }
        g_assert_true(client->closed);
        g_assert_cmpuint(client->user->events, ==, 0);
        wire_close(&slow);
        wire_close(&good);
}

/* A user's listeners together: the worst goes, and what is held stays bounded. */
static void test_slow_listeners_of_a_user(void) {
        Wire wires[15];
        guint before = rpc_server_client_count(harness.server);
        for (guint i = 0; i < G_N_ELEMENTS(wires); i++) {
                open_as(&wires[i], USER);
                g_assert_cmpint(event_register(&wires[i], 0, NULL), ==, 0);
        }
        RpcUser *user = rpc_users_get(harness.server->users, USER);
        for (guint i = 0; i < 7000; i++) {
                deliver(1);
                g_assert_cmpuint(user->events, <=, RPC_USER_EVENTS_MAX);
        }
        g_assert_cmpuint(rpc_server_client_count(harness.server), <, before + G_N_ELEMENTS(wires));
        rpc_user_unref(user);
        for (guint i = 0; i < G_N_ELEMENTS(wires); i++)
                wire_close(&wires[i]);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL);
        harness_start(&harness);
        g_test_add_func("/rpc/limits/anonymous", test_anonymous);
        g_test_add_func("/rpc/limits/waiting-clients-leave", test_waiting_clients_leave);
        g_test_add_func("/rpc/limits/clients-of-a-user", test_clients_of_a_user);
        g_test_add_func("/rpc/limits/clients-of-all-users", test_clients_of_all_users);
        g_test_add_func("/rpc/limits/time-to-authenticate", test_time_to_authenticate);
        g_test_add_func("/rpc/limits/workers-are-shared", test_workers_are_shared);
        g_test_add_func("/rpc/limits/workers-wait-for-the-reader", test_workers_wait_for_the_reader);
        g_test_add_func("/rpc/limits/input-of-a-user", test_input_of_a_user);
        g_test_add_func("/rpc/limits/alike-registrations", test_alike_registrations);
        g_test_add_func("/rpc/limits/registrations-of-a-user", test_registrations_of_a_user);
        g_test_add_func("/rpc/limits/slow-listener", test_slow_listener);
        g_test_add_func("/rpc/limits/slow-listeners-of-a-user", test_slow_listeners_of_a_user);
        int r = g_test_run();
        harness_stop(&harness);
        return r;
}
