/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: disks are read as they are written, with whatever bus; legacy.c
 * turns them into virtio ones afterwards, when all target names are known.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/domain_names.h"
#include "util/error.h"

static gboolean parse_disk_type(const xmlNode *node, DomainDisk *disk, GError **err) {
        int word = DOMAIN_DISK_FILE;
        if (!xml_attr_enum(node, "type", domain_disk_type_names, &word, err))
                return FALSE;
        disk->type = (DomainDiskType) word;
        return TRUE;
}

static gboolean parse_disk_device(const xmlNode *node, DomainDisk *disk, GError **err) {
        static const char *const devices[] = { "disk", "cdrom", "floppy", NULL };
        int word = 0;
        if (!xml_attr_enum(node, "device", devices, &word, err))
                return FALSE;
        disk->device = g_strdup(devices[word]);
        return TRUE;
}

/* The bus that libvirt derives from a target's name. */
static const char *bus_of_target(const char *target) {
        static const struct {
                const char *prefix, *bus;
        } table[] = { { "vd", "virtio" }, { "hd", "ide" },  { "sd", "scsi" },
                      { "fd", "fdc" },    { "xvd", "xen" }, { "ubd", "uml" } };
        for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
                gsize length = strlen(table[i].prefix), letters;
                if (!g_str_has_prefix(target, table[i].prefix))
                        continue;
                letters = strspn(target + length, "abcdefghijklmnopqrstuvwxyz");
                if (letters >= 1 && letters <= 3 && target[length + letters] == '\0')
                        return table[i].bus;
        }
        return NULL;
}

static gboolean parse_disk_target(const xmlNode *node, DomainDisk *disk, GError **err) {
        static const char *const buses[] = { "ide", "fdc", "scsi", "virtio", "xen", "usb", "uml", "sata", "sd", NULL };
        const xmlNode *target = xml_first(node, "target");
        int word = -1;
        disk->target = xml_attr(target, "dev");
        if (!disk->target || *disk->target == '\0') {
                return error_set(err, VIR_ERR_NO_TARGET, "missing target information for device");
        }
        const char *bus = bus_of_target(disk->target);
        if (!bus) {
                return error_set(err, VIR_ERR_XML_ERROR, "Unknown disk name '%s' and no address specified",
                                 disk->target);
        }
        if (!xml_attr_enum(target, "bus", buses, &word, err))
                return FALSE;
        disk->bus = g_strdup(word >= 0 ? buses[word] : bus);
        return TRUE;
}

/* Removable drives may be empty. The state of a running domain also has the path that a volume resolved to. */
static gboolean parse_disk_source(const xmlNode *source, DomainDisk *disk, guint flags, GError **err) {
        static const char *const policies[] = { "mandatory", "requisite", "optional", NULL };
        if (!xml_attr_word(source, "startupPolicy", policies, &disk->startup_policy, err))
                return FALSE;
        if (disk->type == DOMAIN_DISK_VOLUME) {
                disk->pool = xml_attr(source, "pool");
                disk->volume = xml_attr(source, "volume");
                if ((flags & DOMAIN_PARSE_STATUS) != 0)
                        disk->source = xml_attr(source, "file");
        } else {
                disk->source = xml_attr(source, disk->type == DOMAIN_DISK_FILE ? "file" : "dev");
                if (disk->source && *disk->source == '\0')
                        g_clear_pointer(&disk->source, g_free);
        }
        if (disk->source || (disk->pool && disk->volume) || strcmp(disk->device, "disk") != 0 ||
            (flags & DOMAIN_PARSE_PARTIAL) != 0)
                return TRUE;
        return error_set(err, VIR_ERR_NO_SOURCE, "missing source information for device %s", disk->target);
}

