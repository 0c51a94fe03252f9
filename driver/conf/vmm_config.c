/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one function per message, each a plain mapping. Decisions that
 * are not obvious from the XML:
 *
 *  - Memory is rounded up to whole pages of the size that backs it, at least 2 MiB.
 *  - Without a topology every vCPU is a socket, as libvirt has it.
 *  - A command line without any console= gets one: ttyS0 when there is a serial port,
 *    else hvc0 when there is a virtio console. A VM without visible output is of no use.
 *  - on_crash='coredump-…' acts without the dump; rename-restart restarts.
 *  - cache=none and directsync open the image O_DIRECT; the monitor is told only what
 *    the guest's flushes are worth.
 *  - A disk's serial number is cut to the 20 bytes that virtio has for it.
 *  - Ports are the virtio consoles in their order, then the channels.
 */
#include "conf/vmm_config.h"

#include <string.h>
#include <time.h>

#include "conf/arch.h"
#include "conf/cpu_features.h"
#include "conf/domain_def_internal.h"
#include "conf/machine.h"
#include "conf/xml_read.h"
#include "conf/xml_verdict.h"
#include "util/error.h"

#define MEMORY_STEP_BYTES (2ull << 20)
#define TAP_MAC_BYTE      0xfe
#define HOST_PAGE_KIB     4 /* <page size='4'>: no huge pages after all */

/* --- The machine --------------------------------------------------------------------- */

guint8 vmm_config_action(DomainAction action) {
        switch (action) {
        case DOMAIN_ACTION_RESTART:
        case DOMAIN_ACTION_RENAME_RESTART:
        case DOMAIN_ACTION_COREDUMP_RESTART:
                return CTL_ACTION_RESTART;
        case DOMAIN_ACTION_PRESERVE:
                return CTL_ACTION_PRESERVE;
        case DOMAIN_ACTION_DESTROY:
        case DOMAIN_ACTION_COREDUMP_DESTROY:
                break;
        }
        return CTL_ACTION_DESTROY;
}

/* Seconds that a zone is ahead of UTC now; NULL: the host's. */
static gint64 zone_offset(const char *name) {
        g_autoptr(GTimeZone) zone = name ? g_time_zone_new_identifier(name) : g_time_zone_new_local();
        if (!zone)
                return 0;
        int interval = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, time(NULL));
        return interval >= 0 ? g_time_zone_get_offset(zone, interval) : 0;
}

static gint64 rtc_offset(const DomainClock *clock) {
        if (strcmp(clock->offset, "localtime") == 0)
                return zone_offset(NULL);
        if (strcmp(clock->offset, "timezone") == 0)
                return zone_offset(clock->timezone);
        if (strcmp(clock->offset, "absolute") == 0)
                return clock->adjustment - (gint64) time(NULL);
        if (strcmp(clock->offset, "variable") == 0)
                return clock->adjustment + (g_strcmp0(clock->basis, "localtime") == 0 ? zone_offset(NULL) : 0);
        return 0;
}

static gboolean check_hugepages(guint64 kib, GError **err) {
        if ((kib & (kib - 1)) == 0 && kib * 1024 >= MEMORY_STEP_BYTES)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "huge pages of %" G_GUINT64_FORMAT " KiB do not exist on this host", kib);
}

static gboolean set_memory(const DomainMemory *memory, struct ctl_machine *m, GError **err) {
        guint64 step = MEMORY_STEP_BYTES;
        if (memory->hugepages && memory->hugepage_kib != HOST_PAGE_KIB) {
                if (memory->hugepage_kib != 0 && !check_hugepages(memory->hugepage_kib, err))
                        return FALSE;
                m->hugepage_size = memory->hugepage_kib != 0 ? memory->hugepage_kib * 1024 : ARCH_HUGEPAGE_BYTES;
                m->flags |= CTL_MACHINE_HUGETLB;
                step = m->hugepage_size;
        }
        if (memory->maximum_kib > (G_MAXINT64 - step) / 1024) {
                return error_set(err, VIR_ERR_OVERFLOW, "numerical overflow: %" G_GUINT64_FORMAT " KiB of memory",
                                 memory->maximum_kib);
        }
        m->memory_bytes = (memory->maximum_kib * 1024 + step - 1) / step * step;
        if (memory->locked)
                m->flags |= CTL_MACHINE_LOCKED;
        if (memory->shared)
                m->flags |= CTL_MACHINE_SHARED;
        return TRUE;
}

