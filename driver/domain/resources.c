/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening what a domain is made of. The monitor opens nothing itself: each file, disk,
 * pty, socket and device is opened here, as the daemon's user, and crosses the control
 * socket as a descriptor.
 *
 * Disks are locked by open file description locks: a writable disk exclusively, a
 * read-only one with other readers, a <shareable/> one with other sharers, and these two
 * kinds not with each other, each kind having a byte to mark. The lock belongs to the
 * open file description, so it moves to the monitor and lasts as long as the monitor.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "domain/launch.h"
#include "util/error.h"

#define READER_MARK 0
#define SHARER_MARK 1

Launch *launch_new(Domain *d, DomainDef *def, int id) {
        Launch *l = g_new0(Launch, 1);
        l->domain = d;
        l->def = def;
        def->id = id;
        def->memory.current_kib = def->memory.maximum_kib; /* there is no balloon to take the rest away */
        l->uid = driver_take_uid(d->driver, id);
        l->terminals = terminals_new();
        l->devices = device_ids_new();
        l->kvm_fd = l->kernel_fd = l->initrd_fd = l->serial_fd = l->serial_log_fd = l->exit_fd = l->rng_fd = -1;
        for (unsigned i = 0; i < DOMAIN_DISKS_MAX; i++)
                l->disk_fd[i] = -1;
        for (unsigned i = 0; i < DOMAIN_CHARS_MAX; i++)
                l->port_fd[i] = l->port_log_fd[i] = -1;
        for (unsigned i = 0; i < DOMAIN_NICS_MAX; i++)
                l->tap[i].fd = l->vhost_fd[i] = -1;
        return l;
}

static void close_fds(int *fds, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                if (fds[i] >= 0)
                        (void) close(fds[i]);
                fds[i] = -1;
        }
}

void launch_close(Launch *l) {
        int *single[] = { &l->kvm_fd,        &l->kernel_fd, &l->initrd_fd, &l->serial_fd,
                          &l->serial_log_fd, &l->exit_fd,   &l->rng_fd };
        for (gsize i = 0; i < G_N_ELEMENTS(single); i++)
                close_fds(single[i], 1);
        close_fds(l->disk_fd, DOMAIN_DISKS_MAX);
        close_fds(l->port_fd, DOMAIN_CHARS_MAX);
        close_fds(l->port_log_fd, DOMAIN_CHARS_MAX);
        close_fds(l->vhost_fd, DOMAIN_NICS_MAX);
        for (; l->n_taps > 0; l->n_taps--)
                tap_clear(&l->tap[l->n_taps - 1]);
}

void launch_free(Launch *l) {
        launch_close(l);
        if (l->uid != 0)
                driver_drop_uid(l->domain->driver, l->uid);
        domain_def_free(l->def);
        g_clear_pointer(&l->vmm, vmm_unref);
        g_clear_pointer(&l->terminals, g_hash_table_unref);
        g_clear_pointer(&l->devices, device_ids_free);
        g_free(l->unit);
        g_free(l->slice);
        g_free(l->machine);
        g_free(l->cgroup);
        g_free(l);
}

/* Opens a regular file for reading; `what` names its role in the message. */
static int open_readable(const char *path, const char *what, GError **err) {
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                error_set_errno(err, errno, "Cannot access %s '%s'", what, path);
                return -1;
        }
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                return fd;
        (void) close(fd);
        error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s '%s' is not a regular file", what, path);
        return -1;
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

/* A volume becomes the path that its pool says. */
static gboolean resolve_volumes(Launch *l, GError **err) {
        for (guint i = 0; i < l->def->disks->len; i++) {
                DomainDisk *disk = g_ptr_array_index(l->def->disks, i);
                if (disk->type != DOMAIN_DISK_VOLUME)
                        continue;
                g_free(disk->source);
                disk->source = storage_volume_path(l->domain->driver->libvirt, disk->pool, disk->volume, err);
                if (!disk->source)
                        return FALSE;
        }
        return TRUE;
}

static gboolean open_disks(Launch *l, GError **err) {
        for (unsigned i = 0; i < l->config.n_disks; i++) {
                l->disk_fd[i] = open_disk(l->config.disk_def[i], l->config.disk_direct[i], err);
                if (l->disk_fd[i] < 0)
                        return FALSE;
        }
        return TRUE;
}

