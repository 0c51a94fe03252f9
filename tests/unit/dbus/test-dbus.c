/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The D-Bus face, on a dbus-daemon of its own with the installed policy: the real driver behind it with its files in a
 * temporary directory, a client with an ordinary user's identity before it, and polkit's part played here, so that
 * every answer it could give comes up. Domains are defined but none runs: the integration tests see to that.
 */
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conf/driver_config.h"
#include "dbus/dbus_service.h"
#include "dbus/inbox.h"
#include "dbus/names.h"
#include "driver.h"
#include "util/error.h"

#define UUID           "5f2e1d1c-0a3b-4c5d-8e7f-112233445566"
#define PATH           "/org/virtmicro1/domain/5f2e1d1c_0a3b_4c5d_8e7f_112233445566"
#define MANAGER        "org.virtmicro1.Manager"
#define DOMAIN         "org.virtmicro1.Domain"
#define NOBODY         65534
#define CALLS_PER_USER 32
#define MANY           1000 /* domains; for measurements TEST_DOMAINS in the environment replaces it */
#define ROOT_OBJECTS   "org.freedesktop.DBus.ObjectManager"

typedef enum Verdict { VERDICT_YES, VERDICT_NO, VERDICT_CHALLENGE, VERDICT_LATER } Verdict;

typedef struct Fixture {
        char *dir;
        pid_t bus_pid;
        DriverConfig config;
        guint n_domains; /* defined from the start */
        Driver *driver;
        DbusService *service;
        GDBusConnection *user, *root, *polkit;
        GPtrArray *signals; /* "Member(arguments)" as the user saw them */
        Verdict verdict;
        GPtrArray *questions; /* GDBusMethodInvocation* not answered yet */
        char *asked;          /* "action subject domain" of the last question */
} Fixture;

/* --- A bus ---------------------------------------------------------------------- */

static void write_bus_config(const char *path, const char *socket) {
        const char *units = g_getenv("UNITS");
        g_autofree char *text = g_strdup_printf(
                "<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>"
                "<policy context='default'><allow user='*'/><deny own='*'/><deny send_type='method_call'/>"
                "<allow send_type='signal'/><allow send_requested_reply='true' send_type='method_return'/>"
                "<allow send_requested_reply='true' send_type='error'/><allow receive_type='method_call'/>"
                "<allow receive_type='method_return'/><allow receive_type='error'/><allow receive_type='signal'/>"
                "<allow send_destination='org.freedesktop.DBus'/>"
                "<allow own='org.freedesktop.PolicyKit1'/>"
                "<allow send_destination='org.freedesktop.PolicyKit1'/></policy>"
                "<include>%s/org.virtmicro1.conf</include>%s</busconfig>",
                socket, units,
                geteuid() == 0 ? "" : "<policy context='mandatory'><allow own='org.virtmicro1'/></policy>");
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static gboolean accepts(const char *path) {
        g_autoptr(GSocketClient) client = g_socket_client_new();
        g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
        g_autoptr(GSocketConnection) connection =
                g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, NULL);

        return connection != NULL;
}

/* In the child: a test that fails leaves no bus behind. */
static void die_with_parent(gpointer data) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void start_bus(Fixture *f) {
        g_autofree char *config = g_build_filename(f->dir, "bus.conf", NULL);
        g_autofree char *socket = g_build_filename(f->dir, "bus", NULL);
        g_autofree char *option = g_strconcat("--config-file=", config, NULL);
        g_autofree char *address = g_strconcat("unix:path=", socket, NULL);
        char *argv[] = { (char *) "dbus-daemon", option, (char *) "--nofork", (char *) "--nopidfile", NULL };
        g_autoptr(GError) err = NULL;

        write_bus_config(config, socket);
        (void) g_spawn_async(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, die_with_parent, NULL,
                             &f->bus_pid, &err);
        g_assert_no_error(err);
        for (int i = 0; i < 1000 && !accepts(socket); i++)
                g_usleep(10000);
        g_setenv("DBUS_SYSTEM_BUS_ADDRESS", address, TRUE);
}

/* The bus takes a peer's user when the peer connects. */
static GDBusConnection *connect_as(uid_t uid) {
        g_autoptr(GError) err = NULL;
        gboolean switched = geteuid() == 0 && uid != 0;

        if (switched)
                g_assert_cmpint(seteuid(uid), ==, 0);
        GDBusConnection *bus = g_dbus_connection_new_for_address_sync(
                g_getenv("DBUS_SYSTEM_BUS_ADDRESS"),
                G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL,
                NULL, &err);
        if (switched)
                g_assert_cmpint(seteuid(0), ==, 0);
        g_assert_no_error(err);
        return bus;
}

/* --- polkit ----------------------------------------------------------------------- */

static void polkit_answer(GDBusMethodInvocation *invocation, gboolean yes, gboolean challenge) {
        g_dbus_method_invocation_return_value(
                invocation,
                g_variant_new("((bb@a{ss}))", yes, challenge, g_variant_new_array(G_VARIANT_TYPE("{ss}"), NULL, 0)));
}

