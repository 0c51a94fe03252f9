/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver object: the tables of domains by name and UUID, the background threads that
 * finish what events begin, and the start-up order (directories, a lock, persistent domains,
 * running ones; autostart.c begins when all else is there). A Domain is in both tables or in none; one that is being
 * renamed has two names.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conf/capabilities.h"
#include "domain/affinity.h"
#include "domain/internal.h"
#include "util/error.h"
#include "util/file.h"
#include "util/uuid.h"

#define BACKGROUND_THREADS 4
#define AUTOSTART_THREADS  4
#define UIDS               0x10000u /* from uid_base on */

typedef struct BackgroundCall {
        void (*fn)(Domain *d, gpointer data);
        Domain *domain;
        gpointer data;
} BackgroundCall;

static void background_main(gpointer data, gpointer user_data) {
        g_autofree BackgroundCall *call = data;
        GCancellable *stop = call->domain->driver->stop;
        g_cancellable_push_current(stop);
        call->fn(call->domain, call->data);
        g_cancellable_pop_current(stop);
        domain_unref(call->domain);
}

static void run_in(GThreadPool *pool, void (*fn)(Domain *d, gpointer data), Domain *d, gpointer data) {
        BackgroundCall *call = g_new0(BackgroundCall, 1);
        *call = (BackgroundCall) { .fn = fn, .domain = domain_ref(d), .data = data };
        g_thread_pool_push(pool, call, NULL);
}

void driver_run(Driver *driver, void (*fn)(Domain *d, gpointer data), Domain *d, gpointer data) {
        run_in(driver->background, fn, d, data);
}

void driver_run_start(Driver *driver, void (*fn)(Domain *d, gpointer data), Domain *d, gpointer data) {
        run_in(driver->starts, fn, d, data);
}

gboolean driver_stopping(Driver *driver) {
        return g_atomic_int_get(&driver->stopping);
}

static gboolean driver_make_dirs(const DriverConfig *config, GError **err) {
        g_autofree char *links = g_build_filename(config->config_dir, "autostart", NULL);
        g_autofree char *notes = g_build_filename(config->state_dir, "autostart", NULL);
        return file_make_dir(config->config_dir, 0700, err) && file_make_dir(links, 0700, err) &&
               file_make_dir(config->state_dir, 0700, err) && file_make_dir(notes, 0700, err);
}

/*
 * Two daemons with one state directory would both talk to its monitors. So the second one is turned away before it
 * looks for any, whichever sockets it would listen on.
 */
static int lock_state_dir(const DriverConfig *config, GError **err) {
        g_autofree char *path = g_build_filename(config->state_dir, "lock", NULL);
        pid_t owner;
        int fd = file_take(path, &owner, err);
        if (fd < 0 && owner > 0) {
                g_clear_error(err);
                error_set(err, VIR_ERR_OPERATION_FAILED, "another virtmicrod is running, process %d: it holds '%s'",
                          (int) owner, path);
        }
        return fd;
}

