/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon can do, as plain functions: the seam between the two faces that
 * clients see (RPC in rpc/, D-Bus in dbus/) and the domains behind them (domain/).
 * The semantics are those of the libvirt API that each function is named for.
 *
 * Any thread may call any function; each takes the domain's lock and job itself. None
 * may be called with a domain lock held. Functions return FALSE/NULL/-1 with *err set
 * (util/error.h). Flags are libvirt's public constants; unknown bits are refused.
 * Whether the caller may only read is decided by the caller's side, before the call.
 */
#pragma once

#include <glib.h>
#include <libvirt/libvirt.h>

#include "conf/domain_def.h"

typedef struct Driver Driver;
typedef struct Domain Domain;
typedef struct DriverConfig DriverConfig; /* conf/driver_config.h */

/* --- The driver ------------------------------------------------------------ */

/* Makes the state directories, loads persistent domains, re-adopts running ones. `config` stays the caller's. */
Driver *driver_new(const DriverConfig *config, GError **err);
void driver_free(Driver *driver); /* running domains keep running */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Driver, driver_free)

void driver_autostart(Driver *driver);        /* once in a boot; failures go to the journal */
unsigned driver_count_active(Driver *driver); /* never waits: the main loop asks at each event */

/* --- Finding domains; the caller unrefs ------------------------------------- */

Domain *domain_ref(Domain *domain);
void domain_unref(Domain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Domain, domain_unref)

/* What a client's handle holds: stable, but for id, which is -1 when inactive. */
typedef struct DomainHandle {
        char *name;
        guint8 uuid[16];
        int id;
} DomainHandle;
void domain_get_handle(Domain *domain, DomainHandle *ret); /* name is a copy */
void domain_handle_clear(DomainHandle *handle);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DomainHandle, domain_handle_clear)

/* VIR_ERR_NO_DOMAIN when there is none. */
Domain *driver_lookup_by_id(Driver *driver, int id, GError **err);
Domain *driver_lookup_by_uuid(Driver *driver, const guint8 uuid[16], GError **err);
Domain *driver_lookup_by_name(Driver *driver, const char *name, GError **err);
/* virConnectListAllDomains; an array of Domain* that unrefs its elements, by name. */
GPtrArray *driver_list(Driver *driver, guint flags, GError **err);

/* --- Definition -------------------------------------------------------------- */

Domain *driver_define_xml(Driver *driver, const char *xml, guint flags, GError **err);
Domain *driver_create_xml(Driver *driver, const char *xml, guint flags, GError **err);
gboolean domain_undefine(Domain *domain, guint flags, GError **err);
char *domain_get_xml(Domain *domain, guint flags, GError **err);
gboolean domain_rename(Domain *domain, const char *name, GError **err);
gboolean domain_set_autostart(Domain *domain, gboolean autostart, GError **err);
gboolean domain_get_autostart(Domain *domain);
gboolean domain_set_metadata(Domain *domain, int type, const char *metadata, const char *key, const char *uri,
                             guint flags, GError **err);
char *domain_get_metadata(Domain *domain, int type, const char *uri, guint flags, GError **err);
/* virDomainGetMessages: what `virsh dominfo` prints; NULL-terminated, caller g_strfreev()s. */
char **domain_get_messages(Domain *domain, guint flags, GError **err);

/* --- Devices: `xml` is the element of one ---------------------------------------- */

gboolean domain_attach_device(Domain *domain, const char *xml, guint flags, GError **err);
gboolean domain_detach_device(Domain *domain, const char *xml, guint flags, GError **err);
gboolean domain_detach_device_alias(Domain *domain, const char *alias, guint flags, GError **err);
gboolean domain_update_device(Domain *domain, const char *xml, guint flags, GError **err);

/* --- Life --------------------------------------------------------------------- */

gboolean domain_create(Domain *domain, guint flags, GError **err); /* virDomainCreateWithFlags */
gboolean domain_destroy(Domain *domain, guint flags, GError **err);
gboolean domain_shutdown(Domain *domain, guint flags, GError **err);
gboolean domain_reboot(Domain *domain, guint flags, GError **err);
gboolean domain_reset(Domain *domain, GError **err);
gboolean domain_suspend(Domain *domain, GError **err);
gboolean domain_resume(Domain *domain, GError **err);
gboolean domain_inject_nmi(Domain *domain, GError **err);

