/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads a machine from files: the kernel through its format's loader, the initrd as high below the hole as the
 * kernel allows, and the command line and the entry point's tables into the first megabyte.
 *
 * bzImage, or ELF without a PVH note: Documentation/arch/x86/boot.rst, 64-bit boot
 * protocol. The boot parameters ("zero page") carry the setup header, the memory map
 * (E820) and the RSDP; an identity mapping of the first 4 GiB by 2 MiB pages is in place.
 *
 * ELF with a PVH note: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h,
 * version 1. No paging; the start info points to command line, module list (the
 * initrd) and memory map.
 *
 * All of it is written again at each reboot, since the guest may have overwritten it.
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <asm/bootparam.h>

#include "../../base/cleanup.h"
#include "../../core/vcpus.h"
#include "../../dev/power.h"
#include "../arch.h"
#include "acpi.h"
#include "layout.h"
#include "loader.h"

#define PAGE             4096ull
#define LARGE_PAGE       (2ull << 20)
#define PAGE_ENTRIES     512u
#define PAGE_PRESENT     1ull
#define PAGE_WRITABLE    2ull
#define PAGE_LARGE       0x80ull
#define PAGE_DIRECTORIES 4u /* 1 GiB each */

#define LOADER_UNDEFINED 0xffu
#define MAP_MAX          8u
#define MAP_RAM          1u
#define MAP_RESERVED     2u

#define PVH_MAGIC   0x336ec578u
#define PVH_VERSION 1u

struct pvh_start_info {
        uint32_t magic, version, flags, n_modules;
        uint64_t modules, cmdline, rsdp, memory_map;
        uint32_t n_memory_map, reserved;
};

struct pvh_module {
        uint64_t address, size, cmdline, reserved;
};

