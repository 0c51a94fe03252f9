/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: a definition owns everything that it points to. Which members of
 * a struct are strings is said once, in a table per struct, and copying and freeing walk
 * these tables: a new string member needs one line here and nothing else.
 *
 * A definition is not locked; it belongs to one domain, whose lock covers it.
 */
#include "conf/domain_def.h"

#include <string.h>

#include "conf/arch.h"
#include "conf/domain_def_internal.h"

#define END_OF_STRINGS G_MAXSIZE

static const gsize def_strings[] = {
        offsetof(DomainDef, name),         offsetof(DomainDef, title),          offsetof(DomainDef, description),
        offsetof(DomainDef, metadata),     offsetof(DomainDef, vcpu_placement), offsetof(DomainDef, partition),
        offsetof(DomainDef, os.arch),      offsetof(DomainDef, os.machine),     offsetof(DomainDef, os.kernel),
        offsetof(DomainDef, os.initrd),    offsetof(DomainDef, os.cmdline),     offsetof(DomainDef, cpu.check),
        offsetof(DomainDef, cpu.match),    offsetof(DomainDef, cpu.migratable), offsetof(DomainDef, cpu.model),
        offsetof(DomainDef, cpu.fallback), offsetof(DomainDef, clock.offset),   offsetof(DomainDef, clock.timezone),
        offsetof(DomainDef, clock.basis),  offsetof(DomainDef, emulator),       END_OF_STRINGS
};
static const gsize domain_blkio_device_strings[] = { offsetof(DomainBlkioDevice, path), END_OF_STRINGS };
static const gsize domain_timer_strings[] = { offsetof(DomainTimer, name), offsetof(DomainTimer, present),
                                              offsetof(DomainTimer, tickpolicy), END_OF_STRINGS };
static const gsize domain_disk_strings[] = { offsetof(DomainDisk, device),
                                             offsetof(DomainDisk, source),
                                             offsetof(DomainDisk, pool),
                                             offsetof(DomainDisk, volume),
                                             offsetof(DomainDisk, target),
                                             offsetof(DomainDisk, bus),
                                             offsetof(DomainDisk, driver_name),
                                             offsetof(DomainDisk, driver_type),
                                             offsetof(DomainDisk, discard),
                                             offsetof(DomainDisk, startup_policy),
                                             offsetof(DomainDisk, io),
                                             offsetof(DomainDisk, error_policy),
                                             offsetof(DomainDisk, rerror_policy),
                                             offsetof(DomainDisk, serial),
                                             offsetof(DomainDisk, wwn),
                                             offsetof(DomainDisk, alias),
                                             END_OF_STRINGS };
static const gsize domain_nic_strings[] = { offsetof(DomainNic, source),
                                            offsetof(DomainNic, portgroup),
                                            offsetof(DomainNic, portid),
                                            offsetof(DomainNic, actual_bridge),
                                            offsetof(DomainNic, target),
                                            offsetof(DomainNic, model),
                                            offsetof(DomainNic, driver_name),
                                            offsetof(DomainNic, filter),
                                            offsetof(DomainNic, script),
                                            offsetof(DomainNic, alias),
                                            END_OF_STRINGS };
static const gsize domain_char_strings[] = { offsetof(DomainChar, path),
                                             offsetof(DomainChar, log_file),
                                             offsetof(DomainChar, target_type),
                                             offsetof(DomainChar, target_name),
                                             offsetof(DomainChar, target_state),
                                             offsetof(DomainChar, alias),
                                             END_OF_STRINGS };
static const gsize domain_rng_strings[] = { offsetof(DomainRng, model), offsetof(DomainRng, backend_path),
                                            offsetof(DomainRng, alias), END_OF_STRINGS };
static const gsize domain_vsock_strings[] = { offsetof(DomainVsock, alias), END_OF_STRINGS };

static char **string_at(gpointer object, gsize offset) {
        return (char **) (void *) ((char *) object + offset);
}

/* A copy of a struct whose strings are copies too; other pointers are still shared. */
static gpointer object_copy(gconstpointer object, gsize size, const gsize *strings) {
        gpointer copy = g_memdup2(object, size);
        for (; *strings != END_OF_STRINGS; strings++)
                *string_at(copy, *strings) = g_strdup(*string_at(copy, *strings));
        return copy;
}

static void object_free(gpointer object, const gsize *strings) {
        if (!object)
                return;
        for (; *strings != END_OF_STRINGS; strings++)
                g_free(*string_at(object, *strings));
        g_free(object);
}

