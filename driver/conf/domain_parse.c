/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the document becomes a tree. The table of verdicts (xml_verdict.h) refuses
 * what would make a different guest of a client's tree, and removes what has no effect. What is
 * left is walked once, family by family, and what is absent gets the value that libvirt would give
 * it, so that a client reads back a complete definition. Legacy hardware is replaced next, and last
 * the definition is checked as a whole.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/arch.h"
#include "conf/domain_device.h"
#include "conf/domain_names.h"
#include "conf/legacy.h"
#include "conf/xml_verdict.h"
#include "conf/xml_write.h"
#include "util/error.h"

static gboolean parse_type(const xmlNode *root, GError **err) {
        g_autofree char *type = xml_attr(root, "type");
        if (!type)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "missing domain type attribute");
        else if (strcmp(type, "kvm") == 0)
                return TRUE;
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "invalid domain type %s", type);
        return FALSE;
}

gboolean domain_name_check(const char *name, GError **err) {
        g_autofree char *clean = xml_clean_text(name);
        if (*name == '\0') {
                return error_set(err, VIR_ERR_NO_NAME, "missing name information");
        }
        for (const char *p = name; *p != '\0'; p++) {
                if (g_ascii_iscntrl(*p)) {
                        return error_set(err, VIR_ERR_XML_DETAIL, "invalid char in name: %c", *p);
                }
        }
        if (g_strcmp0(clean, name) != 0) {
                return error_set(err, VIR_ERR_XML_ERROR, "name has characters that XML cannot hold");
        }
        if (strchr(name, '/') != NULL) {
                return error_set(err, VIR_ERR_XML_ERROR, "name %s cannot contain '/'", name);
        }
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
                return error_set(err, VIR_ERR_XML_ERROR, "name cannot be '%s'", name);
        }
        if (strlen(name) > DOMAIN_NAME_MAX) {
                return error_set(err, VIR_ERR_XML_ERROR, "name is longer than %u bytes", DOMAIN_NAME_MAX);
        }
        return TRUE;
}

/* A random (version 4) UUID. */
static void uuid_generate(guint8 ret[16]) {
        g_autofree char *text = g_uuid_string_random();
        gboolean ok = domain_uuid_parse(text, ret);
        g_assert(ok);
}

static gboolean parse_id(const xmlNode *root, DomainDef *def, GError **err) {
        guint id = 0;
        if (!xmlHasProp(root, (const xmlChar *) "id"))
                return TRUE;
        if (!xml_attr_uint(root, "id", G_MAXINT, &id, err))
                return FALSE;
        def->id = (int) id;
        return TRUE;
}

static gboolean parse_identity(const xmlNode *root, DomainDef *def, guint flags, GError **err) {
        g_autofree char *uuid = xml_child_text(root, "uuid");
        if (!parse_type(root, err) || ((flags & DOMAIN_PARSE_STATUS) != 0 && !parse_id(root, def, err)))
                return FALSE;
        def->name = xml_child_text(root, "name");
        if (!domain_name_check(def->name ? def->name : "", err))
                return FALSE;
        if (!uuid) {
                uuid_generate(def->uuid);
        } else if (!domain_uuid_parse(uuid, def->uuid)) {
                return error_set(err, VIR_ERR_INTERNAL_ERROR, "malformed uuid element");
        }
        def->title = xml_child_text(root, "title");
        if (def->title && strchr(def->title, '\n') != NULL) {
                return error_set(err, VIR_ERR_XML_ERROR, "Domain title can't contain newlines");
        }
        def->description = xml_child_text(root, "description");
        return domain_metadata_from_xml(xml_first(root, "metadata"), &def->metadata, err);
}

