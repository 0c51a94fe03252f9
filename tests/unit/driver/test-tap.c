/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TAPs, bridge ports, limits, neighbours against the kernel, in a network namespace of the
 * test's own. Set up and looked at with iproute2, so that what is checked is what an
 * operator sees. Kernels without bridges or classes skip what needs them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/tap.h"
#include "util/error.h"

static const guint8 guest_mac[6] = { 0x52, 0x54, 0x00, 0x11, 0x22, 0x33 };

static char *G_GNUC_PRINTF(1, 2) run(const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *line = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_autofree char *quoted = g_shell_quote(line), *command = g_strdup_printf("sh -c %s", quoted), *errors = NULL;
        char *output = NULL;
        int status = -1;
        gboolean spawned = g_spawn_command_line_sync(command, &output, &errors, &status, NULL);

        if (spawned && status == 0)
                return output;
        g_test_message("%s: %s", line, errors);
        g_free(output);
        return NULL;
}

static gboolean done(char *output) {
        gboolean ok = output != NULL;
        g_free(output);
        return ok;
}

static void assert_shows(const char *text, const char *command) {
        g_autofree char *output = run("%s", command);
        if (!output || !strstr(output, text))
                g_error("'%s' does not show '%s' but:\n%s", command, text, output);
}

static void assert_hides(const char *text, const char *command) {
        g_autofree char *output = run("%s", command);
        if (!output || strstr(output, text))
                g_error("'%s' shows '%s':\n%s", command, text, output);
}

static TapConfig config_new(void) {
        TapConfig config = {};
        memcpy(config.mac, guest_mac, sizeof(config.mac));
        return config;
}

static void open_ok(const TapConfig *config, Tap *tap) {
        g_autoptr(GError) err = NULL;
        (void) tap_open(config, tap, &err);
        g_assert_no_error(err);
        g_assert_cmpint(tap->fd, >=, 0);
}

static void open_fails(const TapConfig *config, int code, const char *text) {
        g_autoptr(GError) err = NULL;
        g_autofree char *before = run("ip -o link | cut -d: -f2"), *after = NULL;
        Tap tap;

        g_assert_false(tap_open(config, &tap, &err));
        g_assert_error(err, VIRTMICRO_ERROR, code);
        if (!strstr(err->message, text))
                g_error("'%s' lacks '%s'", err->message, text);
        g_assert_cmpint(tap.fd, ==, -1);
        after = run("ip -o link | cut -d: -f2");
        g_assert_cmpstr(before, ==, after);
}

static gboolean have_bridge(int mtu, const char *options) {
        if (done(run("ip link add br7 mtu %d type bridge %s && ip link set br7 up", mtu, options)))
                return TRUE;
        g_test_skip("this kernel has no such bridge");
        return FALSE;
}

static void drop_bridge(void) {
        g_assert_true(done(run("ip link del br7")));
}

