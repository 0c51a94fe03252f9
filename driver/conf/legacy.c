/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: clients that know nothing of this driver describe a PC: IDE disks, an
 * e1000, a graphics card, USB. The table of verdicts has dropped or refused what has no
 * counterpart. What has one is changed here, with a note for each change; administrators who
 * prefer an error set legacy_devices.
 */
#include "conf/legacy.h"

#include <string.h>

#include "conf/domain_names.h"
#include "conf/machine.h"
#include "util/error.h"

#define TARGET_LETTERS 26

static void note(DomainDef *def, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void note(DomainDef *def, const char *format, ...) {
        va_list ap;
        va_start(ap, format);
        char *text = g_strdup_vprintf(format, ap);
        va_end(ap);
        if (def->notes->len < DOMAIN_NOTES_MAX)
                g_ptr_array_add(def->notes, text);
        else
                g_free(text);
}

static gboolean rejects(guint flags) {
        return (flags & DOMAIN_PARSE_REJECT_LEGACY) != 0;
}

/* --- Machine -------------------------------------------------------------------------- */

#define EMULATOR "virtmicro-vmm"

gboolean legacy_machine_is_foreign(const char *machine) {
        return machine && !machine_is_ours(machine);
}

/* The daemon's own definition may name a version that came after this daemon: it is kept, and does not start. */
static gboolean set_version(DomainDef *def, const char *machine, guint flags, GError **err) {
        gboolean is_own = domain_parse_is_own(flags);
        const char *version = is_own ? machine_canonical_own(machine) : machine_canonical(machine);
        if (!version && !is_own)
                return machine_refuse(machine, err);
        def->os.machine = g_strdup(version ? version : machine);
        return TRUE;
}

gboolean legacy_machine(DomainDef *def, guint flags, GError **err) {
        g_autofree char *machine = g_steal_pointer(&def->os.machine);
        if (!legacy_machine_is_foreign(machine))
                return set_version(def, machine, flags, err);
        if (rejects(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "machine type '%s' is not supported: write machine='" MACHINE_NEWEST
                                 "' or leave it out",
                                 machine);
        }
        def->os.machine = g_strdup(machine_newest());
        note(def, "machine type '%s' became %s", machine, def->os.machine);
        return TRUE;
}

gboolean legacy_emulator(DomainDef *def, guint flags, GError **err) {
        g_autofree char *name = g_path_get_basename(def->emulator);
        if (strcmp(name, EMULATOR) == 0)
                return TRUE;
        if (rejects(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "emulator '%s' is not " EMULATOR ": remove <emulator>", def->emulator);
        }
        note(def, "emulator %s left out: " EMULATOR " is used", def->emulator);
        g_clear_pointer(&def->emulator, g_free);
        return TRUE;
}

/* A guest has the host's CPU; features modify it. */
gboolean legacy_cpu(DomainDef *def, guint flags, GError **err) {
        DomainCpu *cpu = &def->cpu;
        if (cpu->mode != DOMAIN_CPU_CUSTOM)
                return TRUE;
        const char *model = cpu->model ? cpu->model : "";
        if (rejects(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "CPU model '%s' is not supported: write <cpu mode='host-passthrough'/>", model);
        }
        note(def, "CPU model '%s' became the host's", model);
        cpu->mode = DOMAIN_CPU_HOST_PASSTHROUGH;
        g_clear_pointer(&cpu->model, g_free);
        g_clear_pointer(&cpu->fallback, g_free);
        g_clear_pointer(&cpu->match, g_free);
        return TRUE;
}

/* The monitor cannot dump a guest's memory, but it can do what follows the dump. */
gboolean legacy_crash_action(DomainDef *def, guint flags, GError **err) {
        const char *name = domain_action_names[def->on_crash];
        if (def->on_crash != DOMAIN_ACTION_COREDUMP_DESTROY && def->on_crash != DOMAIN_ACTION_COREDUMP_RESTART)
                return TRUE;
        DomainAction action =
                def->on_crash == DOMAIN_ACTION_COREDUMP_RESTART ? DOMAIN_ACTION_RESTART : DOMAIN_ACTION_DESTROY;
        if (rejects(flags)) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "on_crash action '%s' is not supported: write %s",
                                 name, domain_action_names[action]);
        }
        note(def, "on_crash action '%s' became %s: guests are not dumped", name, domain_action_names[action]);
        def->on_crash = action;
        return TRUE;
}

/* --- Disks ------------------------------------------------------------------------------ */

static gboolean is_legacy_disk(const DomainDisk *disk) {
        return strcmp(disk->bus, "virtio") != 0 || strcmp(disk->device, "disk") != 0;
}

