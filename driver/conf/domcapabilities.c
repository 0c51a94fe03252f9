/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: what one machine of this driver can have, in libvirt's order.
 * Clients fill their lists of choices from it and grey out what is not supported, so
 * everything that is missing is listed as unsupported. The arguments select a combination
 * of capabilities, of which there is only one.
 */
#include <string.h>

#include "conf/arch.h"
#include "conf/capabilities.h"
#include "conf/domain_def.h"
#include "conf/machine.h"
#include "conf/xml_read.h"
#include "conf/xml_write.h"
#include "util/error.h"

static gboolean check_argument(const char *what, const char *given, const char *ours, const char *const *known,
                               GError **err) {
        if (!given || strcmp(given, ours) == 0)
                return TRUE;
        if (known && xml_word_index(known, given) < 0)
                error_set(err, VIR_ERR_INVALID_ARG, "unknown %s: %s", what, given);
        else
                error_set(err, VIR_ERR_INVALID_ARG, "the %s '%s' is not supported, only '%s' is", what, given, ours);
        return FALSE;
}

static gboolean check_machine(const char *machine, GError **err) {
        if (machine_canonical(machine))
                return TRUE;
        g_autofree char *known = g_strjoinv(", ", (char **) machine_versions);
        return error_set(err, VIR_ERR_INVALID_ARG,
                         "the machine '%s' is not supported by emulator 'virtmicro-vmm': there are " MACHINE_NEWEST
                         " (the newest), %s",
                         machine, known);
}

static gboolean check_arguments(const char *emulator, const char *arch, const char *machine, const char *virttype,
                                GError **err) {
        static const char *const virttypes[] = { "none", "qemu",      "kqemu", "kvm",    "xen",    "lxc",
                                                 "uml",  "openvz",    "test",  "vmware", "hyperv", "vbox",
                                                 "phyp", "parallels", "bhyve", "vz",     "hvf",    NULL };
        g_auto(GStrv) arches = g_strsplit(ARCH_OTHERS " loongarch64", " ", -1);
        g_autofree char *name = emulator ? g_path_get_basename(emulator) : NULL;
        return check_argument("virttype", virttype, "kvm", virttypes, err) &&
               check_argument("architecture", arch, ARCH_NAME, (const char *const *) arches, err) &&
               check_machine(machine, err) && check_argument("emulator", name, "virtmicro-vmm", NULL, err);
}

/* <name supported='yes'>; the caller ends it. */
static void begin_supported(XmlWriter *w, const char *name) {
        xml_begin(w, name);
        xml_put(w, "supported", "yes");
}

static void unsupported(XmlWriter *w, const char *name) {
        xml_leaf_attr(w, name, "supported", "no");
}

static void format_enum(XmlWriter *w, const char *name, const char *const *values) {
        xml_begin(w, "enum");
        xml_put(w, "name", name);
        for (; *values; values++)
                xml_element(w, "value", *values);
        xml_end(w);
}

#define ENUM(w, name, ...) format_enum(w, name, (const char *const[]) { __VA_ARGS__, NULL })

static void format_os(XmlWriter *w) {
        begin_supported(w, "os");
        ENUM(w, "firmware", NULL); /* none */
        unsupported(w, "loader");
        xml_end(w);
}

static void format_cpu_mode(XmlWriter *w, const char *name, gboolean supported, const char *migratable) {
        xml_begin(w, "mode");
        xml_put(w, "name", name);
        xml_put(w, "supported", supported ? "yes" : "no");
        if (migratable)
                ENUM(w, migratable, "off");
        xml_end(w);
}

static void format_cpu(XmlWriter *w) {
        xml_begin(w, "cpu");
        format_cpu_mode(w, "host-passthrough", TRUE, "hostPassthroughMigratable");
        format_cpu_mode(w, "maximum", TRUE, "maximumMigratable");
        format_cpu_mode(w, "host-model", TRUE, NULL);
        format_cpu_mode(w, "custom", FALSE, NULL);
        xml_end(w);
}

static void format_devices(XmlWriter *w) {
        xml_begin(w, "devices");
        begin_supported(w, "disk");
        ENUM(w, "diskDevice", "disk");
        ENUM(w, "bus", "virtio");
        ENUM(w, "model", "virtio", "virtio-non-transitional");
        xml_end(w);
        unsupported(w, "graphics");
        unsupported(w, "video");
        unsupported(w, "hostdev");
        begin_supported(w, "rng");
        ENUM(w, "model", "virtio", "virtio-non-transitional");
        ENUM(w, "backendModel", "random", "builtin");
        xml_end(w);
        unsupported(w, "filesystem");
        unsupported(w, "tpm");
        unsupported(w, "redirdev");
        begin_supported(w, "channel");
        ENUM(w, "type", "pty", "unix", "file", "null");
        xml_end(w);
        xml_end(w);
}

static void format_features(XmlWriter *w) {
        static const char *const features[] = {
                "gic", "vmcoreinfo", "genid", "backingStoreInput", "backup", "sev", NULL
        };
        xml_begin(w, "features");
        for (unsigned i = 0; features[i]; i++)
                unsupported(w, features[i]);
        xml_end(w);
}

char *domain_capabilities_format(const char *emulator, const char *arch, const char *machine, const char *virttype,
                                 GError **err) {
        XmlWriter w;
        if (!check_arguments(emulator, arch, machine, virttype, err))
                return NULL;
        xml_writer_init(&w);
        xml_begin(&w, "domainCapabilities");
        xml_element(&w, "path", emulator ? emulator : VMM_PATH);
        xml_element(&w, "domain", "kvm");
        xml_element(&w, "machine", machine_canonical(machine));
        xml_element(&w, "arch", ARCH_NAME);
        xml_begin(&w, "vcpu");
        xml_putf(&w, "max", "%u", DOMAIN_VCPUS_MAX);
        xml_end(&w);
        unsupported(&w, "iothreads");
        format_os(&w);
        format_cpu(&w);
        begin_supported(&w, "memoryBacking");
        ENUM(&w, "sourceType", "file", "anonymous", "memfd");
        xml_end(&w);
        format_devices(&w);
        format_features(&w);
        xml_end(&w);
        return xml_writer_finish(&w);
}
