/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of verdicts against libvirt's schema: domain_documents.py makes a document for each element, attribute and
 * listed value that libvirt knows, and each document goes the way of a definition: define, define with --validate,
 * define with legacy_devices=reject, the check that start makes. What happens has to be what the table says, and the
 * table has to say something.
 *
 * Usage: domain_documents.py SCHEMA test-verdict SCHEMA. The control shows that each of the checks can fail.
 */
#include <glib.h>
#include <libxml/relaxng.h>
#include <stdio.h>
#include <string.h>

#include "conf/vmm_config.h"
#include "conf/xml_verdict.h"
#include "util/error.h"

typedef struct Expectation {
        XmlVerdict verdict;   /* the strictest of all that is in the document */
        GPtrArray *sentences; /* const char*: of the rules with that verdict */
        char *unknown;        /* the path of something without a verdict; NULL: none */
} Expectation;

typedef struct Document {
        char *path, *value, *xml;
} Document;

static int rank(XmlVerdict verdict) {
        static const XmlVerdict order[] = { XML_SERVED, XML_CONTAINER,        XML_HARMLESS, XML_CONVERTED,
                                            XML_NOTED,  XML_REFUSED_AT_START, XML_REFUSED };
        for (gsize i = 0; i < G_N_ELEMENTS(order); i++)
                if (order[i] == verdict)
                        return i < 3 ? 0 : (int) i;
        g_assert_not_reached();
}

static void expect(Expectation *e, const XmlRule *rule, const char *path) {
        if (rule == NULL) {
                if (e->unknown == NULL)
                        e->unknown = g_strdup(path);
                return;
        }
        if (rank(rule->verdict) > rank(e->verdict)) {
                e->verdict = rule->verdict;
                g_ptr_array_set_size(e->sentences, 0);
        }
        if (rank(rule->verdict) == rank(e->verdict) && rule->sentence != NULL)
                g_ptr_array_add(e->sentences, (gpointer) rule->sentence);
}

static gboolean is_open(const XmlRule *rule) {
        return rule != NULL && !g_str_has_suffix(rule->path, "*") &&
               (rule->verdict == XML_SERVED || rule->verdict == XML_CONVERTED || rule->verdict == XML_CONTAINER ||
                rule->verdict == XML_REFUSED_AT_START);
}

static char *path_of(const char *parent, const xmlNode *node) {
        const char *start = node->ns != NULL ? strstr((const char *) node->ns->href, "/domain/") : NULL;
        g_autofree char *driver = start != NULL ? g_strndup(start + 8, strcspn(start + 8, "/")) : NULL;
        return g_strdup_printf("%s%s%s%s%s", parent, *parent != '\0' ? "/" : "", driver != NULL ? driver : "",
                               driver != NULL ? ":" : "", (const char *) node->name);
}

/* What the table says of everything in the tree. */
static void collect(Expectation *e, const xmlNode *node, const char *path) {
        for (xmlAttr *attr = node->properties; attr != NULL; attr = attr->next)
                expect(e, xml_verdict_find(path, node, attr), path);
        XML_FOREACH (child, node, NULL) {
                g_autofree char *inner = path_of(path, child);
                const XmlRule *rule = xml_verdict_find(inner, child, NULL);
                expect(e, rule, inner);
                if (is_open(rule))
                        collect(e, child, inner);
        }
}

static gboolean tells_why(const Expectation *e, const char *text) {
        for (guint i = 0; i < e->sentences->len; i++)
                if (strstr(text, g_ptr_array_index(e->sentences, i)) != NULL)
                        return TRUE;
        return FALSE;
}

