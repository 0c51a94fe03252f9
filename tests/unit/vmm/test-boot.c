/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernels made by hand, and what is wrong with them.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../test.h"
#include "arch/x86_64/boot.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/loader.h"
#include "base/cleanup.h"
#include "watch.h"

#define MIB (1ull << 20)

static int file_of(const void *data, size_t len) {
        int fd = memfd_create("test", MFD_CLOEXEC);

        CHECK(fd >= 0);
        CHECK_EQ(write(fd, data, len), len);
        return fd;
}

struct bzimage {
        uint8_t boot[0x1f1];
        struct setup_header header;
        uint8_t rest[5 * 512 - 0x1f1 - sizeof(struct setup_header)];
        uint8_t code[8192];
};

static struct bzimage *new_bzimage(void) {
        struct bzimage *b = calloc(1, sizeof(*b));

        CHECK(b);
        b->header = (struct setup_header) {
                .setup_sects = 4,
                .boot_flag = 0xaa55,
                .header = 0x53726448,
                .version = 0x20f,
                .loadflags = LOADED_HIGH,
                .xloadflags = XLF_KERNEL_64,
                .pref_address = 16 * MIB,
                .init_size = 8 * MIB,
                .initrd_addr_max = 0x7fffffff,
                .cmdline_size = 100,
        };
        memset(b->code, 0xcc, sizeof(b->code));
        return b;
}

static int boot_text(const void *kernel, size_t len, const void *initrd, size_t initrd_len, const char *cmdline,
                     struct guest_mem *mem, struct boot_entry *entry, const char **ret_text) {
        AUTOCLOSE int kernel_fd = file_of(kernel, len);
        AUTOCLOSE int initrd_fd = initrd ? file_of(initrd, initrd_len) : -EBADF;
        struct boot_source source = {
                .mem = mem, .kernel_fd = kernel_fd, .initrd_fd = initrd_fd, .cmdline = cmdline, .rsdp = LAYOUT_ACPI
        };
        int r = boot_load(&source, entry, ret_text);

        CHECK(*ret_text);
        return r;
}

static int boot(const void *kernel, size_t len, const void *initrd, size_t initrd_len, const char *cmdline,
                struct guest_mem *mem, struct boot_entry *entry) {
        const char *text = NULL;

        return boot_text(kernel, len, initrd, initrd_len, cmdline, mem, entry, &text);
}

static void *at(struct guest_mem *mem, uint64_t gpa, uint64_t len) {
        void *p;

        CHECK_EQ(guest_mem_span(mem, gpa, len, &p), 0);
        return p;
}

static void test_bzimage(void) {
        struct guest_mem *mem;
        AUTOFREE struct bzimage *b = new_bzimage();
        struct boot_params *params;
        struct boot_entry entry;

        CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
        CHECK_EQ(boot(b, sizeof(*b), "initrd", 6, "console=ttyS0", mem, &entry), 0);
        CHECK_EQ(entry.mode, BOOT_LONG_MODE);
        CHECK_EQ(entry.rip, 16 * MIB + 0x200);
        CHECK_EQ(*(uint8_t *) at(mem, entry.rip, 1), 0xcc);
        params = at(mem, entry.argument, sizeof(*params));
        CHECK_STR(at(mem, params->hdr.cmd_line_ptr, 14), "console=ttyS0");
        CHECK_EQ(params->hdr.ramdisk_size, 6);
        CHECK_EQ(params->hdr.ramdisk_image, 64 * MIB - 4096);
        CHECK_EQ(memcmp(at(mem, params->hdr.ramdisk_image, 6), "initrd", 6), 0);
        CHECK_EQ(params->acpi_rsdp_addr, LAYOUT_ACPI);
        CHECK_EQ(params->e820_entries, 4);
        CHECK_EQ(params->e820_table[2].addr + params->e820_table[2].size, 64 * MIB);
        /* The mapping is one to one. */
        CHECK_EQ(*(uint64_t *) at(mem, entry.page_table, 8) & ~0xfffull, entry.page_table + 4096);
        CHECK_EQ(*(uint64_t *) at(mem, entry.page_table + 5 * 4096 + 4088, 8) & ~0xfffull, 4096 * MIB - 2 * MIB);
        guest_mem_free(mem);
}

static void test_memory_above_the_hole(void) {
        struct guest_mem *mem;
        AUTOFREE struct bzimage *b = new_bzimage();
        struct boot_params *params;
        struct boot_entry entry;

        CHECK_EQ(guest_mem_new(4096 * MIB, 0, 0, &mem), 0);
        CHECK_EQ(boot(b, sizeof(*b), "initrd", 6, "", mem, &entry), 0);
        params = at(mem, entry.argument, sizeof(*params));
        CHECK_EQ(params->hdr.ramdisk_image, 0x80000000 - 4096); /* as the kernel wants it */
        CHECK_EQ(params->e820_entries, 5);
        CHECK_EQ(params->e820_table[4].addr, LAYOUT_HOLE_END);
        CHECK_EQ(params->e820_table[4].size, 1024 * MIB);
        guest_mem_free(mem);
}

