/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The network device, with a datagram socket in the TAP's place: it keeps frame borders
 * and carries the header, but knows no offloads.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "dev/net.h"
#include "driver.h"
#include "watch.h"

#define HEADER   ((uint32_t) sizeof(struct virtio_net_hdr_mrg_rxbuf))
#define BUFFER   2048u
#define RX_DATA  DATA_START
#define TX_DATA  (DATA_START + 0x400000)
#define BIG_PART 60000u

struct fixture {
        struct driver driver;
        struct ring rx, tx;
        int wire; /* the other end */
};

static void fixture_fd(struct fixture *f, int fd, uint64_t features, bool link_up, unsigned ring_size) {
        struct net_config config = { .name = "tap0", .vhost_fd = -EBADF, .mac = { 2, 0, 0, 0, 0, 7 }, .mtu = 1500 };
        struct virtio_device *dev;

        config.tap_fd = fd;
        config.link_up = link_up;
        CHECK_EQ(net_new(&config, &dev), 0);
        driver_init(&f->driver, dev);
        driver_activate(&f->driver, features);
        ring_init(&f->rx, &f->driver, 0, ring_size);
        ring_init(&f->tx, &f->driver, 1, ring_size);
}

static void fixture_run(struct fixture *f) {
        CHECK_EQ(loop_start(f->driver.dev->loop, NULL, NULL), 0);
}

static void fixture_init(struct fixture *f, uint64_t features, bool link_up, unsigned ring_size) {
        int fds[2], size = 1 << 20;

        memset(f, 0, sizeof(*f));
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
        CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
        CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
        f->wire = fds[0];
        fixture_fd(f, fds[1], features, link_up, ring_size);
        fixture_run(f);
}

static void fixture_done(struct fixture *f, bool broken) {
        driver_stop(&f->driver, broken);
        close_fd(&f->wire);
}

static void add_buffers(struct fixture *f, unsigned n, uint32_t len) {
        for (unsigned i = 0; i < n; i++)
                (void) ring_add(&f->rx, &(struct segment) { RX_DATA + f->rx.next_desc * 0x10000ull, len }, 0, 1);
        ring_kick(&f->rx);
}

static uint8_t *buffer(struct fixture *f, unsigned i) {
        return driver_at(&f->driver, RX_DATA + i * 0x10000ull, 0x10000);
}

static void send_frame(struct fixture *f, uint32_t payload, uint8_t value) {
        static uint8_t frame[70000];

        memset(frame, 0, HEADER);
        memset(frame + HEADER, value, payload);
        CHECK(send(f->wire, frame, HEADER + payload, 0) == HEADER + payload);
}

static uint16_t num_buffers(struct fixture *f, unsigned i) {
        return le16toh(((struct virtio_net_hdr_mrg_rxbuf *) buffer(f, i))->num_buffers);
}

static struct ctl_nic_stats stats(const struct fixture *f) {
        struct ctl_nic_stats s;

        net_stats(f->driver.dev, &s);
        return s;
}

/* What is counted after the chain came back is visible a moment later. */
static void wait_counter(const struct fixture *f, size_t offset, uint64_t want) {
        for (unsigned i = 0; i < 10000; i++) {
                struct timespec ms = { .tv_nsec = 1000000 };
                struct ctl_nic_stats s = stats(f);
                if (*(uint64_t *) ((uint8_t *) &s + offset) == want)
                        return;
                (void) nanosleep(&ms, NULL);
        }
        CHECK(!"the counter has the wanted value");
}

#define WAIT_COUNTER(f, member, want) wait_counter(f, offsetof(struct ctl_nic_stats, member), want)

static void test_receive(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        add_buffers(&f, 4, BUFFER);
        send_frame(&f, 100, 0x11);
        send_frame(&f, 200, 0x22);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 100);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 200);
        CHECK_EQ(num_buffers(&f, 0), 1);
        CHECK(buffer(&f, 0)[HEADER] == 0x11 && buffer(&f, 0)[HEADER + 99] == 0x11);
        CHECK(buffer(&f, 1)[HEADER] == 0x22);
        WAIT_COUNTER(&f, rx_packets, 2);
        CHECK_EQ(stats(&f).rx_bytes, 300);
        fixture_done(&f, false);
}

