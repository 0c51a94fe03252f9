/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PCI: a host bridge at 00:00.0 and one bus of single-function devices.
 *
 * Configuration space is reached by ECAM (PCI Express Base 5.0 §7.2.2: 4 KiB per function, announced in the MCFG
 * table), and by what else an architecture has. Functions are conventional: 256 bytes, beyond that ones. Each device
 * has a mask of bits that the guest can change, everything else is constant.
 *
 * A device has at most one BAR: 64-bit memory at BAR 0, for which pci_host_add() finds a place that is no other
 * device's home in the window below 4 GiB, since there is no firmware to do it. The guest can size and move it
 * (§6.2.5.1): the mask makes the low bits read as zero. An access to the window is looked up among the devices with
 * memory decoding on, the lowest slot first.
 *
 * Bus mastering (§6.2.2): a guest clears a device's bit to keep it off memory, as Linux does for all devices
 * before it jumps into another kernel. Such a device is muted until the bit is set again: it sends no
 * interrupts, which are memory writes too, and its config_written() stops its work. A device whose bit was
 * never set works, since firmware would have set it.
 *
 * Locks: config and BAR place of a device under its own lock. BAR accesses are forwarded with no lock held, so a device
 * may block and call back. Slots have none: the control thread fills one in one store, when the device is complete, and
 * empties it only while no vCPU runs.
 */
#include "pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "../arch/arch.h"
#include "../base/cleanup.h"

#define ECAM_FUNCTION_BYTES 4096u
#define CAPABILITY_START    0x40u
#define CAPABILITY_ALIGN    4u

#define HOST_CLASS 0x060000u

struct pci_host {
        struct part part;
        const struct machine_version *version;
        struct pci_device *_Atomic slot[PCI_SLOTS];
        struct pci_device bridge;
        struct bus *mmio;
};

static uint32_t load32(const uint8_t *p) {
        uint32_t value;

        memcpy(&value, p, sizeof(value));
        return value;
}

static void store16(uint8_t *p, uint16_t value) {
        memcpy(p, &value, sizeof(value));
}

static void store32(uint8_t *p, uint32_t value) {
        memcpy(p, &value, sizeof(value));
}

static bool decodes_memory(const struct pci_device *dev) {
        return dev->bar_size > 0 && (dev->config[PCI_COMMAND] & PCI_COMMAND_MEMORY);
}

/* The BAR's address; valid only inside the window, so it cannot cover RAM or chips. */
static bool bar_place(const struct pci_device *dev, uint64_t *ret) {
        uint64_t address = (load32(dev->config + PCI_BASE_ADDRESS_0) & ~(uint64_t) 0xf) |
                           (uint64_t) load32(dev->config + PCI_BASE_ADDRESS_1) << 32;

        if (!decodes_memory(dev) || address < arch_layout.pci_window ||
            address - arch_layout.pci_window > arch_layout.pci_window_size - dev->bar_size)
                return false;
        *ret = address;
        return true;
}

/* Under the device's lock: notifies the device that its BAR appeared, vanished or moved. */
static void update_bar(struct pci_device *dev) {
        uint64_t address = 0;
        bool mapped = bar_place(dev, &address);

        if (mapped == dev->bar_mapped && address == dev->bar_address)
                return;
        dev->bar_mapped = mapped;
        dev->bar_address = address;
        if (dev->ops && dev->ops->bar_moved)
                dev->ops->bar_moved(dev, mapped, address);
}

static void config_read(struct pci_device *dev, unsigned offset, void *data, unsigned len) {
        if (dev->ops && dev->ops->config_read)
                dev->ops->config_read(dev, offset, len);
        (void) pthread_mutex_lock(&dev->lock);
        memcpy(data, dev->config + offset, len);
        (void) pthread_mutex_unlock(&dev->lock);
}

