/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio over PCI (virtio 1.2 §4.1), modern devices only.
 */
#pragma once

#include "irq.h"
#include "memory.h"
#include "part.h"
#include "pci.h"
#include "virtio.h"

/*
 * Plugs the device into the bus, at `slot` or with 0 at the first free one, and registers it as a part of the machine,
 * whose resets and standing still it takes part in. On success the transport owns it, and the result is its slot.
 * -EEXIST: the slot is taken; -ENOSPC: all are, or something else is used up.
 */
int virtio_pci_new(struct parts *parts, struct pci_host *host, struct irq *irq, int vm_fd, struct guest_mem *mem,
                   struct virtio_device *dev, unsigned slot);
/* Its PCI slot; 0: it was unplugged. */
unsigned virtio_pci_slot(const struct virtio_device *dev);
/* Whether a driver has begun to use it since the last reset. Any thread but the device's. */
bool virtio_pci_has_driver(const struct virtio_device *dev);

/*
 * The way out of a machine that goes on, all on the control thread:
 *
 *   leave     the guest's writes have no effect any more, requests come to their end, what was written becomes stable
 *   hide      with all vCPUs at the gate: the guest has let go of it, and finds nothing where it is
 *   is_busy   until it is false; part_settled() says when. It takes as long as the host's storage does
 *   unplug    with all vCPUs at the gate: slot and BAR are free
 *   free      waits for no storage then
 */
void virtio_pci_leave(struct virtio_device *dev); /* once is enough */
bool virtio_pci_is_leaving(const struct virtio_device *dev);
bool virtio_pci_is_busy(const struct virtio_device *dev);
void virtio_pci_hide(struct virtio_device *dev); /* optional */
void virtio_pci_unplug(struct virtio_device *dev);
/*
 * Resets, then frees device and transport, and gives back all that they took. Unless it was unplugged, no vCPU thread
 * may exist. Returns NULL.
 */
struct virtio_device *virtio_pci_free(struct virtio_device *dev);
