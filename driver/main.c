/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtmicrod: starts the parts in order, runs the main loop, and leaves running domains
 * alone when it ends.
 *
 *   settings -> driver (finds domains again) -> D-Bus -> RPC sockets -> READY=1 -> autostart
 *
 * SIGTERM and SIGINT end the loop, and so does the end of the system bus; everything else
 * happens in the parts.
 */
#include <gio/gio.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "conf/driver_config.h"
#include "dbus/dbus_service.h"
#include "driver.h"
#include "net/network.h"
#include "rpc/server.h"
#include "systemd/journal.h"

typedef struct Daemon {
        GMainLoop *loop;
        Driver *driver;
        RpcServer *server;
        DbusService *dbus;
        GDBusConnection *bus; /* NULL: there was none at the start */
        gulong closed_handler;
        gboolean failed;
} Daemon;

static gboolean on_signal(gpointer data) {
        Daemon *daemon = data;
        g_main_loop_quit(daemon->loop);
        return G_SOURCE_CONTINUE;
}

/* What a reload would be for other daemons, or the end of the terminal that this was started from. */
static gboolean on_hangup(gpointer data) {
        g_message("SIGHUP ignored: settings are read when the daemon starts, and a restart leaves domains alone");
        return G_SOURCE_CONTINUE;
}

/* A connection that was closed stays so, and no scope can be made without one: systemd starts another daemon. */
static void on_bus_closed(GDBusConnection *bus, gboolean remote_vanished, GError *err, gpointer data) {
        Daemon *daemon = data;
        g_critical("the system bus is gone: ending, to find the next one when started again");
        daemon->failed = TRUE;
        g_main_loop_quit(daemon->loop);
}

static void watch_bus(Daemon *daemon) {
        daemon->bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, NULL); /* the driver's */
        if (daemon->bus)
                daemon->closed_handler = g_signal_connect(daemon->bus, "closed", G_CALLBACK(on_bus_closed), daemon);
}

/* Shown by `systemctl status virtmicrod`. */
static void show_status(const Daemon *daemon) {
        unsigned running = driver_count_active(daemon->driver);
        (void) sd_notifyf(0, "STATUS=%u domain%s running", running, running == 1 ? "" : "s");
}

static void on_domain_event(const DomainEvent *event, gpointer data) {
        if (event->type == VIR_DOMAIN_EVENT_ID_LIFECYCLE)
                show_status(data);
}

/* A host without a system bus still serves libvirt clients. */
static void start_dbus(Daemon *daemon) {
        g_autoptr(GError) err = NULL;
        daemon->dbus = dbus_service_new(daemon->driver, &err);
        if (!daemon->dbus || !dbus_service_start(daemon->dbus, &err))
                g_warning("not on the system bus: %s", err->message);
}

static gboolean daemon_start(Daemon *daemon, const DriverConfig *config, GError **err) {
        daemon->driver = driver_new(config, err);
        if (!daemon->driver)
                return FALSE;
        watch_bus(daemon);
        start_dbus(daemon);
        daemon->server = rpc_server_new(daemon->driver, config, err);
        if (!daemon->server)
                return FALSE;
        (void) driver_add_listener(daemon->driver, on_domain_event, daemon);
        rpc_server_start(daemon->server);
        return TRUE;
}

static void daemon_stop(Daemon *daemon) {
        (void) sd_notify(0, "STOPPING=1");
        if (daemon->bus)
                g_signal_handler_disconnect(daemon->bus, daemon->closed_handler);
        g_clear_object(&daemon->bus);
        if (daemon->server)
                rpc_server_stop(daemon->server);
        g_clear_pointer(&daemon->server, rpc_server_free);
        g_clear_pointer(&daemon->dbus, dbus_service_free);
        g_clear_pointer(&daemon->driver, driver_free);
        g_clear_pointer(&daemon->loop, g_main_loop_unref);
}

static int run(const DriverConfig *config) {
        g_autoptr(GError) err = NULL;
        Daemon daemon = { .loop = g_main_loop_new(NULL, FALSE) };
        g_unix_signal_add(SIGTERM, on_signal, &daemon);
        g_unix_signal_add(SIGINT, on_signal, &daemon);
        g_unix_signal_add(SIGHUP, on_hangup, NULL);
        gboolean ok = daemon_start(&daemon, config, &err);
        if (ok) {
                show_status(&daemon);
                (void) sd_notify(0, "READY=1");
                driver_autostart(daemon.driver);
                g_main_loop_run(daemon.loop);
        } else {
                g_critical("cannot start: %s", err->message);
        }
        daemon_stop(&daemon);
        return ok && !daemon.failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
        g_autoptr(GError) err = NULL;
        g_autofree char *config_file = NULL;
        gboolean version = FALSE;
        GOptionEntry entries[] = {
                { "config", 'f', 0, G_OPTION_ARG_FILENAME, &config_file, "Read settings from FILE", "FILE" },
                { "version", 'V', 0, G_OPTION_ARG_NONE, &version, "Print the version and exit", NULL },
                { 0 },
        };
        g_autoptr(GOptionContext) context = g_option_context_new("- microVMs for libvirt clients");
        g_option_context_add_main_entries(context, entries, NULL);
        if (!g_option_context_parse(context, &argc, &argv, &err)) {
                (void) fprintf(stderr, "virtmicrod: %s; see virtmicrod --help\n", err->message);
                return EXIT_FAILURE;
        }
        if (version) {
                (void) printf("virtmicrod %s\n", VIRTMICRO_VERSION);
                return EXIT_SUCCESS;
        }
        (void) umask(0077);
        g_autoptr(DriverConfig) config = driver_config_load(config_file, &err);
        if (!config) {
                (void) fprintf(stderr, "virtmicrod: %s\n", err->message);
                return EXIT_FAILURE;
        }
        journal_init(config->log_level);
        return run(config);
}