static void polkit_called(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                          const char *method, GVariant *parameters, GDBusMethodInvocation *invocation, gpointer data) {
        Fixture *f = data;
        const char *kind, *action, *name = "", *domain = "";
        g_autoptr(GVariant) subject = NULL;
        g_autoptr(GVariant) details = NULL;

        g_variant_get(parameters, "((&s@a{sv})&s@a{ss}u&s)", &kind, &subject, &action, &details, NULL, NULL);
        g_assert_cmpstr(kind, ==, "system-bus-name");
        (void) g_variant_lookup(subject, "name", "&s", &name);
        (void) g_variant_lookup(details, "domain", "&s", &domain);
        g_free(f->asked);
        f->asked =
                g_strdup_printf("%s %s %s", action,
                                g_str_equal(name, g_dbus_connection_get_unique_name(f->user)) ? "user" : name, domain);
        if (f->verdict == VERDICT_LATER)
                g_ptr_array_add(f->questions, invocation);
        else
                polkit_answer(invocation, f->verdict == VERDICT_YES, f->verdict == VERDICT_CHALLENGE);
}

static void start_polkit(Fixture *f) {
        static const GDBusInterfaceVTable vtable = { .method_call = polkit_called };
        static const char xml[] = "<node><interface name='org.freedesktop.PolicyKit1.Authority'>"
                                  "<method name='CheckAuthorization'><arg type='(sa{sv})' direction='in'/>"
                                  "<arg type='s' direction='in'/><arg type='a{ss}' direction='in'/>"
                                  "<arg type='u' direction='in'/><arg type='s' direction='in'/>"
                                  "<arg type='(bba{ss})' direction='out'/></method></interface></node>";
        g_autoptr(GDBusNodeInfo) node = g_dbus_node_info_new_for_xml(xml, NULL);

        f->polkit = connect_as(0);
        g_assert_cmpuint(g_dbus_connection_register_object(f->polkit, "/org/freedesktop/PolicyKit1/Authority",
                                                           node->interfaces[0], &vtable, f, NULL, NULL),
                         >, 0);
        (void) g_bus_own_name_on_connection(f->polkit, "org.freedesktop.PolicyKit1", G_BUS_NAME_OWNER_FLAGS_NONE, NULL,
                                            NULL, NULL, NULL);
}

/* --- Calls ------------------------------------------------------------------------- */

static void keep_result(GObject *source, GAsyncResult *result, gpointer data) {
        *(GAsyncResult **) data = g_object_ref(result);
}

static GVariant *call_on(GDBusConnection *bus, const char *path, const char *interface, const char *method,
                         GVariant *parameters, GError **err) {
        g_autoptr(GAsyncResult) result = NULL;

        g_dbus_connection_call(bus, BUS_NAME, path, interface, method, parameters, NULL,
                               G_DBUS_CALL_FLAGS_NO_AUTO_START, 20000, NULL, keep_result, &result);
        while (!result)
                (void) g_main_context_iteration(NULL, TRUE);
        return g_dbus_connection_call_finish(bus, result, err);
}

static void assert_error(GError *err, const char *name) {
        g_assert_nonnull(err);
        g_autofree char *remote = g_dbus_error_get_remote_error(err);
        g_assert_cmpstr(remote, ==, name);
}

static void assert_fails(Fixture *f, const char *method, GVariant *parameters, const char *name) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, PATH, DOMAIN, method, parameters, &err);

        g_assert_null(reply);
        assert_error(err, name);
}

static char *get_on(Fixture *f, const char *path, const char *interface, const char *property) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, path, "org.freedesktop.DBus.Properties", "Get",
                                            g_variant_new("(ss)", interface, property), &err);
        g_autoptr(GVariant) value = NULL;

        g_assert_no_error(err);
        g_variant_get(reply, "(v)", &value);
        return g_variant_print(value, TRUE);
}

#define assert_property(f, property, expected)                                                                         \
        do {                                                                                                           \
                g_autofree char *value_ = get_on(f, PATH, DOMAIN, property);                                           \
                g_assert_cmpstr(value_, ==, expected);                                                                 \
        } while (0)

/* Waits until the user has seen a signal; earlier ones are forgotten, so that order is checked. */
static void await_signal(Fixture *f, const char *expected) {
        gint64 deadline = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

        for (;;) {
                for (guint i = 0; i < f->signals->len; i++) {
                        if (!g_str_has_prefix(f->signals->pdata[i], expected))
                                continue;
                        g_ptr_array_remove_range(f->signals, 0, i + 1);
                        return;
                }
                if (g_get_monotonic_time() > deadline)
                        g_error("no signal %s", expected);
                if (!g_main_context_iteration(NULL, FALSE))
                        g_usleep(1000);
        }
}

static void on_signal(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                      const char *signal, GVariant *parameters, gpointer data) {
        Fixture *f = data;
        g_autofree char *text = g_variant_print(parameters, TRUE);

        g_ptr_array_add(f->signals, g_strconcat(signal, text, NULL));
}

