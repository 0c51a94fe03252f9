/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transport as a driver sees it, through the buses. There is no KVM, so notifications arrive as plain writes. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <unistd.h>

#include "board.h"
#include "fake-irq.h"

#define QUEUES      2u
#define CONFIG_SIZE 6u
#define FEATURE     BIT64(VIRTIO_NET_F_MAC)
#define DEVICE_CFG  0x2000u
#define NOTIFY      0x3000u
#define MSIX_TABLE  0x4000u

struct device {
        struct virtio_device dev;
        struct virtqueue queues[QUEUES];
        unsigned activated, resets, quiesces, resumes, kicks[QUEUES];
        unsigned releases;
        bool slow;        /* has requests at work, until the test calls idle() */
        bool is_held;     /* its host end takes its time to close, until the test calls idle() */
        bool ends_late;   /* they are done while the device is freed */
        uint64_t refused; /* features that the device does not take */
        int activate_result;
        uint8_t config[CONFIG_SIZE];
        bool freed;
};

static struct device d;

static void config_read(struct virtio_device *dev, unsigned offset, void *data, unsigned len) {
        CHECK(offset + len <= CONFIG_SIZE);
        memcpy(data, ((struct device *) dev)->config + offset, len);
}

static void config_write(struct virtio_device *dev, unsigned offset, const void *data, unsigned len) {
        CHECK(offset + len <= CONFIG_SIZE);
        memcpy(((struct device *) dev)->config + offset, data, len);
}

static bool features_valid(const struct virtio_device *dev, uint64_t features) {
        return !(features & ((const struct device *) dev)->refused);
}

static int activate(struct virtio_device *dev) {
        ((struct device *) dev)->activated++;
        return ((struct device *) dev)->activate_result;
}

static bool reset(struct virtio_device *dev) {
        ((struct device *) dev)->resets++;
        return !((struct device *) dev)->slow;
}

static bool quiesce(struct virtio_device *dev) {
        ((struct device *) dev)->quiesces++;
        return !((struct device *) dev)->slow;
}

static void resume(struct virtio_device *dev) {
        ((struct device *) dev)->resumes++;
}

static void kick(struct virtio_device *dev, unsigned index) {
        ((struct device *) dev)->kicks[index]++;
        loop_stop(dev->loop);
}

static bool release(struct virtio_device *dev) {
        ((struct device *) dev)->releases++;
        return !((struct device *) dev)->is_held;
}

static void device_free(struct virtio_device *dev) {
        /* What was at work has come to its end meanwhile: the transport is still there for it. */
        if (((struct device *) dev)->ends_late)
                dev->transport->idle(dev);
        ((struct device *) dev)->freed = true;
        loop_free(dev->loop);
}

static const struct virtio_device_ops ops = {
        .config_read = config_read,
        .config_write = config_write,
        .features_valid = features_valid,
        .activate = activate,
        .reset = reset,
        .quiesce = quiesce,
        .resume = resume,
        .kick = kick,
        .release = release,
        .free = device_free,
};

