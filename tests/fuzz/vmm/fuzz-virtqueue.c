/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue whose rings and tables are the input: vectors lie in guest memory, chains are bounded, a broken queue
 * stays broken.
 */
#include <string.h>

#include "base/cleanup.h"
#include "core/virtqueue.h"

#define RING_GPA 0x1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_chain(const struct guest_mem *mem, const struct virtqueue *vq, const struct vq_chain *chain) {
        size_t out = 0, in = 0;

        if (chain->head >= vq->size || chain->n_out + chain->n_in > vq->size)
                abort();
        for (unsigned i = 0; i < chain->n_out + chain->n_in; i++) {
                const uint8_t *p = chain->iov[i].iov_base;

                if (p < mem->host || chain->iov[i].iov_len > mem->size - (size_t) (p - mem->host))
                        abort();
                *(i < chain->n_out ? &out : &in) += chain->iov[i].iov_len;
        }
        if (out != chain->out_len || in != chain->in_len)
                abort();
}

static void use_queue(const struct guest_mem *mem, struct virtqueue *vq) {
        struct vq_chain chain;
        uint8_t bytes[64];
        int r;

        for (unsigned i = 0; i < 2 * VQ_SIZE_MAX; i++) {
                r = vq_pop(vq, &chain);
                if (r <= 0)
                        break;
                check_chain(mem, vq, &chain);
                (void) vq_chain_read(&chain, i, bytes, sizeof(bytes));
                if (i % 3 == 0) {
                        vq_unpop(vq, 1);
                        if (vq_pop(vq, &chain) < 0)
                                break;
                }
                vq_push(vq, &chain, i);
                (void) vq_should_interrupt(vq);
                if (vq_enable_notify(vq))
                        vq_disable_notify(vq);
        }
        if (vq->broken && vq_pop(vq, &chain) != -EBADMSG)
                abort();
}

/* The first four bytes: size, event_idx, and where the rings are; the rest is memory from RING_GPA on. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct guest_mem *mem;
        struct virtqueue vq = { .size_max = VQ_SIZE_MAX };

        if (!mem && guest_mem_new(GUEST_MEM_MIN, 0, 0, &mem) < 0)
                abort();
        if (size < 4 || size > 0x10000)
                return 0;
        vq.size = (uint16_t) (1u << (data[0] % 10));
        vq.desc_gpa = RING_GPA;
        vq.avail_gpa = RING_GPA + data[2] * 2u;
        vq.used_gpa = RING_GPA + data[3] * 16u;
        if (guest_mem_write(mem, RING_GPA, data + 4, size - 4) < 0 && size > 4)
                abort();
        vq.event_idx = data[1] & 1;
        if (vq_enable(&vq, mem) == 0)
                use_queue(mem, &vq);
        memset(mem->host, 0, 0x20000);
        return 0;
}
