/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain that has ended, or failed to start, gives back to other processes: its name to machined,
 * its scope to systemd, its ports to libvirt's networks. The end of a domain waits for none of them: it
 * begins a release on a separate thread and is shut off at once.
 *
 * Name and scope would go on their own once the scope is empty; one attempt makes it prompt. A port stays
 * until libvirt is asked to delete it. So each is noted on disk,
 *
 *   STATE_DIR/ports/PORTID   the name of the network
 *
 * before the domain's status goes, which names the port until then, and tried again until libvirt says
 * that it is gone; a daemon that finds such a note continues. All failed ports share one timer, since it
 * is the same daemon that they wait for.
 *
 * Where the status was lost (status.c), libvirt alone knows which ports are the domain's. That it is to be
 * asked is noted too:
 *
 *   STATE_DIR/ports/owner-UUID   the name of the domain
 *
 * The domain may run again by then, or be on its way to: ports of that run are known (Domain.ports), and all
 * others that libvirt has for it are released.
 *
 * A destroy or a failed start waits a moment for the first attempt (domain_settle()): if the other
 * processes answer, everything has been given back when the call returns.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "domain/launch.h"
#include "net/network.h"
#include "systemd/scope.h"
#include "util/error.h"
#include "util/file.h"
#include "util/uuid.h"

#define OWNER_PREFIX    "owner-"
#define RELEASE_THREADS 4
#define RETRY_MAX_S     15u /* between two attempts; they begin at one second and double */
#define SETTLE_MS       3000

struct Releases {
        Driver *driver;
        GThreadPool *pool;
        char *dir;
        GMutex lock;
        GQueue failed; /* Release*, ports that wait for the timer */
        guint timer;
        guint delay; /* seconds until the timer's next end */
};

/* One thing to give back: a scope with its machine's name, a port, or all ports of an owner. */
typedef struct Release {
        Domain *domain; /* NULL: left by an earlier daemon, or not the first attempt */
        char *unit, *machine;
        char *network, *portid;
        char *owner, *owner_name; /* the UUID of a domain, all of whose former ports are meant */
        gboolean told;            /* that it is late */
        gboolean explain;         /* why the scope's process was killed */
} Release;

static void release_free(gpointer data) {
        Release *release = data;
        g_clear_pointer(&release->domain, domain_unref);
        g_free(release->unit);
        g_free(release->machine);
        g_free(release->network);
        g_free(release->portid);
        g_free(release->owner);
        g_free(release->owner_name);
        g_free(release);
}

/* The first attempt is over, successful or not. */
static void release_settle(Release *release) {
        Domain *d = g_steal_pointer(&release->domain);
        if (!d)
                return;
        domain_lock(d);
        d->releasing--;
        g_cond_broadcast(&d->job_done);
        domain_unlock(d);
        domain_unref(d);
}

void domain_settle(Domain *d) {
        gint64 deadline = g_get_monotonic_time() + SETTLE_MS * G_TIME_SPAN_MILLISECOND;
        if (network_is_silent(d->driver->libvirt))
                return;
        domain_lock(d);
        while (d->releasing > 0 && g_cond_wait_until(&d->job_done, &d->lock, deadline))
                ;
        domain_unlock(d);
}

/* --- Scopes --- */

/* Its scope knows what nobody else does. */
static void explain_end(const Releases *releases, const Release *release) {
        g_autofree char *oom = domain_describe_oom(releases->driver, release->unit);
        Domain *d = release->domain;
        if (!oom)
                return;
        domain_lock(d);
        journal_log(G_LOG_LEVEL_WARNING, d->name, d->uuid, release->machine, "the kernel has killed its monitor: %s",
                    oom);
        domain_unlock(d);
}

static void release_scope(Releases *releases, Release *release) {
        GDBusConnection *bus = releases->driver->bus;
        g_autoptr(GError) err = NULL;
        if (release->explain)
                explain_end(releases, release);
        if (bus && release->machine)
                machined_terminate(bus, release->machine);
        if (bus && release->unit && !scope_stop(bus, release->unit, &err))
                g_warning("scope '%s' could not be removed, and goes when it is empty: %s", release->unit,
                          err->message);
        release_settle(release);
        release_free(release);
}

/* --- Ports --- */