/* Under the device's lock, after a write; `before` is what the command register was. */
static void update_mastering(struct pci_device *dev, uint8_t before) {
        bool was = before & PCI_COMMAND_MASTER, is = dev->config[PCI_COMMAND] & PCI_COMMAND_MASTER;

        if (was != is)
                dev->muted = was;
}

static void config_write(struct pci_device *dev, unsigned offset, const void *data, unsigned len) {
        const uint8_t *p = data;
        uint8_t command;

        (void) pthread_mutex_lock(&dev->lock);
        command = dev->config[PCI_COMMAND];
        for (unsigned i = 0; i < len; i++) {
                uint8_t mask = dev->writable[offset + i];

                dev->config[offset + i] = (uint8_t) ((dev->config[offset + i] & ~mask) | (p[i] & mask));
        }
        update_mastering(dev, command);
        update_bar(dev);
        (void) pthread_mutex_unlock(&dev->lock);
        if (dev->ops && dev->ops->config_written)
                dev->ops->config_written(dev, offset, len);
}

/* The device that a configuration access goes to, or NULL: nothing there. */
static struct pci_device *config_target(struct pci_host *host, unsigned slot, unsigned function, unsigned offset,
                                        unsigned len) {
        struct pci_device *dev;

        if (slot >= PCI_SLOTS || function != 0 || len > 4 || offset + len > PCI_CONFIG_BYTES)
                return NULL;
        dev = host->slot[slot];
        return dev && !dev->hidden ? dev : NULL;
}

static struct pci_device *ecam_target(struct pci_host *host, uint64_t offset, unsigned len) {
        unsigned function = (unsigned) (offset / ECAM_FUNCTION_BYTES);

        return config_target(host, function / 8, function % 8, (unsigned) (offset % ECAM_FUNCTION_BYTES), len);
}

static void ecam_read(void *arg, uint64_t offset, void *data, unsigned len) {
        struct pci_device *dev = ecam_target(arg, offset, len);

        if (dev)
                config_read(dev, (unsigned) (offset % ECAM_FUNCTION_BYTES), data, len);
}

static void ecam_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        struct pci_device *dev = ecam_target(arg, offset, len);

        if (dev)
                config_write(dev, (unsigned) (offset % ECAM_FUNCTION_BYTES), data, len);
}

void pci_host_config_read(struct pci_host *host, unsigned slot, unsigned function, unsigned offset, void *data,
                          unsigned len) {
        struct pci_device *dev = config_target(host, slot, function, offset, len);

        if (dev)
                config_read(dev, offset, data, len);
}

void pci_host_config_write(struct pci_host *host, unsigned slot, unsigned function, unsigned offset, const void *data,
                           unsigned len) {
        struct pci_device *dev = config_target(host, slot, function, offset, len);

        if (dev)
                config_write(dev, offset, data, len);
}

/* The device whose BAR covers the whole access, and where in the BAR it is. */
static struct pci_device *window_target(struct pci_host *host, uint64_t offset, unsigned len, uint64_t *ret_offset) {
        uint64_t address = arch_layout.pci_window + offset;

        for (unsigned i = 0; i < PCI_SLOTS; i++) {
                struct pci_device *dev = host->slot[i];
                bool hit;

                if (!dev)
                        continue;
                (void) pthread_mutex_lock(&dev->lock);
                hit = dev->bar_mapped && address >= dev->bar_address &&
                      address - dev->bar_address <= dev->bar_size - len;
                *ret_offset = address - dev->bar_address;
                (void) pthread_mutex_unlock(&dev->lock);
                if (hit)
                        return dev;
        }
        return NULL;
}

static void window_read(void *arg, uint64_t offset, void *data, unsigned len) {
        uint64_t reg;
        struct pci_device *dev = window_target(arg, offset, len, &reg);

        if (dev)
                dev->ops->bar_read(dev, reg, data, len);
}

