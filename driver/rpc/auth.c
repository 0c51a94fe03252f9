/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Authentication. The peer's identity is what the kernel reports about the process that
 * connected. The superuser passes; so does everybody when the socket's mode is "none".
 * Otherwise the client has to request a polkit check before anything else.
 *
 * The actions are libvirt's own, so that rights granted for libvirt by an administrator
 * (or the distribution: the group "libvirt") hold here too. Without libvirt's policy file
 * polkit does not know them; then the daemon's own actions are used.
 *
 * The subject is the process with its start time, read when it connected, so a recycled
 * process id is not mistaken for it.
 */
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>

#include "rpc/handlers.h"
#include "rpc/server_internal.h"
#include "util/error.h"
#include "util/process.h"

#define POLKIT_BUS_NAME    "org.freedesktop.PolicyKit1"
#define POLKIT_PATH        "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE   "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_INTERACTIVE 1u /* the user may be asked */

static const struct PolkitAction {
        const char *libvirt, *own;
} monitor_action = { "org.libvirt.unix.monitor", "org.virtmicro.unix.monitor" },
  manage_action = { "org.libvirt.unix.manage", "org.virtmicro.unix.manage" };

gboolean rpc_peer_read(int fd, RpcPeer *ret, GError **err) {
        struct ucred cred;
        socklen_t size = sizeof(cred);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
                return error_set_errno(err, errno, "cannot get the client's identity");
        }
        *ret = (RpcPeer) { .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
        (void) process_start_time(cred.pid, &ret->start_time, NULL); /* it may have ended */
        return TRUE;
}

gboolean rpc_auth_list(RpcCall *call, GError **err) {
        rpc_auth_list_ret *ret = call->ret;
        ret->types.types_len = 1;
        ret->types.types_val = g_new0(int, 1);
        ret->types.types_val[0] = call->client->authenticated ? RPC_AUTH_NONE : (int) call->client->auth;
        return TRUE;
}

typedef struct PolkitCheck {
        RpcCall *call;
        GDBusConnection *bus;
        const struct PolkitAction *action;
        gboolean own; /* asked for the daemon's own action */
} PolkitCheck;

static void polkit_ask(PolkitCheck *check);

static void polkit_finish(PolkitCheck *check, GError *err) {
        RpcCall *call = check->call;
        if (err)
                g_info("client %d (uid %u) is refused: %s", (int) call->client->peer.pid, call->client->peer.uid,
                       err->message);
        else
                rpc_client_authenticated(call->client);
        ((rpc_int_ret *) call->ret)->value = !err;
        call->server->deferred--;
        rpc_call_finish(call, err);
        g_clear_error(&err);
        g_clear_object(&check->bus);
        g_free(check);
}

/* The codes make clients start an authentication agent and try again. */
static GError *polkit_judge(const PolkitCheck *check, GVariant *reply) {
        gboolean authorized, challenge;
        g_autoptr(GVariant) details = NULL;
        const char *dismissed = NULL;
        GError *err = NULL;
        g_variant_get(reply, "((bb@a{ss}))", &authorized, &challenge, &details);
        if (authorized)
                return NULL;
        if (g_variant_lookup(details, "polkit.dismissed", "&s", &dismissed) && strcmp(dismissed, "true") == 0)
                error_set(&err, VIR_ERR_AUTH_CANCELLED, "user cancelled authentication process");
        else if (challenge)
                error_set(&err, VIR_ERR_AUTH_UNAVAILABLE, "no polkit agent available to authenticate action '%s'",
                          check->own ? check->action->own : check->action->libvirt);
        else
                error_set(&err, VIR_ERR_AUTH_FAILED, "access denied by policy");
        return err;
}

static void polkit_answered(GObject *source, GAsyncResult *result, gpointer data) {
        PolkitCheck *check = data;
        g_autoptr(GError) failure = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_finish(check->bus, result, &failure);
        if (reply) {
                polkit_finish(check, polkit_judge(check, reply));
                return;
        }
        if (!check->own && strstr(failure->message, "is not registered")) {
                check->own = TRUE;
                polkit_ask(check);
                return;
        }
        GError *err = NULL;
        g_dbus_error_strip_remote_error(failure);
        error_set(&err, VIR_ERR_AUTH_FAILED, "cannot ask polkit: %s", failure->message);
        polkit_finish(check, err);
}

static void polkit_ask(PolkitCheck *check) {
        const RpcPeer *peer = &check->call->client->peer;
        GVariantBuilder subject;
        g_variant_builder_init(&subject, G_VARIANT_TYPE("a{sv}"));
        g_variant_builder_add(&subject, "{sv}", "pid", g_variant_new_uint32((guint32) peer->pid));
        g_variant_builder_add(&subject, "{sv}", "start-time", g_variant_new_uint64(peer->start_time));
        g_variant_builder_add(&subject, "{sv}", "uid", g_variant_new_int32((gint32) peer->uid));
        GVariant *args =
                g_variant_new("((sa{sv})sa{ss}us)", "unix-process", &subject,
                              check->own ? check->action->own : check->action->libvirt, NULL, POLKIT_INTERACTIVE, "");
        g_dbus_connection_call(check->bus, POLKIT_BUS_NAME, POLKIT_PATH, POLKIT_INTERFACE, "CheckAuthorization", args,
                               G_VARIANT_TYPE("((bba{ss}))"), G_DBUS_CALL_FLAGS_NONE, G_MAXINT,
                               check->call->client->auth_cancel, polkit_answered, check);
}

static void polkit_got_bus(GObject *source, GAsyncResult *result, gpointer data) {
        PolkitCheck *check = data;
        g_autoptr(GError) failure = NULL;
        check->bus = g_bus_get_finish(result, &failure);
        if (check->bus) {
                polkit_ask(check);
                return;
        }
        GError *err = NULL;
        error_set(&err, VIR_ERR_AUTH_FAILED, "cannot ask polkit: %s", failure->message);
        polkit_finish(check, err);
}

gboolean rpc_auth_polkit(RpcCall *call, GError **err) {
        RpcClient *client = call->client;
        if (client->authenticated || client->auth != RPC_AUTH_POLKIT) {
                return error_set(err, VIR_ERR_AUTH_FAILED, "this client does not have to authenticate with polkit");
        }
        if (client->peer.start_time == 0) {
                return error_set(err, VIR_ERR_AUTH_FAILED, "the client's process cannot be identified");
        }
        PolkitCheck *check = g_new0(PolkitCheck, 1);
        check->call = call;
        check->action = client->readonly_socket ? &monitor_action : &manage_action;
        call->deferred = TRUE;
        call->server->deferred++;
        g_bus_get(G_BUS_TYPE_SYSTEM, client->auth_cancel, polkit_got_bus, check);
        return TRUE;
}
