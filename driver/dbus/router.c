/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of objects and their interfaces, by hand: GLib's own would do each of these
 * calls at once, for anybody, however often.
 *
 *   /org/virtmicro1               Manager, ObjectManager
 *   /org/virtmicro1/domain/UUID   Domain
 *
 * and Properties and Introspectable on both; nodes above and between can be introspected.
 * Arguments are checked against the introspection data.
 *
 * Reading is open to everybody. Methods of domains go through Calls. Reading XML needs the
 * monitor action, or the manage action when the security-sensitive parts are asked for;
 * everything else needs manage.
 */
#include "dbus/router.h"

#include <string.h>

#include "dbus/auth.h"
#include "dbus/bus_info.h"
#include "dbus/names.h"

#define DOMAINS_PATH     BUS_ROOT "/domain"
#define PROPERTIES       "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE   "org.freedesktop.DBus.Introspectable"
#define OBJECT_MANAGER   "org.freedesktop.DBus.ObjectManager"
#define DBUS_ERROR(name) "org.freedesktop.DBus.Error." name

/* What a path names. */
typedef struct Node {
        const GDBusInterfaceInfo *interface; /* NULL: nothing but introspection */
        DomainObject *domain;                /* NULL: the manager */
        const char *child;                   /* the one node below, unless that is the list of domains */
        gboolean is_list;
} Node;

static gboolean find_node(const Router *router, const char *path, Node *ret) {
        *ret = (Node) { 0 };
        if (strcmp(path, BUS_ROOT) == 0) {
                ret->interface = &org_virtmicro1_manager_interface;
                ret->child = "domain";
        } else if (strcmp(path, DOMAINS_PATH) == 0) {
                ret->is_list = TRUE;
        } else if (strcmp(path, "/") == 0) {
                ret->child = "org";
        } else if (strcmp(path, "/org") == 0) {
                ret->child = "virtmicro1";
        } else {
                ret->domain = domains_find_path(router->domains, path);
                ret->interface = &org_virtmicro1_domain_interface;
                return ret->domain != NULL;
        }
        return TRUE;
}

/* --- Introspectable ----------------------------------------------------------------- */

static const char standard_interfaces[] =
        "  <interface name=\"" INTROSPECTABLE "\">\n"
        "    <method name=\"Introspect\"><arg type=\"s\" name=\"xml_data\" direction=\"out\"/></method>\n"
        "  </interface>\n"
        "  <interface name=\"org.freedesktop.DBus.Peer\">\n"
        "    <method name=\"Ping\"/>\n"
        "    <method name=\"GetMachineId\"><arg type=\"s\" name=\"machine_uuid\" direction=\"out\"/></method>\n"
        "  </interface>\n";

static const char properties_interface[] =
        "  <interface name=\"" PROPERTIES "\">\n"
        "    <method name=\"Get\"><arg type=\"s\" name=\"interface_name\" direction=\"in\"/>"
        "<arg type=\"s\" name=\"property_name\" direction=\"in\"/>"
        "<arg type=\"v\" name=\"value\" direction=\"out\"/></method>\n"
        "    <method name=\"GetAll\"><arg type=\"s\" name=\"interface_name\" direction=\"in\"/>"
        "<arg type=\"a{sv}\" name=\"properties\" direction=\"out\"/></method>\n"
        "    <method name=\"Set\"><arg type=\"s\" name=\"interface_name\" direction=\"in\"/>"
        "<arg type=\"s\" name=\"property_name\" direction=\"in\"/>"
        "<arg type=\"v\" name=\"value\" direction=\"in\"/></method>\n"
        "    <signal name=\"PropertiesChanged\"><arg type=\"s\" name=\"interface_name\"/>"
        "<arg type=\"a{sv}\" name=\"changed_properties\"/><arg type=\"as\" name=\"invalidated_properties\"/></signal>\n"
        "  </interface>\n";

static const char object_manager_interface[] =
        "  <interface name=\"" OBJECT_MANAGER "\">\n"
        "    <method name=\"GetManagedObjects\"><arg type=\"a{oa{sa{sv}}}\" name=\"objects\" direction=\"out\"/>"
        "</method>\n"
        "    <signal name=\"InterfacesAdded\"><arg type=\"o\" name=\"object\"/>"
        "<arg type=\"a{sa{sv}}\" name=\"interfaces\"/></signal>\n"
        "    <signal name=\"InterfacesRemoved\"><arg type=\"o\" name=\"object\"/>"
        "<arg type=\"as\" name=\"interfaces\"/></signal>\n"
        "  </interface>\n";

static void introspect_interfaces(const Node *node, GString *xml) {
        g_string_append(xml, standard_interfaces);
        if (!node->interface)
                return;
        g_string_append(xml, properties_interface);
        if (!node->domain)
                g_string_append(xml, object_manager_interface);
        g_dbus_interface_info_generate_xml((GDBusInterfaceInfo *) node->interface, 2, xml);
}