static char *note_path(const Releases *releases, const Release *release) {
        g_autofree char *file =
                release->owner ? g_strconcat(OWNER_PREFIX, release->owner, NULL) : g_strdup(release->portid);
        return g_build_filename(releases->dir, file, NULL);
}

static char *describe(const Release *release) {
        return release->owner ? g_strdup_printf("what networks have of domain '%s'", release->owner_name)
                              : g_strdup_printf("port %s of network '%s'", release->portid, release->network);
}

static void note(const Releases *releases, const Release *release) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = note_path(releases, release), *what = describe(release);
        if (!file_write_atomic(path, release->owner ? release->owner_name : release->network, &err))
                g_warning("a restart of the daemon would forget %s: %s", what, err->message);
}

static gboolean retry(gpointer data) {
        Releases *releases = data;
        Release *release;
        g_mutex_lock(&releases->lock);
        releases->timer = 0;
        while ((release = g_queue_pop_head(&releases->failed)))
                (void) g_thread_pool_push(releases->pool, release, NULL);
        g_mutex_unlock(&releases->lock);
        return G_SOURCE_REMOVE;
}

/* Takes the release. */
static void port_failed(Releases *releases, Release *release, const GError *err) {
        g_autofree char *what = describe(release);
        g_log(G_LOG_DOMAIN, release->told ? G_LOG_LEVEL_DEBUG : G_LOG_LEVEL_WARNING,
              "%s is not released yet, which is retried until libvirt answers: %s", what, err->message);
        release->told = TRUE;
        release_settle(release);
        g_mutex_lock(&releases->lock);
        g_queue_push_tail(&releases->failed, release);
        if (releases->timer == 0 && !driver_stopping(releases->driver)) {
                releases->timer = g_timeout_add_seconds(releases->delay, retry, releases);
                releases->delay = MIN(2 * releases->delay, RETRY_MAX_S);
        }
        g_mutex_unlock(&releases->lock);
}

/* Takes the release. */
static void port_released(Releases *releases, Release *release) {
        g_autofree char *path = note_path(releases, release), *what = describe(release);
        if (release->told)
                g_message("%s is released", what);
        (void) g_unlink(path);
        g_mutex_lock(&releases->lock);
        releases->delay = 1;
        g_mutex_unlock(&releases->lock);
        release_settle(release);
        release_free(release);
}

static void release_port(Releases *releases, Release *release) {
        g_autoptr(GError) err = NULL;
        if (network_port_delete(releases->driver->libvirt, release->network, release->portid, &err))
                port_released(releases, release);
        else
                port_failed(releases, release, err);
}

static void begin_for(Releases *releases, Domain *d, const Release *what);

/* A run whose status was lost may have any of them, and asks again when it ends. */
static gboolean has_port(Domain *d, const char *portid) {
        domain_lock(d);
        gboolean has = d->run.recovered || g_hash_table_contains(d->ports, portid);
        domain_unlock(d);
        return has;
}

/* A port of a later run is known to it before it is made, thus before it could be listed. */
static void release_owned(Releases *releases, Release *release) {
        g_autoptr(GError) err = NULL;
        guint8 uuid[UUID_SIZE];
        (void) domain_uuid_parse(release->owner, uuid);
        g_autoptr(GPtrArray) ports = network_list_ports(releases->driver->libvirt, uuid, &err);
        if (!ports) {
                port_failed(releases, release, err);
                return;
        }
        g_autoptr(Domain) d = driver_lookup_by_uuid(releases->driver, uuid, NULL);
        for (guint i = 0; i < ports->len; i++) {
                const NetworkPortName *port = g_ptr_array_index(ports, i);
                if (!d || !has_port(d, port->portid))
                        begin_for(releases, d,
                                  &(Release) { .network = g_strdup(port->network), .portid = g_strdup(port->portid) });
        }
        port_released(releases, release);
}

static void release_main(gpointer item, gpointer data) {
        Releases *releases = data;
        Release *release = item;
        g_cancellable_push_current(releases->driver->stop);
        if (release->portid)
                release_port(releases, release);
        else if (release->owner)
                release_owned(releases, release);
        else
                release_scope(releases, release);
        g_cancellable_pop_current(releases->driver->stop);
}

/* --- What a domain had --- */

static void begin(Releases *releases, Release *release) {
        (void) g_thread_pool_push(releases->pool, release, NULL);
}

