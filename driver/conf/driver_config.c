/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the file has the syntax of libvirt's own configuration files,
 *
 *      # a comment
 *      key = "text"        (or 'text'; a backslash escapes quotes and itself)
 *      key = 123
 *
 * one setting per line. A table says which keys there are, what they take and where it
 * goes; everything else is an error with its line, because a setting that is silently
 * ignored is worse than a daemon that does not start.
 *
 * CONFDIR (/etc/libvirt), SCHEMADIR and VMM_PATH are what the build was configured with.
 */
#include "conf/driver_config.h"

#include <string.h>

#include "util/error.h"
#include "util/rotating_file.h"

#define DEFAULT_PATH     CONFDIR "/virtmicrod.conf"
#define CONFIG_SIZE_MAX  (1024 * 1024)
#define LOG_SIZE_MIN     4096u
#define UID_COUNT        65536u
#define UID_BASE_DEFAULT 1879048192u /* 0x70000000: above the ranges that systemd gives to containers */

static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };
static const char *const auth_modes[] = { "polkit", "none", NULL };
static const char *const legacy_modes[] = { "convert", "reject", NULL };

typedef enum KeyKind { KEY_NUMBER, KEY_TEXT, KEY_WORD, KEY_SWITCH } KeyKind;

typedef struct Key {
        const char *name;
        KeyKind kind;
        gsize offset;
        guint64 min, max;         /* KEY_NUMBER */
        const char *const *words; /* KEY_WORD: those allowed; KEY_SWITCH: those for FALSE and TRUE */
} Key;

#define KEY(key, type, member, ...)                                                                                    \
        { .name = key, .kind = type, .offset = offsetof(DriverConfig, member), __VA_ARGS__ }
#define NUMBER(key, member, low, high) KEY(key, KEY_NUMBER, member, .min = low, .max = high)
#define TEXT(key, member)              KEY(key, KEY_TEXT, member, .words = NULL)
#define WORD(key, member, list)        KEY(key, KEY_WORD, member, .words = list)
#define SWITCH(key, member, list)      KEY(key, KEY_SWITCH, member, .words = list)

static const Key keys[] = {
        TEXT("config_dir", config_dir),
        TEXT("state_dir", state_dir),
        TEXT("socket_dir", socket_dir),
        TEXT("vmm_path", vmm_path),
        TEXT("schema_dir", schema_dir),
        WORD("log_level", log_level, log_levels),
        SWITCH("legacy_devices", reject_legacy_devices, legacy_modes),
        NUMBER("uid_base", uid_base, UID_COUNT, G_MAXINT32 - UID_COUNT),
        NUMBER("max_clients", max_clients, 1, 65536),
        NUMBER("max_user_clients", max_user_clients, 1, 65536),
        NUMBER("max_anonymous_clients", max_anonymous_clients, 1, 65536),
        NUMBER("max_client_requests", max_client_requests, 1, 1024),
        NUMBER("max_workers", max_workers, 1, 1024),
        NUMBER("prio_workers", prio_workers, 1, 1024),
        NUMBER("neighbour_workers", neighbour_workers, 1, 1024),
        NUMBER("neighbour_timeout", neighbour_timeout, 1, 3600),
        NUMBER("keepalive_interval", keepalive_interval, 0, 86400),
        NUMBER("keepalive_count", keepalive_count, 0, 1024),
        NUMBER("log_max_size", log_max_size, LOG_SIZE_MIN, G_MAXINT32),
        NUMBER("log_max_backups", log_max_backups, 0, ROTATING_BACKUPS_MAX),
        NUMBER("shutdown_timeout", shutdown_timeout, 1, 86400),
        WORD("auth_unix_ro", auth_unix_ro, auth_modes),
        WORD("auth_unix_rw", auth_unix_rw, auth_modes),
        TEXT("unix_sock_group", unix_sock_group),
};

static DriverConfig *config_new(void) {
        DriverConfig *config = g_new0(DriverConfig, 1);
        config->config_dir = g_strdup(CONFDIR "/micro");
        config->state_dir = g_strdup("/run/libvirt/micro");
        config->socket_dir = g_strdup("/run/libvirt");
        config->vmm_path = g_strdup(VMM_PATH);
        config->schema_dir = g_strdup(SCHEMADIR);
        config->log_level = g_strdup("info");
        config->uid_base = UID_BASE_DEFAULT;
        config->max_clients = 5000;
        config->max_user_clients = 100;
        config->max_anonymous_clients = 20;
        config->max_client_requests = 5;
        config->max_workers = 20;
        config->prio_workers = 5;
        config->neighbour_workers = 10;
        config->neighbour_timeout = 10;
        config->keepalive_interval = 5;
        config->keepalive_count = 5;
        config->log_max_size = 2097152;
        config->log_max_backups = 3;
        config->shutdown_timeout = 90;
        config->auth_unix_ro = g_strdup("polkit");
        config->auth_unix_rw = g_strdup("polkit");
        config->unix_sock_group = g_strdup("libvirt");
        return config;
}

static gpointer member(DriverConfig *config, const Key *key) {
        return (char *) config + key->offset;
}

