/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The definition of a domain: what its XML says, as a struct. Parsing and formatting
 * are each other's inverse and deterministic, because clients compare strings.
 *
 * Optional numbers come with a has_ flag or use 0 for "not set" where 0 has no meaning.
 * Sizes carry their unit in the name. Strings are owned, NULL when absent.
 */
#pragma once

#include <glib.h>

#include "../util/cpumap.h"

#define DOMAIN_NAME_MAX  247u /* bytes: NAME.xml.new is a file's name, which has at most 255 */
#define DOMAIN_VCPUS_MAX 32u
#define DOMAIN_DISKS_MAX 24u
#define DOMAIN_NICS_MAX  8u
#define DOMAIN_CHARS_MAX 16u
#define DOMAIN_BLKIO_MAX 64u /* devices in <blkiotune> */

typedef enum DomainAction { /* on_poweroff, on_reboot, on_crash */
                            DOMAIN_ACTION_DESTROY,
                            DOMAIN_ACTION_RESTART,
                            DOMAIN_ACTION_PRESERVE,
                            DOMAIN_ACTION_RENAME_RESTART,
                            DOMAIN_ACTION_COREDUMP_DESTROY,
                            DOMAIN_ACTION_COREDUMP_RESTART,
} DomainAction;

typedef enum DomainMemorySource { DOMAIN_MEMORY_ANONYMOUS, DOMAIN_MEMORY_MEMFD, DOMAIN_MEMORY_FILE } DomainMemorySource;

typedef struct DomainMemory {
        guint64 maximum_kib; /* <memory> */
        guint64 current_kib; /* <currentMemory> */
        gboolean hugepages;
        guint64 hugepage_kib; /* 0: the host's default */
        gboolean nosharepages;
        gboolean locked;
        gboolean has_source;
        DomainMemorySource source;
        gboolean has_access;
        gboolean shared; /* <access mode='shared'/> */
        gboolean discard;
} DomainMemory;

typedef struct DomainVcpuPin {
        unsigned vcpu;
        CpuMap cpus;
} DomainVcpuPin;

/* What XML and calls may set: the limits of libvirt's ranges. */
#define DOMAIN_SHARES_MIN     2u
#define DOMAIN_SHARES_MAX     262144u
#define DOMAIN_PERIOD_MIN     1000u
#define DOMAIN_PERIOD_MAX     1000000u
#define DOMAIN_QUOTA_MIN      1000u
#define DOMAIN_QUOTA_MAX      17592186044415ull /* 2^44 - 1: the kernel counts in ns in 54 bits */
#define DOMAIN_WEIGHT_MIN     10u
#define DOMAIN_WEIGHT_MAX     1000u
#define DOMAIN_MEMORY_KIB_MIN 65536u
#define DOMAIN_MTU_MIN        68u                 /* RFC 791 */
#define DOMAIN_MEMORY_KIB_MAX 9007199254740991ull /* 2^53 - 1: in bytes it fits 63 bits */

typedef struct DomainCpuTune {
        guint64 shares;    /* 0: not set */
        guint64 period_us; /* 0: not set; each vCPU */
        gint64 quota_us;   /* 0: not set; negative: unlimited */
        guint64 global_period_us;
        gint64 global_quota_us;
        guint64 emulator_period_us;
        gint64 emulator_quota_us;
        GArray *vcpupin; /* DomainVcpuPin, ascending by vcpu */
        gboolean has_emulatorpin;
        CpuMap emulatorpin;
} DomainCpuTune;

typedef struct DomainMemTune { /* KiB; 0: not set; DOMAIN_MEMORY_UNLIMITED: no limit */
        guint64 hard_limit_kib, soft_limit_kib, swap_hard_limit_kib, min_guarantee_kib;
} DomainMemTune;
#define DOMAIN_MEMORY_UNLIMITED 9007199254740991ull /* VIR_DOMAIN_MEMORY_PARAM_UNLIMITED */

typedef struct DomainBlkioDevice {
        char *path;
        guint weight; /* 0: not set */
        guint64 read_bytes_sec, write_bytes_sec;
        guint read_iops_sec, write_iops_sec;
} DomainBlkioDevice;

typedef struct DomainBlkioTune {
        guint weight;       /* 0: not set */
        GPtrArray *devices; /* DomainBlkioDevice* */
} DomainBlkioTune;

typedef enum DomainNumaMode {
        DOMAIN_NUMA_STRICT,
        DOMAIN_NUMA_PREFERRED,
        DOMAIN_NUMA_INTERLEAVE,
        DOMAIN_NUMA_RESTRICTIVE,
} DomainNumaMode;

