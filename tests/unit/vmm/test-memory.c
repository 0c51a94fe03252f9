/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../test.h"
#include "arch/x86_64/layout.h"
#include "core/memory.h"

#define MIB (1ull << 20)

static struct guest_mem *make(uint64_t size, unsigned flags) {
        struct guest_mem *mem;

        CHECK_EQ(guest_mem_new(size, flags, 0, &mem), 0);
        return mem;
}

static int span(const struct guest_mem *mem, uint64_t gpa, uint64_t len) {
        void *p;

        return guest_mem_span(mem, gpa, len, &p);
}

static void test_bad_sizes(void) {
        struct guest_mem *mem;

        CHECK_EQ(guest_mem_new(0, 0, 0, &mem), -EINVAL);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN - 2 * MIB, 0, 0, &mem), -EINVAL);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN + 1, 0, 0, &mem), -EINVAL);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN + 4096, 0, 0, &mem), -EINVAL);
        CHECK_EQ(guest_mem_new(UINT64_MAX & ~(2 * MIB - 1), 0, 0, &mem), -EINVAL);
        CHECK_EQ(guest_mem_new(1ull << 60, 0, 0, &mem), -ENOMEM);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN, GUEST_MEM_HUGETLB, 3 * MIB, &mem), -EINVAL);
        CHECK(!guest_mem_free(NULL));
}

static void test_edges_of_one_region(void) {
        struct guest_mem *mem = make(64 * MIB, 0);
        void *p;

        CHECK_EQ(guest_mem_span(mem, 0, 1, &p), 0);
        CHECK(p == mem->host);
        CHECK_EQ(span(mem, 0, 64 * MIB), 0);
        CHECK_EQ(span(mem, 64 * MIB - 1, 1), 0);
        CHECK_EQ(span(mem, 0, 0), -EINVAL);
        CHECK_EQ(span(mem, 64 * MIB - 1, 2), -EFAULT);
        CHECK_EQ(span(mem, 64 * MIB, 1), -EFAULT);
        CHECK_EQ(span(mem, 0, 64 * MIB + 1), -EFAULT);
        CHECK_EQ(span(mem, 1, UINT64_MAX), -EFAULT);
        CHECK_EQ(span(mem, UINT64_MAX, 1), -EFAULT);
        CHECK_EQ(span(mem, UINT64_MAX, UINT64_MAX), -EFAULT);
        CHECK_EQ(span(mem, LAYOUT_HOLE_END, 1), -EFAULT);
        guest_mem_free(mem);
}

static void test_hole(void) {
        struct guest_mem *mem = make(4096 * MIB, 0);
        void *low, *high;

        CHECK_EQ(span(mem, LAYOUT_HOLE_START - 1, 1), 0);
        CHECK_EQ(span(mem, LAYOUT_HOLE_START - 1, 2), -EFAULT);
        CHECK_EQ(span(mem, LAYOUT_HOLE_START, 1), -EFAULT);
        CHECK_EQ(span(mem, LAYOUT_HOLE_END - 1, 1), -EFAULT);
        CHECK_EQ(span(mem, LAYOUT_HOLE_END - 1, 2), -EFAULT);
        CHECK_EQ(span(mem, LAYOUT_HOLE_END, 1024 * MIB), 0);
        CHECK_EQ(span(mem, LAYOUT_HOLE_END, 1024 * MIB + 1), -EFAULT);
        /* Both regions are one mapping, the second behind the first. */
        CHECK_EQ(guest_mem_span(mem, LAYOUT_HOLE_START - 1, 1, &low), 0);
        CHECK_EQ(guest_mem_span(mem, LAYOUT_HOLE_END, 1, &high), 0);
        CHECK((uint8_t *) high - (uint8_t *) low == 1);
        guest_mem_free(mem);
}

/* Whether an address is in memory that others can map as well, as the kernel has it. */
static bool is_shared(const void *p) {
        FILE *maps = fopen("/proc/self/maps", "re");
        unsigned long start, end;
        char mode[8] = "", line[512];
        bool found = false;

        CHECK(maps);
        while (!found && fgets(line, sizeof(line), maps))
                found = sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && (uintptr_t) p >= start &&
                        (uintptr_t) p < end;
        (void) fclose(maps);
        CHECK(found);
        return mode[3] == 's';
}

/* The table says where each region is in the file that shared memory has, and nobody can make that shorter. */
static void test_regions(void) {
        static const unsigned flags[] = { 0, GUEST_MEM_SHARED };

        for (unsigned i = 0; i < 2; i++) {
                struct guest_mem *mem = make(4096 * MIB, flags[i]);
                const struct guest_mem_region *low = &mem->region[0], *high = &mem->region[1];
                uint8_t value = 7, back = 0;

                CHECK_EQ(mem->n_regions, 2);
                CHECK_EQ(low->gpa + low->size, LAYOUT_HOLE_START);
                CHECK_EQ(high->gpa, LAYOUT_HOLE_END);
                CHECK_EQ(low->size + high->size, mem->size);
                CHECK_EQ(low->offset, 0);
                CHECK_EQ(high->offset, low->size);
                CHECK_EQ(low->fd, mem->fd);
                CHECK_EQ(high->fd, mem->fd);
                CHECK_EQ(mem->fd >= 0, flags[i] != 0);
                if (mem->fd >= 0) {
                        CHECK_EQ(guest_mem_write(mem, high->gpa + 5, &value, 1), 0);
                        CHECK_EQ(pread(high->fd, &back, 1, (off_t) high->offset + 5), 1);
                        CHECK_EQ(back, value);
                        CHECK_EQ(ftruncate(mem->fd, 0), -1);
                        CHECK_EQ(errno, EPERM);
                }
                guest_mem_free(mem);
        }
}

static void test_copies(void) {
        static const unsigned flags[] = { 0, GUEST_MEM_SHARED };

        for (unsigned i = 0; i < 2; i++) {
                struct guest_mem *mem = make(64 * MIB, flags[i]);
                uint32_t value = 0x12345678;
                void *back;

                CHECK_EQ(guest_mem_write(mem, 64 * MIB - 4, &value, 4), 0);
                CHECK_EQ(guest_mem_span(mem, 64 * MIB - 4, 4, &back), 0);
                CHECK(memcmp(back, &value, 4) == 0);
                CHECK_EQ(guest_mem_write(mem, 64 * MIB - 3, &value, 4), -EFAULT);
                CHECK_EQ(is_shared(mem->host), flags[i] != 0);
                guest_mem_free(mem);
        }
}

int main(void) {
        RUN(test_bad_sizes);
        RUN(test_edges_of_one_region);
        RUN(test_hole);
        RUN(test_regions);
        RUN(test_copies);
        return 0;
}