/* "a" … "z", "aa" …: the index-th name behind "vd". */
static char *target_of_index(unsigned index) {
        if (index < TARGET_LETTERS)
                return g_strdup_printf("vd%c", 'a' + index);
        return g_strdup_printf("vd%c%c", 'a' + index / TARGET_LETTERS - 1, 'a' + index % TARGET_LETTERS);
}

static gboolean target_is_used(const DomainDef *def, const char *target, const DomainDisk *except) {
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                if (disk != except && strcmp(disk->target, target) == 0)
                        return TRUE;
        }
        return FALSE;
}

/* The name with the same letters if it is free, else the first free one. */
static char *choose_target(const DomainDef *def, const DomainDisk *disk) {
        const char *letters =
                disk->target + (g_str_has_prefix(disk->target, "xvd") || g_str_has_prefix(disk->target, "ubd") ? 3 : 2);
        char *target = g_strdup_printf("vd%s", letters);
        for (unsigned i = 0; target_is_used(def, target, disk); i++) {
                g_free(target);
                target = target_of_index(i);
        }
        return target;
}

/* A drive without a medium, or a floppy drive: a virtio disk cannot replace it. */
static gboolean is_useless(const DomainDisk *disk) {
        return strcmp(disk->device, "floppy") == 0 || (!disk->source && !disk->volume);
}

static void replace_string(char **string, const char *with) {
        g_free(*string);
        *string = g_strdup(with);
}

static void convert_disk(DomainDef *def, DomainDisk *disk) {
        g_autofree char *target = choose_target(def, disk);
        gboolean cdrom = strcmp(disk->device, "cdrom") == 0;
        note(def, "%s '%s' on bus %s became %svirtio disk '%s'", disk->device, disk->target, disk->bus,
             cdrom ? "read-only " : "", target);
        disk->readonly |= cdrom;
        replace_string(&disk->device, "disk");
        replace_string(&disk->bus, "virtio");
        replace_string(&disk->target, target);
}

static gboolean reject_disk(const DomainDisk *disk, GError **err) {
        const char *name = disk->target;
        if (strcmp(disk->device, "floppy") == 0)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "floppy '%s' is not supported: remove it", name);
        else if (strcmp(disk->device, "cdrom") == 0)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "cdrom '%s' is not supported: write <disk device='disk'> "
                          "with <target dev='vda' bus='virtio'/> and <readonly/>",
                          name);
        else
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                          "disk '%s' on bus '%s' is not supported: write <target dev='vda' bus='virtio'/>", name,
                          disk->bus);
        return FALSE;
}

static gboolean check_targets(const DomainDef *def, GError **err) {
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                for (guint j = i + 1; j < def->disks->len; j++) {
                        const DomainDisk *other = g_ptr_array_index(def->disks, j);
                        if (strcmp(disk->target, other->target) != 0)
                                continue;
                        return error_set(err, VIR_ERR_XML_ERROR,
                                         "target '%s' duplicated for disk sources '%s' and '%s'", disk->target,
                                         disk->source ? disk->source : "", other->source ? other->source : "");
                }
        }
        return TRUE;
}

gboolean legacy_disks(DomainDef *def, guint flags, GError **err) {
        if (!check_targets(def, err))
                return FALSE;
        for (guint i = 0; i < def->disks->len;) {
                DomainDisk *disk = g_ptr_array_index(def->disks, i);
                if (is_legacy_disk(disk) && rejects(flags))
                        return reject_disk(disk, err);
                if (is_useless(disk)) {
                        note(def, "%s '%s' left out: %s", disk->device, disk->target,
                             strcmp(disk->device, "floppy") == 0 ? "microVMs have no such device" : "no medium");
                        g_ptr_array_remove_index(def->disks, i);
                        continue;
                }
                if (is_legacy_disk(disk))
                        convert_disk(def, disk);
                i++;
        }
        return TRUE;
}

/* --- NICs ---------------------------------------------------------------------------------- */

gboolean legacy_nics(DomainDef *def, guint flags, GError **err) {
        static const char *const ours[] = { "virtio", "virtio-non-transitional", "virtio-transitional", NULL };
        for (guint i = 0; i < def->nics->len; i++) {
                DomainNic *nic = g_ptr_array_index(def->nics, i);
                char mac[18];
                domain_mac_format(nic->mac, mac);
                if (xml_word_index(ours, nic->model) < 0) {
                        if (rejects(flags)) {
                                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                                 "interface %s of model '%s' is not "
                                                 "supported: write <model type='virtio'/>",
                                                 mac, nic->model);
                        }
                        note(def, "interface %s of model %s became virtio", mac, nic->model);
                }
                replace_string(&nic->model, "virtio");
        }
        return TRUE;
}

/* --- Addresses ----------------------------------------------------------------------------- */

void legacy_note_address(DomainDef *def, const char *kind, const char *name) {
        note(def, "PCI address of %s '%s' left out: the machine has other buses", kind, name);
}