/* --- Set up and tear down --------------------------------------------------------------- */

static void fill_config(Fixture *f) {
        f->config = (DriverConfig) {
                .config_dir = g_build_filename(f->dir, "etc", NULL),
                .state_dir = g_build_filename(f->dir, "run", NULL),
                .socket_dir = g_strdup(f->dir),
                .vmm_path = g_strdup("/nonexistent/virtmicro-vmm"),
                .schema_dir = g_strdup(f->dir),
                .uid_base = 100000,
        };
}

/* Their files, for the driver to find. */
static void write_domains(Fixture *f) {
        (void) g_mkdir_with_parents(f->config.config_dir, 0700);
        for (guint i = 0; i < f->n_domains; i++) {
                g_autofree char *path = g_strdup_printf("%s/d%05u.xml", f->config.config_dir, i);
                g_autofree char *xml = g_strdup_printf(
                        "<domain type='kvm'><name>d%05u</name><uuid>00000000-0000-4000-8000-0000%08x</uuid>"
                        "<memory unit='MiB'>128</memory><vcpu>2</vcpu><os><type arch='x86_64'>hvm</type>"
                        "<kernel>/nonexistent/vmlinuz</kernel></os></domain>",
                        i, i);
                g_assert_true(g_file_set_contents(path, xml, -1, NULL));
        }
}

static guint many_domains(void) {
        const char *text = g_getenv("TEST_DOMAINS");

        return text ? (guint) g_ascii_strtoull(text, NULL, 10) : MANY;
}

static void set_up(Fixture *f, guint n_domains) {
        g_autoptr(GError) err = NULL;

        *f = (Fixture) { .dir = g_dir_make_tmp("test-dbus-XXXXXX", NULL), .n_domains = n_domains };
        g_assert_cmpint(g_chmod(f->dir, 0755), ==, 0);
        f->signals = g_ptr_array_new_with_free_func(g_free);
        f->questions = g_ptr_array_new();
        start_bus(f);
        fill_config(f);
        write_domains(f);
        f->driver = driver_new(&f->config, &err);
        g_assert_no_error(err);
        f->service = dbus_service_new(f->driver, &err);
        g_assert_no_error(err);
        g_assert_true(dbus_service_start(f->service, &err));
        f->user = connect_as(NOBODY);
        f->root = connect_as(0);
        start_polkit(f);
        g_dbus_connection_signal_subscribe(f->user, BUS_NAME, NULL, NULL, NULL, NULL, G_DBUS_SIGNAL_FLAGS_NONE,
                                           on_signal, f, NULL);
        while (!g_dbus_connection_call_sync(f->root, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "GetNameOwner", g_variant_new("(s)", BUS_NAME),
                                            NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL))
                (void) g_main_context_iteration(NULL, FALSE);
}

static void tear_down(Fixture *f) {
        dbus_service_free(f->service);
        driver_free(f->driver);
        g_ptr_array_unref(f->signals);
        g_ptr_array_unref(f->questions);
        g_free(f->asked);
        g_object_unref(f->user);
        g_object_unref(f->root);
        g_object_unref(f->polkit);
        (void) kill(f->bus_pid, SIGTERM);
        (void) waitpid(f->bus_pid, NULL, 0);
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_free(f->config.config_dir);
        g_free(f->config.state_dir);
        g_free(f->config.socket_dir);
        g_free(f->config.vmm_path);
        g_free(f->config.schema_dir);
        g_free(f->dir);
}

static Domain *define(Fixture *f) {
        static const char xml[] = "<domain type='kvm'><name>web1</name><uuid>" UUID "</uuid><title>The web</title>"
                                  "<memory unit='MiB'>128</memory><vcpu>2</vcpu><os>"
                                  "<type arch='x86_64'>hvm</type><kernel>/nonexistent/vmlinuz</kernel></os></domain>";
        g_autoptr(GError) err = NULL;
        Domain *domain = driver_define_xml(f->driver, xml, 0, &err);

        g_assert_no_error(err);
        return domain;
}

/* Defines it and waits for its object. */
static Domain *define_shown(Fixture *f) {
        Domain *domain = define(f);

        await_signal(f, "DomainEvent");
        return domain;
}

/* --- The tests --------------------------------------------------------------------------- */