static void test_mergeable(void) {
        struct fixture f;
        uint32_t total = 0, len;

        fixture_init(&f, ~0ull, true, 64);
        add_buffers(&f, 40, BUFFER);
        send_frame(&f, BIG_PART, 0x33);
        for (unsigned i = 0; i < 30; i++) {
                len = ring_wait(&f.rx);
                for (unsigned k = i ? 0 : HEADER; k < len; k++)
                        CHECK_EQ(buffer(&f, i)[k], 0x33);
                total += len;
        }
        CHECK_EQ(total, HEADER + BIG_PART);
        CHECK_EQ(num_buffers(&f, 0), 30);
        CHECK(!ring_take(&f.rx, NULL, NULL));
        fixture_done(&f, false);
}

/* Those into buffers that the driver gets back unused as well. */
static void test_writes_are_told(void) {
        struct fixture f;
        struct watch w;

        fixture_init(&f, ~0ull, true, 64);
        add_buffers(&f, 3, BUFFER);
        watch_begin(&w, f.driver.mem);
        send_frame(&f, 10000, 0x44);
        (void) usleep(20000);
        driver_settle(&f.driver);
        CHECK(!ring_take(&f.rx, NULL, NULL));
        watch_end(&w, 3);
        fixture_done(&f, false);

        fixture_init(&f, ~0ull, true, 64);
        add_buffers(&f, 5, BUFFER);
        watch_begin(&w, f.driver.mem);
        send_frame(&f, 3 * BUFFER, 0x44);
        for (unsigned i = 0; i < 4; i++)
                (void) ring_wait(&f.rx);
        driver_settle(&f.driver);
        watch_end(&w, 5);
        fixture_done(&f, false);
}

/* A frame for which there are too few buffers waits for more, and keeps its place. */
static void test_too_few_buffers(void) {
        struct fixture f;
        uint32_t total = 0;

        fixture_init(&f, ~0ull, true, 64);
        add_buffers(&f, 3, BUFFER);
        send_frame(&f, 10000, 0x44);
        send_frame(&f, 10, 0x55);
        (void) usleep(20000);
        CHECK(!ring_take(&f.rx, NULL, NULL));
        add_buffers(&f, 4, BUFFER);
        for (unsigned i = 0; i < 5; i++)
                total += ring_wait(&f.rx);
        CHECK_EQ(total, HEADER + 10000);
        CHECK_EQ(num_buffers(&f, 0), 5);
        CHECK(buffer(&f, 0)[HEADER] == 0x44 && buffer(&f, 4)[0] == 0x44);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 10);
        CHECK_EQ(buffer(&f, 5)[HEADER], 0x55);
        fixture_done(&f, false);
}

/* A frame that the whole ring could not hold does not block those behind it. */
static void test_too_big_for_ring(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, true, 8);
        add_buffers(&f, 8, BUFFER);
        send_frame(&f, BIG_PART, 0x44);
        WAIT_COUNTER(&f, rx_drops, 1);
        send_frame(&f, 10, 0x55); /* there is room: the driver has no reason to kick */
        CHECK_EQ(ring_wait(&f.rx), HEADER + 10);
        fixture_done(&f, false);
}

static void test_not_mergeable(void) {
        struct fixture f;

        fixture_init(&f, ~BIT64(VIRTIO_NET_F_MRG_RXBUF), true, 16);
        add_buffers(&f, 4, BUFFER);
        send_frame(&f, BUFFER, 0x11); /* too long by the header */
        send_frame(&f, 20, 0x22);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 20);
        CHECK_EQ(num_buffers(&f, 0), 1);
        WAIT_COUNTER(&f, rx_drops, 1);
        fixture_done(&f, false);
}

/* Without buffers frames wait in the TAP; the loop does not spin. */
static void test_no_buffers(void) {
        struct timespec before, after;
        struct fixture f;
        clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;

        fixture_init(&f, ~0ull, true, 16);
        send_frame(&f, 50, 0x11);
        (void) usleep(10000);
        CHECK(clock_gettime(clock, &before) == 0);
        (void) usleep(200000);
        CHECK(clock_gettime(clock, &after) == 0);
        CHECK((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec - before.tv_nsec < 50000000l);
        add_buffers(&f, 1, BUFFER);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 50);
        fixture_done(&f, false);
}

static void put_tx(struct fixture *f, uint32_t len) {
        memset(driver_at(&f->driver, TX_DATA, len), 0, len);
        memset(driver_at(&f->driver, TX_DATA + HEADER, len - HEADER), 0x66, len - HEADER);
}

