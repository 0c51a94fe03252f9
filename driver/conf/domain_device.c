/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the element is put where it would stand in a domain, below <domain><devices>, so that the table
 * of verdicts and the parsers of devices, which know paths, see what they always see.
 */
#include "conf/domain_device.h"

#include <string.h>

#include "conf/domain_parse.h"
#include "conf/legacy.h"
#include "conf/xml_verdict.h"
#include "util/error.h"

void domain_device_free(DomainDevice *device) {
        if (!device)
                return;
        domain_def_free(device->def);
        g_free(device->element);
        g_free(device);
}

/* A kind of device that the table treats as one, however it is written, and does not serve. */
static gboolean check_kind(const xmlNode *node, GError **err) {
        const char *name = (const char *) node->name;
        g_autofree char *path = g_strdup_printf("devices/%s", name);
        const XmlRule *rule = node->ns ? NULL : xml_verdict_find(path, node, NULL);
        if (!rule)
                return error_set(err, VIR_ERR_XML_ERROR, "unknown device type '%s'", name);
        if (rule->verdict == XML_SERVED || rule->when)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "a device '%s' cannot be attached, changed or detached: %s", name,
                         rule->sentence ? rule->sentence : "the machine has what it has");
}

/* Returns <devices>, which the document then has below <domain>. */
static xmlNode *wrap(xmlDoc *doc) {
        xmlNode *domain = xmlNewDocNode(doc, NULL, (const xmlChar *) "domain", NULL);
        xmlNode *devices = xmlNewChild(domain, NULL, (const xmlChar *) "devices", NULL);
        xmlNode *device = xmlDocSetRootElement(doc, domain);
        (void) xmlAddChild(devices, device);
        return devices;
}

/* The verdict on this device was to leave it out, or it is something that the machine has anyway. */
static gboolean refuse_nothing(const DomainDevice *device, GError **err) {
        const GPtrArray *notes = device->def->notes;
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "this device '%s' cannot be attached, changed or detached%s%s", device->element,
                         notes->len > 0 ? ": " : "",
                         notes->len > 0 ? (const char *) g_ptr_array_index(notes, notes->len - 1) : "");
}

static gboolean is_there(const DomainDef *def) {
        return def->disks->len + def->nics->len + def->chars->len > 0 || def->rng || def->vsock;
}

static gboolean parse(DomainDevice *device, const xmlNode *devices, guint flags, GError **err) {
        const xmlNode *node = xml_first(devices, NULL);
        if (!node)
                return refuse_nothing(device, err);
        g_autofree char *mac = xml_child_attr(node, "mac", "address"), *port = xml_child_attr(node, "target", "port");
        device->named = mac || port;
        if (!domain_parse_devices(devices, device->def, flags, err) || !legacy_nics(device->def, flags, err))
                return FALSE;
        return is_there(device->def) || refuse_nothing(device, err);
}

DomainDevice *domain_device_parse(const char *xml, guint flags, GError **err) {
        g_autoptr(xmlDoc) doc = xml_document_parse(xml, "(device_definition)", err);
        if (!doc || !check_kind(xmlDocGetRootElement(doc), err))
                return NULL;
        g_autoptr(DomainDevice) device = g_new0(DomainDevice, 1);
        device->element = g_strdup((const char *) xmlDocGetRootElement(doc)->name);
        device->def = domain_def_new();
        const xmlNode *devices = wrap(doc);
        if (!xml_verdict_define(xmlDocGetRootElement(doc), FALSE, (flags & DOMAIN_PARSE_REJECT_LEGACY) != 0,
                                device->def->notes, err) ||
            !parse(device, devices, flags, err))
                return NULL;
        return g_steal_pointer(&device);
}

void domain_def_set_rng(DomainDef *def, DomainRng *rng) {
        domain_rng_free(def->rng);
        def->rng = rng;
}

void domain_def_set_vsock(DomainDef *def, DomainVsock *vsock) {
        domain_vsock_free(def->vsock);
        def->vsock = vsock;
}

void domain_def_add_notes(DomainDef *def, const GPtrArray *notes) {
        for (guint i = 0; i < notes->len; i++) {
                const char *text = g_ptr_array_index(notes, i);
                if (def->notes->len < DOMAIN_NOTES_MAX &&
                    !g_ptr_array_find_with_equal_func(def->notes, text, g_str_equal, NULL))
                        g_ptr_array_add(def->notes, g_strdup(text));
        }
}

void domain_def_drop_notes(DomainDef *def, const char *name) {
        for (guint i = def->notes->len; i-- > 0;)
                if (strstr(g_ptr_array_index(def->notes, i), name))
                        g_ptr_array_remove_index(def->notes, i);
}