/* <hugepages><page size='2' unit='M'/></hugepages>; sizes per NUMA node of the guest do not exist here. */
static gboolean parse_hugepages(const xmlNode *hugepages, DomainMemory *memory, GError **err) {
        const xmlNode *page = xml_first(hugepages, "page");
        g_autofree char *unit = xml_attr(page, "unit");
        guint64 size = 0, bytes = 0;
        memory->hugepages = hugepages != NULL;
        if (!page)
                return TRUE;
        if (xml_next(page, "page") != NULL) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "only one size of huge pages is supported");
        }
        if (!xml_attr_u64(page, "size", &size, err) || !xml_scale_size(size, unit, 1024, &bytes, err))
                return FALSE;
        memory->hugepage_kib = bytes / 1024;
        return TRUE;
}

static gboolean parse_memory_source(const xmlNode *backing, DomainMemory *memory, GError **err) {
        g_autofree char *type = xml_child_attr(backing, "source", "type");
        int word = type ? xml_word_index(domain_memory_source_names, type) : 0;
        if (word < 0) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown memoryBacking/source/type '%s'", type);
        }
        memory->has_source = type != NULL;
        memory->source = (DomainMemorySource) word;
        return TRUE;
}

static gboolean parse_memory_backing(const xmlNode *backing, DomainMemory *memory, GError **err) {
        static const char *const modes[] = { "private", "shared", NULL };
        const xmlNode *access = xml_first(backing, "access");
        int mode = 0;
        memory->locked = xml_first(backing, "locked") != NULL;
        memory->nosharepages = xml_first(backing, "nosharepages") != NULL;
        memory->discard = xml_first(backing, "discard") != NULL;
        if (!parse_hugepages(xml_first(backing, "hugepages"), memory, err) ||
            !parse_memory_source(backing, memory, err) || !xml_attr_enum(access, "mode", modes, &mode, err))
                return FALSE;
        memory->has_access = access != NULL;
        memory->shared = mode == 1;
        return TRUE;
}

static gboolean parse_memory(const xmlNode *root, DomainMemory *memory, GError **err) {
        if (!xml_child_kib(root, "memory", &memory->maximum_kib, err) ||
            !xml_child_kib(root, "currentMemory", &memory->current_kib, err))
                return FALSE;
        if (memory->maximum_kib == 0) {
                return error_set(err, VIR_ERR_XML_ERROR,
                                 "Memory size must be specified via <memory> or in the <numa> configuration");
        }
        if (memory->current_kib == 0 || memory->current_kib > memory->maximum_kib)
                memory->current_kib = memory->maximum_kib;
        return parse_memory_backing(xml_first(root, "memoryBacking"), memory, err);
}

static gboolean check_vcpu_counts(guint64 maximum, guint64 current, GError **err) {
        if (maximum == 0)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "a domain needs at least one vCPU");
        else if (maximum > DOMAIN_VCPUS_MAX)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%" G_GUINT64_FORMAT " vCPUs are more than the limit of %u",
                          maximum, DOMAIN_VCPUS_MAX);
        else if (current > maximum)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "maximum vCPU count must not be less than current vCPU count");
        else
                return TRUE;
        return FALSE;
}

static gboolean parse_vcpu(const xmlNode *vcpu, DomainDef *def, GError **err) {
        static const char *const placements[] = { "static", NULL };
        g_autofree char *count = xml_text(vcpu), *cpuset = xml_attr(vcpu, "cpuset");
        guint64 maximum = 1, current = 0;
        int placement = 0;
        if (vcpu && count && !xml_parse_u64(count, &maximum)) {
                return error_set(err, VIR_ERR_XML_ERROR, "maximum vcpus count must be an integer");
        }
        if (!xml_attr_u64(vcpu, "current", &current, err) ||
            !xml_attr_enum(vcpu, "placement", placements, &placement, err) || !check_vcpu_counts(maximum, current, err))
                return FALSE;
        def->vcpus_max = (unsigned) maximum;
        def->vcpus = current != 0 ? (unsigned) current : def->vcpus_max;
        def->has_cpuset = cpuset != NULL;
        return !cpuset || domain_parse_cpuset(cpuset, "cpuset", &def->cpuset, err);
}

