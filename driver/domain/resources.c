/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening what a domain is made of. The monitor opens nothing itself: each file, disk, pty, socket and device is opened
 * here, as the daemon's user, and crosses the control socket as a descriptor. Devices are plugs (plug.h), opened by
 * their kinds.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "domain/launch.h"
#include "util/error.h"

Launch *launch_new(Domain *d, DomainDef *def, int id) {
        Launch *l = g_new0(Launch, 1);
        l->domain = d;
        l->def = def;
        def->id = id;
        def->memory.current_kib = def->memory.maximum_kib; /* there is no balloon to take the rest away */
        l->uid = driver_take_uid(d->driver, id);
        l->terminals = terminals_new();
        l->devices = device_ids_new();
        l->kvm_fd = l->kernel_fd = l->initrd_fd = l->exit_fd = -1;
        return l;
}

PlugHost launch_host(const Launch *l) {
        return (PlugHost) { .domain = l->domain, .def = l->def, .terminals = l->terminals };
}

static void close_fd(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -1;
}

void launch_close(Launch *l) {
        close_fd(&l->kvm_fd);
        close_fd(&l->kernel_fd);
        close_fd(&l->initrd_fd);
        close_fd(&l->exit_fd);
        for (guint i = 0; l->plugs && i < l->plugs->len; i++)
                plug_close(g_ptr_array_index(l->plugs, i));
}

void launch_free(Launch *l) {
        launch_close(l);
        if (l->uid != 0)
                driver_drop_uid(l->domain->driver, l->uid);
        g_clear_pointer(&l->plugs, g_ptr_array_unref);
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
        l->exit_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
        return l->exit_fd >= 0 || error_set_errno(err, errno, "cannot open '%s'", path);
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

static gboolean prepare_plugs(Launch *l, GError **err) {
        const PlugHost host = launch_host(l);
        g_autoptr(GPtrArray) plugs = plugs_new(l->def);
        for (guint i = 0; i < plugs->len; i++)
                if (!plug_prepare(g_ptr_array_index(plugs, i), &host, err))
                        return FALSE;
        return TRUE;
}

static gboolean open_plugs(Launch *l, GError **err) {
        const PlugHost host = launch_host(l);
        l->plugs = plugs_new(l->def);
        for (guint i = 0; i < l->plugs->len; i++)
                if (!plug_open(g_ptr_array_index(l->plugs, i), &host, err))
                        return FALSE;
        return TRUE;
}

gboolean launch_open(Launch *l, GError **err) {
        if (!domain_def_check_startable(l->def, err) || !check_memory(l->def, err) || !prepare_plugs(l, err))
                return FALSE;
        drop_missing_disks(l);
        return vmm_config_from_def(l->def, &l->config, err) && open_boot_files(l, err) && open_kvm(l, err) &&
               open_exit_record(l, err) && open_plugs(l, err);
}
