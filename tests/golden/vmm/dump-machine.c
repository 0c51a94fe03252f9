/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints all that a guest sees of a version of the machine: dump-machine NUMBER. What is printed for a version never
 * changes (HACKING.md, "a version of the machine"). Exits with 1 when there is no such version.
 *
 * Two hosts stand for all: one whose processor has every bit of each leaf that is looked at, and one that has none, so
 * that what the machine adds and takes away shows. Devices are looked at as a guest does, through their registers.
 */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../unit/vmm/fake-irq.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpuid.h"
#include "arch/x86_64/layout.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "core/virtio_pci.h"
#include "dev/blk.h"
#include "dev/console.h"
#include "dev/net.h"
#include "dev/pvpanic.h"
#include "dev/rng.h"

#define BYTES_PER_LINE 32u

static const struct topology topology = { .vcpus = 8, .sockets = 1, .dies = 2, .cores = 3, .threads = 2 };

struct board {
        struct parts parts;
        struct bus mmio;
        struct irq *irq;
        struct guest_mem *mem;
        struct pci_host *host;
        struct pvpanic *pvpanic;
};

static void print_bytes(const uint8_t *p, size_t len) {
        for (size_t at = 0; at < len; at += BYTES_PER_LINE) {
                (void) printf("  %04zx:", at);
                for (size_t i = at; i < len && i < at + BYTES_PER_LINE; i++)
                        (void) printf("%s%02x", i % 8 ? "" : " ", p[i]);
                (void) printf("\n");
        }
}

/* --- CPUID ---------------------------------------------------------------------------------- */

static struct kvm_cpuid2 *host_new(uint32_t bits) {
        static const uint32_t leaves[] = { 0,          1,          4,          7,          0xa,
                                           0xb,        0xd,        0x1f,       0x80000000, 0x80000001,
                                           0x80000008, 0x8000000a, 0x8000001d, 0x8000001e, 0x80000022 };
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));

        CHECK(cpuid);
        for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
                cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2) {
                        .function = leaves[i], .eax = bits, .ebx = bits, .ecx = bits, .edx = bits
                };
        cpuid->entries[0].eax = 0x1f;
        return cpuid;
}

static void print_cpuid(const struct machine_version *version, uint32_t bits) {
        static const struct cpu_features none;
        AUTOFREE struct kvm_cpuid2 *cpuid = host_new(bits);

        (void) printf("CPUID of vCPU 7 on a host of %08x\n", bits);
        cpuid_adapt(cpuid, version, &topology, 7);
        cpuid_apply(cpuid, version, &none);
        for (unsigned i = 0; i < cpuid->nent; i++) {
                const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

                (void) printf("  %08x/%x: %08x %08x %08x %08x\n", e->function, e->index, e->eax, e->ebx, e->ecx,
                              e->edx);
        }
}

/* --- ACPI ----------------------------------------------------------------------------------- */

static void print_acpi(const struct machine_version *version) {
        static uint8_t tables[LAYOUT_ACPI_SIZE];
        size_t used;

        CHECK_EQ(acpi_build(version, &topology, LAYOUT_ACPI, tables, sizeof(tables), &used), 0);
        (void) printf("ACPI tables\n");
        print_bytes(tables, used);
}

/* --- Devices -------------------------------------------------------------------------------- */

static uint32_t get(struct board *b, uint64_t address, unsigned len) {
        uint32_t value = 0;

        bus_read(&b->mmio, address, &value, len);
        return value;
}

static void put(struct board *b, uint64_t address, uint32_t value, unsigned len) {
        bus_write(&b->mmio, address, &value, len);
}

static uint64_t ecam(unsigned slot, unsigned offset) {
        return LAYOUT_ECAM + slot * 0x8000ull + offset;
}

static void print_config(struct board *b, const char *what, unsigned slot) {
        uint8_t config[PCI_CONFIG_BYTES];

        for (unsigned i = 0; i < sizeof(config); i++)
                config[i] = (uint8_t) get(b, ecam(slot, i), 1);
        (void) printf("PCI configuration of %s in slot %u\n", what, slot);
        print_bytes(config, sizeof(config));
}

