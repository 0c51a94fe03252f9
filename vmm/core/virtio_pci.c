/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI transport of virtio (virtio 1.2 §4.1), modern interface only. One 64-bit BAR:
 *
 *   0x0000  common configuration                                 §4.1.4.3
 *   0x1000  ISR status                                           §4.1.4.5
 *   0x2000  device configuration                                 §4.1.4.6
 *   0x3000  notifications, 4 bytes apart for each queue          §4.1.4.4
 *   0x4000  MSI-X table, 0x5000 its pending bits
 *
 * and the window in configuration space onto it (§4.1.4.9). Interrupts are MSI-X; INTx
 * does not exist (the interrupt pin register is 0).
 *
 * Threads. Registers are accessed on vCPU threads. Common and device configuration are
 * the device's state, so they are handled on the device's loop by loop_call(), and
 * the device needs no locks. Notifications normally never get here: KVM writes the
 * queue's eventfd, which the loop (or vhost) watches. Interrupts are eventfds as well
 * (msix.c) and may be raised from any thread.
 *
 * Life of a device: status goes up to FEATURES_OK, when the features are checked, and
 * DRIVER_OK, when the device is activated; writing 0 resets (§3.1, §2.1). What a driver
 * must not do is ignored where the specification leaves that open, otherwise it is a
 * violation and the device needs a reset.
 */
#include "virtio_pci.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"

#define VENDOR_VIRTIO       0x1af4u
#define DEVICE_BASE         0x1040u /* §4.1.2: plus the virtio device id */
#define SUBSYSTEM           0x1100u
#define REVISION_MODERN     1u

#define BAR_SIZE            0x8000u
#define OFFSET_COMMON       0x0000u
#define OFFSET_ISR          0x1000u
#define OFFSET_DEVICE       0x2000u
#define OFFSET_NOTIFY       0x3000u
#define OFFSET_MSIX         0x4000u
#define AREA_SIZE           0x1000u
#define NOTIFY_MULTIPLIER   4u
#define QUEUES_MAX          128u

#define ISR_QUEUE           BIT(0)
#define ISR_CONFIG          BIT(1)
#define NO_VECTOR           VIRTIO_MSI_NO_VECTOR

#define TRANSPORT_FEATURES                                                                                             \
        (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))

struct vpci_queue {
        struct virtio_pci *vpci;
        int kick_fd;
        struct loop_source *source;
        _Atomic uint16_t vector;
        bool offloaded;
        bool notified_by_kvm; /* under the PCI device's lock */
};

struct virtio_pci {
        struct pci_device pci; /* first */
        struct virtio_device *dev;
        int vm_fd;
        unsigned window; /* offset of the configuration access capability */
        atomic_uchar isr;
        _Atomic uint16_t config_vector;
        struct vpci_queue *queue;
        unsigned n_queues;
        uint64_t notify_bar; /* where KVM watches for notifications; under the PCI device's lock */

        /* On the device's loop. */
        uint8_t status, generation;
        uint32_t device_feature_select, driver_feature_select;
        uint64_t driver_features;
        uint16_t queue_select;
        bool active;
};

static uint64_t offered_features(const struct virtio_pci *v) {
        return v->dev->host_features | TRANSPORT_FEATURES;
}

static void raise_vector(struct virtio_pci *v, uint16_t vector, uint8_t isr) {
        /* §4.1.4.5: the ISR is for drivers without MSI-X. */
        if (!msix_is_enabled(&v->pci))
                atomic_fetch_or(&v->isr, isr);
        else if (vector != NO_VECTOR)
                msix_raise(&v->pci, vector);
}

static void queue_interrupt(struct virtio_device *dev, unsigned index) {
        struct virtio_pci *v = dev->transport_data;

        raise_vector(v, atomic_load(&v->queue[index].vector), ISR_QUEUE);
}

static void config_changed(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        v->generation++;
        if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
                raise_vector(v, atomic_load(&v->config_vector), ISR_CONFIG);
}

static void needs_reset(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        if (v->status & VIRTIO_CONFIG_S_NEEDS_RESET)
                return;
        v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        /* §2.1.2: if DRIVER_OK is set, the device sends a configuration change notification. */
        config_changed(dev);
}