static void board_init_version(struct board *b, const struct machine_version *version) {
        board_open_version(b, version, false);
        d = (struct device) { .queues = { { .size_max = 16 }, { .size_max = 8 } } };
        d.dev = (struct virtio_device) { .ops = &ops,
                                         .name = "test",
                                         .type = VIRTIO_ID_NET,
                                         .pci_class = 0xff0000,
                                         .config_size = CONFIG_SIZE,
                                         .n_queues = QUEUES,
                                         .queues = d.queues,
                                         .host_features = FEATURE };
        CHECK_EQ(loop_new("test", &d.dev.loop), 0);
        CHECK(virtio_pci_new(&b->parts, b->host, b->irq, -1, b->mem, &d.dev, 0) > 0);
        put16(b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void board_init(struct board *b) {
        board_init_version(b, machine_version_newest());
}

static void board_done(struct board *b) {
        virtio_pci_free(&d.dev);
        CHECK(d.freed);
        board_close(b);
}

static uint64_t get_features(struct board *b) {
        uint64_t features;

        put(b, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
        features = (uint64_t) get(b, VIRTIO_PCI_COMMON_DF, 4) << 32;
        put(b, VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
        return features | get(b, VIRTIO_PCI_COMMON_DF, 4);
}

static void set_up_queue(struct board *b, unsigned index, uint64_t desc) {
        put_queue(b, index, VIRTIO_MSI_NO_VECTOR, desc, 0x2000, 0x3000);
}

static void machine_reset(struct board *b) {
        const char *text;

        parts_reset_begin(&b->parts);
        CHECK(!parts_are_busy(&b->parts));
        CHECK_EQ(parts_reset(&b->parts, &text), 0);
}

static void test_4_1_2_identity(void) {
        struct board b;
        uint32_t id;

        board_init(&b);
        bus_read(&b.mmio, LAYOUT_ECAM + 0x8000, &id, 4);
        CHECK_EQ(id, 0x10411af4);
        bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + PCI_CLASS_REVISION, &id, 4);
        CHECK_EQ(id, 0xff000001);
        board_done(&b);
}

/* Each area of §4.1.4 is announced once, inside BAR 0. */
static void test_4_1_4_capabilities(void) {
        struct board b;
        unsigned seen = 0;
        uint8_t at;

        board_init(&b);
        bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + PCI_CAPABILITY_LIST, &at, 1);
        for (unsigned n = 0; at != 0; n++) {
                struct virtio_pci_cap cap;

                CHECK(n < 16 && at >= 0x40);
                for (unsigned i = 0; i < sizeof(cap); i += 4)
                        bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + at + i, (uint8_t *) &cap + i, 4);
                if (cap.cap_vndr == PCI_CAP_ID_VNDR) {
                        CHECK(!(seen & BIT(cap.cfg_type)));
                        seen |= BIT(cap.cfg_type);
                        CHECK_EQ(cap.bar, 0);
                        CHECK(cap.offset + cap.length <= 0x8000);
                }
                at = cap.cap_next;
        }
        CHECK_EQ(seen, 0x3e);
        board_done(&b);
}

/* A device offers no more than its machine's version has, whatever it could do. */
static void test_version_limits(void) {
        struct machine_version old = *machine_version_newest();
        struct virtio_device unknown = { .type = VIRTIO_ID_FS, .n_queues = 1 };
        struct board b;

        memset(old.virtio_type, 0, sizeof(old.virtio_type));
        old.virtio_type[0] = (struct virtio_version) { VIRTIO_ID_NET, 8, BIT64(VIRTIO_F_VERSION_1) };
        board_init_version(&b, &old);
        CHECK_EQ(get_features(&b), BIT64(VIRTIO_F_VERSION_1));
        negotiate(&b, FEATURE | BIT64(VIRTIO_F_VERSION_1));
        CHECK(!(status(&b) & VIRTIO_CONFIG_S_FEATURES_OK));
        for (unsigned i = 0; i < QUEUES; i++) {
                put(&b, VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
                CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
        }
        CHECK_EQ(virtio_pci_new(&b.parts, b.host, b.irq, -1, b.mem, &unknown, 0), -EOPNOTSUPP);
        board_done(&b);
}

static void test_3_1_1_start(void) {
        struct board b;

        board_init(&b);
        CHECK_EQ(get_features(&b), FEATURE | BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
                                           BIT64(VIRTIO_RING_F_INDIRECT_DESC));
        negotiate(&b, FEATURE | BIT64(VIRTIO_F_VERSION_1));
        CHECK(status(&b) & VIRTIO_CONFIG_S_FEATURES_OK);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
        set_up_queue(&b, 0, 0x1000);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
        CHECK_EQ(d.activated, 0);
        go(&b);
        CHECK_EQ(d.activated, 1);
        CHECK_EQ(d.dev.features, FEATURE | BIT64(VIRTIO_F_VERSION_1));
        CHECK(!d.queues[0].event_idx);
        /* Features are final; DRIVER_OK a second time changes nothing. */
        put_features(&b, 0);
        go(&b);
        CHECK_EQ(d.activated, 1);
        CHECK_EQ(d.dev.features, FEATURE | BIT64(VIRTIO_F_VERSION_1));
        board_done(&b);
        CHECK_EQ(d.resets, 1);
}

static void test_2_2_2_features_refused(void) {
        static const uint64_t bad[] = { 0, FEATURE, BIT64(VIRTIO_F_VERSION_1) | BIT64(7),
                                        BIT64(VIRTIO_F_VERSION_1) | BIT64(63) };
        struct board b;

        board_init(&b);
        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                negotiate(&b, bad[i]);
                CHECK(!(status(&b) & VIRTIO_CONFIG_S_FEATURES_OK));
                set_status(&b, 0);
        }
        /* Offered, but not in this combination. */
        d.refused = FEATURE;
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1) | FEATURE);
        CHECK(!(status(&b) & VIRTIO_CONFIG_S_FEATURES_OK));
        CHECK_EQ(d.dev.features, 0);
        /* Features are final only once FEATURES_OK is set. */
        put_features(&b, BIT64(VIRTIO_F_VERSION_1));
        set_status(&b, status(&b) | VIRTIO_CONFIG_S_FEATURES_OK);
        CHECK(status(&b) & VIRTIO_CONFIG_S_FEATURES_OK);
        board_done(&b);
}

