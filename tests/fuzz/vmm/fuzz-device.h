/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device and a hostile driver whose rings are the fuzzer's bytes.
 *
 * The input is a list of operations: where to write which bytes in a small window of
 * guest memory that holds rings, tables and data alike; kicks; resets. The devices run
 * without a thread, so a run is repeatable.
 */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "core/memory.h"
#include "core/virtio.h"

#define FUZZ_WINDOW 0x10000u /* bytes of guest memory, from address 0, that the input can write */
#define FUZZ_QUEUE  16u      /* entries per ring */
#define FUZZ_RING   0x400u   /* bytes per ring: descriptors, available, used */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_interrupt(struct virtio_device *dev, unsigned index) {
}

static void fuzz_none(struct virtio_device *dev) {
}

static const struct virtio_transport_ops fuzz_transport = {
        .queue_interrupt = fuzz_interrupt,
        .config_changed = fuzz_none,
        .needs_reset = fuzz_none,
        .idle = fuzz_none,
};

static void fuzz_activate(struct virtio_device *dev) {
        dev->features = dev->host_features | BIT64(VIRTIO_F_VERSION_1);
        if (dev->ops->activate(dev) < 0)
                abort();
        for (unsigned i = 0; i < dev->n_queues; i++) {
                struct virtqueue *vq = &dev->queues[i];
                vq->size = FUZZ_QUEUE;
                vq->event_idx = i & 1;
                vq->desc_gpa = i * FUZZ_RING;
                vq->avail_gpa = vq->desc_gpa + FUZZ_QUEUE * sizeof(struct vring_desc);
                vq->used_gpa = vq->desc_gpa + 0x200;
                vq->enabled = vq_enable(vq, dev->mem) == 0;
        }
        dev->live = true;
}

/* Without threads, nothing remains at work. */
static void fuzz_reset(struct virtio_device *dev) {
        dev->live = false;
        if (!dev->ops->reset(dev))
                abort();
}

static void fuzz_stand_still(struct virtio_device *dev) {
        bool live = dev->live;

        dev->live = false;
        if (dev->ops->quiesce && !dev->ops->quiesce(dev))
                abort();
        dev->live = live;
        if (dev->ops->resume)
                dev->ops->resume(dev);
}

/*
 * Runs the input against the device. Operations, by their first byte modulo 8: 0 to 4,
 * write: two bytes of address, one of length, the bytes; 5 and 6, kick: one byte, the
 * queue; 7: `extra`, and every fourth time a reset, or the machine stands still for a while.
 */
static void fuzz_run(struct virtio_device *dev, struct guest_mem *mem, const uint8_t *data, size_t size,
                     void (*extra)(struct virtio_device *dev)) {
        log_set_level(LOG_LEVEL_ERROR - 1);
        dev->mem = mem;
        dev->transport = &fuzz_transport;
        fuzz_activate(dev);
        while (size >= 2) {
                unsigned op = data[0] % 8;

                if (op <= 4 && size >= 4) {
                        size_t at = (data[1] | data[2] << 8) % FUZZ_WINDOW, len = MIN((size_t) data[3], size - 4);
                        len = MIN(len, FUZZ_WINDOW - at);
                        memcpy(mem->host + at, data + 4, len);
                        data += 4 + len;
                        size -= 4 + len;
                        continue;
                }
                if (op == 5 || op == 6) {
                        unsigned index = data[1] % dev->n_queues;
                        if (dev->queues[index].enabled && dev->live)
                                dev->ops->kick(dev, index);
                } else if (op == 7 && extra && data[1] % 4)
                        extra(dev);
                else if (op == 7 && data[1] & 0x80)
                        fuzz_stand_still(dev);
                else if (op == 7) {
                        fuzz_reset(dev);
                        fuzz_activate(dev);
                }
                data += 2;
                size -= 2;
        }
        fuzz_reset(dev);
}

/* Memory that is the same at the start of each run. */
static struct guest_mem *fuzz_memory(void) {
        struct guest_mem *mem;

        if (guest_mem_new(GUEST_MEM_MIN, 0, 0, &mem) < 0)
                abort();
        return mem;
}