static void test_domains_come_and_go(Fixture *f) {
        g_autoptr(Domain) domain = define(f);

        await_signal(f, "InterfacesAdded(objectpath '" PATH "'");
        await_signal(f, "DomainAdded(objectpath '" PATH "', 'web1')");
        await_signal(f, "DomainEvent(objectpath '" PATH "', 'web1', 'Defined', 'Added')");
        assert_property(f, "Name", "'web1'");
        assert_property(f, "UUID", "'" UUID "'");
        assert_property(f, "Id", "-1");
        assert_property(f, "State", "'shut off'");
        assert_property(f, "Scope", "''");
        assert_property(f, "VCPUs", "uint32 2");
        assert_property(f, "MaxMemory", "uint64 134217728");
        assert_property(f, "Persistent", "true");
        assert_property(f, "Title", "'The web'");

        g_autofree char *count = get_on(f, BUS_ROOT, MANAGER, "DomainCount");
        g_autofree char *active = get_on(f, BUS_ROOT, MANAGER, "ActiveDomainCount");
        g_assert_cmpstr(count, ==, "uint32 1");
        g_assert_cmpstr(active, ==, "uint32 0");

        g_autoptr(GError) err = NULL;
        g_assert_true(domain_undefine(domain, 0, &err));
        await_signal(f, "DomainEvent(objectpath '" PATH "', 'web1', 'Undefined', 'Removed')");
        await_signal(f, "DomainRemoved(objectpath '" PATH "', 'web1')");
        await_signal(f, "InterfacesRemoved(objectpath '" PATH "'");
}

static void assert_found(Fixture *f, const char *method, const char *argument) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, BUS_ROOT, MANAGER, method, g_variant_new("(s)", argument), &err);
        const char *path;

        g_assert_no_error(err);
        g_variant_get(reply, "(&o)", &path);
        g_assert_cmpstr(path, ==, PATH);
}

static void assert_not_found(Fixture *f, const char *method, GVariant *parameters, const char *name) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, BUS_ROOT, MANAGER, method, parameters, &err);

        g_assert_null(reply);
        assert_error(err, name);
}

static void test_lookups(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) list = call_on(f->user, BUS_ROOT, MANAGER, "ListDomains", g_variant_new("(u)", 0), &err);

        g_assert_no_error(err);
        g_autofree char *text = g_variant_print(list, TRUE);
        g_assert_cmpstr(text, ==, "([objectpath '" PATH "'],)");
        assert_found(f, "GetDomainByName", "web1");
        assert_found(f, "GetDomainByUUID", UUID);
        assert_not_found(f, "GetDomainByName", g_variant_new("(s)", "nobody"), BUS_ERROR("NoDomain"));
        assert_not_found(f, "GetDomainByID", g_variant_new("(i)", 7), BUS_ERROR("NoDomain"));
        assert_not_found(f, "GetDomainByUUID", g_variant_new("(s)", "x"), "org.freedesktop.DBus.Error.InvalidArgs");
        assert_not_found(f, "ListDomains", g_variant_new("(u)", 1u << 31), "org.freedesktop.DBus.Error.InvalidArgs");
}

static void test_changes_show(Fixture *f) {
        g_autoptr(Domain) domain = define_shown(f);
        g_autoptr(GError) err = NULL;

        assert_property(f, "Autostart", "false");
        g_assert_true(domain_set_autostart(domain, TRUE, &err));
        assert_property(f, "Autostart", "true");
        await_signal(f, "PropertiesChanged('" DOMAIN "', {'Autostart': <true>}");
        g_assert_true(domain_rename(domain, "web2", &err));
        await_signal(f, "PropertiesChanged('" DOMAIN "', {'Name': <'web2'>}");
        await_signal(f, "DomainEvent(objectpath '" PATH "', 'web2', 'Defined', 'Renamed')");
}

static void test_operations_need_manage(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);

        f->verdict = VERDICT_NO;
        assert_fails(f, "Start", g_variant_new("(u)", 0), "org.freedesktop.DBus.Error.AccessDenied");
        g_assert_cmpstr(f->asked, ==, "org.virtmicro1.manage user web1");
        f->verdict = VERDICT_CHALLENGE;
        assert_fails(f, "Destroy", g_variant_new("(u)", 0),
                     "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
        f->verdict = VERDICT_YES;
        assert_fails(f, "Suspend", NULL, BUS_ERROR("OperationInvalid"));
        assert_fails(f, "Resume", NULL, BUS_ERROR("OperationInvalid"));
        assert_fails(f, "Shutdown", g_variant_new("(u)", 0), BUS_ERROR("OperationInvalid"));
        assert_fails(f, "Reboot", g_variant_new("(u)", 0), BUS_ERROR("OperationInvalid"));
        assert_fails(f, "Destroy", g_variant_new("(u)", 0), BUS_ERROR("OperationInvalid"));
        assert_fails(f, "Start", g_variant_new("(u)", 1u << 31), "org.freedesktop.DBus.Error.InvalidArgs");
        assert_fails(f, "Start", g_variant_new("(u)", 0), BUS_ERROR("Failed"));
}

static void test_superuser_is_not_asked_about(Fixture *f) {
        if (geteuid() != 0)
                return;
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        g_autoptr(GError) err = NULL;
        f->verdict = VERDICT_NO;
        g_autoptr(GVariant) reply = call_on(f->root, PATH, DOMAIN, "Suspend", NULL, &err);

        g_assert_null(reply);
        assert_error(err, BUS_ERROR("OperationInvalid"));
        g_assert_null(f->asked);
}

