/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Definitions as values: what libvirt fills in, searching, identifiers, metadata, translation details. */
#include <glib.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/un.h>

#include "conf/cpu_features.h"
#include "conf/domain_def_internal.h"
#include "conf/machine.h"
#include "conf/vmm_config.h"
#include "conf/xml_read.h"
#include "conf/xml_verdict.h"
#include "conf/xml_write.h"
#include "util/error.h"

#define HEAD "<domain type='kvm'><name>x</name><memory>65536</memory>"
#define OS   "<os><type>hvm</type><kernel>/k</kernel></os>"

static DomainDef *parse(const char *xml) {
        g_autoptr(GError) err = NULL;
        DomainDef *def = domain_def_parse(xml, 0, NULL, &err);
        g_assert_no_error(err);
        return def;
}

/* --- Numbers and identifiers ------------------------------------------------------ */

static void test_units(void) {
        static const struct {
                const char *unit;
                guint64 factor;
        } units[] = {
                { NULL, 1024 },          { "", 1024 },          { "b", 1 },          { "bytes", 1 },
                { "byte", 1 },           { "k", 1024 },         { "KiB", 1024 },     { "KB", 1000 },
                { "M", 1048576 },        { "MiB", 1048576 },    { "MB", 1000000 },   { "G", 1ull << 30 },
                { "GB", 1000000000 },    { "GiB", 1ull << 30 }, { "T", 1ull << 40 }, { "TiB", 1ull << 40 },
                { "TB", 1000000000000 }, { "PiB", 1ull << 50 }, { "E", 1ull << 60 },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
                guint64 bytes = 0;
                g_assert_true(xml_scale_size(3, units[i].unit, 1024, &bytes, NULL));
                g_assert_cmpuint(bytes, ==, 3 * units[i].factor);
        }
}

static void test_unit_errors(void) {
        static const struct {
                guint64 value;
                const char *unit;
                int code;
        } cases[] = {
                { 1, "x", VIR_ERR_INVALID_ARG },        { 1, "KiBi", VIR_ERR_INVALID_ARG },
                { 1, "bb", VIR_ERR_INVALID_ARG },       { 8, "EiB", VIR_ERR_OVERFLOW },
                { G_MAXUINT64, "b", VIR_ERR_OVERFLOW }, { 1ull << 53, "KiB", VIR_ERR_OVERFLOW },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                guint64 bytes = 42;
                g_assert_false(xml_scale_size(cases[i].value, cases[i].unit, 1, &bytes, &err));
                g_assert_error(err, VIRTMICRO_ERROR, cases[i].code);
                g_assert_cmpuint(bytes, ==, 42);
        }
}

static void test_numbers(void) {
        static const char *const bad[] = { "", " ", "-1", "+1", "1x", "0x", "18446744073709551616", "1.5", "1 2" };
        guint64 value = 0;
        gint64 number = 0;
        g_assert_true(xml_parse_u64(" 42\n", &value) && value == 42);
        g_assert_true(xml_parse_u64("0x2a", &value) && value == 42);
        g_assert_true(xml_parse_u64("18446744073709551615", &value) && value == G_MAXUINT64);
        g_assert_true(xml_parse_i64("-9223372036854775808", &number) && number == G_MININT64);
        g_assert_false(xml_parse_i64("9223372036854775808", &number));
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(xml_parse_u64(bad[i], &value));
}

static void test_uuid(void) {
        static const char *const same[] = {
                "00112233-4455-6677-8899-aabbccddeeff",
                "00112233445566778899AABBCCDDEEFF",
                " 0011-2233-4455-6677-8899-aabb-ccdd-eeff\n",
        };
        static const char *const bad[] = { "", "0011", "00112233-4455-6677-8899-aabbccddeef",
                                           "00112233-4455-6677-8899-aabbccddeeff0",
                                           "g0112233-4455-6677-8899-aabbccddeeff" };
        for (gsize i = 0; i < G_N_ELEMENTS(same); i++) {
                guint8 uuid[16];
                char text[37];
                g_assert_true(domain_uuid_parse(same[i], uuid));
                domain_uuid_format(uuid, text);
                g_assert_cmpstr(text, ==, same[0]);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
                guint8 uuid[16] = { 7 };
                g_assert_false(domain_uuid_parse(bad[i], uuid));
                g_assert_cmpint(uuid[0], ==, 7);
        }
}

static void test_mac(void) {
        static const char *const bad[] = { "",
                                           "52:54:00:01:02",
                                           "52:54:00:01:02:03:04",
                                           "52-54-00-01-02-03",
                                           "52:54:00:01:02:",
                                           "52:54:00:01:02:003",
                                           "52:54:00:01:02:0g" };
        guint8 mac[6];
        char text[18];
        g_assert_true(domain_mac_parse("52:54:0:A:2:fF", mac));
        domain_mac_format(mac, text);
        g_assert_cmpstr(text, ==, "52:54:00:0a:02:ff");
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(domain_mac_parse(bad[i], mac));
}

/* --- What is filled in ---------------------------------------------------------------- */

