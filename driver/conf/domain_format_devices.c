/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one function per kind of device, children in libvirt's order.
 * Aliases are shown while the domain runs, the client's own always. PCI addresses are always shown.
 */
#include "conf/domain_format.h"

#include <string.h>

#include "conf/domain_names.h"

#define GENERATED_PREFIX "vnet"

static void format_alias(XmlWriter *w, const char *alias, gboolean live) {
        if (alias && (live || g_str_has_prefix(alias, "ua-")))
                xml_leaf_attr(w, "alias", "name", alias);
}

static void format_pci(XmlWriter *w, const DomainPciAddress *pci) {
        if (!pci->present)
                return;
        xml_begin(w, "address");
        xml_put(w, "type", "pci");
        xml_putf(w, "domain", "0x%04x", pci->domain);
        xml_putf(w, "bus", "0x%02x", pci->bus);
        xml_putf(w, "slot", "0x%02x", pci->slot);
        xml_putf(w, "function", "0x%x", pci->function);
        xml_end(w);
}

/* The device of all virtio consoles and channels. */
static void format_ports(XmlWriter *w, const DomainPciAddress *pci, gboolean live) {
        if (!pci->present)
                return;
        xml_begin(w, "controller");
        xml_put(w, "type", "virtio-serial");
        xml_put(w, "index", "0");
        format_alias(w, "virtio-serial0", live);
        format_pci(w, pci);
        xml_end(w);
}

static void format_boot_order(XmlWriter *w, guint order) {
        if (order == 0)
                return;
        xml_begin(w, "boot");
        xml_put_u64(w, "order", order);
        xml_end(w);
}

static void format_disk_driver(XmlWriter *w, const DomainDisk *disk) {
        xml_begin(w, "driver");
        xml_put(w, "name", disk->driver_name);
        xml_put(w, "type", disk->driver_type);
        if (disk->cache != DOMAIN_CACHE_DEFAULT)
                xml_put(w, "cache", domain_disk_cache_names[disk->cache]);
        xml_put(w, "error_policy", disk->error_policy);
        xml_put(w, "rerror_policy", disk->rerror_policy);
        xml_put(w, "io", disk->io);
        xml_put(w, "discard", disk->discard);
        xml_end_used(w);
}

static void format_disk_source(XmlWriter *w, const DomainDisk *disk, gboolean status) {
        xml_begin(w, "source");
        if (disk->type == DOMAIN_DISK_VOLUME) {
                xml_put(w, "pool", disk->pool);
                xml_put(w, "volume", disk->volume);
                xml_put(w, "file", status ? disk->source : NULL);
        } else {
                xml_put(w, disk->type == DOMAIN_DISK_FILE ? "file" : "dev", disk->source);
        }
        xml_put(w, "startupPolicy", disk->startup_policy);
        xml_end_used(w);
}

static void format_iotune(XmlWriter *w, const DomainIoTune *tune) {
        xml_begin(w, "iotune");
        xml_element_u64(w, "total_bytes_sec", tune->total_bytes_sec);
        xml_element_u64(w, "read_bytes_sec", tune->read_bytes_sec);
        xml_element_u64(w, "write_bytes_sec", tune->write_bytes_sec);
        xml_element_u64(w, "total_iops_sec", tune->total_iops_sec);
        xml_element_u64(w, "read_iops_sec", tune->read_iops_sec);
        xml_element_u64(w, "write_iops_sec", tune->write_iops_sec);
        xml_end_used(w);
}

static void format_disk(XmlWriter *w, const DomainDisk *disk, gboolean live, gboolean status) {
        xml_begin(w, "disk");
        xml_put(w, "type", domain_disk_type_names[disk->type]);
        xml_put(w, "device", disk->device);
        format_disk_driver(w, disk);
        format_disk_source(w, disk, status);
        xml_begin(w, "target");
        xml_put(w, "dev", disk->target);
        xml_put(w, "bus", disk->bus);
        xml_end(w);
        format_iotune(w, &disk->iotune);
        if (disk->readonly)
                xml_leaf(w, "readonly");
        if (disk->shareable)
                xml_leaf(w, "shareable");
        xml_element(w, "serial", disk->serial);
        xml_element(w, "wwn", disk->wwn);
        format_boot_order(w, disk->boot_order);
        format_alias(w, disk->alias, live);
        format_pci(w, &disk->pci);
        xml_end(w);
}