typedef struct DomainNumaTune {
        gboolean present;
        DomainNumaMode mode;
        CpuMap nodeset;
} DomainNumaTune;

typedef struct DomainOs {
        char *arch;    /* ARCH_NAME */
        char *machine; /* a version: "micro-1" */
        char *kernel, *initrd, *cmdline;
        GPtrArray *boot; /* char*: <boot dev=...>, kept for clients */
} DomainOs;

typedef enum DomainCpuMode {
        DOMAIN_CPU_NONE,
        DOMAIN_CPU_HOST_PASSTHROUGH,
        DOMAIN_CPU_HOST_MODEL,
        DOMAIN_CPU_CUSTOM,
        DOMAIN_CPU_MAXIMUM,
} DomainCpuMode;

typedef struct DomainCpuFeature {
        char name[28];   /* one of cpu_features.h */
        unsigned policy; /* index of domain_cpu_policy_names, which is enum ctl_cpu_policy */
} DomainCpuFeature;

#define DOMAIN_CPU_FEATURES_MAX 96u

typedef struct DomainCpu {
        DomainCpuMode mode;
        char *check, *match, *migratable; /* attributes as given */
        char *model, *fallback;           /* custom: accepted as text, treated as host-passthrough */
        gboolean has_topology;
        unsigned sockets, dies, cores, threads;
        GArray *features; /* DomainCpuFeature */
} DomainCpu;

typedef struct DomainTimer {
        char *name;
        char *present;    /* NULL, "yes" or "no" */
        char *tickpolicy; /* NULL or as given */
} DomainTimer;

typedef struct DomainClock {
        char *offset; /* utc, localtime, timezone, variable, absolute */
        char *timezone;
        char *basis;
        gboolean has_adjustment;
        gint64 adjustment; /* seconds */
        GPtrArray *timers; /* DomainTimer* */
} DomainClock;

/* Where a device is on the guest's PCI bus (domain_address.c). Once it is assigned, all but the slot is 0. */
typedef struct DomainPciAddress {
        gboolean present;
        guint domain, bus, slot, function;
} DomainPciAddress;

/* Whether `pci` is at the place that `wanted` names; one that names none is anywhere. */
static inline gboolean domain_pci_matches(const DomainPciAddress *pci, const DomainPciAddress *wanted) {
        return !wanted->present || (pci->present && pci->domain == wanted->domain && pci->bus == wanted->bus &&
                                    pci->slot == wanted->slot && pci->function == wanted->function);
}

#define DOMAIN_PCI_SLOT_LAST 30u /* of those for devices, the first of which is 1 */

typedef enum DomainDiskType { DOMAIN_DISK_FILE, DOMAIN_DISK_BLOCK, DOMAIN_DISK_VOLUME } DomainDiskType;
typedef enum DomainDiskCache {
        DOMAIN_CACHE_DEFAULT,
        DOMAIN_CACHE_NONE,
        DOMAIN_CACHE_WRITETHROUGH,
        DOMAIN_CACHE_WRITEBACK,
        DOMAIN_CACHE_DIRECTSYNC,
        DOMAIN_CACHE_UNSAFE,
} DomainDiskCache;

typedef struct DomainIoTune { /* 0: not set */
        guint64 total_bytes_sec, read_bytes_sec, write_bytes_sec;
        guint64 total_iops_sec, read_iops_sec, write_iops_sec;
} DomainIoTune;

typedef struct DomainDisk {
        DomainDiskType type;
        char *device;         /* "disk"; "cdrom" becomes a read-only disk */
        char *source;         /* path for file and block; NULL: no medium */
        char *pool, *volume;  /* type volume */
        char *startup_policy; /* NULL, "mandatory", "requisite", "optional": what a start does if the source is missing
                               */
        char *target;         /* "vda" */
        char *bus;            /* "virtio" after conversion */
        char *driver_name, *driver_type; /* as given; type must be NULL or "raw" to start */
        DomainDiskCache cache;
        char *discard;                           /* NULL, "unmap", "ignore" */
        char *io, *error_policy, *rerror_policy; /* as given */
        gboolean readonly, shareable;
        char *serial, *wwn;
        guint boot_order;
        DomainIoTune iotune;
        DomainPciAddress pci;
        char *alias; /* live only: "virtio-disk0", or the user's ua-... */
} DomainDisk;