/* The master of a new raw pty, whose slave's path goes to the definition. */
static int open_pty(DomainChar *chr, GError **err) {
        char path[64];
        struct termios tio;
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof(path)) != 0) {
                error_set_errno(err, errno, "cannot make a pty for '%s'", chr->alias);
                close_fds(&master, 1);
                return -1;
        }
        if (tcgetattr(master, &tio) == 0) {
                cfmakeraw(&tio);
                (void) tcsetattr(master, TCSANOW, &tio);
        }
        g_free(chr->path);
        chr->path = g_strdup(path);
        return master;
}

static int unix_socket(const char *path, struct sockaddr_un *ret_address, GError **err) {
        *ret_address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(ret_address->sun_path)) {
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the socket path '%s' is longer than %zu bytes", path,
                          sizeof(ret_address->sun_path) - 1);
                return -1;
        }
        strcpy(ret_address->sun_path, path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                error_set_errno(err, errno, "cannot make a socket for '%s'", path);
        return fd;
}

static int open_unix(DomainChar *chr, GError **err) {
        struct sockaddr_un address;
        int fd = unix_socket(chr->path, &address, err);
        if (fd < 0)
                return -1;
        if (chr->listen)
                (void) g_unlink(chr->path);
        int r = chr->listen ? bind(fd, (struct sockaddr *) &address, sizeof(address))
                            : connect(fd, (struct sockaddr *) &address, sizeof(address));
        if (r == 0 && (!chr->listen || listen(fd, 1) == 0))
                return fd;
        error_set_errno(err, errno, "cannot %s socket '%s'", chr->listen ? "bind" : "connect to", chr->path);
        (void) close(fd);
        return -1;
}

static int open_plain(const char *path, int flags, GError **err) {
        int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
        if (fd < 0)
                error_set_errno(err, errno, "cannot open '%s'", path);
        return fd;
}

static int open_char(DomainChar *chr, GError **err) {
        switch (chr->backend) {
        case DOMAIN_CHAR_PTY:
                return open_pty(chr, err);
        case DOMAIN_CHAR_UNIX:
                return open_unix(chr, err);
        case DOMAIN_CHAR_FILE:
                if (!domain_char_keeps_file(chr))
                        return open_plain(chr->path, O_WRONLY, err);
                return open_plain("/dev/null", O_RDWR, err);
        default:
                return open_plain("/dev/null", O_RDWR, err);
        }
}

/* A console that is the other face of the first serial port shows the same pty. */
static void share_serial_path(DomainDef *def, const DomainChar *serial) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (!domain_char_is_serial_console(chr))
                        continue;
                g_free(chr->path);
                chr->path = g_strdup(serial->path);
        }
}

/* Unix channels without a path get one in the state directory. */
static void choose_channel_paths(Launch *l) {
        for (guint i = 0; i < l->def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(l->def->chars, i);
                if (chr->device != DOMAIN_CHAR_CHANNEL || chr->backend != DOMAIN_CHAR_UNIX || chr->path)
                        continue;
                chr->path = domain_channel_path(l->domain->driver->config->state_dir, l->def->id, chr);
                chr->generated = chr->listen = TRUE;
        }
}

/* Opens it, its log, notes the socket that this has made, if any, and holds the end that clients open. */
static int open_own_char(Launch *l, DomainChar *chr, int *ret_log, GError **err) {
        if (!domain_log_open(l->domain->driver, l->def, chr, ret_log, err))
                return -1;
        int fd = open_char(chr, err);
        gboolean bound = chr->backend == DOMAIN_CHAR_UNIX && chr->listen;
        if (fd >= 0 && bound && l->n_bound < G_N_ELEMENTS(l->bound))
                l->bound[l->n_bound++] = chr->path;
        if (fd >= 0 && (bound || chr->backend == DOMAIN_CHAR_PTY) && !terminals_hold(l->terminals, chr->path, err))
                close_fds(&fd, 1);
        return fd;
}