static uint64_t features(struct board *b, uint64_t bar) {
        uint64_t high;

        put(b, bar + VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
        high = get(b, bar + VIRTIO_PCI_COMMON_DF, 4);
        put(b, bar + VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
        return high << 32 | get(b, bar + VIRTIO_PCI_COMMON_DF, 4);
}

static void print_virtio(struct board *b, const char *what, struct virtio_device *dev) {
        int slot = virtio_pci_new(&b->parts, b->host, b->irq, -1, b->mem, dev, 0);
        uint64_t bar;

        CHECK(slot > 0);
        print_config(b, what, (unsigned) slot);
        put(b, ecam((unsigned) slot, PCI_COMMAND), PCI_COMMAND_MEMORY, 2);
        bar = get(b, ecam((unsigned) slot, PCI_BASE_ADDRESS_0), 4) & ~0xfu;
        (void) printf("virtio of %s: features %016llx, %u bytes of configuration, queues of", what,
                      (unsigned long long) features(b, bar), dev->config_size);
        for (unsigned i = 0; i < get(b, bar + VIRTIO_PCI_COMMON_NUMQ, 2); i++) {
                put(b, bar + VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
                (void) printf(" %u", get(b, bar + VIRTIO_PCI_COMMON_Q_SIZE, 2));
        }
        (void) printf("\n");
        virtio_pci_free(dev);
}

static struct virtio_device *new_blk(bool plain) {
        struct blk_config config = { .name = "vda",
                                     .fd = memfd_create("image", MFD_CLOEXEC),
                                     .readonly = plain,
                                     .discard = !plain,
                                     .cache = plain ? CTL_CACHE_WRITETHROUGH : CTL_CACHE_WRITEBACK };
        struct virtio_device *dev;

        CHECK(config.fd >= 0 && ftruncate(config.fd, 1 << 20) == 0);
        CHECK_EQ(blk_new(&config, &dev), 0);
        return dev;
}

static struct virtio_device *new_net(void) {
        struct net_config config = { .name = "net0", .vhost_fd = -EBADF, .mtu = 1500, .link_up = true };
        struct virtio_device *dev;
        int fds[2];

        CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
        config.tap_fd = fds[0];
        close_fd(&fds[1]);
        CHECK_EQ(net_new(&config, &dev), 0);
        return dev;
}

static struct virtio_device *new_console(void) {
        struct console_config config = { .name = "console", .n_ports = 2 };
        struct virtio_device *dev;

        for (unsigned i = 0; i < config.n_ports; i++) {
                int fds[2];

                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
                config.ports[i] = (struct console_port_config) { .fd = fds[0],
                                                                 .is_console = i == 0,
                                                                 .name = i == 0 ? "" : "channel" };
                close_fd(&fds[1]);
        }
        CHECK_EQ(console_new(&config, &dev), 0);
        return dev;
}

static struct virtio_device *new_rng(void) {
        struct rng_config config = { .fd = open("/dev/zero", O_RDONLY | O_CLOEXEC) };
        struct virtio_device *dev;

        CHECK(config.fd >= 0);
        CHECK_EQ(rng_new(&config, &dev), 0);
        return dev;
}

static void on_panic(void *arg, bool goes_on) {
}

static void print_devices(const struct machine_version *version) {
        struct board b = { 0 };

        CHECK_EQ(irq_new(-1, &b.irq), 0);
        CHECK_EQ(guest_mem_new(GUEST_MEM_MIN, 0, 0, &b.mem), 0);
        CHECK_EQ(pci_host_new(&b.parts, version, &b.mmio, &b.host), 0);
        CHECK_EQ(pvpanic_new(&b.parts, b.host, on_panic, NULL, &b.pvpanic), 0);
        print_config(&b, "host bridge", 0);
        print_config(&b, "panic device", PCI_SLOTS - 1);
        print_virtio(&b, "disk", new_blk(false));
        print_virtio(&b, "read-only disk", new_blk(true));
        print_virtio(&b, "interface without offloads", new_net());
        print_virtio(&b, "console and channel", new_console());
        print_virtio(&b, "entropy device", new_rng());
        pvpanic_free(b.pvpanic);
        pci_host_free(b.host);
        guest_mem_free(b.mem);
        irq_free(b.irq);
}

/* What a host that offers more than this one would show. */
static void print_limits(const struct machine_version *version) {
        (void) printf("Most that virtio devices offer\n");
        for (const struct virtio_version *v = version->virtio_type; v->type != 0; v++)
                (void) printf("  type %u: features %016llx, queues of %u\n", v->type, (unsigned long long) v->features,
                              v->queue_size);
}

int main(int argc, char **argv) {
        const struct machine_version *version = argc == 2 ? machine_version_find((uint32_t) atoi(argv[1])) : NULL;

        if (!version)
                return 1;
        (void) printf("%s\n", version->name);
        print_cpuid(version, UINT32_MAX);
        print_cpuid(version, 0);
        print_acpi(version);
        print_devices(version);
        print_limits(version);
        return 0;
}