/* Which one does not fit is told, and why. */
static void test_what_does_not_fit(void) {
        struct guest_mem *mem;
        AUTOFREE struct bzimage *b = new_bzimage();
        AUTOFREE char *initrd = calloc(1, 41 * MIB);
        struct boot_entry entry;
        const char *text = NULL;

        CHECK(initrd);
        CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
        CHECK_EQ(boot_text(b, sizeof(*b), initrd, 40 * MIB, "", mem, &entry, &text), 0); /* 24 MiB are the kernel's */
        CHECK_EQ(boot_text(b, sizeof(*b), initrd, 40 * MIB + 1, "", mem, &entry, &text), -ENOMEM);
        CHECK_STR(text, "the initrd does not fit into the guest's memory beside the kernel: give it more");
        b->header.init_size = 48 * MIB;
        CHECK_EQ(boot_text(b, sizeof(*b), "initrd", 6, "", mem, &entry, &text), -ENOMEM);
        CHECK_STR(text, "the initrd does not fit into the guest's memory beside the kernel: give it more");
        b->header.init_size = 48 * MIB + 1;
        CHECK_EQ(boot_text(b, sizeof(*b), "initrd", 6, "", mem, &entry, &text), -ENOMEM);
        CHECK_STR(text, "the kernel does not fit into the guest's memory: give it more");
        b->header.init_size = 8 * MIB;
        b->header.initrd_addr_max = 32 * MIB - 1;
        CHECK_EQ(boot_text(b, sizeof(*b), initrd, 9 * MIB, "", mem, &entry, &text), -ENOMEM);
        CHECK_STR(text, "the initrd is larger than this kernel can take");
        guest_mem_free(mem);
}

static void test_bad_bzimages(void) {
        struct guest_mem *mem;
        AUTOFREE struct bzimage *b = new_bzimage();
        struct boot_entry entry;
        char cmdline[102];

        CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
        CHECK_EQ(boot(b, 0x1f1 + 10, NULL, 0, "", mem, &entry), -ENOEXEC);
        CHECK_EQ(boot("", 0, NULL, 0, "", mem, &entry), -ENOEXEC);
        CHECK_EQ(boot(b, 5 * 512 + 0x200, NULL, 0, "", mem, &entry), -ENODATA);
        memset(cmdline, 'x', sizeof(cmdline));
        cmdline[100] = 0;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, cmdline, mem, &entry), 0);
        cmdline[100] = 'x';
        cmdline[101] = 0;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, cmdline, mem, &entry), -E2BIG);
        CHECK_EQ(boot(b, sizeof(*b), "", 0, "", mem, &entry), -EINVAL);

        b->header.setup_sects = 255;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, "", mem, &entry), -ENODATA);
        b->header.setup_sects = 4;
        b->header.xloadflags = 0;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, "", mem, &entry), -EOPNOTSUPP);
        b->header.xloadflags = XLF_KERNEL_64;
        b->header.loadflags = 0;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, "", mem, &entry), -EOPNOTSUPP);
        b->header.loadflags = LOADED_HIGH;
        static const uint64_t places[] = { 0,        LAYOUT_HIGH_START - 1, 57 * MIB,
                                           64 * MIB, UINT64_MAX - 4095,     LAYOUT_HOLE_START };
        for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
                b->header.pref_address = places[i];
                CHECK_EQ(boot(b, sizeof(*b), NULL, 0, "", mem, &entry), -ENOMEM);
        }
        b->header.pref_address = 16 * MIB;
        b->header.init_size = 48 * MIB;
        CHECK_EQ(boot(b, sizeof(*b), NULL, 0, "", mem, &entry), 0);
        CHECK_EQ(boot(b, sizeof(*b), "x", 1, "", mem, &entry), -ENOMEM);
        b->header.initrd_addr_max = 0;
        CHECK_EQ(boot(b, sizeof(*b), "x", 1, "", mem, &entry), -ENOMEM);
        guest_mem_free(mem);
}

struct elf {
        Elf64_Ehdr eh;
        Elf64_Phdr load, note;
        Elf64_Nhdr nh;
        char name[4];
        uint32_t pvh;
        uint8_t code[64];
};

static struct elf make_elf(void) {
        return (struct elf) {
                .eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB },
                        .e_machine = EM_X86_64,
                        .e_entry = 16 * MIB + 8,
                        .e_phoff = offsetof(struct elf, load),
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = 2 },
                .load = { .p_type = PT_LOAD,
                          .p_offset = offsetof(struct elf, code),
                          .p_paddr = 16 * MIB,
                          .p_filesz = 64,
                          .p_memsz = 4096 },
                .note = { .p_type = PT_NOTE, .p_offset = offsetof(struct elf, nh), .p_filesz = 20 },
                .nh = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
                .name = "Xen",
                .pvh = 16 * MIB + 4,
        };
}

