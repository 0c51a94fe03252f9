/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split virtqueue, device side (virtio 1.2 §2.7).
 *
 * The driver, which is hostile, can rewrite rings and descriptors at any time. So every
 * 16-byte descriptor is read exactly once, as two 64-bit loads, into a local copy that is
 * checked and used; indices are loaded once likewise. A chain is bounded by the queue's
 * size whatever its links say, which also ends loops.
 *
 * What breaks a queue (-EBADMSG until it is reset): an available index that runs ahead
 * by more than the queue holds, a head or link outside of its table, a readable
 * descriptor behind a writable one, an indirect table that is nested, empty, or no
 * multiple of 16 bytes, a buffer that is empty or not wholly in RAM, a chain that is
 * too long.
 *
 * A queue belongs to one thread, its device's loop. The fields shared with the driver
 * are accessed through the accessors below only, little-endian as the specification says.
 */
#include "virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "../base/cleanup.h"

#define DESC_SIZE    16u
#define USED_SIZE(n) (6 + 8 * (uint64_t) (n))

static uint16_t load16(const void *p) {
        return le16toh(__atomic_load_n((const uint16_t *) p, __ATOMIC_ACQUIRE));
}

static void store16(void *p, uint16_t value) {
        __atomic_store_n((uint16_t *) p, htole16(value), __ATOMIC_RELEASE);
}

static uint16_t avail_idx(const struct virtqueue *vq) {
        return load16(&((struct vring_avail *) vq->avail)->idx);
}

static uint16_t avail_head(const struct virtqueue *vq, uint16_t i) {
        return load16(&((struct vring_avail *) vq->avail)->ring[i % vq->size]);
}

/* Behind the available ring: the used index at which the driver wants an interrupt (§2.7.7). */
static uint16_t used_event(const struct virtqueue *vq) {
        return load16(&((struct vring_avail *) vq->avail)->ring[vq->size]);
}

/* All of it: a page or two. */
static void used_written(const struct virtqueue *vq) {
        guest_mem_wrote(vq->mem, vq->used, USED_SIZE(vq->size));
}

/* Behind the used ring: the available index at which the device wants a notification (§2.7.10). */
static void set_avail_event(struct virtqueue *vq, uint16_t value) {
        store16(&((struct vring_used *) vq->used)->ring[vq->size], value);
        used_written(vq);
}

static void set_used_flags(struct virtqueue *vq, uint16_t flags) {
        store16(&((struct vring_used *) vq->used)->flags, flags);
        used_written(vq);
}

static void set_used_elem(struct virtqueue *vq, uint16_t i, uint16_t head, uint32_t written) {
        struct vring_used_elem *elem = &((struct vring_used *) vq->used)->ring[i % vq->size];

        elem->id = htole32(head);
        elem->len = htole32(written);
}

int vq_enable(struct virtqueue *vq, const struct guest_mem *mem) {
        uint64_t n = vq->size;
        int r;

        /* §2.7: the size is a power of two; the areas are aligned to 16, 2 and 4. */
        if (n == 0 || n > vq->size_max || n > VQ_SIZE_MAX || (n & (n - 1)) != 0)
                return -EINVAL;
        if (vq->desc_gpa % 16 != 0 || vq->avail_gpa % 2 != 0 || vq->used_gpa % 4 != 0)
                return -EINVAL;
        r = guest_mem_span(mem, vq->desc_gpa, DESC_SIZE * n, &vq->desc);
        if (r == 0)
                r = guest_mem_span(mem, vq->avail_gpa, 6 + 2 * n, &vq->avail);
        if (r == 0)
                r = guest_mem_span(mem, vq->used_gpa, USED_SIZE(n), &vq->used);
        if (r < 0)
                return r;
        vq->mem = mem;
        vq->next_avail = vq->next_used = vq->signalled_used = 0;
        vq->signalled_valid = vq->broken = false;
        vq->enabled = true;
        return 0;
}

void vq_reset(struct virtqueue *vq) {
        *vq = (struct virtqueue) { .mem = vq->mem, .size_max = vq->size_max, .size = vq->size_max };
}

