/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of verdicts as virtmicrod(8) lists it, between two comments of the page. Set UPDATE_GOLDEN=1 to write it
 * there instead of comparing.
 */
#include <glib.h>
#include <string.h>

#include "conf/xml_verdict.h"

#define BEGIN "; verdicts: written by golden-verdict\n"
#define END   "; end of verdicts\n"
#define WIDTH 120

static const struct {
        XmlVerdict verdict;
        const char *heading;
} groups[] = {
        { XML_REFUSED, "Refused when a domain is defined, with what to do instead:" },
        { XML_REFUSED_AT_START, "Kept in the definition, and refused at start:" },
        { XML_NOTED, "Left out, with a note:" },
        { XML_CONVERTED, "Converted, with a note:" },
        { XML_HARMLESS, "Left out without a note, since it asks for nothing or for what is so anyway:" },
        { XML_SERVED, "Served:" },
};

/* A path with its conditions, in the page's language. */
static char *item_new(const XmlRule *rule) {
        g_auto(GStrv) parts = g_strsplit(rule->path, "*", -1);
        GString *text = g_string_new("_");
        g_autofree char *path = g_strjoinv("\\*", parts);
        g_string_append_printf(text, "%s_", path);
        if (rule->values != NULL)
                g_string_append_printf(text, " (%s)", rule->values);
        if (rule->when != NULL)
                g_string_append_printf(text, " (with %s)",
                                       g_str_has_suffix(rule->when, "=*") ? "an attribute _type_" : rule->when);
        return g_string_free(text, FALSE);
}

/* Appends words, breaking lines at WIDTH; *column counts. */
static void append_words(GString *out, const char *text, gsize *column) {
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        for (char **word = words; *word != NULL; word++) {
                gsize length = (gsize) g_utf8_strlen(*word, -1);
                if (*column > 0 && *column + 1 + length > WIDTH) {
                        g_string_append_c(out, '\n');
                        *column = 0;
                } else if (*column > 0) {
                        g_string_append_c(out, ' ');
                        (*column)++;
                }
                g_string_append(out, *word);
                *column += length;
        }
}

/* The rows of a verdict that have the same sentence make one paragraph. */
static void append_paragraph(GString *out, const XmlRule *rules, gsize n, gsize first) {
        gsize column = 0;
        GPtrArray *items = g_ptr_array_new_with_free_func(g_free);
        for (gsize i = first; i < n; i++)
                if (rules[i].verdict == rules[first].verdict &&
                    g_strcmp0(rules[i].sentence, rules[first].sentence) == 0)
                        g_ptr_array_add(items, item_new(&rules[i]));
        g_ptr_array_add(items, NULL);
        g_autofree char *list = g_strjoinv(", ", (char **) items->pdata);
        append_words(out, list, &column);
        if (rules[first].sentence != NULL) {
                g_string_append_c(out, ':');
                column++;
                g_auto(GStrv) parts = g_strsplit(rules[first].sentence, "*", -1);
                g_autofree char *sentence = g_strjoinv("\\*", parts);
                append_words(out, sentence, &column);
        }
        g_string_append(out, ".\n\n");
        g_ptr_array_unref(items);
}

static gboolean is_first(const XmlRule *rules, gsize index) {
        for (gsize i = 0; i < index; i++)
                if (rules[i].verdict == rules[index].verdict &&
                    g_strcmp0(rules[i].sentence, rules[index].sentence) == 0)
                        return FALSE;
        return TRUE;
}

static char *section_new(void) {
        gsize n;
        const XmlRule *rules = xml_verdict_rules(&n);
        GString *out = g_string_new("\n");
        for (gsize g = 0; g < G_N_ELEMENTS(groups); g++) {
                g_string_append_printf(out, "*%s*\n\n", groups[g].heading);
                for (gsize i = 0; i < n; i++)
                        if (rules[i].verdict == groups[g].verdict && is_first(rules, i))
                                append_paragraph(out, rules, n, i);
        }
        return g_string_free(out, FALSE);
}

static void test_page(gconstpointer data) {
        g_autofree char *page = NULL, *section = section_new();
        g_assert_true(g_file_get_contents(data, &page, NULL, NULL));
        char *begin = strstr(page, BEGIN), *end = strstr(page, END);
        g_assert_nonnull(begin);
        g_assert_nonnull(end);
        begin += strlen(BEGIN);
        if (g_getenv("UPDATE_GOLDEN") != NULL) {
                g_autofree char *updated = g_strdup_printf("%.*s%s%s", (int) (begin - page), page, section, end);
                g_assert_true(g_file_set_contents(data, updated, -1, NULL));
                return;
        }
        g_autofree char *listed = g_strndup(begin, (gsize) (end - begin));
        g_assert_cmpstr(listed, ==, section);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_assert_cmpint(argc, ==, 2);
        g_test_add_data_func("/golden/verdicts", argv[1], test_page);
        return g_test_run();
}
