/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The manager object, and the set of domain objects kept in step with the driver.
 *
 * Domains come and go on any thread; the driver tells of it by events on the main thread,
 * in order. An event names a domain by UUID. Whatever has that UUID when the event
 * arrives is what the bus shows: an object is made or refreshed when there is one, and
 * removed when there is none. So an event that is already out of date does no harm. A
 * transient domain that does not run, because it is only now starting or just ended, is none.
 *
 * For one event the bus sees, in this order: InterfacesAdded and DomainAdded of a new
 * object; PropertiesChanged; Lifecycle and DomainEvent; DomainRemoved and InterfacesRemoved.
 */
#include "dbus/dbus_service.h"

#include "dbus/domain_object.h"
#include "dbus/names.h"

struct DbusService {
        Driver *driver;
        GDBusConnection *bus;
        GDBusObjectManagerServer *objects;
        GHashTable *domains; /* path -> DomainObject, which owns the path */
        BusManager *manager;
        Calls *calls;
        guint listener;
        guint name_id;
};

static void refresh_counts(DbusService *service) {
        GHashTableIter iter;
        gpointer object;
        guint active = 0;

        g_hash_table_iter_init(&iter, service->domains);
        while (g_hash_table_iter_next(&iter, NULL, &object))
                active += domain_object_is_active(object) ? 1 : 0;
        bus_manager_set_domain_count(service->manager, g_hash_table_size(service->domains));
        bus_manager_set_active_domain_count(service->manager, active);
}

static DomainObject *object_add(DbusService *service, Domain *domain) {
        DomainObject *object = domain_object_new(domain, service->calls);
        const char *path = domain_object_path(object);

        g_hash_table_insert(service->domains, (gpointer) path, object);
        g_dbus_object_manager_server_export(service->objects, domain_object_skeleton(object));
        bus_manager_emit_domain_added(service->manager, path, domain_object_name(object));
        refresh_counts(service);
        return object;
}

static void object_remove(DbusService *service, DomainObject *object) {
        const char *path = domain_object_path(object);

        bus_manager_emit_domain_removed(service->manager, path, domain_object_name(object));
        g_dbus_object_manager_server_unexport(service->objects, path);
        g_hash_table_remove(service->domains, path);
        refresh_counts(service);
}

static gboolean domain_shows(Domain *domain) {
        return domain_is_persistent(domain) || domain_is_active(domain);
}

static Domain *lookup_shown(DbusService *service, const guint8 uuid[16]) {
        g_autoptr(Domain) domain = driver_lookup_by_uuid(service->driver, uuid, NULL);

        return domain && domain_shows(domain) ? g_steal_pointer(&domain) : NULL;
}

/* The object of a domain that shows, made when the event for it is still on its way. */
static DomainObject *object_of(DbusService *service, Domain *domain) {
        g_auto(DomainHandle) handle = { 0 };
        g_autofree char *path = NULL;
        DomainObject *object;

        domain_get_handle(domain, &handle);
        path = bus_domain_path(handle.uuid);
        object = g_hash_table_lookup(service->domains, path);
        if (!object)
                return object_add(service, domain);
        domain_object_refresh(object, domain);
        refresh_counts(service);
        return object;
}

/* --- Events ------------------------------------------------------------------ */

static void emit_lifecycle(DbusService *service, DomainObject *object, const DomainEvent *event) {
        const char *what = lifecycle_event_name(event->lifecycle.event);
        const char *detail = lifecycle_detail_name(event->lifecycle.event, event->lifecycle.detail);

        domain_object_emit_lifecycle(object, what, detail);
        bus_manager_emit_domain_event(service->manager, domain_object_path(object), event->domain.name, what, detail);
}

static void on_event(const DomainEvent *event, gpointer data) {
        DbusService *service = data;
        g_autoptr(Domain) domain = lookup_shown(service, event->domain.uuid);
        g_autofree char *path = bus_domain_path(event->domain.uuid);
        DomainObject *object = domain ? object_of(service, domain) : g_hash_table_lookup(service->domains, path);

        if (!object)
                return;
        if (event->type == VIR_DOMAIN_EVENT_ID_LIFECYCLE)
                emit_lifecycle(service, object, event);
        if (!domain)
                object_remove(service, object);
}

/* An operation has run: what it changed without an event shows before its answer arrives. */
static void on_call_finished(Domain *domain, gpointer data) {
        DbusService *service = data;
        g_auto(DomainHandle) handle = { 0 };
        g_autoptr(Domain) current = NULL;

        domain_get_handle(domain, &handle);
        current = lookup_shown(service, handle.uuid);
        if (current)
                object_of(service, current);
}

/* --- The manager's methods ------------------------------------------------------ */

static void return_error(GDBusMethodInvocation *invocation, const GError *err) {
        g_dbus_method_invocation_return_dbus_error(invocation, bus_error_name(err), err->message);
}

