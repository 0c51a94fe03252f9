/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two halves of the PCI transport share: virtio_pci.c, the PCI device, and
 * virtio_pci_common.c, the device's life as its common configuration registers tell it.
 */
#pragma once

#include <stdatomic.h>

#include "virtio_pci.h"

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
        struct part part;
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
        bool quiesced;       /* the machine stands still, or is about to */
        bool quiescing;      /* the device has not come to that yet */
        bool resetting;      /* the stop under way is a reset */
        bool released;       /* the device was asked to let go of its host end */
        bool releasing;      /* and has not done so yet */
        atomic_bool leaving; /* for good: the driver is not listened to any more; written on the loop */

        atomic_bool busy; /* a stop, quiesce or release is under way; written on the loop */

        pthread_mutex_t stop_lock;
        pthread_cond_t stopped;
        bool stopping; /* the device lets go of its queues; written on the loop, under the lock */
};

extern const struct virtio_transport_ops vpci_transport_ops;

/*
 * All on the device's loop. Both begin; they have come to their end when `stopping` is false, which takes as long as
 * requests are at work in guest memory. Until then the registers are as before, and nothing written to them counts.
 */
void vpci_reset_device(struct virtio_pci *v);
/* The device lets go of its queues; the driver has to reset it before it works again. */
void vpci_stop_device(struct virtio_pci *v);
/* The device comes to stand still; `quiescing` is false when it does. */
void vpci_quiesce_device(struct virtio_pci *v);
void vpci_resume_device(struct virtio_pci *v);
/* Both, and no way back; then the device lets go of its host end. */
void vpci_leave(struct virtio_pci *v);
/* A register of the common configuration; an access of another width than its own does nothing. */
void vpci_common_read(struct virtio_pci *v, unsigned offset, void *data, unsigned len);
void vpci_common_write(struct virtio_pci *v, unsigned offset, const void *data, unsigned len);
