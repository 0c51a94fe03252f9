/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How each element and attribute of a domain's XML is treated. One table (xml_verdict_table.c) decides it for define,
 * with and without --validate, in both modes of legacy_devices, and for start. virtmicrod(8) lists the table, and a
 * test compares it with everything that libvirt's schema knows.
 *
 * The rule: what would make a different guest is served or refused. What does not change the guest is noted, and what
 * asks for nothing is harmless.
 */
#pragma once

#include <glib.h>

#include "conf/xml_read.h"

typedef enum XmlVerdict {
        XML_SERVED,           /* done as asked; values are the parser's to check */
        XML_CONTAINER,        /* asks for nothing itself; what is in it has verdicts of its own */
        XML_HARMLESS,         /* asks for what is true anyway, or for nothing: dropped silently */
        XML_CONVERTED,        /* noted: replaced by what a microVM has; the code that replaces it writes the note */
        XML_NOTED,            /* noted: left out */
        XML_REFUSED_AT_START, /* refused: stays in the definition, which does not start */
        XML_REFUSED,          /* refused: at define */
} XmlVerdict;

typedef struct XmlRule {
        const char *path;     /* below <domain>: "a/b", "a/@b"; with * for the last name: any other */
        const char *when;     /* "attribute=word word": only if the element has one of these values; "*": any;
                               * "../attribute=word": that of its parent. NULL: always */
        const char *values;   /* only these texts; NULL: all */
        XmlVerdict verdict;   /* what is in an element that is left out or refused has no verdict of its own */
        const char *sentence; /* why it is left out, or what to do instead. NULL: nothing to say */
} XmlRule;

/* The table, in the order of paths; rows of one path in the order in which they are tried. */
const XmlRule *xml_verdict_rules(gsize *ret_n);

/* The rule for `node`, or for its attribute; NULL: nobody knows it. `path` is that of the node, "" for <domain>. */
const XmlRule *xml_verdict_find(const char *path, const xmlNode *node, const xmlAttr *attr);

/*
 * Judges a client's definition: refuses it (VIR_ERR_CONFIG_UNSUPPORTED), or removes what is not served from the tree
 * and adds a note (char*) for what is noted. `strict`: unknown things stay, for the schema to refuse. `reject`: what
 * would be noted is refused, except conversions, which legacy.c refuses in its own words.
 */
gboolean xml_verdict_define(xmlNode *domain, gboolean strict, gboolean reject, GPtrArray *notes, GError **err);
/* Judges a definition at its start. */
gboolean xml_verdict_start(xmlNode *domain, GError **err);
