/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine's map: guest physical addresses, I/O ports and IOAPIC pins. What the ACPI
 * tables say and what the devices answer to comes from here.
 */
#pragma once

#include <stdint.h>

/* RAM below 1 MiB, used until the kernel has its own tables. */
#define LAYOUT_GDT          0x500ull
#define LAYOUT_START_INFO   0x6000ull /* PVH: up to 4 KiB with module list and memory map */
#define LAYOUT_ZERO_PAGE    0x7000ull
#define LAYOUT_PAGE_TABLES  0x9000ull /* 6 pages */
#define LAYOUT_CMDLINE      0x20000ull
#define LAYOUT_LOW_END      0xa0000ull /* end of the first RAM range in the kernel's memory map */
#define LAYOUT_ACPI         0xe0000ull /* where kernels search for the RSDP */
#define LAYOUT_ACPI_SIZE    0x10000ull
#define LAYOUT_RESET_VECTOR 0xffff0ull /* F000:FFF0, 16 bytes up to 1 MiB */
#define LAYOUT_HIGH_START   0x100000ull

/* RAM is below the hole and, when there is more, above it. */
#define LAYOUT_HOLE_START 0xc0000000ull /* 3 GiB */
#define LAYOUT_HOLE_END   0x100000000ull

/* In the hole. */
#define LAYOUT_PCI_WINDOW      LAYOUT_HOLE_START
#define LAYOUT_PCI_WINDOW_SIZE 0x20000000ull
#define LAYOUT_ECAM            0xe8000000ull
#define LAYOUT_ECAM_SIZE       0x100000ull /* bus 0 only: 32 slots of 8 functions of 4 KiB */
#define LAYOUT_IOAPIC          0xfec00000ull
#define LAYOUT_LAPIC           0xfee00000ull
#define LAYOUT_KVM_IDENTITY    0xfffbc000ull /* one page, Intel hosts without unrestricted guest */
#define LAYOUT_KVM_TSS         0xfffbd000ull /* three pages */

/* I/O ports. */
#define LAYOUT_PORT_KBD_RESET 0x64u  /* keyboard controller's command port */
#define LAYOUT_PORT_RTC       0x70u  /* 2 */
#define LAYOUT_PORT_SERIAL    0x3f8u /* 8 */
#define LAYOUT_PORT_POWER     0x600u /* 4: see dev/power.c */
#define LAYOUT_PORT_HOTPLUG   0x610u /* 12: see dev/hotplug.c */
#define LAYOUT_PORT_PCI       0xcf8u /* 8 */

/* IOAPIC pins. */
#define LAYOUT_IRQ_SERIAL 4u
#define LAYOUT_IRQ_GED    9u
