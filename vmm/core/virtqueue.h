/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split virtqueue (virtio 1.2 §2.7), device side. The only code that reads a ring.
 * vq_pop() copies each descriptor once before it checks it, bounds the chain by the
 * queue size, resolves one level of indirection, and returns I/O vectors that lie in
 * guest memory. A violation marks the queue broken: -EBADMSG until reset.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "memory.h"

#define VQ_SIZE_MAX 256u

/* A descriptor chain as host vectors: first n_out the device reads, then n_in it writes. */
struct vq_chain {
        const struct guest_mem *mem;
        uint16_t head;
        unsigned n_out, n_in;
        size_t out_len, in_len; /* bytes */
        struct iovec iov[VQ_SIZE_MAX];
};

struct virtqueue {
        const struct guest_mem *mem;
        uint16_t size_max; /* offered to the driver */
        uint16_t size;     /* chosen by the driver, power of two */
        bool enabled;
        bool broken;
        bool event_idx; /* VIRTIO_F_EVENT_IDX negotiated */
        uint64_t desc_gpa, avail_gpa, used_gpa;
        void *desc, *avail, *used; /* resolved by vq_enable() */
        uint16_t next_avail, next_used;
        uint16_t signalled_used; /* used index at the last interrupt */
        bool signalled_valid;
};

/* Resolves the three areas; -EINVAL on size or alignment (§2.7), -EFAULT outside RAM. */
int vq_enable(struct virtqueue *vq, const struct guest_mem *mem);
void vq_reset(struct virtqueue *vq);

/* 1: *chain is filled. 0: nothing available. -EBADMSG: the driver broke the rules. */
int vq_pop(struct virtqueue *vq, struct vq_chain *chain);
/* Whether there is something to pop, right or wrong. */
bool vq_is_pending(const struct virtqueue *vq);
/* Gives the last n popped chains back to the available ring (they were not used). */
void vq_unpop(struct virtqueue *vq, unsigned n);
/* Returns a chain with `written` bytes written to its in part. */
void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);
/* As vq_push for several chains that become visible to the driver at once (mergeable net buffers). */
void vq_push_many(struct virtqueue *vq, const uint16_t *heads, const uint32_t *written, unsigned n);
/* Whether the driver wants an interrupt for what was pushed since the last call (§2.7.7, §2.7.10). */
bool vq_should_interrupt(struct virtqueue *vq);
/* Ask for, or suppress, notifications. Enabling returns true when buffers arrived meanwhile: pop again. */
bool vq_enable_notify(struct virtqueue *vq);
void vq_disable_notify(struct virtqueue *vq);

/* Copies between a buffer and the chain's out/in part, from byte `offset`; returns the bytes copied. */
size_t vq_chain_read(const struct vq_chain *chain, size_t offset, void *data, size_t len);
size_t vq_chain_write(const struct vq_chain *chain, size_t offset, const void *data, size_t len);
/* `len` bytes from `offset` of the in part have been written through its vectors, whatever becomes of the chain. */
void vq_chain_wrote(const struct vq_chain *chain, size_t offset, size_t len);