typedef enum DomainNicType { DOMAIN_NIC_BRIDGE, DOMAIN_NIC_NETWORK, DOMAIN_NIC_ETHERNET } DomainNicType;

typedef struct DomainBandwidth { /* rates in 1000 bytes/s, bursts in KiB, as libvirt has them; 0: not set */
        gboolean present;
        guint64 average, peak, burst, floor;
} DomainBandwidth;

typedef struct DomainNic {
        DomainNicType type;
        guint8 mac[6];
        char *source; /* bridge name or network name */
        char *portgroup;
        char *portid;            /* live: the network port's UUID */
        char *actual_bridge;     /* live: the bridge that a network resolved to; not formatted as such */
        char *target;            /* TAP name; NULL: chosen at start */
        gboolean target_managed; /* ethernet: false = an existing TAP */
        char *model;             /* "virtio" after conversion */
        char *driver_name;       /* "vhost", "qemu" */
        guint mtu;               /* 0: the bridge's */
        gboolean link_down;
        gboolean isolated; /* <port isolated='yes'/> */
        gboolean has_vlan;
        guint16 vlan_tag;
        DomainBandwidth inbound, outbound;
        char *filter; /* <filterref filter=...> */
        guint boot_order;
        char *script;
        DomainPciAddress pci;
        char *alias;
} DomainNic;

typedef enum DomainCharDevice { DOMAIN_CHAR_SERIAL, DOMAIN_CHAR_CONSOLE, DOMAIN_CHAR_CHANNEL } DomainCharDevice;
typedef enum DomainCharBackend {
        DOMAIN_CHAR_PTY,
        DOMAIN_CHAR_UNIX,
        DOMAIN_CHAR_FILE,
        DOMAIN_CHAR_NULL,
} DomainCharBackend;

typedef struct DomainChar {
        DomainCharDevice device;
        DomainCharBackend backend;
        char *path;         /* live pty: /dev/pts/N; unix: socket path; file: file path */
        gboolean generated; /* unix channel, live only: the path was chosen at the start */
        gboolean listen;    /* unix: mode='bind' */
        gboolean append;    /* file */
        char *log_file;     /* <log>: a copy of the guest's output */
        gboolean has_log_append, log_append;
        char *target_type; /* serial: "isa-serial"; console: "serial" or "virtio"; channel: "virtio" */
        guint target_port;
        char *target_name;  /* channel: org.qemu.guest_agent.0 */
        char *target_state; /* channel, live only: "connected" or "disconnected" */
        char *alias;
} DomainChar;

typedef struct DomainRng {
        char *model;        /* "virtio" */
        char *backend_path; /* /dev/urandom by default */
        guint rate_bytes;   /* 0: unlimited */
        guint rate_period_ms;
        DomainPciAddress pci;
        char *alias;
} DomainRng;

typedef struct DomainVsock {
        gboolean auto_cid; /* chosen when the device gets into a machine */
        guint32 cid;       /* 0: not chosen yet */
        DomainPciAddress pci;
        char *alias;
} DomainVsock;

typedef struct DomainDef {
        int id; /* -1: not running */
        char *name;
        guint8 uuid[16];
        char *title, *description;
        char *metadata; /* the <metadata> element's children, verbatim */
        DomainMemory memory;
        unsigned vcpus_max, vcpus; /* maximum and current */
        char *vcpu_placement;      /* "static" by default */
        gboolean has_cpuset;
        CpuMap cpuset; /* <vcpu cpuset=> */
        DomainCpuTune cputune;
        DomainMemTune memtune;
        DomainBlkioTune blkiotune;
        DomainNumaTune numatune;
        char *partition; /* <resource><partition>; NULL: /machine */
        DomainOs os;
        gboolean feature_acpi, feature_apic, feature_pae;
        DomainCpu cpu;
        DomainClock clock;
        DomainAction on_poweroff, on_reboot, on_crash;
        gboolean has_on_poweroff, has_on_reboot, has_on_crash;
        char *emulator;
        GPtrArray *disks;           /* DomainDisk*, by target name */
        GPtrArray *nics;            /* DomainNic*, as given */
        GPtrArray *chars;           /* DomainChar*: serials, consoles, channels in that order */
        DomainPciAddress ports_pci; /* of the device that all virtio consoles and channels share */
        DomainRng *rng;             /* NULL: none */
        DomainVsock *vsock;         /* NULL: none */
        GPtrArray *notes; /* char*: what legacy_devices=convert changed, for dominfo's Messages and the journal
                           * ("machine type 'q35' became micro-1") */
} DomainDef;