static const struct virtio_transport_ops transport_ops = {
        .queue_interrupt = queue_interrupt,
        .config_changed = config_changed,
        .needs_reset = needs_reset,
};

static void drain(int fd) {
        uint64_t count;
        ssize_t n = read(fd, &count, sizeof(count));
        (void) n;
}

static void on_kick(void *arg, uint32_t events) {
        struct vpci_queue *q = arg;
        struct virtio_pci *v = q->vpci;

        drain(q->kick_fd);
        if (v->active && !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET))
                v->dev->ops->kick(v->dev, (unsigned) (q - v->queue));
}

static int call_fd(const struct virtio_pci *v, const struct vpci_queue *q) {
        uint16_t vector = atomic_load(&q->vector);

        return vector < v->pci.msix.n ? v->pci.msix.vector[vector].fd : -EBADF;
}

/* Notifications of an enabled queue go to vhost, or to the loop. */
static int connect_queue(struct virtio_pci *v, unsigned index) {
        struct virtio_device *dev = v->dev;
        struct vpci_queue *q = &v->queue[index];

        if (!dev->queues[index].enabled)
                return 0;
        if (dev->ops->offload_queue)
                q->offloaded = dev->ops->offload_queue(dev, index, q->kick_fd, call_fd(v, q));
        if (q->offloaded)
                return 0;
        return loop_add_fd(dev->loop, q->kick_fd, EPOLLIN, on_kick, q, &q->source);
}

static void activate(struct virtio_pci *v) {
        struct virtio_device *dev = v->dev;
        int r;

        for (unsigned i = 0; i < dev->n_queues; i++)
                dev->queues[i].event_idx = dev->features & BIT64(VIRTIO_RING_F_EVENT_IDX);
        r = dev->ops->activate(dev);
        v->active = r >= 0;
        for (unsigned i = 0; i < dev->n_queues && r >= 0; i++)
                r = connect_queue(v, i);
        if (r < 0) {
                log_error(r, "%s: cannot start the device", dev->name);
                needs_reset(dev);
        }
}

static void reset_queue(struct virtio_pci *v, unsigned index) {
        struct vpci_queue *q = &v->queue[index];

        q->source = loop_remove(q->source);
        q->offloaded = false;
        atomic_store(&q->vector, NO_VECTOR);
        drain(q->kick_fd);
        vq_reset(&v->dev->queues[index]);
}

/* §2.4: after a reset the device is as after power on. */
static void reset_device(struct virtio_pci *v) {
        if (v->active)
                v->dev->ops->reset(v->dev);
        v->active = false;
        for (unsigned i = 0; i < v->dev->n_queues; i++)
                reset_queue(v, i);
        v->dev->features = 0;
        v->driver_features = 0;
        v->device_feature_select = v->driver_feature_select = 0;
        v->queue_select = 0;
        v->status = 0;
        atomic_store(&v->isr, 0);
        atomic_store(&v->config_vector, NO_VECTOR);
}

/* §3.1.1 step 5, §2.2.2: only offered features, and VERSION_1, without which there is only a legacy interface. */
static bool features_are_fine(const struct virtio_pci *v) {
        return (v->driver_features & ~offered_features(v)) == 0 &&
               (v->driver_features & BIT64(VIRTIO_F_VERSION_1));
}

static void write_status(struct virtio_pci *v, uint8_t value) {
        uint8_t rising = value & (uint8_t) ~v->status;

        if (value == 0) {
                reset_device(v);
                return;
        }
        /* §2.1.1: the driver does not clear bits. */
        if (rising & VIRTIO_CONFIG_S_FEATURES_OK) {
                if (features_are_fine(v))
                        v->dev->features = v->driver_features;
                else
                        rising &= (uint8_t) ~VIRTIO_CONFIG_S_FEATURES_OK;
        }
        v->status |= rising & (uint8_t) ~(VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_DRIVER_OK);
        if (!(rising & VIRTIO_CONFIG_S_DRIVER_OK))
                return;
        v->status |= VIRTIO_CONFIG_S_DRIVER_OK;
        if (v->status & VIRTIO_CONFIG_S_FEATURES_OK)
                activate(v);
        else
                virtio_device_fail(v->dev, "DRIVER_OK without FEATURES_OK");
}