static void test_generated(void) {
        const char *xml = HEAD OS "<devices><interface type='ethernet'/></devices></domain>";
        g_autoptr(DomainDef) first = parse(xml), second = parse(xml);
        const DomainNic *nic = g_ptr_array_index(first->nics, 0), *other = g_ptr_array_index(second->nics, 0);
        g_assert_cmpint(memcmp(first->uuid, second->uuid, 16), !=, 0);
        g_assert_cmpint(first->uuid[6] >> 4, ==, 4); /* version */
        g_assert_cmpint(memcmp(nic->mac, "\x52\x54\x00", 3), ==, 0);
        g_assert_cmpint(memcmp(nic->mac, other->mac, 6), !=, 0);
}

static void test_defaults(void) {
        g_autoptr(DomainDef) def =
                parse(HEAD OS "<devices><rng model='virtio'><backend model='builtin'/></rng></devices></domain>");
        g_assert_cmpint(def->id, ==, -1);
        g_assert_cmpuint(def->memory.current_kib, ==, 65536);
        g_assert_cmpuint(def->vcpus, ==, 1);
        g_assert_cmpstr(def->os.arch, ==, "x86_64");
        g_assert_cmpstr(def->os.machine, ==, "micro-1");
        g_assert_cmpstr(def->clock.offset, ==, "utc");
        g_assert_cmpint(def->on_poweroff, ==, DOMAIN_ACTION_DESTROY);
        g_assert_cmpint(def->on_reboot, ==, DOMAIN_ACTION_RESTART);
        g_assert_cmpint(def->on_crash, ==, DOMAIN_ACTION_DESTROY);
        g_assert_false(def->has_on_reboot);
        g_assert_cmpstr(def->rng->backend_path, ==, "/dev/urandom");
        g_assert_cmpuint(def->notes->len, ==, 0);
}

static char *with_machine(const char *machine) {
        return g_strdup_printf(HEAD "<os><type%s>hvm</type><kernel>/k</kernel></os></domain>", machine);
}

/* A definition says which version it is of, so that it stays that machine. */
static void test_machine_version(void) {
        static const char *const cases[] = { "", " machine='micro'", " machine='micro-1'", " machine='microvm'" };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *xml = with_machine(cases[i]);
                g_autoptr(DomainDef) def = parse(xml), own = domain_def_parse(xml, DOMAIN_PARSE_OWN, NULL, &err);
                g_assert_no_error(err);
                g_assert_cmpstr(def->os.machine, ==, "micro-1");
                g_assert_cmpstr(own->os.machine, ==, "micro-1"); /* from before there were versions */
                g_assert_cmpuint(def->notes->len, ==, 0);
        }
}

/* What a newer daemon has written is kept, though it cannot start. */
static void test_machine_version_to_come(void) {
        static const guint flags[] = { DOMAIN_PARSE_OWN, DOMAIN_PARSE_STATUS };
        for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *xml = with_machine(" machine='micro-99'");
                g_autoptr(DomainDef) own = domain_def_parse(xml, flags[i], NULL, &err);
                g_assert_no_error(err);
                g_assert_cmpstr(own->os.machine, ==, "micro-99");
                g_assert_false(domain_def_check_startable(own, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
                g_assert_nonnull(strstr(err->message, "does not support machine type 'micro-99'"));
        }
}

/* The table of verdicts names what is ours. */
static void test_machine_verdicts(void) {
        gsize n = 0;
        const XmlRule *rules = xml_verdict_rules(&n);
        g_autofree char *expected = NULL, *versions = g_strjoinv(" ", (char **) machine_versions);
        expected = g_strdup_printf(MACHINE_NEWEST " %s microvm", versions);
        for (gsize i = 0; i < n; i++)
                if (strcmp(rules[i].path, "os/type/@machine") == 0 && rules[i].values)
                        g_assert_cmpstr(rules[i].values, ==, expected);
}

static void test_find(void) {
        g_autoptr(DomainDef) def =
                parse(HEAD OS
                      "<devices><disk><source file='/a.img'/><target dev='vda'/></disk>"
                      "<interface type='ethernet'><mac address='52:54:00:00:00:09'/><target dev='tap5'/></interface>"
                      "<interface type='ethernet'/><channel type='pty'><target type='virtio' name='n'/></channel>"
                      "<console type='pty'/><console type='pty'><target type='virtio'/></console></devices></domain>");
        const DomainChar *console;
        g_assert_nonnull(domain_def_find_disk(def, "vda"));
        g_assert_true(domain_def_find_disk(def, "vda") == domain_def_find_disk(def, "/a.img"));
        g_assert_null(domain_def_find_disk(def, "vdb"));
        g_assert_true(domain_def_find_nic(def, "tap5") == domain_def_find_nic(def, "52:54:00:00:00:09"));
        g_assert_null(domain_def_find_nic(def, "52:54:00:00:00:0a"));
        g_assert_null(domain_def_find_nic(def, "tap6"));
        console = domain_def_find_console(def, NULL);
        g_assert_cmpint(console->device, ==, DOMAIN_CHAR_SERIAL);
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                chr->alias =
                        g_strdup(domain_char_is_serial_console(chr) || chr->device == DOMAIN_CHAR_SERIAL ? "serial0"
                                 : chr->device == DOMAIN_CHAR_CONSOLE                                    ? "console1"
                                                                                                         : "channel0");
        }
        g_assert_true(domain_def_find_console(def, "serial0") == console);
        g_assert_cmpint(domain_def_find_console(def, "console1")->device, ==, DOMAIN_CHAR_CONSOLE);
        g_assert_null(domain_def_find_console(def, "console7"));
}