static void format_nic_source(XmlWriter *w, const DomainNic *nic, gboolean live) {
        if (nic->type == DOMAIN_NIC_ETHERNET)
                return;
        xml_begin(w, "source");
        xml_put(w, nic->type == DOMAIN_NIC_BRIDGE ? "bridge" : "network", nic->source);
        if (nic->type == DOMAIN_NIC_NETWORK) {
                xml_put(w, "portgroup", nic->portgroup);
                xml_put(w, "portid", live ? nic->portid : NULL);
                xml_put(w, "bridge", live ? nic->actual_bridge : NULL);
        }
        xml_end(w);
}

void domain_format_vlan(XmlWriter *w, const DomainNic *nic) {
        if (!nic->has_vlan)
                return;
        xml_begin(w, "vlan");
        xml_begin(w, "tag");
        xml_putf(w, "id", "%u", nic->vlan_tag);
        xml_end(w);
        xml_end(w);
}

static void format_limit(XmlWriter *w, const char *name, const DomainBandwidth *limit) {
        if (!limit->present || (limit->average == 0 && limit->floor == 0))
                return;
        xml_begin(w, name);
        xml_put_u64(w, "average", limit->average);
        xml_put_u64(w, "peak", limit->peak);
        xml_put_u64(w, "floor", limit->floor);
        xml_put_u64(w, "burst", limit->burst);
        xml_end(w);
}

void domain_format_bandwidth(XmlWriter *w, const DomainNic *nic) {
        xml_begin(w, "bandwidth");
        format_limit(w, "inbound", &nic->inbound);
        format_limit(w, "outbound", &nic->outbound);
        xml_end_used(w);
}

static void format_nic_target(XmlWriter *w, const DomainNic *nic, gboolean live) {
        gboolean shown =
                nic->target && (live || !nic->target_managed || !g_str_has_prefix(nic->target, GENERATED_PREFIX));
        xml_begin(w, "target");
        xml_put(w, "dev", shown ? nic->target : NULL);
        if (nic->type == DOMAIN_NIC_ETHERNET && !nic->target_managed)
                xml_put(w, "managed", "no");
        xml_end_used(w);
}

static void format_nic_driver(XmlWriter *w, const DomainNic *nic) {
        xml_begin(w, "driver");
        xml_put(w, "name", nic->driver_name);
        xml_end_used(w);
}

static void format_mtu(XmlWriter *w, guint mtu) {
        if (mtu == 0)
                return;
        xml_begin(w, "mtu");
        xml_put_u64(w, "size", mtu);
        xml_end(w);
}

static void format_nic(XmlWriter *w, const DomainNic *nic, gboolean live) {
        char mac[18];
        domain_mac_format(nic->mac, mac);
        xml_begin(w, "interface");
        xml_put(w, "type", domain_nic_type_names[nic->type]);
        xml_leaf_attr(w, "mac", "address", mac);
        format_nic_source(w, nic, live);
        domain_format_vlan(w, nic);
        domain_format_bandwidth(w, nic);
        if (nic->isolated)
                xml_leaf_attr(w, "port", "isolated", "yes");
        xml_leaf_attr(w, "script", "path", nic->script);
        format_nic_target(w, nic, live);
        xml_leaf_attr(w, "model", "type", nic->model);
        format_nic_driver(w, nic);
        xml_leaf_attr(w, "filterref", "filter", nic->filter);
        if (nic->link_down)
                xml_leaf_attr(w, "link", "state", "down");
        format_mtu(w, nic->mtu);
        format_boot_order(w, nic->boot_order);
        format_alias(w, nic->alias, live);
        format_pci(w, &nic->pci);
        xml_end(w);
}

