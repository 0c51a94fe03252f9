/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: a document is refused before it is parsed when it is too large,
 * and while it is parsed when it declares a document type: entities have no use in a
 * domain's XML, and without them there is neither expansion nor a reference outwards.
 * Nesting is bounded by libxml2 (256 levels). Ignorable white space is dropped, so that
 * formatting indents everything anew.
 *
 * The first syntax error is kept with its line, because libxml2 also reports its
 * consequences.
 */
#include "conf/xml_read.h"

#include <libxml/parser.h>
#include <string.h>

#include "util/error.h"

#define CONTEXT_MAX 80 /* characters of the offending line that go into the message */

typedef struct SyntaxError {
        gboolean dtd;
        int line, column;
        char *message;
} SyntaxError;

static void keep_error(void *data, xmlErrorPtr error) {
        xmlParserCtxt *ctxt = data;
        SyntaxError *kept = ctxt->_private;
        if (kept->message || error->level < XML_ERR_ERROR || !error->message)
                return;
        kept->message = g_strchomp(g_strdup(error->message));
        kept->line = error->line;
        kept->column = error->int2;
}

static void refuse_dtd(void *data, const xmlChar *name, const xmlChar *external, const xmlChar *system) {
        xmlParserCtxt *ctxt = data;
        SyntaxError *kept = ctxt->_private;
        kept->dtd = TRUE;
        xmlStopParser(ctxt);
}

/* The line up to the column, its tail if it is long, and a pointer below it. */
static char *describe_place(const char *text, int line, int column) {
        for (int i = 1; i < line && text; i++) {
                text = strchr(text, '\n');
                text = text ? text + 1 : NULL;
        }
        if (!text || column < 1)
                return g_strdup("");
        gsize length = strcspn(text, "\n"), mark = MIN((gsize) column - 1, length);
        gsize start = mark > CONTEXT_MAX ? mark - CONTEXT_MAX : 0;
        g_autofree char *shown = g_utf8_make_valid(text + start, (gssize) MIN(length - start, CONTEXT_MAX));
        g_autofree char *dashes = g_strnfill(mark - start, '-');
        return g_strdup_printf("\n%s\n%s^", shown, dashes);
}

static void set_syntax_error(GError **err, const char *text, const char *label, const SyntaxError *kept) {
        if (kept->dtd) {
                error_set(err, VIR_ERR_XML_ERROR, "%s: a document type declaration is not allowed", label);
                return;
        }
        g_autofree char *place = describe_place(text, kept->line, kept->column);
        error_set(err, VIR_ERR_XML_DETAIL, "%s:%d: %s%s", label, kept->line,
                  kept->message ? kept->message : "not an XML document", place);
}

xmlDoc *xml_document_parse(const char *text, const char *label, GError **err) {
        SyntaxError kept = { 0 };
        gsize length = strlen(text);
        if (length > XML_INPUT_MAX) {
                return error_null(err, VIR_ERR_XML_ERROR, "%s: larger than %u bytes", label, XML_INPUT_MAX);
        }
        xmlParserCtxt *ctxt = xmlNewParserCtxt();
        g_assert(ctxt != NULL);
        ctxt->_private = &kept;
        ctxt->sax->serror = keep_error;
        ctxt->sax->internalSubset = refuse_dtd;
        xmlDoc *doc = xmlCtxtReadMemory(ctxt, text, (int) length, NULL, NULL,
                                        XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        if (doc && (kept.dtd || kept.message || xmlDocGetRootElement(doc) == NULL)) {
                xmlFreeDoc(doc);
                doc = NULL;
        }
        if (!doc)
                set_syntax_error(err, text, label, &kept);
        g_free(kept.message);
        xmlFreeParserCtxt(ctxt);
        return doc;
}

gboolean xml_is(const xmlNode *node, const char *name) {
        return node->type == XML_ELEMENT_NODE && !node->ns && strcmp((const char *) node->name, name) == 0;
}

static xmlNode *find_from(xmlNode *node, const char *name) {
        for (; node; node = node->next)
                if (node->type == XML_ELEMENT_NODE && (!name || xml_is(node, name)))
                        return node;
        return NULL;
}

xmlNode *xml_first(const xmlNode *parent, const char *name) {
        return parent ? find_from(parent->children, name) : NULL;
}

xmlNode *xml_next(const xmlNode *node, const char *name) {
        return find_from(node->next, name);
}

/* Takes over a string of libxml2's. */
static char *take_string(xmlChar *s) {
        char *copy = g_strdup((const char *) s);
        xmlFree(s);
        return copy;
}

char *xml_attr(const xmlNode *node, const char *name) {
        return node ? take_string(xmlGetNoNsProp(node, (const xmlChar *) name)) : NULL;
}

char *xml_text(const xmlNode *node) {
        char *text = node ? take_string(xmlNodeGetContent(node)) : NULL;
        if (text && *text == '\0')
                g_clear_pointer(&text, g_free);
        return text;
}

char *xml_child_text(const xmlNode *parent, const char *name) {
        return xml_text(xml_first(parent, name));
}

char *xml_child_attr(const xmlNode *parent, const char *child, const char *name) {
        return xml_attr(xml_first(parent, child), name);
}

static int number_base(const char *digits) {
        return digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') ? 16 : 10;
}

/* Digits only, white space around them: strtoull() alone would take signs. */
gboolean xml_parse_u64(const char *text, guint64 *ret) {
        GError *ignored = NULL;
        g_autofree char *digits = g_strstrip(g_strdup(text));
        int base = number_base(digits);
        if (g_ascii_string_to_unsigned(base == 16 ? digits + 2 : digits, (guint) base, 0, G_MAXUINT64, ret, &ignored))
                return TRUE;
        g_error_free(ignored);
        return FALSE;
}

gboolean xml_parse_i64(const char *text, gint64 *ret) {
        GError *ignored = NULL;
        g_autofree char *digits = g_strstrip(g_strdup(text));
        if (g_ascii_string_to_signed(digits, 10, G_MININT64, G_MAXINT64, ret, &ignored))
                return TRUE;
        g_error_free(ignored);
        return FALSE;
}

static void set_attr_error(GError **err, const xmlNode *node, const char *name, const char *value, const char *why) {
        error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute '%s' in element '%s': '%s'.%s", name,
                  (const char *) node->name, value, why);
}

