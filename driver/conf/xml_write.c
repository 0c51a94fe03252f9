/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one growing string and a stack of open elements. A start tag
 * stays open for attributes until a child or the end of the element closes it.
 *
 * Escaping is libvirt's (both kinds of quotes, also in text), plus character references
 * for the white space that XML would otherwise normalise away on the next parse.
 * Control characters, which XML cannot hold at all, are left out.
 */
#include "conf/xml_write.h"

/* Bytes of a character that XML cannot hold: a control character, U+FFFE or U+FFFF. 0: it can be written. */
static gsize skipped_bytes(const char *p) {
        guchar c = (guchar) *p;
        if (c < 0x20 && c != '\n' && c != '\t' && c != '\r')
                return 1;
        return c == 0xef && (guchar) p[1] == 0xbf && (guchar) p[2] >= 0xbe ? 3 : 0;
}

char *xml_clean_text(const char *text) {
        if (!g_utf8_validate(text, -1, NULL))
                return NULL;
        GString *clean = g_string_new(NULL);
        for (const char *p = text; *p != '\0';) {
                gsize skip = skipped_bytes(p);
                if (skip == 0)
                        g_string_append_c(clean, *p);
                p += MAX(skip, 1);
        }
        return g_string_free(clean, FALSE);
}

static void append_escaped(GString *out, const char *text, gboolean attribute) {
        for (const char *p = text; *p != '\0'; p++) {
                guchar c = (guchar) *p;
                if (c == '<')
                        g_string_append(out, "&lt;");
                else if (c == '>')
                        g_string_append(out, "&gt;");
                else if (c == '&')
                        g_string_append(out, "&amp;");
                else if (c == '"')
                        g_string_append(out, "&quot;");
                else if (c == '\'')
                        g_string_append(out, "&apos;");
                else if (c == '\r' || (attribute && (c == '\n' || c == '\t')))
                        g_string_append_printf(out, "&#%u;", c);
                else if (skipped_bytes(p) == 0)
                        g_string_append_c(out, (char) c);
                else
                        p += skipped_bytes(p) - 1;
        }
}

static void indent(XmlWriter *w) {
        for (unsigned i = 0; i < w->depth; i++)
                g_string_append(w->text, "  ");
}

/* Ends the start tag of the element that gets a child. */
static void close_tag(XmlWriter *w) {
        if (w->tag_open)
                g_string_append(w->text, ">\n");
        w->tag_open = FALSE;
}

void xml_writer_init(XmlWriter *w) {
        *w = (XmlWriter) { .text = g_string_new(NULL) };
}

char *xml_writer_finish(XmlWriter *w) {
        g_assert(w->depth == 0);
        return g_string_free(w->text, FALSE);
}

void xml_begin(XmlWriter *w, const char *name) {
        g_assert(w->depth < XML_DEPTH_MAX);
        w->start[w->depth] = w->text->len;
        close_tag(w);
        indent(w);
        g_string_append_printf(w->text, "<%s", name);
        w->bare[w->depth] = w->text->len;
        w->open[w->depth++] = name;
        w->tag_open = TRUE;
}

void xml_end(XmlWriter *w) {
        const char *name = w->open[--w->depth];
        if (w->tag_open) {
                g_string_append(w->text, "/>\n");
        } else {
                indent(w);
                g_string_append_printf(w->text, "</%s>\n", name);
        }
        w->tag_open = FALSE;
}

void xml_end_used(XmlWriter *w) {
        unsigned level = w->depth - 1;
        if (w->text->len != w->bare[level]) {
                xml_end(w);
                return;
        }
        /* The parent's tag was closed for this child; it opens again if this would have been the first one. */
        gboolean first = w->text->str[w->start[level]] == '>';
        g_string_truncate(w->text, w->start[level]);
        w->depth = level;
        w->tag_open = first;
}

void xml_put(XmlWriter *w, const char *name, const char *value) {
        if (!value)
                return;
        g_string_append_printf(w->text, " %s='", name);
        append_escaped(w->text, value, TRUE);
        g_string_append_c(w->text, '\'');
}

void xml_putf(XmlWriter *w, const char *name, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *value = g_strdup_vprintf(format, ap);
        va_end(ap);
        xml_put(w, name, value);
}

void xml_put_u64(XmlWriter *w, const char *name, guint64 value) {
        if (value != 0)
                xml_putf(w, name, "%" G_GUINT64_FORMAT, value);
}

void xml_leaf(XmlWriter *w, const char *name) {
        xml_begin(w, name);
        xml_end(w);
}

void xml_leaf_attr(XmlWriter *w, const char *name, const char *attr, const char *value) {
        if (!value)
                return;
        xml_begin(w, name);
        xml_put(w, attr, value);
        xml_end(w);
}

void xml_end_text(XmlWriter *w, const char *text) {
        const char *name = w->open[--w->depth];
        g_string_append_c(w->text, '>');
        append_escaped(w->text, text, FALSE);
        g_string_append_printf(w->text, "</%s>\n", name);
        w->tag_open = FALSE;
}

void xml_element(XmlWriter *w, const char *name, const char *text) {
        if (!text)
                return;
        xml_begin(w, name);
        xml_end_text(w, text);
}

void xml_elementf(XmlWriter *w, const char *name, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        g_autofree char *text = g_strdup_vprintf(format, ap);
        va_end(ap);
        xml_element(w, name, text);
}

void xml_element_u64(XmlWriter *w, const char *name, guint64 value) {
        if (value != 0)
                xml_elementf(w, name, "%" G_GUINT64_FORMAT, value);
}

void xml_element_raw(XmlWriter *w, const char *name, const char *markup) {
        if (!markup)
                return;
        close_tag(w);
        indent(w);
        g_string_append_printf(w->text, "<%s>%s</%s>\n", name, markup, name);
}
