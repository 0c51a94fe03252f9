/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: a NIC is a TAP in a bridge, in a libvirt network (which resolves
 * to a bridge when the domain starts), or a TAP alone. TAP names that a start assigned
 * ("vnet…") are not part of a definition and are dropped unless a running domain's state
 * is read back, or the TAP is the operator's (managed='no').
 */
#include "conf/domain_parse.h"

#include <net/if.h>
#include <string.h>

#include "conf/domain_names.h"
#include "util/error.h"

#define GENERATED_PREFIX "vnet"
#define VLAN_MAX         4095
#define MTU_MAX          65535

static gboolean parse_nic_type(const xmlNode *node, DomainNic *nic, GError **err) {
        if (!xmlHasProp(node, (const xmlChar *) "type")) {
                return error_set(
                        err, VIR_ERR_CONFIG_UNSUPPORTED,
                        "<interface type='user'> is not supported: use type='bridge', 'network' or 'ethernet'");
        }
        int word = 0;
        if (!xml_attr_enum(node, "type", domain_nic_type_names, &word, err))
                return FALSE;
        nic->type = (DomainNicType) word;
        return TRUE;
}

/* A locally administered address in the range that KVM guests have. */
static void mac_generate(guint8 ret[6]) {
        guint32 random = g_random_int();
        const guint8 mac[6] = { 0x52, 0x54, 0x00, (guint8) (random >> 16), (guint8) (random >> 8), (guint8) random };
        memcpy(ret, mac, sizeof(mac));
}

static gboolean parse_mac(const xmlNode *node, DomainNic *nic, GError **err) {
        g_autofree char *text = xml_child_attr(node, "mac", "address");
        if (!text) {
                mac_generate(nic->mac);
                return TRUE;
        }
        if (!domain_mac_parse(text, nic->mac)) {
                return error_set(err, VIR_ERR_XML_ERROR, "unable to parse mac address '%s'", text);
        }
        if ((nic->mac[0] & 1) != 0) {
                return error_set(err, VIR_ERR_XML_ERROR, "expected unicast mac address, found multicast '%s'", text);
        }
        return TRUE;
}

static gboolean check_device_name(const char *name, GError **err) {
        if (!name || (strlen(name) < IFNAMSIZ && *name != '\0' && strpbrk(name, "/ \t\n") == NULL &&
                      strcmp(name, ".") != 0 && strcmp(name, "..") != 0))
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR, "'%s' cannot be the name of a network device", name);
}

static gboolean parse_nic_source(const xmlNode *node, DomainNic *nic, guint flags, GError **err) {
        const xmlNode *source = xml_first(node, "source");
        const char *attr = nic->type == DOMAIN_NIC_BRIDGE ? "bridge" : "network";
        if (nic->type == DOMAIN_NIC_ETHERNET)
                return TRUE;
        nic->source = xml_attr(source, attr);
        if (!nic->source || *nic->source == '\0') {
                return error_set(err, VIR_ERR_XML_ERROR,
                                 !source ? "interface type='%s' requires a 'source' element"
                                         : "interface type='%s' requires a name in its 'source' element",
                                 domain_nic_type_names[nic->type]);
        }
        if (nic->type == DOMAIN_NIC_BRIDGE)
                return check_device_name(nic->source, err);
        nic->portgroup = xml_attr(source, "portgroup");
        if ((flags & DOMAIN_PARSE_STATUS) != 0) {
                nic->portid = xml_attr(source, "portid");
                nic->actual_bridge = xml_attr(source, "bridge");
        }
        return TRUE;
}

static gboolean parse_nic_target(const xmlNode *node, DomainNic *nic, guint flags, GError **err) {
        const xmlNode *target = xml_first(node, "target");
        nic->target = xml_attr(target, "dev");
        nic->target_managed = TRUE;
        if (nic->type == DOMAIN_NIC_ETHERNET && !xml_attr_bool(target, "managed", &nic->target_managed, err))
                return FALSE;
        gboolean generated = nic->target && nic->target_managed && g_str_has_prefix(nic->target, GENERATED_PREFIX);
        if (nic->target && (flags & DOMAIN_PARSE_STATUS) == 0 && (*nic->target == '\0' || generated))
                g_clear_pointer(&nic->target, g_free);
        if (!nic->target_managed && !nic->target) {
                return error_set(err, VIR_ERR_XML_ERROR, "an unmanaged <target> requires a 'dev' attribute");
        }
        return check_device_name(nic->target, err);
}

