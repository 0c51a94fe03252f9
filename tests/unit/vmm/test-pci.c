/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include "arch/x86_64/layout.h"
#include "arch/x86_64/pci_ports.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "core/pci.h"
#include "fake-irq.h"

#define BAR     0x4000u
#define TABLE   0x2000u
#define VECTORS 3u

struct device {
        struct pci_device pci;
        unsigned moves, accesses;
        bool mapped;
        uint64_t address, offset;
};

static const struct pci_id any_id = { .vendor = 0x1234, .device = 0x5678, .revision = 1 };

struct board {
        struct parts parts;
        struct bus pio, mmio;
        struct pci_host *host;
        struct pci_ports *ports;
        struct irq *irq;
        struct device device;
};

static void device_read(struct pci_device *pci, uint64_t offset, void *data, unsigned len) {
        struct device *d = (struct device *) pci;

        d->accesses++;
        d->offset = offset;
        memset(data, 0, len);
        if (offset >= TABLE)
                msix_read(pci, offset - TABLE, data, len);
}

static void device_write(struct pci_device *pci, uint64_t offset, const void *data, unsigned len) {
        struct device *d = (struct device *) pci;

        d->accesses++;
        if (offset >= TABLE)
                msix_write(pci, offset - TABLE, data, len);
}

static void device_moved(struct pci_device *pci, bool mapped, uint64_t address) {
        struct device *d = (struct device *) pci;

        d->moves++;
        d->mapped = mapped;
        d->address = address;
}

static void device_config_written(struct pci_device *pci, unsigned offset, unsigned len) {
        msix_update(pci);
}

static const struct pci_device_ops ops = {
        .bar_read = device_read,
        .bar_write = device_write,
        .bar_moved = device_moved,
        .config_written = device_config_written,
};

static void board_init(struct board *b) {
        *b = (struct board) { 0 };
        CHECK_EQ(irq_new(-1, &b->irq), 0);
        CHECK_EQ(pci_host_new(&b->parts, machine_version_newest(), &b->mmio, &b->host), 0);
        CHECK_EQ(pci_ports_new(&b->parts, &b->pio, b->host, &b->ports), 0);
        pci_device_init(&b->device.pci, &ops, &any_id, 0x020000);
        pci_device_set_bar(&b->device.pci, BAR);
        CHECK_EQ(msix_init(&b->device.pci, b->irq, VECTORS, TABLE), 0);
        CHECK(pci_host_add(b->host, &b->device.pci, 0) > 0);
}

static void board_done(struct board *b) {
        msix_done(&b->device.pci);
        pci_device_done(&b->device.pci);
        CHECK(!pci_ports_free(b->ports));
        pci_host_free(b->host);
        irq_free(b->irq);
}

static uint64_t ecam(unsigned slot, unsigned offset) {
        return LAYOUT_ECAM + slot * 0x8000u + offset;
}

static uint32_t get(struct board *b, unsigned slot, unsigned offset, unsigned len) {
        uint32_t value = 0;

        bus_read(&b->mmio, ecam(slot, offset), &value, len);
        return value;
}

static void put(struct board *b, unsigned offset, uint32_t value, unsigned len) {
        bus_write(&b->mmio, ecam(1, offset), &value, len);
}

static uint32_t port_get(struct board *b, uint32_t address, unsigned port, unsigned len) {
        uint32_t value = 0;

        bus_write(&b->pio, 0xcf8, &address, 4);
        bus_read(&b->pio, port, &value, len);
        return value;
}

