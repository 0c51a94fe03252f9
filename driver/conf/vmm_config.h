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
        const DomainChar *serial; /* SET_SERIAL with its pty master; NULL: none. Points into the def */
        unsigned n_disks;
        struct ctl_disk disk[DOMAIN_DISKS_MAX]; /* with the fd of def->disks[i]; those without a source are left out */
        const DomainDisk *disk_def[DOMAIN_DISKS_MAX];
        gboolean disk_direct[DOMAIN_DISKS_MAX]; /* the fd is to be opened O_DIRECT */
        unsigned n_nics;
        struct ctl_nic nic[DOMAIN_NICS_MAX]; /* with the TAP of def->nics[i]; name and MTU are filled in at start */
        const DomainNic *nic_def[DOMAIN_NICS_MAX];
        unsigned n_ports;
        struct ctl_port port[DOMAIN_CHARS_MAX]; /* its fd: a pty master, a listening socket or a file */
        const DomainChar *port_def[DOMAIN_CHARS_MAX];
        gboolean has_rng;
        struct ctl_rng rng; /* with the fd of def->rng->backend_path */
} VmmConfig;

/* VIR_ERR_CONFIG_UNSUPPORTED for what the monitor cannot do. The result points into `def`; devices have no ids yet. */
gboolean vmm_config_from_def(const DomainDef *def, VmmConfig *ret, GError **err);
/* The enum ctl_action of an on_* element. */
guint8 vmm_config_action(DomainAction action);

/* What a start needs beyond being well-formed: a kernel, raw disks. VIR_ERR_CONFIG_UNSUPPORTED with what to do. */
gboolean domain_def_check_startable(const DomainDef *def, GError **err);