static void test_xml(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, PATH, DOMAIN, "GetXML", g_variant_new("(u)", 0), &err);
        const char *xml;

        g_assert_no_error(err);
        g_variant_get(reply, "(&s)", &xml);
        g_assert_nonnull(strstr(xml, "<name>web1</name>"));
        g_assert_cmpstr(f->asked, ==, "org.virtmicro1.monitor user web1");
        f->verdict = VERDICT_NO;
        assert_fails(f, "GetXML", g_variant_new("(u)", VIR_DOMAIN_XML_SECURE),
                     "org.freedesktop.DBus.Error.AccessDenied");
        g_assert_cmpstr(f->asked, ==, "org.virtmicro1.manage user web1");
}

static void count_limit(GObject *source, GAsyncResult *result, gpointer data) {
        guint *counts = data; /* answers, refusals for the limit */
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply G_GNUC_UNUSED =
                g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &err);

        counts[0]++;
        counts[1] += g_error_matches(err, G_DBUS_ERROR, G_DBUS_ERROR_LIMITS_EXCEEDED) ? 1 : 0;
}

static void test_prompts_are_bounded(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        guint counts[2] = { 0, 0 };

        f->verdict = VERDICT_LATER;
        for (int i = 0; i < CALLS_PER_USER + 3; i++)
                g_dbus_connection_call(f->user, BUS_NAME, PATH, DOMAIN, "Suspend", NULL, NULL, G_DBUS_CALL_FLAGS_NONE,
                                       20000, NULL, count_limit, counts);
        while (counts[1] < 3 || f->questions->len < CALLS_PER_USER)
                (void) g_main_context_iteration(NULL, TRUE);
        g_assert_cmpuint(counts[0], ==, 3);
        for (guint i = 0; i < f->questions->len; i++)
                polkit_answer(f->questions->pdata[i], TRUE, FALSE);
        while (counts[0] < CALLS_PER_USER + 3)
                (void) g_main_context_iteration(NULL, TRUE);
        g_assert_cmpuint(counts[1], ==, 3);
        f->verdict = VERDICT_YES;
        assert_fails(f, "Suspend", NULL, BUS_ERROR("OperationInvalid"));
}

static void ignore_result(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply G_GNUC_UNUSED =
                g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
        *(gboolean *) data = TRUE;
}

/* The service ends with a question open and the answer comes too late. */
static void test_ends_with_calls_in_flight(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        gboolean done = FALSE;

        f->verdict = VERDICT_LATER;
        g_dbus_connection_call(f->user, BUS_NAME, PATH, DOMAIN, "Suspend", NULL, NULL, G_DBUS_CALL_FLAGS_NONE, 500,
                               NULL, ignore_result, &done);
        while (f->questions->len == 0)
                (void) g_main_context_iteration(NULL, TRUE);
        g_clear_pointer(&f->service, dbus_service_free);
        polkit_answer(f->questions->pdata[0], TRUE, FALSE);
        while (!done)
                (void) g_main_context_iteration(NULL, TRUE);
}

/* --- Many domains, many calls ------------------------------------------------------------- */

/* Without a turn of the main loop: a blocking call does not iterate it. */
static GVariant *call_blocking(GDBusConnection *bus, const char *path, const char *interface, const char *method,
                               GVariant *parameters) {
        g_autoptr(GError) err = NULL;
        GVariant *reply = g_dbus_connection_call_sync(bus, BUS_NAME, path, interface, method, parameters, NULL,
                                                      G_DBUS_CALL_FLAGS_NO_AUTO_START, 60000, NULL, &err);

        g_assert_no_error(err);
        return reply;
}

/* Whatever users read, the main loop has no part in it, so none of its other work waits. */
static void test_main_loop_has_no_part(Fixture *f) {
        g_autoptr(GVariant) list = call_blocking(f->user, BUS_ROOT, MANAGER, "ListDomains", g_variant_new("(u)", 0));
        g_autoptr(GVariant) objects = call_blocking(f->user, BUS_ROOT, ROOT_OBJECTS, "GetManagedObjects", NULL);
        g_autoptr(GVariant) tree =
                call_blocking(f->user, BUS_ROOT "/domain", "org.freedesktop.DBus.Introspectable", "Introspect", NULL);
        g_autoptr(GVariant) all = call_blocking(f->user, BUS_ROOT, "org.freedesktop.DBus.Properties", "GetAll",
                                                g_variant_new("(s)", MANAGER));
        g_autoptr(GVariant) paths = g_variant_get_child_value(list, 0);
        g_autoptr(GVariant) table = g_variant_get_child_value(objects, 0);
        g_autoptr(GVariant) properties G_GNUC_UNUSED = NULL;
        const char *path, *xml;
        guint nodes = 0;

        g_assert_cmpuint(g_variant_n_children(paths), ==, f->n_domains);
        g_assert_cmpuint(g_variant_n_children(table), ==, f->n_domains);
        g_variant_get(tree, "(&s)", &xml);
        for (const char *node = xml; (node = strstr(node, "<node name=")); node++)
                nodes++;
        g_assert_cmpuint(nodes, ==, f->n_domains);
        g_variant_get_child(paths, 0, "&o", &path);
        properties =
                call_blocking(f->user, path, "org.freedesktop.DBus.Properties", "GetAll", g_variant_new("(s)", DOMAIN));
}

