/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the tree is walked once, from the root. Each element and attribute has a path,
 * whose rows are found by bisection; the first row whose conditions hold decides. What is noted or
 * harmless is cut out, so that the parser and the schema see only what is served: neither can disagree
 * with the table.
 *
 * What no row matches is noted and dropped, as libvirt ignores it; under --validate it stays for the
 * schema to refuse. Unknown devices and features are refused: without them the guest would be a
 * different one.
 *
 * Depth is bounded by libxml2. Names and values in notes and errors are a client's and are cut.
 */
#include "conf/xml_verdict.h"

#include <string.h>

#include "conf/domain_def_internal.h"
#include "util/error.h"

#define SHOWN_MAX 64 /* bytes of a name or value in a note: enough for any meaningful one */
#define NAMESPACE "http://libvirt.org/schemas/domain/"

typedef enum Stage { STAGE_DEFINE, STAGE_START } Stage;

typedef struct Walk {
        Stage stage;
        gboolean strict, reject;
        GPtrArray *notes;
        GString *path;         /* of the node at hand */
        const xmlNode *device; /* the child of <devices> that it is in */
} Walk;

/* --- The table ------------------------------------------------------------------------- */

static gsize first_row(const XmlRule *rules, gsize n, const char *path) {
        gsize low = 0, high = n;
        while (low < high) {
                gsize middle = low + (high - low) / 2;
                if (strcmp(rules[middle].path, path) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* Whether `word` is in a list of words. */
static gboolean has_word(const char *words, gsize length, const char *word) {
        gsize word_length = strlen(word);
        for (const char *p = words; p < words + length; p += strspn(p, " ")) {
                gsize n = MIN(strcspn(p, " "), (gsize) (words + length - p));
                if (n == word_length && memcmp(p, word, n) == 0)
                        return TRUE;
                p += n;
        }
        return FALSE;
}

static gboolean condition_holds(const char *when, const xmlNode *node) {
        if (!when)
                return TRUE;
        if (g_str_has_prefix(when, "../")) {
                node = node->parent;
                when += strlen("../");
        }
        const char *words = strchr(when, '=') + 1;
        g_autofree char *name = g_strndup(when, (gsize) (words - when - 1));
        g_autofree char *value = xml_attr(node, name);
        return value && (strcmp(words, "*") == 0 || has_word(words, strlen(words), value));
}

static const XmlRule *find_at(const char *path, const xmlNode *node, const char *value) {
        gsize n;
        const XmlRule *rules = xml_verdict_rules(&n);
        for (gsize i = first_row(rules, n, path); i < n && strcmp(rules[i].path, path) == 0; i++) {
                const char *values = rules[i].values;
                if (condition_holds(rules[i].when, node) &&
                    (!values || (value && has_word(values, strlen(values), value))))
                        return &rules[i];
        }
        return NULL;
}

/* What `values` of a rule is compared with: an element with children has no text of its own. */
static char *value_of(const xmlNode *node, const xmlAttr *attr) {
        if (attr)
                return xml_attr(node, (const char *) attr->name);
        return xml_first(node, NULL) == NULL ? xml_text(node) : NULL;
}

const XmlRule *xml_verdict_find(const char *path, const xmlNode *node, const xmlAttr *attr) {
        g_autofree char *value = value_of(node, attr);
        g_autofree char *full = NULL, *any = NULL;
        if (attr) {
                full = g_strdup_printf("%s%s@%s", path, *path != '\0' ? "/" : "", (const char *) attr->name);
                any = g_strdup_printf("%s%s@*", path, *path != '\0' ? "/" : "");
        } else {
                const char *slash = strrchr(path, '/');
                full = g_strdup(path);
                any = slash ? g_strdup_printf("%.*s/*", (int) (slash - path), path) : g_strdup("*");
        }
        const XmlRule *rule = find_at(full, node, value);
        return rule ? rule : find_at(any, node, value);
}

/* What no row matches. */
static const XmlRule *judge_unknown(const Walk *walk, const char *path, const xmlAttr *attr) {
        static const XmlRule left = { "", NULL, NULL, XML_SERVED, NULL };
        static const XmlRule noted = { "", NULL, NULL, XML_NOTED, "not known to virtmicro" };
        static const XmlRule refused = { "", NULL, NULL, XML_REFUSED, "not known to virtmicro: remove it" };
        if (walk->strict)
                return &left;
        gboolean may_matter = g_str_has_prefix(path, "devices/") || g_str_has_prefix(path, "features/");
        return may_matter && !attr && strchr(strchr(path, '/') + 1, '/') == NULL ? &refused : &noted;
}

static const XmlRule *find(const Walk *walk, const xmlNode *node, const xmlAttr *attr) {
        const XmlRule *rule = xml_verdict_find(walk->path->str, node, attr);
        return rule ? rule : judge_unknown(walk, walk->path->str, attr);
}

/* --- Words ------------------------------------------------------------------------------- */

/* A client's text, truncated and made fit for one line. */
static char *shown(const char *text) {
        const char *end = NULL;
        gsize length = MIN(strlen(text), SHOWN_MAX);
        (void) g_utf8_validate(text, (gssize) length, &end);
        char *copy = g_strndup(text, (gsize) (end - text));
        return g_strdelimit(copy, "\n\t\r", ' ');
}

static void append_tag(GString *text, const xmlNode *node, const char *attr_name, const char *value) {
        g_autofree char *name = shown((const char *) node->name);
        g_string_append_printf(text, "<%s", name);
        if (attr_name) {
                g_autofree char *attr = shown(attr_name), *cut = shown(value);
                g_string_append_printf(text, " %s='%s'", attr, cut);
        }
        g_string_append_c(text, '>');
}

/* "disk 'vda': ", "interface 52:54:00:…: "; devices without a name are shown by their element. */
static void append_device(GString *text, const xmlNode *device) {
        g_autofree char *target = xml_is(device, "disk") ? xml_child_attr(device, "target", "dev") : NULL;
        g_autofree char *mac = xml_is(device, "interface") ? xml_child_attr(device, "mac", "address") : NULL;
        g_autofree char *name = shown(target ? target : mac ? mac : "");
        if (target)
                g_string_append_printf(text, "disk '%s': ", name);
        else if (mac)
                g_string_append_printf(text, "interface %s: ", name);
}

static void append_parents(GString *text, const xmlNode *node, const xmlNode *device) {
        const xmlNode *parent = node->parent;
        if (!parent || parent->type != XML_ELEMENT_NODE || !parent->parent ||
            parent->parent->type != XML_ELEMENT_NODE || node == device || parent == device ||
            (!device && xml_is(parent, "devices")))
                return;
        append_parents(text, parent, device);
        append_tag(text, parent, NULL, NULL);
}

/* What a rule matched, as it stands in the XML: "disk 'vda': <driver queues='4'>", "<os><type>exe". */
static char *describe(const Walk *walk, const XmlRule *rule, const xmlNode *node, const xmlAttr *attr) {
        GString *text = g_string_new(NULL);
        g_autofree char *name = attr ? g_strdup((const char *) attr->name) : NULL;
        if (!attr && rule->when)
                name = g_strndup(rule->when, strcspn(rule->when, "="));
        g_autofree char *value = name ? xml_attr(node, name) : NULL;
        if (walk->device && walk->device != node)
                append_device(text, walk->device);
        else if (walk->device && name)
                append_device(text, node);
        append_parents(text, node, walk->device);
        append_tag(text, node, value ? name : NULL, value);
        g_autofree char *words = !attr && rule->values ? xml_text(node) : NULL;
        g_autofree char *cut = shown(words ? words : "");
        g_string_append(text, cut);
        return g_string_free(text, FALSE);
}

static void add_note(const Walk *walk, char *text) {
        gboolean known = FALSE;
        for (guint i = 0; i < walk->notes->len && !known; i++)
                known = strcmp(g_ptr_array_index(walk->notes, i), text) == 0;
        if (!known && walk->notes->len < DOMAIN_NOTES_MAX)
                g_ptr_array_add(walk->notes, text);
        else
                g_free(text);
}

/* --- The walk ------------------------------------------------------------------------------ */

static gboolean refuse(const char *what, const XmlRule *rule, GError **err) {
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s is not supported: %s", what, rule->sentence);
}

static gboolean note(const Walk *walk, const char *what, const XmlRule *rule, GError **err) {
        if (walk->reject)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s is not supported (%s): remove it", what,
                                 rule->sentence);
        add_note(walk, g_strdup_printf("%s left out: %s", what, rule->sentence));
        return TRUE;
}

static gboolean stays(XmlVerdict verdict) {
        return verdict != XML_HARMLESS && verdict != XML_NOTED && verdict != XML_REFUSED;
}

static gboolean judge(const Walk *walk, const XmlRule *rule, const xmlNode *node, const xmlAttr *attr, GError **err) {
        gboolean starts = walk->stage == STAGE_START;
        XmlVerdict verdict = rule->verdict;
        gboolean refused = verdict == XML_REFUSED || (verdict == XML_REFUSED_AT_START && starts);
        if (!refused && (starts || verdict != XML_NOTED))
                return TRUE;
        g_autofree char *what = describe(walk, rule, node, attr);
        return refused ? refuse(what, rule, err) : note(walk, what, rule, err);
}

static gboolean walk_attributes(Walk *walk, xmlNode *node, GError **err) {
        xmlAttr *next;
        for (xmlAttr *attr = node->properties; attr; attr = next) {
                next = attr->next;
                if (attr->ns)
                        continue;
                const XmlRule *rule = find(walk, node, attr);
                if (!judge(walk, rule, node, attr, err))
                        return FALSE;
                if (!stays(rule->verdict))
                        xmlRemoveProp(attr);
        }
        return TRUE;
}

/* "name", or "qemu:name" for what belongs to another driver of libvirt's. */
static void append_component(GString *path, const xmlNode *node) {
        if (path->len > 0)
                g_string_append_c(path, '/');
        if (node->ns && g_str_has_prefix((const char *) node->ns->href, NAMESPACE)) {
                const char *driver = (const char *) node->ns->href + strlen(NAMESPACE);
                g_string_append_printf(path, "%.*s:", (int) strcspn(driver, "/"), driver);
        } else if (node->ns) {
                g_string_append(path, "?:");
        }
        g_string_append(path, (const char *) node->name);
}

/* *ret_stays: whether it is left in the tree. */
static gboolean walk_element(Walk *walk, xmlNode *node, gboolean *ret_stays, GError **err);

static gboolean walk_children(Walk *walk, xmlNode *parent, GError **err) {
        gboolean devices = strcmp(walk->path->str, "devices") == 0;
        gsize length = walk->path->len;
        xmlNode *next;
        for (xmlNode *node = xml_first(parent, NULL); node; node = next) {
                gboolean left = TRUE;
                next = xml_next(node, NULL);
                if (devices)
                        walk->device = node;
                append_component(walk->path, node);
                gboolean ok = walk_element(walk, node, &left, err);
                g_string_truncate(walk->path, length);
                if (devices)
                        walk->device = NULL;
                if (!ok)
                        return FALSE;
                if (!left) {
                        xmlUnlinkNode(node);
                        xmlFreeNode(node);
                }
        }
        return TRUE;
}

static gboolean walk_element(Walk *walk, xmlNode *node, gboolean *ret_stays, GError **err) {
        const XmlRule *rule = find(walk, node, NULL);
        if (!judge(walk, rule, node, NULL, err))
                return FALSE;
        *ret_stays = stays(rule->verdict);
        if (!*ret_stays || *rule->path == '\0' || g_str_has_suffix(rule->path, "*"))
                return TRUE;
        if (!walk_attributes(walk, node, err) || !walk_children(walk, node, err))
                return FALSE;
        *ret_stays = rule->verdict != XML_CONTAINER || xml_first(node, NULL) != NULL || node->properties;
        return TRUE;
}

static gboolean walk_domain(Walk *walk, xmlNode *domain, GError **err) {
        walk->path = g_string_new(NULL);
        gboolean ok = walk_attributes(walk, domain, err) && walk_children(walk, domain, err);
        g_string_free(walk->path, TRUE);
        return ok;
}

gboolean xml_verdict_define(xmlNode *domain, gboolean strict, gboolean reject, GPtrArray *notes, GError **err) {
        Walk walk = { .stage = STAGE_DEFINE, .strict = strict, .reject = reject, .notes = notes };
        return walk_domain(&walk, domain, err);
}

gboolean xml_verdict_start(xmlNode *domain, GError **err) {
        Walk walk = { .stage = STAGE_START };
        return walk_domain(&walk, domain, err);
}