static void test_names(void) {
        static const char *const bad[] = { "", ".", "..", "a/b", "a\nb", "a\x7f", "\xff", "\xef\xbf\xbf" };
        static const char *const good[] = { "a", "web 1", "...", "äöü", "-x", "a'b\"<&>" };
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(domain_name_check(bad[i], NULL));
        for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_true(domain_name_check(good[i], NULL));
}

/* --- Formatting -------------------------------------------------------------------------- */

static void test_escaping(void) {
        XmlWriter w;
        xml_writer_init(&w);
        xml_begin(&w, "a");
        xml_put(&w, "b", "<>&'\"\n\t\x01\xef\xbf\xbfé");
        xml_begin(&w, "unused");
        xml_end_used(&w);
        xml_element(&w, "c", "<>&'\"\n\t\r\x7f");
        xml_begin(&w, "unused");
        xml_end_used(&w);
        xml_end(&w);
        g_autofree char *text = xml_writer_finish(&w);
        g_assert_cmpstr(text, ==,
                        "<a b='&lt;&gt;&amp;&apos;&quot;&#10;&#9;é'>\n"
                        "  <c>&lt;&gt;&amp;&apos;&quot;\n\t&#13;\x7f</c>\n</a>\n");
}

static void test_live_only(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "<devices><interface type='network'><source network='n'/></interface>"
                                                 "<serial type='pty'/></devices></domain>");
        DomainNic *nic = g_ptr_array_index(def->nics, 0);
        DomainChar *serial = g_ptr_array_index(def->chars, 0);
        nic->target = g_strdup("vnet0");
        nic->alias = g_strdup("net0");
        nic->portid = g_strdup("p");
        nic->actual_bridge = g_strdup("virbr0");
        serial->path = g_strdup("/dev/pts/4");
        g_autofree char *stopped = domain_def_format(def, 0);
        def->id = 1;
        g_autofree char *inactive = domain_def_format(def, DOMAIN_FORMAT_INACTIVE), *live = domain_def_format(def, 0);
        g_assert_cmpstr(stopped, ==, inactive);
        static const char *const only_live[] = { "id='1'", "vnet0", "net0", "portid", "virbr0", "/dev/pts/4" };
        for (gsize i = 0; i < G_N_ELEMENTS(only_live); i++) {
                g_assert_null(strstr(inactive, only_live[i]));
                g_assert_nonnull(strstr(live, only_live[i]));
        }
}

static char *path_after_drop(const char *channel) {
        g_autofree char *xml = g_strdup_printf(HEAD OS "<devices>%s</devices></domain>", channel);
        g_autoptr(DomainDef) def = parse(xml);
        domain_def_drop_channel_paths(def, "/state");
        return g_strdup(((DomainChar *) g_ptr_array_index(def->chars, 0))->path);
}

#define CHANNEL(mode, path, target)                                                                                    \
        "<channel type='unix'><source mode='" mode "' path='" path "'/><target type='virtio' " target "/></channel>"

/* What a start has chosen is no part of a definition, whichever domain it was chosen for; what a user wrote is. */
static void test_channel_paths(void) {
        static const struct {
                const char *channel;
                gboolean dropped;
        } cases[] = {
                { CHANNEL("bind", "/state/7.org.x.0.sock", "name='org.x.0'"), TRUE },
                { CHANNEL("bind", "/state/123.org.x.0.sock", "name='org.x.0'"), TRUE },
                { CHANNEL("bind", "/state/7.channel0.sock", ""), TRUE },
                { CHANNEL("bind", "/state/7.org.x.1.sock", "name='org.x.0'"), FALSE },
                { CHANNEL("bind", "/state/web1.org.x.0.sock", "name='org.x.0'"), FALSE },
                { CHANNEL("bind", "/state/sub/7.org.x.0.sock", "name='org.x.0'"), FALSE },
                { CHANNEL("bind", "/other/7.org.x.0.sock", "name='org.x.0'"), FALSE },
                { CHANNEL("connect", "/state/7.org.x.0.sock", "name='org.x.0'"), FALSE },
                { CHANNEL("bind", "/var/lib/libvirt/qemu/channel/target/domain-1-web/org.x.0", "name='org.x.0'"),
                  TRUE },
                { CHANNEL("bind", "/run/libvirt/qemu/channel/1-web/org.x.0", "name='org.x.0'"), TRUE },
                { CHANNEL("bind", "/var/lib/libvirt/qemu/channel/target/web.org.x.0", "name='org.x.0'"), TRUE },
                { CHANNEL("bind", "/var/lib/libvirt/qemu/channel/target/domain-1-web/org.y.0", "name='org.x.0'"),
                  FALSE },
                { CHANNEL("bind", "/srv/channel/target/domain-1-web/org.x.0", "name='org.x.0'"), FALSE },
                { "<serial type='unix'><source mode='bind' path='/state/7.channel0.sock'/></serial>", FALSE },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = path_after_drop(cases[i].channel);
                g_assert_cmpint(path == NULL, ==, cases[i].dropped);
        }
}