/* A pty's path is valid only while the domain runs, and so is a socket path chosen at the start. */
static void format_char_source(XmlWriter *w, const DomainChar *chr, gboolean live, gboolean status) {
        if (!chr->path && !(chr->backend == DOMAIN_CHAR_UNIX && chr->device != DOMAIN_CHAR_CHANNEL))
                return;
        if (chr->backend == DOMAIN_CHAR_NULL || ((chr->backend == DOMAIN_CHAR_PTY || chr->generated) && !live))
                return;
        xml_begin(w, "source");
        if (chr->backend == DOMAIN_CHAR_UNIX)
                xml_put(w, "mode", chr->listen ? "bind" : "connect");
        xml_put(w, "path", chr->path);
        if (chr->append)
                xml_put(w, "append", "on");
        if (chr->generated && status)
                xml_put(w, "generated", "yes");
        xml_end(w);
}

static void format_char_log(XmlWriter *w, const DomainChar *chr) {
        if (!chr->log_file)
                return;
        xml_begin(w, "log");
        xml_put(w, "file", chr->log_file);
        if (chr->has_log_append)
                xml_put(w, "append", chr->log_append ? "on" : "off");
        xml_end(w);
}

static void format_char_target(XmlWriter *w, const DomainChar *chr, gboolean live) {
        xml_begin(w, "target");
        xml_put(w, "type", chr->target_type);
        xml_put(w, "name", chr->target_name);
        xml_put(w, "state", live ? chr->target_state : NULL);
        if (chr->device != DOMAIN_CHAR_CHANNEL)
                xml_putf(w, "port", "%u", chr->target_port);
        if (chr->device == DOMAIN_CHAR_SERIAL)
                xml_leaf_attr(w, "model", "name", chr->target_type);
        xml_end(w);
}

/* `shown` is where the guest's end is: the serial port, for the console that stands for it. */
static void format_char(XmlWriter *w, const DomainChar *chr, const DomainChar *shown, gboolean live, gboolean status) {
        xml_begin(w, domain_char_device_names[chr->device]);
        xml_put(w, "type", domain_char_backend_names[shown->backend]);
        if (live && chr->device == DOMAIN_CHAR_CONSOLE && shown->backend == DOMAIN_CHAR_PTY)
                xml_put(w, "tty", shown->path);
        format_char_source(w, shown, live, status);
        format_char_log(w, shown);
        format_char_target(w, chr, live);
        format_alias(w, shown->alias, live);
        xml_end(w);
}

static void format_rng(XmlWriter *w, const DomainRng *rng, gboolean live) {
        xml_begin(w, "rng");
        xml_put(w, "model", rng->model);
        xml_begin(w, "rate");
        xml_put_u64(w, "bytes", rng->rate_bytes);
        if (rng->rate_bytes != 0)
                xml_put_u64(w, "period", rng->rate_period_ms);
        xml_end_used(w);
        xml_begin(w, "backend");
        xml_put(w, "model", "random");
        xml_end_text(w, rng->backend_path);
        format_alias(w, rng->alias, live);
        format_pci(w, &rng->pci);
        xml_end(w);
}

static void format_vsock(XmlWriter *w, const DomainVsock *vsock, gboolean live) {
        xml_begin(w, "vsock");
        xml_put(w, "model", "virtio");
        xml_begin(w, "cid");
        xml_put(w, "auto", vsock->auto_cid ? "yes" : "no");
        if (vsock->cid != 0 && (live || !vsock->auto_cid))
                xml_put_u64(w, "address", vsock->cid);
        xml_end(w);
        format_alias(w, vsock->alias, live);
        format_pci(w, &vsock->pci);
        xml_end(w);
}

void domain_format_devices(XmlWriter *w, const DomainDef *def, gboolean live, gboolean status) {
        const DomainChar *serial = domain_def_first_serial(def);
        xml_begin(w, "devices");
        xml_element(w, "emulator", def->emulator);
        for (guint i = 0; i < def->disks->len; i++)
                format_disk(w, g_ptr_array_index(def->disks, i), live, status);
        format_ports(w, &def->ports_pci, live);
        for (guint i = 0; i < def->nics->len; i++)
                format_nic(w, g_ptr_array_index(def->nics, i), live);
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                gboolean other_face = domain_char_is_serial_console(chr) && serial;
                format_char(w, chr, other_face ? serial : chr, live, status);
        }
        if (def->rng)
                format_rng(w, def->rng, live);
        if (def->vsock)
                format_vsock(w, def->vsock, live);
        xml_end(w);
}
