/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clock, power block, hot plug registers, panic device.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <time.h>

#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/rtc.h"
#include "base/cleanup.h"
#include "board/version.h"
#include "dev/hotplug.h"
#include "dev/power.h"
#include "dev/pvpanic.h"
#include "fake-irq.h"

time_t __wrap_time(time_t *t);

/* Without a vDSO time() is a system call, for which the filter kills; clock_gettime() is allowed. */
time_t __wrap_time(time_t *t) {
        CHECK(!"time() is called");
        return 0;
}

static int64_t now(void) {
        struct timespec ts;

        CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
        return ts.tv_sec;
}

static uint8_t cmos_get(struct bus *pio, uint8_t reg) {
        uint8_t value;

        bus_write(pio, LAYOUT_PORT_RTC, &reg, 1);
        bus_read(pio, LAYOUT_PORT_RTC + 1, &value, 1);
        return value;
}

static void cmos_put(struct bus *pio, uint8_t reg, uint8_t value) {
        bus_write(pio, LAYOUT_PORT_RTC, &reg, 1);
        bus_write(pio, LAYOUT_PORT_RTC + 1, &value, 1);
}

static int bcd(uint8_t value) {
        return (value >> 4) * 10 + (value & 0xf);
}

static int64_t cmos_time(struct bus *pio) {
        struct tm tm = { 0 };

        do {
                tm.tm_sec = bcd(cmos_get(pio, 0));
                tm.tm_min = bcd(cmos_get(pio, 2));
                tm.tm_hour = bcd(cmos_get(pio, 4));
                tm.tm_mday = bcd(cmos_get(pio, 7));
                tm.tm_mon = bcd(cmos_get(pio, 8)) - 1;
                tm.tm_year = bcd(cmos_get(pio, 0x32)) * 100 + bcd(cmos_get(pio, 9)) - 1900;
        } while (bcd(cmos_get(pio, 0)) != tm.tm_sec);
        return timegm(&tm);
}

static void test_rtc_time(void) {
        /* 2000-02-29, 2100-03-01, the end of a year, 1970. */
        static const int64_t moments[] = { 951782400 + 86399, 4107542400, 1798761599, 5 };

        for (unsigned i = 0; i < 4; i++) {
                struct bus pio = { 0 };
                struct rtc *rtc;
                int64_t difference;

                CHECK_EQ(rtc_new(&pio, moments[i] - now(), &rtc), 0);
                difference = cmos_time(&pio) - moments[i];
                CHECK(difference >= 0 && difference <= 2);
                CHECK_EQ(cmos_get(&pio, 0xd), 0x80);
                rtc_free(rtc);
                CHECK_EQ(pio.n_ranges, 0);
        }
}

static void test_rtc_set(void) {
        struct bus pio = { 0 };
        int64_t difference;
        struct rtc *rtc;

        CHECK_EQ(rtc_new(&pio, 0, &rtc), 0);
        cmos_put(&pio, 0xb, 0x82); /* hold it */
        cmos_put(&pio, 0, 0x30);
        cmos_put(&pio, 2, 0x59);
        cmos_put(&pio, 4, 0x23);
        cmos_put(&pio, 7, 0x31);
        cmos_put(&pio, 8, 0x12);
        cmos_put(&pio, 9, 0x29);
        cmos_put(&pio, 0x32, 0x20);
        CHECK_EQ(cmos_get(&pio, 9), 0x29);
        cmos_put(&pio, 0xb, 0x02); /* let it go */
        difference = cmos_time(&pio) - 1893455970;
        CHECK(difference >= 0 && difference <= 2);
        /* Twelve hours, binary: eleven in the evening. */
        cmos_put(&pio, 0xb, 0x04);
        CHECK_EQ(cmos_get(&pio, 4), 0x80 | 11);
        rtc_free(rtc);
        CHECK(!rtc_free(NULL));
}

static void test_rtc_nonsense(void) {
        struct bus pio = { 0 };
        struct rtc *rtc;

        CHECK_EQ(rtc_new(&pio, INT32_MIN * 1000ll, &rtc), 0);
        for (unsigned reg = 0; reg < 256; reg++) {
                cmos_put(&pio, 0xb, 0x82);
                cmos_put(&pio, (uint8_t) reg, 0xff);
                cmos_put(&pio, 0xb, (uint8_t) reg);
                (void) cmos_get(&pio, (uint8_t) reg);
        }
        rtc_free(rtc);
}

struct asked {
        unsigned off, reset, panics, dumps;
};

static void on_off(void *arg) {
        ((struct asked *) arg)->off++;
}

static void on_reset(void *arg) {
        ((struct asked *) arg)->reset++;
}

static void on_panic(void *arg, bool goes_on) {
        ((struct asked *) arg)->panics += !goes_on;
        ((struct asked *) arg)->dumps += goes_on;
}

static void put(struct bus *bus, uint64_t address, uint8_t value) {
        bus_write(bus, address, &value, 1);
}