static void set_topology(const DomainDef *def, struct ctl_machine *m) {
        gboolean given = def->cpu.has_topology;
        m->vcpus = def->vcpus;
        m->sockets = given ? def->cpu.sockets : def->vcpus;
        m->dies = given ? def->cpu.dies : 1;
        m->cores = given ? def->cpu.cores : 1;
        m->threads = given ? def->cpu.threads : 1;
}

static gboolean set_machine(const DomainDef *def, struct ctl_machine *m, GError **err) {
        if (!set_memory(&def->memory, m, err))
                return FALSE;
        set_topology(def, m);
        m->version = machine_number(def->os.machine);
        m->rtc_offset = rtc_offset(&def->clock);
        if (strcmp(def->clock.offset, "utc") != 0)
                m->flags |= CTL_MACHINE_UTC_LOCALTIME;
        m->on_poweroff = vmm_config_action(def->on_poweroff);
        m->on_reboot = vmm_config_action(def->on_reboot);
        m->on_crash = vmm_config_action(def->on_crash);
        memcpy(m->uuid, def->uuid, sizeof(m->uuid));
        g_strlcpy(m->name, def->name, sizeof(m->name));
        return TRUE;
}

static void set_cpu(const DomainCpu *cpu, struct ctl_cpu *ret) {
        for (guint i = 0; i < cpu->features->len; i++) {
                const DomainCpuFeature *feature = &g_array_index(cpu->features, DomainCpuFeature, i);
                const CpuFeature *known = cpu_feature_find(feature->name);
                g_assert(known != NULL); /* the parser resolved it */
                struct ctl_cpu_feature *message = &ret->feature[ret->n++];
                *message = (struct ctl_cpu_feature) { .function = known->function,
                                                      .index = known->index,
                                                      .reg = known->reg,
                                                      .bit = known->bit,
                                                      .policy = (guint8) feature->policy };
                g_strlcpy(message->name, known->name, sizeof(message->name));
        }
}

/* --- The command line ------------------------------------------------------------------ */

static gboolean has_console_option(const char *cmdline) {
        for (const char *p = strstr(cmdline, "console="); p; p = strstr(p + 1, "console="))
                if (p == cmdline || g_ascii_isspace(p[-1]))
                        return TRUE;
        return FALSE;
}

static const char *default_console(const DomainDef *def) {
        if (domain_def_first_serial(def))
                return "console=ttyS0";
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_CONSOLE && domain_char_is_port(chr))
                        return "console=hvc0";
        }
        return NULL;
}

static gboolean set_cmdline(const DomainDef *def, VmmConfig *config, GError **err) {
        const char *given = def->os.cmdline ? def->os.cmdline : "";
        const char *console = has_console_option(given) ? NULL : default_console(def);
        g_autofree char *text =
                g_strdup_printf("%s%s%s", given, *given != '\0' && console ? " " : "", console ? console : "");
        if (g_strlcpy(config->cmdline.text, text, sizeof(config->cmdline.text)) < sizeof(config->cmdline.text))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the kernel command line is longer than %u bytes",
                         CTL_CMDLINE_MAX - 1);
}

/* --- Devices ------------------------------------------------------------------------------ */

static uint32_t map_cache(DomainDiskCache cache) {
        switch (cache) {
        case DOMAIN_CACHE_WRITETHROUGH:
        case DOMAIN_CACHE_DIRECTSYNC:
                return CTL_CACHE_WRITETHROUGH;
        case DOMAIN_CACHE_UNSAFE:
                return CTL_CACHE_UNSAFE;
        case DOMAIN_CACHE_DEFAULT:
        case DOMAIN_CACHE_NONE:
        case DOMAIN_CACHE_WRITEBACK:
                break;
        }
        return CTL_CACHE_WRITEBACK;
}