/* Whether what `path` names, with the value, is in a document. */
static gboolean has_path(const xmlNode *node, const char *path, const char *value) {
        gsize length = strcspn(path, "/");
        g_autofree char *name = g_strndup(path, length);
        if (*name == '@') {
                g_autofree char *text = xml_attr(node, name + 1);
                return g_strcmp0(text, value) == 0;
        }
        XML_FOREACH (child, node, name) {
                g_autofree char *text = xml_text(child);
                if (path[length] == '\0' ? *value == '\0' || g_strcmp0(text, value) == 0
                                         : has_path(child, path + length + 1, value))
                        return TRUE;
        }
        return FALSE;
}

/* Served things that are not read back as they were given. */
static gboolean is_rewritten(const Document *d) {
        static const char *const defaults[] = { /* are not shown */
                                                "devices/disk/driver/@cache=default",
                                                "devices/interface/link/@state=up",
                                                "devices/interface/port=",
                                                "devices/interface/port/@isolated=no",
                                                "devices/serial/source/@append=off",
                                                "devices/console/source/@append=off",
                                                "devices/channel/source/@append=off",
                                                "devices/interface/target/@managed=yes",
                                                "devices/rng/backend/@model=builtin",
                                                "devices/rng/@model=virtio-transitional",
                                                "devices/rng/@model=virtio-non-transitional",
                                                "devices/vsock/@model=virtio-transitional",
                                                "devices/vsock/@model=virtio-non-transitional",
                                                NULL
        };
        static const char *const paths[] = { "currentMemory/@unit", "memory/@unit",
                                             "memoryBacking/hugepages/page/@unit", /* in KiB */
                                             "memtune/hard_limit/@unit", "memtune/min_guarantee/@unit",
                                             "memtune/soft_limit/@unit", "memtune/swap_hard_limit/@unit",
                                             /* containers that are left out when they are empty */
                                             "blkiotune", "cpu", "cputune", "devices/disk/driver",
                                             "devices/interface/bandwidth", "devices/interface/link", "features",
                                             "memoryBacking", "memtune", "metadata", NULL };
        g_autofree char *with_value = g_strdup_printf("%s=%s", d->path, d->value);
        return xml_word_index(paths, d->path) >= 0 || xml_word_index(defaults, with_value) >= 0;
}

static char *check_served(const Document *d, const DomainDef *def) {
        g_autofree char *text = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_autoptr(xmlDoc) doc = xml_document_parse(text, "formatted", NULL);
        if (is_rewritten(d) || has_path(xmlDocGetRootElement(doc), d->path, d->value))
                return NULL;
        return g_strdup_printf("is served, but the definition has lost it");
}

/* The behaviour of define and start; NULL: as expected. */
static char *check(const Document *d, const Expectation *e, gboolean target_served) {
        g_autoptr(GError) err = NULL, strict_err = NULL, reject_err = NULL, start_err = NULL;
        g_autoptr(DomainDef) def = domain_def_parse(d->xml, 0, SCHEMA_DIR, &err);
        g_autoptr(DomainDef) strict = domain_def_parse(d->xml, DOMAIN_PARSE_VALIDATE, SCHEMA_DIR, &strict_err);
        g_autoptr(DomainDef) reject = domain_def_parse(d->xml, DOMAIN_PARSE_REJECT_LEGACY, SCHEMA_DIR, &reject_err);
        if (e->unknown != NULL)
                return g_strdup_printf("no verdict for %s", e->unknown);
        if ((def != NULL) != (strict != NULL))
                return g_strdup_printf("define and --validate differ: %s", (err ? err : strict_err)->message);
        if (e->verdict == XML_REFUSED) {
                if (def != NULL || reject != NULL || error_code(err) != VIR_ERR_CONFIG_UNSUPPORTED ||
                    !tells_why(e, err->message))
                        return g_strdup_printf("is not refused: %s", err ? err->message : "defined");
                return NULL;
        }
        if (def == NULL)
                return g_strdup_printf("is refused: %s", err->message);
        gboolean noted = def->notes->len > 0;
        gboolean starts = domain_def_check_startable(def, &start_err);
        if (noted == (reject != NULL))
                return g_strdup_printf("%s in reject mode", noted ? "is accepted" : reject_err->message);
        if (starts == (e->verdict == XML_REFUSED_AT_START) || (!starts && !tells_why(e, start_err->message)))
                return g_strdup_printf("start: %s", starts ? "accepted" : start_err->message);
        if (e->verdict == XML_REFUSED_AT_START)
                return NULL;
        if (noted != (e->verdict == XML_NOTED || e->verdict == XML_CONVERTED))
                return g_strdup_printf("note: %s", noted ? (char *) def->notes->pdata[0] : "none");
        return target_served ? check_served(d, def) : NULL;
}