static gboolean open_chars(Launch *l, GError **err) {
        DomainChar *serial = (DomainChar *) l->config.serial;
        choose_channel_paths(l);
        if (serial) {
                l->serial_fd = open_own_char(l, serial, &l->serial_log_fd, err);
                if (l->serial_fd < 0)
                        return FALSE;
                share_serial_path(l->def, serial);
        }
        for (unsigned i = 0; i < l->config.n_ports; i++) {
                l->port_fd[i] = open_own_char(l, (DomainChar *) l->config.port_def[i], &l->port_log_fd[i], err);
                if (l->port_fd[i] < 0)
                        return FALSE;
        }
        return TRUE;
}

/* Memory is committed as the guest touches it; what can never be had is refused before that. */
static gboolean check_memory(const DomainDef *def, GError **err) {
        struct sysinfo host;
        if (sysinfo(&host) < 0)
                return TRUE;
        guint64 kib = ((guint64) host.totalram + host.totalswap) * host.mem_unit / 1024;
        if (def->memory.maximum_kib <= kib)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_FAILED,
                         "the domain's memory is %" G_GUINT64_FORMAT " KiB but the host has %" G_GUINT64_FORMAT
                         " KiB, swap included",
                         def->memory.maximum_kib, kib);
}

static gboolean open_boot_files(Launch *l, GError **err) {
        const DomainOs *os = &l->def->os;
        l->kernel_fd = open_readable(os->kernel, "kernel", err);
        if (l->kernel_fd < 0)
                return FALSE;
        if (!os->initrd)
                return TRUE;
        l->initrd_fd = open_readable(os->initrd, "initrd", err);
        return l->initrd_fd >= 0;
}

static gboolean open_kvm(Launch *l, GError **err) {
        l->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (l->kvm_fd >= 0)
                return TRUE;
        return error_set_errno(
                err, errno,
                "cannot open '/dev/kvm' (is virtualisation enabled in the firmware, and kvm_intel or kvm_amd "
                "loaded?)");
}

static gboolean open_exit_record(Launch *l, GError **err) {
        g_autofree char *path = state_path(l->domain->driver, l->def->name, ".exit");
        (void) g_unlink(path); /* an earlier monitor may still map it */
        l->exit_fd = open_plain(path, O_RDWR | O_CREAT | O_TRUNC, err);
        return l->exit_fd >= 0;
}

static gboolean open_rng(Launch *l, GError **err) {
        if (!l->config.has_rng)
                return TRUE;
        l->rng_fd = open_plain(l->def->rng->backend_path ? l->def->rng->backend_path : "/dev/urandom", O_RDONLY, err);
        return l->rng_fd >= 0;
}