static struct virtqueue *selected_queue(struct virtio_pci *v) {
        return v->queue_select < v->dev->n_queues ? &v->dev->queues[v->queue_select] : NULL;
}

static uint32_t read_queue_register(struct virtio_pci *v, unsigned offset) {
        const struct virtqueue *vq = selected_queue(v);

        /* §4.1.4.3.1: a queue that does not exist has size 0. */
        if (!vq)
                return offset == VIRTIO_PCI_COMMON_Q_MSIX ? NO_VECTOR : 0;
        switch (offset) {
        case VIRTIO_PCI_COMMON_Q_SIZE:
                return vq->size;
        case VIRTIO_PCI_COMMON_Q_MSIX:
                return atomic_load(&v->queue[v->queue_select].vector);
        case VIRTIO_PCI_COMMON_Q_ENABLE:
                return vq->enabled;
        case VIRTIO_PCI_COMMON_Q_NOFF:
                return v->queue_select;
        case VIRTIO_PCI_COMMON_Q_DESCLO:
                return (uint32_t) vq->desc_gpa;
        case VIRTIO_PCI_COMMON_Q_DESCHI:
                return (uint32_t) (vq->desc_gpa >> 32);
        case VIRTIO_PCI_COMMON_Q_AVAILLO:
                return (uint32_t) vq->avail_gpa;
        case VIRTIO_PCI_COMMON_Q_AVAILHI:
                return (uint32_t) (vq->avail_gpa >> 32);
        case VIRTIO_PCI_COMMON_Q_USEDLO:
                return (uint32_t) vq->used_gpa;
        case VIRTIO_PCI_COMMON_Q_USEDHI:
                return (uint32_t) (vq->used_gpa >> 32);
        default:
                return 0;
        }
}

static uint32_t read_common_register(struct virtio_pci *v, unsigned offset) {
        switch (offset) {
        case VIRTIO_PCI_COMMON_DFSELECT:
                return v->device_feature_select;
        case VIRTIO_PCI_COMMON_DF:
                return v->device_feature_select < 2
                               ? (uint32_t) (offered_features(v) >> 32 * v->device_feature_select)
                               : 0;
        case VIRTIO_PCI_COMMON_GFSELECT:
                return v->driver_feature_select;
        case VIRTIO_PCI_COMMON_GF:
                return v->driver_feature_select < 2 ? (uint32_t) (v->driver_features >> 32 * v->driver_feature_select)
                                                    : 0;
        case VIRTIO_PCI_COMMON_MSIX:
                return atomic_load(&v->config_vector);
        case VIRTIO_PCI_COMMON_NUMQ:
                return v->dev->n_queues;
        case VIRTIO_PCI_COMMON_STATUS:
                return v->status;
        case VIRTIO_PCI_COMMON_CFGGENERATION:
                return v->generation;
        case VIRTIO_PCI_COMMON_Q_SELECT:
                return v->queue_select;
        default:
                return read_queue_register(v, offset);
        }
}

static void set_low(uint64_t *field, uint32_t value) {
        *field = (*field & ~(uint64_t) UINT32_MAX) | value;
}

static void set_high(uint64_t *field, uint32_t value) {
        *field = (uint32_t) *field | (uint64_t) value << 32;
}

static void write_driver_features(struct virtio_pci *v, uint32_t value) {
        /* §2.2.1, §3.1.1: features are final once FEATURES_OK is set. */
        if (v->status & VIRTIO_CONFIG_S_FEATURES_OK)
                return;
        if (v->driver_feature_select == 0)
                set_low(&v->driver_features, value);
        else if (v->driver_feature_select == 1)
                set_high(&v->driver_features, value);
        else if (value != 0)
                virtio_device_fail(v->dev, "features beyond bit 63 taken");
}

/* §4.1.5.1.2: a vector that does not exist reads back as NO_VECTOR. */
static uint16_t checked_vector(const struct virtio_pci *v, uint32_t value) {
        return value < v->pci.msix.n ? (uint16_t) value : NO_VECTOR;
}

