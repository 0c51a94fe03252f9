/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Versions of the machine: what guests see of it beyond what the definition asks for. A guest that was started under a
 * version meets the same machine wherever it goes on, whatever monitor runs it; so what a version says never changes.
 * board/version.c has the values, and arch/ those of the processor and the tables; here is what can differ, for those
 * who build the machine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arch/arch.h"

#define VERSION_VIRTIO_TYPES 8u

struct pci_id {
        uint16_t vendor, device, subsystem_vendor, subsystem;
        uint8_t revision;
};

struct virtio_version {
        uint16_t type;       /* VIRTIO_ID_*; 0: the end of the list */
        uint16_t queue_size; /* of each queue, at most; the driver may choose less */
        uint64_t features;   /* what may be offered at all, the transport's features included */
};

struct machine_version {
        const char *name; /* "micro-1" */

        const struct arch_version *arch; /* processor and tables */
        struct pci_id host_bridge, panic;
        struct pci_id virtio; /* its device id is that of the type 0 */
        struct virtio_version virtio_type[VERSION_VIRTIO_TYPES + 1];
};

/* NULL: the version has no such device. */
static inline const struct virtio_version *version_virtio(const struct machine_version *version, uint16_t type) {
        const struct virtio_version *v = version->virtio_type;

        while (v->type != 0 && v->type != type)
                v++;
        return v->type != 0 ? v : NULL;
}
