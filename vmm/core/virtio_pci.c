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
 * What the common configuration means is in virtio_pci_common.c.
 */
#include "virtio_pci_internal.h"

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
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "../base/cleanup.h"

#define TRANSPORT_FEATURES                                                                                             \
        (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))

#define BAR_SIZE          0x8000u
#define OFFSET_COMMON     0x0000u
#define OFFSET_ISR        0x1000u
#define OFFSET_DEVICE     0x2000u
#define OFFSET_NOTIFY     0x3000u
#define OFFSET_MSIX       0x4000u
#define AREA_SIZE         0x1000u
#define NOTIFY_MULTIPLIER 4u
#define QUEUES_MAX        128u

/* One access to common or device configuration, carried to the device's loop. */
struct access {
        struct virtio_pci *v;
        uint64_t offset; /* in the BAR */
        unsigned len;
        bool is_write;
        uint8_t data[8];
};

static void access_device(struct access *a) {
        struct virtio_device *dev = a->v->dev;
        unsigned offset = (unsigned) (a->offset - OFFSET_DEVICE);

        if (offset >= dev->config_size)
                return;
        a->len = MIN(a->len, dev->config_size - offset);
        if (!a->is_write)
                dev->ops->config_read(dev, offset, a->data, a->len);
        else if (dev->ops->config_write && !a->v->leaving)
                dev->ops->config_write(dev, offset, a->data, a->len);
}