static enum ctl_error_policy map_policy(const char *policy) {
        return g_strcmp0(policy, "stop") == 0       ? CTL_ERROR_STOP
               : g_strcmp0(policy, "ignore") == 0   ? CTL_ERROR_IGNORE
               : g_strcmp0(policy, "enospace") == 0 ? CTL_ERROR_ENOSPC
                                                    : CTL_ERROR_REPORT;
}

/* As libvirt translates them for QEMU: "enospace" is the default, and rerror_policy only takes values that make sense
 * for reads. */
static void set_policies(const DomainDisk *disk, struct ctl_disk *message) {
        const char *write = disk->error_policy ? disk->error_policy : "enospace";
        const char *read = disk->rerror_policy              ? disk->rerror_policy
                           : strcmp(write, "enospace") == 0 ? "report"
                                                            : write;
        message->error_policy = (guint8) map_policy(write);
        message->rerror_policy = (guint8) map_policy(read);
}

void vmm_config_disk(const DomainDisk *disk, struct ctl_disk *ret) {
        *ret = (struct ctl_disk) {
                .place.slot = (guint8) disk->pci.slot,
                .flags = (disk->readonly ? CTL_DISK_READONLY : 0) |
                         (g_strcmp0(disk->discard, "unmap") == 0 ? CTL_DISK_DISCARD : 0),
                .cache = map_cache(disk->cache),
        };
        set_policies(disk, ret);
        if (disk->serial)
                g_strlcpy(ret->serial, disk->serial, sizeof(ret->serial));
        g_strlcpy(ret->name, disk->target, sizeof(ret->name));
}

gboolean vmm_config_disk_is_direct(const DomainDisk *disk) {
        return disk->cache == DOMAIN_CACHE_NONE || disk->cache == DOMAIN_CACHE_DIRECTSYNC;
}

void vmm_config_nic(const DomainNic *nic, struct ctl_nic *ret) {
        *ret = (struct ctl_nic) {
                .place.slot = (guint8) nic->pci.slot,
                .flags = nic->link_down ? CTL_NIC_LINK_DOWN : 0,
                .mtu = (guint16) nic->mtu,
        };
        memcpy(ret->mac, nic->mac, sizeof(ret->mac));
        if (nic->target)
                g_strlcpy(ret->name, nic->target, sizeof(ret->name));
}

gboolean vmm_config_port(const DomainDef *def, const DomainChar *chr, struct ctl_port *ret, GError **err) {
        *ret = (struct ctl_port) {
                .place.slot = (guint8) def->ports_pci.slot,
                .flags = (chr->device == DOMAIN_CHAR_CONSOLE ? CTL_PORT_CONSOLE : 0) |
                         (chr->backend == DOMAIN_CHAR_UNIX && chr->listen ? CTL_PORT_SOCKET : 0),
        };
        if (!chr->target_name || g_strlcpy(ret->name, chr->target_name, sizeof(ret->name)) < sizeof(ret->name))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "channel name '%s' is too long", chr->target_name);
}

void vmm_config_rng(const DomainRng *rng, struct ctl_rng *ret) {
        *ret = (struct ctl_rng) {
                .place.slot = (guint8) rng->pci.slot,
                .rate_bytes = rng->rate_bytes,
                .rate_period = rng->rate_bytes == 0       ? 0
                               : rng->rate_period_ms != 0 ? rng->rate_period_ms
                                                          : 1000,
        };
}

/* --- All of it ---------------------------------------------------------------------------- */

static gboolean check_number(const char *what, guint n, guint max, GError **err) {
        return n <= max || error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %u %s", max, what);
}

static gboolean check_char_config(const DomainDef *def, const DomainChar *chr, guint *n_ports, GError **err) {
        struct ctl_port port;
        if (chr->device == DOMAIN_CHAR_SERIAL && chr->backend == DOMAIN_CHAR_UNIX && chr->listen)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "a serial port cannot listen on a socket: use type='pty', or a channel");
        if (!domain_char_is_port(chr))
                return TRUE;
        ++*n_ports;
        return vmm_config_port(def, chr, &port, err);
}

