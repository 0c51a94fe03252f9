/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entropy device: filling buffers, its rate limit, and requests without room.
 */
#include <fcntl.h>

#include "dev/rng.h"
#include "driver.h"
#include "watch.h"

struct fixture {
        struct driver driver;
        struct ring ring;
};

static void fixture_init(struct fixture *f, uint32_t rate_bytes, uint32_t rate_period) {
        struct rng_config config = { .rate_bytes = rate_bytes, .rate_period = rate_period };
        struct virtio_device *dev;

        config.fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        CHECK(config.fd >= 0);
        CHECK_EQ(rng_new(&config, &dev), 0);
        driver_init(&f->driver, dev);
        driver_activate(&f->driver, ~0ull);
        ring_init(&f->ring, &f->driver, 0, 64);
        CHECK_EQ(loop_start(dev->loop, NULL, NULL), 0);
}

static void fixture_done(struct fixture *f, bool broken) {
        driver_stop(&f->driver, broken);
}

static void test_fill(void) {
        struct segment parts[] = { { DATA_START, 10 }, { DATA_START + 100, 54 } };
        static const uint8_t zero[54];
        struct fixture f;

        fixture_init(&f, 0, 0);
        (void) ring_add(&f.ring, parts, 0, 2);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 64);
        CHECK(memcmp(driver_at(&f.driver, DATA_START + 100, 54), zero, 54) != 0);
        /* A large request is answered in part. */
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 1 << 20 }, 0, 1);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 4096);
        for (unsigned i = 0; i < 60; i++)
                (void) ring_add(&f.ring, &(struct segment) { DATA_START, 16 }, 0, 1);
        ring_kick(&f.ring);
        for (unsigned i = 0; i < 60; i++)
                CHECK_EQ(ring_wait(&f.ring), 16);
        fixture_done(&f, false);
}

static void test_writes_are_told(void) {
        struct fixture f;
        struct watch w;

        fixture_init(&f, 0, 0);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 4096 }, 0, 1);
        watch_begin(&w, f.driver.mem);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 4096);
        driver_settle(&f.driver);
        watch_end(&w, 2);
        fixture_done(&f, false);
}

static void test_rate(void) {
        struct fixture f;

        fixture_init(&f, 100, 1000);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 64 }, 0, 1);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 64 }, 0, 1);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 64 }, 0, 1);
        ring_kick(&f.ring);
        CHECK_EQ(ring_wait(&f.ring), 64);
        CHECK_EQ(ring_wait(&f.ring), 36);
        CHECK(!ring_take(&f.ring, NULL, NULL));
        CHECK_EQ(ring_wait(&f.ring), 64); /* in the next period */
        fixture_done(&f, false);
}

static void test_hostile(void) {
        struct fixture f;

        fixture_init(&f, 0, 0);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 64 }, 1, 0);
        ring_kick(&f.ring);
        fixture_done(&f, true);

        fixture_init(&f, 0, 0);
        (void) ring_add(&f.ring, &(struct segment) { UINT64_MAX - 10, 64 }, 0, 1);
        ring_kick(&f.ring);
        fixture_done(&f, true);
}

static void test_not_live(void) {
        struct fixture f;

        fixture_init(&f, 0, 0);
        loop_call(f.driver.dev->loop, driver_reset, &f.driver);
        ring_init(&f.ring, &f.driver, 0, 64);
        (void) ring_add(&f.ring, &(struct segment) { DATA_START, 64 }, 0, 1);
        ring_check_not_live(&f.ring);
        fixture_done(&f, false);
}

int main(void) {
        RUN(test_fill);
        RUN(test_writes_are_told);
        RUN(test_rate);
        RUN(test_hostile);
        RUN(test_not_live);
        return 0;
}
