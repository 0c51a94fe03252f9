/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks: told apart by their targets. An update replaces all of a disk, its medium included, but only in the persistent
 * definition. An address that is not given stays.
 */
#include <string.h>

#include "domain/device.h"
#include "util/error.h"

static const DomainDisk *disk_of(const DomainDevice *device) {
        return device_only(device, disks);
}

static gboolean find_target(const DomainDef *def, const char *target, guint *ret_index) {
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                *ret_index = i;
                if (strcmp(disk->target, target) == 0)
                        return TRUE;
        }
        return FALSE;
}

/* The guest would have a disk, which has a medium; so a definition drops drives without one. */
static gboolean check_medium(const DomainDisk *disk, GError **err) {
        if (strcmp(disk->device, "floppy") != 0 && (disk->source || disk->volume))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "%s '%s' is not supported: microVMs have disks, which have a <source>, and no drives",
                         disk->device, disk->target);
}

static gboolean disk_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        const DomainDisk *disk = disk_of(device);
        guint index = 0;
        if (find_target(def, disk->target, &index))
                return error_set(err, taken, "target %s already exists", disk->target);
        return check_medium(disk, err);
}

static void disk_insert(DomainDef *def, const DomainDevice *device) {
        g_ptr_array_add(def->disks, DEVICE_COPY(device, disks));
}

static gboolean disk_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        const char *target = disk_of(device)->target;
        if (find_target(def, target, ret_index))
                return TRUE;
        return error_set(err, VIR_ERR_DEVICE_MISSING, "no target device %s", target);
}

static gboolean disk_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        return device_find_alias(def->disks, G_STRUCT_OFFSET(DomainDisk, alias), alias, ret_index);
}

static void disk_remove(DomainDef *def, guint index) {
        g_ptr_array_remove_index(def->disks, index);
}

static gboolean disk_update(DomainDef *def, guint index, const DomainDevice *device, GError **err) {
        if (!check_medium(disk_of(device), err))
                return FALSE;
        const DomainDisk *old = g_ptr_array_index(def->disks, index);
        DomainDisk *disk = DEVICE_COPY(device, disks);
        if (!disk->pci.present)
                disk->pci = old->pci;
        if (!disk->alias)
                disk->alias = g_strdup(old->alias);
        device_replace(def->disks, index, disk);
        return TRUE;
}

const DeviceKind device_kind_disk = {
        .elements = { "disk" },
        .check = disk_check,
        .insert = disk_insert,
        .find = disk_find,
        .find_alias = disk_find_alias,
        .remove = disk_remove,
        .update = disk_update,
};