/* How a GPtrArray frees and copies its objects of one type. */
#define DEFINE_OBJECT(Type, name)                                                                                      \
        void name##_free(Type *object) {                                                                               \
                object_free(object, name##_strings);                                                                   \
        }                                                                                                              \
        static void name##_free_item(gpointer object) {                                                                \
                object_free(object, name##_strings);                                                                   \
        }                                                                                                              \
        static gpointer name##_copy_item(gconstpointer object, gpointer unused) {                                      \
                return object_copy(object, sizeof(Type), name##_strings);                                              \
        }

DEFINE_OBJECT(DomainBlkioDevice, domain_blkio_device)
DEFINE_OBJECT(DomainTimer, domain_timer)
DEFINE_OBJECT(DomainDisk, domain_disk)
DEFINE_OBJECT(DomainNic, domain_nic)
DEFINE_OBJECT(DomainChar, domain_char)

DomainChar *domain_char_copy(const DomainChar *chr) {
        return object_copy(chr, sizeof(*chr), domain_char_strings);
}

void domain_rng_free(DomainRng *rng) {
        object_free(rng, domain_rng_strings);
}

void domain_vsock_free(DomainVsock *vsock) {
        object_free(vsock, domain_vsock_strings);
}

static gpointer copy_string(gconstpointer s, gpointer unused) {
        return g_strdup(s);
}

DomainDef *domain_def_new(void) {
        DomainDef *def = g_new0(DomainDef, 1);
        def->id = -1;
        def->vcpus = def->vcpus_max = 1;
        def->vcpu_placement = g_strdup("static");
        def->os.arch = g_strdup(ARCH_NAME);
        def->os.boot = g_ptr_array_new_with_free_func(g_free);
        def->clock.offset = g_strdup("utc");
        def->clock.timers = g_ptr_array_new_with_free_func(domain_timer_free_item);
        def->on_reboot = DOMAIN_ACTION_RESTART;
        def->cputune.vcpupin = g_array_new(FALSE, TRUE, sizeof(DomainVcpuPin));
        def->cpu.features = g_array_new(FALSE, TRUE, sizeof(DomainCpuFeature));
        def->blkiotune.devices = g_ptr_array_new_with_free_func(domain_blkio_device_free_item);
        def->disks = g_ptr_array_new_with_free_func(domain_disk_free_item);
        def->nics = g_ptr_array_new_with_free_func(domain_nic_free_item);
        def->chars = g_ptr_array_new_with_free_func(domain_char_free_item);
        def->notes = g_ptr_array_new_with_free_func(g_free);
        return def;
}

void domain_def_free(DomainDef *def) {
        if (!def)
                return;
        g_ptr_array_unref(def->os.boot);
        g_ptr_array_unref(def->clock.timers);
        g_array_unref(def->cputune.vcpupin);
        g_array_unref(def->cpu.features);
        g_ptr_array_unref(def->blkiotune.devices);
        g_ptr_array_unref(def->disks);
        g_ptr_array_unref(def->nics);
        g_ptr_array_unref(def->chars);
        g_ptr_array_unref(def->notes);
        domain_rng_free(def->rng);
        domain_vsock_free(def->vsock);
        object_free(def, def_strings);
}

/* g_ptr_array_copy() keeps the source's free function. */
static GPtrArray *copy_list(GPtrArray *list, GCopyFunc copy) {
        return g_ptr_array_copy(list, copy, NULL);
}

DomainDef *domain_def_copy(const DomainDef *def) {
        DomainDef *copy = object_copy(def, sizeof(*def), def_strings);
        copy->os.boot = copy_list(def->os.boot, copy_string);
        copy->clock.timers = copy_list(def->clock.timers, domain_timer_copy_item);
        copy->cputune.vcpupin = g_array_copy(def->cputune.vcpupin);
        copy->cpu.features = g_array_copy(def->cpu.features);
        copy->blkiotune.devices = copy_list(def->blkiotune.devices, domain_blkio_device_copy_item);
        copy->disks = copy_list(def->disks, domain_disk_copy_item);
        copy->nics = copy_list(def->nics, domain_nic_copy_item);
        copy->chars = copy_list(def->chars, domain_char_copy_item);
        copy->notes = copy_list(def->notes, copy_string);
        copy->rng = def->rng ? object_copy(def->rng, sizeof(*def->rng), domain_rng_strings) : NULL;
        copy->vsock = def->vsock ? object_copy(def->vsock, sizeof(*def->vsock), domain_vsock_strings) : NULL;
        return copy;
}

