/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks: told apart by their targets. An update replaces all of a disk, its medium included, but only in the persistent
 * definition. An address that is not given stays.
 *
 * Disks are locked by open file description locks: a writable disk exclusively, a read-only one with other readers, a
 * <shareable/> one with other sharers, and these two kinds not with each other, each kind having a byte to mark. The
 * lock belongs to the open file description, so it moves to the monitor and lasts as long as that holds the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/vmm_config.h"
#include "domain/plug.h"
#include "util/error.h"

#define SECTOR      512u /* an image is served in whole ones */
#define READER_MARK 0
#define SHARER_MARK 1

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

static gboolean find_image(const DomainDef *def, const DomainDisk *wanted, guint *ret_index) {
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                *ret_index = i;
                if (disk->type == wanted->type && g_strcmp0(disk->source, wanted->source) == 0 &&
                    g_strcmp0(disk->pool, wanted->pool) == 0 && g_strcmp0(disk->volume, wanted->volume) == 0)
                        return TRUE;
        }
        return FALSE;
}

/* Two disks of one image would each be in the way of the other's lock, unless both only read or both share. */
static gboolean check_image(const DomainDef *def, const DomainDisk *disk, virErrorNumber taken, GError **err) {
        guint index = 0;
        if (!find_image(def, disk, &index))
                return TRUE;
        const DomainDisk *other = g_ptr_array_index(def->disks, index);
        if ((disk->readonly && other->readonly) || (disk->shareable && other->shareable))
                return TRUE;
        return error_set(err, taken,
                         "'%s' is disk '%s' already: mark both <readonly/> or <shareable/>, or detach that one",
                         disk->source ? disk->source : disk->volume, other->target);
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
        return check_medium(disk, err) && check_image(def, disk, taken, err);
}

static gpointer disk_insert(DomainDef *def, const DomainDevice *device) {
        DomainDisk *disk = DEVICE_COPY(device, disks);
        g_ptr_array_add(def->disks, disk);
        return disk;
}

/* A target of another bus, such as "sda", was replaced when the disk was attached: its image tells which one it is. */
static gboolean disk_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        const char *target = disk_of(device)->target;
        if (find_target(def, target, ret_index) ||
            (!g_str_has_prefix(target, "vd") && find_image(def, disk_of(device), ret_index)))
                return TRUE;
        return error_set(err, VIR_ERR_DEVICE_MISSING, "no target device %s", target);
}

static gboolean disk_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        return device_find_alias(def->disks, G_STRUCT_OFFSET(DomainDisk, alias), alias, ret_index);
}

static gpointer disk_at(const DomainDef *def, guint index) {
        return g_ptr_array_index(def->disks, index);
}

static char *disk_name(gconstpointer device) {
        const DomainDisk *disk = device;
        return g_strdup_printf("disk '%s'", disk->target);
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

/* --- In a monitor ------------------------------------------------------------------------ */

static void disk_list(const DomainDef *def, GPtrArray *ret) {
        for (guint i = 0; i < def->disks->len; i++) {
                DomainDisk *disk = g_ptr_array_index(def->disks, i);
                if (disk->source || disk->volume)
                        g_ptr_array_add(ret, disk);
        }
}

static const char *disk_alias(gconstpointer device) {
        const DomainDisk *disk = device;
        return disk->alias;
}

/* A volume becomes the path that its pool says. */
static gboolean disk_prepare(gpointer device, const PlugHost *host, GError **err) {
        DomainDisk *disk = device;
        if (disk->type != DOMAIN_DISK_VOLUME)
                return TRUE;
        g_free(disk->source);
        disk->source = storage_volume_path(host->domain->driver->libvirt, disk->pool, disk->volume, err);
        return disk->source != NULL;
}

/* Of `len` bytes, 0: to the end. TRUE also on a file system without locks. */
static gboolean try_lock(int fd, short type, off_t start, off_t len) {
        struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
        return fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

/* Another process marks this byte. A lock from offset 0 on is a reader's, of this version or an older one. */
static gboolean has_mark(int fd, off_t mark) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = mark, .l_len = 1 };
        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_start >= mark;
}

/* First our own mark, then a look for the other kind's: of two at once, at least one sees the other. */
static gboolean take_lock(int fd, const DomainDisk *disk) {
        if (disk->readonly)
                return try_lock(fd, F_RDLCK, READER_MARK, 1) && try_lock(fd, F_RDLCK, SHARER_MARK + 1, 0) &&
                       !has_mark(fd, SHARER_MARK);
        if (disk->shareable)
                return try_lock(fd, F_RDLCK, SHARER_MARK, 0) && !has_mark(fd, READER_MARK);
        return try_lock(fd, F_WRLCK, 0, 0);
}

static gboolean lock_disk(int fd, const DomainDisk *disk, GError **err) {
        if (take_lock(fd, disk))
                return TRUE;
        return error_set(err, VIR_ERR_RESOURCE_BUSY,
                         "disk '%s': '%s' is in use by another process; stop that one, or mark the disk <readonly/> or "
                         "<shareable/> in both",
                         disk->target, disk->source);
}

static gboolean check_disk_type(int fd, const DomainDisk *disk, GError **err) {
        struct stat st;
        if (fstat(fd, &st) < 0) {
                return error_set_errno(err, errno, "Cannot access storage file '%s'", disk->source);
        }
        if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "disk '%s': '%s' is neither a regular file nor a block device", disk->target, disk->source);
}

static int open_disk(const DomainDisk *disk, gboolean direct, GError **err) {
        int flags = (disk->readonly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
        int fd = open(disk->source, flags);
        if (fd < 0 && errno == EINVAL && direct) {
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "disk '%s': the file system of '%s' has no direct I/O; use cache='writeback'", disk->target,
                          disk->source);
                return -1;
        }
        if (fd < 0) {
                error_set_errno(err, errno, "Cannot access storage file '%s'", disk->source);
                return -1;
        }
        if (check_disk_type(fd, disk, err) && lock_disk(fd, disk, err))
                return fd;
        (void) close(fd);
        return -1;
}

static gboolean disk_open(Plug *plug, const PlugHost *host, GError **err) {
        const DomainDisk *disk = plug->device;
        plug->type = CTL_ADD_DISK;
        struct stat st;
        plug->fd[0] = open_disk(disk, vmm_config_disk_is_direct(disk), err);
        if (plug->fd[0] >= 0 && !disk->readonly && fstat(plug->fd[0], &st) == 0 && S_ISREG(st.st_mode))
                plug->file_size = ((guint64) st.st_size + SECTOR - 1) / SECTOR * SECTOR;
        return plug->fd[0] >= 0;
}

static gboolean disk_describe(Plug *plug, const PlugHost *host, GError **err) {
        plug->size = sizeof(plug->message.disk);
        vmm_config_disk(plug->device, &plug->message.disk);
        return TRUE;
}

const DeviceKind device_kind_disk = {
        .elements = { "disk" },
        .check = disk_check,
        .insert = disk_insert,
        .find = disk_find,
        .find_alias = disk_find_alias,
        .at = disk_at,
        .remove = disk_remove,
        .name = disk_name,
        .update = disk_update,
        .list = disk_list,
        .alias = disk_alias,
        .prepare = disk_prepare,
        .open = disk_open,
        .describe = disk_describe,
};
