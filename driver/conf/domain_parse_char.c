/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: serial ports, consoles and channels share their backends and
 * differ in their targets. libvirt shows the first serial port a second time, as the
 * console of target type 'serial'; that console is not a device: it is added here when
 * missing, and mirrors the serial port in everything it shows.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/domain_device.h"
#include "conf/domain_names.h"
#include "util/error.h"

#define PORT_MAX 255

static DomainCharDevice device_of(const xmlNode *node) {
        int word = xml_word_index(domain_char_device_names, (const char *) node->name);
        g_assert(word >= 0);
        return (DomainCharDevice) word;
}

static gboolean parse_backend(const xmlNode *node, DomainChar *chr, GError **err) {
        g_autofree char *type = xml_attr(node, "type");
        int word = type ? xml_word_index(domain_char_backend_names, type) : DOMAIN_CHAR_PTY;
        if (word >= 0)
                chr->backend = (DomainCharBackend) word;
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown type presented to host for character device: %s",
                          type);
        return word >= 0;
}

/*
 * The path of a pty is known only while the domain runs; that of a channel's socket may be left to the start, and is
 * then marked in the running domain's state.
 */
static gboolean parse_source(const xmlNode *node, DomainChar *chr, guint flags, GError **err) {
        static const char *const modes[] = { "connect", "bind", NULL };
        const xmlNode *source = xml_first(node, "source");
        int mode = 0;
        if (chr->backend == DOMAIN_CHAR_UNIX && !xml_attr_enum(source, "mode", modes, &mode, err))
                return FALSE;
        if (chr->backend == DOMAIN_CHAR_FILE && !xml_attr_bool(source, "append", &chr->append, err))
                return FALSE;
        if (chr->backend != DOMAIN_CHAR_NULL && (chr->backend != DOMAIN_CHAR_PTY || (flags & DOMAIN_PARSE_STATUS) != 0))
                chr->path = xml_attr(source, "path");
        if ((flags & DOMAIN_PARSE_STATUS) != 0 && !xml_attr_bool(source, "generated", &chr->generated, err))
                return FALSE;
        if (chr->path && *chr->path == '\0')
                g_clear_pointer(&chr->path, g_free);
        chr->listen = chr->backend == DOMAIN_CHAR_UNIX && (mode == 1 || !chr->path);
        if (chr->path || chr->backend == DOMAIN_CHAR_PTY || chr->backend == DOMAIN_CHAR_NULL ||
            (chr->backend == DOMAIN_CHAR_UNIX && chr->device == DOMAIN_CHAR_CHANNEL))
                return TRUE;
        return error_set(err, VIR_ERR_INTERNAL_ERROR, "Missing source path attribute for char device");
}

static gboolean parse_log(const xmlNode *node, DomainChar *chr, GError **err) {
        const xmlNode *log = xml_first(node, "log");
        g_autofree char *append = xml_attr(log, "append");
        if (!log)
                return TRUE;
        chr->log_file = xml_attr(log, "file");
        chr->has_log_append = append != NULL;
        if (chr->log_file && g_path_is_absolute(chr->log_file))
                return xml_attr_bool(log, "append", &chr->log_append, err);
        return error_set(err, VIR_ERR_XML_ERROR, "the <log> of a character device needs a file with an absolute path");
}

static gboolean parse_target_type(const xmlNode *target, DomainChar *chr, GError **err) {
        static const struct {
                const char *fallback;
                const char *const supported[3];
        } types[] = {
                [DOMAIN_CHAR_SERIAL] = { "isa-serial", { "isa-serial", NULL } },
                [DOMAIN_CHAR_CONSOLE] = { "serial", { "serial", "virtio", NULL } },
                [DOMAIN_CHAR_CHANNEL] = { NULL, { "virtio", NULL } },
        };
        chr->target_type = xml_attr(target, "type");
        if (!chr->target_type)
                chr->target_type = g_strdup(types[chr->device].fallback);
        if (!chr->target_type)
                error_set(err, VIR_ERR_XML_ERROR, "target type must be specified for channel device");
        else if (xml_word_index(types[chr->device].supported, chr->target_type) >= 0)
                return TRUE;
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown target type '%s' specified for character device",
                          chr->target_type);
        return FALSE;
}

guint domain_def_next_port(const DomainDef *def, DomainCharDevice device) {
        guint port = 0;
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == device)
                        port = MAX(port, chr->target_port + 1);
        }
        return MIN(port, PORT_MAX);
}

static gboolean parse_target(const xmlNode *node, const DomainDef *def, DomainChar *chr, guint flags, GError **err) {
        const xmlNode *target = xml_first(node, "target");
        if (!parse_target_type(target, chr, err))
                return FALSE;
        if (chr->device == DOMAIN_CHAR_CHANNEL) {
                chr->target_name = xml_attr(target, "name");
                if ((flags & DOMAIN_PARSE_STATUS) != 0)
                        chr->target_state = xml_attr(target, "state");
                return TRUE;
        }
        chr->target_port = domain_def_next_port(def, chr->device);
        return xml_attr_uint(target, "port", PORT_MAX, &chr->target_port, err);
}

gboolean domain_parse_char(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_autoptr(DomainChar) chr = g_new0(DomainChar, 1);
        chr->device = device_of(node);
        if (!parse_backend(node, chr, err) || !parse_source(node, chr, flags, err) || !parse_log(node, chr, err) ||
            !parse_target(node, def, chr, flags, err))
                return FALSE;
        chr->alias = domain_parse_alias(node, flags);
        g_ptr_array_add(def->chars, g_steal_pointer(&chr));
        return TRUE;
}

static int compare_chars(gconstpointer a, gconstpointer b) {
        const DomainChar *left = *(DomainChar *const *) a, *right = *(DomainChar *const *) b;
        return (int) left->device - (int) right->device;
}

/* The console that shows a serial port, or the serial port behind such a console. */
static DomainChar *counterpart(const DomainChar *chr, DomainCharDevice device, const char *target_type) {
        DomainChar *other = domain_char_copy(chr);
        other->device = device;
        g_free(other->target_type);
        other->target_type = g_strdup(target_type);
        other->target_port = 0;
        return other;
}

/* The two share one log, whichever names it. */
static void share_log(DomainChar *serial, DomainChar *console) {
        if (serial->log_file || !console->log_file)
                return;
        serial->log_file = g_steal_pointer(&console->log_file);
        serial->has_log_append = console->has_log_append;
        serial->log_append = console->log_append;
}

static DomainChar *first_console(const DomainDef *def, guint *ret_index) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                *ret_index = i;
                if (chr->device == DOMAIN_CHAR_CONSOLE)
                        return chr;
        }
        return NULL;
}

void domain_def_pair_consoles(DomainDef *def) {
        guint index = 0;
        DomainChar *serial = domain_def_first_serial(def), *console = first_console(def, &index);
        gboolean stands_for_serial = console && domain_char_is_serial_console(console);
        if (!serial && stands_for_serial) {
                serial = counterpart(console, DOMAIN_CHAR_SERIAL, "isa-serial");
                g_ptr_array_insert(def->chars, 0, serial);
                first_console(def, &index);
        }
        if (stands_for_serial) {
                share_log(serial, console);
                g_ptr_array_remove_index(def->chars, index);
        }
        if (serial)
                g_ptr_array_insert(def->chars, stands_for_serial ? (int) index : 0,
                                   counterpart(serial, DOMAIN_CHAR_CONSOLE, "serial"));
        g_ptr_array_sort(def->chars, compare_chars);
}
