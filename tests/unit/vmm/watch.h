/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether each change of guest memory is told: what it was like is kept, and in the end each page that has become
 * another has to have been named. The test itself writes nothing meanwhile.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "core/memory.h"

#define WATCH_PAGE 4096u

struct watch {
        struct guest_mem_watch watch; /* first */
        struct guest_mem *mem;
        uint8_t *before;
        atomic_bool *told; /* pages of the mapping */
};

static inline void watch_wrote(void *arg, uint64_t gpa, uint64_t len) {
        struct watch *w = arg;
        uint64_t first, last;
        void *p;

        CHECK_EQ(guest_mem_span(w->mem, gpa, len, &p), 0);
        first = (uint64_t) ((uint8_t *) p - w->mem->host) / WATCH_PAGE;
        last = (uint64_t) ((uint8_t *) p + len - 1 - w->mem->host) / WATCH_PAGE;
        for (uint64_t page = first; page <= last; page++)
                w->told[page] = true;
}

static inline void watch_begin(struct watch *w, struct guest_mem *mem) {
        *w = (struct watch) { .watch = { .wrote = watch_wrote, .arg = w }, .mem = mem };
        w->before = malloc(mem->size);
        w->told = calloc(mem->size / WATCH_PAGE, sizeof(*w->told));
        CHECK(w->before && w->told);
        memcpy(w->before, mem->host, mem->size);
        guest_mem_set_watch(mem, &w->watch);
}

/* Once nobody writes any more. `changed`: how many pages have to be others at least. */
static inline void watch_end(struct watch *w, unsigned changed) {
        guest_mem_set_watch(w->mem, NULL);
        for (uint64_t at = 0; at < w->mem->size; at += WATCH_PAGE) {
                if (memcmp(w->before + at, w->mem->host + at, WATCH_PAGE) == 0)
                        continue;
                CHECK(w->told[at / WATCH_PAGE]);
                changed -= changed > 0;
        }
        CHECK_EQ(changed, 0);
        free(w->before);
        free(w->told);
}
