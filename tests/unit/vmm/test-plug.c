/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices that come and go on the real KVM: everything that they took comes back, whichever step fails. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../count.h"
#include "board.h"
#include "core/virtio_pci_internal.h"
#include "dev/blk.h"
#include "dev/console.h"
#include "dev/net.h"
#include "dev/rng.h"

#define CYCLES     1000u
#define NOTIFY     0x3000u
#define MSIX_TABLE 0x4000u
#define RINGS      0x100000u

/* What there is of everything that a device takes. */
struct inventory {
        unsigned fds, threads, gsis, ranges;
        uint64_t home; /* of the next BAR */
};

/* The call that fails: the n-th of all those below; 0: none. */
static atomic_uint calls_left;

static bool fails(void) {
        unsigned left = calls_left;

        while (left > 0 && !atomic_compare_exchange_weak(&calls_left, &left, left - 1))
                ;
        return left == 1;
}

#define INJECT(type, name, parameters, arguments, failed, error)                                                       \
        type __wrap_##name parameters;                                                                                 \
        type __real_##name parameters;                                                                                 \
        type __wrap_##name parameters {                                                                                \
                if (fails()) {                                                                                         \
                        errno = error;                                                                                 \
                        return failed;                                                                                 \
                }                                                                                                      \
                return __real_##name arguments;                                                                        \
        }

INJECT(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
INJECT(int, eventfd, (unsigned value, int flags), (value, flags), -1, EMFILE)
INJECT(int, epoll_create1, (int flags), (flags), -1, EMFILE)
INJECT(int, epoll_ctl, (int fd, int op, int what, struct epoll_event *event), (fd, op, what, event), -1, ENOSPC)
INJECT(int, timerfd_create, (int clock, int flags), (clock, flags), -1, EMFILE)
INJECT(int, pthread_create, (pthread_t * ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg),
       (ret, attr, fn, arg), EAGAIN, EAGAIN)

int __wrap_pci_host_add(struct pci_host *host, struct pci_device *pci, unsigned slot);
int __real_pci_host_add(struct pci_host *host, struct pci_device *pci, unsigned slot);

/* A vCPU may reach a device from here on: it has to be complete. */
int __wrap_pci_host_add(struct pci_host *host, struct pci_device *pci, unsigned slot) {
        const struct virtio_pci *v = (const struct virtio_pci *) pci;

        if (pci->ops) /* not one of next_home()'s */
                CHECK(v->dev->mem && v->dev->transport && v->dev->transport_data == v && v->part.parts);
        return __real_pci_host_add(host, pci, slot);
}

static unsigned count_gsis(struct irq *irq) {
        unsigned gsis[512], n = 0;

        while (irq_msi_new(irq, &gsis[n]) == 0)
                CHECK(++n < ARRAY_SIZE(gsis));
        irq_msi_free(irq, gsis, n);
        return n;
}

static uint64_t next_home(struct board *b) {
        static const struct pci_id any_id = { .vendor = 1, .device = 1 };
        struct pci_device pci;
        uint64_t home;

        pci_device_init(&pci, NULL, &any_id, 0);
        pci_device_set_bar(&pci, 0x8000);
        CHECK(pci_host_add(b->host, &pci, 0) >= 0);
        home = pci.bar_home;
        CHECK_EQ(pci_device_slot(&pci), 1);
        pci_host_remove(&pci);
        pci_device_done(&pci);
        return home;
}

static struct inventory take_stock(struct board *b) {
        return (struct inventory) {
                .fds = count_entries("/proc/self/fd"),
                .threads = count_entries("/proc/self/task"),
                .gsis = count_gsis(b->irq),
                .ranges = b->mmio.n_ranges,
                .home = next_home(b),
        };
}

/* A thread that was joined may be in /proc for a moment. */
static void check_stock(struct board *b, const struct inventory *before) {
        struct inventory now = take_stock(b);

        for (unsigned i = 0; i < 1000 && now.threads != before->threads; i++) {
                (void) usleep(1000);
                now = take_stock(b);
        }
        CHECK_EQ(now.fds, before->fds);
        CHECK_EQ(now.threads, before->threads);
        CHECK_EQ(now.gsis, before->gsis);
        CHECK_EQ(now.ranges, before->ranges);
        CHECK_EQ(now.home, before->home);
        CHECK(!b->parts.first->next); /* the PCI host */
}

static int new_blk(struct virtio_device **ret) {
        struct blk_config config = { .name = "vda", .fd = memfd_create("image", MFD_CLOEXEC) };
        int r;

        CHECK(config.fd >= 0 && ftruncate(config.fd, 1 << 20) == 0);
        r = blk_new(&config, ret);
        if (r < 0)
                close_fd(&config.fd);
        return r;
}

static int new_net(struct virtio_device **ret) {
        struct net_config config = { .name = "net0", .vhost_fd = -EBADF, .link_up = true };
        int fds[2], r;

        CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
        config.tap_fd = fds[0];
        close_fd(&fds[1]);
        r = net_new(&config, ret);
        if (r < 0)
                close_fd(&config.tap_fd);
        return r;
}

static int new_console(struct virtio_device **ret) {
        struct console_config config = { .name = "console", .n_ports = 2 };
        int fds[2], log = memfd_create("log", MFD_CLOEXEC), r;

        CHECK(log >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        config.ports[0] = (struct console_port_config) { .fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC),
                                                         .is_console = true,
                                                         .log_fd = log };
        CHECK(config.ports[0].fd >= 0 && unlockpt(config.ports[0].fd) == 0);
        config.ports[1] = (struct console_port_config) { .fd = fds[0], .name = "org.test", .log_fd = -EBADF };
        close_fd(&fds[1]);
        r = console_new(&config, ret);
        if (r < 0) {
                close_fd(&log);
                close_fd(&config.ports[0].fd);
                close_fd(&config.ports[1].fd);
        }
        return r;
}

static int new_rng(struct virtio_device **ret) {
        struct rng_config config = { .fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC) };
        int r;

        CHECK(config.fd >= 0);
        r = rng_new(&config, ret);
        if (r < 0)
                close_fd(&config.fd);
        return r;
}

