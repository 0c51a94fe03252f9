/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The insides of Driver and Domain, for domain/ alone.
 *
 * Locks. Domain.lock guards everything in a Domain but `uuid` and `driver`. What changes
 * a domain, or speaks to its monitor, holds the domain's job; it may drop the lock while
 * it blocks (domain_unlock / domain_lock) and keep the job, so that getters go on
 * meanwhile. Only the job's holder changes a Domain. But a destroy kills the monitor
 * before it has the job, so that the job's holder stops waiting for that monitor, and
 * notes it (`destroyed`) for the clean-up. Driver.lock guards the tables and the
 * counters; it is innermost and held briefly: Domain.lock -> Driver.lock ->
 * EventQueue.lock. No lock is held while a listener or another process is called.
 */
#pragma once

#include <gio/gio.h>

#include "conf/driver_config.h"
#include "driver.h"
#include "net/network.h"
#include "process/guest_log.h"
#include "process/vmm.h"
#include "systemd/journal.h"

#define JOB_WAIT_SECONDS 30    /* as libvirt's QEMU driver */
#define KILL_WAIT_MS     10000 /* a killed process may first have to finish a system call */
#define QUIT_WAIT_MS     15000 /* flushes of disks included */

typedef struct EventQueue EventQueue;
typedef GHashTable Terminals; /* terminals.c: path -> descriptor */
typedef struct Releases Releases;
typedef struct Adoptions Adoptions;
typedef struct DeviceIds DeviceIds;

struct Driver {
        const DriverConfig *config;
        GDBusConnection *bus;    /* the system bus; NULL: no scopes can be made */
        GThreadPool *background; /* what events begin */
        GThreadPool *starts;     /* of domains that start with the host */
        GCancellable *stop;      /* of waits for other processes, at the daemon's end */
        gint stopping;           /* atomic: driver_free() has begun */
        LibvirtClient *libvirt;
        Releases *releases;
        Adoptions *adoptions;
        EventQueue *events;
        GuestLogs *logs; /* guests' output on its way to files */
        struct AffinityWatch *affinity;
        GMutex lock;
        GHashTable *by_name; /* char* -> Domain* (owns a reference) */
        GHashTable *by_uuid; /* 16 bytes -> Domain* */
        int last_id;
        GArray *uids;  /* guint32: of monitors that run or are being started */
        gint n_active; /* domains with an id; atomic */
        int lock_fd;   /* of the state directory */
};

/* What exists only while a monitor runs. */
typedef struct DomainRuntime {
        Vmm *vmm;
        char *unit, *machine, *cgroup;
        Terminals *terminals; /* what clients open of its consoles and channels */
        DeviceIds *devices;
        gboolean registered; /* with machined */
        guint32 uid;
        pid_t vcpu_tid[DOMAIN_VCPUS_MAX]; /* in the host's PID namespace; 0: unknown */
        gboolean misplaced;               /* it was logged that threads cannot run where they are pinned */
        gboolean reboot_pending;          /* an earlier version of the daemon left the
                                           * monitor's power-off action at "restart" */
        gboolean destroyed;               /* a destroy has killed the monitor */
        gboolean compare_devices;         /* a device may have come or gone unseen (hotplug.c) */
        gboolean recovered;               /* its status was lost: libvirt alone knows its ports */
        gboolean unexplained;             /* it was killed for an unknown reason */
        gboolean ended;                   /* the monitor has announced why it ends: state, detail below */
        int end_reason;                   /* virDomainShutoffReason */
        int end_detail;                   /* virDomainEventStoppedDetailType */
} DomainRuntime;

/* A start in progress, for a destroy to interrupt. */
typedef struct DomainStarting {
        gboolean active;
        gboolean destroyed;      /* it will fail */
        gboolean removed;        /* its guest has given a device away */
        Vmm *vmm;                /* as soon as there is one */
        GCancellable *interrupt; /* of its waits for other processes */
} DomainStarting;

