/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Capabilities of hosts that are given as NAME.fs, lines of "path: text" (\n and \t
 * escaped) that become a directory: NAME.capabilities.xml, and default.domcapabilities.xml
 * for the driver. UPDATE_GOLDEN=1 writes the files.
 */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "conf/capabilities.h"
#include "conf/host_info.h"
#include "util/error.h"

#define EMULATOR "/usr/libexec/virtmicro-vmm"

static void add_file(const char *root, const char *line) {
        const char *colon = strstr(line, ": ");
        if (*line == '#' || colon == NULL)
                return;
        g_autofree char *name = g_strndup(line, (gsize) (colon - line));
        g_autofree char *path = g_build_filename(root, name, NULL), *dir = g_path_get_dirname(path);
        g_autofree char *escaped = g_strconcat(colon + 2, "\n", NULL), *text = g_strcompress(escaped);
        g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void remove_tree(const char *path) {
        GDir *dir = g_dir_open(path, 0, NULL);
        for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
                g_autofree char *child = g_build_filename(path, name, NULL);
                remove_tree(child);
        }
        if (dir != NULL)
                g_dir_close(dir);
        g_assert_cmpint(g_remove(path), ==, 0);
}

static void check_golden(const char *path, const char *text) {
        g_autofree char *expected = NULL;
        if (g_getenv("UPDATE_GOLDEN") != NULL) {
                g_assert_true(g_file_set_contents(path, text, -1, NULL));
                return;
        }
        g_assert_true(g_file_get_contents(path, &expected, NULL, NULL));
        g_assert_cmpstr(text, ==, expected);
}

static void test_host(gconstpointer data) {
        const char *path = data;
        g_autofree char *text = NULL, *root = g_dir_make_tmp("capabilities-XXXXXX", NULL);
        g_autofree char *base = g_strndup(path, strlen(path) - strlen(".fs"));
        g_autofree char *golden = g_strconcat(base, ".capabilities.xml", NULL);
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (guint i = 0; lines[i] != NULL; i++)
                add_file(root, lines[i]);
        g_autoptr(HostInfo) info = host_info_read(root);
        g_autofree char *xml = capabilities_format_host(info, EMULATOR);
        check_golden(golden, xml);
        remove_tree(root);
}

static void test_this_host(void) {
        g_autofree char *xml = capabilities_format(EMULATOR, NULL);
        g_assert_nonnull(strstr(xml, "<domain type='kvm'/>"));
}

static void test_domain(gconstpointer data) {
        g_autofree char *dir = g_path_get_dirname(data);
        g_autofree char *golden = g_build_filename(dir, "default.domcapabilities.xml", NULL);
        g_autofree char *xml = domain_capabilities_format(NULL, NULL, NULL, NULL, NULL);
        g_autofree char *named = domain_capabilities_format(EMULATOR, "x86_64", "microvm", "kvm", NULL);
        g_autofree char *installed = domain_capabilities_format(VMM_PATH, "x86_64", "microvm", "kvm", NULL);
        check_golden(golden, named);
        g_assert_cmpstr(xml, ==, installed);
}

static void test_arguments(void) {
        static const struct {
                const char *emulator, *arch, *machine, *virttype, *text;
        } cases[] = {
                { NULL, NULL, NULL, "bogus", "unknown virttype: bogus" },
                { NULL, NULL, NULL, "qemu", "the virttype 'qemu' is not supported" },
                { NULL, "bogus", NULL, NULL, "unknown architecture: bogus" },
                { NULL, "aarch64", NULL, NULL, "the architecture 'aarch64' is not supported" },
                { NULL, NULL, "q35", NULL, "the machine 'q35' is not supported" },
                { NULL, NULL, "micro-2", NULL, "there are micro (the newest), micro-1" },
                { "/usr/bin/qemu-system-x86_64", NULL, NULL, NULL, "the emulator 'qemu-system-x86_64' is not" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                g_assert_null(domain_capabilities_format(cases[i].emulator, cases[i].arch, cases[i].machine,
                                                         cases[i].virttype, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_INVALID_ARG);
                g_assert_nonnull(strstr(err->message, cases[i].text));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        for (int i = 1; i < argc; i++) {
                g_autofree char *name = g_path_get_basename(argv[i]);
                g_autofree char *test = g_strdup_printf("/golden/capabilities/%s", name);
                g_test_add_data_func(test, argv[i], test_host);
        }
        if (argc > 1)
                g_test_add_data_func("/golden/domcapabilities/default", argv[1], test_domain);
        g_test_add_func("/golden/domcapabilities/arguments", test_arguments);
        g_test_add_func("/golden/capabilities/this-host", test_this_host);
        return g_test_run();
}
