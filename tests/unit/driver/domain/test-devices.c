/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices that are attached, changed and detached: the real driver on files in a temporary directory. A case is one
 * call on a domain with one device of each kind; after it the file says what memory says, and after a call that failed
 * both say what they said before. Without a system bus no domain can be started; one that counts as running has a fake
 * monitor and no TAP.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "domain/device.h"
#include "domain/launch.h"
#include "util/error.h"

#define CONFIG ((guint) VIR_DOMAIN_AFFECT_CONFIG)
#define LIVE   ((guint) VIR_DOMAIN_AFFECT_LIVE)
#define MAC    "52:54:00:00:00:09"

#define DISK "<disk type='file' device='disk'><source file='/img/a'/><target dev='vda' bus='virtio'/></disk>"
#define NIC  "<interface type='bridge'><mac address='" MAC "'/><source bridge='br0'/></interface>"
#define TWIN                                                                                                           \
        "<interface type='bridge'><mac address='" MAC "'/><source bridge='br1'/><alias name='ua-twin'/></interface>"
#define SERIAL    "<serial type='pty'><log file='/log/a'/></serial>"
#define CHANNEL   "<channel type='unix'><target type='virtio' name='org.x.0'/><alias name='ua-chan'/></channel>"
#define RNG       "<rng model='virtio'><rate bytes='9'/><backend model='random'>/dev/urandom</backend></rng>"
#define VSOCK     "<vsock model='virtio'><cid auto='no' address='17'/></vsock>"
#define OTHER_RNG "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
#define VDB       "<disk type='file'><source file='/img/b'/><target dev='vdb'/>"
#define LAN       "<interface type='bridge'><mac address='52:54:00:00:00:0a'/><source bridge='br1'/>"

#define UP "<interface type='bridge'><mac address='" MAC "'/><source bridge='br0'/>"

typedef enum Call { ATTACH, DETACH, UPDATE, DETACH_ALIAS } Call;

typedef struct Case {
        const char *name;
        Call call;
        const char *text;    /* XML, or an alias */
        int code;            /* VIR_ERR_OK: it succeeds */
        const char *says;    /* in the error, or in the XML of the domain */
        const char *gone;    /* not in the XML of the domain */
        const char *devices; /* besides the usual ones */
        gboolean reject;     /* legacy_devices=reject */
        guint flags;         /* besides CONFIG */
} Case;

typedef struct Fixture {
        char *dir;
        DriverConfig config;
        Driver *driver;
        Domain *domain;
        Vmm *monitor; /* NULL: it does not run */
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
        const Case *c = data;
        g_autoptr(GError) err = NULL;
        g_autofree char *xml = g_strdup_printf(
                "<domain type='kvm'><name>web1</name><memory unit='MiB'>128</memory>"
                "<os><type>hvm</type><kernel>/nonexistent/vmlinuz</kernel></os><devices>" DISK NIC SERIAL CHANNEL RNG
                "%s</devices></domain>",
                c && c->devices ? c->devices : "");
        *f = (Fixture) { .dir = g_dir_make_tmp("test-devices-XXXXXX", NULL) };
        f->config = (DriverConfig) {
                .config_dir = g_build_filename(f->dir, "etc", NULL),
                .state_dir = g_build_filename(f->dir, "run", NULL),
                .vmm_path = g_strdup("/nonexistent/virtmicro-vmm"),
                .uid_base = 100000,
                .reject_legacy_devices = c && c->reject,
        };
        f->driver = driver_new(&f->config, &err);
        g_assert_no_error(err);
        f->domain = driver_define_xml(f->driver, xml, 0, &err);
        g_assert_no_error(err);
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        domain_unref(f->domain);
        if (f->monitor)
                vmm_kill(f->monitor, SIGKILL);
        driver_free(f->driver);
        g_clear_pointer(&f->monitor, vmm_unref);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_free(f->config.config_dir);
        g_free(f->config.state_dir);
        g_free(f->config.vmm_path);
        g_free(f->dir);
}

static gboolean do_call(Domain *d, Call call, const char *text, guint flags, GError **err) {
        switch (call) {
        case ATTACH:
                return domain_attach_device(d, text, flags, err);
        case DETACH:
                return domain_detach_device(d, text, flags, err);
        case UPDATE:
                return domain_update_device(d, text, flags, err);
        default:
                return domain_detach_device_alias(d, text, flags, err);
        }
}

static char *xml_of(Domain *d) {
        g_autoptr(GError) err = NULL;
        char *xml = domain_get_xml(d, VIR_DOMAIN_XML_INACTIVE, &err);
        g_assert_no_error(err);
        return xml;
}