struct Domain {
        gatomicrefcount refs;
        Driver *driver;
        guint8 uuid[16];
        GMutex lock;
        GCond job_done;
        gboolean job;      /* somebody holds it */
        gboolean removed;  /* not in the tables any more */
        char *name;        /* changes with both locks held */
        DomainDef *def;    /* the running definition, or the persistent one when inactive */
        DomainDef *newdef; /* persistent definition of an active persistent domain */
        gboolean persistent, autostart;
        gboolean autostarting; /* still to be started with the host (autostart.c) */
        int state, reason;     /* virDomainState and its reason */
        guint n_status_saved;  /* times that the live definition was written */
        DomainStarting starting;
        guint releasing;   /* resources of earlier runs whose first release attempt is under way */
        GHashTable *ports; /* ids of network ports of this run, from before they are made until it ends */
        DomainRuntime run;
        GHashTable *sessions; /* path of a char device -> Session* (console.c) */
        guint64 last_session;
};

/* domain.c: the object */
Domain *domain_new(Driver *driver, DomainDef *def); /* takes def */
gboolean domain_active(const Domain *d);            /* lock held */
DomainDef *domain_persistent_def(const Domain *d);  /* lock held; NULL when transient */

/* job.c */
void domain_lock(Domain *d);
void domain_unlock(Domain *d);
/* Takes lock and job; fails with VIR_ERR_OPERATION_TIMEOUT, or NO_DOMAIN when the domain went away meanwhile. */
gboolean domain_job_begin(Domain *d, GError **err);
/* The same with no limit, for background threads, and even for a domain that has left the tables. */
void domain_job_wait(Domain *d);
/* The same with a limit, for a thread that others need. FALSE, with neither lock nor job: it has passed. */
gboolean domain_job_wait_briefly(Domain *d, guint ms);
#define JOB_BRIEF_MS 2000u /* so that the ends of other domains do not wait */
/* The same at once; FALSE, with neither: somebody has it. */
gboolean domain_job_try(Domain *d);
void domain_job_end(Domain *d); /* gives both back */
/* domain_job_begin() and VIR_ERR_OPERATION_INVALID "domain is not running" unless it is. */
gboolean domain_job_begin_active(Domain *d, GError **err);
gboolean domain_check_active(const Domain *d, GError **err);

/*
 * Resolves VIR_DOMAIN_AFFECT_*: which definitions a call concerns. Lock held. *ret_live is set only for an active,
 * *ret_config only for a persistent domain; an inactive one has its definition in *ret_config.
 */
gboolean domain_affect(const Domain *d, guint flags, DomainDef **ret_live, DomainDef **ret_config, GError **err);

/* device_ids.c: NULL is fine, and knows none */
DeviceIds *device_ids_new(void);
DeviceIds *device_ids_copy(const DeviceIds *ids);
void device_ids_free(DeviceIds *ids);
/* A new id for the device with the alias. */
guint32 device_ids_give(DeviceIds *ids, const char *alias);
guint32 device_ids_find(const DeviceIds *ids, const char *alias); /* 0: it has none, or there is no such device */
/* The alias with this id; NULL: there is none. */
const char *device_ids_alias(const DeviceIds *ids, guint32 id);
gboolean device_ids_are_known(const DeviceIds *ids);
/* Whether a call waits for its removal. */
void device_ids_set_leaving(DeviceIds *ids, guint32 id, gboolean leaving);
gboolean device_ids_is_leaving(const DeviceIds *ids, guint32 id);
/* It is known to be gone, and is to be dropped; FALSE: it was known already. */
gboolean device_ids_mark_gone(DeviceIds *ids, guint32 id);
const char *device_ids_gone(const DeviceIds *ids); /* the alias of one of these; NULL: there is none */
/* The device is gone, or never came: its id stays used. */
void device_ids_drop(DeviceIds *ids, const char *alias);
/* For the status file. `def`: the running definition, at either time. */
char *device_ids_format(const DeviceIds *ids, const DomainDef *def);
DeviceIds *device_ids_parse(const char *text, const DomainDef *def); /* "": unknown, until they are learned */
/* What the monitor lists (struct ctl_list_entry), by kind and slot; devices that it does not have get no id. */
void device_ids_learn(DeviceIds *ids, const DomainDef *def, const GArray *list);
/*
 * Asks the monitor for its devices if their ids are unknown, since the status was lost. Without `wait` a second at
 * most. Lock held, of an active domain; may drop it.
 */
