/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control protocol between virtmicrod and virtmicro-vmm: the one header that
 * both programs share. docs/control-protocol.md is its prose.
 *
 * Transport: one SOCK_SEQPACKET UNIX socket. The daemon creates it as a listening socket
 * in its state directory and hands it to the monitor, which accepts one peer at a time; a
 * new peer replaces the old one, so a restarted daemon simply reconnects. One packet is
 * one message. File descriptors travel by SCM_RIGHTS in the packet of the request that
 * names them.
 *
 * Every message starts with struct ctl_header; `length` is the size of the whole packet
 * and must match both what was received and what the type requires. A request is answered
 * by exactly one reply with the same type | CTL_REPLY and the same serial. Events have
 * serial 0 and are sent only by the monitor.
 *
 * Integers are in host byte order (both ends share a kernel), every struct is laid
 * out without padding, strings are NUL-terminated inside fixed arrays.
 *
 * Versions: HELLO negotiates one per connection, the newest that both ends speak. A new
 * version adds types, values of enums and flags, and fields at the end of a struct, whose
 * value 0 means what the older version did; nothing is ever removed or moved. The structs
 * here are the newest ones: message.c knows the lengths and limits of each version,
 * truncates what is sent to an older peer and zero-extends what comes from one, so no
 * other code has to care.
 *
 * This holds from CTL_VERSION_PROMISED on. A monitor of version 1 knows its devices by
 * their order alone; the daemon sends it only what concerns the machine as a whole.
 *
 * A device has an id, which the daemon chooses and never uses twice in a machine's life.
 */
#pragma once

#include <stdint.h>

#define CTL_MAGIC 0x31434d56u /* "VMC1" */
#ifndef CTL_VERSION           /* a test is built with the one after it */
#define CTL_VERSION 3u
#endif
#define CTL_VERSION_PROMISED 2u /* the oldest that a monitor serves and that a daemon manages whole */
#define CTL_VERSION_MIN      1u /* the oldest whose monitors a daemon can still watch and end */

#define CTL_MESSAGE_MAX      4096u         /* bytes in one packet */
#define CTL_FDS_MAX          16u           /* descriptors in one packet */
#define CTL_NAME_MAX         256u          /* domain, port and file names, with NUL */
#define CTL_CMDLINE_MAX      2048u         /* kernel command line, with NUL */
#define CTL_TEXT_MAX         512u          /* human-readable error text, with NUL */
#define CTL_MEMORY_MIN       (64ull << 20) /* bytes that a guest has at least */
#define CTL_VCPUS_MAX        32u
#define CTL_DISKS_MAX        24u
#define CTL_NICS_MAX         8u
#define CTL_MTU_MIN          68u /* least MTU that an interface may advertise (virtio 1.2 §5.1.4.1) */
#define CTL_PORTS_MAX        16u /* virtio-console ports */
#define CTL_DEVICES_MAX      30u /* PCI slots for disks, interfaces, entropy and socket device, and one for all ports */
#define CTL_CPU_FEATURES_MAX 96u /* CPUID bits requested by name */
#define CTL_FEATURE_NAME_MAX 28u /* with NUL: libvirt's longest is "avx512-vpopcntdq" */
#define CTL_SERIAL_MAX       21u /* disk serial number, with NUL (virtio 1.2 §5.2.6.1: 20 bytes) */
#define CTL_CID_MIN          3u  /* least address of a guest's sockets: the others are taken (virtio 1.2 §5.10.4) */
#define CTL_SEGMENTS_MAX     1u  /* PCI segments */
#define CTL_SLOT_MAX         30u /* the last PCI slot for a device; the first is 1 */
#define CTL_LIST_MAX         64u /* devices in one reply to LIST */
#define CTL_STATS_MAX        32u /* and to STATS */

