/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ELF kernels (vmlinux). Loadable segments go to their physical addresses, which must lie in RAM at or above 1
 * MiB; memory of a segment beyond its file data is zeroed, since a reboot loads over used memory.
 *
 * Entry point: a note of owner "Xen" and type 18 (PHYS32_ENTRY) holds the address of the PVH entry. Without it
 * the ELF entry is taken to be Linux's startup_64, which wants the same registers as the 64-bit boot protocol
 * of a bzImage. The file has no setup header, so the boot parameters get one that fits every 64-bit kernel.
 *
 * The file is the operator's, but may be anything: counts, sizes and offsets are bounded
 * before they are used.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/cleanup.h"
#include "layout.h"
#include "loader.h"

#define PHDRS_MAX         64u
#define NOTES_MAX         65536u /* bytes of one note segment; a kernel's are below 1 KiB */
#define NOTE_PHYS32_ENTRY 18u
#define NOTE_ALIGN        4u
#define HEADER_MAGIC      0x53726448u /* "HdrS" */
#define BOOT_FLAG         0xaa55u
#define PROTOCOL_VERSION  0x20fu
#define INITRD_MAX        0x7fffffffu
#define CMDLINE_MAX       2047u /* COMMAND_LINE_SIZE of Linux on x86, less the NUL */

static int read_ehdr(int fd, Elf64_Ehdr *ret, const char **ret_text) {
        int r;

        r = boot_read(fd, 0, ret, sizeof(*ret));
        if (r < 0)
                return r == -ENODATA ? -ENOEXEC : r;
        if (memcmp(ret->e_ident, ELFMAG, SELFMAG) != 0)
                return -ENOEXEC;
        if (ret->e_ident[EI_CLASS] != ELFCLASS64 || ret->e_ident[EI_DATA] != ELFDATA2LSB ||
            ret->e_machine != EM_X86_64) {
                *ret_text = "the kernel is an ELF file, but not for 64-bit x86";
                return -EOPNOTSUPP;
        }
        if (ret->e_phentsize != sizeof(Elf64_Phdr) || ret->e_phnum == 0 || ret->e_phnum > PHDRS_MAX) {
                *ret_text = "the kernel is an ELF file without usable program headers";
                return -EINVAL;
        }
        return 0;
}

static int load_segment(const struct guest_mem *mem, int fd, const Elf64_Phdr *ph, struct boot_kernel *kernel) {
        void *p;
        int r;

        if (ph->p_memsz == 0)
                return 0;
        if (ph->p_filesz > ph->p_memsz || ph->p_paddr < LAYOUT_HIGH_START)
                return -EFAULT;
        r = guest_mem_span(mem, ph->p_paddr, ph->p_memsz, &p);
        if (r < 0)
                return r;
        if (ph->p_filesz > 0) {
                r = boot_read(fd, ph->p_offset, p, ph->p_filesz);
                if (r < 0)
                        return r;
        }
        memset((uint8_t *) p + ph->p_filesz, 0, ph->p_memsz - ph->p_filesz);
        guest_mem_wrote(mem, p, ph->p_memsz);
        kernel->start = MIN(kernel->start, ph->p_paddr);
        kernel->end = MAX(kernel->end, ph->p_paddr + ph->p_memsz);
        return 0;
}

static uint64_t note_round(uint64_t len) {
        return (len + NOTE_ALIGN - 1) & ~(uint64_t) (NOTE_ALIGN - 1);
}

/* The PVH entry among the notes, or 0. */
static uint64_t find_pvh(const uint8_t *notes, uint64_t size) {
        uint64_t at = 0;

        while (size - at >= sizeof(Elf64_Nhdr)) {
                Elf64_Nhdr nh;
                uint64_t name, desc, next;
                uint32_t entry;

                memcpy(&nh, notes + at, sizeof(nh));
                name = at + sizeof(nh);
                desc = name + note_round(nh.n_namesz);
                next = desc + note_round(nh.n_descsz);
                if (next > size)
                        return 0;
                if (nh.n_type == NOTE_PHYS32_ENTRY && nh.n_namesz == sizeof("Xen") &&
                    memcmp(notes + name, "Xen", sizeof("Xen")) == 0 && nh.n_descsz >= sizeof(entry)) {
                        memcpy(&entry, notes + desc, sizeof(entry));
                        return entry;
                }
                at = next;
        }
        return 0;
}

static int read_notes(int fd, const Elf64_Phdr *ph, struct boot_kernel *kernel) {
        AUTOFREE uint8_t *notes = NULL;
        int r;

        if (ph->p_filesz == 0 || ph->p_filesz > NOTES_MAX)
                return 0;
        notes = malloc(ph->p_filesz);
        if (!notes)
                return -ENOMEM;
        r = boot_read(fd, ph->p_offset, notes, ph->p_filesz);
        if (r < 0)
                return r;
        if (kernel->entry_pvh == 0)
                kernel->entry_pvh = find_pvh(notes, ph->p_filesz);
        return 0;
}

static int load_segments(const struct guest_mem *mem, int fd, const Elf64_Ehdr *eh, struct boot_kernel *kernel) {
        for (unsigned i = 0; i < eh->e_phnum; i++) {
                Elf64_Phdr ph;
                int r;

                if (eh->e_phoff > UINT64_MAX - i * sizeof(ph))
                        return -ENODATA;
                r = boot_read(fd, eh->e_phoff + i * sizeof(ph), &ph, sizeof(ph));
                if (r >= 0 && ph.p_type == PT_LOAD)
                        r = load_segment(mem, fd, &ph, kernel);
                else if (r >= 0 && ph.p_type == PT_NOTE)
                        r = read_notes(fd, &ph, kernel);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool inside(const struct boot_kernel *kernel, uint64_t entry) {
        return entry >= kernel->start && entry < kernel->end;
}

int elf_load(const struct guest_mem *mem, int fd, struct boot_kernel *ret, const char **ret_text) {
        struct boot_kernel kernel = {
                .start = UINT64_MAX,
                .initrd_max = INITRD_MAX,
                .cmdline_max = CMDLINE_MAX,
                .header = { .boot_flag = BOOT_FLAG,
                            .header = HEADER_MAGIC,
                            .version = PROTOCOL_VERSION,
                            .loadflags = LOADED_HIGH,
                            .initrd_addr_max = INITRD_MAX,
                            .cmdline_size = CMDLINE_MAX },
        };
        Elf64_Ehdr eh;
        int r;

        r = read_ehdr(fd, &eh, ret_text);
        if (r < 0)
                return r;
        r = load_segments(mem, fd, &eh, &kernel);
        if (r == -EFAULT)
                *ret_text = "the kernel does not fit into the guest's memory: give it more";
        else if (r < 0)
                *ret_text = "the ELF kernel is truncated or cannot be read";
        if (r < 0)
                return r;
        kernel.entry64 = eh.e_entry;
        if (!inside(&kernel, kernel.entry_pvh ?: kernel.entry64)) {
                *ret_text = "the ELF kernel's entry point is outside of its segments";
                return -EINVAL;
        }
        *ret = kernel;
        return 0;
}