static void test_both_ways_to_configuration_space(void) {
        struct board b;

        board_init(&b);
        CHECK_EQ(get(&b, 1, 0, 4), 0x56781234);
        CHECK_EQ(get(&b, 1, 2, 2), 0x5678);
        CHECK_EQ(get(&b, 2, 0, 4), UINT32_MAX);
        CHECK_EQ(get(&b, 0, PCI_CLASS_DEVICE, 2), 0x0600);
        /* Other functions, and what is beyond 256 bytes, do not exist. */
        CHECK_EQ(get(&b, 1, 0x1000, 4), UINT32_MAX);
        CHECK_EQ(get(&b, 1, 0x100, 4), UINT32_MAX);
        CHECK_EQ(get(&b, 1, 0xfe, 4), UINT32_MAX);

        CHECK_EQ(port_get(&b, 0x80000800, 0xcfc, 4), 0x56781234);
        CHECK_EQ(port_get(&b, 0x80000800, 0xcfe, 2), 0x5678);
        CHECK_EQ(port_get(&b, 0x80000800, 0xcf8, 4), 0x80000800);
        CHECK_EQ(port_get(&b, 0x00000800, 0xcfc, 4), UINT32_MAX); /* not enabled */
        CHECK_EQ(port_get(&b, 0x80010800, 0xcfc, 4), UINT32_MAX); /* bus 1 */
        CHECK_EQ(port_get(&b, 0x80000900, 0xcfc, 4), UINT32_MAX); /* function 1 */
        board_done(&b);
}

/* A reset forgets which register the ports stood at, and what was written to the bridge. */
static void test_reset_of_the_host(void) {
        const uint32_t address = 0x80000000u | 3u << 11;
        const uint8_t line = 7;
        const char *text;
        struct board b;
        uint32_t value;

        board_init(&b);
        bus_write(&b.pio, 0xcf8, &address, 4);
        bus_read(&b.pio, 0xcf8, &value, 4);
        CHECK_EQ(value, address);
        bus_write(&b.mmio, LAYOUT_ECAM + PCI_INTERRUPT_LINE, &line, 1);
        CHECK_EQ(parts_reset(&b.parts, &text), 0);
        bus_read(&b.pio, 0xcf8, &value, 4);
        CHECK_EQ(value, 0);
        bus_read(&b.mmio, LAYOUT_ECAM + PCI_INTERRUPT_LINE, &value, 1);
        CHECK_EQ(value & 0xff, 0);
        board_done(&b);
}

static void test_read_only_registers(void) {
        struct board b;

        board_init(&b);
        put(&b, PCI_VENDOR_ID, 0, 4);
        put(&b, PCI_STATUS, 0xffff, 2);
        CHECK_EQ(get(&b, 1, 0, 4), 0x56781234);
        CHECK_EQ(get(&b, 1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
        put(&b, PCI_COMMAND, 0xffff, 2);
        CHECK_EQ(get(&b, 1, PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
        CHECK_EQ(get(&b, 1, PCI_INTERRUPT_PIN, 1), 0);
        board_done(&b);
}

static void test_bar_sizing(void) {
        struct board b;

        board_init(&b);
        put(&b, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
        put(&b, PCI_BASE_ADDRESS_1, UINT32_MAX, 4);
        CHECK_EQ(get(&b, 1, PCI_BASE_ADDRESS_0, 4), (uint32_t) ~(BAR - 1) | PCI_BASE_ADDRESS_MEM_TYPE_64);
        CHECK_EQ(get(&b, 1, PCI_BASE_ADDRESS_1, 4), UINT32_MAX);
        put(&b, PCI_BASE_ADDRESS_2, UINT32_MAX, 4);
        CHECK_EQ(get(&b, 1, PCI_BASE_ADDRESS_2, 4), 0);
        CHECK_EQ(b.device.moves, 0);
        board_done(&b);
}

static void test_bar_moves(void) {
        struct board b;
        uint32_t value;

        board_init(&b);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW, &value, 4);
        CHECK_EQ(value, UINT32_MAX); /* decoding is off */
        put(&b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        CHECK(b.device.mapped);
        CHECK_EQ(b.device.address, LAYOUT_PCI_WINDOW);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + 0x10, &value, 4);
        CHECK_EQ(b.device.offset, 0x10);

        put(&b, PCI_BASE_ADDRESS_0, LAYOUT_PCI_WINDOW + 0x10000, 4);
        CHECK_EQ(b.device.address, LAYOUT_PCI_WINDOW + 0x10000);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + 0x10000 + BAR - 4, &value, 4);
        CHECK_EQ(b.device.offset, BAR - 4);
        CHECK_EQ(b.device.accesses, 2);
        /* Its old place, and an access that sticks out of it. */
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW, &value, 4);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + 0x10000 + BAR - 2, &value, 4);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + 0x10000 - 2, &value, 4);
        CHECK_EQ(b.device.accesses, 2);

        /* Over RAM, over the IOAPIC, beyond the window's end, above 4 GiB: nowhere. */
        static const uint64_t bad[] = { 0, LAYOUT_IOAPIC, LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE, 1ull << 40 };
        for (unsigned i = 0; i < 4; i++) {
                put(&b, PCI_BASE_ADDRESS_0, (uint32_t) bad[i], 4);
                put(&b, PCI_BASE_ADDRESS_1, (uint32_t) (bad[i] >> 32), 4);
                CHECK(!b.device.mapped);
        }
        pci_device_reset(&b.device.pci);
        CHECK_EQ(get(&b, 1, PCI_BASE_ADDRESS_0, 4) & ~0xfu, LAYOUT_PCI_WINDOW);
        CHECK_EQ(get(&b, 1, PCI_COMMAND, 2), 0);
        board_done(&b);
}