/* startupPolicy='optional': a missing disk is left out of the running domain. */
static void drop_missing_disks(Launch *l) {
        for (guint i = l->def->disks->len; i-- > 0;) {
                DomainDisk *disk = g_ptr_array_index(l->def->disks, i);
                if (g_strcmp0(disk->startup_policy, "optional") != 0 || !disk->source ||
                    access(disk->source, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
                        continue;
                domain_log(l->domain, G_LOG_LEVEL_MESSAGE, "disk '%s' left out: '%s' is missing", disk->target,
                           disk->source);
                event_disk_dropped(l->domain, disk);
                g_ptr_array_remove_index(l->def->disks, i);
        }
}

/* Ids in the order in which the monitor gets the devices. */
static void give_ids(Launch *l) {
        VmmConfig *c = &l->config;
        for (unsigned i = 0; i < c->n_disks; i++)
                c->disk[i].place.id = device_ids_give(l->devices, c->disk_def[i]->alias);
        for (unsigned i = 0; i < c->n_nics; i++)
                c->nic[i].place.id = device_ids_give(l->devices, c->nic_def[i]->alias);
        for (unsigned i = 0; i < c->n_ports; i++)
                c->port[i].place.id = device_ids_give(l->devices, c->port_def[i]->alias);
        if (c->has_rng)
                c->rng.place.id = device_ids_give(l->devices, l->def->rng->alias);
}

gboolean launch_open(Launch *l, GError **err) {
        if (!domain_def_check_startable(l->def, err) || !check_memory(l->def, err) || !resolve_volumes(l, err))
                return FALSE;
        drop_missing_disks(l);
        if (!vmm_config_from_def(l->def, &l->config, err))
                return FALSE;
        give_ids(l);
        return open_boot_files(l, err) && open_disks(l, err) && open_kvm(l, err) && open_rng(l, err) &&
               open_exit_record(l, err) && open_chars(l, err);
}

void launch_choose_ports(Launch *l) {
        for (guint i = 0; i < l->def->nics->len; i++) {
                DomainNic *nic = g_ptr_array_index(l->def->nics, i);
                g_clear_pointer(&nic->portid, g_free);
                if (nic->type == DOMAIN_NIC_NETWORK)
                        domain_choose_port(l->domain, nic);
        }
}

/* Without it the monitor moves the frames itself, unless <driver name='vhost'/> asks for it. *ret_fd is -1 then. */
static gboolean open_vhost(const DomainNic *nic, int *ret_fd, GError **err) {
        if (g_strcmp0(nic->driver_name, "qemu") != 0)
                *ret_fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
        if (*ret_fd >= 0 || g_strcmp0(nic->driver_name, "vhost") != 0)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "vhost-net was requested for an interface, but is unavailable");
}

TapConfig nic_tap_config(const DomainNic *nic) {
        TapConfig tap = {
                .name = nic->target,
                .existing = nic->type == DOMAIN_NIC_ETHERNET && !nic->target_managed,
                .bridge = nic->type == DOMAIN_NIC_NETWORK  ? nic->actual_bridge
                          : nic->type == DOMAIN_NIC_BRIDGE ? nic->source
                                                           : NULL,
                .mtu = nic->mtu,
                .has_vlan = nic->has_vlan,
                .vlan_tag = nic->vlan_tag,
                .isolated = nic->isolated,
                .inbound = nic->inbound.present ? &nic->inbound : NULL,
                .outbound = nic->outbound.present ? &nic->outbound : NULL,
        };
        memcpy(tap.mac, nic->mac, sizeof(tap.mac));
        return tap;
}

static gboolean plug_nic(Launch *l, unsigned i, GError **err) {
        DomainNic *nic = g_ptr_array_index(l->def->nics, i);
        struct ctl_nic *message = &l->config.nic[i];
        if (nic->type == DOMAIN_NIC_NETWORK && !network_port_create(l->domain->driver->libvirt, l->def, nic, err))
                return FALSE;
        const TapConfig tap = nic_tap_config(nic);
        if (!tap_open(&tap, &l->tap[i], err))
                return FALSE;
        l->n_taps = i + 1;
        g_free(nic->target);
        nic->target = g_strdup(l->tap[i].name);
        g_strlcpy(message->name, nic->target, sizeof(message->name));
        message->mtu = (guint16) l->tap[i].mtu;
        return open_vhost(nic, &l->vhost_fd[i], err);
}

gboolean launch_plug(Launch *l, GError **err) {
        for (unsigned i = 0; i < l->config.n_nics; i++) {
                if (plug_nic(l, i, err))
                        continue;
                while (++i < l->config.n_nics) /* optional, so no error */
                        g_clear_pointer(&((DomainNic *) g_ptr_array_index(l->def->nics, i))->portid, g_free);
                return FALSE;
        }
        return TRUE;
}

TapLimits nic_limits(const DomainNic *nic) {
        const DomainBandwidth *in = &nic->inbound, *out = &nic->outbound;
        return (TapLimits) { in->present ? in : NULL, out->present ? out : NULL };
}

void def_release_limits(const DomainDef *def, unsigned n_nics) {
        for (unsigned i = 0; i < n_nics; i++) {
                const DomainNic *nic = g_ptr_array_index(def->nics, i);
                const TapLimits limits = nic_limits(nic), none = { NULL, NULL };
                if (nic->type == DOMAIN_NIC_ETHERNET && !nic->target_managed && (limits.inbound || limits.outbound))
                        (void) tap_set_bandwidth(nic->target, &limits, &none, NULL);
        }
}

void def_release_files(const DomainDef *def) {
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->backend == DOMAIN_CHAR_UNIX && chr->listen && chr->path)
                        (void) g_unlink(chr->path);
        }
}

void launch_unlink(Launch *l) {
        for (unsigned i = 0; i < l->n_bound; i++)
                (void) g_unlink(l->bound[i]);
        domain_logs_end(l->domain->driver, l->def);
}
