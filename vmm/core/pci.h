/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI host bridge and its one bus.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <pthread.h>

#include "bus.h"
#include "irq.h"
#include "part.h"
#include "version.h"

#define PCI_SLOTS        32u /* slot 0 is the host bridge */
#define PCI_SLOT_LAST    30u /* for a device that may come and go; the first is 1 */
#define PCI_CONFIG_BYTES 256u
#define PCI_MSIX_SIZE    0x2000u /* of the BAR: table in the first half, pending bits in the second */
#define PCI_MSIX_MAX     256u

struct pci_host;
struct pci_device;

struct pci_device_ops {
        /* Access to the device's memory BAR; offset+len inside. vCPU threads, several at a time. */
        void (*bar_read)(struct pci_device *dev, uint64_t offset, void *data, unsigned len);
        void (*bar_write)(struct pci_device *dev, uint64_t offset, const void *data, unsigned len);
        /* Optional: the BAR now answers at `address`, or nowhere. vCPU threads, one at a time. */
        void (*bar_moved)(struct pci_device *dev, bool mapped, uint64_t address);
        /* Optional: an access to [offset, offset+len) of configuration space, before a read and after a write. */
        void (*config_read)(struct pci_device *dev, unsigned offset, unsigned len);
        void (*config_written)(struct pci_device *dev, unsigned offset, unsigned len);
};

struct msix_vector {
        int fd; /* write 1: interrupt */
        unsigned gsi;
        uint64_t address;
        uint32_t data;
        bool masked, attached;
};

struct msix {
        struct irq *irq;
        pthread_mutex_t lock; /* guards the vectors */
        unsigned n;
        unsigned capability;   /* offset in configuration space */
        uint64_t table_offset; /* in the BAR */
        struct msix_vector *vector;
};

/* Embedded as the first member of a PCI device's own struct. */
struct pci_device {
        const struct pci_device_ops *ops;
        struct pci_host *host; /* NULL: not plugged */
        pthread_mutex_t lock;  /* guards config and the BAR's place */
        uint8_t config[PCI_CONFIG_BYTES];
        uint8_t writable[PCI_CONFIG_BYTES]; /* bits that the guest can change */
        unsigned capability_end;            /* where the next capability goes */
        unsigned last_capability;           /* 0: none yet */
        uint64_t bar_size;                  /* power of two; 0: no BAR */
        bool bar_mapped;
        uint64_t bar_address;
        uint64_t bar_home;  /* where it is after a reset */
        bool hidden;        /* for good: the guest finds nothing in the slot; changes while no vCPU runs */
        _Atomic bool muted; /* the guest has cleared the bus master bit: see pci.c */
        struct msix msix;
};

/* Claims ECAM and the MMIO window. */
int pci_host_new(struct parts *parts, const struct machine_version *version, struct bus *mmio, struct pci_host **ret);
struct pci_host *pci_host_free(struct pci_host *host); /* not the devices; NULL is fine; returns NULL */

const struct machine_version *pci_host_version(const struct pci_host *host);
/* An access to configuration space; where there is nothing it changes neither `data` nor anything else. Any thread. */
void pci_host_config_read(struct pci_host *host, unsigned slot, unsigned function, unsigned offset, void *data,
                          unsigned len);
void pci_host_config_write(struct pci_host *host, unsigned slot, unsigned function, unsigned offset, const void *data,
                           unsigned len);

/* Identity of a new device. After it: BAR, capabilities, MSI-X, then pci_host_add(). */
void pci_device_init(struct pci_device *dev, const struct pci_device_ops *ops, const struct pci_id *id,
                     uint32_t class_code);
void pci_device_done(struct pci_device *dev);

/* Adds a capability (id and next pointer included in `len`); its offset, or -ENOSPC. */
int pci_device_add_capability(struct pci_device *dev, const void *capability, unsigned len);
/* A 64-bit memory BAR 0; size a power of two, at least 4 KiB. */
void pci_device_set_bar(struct pci_device *dev, uint64_t size);
/*
 * Puts the device into a slot, 0: the first free one, and its BAR into the window; vCPUs that run reach it at once. The
 * slot, or -ENOSPC: the bus is full; -EEXIST: the slot is taken.
 */
int pci_host_add(struct pci_host *host, struct pci_device *dev, unsigned slot);
unsigned pci_device_slot(const struct pci_device *dev); /* 0: not plugged */
/* The guest finds nothing where the device is, which keeps slot and place. While no vCPU runs. */
void pci_device_hide(struct pci_device *dev);
/* Gives slot and place back; one that is not plugged is fine. While no vCPU runs. */
void pci_host_remove(struct pci_device *dev);
/* As after power on; unmasks nothing. While no vCPU runs. */
void pci_device_reset(struct pci_device *dev);

/* MSI-X (msix.c): `n` vectors with the table at `table_offset` of the BAR. Makes the vectors' eventfds. */
int msix_init(struct pci_device *dev, struct irq *irq, unsigned n, uint64_t table_offset);
void msix_done(struct pci_device *dev);
void msix_reset(struct pci_device *dev);
bool msix_is_enabled(const struct pci_device *dev);
/* Brings the eventfds in line with enable and mask bits after these were written. */
void msix_update(struct pci_device *dev);
void msix_read(struct pci_device *dev, uint64_t offset, void *data, unsigned len); /* from table_offset on */
void msix_write(struct pci_device *dev, uint64_t offset, const void *data, unsigned len);
/* Sends a vector's interrupt, or leaves it pending when masked; any thread. */
void msix_raise(struct pci_device *dev, unsigned vector);
