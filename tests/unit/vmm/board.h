/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine with nothing on it but a PCI bus, and a driver's view of the device in slot 1.
 */
#pragma once

#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/ioctl.h>

#include "../test.h"
#include "arch/x86_64/layout.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "core/virtio_pci.h"

struct board {
        struct parts parts;
        struct bus mmio;
        int kvm_fd, vm_fd;
        struct guest_mem *mem;
        struct irq *irq;
        struct pci_host *host;
};

static inline void board_open_kvm(struct board *b) {
        struct kvm_userspace_memory_region region = { .memory_size = GUEST_MEM_MIN };

        b->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (b->kvm_fd < 0)
                TEST_SKIP("there is no /dev/kvm");
        b->vm_fd = ioctl(b->kvm_fd, KVM_CREATE_VM, 0);
        CHECK(b->vm_fd >= 0);
        CHECK_EQ(ioctl(b->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
        region.userspace_addr = (uint64_t) b->mem->host;
        CHECK_EQ(ioctl(b->vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
}

/* On the real KVM, or without one: notifications then arrive as plain writes. */
static inline void board_open_version(struct board *b, const struct machine_version *version, bool with_kvm) {
        *b = (struct board) { .kvm_fd = -EBADF, .vm_fd = -EBADF };
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN, 0, 0, &b->mem), 0);
        if (with_kvm)
                board_open_kvm(b);
        CHECK_EQ(irq_new(b->vm_fd, &b->irq), 0);
        CHECK_EQ(pci_host_new(&b->parts, version, &b->mmio, &b->host), 0);
}

static inline void board_open(struct board *b, bool with_kvm) {
        board_open_version(b, machine_version_newest(), with_kvm);
}

static inline void board_close(struct board *b) {
        pci_host_free(b->host);
        CHECK(!b->parts.first);
        CHECK_EQ(b->mmio.n_ranges, 0);
        irq_free(b->irq);
        guest_mem_free(b->mem);
        close_fd(&b->vm_fd);
        close_fd(&b->kvm_fd);
}

/* In the device's BAR. */
static inline uint32_t get(struct board *b, unsigned offset, unsigned len) {
        uint32_t value = 0;

        bus_read(&b->mmio, LAYOUT_PCI_WINDOW + offset, &value, len);
        return value;
}

static inline void put(struct board *b, unsigned offset, uint32_t value, unsigned len) {
        bus_write(&b->mmio, LAYOUT_PCI_WINDOW + offset, &value, len);
}

/* In its configuration space. */
static inline void put16(struct board *b, unsigned offset, uint16_t value) {
        bus_write(&b->mmio, LAYOUT_ECAM + 0x8000 + offset, &value, sizeof(value));
}

static inline uint8_t status(struct board *b) {
        return (uint8_t) get(b, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void set_status(struct board *b, uint8_t value) {
        put(b, VIRTIO_PCI_COMMON_STATUS, value, 1);
}

static inline void put_features(struct board *b, uint64_t features) {
        put(b, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
        put(b, VIRTIO_PCI_COMMON_GF, (uint32_t) features, 4);
        put(b, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
        put(b, VIRTIO_PCI_COMMON_GF, (uint32_t) (features >> 32), 4);
}

/* Up to FEATURES_OK. */
static inline void negotiate(struct board *b, uint64_t features) {
        set_status(b, VIRTIO_CONFIG_S_ACKNOWLEDGE);
        set_status(b, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
        put_features(b, features);
        set_status(b, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
}

static inline void go(struct board *b) {
        set_status(b, status(b) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Eight entries at `desc`, `avail` and `used`, and interrupts by the vector. */
static inline void put_queue(struct board *b, unsigned index, unsigned vector, uint64_t desc, uint32_t avail,
                             uint32_t used) {
        put(b, VIRTIO_PCI_COMMON_Q_SELECT, index, 2);
        put(b, VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
        put(b, VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
        put(b, VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t) desc, 4);
        put(b, VIRTIO_PCI_COMMON_Q_DESCHI, (uint32_t) (desc >> 32), 4);
        put(b, VIRTIO_PCI_COMMON_Q_AVAILLO, avail, 4);
        put(b, VIRTIO_PCI_COMMON_Q_USEDLO, used, 4);
        put(b, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}
