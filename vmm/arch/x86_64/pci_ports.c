/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ports 0xcf8 and 0xcfc (PCI Local Bus 3.0 §3.2.2.3.2): an address is latched, then data is accessed. Kernels use them
 * before they have read ACPI. The latch has a lock, since vCPUs may use it at the same time.
 */
#include "pci_ports.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/cleanup.h"
#include "layout.h"

#define CF8_ENABLE BIT(31)
#define DATA_PORT  4u /* from 0xcf8 on */

struct pci_ports {
        struct part part;
        struct bus *pio;
        struct pci_host *host;
        pthread_mutex_t lock;
        uint32_t address; /* port 0xcf8 */
};

static uint32_t latched(struct pci_ports *ports) {
        uint32_t address;

        (void) pthread_mutex_lock(&ports->lock);
        address = ports->address;
        (void) pthread_mutex_unlock(&ports->lock);
        return address;
}

static void latch(struct pci_ports *ports, uint32_t address) {
        (void) pthread_mutex_lock(&ports->lock);
        ports->address = address;
        (void) pthread_mutex_unlock(&ports->lock);
}

static bool is_latch(uint64_t port, unsigned len) {
        return port == 0 && len == 4;
}

/* Bus 23:16, device 15:11, function 10:8, register 7:2. */
static bool names_function(uint32_t address, uint64_t port) {
        return port >= DATA_PORT && (address & CF8_ENABLE) && (address >> 16 & 0xff) == 0;
}

static unsigned offset_of(uint32_t address, uint64_t port) {
        return (address & 0xfc) + (unsigned) (port - DATA_PORT);
}

static void port_read(void *arg, uint64_t port, void *data, unsigned len) {
        struct pci_ports *ports = arg;
        uint32_t address = latched(ports);

        if (is_latch(port, len))
                memcpy(data, &address, len);
        else if (names_function(address, port))
                pci_host_config_read(ports->host, address >> 11 & 0x1f, address >> 8 & 7, offset_of(address, port),
                                     data, len);
}

static void port_write(void *arg, uint64_t port, const void *data, unsigned len) {
        struct pci_ports *ports = arg;
        uint32_t address;

        if (is_latch(port, len)) {
                memcpy(&address, data, sizeof(address));
                latch(ports, address);
                return;
        }
        address = latched(ports);
        if (names_function(address, port))
                pci_host_config_write(ports->host, address >> 11 & 0x1f, address >> 8 & 7, offset_of(address, port),
                                      data, len);
}

static const struct bus_ops port_ops = { .read = port_read, .write = port_write };

static int ports_reset(struct part *part, const char **ret_text) {
        latch(CONTAINER_OF(part, struct pci_ports, part), 0);
        return 0;
}

static const struct part_ops part_ops = { .reset = ports_reset };

int pci_ports_new(struct parts *parts, struct bus *pio, struct pci_host *host, struct pci_ports **ret) {
        AUTOFREE struct pci_ports *ports = calloc(1, sizeof(*ports));
        int r;

        if (!ports)
                return -ENOMEM;
        ports->pio = pio;
        ports->host = host;
        r = bus_add(pio, LAYOUT_PORT_PCI, 8, &port_ops, ports);
        if (r < 0)
                return r;
        (void) pthread_mutex_init(&ports->lock, NULL);
        part_add(parts, &ports->part, PART_DEVICE, &part_ops);
        *ret = TAKE(ports);
        return 0;
}

struct pci_ports *pci_ports_free(struct pci_ports *ports) {
        if (!ports)
                return NULL;
        part_remove(&ports->part);
        bus_remove(ports->pio, ports);
        (void) pthread_mutex_destroy(&ports->lock);
        free(ports);
        return NULL;
}
