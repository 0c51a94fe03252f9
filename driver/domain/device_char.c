/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Serial ports, consoles and channels: told apart by all that they say, channels with a name by that. The console that
 * stands for the serial port comes and goes with the port. None changes: it is detached, and another is attached.
 */
#include <string.h>

#include "domain/device.h"
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

static gboolean char_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        const DomainChar *chr = char_of(device);
        guint index = 0, n = 0;
        if (domain_char_is_serial_console(chr))
                return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                                 "attaching a console that is a serial port is not supported: attach a <serial>, or "
                                 "write <target type='virtio'/>");
        if ((device->named || chr->target_name) && find(def, device, &index, &n))
                return error_set(err, taken, "chardev already exists");
        return TRUE;
}

static void char_insert(DomainDef *def, const DomainDevice *device) {
        DomainChar *chr = DEVICE_COPY(device, chars);
        if (!device->named && chr->device != DOMAIN_CHAR_CHANNEL)
                chr->target_port = domain_def_next_port(def, chr->device);
        g_ptr_array_add(def->chars, chr);
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

const DeviceKind device_kind_char = {
        .elements = { "serial", "console", "channel" },
        .check = char_check,
        .insert = char_insert,
        .find = char_find,
        .find_alias = char_find_alias,
        .remove = char_remove,
};
