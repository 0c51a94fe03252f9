/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * <networkport>, as libvirt's network driver reads and completes it
 * (https://libvirt.org/formatnetworkport.html). Given the domain's wishes, it answers
 * with what applies: the portgroup's bandwidth where the NIC has none, the network's
 * VLAN, and a <plug> that says where the NIC belongs.
 */
#include "net/port_xml.h"

#include <string.h>

#include "conf/domain_format.h"
#include "conf/xml_read.h"
#include "conf/xml_write.h"
#include "util/error.h"

char *port_xml_format(const DomainDef *def, const DomainNic *nic, const char *uuid) {
        char owner[37], mac[18];
        XmlWriter w;

        domain_uuid_format(def->uuid, owner);
        domain_mac_format(nic->mac, mac);
        xml_writer_init(&w);
        xml_begin(&w, "networkport");
        xml_element(&w, "uuid", uuid);
        xml_begin(&w, "owner");
        xml_element(&w, "name", def->name);
        xml_element(&w, "uuid", owner);
        xml_end(&w);
        xml_element(&w, "group", nic->portgroup);
        xml_leaf_attr(&w, "mac", "address", mac);
        domain_format_bandwidth(&w, nic);
        if (nic->isolated)
                xml_leaf_attr(&w, "port", "isolated", "yes");
        domain_format_vlan(&w, nic);
        xml_end(&w);
        return xml_writer_finish(&w);
}

/* --- The answer --------------------------------------------------------------------------------- */

static gboolean read_limit(const xmlNode *node, DomainBandwidth *ret, GError **err) {
        *ret = (DomainBandwidth) { .present = node != NULL };
        return xml_attr_u64(node, "average", &ret->average, err) && xml_attr_u64(node, "peak", &ret->peak, err) &&
               xml_attr_u64(node, "burst", &ret->burst, err) && xml_attr_u64(node, "floor", &ret->floor, err);
}

static gboolean read_bandwidth(const xmlNode *port, DomainNic *nic, GError **err) {
        const xmlNode *bandwidth = xml_first(port, "bandwidth");
        return read_limit(xml_first(bandwidth, "inbound"), &nic->inbound, err) &&
               read_limit(xml_first(bandwidth, "outbound"), &nic->outbound, err);
}

static gboolean read_vlan(const xmlNode *port, DomainNic *nic, GError **err) {
        const xmlNode *vlan = xml_first(port, "vlan");
        const xmlNode *tag = xml_first(vlan, "tag");
        guint id = 0;

        if (!tag)
                return TRUE;
        if (xml_next(tag, "tag")) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "network '%s' is a VLAN trunk; a NIC may be in one VLAN", nic->source);
        }
        if (!xml_attr_uint(tag, "id", 4094, &id, err))
                return FALSE;
        nic->has_vlan = TRUE;
        nic->vlan_tag = (guint16) id;
        return TRUE;
}

static gboolean read_port_options(const xmlNode *port, DomainNic *nic, GError **err) {
        return xml_attr_bool(xml_first(port, "port"), "isolated", &nic->isolated, err);
}

static char *read_bridge(const xmlNode *port, const DomainNic *nic, GError **err) {
        const xmlNode *plug = xml_first(port, "plug");
        g_autofree char *type = xml_attr(plug, "type");
        g_autofree char *virtualport = xml_child_attr(port, "virtualport", "type");
        char *bridge = xml_attr(plug, "bridge");

        if (bridge && bridge[0] && !virtualport)
                return bridge;
        if (virtualport)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "network '%s' has a virtual port of type '%s'", nic->source,
                          virtualport);
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "network '%s' plugs NICs by '%s'; only networks with a bridge can be used", nic->source,
                          type ? type : "nothing");
        g_free(bridge);
        return NULL;
}

gboolean port_xml_apply(const char *xml, DomainNic *nic, GError **err) {
        g_autoptr(xmlDoc) document = xml_document_parse(xml, "(network port)", err);
        const xmlNode *port = document ? xmlDocGetRootElement(document) : NULL;
        DomainNic result = *nic;

        if (!port)
                return FALSE;
        result.actual_bridge = read_bridge(port, nic, err);
        if (!result.actual_bridge)
                return FALSE;
        if (!read_bandwidth(port, &result, err) || !read_vlan(port, &result, err) ||
            !read_port_options(port, &result, err)) {
                g_free(result.actual_bridge);
                return FALSE;
        }
        g_free(nic->actual_bridge);
        *nic = result;
        return TRUE;
}

gboolean port_xml_is_owned(const char *xml, const guint8 owner[16]) {
        g_autoptr(xmlDoc) document = xml_document_parse(xml, "(network port)", NULL);
        const xmlNode *port = document ? xmlDocGetRootElement(document) : NULL;
        g_autofree char *text = xml_child_text(xml_first(port, "owner"), "uuid");
        guint8 uuid[16];
        return text && domain_uuid_parse(text, uuid) && memcmp(uuid, owner, sizeof(uuid)) == 0;
}
