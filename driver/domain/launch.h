/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that a start gathers before the domain runs, with one function that releases
 * it all. start.c drives it; resources.c opens what needs only the definition.
 */
#pragma once

#include "conf/vmm_config.h"
#include "domain/internal.h"
#include "domain/plug.h"

typedef struct Launch {
        Domain *domain;
        DomainDef *def; /* the copy that becomes the live definition */
        VmmConfig config;
        GPtrArray *plugs; /* Plug*, with their devices in def; NULL: none was opened */
        Vmm *vmm;
        guint32 uid; /* held by this until the domain runs; 0: none was free */
        char *unit, *slice, *machine, *cgroup;
        Terminals *terminals;
        DeviceIds *devices;
        gboolean scope_started, registered;
        gboolean refused;   /* the monitor has answered the last request with an error, so it lives */
        gboolean owns_name; /* nobody else's monitor has it, so its files in the state directory are this start's */
        int kvm_fd, kernel_fd, initrd_fd, exit_fd;
} Launch;

/* Takes `def`. */
Launch *launch_new(Domain *d, DomainDef *def, int id);
/* Closes all descriptors; the monitor has its own copies. */
void launch_close(Launch *l);
void launch_free(Launch *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Launch, launch_free)

PlugHost launch_host(const Launch *l); /* for its plugs */
/* Opens kernel, initrd and the devices; errors name the file. No lock held. */
gboolean launch_open(Launch *l, GError **err);