struct pvh_map_entry {
        uint64_t address, size;
        uint32_t type, reserved;
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h version 1");
_Static_assert(sizeof(struct pvh_map_entry) == 24, "start_info.h version 1");

struct map_entry {
        uint64_t address, size;
        uint32_t type;
};

struct initrd {
        uint64_t address, size; /* size 0: none */
};

int boot_read(int fd, uint64_t offset, void *data, uint64_t len) {
        uint8_t *p = data;

        if (offset > INT64_MAX - len)
                return -ENODATA;
        while (len > 0) {
                struct iovec iov = { p, len };
                ssize_t n = preadv(fd, &iov, 1, (int64_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                p += n;
                offset += (uint64_t) n;
                len -= (uint64_t) n;
        }
        return 0;
}

int boot_read_guest(const struct guest_mem *mem, int fd, uint64_t offset, uint64_t gpa, uint64_t len) {
        void *p;
        int r;

        r = guest_mem_span(mem, gpa, len, &p);
        if (r < 0)
                return r;
        r = boot_read(fd, offset, p, len);
        guest_mem_wrote(mem, p, len);
        return r;
}

static unsigned memory_map(const struct guest_mem *mem, struct map_entry map[MAP_MAX]) {
        unsigned n = 0;

        map[n++] = (struct map_entry) { 0, LAYOUT_LOW_END, MAP_RAM };
        map[n++] = (struct map_entry) { LAYOUT_ACPI, LAYOUT_HIGH_START - LAYOUT_ACPI, MAP_RESERVED };
        map[n++] = (struct map_entry) { LAYOUT_HIGH_START, mem->region[0].size - LAYOUT_HIGH_START, MAP_RAM };
        /* PCI Firmware 3.3 §4.1.2: the configuration window is reserved memory. */
        map[n++] = (struct map_entry) { LAYOUT_ECAM, LAYOUT_ECAM_SIZE, MAP_RESERVED };
        for (unsigned i = 1; i < mem->n_regions; i++)
                map[n++] = (struct map_entry) { mem->region[i].gpa, mem->region[i].size, MAP_RAM };
        return n;
}

static int initrd_size(int fd, uint64_t *ret) {
        struct statx st;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &st) < 0)
                return -errno;
        if (!S_ISREG(st.stx_mode) || st.stx_size == 0)
                return -EINVAL;
        *ret = st.stx_size;
        return 0;
}

/* As high as the kernel allows, so that it does not lie where the kernel unpacks itself. */
static int load_initrd(const struct boot_source *source, const struct boot_kernel *kernel, struct initrd *ret,
                       const char **ret_text) {
        uint64_t top = MIN(source->mem->region[0].size, kernel->initrd_max + 1);
        struct initrd initrd = { 0 };
        int r;

        if (source->initrd_fd < 0) {
                *ret = initrd;
                return 0;
        }
        r = initrd_size(source->initrd_fd, &initrd.size);
        if (r < 0) {
                *ret_text = "the initrd is empty or not a regular file";
                return r;
        }
        if (initrd.size > top || (top - initrd.size) / PAGE * PAGE < kernel->end) {
                *ret_text = top <= kernel->initrd_max
                                    ? "the initrd does not fit into the guest's memory beside the kernel: give it more"
                                    : "the initrd is larger than this kernel can take";
                return -ENOMEM;
        }
        initrd.address = (top - initrd.size) / PAGE * PAGE;
        r = boot_read_guest(source->mem, source->initrd_fd, 0, initrd.address, initrd.size);
        if (r < 0) {
                *ret_text = "cannot read the initrd";
                return r;
        }
        *ret = initrd;
        return 0;
}

static int load_cmdline(const struct boot_source *source, const struct boot_kernel *kernel, const char **ret_text) {
        size_t len = strlen(source->cmdline);

        if (len > kernel->cmdline_max) {
                *ret_text = "the command line is longer than this kernel takes";
                return -E2BIG;
        }
        return guest_mem_write(source->mem, LAYOUT_CMDLINE, source->cmdline, len + 1);
}

static int write_page_tables(const struct guest_mem *mem) {
        uint64_t(*table)[PAGE_ENTRIES];
        uint64_t flags = PAGE_PRESENT | PAGE_WRITABLE;
        void *p;
        int r;

        r = guest_mem_span(mem, LAYOUT_PAGE_TABLES, (2 + PAGE_DIRECTORIES) * PAGE, &p);
        if (r < 0)
                return r;
        table = p;
        memset(table, 0, (2 + PAGE_DIRECTORIES) * PAGE);
        table[0][0] = (LAYOUT_PAGE_TABLES + PAGE) | flags;
        for (unsigned d = 0; d < PAGE_DIRECTORIES; d++) {
                table[1][d] = (LAYOUT_PAGE_TABLES + (2 + d) * PAGE) | flags;
                for (unsigned i = 0; i < PAGE_ENTRIES; i++)
                        table[2 + d][i] = (d * PAGE_ENTRIES + i) * LARGE_PAGE | flags | PAGE_LARGE;
        }
        guest_mem_wrote(mem, table, (2 + PAGE_DIRECTORIES) * PAGE);
        return 0;
}

static int write_gdt(const struct guest_mem *mem, enum boot_mode mode) {
        uint64_t gdt[BOOT_GDT_ENTRIES];

        boot_gdt_fill(mode, gdt);
        return guest_mem_write(mem, LAYOUT_GDT, gdt, sizeof(gdt));
}

static int write_zero_page(const struct boot_source *source, const struct boot_kernel *kernel,
                           const struct initrd *initrd) {
        struct map_entry map[MAP_MAX];
        struct boot_params params = { .hdr = kernel->header, .acpi_rsdp_addr = source->rsdp };

        params.hdr.type_of_loader = LOADER_UNDEFINED;
        params.hdr.cmd_line_ptr = (uint32_t) LAYOUT_CMDLINE;
        params.hdr.ramdisk_image = (uint32_t) initrd->address;
        params.hdr.ramdisk_size = (uint32_t) initrd->size;
        params.e820_entries = (uint8_t) memory_map(source->mem, map);
        for (unsigned i = 0; i < params.e820_entries; i++)
                params.e820_table[i] = (struct boot_e820_entry) { map[i].address, map[i].size, map[i].type };
        return guest_mem_write(source->mem, LAYOUT_ZERO_PAGE, &params, sizeof(params));
}

static int enter_long_mode(const struct boot_source *source, const struct boot_kernel *kernel,
                           const struct initrd *initrd, struct boot_entry *ret) {
        int r;

        r = write_page_tables(source->mem);
        if (r < 0)
                return r;
        r = write_zero_page(source, kernel, initrd);
        if (r < 0)
                return r;
        *ret = (struct boot_entry) {
                .mode = BOOT_LONG_MODE,
                .rip = kernel->entry64,
                .argument = LAYOUT_ZERO_PAGE,
                .page_table = LAYOUT_PAGE_TABLES,
                .gdt = LAYOUT_GDT,
        };
        return write_gdt(source->mem, ret->mode);
}

static int enter_pvh(const struct boot_source *source, const struct boot_kernel *kernel, const struct initrd *initrd,
                     struct boot_entry *ret) {
        struct pvh_page {
                struct pvh_start_info info;
                struct pvh_module module;
                struct pvh_map_entry map[MAP_MAX];
        } page = {
                .info = { .magic = PVH_MAGIC, .version = PVH_VERSION, .cmdline = LAYOUT_CMDLINE, .rsdp = source->rsdp },
                .module = { .address = initrd->address, .size = initrd->size },
        };
        struct map_entry map[MAP_MAX];
        unsigned n = memory_map(source->mem, map);
        int r;

