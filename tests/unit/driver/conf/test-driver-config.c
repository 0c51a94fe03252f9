/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The settings file: every key, the syntax, errors with their line; and the installed sample. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "conf/driver_config.h"
#include "util/error.h"

static DriverConfig *load_text(const char *text, GError **err) {
        g_autofree char *path = NULL;
        int fd = g_file_open_tmp("config-XXXXXX", &path, NULL);
        g_assert_cmpint(fd, >=, 0);
        g_assert_true(g_close(fd, NULL));
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        DriverConfig *config = driver_config_load(path, err);
        g_assert_cmpint(g_remove(path), ==, 0);
        return config;
}

static void test_defaults(void) {
        g_autoptr(DriverConfig) config = load_text("", NULL);
        g_assert_true(g_str_has_suffix(config->config_dir, "/libvirt/micro"));
        g_assert_cmpstr(config->auth_unix_rw, ==, "polkit");
        g_assert_false(config->reject_legacy_devices);
        g_assert_cmpuint(config->max_clients, ==, 5000);
}

static void test_every_kind(void) {
        g_autoptr(DriverConfig) config = load_text("# comment\n\n"
                                                   "state_dir = \"/tmp/\\\"x\\\"\\\\\"   # behind\n"
                                                   "\tsocket_dir='/tmp/s'\r\n"
                                                   "legacy_devices = \"reject\"\n"
                                                   "log_level=\"debug\"\n"
                                                   "uid_base = 100000\n"
                                                   "keepalive_interval = 0\n"
                                                   "auth_unix_ro = \"none\"",
                                                   NULL);
        g_assert_cmpstr(config->state_dir, ==, "/tmp/\"x\"\\");
        g_assert_cmpstr(config->socket_dir, ==, "/tmp/s");
        g_assert_true(config->reject_legacy_devices);
        g_assert_cmpstr(config->log_level, ==, "debug");
        g_assert_cmpuint(config->uid_base, ==, 100000);
        g_assert_cmpuint(config->keepalive_interval, ==, 0);
        g_assert_cmpstr(config->auth_unix_ro, ==, "none");
        g_assert_cmpstr(config->auth_unix_rw, ==, "polkit");
}

static void test_errors(void) {
        static const struct {
                const char *text, *message;
        } cases[] = {
                { "\n\nbogus = 1\n", ":3: configuration file syntax error: unknown key bogus" },
                { "max_clients\n", ":1: configuration file syntax error: expected key = value" },
                { "= 1\n", ":1: configuration file syntax error: expected key = value" },
                { "max_clients = \"1\"\n",
                  ":1: configuration file syntax error: max_clients takes a number from 1 to" },
                { "max_clients = 0\n", ":1: configuration file syntax error: max_clients takes a number" },
                { "max_clients = 99999999999999999999\n", ":1: configuration file syntax error: max_clients takes" },
                { "max_clients = 1 2\n", ":1: configuration file syntax error: unexpected text behind the value" },
                { "uid_base = 0\n", ":1: configuration file syntax error: uid_base takes a number from 65536" },
                { "log_level = debug\n", ":1: configuration file syntax error: log_level takes a string in quotes" },
                { "log_level = \"debug\n", ":1: configuration file syntax error: log_level takes a string in quotes" },
                { "log_level = \"debug\\\n",
                  ":1: configuration file syntax error: log_level takes a string in quotes" },
                { "log_level = \"loud\"\n",
                  ":1: configuration file syntax error: log_level takes one of \"error\", \"warning\"" },
                { "legacy_devices = \"yes\"\n",
                  ":1: configuration file syntax error: legacy_devices takes one of \"convert\"" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                g_assert_null(load_text(cases[i].text, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONF_SYNTAX);
                g_assert_nonnull(strstr(err->message, cases[i].message));
        }
}

static void test_missing(void) {
        g_autoptr(GError) err = NULL;
        g_assert_null(driver_config_load("/nonexistent/virtmicrod.conf", &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
}

/* The sample is all comments; with the comment signs taken off its settings it has to say the defaults. */
static void test_sample(void) {
        g_autofree char *sample = NULL;
        g_assert_true(g_file_get_contents(SAMPLE, &sample, NULL, NULL));
        g_autoptr(GRegex) regex = g_regex_new("^#([a-z_]+ =)", G_REGEX_MULTILINE, 0, NULL);
        g_autofree char *active = g_regex_replace(regex, sample, -1, 0, "\\1", 0, NULL);
        g_autoptr(GError) err = NULL;
        g_autoptr(DriverConfig) given = load_text(active, &err), defaults = load_text("", NULL),
                                plain = load_text(sample, NULL);
        g_assert_no_error(err);
        g_assert_cmpstr(active, !=, sample);
        g_assert_nonnull(plain);
        g_assert_cmpstr(given->config_dir, ==, defaults->config_dir);
        g_assert_cmpstr(given->state_dir, ==, defaults->state_dir);
        g_assert_cmpstr(given->socket_dir, ==, defaults->socket_dir);
        g_assert_cmpstr(given->vmm_path, ==, defaults->vmm_path);
        g_assert_cmpstr(given->schema_dir, ==, defaults->schema_dir);
        g_assert_cmpstr(given->log_level, ==, defaults->log_level);
        g_assert_cmpint(given->reject_legacy_devices, ==, defaults->reject_legacy_devices);
        g_assert_cmpuint(given->uid_base, ==, defaults->uid_base);
        g_assert_cmpuint(given->max_clients, ==, defaults->max_clients);
        g_assert_cmpuint(given->max_user_clients, ==, defaults->max_user_clients);
        g_assert_cmpuint(given->max_anonymous_clients, ==, defaults->max_anonymous_clients);
        g_assert_cmpuint(given->max_client_requests, ==, defaults->max_client_requests);
        g_assert_cmpuint(given->max_workers, ==, defaults->max_workers);
        g_assert_cmpuint(given->prio_workers, ==, defaults->prio_workers);
        g_assert_cmpuint(given->keepalive_interval, ==, defaults->keepalive_interval);
        g_assert_cmpuint(given->keepalive_count, ==, defaults->keepalive_count);
        g_assert_cmpuint(given->shutdown_timeout, ==, defaults->shutdown_timeout);
        g_assert_cmpstr(given->auth_unix_ro, ==, defaults->auth_unix_ro);
        g_assert_cmpstr(given->auth_unix_rw, ==, defaults->auth_unix_rw);
        g_assert_cmpstr(given->unix_sock_group, ==, defaults->unix_sock_group);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/driver-config/defaults", test_defaults);
        g_test_add_func("/driver-config/every-kind", test_every_kind);
        g_test_add_func("/driver-config/errors", test_errors);
        g_test_add_func("/driver-config/missing", test_missing);
        g_test_add_func("/driver-config/sample", test_sample);
        return g_test_run();
}
