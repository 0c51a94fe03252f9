/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon on the bus, on a thread and a connection of its own: no request on the bus
 * costs anything on the main loop, which serves libvirt clients.
 *
 *   callers.c   whose call it is, how many wait, whose turn it is
 *   router.c    what a call is answered with          calls.c  operations, behind polkit
 *   domains.c   the objects (domain_object.c)         inbox.c  events, from the main thread
 *
 * The thread is started last and joined first, so that everything else is made and ended
 * on the main thread without a lock; meanwhile the main thread only puts into the inbox.
 */
#include "dbus/dbus_service.h"

#include "dbus/callers.h"
#include "dbus/inbox.h"
#include "dbus/names.h"
#include "dbus/router.h"

struct DbusService {
        Driver *driver;
        GDBusConnection *bus;
        GMainContext *context;
        GMainLoop *loop;
        GThread *thread; /* NULL: it does not run */
        Inbox *inbox;
        Router router;
        Callers *callers;
        guint listener;
        guint name_id;
};

/* --- The thread of D-Bus --------------------------------------------------------------- */

static void handle_call(BusCall *call, gpointer data) {
        const DbusService *service = data;

        router_handle(&service->router, call);
}

/* An operation has run: its changes are announced before its answer. */
static void finish_call(Domains *domains, Call *call) {
        g_auto(DomainHandle) handle = { 0 };
        g_autoptr(Domain) current = NULL;

        domain_get_handle(call_domain(call), &handle);
        current = driver_lookup_by_uuid(domains_driver(domains), handle.uuid, NULL);
        if (current)
                (void) domains_object_of(domains, current);
        domains_flush(domains);
        call_finish(call);
}

static void handle_item(InboxItem *item, gpointer data) {
        const DbusService *service = data;

        if (item->call)
                finish_call(service->router.domains, g_steal_pointer(&item->call));
        else
                domains_note(service->router.domains, item->uuid, item->name, item->event, item->detail);
}

static void items_through(gpointer data) {
        const DbusService *service = data;

        domains_flush(service->router.domains);
}

static gpointer thread_main(gpointer data) {
        const DbusService *service = data;

        g_main_context_push_thread_default(service->context);
        g_main_loop_run(service->loop);
        g_main_context_pop_thread_default(service->context);
        return NULL;
}

static void on_name_lost(GDBusConnection *bus, const char *name, gpointer data) {
        if (!bus || g_dbus_connection_is_closed(bus))
                return; /* the whole bus is gone */
        g_warning("cannot own %s on the system bus: is its policy installed? is another daemon running?", name);
}

/* --- The main thread ---------------------------------------------------------------------- */

static void on_event(const DomainEvent *event, gpointer data) {
        const DbusService *service = data;

        inbox_put_event(service->inbox, event);
}

static void on_call_done(Call *call, gpointer data) {
        const DbusService *service = data;

        inbox_put_call(service->inbox, call);
}

/* Not GLib's shared connection: the driver's calls to systemd must not queue behind users' messages. */
static GDBusConnection *connect_bus(GError **err) {
        g_autofree char *address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, err);

        if (!address)
                return NULL;
        return g_dbus_connection_new_for_address_sync(
                address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                NULL, NULL, err);
}

DbusService *dbus_service_new(Driver *driver, GError **err) {
        g_autoptr(GMainContext) context = g_main_context_new();
        DbusService *service;
        GDBusConnection *bus;

        g_main_context_push_thread_default(context);
        bus = connect_bus(err);
        if (!bus) {
                g_main_context_pop_thread_default(context);
                return NULL;
        }
        service = g_new0(DbusService, 1);
        service->driver = driver;
        service->bus = bus;
        service->context = g_main_context_ref(context);
        service->loop = g_main_loop_new(context, FALSE);
        service->inbox = inbox_new(context, handle_item, items_through, service);
        service->router.domains = domains_new(driver, bus);
        service->router.calls = calls_new(on_call_done, service);
        g_main_context_pop_thread_default(context);
        return service;
}

gboolean dbus_service_start(DbusService *service, GError **err) {
        gboolean ok;

        g_main_context_push_thread_default(service->context);
        service->listener = driver_add_listener(service->driver, on_event, service);
        ok = domains_load(service->router.domains, err);
        if (ok) {
                service->callers = callers_new(service->bus, handle_call, service);
                service->name_id = g_bus_own_name_on_connection(service->bus, BUS_NAME, G_BUS_NAME_OWNER_FLAGS_NONE,
                                                                NULL, on_name_lost, NULL, NULL);
        }
        g_main_context_pop_thread_default(service->context);
        if (!ok)
                return FALSE;
        service->thread = g_thread_try_new("dbus", thread_main, service, err);
        return service->thread != NULL;
}

static gboolean quit(gpointer data) {
        g_main_loop_quit(data);
        return G_SOURCE_REMOVE;
}

/* Also when the loop has not begun to run yet. */
static void join_thread(DbusService *service) {
        g_autoptr(GSource) source = g_idle_source_new();

        if (!service->thread)
                return;
        g_source_set_priority(source, G_PRIORITY_HIGH);
        g_source_set_callback(source, quit, service->loop, NULL);
        g_source_attach(source, service->context);
        (void) g_thread_join(g_steal_pointer(&service->thread));
}

void dbus_service_free(DbusService *service) {
        if (!service)
                return;
        if (service->listener)
                driver_remove_listener(service->driver, service->listener);
        join_thread(service);
        g_main_context_push_thread_default(service->context);
        if (service->name_id)
                g_bus_unown_name(service->name_id);
        callers_free(service->callers);
        calls_free(service->router.calls);
        inbox_free(service->inbox);
        domains_free(service->router.domains);
        g_object_unref(service->bus);
        g_main_context_pop_thread_default(service->context);
        g_main_loop_unref(service->loop);
        g_main_context_unref(service->context);
        g_free(service);
}