static gboolean handle_list_domains(BusManager *manager, GDBusMethodInvocation *invocation, guint flags,
                                    DbusService *service) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GPtrArray) domains = driver_list(service->driver, flags, &err);
        g_autoptr(GPtrArray) paths = g_ptr_array_new();

        if (!domains) {
                return_error(invocation, err);
                return TRUE;
        }
        for (guint i = 0; i < domains->len; i++)
                if (domain_shows(domains->pdata[i]))
                        g_ptr_array_add(paths, (gpointer) domain_object_path(object_of(service, domains->pdata[i])));
        g_ptr_array_add(paths, NULL);
        bus_manager_complete_list_domains(manager, invocation, (const char *const *)paths->pdata);
        return TRUE;
}

/* All three lookups answer with one object path. */
static gboolean return_domain(DbusService *service, GDBusMethodInvocation *invocation, Domain *domain, GError *err) {
        if (domain && domain_shows(domain))
                g_dbus_method_invocation_return_value(
                        invocation, g_variant_new("(o)", domain_object_path(object_of(service, domain))));
        else if (domain)
                g_dbus_method_invocation_return_dbus_error(invocation, BUS_ERROR("NoDomain"),
                                                           "the domain is only being created");
        else
                return_error(invocation, err);
        return TRUE;
}

static gboolean handle_get_domain_by_name(BusManager *manager, GDBusMethodInvocation *invocation, const char *name,
                                          DbusService *service) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Domain) domain = driver_lookup_by_name(service->driver, name, &err);

        return return_domain(service, invocation, domain, err);
}

static gboolean handle_get_domain_by_uuid(BusManager *manager, GDBusMethodInvocation *invocation, const char *text,
                                          DbusService *service) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Domain) domain = NULL;
        guint8 uuid[16];

        if (domain_uuid_parse(text, uuid))
                domain = driver_lookup_by_uuid(service->driver, uuid, &err);
        else
                g_set_error(&err, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS, "malformed UUID '%s'", text);
        return return_domain(service, invocation, domain, err);
}

static gboolean handle_get_domain_by_id(BusManager *manager, GDBusMethodInvocation *invocation, int id,
                                        DbusService *service) {
        g_autoptr(GError) err = NULL;
        g_autoptr(Domain) domain = driver_lookup_by_id(service->driver, id, &err);

        return return_domain(service, invocation, domain, err);
}

static void connect_manager(DbusService *service) {
        g_signal_connect(service->manager, "handle-list-domains", G_CALLBACK(handle_list_domains), service);
        g_signal_connect(service->manager, "handle-get-domain-by-name", G_CALLBACK(handle_get_domain_by_name), service);
        g_signal_connect(service->manager, "handle-get-domain-by-uuid", G_CALLBACK(handle_get_domain_by_uuid), service);
        g_signal_connect(service->manager, "handle-get-domain-by-id", G_CALLBACK(handle_get_domain_by_id), service);
}

/* --- Life ----------------------------------------------------------------------- */

static void on_name_lost(GDBusConnection *bus, const char *name, gpointer data) {
        if (!bus || g_dbus_connection_is_closed(bus))
                return; /* the whole bus is gone */
        g_warning("cannot own %s on the system bus: is its policy installed? is another daemon running?", name);
}

static void set_version(BusManager *manager) {
        gulong version = driver_get_version();
        g_autofree char *text =
                g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);

        bus_manager_set_version(manager, text);
}

DbusService *dbus_service_new(Driver *driver, GError **err) {
        g_autoptr(GDBusConnection) bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, err);
        DbusService *service;

        if (!bus)
                return NULL;
        service = g_new0(DbusService, 1);
        service->driver = driver;
        service->bus = g_steal_pointer(&bus);
        service->domains = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) domain_object_free);
        service->objects = g_dbus_object_manager_server_new(BUS_ROOT);
        service->manager = bus_manager_skeleton_new();
        service->calls = calls_new(on_call_finished, service);
        connect_manager(service);
        set_version(service->manager);
        g_dbus_connection_set_exit_on_close(service->bus, FALSE); /* main.c ends the daemon in order */
        return service;
}

static void add_all(DbusService *service) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GPtrArray) domains = driver_list(service->driver, 0, &err);

        if (!domains) {
                g_warning("no domains on the bus: %s", err->message);
                return;
        }
        for (guint i = 0; i < domains->len; i++)
                if (domain_shows(domains->pdata[i]))
                        object_of(service, domains->pdata[i]);
}

gboolean dbus_service_start(DbusService *service, GError **err) {
        if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(service->manager), service->bus, BUS_ROOT, err))
                return FALSE;
        service->listener = driver_add_listener(service->driver, on_event, service);
        add_all(service);
        g_dbus_object_manager_server_set_connection(service->objects, service->bus);
        service->name_id = g_bus_own_name_on_connection(service->bus, BUS_NAME, G_BUS_NAME_OWNER_FLAGS_NONE, NULL,
                                                        on_name_lost, NULL, NULL);
        return TRUE;
}

void dbus_service_free(DbusService *service) {
        if (!service)
                return;
        if (service->name_id)
                g_bus_unown_name(service->name_id);
        if (service->listener)
                driver_remove_listener(service->driver, service->listener);
        calls_free(service->calls);
        g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(service->manager));
        g_signal_handlers_disconnect_by_data(service->manager, service);
        g_object_unref(service->objects);
        g_hash_table_unref(service->domains);
        g_object_unref(service->manager);
        g_object_unref(service->bus);
        g_free(service);
}
