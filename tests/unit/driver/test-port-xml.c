/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <networkport>: what is asked, what the answer changes, and which answers are refused. */
#include "net/port_xml.h"
#include "util/error.h"

static DomainNic nic_new(void) {
        return (DomainNic) { .type = DOMAIN_NIC_NETWORK, .mac = { 0x52, 0x54, 0, 1, 2, 3 }, .source = (char *) "lan" };
}

static void test_format(void) {
        DomainDef def = { .name = (char *) "a<b" };
        DomainNic nic = nic_new();
        g_autofree char *plain = port_xml_format(&def, &nic, "U");
        g_assert_cmpstr(plain, ==,
                        "<networkport>\n  <uuid>U</uuid>\n  <owner>\n    <name>a&lt;b</name>\n"
                        "    <uuid>00000000-0000-0000-0000-000000000000</uuid>\n  </owner>\n"
                        "  <mac address='52:54:00:01:02:03'/>\n</networkport>\n");

        nic.portgroup = (char *) "eng";
        nic.isolated = TRUE;
        nic.has_vlan = TRUE;
        nic.vlan_tag = 42;
        nic.inbound = (DomainBandwidth) { .present = TRUE, .average = 1, .floor = 2 };
        g_autofree char *full = port_xml_format(&def, &nic, "U");
        g_assert_nonnull(strstr(full, "  <group>eng</group>\n"));
        g_assert_nonnull(strstr(full, "  <bandwidth>\n    <inbound average='1' floor='2'/>\n  </bandwidth>\n"));
        g_assert_nonnull(strstr(full, "  <port isolated='yes'/>\n"));
        g_assert_nonnull(strstr(full, "  <vlan>\n    <tag id='42'/>\n  </vlan>\n"));
}

static void test_apply(void) {
        DomainNic nic = nic_new();
        g_autoptr(GError) err = NULL;

        g_assert_true(port_xml_apply("<networkport><bandwidth><outbound average='500' burst='9'/></bandwidth>"
                                     "<port isolated='yes'/><vlan><tag id='7'/></vlan>"
                                     "<plug type='bridge' bridge='br9'/></networkport>",
                                     &nic, &err));
        g_assert_cmpstr(nic.actual_bridge, ==, "br9");
        g_assert_false(nic.inbound.present);
        g_assert_cmpuint(nic.outbound.average, ==, 500);
        g_assert_cmpuint(nic.outbound.burst, ==, 9);
        g_assert_true(nic.isolated && nic.has_vlan);
        g_assert_cmpuint(nic.vlan_tag, ==, 7);

        /* A second port of the same NIC, as at the next start. */
        g_assert_true(port_xml_apply("<networkport><plug type='network' bridge='virbr0'/></networkport>", &nic, &err));
        g_assert_cmpstr(nic.actual_bridge, ==, "virbr0");
        g_assert_false(nic.outbound.present);
        g_free(nic.actual_bridge);
}

static void test_refused(void) {
        static const char *const answers[] = {
                "<networkport><plug type='direct' dev='eth0' mode='private'/></networkport>",
                "<networkport><plug type='hostdev-pci'/></networkport>",
                "<networkport/>",
                "<networkport><virtualport type='openvswitch'/><plug type='bridge' bridge='b'/></networkport>",
                "<networkport><vlan trunk='yes'><tag id='1'/><tag id='2'/></vlan><plug type='bridge' "
                "bridge='b'/></networkport>",
        };
        for (gsize i = 0; i < G_N_ELEMENTS(answers); i++) {
                DomainNic nic = nic_new();
                g_autoptr(GError) err = NULL;
                g_assert_false(port_xml_apply(answers[i], &nic, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
                g_assert_nonnull(strstr(err->message, "network 'lan'"));
                g_assert_null(nic.actual_bridge);
        }
        DomainNic nic = nic_new();
        g_assert_false(port_xml_apply("<networkport", &nic, NULL));
        g_assert_false(
                port_xml_apply("<networkport><vlan><tag id='x'/></vlan><plug bridge='b'/></networkport>", &nic, NULL));
        g_assert_null(nic.actual_bridge);
}

static void test_owner(void) {
        DomainDef def = { .name = (char *) "web1", .uuid = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 } };
        const guint8 other[16] = { 0x11 };
        DomainNic nic = nic_new();
        g_autofree char *xml = port_xml_format(&def, &nic, "5f2e1d1c-0a3b-4c5d-8e7f-112233445566");
        g_assert_true(port_xml_is_owned(xml, def.uuid));
        g_assert_false(port_xml_is_owned(xml, other));
        g_assert_false(port_xml_is_owned("<networkport", def.uuid));
        g_assert_false(port_xml_is_owned("<networkport/>", def.uuid));
        g_assert_false(port_xml_is_owned("<networkport><owner><name>web1</name></owner></networkport>", def.uuid));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/port-xml/format", test_format);
        g_test_add_func("/port-xml/apply", test_apply);
        g_test_add_func("/port-xml/refused", test_refused);
        g_test_add_func("/port-xml/owner", test_owner);
        return g_test_run();
}
