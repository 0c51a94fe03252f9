/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "../test.h"
#include "core/bus.h"

struct device {
        uint64_t offset;
        unsigned len, reads, writes;
};

static void device_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct device *d = arg;

        d->offset = offset;
        d->len = len;
        d->reads++;
        memset(data, 0x5a, len);
}

static void device_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct device *d = arg;

        d->offset = offset;
        d->len = len;
        d->writes++;
}

static const struct bus_ops ops = { .read = device_read, .write = device_write };

static void test_ranges(void) {
        struct bus bus = { 0 };
        struct device d = { 0 };

        CHECK_EQ(bus_add(&bus, 0x100, 0, &ops, &d), -EINVAL);
        CHECK_EQ(bus_add(&bus, UINT64_MAX, 2, &ops, &d), -EINVAL);
        CHECK_EQ(bus_add(&bus, UINT64_MAX, 1, &ops, &d), 0);
        CHECK_EQ(bus_add(&bus, 0x100, 0x10, &ops, &d), 0);
        CHECK_EQ(bus_add(&bus, 0x10f, 1, &ops, &d), -EEXIST);
        CHECK_EQ(bus_add(&bus, 0xf0, 0x11, &ops, &d), -EEXIST);
        CHECK_EQ(bus_add(&bus, 0x80, 0x100, &ops, &d), -EEXIST);
        CHECK_EQ(bus_add(&bus, 0x110, 0x10, &ops, &d), 0);
        CHECK_EQ(bus_add(&bus, 0xf0, 0x10, &ops, &d), 0);
        for (uint64_t base = 0x1000; bus.n_ranges < BUS_RANGES_MAX; base += 0x10)
                CHECK_EQ(bus_add(&bus, base, 1, &ops, &d), 0);
        CHECK_EQ(bus_add(&bus, 0, 1, &ops, &d), -ENOSPC);
}

static void test_dispatch(void) {
        struct bus bus = { 0 };
        struct device a = { 0 }, b = { 0 };
        uint32_t value;

        CHECK_EQ(bus_add(&bus, 0x200, 8, &ops, &b), 0);
        CHECK_EQ(bus_add(&bus, 0x100, 8, &ops, &a), 0);
        bus_read(&bus, 0x104, &value, 4);
        CHECK_EQ(value, 0x5a5a5a5a);
        CHECK_EQ(a.offset, 4);
        CHECK_EQ(a.len, 4);
        bus_write(&bus, 0x207, &value, 1);
        CHECK_EQ(b.offset, 7);
        CHECK_EQ(b.writes, 1);
        /* An access that no device covers, or covers only in part, reads all ones, and no device sees it. */
        bus_read(&bus, 0x105, &value, 4);
        CHECK_EQ(value, UINT32_MAX);
        bus_read(&bus, 0xfe, &value, 4);
        CHECK_EQ(value, UINT32_MAX);
        bus_write(&bus, 0x205, &value, 4);
        CHECK_EQ(a.reads, 1);
        CHECK_EQ(b.writes, 1);
}

static void test_remove(void) {
        struct bus bus = { 0 };
        struct device a = { 0 }, b = { 0 };
        uint8_t value;

        for (unsigned i = 0; i < 1000; i++) {
                CHECK_EQ(bus_add(&bus, 0x100, 8, &ops, &a), 0);
                CHECK_EQ(bus_add(&bus, 0x108, 8, &ops, &b), 0);
                CHECK_EQ(bus_add(&bus, 0x110, 8, &ops, &a), 0);
                bus_remove(&bus, &a);
                CHECK_EQ(bus.n_ranges, 1);
                bus_read(&bus, 0x100, &value, 1);
                CHECK_EQ(value, 0xff);
                bus_read(&bus, 0x110, &value, 1);
                CHECK_EQ(value, 0xff);
                bus_read(&bus, 0x108, &value, 1);
                CHECK_EQ(value, 0x5a);
                bus_remove(&bus, &a); /* has none */
                bus_remove(&bus, &b);
                CHECK_EQ(bus.n_ranges, 0);
        }
        CHECK_EQ(a.reads, 0);
}

int main(void) {
        RUN(test_ranges);
        RUN(test_dispatch);
        RUN(test_remove);
        return 0;
}