static gboolean parse_disk_driver(const xmlNode *driver, DomainDisk *disk, GError **err) {
        static const char *const discards[] = { "unmap", "ignore", NULL };
        static const char *const ios[] = { "native", "threads", "io_uring", NULL };
        static const char *const policies[] = { "stop", "report", "ignore", "enospace", NULL };
        static const char *const read_policies[] = { "stop", "report", "ignore", NULL };
        int cache = DOMAIN_CACHE_DEFAULT;
        disk->driver_name = xml_attr(driver, "name");
        disk->driver_type = xml_attr(driver, "type");
        if (!xml_attr_enum(driver, "cache", domain_disk_cache_names, &cache, err) ||
            !xml_attr_word(driver, "discard", discards, &disk->discard, err) ||
            !xml_attr_word(driver, "io", ios, &disk->io, err) ||
            !xml_attr_word(driver, "error_policy", policies, &disk->error_policy, err) ||
            !xml_attr_word(driver, "rerror_policy", read_policies, &disk->rerror_policy, err))
                return FALSE;
        disk->cache = (DomainDiskCache) cache;
        return TRUE;
}

static gboolean check_iotune(const DomainIoTune *t, GError **err) {
        if (t->total_bytes_sec != 0 && (t->read_bytes_sec != 0 || t->write_bytes_sec != 0))
                error_set(err, VIR_ERR_XML_ERROR, "total and read/write bytes_sec cannot be set at the same time");
        else if (t->total_iops_sec != 0 && (t->read_iops_sec != 0 || t->write_iops_sec != 0))
                error_set(err, VIR_ERR_XML_ERROR, "total and read/write iops_sec cannot be set at the same time");
        else
                return TRUE;
        return FALSE;
}

static gboolean parse_iotune(const xmlNode *iotune, DomainIoTune *tune, guint flags, GError **err) {
        return xml_child_u64(iotune, "total_bytes_sec", &tune->total_bytes_sec, err) &&
               xml_child_u64(iotune, "read_bytes_sec", &tune->read_bytes_sec, err) &&
               xml_child_u64(iotune, "write_bytes_sec", &tune->write_bytes_sec, err) &&
               xml_child_u64(iotune, "total_iops_sec", &tune->total_iops_sec, err) &&
               xml_child_u64(iotune, "read_iops_sec", &tune->read_iops_sec, err) &&
               xml_child_u64(iotune, "write_iops_sec", &tune->write_iops_sec, err) &&
               (domain_parse_is_own(flags) || check_iotune(tune, err));
}

static gboolean parse_wwn(const xmlNode *node, DomainDisk *disk, GError **err) {
        disk->wwn = xml_child_text(node, "wwn");
        if (!disk->wwn || (strlen(disk->wwn) == 16 && strspn(disk->wwn, "0123456789abcdefABCDEF") == 16))
                return TRUE;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "Malformed wwn: %s", disk->wwn);
}

gboolean domain_parse_disk(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_autoptr(DomainDisk) disk = g_new0(DomainDisk, 1);
        const xmlNode *source = xml_first(node, "source");
        if (!parse_disk_type(node, disk, err) || !parse_disk_device(node, disk, err) ||
            !parse_disk_target(node, disk, err) || !parse_disk_source(source, disk, flags, err) ||
            !parse_disk_driver(xml_first(node, "driver"), disk, err) ||
            !parse_iotune(xml_first(node, "iotune"), &disk->iotune, flags, err) || !parse_wwn(node, disk, err) ||
            !domain_parse_boot_order(node, &disk->boot_order, err) || !domain_parse_pci_address(node, &disk->pci, err))
                return FALSE;
        disk->readonly = xml_first(node, "readonly") != NULL;
        disk->shareable = xml_first(node, "shareable") != NULL;
        disk->serial = xml_child_text(node, "serial");
        disk->alias = domain_parse_alias(node, flags);
        g_ptr_array_add(def->disks, g_steal_pointer(&disk));
        return TRUE;
}

/* vda before vdb before vdaa. */
static int compare_disks(gconstpointer a, gconstpointer b) {
        const DomainDisk *left = *(DomainDisk *const *) a, *right = *(DomainDisk *const *) b;
        gsize left_length = strlen(left->target), right_length = strlen(right->target);
        if (left_length != right_length)
                return left_length < right_length ? -1 : 1;
        return strcmp(left->target, right->target);
}

void domain_def_sort_disks(DomainDef *def) {
        g_ptr_array_sort(def->disks, compare_disks);
}