static const struct kind {
        const char *name;
        int (*make)(struct virtio_device **ret);
} kinds[] = { { "blk", new_blk }, { "net", new_net }, { "console", new_console }, { "rng", new_rng } };

static void set_up_queue(struct board *b, unsigned index) {
        uint32_t at = RINGS + index * 0x10000;

        put_queue(b, index, index, at, at + 0x1000, at + 0x2000);
}

/* A driver that takes all queues and vectors into use. */
static void drive(struct board *b, const struct virtio_device *dev) {
        const struct pci_device *pci = dev->transport_data;

        put16(b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        negotiate(b, BIT64(VIRTIO_F_VERSION_1));
        put16(b, pci->msix.capability + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
        for (unsigned i = 0; i < dev->n_queues; i++) {
                unsigned entry = MSIX_TABLE + i * PCI_MSIX_ENTRY_SIZE;

                put(b, entry + PCI_MSIX_ENTRY_LOWER_ADDR, LAYOUT_LAPIC, 4);
                put(b, entry + PCI_MSIX_ENTRY_DATA, 0x40 + i, 4);
                put(b, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
                set_up_queue(b, i);
        }
        go(b);
        for (unsigned i = 0; i < dev->n_queues; i++)
                put(b, NOTIFY + 4 * i, i, 2);
}

/* 0, or the negative errno of the step that failed; what it took before is given back. */
static int plug(struct board *b, const struct kind *kind, struct virtio_device **ret) {
        struct virtio_device *dev;
        int r = kind->make(&dev);

        if (r < 0)
                return r;
        r = loop_start(dev->loop, NULL, NULL);
        if (r == 0 && dev->ops->start)
                r = dev->ops->start(dev, NULL);
        if (r == 0)
                r = virtio_pci_new(&b->parts, b->host, b->irq, b->vm_fd, b->mem, dev, 0);
        if (r < 0) {
                dev->ops->free(dev);
                return r;
        }
        CHECK_EQ((unsigned) r, virtio_pci_slot(dev));
        *ret = dev;
        return 0;
}

static void unplug(struct virtio_device *dev) {
        virtio_pci_leave(dev);
        for (unsigned i = 0; i < 10000 && virtio_pci_is_busy(dev); i++)
                (void) usleep(100);
        CHECK(!virtio_pci_is_busy(dev));
        virtio_pci_unplug(dev);
        virtio_pci_free(dev);
}

/* KVM has stopped watching the device's addresses, so another device can have them, or a range that covers them. */
static void check_notifications(struct board *b) {
        AUTOCLOSE int fd = eventfd(0, EFD_CLOEXEC);

        for (unsigned i = 0; i < 16; i++) {
                struct kvm_ioeventfd e = { .addr = LAYOUT_PCI_WINDOW + NOTIFY + 4 * i, .fd = fd };

                CHECK_EQ(ioctl(b->vm_fd, KVM_IOEVENTFD, &e), 0);
                e.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
                CHECK_EQ(ioctl(b->vm_fd, KVM_IOEVENTFD, &e), 0);
        }
}

static void test_cycles(void) {
        for (const struct kind *kind = kinds; kind < kinds + ARRAY_SIZE(kinds); kind++) {
                struct inventory before;
                struct board b;

                board_open(&b, true);
                before = take_stock(&b);
                for (unsigned i = 0; i < CYCLES; i++) {
                        struct virtio_device *dev;

                        CHECK_EQ(plug(&b, kind, &dev), 0);
                        CHECK_EQ(virtio_pci_slot(dev), 1);
                        if (i % 32 == 0) /* what costs most: KVM waits for its readers at each change */
                                drive(&b, dev);
                        unplug(dev);
                        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff);
                }
                check_stock(&b, &before);
                check_notifications(&b);
                board_close(&b);
        }
}

/* Each call that can fail does so once, from making the device to starting it by the driver. */
static void test_failures(void) {
        for (const struct kind *kind = kinds; kind < kinds + ARRAY_SIZE(kinds); kind++) {
                unsigned failures = 0;
                struct inventory before;
                struct board b;

                board_open(&b, true);
                before = take_stock(&b);
                for (unsigned n = 1;; n++) {
                        struct virtio_device *dev;
                        unsigned left;
                        int r;

                        calls_left = n;
                        r = plug(&b, kind, &dev);
                        if (r == 0)
                                drive(&b, dev);
                        left = atomic_exchange(&calls_left, 0);
                        failures += r < 0;
                        if (r == 0)
                                unplug(dev);
                        check_stock(&b, &before);
                        if (left > 0)
                                break;
                }
                CHECK(failures > 10);
                check_notifications(&b);
                board_close(&b);
        }
}

/* Devices leave in another order than they came: the next ones take their places, and no more than there are. */
static void test_any_order(void) {
        struct virtio_device *dev[PCI_SLOTS - 1];
        struct inventory before;
        struct board b;

        board_open(&b, true);
        before = take_stock(&b);
        for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
                CHECK_EQ(plug(&b, &kinds[3], &dev[i]), 0);
                CHECK_EQ(virtio_pci_slot(dev[i]), i + 1);
        }
        for (unsigned round = 0; round < 20; round++) {
                struct virtio_device *none;
                unsigned first = round % 7;

                CHECK_EQ(plug(&b, &kinds[round % 4], &none), -ENOSPC);
                for (unsigned i = first; i < ARRAY_SIZE(dev); i += 3)
                        unplug(dev[i]);
                for (unsigned i = first; i < ARRAY_SIZE(dev); i += 3) {
                        CHECK_EQ(plug(&b, &kinds[3], &dev[i]), 0);
                        CHECK_EQ(virtio_pci_slot(dev[i]), i + 1);
                }
        }
        for (unsigned i = ARRAY_SIZE(dev); i-- > 0;)
                unplug(dev[i]);
        check_stock(&b, &before);
        board_close(&b);
}

struct hostile {
        struct board *board;
        atomic_bool stop;
        atomic_uint rounds;
};

/* A vCPU that is at slot 1 all the time, whatever is there. */
static void *write_registers(void *arg) {
        struct hostile *hostile = arg;
        struct board *b = hostile->board;

        while (!hostile->stop) {
                put16(b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
                negotiate(b, BIT64(VIRTIO_F_VERSION_1));
                set_up_queue(b, 0);
                put(b, MSIX_TABLE + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
                set_status(b, VIRTIO_CONFIG_S_DRIVER_OK);
                put(b, NOTIFY, 0, 2);
                set_status(b, 0);
                hostile->rounds++;
        }
        return NULL;
}

/*
 * A device is complete when the guest finds it, and until it has left. Only while it goes off the bus do no vCPUs run.
 */
static void test_hostile(void) {
        for (unsigned i = 0; i < 10 * ARRAY_SIZE(kinds); i++) {
                struct hostile hostile = { 0 };
                struct virtio_device *dev;
                struct inventory before;
                pthread_t vcpu;
                struct board b;

                board_open(&b, true);
                before = take_stock(&b);
                hostile.board = &b;
                CHECK_EQ(pthread_create(&vcpu, NULL, write_registers, &hostile), 0);
                while (hostile.rounds == 0)
                        (void) usleep(100);
                CHECK_EQ(plug(&b, &kinds[i % ARRAY_SIZE(kinds)], &dev), 0);
                for (unsigned rounds = hostile.rounds; hostile.rounds < rounds + 2;)
                        (void) usleep(100);
                virtio_pci_leave(dev);
                while (virtio_pci_is_busy(dev))
                        (void) usleep(100);
                hostile.stop = true;
                CHECK_EQ(pthread_join(vcpu, NULL), 0);
                virtio_pci_unplug(dev);
                virtio_pci_free(dev);
                check_stock(&b, &before);
                board_close(&b);
        }
}

int main(void) {
        RUN(test_cycles);
        RUN(test_failures);
        RUN(test_any_order);
        RUN(test_hostile);
        return 0;
}