/* Whether all on the way to the target, and it, is served. */
static gboolean is_served(const Document *d, const xmlNode *root) {
        g_auto(GStrv) parts = g_strsplit(d->path, "/", -1);
        const xmlNode *node = root;
        GString *path = g_string_new(NULL);
        gboolean served = TRUE;
        for (char **part = parts; *part != NULL && served; part++) {
                const XmlRule *rule;
                if (**part == '@') {
                        xmlAttr *attr = xmlHasProp(node, (const xmlChar *) *part + 1);
                        rule = attr != NULL ? xml_verdict_find(path->str, node, attr) : NULL;
                } else {
                        node = xml_first(node, *part);
                        g_string_append_printf(path, "%s%s", path->len > 0 ? "/" : "", *part);
                        rule = node != NULL ? xml_verdict_find(path->str, node, NULL) : NULL;
                }
                served = rule != NULL && rule->verdict == XML_SERVED;
        }
        g_string_free(path, TRUE);
        return served;
}

static char *check_document(const Document *d, xmlRelaxNGValidCtxt *valid) {
        g_autoptr(xmlDoc) doc = xml_document_parse(d->xml, d->path, NULL);
        Expectation e = { .verdict = XML_SERVED, .sentences = g_ptr_array_new() };
        char *problem = NULL;
        g_assert_nonnull(doc);
        if (valid != NULL && xmlRelaxNGValidateDoc(valid, doc) != 0)
                problem = g_strdup("libvirt's own schema refuses the document");
        collect(&e, xmlDocGetRootElement(doc), "");
        if (problem == NULL)
                problem = check(d, &e, is_served(d, xmlDocGetRootElement(doc)));
        g_ptr_array_unref(e.sentences);
        g_free(e.unknown);
        return problem;
}

static GArray *read_documents(void) {
        g_autofree char *data = NULL;
        gsize length = 0;
        GArray *documents = g_array_new(FALSE, FALSE, sizeof(Document));
        GIOChannel *input = g_io_channel_unix_new(0);
        g_io_channel_set_encoding(input, NULL, NULL);
        g_assert_cmpint(g_io_channel_read_to_end(input, &data, &length, NULL), ==, G_IO_STATUS_NORMAL);
        g_io_channel_unref(input);
        for (const char *p = data; p < data + length;) {
                Document d = { g_strdup(p), g_strdup(p + strlen(p) + 1), NULL };
                p += strlen(d.path) + strlen(d.value) + 2;
                d.xml = g_strdup(p);
                p += strlen(d.xml) + 1;
                g_array_append_val(documents, d);
        }
        return documents;
}

static void ignore_error(void *data, xmlErrorPtr error) {
}