/* Whatever the domain's name and id, a socket address has room for a channel name of 72 bytes. */
static void test_channel_path_length(void) {
        char name[73];
        const DomainChar channel = { .target_name = name };
        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        g_autofree char *path = domain_channel_path("/run/libvirt/micro", G_MAXINT, &channel);
        g_assert_cmpuint(strlen(path), <, sizeof(((struct sockaddr_un *) NULL)->sun_path));
        g_assert_true(g_str_has_prefix(path, "/run/libvirt/micro/2147483647.xxx"));
}

/* A name that looks like one chosen at a start is kept when the TAP is the operator's. */
static void test_unmanaged_target(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "<devices><interface type='ethernet'>"
                                                 "<target dev='vnet-dmz' managed='no'/></interface>"
                                                 "<interface type='ethernet'><target dev='vnet-dmz2'/></interface>"
                                                 "</devices></domain>");
        g_autofree char *xml = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(((DomainNic *) g_ptr_array_index(def->nics, 0))->target, ==, "vnet-dmz");
        g_assert_null(((DomainNic *) g_ptr_array_index(def->nics, 1))->target);
        g_assert_nonnull(strstr(xml, "<target dev='vnet-dmz' managed='no'/>"));
}

/* Whatever calls have set, the daemon reads its own files again. */
static void test_own_files(void) {
        g_autoptr(DomainDef) def =
                parse(HEAD OS "<cpu><topology sockets='1' cores='1' threads='1'/></cpu><devices>"
                              "<disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>"
                              "<interface type='ethernet'/></devices></domain>");
        DomainNic *nic = g_ptr_array_index(def->nics, 0);
        DomainDisk *disk = g_ptr_array_index(def->disks, 0);
        const DomainVcpuPin pin = { 0 };
        def->vcpus_max = 8;
        def->cputune.quota_us = 18446744073709551;
        def->cputune.shares = 1;
        g_array_append_val(def->cputune.vcpupin, pin);
        def->cputune.has_emulatorpin = def->has_cpuset = def->numatune.present = TRUE;
        def->memtune.hard_limit_kib = G_MAXUINT64;
        def->blkiotune.weight = 1;
        nic->inbound.present = TRUE;
        nic->outbound = (DomainBandwidth) { .present = TRUE, .peak = 1 };
        disk->iotune.total_bytes_sec = disk->iotune.read_bytes_sec = 1;
        disk->source = g_strdup("/pool/v");
        g_autofree char *config = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_autofree char *status = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        g_autoptr(GError) err = NULL;
        g_autoptr(DomainDef) own = domain_def_parse(config, DOMAIN_PARSE_OWN, NULL, &err);
        g_assert_no_error(err);
        g_autoptr(DomainDef) adopted = domain_def_parse(status, DOMAIN_PARSE_STATUS, NULL, &err);
        g_assert_no_error(err);
        g_autofree char *again = domain_def_format(own, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(again, ==, config);
        g_assert_cmpuint(own->memtune.hard_limit_kib, ==, DOMAIN_MEMORY_UNLIMITED);
        g_assert_null(((DomainDisk *) g_ptr_array_index(own->disks, 0))->source);
        g_assert_nonnull(domain_def_find_disk(adopted, "/pool/v"));
        g_assert_false(domain_def_check_startable(own, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
}

/* --- What a start refuses --------------------------------------------------------------------- */

#define DISK(driver) "<devices><disk><driver " driver "/><source file='/a'/><target dev='vda'/></disk></devices>"
#define NIC(type, source)                                                                                              \
        "<devices><interface " type "><source " source "/><bandwidth><inbound average='9' floor='4'/></bandwidth>"     \
        "</interface></devices>"
#define NUMA(mode) "<numatune><memory mode='" mode "' nodeset='0'/></numatune>"

static void test_startable(void) {
        static const struct {
                const char *xml, *text; /* text NULL: it starts */
        } cases[] = {
                { DISK("error_policy='report'"), NULL },
                { DISK("error_policy='report' rerror_policy='stop'"), NULL },
                { NIC("type='network'", "network='n'"), NULL },
                { NIC("type='bridge'", "bridge='b'"), "only a network can keep a floor" },
                { "<devices><channel type='unix'><target type='virtio' name='a/b'/></channel></devices>",
                  "channel 'a/b' has a '/' in its name" },
                { "<devices><channel type='unix'><source mode='bind' path='/p'/><target type='virtio' name='a/b'/>"
                  "</channel></devices>",
                  NULL },
                { "<devices><interface type='bridge'><mac address='fe:54:00:00:00:01'/><source bridge='b'/></interface>"
                  "</devices>",
                  "Unable to use MAC address starting with reserved value 0xFE - 'fe:54:00:00:00:01'" },
                { "<devices><interface type='ethernet'><mac address='FE:54:00:00:00:01'/></interface></devices>",
                  "Unable to use MAC address starting with reserved value 0xFE - 'fe:54:00:00:00:01'" },
                { "<devices><interface type='bridge'><mac address='fa:54:00:00:00:01'/><source bridge='b'/></interface>"
                  "</devices>",
                  NULL },
                { NUMA("strict"), NULL },
                { NUMA("restrictive"), NULL },
                { NUMA("preferred"), "<memory mode='preferred'> is not supported" },
                { NUMA("interleave"), "<memory mode='interleave'> is not supported" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *xml = g_strdup_printf(HEAD OS "%s</domain>", cases[i].xml);
                g_autoptr(DomainDef) def = parse(xml);
                g_autoptr(GError) err = NULL;
                g_assert_cmpint(domain_def_check_startable(def, &err), ==, cases[i].text == NULL);
                if (cases[i].text == NULL)
                        continue;
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
                g_assert_nonnull(strstr(err->message, cases[i].text));
        }
}

/* --- CPU features ----------------------------------------------------------------------------- */

/* The table against libvirt's own, as installed: every name there that stands for one bit of CPUID, and no other. */
static void test_cpu_features(void) {
        g_autoptr(GError) err = NULL;
        g_autofree char *text = NULL;
        gsize n, found = 0;
        const CpuFeature *all = cpu_features_all(&n);
        g_assert_true(g_file_get_contents("/usr/share/libvirt/cpu_map/x86_features.xml", &text, NULL, NULL));
        g_autoptr(xmlDoc) doc = xml_document_parse(text, "cpu_map", &err);
        g_assert_no_error(err);
        for (gsize i = 1; i < n; i++)
                g_assert_cmpstr(all[i - 1].name, <, all[i].name);
        XML_FOREACH (node, xmlDocGetRootElement(doc), "feature") {
                static const char *const registers[] = { "eax", "ebx", "ecx", "edx" };
                const xmlNode *cpuid = xml_first(node, "cpuid");
                g_autofree char *name = xml_attr(node, "name");
                const CpuFeature *feature = cpu_feature_find(name);
                g_assert_cmpint(feature != NULL, ==, cpuid != NULL);
                if (feature == NULL)
                        continue;
                guint64 function = 0, index = 0, mask = 0;
                g_assert_true(xml_attr_u64(cpuid, "eax_in", &function, NULL) &&
                              xml_attr_u64(cpuid, "ecx_in", &index, NULL) &&
                              xml_attr_u64(cpuid, registers[feature->reg], &mask, NULL));
                g_assert_cmpuint(feature->function, ==, function);
                g_assert_cmpuint(feature->index, ==, index);
                g_assert_cmphex(1u << feature->bit, ==, mask);
                found++;
        }
        g_assert_cmpuint(found, ==, n);
}

/* --- Metadata -------------------------------------------------------------------------------- */

static void test_metadata_texts(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "</domain>");
        g_autoptr(GError) err = NULL;
        g_assert_null(domain_def_get_metadata(def, VIR_DOMAIN_METADATA_TITLE, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_NO_DOMAIN_METADATA);
        g_clear_error(&err);
        g_assert_true(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_TITLE, "new\x01 title", NULL, NULL, &err));
        g_assert_true(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_DESCRIPTION, "a\nb", NULL, NULL, &err));
        g_assert_cmpstr(def->title, ==, "new title");
        g_assert_cmpstr(def->description, ==, "a\nb");
        g_assert_true(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_TITLE, "", NULL, NULL, &err));
        g_assert_null(def->title);
        g_assert_false(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_TITLE, "a\nb", NULL, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_XML_ERROR);
        g_clear_error(&err);
        g_assert_false(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_TITLE, "\xff", NULL, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_INVALID_ARG);
}

static void test_metadata_elements(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "<metadata><o:os xmlns:o='urn:os' id='1'/></metadata></domain>");
        g_autoptr(GError) err = NULL;
        int element = VIR_DOMAIN_METADATA_ELEMENT;
        g_assert_true(domain_def_set_metadata(def, element, "<app a='1'><b>x</b></app>", "k", "urn:k", &err));
        g_assert_cmpstr(def->metadata, ==,
                        "\n    <o:os xmlns:o=\"urn:os\" id=\"1\"/>\n"
                        "    <k:app xmlns:k=\"urn:k\" a=\"1\">\n      <k:b>x</k:b>\n    </k:app>\n  ");
        g_autofree char *read = domain_def_get_metadata(def, element, "urn:k", &err);
        g_assert_cmpstr(read, ==, "<app a=\"1\">\n  <b>x</b>\n</app>");
        g_assert_true(domain_def_set_metadata(def, element, "<other/>", "k2", "urn:k", &err));
        g_assert_null(strstr(def->metadata, "app"));
        g_assert_true(domain_def_set_metadata(def, element, NULL, NULL, "urn:k", &err));
        g_assert_null(domain_def_get_metadata(def, element, "urn:k", &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_NO_DOMAIN_METADATA);
        g_clear_error(&err);
        g_autofree char *os = domain_def_get_metadata(def, element, "urn:os", &err);
        g_assert_cmpstr(os, ==, "<os id=\"1\"/>");
        g_assert_true(domain_def_set_metadata(def, element, NULL, NULL, "urn:os", &err));
        g_assert_null(def->metadata);
}

static void test_metadata_errors(void) {
        static const struct {
                const char *xml, *key, *uri;
                int code;
        } cases[] = {
                { "<a", "k", "urn:k", VIR_ERR_XML_DETAIL },
                { "<a/>", "k", NULL, VIR_ERR_INVALID_ARG },
                { "<a/>", NULL, "urn:k", VIR_ERR_INVALID_ARG },
                { "<a/>", "b:c", "urn:k", VIR_ERR_INVALID_ARG },
                { "<!DOCTYPE a><a/>", "k", "urn:k", VIR_ERR_XML_ERROR },
                { "<a xmlns:k='urn:other'/>", "k", "urn:k", VIR_ERR_INVALID_ARG },
        };
        g_autoptr(DomainDef) def = parse(HEAD OS "</domain>");
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                g_assert_false(domain_def_set_metadata(def, VIR_DOMAIN_METADATA_ELEMENT, cases[i].xml, cases[i].key,
                                                       cases[i].uri, &err));
                g_assert_error(err, VIRTMICRO_ERROR, cases[i].code);
                g_assert_null(def->metadata);
        }
}

