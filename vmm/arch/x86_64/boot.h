/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loading a kernel: bzImage or ELF, with initrd and command line, into guest memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../../core/memory.h"
#include "vcpu_state.h"

struct boot_source {
        const struct guest_mem *mem;
        int kernel_fd, initrd_fd; /* initrd -EBADF: none. Read from offset 0 with preadv; not consumed. */
        const char *cmdline;
        uint64_t rsdp; /* guest address of the ACPI tables' root */
};

/*
 * Puts everything in place; can be called again for a reboot. On error *ret_text is a
 * static sentence for the operator.
 */
int boot_load(const struct boot_source *source, struct boot_entry *ret, const char **ret_text);