static gboolean parse_nic_model(const xmlNode *node, DomainNic *nic, GError **err) {
        static const char *const drivers[] = { "vhost", "qemu", NULL };
        const xmlNode *driver = xml_first(node, "driver");
        nic->model = xml_child_attr(node, "model", "type");
        if (!nic->model)
                nic->model = g_strdup("virtio");
        if (nic->model[strspn(nic->model, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "-_")] != '\0') {
                return error_set(err, VIR_ERR_INVALID_ARG, "Model name contains invalid characters");
        }
        return xml_attr_word(driver, "name", drivers, &nic->driver_name, err);
}

static gboolean parse_mtu(const xmlNode *node, DomainNic *nic, GError **err) {
        g_autofree char *text = xml_child_attr(node, "mtu", "size");
        guint64 mtu;
        if (!text)
                return TRUE;
        if (!xml_parse_u64(text, &mtu) || mtu < DOMAIN_MTU_MIN || mtu > MTU_MAX) {
                return error_set(err, VIR_ERR_XML_ERROR, "malformed mtu size");
        }
        nic->mtu = (guint) mtu;
        return TRUE;
}

static gboolean parse_link(const xmlNode *node, DomainNic *nic, GError **err) {
        g_autofree char *state = xml_child_attr(node, "link", "state");
        nic->link_down = g_strcmp0(state, "down") == 0;
        if (!state || nic->link_down || strcmp(state, "up") == 0)
                return TRUE;
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown interface link state '%s'", state);
}

static gboolean parse_vlan(const xmlNode *vlan, DomainNic *nic, GError **err) {
        const xmlNode *tag = xml_first(vlan, "tag");
        guint id = G_MAXUINT;
        if (!vlan)
                return TRUE;
        if (!xml_attr_uint(tag, "id", G_MAXUINT, &id, err))
                return FALSE;
        if (!tag || !xmlHasProp(tag, (const xmlChar *) "id"))
                error_set(err, VIR_ERR_XML_ERROR,
                          "missing tag id - each <vlan> must have at least one <tag id='n'/> subelement");
        else if (id > VLAN_MAX)
                error_set(err, VIR_ERR_XML_ERROR, "vlan tag id %u too large (maximum %d)", id, VLAN_MAX);
        else if (id == 0 || id == VLAN_MAX)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vlan tag id %u is reserved", id);
        else if (xml_next(tag, "tag") != NULL)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vlan trunking is not supported: use one <tag>");
        else {
                nic->has_vlan = TRUE;
                nic->vlan_tag = (guint16) id;
                return TRUE;
        }
        return FALSE;
}

static gboolean parse_bandwidth(const xmlNode *node, const char *name, guint flags, DomainBandwidth *ret,
                                GError **err) {
        const xmlNode *limit = xml_first(xml_first(node, "bandwidth"), name);
        if (!limit)
                return TRUE;
        if (!xml_attr_u64(limit, "average", &ret->average, err) || !xml_attr_u64(limit, "peak", &ret->peak, err) ||
            !xml_attr_u64(limit, "burst", &ret->burst, err) || !xml_attr_u64(limit, "floor", &ret->floor, err))
                return FALSE;
        ret->present = TRUE;
        if (domain_parse_is_own(flags))
                return TRUE;
        if (ret->average == 0 && (ret->floor == 0 || ret->peak != 0 || ret->burst != 0)) {
                return error_set(err, VIR_ERR_XML_DETAIL, "Missing mandatory average or floor attributes");
        }
        if (ret->floor != 0 && strcmp(name, "outbound") == 0) {
                return error_set(err, VIR_ERR_XML_DETAIL, "'floor' attribute allowed only in <inbound> element");
        }
        return TRUE;
}

gboolean domain_parse_nic(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_autoptr(DomainNic) nic = g_new0(DomainNic, 1);
        if (!parse_nic_type(node, nic, err) || !parse_mac(node, nic, err) || !parse_nic_source(node, nic, flags, err) ||
            !parse_nic_target(node, nic, flags, err) || !parse_nic_model(node, nic, err) ||
            !parse_mtu(node, nic, err) || !parse_link(node, nic, err) ||
            !parse_vlan(xml_first(node, "vlan"), nic, err) ||
            !parse_bandwidth(node, "inbound", flags, &nic->inbound, err) ||
            !parse_bandwidth(node, "outbound", flags, &nic->outbound, err) ||
            !xml_attr_bool(xml_first(node, "port"), "isolated", &nic->isolated, err) ||
            !domain_parse_boot_order(node, &nic->boot_order, err) || !domain_parse_pci_address(node, &nic->pci, err))
                return FALSE;
        nic->filter = xml_child_attr(node, "filterref", "filter");
        nic->script = xml_child_attr(node, "script", "path");
        nic->alias = domain_parse_alias(node, flags);
        g_ptr_array_add(def->nics, g_steal_pointer(&nic));
        return TRUE;
}