static void introspect(const Router *router, const Node *node, BusCall *call) {
        g_autoptr(GString) xml = g_string_new("<!DOCTYPE node PUBLIC "
                                              "\"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
                                              "\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
                                              "<node>\n");

        introspect_interfaces(node, xml);
        if (node->child)
                g_string_append_printf(xml, "  <node name=\"%s\"/>\n", node->child);
        if (node->is_list)
                domains_introspect(router->domains, xml);
        g_string_append(xml, "</node>\n");
        bus_call_return(call, g_variant_new("(s)", xml->str));
}

/* --- Properties ------------------------------------------------------------------------ */

/* One of the node's own interface, or NULL. */
static GVariant *get_value(const Router *router, const Node *node, const char *property) {
        GVariant *value = node->domain ? domain_object_get(node->domain, property) : NULL;

        if (!node->domain)
                return domains_get(router->domains, property);
        return value ? g_variant_ref(value) : NULL;
}

static void get_property(const Router *router, const Node *node, BusCall *call, const char *property) {
        g_autoptr(GVariant) value = get_value(router, node, property);

        if (value)
                bus_call_return(call, g_variant_new("(v)", value));
        else
                bus_call_fail(call, DBUS_ERROR("UnknownProperty"), "no such property");
}

static void get_all_properties(const Router *router, const Node *node, BusCall *call) {
        g_autoptr(GVariant) all =
                node->domain ? g_variant_ref(domain_object_get_all(node->domain)) : domains_get_all(router->domains);

        bus_call_return(call, g_variant_new("(@a{sv})", all));
}

static void read_properties(const Router *router, const Node *node, BusCall *call, const char *property) {
        if (node->domain)
                domains_refresh(router->domains, node->domain);
        else
                domains_flush(router->domains);
        if (property)
                get_property(router, node, call, property);
        else
                get_all_properties(router, node, call);
}

static void handle_properties(const Router *router, const Node *node, BusCall *call, const char *method) {
        g_autoptr(GVariant) arguments = bus_call_arguments(call);
        const char *interface = NULL, *property = NULL;

        g_variant_get_child(arguments, 0, "&s", &interface);
        if (g_variant_n_children(arguments) > 1)
                g_variant_get_child(arguments, 1, "&s", &property);
        if (!node->interface || strcmp(interface, node->interface->name) != 0)
                bus_call_fail(call, DBUS_ERROR("UnknownInterface"), "no such interface with properties");
        else if (strcmp(method, "Set") == 0)
                bus_call_fail(call, DBUS_ERROR("PropertyReadOnly"), "properties cannot be set: use the methods");
        else
                read_properties(router, node, call, property);
}

/* --- The manager ------------------------------------------------------------------------- */

static void list_domains(const Router *router, BusCall *call, GVariant *arguments) {
        g_autoptr(GError) err = NULL;
        guint32 flags;
        GVariant *paths;

        g_variant_get(arguments, "(u)", &flags);
        paths = domains_list(router->domains, flags, &err);
        if (paths)
                bus_call_return(call, g_variant_new("(@ao)", paths));
        else
                bus_call_fail_error(call, err);
}

/* All three lookups answer with one object path. Takes the domain. */
static void return_domain(const Router *router, BusCall *call, Domain *found, const GError *err) {
        g_autoptr(Domain) domain = found;
        DomainObject *object = domain ? domains_object_of(router->domains, domain) : NULL;

        if (object)
                bus_call_return(call, g_variant_new("(o)", domain_object_path(object)));
        else if (domain)
                bus_call_fail(call, BUS_ERROR("NoDomain"), "the domain is still being created");
        else
                bus_call_fail_error(call, err);
}

static void get_domain_by_name(const Router *router, BusCall *call, GVariant *arguments) {
        g_autoptr(GError) err = NULL;
        const char *name;
        Domain *domain;

        g_variant_get(arguments, "(&s)", &name);
        domain = driver_lookup_by_name(domains_driver(router->domains), name, &err);
        return_domain(router, call, domain, err);
}

static void get_domain_by_uuid(const Router *router, BusCall *call, GVariant *arguments) {
        g_autoptr(GError) err = NULL;
        const char *text;
        Domain *domain = NULL;
        guint8 uuid[16];

        g_variant_get(arguments, "(&s)", &text);
        if (domain_uuid_parse(text, uuid))
                domain = driver_lookup_by_uuid(domains_driver(router->domains), uuid, &err);
        else
                g_set_error(&err, G_DBUS_ERROR, G_DBUS_ERROR_INVALID_ARGS, "malformed UUID '%s'", text);
        return_domain(router, call, domain, err);
}

static void get_domain_by_id(const Router *router, BusCall *call, GVariant *arguments) {
        g_autoptr(GError) err = NULL;
        gint32 id;
        Domain *domain;

        g_variant_get(arguments, "(i)", &id);
        domain = driver_lookup_by_id(domains_driver(router->domains), id, &err);
        return_domain(router, call, domain, err);
}