Driver *driver_new(const DriverConfig *config, GError **err) {
        g_autoptr(GError) bus_error = NULL;
        int lock_fd = driver_make_dirs(config, err) ? lock_state_dir(config, err) : -1;
        if (lock_fd < 0)
                return NULL;
        GuestLogs *logs = guest_logs_new(config->log_max_size, config->log_max_backups, err);
        if (!logs) {
                (void) close(lock_fd);
                return NULL;
        }
        Driver *driver = g_new0(Driver, 1);
        driver->config = config;
        driver->logs = logs;
        driver->lock_fd = lock_fd;
        g_mutex_init(&driver->lock);
        driver->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) domain_unref);
        driver->by_uuid = g_hash_table_new(uuid_hash, uuid_equal);
        driver->uids = g_array_new(FALSE, FALSE, sizeof(guint32));
        driver->events = event_queue_new();
        driver->stop = g_cancellable_new();
        vmm_init();
        driver->background = g_thread_pool_new(background_main, driver, BACKGROUND_THREADS, FALSE, NULL);
        driver->starts = g_thread_pool_new(background_main, driver, AUTOSTART_THREADS, FALSE, NULL);
        driver->bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, &bus_error);
        if (driver->bus)
                g_dbus_connection_set_exit_on_close(driver->bus, FALSE);
        else
                g_warning("no system bus, so no domain can be started: %s", bus_error->message);
        driver->affinity = affinity_watch_new(driver);
        driver->libvirt = libvirt_client_new(config->neighbour_timeout);
        driver->adoptions = adoptions_new(driver);
        driver->releases = releases_new(driver, err);
        if (driver->releases && config_load_all(driver, err) && driver_adopt_all(driver, err)) {
                releases_resume(driver->releases);
                return driver;
        }
        driver_free(driver);
        return NULL;
}

static void domain_detach(gpointer key, gpointer value, gpointer data) {
        Domain *d = value;
        if (!d->run.vmm)
                return;
        vmm_disconnect(d->run.vmm);
        domain_unref(d); /* the callbacks' reference */
}

void driver_free(Driver *driver) {
        if (!driver)
                return;
        /* What is queued still runs, and sees that it is too late, so that nothing holds a domain afterwards. */
        g_atomic_int_set(&driver->stopping, TRUE);
        g_cancellable_cancel(driver->stop);
        g_thread_pool_free(driver->starts, FALSE, TRUE);
        g_thread_pool_free(driver->background, FALSE, TRUE);
        adoptions_free(driver->adoptions);
        releases_free(driver->releases);
        libvirt_client_free(driver->libvirt);
        guest_logs_free(driver->logs);
        affinity_watch_free(driver->affinity);
        g_hash_table_foreach(driver->by_name, domain_detach, NULL);
        g_hash_table_unref(driver->by_uuid);
        g_hash_table_unref(driver->by_name);
        g_array_unref(driver->uids);
        event_queue_free(driver->events);
        g_clear_object(&driver->bus);
        g_clear_object(&driver->stop);
        g_mutex_clear(&driver->lock);
        (void) close(driver->lock_fd);
        g_free(driver);
}

/* Earlier daemons may have given one out twice, so each is counted. Driver lock held. */
static gboolean uid_find(const Driver *driver, guint32 uid, guint *ret_index) {
        for (guint i = 0; i < driver->uids->len; i++) {
                *ret_index = i;
                if (g_array_index(driver->uids, guint32, i) == uid)
                        return TRUE;
        }
        return FALSE;
}

guint32 driver_take_uid(Driver *driver, int id) {
        guint32 base = driver->config->uid_base, uid = 0;
        guint unused;
        g_mutex_lock(&driver->lock);
        for (guint32 i = 0; i < UIDS && uid == 0; i++) {
                uid = base + ((guint32) id + i) % UIDS;
                if (uid_find(driver, uid, &unused))
                        uid = 0;
        }
        if (uid != 0)
                g_array_append_val(driver->uids, uid);
        g_mutex_unlock(&driver->lock);
        return uid;
}

void driver_note_uid(Driver *driver, guint32 uid) {
        g_mutex_lock(&driver->lock);
        g_array_append_val(driver->uids, uid);
        g_mutex_unlock(&driver->lock);
}

void driver_drop_uid(Driver *driver, guint32 uid) {
        guint index;
        g_mutex_lock(&driver->lock);
        if (uid_find(driver, uid, &index))
                g_array_remove_index_fast(driver->uids, index);
        g_mutex_unlock(&driver->lock);
}

int driver_next_id(Driver *driver) {
        g_mutex_lock(&driver->lock);
        int id = ++driver->last_id;
        g_mutex_unlock(&driver->lock);
        return id;
}