        for (unsigned i = 0; i < n; i++)
                page.map[i] = (struct pvh_map_entry) { map[i].address, map[i].size, map[i].type, 0 };
        page.info.n_memory_map = n;
        page.info.memory_map = LAYOUT_START_INFO + offsetof(struct pvh_page, map);
        if (initrd->size > 0) {
                page.info.n_modules = 1;
                page.info.modules = LAYOUT_START_INFO + offsetof(struct pvh_page, module);
        }
        r = guest_mem_write(source->mem, LAYOUT_START_INFO, &page, sizeof(page));
        if (r < 0)
                return r;
        *ret = (struct boot_entry) {
                .mode = BOOT_PVH,
                .rip = kernel->entry_pvh,
                .argument = LAYOUT_START_INFO,
                .gdt = LAYOUT_GDT,
        };
        return write_gdt(source->mem, ret->mode);
}

/*
 * The remnant of a BIOS. With CONFIG_EFI, Linux does not use the ACPI reset register of a hardware-reduced
 * machine: it assumes EFI, finds none, and jumps to F000:FFF0 in real mode. The code there writes the register.
 */
static int write_reset_vector(const struct guest_mem *mem) {
        const uint16_t port = LAYOUT_PORT_POWER + POWER_RESET;
        const uint8_t code[] = {
                0xb0,
                POWER_RESET_VALUE, /* mov al, value */
                0xba,
                (uint8_t) port,
                (uint8_t) (port >> 8), /* mov dx, port */
                0xee,                  /* out dx, al */
                0xf4,                  /* hlt */
                0xeb,
                0xfd, /* jmp to hlt */
        };

        return guest_mem_write(mem, LAYOUT_RESET_VECTOR, code, sizeof(code));
}

static int load_kernel(const struct boot_source *source, struct boot_kernel *ret, const char **ret_text) {
        int r;

        r = bzimage_load(source->mem, source->kernel_fd, ret, ret_text);
        if (r == -ENOEXEC)
                r = elf_load(source->mem, source->kernel_fd, ret, ret_text);
        if (r == -ENOEXEC)
                *ret_text = "the kernel is neither a bzImage nor an ELF file";
        return r;
}

int boot_load(const struct boot_source *source, struct boot_entry *ret, const char **ret_text) {
        struct boot_kernel kernel = { 0 };
        struct initrd initrd;
        int r;

        *ret_text = "cannot read the kernel";
        r = load_kernel(source, &kernel, ret_text);
        if (r < 0)
                return r;
        r = load_initrd(source, &kernel, &initrd, ret_text);
        if (r < 0)
                return r;
        r = load_cmdline(source, &kernel, ret_text);
        if (r < 0)
                return r;
        *ret_text = "cannot write the boot parameters";
        r = write_reset_vector(source->mem);
        if (r < 0)
                return r;
        if (kernel.entry_pvh != 0)
                return enter_pvh(source, &kernel, &initrd, ret);
        return enter_long_mode(source, &kernel, &initrd, ret);
}

int arch_boot(const struct arch_image *image, struct vcpus *vcpus, const char **ret_text) {
        struct boot_source source = {
                .mem = image->mem,
                .kernel_fd = image->kernel_fd,
                .initrd_fd = image->initrd_fd,
                .cmdline = image->cmdline,
                .rsdp = LAYOUT_ACPI,
        };
        struct boot_entry entry;
        size_t used;
        void *p;
        int r;

        *ret_text = "the ACPI tables do not fit";
        r = guest_mem_span(image->mem, LAYOUT_ACPI, LAYOUT_ACPI_SIZE, &p);
        if (r < 0)
                return r;
        r = acpi_build(image->version, image->topology, LAYOUT_ACPI, p, LAYOUT_ACPI_SIZE, &used);
        if (r < 0)
                return r;
        guest_mem_wrote(image->mem, p, used);
        r = boot_load(&source, &entry, ret_text);
        if (r < 0)
                return r;
        *ret_text = "KVM does not take the boot processor's registers";
        return vcpus_set_entry(vcpus, &entry);
}
