/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a virtio device on PCI, as the registers of its common configuration tell
 * it (virtio 1.2 §4.1.4.3, §2.1, §3.1).
 *
 * Status goes up to FEATURES_OK, when the features are checked, and DRIVER_OK, when the
 * device is activated; writing 0 resets. A reset may have to wait for requests that are
 * at work: until they are done the status stays what it was, as §4.1.4.3.2 has the driver
 * expect it. Queues are placed and enabled in between. At
 * DRIVER_OK each enabled queue's notifications are connected: to vhost if the device has
 * it take the queue over, otherwise to the device's loop.
 *
 * What a driver must not do is ignored where the specification leaves that open, otherwise
 * it is a violation and the device needs a reset.
 *
 * All of it runs on the device's loop, except that interrupts are raised from any thread:
 * the vectors are atomic.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>

#include "../base/cleanup.h"
#include "virtio_pci_internal.h"

#define ISR_QUEUE  BIT(0)
#define ISR_CONFIG BIT(1)
#define NO_VECTOR  VIRTIO_MSI_NO_VECTOR

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
        v->active = dev->live = r >= 0;
        for (unsigned i = 0; i < dev->n_queues && r >= 0; i++)
                r = connect_queue(v, i);
        if (r < 0)
                virtio_device_fail(dev, "cannot start the device: %s", strerrordesc_np(-r) ?: "unknown error");
}

static void reset_queue(struct virtio_pci *v, unsigned index) {
        struct vpci_queue *q = &v->queue[index];

        q->source = loop_remove(q->source);
        q->offloaded = false;
        atomic_store(&q->vector, NO_VECTOR);
        drain(q->kick_fd);
        vq_reset(&v->dev->queues[index]);
}

static void set_stopping(struct virtio_pci *v, bool stopping) {
        (void) pthread_mutex_lock(&v->stop_lock);
        v->stopping = stopping;
        (void) pthread_cond_broadcast(&v->stopped);
        (void) pthread_mutex_unlock(&v->stop_lock);
}

/* Nothing of a device that leaves is at work any more: what its host end takes does not hold up who frees it. */
static void release_device(struct virtio_pci *v) {
        v->released = true;
        v->releasing = v->dev->ops->release && !v->dev->ops->release(v->dev);
}

static void update_busy(struct virtio_pci *v) {
        bool busy;

        if (v->leaving && !v->stopping && !v->quiescing && !v->released)
                release_device(v);
        busy = v->stopping || v->quiescing || v->releasing;
        if (atomic_exchange(&v->busy, busy) && !busy)
                part_settled(&v->part);
}

/* §2.4: after a reset the device is as after power on. */
static void finish_stop(struct virtio_pci *v) {
        v->active = false;
        for (unsigned i = 0; i < v->dev->n_queues; i++)
                reset_queue(v, i);
        v->status &= (uint8_t) ~VIRTIO_CONFIG_S_DRIVER_OK;
        if (v->resetting) {
                v->dev->features = 0;
                v->driver_features = 0;
                v->device_feature_select = v->driver_feature_select = 0;
                v->queue_select = 0;
                v->status = 0;
                atomic_store(&v->isr, 0);
                atomic_store(&v->config_vector, NO_VECTOR);
        }
        v->resetting = false;
        set_stopping(v, false);
}

void vpci_stop_device(struct virtio_pci *v) {
        bool is_done = true;

        if (v->stopping)
                return;
        v->dev->live = false;
        set_stopping(v, true);
        if (v->active)
                is_done = v->dev->ops->reset(v->dev);
        if (is_done)
                finish_stop(v);
        update_busy(v);
}

void vpci_reset_device(struct virtio_pci *v) {
        v->resetting = true;
        vpci_stop_device(v);
}

static void watch_kicks(struct virtio_pci *v, bool watch) {
        for (unsigned i = 0; i < v->n_queues; i++)
                if (v->queue[i].source)
                        (void) loop_set_events(v->queue[i].source, watch ? EPOLLIN : 0);
}

void vpci_quiesce_device(struct virtio_pci *v) {
        if (v->quiesced)
                return;
        v->quiesced = true;
        v->dev->live = false;
        watch_kicks(v, false);
        v->quiescing = v->dev->ops->quiesce && !v->dev->ops->quiesce(v->dev);
        update_busy(v);
}

void vpci_resume_device(struct virtio_pci *v) {
        if (!v->quiesced || v->leaving)
                return;
        v->quiesced = v->quiescing = false;
        watch_kicks(v, true);
        v->dev->live = v->active && !v->stopping && !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET);
        if (v->dev->ops->resume)
                v->dev->ops->resume(v->dev);
        update_busy(v);
}

/* A quiesce waits for more than a reset: for a flush, which would hold up whoever frees the device. */
void vpci_leave(struct virtio_pci *v) {
        vpci_quiesce_device(v);
        vpci_reset_device(v);
        v->leaving = true;
        update_busy(v);
}

/* The device is done with what it had to wait for. A reset ends what was there to be quiesced. */
static void device_idle(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        v->quiescing = v->releasing = false;
        if (v->stopping)
                finish_stop(v);
        update_busy(v);
}

const struct virtio_transport_ops vpci_transport_ops = {
        .queue_interrupt = queue_interrupt,
        .config_changed = config_changed,
        .needs_reset = needs_reset,
        .idle = device_idle,
};

/*
 * §3.1.1 step 5, §2.2.2: only offered features, VERSION_1, without which there is only a legacy interface, and none
 * without those that its device type says it requires.
 */
static bool features_are_fine(const struct virtio_pci *v) {
        const struct virtio_device *dev = v->dev;

        return (v->driver_features & ~v->dev->host_features) == 0 && (v->driver_features & BIT64(VIRTIO_F_VERSION_1)) &&
               (!dev->ops->features_valid || dev->ops->features_valid(dev, v->driver_features));
}

static void write_status(struct virtio_pci *v, uint8_t value) {
        uint8_t rising = value & (uint8_t) ~v->status;

        if (value == 0) {
                vpci_reset_device(v);
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
                               ? (uint32_t) (v->dev->host_features >> 32 * v->device_feature_select)
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

/* §4.1.3.1: the driver uses accesses of the register's own width. */
void vpci_common_read(struct virtio_pci *v, unsigned offset, void *data, unsigned len) {
        uint32_t value;

        if (len != common_width(offset))
                return;
        value = read_common_register(v, offset);
        memcpy(data, &value, len);
}

void vpci_common_write(struct virtio_pci *v, unsigned offset, const void *data, unsigned len) {
        uint32_t value = 0;

        if (len != common_width(offset) || v->stopping || v->leaving)
                return;
        memcpy(&value, data, len);
        write_common_register(v, offset, value);
}