static gint64 cpu_time_us(void) {
        struct timespec now;

        g_assert_cmpint(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), ==, 0);
        return now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

/* In processor time, the client's included. Quadratic work would take seconds for thousands of domains. */
static void check_cost(Fixture *f, const char *path, const char *interface, const char *method, gboolean has_flags) {
        gint64 start = cpu_time_us(), used;
        g_autoptr(GVariant) reply G_GNUC_UNUSED =
                call_blocking(f->user, path, interface, method, has_flags ? g_variant_new("(u)", 0) : NULL);

        used = cpu_time_us() - start;
        (void) fprintf(stderr, "%s of %u domains: %.1f ms\n", method, f->n_domains, (double) used / 1000);
        g_assert_cmpint(used, <, 500 * (gint64) f->n_domains);
}

static void test_lists_are_cheap(Fixture *f) {
        check_cost(f, BUS_ROOT, MANAGER, "ListDomains", TRUE);
        check_cost(f, BUS_ROOT, ROOT_OBJECTS, "GetManagedObjects", FALSE);
        check_cost(f, BUS_ROOT "/domain", "org.freedesktop.DBus.Introspectable", "Introspect", FALSE);
}

/* The serial numbers of the answers that a connection gets, in order. */
typedef struct Answers {
        GMutex lock;
        GArray *serials; /* guint32 */
} Answers;

static GDBusMessage *note_answer(GDBusConnection *bus, GDBusMessage *message, gboolean incoming, gpointer data) {
        Answers *answers = data;
        guint32 serial = g_dbus_message_get_serial(message);

        if (incoming && g_dbus_message_get_message_type(message) == G_DBUS_MESSAGE_TYPE_METHOD_RETURN) {
                g_mutex_lock(&answers->lock);
                g_array_append_val(answers->serials, serial);
                g_mutex_unlock(&answers->lock);
        }
        return message;
}

/* As many as have a lower number. */
static guint count_before(Answers *answers, guint32 serial) {
        guint n = 0;

        g_mutex_lock(&answers->lock);
        for (guint i = 0; i < answers->serials->len; i++)
                n += g_array_index(answers->serials, guint32, i) < serial ? 1 : 0;
        g_mutex_unlock(&answers->lock);
        return n;
}

static void await_answers(Answers *answers, guint n) {
        for (gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
             count_before(answers, G_MAXUINT32) < n && g_get_monotonic_time() < end;)
                g_usleep(1000);
        g_assert_cmpuint(count_before(answers, G_MAXUINT32), >=, n);
}

static void send_many(GDBusConnection *bus, guint n, GAsyncReadyCallback done, gpointer data) {
        for (guint i = 0; i < n; i++)
                g_dbus_connection_call(bus, BUS_NAME, BUS_ROOT, ROOT_OBJECTS, "GetManagedObjects", NULL, NULL,
                                       G_DBUS_CALL_FLAGS_NONE, 120000, NULL, done, data);
}

/* A user's calls wait for that user's other calls, not for those of another user. */
static void test_users_take_turns(Fixture *f) {
        enum { CALLS = 60 };
        Answers answers = { .serials = g_array_new(FALSE, FALSE, sizeof(guint32)) };
        guint filter = g_dbus_connection_add_filter(f->user, note_answer, &answers, NULL);
        guint counts[2] = { 0, 0 };
        g_autoptr(GDBusMessage) call = g_dbus_message_new_method_call(BUS_NAME, BUS_ROOT, MANAGER, "ListDomains");
        g_autoptr(GDBusMessage) reply = NULL;

        if (geteuid() != 0) { /* then both would be the same user */
                g_dbus_connection_remove_filter(f->user, filter);
                g_array_unref(answers.serials);
                return;
        }
        g_dbus_message_set_body(call, g_variant_new("(u)", 0));
        send_many(f->user, CALLS, count_limit, counts);
        await_answers(&answers, 1);
        reply = g_dbus_connection_send_message_with_reply_sync(f->root, call, G_DBUS_SEND_MESSAGE_FLAGS_NONE, 60000,
                                                               NULL, NULL, NULL);
        g_assert_nonnull(reply);
        await_answers(&answers, CALLS);
        g_assert_cmpuint(count_before(&answers, g_dbus_message_get_serial(reply)), <, CALLS / 2);
        while (counts[0] < CALLS)
                (void) g_main_context_iteration(NULL, TRUE);
        g_dbus_connection_remove_filter(f->user, filter);
        g_array_unref(answers.serials);
}