gboolean xml_attr_u64(const xmlNode *node, const char *name, guint64 *ret, GError **err) {
        g_autofree char *value = xml_attr(node, name);
        if (!value || xml_parse_u64(value, ret))
                return TRUE;
        set_attr_error(err, node, name, value, " Expected non-negative integer value");
        return FALSE;
}

gboolean xml_attr_uint(const xmlNode *node, const char *name, guint max, guint *ret, GError **err) {
        guint64 value = *ret;
        if (!xml_attr_u64(node, name, &value, err))
                return FALSE;
        if (value > max) {
                return error_set(err, VIR_ERR_XML_ERROR,
                                 "Invalid value for attribute '%s' in element '%s': '%" G_GUINT64_FORMAT
                                 "'. Expected at most %u",
                                 name, (const char *) node->name, value, max);
        }
        *ret = (guint) value;
        return TRUE;
}

gboolean xml_attr_positive(const xmlNode *node, const char *name, guint max, guint *ret, GError **err) {
        if (!xml_attr_uint(node, name, max, ret, err))
                return FALSE;
        if (*ret > 0 || !node || !xmlHasProp(node, (const xmlChar *) name))
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR,
                         "Invalid value for attribute '%s' in element '%s': Zero is not permitted", name,
                         (const char *) node->name);
}

gboolean xml_child_u64(const xmlNode *parent, const char *child, guint64 *ret, GError **err) {
        const xmlNode *node = xml_first(parent, child);
        g_autofree char *text = xml_text(node);
        if (!node || (text && xml_parse_u64(text, ret)))
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR, "Invalid value '%s' for element or attribute './%s'", text ? text : "",
                         child);
}

gboolean xml_attr_bool(const xmlNode *node, const char *name, gboolean *ret, GError **err) {
        static const char *const words[] = { "no", "yes", "off", "on", NULL };
        int word = *ret;
        if (!xml_attr_enum(node, name, words, &word, err))
                return FALSE;
        *ret = (word & 1) != 0;
        return TRUE;
}

int xml_word_index(const char *const *words, const char *text) {
        for (int i = 0; words[i]; i++)
                if (strcmp(words[i], text) == 0)
                        return i;
        return -1;
}

gboolean xml_attr_enum(const xmlNode *node, const char *name, const char *const *words, int *ret, GError **err) {
        g_autofree char *value = xml_attr(node, name);
        if (!value)
                return TRUE;
        int word = xml_word_index(words, value);
        if (word < 0) {
                set_attr_error(err, node, name, value, "");
                return FALSE;
        }
        *ret = word;
        return TRUE;
}

gboolean xml_attr_word(const xmlNode *node, const char *name, const char *const *words, char **ret, GError **err) {
        int word = -1;
        if (!xml_attr_enum(node, name, words, &word, err))
                return FALSE;
        if (word >= 0)
                *ret = g_strdup(words[word]);
        return TRUE;
}

/* The factor of "", "b", "bytes", "K", "KiB", "KB", …; 0: no such unit. */
static guint64 unit_factor(const char *unit, guint64 default_scale) {
        static const char prefixes[] = "kmgtpe";
        if (!unit || *unit == '\0')
                return default_scale;
        if (g_ascii_strcasecmp(unit, "b") == 0 || g_ascii_strcasecmp(unit, "byte") == 0 ||
            g_ascii_strcasecmp(unit, "bytes") == 0)
                return 1;
        const char *prefix = strchr(prefixes, g_ascii_tolower(*unit));
        if (!prefix)
                return 0;
        gboolean binary = unit[1] == '\0' || g_ascii_strcasecmp(unit + 1, "iB") == 0;
        if (!binary && g_ascii_strcasecmp(unit + 1, "B") != 0)
                return 0;
        guint64 factor = 1;
        for (const char *p = prefixes; p <= prefix; p++)
                factor *= binary ? 1024 : 1000;
        return factor;
}

gboolean xml_scale_size(guint64 value, const char *unit, guint64 default_scale, guint64 *ret_bytes, GError **err) {
        guint64 factor = unit_factor(unit, default_scale);
        if (factor == 0) {
                return error_set(err, VIR_ERR_INVALID_ARG, "unknown suffix '%s'", unit);
        }
        if (value > G_MAXINT64 / factor) {
                return error_set(err, VIR_ERR_OVERFLOW, "numerical overflow: value too large: %" G_GUINT64_FORMAT "%s",
                                 value, unit ? unit : "");
        }
        *ret_bytes = value * factor;
        return TRUE;
}

gboolean xml_child_kib(const xmlNode *parent, const char *child, guint64 *ret_kib, GError **err) {
        const xmlNode *node = xml_first(parent, child);
        g_autofree char *unit = xml_attr(node, "unit");
        guint64 value = 0, bytes;
        if (!node)
                return TRUE;
        if (!xml_child_u64(parent, child, &value, err) || !xml_scale_size(value, unit, 1024, &bytes, err))
                return FALSE;
        *ret_kib = bytes / 1024 + (bytes % 1024 != 0);
        return TRUE;
}