static void enable_queue(struct virtio_pci *v, struct virtqueue *vq) {
        int r = vq_enable(vq, v->dev->mem);

        if (r < 0)
                virtio_device_fail(v->dev, "queue %u of size %u has an impossible place", v->queue_select, vq->size);
}

static void write_queue_register(struct virtio_pci *v, unsigned offset, uint32_t value) {
        struct virtqueue *vq = selected_queue(v);

        if (!vq)
                return;
        if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
                if (!v->queue[v->queue_select].offloaded)
                        atomic_store(&v->queue[v->queue_select].vector, checked_vector(v, value));
                return;
        }
        /* §4.1.4.3.2: the rest is set up before the queue is enabled, and the driver never disables it. */
        if (vq->enabled || v->active)
                return;
        switch (offset) {
        case VIRTIO_PCI_COMMON_Q_SIZE:
                vq->size = (uint16_t) value;
                break;
        case VIRTIO_PCI_COMMON_Q_ENABLE:
                if (value == 1)
                        enable_queue(v, vq);
                break;
        case VIRTIO_PCI_COMMON_Q_DESCLO:
                set_low(&vq->desc_gpa, value);
                break;
        case VIRTIO_PCI_COMMON_Q_DESCHI:
                set_high(&vq->desc_gpa, value);
                break;
        case VIRTIO_PCI_COMMON_Q_AVAILLO:
                set_low(&vq->avail_gpa, value);
                break;
        case VIRTIO_PCI_COMMON_Q_AVAILHI:
                set_high(&vq->avail_gpa, value);
                break;
        case VIRTIO_PCI_COMMON_Q_USEDLO:
                set_low(&vq->used_gpa, value);
                break;
        case VIRTIO_PCI_COMMON_Q_USEDHI:
                set_high(&vq->used_gpa, value);
                break;
        }
}

static void write_common_register(struct virtio_pci *v, unsigned offset, uint32_t value) {
        switch (offset) {
        case VIRTIO_PCI_COMMON_DFSELECT:
                v->device_feature_select = value;
                break;
        case VIRTIO_PCI_COMMON_GFSELECT:
                v->driver_feature_select = value;
                break;
        case VIRTIO_PCI_COMMON_GF:
                write_driver_features(v, value);
                break;
        case VIRTIO_PCI_COMMON_MSIX:
                atomic_store(&v->config_vector, checked_vector(v, value));
                break;
        case VIRTIO_PCI_COMMON_STATUS:
                write_status(v, (uint8_t) value);
                break;
        case VIRTIO_PCI_COMMON_Q_SELECT:
                v->queue_select = (uint16_t) value;
                break;
        default:
                write_queue_register(v, offset, value);
        }
}

/* Bytes of the register that starts at `offset` of the common configuration; 0: none starts there. */
static unsigned common_width(unsigned offset) {
        switch (offset) {
        case VIRTIO_PCI_COMMON_STATUS:
        case VIRTIO_PCI_COMMON_CFGGENERATION:
                return 1;
        case VIRTIO_PCI_COMMON_MSIX:
        case VIRTIO_PCI_COMMON_NUMQ:
        case VIRTIO_PCI_COMMON_Q_SELECT:
        case VIRTIO_PCI_COMMON_Q_SIZE:
        case VIRTIO_PCI_COMMON_Q_MSIX:
        case VIRTIO_PCI_COMMON_Q_ENABLE:
        case VIRTIO_PCI_COMMON_Q_NOFF:
                return 2;
        case VIRTIO_PCI_COMMON_DFSELECT:
        case VIRTIO_PCI_COMMON_DF:
        case VIRTIO_PCI_COMMON_GFSELECT:
        case VIRTIO_PCI_COMMON_GF:
        case VIRTIO_PCI_COMMON_Q_DESCLO:
        case VIRTIO_PCI_COMMON_Q_DESCHI:
        case VIRTIO_PCI_COMMON_Q_AVAILLO:
        case VIRTIO_PCI_COMMON_Q_AVAILHI:
        case VIRTIO_PCI_COMMON_Q_USEDLO:
        case VIRTIO_PCI_COMMON_Q_USEDHI:
                return 4;
        default:
                return 0;
        }
}