gboolean domain_learn_devices(Domain *d, gboolean wait, GError **err);
/* The id by which the monitor knows a device; asks for it if need be. Lock held, of an active domain; may drop it. */
gboolean domain_device_id(Domain *d, const char *alias, guint32 *ret, GError **err);

/* change.c */
/* Makes the host do what `def` says of a running domain; may drop the lock. */
typedef gboolean (*HostFunc)(Domain *d, const DomainDef *def, gconstpointer data, GError **err);
/*
 * Replaces definitions by changed copies, which are taken; NULL: this one does not change. `host` (NULL: nothing of the
 * host's changes) is asked first, and again with the old definition when a later step fails. On error everything is
 * restored. Lock and job held.
 */
gboolean domain_replace_defs(Domain *d, DomainDef **live, DomainDef **config, HostFunc host, gconstpointer data,
                             GError **err);

/*
 * Makes `live` (taken) the live definition, after something has happened that cannot be taken back. A status that
 * cannot be written is logged with its consequence. Lock and job held.
 */
void domain_replace_live(Domain *d, DomainDef *live, const char *consequence);

/* events.c */
EventQueue *event_queue_new(void);
void event_queue_free(EventQueue *queue);
guint event_queue_add(EventQueue *queue, DomainEventFunc func, gpointer data);
void event_queue_remove(EventQueue *queue, guint id);
void event_lifecycle(Domain *d, int event, int detail);   /* lock held */
void event_undefined_as(Domain *d, const char *old_name); /* it has another name now; lock held */
void event_simple(Domain *d, int type);
void event_metadata(Domain *d, int type, const char *uri);
/* `action`: VIR_DOMAIN_EVENT_IO_ERROR_PAUSE and so on. */
void event_io_error(Domain *d, const DomainDisk *disk, int errnum, int action);
void event_disk_dropped(Domain *d, const DomainDisk *disk); /* startupPolicy='optional', and it is not there */
void event_agent(Domain *d, gboolean connected);
/* `type`: VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, _REMOVED or _REMOVAL_FAILED. */
void event_device(Domain *d, int type, const char *alias);
void event_tunable(Domain *d, virTypedParameterPtr params, int n); /* takes params */

/* persist.c: files; lock held */
char *config_path(const Driver *driver, const char *name);
char *state_path(const Driver *driver, const char *name, const char *suffix);
/* These six with the job held too; they drop the lock while they write, and change all or nothing. */
/* The file of a domain that has none yet. */
gboolean config_create(Domain *d, const DomainDef *def, GError **err);
gboolean config_save(Domain *d, const DomainDef *def, GError **err);
/* Makes `def` (taken, in any case) the persistent definition, once it is on disk. */
gboolean config_replace(Domain *d, DomainDef *def, GError **err);
gboolean config_delete(Domain *d, const char *name, GError **err);
/* `def` is the definition with the new name; the Domain still has the old one. */
gboolean config_rename(Domain *d, const DomainDef *def, GError **err);
gboolean autostart_link(Domain *d, const char *name, gboolean on, GError **err);
/* FALSE when files cannot be read for want of descriptors or memory; what is wrong with one file is a warning. */
gboolean config_load_all(Driver *driver, GError **err);
typedef gboolean (*NameFunc)(Driver *driver, const char *name, gpointer data, GError **err);
/* Calls `fn` with the name of each domain that has a file NAME.xml in a directory, until it fails. */
gboolean persist_for_each(Driver *driver, const char *path, NameFunc fn, gpointer data, GError **err);

