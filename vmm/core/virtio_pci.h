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
/* Resets, then frees device and transport. No vCPU thread may exist. Returns NULL. */
struct virtio_device *virtio_pci_free(struct virtio_device *dev);