typedef enum DomainParseFlags {
        DOMAIN_PARSE_VALIDATE = 1 << 0,      /* check against the RNG schema first: VIR_ERR_XML_INVALID_SCHEMA */
        DOMAIN_PARSE_STATUS = 1 << 1,        /* live elements (aliases, pty paths, id) are read back */
        DOMAIN_PARSE_REJECT_LEGACY = 1 << 2, /* legacy_devices=reject */
        DOMAIN_PARSE_OWN = 1 << 3,           /* written by the daemon: notes are read back, and ranges and
                                              * combinations are not checked, since the call that changed the
                                              * definition may have been less strict */
        DOMAIN_PARSE_PARTIAL = 1 << 4,       /* of a device: what tells it from others is enough */
        DOMAIN_PARSE_FOREIGN = 1 << 5,       /* set by the parser: the XML is of another machine type */
} DomainParseFlags;

typedef enum DomainFormatFlags {
        DOMAIN_FORMAT_INACTIVE = 1 << 0, /* without what only a running domain has */
        DOMAIN_FORMAT_SECURE = 1 << 1,
        DOMAIN_FORMAT_STATUS = 1 << 2, /* everything that DOMAIN_PARSE_STATUS reads */
        DOMAIN_FORMAT_OWN = 1 << 3,    /* for the daemon's own files: with the notes */
} DomainFormatFlags;

DomainDef *domain_def_new(void);
void domain_def_free(DomainDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainDef, domain_def_free)

/*
 * Parses <domain>. Fills in what libvirt fills in (UUID, MACs, console for a serial, defaults), so that
 * formatting gives what a client reads back. `schema_dir` is needed for DOMAIN_PARSE_VALIDATE.
 * Errors: VIR_ERR_XML_DETAIL, XML_ERROR, NO_NAME, CONFIG_UNSUPPORTED, NO_TARGET, XML_INVALID_SCHEMA.
 */
DomainDef *domain_def_parse(const char *xml, guint flags, const char *schema_dir, GError **err);
char *domain_def_format(const DomainDef *def, guint flags); /* never fails */
DomainDef *domain_def_copy(const DomainDef *def);

/* Whether a domain may have this name; for definitions and renames. */
gboolean domain_name_check(const char *name, GError **err);

DomainDisk *domain_def_find_disk(const DomainDef *def, const char *target_or_source);
DomainNic *domain_def_find_nic(const DomainDef *def, const char *target_or_mac);
/* The char device an OPEN_CONSOLE names: by alias, or the first console/serial pty when NULL. */
DomainChar *domain_def_find_console(const DomainDef *def, const char *alias);

/* A console that is only another name for the first serial port. */
gboolean domain_char_is_serial_console(const DomainChar *chr);
/* A port of virtio-serial: a virtio console or a channel. */
gboolean domain_char_is_port(const DomainChar *chr);
/*
 * Names the devices that have no name yet, for live XML and events. The console that is a serial port gets the port's.
 */
void domain_def_assign_aliases(DomainDef *def);

/* Where the thread of a vCPU, or any other, may run: its pin, else the domain's cpuset; NULL: anywhere. */
const CpuMap *domain_def_vcpu_cpus(const DomainDef *def, unsigned vcpu);
const CpuMap *domain_def_emulator_cpus(const DomainDef *def);

/* The socket of a channel without a path of its own: named by id, so that it fits a socket address and is unique. */
char *domain_channel_path(const char *state_dir, int id, const DomainChar *channel);
/* Drops paths that a start, also QEMU's, gave to channels of this domain or of one whose live XML was copied. */
void domain_def_drop_channel_paths(DomainDef *def, const char *state_dir);

void domain_uuid_format(const guint8 uuid[16], char ret[37]);
gboolean domain_uuid_parse(const char *text, guint8 ret[16]); /* dashes optional as libvirt has it */
void domain_mac_format(const guint8 mac[6], char ret[18]);
gboolean domain_mac_parse(const char *text, guint8 ret[6]);

/*
 * <metadata>, <title>, <description> as virDomainSetMetadata / GetMetadata treat them; type is virDomainMetadataType.
 * VIR_ERR_NO_DOMAIN_METADATA when it is absent.
 */
gboolean domain_def_set_metadata(DomainDef *def, int type, const char *metadata, const char *key, const char *uri,
                                 GError **err);
char *domain_def_get_metadata(const DomainDef *def, int type, const char *uri, GError **err);
