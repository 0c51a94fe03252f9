/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An object holds its properties ready to be sent, so that reading thousands of them costs
 * little more than copying. A refresh compares a fresh summary of the domain with what they
 * say, and sends one PropertiesChanged for all that differs, before the signal or the answer
 * that made it necessary. Values that libvirt counts in KiB are bytes here, as everywhere on
 * systemd's bus.
 */
#include "dbus/domain_object.h"

#include <string.h>

#include "dbus/names.h"

typedef GVariant *(*Maker)(const DomainSummary *summary);

struct DomainObject {
        GDBusConnection *bus;
        char *path;
        DomainSummary shown;
        GHashTable *values; /* property -> GVariant* */
        GVariant *all;      /* of them; NULL: to be made */
};

/* --- Properties --------------------------------------------------------------------- */

static GVariant *make_uuid(const DomainSummary *summary) {
        char text[37];

        domain_uuid_format(summary->uuid, text);
        return g_variant_new_string(text);
}

static GVariant *make_name(const DomainSummary *s) {
        return g_variant_new_string(s->name);
}
static GVariant *make_id(const DomainSummary *s) {
        return g_variant_new_int32(s->id);
}
static GVariant *make_state(const DomainSummary *s) {
        return g_variant_new_string(state_name(s->state));
}
static GVariant *make_reason(const DomainSummary *s) {
        return g_variant_new_string(reason_name(s->state, s->reason));
}
static GVariant *make_scope(const DomainSummary *s) {
        return g_variant_new_string(s->scope ? s->scope : "");
}
static GVariant *make_vcpus(const DomainSummary *s) {
        return g_variant_new_uint32(s->vcpus);
}
static GVariant *make_memory(const DomainSummary *s) {
        return g_variant_new_uint64(s->memory_kib * 1024);
}
static GVariant *make_max_memory(const DomainSummary *s) {
        return g_variant_new_uint64(s->max_memory_kib * 1024);
}
static GVariant *make_persistent(const DomainSummary *s) {
        return g_variant_new_boolean(s->persistent);
}
static GVariant *make_autostart(const DomainSummary *s) {
        return g_variant_new_boolean(s->autostart);
}
static GVariant *make_title(const DomainSummary *s) {
        return g_variant_new_string(s->title ? s->title : "");
}

/* In the order of the introspection file. */
static const struct {
        const char *name;
        Maker make;
} properties[] = {
        { "Name", make_name },
        { "UUID", make_uuid },
        { "Id", make_id },
        { "State", make_state },
        { "Reason", make_reason },
        { "Scope", make_scope },
        { "VCPUs", make_vcpus },
        { "Memory", make_memory },
        { "MaxMemory", make_max_memory },
        { "Persistent", make_persistent },
        { "Autostart", make_autostart },
        { "Title", make_title },
};

static gboolean summary_equal(const DomainSummary *a, const DomainSummary *b) {
        return a->id == b->id && a->state == b->state && a->reason == b->reason && a->vcpus == b->vcpus &&
               a->memory_kib == b->memory_kib && a->max_memory_kib == b->max_memory_kib &&
               a->persistent == b->persistent && a->autostart == b->autostart && strcmp(a->name, b->name) == 0 &&
               g_strcmp0(a->scope, b->scope) == 0 && g_strcmp0(a->title, b->title) == 0;
}

/* TRUE when it has changed. */
static gboolean set_value(DomainObject *object, guint i) {
        g_autoptr(GVariant) value = g_variant_ref_sink(properties[i].make(&object->shown));
        GVariant *old = g_hash_table_lookup(object->values, properties[i].name);

        if (old && g_variant_equal(old, value))
                return FALSE;
        g_hash_table_insert(object->values, (gpointer) properties[i].name, g_steal_pointer(&value));
        g_clear_pointer(&object->all, g_variant_unref);
        return TRUE;
}

GVariant *domain_object_get(const DomainObject *object, const char *property) {
        return g_hash_table_lookup(object->values, property);
}

GVariant *domain_object_get_all(DomainObject *object) {
        GVariantBuilder all;

        if (object->all)
                return object->all;
        g_variant_builder_init(&all, G_VARIANT_TYPE_VARDICT);
        for (guint i = 0; i < G_N_ELEMENTS(properties); i++)
                g_variant_builder_add(&all, "{sv}", properties[i].name, domain_object_get(object, properties[i].name));
        object->all = g_variant_ref_sink(g_variant_builder_end(&all));
        (void) g_variant_get_data(object->all); /* to be copied as bytes */
        return object->all;
}

static void emit(DomainObject *object, const char *interface, const char *signal, GVariant *arguments) {
        (void) g_dbus_connection_emit_signal(object->bus, NULL, object->path, interface, signal, arguments, NULL);
}

void domain_object_refresh(DomainObject *object, DomainSummary *summary) {
        GVariantBuilder changed;
        gboolean any = FALSE;

        if (summary_equal(summary, &object->shown))
                return;
        domain_summary_clear(&object->shown);
        object->shown = *summary;
        *summary = (DomainSummary) { 0 };
        g_variant_builder_init(&changed, G_VARIANT_TYPE_VARDICT);
        for (guint i = 0; i < G_N_ELEMENTS(properties); i++) {
                if (!set_value(object, i))
                        continue;
                any = TRUE;
                g_variant_builder_add(&changed, "{sv}", properties[i].name,
                                      domain_object_get(object, properties[i].name));
        }
        if (any)
                emit(object, "org.freedesktop.DBus.Properties", "PropertiesChanged",
                     g_variant_new("(sa{sv}as)", BUS_DOMAIN_INTERFACE, &changed, NULL));
        else
                g_variant_builder_clear(&changed);
}

void domain_object_emit_lifecycle(DomainObject *object, const char *event, const char *detail) {
        emit(object, BUS_DOMAIN_INTERFACE, "Lifecycle", g_variant_new("(ss)", event, detail));
}

/* --- Life ----------------------------------------------------------------------------- */

DomainObject *domain_object_new(GDBusConnection *bus, DomainSummary *summary) {
        DomainObject *object = g_new0(DomainObject, 1);

        object->bus = g_object_ref(bus);
        object->path = bus_domain_path(summary->uuid);
        object->shown = *summary;
        *summary = (DomainSummary) { 0 };
        object->values = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) g_variant_unref);
        for (guint i = 0; i < G_N_ELEMENTS(properties); i++)
                (void) set_value(object, i);
        return object;
}

void domain_object_free(DomainObject *object) {
        if (!object)
                return;
        domain_summary_clear(&object->shown);
        g_hash_table_unref(object->values);
        g_clear_pointer(&object->all, g_variant_unref);
        g_object_unref(object->bus);
        g_free(object->path);
        g_free(object);
}

const guint8 *domain_object_uuid(const DomainObject *object) {
        return object->shown.uuid;
}

const char *domain_object_path(const DomainObject *object) {
        return object->path;
}

const char *domain_object_name(const DomainObject *object) {
        return object->shown.name;
}

gboolean domain_object_is_active(const DomainObject *object) {
        return object->shown.id >= 0;
}
