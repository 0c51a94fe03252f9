/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers by which a domain's devices are known in the control protocol (vmm/ctl/ctl.h). A device gets one when it
 * is added and keeps it for as long as the monitor runs; none is given twice. In the status file they stand in the
 * order of the definition's devices, so that the next daemon knows them too. When that file was lost, the monitor tells
 * them: what it lists is matched with the definition by kind and PCI slot. Until it has answered they are unknown, and
 * a call that needs one asks again or fails.
 */
#include "domain/internal.h"
#include "util/error.h"

/* The monitor refuses ids of devices that have gone, which it does not list: more than were ever plugged and unplugged.
 */
#define IDS_SKIPPED 65536u

struct DeviceIds {
        GHashTable *by_alias; /* char* -> id */
        GHashTable *leaving;  /* ids of devices whose removal a call waits for */
        GHashTable *gone;     /* ids of devices that are gone, and are to be dropped */
        guint32 last;
        gboolean unknown; /* to be learned from the monitor */
};

DeviceIds *device_ids_new(void) {
        DeviceIds *ids = g_new0(DeviceIds, 1);
        ids->by_alias = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        ids->leaving = g_hash_table_new(NULL, NULL);
        ids->gone = g_hash_table_new(NULL, NULL);
        return ids;
}

void device_ids_free(DeviceIds *ids) {
        if (!ids)
                return;
        g_hash_table_unref(ids->by_alias);
        g_hash_table_unref(ids->leaving);
        g_hash_table_unref(ids->gone);
        g_free(ids);
}

static void device_ids_set(DeviceIds *ids, const char *alias, guint32 id) {
        g_hash_table_insert(ids->by_alias, g_strdup(alias), GUINT_TO_POINTER(id));
        ids->last = MAX(ids->last, id);
}

DeviceIds *device_ids_copy(const DeviceIds *ids) {
        DeviceIds *copy = device_ids_new();
        GHashTableIter iter;
        gpointer alias, id;
        if (!ids)
                return copy;
        g_hash_table_iter_init(&iter, ids->by_alias);
        while (g_hash_table_iter_next(&iter, &alias, &id))
                device_ids_set(copy, alias, GPOINTER_TO_UINT(id));
        copy->last = ids->last;
        copy->unknown = ids->unknown;
        return copy;
}

guint32 device_ids_give(DeviceIds *ids, const char *alias) {
        device_ids_set(ids, alias, ids->last + 1);
        return ids->last;
}

guint32 device_ids_find(const DeviceIds *ids, const char *alias) {
        return ids && alias ? GPOINTER_TO_UINT(g_hash_table_lookup(ids->by_alias, alias)) : 0;
}

const char *device_ids_alias(const DeviceIds *ids, guint32 id) {
        GHashTableIter iter;
        gpointer alias, value;
        if (!ids || id == 0)
                return NULL;
        g_hash_table_iter_init(&iter, ids->by_alias);
        while (g_hash_table_iter_next(&iter, &alias, &value))
                if (GPOINTER_TO_UINT(value) == id)
                        return alias;
        return NULL;
}

gboolean device_ids_are_known(const DeviceIds *ids) {
        return ids && !ids->unknown;
}

void device_ids_set_leaving(DeviceIds *ids, guint32 id, gboolean leaving) {
        if (leaving)
                (void) g_hash_table_add(ids->leaving, GUINT_TO_POINTER(id));
        else
                (void) g_hash_table_remove(ids->leaving, GUINT_TO_POINTER(id));
}

gboolean device_ids_is_leaving(const DeviceIds *ids, guint32 id) {
        return g_hash_table_contains(ids->leaving, GUINT_TO_POINTER(id));
}

gboolean device_ids_mark_gone(DeviceIds *ids, guint32 id) {
        return g_hash_table_add(ids->gone, GUINT_TO_POINTER(id));
}

const char *device_ids_gone(const DeviceIds *ids) {
        GHashTableIter iter;
        gpointer id;
        if (!ids)
                return NULL;
        g_hash_table_iter_init(&iter, ids->gone);
        return g_hash_table_iter_next(&iter, &id, NULL) ? device_ids_alias(ids, GPOINTER_TO_UINT(id)) : NULL;
}

void device_ids_drop(DeviceIds *ids, const char *alias) {
        (void) g_hash_table_remove(ids->gone, GUINT_TO_POINTER(device_ids_find(ids, alias)));
        (void) g_hash_table_remove(ids->by_alias, alias);
}

/* The aliases of all devices, in the definition's order; they stay its own. */
static GPtrArray *aliases_of(const DomainDef *def) {
        GPtrArray *aliases = g_ptr_array_new();
        for (guint i = 0; i < def->disks->len; i++)
                g_ptr_array_add(aliases, ((DomainDisk *) g_ptr_array_index(def->disks, i))->alias);
        for (guint i = 0; i < def->nics->len; i++)
                g_ptr_array_add(aliases, ((DomainNic *) g_ptr_array_index(def->nics, i))->alias);
        for (guint i = 0; i < def->chars->len; i++)
                g_ptr_array_add(aliases, ((DomainChar *) g_ptr_array_index(def->chars, i))->alias);
        if (def->rng)
                g_ptr_array_add(aliases, def->rng->alias);
        if (def->vsock)
                g_ptr_array_add(aliases, def->vsock->alias);
        return aliases;
}