static void handle_manager(const Router *router, BusCall *call, const char *method) {
        static const struct {
                const char *name;
                void (*handle)(const Router *router, BusCall *call, GVariant *arguments);
        } methods[] = {
                { "ListDomains", list_domains },
                { "GetDomainByName", get_domain_by_name },
                { "GetDomainByUUID", get_domain_by_uuid },
                { "GetDomainByID", get_domain_by_id },
        };
        g_autoptr(GVariant) arguments = bus_call_arguments(call);

        for (guint i = 0; i < G_N_ELEMENTS(methods); i++)
                if (strcmp(methods[i].name, method) == 0) {
                        methods[i].handle(router, call, arguments);
                        return;
                }
        bus_call_fail(call, DBUS_ERROR("UnknownMethod"), "no such method");
}

/* --- Domains --------------------------------------------------------------------------------- */

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

static CallFunc find_operation(const char *method) {
        static const struct {
                const char *name;
                CallFunc func;
        } operations[] = {
                { "Start", run_start },     { "Shutdown", run_shutdown }, { "Reboot", run_reboot },
                { "Destroy", run_destroy }, { "Suspend", run_suspend },   { "Resume", run_resume },
                { "GetXML", run_get_xml },
        };

        for (guint i = 0; i < G_N_ELEMENTS(operations); i++)
                if (strcmp(operations[i].name, method) == 0)
                        return operations[i].func;
        return NULL;
}

static const char *action_for(CallFunc func, guint flags) {
        return func == run_get_xml && !(flags & VIR_DOMAIN_XML_SECURE) ? AUTH_MONITOR : AUTH_MANAGE;
}

static void handle_domain(const Router *router, const Node *node, BusCall *call, const char *method) {
        CallFunc func = find_operation(method);
        g_autoptr(GVariant) arguments = bus_call_arguments(call);
        g_autoptr(GError) err = NULL;
        g_autoptr(Domain) domain =
                driver_lookup_by_uuid(domains_driver(router->domains), domain_object_uuid(node->domain), &err);
        guint32 flags = 0;

        if (g_variant_n_children(arguments) > 0)
                g_variant_get(arguments, "(u)", &flags);
        if (!func)
                bus_call_fail(call, DBUS_ERROR("UnknownMethod"), "no such method");
        else if (!domain)
                bus_call_fail_error(call, err);
        else
                calls_begin(router->calls, call, action_for(func, flags), func, func == run_start, domain, flags);
}

/* --- All of them --------------------------------------------------------------------------------- */

/* The types that a method takes, as a tuple; NULL when the node does not have it. Static, or kept in *keep. */
static const char *signature_of(const Node *node, const char *interface, const char *method, GString *keep) {
        static const struct {
                const char *interface, *method, *types;
        } standard[] = {
                { INTROSPECTABLE, "Introspect", "()" },
                { PROPERTIES, "Get", "(ss)" },
                { PROPERTIES, "GetAll", "(s)" },
                { PROPERTIES, "Set", "(ssv)" },
        };
        GDBusMethodInfo *info = NULL;

        for (guint i = 0; i < G_N_ELEMENTS(standard); i++)
                if (strcmp(standard[i].interface, interface) == 0 && strcmp(standard[i].method, method) == 0)
                        return standard[i].types;
        if (!node->interface)
                return NULL;
        if (!node->domain && strcmp(interface, OBJECT_MANAGER) == 0 && strcmp(method, "GetManagedObjects") == 0)
                return "()";
        if (strcmp(interface, node->interface->name) == 0)
                info = g_dbus_interface_info_lookup_method((GDBusInterfaceInfo *) node->interface, method);
        if (!info)
                return NULL;
        g_string_assign(keep, "(");
        for (guint i = 0; info->in_args && info->in_args[i]; i++)
                g_string_append(keep, info->in_args[i]->signature);
        g_string_append(keep, ")");
        return keep->str;
}

/* FALSE: it has been answered. */
static gboolean check_call(const Node *node, BusCall *call) {
        g_autoptr(GString) keep = g_string_new(NULL);
        g_autoptr(GVariant) arguments = bus_call_arguments(call);
        const char *types = signature_of(node, bus_call_interface(call), bus_call_member(call), keep);

        if (types && strcmp(types, g_variant_get_type_string(arguments)) == 0)
                return TRUE;
        if (types)
                bus_call_fail(call, DBUS_ERROR("InvalidArgs"), "the arguments do not have the method's types");
        else
                bus_call_fail(call, DBUS_ERROR("UnknownMethod"), "the object has no such interface and method");
        return FALSE;
}

void router_handle(const Router *router, BusCall *call) {
        const char *interface = bus_call_interface(call), *method = bus_call_member(call);
        Node node;

        if (!find_node(router, bus_call_path(call), &node))
                bus_call_fail(call, DBUS_ERROR("UnknownObject"), "no such object");
        else if (!check_call(&node, call))
                return;
        else if (strcmp(interface, INTROSPECTABLE) == 0)
                introspect(router, &node, call);
        else if (strcmp(interface, PROPERTIES) == 0)
                handle_properties(router, &node, call, method);
        else if (strcmp(interface, OBJECT_MANAGER) == 0)
                bus_call_return(call, g_variant_new("(@a{oa{sa{sv}}})", domains_get_managed(router->domains)));
        else if (node.domain)
                handle_domain(router, &node, call, method);
        else
                handle_manager(router, call, method);
}