/* Over all connections of a user; the service ends with the rest of them still waiting. */
static void test_calls_that_wait_are_bounded(Fixture *f) {
        GDBusConnection *buses[4];
        guint counts[2] = { 0, 0 };

        for (guint i = 0; i < G_N_ELEMENTS(buses); i++) {
                buses[i] = connect_as(NOBODY);
                send_many(buses[i], 110, count_limit, counts);
        }
        while (counts[1] == 0)
                (void) g_main_context_iteration(NULL, TRUE);
        g_clear_pointer(&f->service, dbus_service_free);
        for (guint i = 0; i < G_N_ELEMENTS(buses); i++) {
                g_assert_true(g_dbus_connection_close_sync(buses[i], NULL, NULL));
                g_object_unref(buses[i]);
        }
        while (counts[0] < 110 * G_N_ELEMENTS(buses))
                (void) g_main_context_iteration(NULL, TRUE);
}

static void assert_refused(Fixture *f, const char *path, const char *interface, const char *method,
                           GVariant *parameters, const char *name) {
        g_autoptr(GError) err = NULL;
        g_autoptr(GVariant) reply = call_on(f->user, path, interface, method, parameters, &err);

        g_assert_null(reply);
        assert_error(err, name);
}

#define DBUS_ERROR(name) "org.freedesktop.DBus.Error." name
#define PROPERTIES       "org.freedesktop.DBus.Properties"

/* Calls that wait would hold them. */
static void test_descriptors_are_refused(Fixture *f) {
        int fd = dup(STDIN_FILENO);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new_from_array(&fd, 1);
        g_autoptr(GDBusMessage) call = g_dbus_message_new_method_call(BUS_NAME, BUS_ROOT, MANAGER, "ListDomains");
        g_autoptr(GDBusMessage) reply = NULL;

        g_dbus_message_set_body(call, g_variant_new("(u)", 0));
        g_dbus_message_set_unix_fd_list(call, list);
        reply = g_dbus_connection_send_message_with_reply_sync(f->user, call, G_DBUS_SEND_MESSAGE_FLAGS_NONE, 60000,
                                                               NULL, NULL, NULL);
        g_assert_nonnull(reply);
        g_assert_cmpstr(g_dbus_message_get_error_name(reply), ==, DBUS_ERROR("LimitsExceeded"));
}

/* What no well-meaning library sends. */
static void test_calls_that_make_no_sense(Fixture *f) {
        g_autoptr(Domain) domain G_GNUC_UNUSED = define_shown(f);
        g_autofree char *long_name = g_strnfill(5000, 'x'), *long_path = g_strdup_printf("/%s", long_name);

        assert_refused(f, BUS_ROOT, MANAGER, "GetDomainByName", g_variant_new("(s)", long_name),
                       DBUS_ERROR("LimitsExceeded"));
        assert_refused(f, long_path, MANAGER, "ListDomains", g_variant_new("(u)", 0), DBUS_ERROR("LimitsExceeded"));
        assert_refused(f, BUS_ROOT, MANAGER, "GetDomainByName", g_variant_new("(u)", 1), DBUS_ERROR("InvalidArgs"));
        assert_refused(f, BUS_ROOT, MANAGER, "GetDomainByName", NULL, DBUS_ERROR("InvalidArgs"));
        assert_refused(f, BUS_ROOT, MANAGER, "Nonsense", NULL, DBUS_ERROR("UnknownMethod"));
        assert_refused(f, BUS_ROOT, DOMAIN, "Suspend", NULL, DBUS_ERROR("UnknownMethod"));
        assert_refused(f, PATH, MANAGER, "ListDomains", g_variant_new("(u)", 0), DBUS_ERROR("UnknownMethod"));
        assert_refused(f, PATH, ROOT_OBJECTS, "GetManagedObjects", NULL, DBUS_ERROR("UnknownMethod"));
        assert_refused(f, PATH "0", DOMAIN, "Suspend", NULL, DBUS_ERROR("UnknownObject"));
        assert_refused(f, "/org/virtmicro1/domain/5F2E1D1C_0a3b_4c5d_8e7f_112233445566", DOMAIN, "Suspend", NULL,
                       DBUS_ERROR("UnknownObject"));
        assert_refused(f, "/nowhere", PROPERTIES, "GetAll", g_variant_new("(s)", DOMAIN), DBUS_ERROR("UnknownObject"));
        assert_refused(f, PATH, PROPERTIES, "Get", g_variant_new("(ss)", DOMAIN, "Nonsense"),
                       DBUS_ERROR("UnknownProperty"));
        assert_refused(f, PATH, PROPERTIES, "Get", g_variant_new("(ss)", MANAGER, "Version"),
                       DBUS_ERROR("UnknownInterface"));
        assert_refused(f, BUS_ROOT, PROPERTIES, "Get", g_variant_new("(ss)", MANAGER, "Nonsense"),
                       DBUS_ERROR("UnknownProperty"));
        assert_refused(f, PATH, PROPERTIES, "Set",
                       g_variant_new("(ssv)", DOMAIN, "Name", g_variant_new_string("other")),
                       DBUS_ERROR("PropertyReadOnly"));
        assert_property(f, "Name", "'web1'");
}