/* Filling up metadata fails before a definition gets too large to be read again. */
static void test_metadata_growth(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "</domain>");
        g_autofree char *text = g_strnfill(100 * 1024, 'x');
        g_autofree char *element = g_strdup_printf("<a>%s</a>", text);
        g_autoptr(GError) err = NULL;
        unsigned n = 0;
        for (; n < 20; n++) {
                g_autofree char *uri = g_strdup_printf("urn:%u", n);
                if (!domain_def_set_metadata(def, VIR_DOMAIN_METADATA_ELEMENT, element, "k", uri, &err))
                        break;
        }
        g_assert_cmpuint(n, >, 5);
        g_assert_cmpuint(n, <, 20);
        g_autofree char *xml = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        g_autoptr(DomainDef) again = parse(xml);
        g_assert_cmpstr(again->metadata, ==, def->metadata);
}

/* --- Translation ---------------------------------------------------------------------------------- */

static char *cmdline_of(const char *os, const char *devices) {
        g_autofree char *xml =
                g_strdup_printf(HEAD "<os><type>hvm</type>%s</os><devices>%s</devices></domain>", os, devices);
        g_autoptr(DomainDef) def = parse(xml);
        g_autofree VmmConfig *config = g_new0(VmmConfig, 1);
        g_assert_true(vmm_config_from_def(def, config, NULL));
        return g_strdup(config->cmdline.text);
}