static void window_write(void *arg, uint64_t offset, const void *data, unsigned len) {
        uint64_t reg;
        struct pci_device *dev = window_target(arg, offset, len, &reg);

        if (dev)
                dev->ops->bar_write(dev, reg, data, len);
}

static const struct bus_ops ecam_ops = { .read = ecam_read, .write = ecam_write };
static const struct bus_ops window_ops = { .read = window_read, .write = window_write };

static int host_reset(struct part *part, const char **ret_text) {
        struct pci_host *host = CONTAINER_OF(part, struct pci_host, part);

        pci_device_reset(&host->bridge);
        return 0;
}

static const struct part_ops part_ops = { .reset = host_reset };

static void free_p(struct pci_host **host) {
        pci_host_free(*host);
}

int pci_host_new(struct parts *parts, const struct machine_version *version, struct bus *mmio, struct pci_host **ret) {
        CLEANUP(free_p) struct pci_host *host = NULL;
        int r;

        host = calloc(1, sizeof(*host));
        if (!host)
                return -ENOMEM;
        host->version = version;
        host->mmio = mmio;
        pci_device_init(&host->bridge, NULL, &version->host_bridge, HOST_CLASS);
        host->slot[0] = &host->bridge;
        r = bus_add(mmio, arch_layout.ecam, arch_layout.ecam_size, &ecam_ops, host);
        if (r < 0)
                return r;
        r = bus_add(mmio, arch_layout.pci_window, arch_layout.pci_window_size, &window_ops, host);
        if (r < 0)
                return r;
        part_add(parts, &host->part, PART_DEVICE, &part_ops);
        *ret = TAKE(host);
        return 0;
}

struct pci_host *pci_host_free(struct pci_host *host) {
        if (!host)
                return NULL;
        part_remove(&host->part);
        bus_remove(host->mmio, host);
        pci_device_done(&host->bridge);
        free(host);
        return NULL;
}

const struct machine_version *pci_host_version(const struct pci_host *host) {
        return host->version;
}

