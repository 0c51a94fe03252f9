/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serial ports, consoles and channels: told apart by all that they say, channels with a name by that. The console that
 * stands for the serial port comes and goes with the port. None changes: it is detached, and another is attached.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "conf/vmm_config.h"
#include "domain/plug.h"
#include "util/error.h"

static const DomainChar *char_of(const DomainDevice *device) {
        return device_only(device, chars);
}

/* The port of one that is described without one is left open. */
static gboolean same_target(const DomainChar *chr, const DomainDevice *device) {
        const DomainChar *wanted = char_of(device);
        if (g_strcmp0(chr->target_type, wanted->target_type) != 0 ||
            g_strcmp0(chr->target_name, wanted->target_name) != 0)
                return FALSE;
        return chr->device == DOMAIN_CHAR_CHANNEL || !device->named || chr->target_port == wanted->target_port;
}

static gboolean same_source(const DomainChar *chr, const DomainChar *wanted) {
        return chr->backend == wanted->backend &&
               (chr->backend == DOMAIN_CHAR_PTY || chr->generated || g_strcmp0(chr->path, wanted->path) == 0);
}

static gboolean matches(const DomainChar *chr, const DomainDevice *device) {
        const DomainChar *wanted = char_of(device);
        if (chr->device != wanted->device || !same_target(chr, device) ||
            (wanted->alias && g_strcmp0(chr->alias, wanted->alias) != 0))
                return FALSE;
        return wanted->target_name || domain_char_is_serial_console(wanted) || same_source(chr, wanted);
}

static gboolean find(const DomainDef *def, const DomainDevice *device, guint *ret_index, guint *ret_n) {
        *ret_n = 0;
        for (guint i = 0; i < def->chars->len; i++) {
                if (!matches(g_ptr_array_index(def->chars, i), device))
                        continue;
                *ret_index = i;
                ++*ret_n;
        }
        return *ret_n > 0;
}

/* Consoles of all types count up together. */
static gboolean has_console(const DomainDef *def, guint port) {
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_CONSOLE && chr->target_port == port)
                        return TRUE;
        }
        return FALSE;
}

static gboolean char_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        const DomainChar *chr = char_of(device);
        guint index = 0, n = 0;
        if (domain_char_is_serial_console(chr))
                return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                                 "attaching a console that is a serial port is not supported: attach a <serial>, or "
                                 "write <target type='virtio'/>");
        if ((device->named || chr->target_name) && find(def, device, &index, &n))
                return error_set(err, taken, "chardev already exists");
        if (device->named && chr->device == DOMAIN_CHAR_CONSOLE && has_console(def, chr->target_port))
                return error_set(err, taken, "there is a console with port %u already", chr->target_port);
        return TRUE;
}

static gpointer char_insert(DomainDef *def, const DomainDevice *device) {
        DomainChar *chr = DEVICE_COPY(device, chars);
        if (!device->named && chr->device != DOMAIN_CHAR_CHANNEL)
                chr->target_port = domain_def_next_port(def, chr->device);
        g_ptr_array_add(def->chars, chr);
        return chr;
}

static gboolean char_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        guint n = 0;
        if (!find(def, device, ret_index, &n))
                return error_set(err, VIR_ERR_DEVICE_MISSING, "device not present in domain configuration: no such %s",
                                 device->element);
        if (n == 1)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_FAILED, "multiple devices '%s' match: give a target's name or port",
                         device->element);
}

static gboolean char_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        return device_find_alias(def->chars, G_STRUCT_OFFSET(DomainChar, alias), alias, ret_index);
}

static gpointer char_at(const DomainDef *def, guint index) {
        return g_ptr_array_index(def->chars, index);
}

static char *char_name(gconstpointer device) {
        static const char *const kinds[] = { "serial port", "console", "channel" };
        const DomainChar *chr = device;
        return chr->target_name ? g_strdup_printf("%s '%s'", kinds[chr->device], chr->target_name)
                                : g_strdup_printf("%s %u", kinds[chr->device], chr->target_port);
}

