/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/process.h"

#include <string.h>

#include "util/error.h"

#define START_TIME_FIELD 22 /* proc(5), /proc/PID/stat */

/* The second field is the program's name in parentheses and may hold anything, so count from the last one. */
gboolean process_start_time(pid_t pid, guint64 *ret, GError **err) {
        g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int) pid);
        g_autofree char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL)) {
                return error_set(err, VIR_ERR_OPERATION_FAILED, "process %d does not exist", (int) pid);
        }
        const char *rest = strrchr(text, ')');
        g_auto(GStrv) fields = rest ? g_strsplit(rest + 1, " ", 0) : NULL;
        /* fields[0] is empty, fields[1] is field 3 */
        if (!fields || g_strv_length(fields) <= START_TIME_FIELD - 2) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot read the start time in %s", path);
        }
        *ret = g_ascii_strtoull(fields[START_TIME_FIELD - 2], NULL, 10);
        return TRUE;
}

gboolean process_uid(pid_t pid, guint32 *ret) {
        static const char field[] = "\nUid:\t";
        g_autofree char *path = g_strdup_printf("/proc/%d/status", (int) pid);
        g_autofree char *text = NULL;

        /* Its first line is the program's name, in which a newline is escaped. */
        const char *line = g_file_get_contents(path, &text, NULL, NULL) ? strstr(text, field) : NULL;
        if (line)
                *ret = (guint32) g_ascii_strtoull(line + strlen(field), NULL, 10);
        return line != NULL;
}