DomainDisk *domain_def_find_disk(const DomainDef *def, const char *target_or_source) {
        for (guint i = 0; i < def->disks->len; i++) {
                DomainDisk *disk = g_ptr_array_index(def->disks, i);
                if (strcmp(disk->target, target_or_source) == 0)
                        return disk;
        }
        for (guint i = 0; i < def->disks->len; i++) {
                DomainDisk *disk = g_ptr_array_index(def->disks, i);
                if (g_strcmp0(disk->source, target_or_source) == 0)
                        return disk;
        }
        return NULL;
}

DomainNic *domain_def_find_nic(const DomainDef *def, const char *target_or_mac) {
        guint8 mac[6];
        gboolean is_mac = domain_mac_parse(target_or_mac, mac);
        for (guint i = 0; i < def->nics->len; i++) {
                DomainNic *nic = g_ptr_array_index(def->nics, i);
                if (is_mac ? memcmp(nic->mac, mac, sizeof(mac)) == 0 : g_strcmp0(nic->target, target_or_mac) == 0)
                        return nic;
        }
        return NULL;
}

DomainChar *domain_def_first_serial(const DomainDef *def) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_SERIAL)
                        return chr;
        }
        return NULL;
}

gboolean domain_char_is_serial_console(const DomainChar *chr) {
        return chr->device == DOMAIN_CHAR_CONSOLE && g_strcmp0(chr->target_type, "serial") == 0;
}

gboolean domain_char_is_port(const DomainChar *chr) {
        return chr->device != DOMAIN_CHAR_SERIAL && !domain_char_is_serial_console(chr);
}

DomainChar *domain_def_find_console(const DomainDef *def, const char *alias) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (alias ? g_strcmp0(chr->alias, alias) == 0
                          : chr->device != DOMAIN_CHAR_CHANNEL && chr->backend == DOMAIN_CHAR_PTY)
                        return domain_char_is_serial_console(chr) ? domain_def_first_serial(def) : chr;
        }
        return NULL;
}

/* A list of devices and the place of their aliases. */
static gboolean has_alias(const GPtrArray *list, gsize offset, const char *alias) {
        for (guint i = 0; i < list->len; i++)
                if (g_strcmp0(G_STRUCT_MEMBER(char *, g_ptr_array_index(list, i), offset), alias) == 0)
                        return TRUE;
        return FALSE;
}

/* Counts up from `index`: others may have been attached and detached since the names were given. */
static void assign_alias(const GPtrArray *list, gsize offset, guint item, const char *prefix, guint index) {
        char **alias = &G_STRUCT_MEMBER(char *, g_ptr_array_index(list, item), offset);
        for (; !*alias; index++) {
                g_autofree char *free_alias = g_strdup_printf("%s%u", prefix, index);
                if (!has_alias(list, offset, free_alias))
                        *alias = g_steal_pointer(&free_alias);
        }
}

#define ASSIGN_ALIAS(list, type, item, prefix, index)                                                                  \
        assign_alias((list), G_STRUCT_OFFSET(type, alias), (item), (prefix), (index))

static void assign_char_aliases(DomainDef *def) {
        static const char *const prefix[] = { "serial", "console", "channel" };
        guint count[G_N_ELEMENTS(prefix)] = {};
        const DomainChar *serial = domain_def_first_serial(def);
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                guint index = count[chr->device]++;
                if (serial && domain_char_is_serial_console(chr)) {
                        g_free(chr->alias);
                        chr->alias = g_strdup(serial->alias);
                } else
                        ASSIGN_ALIAS(def->chars, DomainChar, i, prefix[chr->device], index);
        }
}

/* "vda": 0, "vdz": 25, "vdaa": 26. Targets, with prefixes of two or three letters, are checked when they are parsed. */
static guint disk_index(const char *target) {
        guint index = 0;
        for (const char *c = strchr(target, 'd') + 1; *c; c++)
                index = index * 26 + (guint) (*c - 'a') + 1;
        return index - 1;
}

/* A disk's alias comes from its target, as in libvirt, so that it does not depend on other disks; not for "vda" and
 * "sda" in one domain. */
static void assign_disk_aliases(DomainDef *def) {
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                ASSIGN_ALIAS(def->disks, DomainDisk, i, "virtio-disk", disk_index(disk->target));
        }
}