/* The serial port and the console that stands for it are one device. */
static void char_remove(DomainDef *def, guint index) {
        const DomainChar *chr = g_ptr_array_index(def->chars, index);
        gboolean serial = chr->device == DOMAIN_CHAR_SERIAL || domain_char_is_serial_console(chr);
        if (!serial) {
                g_ptr_array_remove_index(def->chars, index);
                return;
        }
        for (guint i = def->chars->len; i-- > 0;) {
                chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_SERIAL || domain_char_is_serial_console(chr))
                        g_ptr_array_remove_index(def->chars, i);
        }
}

/* --- In a monitor ------------------------------------------------------------------------ */

/* The console that stands for the serial port is none of its own. */
static void char_list(const DomainDef *def, GPtrArray *ret) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (!domain_char_is_serial_console(chr))
                        g_ptr_array_add(ret, chr);
        }
}

static const char *char_alias(gconstpointer device) {
        const DomainChar *chr = device;
        return chr->alias;
}

/* The serial port is a part of the machine, and the device of all ports has as many queues as it was made with. */
static gboolean char_is_fixed(gconstpointer device) {
        return TRUE;
}

/* Unix channels without a path get one in the state directory. */
static gboolean char_prepare(gpointer device, const PlugHost *host, GError **err) {
        DomainChar *chr = device;
        if (chr->device != DOMAIN_CHAR_CHANNEL || chr->backend != DOMAIN_CHAR_UNIX || chr->path)
                return TRUE;
        chr->path = domain_channel_path(host->domain->driver->config->state_dir, host->def->id, chr);
        chr->generated = chr->listen = TRUE;
        return TRUE;
}

/* The master of a new raw pty, whose slave's path goes to the definition. */
static int open_pty(DomainChar *chr, GError **err) {
        char path[64];
        struct termios tio;
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, path, sizeof(path)) != 0) {
                error_set_errno(err, errno, "cannot make a pty for '%s'", chr->alias);
                if (master >= 0)
                        (void) close(master);
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

/* With its log, if it has one, and the end that clients open held. */
static gboolean char_open(Plug *plug, const PlugHost *host, GError **err) {
        DomainChar *chr = plug->device;
        plug->type = chr->device == DOMAIN_CHAR_SERIAL ? CTL_SET_SERIAL : CTL_ADD_PORT;
        if (!domain_log_open(host->domain->driver, host->def, chr, &plug->fd[1], err))
                return FALSE;
        plug->connected = TRUE;
        plug->fd[0] = open_char(chr, err);
        if (plug->fd[0] < 0)
                return FALSE;
        if (chr->device == DOMAIN_CHAR_SERIAL)
                share_serial_path(host->def, chr);
        gboolean bound = chr->backend == DOMAIN_CHAR_UNIX && chr->listen;
        return (!bound && chr->backend != DOMAIN_CHAR_PTY) || terminals_hold(host->terminals, chr->path, err);
}

static gboolean char_describe(Plug *plug, const PlugHost *host, GError **err) {
        const DomainChar *chr = plug->device;
        if (plug->type == CTL_SET_SERIAL) {
                plug->size = sizeof(plug->message.header);
                return TRUE;
        }
        plug->size = sizeof(plug->message.port);
        return vmm_config_port(host->def, chr, &plug->message.port, err);
}

/* The socket of a channel, the pipe of a log. */
static void char_release(Domain *d, const DomainDef *def, gpointer device) {
        const DomainChar *chr = device;
        domain_lock(d);
        terminals_drop(d->run.terminals, chr->path);
        domain_unlock(d);
        if (chr->backend == DOMAIN_CHAR_UNIX && chr->listen && chr->path)
                (void) g_unlink(chr->path);
        domain_log_end(d->driver, def, chr);
}

const DeviceKind device_kind_char = {
        .elements = { "serial", "console", "channel" },
        .check = char_check,
        .insert = char_insert,
        .find = char_find,
        .find_alias = char_find_alias,
        .at = char_at,
        .remove = char_remove,
        .name = char_name,
        .list = char_list,
        .alias = char_alias,
        .is_fixed = char_is_fixed,
        .prepare = char_prepare,
        .open = char_open,
        .describe = char_describe,
        .release = char_release,
};
