/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio over PCI (virtio 1.2 §4.1), modern devices only.
 */
#pragma once

#include "irq.h"
#include "memory.h"
#include "pci.h"
#include "virtio.h"

/* Plugs the device into the bus; on success the transport owns it. */
int virtio_pci_new(struct pci_host *host, struct irq *irq, int vm_fd, struct guest_mem *mem, struct virtio_device *dev);
/* Resets, then frees device and transport. No vCPU thread may exist. Returns NULL. */
struct virtio_device *virtio_pci_free(struct virtio_device *dev);
/*
 * What takes as long as requests of the device's are at work: each begins here, and idle(arg), set once before the
 * device runs, is called on the device's loop when the last that had to wait is done. While no vCPU runs.
 */
void virtio_pci_on_idle(struct virtio_device *dev, void (*idle)(void *arg), void *arg);
bool virtio_pci_is_busy(const struct virtio_device *dev);
/* Restores the state after power on: begin, then, when the device is no longer busy, end. */
void virtio_pci_reset_begin(struct virtio_device *dev);
void virtio_pci_reset_end(struct virtio_device *dev);
/* Quiesces the device (virtio_device_ops.quiesce) until it is resumed. */
void virtio_pci_quiesce(struct virtio_device *dev);
void virtio_pci_resume(struct virtio_device *dev);