void driver_note_id(Driver *driver, int id) {
        g_mutex_lock(&driver->lock);
        driver->last_id = MAX(driver->last_id, id);
        g_mutex_unlock(&driver->lock);
}

gboolean driver_insert(Driver *driver, Domain *d) {
        g_mutex_lock(&driver->lock);
        gboolean free_slot =
                !g_hash_table_contains(driver->by_name, d->name) && !g_hash_table_contains(driver->by_uuid, d->uuid);
        if (free_slot) {
                g_hash_table_insert(driver->by_name, g_strdup(d->name), domain_ref(d));
                g_hash_table_insert(driver->by_uuid, d->uuid, d);
        }
        g_mutex_unlock(&driver->lock);
        return free_slot;
}

void driver_remove(Domain *d) {
        Driver *driver = d->driver;
        if (d->removed)
                return;
        d->removed = TRUE;
        g_mutex_lock(&driver->lock);
        g_hash_table_remove(driver->by_uuid, d->uuid);
        g_hash_table_remove(driver->by_name, d->name);
        g_mutex_unlock(&driver->lock);
}

gboolean driver_take_name(Domain *d, const char *name) {
        Driver *driver = d->driver;
        g_mutex_lock(&driver->lock);
        gboolean ok = !g_hash_table_contains(driver->by_name, name);
        if (ok)
                g_hash_table_insert(driver->by_name, g_strdup(name), domain_ref(d));
        g_mutex_unlock(&driver->lock);
        return ok;
}

void driver_drop_name(Driver *driver, const char *name) {
        g_mutex_lock(&driver->lock);
        g_hash_table_remove(driver->by_name, name);
        g_mutex_unlock(&driver->lock);
}

void driver_set_name(Domain *d, const char *name) {
        g_mutex_lock(&d->driver->lock);
        g_free(d->name);
        d->name = g_strdup(name);
        g_mutex_unlock(&d->driver->lock);
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(((const Domain *) a)->name, ((const Domain *) b)->name);
}

GPtrArray *driver_snapshot(Driver *driver) {
        GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify) domain_unref);
        g_mutex_lock(&driver->lock);
        g_autoptr(GList) domains = g_list_sort(g_hash_table_get_values(driver->by_uuid), compare_names);
        for (GList *l = domains; l; l = l->next)
                g_ptr_array_add(all, domain_ref(l->data));
        g_mutex_unlock(&driver->lock);
        return all;
}

static Domain *lookup(Driver *driver, GHashTable *table, gconstpointer key) {
        g_mutex_lock(&driver->lock);
        Domain *d = g_hash_table_lookup(table, key);
        if (d)
                domain_ref(d);
        g_mutex_unlock(&driver->lock);
        return d;
}