char *device_ids_format(const DeviceIds *ids, const DomainDef *def) {
        g_autoptr(GPtrArray) aliases = aliases_of(def);
        GString *text = g_string_new(NULL);
        if (!ids || ids->unknown)
                return g_string_free(text, FALSE);
        g_string_append_printf(text, "%u", ids->last);
        for (guint i = 0; i < aliases->len; i++)
                g_string_append_printf(text, " %u", device_ids_find(ids, g_ptr_array_index(aliases, i)));
        return g_string_free(text, FALSE);
}

DeviceIds *device_ids_parse(const char *text, const DomainDef *def) {
        g_autoptr(GPtrArray) aliases = aliases_of(def);
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        DeviceIds *ids = device_ids_new();
        if (g_strv_length(words) != aliases->len + 1) {
                ids->unknown = TRUE;
                return ids;
        }
        for (guint i = 0; i < aliases->len; i++) {
                const char *alias = g_ptr_array_index(aliases, i);
                guint32 id = (guint32) g_ascii_strtoull(words[i + 1], NULL, 10);
                if (alias && id != 0)
                        device_ids_set(ids, alias, id);
        }
        ids->last = MAX(ids->last, (guint32) g_ascii_strtoull(words[0], NULL, 10));
        return ids;
}

/* --- Learning them -------------------------------------------------------------------------- */

/* The device of the kind (an ADD_*) in the slot; NULL: the monitor has none there. */
static const struct ctl_list_entry *entry_at(const GArray *list, guint16 type, guint slot) {
        for (guint i = 0; i < list->len; i++) {
                const struct ctl_list_entry *entry = &g_array_index(list, struct ctl_list_entry, i);
                if (entry->type == type && entry->place.slot == slot)
                        return entry;
        }
        return NULL;
}

static void learn_one(DeviceIds *ids, const GArray *list, guint16 type, const DomainPciAddress *pci,
                      const char *alias) {
        const struct ctl_list_entry *entry = pci->slot ? entry_at(list, type, pci->slot) : NULL;
        if (entry && alias)
                device_ids_set(ids, alias, entry->place.id);
}

/* All are in one slot, and their ids rise in the order of the definition, unless that is of other ports. */
static void learn_ports(DeviceIds *ids, const GArray *list, const DomainDef *def) {
        g_autoptr(GPtrArray) aliases = g_ptr_array_new();
        g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(guint32));
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (domain_char_is_port(chr) && chr->alias)
                        g_ptr_array_add(aliases, chr->alias);
        }
        for (guint i = 0; i < list->len; i++) {
                const struct ctl_list_entry *entry = &g_array_index(list, struct ctl_list_entry, i);
                if (entry->type == CTL_ADD_PORT)
                        g_array_append_val(found, entry->place.id);
        }
        for (guint i = 0; i < found->len && found->len == aliases->len; i++)
                device_ids_set(ids, g_ptr_array_index(aliases, i), g_array_index(found, guint32, i));
}

void device_ids_learn(DeviceIds *ids, const DomainDef *def, const GArray *list) {
        g_hash_table_remove_all(ids->by_alias);
        for (guint i = 0; i < def->disks->len; i++) {
                const DomainDisk *disk = g_ptr_array_index(def->disks, i);
                learn_one(ids, list, CTL_ADD_DISK, &disk->pci, disk->alias);
        }
        for (guint i = 0; i < def->nics->len; i++) {
                const DomainNic *nic = g_ptr_array_index(def->nics, i);
                learn_one(ids, list, CTL_ADD_NIC, &nic->pci, nic->alias);
        }
        if (def->rng)
                learn_one(ids, list, CTL_ADD_RNG, &def->rng->pci, def->rng->alias);
        if (def->vsock)
                learn_one(ids, list, CTL_ADD_VSOCK, &def->vsock->pci, def->vsock->alias);
        learn_ports(ids, list, def);
        ids->last = IDS_SKIPPED;
        if (list->len > 0) /* of a device that the definition does not have, too */
                ids->last += g_array_index(list, struct ctl_list_entry, list->len - 1).place.id;
        ids->unknown = FALSE;
}

gboolean domain_learn_devices(Domain *d, gboolean wait, GError **err) {
        if (!d->run.devices || !d->run.devices->unknown)
                return TRUE;
        g_autoptr(Vmm) vmm = vmm_ref(d->run.vmm);
        domain_unlock(d);
        g_autoptr(GArray) list = vmm_list_devices(vmm, wait, err);
        domain_lock(d);
        if (!list) {
                if (err)
                        g_prefix_error(err, "the devices of domain '%s' are not known: ", d->name);
                return FALSE;
        }
        if (d->run.vmm == vmm && d->run.devices && d->run.devices->unknown) {
                device_ids_learn(d->run.devices, d->def, list);
                status_save_or_warn(d, NULL);
        }
        return TRUE;
}

gboolean domain_device_id(Domain *d, const char *alias, guint32 *ret, GError **err) {
        if (!domain_learn_devices(d, TRUE, err))
                return FALSE;
        *ret = device_ids_find(d->run.devices, alias);
        if (*ret != 0)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_FAILED, "the running domain has no device '%s': restart it",
                         alias ? alias : "");
}
