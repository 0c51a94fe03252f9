/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver's side of a virtio device, for tests: guest memory, a transport that
 * counts, and rings that are built by hand, in good shape or bad.
 */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <time.h>

#include "../test.h"
#include "base/cleanup.h"
#include "core/memory.h"
#include "core/virtio.h"

#define DRIVER_MEMORY (64ull << 20)
#define RING_SPACE    0x10000u /* bytes of guest memory per ring, from RING_START on */
#define RING_START    0x100000u
#define DATA_START    0x1000000u /* free for the test */

/* The transport's side. */
struct driver {
        struct virtio_device *dev;
        struct guest_mem *mem;
        _Atomic unsigned interrupts[64], config_changes;
        _Atomic bool needs_reset;
        bool active;                                                 /* from activation to reset */
        _Atomic unsigned idles;                                      /* ends of a reset or quiesce that had to wait */
        void (*on_interrupt)(struct driver *driver, unsigned index); /* optional; on the device's loop */
        void *arg;
};

struct segment {
        uint64_t gpa;
        uint32_t len;
};

struct ring {
        struct driver *driver;
        unsigned index;
        struct vring vring;
        uint16_t next_desc, used;
};

static inline void driver_interrupt(struct virtio_device *dev, unsigned index) {
        struct driver *driver = dev->transport_data;

        driver->interrupts[index]++;
        if (driver->on_interrupt)
                driver->on_interrupt(driver, index);
}

static inline void driver_config_changed(struct virtio_device *dev) {
        ((struct driver *) dev->transport_data)->config_changes++;
}

static inline void driver_needs_reset(struct virtio_device *dev) {
        ((struct driver *) dev->transport_data)->needs_reset = true;
}

static inline void driver_idle(struct virtio_device *dev) {
        ((struct driver *) dev->transport_data)->idles++;
}

static inline void driver_init(struct driver *driver, struct virtio_device *dev) {
        static const struct virtio_transport_ops ops = {
                .queue_interrupt = driver_interrupt,
                .config_changed = driver_config_changed,
                .needs_reset = driver_needs_reset,
                .idle = driver_idle,
        };

        memset(driver, 0, sizeof(*driver));
        CHECK_EQ(guest_mem_new(DRIVER_MEMORY, 0, 0, &driver->mem), 0);
        driver->dev = dev;
        dev->mem = driver->mem;
        dev->transport = &ops;
        dev->transport_data = driver;
}

static inline void driver_activate(struct driver *driver, uint64_t features) {
        driver->dev->features = (features & driver->dev->host_features) | BIT64(VIRTIO_F_VERSION_1);
        CHECK_EQ(driver->dev->ops->activate(driver->dev), 0);
        driver->dev->live = driver->active = true;
}

/* What the transport does around quiesce and resume. False: it is under way. */
static inline bool driver_quiesce(struct driver *driver) {
        driver->dev->live = false;
        return !driver->dev->ops->quiesce || driver->dev->ops->quiesce(driver->dev);
}

static inline void driver_resume(struct driver *driver) {
        driver->dev->live = driver->active && !driver->needs_reset;
        driver->dev->ops->resume(driver->dev);
}

static inline void driver_reset(void *arg) {
        struct driver *driver = arg;

        driver->dev->live = driver->active = false;
        (void) driver->dev->ops->reset(driver->dev);
}

static inline void driver_pause(void *arg) {
        CHECK(driver_quiesce(arg));
        driver_resume(arg);
}

/* Ends a device whose loop runs; `broken`: whether it has to have asked for a reset by now. */
static inline void driver_stop(struct driver *driver, bool broken) {
        CHECK_EQ(driver->needs_reset, broken);
        loop_call(driver->dev->loop, driver_reset, driver);
        driver->dev->ops->free(driver->dev);
        guest_mem_free(driver->mem);
}

/* Resets and frees a device without a loop. */
static inline void driver_done(struct driver *driver) {
        driver_reset(driver);
        driver->dev->ops->free(driver->dev);
        guest_mem_free(driver->mem);
}

static inline void driver_nothing(void *arg) {
}

/* Once it returns, the loop is done with what it was at. */
static inline void driver_settle(struct driver *driver) {
        loop_call(driver->dev->loop, driver_nothing, NULL);
}

