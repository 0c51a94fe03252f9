/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split virtqueue against good and hostile drivers. Tests are named after the
 * section of virtio 1.2 whose rule they hold.
 */
#include "core/virtqueue.h"

#include <linux/virtio_ring.h>

#include "arch/x86_64/layout.h"
#include "base/cleanup.h"
#include "test.h"
#include "watch.h"

#define MEMORY (64ull << 20)
#define DESC   0x1000u
#define AVAIL  0x2000u
#define USED   0x3000u
#define TABLE  0x4000u /* for indirect descriptors */
#define DATA   0x10000u
#define SIZE   8u

struct fixture {
        struct guest_mem *mem;
        struct virtqueue vq;
        struct vring_desc *desc, *table;
        struct vring_avail *avail;
        struct vring_used *used;
        struct vq_chain chain;
};

static void *at(struct fixture *f, uint64_t gpa) {
        void *p;

        CHECK_EQ(guest_mem_span(f->mem, gpa, 0x1000, &p), 0);
        return p;
}

static void setup(struct fixture *f) {
        memset(f, 0, sizeof(*f));
        CHECK_EQ(guest_mem_new(MEMORY, 0, 0, &f->mem), 0);
        f->vq = (struct virtqueue) {
                .size_max = VQ_SIZE_MAX, .size = SIZE, .desc_gpa = DESC, .avail_gpa = AVAIL, .used_gpa = USED
        };
        CHECK_EQ(vq_enable(&f->vq, f->mem), 0);
        f->desc = at(f, DESC);
        f->table = at(f, TABLE);
        f->avail = at(f, AVAIL);
        f->used = at(f, USED);
}

static void teardown(struct fixture *f) {
        f->mem = guest_mem_free(f->mem);
}

static void offer(struct fixture *f, uint16_t head) {
        f->avail->ring[f->avail->idx % SIZE] = head;
        f->avail->idx++;
}

static void put(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
        *d = (struct vring_desc) { .addr = addr, .len = len, .flags = flags, .next = next };
}

/* The queue has to refuse what `f` offers, and to stay refused until it is reset. */
static void expect_broken(struct fixture *f) {
        CHECK_EQ(vq_pop(&f->vq, &f->chain), -EBADMSG);
        CHECK_EQ(vq_pop(&f->vq, &f->chain), -EBADMSG);
        CHECK(!vq_should_interrupt(&f->vq));
        vq_reset(&f->vq);
        CHECK_EQ(vq_pop(&f->vq, &f->chain), 0);
        teardown(f);
}

static void test_2_7_size_and_alignment(void) {
        static const struct {
                uint16_t size;
                uint64_t desc, avail, used;
                int result;
        } cases[] = {
                { 8, DESC, AVAIL, USED, 0 },
                { 1, DESC, AVAIL, USED, 0 },
                { 256, DESC, AVAIL, USED, 0 },
                { 0, DESC, AVAIL, USED, -EINVAL },
                { 6, DESC, AVAIL, USED, -EINVAL },
                { 512, DESC, AVAIL, USED, -EINVAL },
                { 8, DESC + 8, AVAIL, USED, -EINVAL },
                { 8, DESC, AVAIL + 1, USED, -EINVAL },
                { 8, DESC, AVAIL, USED + 2, -EINVAL },
                { 8, MEMORY - 16, AVAIL, USED, -EFAULT },
                { 8, DESC, MEMORY - 2, USED, -EFAULT },
                { 8, DESC, AVAIL, UINT64_MAX - 3, -EFAULT },
                { 8, LAYOUT_HOLE_START, AVAIL, USED, -EFAULT },
        };
        struct guest_mem *mem;

        CHECK_EQ(guest_mem_new(MEMORY, 0, 0, &mem), 0);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct virtqueue vq = { .size_max = 256,
                                        .size = cases[i].size,
                                        .desc_gpa = cases[i].desc,
                                        .avail_gpa = cases[i].avail,
                                        .used_gpa = cases[i].used };
                CHECK_EQ(vq_enable(&vq, mem), cases[i].result);
                CHECK_EQ(vq.enabled, cases[i].result == 0);
        }
        guest_mem_free(mem);
}

