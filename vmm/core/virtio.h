/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a virtio device is to the rest of the machine. The transport (virtio_pci.c) owns
 * status, feature negotiation and queue set-up; the device sees only its own
 * configuration, its queues, and kicks. All callbacks run on the device's loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/log.h"
#include "../base/seccomp.h"
#include "loop.h"
#include "virtqueue.h"

struct virtio_device;

struct virtio_device_ops {
        /* Reads device configuration. The transport has checked offset+len <= config_size. */
        void (*config_read)(struct virtio_device *dev, unsigned offset, void *data, unsigned len);
        /* Optional: writes are ignored without it. */
        void (*config_write)(struct virtio_device *dev, unsigned offset, const void *data, unsigned len);
        /* Optional, FEATURES_OK: whether this subset of what is offered is one that the device type allows. */
        bool (*features_valid)(const struct virtio_device *dev, uint64_t features);
        /* DRIVER_OK: features are final, enabled queues usable. A negative errno marks the device NEEDS_RESET. */
        int (*activate)(struct virtio_device *dev);
        /*
         * Device reset: forget guest state; no queue may be touched afterwards. False: requests are at work in guest
         * memory still; the transport's idle() follows when they are done, and not before that the next activate.
         */
        bool (*reset)(struct virtio_device *dev);
        /* The driver kicked queue `index`. Comes only between activate and reset. */
        void (*kick)(struct virtio_device *dev, unsigned index);
        /*
         * Optional: lets the device take over a queue's eventfds (vhost) between activate and reset.
         * kick_fd fires on a driver notification, call_fd raises the queue's interrupt.
         * True: the device took it over, the loop must not watch kick_fd.
         */
        bool (*offload_queue)(struct virtio_device *dev, unsigned index, int kick_fd, int call_fd);
        /*
         * Optional: threads besides the loop. Each calls enter_thread(&dev->role) first, unless it is NULL; its error
         * is returned. Control thread, once the loop runs. A device that was not started does its work on the loop.
         */
        int (*start)(struct virtio_device *dev, int (*enter_thread)(void *role));
        /*
         * Optional: quiesces the device. True: it no longer changes guest memory or its host end, and what it
         * wrote is stable; false: the transport's idle() follows. Called at any time, even before activate and
         * after reset. Until resume the queues are not live and there are no kicks; a reset is possible.
         */
        bool (*quiesce)(struct virtio_device *dev);
        /*
         * Optional: resumes, even before quiesce is done. The queues are live again and may hold buffers added
         * meanwhile, for which no kick comes.
         */
        void (*resume)(struct virtio_device *dev);
        /*
         * Optional: the device leaves a machine that goes on, and lets go of the part of its host end that may take its
         * time. True: it has; false: the transport's idle() follows. After the last reset and quiesce, once.
         */
        bool (*release)(struct virtio_device *dev);
        /* Frees the device itself, after a reset. Waits for requests still in flight; for none after a release. */
        void (*free)(struct virtio_device *dev);
};

struct virtio_transport_ops {
        /* Raises a queue's interrupt; the caller has checked that the driver wants one. Any thread. */
        void (*queue_interrupt)(struct virtio_device *dev, unsigned index);
        /* Configuration changed: bumps the generation and interrupts; device's loop. */
        void (*config_changed)(struct virtio_device *dev);
        /* Sets DEVICE_NEEDS_RESET and notifies the driver (virtio 1.2 §2.1); device's loop. */
        void (*needs_reset)(struct virtio_device *dev);
        /* A reset, quiesce or release that had to wait is done; device's loop. */
        void (*idle)(struct virtio_device *dev);
};

/* Embedded as the first member of each device's own struct. */
struct virtio_device {
        const struct virtio_device_ops *ops;
        const char *name;     /* for messages: "vda", "net0" */
        uint16_t type;        /* VIRTIO_ID_* (linux/virtio_ids.h) */
        uint32_t pci_class;   /* 24-bit class code */
        unsigned config_size; /* bytes of device configuration */
        unsigned n_queues;    /* queues[0..n_queues) */
        struct virtqueue *queues;
        uint64_t host_features; /* offered; a transport adds its own and takes off what the machine's version lacks */
        uint64_t features;      /* negotiated; valid from activate to reset */
        bool live;              /* queues may be used: from DRIVER_OK on, not broken, not quiesced; device's loop */
        struct loop *loop;      /* owned by the device */
        struct guest_mem *mem;  /* set when the device joins a machine */
        struct log_guest guest_errors;
        struct thread_role role; /* its threads' */
        uint64_t file_size;      /* of the host's file that the guest may write at offsets; 0: there is none */

        /* The transport's side, set when the device joins a machine. */
        const struct virtio_transport_ops *transport;
        void *transport_data;
};

/* Pushes out what vq_push() queued: interrupts if the driver wants it. */
static inline void virtio_queue_flush(struct virtio_device *dev, unsigned index) {
        if (vq_should_interrupt(&dev->queues[index]))
                dev->transport->queue_interrupt(dev, index);
}

/* Counts and logs a violation by the guest and marks the device as needing a reset. */
void virtio_device_fail(struct virtio_device *dev, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Pops the next chain of a queue as vq_pop() does. When there is none it asks for a
 * notification; when the driver broke the rules it fails the device. There is none in a
 * device that is not live, whatever its ring says (virtio 1.2 §3.1.1).
 */
static inline int virtio_queue_pop(struct virtio_device *dev, unsigned index, struct vq_chain *chain) {
        int r = dev->live ? vq_pop(&dev->queues[index], chain) : 0;

        if (r == 0 && dev->live && vq_enable_notify(&dev->queues[index]))
                r = vq_pop(&dev->queues[index], chain);
        if (r < 0)
                virtio_device_fail(dev, "queue %u is broken", index);
        return r;
}