/* One access to common or device configuration, carried to the device's loop. */
struct access {
        struct virtio_pci *v;
        uint64_t offset; /* in the BAR */
        unsigned len;
        bool is_write;
        uint8_t data[8];
};

static void access_common(struct access *a) {
        unsigned width = common_width((unsigned) a->offset);
        uint32_t value = 0;

        /* §4.1.3.1: the driver uses accesses of the register's own width. */
        if (a->len != width)
                return;
        if (a->is_write) {
                memcpy(&value, a->data, width);
                write_common_register(a->v, (unsigned) a->offset, value);
        } else {
                value = read_common_register(a->v, (unsigned) a->offset);
                memcpy(a->data, &value, width);
        }
}

static void access_device(struct access *a) {
        struct virtio_device *dev = a->v->dev;
        unsigned offset = (unsigned) (a->offset - OFFSET_DEVICE);

        if (offset >= dev->config_size)
                return;
        a->len = MIN(a->len, dev->config_size - offset);
        if (!a->is_write)
                dev->ops->config_read(dev, offset, a->data, a->len);
        else if (dev->ops->config_write)
                dev->ops->config_write(dev, offset, a->data, a->len);
}

static void access_on_loop(void *arg) {
        struct access *a = arg;

        if (a->offset < AREA_SIZE)
                access_common(a);
        else
                access_device(a);
}

static bool is_loop_area(uint64_t offset) {
        return offset < OFFSET_ISR || (offset >= OFFSET_DEVICE && offset < OFFSET_NOTIFY);
}

static void bar_read(struct pci_device *pci, uint64_t offset, void *data, unsigned len) {
        struct virtio_pci *v = (struct virtio_pci *) pci;
        struct access a = { .v = v, .offset = offset, .len = len };

        if (is_loop_area(offset))
                loop_call(v->dev->loop, access_on_loop, &a);
        else if (offset == OFFSET_ISR)
                a.data[0] = atomic_exchange(&v->isr, 0);
        else if (offset >= OFFSET_MSIX && offset < OFFSET_MSIX + PCI_MSIX_SIZE)
                msix_read(pci, offset - OFFSET_MSIX, a.data, len);
        memcpy(data, a.data, len);
}

static void bar_write(struct pci_device *pci, uint64_t offset, const void *data, unsigned len) {
        struct virtio_pci *v = (struct virtio_pci *) pci;
        struct access a = { .v = v, .offset = offset, .len = len, .is_write = true };
        uint64_t queue = (offset - OFFSET_NOTIFY) / NOTIFY_MULTIPLIER, one = 1;

        memcpy(a.data, data, len);
        if (is_loop_area(offset))
                loop_call(v->dev->loop, access_on_loop, &a);
        else if (offset >= OFFSET_MSIX && offset < OFFSET_MSIX + PCI_MSIX_SIZE)
                msix_write(pci, offset - OFFSET_MSIX, data, len);
        else if (offset >= OFFSET_NOTIFY && queue < v->dev->n_queues) {
                ssize_t n = write(v->queue[queue].kick_fd, &one, sizeof(one));
                (void) n;
        }
}

static bool set_ioeventfd(const struct virtio_pci *v, unsigned index, uint64_t bar, uint32_t flags) {
        struct kvm_ioeventfd ioeventfd = {
                .addr = bar + OFFSET_NOTIFY + (uint64_t) index * NOTIFY_MULTIPLIER,
                .fd = v->queue[index].kick_fd,
                .flags = flags, /* length 0: any value of any length */
        };

        return ioctl(v->vm_fd, KVM_IOEVENTFD, &ioeventfd) == 0;
}

/* Without an ioeventfd, a notification arrives in bar_write() as an ordinary write. */
static void disconnect_notifications(struct virtio_pci *v, uint64_t bar) {
        for (unsigned i = 0; i < v->n_queues; i++)
                if (v->queue[i].notified_by_kvm) {
                        (void) set_ioeventfd(v, i, bar, KVM_IOEVENTFD_FLAG_DEASSIGN);
                        v->queue[i].notified_by_kvm = false;
                }
}