static int boot_elf(const struct elf *elf, struct guest_mem *mem, struct boot_entry *entry) {
        return boot(elf, sizeof(*elf), "initrd", 6, "", mem, entry);
}

static void test_elf(void) {
        struct elf elf = make_elf();
        struct boot_entry entry;
        struct guest_mem *mem;

        CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
        memset(at(mem, 16 * MIB, 4096), 0x55, 4096);
        CHECK_EQ(boot_elf(&elf, mem, &entry), 0);
        CHECK_EQ(entry.mode, BOOT_PVH);
        CHECK_EQ(entry.rip, elf.pvh);
        CHECK_EQ(*(uint32_t *) at(mem, entry.argument, 4), 0x336ec578);
        CHECK_EQ(*(uint8_t *) at(mem, 16 * MIB + 4095, 1), 0); /* what is not in the file is zero */
        elf.nh.n_type = 17;
        CHECK_EQ(boot_elf(&elf, mem, &entry), 0);
        CHECK_EQ(entry.mode, BOOT_LONG_MODE);
        CHECK_EQ(entry.rip, elf.eh.e_entry);
        guest_mem_free(mem);
}

static void test_writes_are_told(void) {
        AUTOFREE struct bzimage *b = new_bzimage();
        struct elf elf = make_elf();
        struct boot_entry entry;

        for (unsigned i = 0; i < 2; i++) {
                struct guest_mem *mem;
                struct watch w;

                CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
                watch_begin(&w, mem);
                CHECK_EQ(i ? boot_elf(&elf, mem, &entry) : boot(b, sizeof(*b), "initrd", 6, "x", mem, &entry), 0);
                watch_end(&w, 4);
                guest_mem_free(mem);
        }
}

static void test_bad_elfs(void) {
        static const struct {
                uint64_t paddr, filesz, memsz, offset;
                int error;
        } segments[] = {
                { 0, 64, 4096, 0, -EFAULT },
                { LAYOUT_HIGH_START - 4096, 64, 8192, 0, -EFAULT },
                { 64 * MIB, 64, 64, 0, -EFAULT },
                { 16 * MIB, 64, 49 * MIB, 0, -EFAULT },
                { 16 * MIB, 64, UINT64_MAX, 0, -EFAULT },
                { 16 * MIB, 65, 64, 0, -EFAULT },
                { 16 * MIB, 64, 64, UINT64_MAX, -ENODATA },
                { 16 * MIB, 4096, 4096, 0, -ENODATA },
                { 16 * MIB, 64, 64, 4096, -ENODATA },
                { UINT64_MAX, 64, 64, 0, -EFAULT },
        };
        struct boot_entry entry;
        struct guest_mem *mem;
        struct elf elf;

        CHECK_EQ(guest_mem_new(64 * MIB, 0, 0, &mem), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
                elf = make_elf();
                elf.load.p_paddr = segments[i].paddr;
                elf.load.p_filesz = segments[i].filesz;
                elf.load.p_memsz = segments[i].memsz;
                elf.load.p_offset = segments[i].offset;
                CHECK_EQ(boot_elf(&elf, mem, &entry), segments[i].error);
        }
        elf = make_elf();
        elf.eh.e_phnum = 0;
        CHECK_EQ(boot_elf(&elf, mem, &entry), -EINVAL);
        elf.eh.e_phnum = 65;
        CHECK_EQ(boot_elf(&elf, mem, &entry), -EINVAL);
        elf = make_elf();
        elf.eh.e_phoff = UINT64_MAX;
        CHECK_EQ(boot_elf(&elf, mem, &entry), -ENODATA);
        elf = make_elf();
        elf.eh.e_machine = EM_AARCH64;
        CHECK_EQ(boot_elf(&elf, mem, &entry), -EOPNOTSUPP);
        elf = make_elf();
        elf.pvh = 1;
        CHECK_EQ(boot_elf(&elf, mem, &entry), -EINVAL);
        /* Notes that claim more than there is are no notes. */
        elf = make_elf();
        elf.nh.n_namesz = UINT32_MAX;
        CHECK_EQ(boot_elf(&elf, mem, &entry), 0);
        CHECK_EQ(entry.mode, BOOT_LONG_MODE);
        elf = make_elf();
        elf.nh.n_descsz = UINT32_MAX;
        CHECK_EQ(boot_elf(&elf, mem, &entry), 0);
        CHECK_EQ(entry.mode, BOOT_LONG_MODE);
        guest_mem_free(mem);
}

int main(void) {
        RUN(test_bzimage);
        RUN(test_memory_above_the_hole);
        RUN(test_what_does_not_fit);
        RUN(test_bad_bzimages);
        RUN(test_elf);
        RUN(test_writes_are_told);
        RUN(test_bad_elfs);
        return 0;
}