static void test_plain(void) {
        TapConfig config = config_new();
        Tap tap, second;

        open_ok(&config, &tap);
        open_ok(&config, &second);
        g_assert_true(g_str_has_prefix(tap.name, "vnet"));
        g_assert_cmpstr(tap.name, !=, second.name);
        g_assert_cmpuint((guint) tap.ifindex, ==, if_nametoindex(tap.name));
        g_assert_cmpuint(tap.mtu, ==, 1500);
        g_assert_cmpint(fcntl(tap.fd, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
        g_assert_cmpint(fcntl(tap.fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        g_autofree char *command = g_strdup_printf("ip -d link show %s", tap.name);
        assert_shows("fe:54:00:11:22:33", command);
        assert_shows("UP", command);
        assert_shows("vnet_hdr on", command);
        assert_shows("persist off", command);

        g_autofree char *name = g_strdup(tap.name);
        g_assert_true(tap_exists(name));
        tap_clear(&tap);
        g_assert_false(tap_exists(name));
        tap_clear(&second);
}

static void test_names(void) {
        TapConfig config = config_new();
        Tap tap;

        config.name = "web1-eth0";
        config.mtu = 9000;
        open_ok(&config, &tap);
        g_assert_cmpstr(tap.name, ==, "web1-eth0");
        assert_shows("mtu 9000", "ip link show web1-eth0");
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "interface 'web1-eth0' exists already: remove it or");
        tap_clear(&tap);
        config.name = "a-name-that-is-too-long";
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "longer than 15");
        config.name = "fine";
        config.mtu = 10;
        open_fails(&config, VIR_ERR_SYSTEM_ERROR, "cannot set address and MTU 10 of TAP 'fine': Invalid argument (mtu");
        config.mtu = 0;
        config.bridge = "lo";
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "interface 'lo' is not a Linux bridge");
        config.bridge = "br7";
        open_fails(&config, VIR_ERR_SYSTEM_ERROR,
                   "bridge 'br7' does not exist: create it (ip link add br7 type bridge) or name another");
}

/* --- Between the question whether a name is free, and the making of the TAP ---------------------- */

typedef struct Maker {
        TapConfig config;
        GAsyncQueue *listeners;
        Tap tap;
        GError *err;
} Maker;

/* From here on the thread stops in TUNSETIFF, until the holder of the descriptor lets it continue. */
static int stop_at_tunsetiff(void) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TUNSETIFF, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { G_N_ELEMENTS(code), code };
        return (int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static gpointer maker_main(gpointer data) {
        Maker *maker = data;
        int listener = stop_at_tunsetiff();
        g_async_queue_push(maker->listeners, GINT_TO_POINTER(listener + 1));
        return GINT_TO_POINTER(listener >= 0 && tap_open(&maker->config, &maker->tap, &maker->err));
}

static void await_stop(int listener, struct seccomp_notif *ret) {
        struct pollfd p = { .fd = listener, .events = POLLIN };
        g_assert_cmpint(poll(&p, 1, 30000), ==, 1);
        memset(ret, 0, sizeof(*ret));
        g_assert_cmpint(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, ret), ==, 0);
}

static void let_go(int listener, const struct seccomp_notif *stopped) {
        struct seccomp_notif_resp response = { .id = stopped->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
        g_assert_cmpint(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response), ==, 0);
}

/* Begins to make the TAP; when this returns it has found the name free, and has made nothing. */
static GThread *maker_begin(Maker *maker, int *ret_listener, struct seccomp_notif *ret) {
        *maker = (Maker) { .config = config_new(), .listeners = g_async_queue_new() };
        maker->config.name = "raced";
        GThread *thread = g_thread_new("maker", maker_main, maker);
        *ret_listener = GPOINTER_TO_INT(g_async_queue_pop(maker->listeners)) - 1;
        g_assert_cmpint(*ret_listener, >=, 0);
        await_stop(*ret_listener, ret);
        return thread;
}

static gboolean maker_end(Maker *maker, GThread *thread, int listener) {
        gboolean made = GPOINTER_TO_INT(g_thread_join(thread));
        g_async_queue_unref(maker->listeners);
        (void) close(listener);
        return made;
}

/* The TAP that got the name first keeps it, and nobody else reads from it, not even while it waits for its user. */
static void assert_loses(const char *winner) {
        struct seccomp_notif stopped;
        int listener;
        Maker maker;
        GThread *thread = maker_begin(&maker, &listener, &stopped);
        g_assert_true(done(run("%s", winner)));
        let_go(listener, &stopped);
        g_assert_false(maker_end(&maker, thread, listener));
        g_assert_error(maker.err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_assert_nonnull(strstr(maker.err->message, "cannot make TAP 'raced': an interface has that name"));
        g_assert_cmpint(maker.tap.fd, ==, -1);
        g_clear_error(&maker.err);
        assert_hides("UP", "ip -o link show raced | cut -d'>' -f1");
        g_assert_true(done(run("ip link del raced")));
}

static void test_name_taken_meanwhile(void) {
        assert_loses("ip tuntap add raced mode tap vnet_hdr");
        assert_loses("ip tuntap add raced mode tun");
}

/* Two at the same step: one has the TAP, the other has nothing. */
static void test_two_makers(void) {
        struct seccomp_notif stopped[2];
        int listener[2];
        Maker maker[2];
        GThread *thread[2];
        for (guint i = 0; i < 2; i++)
                thread[i] = maker_begin(&maker[i], &listener[i], &stopped[i]);
        for (guint i = 0; i < 2; i++)
                let_go(listener[i], &stopped[i]);
        gboolean first = maker_end(&maker[0], thread[0], listener[0]);
        gboolean second = maker_end(&maker[1], thread[1], listener[1]);
        g_assert_cmpint(first, !=, second);
        Maker *winner = &maker[first ? 0 : 1], *loser = &maker[first ? 1 : 0];
        g_assert_no_error(winner->err);
        g_assert_error(loser->err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_clear_error(&loser->err);
        g_assert_cmpint(loser->tap.fd, ==, -1);
        g_assert_true(tap_exists("raced"));
        tap_clear(&winner->tap);
        g_assert_false(tap_exists("raced"));
}

static void test_existing(void) {
        TapConfig config = config_new();
        Tap tap, other;

        config.name = "mine";
        config.existing = TRUE;
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "TAP 'mine' does not exist: create it (ip tuntap add mine");
        g_assert_true(done(run("ip tuntap add mine mode tap && ip link set mine address 02:00:00:00:00:01")));
        open_ok(&config, &tap);
        assert_shows("02:00:00:00:00:01", "ip link show mine");
        g_autoptr(GError) err = NULL;
        g_assert_false(tap_open(&config, &other, &err));
        g_assert_nonnull(strstr(err->message, "another program has it"));
        tap_clear(&tap);
        g_assert_true(tap_exists("mine"));
        g_assert_true(done(run("ip link del mine")));
        config.name = "lo";
        open_fails(&config, VIR_ERR_SYSTEM_ERROR, "cannot attach to 'lo'");
}

static void test_bridge(void) {
        TapConfig config = config_new();
        Tap tap;

        if (!have_bridge(1400, ""))
                return;
        config.name = "t0";
        config.bridge = "br7";
        open_ok(&config, &tap);
        g_assert_cmpuint(tap.mtu, ==, 1400);
        assert_shows("master br7", "ip link show t0");
        assert_shows("isolated off", "bridge -d link show dev t0");
        assert_shows("addrgenmode none", "ip -d link show t0");
        assert_hides("inet6", "ip address show t0");
        tap_clear(&tap);

        config.isolated = TRUE;
        open_ok(&config, &tap);
        assert_shows("isolated on", "bridge -d link show dev t0");
        tap_clear(&tap);

        config.has_vlan = TRUE;
        config.vlan_tag = 42;
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "bridge 'br7' does not filter VLANs: switch that on");
        drop_bridge();
}

static void test_vlan(void) {
        static const guint16 tags[] = { 1, 2, 42, 4094 };
        TapConfig config = config_new();
        Tap tap;

        if (!have_bridge(1500, "vlan_filtering 1"))
                return;
        config.name = "t0";
        config.bridge = "br7";
        config.has_vlan = TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(tags); i++) {
                config.vlan_tag = tags[i];
                open_ok(&config, &tap);
                g_autofree char *vlans = run("bridge -j vlan show dev t0");
                g_autofree char *expected = g_strdup_printf(
                        "[{\"ifname\":\"t0\",\"vlans\":[{\"vlan\":%u,\"flags\":[\"PVID\",\"Egress Untagged\"]}]}]",
                        tags[i]);
                g_assert_cmpstr(g_strchomp(vlans), ==, expected);
                tap_clear(&tap);
        }
        config.vlan_tag = 4095;
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "VLAN tag 4095 is not one of 1 to 4094");
        config.vlan_tag = 0;
        open_fails(&config, VIR_ERR_CONFIG_UNSUPPORTED, "VLAN tag 0");
        drop_bridge();
}

