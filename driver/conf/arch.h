/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon says of the architecture of its host and guests. Nothing else in driver/ knows which one it is, but
 * the names of its processor's features (cpu_features.c).
 */
#pragma once

#define ARCH_NAME     "x86_64" /* as libvirt and uname(2) write it */
#define ARCH_WORDSIZE "64"

/* All others that libvirt's schema has. */
#define ARCH_OTHERS                                                                                                    \
        "i686 aarch64 alpha armv6l armv7l cris ia64 lm32 m68k microblaze microblazeel mips mips64 mips64el "           \
        "mipsel openrisc parisc parisc64 ppc ppc64 ppc64le ppcemb riscv32 riscv64 s390 s390x sh4 sh4eb sparc "         \
        "sparc64 unicore32 xtensa xtensaeb"

#define ARCH_HUGEPAGE_BYTES (2ull << 20) /* of <hugepages/> without a size */
