/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon logs through GLib's structured logging, whose journal writer sends every
 * field on. This writer only adds a threshold: GLib's shows informational messages only
 * on request.
 *
 * Monitors log over a socket that the daemon connects for them (systemd's native journal
 * protocol). The journal takes the sender's identity from the kernel, so their lines
 * belong to their scope and show in `systemctl status` of it, and they need neither the
 * daemon nor a path in the file system to write them.
 */
#include "systemd/journal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/domain_def.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define FIELDS_MAX     6

typedef struct Settings {
        GLogLevelFlags mask;
        gboolean to_journal;
} Settings;

static GLogLevelFlags parse_level(const char *level) {
        GLogLevelFlags mask = G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL;

        if (g_strcmp0(level, "error") == 0)
                return mask;
        mask |= G_LOG_LEVEL_WARNING;
        if (g_strcmp0(level, "warning") == 0)
                return mask;
        mask |= G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO;
        return g_strcmp0(level, "debug") == 0 ? mask | G_LOG_LEVEL_DEBUG : mask;
}

/* GLib lets the journal name the program, so `journalctl -t virtmicrod` would find nothing. */
static gboolean write_to_journal(GLogLevelFlags level, const GLogField *fields, gsize n) {
        g_autofree GLogField *all = g_new(GLogField, n + 1);

        memcpy(all, fields, n * sizeof(fields[0]));
        all[n] = (GLogField) { .key = "SYSLOG_IDENTIFIER", .value = G_LOG_DOMAIN, .length = -1 };
        return g_log_writer_journald(level, all, n + 1, NULL) == G_LOG_WRITER_HANDLED;
}

static GLogWriterOutput write_entry(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data) {
        const Settings *settings = data;

        if (!(level & settings->mask))
                return G_LOG_WRITER_HANDLED;
        if (settings->to_journal && write_to_journal(level, fields, n))
                return G_LOG_WRITER_HANDLED;
        return g_log_writer_standard_streams(level, fields, n, NULL);
}

static void free_settings(gpointer data) {
        g_free(data);
}

void journal_init(const char *level) {
        Settings *settings = g_new(Settings, 1);

        settings->mask = parse_level(level);
        settings->to_journal = g_log_writer_is_journald(STDERR_FILENO);
        g_log_writer_default_set_use_stderr(TRUE);
        g_log_set_writer_func(write_entry, settings, free_settings);
        g_info("version %s", VIRTMICRO_VERSION);
}

/* --- Entries about a domain ------------------------------------------------------------------ */

/* syslog(3) priorities, as the journal's PRIORITY field has them. */
static const char *priority(GLogLevelFlags level) {
        if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
                return "3";
        if (level & G_LOG_LEVEL_WARNING)
                return "4";
        if (level & G_LOG_LEVEL_MESSAGE)
                return "5";
        return level & G_LOG_LEVEL_INFO ? "6" : "7";
}

static void add_field(GLogField *fields, gsize *n, const char *key, const char *value) {
        if (value)
                fields[(*n)++] = (GLogField) { .key = key, .value = value, .length = -1 };
}

void journal_log(GLogLevelFlags level, const char *domain, const guint8 *uuid, const char *machine, const char *format,
                 ...) {
        GLogField fields[FIELDS_MAX];
        gsize n = 0;
        char uuid_text[37];
        va_list ap;

        va_start(ap, format);
        g_autofree char *detail = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_autofree char *message = domain ? g_strdup_printf("domain '%s': %s", domain, detail) : g_strdup(detail);

        if (uuid)
                domain_uuid_format(uuid, uuid_text);
        add_field(fields, &n, "MESSAGE", message);
        add_field(fields, &n, "PRIORITY", priority(level));
        add_field(fields, &n, "GLIB_DOMAIN", G_LOG_DOMAIN);
        add_field(fields, &n, "LIBVIRT_DOMAIN", domain);
        add_field(fields, &n, "DOMAIN_UUID", uuid ? uuid_text : NULL);
        add_field(fields, &n, "MACHINE", machine);
        g_log_structured_array(level, fields, n);
}

/* --- For monitors ------------------------------------------------------------------------------ */

int journal_connect(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -1;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
                return fd;
        (void) close(fd);
        return -1;
}
