/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ends of a running domain's consoles and channels that clients open: a pty's slave, a
 * channel's listening socket. Their names may change hands: the kernel gives /dev/pts/N to
 * the next terminal as soon as the monitor has closed its master, and a socket's path
 * belongs to anybody who may write to its directory. So each is held by an O_PATH
 * descriptor from its creation on, when the name is certain to be its own, and opened
 * through that. A held end whose other side is gone cannot be opened (EIO, ECONNREFUSED).
 *
 * The descriptors die with the daemon. The status file keeps what tells an object from a
 * later one with the same name: device and inode, and for a pty, whose inode numbers are
 * reused, its ctime, which is that of its creation. The next daemon holds those that still
 * match.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain/internal.h"
#include "util/error.h"

static void fd_free(gpointer data) {
        (void) close(GPOINTER_TO_INT(data));
}

Terminals *terminals_new(void) {
        return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, fd_free);
}

/* -1 with errno. */
static int hold(const char *path) {
        return open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

gboolean terminals_hold(Terminals *terminals, const char *path, GError **err) {
        int fd = hold(path);
        if (fd < 0) {
                return error_set_errno(err, errno, "cannot hold '%s'", path);
        }
        g_hash_table_insert(terminals, g_strdup(path), GINT_TO_POINTER(fd));
        return TRUE;
}

void terminals_drop(Terminals *terminals, const char *path) {
        if (terminals && path)
                (void) g_hash_table_remove(terminals, path);
}

void terminals_move(Terminals *to, Terminals *from) {
        GHashTableIter iter;
        gpointer path, fd;
        g_hash_table_iter_init(&iter, from);
        while (g_hash_table_iter_next(&iter, &path, &fd)) {
                g_hash_table_iter_steal(&iter);
                (void) g_hash_table_insert(to, path, fd);
        }
}

static char *describe(int fd) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return g_strdup(TERMINALS_NONE);
        if (!S_ISCHR(st.st_mode))
                return g_strdup_printf("%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        return g_strdup_printf("%ju:%ju:%jd.%09ld", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino,
                               (intmax_t) st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static gboolean find(Terminals *terminals, const char *path, int *ret_fd) {
        gpointer value;
        if (!terminals || !path || !g_hash_table_lookup_extended(terminals, path, NULL, &value))
                return FALSE;
        *ret_fd = GPOINTER_TO_INT(value);
        return TRUE;
}

char *terminals_format(Terminals *terminals, const DomainDef *def) {
        g_autoptr(GString) text = g_string_new(NULL);
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                int fd;
                g_autofree char *word = find(terminals, chr->path, &fd) ? describe(fd) : g_strdup(TERMINALS_NONE);
                g_string_append_printf(text, "%s%s", i > 0 ? " " : "", word);
        }
        return g_string_free(g_steal_pointer(&text), FALSE);
}

/* Holds the object of that name if `word` describes it; NULL: version 0.1 stored the name alone. */
static void restore_one(Terminals *terminals, const char *path, const char *word) {
        int fd = hold(path);
        if (fd < 0)
                return; /* its domain has ended */
        g_autofree char *found = describe(fd);
        if (!word || strcmp(found, word) == 0) {
                g_hash_table_insert(terminals, g_strdup(path), GINT_TO_POINTER(fd));
                return;
        }
        g_warning("'%s' is not the terminal or socket that it was: it cannot be opened until its domain has been "
                  "restarted",
                  path);
        (void) close(fd);
}

Terminals *terminals_restore(const DomainDef *def, const char *text) {
        Terminals *terminals = terminals_new();
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        guint n = g_strv_length(words);
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                const char *word = i < n ? words[i] : n > 0 ? TERMINALS_NONE : NULL;
                if (chr->path && chr->backend != DOMAIN_CHAR_FILE && g_strcmp0(word, TERMINALS_NONE) != 0 &&
                    !g_hash_table_contains(terminals, chr->path))
                        restore_one(terminals, chr->path, word);
        }
        return terminals;
}

static int open_held(int held) {
        char path[64];
        (void) g_snprintf(path, sizeof(path), "/proc/self/fd/%d", held);
        return open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

static int connect_held(int held) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        (void) g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", held);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
                return fd;
        int failure = errno;
        (void) close(fd);
        errno = failure;
        return -1;
}

int terminals_open(Terminals *terminals, const char *path, GError **err) {
        struct stat st;
        int held;
        if (!find(terminals, path, &held)) {
                error_set(err, VIR_ERR_OPERATION_FAILED, "'%s' is not known to be the domain's own", path);
                return -1;
        }
        int fd = fstat(held, &st) == 0 && S_ISSOCK(st.st_mode) ? connect_held(held) : open_held(held);
        if (fd < 0)
                error_set_errno(err, errno, "cannot open '%s', or its domain is ending", path);
        return fd;
}
