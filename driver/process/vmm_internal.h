/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vmm.c (the process) and vmm_io.c (its control socket) share. */
#pragma once

#include <signal.h>

#include "vmm.h"

struct Vmm {
        gatomicrefcount refs;
        GMutex lock; /* guards all below; a leaf: nothing else is locked while it is held */
        GCond cond;  /* a call was answered, the socket closed, or the process ended */

        VmmCallbacks callbacks;
        pid_t pid;
        guint64 start_time;
        int pidfd;

        int fd;             /* the control socket; open until the last reference goes */
        guint32 version;    /* of the protocol, agreed on in HELLO; 0: not yet */
        gboolean closed;    /* no more packets will be sent or received */
        gboolean exited;
        gboolean has_status; /* `status` is known: the process was our child */
        siginfo_t status;
        gboolean muted;     /* no callbacks: not yet, or, after vmm_disconnect(), no more */
        gboolean exit_told; /* callbacks.exited has been called */
        char *close_reason; /* why `closed`; for the errors of later calls */

        gboolean late;      /* a call has timed out, and nothing was answered since */
        guint32 last_serial;
        GQueue calls;      /* Call*: waiting for their replies */
        GQueue events;     /* GBytes*: for the main context */
        GSource *delivery; /* hands `events` and the end over; attached when there is something */
        GSource *socket_source, *exit_source;
};

/* Starts watching vmm->fd and vmm->pidfd. Each watch holds a reference. */
void vmm_io_start(Vmm *vmm);
/* Lets callbacks happen, that of an end which has come already included. */
void vmm_io_unmute(Vmm *vmm);
/* Ends the watches and all pending calls. */
void vmm_io_stop(Vmm *vmm);