Domain *driver_lookup_by_name(Driver *driver, const char *name, GError **err) {
        Domain *d = lookup(driver, driver->by_name, name);
        if (!d)
                error_set(err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", name);
        return d;
}

Domain *driver_lookup_by_uuid(Driver *driver, const guint8 uuid[16], GError **err) {
        char text[37];
        Domain *d = lookup(driver, driver->by_uuid, uuid);
        domain_uuid_format(uuid, text);
        if (!d)
                error_set(err, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
        return d;
}

Domain *driver_lookup_by_id(Driver *driver, int id, GError **err) {
        g_autoptr(GPtrArray) all = driver_snapshot(driver);
        for (guint i = 0; i < all->len; i++) {
                g_auto(DomainHandle) handle = { 0 };
                domain_get_handle(g_ptr_array_index(all, i), &handle);
                if (id >= 0 && handle.id == id)
                        return domain_ref(g_ptr_array_index(all, i));
        }
        return error_null(err, VIR_ERR_NO_DOMAIN, "no domain with matching id %d", id);
}

/* Within each group of filters any set bit lets a domain pass; no bit set lets all pass. */
static gboolean group_passes(guint flags, guint group, guint domain_bits) {
        return (flags & group) == 0 || (flags & group & domain_bits) != 0;
}

static gboolean domain_matches(Domain *d, guint flags) {
        guint bits = VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT |
                     VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT;
        domain_lock(d);
        bits |= domain_active(d) ? VIR_CONNECT_LIST_DOMAINS_ACTIVE : VIR_CONNECT_LIST_DOMAINS_INACTIVE;
        bits |= d->persistent ? VIR_CONNECT_LIST_DOMAINS_PERSISTENT : VIR_CONNECT_LIST_DOMAINS_TRANSIENT;
        bits |= d->autostart ? VIR_CONNECT_LIST_DOMAINS_AUTOSTART : VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART;
        bits |= d->state == VIR_DOMAIN_RUNNING   ? VIR_CONNECT_LIST_DOMAINS_RUNNING
                : d->state == VIR_DOMAIN_PAUSED  ? VIR_CONNECT_LIST_DOMAINS_PAUSED
                : d->state == VIR_DOMAIN_SHUTOFF ? VIR_CONNECT_LIST_DOMAINS_SHUTOFF
                                                 : VIR_CONNECT_LIST_DOMAINS_OTHER;
        domain_unlock(d);
        return group_passes(flags, VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE, bits) &&
               group_passes(flags, VIR_CONNECT_LIST_DOMAINS_PERSISTENT | VIR_CONNECT_LIST_DOMAINS_TRANSIENT, bits) &&
               group_passes(flags,
                            VIR_CONNECT_LIST_DOMAINS_RUNNING | VIR_CONNECT_LIST_DOMAINS_PAUSED |
                                    VIR_CONNECT_LIST_DOMAINS_SHUTOFF | VIR_CONNECT_LIST_DOMAINS_OTHER,
                            bits) &&
               group_passes(flags, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE,
                            bits) &&
               group_passes(flags, VIR_CONNECT_LIST_DOMAINS_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART, bits) &&
               group_passes(flags, VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT,
                            bits) &&
               group_passes(flags, VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT | VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT,
                            bits);
}

GPtrArray *driver_list(Driver *driver, guint flags, GError **err) {
        const guint known = (VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT << 1) - 1;
        if (!error_check_flags(flags, known, "virConnectListAllDomains", err))
                return NULL;
        g_autoptr(GPtrArray) all = driver_snapshot(driver);
        GPtrArray *chosen = g_ptr_array_new_with_free_func((GDestroyNotify) domain_unref);
        for (guint i = 0; i < all->len; i++)
                if (domain_matches(g_ptr_array_index(all, i), flags))
                        g_ptr_array_add(chosen, domain_ref(g_ptr_array_index(all, i)));
        return chosen;
}

unsigned driver_count_active(Driver *driver) {
        return (unsigned) g_atomic_int_get(&driver->n_active);
}

guint driver_add_listener(Driver *driver, DomainEventFunc func, gpointer data) {
        return event_queue_add(driver->events, func, data);
}

void driver_remove_listener(Driver *driver, guint id) {
        event_queue_remove(driver->events, id);
}

char *driver_get_capabilities(Driver *driver, GError **err) {
        return capabilities_format(driver->config->vmm_path, err);
}

char *driver_get_domain_capabilities(Driver *driver, const char *emulator, const char *arch, const char *machine,
                                     const char *virttype, guint flags, GError **err) {
        if (!error_check_flags(flags, 0, "virConnectGetDomainCapabilities", err))
                return NULL;
        return domain_capabilities_format(emulator ? emulator : driver->config->vmm_path, arch, machine, virttype, err);
}

gulong driver_get_version(void) {
        guint major = 0, minor = 0, micro = 0;
        if (sscanf(VIRTMICRO_VERSION, "%u.%u.%u", &major, &minor, &micro) != 3)
                return 0;
        return (gulong) major * 1000000 + minor * 1000 + micro;
}
