/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices on their way into a monitor: all of a domain's when it starts, one when it is attached to a running domain.
 * A plug goes through four steps:
 *
 *   prepare   what its definition leaves open is chosen, so that the status can name it before it exists
 *   open      descriptors, as the daemon's user; no process needs to run
 *   connect   what the next daemon has to find in the status, should this one die: TAPs, ports of networks
 *   send      its request, with the descriptors, which the monitor has from then on
 *
 * After a failure plug_undo() gives back what the steps so far have made outside of this process; what a device that
 * was sent has there is given back by device_release(), when the monitor has let go of it.
 */
#pragma once

#include "domain/device.h"

/* For whom devices are plugged. Nothing of it is a Plug's own. */
struct PlugHost {
        Domain *domain;
        DomainDef *def;       /* the copy that becomes the live definition: devices of plugs are in it */
        Terminals *terminals; /* what clients open of consoles and channels goes here */
};

struct Plug {
        const DeviceKind *kind;
        gpointer device;
        enum ctl_type type; /* of its request; known when it is open */
        union {
                struct ctl_header header; /* SET_SERIAL: nothing else */
                struct ctl_disk disk;
                struct ctl_nic nic;
                struct ctl_port port;
                struct ctl_rng rng;
                struct ctl_vsock vsock;
        } message;
        gsize size;         /* of the member of `message` */
        int fd[2];          /* in the order in which they are sent; -1: none */
        int ifindex;        /* of an interface's TAP; 0: none */
        guint mtu;          /* of the TAP, bytes */
        guint64 file_size;  /* of a regular file that the monitor may write, bytes; 0: none */
        gboolean connected; /* something outside of this process is to be given back */
};

/* Plugs for all devices of a definition that a monitor gets, in the order in which it gets them. Freed with their
 * descriptors. */
GPtrArray *plugs_new(DomainDef *def);
/* One for a device of `def`. */
Plug *plug_new(const DeviceKind *kind, gpointer device);
void plug_free(Plug *plug);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Plug, plug_free)

const char *plug_alias(const Plug *plug);
/* Of one that is open: whether it is known to the monitor by an id, as all but the serial port. */
gboolean plug_has_id(const Plug *plug);

/* The steps. No lock held. */
gboolean plug_prepare(Plug *plug, const PlugHost *host, GError **err);
gboolean plug_open(Plug *plug, const PlugHost *host, GError **err);
gboolean plug_connect(Plug *plug, const PlugHost *host, GError **err);
/* *ret_refused: the monitor has answered with an error. A plug that has an id gets this one. */
gboolean plug_send(Plug *plug, const PlugHost *host, Vmm *vmm, guint32 id, gboolean *ret_refused, GError **err);
void plug_close(Plug *plug);
/* Closes it and gives back what it has made. */
void plug_undo(Plug *plug, const PlugHost *host);
