/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading XML that a client sent. A document is parsed with no network, no DTD and
 * libxml2's own depth limits; small functions then read children, attributes and numbers,
 * with errors worded as libvirt's clients know them.
 *
 * A function with a `ret` leaves it alone when the thing asked for is absent, so callers
 * set defaults first. A NULL element has no children and no attributes.
 */
#pragma once

#include <glib.h>
#include <libxml/tree.h>

#define XML_INPUT_MAX (1024u * 1024u) /* bytes of one document: a domain has a few KiB, metadata may have more */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* `label` goes before the line number of a syntax error, as in "(domain_definition):2: …". VIR_ERR_XML_DETAIL. */
xmlDoc *xml_document_parse(const char *text, const char *label, GError **err);

/* The first child element, the next sibling element; `name` NULL: any. */
xmlNode *xml_first(const xmlNode *parent, const char *name);
xmlNode *xml_next(const xmlNode *node, const char *name);
#define XML_FOREACH(node, parent, name) for (xmlNode *node = xml_first(parent, name); node; node = xml_next(node, name))

gboolean xml_is(const xmlNode *node, const char *name);

/* Owned strings; NULL when absent, xml_text() also when the element is empty. */
char *xml_attr(const xmlNode *node, const char *name);
char *xml_text(const xmlNode *node);
char *xml_child_text(const xmlNode *parent, const char *name);
char *xml_child_attr(const xmlNode *parent, const char *child, const char *name);

/* Decimal (with a 0x prefix: hexadecimal) numbers of at most `max`. VIR_ERR_XML_ERROR. */
gboolean xml_attr_uint(const xmlNode *node, const char *name, guint max, guint *ret, GError **err);
gboolean xml_attr_positive(const xmlNode *node, const char *name, guint max, guint *ret, GError **err);
gboolean xml_attr_u64(const xmlNode *node, const char *name, guint64 *ret, GError **err);
gboolean xml_child_u64(const xmlNode *parent, const char *child, guint64 *ret, GError **err);
gboolean xml_parse_u64(const char *text, guint64 *ret);
gboolean xml_parse_i64(const char *text, gint64 *ret);

/* "yes"/"no" and "on"/"off". */
gboolean xml_attr_bool(const xmlNode *node, const char *name, gboolean *ret, GError **err);
/* An index into a NULL-terminated list of words. */
gboolean xml_attr_enum(const xmlNode *node, const char *name, const char *const *words, int *ret, GError **err);
/* One of a NULL-terminated list of words, as an owned string. */
gboolean xml_attr_word(const xmlNode *node, const char *name, const char *const *words, char **ret, GError **err);
int xml_word_index(const char *const *words, const char *text); /* -1: none of them */

/*
 * A size with libvirt's units (b, bytes, KB, k, KiB, MB, M, MiB … EB, E, EiB; none: `default_scale` bytes),
 * in bytes. VIR_ERR_INVALID_ARG for an unknown unit, VIR_ERR_OVERFLOW.
 */
gboolean xml_scale_size(guint64 value, const char *unit, guint64 default_scale, guint64 *ret_bytes, GError **err);
/* <child unit='…'>N</child> in KiB, rounded up. */
gboolean xml_child_kib(const xmlNode *parent, const char *child, guint64 *ret_kib, GError **err);
