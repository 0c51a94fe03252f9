/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ACPI 6.5 tables of a hardware-reduced machine (§4.1): no PM timer, no SCI, no FACS.
 *
 *   RSDP -> XSDT -> FADT -> DSDT
 *                -> MADT    local APICs, one IOAPIC, NMI on LINT1
 *                -> MCFG    configuration space of PCI bus 0
 *
 * The DSDT describes the PCI root with its window and its slots, whose devices come and go, the serial port, the clock,
 * the power button, and the Generic Event Device (§5.6.9), whose interrupt asks the guest to read one I/O byte and
 * notify the power button or look at the slots. Power off and reset are I/O bytes that the FADT names (§4.8.3.7 and
 * §4.8.3.6), so the kernel needs no driver for them.
 *
 * Host and guest are both little endian: multi-byte fields are stored as they are.
 */
#include "acpi.h"

#include <errno.h>
#include <string.h>

#include "../../base/cleanup.h"
#include "../../core/pci.h"
#include "../../dev/hotplug.h"
#include "../../dev/power.h"
#include "aml.h"
#include "apic_id.h"
#include "layout.h"
#include "version.h"

#define OEM_ID      "VIRTMI"
#define OEM_TABLE   "VMICRO  "
#define CREATOR_ID  "VMIC"
#define TABLE_ALIGN 16u

#define FADT_BOOT_NO_VGA   BIT(2) /* IAPC_BOOT_ARCH, table 5.11; bits 0 and 1 clear: no legacy devices, no 8042 */
#define FADT_WBINVD        BIT(0) /* flags, table 5.10 */
#define FADT_PWR_BUTTON    BIT(4) /* no fixed-hardware power button */
#define FADT_SLP_BUTTON    BIT(5)
#define FADT_RESET_REG_SUP BIT(10)
#define FADT_HEADLESS      BIT(12)
#define FADT_HW_REDUCED    BIT(20)

#define GAS_SYSTEM_IO   1u
#define GAS_BYTE_ACCESS 1u

#define NOTIFY_DEVICE_CHECK   1u
#define NOTIFY_EJECT_REQUEST  3u
#define NOTIFY_BUTTON_PRESSED 0x80u

struct header {
        char signature[4];
        uint32_t length;
        uint8_t revision, checksum;
        char oem_id[6], oem_table[8];
        uint32_t oem_revision;
        char creator[4];
        uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
        char signature[8];
        uint8_t checksum;
        char oem_id[6];
        uint8_t revision;
        uint32_t rsdt, length;
        uint64_t xsdt;
        uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct gas {
        uint8_t space, bit_width, bit_offset, access_size;
        uint64_t address;
} __attribute__((packed));

struct fadt {
        struct header header;
        uint32_t facs, dsdt;
        uint8_t reserved1, profile;
        uint8_t fixed1[109 - 46]; /* SCI, PM blocks, CMOS alarm: absent on reduced hardware */
        uint16_t boot_arch;
        uint8_t reserved2;
        uint32_t flags;
        struct gas reset;
        uint8_t reset_value;
        uint16_t arm_boot_arch;
        uint8_t minor;
        uint64_t x_facs, x_dsdt;
        struct gas fixed2[8];
        struct gas sleep_control, sleep_status;
        uint64_t hypervisor;
} __attribute__((packed));

struct madt {
        struct header header;
        uint32_t lapic, flags;
} __attribute__((packed));

struct madt_lapic {
        uint8_t type, length, uid, apic_id;
        uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
        uint8_t type, length, id, reserved;
        uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_nmi {
        uint8_t type, length, uid;
        uint16_t flags;
        uint8_t lint;
} __attribute__((packed));

struct mcfg {
        struct header header;
        uint64_t reserved, base;
        uint16_t segment;
        uint8_t first_bus, last_bus;
        uint32_t reserved2;
} __attribute__((packed));

_Static_assert(sizeof(struct header) == 36, "ACPI 6.5 §5.2.6");
_Static_assert(sizeof(struct rsdp) == 36, "ACPI 6.5 §5.2.5.3");
_Static_assert(sizeof(struct fadt) == 276, "ACPI 6.5 §5.2.9");
_Static_assert(offsetof(struct fadt, reset) == 116, "ACPI 6.5 §5.2.9");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "ACPI 6.5 §5.2.9");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "ACPI 6.5 §5.2.9");
_Static_assert(sizeof(struct mcfg) == 60, "PCI Firmware 3.3 §4.1.2");