static void test_full_bus(void) {
        struct board b;
        struct pci_device extra[PCI_SLOTS];
        unsigned n;

        board_init(&b);
        for (n = 0; n < PCI_SLOTS; n++) {
                pci_device_init(&extra[n], &ops, &any_id, 0);
                if (pci_host_add(b.host, &extra[n], 0) == -ENOSPC)
                        break;
        }
        CHECK_EQ(n, PCI_SLOTS - 2);
        board_done(&b);
}

static uint64_t table(unsigned vector, unsigned reg) {
        return LAYOUT_PCI_WINDOW + TABLE + vector * PCI_MSIX_ENTRY_SIZE + reg;
}

static void table_put(struct board *b, unsigned vector, unsigned reg, uint32_t value) {
        bus_write(&b->mmio, table(vector, reg), &value, 4);
}

static uint64_t pending(struct board *b) {
        uint64_t bits;

        bus_read(&b->mmio, LAYOUT_PCI_WINDOW + TABLE + PCI_MSIX_SIZE / 2, &bits, 8);
        return bits;
}

static void set_control(struct board *b, uint16_t value) {
        put(b, b->device.pci.msix.capability + PCI_MSIX_FLAGS, value, 2);
}

static bool is_signalled(struct board *b, unsigned vector) {
        uint64_t count;

        return read(b->device.pci.msix.vector[vector].fd, &count, sizeof(count)) == sizeof(count);
}

static void test_msix_capability(void) {
        struct board b;
        unsigned at;

        board_init(&b);
        at = get(&b, 1, PCI_CAPABILITY_LIST, 1);
        CHECK_EQ(at, b.device.pci.msix.capability);
        CHECK_EQ(get(&b, 1, at, 1), PCI_CAP_ID_MSIX);
        CHECK_EQ(get(&b, 1, at + PCI_MSIX_FLAGS, 2), VECTORS - 1);
        CHECK_EQ(get(&b, 1, at + PCI_MSIX_TABLE, 4), TABLE);
        CHECK_EQ(get(&b, 1, at + PCI_MSIX_PBA, 4), TABLE + PCI_MSIX_SIZE / 2);
        set_control(&b, 0xffff);
        CHECK_EQ(get(&b, 1, at + PCI_MSIX_FLAGS, 2), PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | (VECTORS - 1));
        board_done(&b);
}

