/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices whose queues the host's kernel runs, with the real KVM, /dev/vhost-vsock and /dev/vhost-net; the test is the
 * guest's driver on one side and a program of the host on the other.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/pci_regs.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../count.h"
#include "board.h"
#include "core/virtio.h"
#include "dev/net.h"
#include "dev/vsock.h"

#define NOTIFY  0x3000u
#define RINGS   0x100000u
#define BUFFERS 0x200000u
#define ENTRIES 8u
#define ROOM    4096u
#define PORT    1234u
#define RX      0u
#define TX      1u

int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_ioctl(int fd, unsigned long request, ...);

static unsigned long failing; /* a request that fails for queue 1; 0: none */
static int backends[2];       /* that vhost-net was told */

int __wrap_ioctl(int fd, unsigned long request, ...) {
        const struct vhost_vring_file *file;
        va_list args;

        va_start(args, request);
        file = va_arg(args, const void *);
        va_end(args);
        if (request == failing && file->index == 1) {
                errno = ENOBUFS;
                return -1;
        }
        if (request == VHOST_NET_SET_BACKEND)
                backends[file->index] = file->fd;
        return __real_ioctl(fd, request, file);
}

struct guest {
        struct board board;
        struct virtio_device *dev;
        uint32_t cid;
        uint16_t sent, received; /* packets */
};

static int open_vhost(const char *path) {
        int fd = open(path, O_RDWR | O_CLOEXEC);

        if (fd < 0)
                TEST_SKIP("there is no vhost");
        return fd;
}