static void test_cmdline(void) {
        static const struct {
                const char *os, *devices, *expected;
        } cases[] = {
                { "", "", "" },
                { "", "<serial type='pty'/>", "console=ttyS0" },
                { "", "<console type='pty'><target type='virtio'/></console>", "console=hvc0" },
                { "", "<channel type='pty'><target type='virtio' name='n'/></channel>", "" },
                { "<cmdline>quiet</cmdline>", "<serial type='pty'/>", "quiet console=ttyS0" },
                { "<cmdline>console=tty0 quiet</cmdline>", "<serial type='pty'/>", "console=tty0 quiet" },
                { "<cmdline>quiet console=hvc0</cmdline>", "<serial type='pty'/>", "quiet console=hvc0" },
                { "<cmdline>netconsole=x</cmdline>", "<serial type='pty'/>", "netconsole=x console=ttyS0" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = cmdline_of(cases[i].os, cases[i].devices);
                g_assert_cmpstr(text, ==, cases[i].expected);
        }
}

static void test_cmdline_length(void) {
        for (unsigned extra = 0; extra < 2; extra++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *text = g_strnfill(CTL_CMDLINE_MAX - 1 + extra, 'x');
                g_autofree char *xml =
                        g_strdup_printf(HEAD "<os><type>hvm</type><cmdline>%s</cmdline></os></domain>", text);
                g_autoptr(DomainDef) def = parse(xml);
                g_autofree VmmConfig *config = g_new0(VmmConfig, 1);
                g_assert_cmpint(vmm_config_from_def(def, config, &err), ==, extra == 0);
                if (extra > 0)
                        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        }
}

static void test_memory_rounding(void) {
        static const struct {
                const char *backing;
                guint64 kib, bytes, hugepage;
        } cases[] = {
                { "", 65536, 64ull << 20, 0 },
                { "", 65537, 66ull << 20, 0 },
                { "<hugepages/>", 65537, 66ull << 20, 2ull << 20 },
                { "<hugepages><page size='4'/></hugepages>", 65536, 64ull << 20, 0 },
                { "<hugepages><page size='1' unit='GiB'/></hugepages>", 65536, 1ull << 30, 1ull << 30 },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *xml = g_strdup_printf("<domain type='kvm'><name>x</name><memory>%" G_GUINT64_FORMAT
                                                       "</memory><memoryBacking>%s</memoryBacking>" OS "</domain>",
                                                       cases[i].kib, cases[i].backing);
                g_autoptr(DomainDef) def = parse(xml);
                g_autofree VmmConfig *config = g_new0(VmmConfig, 1);
                g_assert_true(vmm_config_from_def(def, config, NULL));
                g_assert_cmpuint(config->machine.memory_bytes, ==, cases[i].bytes);
                g_assert_cmpuint(config->machine.hugepage_size, ==, cases[i].hugepage);
        }
}

static void test_absolute_clock(void) {
        g_autoptr(DomainDef) def = parse(HEAD OS "<clock offset='absolute' start='0'/></domain>");
        g_autofree VmmConfig *config = g_new0(VmmConfig, 1);
        g_assert_true(vmm_config_from_def(def, config, NULL));
        g_assert_cmpint(ABS(config->machine.rtc_offset + (gint64) time(NULL)), <=, 2);
}

/* --- PCI addresses ------------------------------------------------------------------ */

#define SLOT(slot)            "<address type='pci' slot='" slot "'/>"
#define PCI_DISK(dev, inside) "<disk type='file'><source file='/x'/><target dev='" dev "'/>" inside "</disk>"
#define PCI_CHANNEL           "<channel type='pty'><target type='virtio' name='x'/></channel>"
#define PCI_RNG               "<rng model='virtio'><backend model='random'/></rng>"
#define DEVICES(x)            HEAD OS "<devices>" x "</devices></domain>"

static guint slot_of(const DomainDef *def, const char *target) {
        const DomainDisk *disk = domain_def_find_disk(def, target);
        return disk->pci.slot;
}

/* Devices without an address get the first free slots, in the order in which the monitor places them. */
static void test_addresses_chosen(void) {
        g_autoptr(DomainDef) def =
                parse(DEVICES(PCI_RNG PCI_CHANNEL "<interface type='bridge'><source bridge='b'/></interface>" PCI_DISK(
                        "vdc", "") PCI_DISK("vda", SLOT("0x2")) PCI_DISK("vdb", "<address type='drive'/>")));
        const DomainNic *nic = g_ptr_array_index(def->nics, 0);
        g_assert_cmpuint(slot_of(def, "vda"), ==, 2);
        g_assert_cmpuint(slot_of(def, "vdb"), ==, 1);
        g_assert_cmpuint(slot_of(def, "vdc"), ==, 3);
        g_assert_cmpuint(nic->pci.slot, ==, 4);
        g_assert_cmpuint(def->rng->pci.slot, ==, 5);
        g_assert_cmpuint(def->ports_pci.slot, ==, 6);

        struct ctl_disk disk;
        struct ctl_nic nic_message;
        struct ctl_rng rng;
        struct ctl_port port;
        vmm_config_disk(domain_def_find_disk(def, "vda"), &disk);
        vmm_config_nic(nic, &nic_message);
        vmm_config_rng(def->rng, &rng);
        g_assert_true(vmm_config_port(def, g_ptr_array_index(def->chars, 0), &port, NULL));
        g_assert_cmpuint(disk.place.slot, ==, 2);
        g_assert_cmpuint(nic_message.place.slot, ==, 4);
        g_assert_cmpuint(rng.place.slot, ==, 5);
        g_assert_cmpuint(port.place.slot, ==, 6);
}

/* A definition that a client reads, changes and sends back: old devices keep their slots, new ones get free slots. */
static void test_addresses_stay(void) {
        g_autoptr(DomainDef) def =
                parse(DEVICES(PCI_DISK("vda", "") PCI_DISK("vdb", "") PCI_DISK("vdc", "") PCI_CHANNEL));
        g_ptr_array_remove_index(def->disks, 1);
        g_autofree char *xml = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        char *end = strstr(xml, "  </devices>");
        g_autofree char *head = g_strndup(xml, (gsize) (end - xml));
        g_autofree char *more = g_strconcat(head, PCI_DISK("vdaa", "") PCI_RNG, end, NULL);
        g_autoptr(DomainDef) again = parse(more);
        g_assert_cmpuint(slot_of(again, "vda"), ==, 1);
        g_assert_cmpuint(slot_of(again, "vdc"), ==, 3);
        g_assert_cmpuint(again->ports_pci.slot, ==, 4);
        g_assert_cmpuint(slot_of(again, "vdaa"), ==, 2);
        g_assert_cmpuint(again->rng->pci.slot, ==, 5);

        g_ptr_array_set_size(again->chars, 0); /* the controller goes with the last port */
        g_autofree char *without = domain_def_format(again, DOMAIN_FORMAT_INACTIVE);
        g_autoptr(DomainDef) alone = parse(without);
        g_assert_false(alone->ports_pci.present);
}

/* Addresses of another machine type: those that are valid here are kept, the others noted. */
static void test_addresses_of_another_machine(void) {
        g_autoptr(DomainDef) def = parse(
                HEAD "<os><type machine='q35'>hvm</type><kernel>/k</kernel></os><devices>" PCI_DISK(
                        "vda", "<address type='pci' domain='0' bus='4' slot='0' function='0'/>")
                        PCI_DISK("vdb", SLOT("0x05")) PCI_DISK("vdc", "<address type='pci' slot='5' function='1'/>")
                                PCI_DISK("vdd", SLOT("0x1f")) "</devices></domain>");
        g_assert_cmpuint(slot_of(def, "vda"), ==, 1);
        g_assert_cmpuint(slot_of(def, "vdb"), ==, 5);
        g_assert_cmpuint(slot_of(def, "vdc"), ==, 2);
        g_assert_cmpuint(slot_of(def, "vdd"), ==, 3);
        g_assert_cmpuint(def->notes->len, ==, 4); /* the machine, and three addresses */
        g_assert_cmpstr(g_ptr_array_index(def->notes, 1), ==,
                        "PCI address of disk 'vda' left out: the machine has other buses");
}

/* An invalid address in the daemon's own file does not make the domain vanish. */
static void test_addresses_of_own_files(void) {
        g_autoptr(GError) err = NULL;
        g_autoptr(DomainDef) def = domain_def_parse(
                DEVICES(PCI_DISK("vda", SLOT("7")) PCI_DISK("vdb", SLOT("7")) PCI_DISK("vdc", SLOT("0x1f"))),
                DOMAIN_PARSE_OWN, NULL, &err);
        g_assert_no_error(err);
        g_assert_cmpuint(slot_of(def, "vda"), ==, 7);
        g_assert_cmpuint(slot_of(def, "vdb"), ==, 1);
        g_assert_cmpuint(slot_of(def, "vdc"), ==, 2);
}

static void test_too_many_for_the_bus(void) {
        g_autoptr(GError) err = NULL;
        GString *devices = g_string_new(PCI_RNG);
        for (char c = 'a'; c < 'a' + 24; c++)
                g_string_append_printf(devices, PCI_DISK("vd%c", ""), c);
        for (unsigned i = 0; i < 6; i++)
                g_string_append(devices, "<interface type='bridge'><source bridge='b'/></interface>");
        g_autofree char *xml = g_strdup_printf(DEVICES("%s"), devices->str);
        g_string_free(devices, TRUE);
        g_assert_null(domain_def_parse(xml, 0, NULL, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_assert_nonnull(strstr(err->message, "No more available PCI slots for rng 'virtio'"));
        g_autoptr(DomainDef) own = domain_def_parse(xml, DOMAIN_PARSE_OWN, NULL, NULL);
        g_assert_nonnull(own);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/def/cpu-features", test_cpu_features);
        g_test_add_func("/def/units", test_units);
        g_test_add_func("/def/unit-errors", test_unit_errors);
        g_test_add_func("/def/numbers", test_numbers);
        g_test_add_func("/def/uuid", test_uuid);
        g_test_add_func("/def/mac", test_mac);
        g_test_add_func("/def/generated", test_generated);
        g_test_add_func("/def/defaults", test_defaults);
        g_test_add_func("/machine/version", test_machine_version);
        g_test_add_func("/machine/version-to-come", test_machine_version_to_come);
        g_test_add_func("/machine/verdicts", test_machine_verdicts);
        g_test_add_func("/def/find", test_find);
        g_test_add_func("/def/names", test_names);
        g_test_add_func("/def/escaping", test_escaping);
        g_test_add_func("/def/live-only", test_live_only);
        g_test_add_func("/def/channel-paths", test_channel_paths);
        g_test_add_func("/def/channel-path-length", test_channel_path_length);
        g_test_add_func("/def/unmanaged-target", test_unmanaged_target);
        g_test_add_func("/def/own-files", test_own_files);
        g_test_add_func("/def/startable", test_startable);
        g_test_add_func("/metadata/texts", test_metadata_texts);
        g_test_add_func("/metadata/elements", test_metadata_elements);
        g_test_add_func("/metadata/errors", test_metadata_errors);
        g_test_add_func("/metadata/growth", test_metadata_growth);
        g_test_add_func("/vmm-config/cmdline", test_cmdline);
        g_test_add_func("/vmm-config/cmdline-length", test_cmdline_length);
        g_test_add_func("/vmm-config/memory", test_memory_rounding);
        g_test_add_func("/vmm-config/absolute-clock", test_absolute_clock);
        g_test_add_func("/addresses/chosen", test_addresses_chosen);
        g_test_add_func("/addresses/stay", test_addresses_stay);
        g_test_add_func("/addresses/another-machine", test_addresses_of_another_machine);
        g_test_add_func("/addresses/own-files", test_addresses_of_own_files);
        g_test_add_func("/addresses/too-many", test_too_many_for_the_bus);
        return g_test_run();
}
