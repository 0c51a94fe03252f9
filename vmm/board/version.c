/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The versions of the machine, a row for each. A row, with its part in arch/x86_64/version.c, is the whole difference
 * between two versions: who builds the machine takes such values from it, and tests/golden/vmm/machine/ has what comes
 * of them, for each version in a file. HACKING.md says when a change needs a new row and how to add it.
 *
 * What is not here is either the definition's to say (number of devices, their slots), follows from it (topology), or
 * the host's (the processor's features; what KVM says of itself from leaf 0x40000000 on).
 */
#include "version.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../base/cleanup.h"
#include "../ctl/ctl.h"

#define RED_HAT 0x1b36u /* ids set aside for virtual hardware (pci-ids) */
#define VIRTIO  0x1af4u /* virtio 1.2 §4.1.2 */

#define RING_FEATURES (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))

#define BLK_FEATURES                                                                                                   \
        (BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_RO) |                         \
         BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_TOPOLOGY) |                     \
         BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES))

#define NET_FEATURES                                                                                                   \
        (BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_MTU) |                         \
         BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6) |                   \
         BIT64(VIRTIO_NET_F_GUEST_ECN) | BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_HOST_TSO6) |               \
         BIT64(VIRTIO_NET_F_HOST_ECN) | BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_NET_F_STATUS))

/* In the order of enum ctl_machine_version, the newest last. */
static const struct machine_version versions[] = {
        {
                .name = "micro-1",
                .arch = &arch_micro_1,
                .host_bridge = { .vendor = RED_HAT, .device = 0x0008 },
                .panic = { RED_HAT, 0x0011, .subsystem_vendor = VIRTIO, .subsystem = 0x1100, .revision = 1 },
                .virtio = { VIRTIO, 0x1040, .subsystem_vendor = VIRTIO, .subsystem = 0x1100, .revision = 1 },
                .virtio_type = { { VIRTIO_ID_NET, 256, RING_FEATURES | NET_FEATURES },
                                 { VIRTIO_ID_BLOCK, 256, RING_FEATURES | BLK_FEATURES },
                                 { VIRTIO_ID_CONSOLE, 128, RING_FEATURES | BIT64(VIRTIO_CONSOLE_F_MULTIPORT) },
                                 { VIRTIO_ID_RNG, 64, RING_FEATURES },
                                 { VIRTIO_ID_VSOCK, 128, RING_FEATURES | BIT64(VIRTIO_VSOCK_F_SEQPACKET) } },
        },
};

_Static_assert(ARRAY_SIZE(versions) == CTL_MACHINE_VERSIONS - 1, "a row for each number of the protocol");

const struct machine_version *machine_version_find(uint32_t number) {
        unsigned index = number ? number - 1 : 0;

        return index < ARRAY_SIZE(versions) ? &versions[index] : NULL;
}

const struct machine_version *machine_version_named(const char *name) {
        if (strcmp(name, "micro") == 0)
                return machine_version_newest();
        for (unsigned i = 0; i < ARRAY_SIZE(versions); i++)
                if (strcmp(versions[i].name, name) == 0)
                        return &versions[i];
        return NULL;
}

void machine_version_list(char *ret, size_t size) {
        size_t used = 0;

        for (unsigned i = 0; i < ARRAY_SIZE(versions) && used < size; i++)
                used += (size_t) snprintf(ret + used, size - used, "%s%s", i > 0 ? ", " : "", versions[i].name);
}

const struct machine_version *machine_version_newest(void) {
        return &versions[ARRAY_SIZE(versions) - 1];
}
