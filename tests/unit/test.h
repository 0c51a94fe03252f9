/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a unit test needs: CHECK() ends the program with a line that says where; TEST_SKIP() ends it with the status
 * that meson takes for "skipped"; RUN() names the test that is running.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        (void) fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, __func__, #condition);   \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

#define CHECK_EQ(a, b)                                                                                                 \
        do {                                                                                                           \
                long long a_ = (long long) (a), b_ = (long long) (b);                                                  \
                if (a_ != b_) {                                                                                        \
                        (void) fprintf(stderr, "%s:%d: %s: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, __func__, \
                                       #a, a_, #b, b_);                                                                \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

#define CHECK_STR(a, b)                                                                                                \
        do {                                                                                                           \
                const char *a_ = (a), *b_ = (b);                                                                       \
                if (strcmp(a_, b_) != 0) {                                                                             \
                        (void) fprintf(stderr, "%s:%d: %s: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, __func__,  \
                                       #a, a_, b_);                                                                    \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

#define TEST_SKIP(why)                                                                                                 \
        do {                                                                                                           \
                (void) fprintf(stderr, "skipped: %s\n", (why));                                                        \
                exit(77);                                                                                              \
        } while (0)

#define RUN(test)                                                                                                      \
        do {                                                                                                           \
                (void) fprintf(stderr, "%s\n", #test);                                                                 \
                test();                                                                                                \
        } while (0)