/* --- State ---------------------------------------------------------------------- */

gboolean domain_is_active(Domain *domain);
gboolean domain_is_persistent(Domain *domain);
gboolean domain_is_updated(Domain *domain); /* the next boot's definition differs from the running one */
void domain_get_state(Domain *domain, int *ret_state, int *ret_reason);
void domain_get_info(Domain *domain, virDomainInfoPtr ret);
/* A snapshot of a domain, for lists of thousands. Waits for nothing but the domain's lock. */
typedef struct DomainSummary {
        guint8 uuid[16];
        char *name;
        int id, state, reason; /* id -1: inactive */
        char *scope;           /* systemd unit; NULL: none */
        char *title;           /* NULL: none */
        guint vcpus;
        guint64 memory_kib, max_memory_kib;
        gboolean persistent, autostart;
} DomainSummary;
void domain_get_summary(Domain *domain, DomainSummary *ret);
void domain_summary_clear(DomainSummary *summary);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DomainSummary, domain_summary_clear)
char *domain_get_os_type(Domain *domain); /* "hvm" */

/* --- Tuning: `params` are libvirt typed parameters (virTypedParamsAdd*, virTypedParamsFree) --------- */

gboolean domain_get_scheduler(Domain *domain, guint flags, virTypedParameterPtr *params, int *n, GError **err);
gboolean domain_set_scheduler(Domain *domain, virTypedParameterPtr params, int n, guint flags, GError **err);
gboolean domain_get_memory_params(Domain *domain, guint flags, virTypedParameterPtr *params, int *n, GError **err);
gboolean domain_set_memory_params(Domain *domain, virTypedParameterPtr params, int n, guint flags, GError **err);
gboolean domain_get_blkio_params(Domain *domain, guint flags, virTypedParameterPtr *params, int *n, GError **err);
gboolean domain_set_blkio_params(Domain *domain, virTypedParameterPtr params, int n, guint flags, GError **err);
gboolean domain_get_numa_params(Domain *domain, guint flags, virTypedParameterPtr *params, int *n, GError **err);
gboolean domain_get_interface_params(Domain *domain, const char *device, guint flags, virTypedParameterPtr *params,
                                     int *n, GError **err);
gboolean domain_set_interface_params(Domain *domain, const char *device, virTypedParameterPtr params, int n,
                                     guint flags, GError **err);

int domain_get_vcpus(Domain *domain, guint flags, GError **err); /* virDomainGetVcpusFlags; -1 on error */
gboolean domain_set_vcpus(Domain *domain, guint vcpus, guint flags, GError **err);
gboolean domain_set_memory(Domain *domain, guint64 kib, guint flags, GError **err);
guint64 domain_get_max_memory(Domain *domain);
/* virDomainGetVcpus: up to max entries; `cpumaps` is max * maplen bytes. Returns the number of vCPUs or -1. */
int domain_get_vcpu_info(Domain *domain, virVcpuInfoPtr info, int max, guint8 *cpumaps, int maplen, GError **err);
gboolean domain_pin_vcpu(Domain *domain, guint vcpu, const CpuMap *cpus, guint flags, GError **err);
/* One map per vCPU, at most `max`; returns how many or -1. */
int domain_get_vcpu_pin(Domain *domain, CpuMap *maps, int max, guint flags, GError **err);
gboolean domain_pin_emulator(Domain *domain, const CpuMap *cpus, guint flags, GError **err);
gboolean domain_get_emulator_pin(Domain *domain, CpuMap *ret, guint flags, GError **err);

/* --- Statistics ------------------------------------------------------------------- */

gboolean domain_get_block_stats(Domain *domain, const char *path, virDomainBlockStatsPtr ret, GError **err);
gboolean domain_get_block_stats_params(Domain *domain, const char *path, guint flags, virTypedParameterPtr *params,
                                       int *n, GError **err);
/*
 * Appends a disk's target (allocated) and its virDomainDiskErrorCode for each that has an error: one that has paused
 * the guest, or a failed flush. *ret_disks: how many disks there are.
 */