static void test_transmit(void) {
        struct segment parts[] = { { TX_DATA, 5 }, { TX_DATA + 5, 7 }, { TX_DATA + 12, 100 } };
        uint8_t frame[256];
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        put_tx(&f, HEADER + 100);
        (void) ring_add(&f.tx, parts, 3, 0);
        ring_kick(&f.tx);
        CHECK_EQ(ring_wait(&f.tx), 0);
        CHECK_EQ(recv(f.wire, frame, sizeof(frame), 0), HEADER + 100);
        CHECK(frame[HEADER] == 0x66 && frame[HEADER + 99] == 0x66);
        CHECK_EQ(stats(&f).tx_packets, 1);
        CHECK_EQ(stats(&f).tx_bytes, 100);
        fixture_done(&f, false);
}

/* One turn of the loop sends a bounded number of frames, the following ones the rest. */
static void test_budget(void) {
        struct fixture f = { 0 };
        unsigned sent = 0;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
        f.wire = fds[0];
        fixture_fd(&f, fds[1], ~0ull, true, 256);
        put_tx(&f, HEADER + 60);
        for (unsigned i = 0; i < 250; i++)
                (void) ring_add(&f.tx, &(struct segment) { TX_DATA, HEADER + 60 }, 1, 0);
        ring_kick(&f.tx); /* the loop's thread does not run yet */
        while (ring_take(&f.tx, NULL, NULL))
                sent++;
        CHECK(sent > 0 && sent < 250);
        fixture_run(&f);
        for (; sent < 250; sent++)
                (void) ring_wait(&f.tx);
        fixture_done(&f, false);
}

static void test_transmit_refused(void) {
        struct segment many[16];
        struct fixture f;

        fixture_init(&f, ~0ull, true, 64);
        /* Longer than any frame: dropped, not sent and not an error of the device. */
        for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
                many[i] = (struct segment) { TX_DATA, 0x100000 };
        (void) ring_add(&f.tx, many, ARRAY_SIZE(many), 0);
        ring_kick(&f.tx);
        CHECK_EQ(ring_wait(&f.tx), 0);
        CHECK_EQ(stats(&f).tx_drops, 1);
        /* A wire that does not take frames. */
        close_fd(&f.wire);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, 100 }, 1, 0);
        ring_kick(&f.tx);
        CHECK_EQ(ring_wait(&f.tx), 0);
        CHECK_EQ(stats(&f).tx_drops, 2);
        fixture_done(&f, false);
}

static void test_hostile(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, HEADER - 1 }, 1, 0);
        ring_kick(&f.tx);
        fixture_done(&f, true);

        fixture_init(&f, ~0ull, true, 16);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, 200 }, 0, 1); /* wrong direction */
        ring_kick(&f.tx);
        fixture_done(&f, true);

        fixture_init(&f, ~0ull, true, 16);
        add_buffers(&f, 1, HEADER - 1);
        send_frame(&f, 10, 1);
        for (unsigned i = 0; i < 10000 && !f.driver.needs_reset; i++)
                (void) usleep(1000);
        fixture_done(&f, true);

        fixture_init(&f, ~0ull, true, 16);
        (void) ring_add(&f.tx, &(struct segment) { DRIVER_MEMORY, 200 }, 1, 0);
        ring_kick(&f.tx);
        fixture_done(&f, true);
}

static unsigned status(const struct fixture *f) {
        struct virtio_net_config config;

        f->driver.dev->ops->config_read(f->driver.dev, 0, &config, f->driver.dev->config_size);
        return le16toh(config.status);
}

static void test_link(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, false, 16);
        CHECK_EQ(status(&f), 0);
        add_buffers(&f, 2, BUFFER);
        send_frame(&f, 10, 1); /* nobody is there */
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, 100 }, 1, 0);
        ring_kick(&f.tx);
        CHECK_EQ(ring_wait(&f.tx), 0);
        CHECK_EQ(stats(&f).tx_drops, 1);
        net_set_link(f.driver.dev, true);
        CHECK_EQ(status(&f), VIRTIO_NET_S_LINK_UP);
        CHECK_EQ(f.driver.config_changes, 1);
        send_frame(&f, 20, 2);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 20);
        net_set_link(f.driver.dev, true);
        CHECK_EQ(f.driver.config_changes, 1);
        net_set_link(f.driver.dev, false);
        CHECK_EQ(f.driver.config_changes, 2);
        fixture_done(&f, false);
}

