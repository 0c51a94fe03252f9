/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walks over parts that write down when they were called.
 */
#include <errno.h>

#include "../test.h"
#include "base/cleanup.h"
#include "core/part.h"

struct fake {
        struct part part; /* first */
        char letter;
        int error; /* what its reset answers */
        bool busy;
};

static char calls[64];
static unsigned settled;

static void note(struct part *part) {
        size_t len = strlen(calls);

        CHECK(len < sizeof(calls) - 1);
        calls[len] = ((struct fake *) part)->letter;
        calls[len + 1] = 0;
}

static int reset(struct part *part, const char **ret_text) {
        note(part);
        if (((struct fake *) part)->error < 0)
                *ret_text = "it does not work";
        return ((struct fake *) part)->error;
}

static bool is_busy(const struct part *part) {
        return ((const struct fake *) part)->busy;
}

static const struct part_ops plain_ops = { .reset = reset };
static const struct part_ops device_ops = {
        .reset_begin = note,
        .reset = reset,
        .quiesce = note,
        .resume = note,
        .is_busy = is_busy,
};

static void on_settled(void *arg) {
        CHECK(arg == calls);
        settled++;
}

static void check_reset(struct parts *parts, const char *expected) {
        const char *text = "untouched";

        calls[0] = 0;
        CHECK_EQ(parts_reset(parts, &text), 0);
        CHECK_STR(calls, expected);
        CHECK_STR(text, "untouched");
}

static void test_order(void) {
        struct fake image = { .letter = 'i' }, cpu = { .letter = 'c' }, chip = { .letter = 'q' };
        struct fake a = { .letter = 'a' }, b = { .letter = 'b' };
        struct parts parts = { 0 };

        check_reset(&parts, "");
        part_add(&parts, &image.part, PART_IMAGE, &plain_ops);
        part_add(&parts, &chip.part, PART_IRQCHIP, &plain_ops);
        part_add(&parts, &a.part, PART_DEVICE, &device_ops);
        part_add(&parts, &cpu.part, PART_CPU, &plain_ops);
        check_reset(&parts, "aqci");
        part_add(&parts, &b.part, PART_DEVICE, &device_ops);
        check_reset(&parts, "abqci");
}

/* A walk skips parts that have nothing to do in it. */
static void test_standing_still(void) {
        struct fake a = { .letter = 'a' }, chip = { .letter = 'q' }, b = { .letter = 'b' };
        struct parts parts = { .settled = on_settled, .arg = calls };

        part_add(&parts, &chip.part, PART_IRQCHIP, &plain_ops);
        part_add(&parts, &a.part, PART_DEVICE, &device_ops);
        part_add(&parts, &b.part, PART_DEVICE, &device_ops);
        calls[0] = 0;
        parts_quiesce(&parts);
        parts_resume(&parts);
        parts_reset_begin(&parts);
        CHECK_STR(calls, "ababab");
        CHECK(!parts_are_busy(&parts));
        b.busy = true;
        CHECK(parts_are_busy(&parts));
        b.busy = false;
        settled = 0;
        part_settled(&b.part);
        CHECK_EQ(settled, 1);
        CHECK(!parts_are_busy(&parts));

        /* The machine does not call a part that has gone. */
        part_remove(&b.part);
        b.busy = true;
        part_settled(&b.part);
        CHECK_EQ(settled, 1);
        CHECK(!parts_are_busy(&parts));
}

/*
 * After a failure nothing starts again: no kernel is loaded while chips keep their old state. The next reset is a whole
 * one.
 */
static void test_a_reset_fails(void) {
        struct fake a = { .letter = 'a' }, chip = { .letter = 'q', .error = -EIO }, image = { .letter = 'i' };
        struct parts parts = { 0 };
        const char *text = NULL;

        part_add(&parts, &image.part, PART_IMAGE, &plain_ops);
        part_add(&parts, &chip.part, PART_IRQCHIP, &plain_ops);
        part_add(&parts, &a.part, PART_DEVICE, &device_ops);
        calls[0] = 0;
        CHECK_EQ(parts_reset(&parts, &text), -EIO);
        CHECK_STR(calls, "aq");
        CHECK_STR(text, "it does not work");
        chip.error = 0;
        check_reset(&parts, "aqi");
}

static void test_parts_go(void) {
        struct fake fakes[] = { { .letter = 'a' }, { .letter = 'b' }, { .letter = 'c' } }, never = { .letter = 'n' };
        struct parts parts = { 0 };

        for (unsigned i = 0; i < ARRAY_SIZE(fakes); i++)
                part_add(&parts, &fakes[i].part, PART_DEVICE, &device_ops);
        part_remove(&never.part);
        part_remove(&fakes[1].part);
        part_remove(&fakes[1].part);
        check_reset(&parts, "ac");
        part_remove(&fakes[0].part);
        check_reset(&parts, "c");
        part_add(&parts, &fakes[0].part, PART_DEVICE, &device_ops);
        check_reset(&parts, "ca");
        part_remove(&fakes[0].part);
        part_remove(&fakes[2].part);
        CHECK(!parts.first);
}

int main(void) {
        RUN(test_order);
        RUN(test_standing_still);
        RUN(test_a_reset_fails);
        RUN(test_parts_go);
        return 0;
}
