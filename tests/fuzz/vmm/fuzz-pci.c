/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that reads and writes ports and MMIO as the input says: PCI configuration, BARs, MSI-X, the virtio
 * transport with an entropy device behind it, panic device, clock, power block and serial port. The device has no
 * thread, so a run is repeatable.
 */
#include <fcntl.h>
#include <string.h>

#include "../../unit/vmm/fake-irq.h"
#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "core/virtio_pci.h"
#include "dev/power.h"
#include "dev/pvpanic.h"
#include "dev/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct board {
        struct parts parts;
        struct bus pio, mmio;
        struct irq *irq;
        struct guest_mem *mem;
        struct pci_host *host;
        struct virtio_device *dev;
        struct pvpanic *pvpanic;
        struct power *power;
        struct arch_chips *chips;
};

static void ignore(void *arg) {
}

static void ignore_panic(void *arg, bool goes_on) {
}

static const struct power_ops power_ops = { .off = ignore, .reset = ignore };

static void board_init(struct board *b) {
        struct arch_chips_config chips = { .serial_fd = -EBADF, .serial_log_fd = -EBADF };
        const char *text;
        struct rng_config config = { .fd = open("/dev/zero", O_RDONLY | O_CLOEXEC) };

        CHECK_EQ(irq_new(-1, &b->irq), 0);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN, 0, 0, &b->mem), 0);
        CHECK_EQ(pci_host_new(&b->parts, machine_version_newest(), &b->mmio, &b->host), 0);
        CHECK_EQ(rng_new(&config, &b->dev), 0);
        CHECK(virtio_pci_new(&b->parts, b->host, b->irq, -1, b->mem, b->dev, 0) > 0);
        CHECK_EQ(pvpanic_new(&b->parts, b->host, ignore_panic, b, &b->pvpanic), 0);
        CHECK_EQ(power_new(&b->parts, &b->pio, b->irq, &power_ops, b, &b->power), 0);
        CHECK_EQ(arch_chips_new(&b->parts, &b->pio, b->irq, b->power, b->host, &chips, &b->chips, &text), 0);
}

static void board_done(struct board *b) {
        virtio_pci_free(b->dev);
        pvpanic_free(b->pvpanic);
        arch_chips_free(b->chips);
        power_free(b->power);
        pci_host_free(b->host);
        guest_mem_free(b->mem);
        irq_free(b->irq);
}

/* Six bytes: where (4 kinds), length and direction, offset, two bytes of value that are repeated. */
static void operate(struct board *b, const uint8_t op[6]) {
        static const uint64_t base[] = { 0, LAYOUT_ECAM + 0x8000, LAYOUT_PCI_WINDOW, LAYOUT_ECAM };
        struct bus *bus = (op[0] & 3) == 0 ? &b->pio : &b->mmio;
        unsigned len = 1u << (op[0] >> 2 & 3);
        uint64_t address = base[op[0] & 3] + (op[1] | (uint64_t) op[2] << 8);
        uint8_t data[8] = { op[3], op[4], op[5], op[3], op[4], op[5], op[3], op[4] };

        if (op[0] & 0x10)
                bus_read(bus, address, data, len);
        else
                bus_write(bus, address, data, len);
        if ((op[0] & 0xe0) == 0xe0) {
                const char *text;

                parts_quiesce(&b->parts);
                parts_reset_begin(&b->parts);
                if (parts_are_busy(&b->parts) || parts_reset(&b->parts, &text) < 0)
                        abort(); /* without threads nothing is left at work */
                parts_resume(&b->parts);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct board b = { 0 };
        uint8_t on[2] = { 6, 0 };

        board_init(&b);
        bus_write(&b.mmio, LAYOUT_ECAM + 0x8004, on, 2);
        for (; size >= 6; size -= 6, data += 6)
                operate(&b, data);
        board_done(&b);
        return 0;
}
