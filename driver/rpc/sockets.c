/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The listening sockets. Under systemd they come with the daemon's start and outlive it,
 * so that a restart refuses nobody; a socket is read-only when its name (the socket
 * unit's) or its path has "-ro". Without systemd the daemon binds virtmicrod-sock and
 * virtmicrod-sock-ro itself, after it has made sure that no other daemon serves them.
 */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "rpc/server_internal.h"
#include "util/error.h"

#define SOCKET_NAME    "virtmicrod-sock"
#define SOCKET_BACKLOG 128

static RpcAuth socket_auth(const DriverConfig *config, gboolean readonly) {
        return strcmp(readonly ? config->auth_unix_ro : config->auth_unix_rw, "polkit") == 0 ? RPC_AUTH_POLKIT
                                                                                             : RPC_AUTH_NONE;
}

static void socket_clear(gpointer data) {
        RpcSocket *sock = data;
        g_clear_handle_id(&sock->source, g_source_remove);
        (void) close(sock->fd);
        if (sock->path)
                (void) unlink(sock->path);
        g_free(sock->path);
}

static void sockets_add(GArray *sockets, RpcServer *server, int fd, gboolean readonly, const char *path) {
        RpcSocket sock = { server, fd, readonly, socket_auth(server->config, readonly), g_strdup(path), 0 };
        g_array_append_val(sockets, sock);
}

/* TRUE for "virtmicrod-ro", "virtmicrod-ro.socket" and ".../virtmicrod-sock-ro". */
static gboolean name_is_readonly(const char *name) {
        return name && (g_str_has_suffix(name, "-ro") || g_str_has_suffix(name, "-ro.socket"));
}

/* The path that it is bound to, "" when it has none; FALSE when that cannot be told. */
static gboolean get_address(int fd, struct sockaddr_un *addr) {
        socklen_t size = sizeof(*addr) - 1;
        memset(addr, 0, sizeof(*addr));
        return getsockname(fd, (struct sockaddr *) addr, &size) == 0;
}

static gboolean fd_is_readonly(int fd, const char *name) {
        struct sockaddr_un addr;
        return !get_address(fd, &addr) || name_is_readonly(name) || name_is_readonly(addr.sun_path);
}

/* Without polkit the mode of the socket is all that keeps users from root's rights, and the unit's is for polkit. */
static void warn_when_open(const RpcSocket *sock) {
        struct sockaddr_un addr;
        struct stat st;
        if (!sock->readonly && sock->auth == RPC_AUTH_NONE && get_address(sock->fd, &addr) &&
            stat(addr.sun_path, &st) == 0 && st.st_mode & S_IWOTH)
                g_warning("%s is open to every user of the host, with the power of root: auth_unix_rw is \"none\" and "
                          "the socket's mode %04o; set SocketMode= and SocketGroup= of virtmicrod.socket",
                          addr.sun_path, st.st_mode & 07777u);
}

static void sockets_take_one(GArray *sockets, RpcServer *server, int fd, const char *name) {
        if (sd_is_socket_unix(fd, SOCK_STREAM, TRUE, NULL, 0) <= 0) {
                g_warning("descriptor %d from systemd is not a listening UNIX socket", fd);
                return;
        }
        sockets_add(sockets, server, fd, fd_is_readonly(fd, name), NULL);
        warn_when_open(&g_array_index(sockets, RpcSocket, sockets->len - 1));
}

static void sockets_take(GArray *sockets, RpcServer *server) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(TRUE, &names);
        for (int i = 0; i < n; i++)
                sockets_take_one(sockets, server, SD_LISTEN_FDS_START + i, names ? names[i] : NULL);
        for (char **name = names; name && *name; name++)
                free(*name); /* libsystemd's */
        free(names);
}

/* Removes the socket of a daemon that is gone; FALSE when a process listens there. */
static gboolean socket_clean(const struct sockaddr_un *addr, GError **err) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
                return error_set_errno(err, errno, "cannot make a socket");
        }
        int r = connect(fd, (const struct sockaddr *) addr, sizeof(*addr));
        int failure = errno;
        (void) close(fd);
        if (r == 0 || (failure != ECONNREFUSED && failure != ENOENT)) {
                return error_set_errno(err, r == 0 ? EADDRINUSE : failure, "cannot listen on %s", addr->sun_path);
        }
        (void) unlink(addr->sun_path);
        return TRUE;
}

/*
 * With authentication by polkit anybody may connect; without, only the owner and the configured group. The default
 * group need not exist: then there is only the owner.
 */
static gboolean socket_protect(const char *path, RpcAuth auth, gboolean readonly, const char *group, GError **err) {
        mode_t mode = readonly || auth == RPC_AUTH_POLKIT ? 0666 : 0600;
        const struct group *entry = group && *group ? getgrnam(group) : NULL;
        if (group && *group && !entry)
                g_info("unix_sock_group: there is no group '%s'", group);
        if (entry && chown(path, (uid_t) -1, entry->gr_gid) < 0) {
                return error_set_errno(err, errno, "cannot give %s to group %s", path, group);
        }
        if (chmod(path, entry ? mode | 0060 : mode) == 0)
                return TRUE;
        return error_set_errno(err, errno, "cannot set the mode of %s", path);
}

static gboolean socket_bind(GArray *sockets, RpcServer *server, gboolean readonly, GError **err) {
        g_autofree char *path =
                g_strdup_printf("%s/%s%s", server->config->socket_dir, SOCKET_NAME, readonly ? "-ro" : "");
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        if (g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)) >= sizeof(addr.sun_path)) {
                return error_set(err, VIR_ERR_CONF_SYNTAX, "socket path %s is too long", path);
        }
        if (!socket_clean(&addr, err))
                return FALSE;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *) &addr, sizeof(addr));
        int failure = errno;
        if (fd >= 0)
                sockets_add(sockets, server, fd, readonly, r == 0 ? path : NULL);
        if (r == 0 && !socket_protect(path, socket_auth(server->config, readonly), readonly,
                                      server->config->unix_sock_group, err))
                return FALSE;
        if (r == 0 && listen(fd, SOCKET_BACKLOG) == 0)
                return TRUE;
        return error_set_errno(err, r < 0 ? failure : errno, "cannot listen on %s", path);
}

/* Clients of other daemons use this directory too, whatever our umask is. */
static gboolean socket_dir_make(const char *dir, GError **err) {
        if (g_file_test(dir, G_FILE_TEST_IS_DIR))
                return TRUE;
        if (g_mkdir_with_parents(dir, 0755) == 0 && chmod(dir, 0755) == 0)
                return TRUE;
        return error_set_errno(err, errno, "cannot create %s", dir);
}

GArray *rpc_sockets_open(RpcServer *server, GError **err) {
        GArray *sockets = g_array_new(FALSE, FALSE, sizeof(RpcSocket));
        g_array_set_clear_func(sockets, socket_clear);
        sockets_take(sockets, server);
        if (sockets->len > 0)
                return sockets;
        if (socket_dir_make(server->config->socket_dir, err) && socket_bind(sockets, server, FALSE, err) &&
            socket_bind(sockets, server, TRUE, err))
                return sockets;
        g_array_unref(sockets);
        return NULL;
}

void rpc_sockets_close(GArray *sockets) {
        g_array_unref(sockets);
}