gboolean domain_parse_cpuset(const char *text, const char *what, CpuMap *ret, GError **err) {
        if (!cpumap_parse(text, ret, err))
                return FALSE;
        if (!cpumap_is_empty(ret))
                return TRUE;
        return error_set(err, VIR_ERR_INVALID_ARG, "Invalid value of '%s': %s", what, text);
}

static gboolean parse_os_type(const xmlNode *os, GError **err) {
        g_autofree char *type = xml_child_text(os, "type");
        g_autofree char *arch = xml_child_attr(os, "type", "arch");
        if (!type)
                error_set(err, VIR_ERR_XML_ERROR, "an os <type> must be specified");
        else if (strcmp(type, "hvm") != 0)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown OS type '%s'", type);
        else if (!arch || strcmp(arch, ARCH_NAME) == 0)
                return TRUE;
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Unknown architecture %s", arch);
        return FALSE;
}

static gboolean parse_boot_devices(const xmlNode *os, DomainDef *def, GError **err) {
        static const char *const devices[] = { "fd", "hd", "cdrom", "network", NULL };
        XML_FOREACH (boot, os, "boot") {
                int device = -1;
                if (!xml_attr_enum(boot, "dev", devices, &device, err))
                        return FALSE;
                if (device < 0 || def->os.boot->len == DOMAIN_BOOT_MAX) {
                        return error_set(err, VIR_ERR_XML_ERROR, "%s",
                                         device < 0 ? "missing boot device" : "too many boot devices");
                }
                g_ptr_array_add(def->os.boot, g_strdup(devices[device]));
        }
        return TRUE;
}

static gboolean parse_os(const xmlNode *os, DomainDef *def, guint flags, GError **err) {
        if (!parse_os_type(os, err))
                return FALSE;
        def->os.machine = xml_child_attr(os, "type", "machine");
        def->os.kernel = xml_child_text(os, "kernel");
        def->os.initrd = xml_child_text(os, "initrd");
        def->os.cmdline = xml_child_text(os, "cmdline");
        return parse_boot_devices(os, def, err) && legacy_machine(def, flags, err);
}

static gboolean parse_action(const xmlNode *root, const char *name, int n_words, DomainAction *ret, gboolean *ret_has,
                             GError **err) {
        g_autofree char *text = xml_child_text(root, name);
        if (!text)
                return TRUE;
        int word = xml_word_index(domain_action_names, text);
        if (word < 0 || word >= n_words) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown %s action: %s", name, text);
        }
        *ret = (DomainAction) word;
        *ret_has = TRUE;
        return TRUE;
}

static gboolean parse_actions(const xmlNode *root, DomainDef *def, GError **err) {
        return parse_action(root, "on_poweroff", DOMAIN_ACTION_COREDUMP_DESTROY, &def->on_poweroff,
                            &def->has_on_poweroff, err) &&
               parse_action(root, "on_reboot", DOMAIN_ACTION_COREDUMP_DESTROY, &def->on_reboot, &def->has_on_reboot,
                            err) &&
               parse_action(root, "on_crash", G_MAXINT, &def->on_crash, &def->has_on_crash, err);
}

static void parse_features(const xmlNode *features, DomainDef *def) {
        def->feature_acpi = xml_first(features, "acpi") != NULL;
        def->feature_apic = xml_first(features, "apic") != NULL;
        def->feature_pae = xml_first(features, "pae") != NULL;
}

static void parse_notes(const xmlNode *notes, DomainDef *def) {
        XML_FOREACH (note, notes, "note") {
                char *text = xml_text(note);
                if (text && def->notes->len < DOMAIN_NOTES_MAX)
                        g_ptr_array_add(def->notes, text);
                else
                        g_free(text);
        }
}

