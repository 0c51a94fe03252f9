/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MSI-X (PCI Local Bus 3.0 §6.8.2). Each vector is an eventfd: writing it raises the interrupt. While the
 * vector can fire (MSI-X on, neither function nor vector masked, the device not muted) the eventfd is attached
 * to KVM, which needs no help from here. Otherwise a write stays in the eventfd's counter; that is the pending
 * bit, and attaching delivers it (§6.8.3.4: a pending vector that is unmasked is sent).
 *
 * The table is in the device's BAR: 16 bytes per vector, address, data, mask. A change
 * of address or data while attached takes effect at once through the routing table.
 *
 * The lock guards vectors against vCPUs programming them at the same time; raising
 * needs none.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "../base/cleanup.h"
#include "pci.h"

#define PBA_OFFSET (PCI_MSIX_SIZE / 2)

struct msix_capability {
        uint8_t id, next;
        uint16_t control;
        uint32_t table, pba;
} __attribute__((packed));

int msix_init(struct pci_device *dev, struct irq *irq, unsigned n, uint64_t table_offset) {
        struct msix *msix = &dev->msix;
        struct msix_capability capability = {
                .id = PCI_CAP_ID_MSIX,
                .control = (uint16_t) (n - 1),
                .table = (uint32_t) table_offset,
                .pba = (uint32_t) table_offset + PBA_OFFSET,
        };
        int r;

        if (n == 0 || n > PCI_MSIX_MAX)
                return -EINVAL;
        msix->vector = calloc(n, sizeof(*msix->vector));
        if (!msix->vector)
                return -ENOMEM;
        (void) pthread_mutex_init(&msix->lock, NULL);
        msix->irq = irq;
        msix->table_offset = table_offset;
        for (unsigned i = 0; i < n; i++) {
                msix->vector[i] = (struct msix_vector) { .fd = -EBADF, .masked = true };
                r = irq_msi_new(irq, &msix->vector[i].gsi);
                if (r < 0)
                        return r;
                msix->n = i + 1;
                msix->vector[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (msix->vector[i].fd < 0)
                        return -errno;
        }
        r = pci_device_add_capability(dev, &capability, sizeof(capability));
        if (r < 0)
                return r;
        msix->capability = (unsigned) r;
        dev->writable[msix->capability + PCI_MSIX_FLAGS + 1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
        return 0;
}

void msix_done(struct pci_device *dev) {
        unsigned gsis[PCI_MSIX_MAX];
        struct msix *msix = &dev->msix;

        if (!msix->vector)
                return;
        for (unsigned i = 0; i < msix->n; i++) {
                if (msix->vector[i].attached)
                        (void) irq_msi_detach(msix->irq, msix->vector[i].gsi, msix->vector[i].fd);
                close_fd(&msix->vector[i].fd);
                gsis[i] = msix->vector[i].gsi;
        }
        irq_msi_free(msix->irq, gsis, msix->n);
        (void) pthread_mutex_destroy(&msix->lock);
        free(msix->vector);
        *msix = (struct msix) { 0 };
}

static uint8_t control(const struct pci_device *dev) {
        return __atomic_load_n(&dev->config[dev->msix.capability + PCI_MSIX_FLAGS + 1], __ATOMIC_SEQ_CST);
}

bool msix_is_enabled(const struct pci_device *dev) {
        return control(dev) & (PCI_MSIX_FLAGS_ENABLE >> 8);
}

static bool can_fire(const struct pci_device *dev, const struct msix_vector *v) {
        return !v->masked && !dev->muted &&
               (control(dev) & ((PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8)) == PCI_MSIX_FLAGS_ENABLE >> 8;
}

/*
 * Under the lock. A route that KVM refuses (not an MSI address) leaves the vector detached and its interrupts
 * pending.
 */
static void update_vector(struct pci_device *dev, struct msix_vector *v) {
        struct irq *irq = dev->msix.irq;
        bool fires = can_fire(dev, v) && irq_msi_route(irq, v->gsi, v->address, v->data) >= 0;

        if (fires && !v->attached)
                v->attached = irq_msi_attach(irq, v->gsi, v->fd) >= 0;
        if (!fires && v->attached)
                v->attached = irq_msi_detach(irq, v->gsi, v->fd) < 0;
}

void msix_update(struct pci_device *dev) {
        struct msix *msix = &dev->msix;

        (void) pthread_mutex_lock(&msix->lock);
        for (unsigned i = 0; i < msix->n; i++)
                update_vector(dev, &msix->vector[i]);
        (void) pthread_mutex_unlock(&msix->lock);
}

static void drain(int fd) {
        uint64_t count;
        ssize_t n = read(fd, &count, sizeof(count));
        (void) n;
}

void msix_reset(struct pci_device *dev) {
        struct msix *msix = &dev->msix;

        (void) pthread_mutex_lock(&msix->lock);
        dev->config[msix->capability + PCI_MSIX_FLAGS + 1] = 0;
        for (unsigned i = 0; i < msix->n; i++) {
                struct msix_vector *v = &msix->vector[i];

                v->masked = true;
                v->address = 0;
                v->data = 0;
                update_vector(dev, v);
                drain(v->fd);
        }
        (void) pthread_mutex_unlock(&msix->lock);
}

/* Takes the count and puts it back: interrupts raised meanwhile add to it, and nobody else reads it while detached. */
static bool is_pending(const struct msix_vector *v) {
        uint64_t count;

        if (v->attached || read(v->fd, &count, sizeof(count)) != sizeof(count))
                return false;
        return write(v->fd, &count, sizeof(count)) == sizeof(count);
}

/* One bit per vector, 64 bits at a time. */
static uint64_t pending_bits(const struct msix *msix, unsigned first) {
        uint64_t bits = 0;

        for (unsigned i = 0; i < 64 && first + i < msix->n; i++)
                if (is_pending(&msix->vector[first + i]))
                        bits |= BIT64(i);
        return bits;
}

static uint32_t entry_read(const struct msix_vector *v, unsigned reg) {
        switch (reg) {
        case PCI_MSIX_ENTRY_LOWER_ADDR:
                return (uint32_t) v->address;
        case PCI_MSIX_ENTRY_UPPER_ADDR:
                return (uint32_t) (v->address >> 32);
        case PCI_MSIX_ENTRY_DATA:
                return v->data;
        default:
                return v->masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
        }
}

static void entry_write(struct msix_vector *v, unsigned reg, uint32_t value) {
        switch (reg) {
        case PCI_MSIX_ENTRY_LOWER_ADDR:
                v->address = (v->address & ~(uint64_t) UINT32_MAX) | (value & ~3u);
                break;
        case PCI_MSIX_ENTRY_UPPER_ADDR:
                v->address = (uint32_t) v->address | (uint64_t) value << 32;
                break;
        case PCI_MSIX_ENTRY_DATA:
                v->data = value;
                break;
        default:
                v->masked = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
        }
}

static struct msix_vector *entry_at(struct msix *msix, uint64_t offset) {
        uint64_t index = offset / PCI_MSIX_ENTRY_SIZE;

        return index < msix->n ? &msix->vector[index] : NULL;
}

/* §6.8.2: software uses aligned accesses of 4 or 8 bytes; all others read as zero and are ignored. */
static bool is_aligned(uint64_t offset, unsigned len) {
        return (len == 4 || len == 8) && offset % len == 0;
}

void msix_read(struct pci_device *dev, uint64_t offset, void *data, unsigned len) {
        struct msix *msix = &dev->msix;
        uint64_t value = 0;

        memset(data, 0, len);
        if (!is_aligned(offset, len))
                return;
        (void) pthread_mutex_lock(&msix->lock);
        if (offset >= PBA_OFFSET) {
                uint64_t bit = (offset - PBA_OFFSET) * 8;

                if (bit < msix->n)
                        value = pending_bits(msix, (unsigned) bit / 64 * 64) >> bit % 64;
        } else
                for (unsigned i = 0; i < len; i += 4) {
                        const struct msix_vector *v = entry_at(msix, offset + i);

                        if (v)
                                value |= (uint64_t) entry_read(v, (offset + i) % PCI_MSIX_ENTRY_SIZE) << i * 8;
                }
        (void) pthread_mutex_unlock(&msix->lock);
        memcpy(data, &value, len);
}

void msix_write(struct pci_device *dev, uint64_t offset, const void *data, unsigned len) {
        struct msix *msix = &dev->msix;
        struct msix_vector *v = entry_at(msix, offset);
        const uint8_t *p = data;

        if (!v || !is_aligned(offset, len))
                return;
        (void) pthread_mutex_lock(&msix->lock);
        for (unsigned i = 0; i < len; i += 4) {
                uint32_t value;

                memcpy(&value, p + i, sizeof(value));
                entry_write(v, (offset + i) % PCI_MSIX_ENTRY_SIZE, value);
        }
        update_vector(dev, v);
        (void) pthread_mutex_unlock(&msix->lock);
}

void msix_raise(struct pci_device *dev, unsigned vector) {
        uint64_t one = 1;
        ssize_t n;

        if (vector >= dev->msix.n)
                return;
        n = write(dev->msix.vector[vector].fd, &one, sizeof(one));
        (void) n; /* a full counter is pending already */
}
