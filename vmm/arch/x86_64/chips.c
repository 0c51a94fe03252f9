/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What software expects of a PC besides PCI: COM1, the CMOS clock, configuration by ports, and the keyboard
 * controller's command 0xfe (pulse the reset line), which kernels try with reboot=k. The rest of that controller does
 * not exist, and its status reads as idle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/cleanup.h"
#include "../../dev/power.h"
#include "../arch.h"
#include "layout.h"
#include "pci_ports.h"
#include "rtc.h"
#include "serial.h"

#define KBD_PULSE_RESET 0xfeu

struct arch_chips {
        struct bus *pio;
        struct power *power;
        struct serial *serial;
        struct rtc *rtc;
        struct pci_ports *ports;
};

static void kbd_read(void *arg, uint64_t offset, void *data, unsigned len) {
        memset(data, 0, len);
}

static void kbd_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        const struct arch_chips *chips = arg;

        if (*(const uint8_t *) data == KBD_PULSE_RESET)
                power_ask_reset(chips->power);
}

static const struct bus_ops kbd_ops = { .read = kbd_read, .write = kbd_write };

static void free_p(struct arch_chips **chips) {
        arch_chips_free(*chips);
}

static int add_serial(struct arch_chips *chips, struct parts *parts, struct irq *irq, struct arch_chips_config *config,
                      const char **ret_text) {
        int r;

        *ret_text = "the serial port's terminal cannot be used";
        r = serial_new(parts, chips->pio, irq, config->serial_fd, &chips->serial);
        if (r < 0)
                return r;
        config->serial_fd = -EBADF;
        *ret_text = "the serial port's log cannot be written to";
        r = config->serial_log_fd >= 0 ? serial_set_log(chips->serial, config->serial_log_fd) : 0;
        if (r < 0)
                return r;
        config->serial_log_fd = -EBADF;
        return 0;
}

int arch_chips_new(struct parts *parts, struct bus *pio, struct irq *irq, struct power *power, struct pci_host *pci,
                   struct arch_chips_config *config, struct arch_chips **ret, const char **ret_text) {
        CLEANUP(free_p) struct arch_chips *chips = calloc(1, sizeof(*chips));
        int r;

        if (!chips)
                return -ENOMEM;
        chips->pio = pio;
        chips->power = power;
        r = add_serial(chips, parts, irq, config, ret_text);
        if (r < 0)
                return r;
        *ret_text = "cannot create the machine's chips";
        r = rtc_new(pio, config->rtc_offset, &chips->rtc);
        if (r < 0)
                return r;
        r = pci_ports_new(parts, pio, pci, &chips->ports);
        if (r < 0)
                return r;
        r = bus_add(pio, LAYOUT_PORT_KBD_RESET, 1, &kbd_ops, chips);
        if (r < 0)
                return r;
        *ret = TAKE(chips);
        return 0;
}

struct arch_chips *arch_chips_free(struct arch_chips *chips) {
        if (!chips)
                return NULL;
        bus_remove(chips->pio, chips);
        pci_ports_free(chips->ports);
        serial_free(chips->serial);
        rtc_free(chips->rtc);
        free(chips);
        return NULL;
}

int arch_chips_start(struct arch_chips *chips, int (*prepare)(void *arg), void *arg) {
        return serial_start(chips->serial, prepare, arg);
}
