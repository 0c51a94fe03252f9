/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that a start gathers before the domain runs, with one function that releases
 * it all. start.c drives it; resources.c opens what needs only the definition.
 */
#pragma once

#include "conf/vmm_config.h"
#include "domain/internal.h"
#include "net/tap.h"

typedef struct Launch {
        Domain *domain;
        DomainDef *def;   /* the copy that becomes the live definition */
        VmmConfig config; /* points into def */
        Vmm *vmm;
        guint32 uid; /* held by this until the domain runs; 0: none was free */
        char *unit, *slice, *machine, *cgroup;
        Terminals *terminals;
        DeviceIds *devices;
        gboolean scope_started, registered;
        gboolean refused;   /* the monitor has answered the last request with an error, so it lives */
        gboolean owns_name; /* nobody else's monitor has it, so its files in the state directory are this start's */
        int kvm_fd, kernel_fd, initrd_fd, serial_fd, exit_fd, rng_fd;
        int disk_fd[DOMAIN_DISKS_MAX];
        int port_fd[DOMAIN_CHARS_MAX];
        int serial_log_fd, port_log_fd[DOMAIN_CHARS_MAX]; /* -1: no log */
        const char *bound[DOMAIN_CHARS_MAX];              /* paths of sockets that were made; in def */
        unsigned n_bound;
        unsigned n_taps;
        Tap tap[DOMAIN_NICS_MAX];
        int vhost_fd[DOMAIN_NICS_MAX];
} Launch;

/* Takes `def`. */
Launch *launch_new(Domain *d, DomainDef *def, int id);
/* Closes all descriptors; the monitor has its own copies. */
void launch_close(Launch *l);
void launch_free(Launch *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Launch, launch_free)

/* Opens kernel, initrd, disks, consoles, channels and the devices; errors name the file. No lock held. */
gboolean launch_open(Launch *l, GError **err);
/* Chooses the ids of the network ports that launch_plug() makes, so that they are on disk before the ports exist. */
void launch_choose_ports(Launch *l);
/* Makes the TAPs, and network ports where the NIC is in a libvirt network. */
gboolean launch_plug(Launch *l, GError **err);
/* Deletes what launch_open() left outside this process. */
void launch_unlink(Launch *l);

/* What an interface says of its TAP; points into nic. */
TapConfig nic_tap_config(const DomainNic *nic);
/* What <bandwidth> asks for; points into nic. */
TapLimits nic_limits(const DomainNic *nic);
/* Limits on existing TAPs, of the first n_nics interfaces; TAPs of our own take theirs with them. */
void def_release_limits(const DomainDef *def, unsigned n_nics);
/* Sockets of channels of a domain that ends. */
void def_release_files(const DomainDef *def);
