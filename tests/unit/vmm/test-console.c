/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console device: a pty as hvc0, a stream and a listening socket as channels.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "dev/console.h"
#include "driver.h"
#include "watch.h"

#define CONTROL_RX 2u
#define CONTROL_TX 3u
#define DATA(n)    (DATA_START + (n) *0x10000ull)

enum { PORT_CONSOLE, PORT_STREAM, PORT_LISTENER, PORTS };

struct fixture {
        struct driver driver;
        struct ring control_rx, control_tx, rx[PORTS], tx[PORTS];
        int master; /* the pty, as the device has it */
        int slave;  /* opened by a test only */
        int stream; /* the other end of PORT_STREAM */
        struct sockaddr_un address;
        socklen_t address_len;
        unsigned opened[PORTS], closed[PORTS];
};

static void on_port_open(void *arg, unsigned port, bool open) {
        struct fixture *f = arg;
        (*(open ? &f->opened[port] : &f->closed[port]))++;
}

static int make_listener(struct fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        f->address.sun_family = AF_UNIX;
        CHECK(bind(fd, (struct sockaddr *) &f->address, sizeof(f->address.sun_family)) == 0);
        f->address_len = sizeof(f->address);
        CHECK(getsockname(fd, (struct sockaddr *) &f->address, &f->address_len) == 0);
        CHECK(listen(fd, 4) == 0);
        return fd;
}

static int peer_connect(const struct fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK(connect(fd, (const struct sockaddr *) &f->address, f->address_len) == 0);
        return fd;
}

static void fixture_init(struct fixture *f) {
        struct console_config config = { .name = "console", .n_ports = PORTS, .port_open = on_port_open, .arg = f };
        struct virtio_device *dev;
        int fds[2];

        memset(f, 0, sizeof(*f));
        f->slave = -EBADF;
        f->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        CHECK(f->master >= 0 && grantpt(f->master) == 0 && unlockpt(f->master) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        f->stream = fds[0];
        config.ports[PORT_CONSOLE] = (struct console_port_config) { .fd = f->master, .is_console = true };
        config.ports[PORT_STREAM] = (struct console_port_config) { .fd = fds[1], .name = "org.stream" };
        config.ports[PORT_LISTENER] =
                (struct console_port_config) { .fd = make_listener(f), .name = "org.listener", .is_socket = true };
        CHECK_EQ(console_new(&config, &dev), 0);
        CHECK_EQ(dev->n_queues, 2 * PORTS + 2);
        driver_init(&f->driver, dev);
        ring_init(&f->control_rx, &f->driver, CONTROL_RX, 32);
        ring_init(&f->control_tx, &f->driver, CONTROL_TX, 32);
        for (unsigned i = 0; i < PORTS; i++) {
                ring_init(&f->rx[i], &f->driver, i ? 2 * i + 2 : 0, 32);
                ring_init(&f->tx[i], &f->driver, i ? 2 * i + 3 : 1, 32);
        }
        driver_activate(&f->driver, ~0ull);
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
}

static void fixture_done(struct fixture *f, bool broken) {
        driver_stop(&f->driver, broken);
        close_fd(&f->stream);
        close_fd(&f->slave);
}

static void control_send(struct fixture *f, uint32_t id, uint16_t event, uint16_t value) {
        struct virtio_console_control message = { htole32(id), htole16(event), htole16(value) };

        memcpy(driver_at(&f->driver, DATA(0), sizeof(message)), &message, sizeof(message));
        (void) ring_add(&f->control_tx, &(struct segment) { DATA(0), sizeof(message) }, 1, 0);
        ring_kick(&f->control_tx);
        (void) ring_wait(&f->control_tx);
}

/* Gives the device buffers for `n` control messages. */
static void control_room(struct fixture *f, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                struct segment room = { DATA(1) + f->control_rx.next_desc * 512ull, 512 };
                (void) ring_add(&f->control_rx, &room, 0, 1);
        }
        ring_kick(&f->control_rx);
}