static gboolean have_tc(void) {
        gboolean ok = done(run("ip tuntap add probe mode tap && tc qdisc add dev probe root handle 1: htb && "
                               "tc qdisc add dev probe ingress && tc filter add dev probe parent ffff: matchall "
                               "action police rate 1mbit burst 100k drop"));
        (void) done(run("ip link del probe"));
        if (!ok)
                g_test_skip("this kernel lacks htb or policing");
        return ok;
}

static void set_limits(const char *name, const TapLimits *from, const TapLimits *to) {
        g_autoptr(GError) err = NULL;
        g_assert_true(tap_set_bandwidth(name, from, to, &err));
        g_assert_no_error(err);
}

/* Moves to another bridge, VLAN or isolation. A TAP that cannot move stays where it was. */
static void test_move(void) {
        TapConfig here = config_new(), there, nowhere;
        g_autoptr(GError) err = NULL;
        Tap tap;

        if (!have_bridge(1500, "vlan_filtering 1"))
                return;
        g_assert_true(done(run("ip link add br8 type bridge && ip link set br8 up")));
        here.name = "mover";
        here.bridge = "br7";
        here.has_vlan = TRUE;
        here.vlan_tag = 77;
        there = nowhere = here;
        there.bridge = "br8";
        there.has_vlan = FALSE;
        there.isolated = TRUE;
        open_ok(&here, &tap);
        g_assert_true(tap_move("mover", &here, &there, &err));
        assert_shows("master br8", "ip link show mover");
        assert_shows("UP", "ip link show mover");
        assert_shows("isolated on", "bridge -d link show dev mover");
        assert_shows("fe:54:00:11:22:33", "ip link show mover");

        /* A refused move does not take it out of its bridge, which would forget what is behind the port. */
        g_assert_true(done(run("bridge fdb add 52:54:00:aa:bb:cc dev mover master static")));
        nowhere.bridge = "br8"; /* which does not filter VLANs */
        g_assert_false(tap_move("mover", &there, &nowhere, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_clear_error(&err);
        nowhere.bridge = "br9";
        g_assert_false(tap_move("mover", &there, &nowhere, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
        g_clear_error(&err);
        assert_shows("master br8", "ip link show mover");
        assert_shows("UP", "ip link show mover");
        assert_shows("isolated on", "bridge -d link show dev mover");
        assert_shows("52:54:00:aa:bb:cc", "bridge fdb show dev mover");

        g_assert_true(tap_move("mover", &there, &here, &err));
        assert_shows("master br7", "ip link show mover");
        assert_shows("isolated off", "bridge -d link show dev mover");
        assert_shows("\"vlans\":[{\"vlan\":77,\"flags\":[\"PVID\",\"Egress Untagged\"]}]",
                     "bridge -j vlan show dev mover");
        tap_clear(&tap);
        g_assert_false(tap_move("mover", &here, &there, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
        g_assert_true(done(run("ip link del br8")));
        drop_bridge();
}

static void test_bandwidth(void) {
        DomainBandwidth inbound = { .average = 1000, .peak = 2000, .burst = 256 }, outbound = { .average = 500 };
        const TapLimits none = { NULL, NULL }, in = { &inbound, NULL }, both = { &inbound, &outbound };
        TapConfig config = config_new();
        g_autoptr(GError) err = NULL;
        Tap tap;

        if (!have_tc())
                return;
        config.name = "t0";
        config.inbound = &inbound;
        config.outbound = &outbound;
        open_ok(&config, &tap);
        assert_shows("qdisc htb 1: root refcnt 2 r2q 10 default 0x1", "tc qdisc show dev t0");
        assert_shows("qdisc ingress ffff:", "tc qdisc show dev t0");
        assert_shows("rate 8Mbit ceil 16Mbit burst 256Kb", "tc class show dev t0");
        assert_shows("rate 4Mbit burst 500000b", "tc filter show dev t0 parent ffff: | sed s/488.*Kb/500000b/");

        inbound.average = 3000;
        set_limits("t0", &both, &in);
        assert_shows("rate 24Mbit ceil 24Mbit", "tc class show dev t0");
        assert_hides("ingress", "tc qdisc show dev t0");
        inbound.average = 10000000; /* 80 Gbit/s: beyond 32 bits */
        outbound.average = 10000000;
        set_limits("t0", &in, &both);
        assert_shows("rate 80Gbit", "tc class show dev t0");
        assert_shows("rate 80Gbit", "tc filter show dev t0 parent ffff:");
        set_limits("t0", &both, &none);
        set_limits("t0", &none, &none);
        assert_hides("htb", "tc qdisc show dev t0");

        inbound.average = 0;
        g_assert_false(tap_set_bandwidth("t0", &none, &in, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_clear_error(&err);
        tap_clear(&tap);
        g_assert_false(tap_set_bandwidth("t0", &none, &none, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
}

static void refuse_limits(const TapLimits *from, const TapLimits *to, const char *message) {
        g_autoptr(GError) err = NULL;
        g_assert_false(tap_set_bandwidth("t0", from, to, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_assert_nonnull(strstr(err->message, message));
}

/* What the operator has made on a TAP stays, and is not taken for ours. */
static void test_foreign_qdiscs(void) {
        DomainBandwidth first = { .average = 1000 }, second = { .average = 2000 };
        const TapLimits none = { NULL, NULL }, in = { &first, NULL }, out = { NULL, &first };
        const TapLimits both = { &first, &first }, more = { &second, &first };
        TapConfig config = config_new();
        Tap tap;

        if (!have_tc())
                return;
        config.name = "t0";
        open_ok(&config, &tap);
        g_assert_true(done(run("tc qdisc add dev t0 ingress")));
        set_limits("t0", &none, &in);
        refuse_limits(&in, &more, "has an ingress qdisc already");
        assert_shows("rate 8Mbit", "tc class show dev t0"); /* as before */
        set_limits("t0", &in, &none);
        assert_hides("htb", "tc qdisc show dev t0");
        refuse_limits(&none, &both, "has an ingress qdisc already");
        assert_hides("htb", "tc qdisc show dev t0");
        assert_shows("qdisc ingress ffff:", "tc qdisc show dev t0");

        g_assert_true(done(run("tc qdisc del dev t0 ingress")));
        g_assert_true(done(run("tc qdisc add dev t0 root handle 1: htb")));
        set_limits("t0", &none, &out);
        refuse_limits(&out, &both, "has a root qdisc already");
        assert_shows("rate 8Mbit", "tc filter show dev t0 parent ffff:");
        set_limits("t0", &out, &none);
        assert_shows("qdisc htb 1: root", "tc qdisc show dev t0");
        assert_hides("ingress", "tc qdisc show dev t0");
        tap_clear(&tap);
}

/* A frame with its virtio-net header, as a monitor writes it. */
static void send_frame(int fd) {
        guint8 frame[12 + 60] = {};
        memset(frame + 12, 0xff, 6);
        memcpy(frame + 18, guest_mac, 6);
        frame[24] = 0x88;
        frame[25] = 0xb5; /* local experimental */
        g_assert_cmpint(write(fd, frame, sizeof(frame)), ==, sizeof(frame));
}

static void test_stats(void) {
        TapConfig config = config_new();
        g_autoptr(GError) err = NULL;
        TapStats stats;
        Tap tap;

        open_ok(&config, &tap);
        send_frame(tap.fd);
        send_frame(tap.fd);
        g_assert_true(tap_get_stats(tap.name, &stats, &err));
        g_assert_cmpuint(stats.tx_packets, ==, 2); /* sent by the guest */
        g_assert_cmpuint(stats.tx_bytes, ==, 120);
        tap_clear(&tap);
        g_assert_false(tap_get_stats("none", &stats, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
}

static void test_neighbours(void) {
        TapConfig config = config_new();
        g_autoptr(GError) err = NULL;
        Tap tap;

        config.name = "t0";
        open_ok(&config, &tap);
        g_assert_true(done(run("ip neigh add 192.0.2.7 lladdr 52:54:00:11:22:33 nud reachable dev t0; "
                               "ip neigh add 192.0.2.9 lladdr 52:54:00:11:22:33 nud failed dev t0; "
                               "ip neigh add 192.0.2.8 lladdr 52:54:00:11:22:34 nud reachable dev t0")));
        g_autoptr(GPtrArray) found = neigh_lookup(guest_mac, &err);
        g_assert_no_error(err);
        g_assert_cmpuint(found->len, ==, 1);
        g_assert_cmpstr(g_ptr_array_index(found, 0), ==, "192.0.2.7");
        tap_clear(&tap);
}

/* Of a domain whose status was damaged. */
static void test_unknown(void) {
        const TapLimits none = { NULL, NULL };
        TapConfig config = config_new();
        g_autoptr(GError) err = NULL;
        TapStats stats;

        g_assert_false(tap_get_stats(NULL, &stats, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
        g_assert_false(tap_set_bandwidth(NULL, &none, &none, NULL));
        g_assert_false(tap_move(NULL, &config, &config, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || !done(run("ip -V"))) {
                g_print("skipped: needs root, /dev/net/tun and iproute2\n");
                return 77;
        }
        g_test_add_func("/tap/plain", test_plain);
        g_test_add_func("/tap/names", test_names);
        g_test_add_func("/tap/name-taken-meanwhile", test_name_taken_meanwhile);
        g_test_add_func("/tap/two-makers", test_two_makers);
        g_test_add_func("/tap/existing", test_existing);
        g_test_add_func("/tap/bridge", test_bridge);
        g_test_add_func("/tap/vlan", test_vlan);
        g_test_add_func("/tap/move", test_move);
        g_test_add_func("/tap/bandwidth", test_bandwidth);
        g_test_add_func("/tap/foreign-qdiscs", test_foreign_qdiscs);
        g_test_add_func("/tap/stats", test_stats);
        g_test_add_func("/tap/unknown", test_unknown);
        g_test_add_func("/tap/neighbours", test_neighbours);
        return g_test_run();
}
