/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bzImage, the kernel format of x86 distributions. Documentation/arch/x86/boot.rst of
 * the Linux kernel describes it: a real-mode part of setup_sects + 1 sectors, with a
 * header at 0x1f1, then the protected-mode part that decompresses itself. The
 * real-mode part is not used: the processor starts in long mode at offset 0x200 of the
 * second part, the "64-bit boot protocol" (header 2.12, XLF_KERNEL_64).
 *
 * The second part goes to pref_address, which is where it would move itself anyway, and from there the kernel
 * uses init_size bytes. The operator can supply any file, so all sizes are checked; the guest has not run yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "../../base/cleanup.h"
#include "layout.h"
#include "loader.h"

#define HEADER_OFFSET       0x1f1u
#define HEADER_MAGIC        0x53726448u /* "HdrS" */
#define BOOT_FLAG           0xaa55u
#define SECTOR              512u
#define DEFAULT_SETUP_SECTS 4u
#define VERSION_64BIT       0x20cu
#define ENTRY64_OFFSET      0x200u

static int check_header(const struct setup_header *h, const char **ret_text) {
        if (h->version < VERSION_64BIT || !(h->xloadflags & XLF_KERNEL_64)) {
                *ret_text = "the kernel has no 64-bit entry point: a 64-bit Linux 3.8 or later is needed";
                return -EOPNOTSUPP;
        }
        if (!(h->loadflags & LOADED_HIGH)) {
                *ret_text = "the kernel is a zImage that loads low: build a bzImage";
                return -EOPNOTSUPP;
        }
        return 0;
}

static int read_header(int fd, struct setup_header *ret) {
        int r;

        r = boot_read(fd, HEADER_OFFSET, ret, sizeof(*ret));
        if (r < 0)
                return r == -ENODATA ? -ENOEXEC : r;
        if (ret->boot_flag != BOOT_FLAG || ret->header != HEADER_MAGIC)
                return -ENOEXEC;
        return 0;
}

/* Length of the protected-mode part: what the file has after the real-mode part. */
static int payload_range(int fd, const struct setup_header *h, uint64_t *ret_offset, uint64_t *ret_len) {
        unsigned sects = h->setup_sects ?: DEFAULT_SETUP_SECTS;
        uint64_t offset = (sects + 1) * SECTOR;
        struct statx st;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) < 0)
                return -errno;
        if (st.stx_size <= offset + ENTRY64_OFFSET)
                return -ENODATA;
        *ret_offset = offset;
        *ret_len = st.stx_size - offset;
        return 0;
}

int bzimage_load(const struct guest_mem *mem, int fd, struct boot_kernel *ret, const char **ret_text) {
        struct setup_header h;
        uint64_t offset = 0, len = 0, size;
        void *p;
        int r;

        r = read_header(fd, &h);
        if (r < 0)
                return r;
        r = check_header(&h, ret_text);
        if (r < 0)
                return r;
        r = payload_range(fd, &h, &offset, &len);
        if (r < 0) {
                *ret_text = "the kernel file ends before its code starts: it is truncated";
                return r;
        }
        size = MAX((uint64_t) h.init_size, len);
        if (h.pref_address < LAYOUT_HIGH_START || guest_mem_span(mem, h.pref_address, size, &p) < 0) {
                *ret_text = "the kernel does not fit into the guest's memory: give it more";
                return -ENOMEM;
        }
        r = boot_read_guest(mem, fd, offset, h.pref_address, len);
        if (r < 0) {
                *ret_text = "cannot read the kernel file";
                return r;
        }
        *ret = (struct boot_kernel) {
                .start = h.pref_address,
                .end = h.pref_address + size,
                .entry64 = h.pref_address + ENTRY64_OFFSET,
                .initrd_max = h.initrd_addr_max,
                .cmdline_max = h.cmdline_size,
                .header = h,
        };
        return 0;
}