static void test_2_1_driver_ok_without_features(void) {
        struct board b;

        board_init(&b);
        set_status(&b, VIRTIO_CONFIG_S_DRIVER_OK);
        CHECK_EQ(d.activated, 0);
        CHECK(status(&b) & VIRTIO_CONFIG_S_NEEDS_RESET);
        CHECK_EQ(d.dev.guest_errors.count, 1);
        set_status(&b, 0);
        CHECK_EQ(status(&b), 0);
        board_done(&b);
}

static void test_2_4_reset(void) {
        struct board b;

        board_init(&b);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 0, 0x1000);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
        put(&b, VIRTIO_PCI_COMMON_MSIX, 0, 2);
        go(&b);
        set_status(&b, 0);
        CHECK_EQ(d.resets, 1);
        CHECK_EQ(status(&b), 0);
        put(&b, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        set_status(&b, 0); /* not active: the device hears nothing */
        CHECK_EQ(d.resets, 1);
        board_done(&b);
}

static void test_2_7_impossible_queues(void) {
        static const uint64_t places[] = { 0x1001, GUEST_MEM_MIN - 64, GUEST_MEM_MIN, UINT64_MAX & ~15ull };
        struct board b;

        board_init(&b);
        for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
                negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
                set_up_queue(&b, 1, places[i]);
                CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
                CHECK(status(&b) & VIRTIO_CONFIG_S_NEEDS_RESET);
                set_status(&b, 0);
        }
        /* A size that is no power of two, one beyond the offer. */
        for (unsigned size = 5; size <= 16; size += 11) {
                negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
                put(&b, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
                put(&b, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
                put(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
                CHECK(status(&b) & VIRTIO_CONFIG_S_NEEDS_RESET);
                set_status(&b, 0);
        }
        board_done(&b);
}

static void test_4_1_4_3_1_missing_queue(void) {
        struct board b;

        board_init(&b);
        put(&b, VIRTIO_PCI_COMMON_Q_SELECT, QUEUES, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        put(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
        board_done(&b);
}

static void test_4_1_5_1_2_vectors(void) {
        struct board b;

        board_init(&b);
        put(&b, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, QUEUES, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_MSIX, 2), QUEUES);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, QUEUES + 1, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        put(&b, VIRTIO_PCI_COMMON_MSIX, 1000, 2);
        CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
        board_done(&b);
}

/* §4.1.3.1: other widths than the register's own do nothing, wherever they are. */
static void test_4_1_3_1_widths(void) {
        struct board b;

        board_init(&b);
        for (unsigned offset = 0; offset < 0x8000; offset++)
                for (unsigned len = 1; len <= 8; len *= 2) {
                        uint64_t value = UINT64_MAX;

                        if (offset >= 0x40 && offset % 0x1000 > 0x40 && offset % 0x1000 < 0xfc0)
                                continue;
                        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + offset, &value, len);
                        value = 0x8080808080808080;
                        bus_write(&b.mmio, LAYOUT_PCI_WINDOW + offset, &value, len);
                }
        put(&b, VIRTIO_PCI_COMMON_STATUS, 0, 1);
        put(&b, VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE, 4);
        CHECK_EQ(status(&b), 0);
        board_done(&b);
}

static void test_4_1_4_6_device_configuration(void) {
        struct board b;

        board_init(&b);
        memcpy(d.config, "\1\2\3\4\5\6", CONFIG_SIZE);
        CHECK_EQ(get(&b, DEVICE_CFG, 4), 0x04030201);
        CHECK_EQ(get(&b, DEVICE_CFG + 4, 4), 0x0605);
        CHECK_EQ(get(&b, DEVICE_CFG + CONFIG_SIZE, 2), 0);
        put(&b, DEVICE_CFG + 4, 0x99999999, 4);
        CHECK_EQ(d.config[5], 0x99);
        board_done(&b);
}

/* §4.1.4.9: configuration space shows any part of the BAR. */
static void test_4_1_4_9_window(void) {
        struct board b;
        unsigned at = 0;
        uint32_t value;

        board_init(&b);
        for (unsigned i = 0x40; i < 0x100 && at == 0; i += 4) {
                bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + i, &value, 4);
                if ((value & 0xff) == PCI_CAP_ID_VNDR && value >> 24 == VIRTIO_PCI_CAP_PCI_CFG)
                        at = i;
        }
        CHECK(at > 0);
        memcpy(d.config, "\1\2\3\4\5\6", CONFIG_SIZE);
        value = DEVICE_CFG + 2;
        bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 8, &value, 4);
        value = 2;
        bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 12, &value, 4);
        bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 16, &value, 4);
        CHECK_EQ(value & 0xffff, 0x0403);
        value = 0x7777;
        bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 16, &value, 4);
        CHECK_EQ(d.config[2], 0x77);
        /* Beyond the BAR, of no width, not aligned: nothing happens. */
        static const uint32_t bad[][2] = {
                { 0x8000, 4 }, { 0xfffffffc, 4 }, { 0x2000, 0 }, { 0x2000, 3 }, { 0x2001, 2 }
        };
        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
                bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 8, &bad[i][0], 4);
                bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 12, &bad[i][1], 4);
                bus_read(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 16, &value, 4);
                bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + at + 16, &value, 4);
        }
        board_done(&b);
}