void pci_device_init(struct pci_device *dev, const struct pci_device_ops *ops, const struct pci_id *id,
                     uint32_t class_code) {
        *dev = (struct pci_device) { .ops = ops, .capability_end = CAPABILITY_START };
        (void) pthread_mutex_init(&dev->lock, NULL);
        store16(dev->config + PCI_VENDOR_ID, id->vendor);
        store16(dev->config + PCI_DEVICE_ID, id->device);
        store32(dev->config + PCI_CLASS_REVISION, class_code << 8 | id->revision);
        store16(dev->config + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
        store16(dev->config + PCI_SUBSYSTEM_ID, id->subsystem);
        store16(dev->writable + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
        dev->writable[PCI_INTERRUPT_LINE] = 0xff;
        dev->writable[PCI_CACHE_LINE_SIZE] = 0xff;
        dev->writable[PCI_LATENCY_TIMER] = 0xff;
}

void pci_device_done(struct pci_device *dev) {
        (void) pthread_mutex_destroy(&dev->lock);
}

/* PCI Local Bus 3.0 §6.7: a linked list that starts at 0x34. */
int pci_device_add_capability(struct pci_device *dev, const void *capability, unsigned len) {
        unsigned at = dev->capability_end;
        unsigned link = dev->last_capability == 0 ? PCI_CAPABILITY_LIST : dev->last_capability + PCI_CAP_LIST_NEXT;

        if (len > PCI_CONFIG_BYTES - at)
                return -ENOSPC;
        memcpy(dev->config + at, capability, len);
        dev->config[at + PCI_CAP_LIST_NEXT] = 0;
        dev->config[link] = (uint8_t) at;
        dev->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
        dev->last_capability = at;
        dev->capability_end = (at + len + CAPABILITY_ALIGN - 1) & ~(CAPABILITY_ALIGN - 1);
        return (int) at;
}

void pci_device_set_bar(struct pci_device *dev, uint64_t size) {
        uint64_t mask = ~(size - 1);

        dev->bar_size = size;
        dev->config[PCI_BASE_ADDRESS_0] = PCI_BASE_ADDRESS_MEM_TYPE_64;
        store32(dev->writable + PCI_BASE_ADDRESS_0, (uint32_t) mask);
        store32(dev->writable + PCI_BASE_ADDRESS_1, (uint32_t) (mask >> 32));
}

/* The device whose home [at, at+size) touches, or NULL. */
static const struct pci_device *neighbour(const struct pci_host *host, uint64_t at, uint64_t size) {
        for (unsigned i = 0; i < PCI_SLOTS; i++) {
                const struct pci_device *dev = host->slot[i];

                if (dev && dev->bar_size > 0 && at < dev->bar_home + dev->bar_size && dev->bar_home < at + size)
                        return dev;
        }
        return NULL;
}

/* The first place that is no other device's home. */
static int place_bar(struct pci_host *host, struct pci_device *dev) {
        const struct pci_device *taken;
        uint64_t at = arch_layout.pci_window;

        if (dev->bar_size == 0)
                return 0;
        while ((taken = neighbour(host, at, dev->bar_size)))
                at = (taken->bar_home + taken->bar_size + dev->bar_size - 1) & ~(dev->bar_size - 1);
        if (at - arch_layout.pci_window > arch_layout.pci_window_size - dev->bar_size)
                return -ENOSPC;
        store32(dev->config + PCI_BASE_ADDRESS_0, (uint32_t) at | PCI_BASE_ADDRESS_MEM_TYPE_64);
        store32(dev->config + PCI_BASE_ADDRESS_1, (uint32_t) (at >> 32));
        dev->bar_home = at;
        return 0;
}

int pci_host_add(struct pci_host *host, struct pci_device *dev, unsigned slot) {
        int r;

        if (slot == 0)
                for (slot = 1; slot < PCI_SLOTS && host->slot[slot]; slot++)
                        ;
        if (slot >= PCI_SLOTS)
                return -ENOSPC;
        if (host->slot[slot])
                return -EEXIST;
        r = place_bar(host, dev);
        if (r < 0)
                return r;
        dev->host = host;
        host->slot[slot] = dev; /* from here on vCPUs reach it */
        return (int) slot;
}

unsigned pci_device_slot(const struct pci_device *dev) {
        for (unsigned i = 1; dev->host && i < PCI_SLOTS; i++)
                if (dev->host->slot[i] == dev)
                        return i;
        return 0;
}

static void unmap_bar(struct pci_device *dev) {
        (void) pthread_mutex_lock(&dev->lock);
        dev->config[PCI_COMMAND] &= (uint8_t) ~PCI_COMMAND_MEMORY;
        update_bar(dev);
        (void) pthread_mutex_unlock(&dev->lock);
}

void pci_device_hide(struct pci_device *dev) {
        dev->hidden = true;
        unmap_bar(dev);
}

void pci_host_remove(struct pci_device *dev) {
        if (!dev->host)
                return;
        dev->host->slot[pci_device_slot(dev)] = NULL;
        dev->host = NULL;
        unmap_bar(dev);
}

void pci_device_reset(struct pci_device *dev) {
        (void) pthread_mutex_lock(&dev->lock);
        for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
                dev->config[i] &= (uint8_t) ~dev->writable[i];
        dev->muted = false;
        if (dev->bar_size > 0) {
                store32(dev->config + PCI_BASE_ADDRESS_0, (uint32_t) dev->bar_home | PCI_BASE_ADDRESS_MEM_TYPE_64);
                store32(dev->config + PCI_BASE_ADDRESS_1, (uint32_t) (dev->bar_home >> 32));
        }
        update_bar(dev);
        (void) pthread_mutex_unlock(&dev->lock);
        if (dev->msix.n > 0)
                msix_reset(dev);
}