static void bar_moved(struct pci_device *pci, bool mapped, uint64_t address) {
        struct virtio_pci *v = (struct virtio_pci *) pci;

        disconnect_notifications(v, v->notify_bar);
        v->notify_bar = address;
        for (unsigned i = 0; mapped && i < v->dev->n_queues; i++)
                v->queue[i].notified_by_kvm = set_ioeventfd(v, i, address, 0);
}

static bool overlaps(unsigned offset, unsigned len, unsigned start, unsigned size) {
        return offset < start + size && start < offset + len;
}

/* §4.1.4.9: the window's bar, offset and length say which part of the BAR its data stands for. */
static bool window_place(struct virtio_pci *v, uint64_t *ret_offset, unsigned *ret_len) {
        struct virtio_pci_cap cap;

        (void) pthread_mutex_lock(&v->pci.lock);
        memcpy(&cap, v->pci.config + v->window, sizeof(cap));
        (void) pthread_mutex_unlock(&v->pci.lock);
        if (cap.bar != 0 || (cap.length != 1 && cap.length != 2 && cap.length != 4) || cap.offset % cap.length != 0 ||
            cap.offset > BAR_SIZE - cap.length)
                return false;
        *ret_offset = cap.offset;
        *ret_len = cap.length;
        return true;
}

static void config_read(struct pci_device *pci, unsigned offset, unsigned len) {
        struct virtio_pci *v = (struct virtio_pci *) pci;
        unsigned data_at = v->window + sizeof(struct virtio_pci_cap), size;
        uint8_t data[4];
        uint64_t at;

        if (!overlaps(offset, len, data_at, sizeof(data)) || !window_place(v, &at, &size))
                return;
        bar_read(pci, at, data, size);
        (void) pthread_mutex_lock(&pci->lock);
        memcpy(pci->config + data_at, data, size);
        (void) pthread_mutex_unlock(&pci->lock);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned len) {
        struct virtio_pci *v = (struct virtio_pci *) pci;
        unsigned data_at = v->window + sizeof(struct virtio_pci_cap), size;
        uint8_t data[4];
        uint64_t at;

        if (overlaps(offset, len, pci->msix.capability + PCI_MSIX_FLAGS, 2))
                msix_update(pci);
        if (!overlaps(offset, len, data_at, sizeof(data)) || !window_place(v, &at, &size))
                return;
        (void) pthread_mutex_lock(&pci->lock);
        memcpy(data, pci->config + data_at, sizeof(data));
        (void) pthread_mutex_unlock(&pci->lock);
        bar_write(pci, at, data, size);
}

static const struct pci_device_ops pci_ops = {
        .bar_read = bar_read,
        .bar_write = bar_write,
        .bar_moved = bar_moved,
        .config_read = config_read,
        .config_written = config_written,
};

static struct virtio_pci_cap area_capability(uint8_t type, uint32_t offset, uint32_t length, unsigned cap_len) {
        return (struct virtio_pci_cap) { .cap_vndr = PCI_CAP_ID_VNDR, .cap_len = (uint8_t) cap_len, .cfg_type = type,
                                         .offset = offset, .length = length };
}

static int add_area(struct virtio_pci *v, uint8_t type, uint32_t offset, uint32_t length) {
        struct virtio_pci_cap cap = area_capability(type, offset, length, sizeof(cap));

        return pci_device_add_capability(&v->pci, &cap, sizeof(cap));
}

static int add_window(struct virtio_pci *v) {
        struct virtio_pci_cfg_cap window = { .cap = area_capability(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, sizeof(window)) };
        uint8_t *writable;
        int r;

        r = pci_device_add_capability(&v->pci, &window, sizeof(window));
        if (r < 0)
                return r;
        v->window = (unsigned) r;
        writable = v->pci.writable + v->window;
        writable[VIRTIO_PCI_CAP_BAR] = 0xff;
        memset(writable + VIRTIO_PCI_CAP_OFFSET, 0xff, 8 + sizeof(window.pci_cfg_data));
        return 0;
}