static int vq_break(struct virtqueue *vq) {
        vq->broken = true;
        return -EBADMSG;
}

/* §2.7.5.3 demands no alignment of an indirect table. */
typedef uint64_t any_uint64 __attribute__((aligned(1), may_alias));

/* A descriptor table: the queue's own, or an indirect one. */
struct table {
        const volatile any_uint64 *base; /* each word is read once */
        unsigned entries;
        bool indirect;
};

struct desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
};

static struct desc desc_load(const struct table *table, unsigned index) {
        const volatile any_uint64 *p = table->base + (size_t) index * (DESC_SIZE / sizeof(uint64_t));
        uint64_t low = le64toh(p[0]);
        uint64_t high = le64toh(p[1]);

        return (struct desc) {
                .addr = low,
                .len = (uint32_t) high,
                .flags = (uint16_t) (high >> 32),
                .next = (uint16_t) (high >> 48),
        };
}

/* Enters an indirect table (§2.7.5.3). Its descriptor ends the chain of the outer table. */
static int table_enter(const struct virtqueue *vq, const struct desc *d, struct table *table) {
        void *base;

        /* §2.7.5.3.1: no table within a table, and no link behind one. */
        if (table->indirect || (d->flags & VRING_DESC_F_NEXT))
                return -EBADMSG;
        /* §2.7.5.3.2 leaves VIRTQ_DESC_F_WRITE of this descriptor without a meaning. */
        if (d->len == 0 || d->len % DESC_SIZE != 0)
                return -EBADMSG;
        if (guest_mem_span(vq->mem, d->addr, d->len, &base) < 0)
                return -EBADMSG;
        *table = (struct table) { .base = base, .entries = d->len / DESC_SIZE, .indirect = true };
        return 0;
}

static int chain_add(const struct virtqueue *vq, const struct desc *d, struct vq_chain *chain) {
        unsigned n = chain->n_out + chain->n_in;
        bool in = (d->flags & VRING_DESC_F_WRITE) != 0;
        void *base;

        /* §2.7.5: a chain is no longer than the queue; §2.7.4.2: what the device reads comes first. */
        if (n >= vq->size || (!in && chain->n_in > 0))
                return -EBADMSG;
        if (guest_mem_span(vq->mem, d->addr, d->len, &base) < 0)
                return -EBADMSG;
        chain->iov[n] = (struct iovec) { .iov_base = base, .iov_len = d->len };
        if (in) {
                chain->n_in++;
                chain->in_len += d->len;
        } else {
                chain->n_out++;
                chain->out_len += d->len;
        }
        return 0;
}

/* Ends: each turn adds to a chain of bounded length, or enters the one indirect table. */
static int chain_walk(const struct virtqueue *vq, uint16_t head, struct vq_chain *chain) {
        struct table table = { .base = vq->desc, .entries = vq->size };
        unsigned index = head;

        for (;;) {
                struct desc d;
                int r;

                if (index >= table.entries)
                        return -EBADMSG;
                d = desc_load(&table, index);
                if (d.flags & VRING_DESC_F_INDIRECT) {
                        r = table_enter(vq, &d, &table);
                        if (r < 0)
                                return r;
                        index = 0;
                        continue;
                }
                r = chain_add(vq, &d, chain);
                if (r < 0 || !(d.flags & VRING_DESC_F_NEXT))
                        return r;
                index = d.next;
        }
}

int vq_pop(struct virtqueue *vq, struct vq_chain *chain) {
        uint16_t pending;

        if (vq->broken)
                return -EBADMSG;
        if (!vq->enabled)
                return 0;
        pending = (uint16_t) (avail_idx(vq) - vq->next_avail);
        if (pending == 0)
                return 0;
        if (pending > vq->size)
                return vq_break(vq);
        chain->mem = vq->mem;
        chain->head = avail_head(vq, vq->next_avail);
        chain->n_out = chain->n_in = 0;
        chain->out_len = chain->in_len = 0;
        if (chain->head >= vq->size || chain_walk(vq, chain->head, chain) < 0)
                return vq_break(vq);
        vq->next_avail++;
        return 1;
}