/* status.c; lock held */
gboolean status_save(Domain *d, GError **err);
/* The same, with a failure logged behind its `consequence` (NULL: none), where nothing else can be done about it. */
void status_save_or_warn(Domain *d, const char *consequence);
/* Writes the status of what is about to run; strings of `run` may be NULL. No lock needed. */
gboolean status_write(const Driver *driver, const DomainDef *def, const DomainRuntime *run, int state, int reason,
                      GError **err);
void status_delete(Domain *d);

/* adopt.c */
Adoptions *adoptions_new(Driver *driver);
void adoptions_free(Adoptions *adoptions); /* of a driver that is stopping */
/* FALSE when it cannot read the files for want of descriptors or memory; no guest is harmed. */
gboolean driver_adopt_all(Driver *driver, GError **err);
/* What the monitor reports about itself after connecting. Main thread, lock held. */
void domain_on_greeting(Domain *d, const struct ctl_query_reply *reply);
/* FALSE: another daemon's monitor runs under the name, or this cannot be ruled out. No lock needed. */
gboolean domain_check_free(const Driver *driver, const char *name, GError **err);

/* autostart.c */
/* It was started, cannot be, or should not be: no daemon of this boot starts it again on its own. Lock held. */
void autostart_done(Domain *d);
/* An earlier daemon's start came to nothing: if it was an autostart, it is repeated. No lock held. */
void autostart_resume(Domain *d);

/* logs.c: files that take a device's output. No lock needed. */
/* Whether type='file' names a file that grows, so that it is a log; the device then has no other host end. */
gboolean domain_char_keeps_file(const DomainChar *chr);
/* *ret_fd is the monitor's end, or -1 when this device has no log. */
gboolean domain_log_open(Driver *driver, const DomainDef *def, const DomainChar *chr, int *ret_fd, GError **err);
void domain_logs_adopt(Domain *d); /* lock held */
/* domain_log_end() for all of a definition, in the time of one. */
void domain_logs_end(Driver *driver, const DomainDef *def);
/* The rest of what the monitor, which has ended or let go of it, has written goes to the files. */
void domain_log_end(Driver *driver, const DomainDef *def, const DomainChar *chr);

/* start.c */
gboolean domain_start(Domain *d, guint flags, GError **err); /* lock and job held */
/* Asks the monitor for its threads, and its state, which may be an end already. TRUE when it answered. Lock held. */
gboolean domain_read_vcpu_tids(Domain *d, guint32 *ret_state, guint32 *ret_reason);
extern const VmmCallbacks domain_vmm_callbacks; /* data is the Domain */
/* pin.c, a HostFunc: what <vcpu cpuset=>, <cputune> and <numatune> say, on the scope and its threads. */
gboolean domain_apply_cputune(Domain *d, const DomainDef *def, gconstpointer unused, GError **err);
/* stop.c: after the monitor ended or to end it; lock and job held; the domain may be removed from the tables */
void domain_stop(Domain *d, int reason, int detail);
void domain_cleanup_runtime(Domain *d); /* the part of a stop that undoes a start */
/* Notes the guest's state as the monitor reports it, and announces its end. Lock held. */
void domain_note_state(Domain *d, guint32 state, guint32 reason);
/*
 * Why the kernel has killed the monitor of a scope for its memory; NULL: it has not. The monitor has ended. Asks
 * systemd; no lock needed.
 */
char *domain_describe_oom(const Driver *driver, const char *unit);
/* virDomainShutoffReason and virDomainEventStoppedDetailType of a monitor's exit record. */
void domain_read_exit_record(Domain *d, int *ret_reason, int *ret_detail);
void domain_on_event(Vmm *vmm, const struct ctl_header *message, gpointer data);
void domain_on_exited(Vmm *vmm, gpointer data);