static void test_notification_reaches_the_device(void) {
        struct board b;

        board_init(&b);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 1, 0x1000);
        go(&b);
        put(&b, NOTIFY + 4 * QUEUES, 0, 2); /* no such queue */
        put(&b, NOTIFY + 4, 1, 2);
        CHECK_EQ(loop_run(d.dev.loop), 0);
        CHECK_EQ(d.kicks[1], 1);
        CHECK_EQ(d.kicks[0], 0);
        board_done(&b);
}

static bool is_signalled(struct board *b, unsigned gsi) {
        uint64_t count;

        return b->irq->msi[gsi].fd >= 0 && read(b->irq->msi[gsi].fd, &count, sizeof(count)) == sizeof(count);
}

static void enable_msix(struct board *b) {
        struct pci_device *pci = d.dev.transport_data;

        put16(b, pci->msix.capability + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
        for (unsigned v = 0; v <= QUEUES; v++)
                put(b, MSIX_TABLE + v * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
}

static void test_interrupts(void) {
        struct board b;
        uint8_t generation;

        board_init(&b);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 1, 0x1000);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
        put(&b, VIRTIO_PCI_COMMON_MSIX, 0, 2);
        go(&b);
        enable_msix(&b);
        d.dev.transport->queue_interrupt(&d.dev, 1);
        CHECK(is_signalled(&b, 2));
        CHECK(!is_signalled(&b, 0));
        CHECK_EQ(get(&b, 0x1000, 1), 0);
        d.dev.transport->queue_interrupt(&d.dev, 0); /* has no vector */
        generation = (uint8_t) get(&b, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
        d.dev.transport->config_changed(&d.dev);
        CHECK(is_signalled(&b, 0));
        CHECK(get(&b, VIRTIO_PCI_COMMON_CFGGENERATION, 1) != generation);
        /* §2.1.2: a device that needs a reset says so once, and is kicked no more. */
        virtio_device_fail(&d.dev, "test");
        CHECK(is_signalled(&b, 0));
        virtio_device_fail(&d.dev, "test");
        CHECK(!is_signalled(&b, 0));
        CHECK(status(&b) & VIRTIO_CONFIG_S_NEEDS_RESET);
        machine_reset(&b);
        CHECK_EQ(b.irq->msi[2].fd, -1);
        board_done(&b);
}

/* §4.1.4.5: without MSI-X the ISR register tells what happened, once. */
static void test_4_1_4_5_isr(void) {
        struct board b;

        board_init(&b);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        go(&b);
        d.dev.transport->queue_interrupt(&d.dev, 1);
        d.dev.transport->config_changed(&d.dev);
        CHECK_EQ(get(&b, 0x1000, 1), 3);
        CHECK_EQ(get(&b, 0x1000, 1), 0);
        board_done(&b);
}

/* Linux clears the bit before it jumps into another kernel, to whose memory the old queues and vectors point. */
static void test_bus_mastering_taken_away(void) {
        struct board b;

        board_init(&b);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 0, 0x1000);
        put(&b, VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
        enable_msix(&b);
        go(&b);
        CHECK_EQ(d.activated, 1);
        CHECK(b.irq->msi[1].fd >= 0);

        put16(&b, PCI_COMMAND, PCI_COMMAND_MEMORY);
        CHECK_EQ(d.resets, 1);
        CHECK(!d.queues[0].enabled);
        CHECK_EQ(status(&b) & VIRTIO_CONFIG_S_DRIVER_OK, 0);
        CHECK_EQ(b.irq->msi[1].fd, -1);
        /* From here on, what the driver writes to the table changes nothing. */
        put(&b, MSIX_TABLE + 16 + PCI_MSIX_ENTRY_DATA, 0x55, 4);
        CHECK_EQ(b.irq->msi[1].fd, -1);

        /* Given back: interrupts again, queues only after a reset. */
        put16(&b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        CHECK(b.irq->msi[1].fd >= 0);
        CHECK_EQ(d.activated, 1);
        set_status(&b, 0);
        CHECK_EQ(d.resets, 1);
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 0, 0x1000);
        go(&b);
        CHECK_EQ(d.activated, 2);
        CHECK(d.queues[0].enabled);

        /* Other bits of the register are of no concern, and a machine reset begins anew. */
        put16(&b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
        CHECK_EQ(d.resets, 1);
        put16(&b, PCI_COMMAND, 0);
        machine_reset(&b);
        CHECK_EQ(d.resets, 2);
        put16(&b, PCI_COMMAND, PCI_COMMAND_MEMORY);
        enable_msix(&b);
        CHECK(b.irq->msi[1].fd >= 0);
        board_done(&b);
}

static unsigned idles;

static void on_idle(void *arg) {
        CHECK(!parts_are_busy(arg));
        idles++;
}

static void go_with_a_queue(struct board *b) {
        negotiate(b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(b, 0, 0x1000);
        go(b);
        CHECK(d.dev.live);
}

/* §4.1.4.3.2: the driver waits for 0. Until the device's requests are done nothing changes, whatever is written. */
static void test_2_4_reset_takes_time(void) {
        const char *text;
        struct board b;
        uint32_t before;

        board_init(&b);
        b.parts.settled = on_idle;
        b.parts.arg = &b.parts;
        idles = 0;
        go_with_a_queue(&b);
        before = status(&b);
        d.slow = true;
        set_status(&b, 0);
        set_status(&b, 0);
        CHECK_EQ(d.resets, 1);
        CHECK(parts_are_busy(&b.parts) && !d.dev.live);
        CHECK_EQ(status(&b), before);
        CHECK(d.queues[0].enabled);
        set_status(&b, VIRTIO_CONFIG_S_ACKNOWLEDGE);
        put(&b, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
        CHECK_EQ(status(&b), before);
        d.dev.transport->idle(&d.dev);
        CHECK_EQ(idles, 1);
        CHECK_EQ(status(&b), 0);
        CHECK(!d.queues[0].enabled);

        /* A machine's reset after one of the driver's, or on the way from standing still. */
        d.slow = false;
        go_with_a_queue(&b);
        d.slow = true;
        parts_quiesce(&b.parts);
        CHECK(parts_are_busy(&b.parts));
        set_status(&b, 0);
        parts_reset_begin(&b.parts);
        CHECK_EQ(d.resets, 2);
        d.dev.transport->idle(&d.dev);
        CHECK_EQ(idles, 2);
        CHECK(!parts_are_busy(&b.parts));
        CHECK_EQ(parts_reset(&b.parts, &text), 0);
        parts_resume(&b.parts);
        CHECK(!d.dev.live);
        d.slow = false;
        board_done(&b);
}

/* The driver's notifications wait, and nothing is lost. */
static void test_standing_still(void) {
        struct board b;

        board_init(&b);
        b.parts.settled = on_idle;
        b.parts.arg = &b.parts;
        idles = 0;
        go_with_a_queue(&b);
        parts_quiesce(&b.parts);
        parts_quiesce(&b.parts);
        CHECK_EQ(d.quiesces, 1);
        CHECK(!d.dev.live && !parts_are_busy(&b.parts));
        parts_resume(&b.parts);
        parts_resume(&b.parts);
        CHECK_EQ(d.resumes, 1);
        CHECK(d.dev.live);
        CHECK_EQ(idles, 0);

        /* On the way to it: also when it is taken back. */
        d.slow = true;
        parts_quiesce(&b.parts);
        CHECK(parts_are_busy(&b.parts));
        parts_resume(&b.parts);
        CHECK(d.dev.live && !parts_are_busy(&b.parts));
        parts_quiesce(&b.parts);
        d.dev.transport->idle(&d.dev);
        CHECK(!d.dev.live && !parts_are_busy(&b.parts));

        /* A broken device stays broken. */
        virtio_device_fail(&d.dev, "broken");
        parts_resume(&b.parts);
        CHECK(!d.dev.live);
        d.slow = false;
        board_done(&b);
}

static void *take_bus_mastering(void *arg) {
        put16(arg, PCI_COMMAND, PCI_COMMAND_MEMORY);
        return NULL;
}

/* Once the write has happened the device touches no memory: the vCPU waits. */
static void test_bus_mastering_waits(void) {
        pthread_t vcpu;
        struct board b;

        board_init(&b);
        go_with_a_queue(&b);
        d.slow = true;
        CHECK_EQ(pthread_create(&vcpu, NULL, take_bus_mastering, &b), 0);
        while (!parts_are_busy(&b.parts))
                (void) usleep(1000);
        (void) usleep(50000);
        CHECK_EQ(pthread_tryjoin_np(vcpu, NULL), EBUSY);
        d.dev.transport->idle(&d.dev);
        CHECK_EQ(pthread_join(vcpu, NULL), 0);
        CHECK(!d.queues[0].enabled);
        d.slow = false;
        board_done(&b);
}

/* Requests that end while the device goes: the part that they settle is one yet. */
static void test_free_at_work(void) {
        struct board b;

        board_init(&b);
        b.parts.settled = on_idle;
        b.parts.arg = &b.parts;
        idles = 0;
        go_with_a_queue(&b);
        d.slow = d.ends_late = true;
        board_done(&b);
        CHECK_EQ(idles, 1);
        CHECK(!parts_are_busy(&b.parts));
}

/* Everything that a driver can write while its device leaves. */
static void write_everything(struct board *b) {
        put16(b, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        set_status(b, 0);
        negotiate(b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(b, 0, 0x1000);
        set_up_queue(b, 1, 0x1000);
        go(b);
        put(b, DEVICE_CFG, 0x77777777, 4);
        put(b, NOTIFY, 0, 2);
        enable_msix(b);
}

/* Once a device leaves, no driver can start it again, whatever it writes and whatever happens to the machine. */
static void test_leave(void) {
        for (unsigned i = 0; i < 16; i++) {
                bool with_driver = i & 1, slow = i & 2, paused = i & 4, is_held = i & 8;
                const char *text;
                struct board b;

                board_init(&b);
                b.parts.settled = on_idle;
                b.parts.arg = &b.parts;
                idles = 0;
                if (with_driver)
                        go_with_a_queue(&b);
                if (paused)
                        parts_quiesce(&b.parts);
                d.slow = slow;
                d.is_held = is_held;
                CHECK(!virtio_pci_is_leaving(&d.dev));
                virtio_pci_leave(&d.dev);
                CHECK(virtio_pci_is_leaving(&d.dev) && !d.dev.live);
                CHECK_EQ(d.quiesces, 1);
                CHECK_EQ(d.resets, with_driver);
                slow = slow && (with_driver || !paused);
                CHECK_EQ(virtio_pci_is_busy(&d.dev), slow || is_held);
                CHECK_EQ(d.releases, !slow); /* not while something is at work */
                write_everything(&b);
                parts_reset_begin(&b.parts);
                parts_quiesce(&b.parts);
                parts_resume(&b.parts);
                for (unsigned k = 0; k < (unsigned) slow + is_held; k++) {
                        CHECK_EQ(idles, 0);
                        CHECK(virtio_pci_is_busy(&d.dev));
                        d.dev.transport->idle(&d.dev);
                        CHECK_EQ(d.releases, 1);
                }
                CHECK_EQ(idles, slow || is_held);
                CHECK(!virtio_pci_is_busy(&d.dev));
                CHECK_EQ(parts_reset(&b.parts, &text), 0);
                write_everything(&b);
                CHECK_EQ(d.activated, with_driver);
                CHECK_EQ(d.config[0], 0);
                CHECK_EQ(d.resumes, 0);
                CHECK(!d.dev.live && !d.queues[0].enabled);
                CHECK_EQ(status(&b), 0);

                virtio_pci_unplug(&d.dev);
                CHECK_EQ(virtio_pci_slot(&d.dev), 0);
                CHECK_EQ(get(&b, VIRTIO_PCI_COMMON_STATUS, 1), 0xff);
                d.slow = false;
                virtio_pci_free(&d.dev);
                CHECK(d.freed);
                for (unsigned gsi = 0; gsi < FAKE_GSIS; gsi++)
                        CHECK(!b.irq->taken[gsi]);
                board_close(&b);
        }
}

/* A vCPU that waits for the device to let go of the bus goes on when the device has left. */
static void test_leave_while_a_vcpu_waits(void) {
        pthread_t vcpu;
        struct board b;

        board_init(&b);
        go_with_a_queue(&b);
        d.slow = true;
        CHECK_EQ(pthread_create(&vcpu, NULL, take_bus_mastering, &b), 0);
        while (!parts_are_busy(&b.parts))
                (void) usleep(1000);
        virtio_pci_leave(&d.dev);
        CHECK(virtio_pci_is_busy(&d.dev));
        d.dev.transport->idle(&d.dev);
        CHECK(!virtio_pci_is_busy(&d.dev));
        CHECK_EQ(pthread_join(vcpu, NULL), 0);
        d.slow = false;
        board_done(&b);
}

static void read_config(struct board *b, uint32_t config[static 64]) {
        for (unsigned i = 0; i < 64; i++)
                bus_read(&b->mmio, LAYOUT_ECAM + 0x8000 + 4 * i, &config[i], 4);
}

/* Whatever the guest has written into configuration space, a machine reset puts it back. */
static void test_reset_of_configuration_space(void) {
        const uint32_t ones = UINT32_MAX;
        uint32_t before[64], after[64];
        struct board b;

        board_init(&b);
        put16(&b, PCI_COMMAND, 0);
        read_config(&b, before);
        for (unsigned i = 0; i < 64; i++)
                bus_write(&b.mmio, LAYOUT_ECAM + 0x8000 + 4 * i, &ones, 4);
        read_config(&b, after);
        CHECK(memcmp(before, after, sizeof(before)) != 0);
        machine_reset(&b);
        read_config(&b, after);
        CHECK(memcmp(before, after, sizeof(before)) == 0);
        board_done(&b);
}

static void test_activate_fails(void) {
        struct board b;

        board_init(&b);
        d.activate_result = -EIO;
        negotiate(&b, BIT64(VIRTIO_F_VERSION_1));
        set_up_queue(&b, 1, 0x1000);
        go(&b);
        CHECK(status(&b) & VIRTIO_CONFIG_S_NEEDS_RESET);
        board_done(&b);
        CHECK_EQ(d.resets, 0);
}

int main(void) {
        RUN(test_4_1_2_identity);
        RUN(test_4_1_4_capabilities);
        RUN(test_version_limits);
        RUN(test_3_1_1_start);
        RUN(test_2_2_2_features_refused);
        RUN(test_2_1_driver_ok_without_features);
        RUN(test_2_4_reset);
        RUN(test_2_7_impossible_queues);
        RUN(test_4_1_4_3_1_missing_queue);
        RUN(test_4_1_5_1_2_vectors);
        RUN(test_4_1_3_1_widths);
        RUN(test_4_1_4_6_device_configuration);
        RUN(test_4_1_4_9_window);
        RUN(test_notification_reaches_the_device);
        RUN(test_interrupts);
        RUN(test_4_1_4_5_isr);
        RUN(test_bus_mastering_taken_away);
        RUN(test_bus_mastering_waits);
        RUN(test_2_4_reset_takes_time);
        RUN(test_standing_still);
        RUN(test_free_at_work);
        RUN(test_leave);
        RUN(test_leave_while_a_vcpu_waits);
        RUN(test_reset_of_configuration_space);
        RUN(test_activate_fails);
        return 0;
}
