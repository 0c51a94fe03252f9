/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The properties live in the generated skeleton, which answers Get and GetAll itself,
 * after a look at what may change without an event (live_domain.c), and sends one
 * PropertiesChanged for all that a refresh has changed, before the signal or the answer
 * that made it necessary. Values that libvirt counts in KiB are bytes here, as everywhere
 * on systemd's bus.
 *
 * Methods go through Calls. Reading XML needs the monitor action, or the manage action
 * when the security-sensitive parts are asked for; everything else needs manage.
 */
#include "dbus/domain_object.h"

#include "dbus/auth.h"
#include "dbus/live_domain.h"
#include "dbus/names.h"

struct DomainObject {
        Domain *domain;
        Calls *calls;
        GDBusObjectSkeleton *skeleton;
        BusDomain *bus;
};

static gboolean run_start(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_create(domain, flags, err);
}

static gboolean run_shutdown(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_shutdown(domain, flags, err);
}

static gboolean run_reboot(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_reboot(domain, flags, err);
}

static gboolean run_destroy(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_destroy(domain, flags, err);
}

static gboolean run_suspend(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_suspend(domain, err);
}

static gboolean run_resume(Domain *domain, guint flags, char **ret_text, GError **err) {
        return domain_resume(domain, err);
}

static gboolean run_get_xml(Domain *domain, guint flags, char **ret_text, GError **err) {
        return (*ret_text = domain_get_xml(domain, flags, err)) != NULL;
}

/* Handlers: a GObject signal with the method's arguments; TRUE says that the invocation is taken care of. */

#define HANDLER_WITH_FLAGS(method)                                                                                  \
        static gboolean handle_##method(BusDomain *bus, GDBusMethodInvocation *invocation, guint flags,             \
                                        DomainObject *object)                                                       \
        {                                                                                                           \
                calls_begin(object->calls, invocation, AUTH_MANAGE, run_##method, object->domain, flags);           \
                return TRUE;                                                                                        \
        }
#define HANDLER(method)                                                                                             \
        static gboolean handle_##method(BusDomain *bus, GDBusMethodInvocation *invocation, DomainObject *object)    \
        {                                                                                                           \
                calls_begin(object->calls, invocation, AUTH_MANAGE, run_##method, object->domain, 0);               \
                return TRUE;                                                                                        \
        }

HANDLER_WITH_FLAGS(start)
HANDLER_WITH_FLAGS(shutdown)
HANDLER_WITH_FLAGS(reboot)
HANDLER_WITH_FLAGS(destroy)
HANDLER(suspend)
HANDLER(resume)

static gboolean handle_get_xml(BusDomain *bus, GDBusMethodInvocation *invocation, guint flags, DomainObject *object) {
        const char *action = flags & VIR_DOMAIN_XML_SECURE ? AUTH_MANAGE : AUTH_MONITOR;

        calls_begin(object->calls, invocation, action, run_get_xml, object->domain, flags);
        return TRUE;
}

static void connect_handlers(DomainObject *object) {
        static const struct {
                const char *signal;
                GCallback handler;
        } handlers[] = {
                { "handle-start", G_CALLBACK(handle_start) },       { "handle-shutdown", G_CALLBACK(handle_shutdown) },
                { "handle-reboot", G_CALLBACK(handle_reboot) },     { "handle-destroy", G_CALLBACK(handle_destroy) },
                { "handle-suspend", G_CALLBACK(handle_suspend) },   { "handle-resume", G_CALLBACK(handle_resume) },
                { "handle-get-xml", G_CALLBACK(handle_get_xml) },
        };

        for (guint i = 0; i < G_N_ELEMENTS(handlers); i++)
                g_signal_connect(object->bus, handlers[i].signal, handlers[i].handler, object);
}

static void refresh_identity(BusDomain *bus, Domain *domain) {
        g_auto(DomainHandle) handle = { 0 };
        char uuid[37];

        domain_get_handle(domain, &handle);
        domain_uuid_format(handle.uuid, uuid);
        bus_domain_set_name(bus, handle.name);
        bus_domain_set_uuid(bus, uuid);
        bus_domain_set_id(bus, handle.id);
}

static void refresh_state(BusDomain *bus, Domain *domain) {
        g_autofree char *scope = domain_get_scope_unit(domain);
        int state, reason;

        domain_get_state(domain, &state, &reason);
        bus_domain_set_state(bus, state_name(state));
        bus_domain_set_reason(bus, reason_name(state, reason));
        bus_domain_set_scope(bus, scope ? scope : "");
}

static void refresh_definition(BusDomain *bus, Domain *domain) {
        g_autofree char *title = domain_get_metadata(domain, VIR_DOMAIN_METADATA_TITLE, NULL, 0, NULL);

        bus_domain_set_persistent(bus, domain_is_persistent(domain));
        bus_domain_set_title(bus, title ? title : "");
}

/* What changes without an event. */
static void refresh_numbers(BusDomain *bus, Domain *domain) {
        virDomainInfo info = { 0 };

        domain_get_info(domain, &info);
        bus_domain_set_vcpus(bus, info.nrVirtCpu);
        bus_domain_set_memory(bus, (guint64) info.memory * 1024);
        bus_domain_set_max_memory(bus, (guint64) info.maxMem * 1024);
        bus_domain_set_autostart(bus, domain_get_autostart(domain));
}

static void refresh_live(BusDomain *bus, gpointer data) {
        const DomainObject *object = data;

        refresh_numbers(bus, object->domain);
}

void domain_object_refresh(DomainObject *object, Domain *domain) {
        if (domain != object->domain) {
                domain_unref(object->domain);
                object->domain = domain_ref(domain);
        }
        refresh_identity(object->bus, domain);
        refresh_state(object->bus, domain);
        refresh_definition(object->bus, domain);
        refresh_numbers(object->bus, domain);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(object->bus));
}

DomainObject *domain_object_new(Domain *domain, Calls *calls) {
        DomainObject *object = g_new0(DomainObject, 1);
        g_auto(DomainHandle) handle = { 0 };
        g_autofree char *path = NULL;

        domain_get_handle(domain, &handle);
        path = bus_domain_path(handle.uuid);
        object->domain = domain_ref(domain);
        object->calls = calls;
        object->bus = BUS_DOMAIN(live_domain_new(refresh_live, object));
        object->skeleton = g_dbus_object_skeleton_new(path);
        g_dbus_object_skeleton_add_interface(object->skeleton, G_DBUS_INTERFACE_SKELETON(object->bus));
        connect_handlers(object);
        domain_object_refresh(object, domain);
        return object;
}

void domain_object_free(DomainObject *object) {
        if (!object)
                return;
        live_domain_disconnect(LIVE_DOMAIN(object->bus));
        g_signal_handlers_disconnect_by_data(object->bus, object);
        g_object_unref(object->skeleton);
        g_object_unref(object->bus);
        domain_unref(object->domain);
        g_free(object);
}

GDBusObjectSkeleton *domain_object_skeleton(DomainObject *object) {
        return object->skeleton;
}

const char *domain_object_path(DomainObject *object) {
        return g_dbus_object_get_object_path(G_DBUS_OBJECT(object->skeleton));
}

const char *domain_object_name(DomainObject *object) {
        return bus_domain_get_name(object->bus);
}

gboolean domain_object_is_active(DomainObject *object) {
        return bus_domain_get_id(object->bus) >= 0;
}

void domain_object_emit_lifecycle(DomainObject *object, const char *event, const char *detail) {
        bus_domain_emit_lifecycle(object->bus, event, detail);
}