/* `d` may be NULL. Takes the strings of `what`. */
static void begin_for(Releases *releases, Domain *d, const Release *what) {
        Release *release = g_new0(Release, 1);
        *release = *what;
        if (d) {
                release->domain = domain_ref(d);
                domain_lock(d);
                d->releasing++;
                domain_unlock(d);
        }
        if (release->portid || release->owner)
                note(releases, release);
        begin(releases, release);
}

static void begin_owned(Domain *d) {
        char uuid[37];
        domain_uuid_format(d->uuid, uuid);
        begin_for(d->driver->releases, d, &(Release) { .owner = g_strdup(uuid), .owner_name = g_strdup(d->name) });
}

void domain_choose_port(Domain *d, DomainNic *nic) {
        g_free(nic->portid);
        nic->portid = g_uuid_string_random();
        domain_lock(d);
        (void) g_hash_table_add(d->ports, g_strdup(nic->portid));
        domain_unlock(d);
}

void domain_forget_port(Domain *d, const DomainNic *nic) {
        domain_lock(d);
        (void) g_hash_table_remove(d->ports, nic->portid);
        domain_unlock(d);
}

void domain_release_port(Domain *d, const DomainNic *nic) {
        domain_forget_port(d, nic);
        begin_for(d->driver->releases, d,
                  &(Release) { .network = g_strdup(nic->source), .portid = g_strdup(nic->portid) });
}

void domain_release(Domain *d, const char *unit, const char *machine) {
        Releases *releases = d->driver->releases;
        domain_lock(d);
        gboolean recovered = d->run.recovered;
        d->run.recovered = FALSE;
        g_hash_table_remove_all(d->ports);
        domain_unlock(d);
        if (unit || machine)
                begin_for(releases, d,
                          &(Release) { .unit = g_strdup(unit),
                                       .machine = g_strdup(machine),
                                       .explain = unit && d->run.unexplained });
        if (recovered)
                begin_owned(d);
}

/* --- All of them --- */

static void resume_one(Releases *releases, const char *file) {
        g_autoptr(GError) err = NULL;
        g_autofree char *path = g_build_filename(releases->dir, file, NULL);
        gboolean owner = g_str_has_prefix(file, OWNER_PREFIX);
        const char *uuid = owner ? file + strlen(OWNER_PREFIX) : file;
        char *text = NULL;
        if (!g_uuid_string_is_valid(uuid)) /* left by an interrupted write */
                (void) g_unlink(path);
        else if (!g_file_get_contents(path, &text, NULL, &err))
                g_warning("a network's port is not released: %s", err->message);
        else if (owner)
                begin_for(releases, NULL, &(Release) { .owner = g_strdup(uuid), .owner_name = text });
        else
                begin_for(releases, NULL, &(Release) { .network = text, .portid = g_strdup(uuid) });
}

void releases_resume(Releases *releases) {
        g_autoptr(GDir) dir = g_dir_open(releases->dir, 0, NULL);
        g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
        const char *file;
        while (dir && (file = g_dir_read_name(dir)))
                g_ptr_array_add(files, g_strdup(file));
        for (guint i = 0; i < files->len; i++)
                resume_one(releases, g_ptr_array_index(files, i));
}

Releases *releases_new(Driver *driver, GError **err) {
        g_autofree char *dir_path = g_build_filename(driver->config->state_dir, "ports", NULL);
        if (!file_make_dir(dir_path, 0700, err))
                return NULL;
        Releases *releases = g_new0(Releases, 1);
        releases->driver = driver;
        releases->dir = g_steal_pointer(&dir_path);
        releases->delay = 1;
        g_mutex_init(&releases->lock);
        g_queue_init(&releases->failed);
        releases->pool = g_thread_pool_new(release_main, releases, RELEASE_THREADS, FALSE, NULL);
        return releases;
}

void releases_free(Releases *releases) {
        if (!releases)
                return;
        g_thread_pool_free(releases->pool, FALSE, TRUE); /* the driver is stopping and has cancelled the call */
        g_clear_handle_id(&releases->timer, g_source_remove);
        g_queue_clear_full(&releases->failed, release_free);
        g_mutex_clear(&releases->lock);
        g_free(releases->dir);
        g_free(releases);
}
