/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of the map that the rest of the monitor needs. */
#include "layout.h"

#include "../../base/cleanup.h"
#include "../arch.h"

const struct arch_layout arch_layout = {
        .pci_window = LAYOUT_PCI_WINDOW,
        .pci_window_size = LAYOUT_PCI_WINDOW_SIZE,
        .ecam = LAYOUT_ECAM,
        .ecam_size = LAYOUT_ECAM_SIZE,
        .power = LAYOUT_PORT_POWER,
        .hotplug = LAYOUT_PORT_HOTPLUG,
        .event_line = LAYOUT_IRQ_GED,
};

unsigned arch_ram(uint64_t size, struct arch_ram ret[ARCH_RAM_MAX]) {
        uint64_t low = MIN(size, LAYOUT_HOLE_START);

        ret[0] = (struct arch_ram) { .gpa = 0, .size = low };
        ret[1] = (struct arch_ram) { .gpa = LAYOUT_HOLE_END, .size = size - low };
        return size > low ? 2 : 1;
}
