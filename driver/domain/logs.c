/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that take a guest's output on a serial port, console or channel: those of
 * type='file' and <log>. Both go through one FIFO per device (process/guest_log.h), which is
 * named for the domain's number and the device's alias, so that the next daemon finds it. A
 * type='file' that is not a regular file, such as /dev/ttyS1 or an operator's pipe, cannot
 * grow; the monitor writes to it directly.
 *
 * A monitor from a version without logs holds the type='file' itself; there is no FIFO then
 * and nothing to do.
 */
#include <sys/stat.h>

#include "domain/internal.h"

/* The console that shows the serial port is no device of its own. */
static gboolean is_device(const DomainChar *chr) {
        return chr->alias && !domain_char_is_serial_console(chr);
}

static gboolean has_log(const DomainChar *chr) {
        return chr->log_file || chr->backend == DOMAIN_CHAR_FILE;
}

gboolean domain_char_keeps_file(const DomainChar *chr) {
        struct stat st;
        return chr->backend == DOMAIN_CHAR_FILE && (stat(chr->path, &st) < 0 || S_ISREG(st.st_mode));
}

static char *fifo_path(const Driver *driver, const DomainDef *def, const DomainChar *chr) {
        return g_strdup_printf("%s/%d.%s.fifo", driver->config->state_dir, def->id, chr->alias);
}

static GuestLogConfig log_config(const DomainDef *def, const DomainChar *chr, const char *fifo) {
        GuestLogConfig config = { .fifo = fifo, .domain = def->name, .uuid = def->uuid, .device = chr->alias };
        if (domain_char_keeps_file(chr))
                config.file[config.n_files++] = (GuestLogFile) { .path = chr->path, .append = chr->append };
        if (chr->log_file)
                config.file[config.n_files++] = (GuestLogFile) { .path = chr->log_file, .append = chr->log_append };
        return config;
}

gboolean domain_log_open(Driver *driver, const DomainDef *def, const DomainChar *chr, int *ret_fd, GError **err) {
        g_autofree char *fifo = fifo_path(driver, def, chr);
        const GuestLogConfig config = log_config(def, chr, fifo);
        *ret_fd = config.n_files > 0 ? guest_logs_add(driver->logs, &config, err) : -1;
        return config.n_files == 0 || *ret_fd >= 0;
}

void domain_logs_adopt(Domain *d) {
        for (guint i = 0; i < d->def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(d->def->chars, i);
                g_autofree char *fifo = fifo_path(d->driver, d->def, chr);
                g_autoptr(GError) err = NULL;
                if (!is_device(chr) || !g_file_test(fifo, G_FILE_TEST_EXISTS))
                        continue;
                const GuestLogConfig config = log_config(d->def, chr, fifo);
                if (config.n_files > 0 && !guest_logs_adopt(d->driver->logs, &config, &err))
                        domain_log(d, G_LOG_LEVEL_WARNING,
                                   "the output of %s is not logged until the domain is restarted: %s", chr->alias,
                                   err->message);
        }
}

void domain_logs_end(Driver *driver, const DomainDef *def) {
        g_autoptr(GPtrArray) fifos = g_ptr_array_new_with_free_func(g_free);
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (is_device(chr) && has_log(chr))
                        g_ptr_array_add(fifos, fifo_path(driver, def, chr));
        }
        g_ptr_array_add(fifos, NULL);
        guest_logs_end(driver->logs, (const char *const *) fifos->pdata);
}

void domain_log_end(Driver *driver, const DomainDef *def, const DomainChar *chr) {
        if (!has_log(chr))
                return;
        g_autofree char *fifo = fifo_path(driver, def, chr);
        guest_logs_end(driver->logs, (const char *const[]) { fifo, NULL });
}