void driver_config_free(DriverConfig *config) {
        if (!config)
                return;
        for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
                if (keys[i].kind == KEY_TEXT || keys[i].kind == KEY_WORD)
                        g_free(*(char **) member(config, &keys[i]));
        g_free(config);
}

static const Key *find_key(const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
                if (strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        return NULL;
}

/* A quoted value, unescaped, or NULL; *p is left behind the closing quote. */
static char *read_string(const char **p) {
        char quote = *(*p)++;
        GString *text = g_string_new(NULL);
        for (; **p != quote; (*p)++) {
                if (**p == '\\' && ((*p)[1] == quote || (*p)[1] == '\\'))
                        (*p)++;
                if (**p == '\0') {
                        g_string_free(text, TRUE);
                        return NULL;
                }
                g_string_append_c(text, **p);
        }
        (*p)++;
        return g_string_free(text, FALSE);
}

static gboolean set_number(DriverConfig *config, const Key *key, const char **p, GError **err) {
        gsize digits = strspn(*p, "0123456789");
        g_autofree char *text = g_strndup(*p, digits);
        guint64 value = 0;
        if (digits == 0 || !g_ascii_string_to_unsigned(text, 10, key->min, key->max, &value, NULL)) {
                return error_set(err, VIR_ERR_CONF_SYNTAX,
                                 "%s takes a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, key->name,
                                 key->min, key->max);
        }
        *p += digits;
        *(guint *) member(config, key) = (guint) value;
        return TRUE;
}

static gboolean set_word(DriverConfig *config, const Key *key, char *text, GError **err) {
        for (guint i = 0; key->words[i]; i++) {
                if (strcmp(key->words[i], text) != 0)
                        continue;
                if (key->kind == KEY_SWITCH)
                        *(gboolean *) member(config, key) = i == 1;
                return TRUE;
        }
        g_autofree char *allowed = g_strjoinv("\", \"", (char **) key->words);
        return error_set(err, VIR_ERR_CONF_SYNTAX, "%s takes one of \"%s\"", key->name, allowed);
}

static gboolean set_text(DriverConfig *config, const Key *key, const char **p, GError **err) {
        g_autofree char *text = **p == '"' || **p == '\'' ? read_string(p) : NULL;
        if (!text) {
                return error_set(err, VIR_ERR_CONF_SYNTAX, "%s takes a string in quotes", key->name);
        }
        if (key->words && !set_word(config, key, text, err))
                return FALSE;
        if (key->kind == KEY_SWITCH)
                return TRUE;
        g_free(*(char **) member(config, key));
        *(char **) member(config, key) = g_steal_pointer(&text);
        return TRUE;
}

static const char *skip_blanks(const char *p) {
        return p + strspn(p, " \t\r");
}

static gboolean parse_line(DriverConfig *config, const char *line, GError **err) {
        const char *p = skip_blanks(line);
        if (*p == '\0' || *p == '#')
                return TRUE;
        gsize length = strspn(p, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "_");
        g_autofree char *name = g_strndup(p, length);
        p = skip_blanks(p + length);
        if (length == 0 || *p != '=') {
                return error_set(err, VIR_ERR_CONF_SYNTAX, "expected key = value");
        }
        const Key *key = find_key(name);
        if (!key) {
                return error_set(err, VIR_ERR_CONF_SYNTAX, "unknown key %s", name);
        }
        p = skip_blanks(p + 1);
        if (!(key->kind == KEY_NUMBER ? set_number : set_text)(config, key, &p, err))
                return FALSE;
        p = skip_blanks(p);
        if (*p == '\0' || *p == '#')
                return TRUE;
        return error_set(err, VIR_ERR_CONF_SYNTAX, "unexpected text behind the value of %s", name);
}

static gboolean parse_text(DriverConfig *config, const char *path, const char *text, GError **err) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (guint i = 0; lines[i]; i++) {
                if (parse_line(config, lines[i], err))
                        continue;
                g_prefix_error(err, "%s:%u: ", path, i + 1);
                return FALSE;
        }
        return TRUE;
}

static gboolean read_text(const char *path, gboolean optional, char **ret, GError **err) {
        g_autoptr(GError) local = NULL;
        gsize length = 0;
        if (!g_file_get_contents(path, ret, &length, &local)) {
                if (optional && g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return TRUE;
                return error_set(err, VIR_ERR_SYSTEM_ERROR, "cannot read %s: %s", path, local->message);
        }
        if (length <= CONFIG_SIZE_MAX && strlen(*ret) == length)
                return TRUE;
        return error_set(err, VIR_ERR_CONF_SYNTAX, "%s is not a text file of at most %d bytes", path, CONFIG_SIZE_MAX);
}

DriverConfig *driver_config_load(const char *path, GError **err) {
        g_autoptr(DriverConfig) config = config_new();
        g_autofree char *text = NULL;
        if (!read_text(path ? path : DEFAULT_PATH, !path, &text, err))
                return NULL;
        if (text && !parse_text(config, path ? path : DEFAULT_PATH, text, err))
                return NULL;
        return g_steal_pointer(&config);
}
