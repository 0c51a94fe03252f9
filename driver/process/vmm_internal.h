/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What vmm.c (the object), vmm_socket.c (its control socket), vmm_connect.c (the connection) and vmm_io.c (its
 * traffic) share.
 */
#pragma once

#include <glib-unix.h>
#include <signal.h>

#include "vmm.h"

#define READY_SECONDS 10 /* that calls wait for a connection, counted from its loss; the host may be busy */
#define VMM_RETRY_MIN_MS                                                                                               \
        1000u /* from the end of a connection to the next attempt: by then a process that was ending is gone */

struct ctl_message;

typedef enum VmmLink { VMM_LINK_DOWN, VMM_LINK_GREETING, VMM_LINK_UP } VmmLink;

struct Vmm {
        gatomicrefcount refs;
        GMutex lock; /* guards all below; a leaf: nothing else is locked while it is held */
        GCond cond;  /* a call was answered, the connection went up or down, or the process ended */

        VmmCallbacks callbacks;
        pid_t pid;
        guint64 start_time;
        int pidfd;  /* -1: it could not be opened yet */
        char *path; /* of the control socket */

        int fd; /* one number for all connections, open until the last reference goes; -1: none was made */
        VmmLink link;
        guint64 connections;         /* that have ended: a call that waits belongs to the one after these */
        guint32 version;             /* of the protocol, agreed on in HELLO; 0: not yet */
        guint32 greeting;            /* serial of the HELLO or QUERY that the connection waits for */
        gboolean asks;               /* QUERY is part of the greeting, to learn what was missed */
        gboolean stopped;            /* no more attempts */
        char *down_reason;           /* why there is no connection; NULL: there is */
        gint64 down_since, up_since; /* monotonic; up_since 0: not up */
        guint retry_ms;              /* the pause before the next attempt */
        guint faults;                /* of connections, in this burst */

        gboolean exited;
        gboolean has_status; /* `status` is known: the process was our child */
        siginfo_t status;
        gboolean muted;     /* no callbacks: not yet, or, after vmm_disconnect(), no more */
        gboolean exit_told; /* callbacks.exited has been called */

        gboolean late; /* a call has timed out, and nothing was answered since then */
        guint32 last_serial;
        GQueue calls;      /* Call*: waiting for their replies */
        GArray *owed;      /* guint32: serials of calls that have timed out, each of which may be answered once */
        GQueue events;     /* GBytes*: for the main context */
        gint64 window_end; /* of PACKETS_PER_WINDOW, */
        guint window_left; /* as many of which are left */
        GSource *delivery; /* delivers `events` and the end; attached when there are any */
        GSource *socket_source, *exit_source;
        GSource *timer; /* the next attempt, or the limit for the first greeting */
        GSource *pause; /* reading goes on after it */
};

/* --- vmm_socket.c: -1 on error ------------------------------------------------------------ */

int vmm_socket_listen(const char *path, GError **err);
int vmm_socket_connect(const char *path, GError **err); /* does not wait for the monitor to accept */

/* --- vmm_connect.c: all with the lock held, except vmm_open_process() ------------------------- */

/* VMM_UNKNOWN: it cannot be told, for want of descriptors or memory. */
typedef enum VmmIdentity { VMM_FOUND, VMM_GONE, VMM_UNKNOWN } VmmIdentity;

/* Opens the process with the number if it was started then. *err is set unless VMM_FOUND. */
VmmIdentity vmm_open_process(pid_t pid, guint64 start_time, int *ret_pidfd, GError **err);
/* Opens the process unless it is open; one that is gone counts as exited from here on. */
gboolean vmm_find_process(Vmm *vmm, GError **err);

/* Has attempts made from now on. */
void vmm_connect_first(Vmm *vmm);
/* After a connection or an attempt has ended. */
void vmm_connect_later(Vmm *vmm);
/* Begins a connection on a connected socket, which is taken. */
void vmm_link_begin(Vmm *vmm, int fd);
void vmm_link_close(Vmm *vmm, const char *reason); /* no fault, or none known */
void vmm_link_break(Vmm *vmm, const char *reason); /* the monitor's */
/* A reply that has come before the connection is up. */
void vmm_greeting_reply(Vmm *vmm, const struct ctl_message *message);

/* --- vmm_io.c ------------------------------------------------------------------------------- */

/* Enables callbacks, including that of an end that has already come. */
void vmm_io_unmute(Vmm *vmm);
/* Ends the watches, all pending calls and all attempts. */
void vmm_io_stop(Vmm *vmm);

/* The rest with the lock held. Each watch and timer holds a reference. */
void vmm_io_watch_process(Vmm *vmm);
void vmm_io_watch_socket(Vmm *vmm);
/* Calls `func` with `vmm` on the receiving thread, once. */
GSource *vmm_io_timer(Vmm *vmm, guint ms, GSourceFunc func);
/* For the main context: a packet, and the end of the process. */
void vmm_io_tell(Vmm *vmm, const struct ctl_message *message);
void vmm_io_tell_exit(Vmm *vmm);
/* The version that packets are in. */
guint32 vmm_version(const Vmm *vmm);
/* Makes a monitor's text fit for logs and terminals: without control characters and broken UTF-8. */
char *vmm_sanitize_text(const char *text);