void domain_def_assign_aliases(DomainDef *def) {
        assign_disk_aliases(def);
        for (guint i = 0; i < def->nics->len; i++)
                ASSIGN_ALIAS(def->nics, DomainNic, i, "net", i);
        assign_char_aliases(def);
        if (def->rng && !def->rng->alias)
                def->rng->alias = g_strdup("rng0");
        if (def->vsock && !def->vsock->alias)
                def->vsock->alias = g_strdup("vsock0");
}

char *domain_channel_path(const char *state_dir, int id, const DomainChar *channel) {
        return g_strdup_printf("%s/%d.%s.sock", state_dir, id,
                               channel->target_name ? channel->target_name : channel->alias);
}

/* Whether domain_channel_path() made a path, with any number; with the alias for a channel without a name. */
static gboolean is_channel_path(const char *path, const char *state_dir, const char *name) {
        g_autofree char *dir = g_path_get_dirname(path), *file = g_path_get_basename(path);
        gsize digits = strspn(file, G_CSET_DIGITS);
        g_autofree char *end = g_strdup_printf(".%s.sock", name ? name : "");
        if (strcmp(dir, state_dir) != 0 || digits == 0)
                return FALSE;
        return name ? strcmp(file + digits, end) == 0 : file[digits] == '.' && g_str_has_suffix(file, ".sock");
}

/*
 * Whether QEMU's driver chose a path: …/qemu/channel/target/domain-1-web/NAME, since libvirt 9.7
 * …/qemu/channel/1-web/NAME, in old versions …/qemu/channel/target/web.NAME.
 */
static gboolean is_qemu_path(const char *path, const char *name) {
        const char *inner = strstr(path, "/qemu/channel/");
        g_autofree char *file = g_path_get_basename(path), *end = g_strdup_printf(".%s", name ? name : "");
        return inner && name && (strcmp(file, name) == 0 || g_str_has_suffix(file, end));
}

void domain_def_drop_channel_paths(DomainDef *def, const char *state_dir) {
        for (guint i = 0; i < def->chars->len; i++) {
                DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (chr->device == DOMAIN_CHAR_CHANNEL && chr->backend == DOMAIN_CHAR_UNIX && chr->listen &&
                    chr->path &&
                    (is_channel_path(chr->path, state_dir, chr->target_name) ||
                     is_qemu_path(chr->path, chr->target_name)))
                        g_clear_pointer(&chr->path, g_free);
        }
}

void domain_uuid_format(const guint8 uuid[16], char ret[37]) {
        char *p = ret;
        for (unsigned i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                g_snprintf(p, 3, "%02x", uuid[i]);
                p += 2;
        }
}

gboolean domain_uuid_parse(const char *text, guint8 ret[16]) {
        guint8 uuid[16];
        const char *p = text;
        while (g_ascii_isspace(*p))
                p++;
        for (unsigned i = 0; i < 16; i++) {
                while (*p == '-')
                        p++;
                if (!g_ascii_isxdigit(p[0]) || !g_ascii_isxdigit(p[1]))
                        return FALSE;
                uuid[i] = (guint8) (g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
                p += 2;
        }
        while (g_ascii_isspace(*p))
                p++;
        if (*p != '\0')
                return FALSE;
        memcpy(ret, uuid, sizeof(uuid));
        return TRUE;
}

void domain_mac_format(const guint8 mac[6], char ret[18]) {
        g_snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

gboolean domain_mac_parse(const char *text, guint8 ret[6]) {
        guint8 mac[6];
        for (unsigned i = 0; i < 6; i++) {
                unsigned value = 0, digits = 0;
                for (; digits < 2 && g_ascii_isxdigit(*text); digits++)
                        value = value << 4 | (unsigned) g_ascii_xdigit_value(*text++);
                if (digits == 0 || *text != (i < 5 ? ':' : '\0'))
                        return FALSE;
                mac[i] = (guint8) value;
                text += i < 5;
        }
        memcpy(ret, mac, sizeof(mac));
        return TRUE;
}

const CpuMap *domain_def_vcpu_cpus(const DomainDef *def, unsigned vcpu) {
        const GArray *pins = def->cputune.vcpupin;
        for (guint i = 0; pins && i < pins->len; i++) {
                const DomainVcpuPin *pin = &g_array_index(pins, DomainVcpuPin, i);
                if (pin->vcpu == vcpu)
                        return &pin->cpus;
        }
        return def->has_cpuset ? &def->cpuset : NULL;
}

const CpuMap *domain_def_emulator_cpus(const DomainDef *def) {
        if (def->cputune.has_emulatorpin)
                return &def->cputune.emulatorpin;
        return def->has_cpuset ? &def->cpuset : NULL;
}