gboolean domain_get_disk_errors(Domain *domain, GPtrArray *targets, GArray *errors, guint *ret_disks, GError **err);
gboolean domain_get_block_info(Domain *domain, const char *path, virDomainBlockInfoPtr ret, GError **err);
gboolean domain_get_interface_stats(Domain *domain, const char *device, virDomainInterfaceStatsPtr ret, GError **err);
/* At most VIR_DOMAIN_MEMORY_STAT_NR entries; returns how many or -1. */
int domain_get_memory_stats(Domain *domain, virDomainMemoryStatPtr stats, unsigned max, GError **err);
/* virDomainGetCPUStats; start_cpu -1: totals. As the public call, also for its two counting forms. -1 on error. */
int domain_get_cpu_stats(Domain *domain, virTypedParameterPtr params, unsigned n, int start_cpu, unsigned ncpus,
                         guint flags, GError **err);
/* The fields of virConnectGetAllDomainStats for one domain; `stats` is a mask of VIR_DOMAIN_STATS_*. */
gboolean domain_get_all_stats(Domain *domain, guint stats, guint flags, virTypedParameterPtr *params, int *n,
                              GError **err);

typedef struct DomainAddress {
        char *device; /* TAP for arp, guest's or TAP's name otherwise */
        char *hwaddr;
        GPtrArray *addrs; /* DomainIpAddress* */
} DomainAddress;
typedef struct DomainIpAddress {
        int type; /* virIPAddrType */
        char *addr;
        guint prefix;
} DomainIpAddress;
/* virDomainInterfaceAddresses, source lease or arp; an array of DomainAddress* that frees its elements. */
GPtrArray *domain_get_addresses(Domain *domain, guint source, guint flags, GError **err);

/* --- Console ------------------------------------------------------------------------ */

/*
 * Opens the pty of a console (alias NULL: the first). Returns a non-blocking fd that is the caller's, or -1.
 * One session per console: another open fails (VIR_ERR_OPERATION_FAILED "Active console session exists for this
 * domain") unless VIR_DOMAIN_CONSOLE_FORCE, which cuts the old session off: its `kicked` is called (any thread).
 * When the guest ends, the fd reads EOF or EIO. The caller ends the session with domain_console_close(), which it
 * also does for a session that was cut off. `kicked` only leaves a note for another thread, so it may be called with
 * locks held; it does not run any more once domain_console_close() has returned.
 */
int domain_open_console(Domain *domain, const char *alias, guint flags, void (*kicked)(void *arg), void *arg,
                        guint64 *ret_session, GError **err);
/* virDomainOpenChannel: by target name, or the first channel when NULL. Sessions as for consoles. */
int domain_open_channel(Domain *domain, const char *name, guint flags, void (*kicked)(void *arg), void *arg,
                        guint64 *ret_session, GError **err);
void domain_console_close(Domain *domain, guint64 session);

/* --- Events --------------------------------------------------------------------------- */

typedef struct DomainEvent {
        int type; /* virDomainEventID */
        DomainHandle domain;
        union {
                struct {
                        int event, detail;
                } lifecycle; /* VIR_DOMAIN_EVENT_ID_LIFECYCLE */
                struct {
                        int type;
                        char *uri;
                } metadata; /* METADATA_CHANGE */
                struct {
                        char *path, *alias;
                        int action;
                        char *reason;
                } io_error; /* IO_ERROR and IO_ERROR_REASON */
                struct {
                        char *path, *alias;
                        int reason;
                } disk_change; /* DISK_CHANGE */
                struct {
                        int state, reason;
                } agent; /* AGENT_LIFECYCLE */
                struct {
                        char *alias;
                } device; /* DEVICE_ADDED, DEVICE_REMOVED and DEVICE_REMOVAL_FAILED */
                struct {
                        virTypedParameterPtr params;
                        int n;
                } tunable; /* TUNABLE */
        };
} DomainEvent;

/* Called in the main context's thread, in the order in which events happened, with no lock held. */
typedef void (*DomainEventFunc)(const DomainEvent *event, gpointer data);
guint driver_add_listener(Driver *driver, DomainEventFunc func, gpointer data);
void driver_remove_listener(Driver *driver, guint id);

/* --- The host --------------------------------------------------------------------------- */

char *driver_get_capabilities(Driver *driver, GError **err);
char *driver_get_domain_capabilities(Driver *driver, const char *emulator, const char *arch, const char *machine,
                                     const char *virttype, guint flags, GError **err);
gulong driver_get_version(void); /* major * 1000000 + minor * 1000 + micro */