enum ctl_type {
        /* Requests valid before START; ADD_DISK, ADD_NIC, ADD_RNG and ADD_VSOCK also after it */
        CTL_HELLO = 1,       /* ctl_hello;                       reply ctl_hello_reply */
        CTL_SET_MACHINE,     /* ctl_machine   + kvm fd;          reply ctl_reply */
        CTL_SET_KERNEL,      /* ctl_file      + fd;              reply ctl_reply */
        CTL_SET_INITRD,      /* ctl_file      + fd;              reply ctl_reply */
        CTL_SET_CMDLINE,     /* ctl_cmdline;                     reply ctl_reply */
        CTL_SET_SERIAL,      /* ctl_header    + fd [+ log fd];   reply ctl_reply */
        CTL_SET_EXIT_RECORD, /* ctl_header    + fd;              reply ctl_reply */
        CTL_ADD_DISK,        /* ctl_disk      + fd;              reply ctl_reply */
        CTL_ADD_NIC,         /* ctl_nic + tap fd [+ vhost-net fd]; reply ctl_reply */
        CTL_ADD_PORT,        /* ctl_port      + fd [+ log fd];   reply ctl_reply */
        CTL_ADD_RNG,         /* ctl_rng       + fd;              reply ctl_reply */
        CTL_START,           /* ctl_start;                       reply ctl_reply */
        CTL_SET_CPU,         /* ctl_cpu;                         reply ctl_reply */
        CTL_ADD_VSOCK,       /* ctl_vsock     + vhost-vsock fd;  reply ctl_reply */

        /* Requests valid after START */
        CTL_PAUSE = 64,    /* ctl_header;                      reply ctl_reply */
        CTL_RESUME,        /* ctl_header;                      reply ctl_reply */
        CTL_POWER_BUTTON,  /* ctl_header;                      reply ctl_reply */
        CTL_RESET,         /* ctl_header;                      reply ctl_reply */
        CTL_NMI,           /* ctl_header;                      reply ctl_reply */
        CTL_SET_LINK,      /* ctl_link;                        reply ctl_reply */
        CTL_SET_ACTIONS,   /* ctl_actions;                     reply ctl_reply */
        CTL_REBOOT_BUTTON, /* ctl_header;                      reply ctl_reply */
        CTL_REMOVE,        /* ctl_remove;                      reply ctl_reply */

        /* Requests valid at any time after HELLO */
        CTL_QUIT = 96, /* ctl_header; the monitor replies, then exits */
        CTL_QUERY,     /* ctl_header;                      reply ctl_query_reply */
        CTL_STATS,     /* ctl_stats;                       reply ctl_stats_reply */
        CTL_LIST,      /* ctl_list;                        reply ctl_list_reply */

        /* Events */
        CTL_EVENT_STATE = 128, /* ctl_event_state: run state changed */
        CTL_EVENT_RESET,       /* ctl_header: the guest rebooted in place */
        CTL_EVENT_IO_ERROR,    /* ctl_event_io_error */
        CTL_EVENT_PORT,        /* ctl_event_port: the guest opened or closed a port */
        CTL_EVENT_REMOVED,     /* ctl_event_removed: a device is gone */

        CTL_REPLY = 0x8000,
};

struct ctl_header {
        uint32_t magic;   /* CTL_MAGIC */
        uint16_t version; /* version in use; in HELLO the sender's highest */
        uint16_t type;    /* enum ctl_type */
        uint32_t serial;  /* chosen by the requester, echoed in the reply */
        uint32_t length;  /* bytes of the whole packet */
};

/* The reply to every request that has no reply struct of its own. */
struct ctl_reply {
        struct ctl_header header;
        int32_t error; /* 0, or a negative errno */
        uint32_t pad;
        char text[CTL_TEXT_MAX]; /* what was wrong and with what; empty on success */
};

struct ctl_hello {
        struct ctl_header header;
        uint32_t version_min; /* oldest and newest version that the sender speaks */
        uint32_t version_max;
};

struct ctl_hello_reply {
        struct ctl_reply reply;
        uint32_t version; /* the one both will use from now on */
        uint32_t state;   /* enum ctl_state */
};

enum ctl_machine_flags {
        CTL_MACHINE_LOCKED = 1u << 0,        /* mlock guest memory */
        CTL_MACHINE_SHARED = 1u << 1,        /* memfd, MAP_SHARED */
        CTL_MACHINE_HUGETLB = 1u << 2,       /* huge pages of hugepage_size */
        CTL_MACHINE_UTC_LOCALTIME = 1u << 3, /* RTC runs in local time: rtc_offset applies */
};

/* What the monitor does on its own when the guest ends: libvirt's on_* elements. */
enum ctl_action {
        CTL_ACTION_DESTROY = 0, /* report and exit */
        CTL_ACTION_RESTART,     /* reset in place and run again */
        CTL_ACTION_PRESERVE,    /* report, stop the vCPUs and keep the process */
        CTL_ACTION_MAX,
};