static void test_disabled_queue_is_empty(void) {
        struct virtqueue vq = { .size_max = 8 };
        struct vq_chain chain;

        CHECK_EQ(vq_pop(&vq, &chain), 0);
        CHECK(!vq_should_interrupt(&vq));
        CHECK(!vq_enable_notify(&vq));
        vq_disable_notify(&vq);
        vq_push(&vq, &chain, 0);
}

/* What the device writes into rings and buffers, whether or not the driver wants notifications by index. */
static void test_writes_are_told(void) {
        for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
                struct fixture f;
                struct watch w;

                setup(&f);
                f.vq.event_idx = event_idx;
                put(&f.desc[0], DATA, 4096, VRING_DESC_F_WRITE, 0);
                put(&f.desc[1], DATA + 0x4000, 64, VRING_DESC_F_WRITE, 0);
                offer(&f, 0);
                offer(&f, 1);
                watch_begin(&w, f.mem);
                vq_disable_notify(&f.vq);
                CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
                CHECK_EQ(vq_chain_write(&f.chain, 10, "abc", 3), 3);
                vq_push(&f.vq, &f.chain, 13);
                CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
                memset(at(&f, DATA + 0x4000), 7, 64);
                vq_chain_wrote(&f.chain, 0, 64);
                vq_unpop(&f.vq, 1);
                CHECK(vq_enable_notify(&f.vq));
                watch_end(&w, 3);
                teardown(&f);
        }
}

static void test_2_7_5_chain(void) {
        struct fixture f;
        char buffer[8] = "";

        setup(&f);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 0);
        put(&f.desc[2], DATA, 5, VRING_DESC_F_NEXT, 5);
        put(&f.desc[5], DATA + 0x100, 3, VRING_DESC_F_NEXT, 0);
        put(&f.desc[0], DATA + 0x200, 16, VRING_DESC_F_WRITE, 7);
        memcpy(at(&f, DATA), "hello", 5);
        memcpy(at(&f, DATA + 0x100), "you", 3);
        offer(&f, 2);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
        CHECK_EQ(f.chain.head, 2);
        CHECK_EQ(f.chain.n_out, 2);
        CHECK_EQ(f.chain.n_in, 1);
        CHECK_EQ(f.chain.out_len, 8);
        CHECK_EQ(f.chain.in_len, 16);
        CHECK_EQ(vq_chain_read(&f.chain, 3, buffer, sizeof(buffer)), 5);
        CHECK(memcmp(buffer, "loyou", 5) == 0);
        CHECK_EQ(vq_chain_write(&f.chain, 12, "abcdefgh", 8), 4);
        CHECK(memcmp((char *) at(&f, DATA + 0x200) + 12, "abcd", 4) == 0);
        vq_push(&f.vq, &f.chain, 4);
        CHECK_EQ(f.used->idx, 1);
        CHECK_EQ(f.used->ring[0].id, 2);
        CHECK_EQ(f.used->ring[0].len, 4);
        teardown(&f);
}

static void test_unpop_gives_back(void) {
        struct fixture f;

        setup(&f);
        put(&f.desc[1], DATA, 5, 0, 0);
        offer(&f, 1);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 0);
        vq_unpop(&f.vq, 1);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
        CHECK_EQ(f.chain.head, 1);
        teardown(&f);
}

static void test_2_7_5_2_loop_is_too_long(void) {
        struct fixture f;

        setup(&f);
        put(&f.desc[0], DATA, 1, VRING_DESC_F_NEXT, 1);
        put(&f.desc[1], DATA, 1, VRING_DESC_F_NEXT, 0);
        offer(&f, 0);
        expect_broken(&f);
}

