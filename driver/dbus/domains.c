/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The set of objects is kept in step with the driver. An event names a domain by UUID.
 * Whatever has that UUID when the event arrives is what the bus shows: an object is made or
 * refreshed when there is one, and removed when there has no object. So an event that is
 * already out of date does no harm. A transient domain that does not run, because it is only
 * now starting or just ended, has no object.
 *
 * For one event the bus sees, in this order: InterfacesAdded and DomainAdded of a new
 * object; PropertiesChanged; Lifecycle and DomainEvent; DomainRemoved and InterfacesRemoved.
 * The numbers of domains follow, once for all events that came together.
 *
 * Everything here costs the same for each domain, whatever their number.
 */
#include "dbus/domains.h"

#include <string.h>

#include "dbus/names.h"
#include "util/uuid.h"

#define DOMAIN_PREFIX BUS_ROOT "/domain/"

struct Domains {
        Driver *driver;
        GDBusConnection *bus;
        GHashTable *by_uuid; /* 16 bytes -> DomainObject, which owns them */
        gboolean quiet;      /* no signals for new objects */
        guint active;
        guint told, told_active; /* the numbers that were announced */
};

Domains *domains_new(Driver *driver, GDBusConnection *bus) {
        Domains *domains = g_new0(Domains, 1);

        domains->driver = driver;
        domains->bus = g_object_ref(bus);
        domains->by_uuid = g_hash_table_new_full(uuid_hash, uuid_equal, NULL, (GDestroyNotify) domain_object_free);
        return domains;
}

void domains_free(Domains *domains) {
        if (!domains)
                return;
        g_hash_table_unref(domains->by_uuid);
        g_object_unref(domains->bus);
        g_free(domains);
}

Driver *domains_driver(const Domains *domains) {
        return domains->driver;
}

/* --- Signals -------------------------------------------------------------------------- */

static void emit(Domains *domains, const char *interface, const char *signal, GVariant *arguments) {
        (void) g_dbus_connection_emit_signal(domains->bus, NULL, BUS_ROOT, interface, signal, arguments, NULL);
}

static GVariant *interfaces_of(DomainObject *object) {
        GVariantBuilder interfaces;

        g_variant_builder_init(&interfaces, G_VARIANT_TYPE("a{sa{sv}}"));
        g_variant_builder_add(&interfaces, "{s@a{sv}}", BUS_DOMAIN_INTERFACE, domain_object_get_all(object));
        return g_variant_builder_end(&interfaces);
}

static void emit_added(Domains *domains, DomainObject *object) {
        const char *path = domain_object_path(object);

        emit(domains, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded",
             g_variant_new("(o@a{sa{sv}})", path, interfaces_of(object)));
        emit(domains, BUS_MANAGER_INTERFACE, "DomainAdded", g_variant_new("(os)", path, domain_object_name(object)));
}

static void emit_removed(Domains *domains, DomainObject *object) {
        static const char *const interfaces[] = { BUS_DOMAIN_INTERFACE, NULL };
        const char *path = domain_object_path(object);

        emit(domains, BUS_MANAGER_INTERFACE, "DomainRemoved", g_variant_new("(os)", path, domain_object_name(object)));
        emit(domains, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved",
             g_variant_new("(o^as)", path, interfaces));
}

void domains_flush(Domains *domains) {
        guint count = g_hash_table_size(domains->by_uuid);
        GVariantBuilder changed;

        if (count == domains->told && domains->active == domains->told_active)
                return;
        g_variant_builder_init(&changed, G_VARIANT_TYPE_VARDICT);
        if (count != domains->told)
                g_variant_builder_add(&changed, "{sv}", "DomainCount", g_variant_new_uint32(count));
        if (domains->active != domains->told_active)
                g_variant_builder_add(&changed, "{sv}", "ActiveDomainCount", g_variant_new_uint32(domains->active));
        domains->told = count;
        domains->told_active = domains->active;
        emit(domains, "org.freedesktop.DBus.Properties", "PropertiesChanged",
             g_variant_new("(sa{sv}as)", BUS_MANAGER_INTERFACE, &changed, NULL));
}

/* --- Objects ----------------------------------------------------------------------------- */

static void object_remove(Domains *domains, DomainObject *object) {
        emit_removed(domains, object);
        domains->active -= domain_object_is_active(object) ? 1 : 0;
        g_hash_table_remove(domains->by_uuid, domain_object_uuid(object));
}

static DomainObject *object_add(Domains *domains, DomainSummary *summary) {
        DomainObject *object = domain_object_new(domains->bus, summary);

        g_hash_table_insert(domains->by_uuid, (gpointer) domain_object_uuid(object), object);
        domains->active += domain_object_is_active(object) ? 1 : 0;
        if (!domains->quiet)
                emit_added(domains, object);
        return object;
}

DomainObject *domains_object_of(Domains *domains, Domain *domain) {
        g_auto(DomainSummary) summary = { 0 };
        DomainObject *object;

        domain_get_summary(domain, &summary);
        if (!summary.persistent && summary.id < 0)
                return NULL;
        object = g_hash_table_lookup(domains->by_uuid, summary.uuid);
        if (!object)
                return object_add(domains, &summary);
        domains->active -= domain_object_is_active(object) ? 1 : 0;
        domain_object_refresh(object, &summary);
        domains->active += domain_object_is_active(object) ? 1 : 0;
        return object;
}