/* Versions of the machine: what the guest sees of it. */
enum ctl_machine_version {
        CTL_MACHINE_MICRO_1 = 1,
        CTL_MACHINE_VERSIONS, /* the first that does not exist */
};

struct ctl_machine {
        struct ctl_header header;
        uint64_t memory_bytes;  /* multiple of 2 MiB, CTL_MEMORY_MIN at least */
        uint64_t hugepage_size; /* bytes; 0 without CTL_MACHINE_HUGETLB */
        int64_t rtc_offset;     /* seconds that the RTC is ahead of UTC */
        uint32_t flags;         /* enum ctl_machine_flags */
        uint32_t vcpus;         /* 1..CTL_VCPUS_MAX */
        uint32_t sockets;       /* topology; the product is at least vcpus */
        uint32_t dies;
        uint32_t cores;
        uint32_t threads;
        uint8_t on_poweroff; /* enum ctl_action */
        uint8_t on_reboot;
        uint8_t on_crash;
        uint8_t pad[5];
        uint8_t uuid[16]; /* RFC 4122 byte order */
        char name[CTL_NAME_MAX];
        /* Since version 3 */
        uint32_t version; /* enum ctl_machine_version; 0: CTL_MACHINE_MICRO_1 */
        uint32_t pad2;
};

/* libvirt's <feature policy=>. */
enum ctl_cpu_policy {
        CTL_CPU_DISABLE = 0, /* the guest does not see it */
        CTL_CPU_FORCE,       /* the guest sees it, whatever the host has */
        CTL_CPU_REQUIRE,     /* the host must have it */
        CTL_CPU_OPTIONAL,    /* the guest sees it if the host has it */
        CTL_CPU_FORBID,      /* the host must not have it */
        CTL_CPU_POLICY_MAX,
};

enum ctl_cpuid_register { CTL_CPUID_EAX = 0, CTL_CPUID_EBX, CTL_CPUID_ECX, CTL_CPUID_EDX, CTL_CPUID_REGISTER_MAX };

struct ctl_cpu_feature {
        uint32_t function; /* CPUID leaf and sub-leaf */
        uint32_t index;
        uint8_t reg;    /* enum ctl_cpuid_register */
        uint8_t bit;    /* 0..31 */
        uint8_t policy; /* enum ctl_cpu_policy */
        uint8_t pad;
        char name[CTL_FEATURE_NAME_MAX]; /* for messages */
};

/* How the guest's CPU differs from the host's. Nested virtualisation needs an entry for svm or vmx. */
struct ctl_cpu {
        struct ctl_header header;
        uint32_t n;
        uint32_t pad;
        struct ctl_cpu_feature feature[CTL_CPU_FEATURES_MAX];
};

struct ctl_file {
        struct ctl_header header;
        char name[CTL_NAME_MAX]; /* for messages only; never opened */
};

struct ctl_cmdline {
        struct ctl_header header;
        char text[CTL_CMDLINE_MAX];
};

enum ctl_disk_flags {
        CTL_DISK_READONLY = 1u << 0,
        CTL_DISK_DISCARD = 1u << 1, /* pass discard and write-zeroes-unmap to the host */
};

/* libvirt's cache= attribute. Whoever opens the fd decides about O_DIRECT. */
enum ctl_disk_cache {
        CTL_CACHE_WRITEBACK = 0, /* flush on guest flush (also for cache=none) */
        CTL_CACHE_WRITETHROUGH,  /* no flush feature offered; every write is followed by fdatasync */
        CTL_CACHE_UNSAFE,        /* guest flushes are acknowledged and ignored */
        CTL_CACHE_MAX,
};

/* What to do when the host cannot serve a disk's request: libvirt's error_policy= and rerror_policy= attributes. */
enum ctl_error_policy {
        CTL_ERROR_REPORT = 0, /* the guest sees an I/O error */
        CTL_ERROR_STOP,       /* the guest is paused; RESUME retries */
        CTL_ERROR_IGNORE,     /* the guest sees success */
        CTL_ERROR_ENOSPC,     /* STOP when the host has no space left, else REPORT */
        CTL_ERROR_MAX,
};

