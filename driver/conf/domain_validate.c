/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: two checks at the two ends of parsing. The schema sees the text as
 * it came and knows every element that has a meaning here; as in libvirt, this check runs
 * only when a client asks for it. The definition as a whole is always checked: names that
 * must differ, and the limits of the monitor.
 */
#include "conf/domain_parse.h"

#include <libxml/relaxng.h>
#include <string.h>

#include "util/error.h"

#define LIVE_ROOM (64u * 1024u) /* aliases and paths of at most 49 devices */

typedef struct SchemaError {
        char *text; /* the first complaint: later ones follow from it */
        int line;
        char *element; /* of the last one, which is nearest to the cause */
} SchemaError;

static void schema_error_clear(SchemaError *kept) {
        g_clear_pointer(&kept->text, g_free);
        g_clear_pointer(&kept->element, g_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SchemaError, schema_error_clear)

static void keep_schema_error(void *data, xmlErrorPtr error) {
        SchemaError *kept = data;
        const xmlNode *node = error->node;
        if (node && node->type == XML_ELEMENT_NODE) {
                g_free(kept->element);
                kept->element = g_strdup((const char *) node->name);
        }
        if (kept->text || !error->message)
                return;
        kept->text = g_strstrip(g_strdup(error->message));
        kept->line = error->line;
}

static xmlRelaxNG *load_schema(const char *path, SchemaError *kept, GError **err) {
        xmlRelaxNGParserCtxt *ctxt = xmlRelaxNGNewParserCtxt(path);
        xmlRelaxNG *schema = NULL;
        if (ctxt) {
                xmlRelaxNGSetParserStructuredErrors(ctxt, keep_schema_error, kept);
                schema = xmlRelaxNGParse(ctxt);
                xmlRelaxNGFreeParserCtxt(ctxt);
        }
        if (!schema)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "Unable to parse RNG %s: %s", path,
                          kept->text ? kept->text : "out of memory");
        return schema;
}

static gboolean validate_locked(xmlDoc *doc, const char *schema_dir, GError **err) {
        g_auto(SchemaError) kept = { 0 };
        g_autofree char *path = g_build_filename(schema_dir ? schema_dir : ".", "domain.rng", NULL);
        xmlRelaxNG *schema = load_schema(path, &kept, err);
        if (!schema)
                return FALSE;
        xmlRelaxNGValidCtxt *valid = xmlRelaxNGNewValidCtxt(schema);
        xmlRelaxNGSetValidStructuredErrors(valid, keep_schema_error, &kept);
        int result = xmlRelaxNGValidateDoc(valid, doc);
        xmlRelaxNGFreeValidCtxt(valid);
        xmlRelaxNGFree(schema);
        if (result != 0)
                error_set(err, VIR_ERR_XML_INVALID_SCHEMA, "%s: line %d, at or before <%s>: %s", path, kept.line,
                          kept.element ? kept.element : "domain", kept.text ? kept.text : "invalid");
        return result == 0;
}

/* libxml2 sets up its data types on the first use of a schema, and does that without a lock of its own. */
gboolean domain_validate_schema(xmlDoc *doc, const char *schema_dir, GError **err) {
        static GMutex mutex;
        g_mutex_lock(&mutex);
        gboolean ok = validate_locked(doc, schema_dir, err);
        g_mutex_unlock(&mutex);
        return ok;
}

static gboolean check_count(const char *what, guint n, guint max, GError **err) {
        if (n <= max)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%u %s are more than the limit of %u", n, what, max);
}

static gboolean add_boot_order(GHashTable *seen, guint order, GError **err) {
        if (order == 0 || g_hash_table_add(seen, GUINT_TO_POINTER(order)))
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "boot order '%u' used for more than one device", order);
}

static gboolean check_boot_orders(const DomainDef *def, GError **err) {
        g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
        for (guint i = 0; i < def->disks->len; i++)
                if (!add_boot_order(seen, ((DomainDisk *) g_ptr_array_index(def->disks, i))->boot_order, err))
                        return FALSE;
        for (guint i = 0; i < def->nics->len; i++)
                if (!add_boot_order(seen, ((DomainNic *) g_ptr_array_index(def->nics, i))->boot_order, err))
                        return FALSE;
        return TRUE;
}

static gboolean add_alias(GHashTable *seen, const char *alias, GError **err) {
        if (!alias || g_hash_table_add(seen, (gpointer) alias))
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR, "non unique alias detected: %s", alias);
}

static gboolean check_aliases(const DomainDef *def, GError **err) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        for (guint i = 0; i < def->disks->len; i++)
                if (!add_alias(seen, ((DomainDisk *) g_ptr_array_index(def->disks, i))->alias, err))
                        return FALSE;
        for (guint i = 0; i < def->nics->len; i++)
                if (!add_alias(seen, ((DomainNic *) g_ptr_array_index(def->nics, i))->alias, err))
                        return FALSE;
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (!domain_char_is_serial_console(chr) && !add_alias(seen, chr->alias, err))
                        return FALSE;
        }
        return (!def->rng || add_alias(seen, def->rng->alias, err)) &&
               (!def->vsock || add_alias(seen, def->vsock->alias, err));
}

/* The machine has one UART; a second console of type serial would have no port to mirror. */
static gboolean check_serials(const DomainDef *def, GError **err) {
        guint serials = 0, consoles = 0;
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                serials += chr->device == DOMAIN_CHAR_SERIAL;
                consoles += domain_char_is_serial_console(chr);
        }
        if (serials <= 1 && consoles <= 1)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "there is one serial port: for more, write "
                         "<console type='pty'><target type='virtio'/></console>");
}

static gboolean check_channels(const DomainDef *def, GError **err) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device != DOMAIN_CHAR_CHANNEL || !chr->target_name)
                        continue;
                if (!g_hash_table_add(seen, chr->target_name)) {
                        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                         "channel name '%s' used for more than one channel", chr->target_name);
                }
        }
        return TRUE;
}

/* Escaping and indentation can make a document larger than it was; live state needs room too. */
gboolean domain_check_size(const DomainDef *def, GError **err) {
        g_autofree char *text = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        if (strlen(text) <= XML_INPUT_MAX - LIVE_ROOM)
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR, "the definition is larger than %u bytes", XML_INPUT_MAX - LIVE_ROOM);
}

gboolean domain_validate_def(const DomainDef *def, GError **err) {
        return check_count("disks", def->disks->len, DOMAIN_DISKS_MAX, err) &&
               check_count("interfaces", def->nics->len, DOMAIN_NICS_MAX, err) &&
               check_count("serial ports, consoles and channels", def->chars->len, DOMAIN_CHARS_MAX, err) &&
               check_boot_orders(def, err) && check_aliases(def, err) && check_serials(def, err) &&
               check_channels(def, err) && domain_check_size(def, err);
}
