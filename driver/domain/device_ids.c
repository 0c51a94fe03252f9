/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers by which a domain's devices are known in the control protocol (vmm/ctl/ctl.h). A device gets one when it
 * is added and keeps it for as long as the monitor runs; none is given twice. In the status file they stand in the
 * order of the definition's devices, so that the next daemon knows them too.
 */
#include "domain/internal.h"

struct DeviceIds {
        GHashTable *by_alias; /* char* -> id */
        guint32 last;
};

DeviceIds *device_ids_new(void) {
        DeviceIds *ids = g_new0(DeviceIds, 1);
        ids->by_alias = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        return ids;
}

void device_ids_free(DeviceIds *ids) {
        if (!ids)
                return;
        g_hash_table_unref(ids->by_alias);
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
        return copy;
}

guint32 device_ids_give(DeviceIds *ids, const char *alias) {
        device_ids_set(ids, alias, ids->last + 1);
        return ids->last;
}

guint32 device_ids_find(const DeviceIds *ids, const char *alias) {
        return ids && alias ? GPOINTER_TO_UINT(g_hash_table_lookup(ids->by_alias, alias)) : 0;
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
        return aliases;
}

char *device_ids_format(const DeviceIds *ids, const DomainDef *def) {
        g_autoptr(GPtrArray) aliases = aliases_of(def);
        GString *text = g_string_new(NULL);
        g_string_append_printf(text, "%u", ids ? ids->last : 0);
        for (guint i = 0; i < aliases->len; i++)
                g_string_append_printf(text, " %u", device_ids_find(ids, g_ptr_array_index(aliases, i)));
        return g_string_free(text, FALSE);
}

DeviceIds *device_ids_parse(const char *text, const DomainDef *def) {
        g_autoptr(GPtrArray) aliases = aliases_of(def);
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        guint n = g_strv_length(words);
        DeviceIds *ids = device_ids_new();
        for (guint i = 0; i < aliases->len && i + 1 < n; i++) {
                const char *alias = g_ptr_array_index(aliases, i);
                guint32 id = (guint32) g_ascii_strtoull(words[i + 1], NULL, 10);
                if (alias && id != 0)
                        device_ids_set(ids, alias, id);
        }
        if (n > 0)
                ids->last = MAX(ids->last, (guint32) g_ascii_strtoull(words[0], NULL, 10));
        return ids;
}
