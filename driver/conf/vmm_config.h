/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The translation of a definition into control messages for the monitor, without their
 * headers and descriptors. Pure: nothing is opened, so golden files can hold its result.
 */
#pragma once

#include <glib.h>

#include "../../vmm/ctl/ctl.h"
#include "domain_def.h"

/* What a definition may hold fits into what the monitor takes. */
G_STATIC_ASSERT(DOMAIN_NAME_MAX < CTL_NAME_MAX);
G_STATIC_ASSERT(DOMAIN_VCPUS_MAX == CTL_VCPUS_MAX);
G_STATIC_ASSERT(DOMAIN_MEMORY_KIB_MIN * 1024ull == CTL_MEMORY_MIN);
G_STATIC_ASSERT(DOMAIN_MTU_MIN == CTL_MTU_MIN);
G_STATIC_ASSERT(DOMAIN_PCI_SLOT_LAST == CTL_SLOT_MAX);
G_STATIC_ASSERT(DOMAIN_DISKS_MAX == CTL_DISKS_MAX);
G_STATIC_ASSERT(DOMAIN_NICS_MAX == CTL_NICS_MAX);
G_STATIC_ASSERT(DOMAIN_CHARS_MAX == CTL_PORTS_MAX);
G_STATIC_ASSERT(DOMAIN_CPU_FEATURES_MAX == CTL_CPU_FEATURES_MAX);
G_STATIC_ASSERT(sizeof(((DomainCpuFeature *) NULL)->name) == CTL_FEATURE_NAME_MAX);

typedef struct VmmConfig {
        struct ctl_machine machine; /* with the fd of /dev/kvm */
        struct ctl_cpu cpu;         /* n 0: not to be sent */
        struct ctl_cmdline cmdline;
} VmmConfig;

/* Of the machine. VIR_ERR_CONFIG_UNSUPPORTED for what the monitor cannot do, with its devices too. */
gboolean vmm_config_from_def(const DomainDef *def, VmmConfig *ret, GError **err);
/* VIR_ERR_CONFIG_UNSUPPORTED for devices that the monitor does not have, or not so many. */
gboolean vmm_config_check_devices(const DomainDef *def, GError **err);
/* Of one device: ids are the caller's, and an interface's name and MTU are those of its TAP. */
void vmm_config_disk(const DomainDisk *disk, struct ctl_disk *ret);
gboolean vmm_config_disk_is_direct(const DomainDisk *disk); /* its fd is to be opened O_DIRECT */
void vmm_config_nic(const DomainNic *nic, struct ctl_nic *ret);
gboolean vmm_config_port(const DomainDef *def, const DomainChar *chr, struct ctl_port *ret, GError **err);
void vmm_config_rng(const DomainRng *rng, struct ctl_rng *ret);
void vmm_config_vsock(const DomainVsock *vsock, struct ctl_vsock *ret);
/* The enum ctl_action of an on_* element. */
guint8 vmm_config_action(DomainAction action);

/* What a start needs beyond being well-formed: a kernel, raw disks. VIR_ERR_CONFIG_UNSUPPORTED with what to do. */
gboolean domain_def_check_startable(const DomainDef *def, GError **err);