struct tables {
        const struct machine_version *version;
        uint8_t *out;
        size_t size, used;
        uint64_t base;
};

static uint8_t checksum(const void *data, size_t len) {
        const uint8_t *p = data;
        uint8_t sum = 0;

        while (len-- > 0)
                sum = (uint8_t) (sum + *p++);
        return (uint8_t) -sum;
}

static struct header header(const struct tables *t, const char *signature, size_t length, uint8_t revision) {
        struct header h = {
                .length = (uint32_t) length,
                .revision = revision,
                .oem_revision = t->version->arch->acpi.oem_revision,
                .creator_revision = 1,
        };

        memcpy(h.signature, signature, sizeof(h.signature));
        memcpy(h.oem_id, OEM_ID, sizeof(h.oem_id));
        memcpy(h.oem_table, OEM_TABLE, sizeof(h.oem_table));
        memcpy(h.creator, CREATOR_ID, sizeof(h.creator));
        return h;
}

/* Appends a finished table (its header first) and sums it up; *ret is its guest address. */
static int add(struct tables *t, const void *table, size_t len, uint64_t *ret) {
        size_t at = (t->used + TABLE_ALIGN - 1) & ~(size_t) (TABLE_ALIGN - 1);
        uint8_t *p = t->out + at;

        if (at > t->size || len > t->size - at)
                return -ENOSPC;
        memcpy(p, table, len);
        p[offsetof(struct header, checksum)] = 0;
        p[offsetof(struct header, checksum)] = checksum(p, len);
        t->used = at + len;
        *ret = t->base + at;
        return 0;
}

/* "S01_" to "S30_". */
static void slot_name(unsigned slot, char ret[5]) {
        ret[0] = 'S';
        ret[1] = (char) ('0' + slot / 10);
        ret[2] = (char) ('0' + slot % 10);
        ret[3] = '_';
        ret[4] = '\0';
}

/* Without _STA the guest looks for a device by its vendor id. */
static void dsdt_slot(struct aml *aml, unsigned slot) {
        size_t device, method;
        char name[5];

        slot_name(slot, name);
        device = aml_device(aml, name);
        aml_name_integer(aml, "_ADR", (uint64_t) slot << 16);
        aml_name_integer(aml, "_SUN", slot);
        method = aml_method(aml, "_EJ0", 1);
        aml_store_integer(aml, BIT(slot), "PCEJ");
        aml_end(aml, method);
        aml_end(aml, device);
}

static void notify_slots(struct aml *aml, const char *field, uint8_t value) {
        aml_store_name(aml, field, 0);
        for (unsigned slot = 1; slot <= PCI_SLOT_LAST; slot++) {
                size_t condition = aml_if_bit(aml, 0, BIT(slot));
                char name[5];

                slot_name(slot, name);
                aml_notify(aml, name, value);
                aml_end(aml, condition);
        }
}

/* Slots of the PCI bus: what comes and goes (dev/hotplug.c). */
static void dsdt_hotplug(struct aml *aml) {
        static const char *const fields[] = { "PCUP", "PCDN", "PCEJ" };
        size_t method;

        aml_io_words(aml, "PCHP", fields, ARRAY_SIZE(fields), LAYOUT_PORT_HOTPLUG);
        for (unsigned slot = 1; slot <= PCI_SLOT_LAST; slot++)
                dsdt_slot(aml, slot);
        method = aml_method(aml, "PCNT", 0);
        notify_slots(aml, "PCUP", NOTIFY_DEVICE_CHECK);
        notify_slots(aml, "PCDN", NOTIFY_EJECT_REQUEST);
        aml_end(aml, method);
}