bool vq_is_pending(const struct virtqueue *vq) {
        return vq->enabled && !vq->broken && avail_idx(vq) != vq->next_avail;
}

void vq_unpop(struct virtqueue *vq, unsigned n) {
        vq->next_avail = (uint16_t) (vq->next_avail - n);
}

void vq_push_many(struct virtqueue *vq, const uint16_t *heads, const uint32_t *written, unsigned n) {
        if (!vq->enabled || vq->broken)
                return;
        for (unsigned i = 0; i < n; i++)
                set_used_elem(vq, (uint16_t) (vq->next_used + i), heads[i], written[i]);
        vq->next_used = (uint16_t) (vq->next_used + n);
        store16(&((struct vring_used *) vq->used)->idx, vq->next_used);
        used_written(vq);
}

void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written) {
        vq_push_many(vq, &chain->head, &written, 1);
}

bool vq_should_interrupt(struct virtqueue *vq) {
        uint16_t old = vq->signalled_used, new = vq->next_used;
        bool first = !vq->signalled_valid;

        if (!vq->enabled || vq->broken || new == old)
                return false;
        /* The used index has to be visible before the driver's wish is read. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        vq->signalled_used = new;
        vq->signalled_valid = true;
        if (!vq->event_idx)
                return !(load16(&((struct vring_avail *) vq->avail)->flags) & VRING_AVAIL_F_NO_INTERRUPT);
        return first || vring_need_event(used_event(vq), new, old);
}

bool vq_enable_notify(struct virtqueue *vq) {
        if (!vq->enabled || vq->broken)
                return false;
        if (vq->event_idx)
                set_avail_event(vq, vq->next_avail);
        else
                set_used_flags(vq, 0);
        /* The wish has to be visible before the index is read, or a kick may be lost. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return avail_idx(vq) != vq->next_avail;
}

void vq_disable_notify(struct virtqueue *vq) {
        if (vq->enabled && !vq->broken && !vq->event_idx)
                set_used_flags(vq, VRING_USED_F_NO_NOTIFY);
}

/* Copies between `data` and a part of a chain's vectors, from byte `offset` of that part. */
static size_t iov_copy(const struct iovec *iov, unsigned n, size_t offset, void *data, size_t len, bool to_guest) {
        size_t done = 0;

        for (unsigned i = 0; i < n && done < len; i++) {
                size_t chunk;

                if (offset >= iov[i].iov_len) {
                        offset -= iov[i].iov_len;
                        continue;
                }
                chunk = MIN(iov[i].iov_len - offset, len - done);
                if (to_guest)
                        memcpy((uint8_t *) iov[i].iov_base + offset, (uint8_t *) data + done, chunk);
                else
                        memcpy((uint8_t *) data + done, (uint8_t *) iov[i].iov_base + offset, chunk);
                done += chunk;
                offset = 0;
        }
        return done;
}

size_t vq_chain_read(const struct vq_chain *chain, size_t offset, void *data, size_t len) {
        return iov_copy(chain->iov, chain->n_out, offset, data, len, false);
}

size_t vq_chain_write(const struct vq_chain *chain, size_t offset, const void *data, size_t len) {
        size_t n = iov_copy(chain->iov + chain->n_out, chain->n_in, offset, (void *) data, len, true);

        vq_chain_wrote(chain, offset, n);
        return n;
}

void vq_chain_wrote(const struct vq_chain *chain, size_t offset, size_t len) {
        const struct iovec *iov = chain->iov + chain->n_out;

        for (unsigned i = 0; i < chain->n_in && len > 0; i++) {
                size_t skip = MIN(offset, iov[i].iov_len), part = MIN(iov[i].iov_len - skip, len);

                guest_mem_wrote(chain->mem, (const uint8_t *) iov[i].iov_base + skip, part);
                offset -= skip;
                len -= part;
        }
}