static void access_on_loop(void *arg) {
        struct access *a = arg;

        if (a->offset >= AREA_SIZE)
                access_device(a);
        else if (a->is_write)
                vpci_common_write(a->v, (unsigned) a->offset, a->data, a->len);
        else
                vpci_common_read(a->v, (unsigned) a->offset, a->data, a->len);
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

/*
 * Without an ioeventfd, a notification arrives in bar_write() as an ordinary write. KVM takes them one at a time, and
 * waits for its readers at each, up to some milliseconds. A device leaves with the vCPUs at the gate for as long: it
 * has one to three queues, unless it is the console, which no one takes away but the guest.
 */
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

static void stop_on_loop(void *arg) {
        vpci_stop_device(arg);
}

/* Once bus mastering is off, the device must not touch memory: this vCPU waits until it has stopped. */
static void stop_and_wait(struct virtio_pci *v) {
        loop_call(v->dev->loop, stop_on_loop, v);
        (void) pthread_mutex_lock(&v->stop_lock);
        while (v->stopping)
                (void) pthread_cond_wait(&v->stopped, &v->stop_lock);
        (void) pthread_mutex_unlock(&v->stop_lock);
}

static void command_written(struct virtio_pci *v) {
        msix_update(&v->pci);
        if (v->pci.muted)
                stop_and_wait(v);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned len) {
        struct virtio_pci *v = (struct virtio_pci *) pci;
        unsigned data_at = v->window + sizeof(struct virtio_pci_cap), size;
        uint8_t data[4];
        uint64_t at;

        if (overlaps(offset, len, PCI_COMMAND, 2))
                command_written(v);
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
        return (struct virtio_pci_cap) { .cap_vndr = PCI_CAP_ID_VNDR,
                                         .cap_len = (uint8_t) cap_len,
                                         .cfg_type = type,
                                         .offset = offset,
                                         .length = length };
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
        (void) pthread_cond_destroy(&v->stopped);
        (void) pthread_mutex_destroy(&v->stop_lock);
        free(v);
}

static void free_transport_p(struct virtio_pci **v) {
        free_transport(*v);
}

static int create_queues(struct virtio_pci *v, uint16_t size_max) {
        unsigned n = v->dev->n_queues;

        v->queue = calloc(n, sizeof(*v->queue));
        if (!v->queue)
                return -ENOMEM;
        v->n_queues = n;
        for (unsigned i = 0; i < n; i++) {
                v->queue[i] = (struct vpci_queue) { .vpci = v, .kick_fd = -EBADF };
                atomic_init(&v->queue[i].vector, VIRTIO_MSI_NO_VECTOR);
        }
        for (unsigned i = 0; i < n; i++) {
                v->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (v->queue[i].kick_fd < 0)
                        return -errno;
                v->dev->queues[i].size_max = MIN(v->dev->queues[i].size_max, size_max);
                vq_reset(&v->dev->queues[i]);
        }
        return 0;
}

static void reset_on_loop(void *arg) {
        vpci_reset_device(arg);
}

static void leave_on_loop(void *arg) {
        vpci_leave(arg);
}

static void quiesce_on_loop(void *arg) {
        vpci_quiesce_device(arg);
}

static void resume_on_loop(void *arg) {
        vpci_resume_device(arg);
}

static struct virtio_pci *of_part(const struct part *part) {
        return CONTAINER_OF(part, struct virtio_pci, part);
}

static void part_reset_begin(struct part *part) {
        loop_call(of_part(part)->dev->loop, reset_on_loop, of_part(part));
}

static int part_reset(struct part *part, const char **ret_text) {
        pci_device_reset(&of_part(part)->pci);
        return 0;
}

static void part_quiesce(struct part *part) {
        loop_call(of_part(part)->dev->loop, quiesce_on_loop, of_part(part));
}

static void part_resume(struct part *part) {
        loop_call(of_part(part)->dev->loop, resume_on_loop, of_part(part));
}

static bool part_is_busy(const struct part *part) {
        return atomic_load(&of_part(part)->busy);
}

static const struct part_ops part_ops = {
        .reset_begin = part_reset_begin,
        .reset = part_reset,
        .quiesce = part_quiesce,
        .resume = part_resume,
        .is_busy = part_is_busy,
};

/* §4.1.2: the device id of the type 0, plus the type. */
static struct pci_id identity(const struct machine_version *version, uint16_t type) {
        struct pci_id id = version->virtio;

        id.device = (uint16_t) (id.device + type);
        return id;
}

int virtio_pci_new(struct parts *parts, struct pci_host *host, struct irq *irq, int vm_fd, struct guest_mem *mem,
                   struct virtio_device *dev, unsigned slot) {
        CLEANUP(free_transport_p) struct virtio_pci *v = NULL;
        const struct machine_version *version = pci_host_version(host);
        const struct virtio_version *limits = version_virtio(version, dev->type);
        const struct pci_id id = identity(version, dev->type);
        int r;

        if (!limits)
                return -EOPNOTSUPP;
        if (dev->n_queues == 0 || dev->n_queues > QUEUES_MAX || dev->config_size > AREA_SIZE)
                return -EINVAL;
        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->dev = dev;
        v->vm_fd = vm_fd;
        (void) pthread_mutex_init(&v->stop_lock, NULL);
        (void) pthread_cond_init(&v->stopped, NULL);
        atomic_init(&v->config_vector, VIRTIO_MSI_NO_VECTOR);
        pci_device_init(&v->pci, &pci_ops, &id, dev->pci_class);
        pci_device_set_bar(&v->pci, BAR_SIZE);
        /* The device offers what it can do; its machine's version has the last word. */
        dev->host_features = (dev->host_features | TRANSPORT_FEATURES) & limits->features;
        r = create_queues(v, limits->queue_size);
        if (r < 0)
                return r;
        r = add_capabilities(v, irq);
        if (r < 0)
                return r;
        dev->mem = mem;
        dev->transport = &vpci_transport_ops;
        dev->transport_data = v;
        part_add(parts, &v->part, PART_DEVICE, &part_ops);
        /* Last: a vCPU may reach the device before this returns. */
        r = pci_host_add(host, &v->pci, slot);
        if (r < 0) {
                part_remove(&v->part);
                dev->transport = NULL;
                return r;
        }
        TAKE(v);
        return r;
}

unsigned virtio_pci_slot(const struct virtio_device *dev) {
        return pci_device_slot(&((const struct virtio_pci *) dev->transport_data)->pci);
}

struct driver_call {
        const struct virtio_pci *v;
        bool has_driver;
};

static void look_for_driver(void *arg) {
        struct driver_call *call = arg;

        call->has_driver = call->v->status != 0;
}

bool virtio_pci_has_driver(const struct virtio_device *dev) {
        struct driver_call call = { .v = dev->transport_data };

        loop_call(dev->loop, look_for_driver, &call);
        return call.has_driver;
}

void virtio_pci_leave(struct virtio_device *dev) {
        loop_call(dev->loop, leave_on_loop, dev->transport_data);
}

bool virtio_pci_is_leaving(const struct virtio_device *dev) {
        return atomic_load(&((const struct virtio_pci *) dev->transport_data)->leaving);
}

bool virtio_pci_is_busy(const struct virtio_device *dev) {
        return atomic_load(&((const struct virtio_pci *) dev->transport_data)->busy);
}

void virtio_pci_hide(struct virtio_device *dev) {
        pci_device_hide(&((struct virtio_pci *) dev->transport_data)->pci);
}

void virtio_pci_unplug(struct virtio_device *dev) {
        pci_host_remove(&((struct virtio_pci *) dev->transport_data)->pci);
}

struct virtio_device *virtio_pci_free(struct virtio_device *dev) {
        struct virtio_pci *v = dev->transport_data;

        pci_host_remove(&v->pci);
        loop_call(dev->loop, reset_on_loop, v);
        /* The device goes first: until its threads have ended it may raise interrupts, and the part may settle. */
        dev->ops->free(dev);
        part_remove(&v->part);
        free_transport(v);
        return NULL;
}