/* PCI 3.0 §6.8.2.9: a vector fires only when MSI-X is on and neither function nor vector is masked. */
static void test_msix_6_8_2_masks(void) {
        struct board b;

        board_init(&b);
        put(&b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        table_put(&b, 1, PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000);
        table_put(&b, 1, PCI_MSIX_ENTRY_DATA, 0x41);
        table_put(&b, 1, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        CHECK_EQ(b.irq->msi[1].fd, -1); /* MSI-X is off */
        set_control(&b, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
        CHECK_EQ(b.irq->msi[1].fd, -1);
        set_control(&b, PCI_MSIX_FLAGS_ENABLE);
        CHECK_EQ(b.irq->msi[1].fd, b.device.pci.msix.vector[1].fd);
        CHECK_EQ(b.irq->msi[1].address, 0xfee00000);
        CHECK_EQ(b.irq->msi[1].data, 0x41);
        CHECK_EQ(b.irq->msi[0].fd, -1); /* vectors start masked */
        table_put(&b, 1, PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
        CHECK_EQ(b.irq->msi[1].fd, -1);
        /* New data while it is unmasked takes effect. */
        table_put(&b, 1, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        table_put(&b, 1, PCI_MSIX_ENTRY_DATA, 0x42);
        CHECK_EQ(b.irq->msi[1].data, 0x42);
        set_control(&b, 0);
        CHECK_EQ(b.irq->msi[1].fd, -1);
        board_done(&b);
}

/* PCI 3.0 §6.8.3.4: what comes while masked is pending, and sent by unmasking. */
static void test_msix_6_8_3_4_pending(void) {
        struct board b;

        board_init(&b);
        put(&b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        set_control(&b, PCI_MSIX_FLAGS_ENABLE);
        CHECK_EQ(pending(&b), 0);
        msix_raise(&b.device.pci, 2);
        msix_raise(&b.device.pci, VECTORS); /* there is no such vector */
        CHECK_EQ(pending(&b), 4);
        CHECK_EQ(pending(&b), 4); /* looking does not change it */
        table_put(&b, 2, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        CHECK_EQ(pending(&b), 0);
        CHECK(is_signalled(&b, 2)); /* KVM would find it in the eventfd */
        msix_raise(&b.device.pci, 0);
        pci_device_reset(&b.device.pci);
        CHECK(!is_signalled(&b, 0));
        board_done(&b);
}

static void test_msix_odd_accesses(void) {
        struct board b;
        uint64_t value = UINT64_MAX;

        board_init(&b);
        put(&b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        value = 0xfee01000ull | 1ull << 32;
        bus_write(&b.mmio, table(0, 0), &value, 8);
        CHECK_EQ(b.device.pci.msix.vector[0].address, value);
        bus_read(&b.mmio, table(0, 0), &value, 8);
        CHECK_EQ(value, 0xfee01000ull | 1ull << 32);
        bus_write(&b.mmio, table(0, 0), "\0", 1);
        bus_write(&b.mmio, table(0, 2), "\0\0\0", 4);
        CHECK_EQ(b.device.pci.msix.vector[0].address, value);
        /* Behind the last vector, and behind the last pending bit. */
        table_put(&b, VECTORS, 0, 1);
        bus_read(&b.mmio, table(VECTORS, 0), &value, 8);
        CHECK_EQ(value, 0);
        bus_read(&b.mmio, LAYOUT_PCI_WINDOW + TABLE + PCI_MSIX_SIZE - 8, &value, 8);
        CHECK_EQ(value, 0);
        /* KVM refuses: the vector stays detached and keeps what is pending. */
        b.irq->route_error = -EINVAL;
        set_control(&b, PCI_MSIX_FLAGS_ENABLE);
        table_put(&b, 0, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        CHECK_EQ(b.irq->msi[0].fd, -1);
        msix_raise(&b.device.pci, 0);
        CHECK_EQ(pending(&b), 1);
        /* KVM takes the vector, and later refuses a change: what it would send is not what the driver wants. */
        b.irq->route_error = 0;
        table_put(&b, 0, PCI_MSIX_ENTRY_DATA, 0x41);
        CHECK(b.irq->msi[0].fd >= 0);
        b.irq->route_error = -EINVAL;
        table_put(&b, 0, PCI_MSIX_ENTRY_DATA, 0x42);
        CHECK_EQ(b.irq->msi[0].fd, -1);
        board_done(&b);
}

static unsigned gsis_taken(const struct board *b) {
        unsigned n = 0;

        for (unsigned i = 0; i < FAKE_GSIS; i++)
                n += b->irq->taken[i];
        return n;
}

/* A device that has left cannot be reached, and its slot, addresses and vectors are free. */
static void test_remove(void) {
        struct board b;
        struct pci_device *dev = &b.device.pci;
        uint64_t home;

        board_init(&b);
        home = dev->bar_home;
        CHECK_EQ(gsis_taken(&b), VECTORS);
        for (unsigned i = 0; i < 1000; i++) {
                unsigned slot = i % 2 ? 1 + i % (PCI_SLOTS - 1) : 1;

                put(&b, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
                pci_host_remove(dev);
                CHECK_EQ(pci_device_slot(dev), 0);
                CHECK(!dev->bar_mapped && !b.device.mapped);
                CHECK_EQ(get(&b, 1, 0, 4), UINT32_MAX);
                pci_host_remove(dev); /* once more is fine */
                CHECK(pci_host_add(b.host, dev, slot) >= 0);
                CHECK_EQ(pci_device_slot(dev), slot);
                CHECK_EQ(dev->bar_home, home);
                CHECK_EQ(get(&b, slot, 0, 4), 0x56781234);
                pci_host_remove(dev);
                CHECK(pci_host_add(b.host, dev, 0) >= 0);
                CHECK_EQ(pci_device_slot(dev), 1);
        }
        pci_host_remove(dev);
        msix_done(dev);
        CHECK_EQ(gsis_taken(&b), 0);
        for (unsigned i = 1; i <= VECTORS; i++) {
                pci_device_done(dev);
                pci_device_init(dev, &ops, &any_id, 0x020000);
                b.irq->gsis_max = i;
                CHECK_EQ(msix_init(dev, b.irq, VECTORS, TABLE), i < VECTORS ? -ENOSPC : 0);
                msix_done(dev);
                CHECK_EQ(gsis_taken(&b), 0);
        }
        pci_device_done(dev);
        pci_ports_free(b.ports);
        pci_host_free(b.host);
        CHECK_EQ(b.pio.n_ranges + b.mmio.n_ranges, 0);
        irq_free(b.irq);
}

/* BARs of all sizes are disjoint, aligned and inside the window, whatever the order in which devices come and go. */
static void test_homes(void) {
        static const uint64_t sizes[] = { 0x1000, 0x8000, 0, 1u << 28, 0x4000, 0x1000, 1u << 24 };
        struct pci_device dev[PCI_SLOTS - 1];
        bool is_in[PCI_SLOTS - 1] = { false };
        struct bus mmio = { 0 };
        struct parts parts = { 0 };
        struct pci_host *host;

        CHECK_EQ(pci_host_new(&parts, machine_version_newest(), &mmio, &host), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
                pci_device_init(&dev[i], NULL, &any_id, 0);
                if (sizes[i % ARRAY_SIZE(sizes)] > 0)
                        pci_device_set_bar(&dev[i], sizes[i % ARRAY_SIZE(sizes)]);
        }
        for (unsigned step = 0; step < 5000; step++) {
                unsigned i = step * 13 % ARRAY_SIZE(dev) ^ (step / 31 & 1);
                struct pci_device *d = &dev[i % ARRAY_SIZE(dev)];
                bool *in = &is_in[i % ARRAY_SIZE(dev)];
                int r;

                if (*in) {
                        pci_host_remove(d);
                        *in = false;
                        continue;
                }
                r = pci_host_add(host, d, 0);
                CHECK(r >= 0 || (r == -ENOSPC && d->bar_size == 1u << 28));
                *in = r >= 0;
                if (!*in || d->bar_size == 0)
                        continue;
                CHECK_EQ(d->bar_home % d->bar_size, 0);
                CHECK(d->bar_home >= LAYOUT_PCI_WINDOW);
                CHECK(d->bar_home + d->bar_size <= LAYOUT_PCI_WINDOW + LAYOUT_PCI_WINDOW_SIZE);
                for (unsigned k = 0; k < ARRAY_SIZE(dev); k++)
                        CHECK(!is_in[k] || &dev[k] == d || dev[k].bar_size == 0 ||
                              dev[k].bar_home + dev[k].bar_size <= d->bar_home ||
                              d->bar_home + d->bar_size <= dev[k].bar_home);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
                pci_host_remove(&dev[i]);
                pci_device_done(&dev[i]);
        }
        pci_host_free(host);
}

int main(void) {
        RUN(test_both_ways_to_configuration_space);
        RUN(test_reset_of_the_host);
        RUN(test_read_only_registers);
        RUN(test_bar_sizing);
        RUN(test_bar_moves);
        RUN(test_full_bus);
        RUN(test_msix_capability);
        RUN(test_msix_6_8_2_masks);
        RUN(test_msix_6_8_3_4_pending);
        RUN(test_msix_odd_accesses);
        RUN(test_remove);
        RUN(test_homes);
        return 0;
}