/* What a device is called and where it is; the head of each ADD_*. */
struct ctl_place {
        uint32_t id;      /* not 0, and no other device's; after START above all that were ever in use */
        uint16_t segment; /* PCI segment, below CTL_SEGMENTS_MAX */
        uint8_t slot;     /* PCI slot, 1..CTL_SLOT_MAX; 0: the first free one. Of a port: that of the ports' device */
        uint8_t pad;
};

struct ctl_disk {
        struct ctl_header header;
        struct ctl_place place;
        uint32_t flags;        /* enum ctl_disk_flags */
        uint32_t cache;        /* enum ctl_disk_cache */
        uint8_t error_policy;  /* enum ctl_error_policy: of writes, flushes and discards */
        uint8_t rerror_policy; /* of reads; not CTL_ERROR_ENOSPC */
        uint8_t pad;
        char serial[CTL_SERIAL_MAX];
        char name[CTL_NAME_MAX]; /* target name such as "vda"; for messages */
};

enum ctl_nic_flags {
        CTL_NIC_LINK_DOWN = 1u << 0,
};

struct ctl_nic {
        struct ctl_header header;
        struct ctl_place place;
        uint32_t flags; /* enum ctl_nic_flags */
        uint16_t mtu;   /* bytes, at least CTL_MTU_MIN; 0: not advertised */
        uint8_t mac[6];
        char name[CTL_NAME_MAX]; /* TAP's name; for messages */
};

/* A virtio-console port. Port 0 is hvc0; ports with a name are org.* channels. */
enum ctl_port_flags {
        CTL_PORT_CONSOLE = 1u << 0, /* a console (hvcN), else a named channel */
        CTL_PORT_SOCKET = 1u << 1,  /* the fd is a listening UNIX stream socket */
};

struct ctl_port {
        struct ctl_header header;
        struct ctl_place place;
        uint32_t flags; /* enum ctl_port_flags */
        uint32_t pad;
        char name[CTL_NAME_MAX]; /* guest sees /dev/virtio-ports/NAME; empty for a console */
};

struct ctl_rng {
        struct ctl_header header;
        struct ctl_place place;
        uint32_t rate_bytes;  /* 0: unlimited */
        uint32_t rate_period; /* milliseconds */
};

/* Since version 3 */
struct ctl_vsock {
        struct ctl_header header;
        struct ctl_place place;
        uint32_t cid; /* the guest's address, CTL_CID_MIN at least; no other guest of the host has it */
        uint32_t pad;
};

enum ctl_start_flags {
        CTL_START_PAUSED = 1u << 0,
};

struct ctl_start {
        struct ctl_header header;
        uint32_t flags; /* enum ctl_start_flags */
        uint32_t pad;
};

struct ctl_link {
        struct ctl_header header;
        uint32_t id; /* of an interface */
        uint32_t up; /* 0 or 1 */
};

/* Replaces the machine's actions (for a reboot requested by the host: power button, then restart). */
struct ctl_actions {
        struct ctl_header header;
        uint8_t on_poweroff; /* enum ctl_action */
        uint8_t on_reboot;
        uint8_t on_crash;
        uint8_t pad[5];
};

enum ctl_remove_flags {
        CTL_REMOVE_FORCE = 1u << 0, /* whatever the guest does with it */
};

/*
 * Without FORCE the guest is asked to let go of the device, unless no driver uses it; what it does is up to it.
 * EVENT_REMOVED follows when the device is gone, perhaps at once, perhaps never.
 */
struct ctl_remove {
        struct ctl_header header;
        uint32_t id;
        uint32_t flags; /* enum ctl_remove_flags */
};

enum ctl_state {
        CTL_STATE_SETUP = 0, /* being configured */
        CTL_STATE_RUNNING,
        CTL_STATE_PAUSED,
        CTL_STATE_SHUTDOWN, /* guest powered off; see on_poweroff */
        CTL_STATE_CRASHED,  /* guest panicked or a vCPU failed; see on_crash */
        CTL_STATE_MAX,
};

