/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: applications keep elements of their own namespaces in <metadata>,
 * one per namespace, which the daemon does not interpret. They are kept as text,
 * formatted once at the indentation that they have in a domain, so that further reading
 * and writing does not change them.
 *
 * Clients give and get such an element without its namespace: setting puts the namespace
 * on every element that has none, getting removes it.
 */
#include <libvirt/libvirt.h>
#include <libxml/tree.h>
#include <string.h>

#include "conf/domain_parse.h"
#include "conf/xml_write.h"
#include "util/error.h"

#define INDENT_LEVEL 1 /* of <metadata> in <domain> */
#define SETTLE_MAX   4 /* rounds of reading and writing */

static char *dump_node(xmlDoc *doc, xmlNode *node, int level) {
        xmlBuffer *buffer = xmlBufferCreate();
        g_assert(buffer != NULL);
        xmlNodeDump(buffer, doc, node, level, 1);
        char *text = g_strdup((const char *) xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        return text;
}

static xmlDoc *new_document(const char *root) {
        xmlDoc *doc = xmlNewDoc((const xmlChar *) "1.0");
        doc->encoding = xmlStrdup((const xmlChar *) "UTF-8"); /* else text is dumped as ASCII with references */
        xmlDocSetRootElement(doc, xmlNewDocNode(doc, NULL, (const xmlChar *) root, NULL));
        return doc;
}

/* What is between the tags of <metadata>…</metadata>; NULL: <metadata/>. */
static char *dump_metadata(xmlDoc *doc) {
        g_autofree char *text = dump_node(doc, xmlDocGetRootElement(doc), INDENT_LEVEL);
        char *first = strchr(text, '>'), *last = strrchr(text, '<');
        return first && last > first ? g_strndup(first + 1, (gsize) (last - first - 1)) : NULL;
}

/* The stored text as a document again. */
static xmlDoc *load_metadata(const char *metadata, GError **err) {
        g_autofree char *text = g_strdup_printf("<metadata>%s</metadata>", metadata ? metadata : "");
        xmlDoc *doc = xml_document_parse(text, "(metadata)", err);
        if (doc && !doc->encoding)
                doc->encoding = xmlStrdup((const xmlChar *) "UTF-8");
        return doc;
}

/*
 * Text that no longer changes when it is read and written. One round is not always enough: white space that was
 * written as a character reference counts as text the first time and as indentation the second.
 */
static gboolean settle_metadata(xmlDoc *doc, char **ret, GError **err) {
        g_autofree char *text = dump_metadata(doc);
        for (unsigned i = 0; i < SETTLE_MAX && text; i++) {
                g_autoptr(xmlDoc) again = load_metadata(text, err);
                if (!again)
                        return FALSE;
                g_autofree char *before = g_steal_pointer(&text);
                text = dump_metadata(again);
                if (g_strcmp0(before, text) == 0)
                        break;
        }
        g_free(*ret);
        *ret = g_steal_pointer(&text);
        return TRUE;
}

gboolean domain_metadata_from_xml(const xmlNode *metadata, char **ret, GError **err) {
        if (!metadata || !metadata->children)
                return TRUE;
        g_autoptr(xmlDoc) doc = new_document("metadata");
        for (xmlNode *child = metadata->children; child; child = child->next)
                xmlAddChild(xmlDocGetRootElement(doc), xmlDocCopyNode(child, doc, 1));
        return settle_metadata(doc, ret, err);
}

static xmlNode *find_namespace(xmlDoc *doc, const char *uri) {
        XML_FOREACH (node, xmlDocGetRootElement(doc), NULL)
                if (node->ns && strcmp((const char *) node->ns->href, uri) == 0)
                        return node;
        return NULL;
}

static void add_namespace(xmlNode *node, xmlNs *ns) {
        if (!node->ns)
                xmlSetNs(node, ns);
        XML_FOREACH (child, node, NULL)
                add_namespace(child, ns);
}

/* Removes the namespace from the elements, and its declarations. */
static void strip_namespace(xmlNode *node, const char *uri) {
        if (node->ns && strcmp((const char *) node->ns->href, uri) == 0)
                node->ns = NULL;
        XML_FOREACH (child, node, NULL)
                strip_namespace(child, uri);
        for (xmlNs **link = &node->nsDef; *link;) {
                xmlNs *ns = *link;
                if (strcmp((const char *) ns->href, uri) != 0) {
                        link = &ns->next;
                        continue;
                }
                *link = ns->next;
                xmlFreeNs(ns);
        }
}

/* An attribute that carries the namespace keeps its declaration needed. */
static gboolean has_attribute_in(const xmlNode *node, const char *uri) {
        for (const xmlAttr *attr = node->properties; attr; attr = attr->next)
                if (attr->ns && strcmp((const char *) attr->ns->href, uri) == 0)
                        return TRUE;
        XML_FOREACH (child, node, NULL)
                if (has_attribute_in(child, uri))
                        return TRUE;
        return FALSE;
}

/* The client's element, in its namespace, as a child of `root`. */
static gboolean insert_element(xmlDoc *doc, const char *metadata, const char *key, const char *uri, GError **err) {
        g_autoptr(xmlDoc) given = xml_document_parse(metadata, "(metadata_xml)", err);
        if (!given)
                return FALSE;
        if (!key || xmlValidateNCName((const xmlChar *) key, 0) != 0) {
                return error_set(err, VIR_ERR_INVALID_ARG, "'%s' cannot be the prefix of a namespace", key ? key : "");
        }
        xmlNode *node = xmlDocCopyNode(xmlDocGetRootElement(given), doc, 1);
        xmlNs *ns = xmlNewNs(node, (const xmlChar *) uri, (const xmlChar *) key);
        if (!ns) {
                xmlFreeNode(node);
                return error_set(err, VIR_ERR_INVALID_ARG, "prefix '%s' is in use in the element", key);
        }
        add_namespace(node, ns);
        xmlAddChild(xmlDocGetRootElement(doc), node);
        return TRUE;
}

static gboolean set_element(DomainDef *def, const char *metadata, const char *key, const char *uri, GError **err) {
        g_autoptr(xmlDoc) doc = load_metadata(def->metadata, err);
        if (!doc)
                return FALSE;
        xmlNode *old = find_namespace(doc, uri);
        if (old) {
                xmlUnlinkNode(old);
                xmlFreeNode(old);
        }
        if (metadata && !insert_element(doc, metadata, key, uri, err))
                return FALSE;
        return settle_metadata(doc, &def->metadata, err);
}

static gboolean set_text(char **text, const char *with, GError **err) {
        g_autofree char *clean = with ? xml_clean_text(with) : NULL;
        if (with && !clean) {
                return error_set(err, VIR_ERR_INVALID_ARG, "the text is not UTF-8");
        }
        g_free(*text);
        *text = clean && *clean != '\0' ? g_steal_pointer(&clean) : NULL;
        return TRUE;
}

static gboolean set_any(DomainDef *def, int type, const char *metadata, const char *key, const char *uri,
                        GError **err) {
        switch (type) {
        case VIR_DOMAIN_METADATA_DESCRIPTION:
                return set_text(&def->description, metadata, err);
        case VIR_DOMAIN_METADATA_TITLE:
                if (metadata && strchr(metadata, '\n') != NULL) {
                        return error_set(err, VIR_ERR_XML_ERROR, "Domain title can't contain newlines");
                }
                return set_text(&def->title, metadata, err);
        case VIR_DOMAIN_METADATA_ELEMENT:
                if (!uri || *uri == '\0') {
                        return error_set(err, VIR_ERR_INVALID_ARG, "a namespace URI is needed for a metadata element");
                }
                return set_element(def, metadata, key, uri, err);
        default:
                return error_set(err, VIR_ERR_INVALID_ARG, "unknown metadata type");
        }
}

static void swap_texts(DomainDef *a, DomainDef *b) {
        char *title = a->title, *description = a->description, *metadata = a->metadata;
        a->title = b->title, a->description = b->description, a->metadata = b->metadata;
        b->title = title, b->description = description, b->metadata = metadata;
}

/* Works on a copy: if the text makes the definition too large, nothing changes. */
gboolean domain_def_set_metadata(DomainDef *def, int type, const char *metadata, const char *key, const char *uri,
                                 GError **err) {
        g_autoptr(DomainDef) copy = domain_def_copy(def);
        if (!set_any(copy, type, metadata, key, uri, err) || !domain_check_size(copy, err))
                return FALSE;
        swap_texts(def, copy);
        return TRUE;
}

static char *get_element(const DomainDef *def, const char *uri, GError **err) {
        g_autoptr(xmlDoc) doc = load_metadata(def->metadata, err);
        xmlNode *node = doc && uri ? find_namespace(doc, uri) : NULL;
        if (!node)
                return NULL;
        if (!has_attribute_in(node, uri))
                strip_namespace(node, uri);
        return dump_node(doc, node, 0);
}

char *domain_def_get_metadata(const DomainDef *def, int type, const char *uri, GError **err) {
        GError *local = NULL;
        char *text = NULL;
        if (type == VIR_DOMAIN_METADATA_DESCRIPTION)
                text = g_strdup(def->description);
        else if (type == VIR_DOMAIN_METADATA_TITLE)
                text = g_strdup(def->title);
        else if (type == VIR_DOMAIN_METADATA_ELEMENT)
                text = get_element(def, uri, &local);
        else
                error_set(&local, VIR_ERR_INVALID_ARG, "unknown metadata type");
        if (local)
                g_propagate_error(err, local);
        else if (!text)
                error_set(err, VIR_ERR_NO_DOMAIN_METADATA, "Requested metadata element is not present");
        return text;
}
