/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two loaders share with boot.c.
 */
#pragma once

#include <stdint.h>

#include <asm/bootparam.h>

#include "../../core/memory.h"

/* A kernel in guest memory. */
struct boot_kernel {
        uint64_t start, end;        /* memory that the kernel takes until it has read the memory map */
        uint64_t entry64;           /* entry of the 64-bit boot protocol */
        uint64_t entry_pvh;         /* 0: none */
        uint64_t initrd_max;        /* last address the initrd may have */
        uint64_t cmdline_max;       /* bytes without NUL */
        struct setup_header header; /* for the boot parameters */
};

/* -ENOEXEC: not this format. Other errors set *ret_text, a static sentence. */
int bzimage_load(const struct guest_mem *mem, int fd, struct boot_kernel *ret, const char **ret_text);
int elf_load(const struct guest_mem *mem, int fd, struct boot_kernel *ret, const char **ret_text);

/* Reads exactly len bytes at offset; -ENODATA when the file is shorter. */
int boot_read(int fd, uint64_t offset, void *data, uint64_t len);
/* The same into guest memory, -EFAULT when that is not all RAM. */
int boot_read_guest(const struct guest_mem *mem, int fd, uint64_t offset, uint64_t gpa, uint64_t len);
