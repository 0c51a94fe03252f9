/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions in and out: for each NAME.xml given, what a client reads back
 * (NAME.inactive.xml), what it reads back while the domain runs (NAME.live.xml), the
 * notes and the control messages (NAME.config). Set UPDATE_GOLDEN=1 to write the files
 * instead of comparing, then read the diff.
 *
 * Names with "unknown-" have elements that a plain define notes and --validate refuses.
 *
 * For every definition also: what was formatted parses to the same text again, a copy is
 * equal, and the daemon's own state survives the way through XML.
 */
#include <glib.h>
#include <string.h>

#include "conf/vmm_config.h"
#include "dump-config.h"
#include "util/error.h"

#define STATE_DIR "/run/libvirt/micro"

/* Gives every device what a start would give it. */
static void make_live(DomainDef *def) {
        def->id = 3;
        domain_def_assign_aliases(def);
        for (guint i = 0; i < def->nics->len; i++) {
                DomainNic *nic = g_ptr_array_index(def->nics, i);
                if (nic->target == NULL)
                        nic->target = g_strdup_printf("vnet%u", i);
                if (nic->type == DOMAIN_NIC_NETWORK) {
                        nic->portid = g_strdup("5ecb2d3c-0f33-4a3b-8d0c-3f6a3a8d9c10");
                        nic->actual_bridge = g_strdup("virbr0");
                }
        }
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->backend == DOMAIN_CHAR_PTY)
                        chr->path = g_strdup_printf("/dev/pts/%u", i);
                else if (chr->backend == DOMAIN_CHAR_UNIX && chr->path == NULL) {
                        chr->path = domain_channel_path(STATE_DIR, def->id, chr);
                        chr->generated = TRUE;
                }
                if (chr->device == DOMAIN_CHAR_CHANNEL)
                        chr->target_state = g_strdup("disconnected");
        }
}

static DomainDef *parse(const char *text, guint flags) {
        g_autoptr(GError) err = NULL;
        DomainDef *def = domain_def_parse(text, flags, SCHEMA_DIR, &err);
        g_assert_no_error(err);
        g_assert_nonnull(def);
        return def;
}

/* What golden files hold besides XML. */
static char *dump_config(const DomainDef *def) {
        g_autoptr(GError) err = NULL;
        VmmConfig *config = g_new0(VmmConfig, 1);
        GString *out = g_string_new(NULL);
        for (guint i = 0; i < def->notes->len; i++)
                g_string_append_printf(out, "note: %s\n", (char *) g_ptr_array_index(def->notes, i));
        if (!domain_def_check_startable(def, &err)) {
                g_string_append_printf(out, "not startable: %s\n", err->message);
                g_clear_error(&err);
        }
        if (vmm_config_from_def(def, config, &err)) {
                g_autofree char *dump = vmm_config_dump(def, config);
                g_string_append(out, dump);
        } else {
                g_string_append_printf(out, "error: %s\n", err->message);
        }
        g_free(config);
        return g_string_free(out, FALSE);
}

static void check_golden(const char *path, const char *suffix, const char *text) {
        g_autofree char *base = g_strndup(path, strlen(path) - strlen(".xml"));
        g_autofree char *golden = g_strconcat(base, suffix, NULL);
        g_autofree char *expected = NULL;
        if (g_getenv("UPDATE_GOLDEN") != NULL) {
                g_assert_true(g_file_set_contents(golden, text, -1, NULL));
                return;
        }
        g_assert_true(g_file_get_contents(golden, &expected, NULL, NULL));
        g_assert_cmpstr(text, ==, expected);
}

static void check_stable(const DomainDef *def, guint format_flags, guint parse_flags) {
        g_autofree char *first = domain_def_format(def, format_flags);
        g_autoptr(DomainDef) again = parse(first, parse_flags);
        g_autofree char *second = domain_def_format(again, format_flags);
        g_assert_cmpstr(first, ==, second);
}

static void check_copy(const DomainDef *def) {
        g_autoptr(DomainDef) copy = domain_def_copy(def);
        g_autofree char *original = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        g_autofree char *copied = domain_def_format(copy, DOMAIN_FORMAT_STATUS);
        g_assert_cmpstr(original, ==, copied);
}

static void check_refused(const char *text) {
        g_autoptr(GError) err = NULL;
        g_assert_null(domain_def_parse(text, DOMAIN_PARSE_VALIDATE, SCHEMA_DIR, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_XML_INVALID_SCHEMA);
}

static void test_fixture(gconstpointer data) {
        const char *path = data;
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        gboolean has_unknown = strstr(path, "/unknown-") != NULL;
        if (has_unknown)
                check_refused(text);
        g_autoptr(DomainDef) def = parse(text, has_unknown ? 0 : DOMAIN_PARSE_VALIDATE);
        g_autofree char *inactive = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_autofree char *config = dump_config(def);
        check_golden(path, ".inactive.xml", inactive);
        check_golden(path, ".config", config);
        check_stable(def, DOMAIN_FORMAT_INACTIVE, DOMAIN_PARSE_VALIDATE | DOMAIN_PARSE_REJECT_LEGACY);
        check_stable(def, DOMAIN_FORMAT_STATUS, DOMAIN_PARSE_STATUS);
        make_live(def);
        g_autofree char *live = domain_def_format(def, 0);
        check_golden(path, ".live.xml", live);
        check_stable(def, DOMAIN_FORMAT_STATUS, DOMAIN_PARSE_STATUS);
        check_copy(def);
        g_autoptr(DomainDef) from_live = parse(live, DOMAIN_PARSE_VALIDATE); /* virsh dumpxml | virsh define */
        domain_def_drop_channel_paths(from_live, STATE_DIR);
        g_autofree char *redefined = domain_def_format(from_live, DOMAIN_FORMAT_INACTIVE);
        g_autofree char *stopped = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(redefined, ==, stopped);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_setenv("TZ", "UTC", TRUE);
        for (int i = 1; i < argc; i++) {
                g_autofree char *name = g_path_get_basename(argv[i]);
                g_autofree char *test = g_strdup_printf("/golden/xml/%s", name);
                g_test_add_data_func(test, argv[i], test_fixture);
        }
        return g_test_run();
}
