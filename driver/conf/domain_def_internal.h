/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of conf/ share about definitions, private to them. */
#pragma once

#include "conf/domain_def.h"

#define DOMAIN_DEVICES_MAX 256u /* elements below <devices>, dropped ones included */
#define DOMAIN_TIMERS_MAX  16u
#define DOMAIN_BOOT_MAX    8u
#define DOMAIN_NOTES_MAX   (2u * DOMAIN_DEVICES_MAX + 16u)

void domain_blkio_device_free(DomainBlkioDevice *device);
void domain_timer_free(DomainTimer *timer);
void domain_disk_free(DomainDisk *disk);
void domain_nic_free(DomainNic *nic);
void domain_char_free(DomainChar *chr);
void domain_rng_free(DomainRng *rng);
void domain_vsock_free(DomainVsock *vsock);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainBlkioDevice, domain_blkio_device_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainTimer, domain_timer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainDisk, domain_disk_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainNic, domain_nic_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainChar, domain_char_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainRng, domain_rng_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainVsock, domain_vsock_free)

DomainChar *domain_char_copy(const DomainChar *chr);

DomainChar *domain_def_first_serial(const DomainDef *def); /* NULL: none */