static inline void *driver_at(struct driver *driver, uint64_t gpa, uint64_t len) {
        void *p;

        CHECK_EQ(guest_mem_span(driver->mem, gpa, len, &p), 0);
        return p;
}

/* Lays a ring of `size` entries into guest memory and enables the queue. */
static inline void ring_init(struct ring *ring, struct driver *driver, unsigned index, unsigned size) {
        struct virtqueue *vq = &driver->dev->queues[index];
        uint64_t gpa = RING_START + index * RING_SPACE;
        void *base = driver_at(driver, gpa, RING_SPACE);

        memset(base, 0, RING_SPACE);
        *ring = (struct ring) { .driver = driver, .index = index };
        vring_init(&ring->vring, size, base, 4096);
        vq->size = size;
        vq->desc_gpa = gpa;
        vq->avail_gpa = gpa + ((uint8_t *) ring->vring.avail - (uint8_t *) base);
        vq->used_gpa = gpa + ((uint8_t *) ring->vring.used - (uint8_t *) base);
        CHECK_EQ(vq_enable(vq, driver->mem), 0);
        vq->enabled = true;
}

/* Makes a descriptor head available. */
static inline void ring_offer(struct ring *ring, uint16_t head) {
        struct vring *v = &ring->vring;

        v->avail->ring[v->avail->idx % v->num] = head;
        __atomic_store_n(&v->avail->idx, v->avail->idx + 1, __ATOMIC_SEQ_CST);
}

/* A chain of n_out segments to read and n_in to write; does not kick. Returns its head. */
static inline uint16_t ring_add(struct ring *ring, const struct segment *segments, unsigned n_out, unsigned n_in) {
        uint16_t head = ring->next_desc;

        for (unsigned i = 0; i < n_out + n_in; i++) {
                uint16_t at = ring->next_desc, next = (at + 1) % ring->vring.num;
                ring->vring.desc[at] = (struct vring_desc) {
                        .addr = segments[i].gpa,
                        .len = segments[i].len,
                        .flags = (i >= n_out ? VRING_DESC_F_WRITE : 0) | (i + 1 < n_out + n_in ? VRING_DESC_F_NEXT : 0),
                        .next = next,
                };
                ring->next_desc = next;
        }
        ring_offer(ring, head);
        return head;
}

static inline void ring_do_kick(void *arg) {
        struct ring *ring = arg;
        ring->driver->dev->ops->kick(ring->driver->dev, ring->index);
}

static inline bool ring_take(struct ring *ring, uint16_t *ret_head, uint32_t *ret_len);

/*
 * virtio 1.2 §3.1.1: after a reset the device takes nothing of what is in `ring` until DRIVER_OK, whatever else
 * happens.
 */
static inline void ring_check_not_live(struct ring *ring) {
        struct driver *driver = ring->driver;
        struct loop *loop = driver->dev->loop;
        struct timespec pause = { .tv_nsec = 20000000 };

        loop_call(loop, driver_pause, driver);
        loop_call(loop, ring_do_kick, ring);
        (void) nanosleep(&pause, NULL);
        CHECK_EQ(driver->dev->queues[ring->index].next_avail, 0);
        CHECK(!ring_take(ring, NULL, NULL));
}

/* On the loop's thread if it runs, else here. */
static inline void ring_kick(struct ring *ring) {
        loop_call(ring->driver->dev->loop, ring_do_kick, ring);
}

/* Takes one used chain; false: there is none. */
static inline bool ring_take(struct ring *ring, uint16_t *ret_head, uint32_t *ret_len) {
        struct vring *v = &ring->vring;

        if (__atomic_load_n(&v->used->idx, __ATOMIC_SEQ_CST) == ring->used)
                return false;
        if (ret_head)
                *ret_head = v->used->ring[ring->used % v->num].id;
        if (ret_len)
                *ret_len = v->used->ring[ring->used % v->num].len;
        ring->used++;
        return true;
}

/* Waits up to ten seconds for a used chain and returns its length. */
static inline uint32_t ring_wait(struct ring *ring) {
        uint32_t len = 0;

        for (unsigned i = 0; i < 10000; i++) {
                struct timespec ms = { .tv_nsec = 1000000 };
                if (ring_take(ring, NULL, &len))
                        return len;
                (void) nanosleep(&ms, NULL);
        }
        CHECK(!"a chain was returned");
        return 0;
}