static void dsdt_pci(struct aml *aml) {
        size_t device = aml_device(aml, "PCI0");
        struct aml_resources crs;

        aml_name_eisaid(aml, "_HID", "PNP0A08");
        aml_name_eisaid(aml, "_CID", "PNP0A03");
        aml_name_integer(aml, "_SEG", 0);
        aml_name_integer(aml, "_BBN", 0);
        aml_name_integer(aml, "_UID", 0);
        crs = aml_resources(aml);
        aml_resource_bus_range(aml, 0, 0);
        aml_resource_io(aml, LAYOUT_PORT_PCI, 8);
        aml_resource_memory_window(aml, (uint32_t) LAYOUT_PCI_WINDOW, (uint32_t) LAYOUT_PCI_WINDOW_SIZE);
        aml_resources_end(aml, crs);
        dsdt_hotplug(aml);
        aml_end(aml, device);

        /* PCI Firmware 3.3 §4.1.2: the configuration window is claimed by a motherboard resource. */
        device = aml_device(aml, "MBRD");
        aml_name_eisaid(aml, "_HID", "PNP0C02");
        crs = aml_resources(aml);
        aml_resource_memory(aml, (uint32_t) LAYOUT_ECAM, (uint32_t) LAYOUT_ECAM_SIZE);
        aml_resources_end(aml, crs);
        aml_end(aml, device);
}

static void dsdt_serial(struct aml *aml) {
        size_t device = aml_device(aml, "COM1");
        struct aml_resources crs;

        aml_name_eisaid(aml, "_HID", "PNP0501");
        aml_name_integer(aml, "_UID", 1);
        aml_name_string(aml, "_DDN", "COM1");
        crs = aml_resources(aml);
        aml_resource_io(aml, LAYOUT_PORT_SERIAL, 8);
        aml_resource_interrupt(aml, LAYOUT_IRQ_SERIAL);
        aml_resources_end(aml, crs);
        aml_end(aml, device);
}

static void dsdt_rtc(struct aml *aml) {
        size_t device = aml_device(aml, "RTC0");
        struct aml_resources crs;

        aml_name_eisaid(aml, "_HID", "PNP0B00");
        crs = aml_resources(aml);
        aml_resource_io(aml, LAYOUT_PORT_RTC, 2);
        aml_resources_end(aml, crs);
        aml_end(aml, device);
}

static void dsdt_events(struct aml *aml) {
        static const char *const look_at_slots[] = { "_SB_", "PCI0", "PCNT" };
        size_t device, method, condition;
        struct aml_resources crs;

        device = aml_device(aml, "PWRB");
        aml_name_eisaid(aml, "_HID", "PNP0C0C");
        aml_end(aml, device);

        device = aml_device(aml, "GED_");
        aml_name_string(aml, "_HID", "ACPI0013");
        crs = aml_resources(aml);
        aml_resource_interrupt(aml, LAYOUT_IRQ_GED);
        aml_resources_end(aml, crs);
        aml_io_byte(aml, "EVRG", "EVNT", LAYOUT_PORT_POWER + POWER_EVENT);
        method = aml_method(aml, "_EVT", 1);
        aml_store_name(aml, "EVNT", 0);
        condition = aml_if_bit(aml, 0, POWER_EVENT_BUTTON);
        aml_notify(aml, "PWRB", NOTIFY_BUTTON_PRESSED);
        aml_end(aml, condition);
        condition = aml_if_bit(aml, 0, POWER_EVENT_HOTPLUG);
        aml_call(aml, look_at_slots, ARRAY_SIZE(look_at_slots));
        aml_end(aml, condition);
        aml_end(aml, method);
        aml_end(aml, device);
}

static int add_dsdt(struct tables *t, uint64_t *ret) {
        const uint8_t s5[] = { POWER_SLEEP_TYPE_S5, 0, 0, 0 };
        struct {
                struct header header;
                uint8_t aml[AML_BYTES_MAX];
        } __attribute__((packed)) dsdt;
        struct aml aml = { .used = 0 };
        size_t scope;

        scope = aml_scope(&aml, "\\_SB_");
        dsdt_pci(&aml);
        dsdt_serial(&aml);
        dsdt_rtc(&aml);
        dsdt_events(&aml);
        aml_end(&aml, scope);
        aml_name_package(&aml, "_S5_", s5, ARRAY_SIZE(s5));
        if (aml.overflow)
                return -ENOSPC;
        dsdt.header = header(t, "DSDT", sizeof(dsdt.header) + aml.used, 2);
        memcpy(dsdt.aml, aml.bytes, aml.used);
        return add(t, &dsdt, sizeof(dsdt.header) + aml.used, ret);
}

static struct gas io_byte(uint16_t port) {
        return (struct gas) { .space = GAS_SYSTEM_IO, .bit_width = 8, .access_size = GAS_BYTE_ACCESS, .address = port };
}