/* What the next daemon would read; and a client could define it. */
static void assert_stored(Fixture *f) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = g_build_filename(f->config.config_dir, "web1.xml", NULL), *xml = xml_of(f->domain);
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_autoptr(DomainDef) stored = domain_def_parse(text, DOMAIN_PARSE_OWN, NULL, &err);
        g_assert_no_error(err);
        g_autofree char *again = domain_def_format(stored, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(again, ==, xml);
        g_autoptr(DomainDef) defined = domain_def_parse(xml, DOMAIN_PARSE_REJECT_LEGACY, NULL, &err);
        g_assert_no_error(err);
        g_autofree char *third = domain_def_format(defined, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(third, ==, xml);
}

static void test_case(Fixture *f, gconstpointer data) {
        const Case *c = data;
        g_autoptr(GError) err = NULL;
        g_autofree char *before = xml_of(f->domain);
        gboolean ok = do_call(f->domain, c->call, c->text, CONFIG | c->flags, &err);
        g_autofree char *after = xml_of(f->domain);
        assert_stored(f);
        if (c->code == VIR_ERR_OK) {
                g_assert_no_error(err);
                g_assert_true(ok);
                if (c->says && !strstr(after, c->says))
                        g_error("no %s in %s", c->says, after);
                if (c->gone && strstr(after, c->gone))
                        g_error("still %s in %s", c->gone, after);
                return;
        }
        g_assert_false(ok);
        g_assert_nonnull(err);
        if (!err || err->code != c->code || !strstr(err->message, c->says))
                g_error("code %d, not %d: %s", err ? err->code : 0, c->code, err ? err->message : "");
        g_assert_cmpstr(after, ==, before);
}

static const Case cases[] = {
        /* Disks: by target. */
        { "disk/attach", ATTACH, VDB "</disk>", .says = "<target dev='vdb' bus='virtio'/>" },
        { "disk/attach-by-type", ATTACH, "<disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>",
          .says = "<source dev='/dev/x'/>" },
        { "disk/attach-legacy", ATTACH, "<disk><source file='/img/b'/><target dev='sda' bus='sata'/></disk>",
          .says = "<target dev='vdb' bus='virtio'/>" },
        { "disk/attach-cdrom", ATTACH,
          "<disk device='cdrom'><source file='/img/b'/><target dev='hdc' bus='ide'/></disk>",
          .says = "<target dev='vdc' bus='virtio'/>\n      <readonly/>" },
        { "disk/attach-legacy-rejected", ATTACH, "<disk><source file='/b'/><target dev='sda' bus='sata'/></disk>",
          VIR_ERR_CONFIG_UNSUPPORTED, "on bus 'sata' is not supported", .reject = TRUE },
        { "disk/attach-twice", ATTACH, DISK, VIR_ERR_OPERATION_INVALID, "target vda already exists" },
        { "disk/attach-no-medium", ATTACH, "<disk device='cdrom'><target dev='hdc' bus='ide'/></disk>",
          VIR_ERR_CONFIG_UNSUPPORTED, "no drives" },
        { "disk/attach-floppy", ATTACH, "<disk device='floppy'><source file='/f'/><target dev='fda'/></disk>",
          VIR_ERR_CONFIG_UNSUPPORTED, "no drives" },
        { "disk/attach-no-target", ATTACH, "<disk><source file='/b'/></disk>", VIR_ERR_NO_TARGET, "missing target" },
        { "disk/attach-no-source", ATTACH, "<disk><target dev='vdb'/></disk>", VIR_ERR_NO_SOURCE, "missing source" },
        { "disk/attach-boot-order", ATTACH, VDB "<boot order='1'/></disk>", VIR_ERR_CONFIG_UNSUPPORTED,
          "per-device boot elements" },
        { "disk/attach-refused", ATTACH, VDB "<transient/></disk>", VIR_ERR_CONFIG_UNSUPPORTED, "<transient>" },
        { "disk/attach-refused-type", ATTACH, "<disk type='network'><source/><target dev='vdb'/></disk>",
          VIR_ERR_CONFIG_UNSUPPORTED, "not supported" },
        { "disk/attach-noted", ATTACH, VDB "<driver queues='4'/></disk>", .says = "dev='vdb'", .gone = "queues" },
        { "disk/attach-alias-twice", ATTACH, VDB "<alias name='ua-chan'/></disk>", VIR_ERR_XML_ERROR,
          "non unique alias detected: ua-chan" },
        { "disk/detach", DETACH, DISK, .gone = "<disk" },
        { "disk/detach-by-target", DETACH, "<disk><target dev='vda'/></disk>", .gone = "<disk" },
        { "disk/detach-missing", DETACH, VDB "</disk>", VIR_ERR_DEVICE_MISSING, "no target device vdb" },
        { "disk/update", UPDATE,
          "<disk><driver error_policy='stop'/><source file='/img/b'/><target dev='vda'/><readonly/></disk>",
          .says = "<driver error_policy='stop'/>\n      <source file='/img/b'/>\n      "
                  "<target dev='vda' bus='virtio'/>\n      <readonly/>",
          .gone = "/img/a" },
        { "disk/update-keeps-address", UPDATE, VDB "<readonly/></disk>", .says = "slot='0x0d'",
          .devices = VDB "<address type='pci' slot='0x0d'/></disk>" },
        { "disk/update-keeps-alias", UPDATE, VDB "<readonly/></disk>",
          .says = "<readonly/>\n      <alias name='ua-b'/>", .devices = VDB "<alias name='ua-b'/></disk>" },
        { "disk/attach-to-taken-slot", ATTACH, VDB "<address type='pci' slot='0x01'/></disk>", VIR_ERR_XML_ERROR,
          "Attempted double use of PCI Address 0000:00:01.0 by disk 'vda' and disk 'vdb'" },
        { "disk/attach-to-free-slot", ATTACH, VDB "<address type='pci' slot='0x0e'/></disk>", .says = "slot='0x0e'" },
        { "disk/update-missing", UPDATE, VDB "</disk>", VIR_ERR_DEVICE_MISSING, "no target device vdb" },
        { "disk/update-no-medium", UPDATE, "<disk device='cdrom'><target dev='vda'/></disk>",
          VIR_ERR_CONFIG_UNSUPPORTED, "no drives" },
        { "disk/update-forced", UPDATE, "<disk><source file='/img/c'/><target dev='vda'/></disk>", .says = "/img/c",
          .flags = VIR_DOMAIN_DEVICE_MODIFY_FORCE },
        { "disk/attach-forced", ATTACH, VDB "</disk>", VIR_ERR_INVALID_ARG,
          "unsupported flags (0x4) in function virDomainAttachDeviceFlags", .flags = VIR_DOMAIN_DEVICE_MODIFY_FORCE },
        { "disk/attach-same-image", ATTACH, "<disk><source file='/img/a'/><target dev='sda' bus='sata'/></disk>",
          VIR_ERR_OPERATION_INVALID, "'/img/a' is disk 'vda' already" },
        { "disk/attach-same-image-to-read", ATTACH, VDB "<readonly/></disk>", .says = "dev='vdb'",
          .devices = "<disk><source file='/img/b'/><target dev='vdc'/><readonly/></disk>" },
        { "disk/detach-by-image", DETACH,
          "<disk type='file'><source file='/img/a'/><target dev='sda' bus='sata'/></disk>", .gone = "<disk",
          .reject = TRUE },
        { "disk/detach-other-image", DETACH, "<disk type='file'><source file='/img/b'/><target dev='sda'/></disk>",
          VIR_ERR_DEVICE_MISSING, "no target device sda" },
        { "disk/detach-forced", DETACH, DISK, .gone = "<disk", .flags = VIR_DOMAIN_DEVICE_MODIFY_FORCE },
        { "disk/detach-unknown-flag", DETACH, DISK, VIR_ERR_INVALID_ARG,
          "unsupported flags (0x8) in function virDomainDetachDeviceFlags", .flags = 8 },
        { "disk/update-unknown-flag", UPDATE, DISK, VIR_ERR_INVALID_ARG,
          "unsupported flags (0x8) in function virDomainUpdateDeviceFlags", .flags = 8 },
        { "disk/live", ATTACH, VDB "</disk>", VIR_ERR_OPERATION_INVALID, "domain is not running",
          .flags = VIR_DOMAIN_AFFECT_LIVE },

        /* Interfaces: by MAC and alias. */
        { "interface/attach", ATTACH, LAN "<link state='down'/></interface>", .says = "<source bridge='br1'/>" },
        { "interface/attach-legacy", ATTACH, LAN "<model type='e1000'/></interface>", .says = "br1", .gone = "e1000" },
        { "interface/attach-legacy-rejected", ATTACH, LAN "<model type='e1000'/></interface>",
          VIR_ERR_CONFIG_UNSUPPORTED, "of model 'e1000' is not supported", .reject = TRUE },
        { "interface/attach-same-mac", ATTACH, TWIN, .says = "ua-twin" },
        { "interface/attach-user", ATTACH, "<interface type='user'/>", VIR_ERR_CONFIG_UNSUPPORTED, "type='bridge'" },
        { "interface/attach-boot-order", ATTACH, LAN "<boot order='1'/></interface>", VIR_ERR_CONFIG_UNSUPPORTED,
          "per-device boot elements" },
        { "interface/detach", DETACH, NIC, .gone = "<interface" },
        { "interface/detach-the-only-one", DETACH, "<interface type='bridge'><source bridge='x'/></interface>",
          .gone = "<interface" },
        { "interface/detach-missing", DETACH, LAN "</interface>", VIR_ERR_DEVICE_MISSING,
          "no interface with MAC address 52:54:00:00:00:0a found" },
        { "interface/detach-ambiguous", DETACH, NIC, VIR_ERR_OPERATION_FAILED,
          "multiple interfaces with MAC address " MAC " found", .devices = TWIN },
        { "interface/detach-any", DETACH, "<interface type='bridge'><source bridge='x'/></interface>",
          VIR_ERR_OPERATION_FAILED, "multiple interfaces found: give a MAC address", .devices = LAN "</interface>" },
        { "interface/detach-by-alias", DETACH, TWIN, .says = "br0", .gone = "br1", .devices = TWIN },
        { "interface/detach-by-slot", DETACH,
          "<interface type='bridge'><source bridge='x'/><address type='pci' slot='0x0d'/></interface>", .says = "br0",
          .gone = "br1", .devices = LAN "<address type='pci' slot='0x0d'/></interface>" },
        { "interface/detach-other-slot", DETACH, UP "<address type='pci' slot='0x0e'/></interface>",
          VIR_ERR_DEVICE_MISSING, "no interface with MAC address " MAC " and PCI slot 0x0e found" },
        { "interface/update", UPDATE,
          "<interface type='network'><mac address='" MAC "'/><source network='lan'/><link state='down'/>"
          "<bandwidth><inbound average='7'/></bandwidth></interface>",
          .says = "<source network='lan'/>\n      <bandwidth>\n        <inbound average='7'/>", .gone = "br0" },
        { "interface/update-keeps-mac", UPDATE,
          "<interface type='bridge'><source bridge='br7'/><link state='down'/></interface>",
          .says = "<mac address='" MAC "'/>\n      <source bridge='br7'/>" },
        { "interface/update-keeps-address", UPDATE, LAN "<link state='down'/></interface>", .says = "slot='0x0d'",
          .devices = LAN "<address type='pci' slot='0x0d'/></interface>" },
        { "interface/update-keeps-alias", UPDATE, LAN "<link state='down'/></interface>",
          .says = "<link state='down'/>\n      <alias name='ua-lan'/>",
          .devices = LAN "<alias name='ua-lan'/></interface>" },
        { "interface/update-missing", UPDATE, LAN "</interface>", VIR_ERR_DEVICE_MISSING, "no interface with" },

        /* Serial ports, consoles, channels. */
        { "channel/attach", ATTACH, "<channel type='unix'><target type='virtio' name='org.y.0'/></channel>",
          .says = "org.y.0" },
        { "channel/attach-twice", ATTACH, CHANNEL, VIR_ERR_OPERATION_INVALID, "chardev already exists" },
        { "channel/attach-spice", ATTACH, "<channel type='spicevmc'><target type='virtio'/></channel>",
          VIR_ERR_OPERATION_UNSUPPORTED, "microVMs have no display" },
        { "channel/detach", DETACH, CHANNEL, .gone = "<channel" },
        { "channel/detach-as-running", DETACH,
          "<channel type='unix'><source mode='bind' path='/run/libvirt/qemu/channel/1-web1/org.x.0'/>"
          "<target type='virtio' name='org.x.0' state='connected'/><alias name='channel0'/></channel>",
          .gone = "<channel" },
        { "channel/detach-missing", DETACH, "<channel type='unix'><target type='virtio' name='org.y.0'/></channel>",
          VIR_ERR_DEVICE_MISSING, "no such channel" },
        { "channel/detach-other-alias", DETACH,
          "<channel type='unix'><target type='virtio' name='org.x.0'/><alias name='ua-other'/></channel>",
          VIR_ERR_DEVICE_MISSING, "no such channel" },
        { "channel/update", UPDATE, CHANNEL, VIR_ERR_OPERATION_UNSUPPORTED,
          "persistent update of device 'channel' is not supported" },
        { "console/attach", ATTACH, "<console type='pty'><target type='virtio'/></console>",
          .says = "<target type='virtio' port='1'/>" },
        { "console/attach-same-port", ATTACH, "<console type='pty'><target type='virtio' port='1'/></console>",
          VIR_ERR_OPERATION_INVALID, "chardev already exists",
          .devices = "<console type='pty'><target type='virtio' port='1'/></console>" },
        { "console/attach-port-of-another-type", ATTACH,
          "<console type='pty'><target type='virtio' port='0'/></console>", VIR_ERR_OPERATION_INVALID,
          "there is a console with port 0 already" },
        { "console/attach-serial", ATTACH, "<console type='pty'/>", VIR_ERR_OPERATION_UNSUPPORTED,
          "attaching a console that is a serial port" },
        { "console/detach", DETACH, "<console type='pty'><target type='virtio'/></console>",
          .says = "<target type='serial' port='0'/>", .gone = "<target type='virtio' port",
          .devices = "<console type='pty'><target type='virtio'/></console>" },
        { "console/detach-ambiguous", DETACH, "<console type='pty'><target type='virtio'/></console>",
          VIR_ERR_OPERATION_FAILED, "multiple devices 'console' match",
          .devices = "<console type='pty'><target type='virtio'/></console>"
                     "<console type='pty'><target type='virtio'/></console>" },
        { "console/detach-serial", DETACH, "<console type='pty'/>", .gone = "isa-serial" },
        { "serial/attach-second", ATTACH, "<serial type='pty'/>", VIR_ERR_CONFIG_UNSUPPORTED, "one serial port" },
        { "serial/detach", DETACH, "<serial type='pty'/>", .says = "<channel", .gone = "<console" },

        /* The random number generator. */
        { "rng/attach-second", ATTACH, RNG, VIR_ERR_OPERATION_INVALID, "random number generator already" },
        { "rng/detach", DETACH, RNG, .gone = "<rng" },
        { "rng/detach-other", DETACH, OTHER_RNG, VIR_ERR_DEVICE_MISSING, "no matching RNG device" },
        { "rng/detach-other-slot", DETACH,
          "<rng model='virtio'><rate bytes='9'/><backend model='random'>/dev/urandom</backend>"
          "<address type='pci' slot='0x1d'/></rng>",
          VIR_ERR_DEVICE_MISSING, "no matching RNG device" },
        { "rng/update", UPDATE, RNG, VIR_ERR_OPERATION_UNSUPPORTED, "persistent update of device 'rng'" },

        /* The socket device. */
        { "vsock/attach", ATTACH, VSOCK, .says = "<cid auto='no' address='17'/>" },
        { "vsock/attach-second", ATTACH, VSOCK, VIR_ERR_OPERATION_INVALID, "already has a vsock device",
          .devices = VSOCK },
        { "vsock/detach", DETACH, VSOCK, .gone = "<vsock", .devices = VSOCK },
        { "vsock/detach-auto", DETACH, "<vsock model='virtio'/>", .gone = "<vsock",
          .devices = "<vsock model='virtio'><cid auto='yes'/></vsock>" },
        { "vsock/detach-other", DETACH, "<vsock><cid address='18'/></vsock>", VIR_ERR_DEVICE_MISSING,
          "matching vsock device not found", .devices = VSOCK },
        { "vsock/update", UPDATE, VSOCK, VIR_ERR_OPERATION_UNSUPPORTED, "persistent update of device 'vsock'",
          .devices = VSOCK },

        /* By alias. */
        { "alias/detach", DETACH_ALIAS, "ua-chan", .gone = "<channel" },
        { "alias/detach-interface", DETACH_ALIAS, "ua-twin", .says = "br0", .gone = "br1", .devices = TWIN },
        { "alias/unknown", DETACH_ALIAS, "virtio-disk0", VIR_ERR_INTERNAL_ERROR,
          "no device found with alias virtio-disk0" },
        { "alias/empty", DETACH_ALIAS, "", VIR_ERR_INTERNAL_ERROR, "no device found with alias" },
        { "alias/unknown-flag", DETACH_ALIAS, "ua-chan", VIR_ERR_INVALID_ARG,
          "unsupported flags (0x8) in function virDomainDetachDeviceAlias", .flags = 8 },

        /* What is no device of a microVM. */
        { "other/hostdev", ATTACH, "<hostdev mode='subsystem' type='pci'/>", VIR_ERR_OPERATION_UNSUPPORTED,
          "'hostdev' cannot be attached" },
        { "other/input", ATTACH, "<input type='tablet' bus='usb'/>", VIR_ERR_OPERATION_UNSUPPORTED,
          "microVMs have no display" },
        { "other/controller", ATTACH, "<controller type='pci' model='pcie-root-port'/>", VIR_ERR_OPERATION_UNSUPPORTED,
          "device 'controller' cannot be attached" },
        { "other/virtio-serial", ATTACH, "<controller type='virtio-serial'/>", VIR_ERR_OPERATION_UNSUPPORTED,
          "device 'controller' cannot be attached" },
        { "other/emulator", ATTACH, "<emulator>/bin/sh</emulator>", VIR_ERR_OPERATION_UNSUPPORTED, "'emulator'" },
        { "other/unknown", ATTACH, "<teapot/>", VIR_ERR_XML_ERROR, "unknown device type 'teapot'" },
        { "other/domain", ATTACH, "<domain type='kvm'><devices>" VDB "</disk></devices></domain>", VIR_ERR_XML_ERROR,
          "unknown device type 'domain'" },
        { "other/namespace", ATTACH, "<q:disk xmlns:q='urn:q'/>", VIR_ERR_XML_ERROR, "unknown device type 'disk'" },
        { "other/two", ATTACH, DISK DISK, VIR_ERR_XML_DETAIL, "(device_definition):1: " },
        { "other/nothing", ATTACH, "", VIR_ERR_XML_DETAIL, "(device_definition):" },
        { "other/doctype", ATTACH, "<!DOCTYPE disk [<!ENTITY a 'b'>]>" DISK, VIR_ERR_XML_ERROR,
          "a document type declaration is not allowed" },
};

/* --- More than one call -------------------------------------------------------------------- */

static void assert_done(gboolean ok, GError *err) {
        g_assert_no_error(err);
        g_assert_true(ok);
}

/* A serial port brings its console, and both can come again; so can a generator. */
static void test_again(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        g_autofree char *before = xml_of(f->domain);
        for (int i = 0; i < 3; i++) {
                assert_done(domain_detach_device(f->domain, SERIAL, CONFIG, &err), err);
                assert_done(domain_detach_device(f->domain, RNG, CONFIG, &err), err);
                assert_done(domain_attach_device(f->domain, SERIAL, CONFIG, &err), err);
                assert_done(domain_attach_device(f->domain, RNG, CONFIG, &err), err);
        }
        g_autofree char *after = xml_of(f->domain);
        g_assert_cmpstr(after, ==, before);
}

/* The order of boot is what the domain says, device by device, and changes with a device. */
static void test_boot_order(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        domain_lock(f->domain);
        g_ptr_array_set_size(f->domain->def->os.boot, 0);
        domain_unlock(f->domain);
        assert_done(domain_attach_device(f->domain, VDB "<boot order='1'/></disk>", CONFIG, &err), err);
        g_assert_false(domain_attach_device(f->domain, LAN "<boot order='1'/></interface>", CONFIG, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_clear_error(&err);
        assert_done(domain_attach_device(f->domain, LAN "<boot order='2'/></interface>", CONFIG, &err), err);
        assert_done(
                domain_update_device(f->domain, LAN "<boot order='2'/><link state='down'/></interface>", CONFIG, &err),
                err);
        g_autofree char *xml = xml_of(f->domain);
        g_assert_nonnull(strstr(xml, "<link state='down'/>\n      <boot order='2'/>"));
        assert_stored(f);
}

static void attach_nics(Fixture *f, guint n) {
        g_autoptr(GError) err = NULL;
        for (guint i = 0; i < n; i++)
                assert_done(domain_attach_device(f->domain, "<interface type='bridge'><source bridge='b'/></interface>",
                                                 CONFIG, &err),
                            err);
}

/* As many as a domain may have, and not one more, and no more than there are slots. */
static void test_limits(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        for (guint i = 1; i < DOMAIN_DISKS_MAX; i++) {
                g_autofree char *xml =
                        g_strdup_printf("<disk><source file='/img/%u'/><target dev='vd%c'/></disk>", i, 'a' + i);
                assert_done(domain_attach_device(f->domain, xml, CONFIG, &err), err);
        }
        g_assert_false(
                domain_attach_device(f->domain, "<disk><source file='/x'/><target dev='vdz'/></disk>", CONFIG, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_clear_error(&err);
        attach_nics(f, DOMAIN_PCI_SLOT_LAST - DOMAIN_DISKS_MAX - 3); /* an interface, the RNG and the ports are there */
        g_assert_false(domain_attach_device(f->domain, LAN "</interface>", CONFIG, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_assert_nonnull(strstr(err->message, "No more available PCI slots"));
        g_clear_error(&err);
        for (char c = 'b'; c < 'b' + (int) DOMAIN_NICS_MAX; c++) {
                g_autofree char *xml = g_strdup_printf("<disk><source file='/x'/><target dev='vd%c'/></disk>", c);
                assert_done(domain_detach_device(f->domain, xml, CONFIG, &err), err);
        }
        attach_nics(f, DOMAIN_NICS_MAX - 1 - (DOMAIN_PCI_SLOT_LAST - DOMAIN_DISKS_MAX - 3));
        g_assert_false(domain_attach_device(f->domain, LAN "</interface>", CONFIG, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        g_assert_null(strstr(err->message, "PCI"));
        assert_stored(f);
}

/* What was replaced is told once, also to the next daemon, and for as long as the device is there. */
static void test_notes(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        for (int i = 0; i < 3; i++) {
                assert_done(domain_attach_device(f->domain, LAN "<model type='e1000'/></interface>", CONFIG, &err),
                            err);
                g_auto(GStrv) messages = domain_get_messages(f->domain, 0, &err);
                g_assert_cmpuint(g_strv_length(messages), ==, 1);
                g_assert_nonnull(strstr(messages[0], "interface 52:54:00:00:00:0a of model e1000 became virtio"));
                assert_stored(f);
                assert_done(domain_detach_device(f->domain, LAN "</interface>", CONFIG, &err), err);
                g_auto(GStrv) none = domain_get_messages(f->domain, 0, &err);
                g_assert_cmpuint(g_strv_length(none), ==, 0);
                assert_stored(f);
        }
}

/* A definition from before a limit has more than fits: it can lose devices, and gets none. */
static void test_too_many(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        domain_lock(f->domain);
        for (int i = 0; i < (int) DOMAIN_PCI_SLOT_LAST; i++) {
                g_autofree char *xml = g_strdup_printf("<disk><source file='/i%d'/><target dev='vd%c%c'/></disk>", i,
                                                       'b' + i / 20, 'a' + i % 20);
                g_autoptr(DomainDevice) device = domain_device_parse(xml, 0, &err);
                g_assert_no_error(err);
                (void) device_kind_disk.insert(f->domain->def, device);
        }
        domain_unlock(f->domain);
        g_assert_false(domain_attach_device(f->domain, VDB "</disk>", CONFIG, &err));
        g_clear_error(&err);
        assert_done(domain_detach_device(f->domain, "<disk><target dev='vdba'/></disk>", CONFIG, &err), err);
        assert_done(domain_detach_device(f->domain, CHANNEL, CONFIG, &err), err);
}

/* The file cannot be written: nothing has changed. */
static void test_file_fails(Fixture *f, gconstpointer unused) {
        static const struct {
                Call call;
                const char *text;
        } calls[] = { { ATTACH, VDB "</disk>" }, { DETACH, DISK }, { UPDATE, NIC }, { DETACH_ALIAS, "ua-chan" } };
        g_autofree char *path = g_build_filename(f->config.config_dir, "web1.xml.new", NULL);
        g_autofree char *before = xml_of(f->domain);
        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
                g_autoptr(GError) err = NULL;
                g_assert_false(do_call(f->domain, calls[i].call, calls[i].text, CONFIG, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_SYSTEM_ERROR);
                g_autofree char *after = xml_of(f->domain);
                g_assert_cmpstr(after, ==, before);
        }
        assert_stored(f);
}

static void note_event(const DomainEvent *event, gpointer data) {
        GString *seen = data;
        if (event->type == VIR_DOMAIN_EVENT_ID_LIFECYCLE)
                g_string_append_printf(seen, "%d/%d ", event->lifecycle.event, event->lifecycle.detail);
}

/* A change of the persistent definition is an event, one that failed is none. */
static void test_event(Fixture *f, gconstpointer unused) {
        g_autoptr(GError) err = NULL;
        GString *seen = g_string_new(NULL);
        while (g_main_context_iteration(NULL, FALSE))
                ;
        guint listener = driver_add_listener(f->driver, note_event, seen);
        assert_done(domain_attach_device(f->domain, VDB "</disk>", CONFIG, &err), err);
        g_assert_false(domain_attach_device(f->domain, VDB "</disk>", CONFIG, NULL));
        assert_done(domain_detach_device(f->domain, VDB "</disk>", CONFIG, &err), err);
        while (g_main_context_iteration(NULL, FALSE))
                ;
        g_assert_cmpstr(seen->str, ==, "0/1 0/1 "); /* DEFINED, UPDATED */
        driver_remove_listener(f->driver, listener);
        g_string_free(seen, TRUE);
}

/* --- A domain that counts as running ------------------------------------------------------------ */

#define DOWN UP "<link state='down'/></interface>"

/* What domain_start() leaves in a Domain. `mode` says how the monitor behaves; it notes links in the file "links". */
static void run_with_monitor(Fixture *f, const char *mode) {
        Domain *d = f->domain;
        g_autoptr(GError) err = NULL;
        g_autofree char *socket = g_build_filename(f->dir, "ctl", NULL),
                        *links = g_build_filename(f->dir, "links", NULL);
        const VmmCallbacks callbacks = { .data = domain_ref(d) };
        VmmSpawn spawn = {
                .binary = g_getenv("FAKE_MONITOR"),
                .name = mode,
                .uuid = "u",
                .uid = getuid(),
                .socket_path = socket,
                .log_fd = open(links, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600),
        };
        f->monitor = vmm_spawn(&spawn, &callbacks, &err);
        g_assert_no_error(err);
        g_assert_cmpint(close(spawn.log_fd), ==, 0);
        domain_lock(d);
        d->run.vmm = vmm_ref(f->monitor);
        d->newdef = d->def;
        g_autoptr(Launch) launch = launch_new(d, domain_def_copy(d->newdef), 7);
        d->def = g_steal_pointer(&launch->def);
        domain_def_assign_aliases(d->def);
        d->run.devices = device_ids_new();
        (void) device_ids_give(d->run.devices, "virtio-disk0"); /* 1 */
        for (guint i = 0; i < d->def->nics->len; i++)
                (void) device_ids_give(d->run.devices, ((DomainNic *) g_ptr_array_index(d->def->nics, i))->alias);
        ((DomainNic *) g_ptr_array_index(d->def->nics, 0))->target = g_strdup("vnet-no-tap");
        g_assert_true(status_save(d, &err));
        domain_unlock(d);
}

static char *read_file(const char *dir, const char *file) {
        g_autofree char *path = g_build_filename(dir, file, NULL);
        char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return text;
}

static void assert_links(Fixture *f, const char *expected) {
        g_autofree char *links = read_file(f->dir, "links");
        g_assert_cmpstr(links, ==, expected);
}

/* The link in the live XML, in the status file, in the persistent definition and in its file. */
static void assert_down(Fixture *f, gboolean live, gboolean config) {
        g_autofree char *xml = domain_get_xml(f->domain, 0, NULL), *inactive = xml_of(f->domain);
        g_autofree char *status = read_file(f->config.state_dir, "web1.xml");
        const char *down = "<link state='down'/>";
        g_assert_true((strstr(xml, down) != NULL) == live);
        g_assert_true((strstr(status, down) != NULL) == live);
        g_assert_true((strstr(inactive, down) != NULL) == config);
        g_autofree char *file = read_file(f->config.config_dir, "web1.xml");
        g_assert_true((strstr(file, down) != NULL) == config);
}

static void assert_failed(gboolean ok, GError **err, int code, const char *text) {
        g_assert_false(ok);
        g_assert_error(*err, VIRTMICRO_ERROR, code);
        if (!strstr((*err)->message, text))
                g_error("no %s in %s", text, (*err)->message);
        g_clear_error(err);
}

static void test_link(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        run_with_monitor(f, "good");
        assert_done(domain_update_device(f->domain, DOWN, LIVE, &err), err);
        assert_links(f, "link 2 down\n");
        assert_down(f, TRUE, FALSE);
        assert_done(domain_update_device(f->domain, DOWN, LIVE, &err), err); /* nothing to do */
        assert_done(domain_update_device(f->domain, DOWN, CONFIG, &err), err);
        assert_links(f, "link 2 down\n");
        assert_down(f, TRUE, TRUE);
        assert_done(domain_update_device(f->domain, NIC, LIVE | CONFIG, &err), err);
        assert_links(f, "link 2 down\nlink 2 up\n");
        assert_down(f, FALSE, FALSE);
        assert_done(domain_update_device(f->domain, DOWN, 0, &err), err); /* AFFECT_CURRENT */
        assert_down(f, TRUE, FALSE);
}

/* The monitor knows an interface by its own number, whatever tells it from others here. */
static void test_link_of_the_second(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        assert_done(domain_attach_device(f->domain, TWIN, CONFIG, &err), err);
        run_with_monitor(f, "good");
        assert_failed(domain_update_device(f->domain, DOWN, LIVE, &err), &err, VIR_ERR_OPERATION_FAILED, "multiple");
        assert_done(domain_update_device(f->domain,
                                         "<interface type='bridge'><mac address='" MAC "'/><source bridge='br1'/>"
                                         "<link state='down'/><alias name='ua-twin'/></interface>",
                                         LIVE, &err),
                    err);
        assert_links(f, "link 3 down\n");
}

/* Whatever step fails, the guest, the status and the file have the link that they had. */
static void test_link_is_undone(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        run_with_monitor(f, "good");
        g_autofree char *status = g_build_filename(f->config.state_dir, "web1.xml.new", NULL);
        g_assert_cmpint(g_mkdir(status, 0700), ==, 0);
        assert_failed(domain_update_device(f->domain, DOWN, LIVE, &err), &err, VIR_ERR_SYSTEM_ERROR,
                      "cannot create file");
        assert_links(f, "link 2 down\nlink 2 up\n");
        assert_down(f, FALSE, FALSE);
        g_assert_cmpint(g_rmdir(status), ==, 0);
        g_autofree char *config = g_build_filename(f->config.config_dir, "web1.xml.new", NULL);
        g_assert_cmpint(g_mkdir(config, 0700), ==, 0);
        assert_failed(domain_update_device(f->domain, DOWN, LIVE | CONFIG, &err), &err, VIR_ERR_SYSTEM_ERROR,
                      "cannot create file");
        assert_links(f, "link 2 down\nlink 2 up\nlink 2 down\nlink 2 up\n");
        assert_down(f, FALSE, FALSE);
}

/* A monitor that refuses may have done it, for all that is known: it is told the old state. */
static void test_link_is_refused(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        run_with_monitor(f, "refuses");
        assert_failed(domain_update_device(f->domain, DOWN, LIVE | CONFIG, &err), &err, VIR_ERR_OPERATION_FAILED,
                      "kernel is not one");
        assert_links(f, "link 2 down\nlink 2 up\n");
        assert_down(f, FALSE, FALSE);
}

/* Limits come first: where they fail, the guest sees nothing of a change of the link. */
static void test_limits_come_first(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        run_with_monitor(f, "good");
        assert_failed(domain_update_device(f->domain,
                                           UP "<link state='down'/><bandwidth><inbound average='7'/></bandwidth>"
                                              "</interface>",
                                           LIVE | CONFIG, &err),
                      &err, VIR_ERR_OPERATION_INVALID, "vnet-no-tap");
        assert_links(f, "");
        assert_down(f, FALSE, FALSE);
}

#define NET "<interface type='network'><mac address='52:54:00:00:00:0b'/><source network='default'/>"

/* What a network gave to an interface stays through an update that says nothing of it, and is not taken for a change.
 */
static void test_what_the_network_dictates(Fixture *f, gconstpointer unused) {
        static const char *const kept[] = { "<tag id='7'/>", "<port isolated='yes'/>",
                                            "<inbound average='9' floor='5'/>", "<outbound average='8'/>",
                                            "<link state='down'/>" };
        GError *err = NULL;
        assert_done(domain_attach_device(f->domain, NET "</interface>", CONFIG, &err), err);
        run_with_monitor(f, "good");
        domain_lock(f->domain);
        DomainNic *nic = g_ptr_array_index(f->domain->def->nics, 1);
        nic->has_vlan = nic->isolated = TRUE; /* as port_xml_apply() does */
        nic->vlan_tag = 7;
        nic->inbound = (DomainBandwidth) { .present = TRUE, .average = 9, .floor = 5 };
        nic->outbound = (DomainBandwidth) { .present = TRUE, .average = 8 };
        domain_unlock(f->domain);
        assert_done(domain_update_device(f->domain, NET "<link state='down'/></interface>", LIVE | CONFIG, &err), err);
        g_autofree char *live = domain_get_xml(f->domain, 0, NULL), *config = xml_of(f->domain);
        for (gsize i = 0; i < G_N_ELEMENTS(kept); i++)
                if (!strstr(live, kept[i]))
                        g_error("no %s in %s", kept[i], live);
        g_assert_null(strstr(config, "bandwidth"));
        g_assert_null(strstr(config, "<vlan"));
        assert_links(f, "link 3 down\n");
        /* What it does give is a change: of a limit, for which there is no TAP here, and of what cannot change. */
        assert_failed(domain_update_device(f->domain, NET "<bandwidth><inbound average='10'/></bandwidth></interface>",
                                           LIVE, &err),
                      &err, VIR_ERR_OPERATION_INVALID, "TAP");
        assert_failed(domain_update_device(f->domain, NET "<vlan><tag id='8'/></vlan></interface>", LIVE, &err), &err,
                      VIR_ERR_OPERATION_UNSUPPORTED, "VLAN");
        assert_links(f, "link 3 down\n");
}

/* What a running domain cannot follow is refused before anything changes, in both definitions. */
static void test_live_refusals(Fixture *f, gconstpointer unused) {
        static const struct {
                Call call;
                const char *text;
                int code;
                const char *says;
        } calls[] = {
                { ATTACH, VDB "</disk>", VIR_ERR_SYSTEM_ERROR, "Cannot access storage file '/img/b'" },
                { ATTACH, "<channel type='pty'><target type='virtio' name='org.y.0'/></channel>",
                  VIR_ERR_OPERATION_UNSUPPORTED, "live attach of channel 'org.y.0'" },
                { ATTACH, DISK, VIR_ERR_OPERATION_FAILED, "target vda already exists" },
                { ATTACH, CHANNEL, VIR_ERR_OPERATION_FAILED, "chardev already exists" },
                { DETACH, CHANNEL, VIR_ERR_OPERATION_UNSUPPORTED, "use --config and restart" },
                { DETACH, VDB "</disk>", VIR_ERR_DEVICE_MISSING, "no target device vdb" },
                { DETACH_ALIAS, "ua-chan", VIR_ERR_OPERATION_UNSUPPORTED, "live detach of channel 'org.x.0'" },
                { DETACH_ALIAS, "serial0", VIR_ERR_OPERATION_UNSUPPORTED, "live detach of serial port 0" },
                { DETACH_ALIAS, "net1", VIR_ERR_INTERNAL_ERROR, "no device found with alias net1" },
                { UPDATE, "<disk><source file='/b'/><target dev='vda'/></disk>", VIR_ERR_OPERATION_UNSUPPORTED,
                  "live update of disk 'vda'" },
                { UPDATE, RNG, VIR_ERR_OPERATION_UNSUPPORTED, "live update of rng" },
                { UPDATE, "<interface type='bridge'><mac address='" MAC "'/><source bridge='br9'/></interface>",
                  VIR_ERR_OPERATION_INVALID, "interface 'vnet-no-tap' does not exist" },
                { UPDATE, UP "<link state='down'/><mtu size='1400'/></interface>", VIR_ERR_OPERATION_UNSUPPORTED,
                  "MTU" },
                { UPDATE, UP "<driver name='qemu'/></interface>", VIR_ERR_OPERATION_UNSUPPORTED,
                  "driver cannot change" },
                { UPDATE, UP "<target dev='tap7'/></interface>", VIR_ERR_OPERATION_UNSUPPORTED, "TAP name" },
                { UPDATE, UP "<boot order='3'/></interface>", VIR_ERR_OPERATION_UNSUPPORTED, "boot order" },
                { UPDATE, UP "<alias name='ua-new'/></interface>", VIR_ERR_DEVICE_MISSING, "alias ua-new" },
                { UPDATE, "<interface type='ethernet'><mac address='" MAC "'/></interface>",
                  VIR_ERR_OPERATION_UNSUPPORTED, "type cannot change" },
                { UPDATE, UP "<bandwidth><inbound average='9' floor='9'/></bandwidth></interface>",
                  VIR_ERR_OPERATION_UNSUPPORTED, "inbound.floor cannot change" },
        };
        run_with_monitor(f, "good");
        g_autofree char *live = domain_get_xml(f->domain, 0, NULL), *config = xml_of(f->domain);
        for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
                GError *err = NULL;
                assert_failed(do_call(f->domain, calls[i].call, calls[i].text, LIVE, &err), &err, calls[i].code,
                              calls[i].says);
                g_assert_false(do_call(f->domain, calls[i].call, calls[i].text, LIVE | CONFIG, NULL));
        }
        g_autofree char *still = domain_get_xml(f->domain, 0, NULL), *same = xml_of(f->domain);
        g_assert_cmpstr(still, ==, live);
        g_assert_cmpstr(same, ==, config);
        assert_links(f, "");
}

/* The definition of a running domain changes for the next start. */
static void test_config_of_a_running_domain(Fixture *f, gconstpointer unused) {
        GError *err = NULL;
        run_with_monitor(f, "good");
        g_autofree char *live = domain_get_xml(f->domain, 0, NULL);
        assert_done(domain_attach_device(f->domain, VDB "</disk>", CONFIG, &err), err);
        assert_done(domain_detach_device(f->domain, RNG, CONFIG, &err), err);
        g_autofree char *still = domain_get_xml(f->domain, 0, NULL), *config = xml_of(f->domain);
        g_assert_cmpstr(still, ==, live);
        g_assert_nonnull(strstr(config, "vdb"));
        g_assert_null(strstr(config, "<rng"));
        assert_stored(f);
}

int main(int argc, char **argv) {
        g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", TRUE));
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* that there is no bus is a warning */
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = g_strdup_printf("/devices/%s", cases[i].name);
                g_test_add(path, Fixture, &cases[i], set_up, test_case, tear_down);
        }
        g_test_add("/devices/again", Fixture, NULL, set_up, test_again, tear_down);
        g_test_add("/devices/boot-order", Fixture, NULL, set_up, test_boot_order, tear_down);
        g_test_add("/devices/limits", Fixture, NULL, set_up, test_limits, tear_down);
        g_test_add("/devices/notes", Fixture, NULL, set_up, test_notes, tear_down);
        g_test_add("/devices/too-many", Fixture, NULL, set_up, test_too_many, tear_down);
        g_test_add("/devices/file-fails", Fixture, NULL, set_up, test_file_fails, tear_down);
        g_test_add("/devices/event", Fixture, NULL, set_up, test_event, tear_down);
        g_test_add("/devices/link", Fixture, NULL, set_up, test_link, tear_down);
        g_test_add("/devices/link-of-the-second", Fixture, NULL, set_up, test_link_of_the_second, tear_down);
        g_test_add("/devices/link-is-undone", Fixture, NULL, set_up, test_link_is_undone, tear_down);
        g_test_add("/devices/link-is-refused", Fixture, NULL, set_up, test_link_is_refused, tear_down);
        g_test_add("/devices/limits-come-first", Fixture, NULL, set_up, test_limits_come_first, tear_down);
        g_test_add("/devices/what-the-network-dictates", Fixture, NULL, set_up, test_what_the_network_dictates,
                   tear_down);
        g_test_add("/devices/live-refusals", Fixture, NULL, set_up, test_live_refusals, tear_down);
        g_test_add("/devices/config-of-a-running-domain", Fixture, NULL, set_up, test_config_of_a_running_domain,
                   tear_down);
        return g_test_run();
}