static void test_libvirt_schema(gconstpointer data) {
        GArray *documents = read_documents();
        xmlRelaxNGParserCtxt *parser = xmlRelaxNGNewParserCtxt(data);
        xmlRelaxNG *schema = xmlRelaxNGParse(parser);
        xmlRelaxNGValidCtxt *valid = xmlRelaxNGNewValidCtxt(schema);
        xmlRelaxNGSetValidStructuredErrors(valid, ignore_error, NULL);
        guint wrong = 0;
        for (guint i = 0; i < documents->len; i++) {
                Document *d = &g_array_index(documents, Document, i);
                g_autofree char *problem = check_document(d, valid);
                if (problem != NULL) {
                        wrong++;
                        g_autofree char *shown = g_strescape(problem, NULL);
                        g_test_message("%s='%s' %s", d->path, d->value, shown);
                }
                g_free(d->path);
                g_free(d->value);
                g_free(d->xml);
        }
        g_test_message("%u documents", documents->len);
        g_assert_cmpuint(documents->len, >, 3000);
        g_assert_cmpuint(wrong, ==, 0);
        xmlRelaxNGFreeValidCtxt(valid);
        xmlRelaxNGFree(schema);
        xmlRelaxNGFreeParserCtxt(parser);
        g_array_unref(documents);
}

/* The order that the search relies on, and words where an operator needs them. */
static void test_table(void) {
        gsize n;
        const XmlRule *rules = xml_verdict_rules(&n);
        for (gsize i = 0; i < n; i++) {
                const XmlRule *rule = &rules[i];
                g_assert_true(i == 0 || strcmp(rules[i - 1].path, rule->path) <= 0);
                g_assert_true(rule->when == NULL || strchr(rule->when, '=') != NULL);
                g_assert_true(rule->sentence != NULL || rank(rule->verdict) == 0);
                /* Rows after one without conditions are never reached. */
                g_assert_true(i == 0 || strcmp(rules[i - 1].path, rule->path) != 0 || rules[i - 1].when != NULL ||
                              rules[i - 1].values != NULL);
        }
}

/* Each check fails when the table contradicts what happens. */
static void test_control(void) {
#define WITH(x)                                                                                                        \
        "<domain type='kvm'><name>x</name><memory>65536</memory><os><type>hvm</type><kernel>/k</kernel></os>" x        \
        "</domain>"
        static const struct {
                const char *xml, *path, *value;
                XmlVerdict claimed;
                const char *problem;
        } cases[] = {
                { WITH("<genid/>"), "genid", "", XML_SERVED, "is refused: " },
                { WITH("<genid/>"), "genid", "", XML_NOTED, "is refused: " },
                { WITH("<iothreads>2</iothreads>"), "iothreads", "2", XML_SERVED, "note: <iothreads>" },
                { WITH("<iothreads>2</iothreads>"), "iothreads", "2", XML_REFUSED, "is not refused" },
                { WITH("<iothreads>2</iothreads>"), "iothreads", "2", XML_REFUSED_AT_START, "start: accepted" },
                { WITH("<title>t</title>"), "title", "t", XML_NOTED, "note: none" },
                { WITH("<title>t</title>"), "title", "other", XML_SERVED, "has lost it" },
                { WITH("<pm/>"), "pm", "", XML_SERVED, "has lost it" },
                { WITH("<numatune><memory mode='preferred' nodeset='0'/></numatune>"), "numatune", "", XML_SERVED,
                  "start: " },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                const Document d = { (char *) cases[i].path, (char *) cases[i].value, (char *) cases[i].xml };
                g_autoptr(GPtrArray) sentences = g_ptr_array_new();
                const Expectation e = { .verdict = cases[i].claimed, .sentences = sentences };
                g_autofree char *problem = check(&d, &e, cases[i].claimed == XML_SERVED);
                g_test_message("%s: %s", d.path, problem != NULL ? problem : "no problem");
                g_assert_nonnull(problem);
                g_assert_nonnull(strstr(problem, cases[i].problem));
        }
        const Document unknown = { (char *) "frobnicate", (char *) "", (char *) WITH("<frobnicate/>") };
        g_autofree char *problem = check_document(&unknown, NULL);
        g_assert_cmpstr(problem, ==, "no verdict for frobnicate");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_assert_cmpint(argc, ==, 2);
        g_test_add_func("/verdict/table", test_table);
        g_test_add_func("/verdict/control", test_control);
        g_test_add_data_func("/verdict/libvirt-schema", argv[1], test_libvirt_schema);
        return g_test_run();
}