enum ctl_reason {
        CTL_REASON_NONE = 0,
        CTL_REASON_REQUEST,    /* requested on the control socket */
        CTL_REASON_GUEST,      /* the guest powered off or rebooted */
        CTL_REASON_PANIC,      /* the guest reported a panic (pvpanic) */
        CTL_REASON_VCPU_ERROR, /* KVM could not continue: internal error */
        CTL_REASON_SIGNAL,     /* the monitor got SIGTERM and the guest did not respond */
        CTL_REASON_IO_ERROR,   /* a disk's error policy paused the guest; since version 2 */
        CTL_REASON_MAX,
};

struct ctl_query_reply {
        struct ctl_reply reply;
        uint32_t state;  /* enum ctl_state */
        uint32_t reason; /* enum ctl_reason */
        uint32_t vcpus;
        uint32_t pad;
        int32_t vcpu_tid[CTL_VCPUS_MAX]; /* thread ids in the monitor's PID namespace */
};

struct ctl_disk_stats {
        uint64_t rd_req, rd_bytes, rd_time_ns;
        uint64_t wr_req, wr_bytes, wr_time_ns;
        uint64_t flush_req, flush_time_ns;
        uint64_t errors;
        uint64_t capacity; /* bytes */
};

struct ctl_nic_stats {
        uint64_t rx_packets, rx_bytes, rx_drops; /* as the guest sees them: rx is towards the guest */
        uint64_t tx_packets, tx_bytes, tx_drops;
};

/* Both lists go by rising ids; a page has those above `after`. */
struct ctl_stats {
        struct ctl_header header;
        uint32_t after; /* an id; 0: from the first on */
        uint32_t pad;
};

struct ctl_device_stats {
        uint32_t id;
        uint16_t type; /* the ADD_* that made it: says which member counts */
        uint16_t pad;
        int32_t error; /* of a disk: negative errno that paused the guest, or of a failed flush; 0: none */
        uint32_t pad2;
        union {
                struct ctl_disk_stats disk;
                struct ctl_nic_stats nic;
        };
};

struct ctl_stats_reply {
        struct ctl_reply reply;
        uint64_t guest_errors; /* protocol violations by the guest, all devices */
        uint32_t n;            /* devices that count something */
        uint32_t more;         /* 1: there are more, above the last id */
        struct ctl_device_stats device[CTL_STATS_MAX];
};

struct ctl_list {
        struct ctl_header header;
        uint32_t after; /* an id; 0: from the first on */
        uint32_t pad;
};

enum ctl_list_flags {
        CTL_LIST_LEAVING = 1u << 0, /* REMOVE was asked for, or the guest has given it away */
};

struct ctl_list_entry {
        struct ctl_place place; /* where it really is; slot 0 before START */
        uint16_t type;          /* the ADD_* that made it */
        uint16_t pad;
        uint32_t flags; /* enum ctl_list_flags */
};

struct ctl_list_reply {
        struct ctl_reply reply;
        uint32_t n;
        uint32_t more; /* 1: there are more, above the last id */
        struct ctl_list_entry entry[CTL_LIST_MAX];
};

struct ctl_event_state {
        struct ctl_header header;
        uint32_t state;  /* enum ctl_state */
        uint32_t reason; /* enum ctl_reason */
};

struct ctl_event_io_error {
        struct ctl_header header;
        uint32_t id;    /* of the disk; in version 1 its index */
        int32_t error;  /* negative errno */
        uint32_t write; /* 0: read, 1: write, 2: flush or discard */
        uint32_t pad;
        /* Since version 2 */
        uint32_t policy; /* enum ctl_error_policy: the action taken, REPORT, STOP or IGNORE */
        uint32_t pad2;
};

struct ctl_event_port {
        struct ctl_header header;
        uint32_t id;   /* of the port; in version 1 its index */
        uint32_t open; /* 0 or 1 */
};

/* Its host ends are closed. The guest may have given it away without having been asked. */
struct ctl_event_removed {
        struct ctl_header header;
        uint32_t id;
        uint32_t pad;
};

/*
 * Written once, at offset 0 of the SET_EXIT_RECORD file, before the monitor exits
 * voluntarily, so that a daemon that was away learns why a guest is gone. An empty file,
 * or one of zeroes, means that the monitor was killed.
 */
struct ctl_exit_record {
        uint32_t magic;  /* CTL_MAGIC */
        uint32_t state;  /* enum ctl_state: the last one */
        uint32_t reason; /* enum ctl_reason */
        int32_t error;   /* negative errno or 0 */
};