static void test_config(void) {
        struct virtio_net_config config;
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        f.driver.dev->ops->config_read(f.driver.dev, 0, &config, f.driver.dev->config_size);
        CHECK(memcmp(config.mac, "\x02\0\0\0\0\x07", 6) == 0);
        CHECK_EQ(le16toh(config.mtu), 1500);
        /* No TAP, no offloads. */
        CHECK(!(f.driver.dev->host_features & (BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4))));
        fixture_done(&f, false);
}

/* §5.1.3.1: what segments needs checksums, and what marks congestion needs segments, of its own direction. */
static void test_required_features(void) {
        static const struct {
                uint64_t features;
                bool valid;
        } sets[] = {
                { 0, true },
                { BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM), true },
                { BIT64(VIRTIO_NET_F_HOST_TSO4), false },
                { BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_CSUM), false },
                { BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_CSUM), true },
                { BIT64(VIRTIO_NET_F_HOST_TSO6), false },
                { BIT64(VIRTIO_NET_F_HOST_TSO6) | BIT64(VIRTIO_NET_F_CSUM), true },
                { BIT64(VIRTIO_NET_F_HOST_ECN) | BIT64(VIRTIO_NET_F_CSUM), false },
                { BIT64(VIRTIO_NET_F_HOST_ECN) | BIT64(VIRTIO_NET_F_HOST_TSO6) | BIT64(VIRTIO_NET_F_CSUM), true },
                { BIT64(VIRTIO_NET_F_GUEST_TSO4), false },
                { BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_CSUM), false },
                { BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_CSUM), true },
                { BIT64(VIRTIO_NET_F_GUEST_TSO6), false },
                { BIT64(VIRTIO_NET_F_GUEST_TSO6) | BIT64(VIRTIO_NET_F_GUEST_CSUM), true },
                { BIT64(VIRTIO_NET_F_GUEST_ECN) | BIT64(VIRTIO_NET_F_GUEST_CSUM), false },
                { BIT64(VIRTIO_NET_F_GUEST_ECN) | BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_CSUM),
                  true },
        };
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
                CHECK_EQ(f.driver.dev->ops->features_valid(f.driver.dev, sets[i].features), sets[i].valid);
        fixture_done(&f, false);
}

/* After a reset a new driver starts afresh. */
static void test_reset(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        add_buffers(&f, 3, BUFFER);
        send_frame(&f, 10000, 1); /* waits for buffers */
        (void) usleep(20000);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        ring_init(&f.rx, &f.driver, 0, 16);
        ring_init(&f.tx, &f.driver, 1, 16);
        driver_activate(&f.driver, ~0ull);
        add_buffers(&f, 3, BUFFER);
        send_frame(&f, 30, 2);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 30);
        fixture_done(&f, false);
}

static int udp_socket(struct sockaddr_in *address) {
        socklen_t len = sizeof(*address);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0 && bind(fd, (struct sockaddr *) address, len) == 0);
        CHECK(getsockname(fd, (struct sockaddr *) address, &len) == 0);
        return fd;
}

/* An error that passes: a socket whose peer is away for a moment answers one read with it. */
static void test_passing_error(void) {
        struct sockaddr_in ours = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, theirs = ours;
        struct fixture f = { .wire = udp_socket(&theirs) };
        int fd = udp_socket(&ours);

        CHECK(connect(fd, (struct sockaddr *) &theirs, sizeof(theirs)) == 0);
        close_fd(&f.wire);
        fixture_fd(&f, fd, ~0ull, true, 16);
        fixture_run(&f);
        add_buffers(&f, 4, BUFFER);
        put_tx(&f, HEADER + 60);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, HEADER + 60 }, 1, 0);
        ring_kick(&f.tx);
        WAIT_COUNTER(&f, rx_drops, 1);
        f.wire = udp_socket(&theirs);
        CHECK(connect(f.wire, (struct sockaddr *) &ours, sizeof(ours)) == 0);
        send_frame(&f, 30, 2);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 30);
        fixture_done(&f, false);
}