static void test_words(void) {
        g_assert_cmpstr(state_name(VIR_DOMAIN_SHUTOFF), ==, "shut off");
        g_assert_cmpstr(state_name(-1), ==, "unknown");
        g_assert_cmpstr(state_name(99), ==, "unknown");
        g_assert_cmpstr(reason_name(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR), ==, "I/O error");
        g_assert_cmpstr(reason_name(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNKNOWN), ==, "unknown");
        g_assert_cmpstr(reason_name(VIR_DOMAIN_NOSTATE, 0), ==, "unknown");
        g_assert_cmpstr(reason_name(99, 0), ==, "unknown");
        g_assert_cmpstr(lifecycle_event_name(VIR_DOMAIN_EVENT_CRASHED), ==, "Crashed");
        g_assert_cmpstr(lifecycle_detail_name(VIR_DOMAIN_EVENT_SHUTDOWN, VIR_DOMAIN_EVENT_SHUTDOWN_GUEST), ==,
                        "Finished after guest request");
        g_assert_cmpstr(lifecycle_detail_name(VIR_DOMAIN_EVENT_STARTED, 99), ==, "unknown");
}

/* --- What the main thread leaves while the bus is busy ----------------------------------------- */

typedef struct Taken {
        guint events, changes, idle;
} Taken;

static void take_item(InboxItem *item, gpointer data) {
        Taken *taken = data;

        taken->events += item->event ? 1 : 0;
        taken->changes += item->event ? 0 : 1;
}

static void note_idle(gpointer data) {
        ((Taken *) data)->idle++;
}

static void take_all(GMainContext *context, Taken *taken) {
        *taken = (Taken) { 0 };
        while (g_main_context_iteration(context, FALSE))
                ;
}

/*
 * A guest can cause any number of changes. The queue holds one of them for each domain, and some thousands of events.
 */
static void test_inbox(void) {
        g_autoptr(GMainContext) context = g_main_context_new();
        Taken taken = { 0 };
        Inbox *inbox = inbox_new(context, take_item, note_idle, &taken);
        DomainEvent change = { .type = VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, .domain = { .name = (char *) "a" } };
        DomainEvent word = { .type = VIR_DOMAIN_EVENT_ID_LIFECYCLE, .domain = { .name = (char *) "a" } };

        for (guint i = 0; i < 100000; i++) {
                change.domain.uuid[0] = i % 4;
                inbox_put_event(inbox, &change);
        }
        take_all(context, &taken);
        g_assert_cmpuint(taken.changes, ==, 4);
        g_assert_cmpuint(taken.idle, ==, 1);
        for (guint i = 0; i < 100000; i++)
                inbox_put_event(inbox, &word);
        take_all(context, &taken);
        g_assert_cmpuint(taken.events, ==, 16384);
        g_assert_cmpuint(taken.changes, ==, 1);
        inbox_put_event(inbox, &word);
        take_all(context, &taken);
        g_assert_cmpuint(taken.events, ==, 1);
        inbox_put_event(inbox, &change);
        inbox_free(inbox);
}

static void run(const char *name, void (*test)(Fixture *f), guint n_domains) {
        Fixture f;

        (void) fprintf(stderr, "%s\n", name);
        set_up(&f, n_domains);
        test(&f);
        tear_down(&f);
}

/* Each test in a process of its own: GIO keeps one connection to the system bus, and each test has its own bus. */
int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*test)(Fixture *f);
                guint n_domains; /* MANY: the number is taken from the environment */
        } tests[] = {
                { "domains_come_and_go", test_domains_come_and_go },
                { "lookups", test_lookups },
                { "changes_show", test_changes_show },
                { "operations_need_manage", test_operations_need_manage },
                { "superuser_is_not_asked_about", test_superuser_is_not_asked_about },
                { "xml", test_xml },
                { "prompts_are_bounded", test_prompts_are_bounded },
                { "ends_with_calls_in_flight", test_ends_with_calls_in_flight },
                { "calls_that_make_no_sense", test_calls_that_make_no_sense },
                { "main_loop_has_no_part", test_main_loop_has_no_part, MANY },
                { "lists_are_cheap", test_lists_are_cheap, MANY },
                { "users_take_turns", test_users_take_turns, 100 },
                { "descriptors_are_refused", test_descriptors_are_refused, 0 },
                { "calls_that_wait_are_bounded", test_calls_that_wait_are_bounded, MANY },
        };
        g_autofree char *daemon = g_find_program_in_path("dbus-daemon");

        if (!daemon) {
                (void) fprintf(stderr, "skipped: dbus-daemon is not installed\n");
                return 77;
        }
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
                if (argc > 1 && strcmp(argv[1], tests[i].name) == 0) {
                        run(tests[i].name, tests[i].test,
                            tests[i].n_domains == MANY ? many_domains() : tests[i].n_domains);
                        return 0;
                }
        g_assert_cmpint(argc, ==, 1);
        test_words();
        test_inbox();
        return 0;
}