static void control_expect(struct fixture *f, uint32_t id, uint16_t event, uint16_t value, const char *name) {
        unsigned i = f->control_rx.used;
        uint32_t len = ring_wait(&f->control_rx);
        uint8_t *data = driver_at(&f->driver, DATA(1) + (i % 32) * 512ull, 512);
        struct virtio_console_control message;

        memcpy(&message, data, sizeof(message));
        CHECK_EQ(le32toh(message.id), id);
        CHECK_EQ(le16toh(message.event), event);
        CHECK_EQ(le16toh(message.value), value);
        CHECK_EQ(len, sizeof(message) + strlen(name));
        CHECK(memcmp(data + sizeof(message), name, strlen(name)) == 0);
}

/* What a driver does to find its ports. */
static void greet(struct fixture *f) {
        control_room(f, 12);
        control_send(f, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
        for (unsigned i = 0; i < PORTS; i++)
                control_expect(f, i, VIRTIO_CONSOLE_PORT_ADD, 1, "");
        control_send(f, PORT_CONSOLE, VIRTIO_CONSOLE_PORT_READY, 1);
        control_expect(f, PORT_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
        control_expect(f, PORT_CONSOLE, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        control_send(f, PORT_STREAM, VIRTIO_CONSOLE_PORT_READY, 1);
        control_expect(f, PORT_STREAM, VIRTIO_CONSOLE_PORT_NAME, 1, "org.stream");
        control_expect(f, PORT_STREAM, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        control_send(f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_READY, 1);
        control_expect(f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_NAME, 1, "org.listener");
}

static void put_text(struct fixture *f, unsigned port, const void *text, uint32_t len) {
        memcpy(driver_at(&f->driver, DATA(10 + port), len), text, len);
        (void) ring_add(&f->tx[port], &(struct segment) { DATA(10 + port), len }, 1, 0);
        ring_kick(&f->tx[port]);
}

static void expect_text(int fd, const char *text) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        char buffer[256] = {};
        size_t n = 0;

        while (n < strlen(text)) {
                CHECK(poll(&pfd, 1, 10000) == 1);
                ssize_t r = read(fd, buffer + n, sizeof(buffer) - 1 - n);
                CHECK(r > 0);
                n += r;
        }
        CHECK_STR(buffer, text);
}

static void open_slave(struct fixture *f) {
        f->slave = ioctl(f->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        CHECK(f->slave >= 0);
}

static void give_room(struct fixture *f, unsigned port, uint32_t len) {
        (void) ring_add(&f->rx[port], &(struct segment) { DATA(20 + port), len }, 0, 1);
        ring_kick(&f->rx[port]);
}

static void expect_input(struct fixture *f, unsigned port, const char *text) {
        CHECK_EQ(ring_wait(&f->rx[port]), strlen(text));
        CHECK(memcmp(driver_at(&f->driver, DATA(20 + port), strlen(text)), text, strlen(text)) == 0);
}

static void test_control(void) {
        struct fixture f;

        fixture_init(&f);
        greet(&f);
        fixture_done(&f, false);

        /* Messages wait for buffers, one by one, and none is lost. */
        fixture_init(&f);
        control_send(&f, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
        for (unsigned i = 0; i < PORTS; i++) {
                control_room(&f, 1);
                control_expect(&f, i, VIRTIO_CONSOLE_PORT_ADD, 1, "");
        }
        fixture_done(&f, false);
}

static void test_hostile_control(void) {
        struct fixture f;

        fixture_init(&f);
        greet(&f);
        control_send(&f, PORTS, VIRTIO_CONSOLE_PORT_OPEN, 1);
        control_send(&f, UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1);
        control_send(&f, 0x80000000, VIRTIO_CONSOLE_PORT_OPEN, 0);
        control_send(&f, 0, 99, 1);
        CHECK_EQ(f.driver.dev->guest_errors.count, 4);
        fixture_done(&f, false);

        fixture_init(&f);
        (void) ring_add(&f.control_tx, &(struct segment) { DATA(0), 7 }, 1, 0); /* too short */
        ring_kick(&f.control_tx);
        fixture_done(&f, true);

        fixture_init(&f);
        (void) ring_add(&f.control_rx, &(struct segment) { DATA(1), 4 }, 0, 1); /* no room */
        control_send(&f, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
        fixture_done(&f, true);

        fixture_init(&f);
        (void) ring_add(&f.rx[PORT_CONSOLE], &(struct segment) { DATA(20), 16 }, 1, 0); /* wrong direction */
        open_slave(&f);
        CHECK(write(f.slave, "x", 1) == 1);
        ring_kick(&f.rx[PORT_CONSOLE]);
        for (unsigned i = 0; i < 10000 && !f.driver.needs_reset; i++)
                (void) usleep(1000);
        fixture_done(&f, true);
}

static void test_console(void) {
        struct fixture f;

        fixture_init(&f);
        greet(&f);
        /* Written before anyone has the pty open, and not echoed back. */
        give_room(&f, PORT_CONSOLE, 100);
        put_text(&f, PORT_CONSOLE, "login: ", 7);
        (void) ring_wait(&f.tx[PORT_CONSOLE]);
        (void) usleep(20000);
        CHECK(!ring_take(&f.rx[PORT_CONSOLE], NULL, NULL));
        open_slave(&f);
        expect_text(f.slave, "login: ");
        CHECK(write(f.slave, "root\r", 5) == 5);
        expect_input(&f, PORT_CONSOLE, "root\r");
        /* A reader that leaves is no hang-up. */
        close_fd(&f.slave);
        (void) usleep(20000);
        open_slave(&f);
        put_text(&f, PORT_CONSOLE, "again", 5);
        expect_text(f.slave, "again");
        fixture_done(&f, false);
}

static void test_writes_are_told(void) {
        struct fixture f;
        struct watch w;

        fixture_init(&f);
        greet(&f);
        open_slave(&f);
        give_room(&f, PORT_CONSOLE, 100);
        driver_settle(&f.driver);
        watch_begin(&w, f.driver.mem);
        CHECK(write(f.slave, "root\r", 5) == 5);
        expect_input(&f, PORT_CONSOLE, "root\r");
        driver_settle(&f.driver);
        watch_end(&w, 2);
        fixture_done(&f, false);
}

static long elapsed_ns(const struct timespec *from, const struct timespec *to) {
        return (to->tv_sec - from->tv_sec) * 1000000000l + to->tv_nsec - from->tv_nsec;
}

/* Nobody reads: the guest is never held up for long, and the loop does not spin. */
static void test_console_without_reader(void) {
        char text[4096];
        struct timespec before, after, cpu_before, cpu_after;
        struct fixture f;

        memset(text, 'x', sizeof(text));
        fixture_init(&f);
        greet(&f);
        CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
        for (unsigned i = 0; i < 100; i++) {
                put_text(&f, PORT_CONSOLE, text, sizeof(text));
                (void) ring_wait(&f.tx[PORT_CONSOLE]);
        }
        CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
        CHECK(after.tv_sec - before.tv_sec < 5);
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_before) == 0);
        (void) usleep(200000);
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_after) == 0);
        CHECK(elapsed_ns(&cpu_before, &cpu_after) < 50000000l);
        fixture_done(&f, false);
}

static void test_channel(void) {
        struct fixture f;

        fixture_init(&f);
        greet(&f);
        /* Input waits until the guest has the port open. */
        CHECK(write(f.stream, "ping", 4) == 4);
        give_room(&f, PORT_STREAM, 100);
        (void) usleep(20000);
        CHECK(!ring_take(&f.rx[PORT_STREAM], NULL, NULL));
        control_send(&f, PORT_STREAM, VIRTIO_CONSOLE_PORT_OPEN, 1);
        expect_input(&f, PORT_STREAM, "ping");
        CHECK_EQ(f.opened[PORT_STREAM], 1);
        put_text(&f, PORT_STREAM, "pong", 4);
        expect_text(f.stream, "pong");
        /* The peer hangs up; output goes nowhere. */
        close_fd(&f.stream);
        give_room(&f, PORT_STREAM, 100);
        control_expect(&f, PORT_STREAM, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
        put_text(&f, PORT_STREAM, "gone", 4);
        (void) ring_wait(&f.tx[PORT_STREAM]);
        control_send(&f, PORT_STREAM, VIRTIO_CONSOLE_PORT_OPEN, 0);
        CHECK_EQ(f.closed[PORT_STREAM], 1);
        fixture_done(&f, false);
}

/* A channel's output waits for the peer and arrives whole. */
static void test_backpressure(void) {
        const unsigned chunks = 100, size = 32768;
        uint8_t *chunk = malloc(size), *got = malloc(size);
        unsigned long total = 0;
        struct fixture f;

        CHECK(chunk && got);
        for (unsigned i = 0; i < size; i++)
                chunk[i] = i % 251;
        fixture_init(&f);
        greet(&f);
        control_send(&f, PORT_STREAM, VIRTIO_CONSOLE_PORT_OPEN, 1);
        memcpy(driver_at(&f.driver, DATA(10), size), chunk, size);
        for (unsigned sent = 0, done = 0; done < chunks;) {
                struct pollfd pfd = { .fd = f.stream, .events = POLLIN };
                while (sent < chunks && sent - done < 30) {
                        (void) ring_add(&f.tx[PORT_STREAM], &(struct segment) { DATA(10), size }, 1, 0);
                        sent++;
                }
                ring_kick(&f.tx[PORT_STREAM]);
                CHECK(poll(&pfd, 1, 10000) == 1);
                ssize_t n = read(f.stream, got, 10000);
                CHECK(n > 0);
                for (ssize_t i = 0; i < n; i++)
                        CHECK_EQ(got[i], (total + i) % size % 251);
                total += n;
                while (ring_take(&f.tx[PORT_STREAM], NULL, NULL))
                        done++;
        }
        CHECK(total <= (unsigned long) chunks * size);
        free(chunk);
        free(got);
        fixture_done(&f, false);
}

static off_t size_of(int fd) {
        struct stat st;

        CHECK(fstat(fd, &st) == 0);
        return st.st_size;
}

/* One turn of the loop takes a bounded part of a chain, the following ones the rest of it, in order. */
static void test_long_chain(void) {
        const uint32_t size = 8 << 20;
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        struct driver driver;
        struct ring tx;
        AUTOCLOSE int file = memfd_create("console", MFD_CLOEXEC);
        uint32_t *text, *got = malloc(size);

        CHECK(file >= 0 && got);
        config.ports[0] = (struct console_port_config) { .fd = dup(file), .is_console = true };
        CHECK_EQ(console_new(&config, &dev), 0);
        driver_init(&driver, dev);
        ring_init(&tx, &driver, 1, 16);
        driver_activate(&driver, 0);
        text = driver_at(&driver, DATA(0), size);
        for (unsigned i = 0; i < size / sizeof(*text); i++)
                text[i] = i;
        (void) ring_add(&tx, (struct segment[]) { { DATA(0), size / 2 }, { DATA(0) + size / 2, size / 2 } }, 2, 0);
        ring_kick(&tx);
        CHECK(size_of(file) > 0 && size_of(file) <= 1 << 20);
        CHECK(!ring_take(&tx, NULL, NULL));
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
        (void) ring_wait(&tx);
        CHECK_EQ(size_of(file), size);
        CHECK(pread(file, got, size, 0) == (ssize_t) size);
        CHECK(memcmp(got, text, size) == 0);
        free(got);
        driver_stop(&driver, false);
}

/* Short chains are bounded by their number. */
static void test_many_chains(void) {
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        struct driver driver;
        struct ring tx;
        AUTOCLOSE int file = memfd_create("console", MFD_CLOEXEC);
        unsigned served = 0;

        CHECK(file >= 0);
        config.ports[0] = (struct console_port_config) { .fd = dup(file), .is_console = true };
        CHECK_EQ(console_new(&config, &dev), 0);
        driver_init(&driver, dev);
        ring_init(&tx, &driver, 1, 128);
        driver_activate(&driver, 0);
        for (unsigned i = 0; i < 128; i++)
                (void) ring_add(&tx, &(struct segment) { DATA(0), 1 }, 1, 0);
        ring_kick(&tx);
        while (ring_take(&tx, NULL, NULL))
                served++;
        CHECK(served > 0 && served < 128);
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
        for (; served < 128; served++)
                (void) ring_wait(&tx);
        CHECK_EQ(size_of(file), 128);
        driver_stop(&driver, false);
}

struct logged {
        struct driver driver;
        struct ring tx;
};

/* One console, whose only chain holds `size` bytes that count up. */
static void logged_init(struct logged *l, int fd, int log_fd, uint32_t size) {
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        uint32_t *text;

        config.ports[0] = (struct console_port_config) { .fd = fd, .is_console = true, .log_fd = log_fd };
        CHECK_EQ(console_new(&config, &dev), 0);
        driver_init(&l->driver, dev);
        ring_init(&l->tx, &l->driver, 1, 16);
        driver_activate(&l->driver, 0);
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
        text = driver_at(&l->driver, DATA(0), size);
        for (unsigned i = 0; i < size / sizeof(*text); i++)
                text[i] = i;
        (void) ring_add(&l->tx, &(struct segment) { DATA(0), size }, 1, 0);
        ring_kick(&l->tx);
        (void) ring_wait(&l->tx);
}

/* The log has each byte once, in order: also with a host end that takes all, none, or is gone. */
static void test_log(void) {
        const uint32_t size = 1 << 20;
        struct logged l;
        uint32_t *got = malloc(size);
        int pair[2];

        CHECK(got);
        (void) signal(SIGPIPE, SIG_IGN); /* as the monitor does */
        for (unsigned i = 0; i < 3; i++) {
                AUTOCLOSE int file = memfd_create("log", MFD_CLOEXEC), peer = -EBADF;
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
                peer = pair[1];
                if (i == 0)
                        CHECK(dup2(open("/dev/null", O_RDWR | O_CLOEXEC), pair[0]) == pair[0]);
                if (i == 1)
                        close_fd(&peer);
                logged_init(&l, pair[0], dup(file), size);
                CHECK_EQ(size_of(file), size);
                CHECK(pread(file, got, size, 0) == (ssize_t) size);
                for (unsigned k = 0; k < size / sizeof(*got); k++)
                        CHECK_EQ(got[k], k);
                driver_stop(&l.driver, false);
        }
        free(got);
}

/* A guest waits a moment for its log, once, and goes on without it. */
static void test_log_that_nobody_reads(void) {
        struct logged l;
        int ends[2];
        char *got = malloc(1 << 20);

        CHECK(got && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        logged_init(&l, open("/dev/null", O_RDWR | O_CLOEXEC), ends[1], 1 << 20);
        CHECK(read(ends[0], got, 1 << 20) >= 4096);
        CHECK(read(ends[0], got, 1 << 20) == -1);
        (void) ring_add(&l.tx, &(struct segment) { DATA(0), 5 }, 1, 0);
        ring_kick(&l.tx);
        (void) ring_wait(&l.tx);
        CHECK_EQ(read(ends[0], got, 1 << 20), 5);
        close_fd(&ends[0]);
        driver_stop(&l.driver, false);
        free(got);
}

static void test_log_that_is_no_output(void) {
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        AUTOCLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open("/dev/null", O_RDONLY | O_CLOEXEC);

        config.ports[0] = (struct console_port_config) { .fd = null, .is_console = true, .log_fd = log };
        CHECK_EQ(console_new(&config, &dev), -EBADF);
        CHECK(fcntl(log, F_GETFD) >= 0);
}

/* The file of a console is full for a while: its text is lost, the console is not. */
static void test_full_file(void) {
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        struct driver driver;
        struct ring tx;
        AUTOCLOSE int file = memfd_create("console", MFD_CLOEXEC);
        int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

        CHECK(file >= 0 && fd >= 0);
        config.ports[0] = (struct console_port_config) { .fd = fd, .is_console = true };
        CHECK_EQ(console_new(&config, &dev), 0);
        driver_init(&driver, dev);
        ring_init(&tx, &driver, 1, 16);
        driver_activate(&driver, 0);
        (void) ring_add(&tx, &(struct segment) { DATA(0), 10 }, 1, 0);
        ring_kick(&tx);
        CHECK(ring_take(&tx, NULL, NULL));
        CHECK(dup2(file, fd) == fd); /* there is space again */
        (void) ring_add(&tx, &(struct segment) { DATA(0), 7 }, 1, 0);
        ring_kick(&tx);
        CHECK(ring_take(&tx, NULL, NULL));
        CHECK_EQ(size_of(file), 7);
        driver_stop(&driver, false);
}

/* A turn reads a bounded part of what there is, into however large a buffer. A pipe, as it holds more than a socket. */
static void test_much_input(void) {
        const uint32_t size = 1 << 20;
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        struct driver driver;
        struct ring rx;
        char path[64];
        int pipe_fd[2];
        uint32_t len;

        CHECK(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) == 0 && fcntl(pipe_fd[1], F_SETPIPE_SZ, size) == (int) size);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_fd[0]);
        config.ports[0] = (struct console_port_config) { .fd = open(path, O_RDWR | O_CLOEXEC), .is_console = true };
        CHECK_EQ(console_new(&config, &dev), 0);
        driver_init(&driver, dev);
        ring_init(&rx, &driver, 0, 16);
        driver_activate(&driver, 0);
        CHECK(write(pipe_fd[1], driver_at(&driver, DATA(0), size), size) == (ssize_t) size);
        for (unsigned i = 0; i < 16; i++)
                (void) ring_add(&rx, &(struct segment) { DATA(0), size }, 0, 1);
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
        ring_kick(&rx);
        for (uint32_t total = 0; total < size; total += len) {
                len = ring_wait(&rx);
                CHECK(len > 0 && len <= size / 2);
        }
        close_fd(&pipe_fd[0]);
        close_fd(&pipe_fd[1]);
        driver_stop(&driver, false);
}

static void test_listener(void) {
        struct pollfd pfd = { .events = POLLIN };
        struct fixture f;
        int peer, second;
        char byte;

        fixture_init(&f);
        greet(&f);
        put_text(&f, PORT_LISTENER, "nobody", 6);
        (void) ring_wait(&f.tx[PORT_LISTENER]);
        peer = peer_connect(&f);
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        control_send(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1);
        put_text(&f, PORT_LISTENER, "hello", 5);
        expect_text(peer, "hello");
        /* One at a time. */
        second = peer_connect(&f);
        pfd.fd = second;
        CHECK(poll(&pfd, 1, 10000) == 1);
        CHECK_EQ(read(second, &byte, 1), 0);
        close_fd(&second);
        /* The next one after it. */
        close_fd(&peer);
        give_room(&f, PORT_LISTENER, 100);
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
        control_room(&f, 8);
        peer = peer_connect(&f);
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        CHECK(write(peer, "x", 1) == 1);
        expect_input(&f, PORT_LISTENER, "x");
        close_fd(&peer);
        fixture_done(&f, false);
}

/* A peer that left while the guest does not listen is noticed when the next one comes. */
static void test_listener_unnoticed(void) {
        struct fixture f;
        int peer;

        fixture_init(&f);
        greet(&f);
        peer = peer_connect(&f);
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        close_fd(&peer);
        (void) usleep(20000);
        peer = peer_connect(&f);
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
        control_expect(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
        control_send(&f, PORT_LISTENER, VIRTIO_CONSOLE_PORT_OPEN, 1);
        put_text(&f, PORT_LISTENER, "second", 6);
        expect_text(peer, "second");
        close_fd(&peer);
        fixture_done(&f, false);
}

static void test_without_multiport(void) {
        struct fixture f;

        fixture_init(&f);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        ring_init(&f.rx[0], &f.driver, 0, 32);
        ring_init(&f.tx[0], &f.driver, 1, 32);
        driver_activate(&f.driver, ~BIT64(VIRTIO_CONSOLE_F_MULTIPORT));
        CHECK_EQ(f.opened[0], 1);
        give_room(&f, PORT_CONSOLE, 100);
        open_slave(&f);
        CHECK(write(f.slave, "hi", 2) == 2);
        expect_input(&f, PORT_CONSOLE, "hi");
        put_text(&f, PORT_CONSOLE, "ho", 2);
        expect_text(f.slave, "ho");
        fixture_done(&f, false);
}

/* A configuration without a console leaves number 0 alone. */
static void test_channels_only(void) {
        struct virtio_console_config shown;
        struct console_config config = { .n_ports = 1 };
        struct virtio_device *dev;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        config.ports[0] = (struct console_port_config) { .fd = fds[1], .name = "org.x" };
        CHECK_EQ(console_new(&config, &dev), 0);
        dev->ops->config_read(dev, 0, &shown, sizeof(shown));
        CHECK_EQ(le32toh(shown.max_nr_ports), 2);
        CHECK_EQ(dev->n_queues, 6);
        dev->ops->free(dev);

        config.ports[0].fd = fds[0];
        config.ports[0].is_socket = true; /* it does not listen */
        CHECK_EQ(console_new(&config, &dev), -EINVAL);
        CHECK(fcntl(fds[0], F_GETFD) >= 0);
        close_fd(&fds[0]);
        config.n_ports = 0;
        CHECK_EQ(console_new(&config, &dev), -EINVAL);
        config.n_ports = CTL_PORTS_MAX + 1;
        CHECK_EQ(console_new(&config, &dev), -EINVAL);
}

static void test_not_live(void) {
        struct fixture f;

        fixture_init(&f);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        ring_init(&f.control_tx, &f.driver, CONTROL_TX, 32);
        ring_init(&f.rx[PORT_STREAM], &f.driver, 2 * PORT_STREAM + 2, 32);
        ring_init(&f.tx[PORT_STREAM], &f.driver, 2 * PORT_STREAM + 3, 32);
        (void) ring_add(&f.control_tx, &(struct segment) { DATA(0), 8 }, 1, 0);
        (void) ring_add(&f.rx[PORT_STREAM], &(struct segment) { DATA(1), 64 }, 0, 1);
        (void) ring_add(&f.tx[PORT_STREAM], &(struct segment) { DATA(2), 64 }, 1, 0);
        CHECK(write(f.stream, "x", 1) == 1);
        ring_check_not_live(&f.control_tx);
        ring_check_not_live(&f.rx[PORT_STREAM]);
        ring_check_not_live(&f.tx[PORT_STREAM]);
        fixture_done(&f, false);
}

int main(void) {
        RUN(test_control);
        RUN(test_hostile_control);
        RUN(test_console);
        RUN(test_writes_are_told);
        RUN(test_console_without_reader);
        RUN(test_channel);
        RUN(test_backpressure);
        RUN(test_long_chain);
        RUN(test_many_chains);
        RUN(test_log);
        RUN(test_log_that_nobody_reads);
        RUN(test_log_that_is_no_output);
        RUN(test_full_file);
        RUN(test_much_input);
        RUN(test_listener);
        RUN(test_listener_unnoticed);
        RUN(test_without_multiport);
        RUN(test_channels_only);
        RUN(test_not_live);
        return 0;
}