/* A backend that ends is not asked again, until a new driver comes. */
static void test_backend_ends(void) {
        struct fixture f = { .wire = -EBADF };
        int fds[2], again[2];

        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, again) == 0);
        close_fd(&fds[0]);
        fixture_fd(&f, fds[1], ~0ull, true, 16);
        fixture_run(&f);
        add_buffers(&f, 1, BUFFER);
        (void) usleep(20000);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        CHECK(dup2(again[1], fds[1]) == fds[1]);
        close_fd(&again[1]);
        f.wire = again[0];
        ring_init(&f.rx, &f.driver, 0, 16);
        ring_init(&f.tx, &f.driver, 1, 16);
        driver_activate(&f.driver, ~0ull);
        add_buffers(&f, 1, BUFFER);
        send_frame(&f, 30, 2);
        CHECK_EQ(ring_wait(&f.rx), HEADER + 30);
        fixture_done(&f, false);
}

static void test_not_live(void) {
        struct fixture f;

        fixture_init(&f, ~0ull, true, 16);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        ring_init(&f.rx, &f.driver, 0, 16);
        ring_init(&f.tx, &f.driver, 1, 16);
        (void) ring_add(&f.rx, &(struct segment) { RX_DATA, BUFFER }, 0, 1);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, 64 }, 1, 0);
        send_frame(&f, 30, 1);
        ring_check_not_live(&f.rx);
        ring_check_not_live(&f.tx);
        CHECK_EQ(stats(&f).tx_packets, 0);
        fixture_done(&f, false);
}

static int open_tap(short flags) {
        struct ifreq ifr = { .ifr_name = "vmtest0", .ifr_flags = flags };
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

        if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) < 0)
                close_fd(&fd);
        return fd;
}

static void bring_up(void) {
        struct ifreq ifr = { .ifr_name = "vmtest0", .ifr_flags = IFF_UP };
        AUTOCLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
}

/* A real TAP in a network namespace of its own: the host's router solicitations arrive, frames leave. */
static void tap_child(void) {
        struct net_config plain = { .vhost_fd = -EBADF };
        struct virtio_device *dev;
        struct fixture f = { .wire = -EBADF };
        int tap;

        if (unshare(CLONE_NEWNET) < 0)
                exit(77);
        tap = open_tap(IFF_TAP | IFF_NO_PI);
        if (tap < 0)
                exit(77);
        plain.tap_fd = tap;
        CHECK_EQ(net_new(&plain, &dev), -EINVAL); /* opened without IFF_VNET_HDR */
        close_fd(&tap);

        tap = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
        CHECK(tap >= 0);
        bring_up();
        fixture_fd(&f, tap, ~0ull, true, 64);
        fixture_run(&f);
        CHECK(f.driver.dev->host_features & BIT64(VIRTIO_NET_F_GUEST_TSO4));
        add_buffers(&f, 60, BUFFER);
        CHECK(ring_wait(&f.rx) > HEADER + 40);
        CHECK_EQ(num_buffers(&f, 0), 1);
        put_tx(&f, HEADER + 60);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA, HEADER + 60 }, 1, 0);
        /* A header that asks for what the frame cannot give: the kernel refuses it. */
        memset(driver_at(&f.driver, TX_DATA + 0x1000, HEADER + 60), 0xff, HEADER + 60);
        (void) ring_add(&f.tx, &(struct segment) { TX_DATA + 0x1000, HEADER + 60 }, 1, 0);
        ring_kick(&f.tx);
        (void) ring_wait(&f.tx);
        (void) ring_wait(&f.tx);
        CHECK_EQ(stats(&f).tx_packets, 1);
        CHECK_EQ(stats(&f).tx_drops, 1);
        fixture_done(&f, false);
        exit(0);
}

static void test_tap(void) {
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0)
                tap_child();
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WEXITSTATUS(status) == 77)
                fprintf(stderr, "no TAP here\n");
        else
                CHECK_EQ(status, 0);
}

int main(void) {
        RUN(test_not_live);
        RUN(test_receive);
        RUN(test_mergeable);
        RUN(test_writes_are_told);
        RUN(test_too_few_buffers);
        RUN(test_too_big_for_ring);
        RUN(test_not_mergeable);
        RUN(test_no_buffers);
        RUN(test_transmit);
        RUN(test_budget);
        RUN(test_transmit_refused);
        RUN(test_hostile);
        RUN(test_link);
        RUN(test_config);
        RUN(test_required_features);
        RUN(test_reset);
        RUN(test_passing_error);
        RUN(test_backend_ends);
        RUN(test_tap);
        return 0;
}