/* With an address that no other guest of the host has. */
static void guest_init(struct guest *g) {
        struct vsock_config config = { .fd = open_vhost("/dev/vhost-vsock"), .cid = 0x70000000u + (uint32_t) getpid() };
        int r;

        *g = (struct guest) { 0 };
        board_open(&g->board, true);
        do
                r = vsock_claim(config.fd, ++config.cid);
        while (r == -EADDRINUSE);
        CHECK_EQ(r, 0);
        CHECK_EQ(vsock_new(&config, &g->dev), 0);
        g->cid = config.cid;
        CHECK_EQ(loop_start(g->dev->loop, NULL, NULL), 0);
        CHECK_EQ(virtio_pci_new(&g->board.parts, g->board.host, g->board.irq, g->board.vm_fd, g->board.mem, g->dev, 0),
                 1);
        put16(&g->board, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void guest_done(struct guest *g) {
        virtio_pci_leave(g->dev);
        CHECK(!virtio_pci_is_busy(g->dev));
        virtio_pci_unplug(g->dev);
        virtio_pci_free(g->dev);
        board_close(&g->board);
}

static void *at(struct guest *g, uint64_t gpa) {
        void *p;

        CHECK_EQ(guest_mem_span(g->board.mem, gpa, ROOM, &p), 0);
        return p;
}

static struct vring_desc *desc(struct guest *g, unsigned queue) {
        return at(g, RINGS + queue * 0x10000);
}

static struct vring_avail *avail(struct guest *g, unsigned queue) {
        return at(g, RINGS + queue * 0x10000 + 0x1000);
}

static struct vring_used *used(struct guest *g, unsigned queue) {
        return at(g, RINGS + queue * 0x10000 + 0x2000);
}

static void offer(struct guest *g, unsigned queue, uint16_t head) {
        struct vring_avail *a = avail(g, queue);

        a->ring[a->idx % ENTRIES] = head;
        __atomic_store_n(&a->idx, a->idx + 1, __ATOMIC_SEQ_CST);
        put(&g->board, NOTIFY + 4 * queue, queue, 2);
}

/* The driver starts, with buffers for all that it may receive. */
static void drive(struct guest *g) {
        negotiate(&g->board, BIT64(VIRTIO_F_VERSION_1));
        for (unsigned q = 0; q < g->dev->n_queues; q++) {
                uint32_t ring = RINGS + q * 0x10000;

                memset(at(g, ring), 0, ROOM);
                memset(at(g, ring + 0x1000), 0, ROOM);
                memset(at(g, ring + 0x2000), 0, ROOM);
                put_queue(&g->board, q, VIRTIO_MSI_NO_VECTOR, ring, ring + 0x1000, ring + 0x2000);
        }
        go(&g->board);
        g->sent = g->received = 0;
        for (uint16_t i = 0; i < ENTRIES; i++) {
                desc(g, RX)[i] =
                        (struct vring_desc) { .addr = BUFFERS + i * ROOM, .len = ROOM, .flags = VRING_DESC_F_WRITE };
                offer(g, RX, i);
        }
}

static bool has_packet(struct guest *g) {
        return __atomic_load_n(&used(g, RX)->idx, __ATOMIC_SEQ_CST) != g->received;
}

/* The next packet from the host; its payload follows it. */
static struct virtio_vsock_hdr *receive(struct guest *g) {
        for (unsigned i = 0; i < 10000 && !has_packet(g); i++)
                (void) usleep(1000);
        CHECK(has_packet(g));
        return at(g, BUFFERS + used(g, RX)->ring[g->received++ % ENTRIES].id * ROOM);
}

/* Answers a packet of the host's. */
static void answer(struct guest *g, const struct virtio_vsock_hdr *to, uint16_t op, const char *text) {
        uint64_t gpa = BUFFERS + (ENTRIES + g->sent % ENTRIES) * ROOM;
        struct virtio_vsock_hdr *header = at(g, gpa);

        *header = (struct virtio_vsock_hdr) {
                .src_cid = g->cid,
                .dst_cid = VMADDR_CID_HOST,
                .src_port = to->dst_port,
                .dst_port = to->src_port,
                .len = (uint32_t) strlen(text),
                .type = VIRTIO_VSOCK_TYPE_STREAM,
                .op = op,
                .buf_alloc = 1 << 16,
        };
        memcpy(header + 1, text, strlen(text));
        desc(g, TX)[g->sent % ENTRIES] =
                (struct vring_desc) { .addr = gpa, .len = (uint32_t) (sizeof(*header) + strlen(text)) };
        offer(g, TX, g->sent++ % ENTRIES);
}

/* A connection from the host, which the guest has accepted. `ret` is a packet of it. */
static int connect_to(struct guest *g, struct virtio_vsock_hdr *ret) {
        const struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = g->cid, .svm_port = PORT };
        int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;
        struct pollfd pfd = { .fd = fd, .events = POLLOUT };
        socklen_t size = sizeof(error);

        CHECK(fd >= 0);
        CHECK(connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 && errno == EINPROGRESS);
        *ret = *receive(g);
        CHECK_EQ(ret->op, VIRTIO_VSOCK_OP_REQUEST);
        CHECK_EQ(ret->src_cid, VMADDR_CID_HOST);
        CHECK_EQ(ret->dst_cid, g->cid);
        CHECK_EQ(ret->dst_port, PORT);
        answer(g, ret, VIRTIO_VSOCK_OP_RESPONSE, "");
        CHECK_EQ(poll(&pfd, 1, 10000), 1);
        CHECK_EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
        CHECK_EQ(error, 0);
        return fd;
}

/* The guest gets the text, after whatever the host tells it besides. */
static void expect_text(struct guest *g, const char *text) {
        const struct virtio_vsock_hdr *header;

        do
                header = receive(g);
        while (header->op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        CHECK_EQ(header->op, VIRTIO_VSOCK_OP_RW);
        CHECK_EQ(header->len, strlen(text));
        CHECK(memcmp(header + 1, text, strlen(text)) == 0);
}

static void test_configuration(void) {
        struct guest g;

        guest_init(&g);
        CHECK_EQ(get(&g.board, 0x2000, 4), g.cid);
        CHECK_EQ(get(&g.board, 0x2004, 4), 0);
        CHECK_EQ(get(&g.board, VIRTIO_PCI_COMMON_NUMQ, 2), 3);
        guest_done(&g);
}

/* Both ways; nothing comes to a guest that stands still, and all of it when it goes on. */
static void test_connection(void) {
        struct virtio_vsock_hdr packet;
        struct pollfd pfd = { .events = POLLIN };
        char text[16] = "";
        struct guest g;

        guest_init(&g);
        drive(&g);
        pfd.fd = connect_to(&g, &packet);
        CHECK_EQ(send(pfd.fd, "hello", 5, 0), 5);
        expect_text(&g, "hello");
        answer(&g, &packet, VIRTIO_VSOCK_OP_RW, "world");
        CHECK_EQ(poll(&pfd, 1, 10000), 1);
        CHECK_EQ(recv(pfd.fd, text, sizeof(text), 0), 5);
        CHECK_STR(text, "world");

        parts_quiesce(&g.board.parts);
        CHECK(!parts_are_busy(&g.board.parts));
        while (has_packet(&g))
                (void) receive(&g);
        CHECK_EQ(send(pfd.fd, "again", 5, 0), 5);
        (void) usleep(100000);
        CHECK(!has_packet(&g));
        parts_resume(&g.board.parts);
        expect_text(&g, "again");
        (void) close(pfd.fd);
        guest_done(&g);
}

/* Once the driver has reset the device, nothing changes its memory; the next one begins anew. */
static void test_reset(void) {
        struct virtio_vsock_hdr packet;
        struct guest g;
        int fd;

        guest_init(&g);
        drive(&g);
        fd = connect_to(&g, &packet);
        set_status(&g.board, 0);
        CHECK_EQ(status(&g.board), 0);
        while (has_packet(&g))
                (void) receive(&g);
        CHECK_EQ(send(fd, "lost", 4, 0), 4);
        (void) usleep(100000);
        CHECK(!has_packet(&g));
        drive(&g);
        expect_text(&g, "lost"); /* the host's side of the connection knows nothing of it */
        (void) close(fd);
        guest_done(&g);
}

/* The connections of a device that goes end, and its address is free again. */
static void test_removal(void) {
        struct vsock_config config = { .fd = open_vhost("/dev/vhost-vsock") };
        struct virtio_vsock_hdr packet;
        struct pollfd pfd = { .events = POLLIN };
        struct virtio_device *dev;
        unsigned fds = count_entries("/proc/self/fd");
        struct guest g;

        guest_init(&g);
        drive(&g);
        pfd.fd = connect_to(&g, &packet);
        config.cid = g.cid;
        CHECK_EQ(vsock_claim(config.fd, config.cid), -EADDRINUSE);
        guest_done(&g);
        CHECK_EQ(poll(&pfd, 1, 10000), 1);
        CHECK(pfd.revents & (POLLHUP | POLLERR));
        (void) close(pfd.fd);
        CHECK_EQ(count_entries("/proc/self/fd"), fds);
        CHECK_EQ(vsock_claim(config.fd, config.cid), 0);
        CHECK_EQ(vsock_new(&config, &dev), 0);
        dev->ops->free(dev);
        CHECK_EQ(count_entries("/proc/self/fd"), fds - 1);
}

static void test_no_vhost(void) {
        AUTOCLOSE int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct vsock_config config = { .fd = fd, .cid = 3 };
        struct virtio_device *dev;

        CHECK_EQ(vsock_new(&config, &dev), -ENOTTY);
}

static int open_tap(void) {
        struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int fd = open_vhost("/dev/net/tun");

        CHECK_EQ(ioctl(fd, TUNSETIFF, &ifr), 0);
        return fd;
}

/* When the kernel refuses a queue, the device needs a reset, and no queue of it moves data: not the first one either.
 */
static void test_refused_queue(void) {
        for (unsigned i = 0; i < 2; i++) {
                struct net_config config = { .link_up = true };
                struct guest g = { 0 };

                if (i == 0) {
                        guest_init(&g);
                } else {
                        board_open(&g.board, true);
                        config.vhost_fd = open_vhost("/dev/vhost-net");
                        config.tap_fd = open_tap();
                        CHECK_EQ(net_new(&config, &g.dev), 0);
                        CHECK_EQ(loop_start(g.dev->loop, NULL, NULL), 0);
                        CHECK_EQ(virtio_pci_new(&g.board.parts, g.board.host, g.board.irq, g.board.vm_fd, g.board.mem,
                                                g.dev, 0),
                                 1);
                        put16(&g.board, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
                }
                backends[0] = backends[1] = -1;
                failing = VHOST_SET_VRING_CALL;
                drive(&g);
                failing = 0;
                CHECK(status(&g.board) & VIRTIO_CONFIG_S_NEEDS_RESET);
                CHECK_EQ(backends[0], -1);
                set_status(&g.board, 0);
                drive(&g);
                CHECK(!(status(&g.board) & VIRTIO_CONFIG_S_NEEDS_RESET));
                CHECK((backends[0] >= 0) == (i == 1));
                guest_done(&g);
        }
}

int main(void) {
        RUN(test_no_vhost);
        RUN(test_configuration);
        RUN(test_connection);
        RUN(test_reset);
        RUN(test_removal);
        RUN(test_refused_queue);
        return 0;
}