static void test_2_7_4_2_readable_behind_writable(void) {
        struct fixture f;

        setup(&f);
        put(&f.desc[0], DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
        put(&f.desc[1], DATA, 1, 0, 0);
        offer(&f, 0);
        expect_broken(&f);
}

static void test_head_and_link_outside_of_table(void) {
        struct fixture f;

        setup(&f);
        offer(&f, SIZE);
        expect_broken(&f);
        setup(&f);
        put(&f.desc[0], DATA, 1, VRING_DESC_F_NEXT, SIZE);
        offer(&f, 0);
        expect_broken(&f);
}

static void test_available_index_runs_ahead(void) {
        struct fixture f;

        setup(&f);
        f.avail->idx = SIZE + 1;
        expect_broken(&f);
}

static void test_buffers_outside_of_memory(void) {
        static const struct {
                uint64_t addr;
                uint32_t len;
        } cases[] = {
                { DATA, 0 },
                { MEMORY, 1 },
                { MEMORY - 1, 2 },
                { UINT64_MAX, 1 },
                { UINT64_MAX - 1, UINT32_MAX },
                { LAYOUT_HOLE_START - 1, 2 },
                { 0, UINT32_MAX },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct fixture f;

                setup(&f);
                put(&f.desc[0], cases[i].addr, cases[i].len, 0, 0);
                offer(&f, 0);
                expect_broken(&f);
        }
}

static void test_2_7_5_3_indirect(void) {
        struct fixture f;

        setup(&f);
        put(&f.desc[3], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
        put(&f.table[0], DATA, 4, VRING_DESC_F_NEXT, 1);
        put(&f.table[1], DATA, 8, VRING_DESC_F_WRITE, 0);
        offer(&f, 3);
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
        CHECK_EQ(f.chain.head, 3);
        CHECK_EQ(f.chain.out_len, 4);
        CHECK_EQ(f.chain.in_len, 8);
        teardown(&f);
}

/* Nowhere is a driver told to align them. */
static void test_2_7_5_3_table_at_any_address(void) {
        for (unsigned shift = 1; shift < 16; shift++) {
                struct fixture f;
                struct vring_desc table[2];

                setup(&f);
                put(&f.desc[3], TABLE + shift, 32, VRING_DESC_F_INDIRECT, 0);
                put(&table[0], DATA, 4, VRING_DESC_F_NEXT, 1);
                put(&table[1], DATA + shift, 8 + shift, VRING_DESC_F_WRITE, 0);
                memcpy((uint8_t *) f.table + shift, table, sizeof(table));
                offer(&f, 3);
                CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
                CHECK_EQ(f.chain.out_len, 4);
                CHECK_EQ(f.chain.in_len, 8 + shift);
                CHECK(f.chain.iov[1].iov_base == (uint8_t *) at(&f, DATA) + shift);
                teardown(&f);
        }
}

static void test_2_7_5_3_1_bad_tables(void) {
        static const struct {
                uint64_t addr;
                uint32_t len;
                uint16_t flags;
        } cases[] = {
                { TABLE, 0, VRING_DESC_F_INDIRECT },
                { TABLE, 24, VRING_DESC_F_INDIRECT },
                { MEMORY - 16, 32, VRING_DESC_F_INDIRECT },
                { TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT },
        };
        struct fixture f;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                setup(&f);
                put(&f.desc[0], cases[i].addr, cases[i].len, cases[i].flags, 0);
                put(&f.table[0], DATA, 1, 0, 0);
                offer(&f, 0);
                expect_broken(&f);
        }
        setup(&f); /* a table within a table */
        put(&f.desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
        put(&f.table[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
        offer(&f, 0);
        expect_broken(&f);
        setup(&f); /* a link out of the table */
        put(&f.desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
        put(&f.table[0], DATA, 1, VRING_DESC_F_NEXT, 1);
        offer(&f, 0);
        expect_broken(&f);
}

static void test_2_7_5_3_1_indirect_chain_longer_than_queue(void) {
        struct fixture f;

        setup(&f);
        put(&f.desc[0], TABLE, (SIZE + 1) * 16, VRING_DESC_F_INDIRECT, 0);
        for (unsigned i = 0; i <= SIZE; i++)
                put(&f.table[i], DATA, 1, i < SIZE ? VRING_DESC_F_NEXT : 0, (uint16_t) (i + 1));
        offer(&f, 0);
        expect_broken(&f);
}

static void test_indices_wrap(void) {
        struct fixture f;

        setup(&f);
        f.avail->idx = f.vq.next_avail = 0xfffe;
        f.used->idx = f.vq.next_used = 0xfffe;
        for (unsigned i = 0; i < 4; i++) {
                put(&f.desc[i], DATA, 1, VRING_DESC_F_WRITE, 0);
                offer(&f, (uint16_t) i);
        }
        for (unsigned i = 0; i < 4; i++) {
                CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
                CHECK_EQ(f.chain.head, i);
                vq_push(&f.vq, &f.chain, 1);
        }
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 0);
        CHECK_EQ(f.used->idx, 2);
        teardown(&f);
}

static void push(struct fixture *f, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                vq_push(&f->vq, &f->chain, 0);
}

static void test_2_7_6_interrupt_flag(void) {
        struct fixture f;

        setup(&f);
        CHECK(!vq_should_interrupt(&f.vq)); /* nothing has been used */
        push(&f, 1);
        CHECK(vq_should_interrupt(&f.vq));
        CHECK(!vq_should_interrupt(&f.vq));
        f.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
        push(&f, 1);
        CHECK(!vq_should_interrupt(&f.vq));
        teardown(&f);
}

static void test_2_7_7_used_event(void) {
        struct fixture f;

        setup(&f);
        f.vq.event_idx = true;
        push(&f, 1);
        CHECK(vq_should_interrupt(&f.vq)); /* the first always */
        f.avail->ring[SIZE] = 3;           /* wanted when the index passes 3 */
        push(&f, 2);
        CHECK(!vq_should_interrupt(&f.vq));
        push(&f, 1);
        CHECK(vq_should_interrupt(&f.vq));
        push(&f, 1);
        CHECK(!vq_should_interrupt(&f.vq));
        teardown(&f);
}

static void test_2_7_10_notification(void) {
        struct fixture f;

        setup(&f);
        vq_disable_notify(&f.vq);
        CHECK_EQ(f.used->flags, VRING_USED_F_NO_NOTIFY);
        CHECK(!vq_enable_notify(&f.vq));
        CHECK_EQ(f.used->flags, 0);
        put(&f.desc[0], DATA, 1, 0, 0);
        offer(&f, 0);
        CHECK(vq_enable_notify(&f.vq));
        f.vq.event_idx = true;
        CHECK_EQ(vq_pop(&f.vq, &f.chain), 1);
        CHECK(!vq_enable_notify(&f.vq));
        CHECK_EQ(*(uint16_t *) &f.used->ring[SIZE], 1);
        teardown(&f);
}

static void test_push_many_is_visible_at_once(void) {
        static const uint16_t heads[] = { 4, 2, 7 };
        static const uint32_t written[] = { 10, 20, 30 };
        struct fixture f;

        setup(&f);
        vq_push_many(&f.vq, heads, written, 3);
        CHECK_EQ(f.used->idx, 3);
        for (unsigned i = 0; i < 3; i++) {
                CHECK_EQ(f.used->ring[i].id, heads[i]);
                CHECK_EQ(f.used->ring[i].len, written[i]);
        }
        teardown(&f);
}

int main(void) {
        RUN(test_2_7_size_and_alignment);
        RUN(test_disabled_queue_is_empty);
        RUN(test_writes_are_told);
        RUN(test_2_7_5_chain);
        RUN(test_unpop_gives_back);
        RUN(test_2_7_5_2_loop_is_too_long);
        RUN(test_2_7_4_2_readable_behind_writable);
        RUN(test_head_and_link_outside_of_table);
        RUN(test_available_index_runs_ahead);
        RUN(test_buffers_outside_of_memory);
        RUN(test_2_7_5_3_indirect);
        RUN(test_2_7_5_3_table_at_any_address);
        RUN(test_2_7_5_3_1_bad_tables);
        RUN(test_2_7_5_3_1_indirect_chain_longer_than_queue);
        RUN(test_indices_wrap);
        RUN(test_2_7_6_interrupt_flag);
        RUN(test_2_7_7_used_event);
        RUN(test_2_7_10_notification);
        RUN(test_push_many_is_visible_at_once);
        return 0;
}
