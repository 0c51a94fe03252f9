/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One monitor process seen from the daemon: spawning it, and the client end of its
 * control socket (vmm/ctl/ctl.h). Requests block the calling worker until the reply or
 * a timeout; events and the end of the process arrive on the main context.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "../../vmm/ctl/ctl.h"

typedef struct Vmm Vmm;

typedef struct VmmCallbacks {
        /*
         * Main context's thread, no lock held. `message` is a checked event packet; or, when the connection was made
         * by vmm_adopt() or again after an interruption, the reply to a QUERY, which reports what was missed.
         */
        void (*event)(Vmm *vmm, const struct ctl_header *message, gpointer data);
        /* The process is gone (pidfd became readable). Comes exactly once, after the last event. */
        void (*exited)(Vmm *vmm, gpointer data);
        gpointer data;
} VmmCallbacks;

typedef struct VmmSpawn {
        const char *binary;
        const char *name, *uuid; /* shown by ps and in the monitor's log */
        const char *machine;     /* MACHINE= of its journal entries; NULL: none */
        guint32 uid;
        const char *socket_path; /* the listening control socket is made here, mode 0600 */
        const char *log_path;    /* JOURNAL_STREAM_SOCKET: to this it connects its standard error; NULL: to nothing */
        int log_fd;              /* standard error if that fails; -1: the daemon's own, but not its journal stream */
        int journal_fd;          /* journal_connect(): where it logs once it is up; 0 or less: standard error */
        guint64 memlock;         /* bytes that it may lock (RLIMIT_MEMLOCK); 0: the daemon's own limit */
        void (*made)(Vmm *vmm, gpointer data); /* called before the wait for it: killing it ends that wait */
        gpointer made_data;
} VmmSpawn;

/* Starts the thread that listens to all monitors. Without this call the first monitor starts it. */
void vmm_init(void);

/*
 * Makes the control socket, clones the monitor into a new PID namespace and says HELLO. The monitor waits
 * for its configuration, outside any scope. On error neither process nor socket is left.
 */
Vmm *vmm_spawn(const VmmSpawn *spawn, const VmmCallbacks *callbacks, GError **err);
/*
 * Adopts a monitor that an earlier daemon spawned; NULL with *err set when it is gone. Never waits: the connection is
 * made in the background, however long that takes, and what cannot be opened for want of descriptors or memory is
 * retried.
 */
Vmm *vmm_adopt(const char *socket_path, pid_t pid, guint64 start_time, const VmmCallbacks *callbacks, GError **err);
/* Whether a process listens on the path; this costs it its present peer. FALSE: it cannot be determined. */
gboolean vmm_socket_is_served(const char *path, gboolean *ret, GError **err);

/* A handle stays alive, and watched, until vmm_disconnect(): the last owner calls that first. */
Vmm *vmm_ref(Vmm *vmm);
void vmm_unref(Vmm *vmm); /* does not end the process */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vmm, vmm_unref)
/* No callback is delivered after this has returned (call on the main thread, or before any could come). */
void vmm_disconnect(Vmm *vmm);

pid_t vmm_pid(const Vmm *vmm);
guint64 vmm_start_time(const Vmm *vmm);        /* field 22 of /proc/PID/stat */
void vmm_kill(Vmm *vmm, int signal);           /* by pidfd: never hits another process */
gboolean vmm_wait(Vmm *vmm, guint timeout_ms); /* TRUE when it has ended */
/* How it ended: "exited with status 1", "was killed by signal 9 (Killed)"; NULL while it runs. */
char *vmm_describe_end(Vmm *vmm);
/* Raises the size to which it may write files (RLIMIT_FSIZE), if it is lower; bytes. */
gboolean vmm_allow_file_size(Vmm *vmm, guint64 size, GError **err);
/* Host thread ids of threads that the monitor names by their ids in its own PID namespace. */
gboolean vmm_resolve_threads(const Vmm *vmm, const gint32 *inner, unsigned n, pid_t *ret, GError **err);

/*
 * Sends a request with `n_fds` descriptors (they stay the caller's) and waits for the reply. `message` is filled in
 * but for its header; `size` is its struct's size. A refusal is VIR_ERR_OPERATION_FAILED with the monitor's text; no
 * answer is VIR_ERR_OPERATION_TIMEOUT; no connection for ten seconds is VIR_ERR_OPERATION_FAILED at once. Any thread
 * may call, the main one too, and several at once.
 */
gboolean vmm_call(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, const int *fds, unsigned n_fds,
                  gpointer ret_reply, gsize reply_size, GError **err);
/*
 * The same without descriptors, for callers that prefer no answer to a wait: it takes a second at most, and fails at
 * once for a monitor that still owes the answer to a call that timed out.
 */
gboolean vmm_call_briefly(Vmm *vmm, enum ctl_type type, gpointer message, gsize size, gpointer ret_reply,
                          gsize reply_size, GError **err);
/*
 * The devices that the monitor has at this moment: struct ctl_list_entry, by rising ids, each of a kind and at an
 * address of the protocol. One that is to leave is among them until it has gone. Without `wait` it
 * asks by vmm_call_briefly(). NULL on error, of which an older monitor's is VIR_ERR_OPERATION_UNSUPPORTED.
 */
GArray *vmm_list_devices(Vmm *vmm, gboolean wait, GError **err);