gboolean vmm_config_check_devices(const DomainDef *def, GError **err) {
        guint n_ports = 0;
        for (guint i = 0; i < def->chars->len; i++)
                if (!check_char_config(def, g_ptr_array_index(def->chars, i), &n_ports, err))
                        return FALSE;
        return check_number("disks", def->disks->len, DOMAIN_DISKS_MAX, err) &&
               check_number("interfaces", def->nics->len, DOMAIN_NICS_MAX, err) &&
               check_number("consoles and channels", n_ports, CTL_PORTS_MAX, err);
}

void vmm_config_vsock(const DomainVsock *vsock, struct ctl_vsock *ret) {
        *ret = (struct ctl_vsock) { .place.slot = (guint8) vsock->pci.slot, .cid = vsock->cid };
}

gboolean vmm_config_from_def(const DomainDef *def, VmmConfig *ret, GError **err) {
        memset(ret, 0, sizeof(*ret));
        set_cpu(&def->cpu, &ret->cpu);
        return set_machine(def, &ret->machine, err) && vmm_config_check_devices(def, err) && set_cmdline(def, ret, err);
}

/* --- What a start needs ------------------------------------------------------------------- */

static gboolean check_nic(const DomainNic *nic, GError **err) {
        char mac[18];
        domain_mac_format(nic->mac, mac);
        /* The TAP's address is the guest's with this first byte, so that a bridge does not take it as its own. */
        if (nic->mac[0] == TAP_MAC_BYTE)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "Unable to use MAC address starting with reserved value 0xFE - '%s'", mac);
        if (nic->inbound.floor == 0 || nic->type == DOMAIN_NIC_NETWORK)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "interface %s: only a network can keep a floor: write <interface type='network'>", mac);
}

static gboolean check_machine(const DomainDef *def, GError **err) {
        const DomainCpu *cpu = &def->cpu;
        if (machine_number(def->os.machine) == 0)
                return machine_refuse(def->os.machine, err);
        if (!def->os.kernel)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "domain '%s' has no kernel to boot, and microVMs have no firmware: add <kernel> (and usually "
                          "<initrd> and <cmdline>) to <os>",
                          def->name);
        else if (def->memory.maximum_kib < DOMAIN_MEMORY_KIB_MIN)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "%" G_GUINT64_FORMAT " KiB of memory are less than the minimum of %u KiB",
                          def->memory.maximum_kib, DOMAIN_MEMORY_KIB_MIN);
        else if (cpu->has_topology && cpu->sockets * cpu->dies * cpu->cores * cpu->threads != def->vcpus_max)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU topology doesn't match maximum vcpu count");
        else
                return TRUE;
        return FALSE;
}

/* The name of a channel without a path becomes part of its path. */
static gboolean check_char(const DomainChar *chr, GError **err) {
        const char *name = chr->target_name ? chr->target_name : chr->alias;
        if (chr->device != DOMAIN_CHAR_CHANNEL || chr->backend != DOMAIN_CHAR_UNIX || chr->path || !name ||
            strchr(name, '/') == NULL)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "channel '%s' has a '/' in its name: write <source mode='bind' "
                         "path='/...'/>",
                         name);
}

/* The table of verdicts speaks of XML. */
static gboolean check_verdicts(const DomainDef *def, GError **err) {
        g_autofree char *text = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_autoptr(xmlDoc) doc = xml_document_parse(text, "(domain_definition)", err);
        return doc && xml_verdict_start(xmlDocGetRootElement(doc), err);
}

gboolean domain_def_check_startable(const DomainDef *def, GError **err) {
        if (!check_machine(def, err) || !check_verdicts(def, err))
                return FALSE;
        for (guint i = 0; i < def->nics->len; i++)
                if (!check_nic(g_ptr_array_index(def->nics, i), err))
                        return FALSE;
        for (guint i = 0; i < def->chars->len; i++)
                if (!check_char(g_ptr_array_index(def->chars, i), err))
                        return FALSE;
        return TRUE;
}