static uint8_t get(struct bus *bus, uint64_t address) {
        uint8_t value;

        bus_read(bus, address, &value, 1);
        return value;
}

static void test_power(void) {
        static const struct power_ops ops = { .off = on_off, .reset = on_reset };
        struct bus pio = { 0 };
        struct asked asked = { 0 };
        struct parts parts = { 0 };
        const char *text;
        struct irq *irq;
        struct power *power;

        CHECK_EQ(irq_new(-1, &irq), 0);
        CHECK_EQ(power_new(&parts, &pio, irq, &ops, &asked, &power), 0);
        put(&pio, LAYOUT_PORT_POWER + POWER_SLEEP_CONTROL, 5 << 2); /* not enabled */
        put(&pio, LAYOUT_PORT_POWER + POWER_SLEEP_CONTROL, 3 << 2 | 1 << 5);
        put(&pio, LAYOUT_PORT_POWER + POWER_RESET, 0);
        CHECK_EQ(asked.off + asked.reset, 0);
        put(&pio, LAYOUT_PORT_POWER + POWER_SLEEP_CONTROL, 5 << 2 | 1 << 5);
        CHECK_EQ(asked.off, 1);
        put(&pio, LAYOUT_PORT_POWER + POWER_RESET, POWER_RESET_VALUE);
        CHECK_EQ(asked.reset, 1);
        power_ask_reset(power);
        CHECK_EQ(asked.reset, 2);

        power_button(power);
        CHECK_EQ(irq->edges[LAYOUT_IRQ_GED], 1);
        CHECK_EQ(get(&pio, LAYOUT_PORT_POWER + POWER_EVENT), POWER_EVENT_BUTTON);
        CHECK_EQ(get(&pio, LAYOUT_PORT_POWER + POWER_EVENT), 0);
        power_button(power);
        CHECK_EQ(parts_reset(&parts, &text), 0);
        CHECK_EQ(get(&pio, LAYOUT_PORT_POWER + POWER_EVENT), 0);
        CHECK(!power_free(power));
        CHECK(!parts.first);
        CHECK_EQ(pio.n_ranges, 0);
        irq_free(irq);
}

/* What is not PCI; the keyboard controller can reset the machine, and nothing else. */
static void test_legacy(void) {
        static const struct power_ops ops = { .off = on_off, .reset = on_reset };
        struct arch_chips_config config = { .serial_fd = -EBADF, .serial_log_fd = -EBADF };
        struct bus pio = { 0 }, mmio = { 0 };
        struct asked asked = { 0 };
        struct parts parts = { 0 };
        struct arch_chips *chips;
        struct pci_host *host;
        struct power *power;
        const char *text;
        struct irq *irq;

        CHECK_EQ(irq_new(-1, &irq), 0);
        CHECK_EQ(pci_host_new(&parts, machine_version_newest(), &mmio, &host), 0);
        CHECK_EQ(power_new(&parts, &pio, irq, &ops, &asked, &power), 0);
        CHECK_EQ(arch_chips_new(&parts, &pio, irq, power, host, &config, &chips, &text), 0);
        put(&pio, LAYOUT_PORT_KBD_RESET, 0xd1);
        CHECK_EQ(asked.reset, 0);
        put(&pio, LAYOUT_PORT_KBD_RESET, 0xfe);
        CHECK_EQ(asked.reset, 1);
        CHECK_EQ(get(&pio, LAYOUT_PORT_KBD_RESET), 0);
        CHECK(!arch_chips_free(chips));
        CHECK(!arch_chips_free(NULL));
        power_free(power);
        CHECK_EQ(pio.n_ranges, 0);
        pci_host_free(host);
        CHECK(!parts.first);
        irq_free(irq);
}

/* When one of their ports is taken, they leave the others as they were. */
static void test_legacy_fails(void) {
        static const uint64_t taken[] = { LAYOUT_PORT_SERIAL, LAYOUT_PORT_RTC, LAYOUT_PORT_PCI, LAYOUT_PORT_KBD_RESET };
        static const struct bus_ops nothing = { 0 };

        for (unsigned i = 0; i < ARRAY_SIZE(taken); i++) {
                struct arch_chips_config config = { .serial_fd = -EBADF, .serial_log_fd = -EBADF };
                struct bus pio = { 0 };
                struct parts parts = { 0 };
                struct arch_chips *chips;
                const char *text;
                struct irq *irq;

                CHECK_EQ(irq_new(-1, &irq), 0);
                CHECK_EQ(bus_add(&pio, taken[i], 1, &nothing, &pio), 0);
                CHECK_EQ(arch_chips_new(&parts, &pio, irq, NULL, NULL, &config, &chips, &text), -EEXIST);
                CHECK_EQ(pio.n_ranges, 1);
                CHECK(!parts.first);
                irq_free(irq);
        }
}

static void on_eject(void *arg, uint32_t slots) {
        *(uint32_t *) arg = slots;
}