void domains_refresh(Domains *domains, DomainObject *object) {
        g_autoptr(Domain) domain = driver_lookup_by_uuid(domains->driver, domain_object_uuid(object), NULL);

        if (domain)
                (void) domains_object_of(domains, domain);
}

void domains_note(Domains *domains, const guint8 uuid[16], const char *name, const char *event, const char *detail) {
        g_autoptr(Domain) domain = driver_lookup_by_uuid(domains->driver, uuid, NULL);
        DomainObject *shown = domain ? domains_object_of(domains, domain) : NULL;
        DomainObject *object = shown ? shown : g_hash_table_lookup(domains->by_uuid, uuid);

        if (!object)
                return;
        if (event) {
                domain_object_emit_lifecycle(object, event, detail);
                emit(domains, BUS_MANAGER_INTERFACE, "DomainEvent",
                     g_variant_new("(osss)", domain_object_path(object), name, event, detail));
        }
        if (!shown)
                object_remove(domains, object);
}

/* A path is an object's only if it is spelled as bus_domain_path() spells a UUID. */
DomainObject *domains_find_path(Domains *domains, const char *path) {
        g_autofree char *text = NULL;
        DomainObject *object;
        guint8 uuid[16];

        if (!g_str_has_prefix(path, DOMAIN_PREFIX))
                return NULL;
        text = g_strdelimit(g_strdup(path + strlen(DOMAIN_PREFIX)), "_", '-');
        object = domain_uuid_parse(text, uuid) ? g_hash_table_lookup(domains->by_uuid, uuid) : NULL;
        return object && strcmp(domain_object_path(object), path) == 0 ? object : NULL;
}

/* --- The manager's view --------------------------------------------------------------------- */

GVariant *domains_get(Domains *domains, const char *property) {
        gulong version = driver_get_version();

        if (strcmp(property, "Version") == 0)
                return g_variant_ref_sink(g_variant_new_take_string(
                        g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000)));
        if (strcmp(property, "DomainCount") == 0)
                return g_variant_ref_sink(g_variant_new_uint32(g_hash_table_size(domains->by_uuid)));
        if (strcmp(property, "ActiveDomainCount") == 0)
                return g_variant_ref_sink(g_variant_new_uint32(domains->active));
        return NULL;
}

GVariant *domains_get_all(Domains *domains) {
        static const char *const names[] = { "Version", "DomainCount", "ActiveDomainCount" };
        GVariantBuilder all;

        g_variant_builder_init(&all, G_VARIANT_TYPE_VARDICT);
        for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GVariant) value = domains_get(domains, names[i]);
                g_variant_builder_add(&all, "{sv}", names[i], value);
        }
        return g_variant_ref_sink(g_variant_builder_end(&all));
}

GVariant *domains_list(Domains *domains, guint flags, GError **err) {
        g_autoptr(GPtrArray) list = driver_list(domains->driver, flags, err);
        GVariantBuilder paths;

        if (!list)
                return NULL;
        g_variant_builder_init(&paths, G_VARIANT_TYPE_OBJECT_PATH_ARRAY);
        for (guint i = 0; i < list->len; i++) {
                DomainObject *object = domains_object_of(domains, g_ptr_array_index(list, i));
                if (object)
                        g_variant_builder_add(&paths, "o", domain_object_path(object));
        }
        return g_variant_builder_end(&paths);
}

/* Also makes the objects that are still to come. */
static void refresh_all(Domains *domains) {
        g_autoptr(GPtrArray) list = driver_list(domains->driver, 0, NULL);

        for (guint i = 0; i < list->len; i++)
                (void) domains_object_of(domains, g_ptr_array_index(list, i));
}

GVariant *domains_get_managed(Domains *domains) {
        GVariantBuilder objects;
        GHashTableIter iter;
        gpointer object;

        refresh_all(domains);
        g_variant_builder_init(&objects, G_VARIANT_TYPE("a{oa{sa{sv}}}"));
        g_hash_table_iter_init(&iter, domains->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &object))
                g_variant_builder_add(&objects, "{o@a{sa{sv}}}", domain_object_path(object), interfaces_of(object));
        return g_variant_builder_end(&objects);
}

void domains_introspect(Domains *domains, GString *xml) {
        GHashTableIter iter;
        gpointer object;

        g_hash_table_iter_init(&iter, domains->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &object)) {
                g_string_append(xml, "  <node name=\"");
                g_string_append(xml, domain_object_path(object) + strlen(DOMAIN_PREFIX));
                g_string_append(xml, "\"/>\n");
        }
}

gboolean domains_load(Domains *domains, GError **err) {
        g_autoptr(GPtrArray) list = driver_list(domains->driver, 0, err);

        if (!list)
                return FALSE;
        domains->quiet = TRUE;
        for (guint i = 0; i < list->len; i++)
                (void) domains_object_of(domains, g_ptr_array_index(list, i));
        domains->quiet = FALSE;
        domains->told = g_hash_table_size(domains->by_uuid);
        domains->told_active = domains->active;
        return TRUE;
}