static int add_capabilities(struct virtio_pci *v, struct irq *irq) {
        struct virtio_pci_notify_cap notify = {
                .cap = area_capability(VIRTIO_PCI_CAP_NOTIFY_CFG, OFFSET_NOTIFY, v->dev->n_queues * NOTIFY_MULTIPLIER,
                                       sizeof(notify)),
                .notify_off_multiplier = NOTIFY_MULTIPLIER,
        };
        int r;

        r = add_area(v, VIRTIO_PCI_CAP_COMMON_CFG, OFFSET_COMMON, sizeof(struct virtio_pci_common_cfg));
        if (r >= 0)
                r = pci_device_add_capability(&v->pci, &notify, sizeof(notify));
        if (r >= 0)
                r = add_area(v, VIRTIO_PCI_CAP_ISR_CFG, OFFSET_ISR, 1);
        if (r >= 0 && v->dev->config_size > 0)
                r = add_area(v, VIRTIO_PCI_CAP_DEVICE_CFG, OFFSET_DEVICE, v->dev->config_size);
        if (r >= 0)
                r = add_window(v);
        if (r >= 0)
                r = msix_init(&v->pci, irq, v->dev->n_queues + 1, OFFSET_MSIX);
        return r;
}

/* Everything but the device itself. */
static void free_transport(struct virtio_pci *v) {
        if (!v)
                return;
        disconnect_notifications(v, v->notify_bar);
        for (unsigned i = 0; i < v->n_queues; i++)
                close_fd(&v->queue[i].kick_fd);
        msix_done(&v->pci);
        pci_device_done(&v->pci);
        free(v->queue);
        free(v);
}

static void free_transport_p(struct virtio_pci **v) {
        free_transport(*v);
}

static int create_queues(struct virtio_pci *v) {
        unsigned n = v->dev->n_queues;

        v->queue = calloc(n, sizeof(*v->queue));
        if (!v->queue)
                return -ENOMEM;
        v->n_queues = n;
        for (unsigned i = 0; i < n; i++) {
                v->queue[i] = (struct vpci_queue) { .vpci = v, .kick_fd = -EBADF };
                atomic_init(&v->queue[i].vector, NO_VECTOR);
        }
        for (unsigned i = 0; i < n; i++) {
                v->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (v->queue[i].kick_fd < 0)
                        return -errno;
                vq_reset(&v->dev->queues[i]);
        }
        return 0;
}

int virtio_pci_new(struct pci_host *host, struct irq *irq, int vm_fd, struct guest_mem *mem,
                   struct virtio_device *dev) {
        CLEANUP(free_transport_p) struct virtio_pci *v = NULL;
        int r;

        if (dev->n_queues == 0 || dev->n_queues > QUEUES_MAX || dev->config_size > AREA_SIZE)
                return -EINVAL;
        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->dev = dev;
        v->vm_fd = vm_fd;
        atomic_init(&v->config_vector, NO_VECTOR);
        pci_device_init(&v->pci, &pci_ops, VENDOR_VIRTIO, (uint16_t) (DEVICE_BASE + dev->type), dev->pci_class,
                        REVISION_MODERN);
        pci_device_set_subsystem(&v->pci, VENDOR_VIRTIO, SUBSYSTEM);
        pci_device_set_bar(&v->pci, BAR_SIZE);
        r = create_queues(v);
        if (r < 0)
                return r;
        r = add_capabilities(v, irq);
        if (r < 0)
                return r;
        r = pci_host_add(host, &v->pci);
        if (r < 0)
                return r;
        dev->mem = mem;
        dev->transport = &transport_ops;
        dev->transport_data = TAKE(v);
        return 0;
}

static void reset_on_loop(void *arg) {
        reset_device(arg);
}

struct virtio_device *virtio_pci_free(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        loop_call(dev->loop, reset_on_loop, v);
        /* The device goes first: until its thread has ended it may still raise interrupts. */
        dev->ops->free(dev);
        free_transport(v);
        return NULL;
}

void virtio_pci_reset(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        loop_call(dev->loop, reset_on_loop, v);
        pci_device_reset(&v->pci);
}
