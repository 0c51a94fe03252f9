/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing XML the way libvirt writes it: two spaces per level, single quotes, one
 * element per line, text elements on one line, everything quotable quoted.
 *
 *      xml_begin(w, "disk"); xml_put(w, "type", "file"); … xml_end(w);
 *
 * Attributes come before children. An element without children is written <a/>.
 */
#pragma once

#include <glib.h>

#define XML_DEPTH_MAX 8

typedef struct XmlWriter {
        GString *text;
        unsigned depth;
        const char *open[XML_DEPTH_MAX]; /* names of the open elements; not copied */
        gsize start[XML_DEPTH_MAX];      /* where they begin */
        gsize bare[XML_DEPTH_MAX];       /* length just after the name; longer: attributes or children were added */
        gboolean tag_open;               /* the innermost start tag still takes attributes */
} XmlWriter;

void xml_writer_init(XmlWriter *w);
char *xml_writer_finish(XmlWriter *w); /* all elements must be closed */

/* The text without the characters that XML cannot hold; NULL when it is not UTF-8. */
char *xml_clean_text(const char *text);

void xml_begin(XmlWriter *w, const char *name);
void xml_end(XmlWriter *w);
/* Like xml_end(), but an element that got neither attributes nor children leaves no trace. */
void xml_end_used(XmlWriter *w);

/* An attribute; NULL: none. */
void xml_put(XmlWriter *w, const char *name, const char *value);
void xml_putf(XmlWriter *w, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* An attribute that is written unless the number is 0. */
void xml_put_u64(XmlWriter *w, const char *name, guint64 value);

void xml_leaf(XmlWriter *w, const char *name);                                           /* <name/> */
void xml_leaf_attr(XmlWriter *w, const char *name, const char *attr, const char *value); /* value NULL: nothing */
void xml_element(XmlWriter *w, const char *name, const char *text); /* <name>text</name>; NULL: nothing */
void xml_elementf(XmlWriter *w, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);
void xml_element_u64(XmlWriter *w, const char *name, guint64 value); /* 0: nothing */
/* The text of the innermost element, which then ends on the same line: <a b='c'>text</a>. */
void xml_end_text(XmlWriter *w, const char *text);
/* Well-formed markup: the whole content of an element. */
void xml_element_raw(XmlWriter *w, const char *name, const char *markup);