/* release.c: what goes back to systemd, machined and libvirt's networks, in the background */
Releases *releases_new(Driver *driver, GError **err);
void releases_resume(Releases *releases); /* continues what an earlier daemon left; when all domains have been found */
void releases_free(Releases *releases);
/* Gives an interface of a libvirt network the id of the port that is to be made for it. No lock held. */
void domain_choose_port(Domain *d, DomainNic *nic);
/* Its port was not made. No lock held. */
void domain_forget_port(Domain *d, const DomainNic *nic);
/* Gives back its port. No lock held; never waits. */
void domain_release_port(Domain *d, const DomainNic *nic);
/* Gives back unit and machine (either may be NULL), when devices have been; logs an OOM kill. No lock held; never
 * waits. */
void domain_release(Domain *d, const char *unit, const char *machine);
/* Gives releases in progress a moment to finish, for the caller to find them done. No lock held. */
void domain_settle(Domain *d);

/* driver.c */
void driver_run(Driver *driver, void (*fn)(Domain *d, gpointer data), Domain *d, gpointer data); /* in the background */
void driver_run_start(Driver *driver, void (*fn)(Domain *d, gpointer data), Domain *d,
                      gpointer data);              /* with the host */
gboolean driver_stopping(Driver *driver);          /* the daemon ends: nothing new begins */
GPtrArray *driver_snapshot(Driver *driver);        /* all domains, each with a reference, in the order of their names */
void driver_remove(Domain *d);                     /* lock held; drops it from the tables */
gboolean driver_insert(Driver *driver, Domain *d); /* FALSE: name or UUID is taken */
/* Adds a second name to a domain (FALSE: it is taken), switches between the two, drops one. Lock and job held. */
gboolean driver_take_name(Domain *d, const char *name);
void driver_set_name(Domain *d, const char *name);
void driver_drop_name(Driver *driver, const char *name);
int driver_next_id(Driver *driver);
void driver_note_id(Driver *driver, int id); /* of a running domain: the next ones are higher */
/* A uid that no other monitor has, preferably uid_base + id; 0: none is free. driver_drop_uid() gives it back. */
guint32 driver_take_uid(Driver *driver, int id);
void driver_note_uid(Driver *driver, guint32 uid); /* of a running monitor */
void driver_drop_uid(Driver *driver, guint32 uid);

/* A journal entry about a domain, with fields that identify it. Lock held, or the caller has the job. */
#define domain_log(d, level, ...) journal_log((level), (d)->name, (d)->uuid, (d)->run.machine, __VA_ARGS__)

/*
 * terminals.c: the ends of consoles and channels that clients open, held by descriptor. Reference counted. Callers
 * hold the domain's job or, once the domain runs, its lock.
 */
Terminals *terminals_new(void);
/* Binds `path` to the pty or socket that has this name at the moment. */
gboolean terminals_hold(Terminals *terminals, const char *path, GError **err);
/* Lets go of it; NULL holds nothing. */
void terminals_drop(Terminals *terminals, const char *path);
/* `to` gets what `from` holds. */
void terminals_move(Terminals *to, Terminals *from);
/* What tells each end from a later one of its name, for the status file; the next daemon holds those that match. */
char *terminals_format(Terminals *terminals, const DomainDef *def);
#define TERMINALS_NONE "-" /* in the status file: a device without an end that could be opened */
Terminals *terminals_restore(const DomainDef *def, const char *text);
/* A non-blocking descriptor of its own of a pty, or a connection to a channel. NULL holds nothing. -1 on error. */
int terminals_open(Terminals *terminals, const char *path, GError **err);

/* console.c */
void console_sessions_free(Domain *d);
void console_kick_all(Domain *d); /* lock held */
/* Sets the error for an agent that cannot be called: not configured, not running, or not supported. FALSE. */
gboolean domain_refuse_agent(const DomainDef *def, GError **err);

/* vmm requests that several files make; job held, callers may drop the lock */
gboolean domain_vmm_simple(Domain *d, enum ctl_type type, GError **err);
/* Sends the on_* actions of the definition. */
gboolean domain_send_actions(Domain *d, GError **err);