static uint32_t get_word(struct bus *bus, uint64_t address) {
        uint32_t value;

        bus_read(bus, address, &value, sizeof(value));
        return value;
}

static uint32_t eject(struct bus *bus, uint32_t *ejected, uint32_t slots) {
        *ejected = 0;
        bus_write(bus, LAYOUT_PORT_HOTPLUG + HOTPLUG_EJECT, &slots, sizeof(slots));
        return *ejected;
}

static void test_hotplug(void) {
        static const struct power_ops ops = { .off = on_off, .reset = on_reset };
        const uint64_t at = LAYOUT_PORT_HOTPLUG;
        struct bus pio = { 0 };
        struct parts parts = { 0 };
        struct power *power;
        struct hotplug *hotplug;
        uint32_t ejected;
        const char *text;
        struct irq *irq;

        CHECK_EQ(irq_new(-1, &irq), 0);
        CHECK_EQ(power_new(&parts, &pio, irq, &ops, NULL, &power), 0);
        CHECK_EQ(hotplug_new(&parts, &pio, power, on_eject, &ejected, &hotplug), 0);

        /* Each event is reported once, with its slots. */
        hotplug_add(hotplug, 3);
        hotplug_up(hotplug, 3);
        hotplug_up(hotplug, 30);
        hotplug_down(hotplug, 7);
        CHECK_EQ(irq->edges[LAYOUT_IRQ_GED], 3);
        CHECK_EQ(get(&pio, LAYOUT_PORT_POWER + POWER_EVENT), POWER_EVENT_HOTPLUG);
        CHECK_EQ(get(&pio, at + HOTPLUG_UP), 0); /* an access to one byte neither shows nor clears it */
        CHECK_EQ(get_word(&pio, at + HOTPLUG_UP), 1u << 3 | 1u << 30);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_UP), 0);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_DOWN), 1u << 7);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_DOWN), 0);

        /* Only a device that is there can be ejected, and only once. */
        hotplug_add(hotplug, 5);
        CHECK_EQ(eject(&pio, &ejected, ~(1u << 3)), 1u << 5);
        CHECK_EQ(eject(&pio, &ejected, ~(1u << 3)), 0);
        put(&pio, at + HOTPLUG_EJECT, 1 << 3);
        CHECK_EQ(ejected, 0);
        CHECK_EQ(eject(&pio, &ejected, UINT32_MAX), 1u << 3);
        hotplug_add(hotplug, 3);
        hotplug_down(hotplug, 3);
        hotplug_remove(hotplug, 3);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_DOWN), 0);
        CHECK_EQ(eject(&pio, &ejected, UINT32_MAX), 0);

        /* A guest that boots finds the slots as they are. */
        hotplug_up(hotplug, 4);
        hotplug_down(hotplug, 4);
        CHECK_EQ(parts_reset(&parts, &text), 0);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_UP), 0);
        CHECK_EQ(get_word(&pio, at + HOTPLUG_DOWN), 0);
        CHECK(!hotplug_free(hotplug));
        CHECK(!power_free(power));
        CHECK(!parts.first);
        CHECK_EQ(pio.n_ranges, 0);
        irq_free(irq);
}

static void test_pvpanic(void) {
        struct bus mmio = { 0 };
        struct asked asked = { 0 };
        struct parts parts = { 0 };
        const char *text;
        struct pci_host *host;
        struct pvpanic *pvpanic;
        uint64_t config = LAYOUT_ECAM + (PCI_SLOTS - 1) * 0x8000;

        CHECK_EQ(pci_host_new(&parts, machine_version_newest(), &mmio, &host), 0);
        CHECK_EQ(pvpanic_new(&parts, host, on_panic, &asked, &pvpanic), 0);
        CHECK_EQ(get(&mmio, config), 0x36);
        put(&mmio, config + PCI_COMMAND, PCI_COMMAND_MEMORY);
        CHECK_EQ(get(&mmio, LAYOUT_PCI_WINDOW), 3);
        put(&mmio, LAYOUT_PCI_WINDOW, 4);
        put(&mmio, LAYOUT_PCI_WINDOW + 1, 1);
        CHECK_EQ(asked.panics + asked.dumps, 0);
        put(&mmio, LAYOUT_PCI_WINDOW, 2);
        CHECK_EQ(asked.dumps, 1);
        put(&mmio, LAYOUT_PCI_WINDOW, 1);
        CHECK_EQ(asked.panics, 1);
        CHECK_EQ(parts_reset(&parts, &text), 0);
        CHECK_EQ(get(&mmio, LAYOUT_PCI_WINDOW), 0xff);
        CHECK(!pvpanic_free(pvpanic));
        pci_host_free(host);
}

int main(void) {
        RUN(test_rtc_time);
        RUN(test_rtc_set);
        RUN(test_rtc_nonsense);
        RUN(test_power);
        RUN(test_legacy);
        RUN(test_legacy_fails);
        RUN(test_hotplug);
        RUN(test_pvpanic);
        return 0;
}