/* What the daemon wrote was judged before. */
static gboolean judge(xmlNode *root, DomainDef *def, guint flags, GError **err) {
        if (!xml_is(root, "domain")) {
                return error_set(err, VIR_ERR_XML_ERROR, "expecting root element of 'domain', not '%s'",
                                 (const char *) root->name);
        }
        return domain_parse_is_own(flags) ||
               (domain_check_device_count(xml_first(root, "devices"), err) &&
                xml_verdict_define(root, (flags & DOMAIN_PARSE_VALIDATE) != 0,
                                   (flags & DOMAIN_PARSE_REJECT_LEGACY) != 0, def->notes, err));
}

static gboolean parse_domain(const xmlNode *root, DomainDef *def, guint flags, GError **err) {
        if (!parse_identity(root, def, flags, err) || !parse_memory(root, &def->memory, err) ||
            !parse_vcpu(xml_first(root, "vcpu"), def, err) || !domain_parse_tuning(root, def, flags, err) ||
            !parse_os(xml_first(root, "os"), def, flags, err) ||
            !domain_parse_cpu(xml_first(root, "cpu"), def, flags, err) ||
            !domain_parse_clock(xml_first(root, "clock"), def, err) || !parse_actions(root, def, err))
                return FALSE;
        parse_features(xml_first(root, "features"), def);
        def->partition = xml_child_text(xml_first(root, "resource"), "partition");
        if ((flags & (DOMAIN_PARSE_STATUS | DOMAIN_PARSE_OWN)) != 0)
                parse_notes(xml_first(root, "notes"), def);
        return domain_parse_devices(xml_first(root, "devices"), def, flags, err);
}

gboolean domain_def_complete_devices(DomainDef *def, guint flags, GError **err) {
        gboolean has_order = FALSE;
        if (!legacy_disks(def, flags, err) || !legacy_nics(def, flags, err))
                return FALSE;
        domain_def_sort_disks(def);
        domain_def_pair_consoles(def);
        if (!domain_def_assign_addresses(def, flags, err))
                return FALSE;
        if (domain_parse_is_own(flags))
                return TRUE;
        for (guint i = 0; i < def->disks->len; i++)
                has_order |= ((DomainDisk *) g_ptr_array_index(def->disks, i))->boot_order != 0;
        for (guint i = 0; i < def->nics->len; i++)
                has_order |= ((DomainNic *) g_ptr_array_index(def->nics, i))->boot_order != 0;
        if (has_order && def->os.boot->len > 0) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "per-device boot elements cannot be used together with os/boot elements");
        }
        if (!has_order && def->os.boot->len == 0)
                g_ptr_array_add(def->os.boot, g_strdup("hd"));
        return domain_validate_def(def, err);
}

/* Depends on the whole definition. */
static gboolean complete_def(DomainDef *def, guint flags, GError **err) {
        if (!domain_parse_is_own(flags) && (!legacy_cpu(def, flags, err) || !legacy_crash_action(def, flags, err)))
                return FALSE;
        return domain_def_complete_devices(def, flags, err);
}

static gboolean is_foreign(const xmlNode *root) {
        g_autofree char *machine = xml_child_attr(xml_first(root, "os"), "type", "machine");
        return legacy_machine_is_foreign(machine);
}

DomainDef *domain_def_parse(const char *xml, guint flags, const char *schema_dir, GError **err) {
        g_autoptr(xmlDoc) doc = xml_document_parse(xml, "(domain_definition)", err);
        if (!doc)
                return NULL;
        if (is_foreign(xmlDocGetRootElement(doc)))
                flags |= DOMAIN_PARSE_FOREIGN;
        g_autoptr(DomainDef) def = domain_def_new();
        if (!judge(xmlDocGetRootElement(doc), def, flags, err) ||
            ((flags & DOMAIN_PARSE_VALIDATE) != 0 && !domain_validate_schema(doc, schema_dir, err)) ||
            !parse_domain(xmlDocGetRootElement(doc), def, flags, err) || !complete_def(def, flags, err))
                return NULL;
        return g_steal_pointer(&def);
}
