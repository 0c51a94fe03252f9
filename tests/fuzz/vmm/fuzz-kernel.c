/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernel files: any bytes either load into guest memory or are refused. */
#include <sys/mman.h>
#include <unistd.h>

#include "arch/x86_64/boot.h"
#include "arch/x86_64/layout.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct guest_mem *mem;
        AUTOCLOSE int fd = memfd_create("kernel", MFD_CLOEXEC);
        struct boot_source source = {
                .kernel_fd = fd, .initrd_fd = fd, .cmdline = "console=ttyS0", .rsdp = LAYOUT_ACPI
        };
        struct boot_entry entry;
        const char *text = NULL;
        int r;

        if (!mem && guest_mem_new(GUEST_MEM_MIN, 0, 0, &mem) < 0)
                abort();
        if (fd < 0 || write(fd, data, size) != (ssize_t) size)
                abort();
        source.mem = mem;
        r = boot_load(&source, &entry, &text);
        if (r < 0 && !text)
                abort();
        if (r == 0 && entry.rip >= mem->size)
                abort();
        return 0;
}