static int add_fadt(struct tables *t, uint64_t dsdt, uint64_t *ret) {
        struct fadt fadt = {
                .header = header(t, "FACP", sizeof(fadt), 6),
                .minor = t->version->arch->acpi.minor,
                .dsdt = (uint32_t) dsdt,
                .x_dsdt = dsdt,
                .boot_arch = FADT_BOOT_NO_VGA,
                .flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG_SUP | FADT_HEADLESS |
                         FADT_HW_REDUCED,
                .reset = io_byte(LAYOUT_PORT_POWER + POWER_RESET),
                .reset_value = POWER_RESET_VALUE,
                .sleep_control = io_byte(LAYOUT_PORT_POWER + POWER_SLEEP_CONTROL),
                .sleep_status = io_byte(LAYOUT_PORT_POWER + POWER_SLEEP_STATUS),
        };

        memcpy(&fadt.hypervisor, "VIRTMICR", sizeof(fadt.hypervisor));
        return add(t, &fadt, sizeof(fadt), ret);
}

static int add_madt(struct tables *t, const struct topology *topology, uint64_t *ret) {
        struct {
                struct madt madt;
                struct madt_ioapic ioapic;
                struct madt_nmi nmi;
                struct madt_lapic lapic[256];
        } __attribute__((packed)) table = {
                .madt = { .lapic = (uint32_t) LAYOUT_LAPIC },
                .ioapic = { .type = 1, .length = sizeof(struct madt_ioapic), .address = (uint32_t) LAYOUT_IOAPIC },
                .nmi = { .type = 4, .length = sizeof(struct madt_nmi), .uid = 0xff, .lint = 1 },
        };
        size_t len = offsetof(__typeof__(table), lapic);

        if (topology->vcpus > ARRAY_SIZE(table.lapic))
                return -ENOSPC;
        for (unsigned i = 0; i < topology->vcpus; i++, len += sizeof(struct madt_lapic))
                table.lapic[i] = (struct madt_lapic) { .type = 0,
                                                       .length = sizeof(struct madt_lapic),
                                                       .uid = (uint8_t) i,
                                                       .apic_id = (uint8_t) topology_apic_id(topology, i),
                                                       .flags = 1 };
        table.madt.header = header(t, "APIC", len, 5);
        return add(t, &table, len, ret);
}

static int add_mcfg(struct tables *t, uint64_t *ret) {
        struct mcfg mcfg = { .header = header(t, "MCFG", sizeof(mcfg), 1), .base = LAYOUT_ECAM };

        return add(t, &mcfg, sizeof(mcfg), ret);
}

static int add_xsdt(struct tables *t, const uint64_t entries[3], uint64_t *ret) {
        struct {
                struct header header;
                uint64_t entry[3];
        } __attribute__((packed)) xsdt = { .header = header(t, "XSDT", sizeof(xsdt), 1) };

        memcpy(xsdt.entry, entries, sizeof(xsdt.entry));
        return add(t, &xsdt, sizeof(xsdt), ret);
}

static void write_rsdp(uint8_t *out, uint64_t xsdt) {
        struct rsdp rsdp = { .signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
                             .revision = 2,
                             .length = sizeof(rsdp),
                             .xsdt = xsdt };

        memcpy(rsdp.oem_id, OEM_ID, sizeof(rsdp.oem_id));
        rsdp.checksum = checksum(&rsdp, 20); /* the part that revision 1 had */
        rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
        memcpy(out, &rsdp, sizeof(rsdp));
}

int acpi_build(const struct machine_version *version, const struct topology *topology, uint64_t base, uint8_t *out,
               size_t size, size_t *ret_used) {
        struct tables t = { .version = version, .out = out, .size = size, .used = sizeof(struct rsdp), .base = base };
        uint64_t entries[3], dsdt, xsdt;
        int r;

        if (size < sizeof(struct rsdp))
                return -ENOSPC;
        r = add_dsdt(&t, &dsdt);
        if (r < 0)
                return r;
        r = add_fadt(&t, dsdt, &entries[0]);
        if (r < 0)
                return r;
        r = add_madt(&t, topology, &entries[1]);
        if (r < 0)
                return r;
        r = add_mcfg(&t, &entries[2]);
        if (r < 0)
                return r;
        r = add_xsdt(&t, entries, &xsdt);
        if (r < 0)
                return r;
        write_rsdp(out, xsdt);
        *ret_used = t.used;
        return 0;
}
