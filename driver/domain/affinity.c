/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the threads of running domains run. A vCPU's thread follows its pin, all others (including the kernel's vhost
 * workers) follow the emulator's, and both fall back to the domain's cpuset; with neither, a thread is left alone. It
 * is sched_setaffinity() on each thread, within the bound that the scope's AllowedCPUs= sets for all of them.
 *
 * The kernel takes affinities back: before Linux 6.2 each change of a control group's CPUs gives all of its threads all
 * CPUs of the group, and so does the cpuset controller being switched on or off for the group, which systemd does when
 * a neighbour in the slice starts or stops needing it. Later kernels do so when a CPU goes offline. None of this is
 * announced. So affinities are set again after each change of ours, and a thread of the daemon compares those of pinned
 * domains with their definitions, every few seconds and after each change; it sleeps while no domain is pinned. What an
 * operator allows the scope or its slices is a bound that it respects.
 *
 * The functions that set make no call that blocks, and may be used with a domain's lock held.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "domain/affinity.h"
#include "domain/internal.h"
#include "systemd/scope.h"
#include "util/error.h"

#define WATCH_SECONDS 3 /* the longest that a pin may be out of force */

struct AffinityWatch {
        Driver *driver;
        GThread *thread;
        GMutex lock;
        GCond changed;
        gboolean kicked, ending; /* under the lock */
};

/* --- One thread ------------------------------------------------------------------------------- */

gboolean affinity_get(pid_t tid, CpuMap *ret) {
        cpu_set_t *set = CPU_ALLOC(CPUMAP_BITS);
        gsize size = CPU_ALLOC_SIZE(CPUMAP_BITS);
        CPU_ZERO_S(size, set);
        gboolean ok = tid > 0 && sched_getaffinity(tid, size, set) == 0;
        *ret = (CpuMap) {};
        for (unsigned i = 0; ok && i < CPUMAP_BITS; i++)
                if (CPU_ISSET_S(i, size, set))
                        cpumap_set(ret, i);
        CPU_FREE(set);
        return ok;
}

/* Whether the thread is in the group; if its id was reused, it is not. */
static gboolean is_in_group(const char *cgroup, pid_t tid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int) tid), *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, NULL))
                return FALSE;
        char *group = strstr(text, "0::/");
        return group && g_str_has_suffix(cgroup, g_strchomp(group) + strlen("0::"));
}

/* No such call takes a descriptor, so a call that hit a reused id is reverted. 0 or a negative errno. */
static int set_affinity(const char *cgroup, pid_t tid, const CpuMap *map) {
        cpu_set_t *set = CPU_ALLOC(CPUMAP_BITS), *before = CPU_ALLOC(CPUMAP_BITS);
        gsize size = CPU_ALLOC_SIZE(CPUMAP_BITS);
        int r = -ESRCH;
        CPU_ZERO_S(size, set);
        for (unsigned i = 0; i < CPUMAP_BITS; i++)
                if (cpumap_get(map, i))
                        CPU_SET_S(i, size, set);
        if (sched_getaffinity(tid, size, before) == 0 && is_in_group(cgroup, tid)) {
                r = sched_setaffinity(tid, size, set) < 0 ? -errno : 0;
                if (r == 0 && !is_in_group(cgroup, tid))
                        (void) sched_setaffinity(tid, size, before);
        }
        CPU_FREE(before);
        CPU_FREE(set);
        return r;
}

/* `bound`: CPUs of `wanted` outside it may be missing from the result; NULL: none may. */
static gboolean is_at(pid_t tid, const CpuMap *wanted, const CpuMap *bound) {
        CpuMap actual, expected = *wanted;
        for (gsize i = 0; bound && i < sizeof(expected.bytes); i++)
                expected.bytes[i] &= bound->bytes[i];
        return affinity_get(tid, &actual) && memcmp(&actual, &expected, sizeof(actual)) == 0;
}

/* Sets and reads back. A thread that has ended meanwhile is fine. */
static gboolean move_thread(const char *cgroup, pid_t tid, const CpuMap *wanted, const CpuMap *bound, const char *who,
                            GError **err) {
        if (is_at(tid, wanted, bound))
                return TRUE;
        int r = set_affinity(cgroup, tid, wanted);
        if (r == -ESRCH || (r == 0 && is_at(tid, wanted, bound)))
                return TRUE;
        CpuMap actual;
        if (!affinity_get(tid, &actual))
                return TRUE;
        g_autofree char *text = cpumap_format(wanted), *runs = cpumap_format(&actual);
        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "%s should run on CPUs '%s', but the kernel lets it run on '%s'%s%s", who, text, runs,
                         r ? ": " : "", r ? g_strerror(-r) : "");
}

/* --- A domain's threads --------------------------------------------------------------------- */

gboolean affinity_is_wanted(const DomainDef *def) {
        return def->has_cpuset || def->cputune.has_emulatorpin || def->cputune.vcpupin->len > 0;
}

static int vcpu_of(const DomainDef *def, const pid_t *vcpu_tid, pid_t tid) {
        for (unsigned i = 0; i < MIN(def->vcpus, DOMAIN_VCPUS_MAX); i++)
                if (vcpu_tid[i] == tid)
                        return (int) i;
        return -1;
}

static gboolean know_vcpus(const DomainDef *def, const pid_t *vcpu_tid, GError **err) {
        for (unsigned i = 0; i < MIN(def->vcpus, DOMAIN_VCPUS_MAX); i++) {
                if (vcpu_tid[i] > 0)
                        continue;
                return error_set(err, VIR_ERR_OPERATION_FAILED, "the thread of vcpu %u is not known", i);
        }
        return TRUE;
}

static gboolean move_all(const char *cgroup, const DomainDef *def, const pid_t *vcpu_tid, const CpuMap *bound,
                         GError **err) {
        g_autofree char *path = g_build_filename(cgroup, "cgroup.threads", NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) cause = NULL;
        if (!know_vcpus(def, vcpu_tid, err))
                return FALSE;
        if (!g_file_get_contents(path, &text, NULL, &cause)) {
                return error_set(err, VIR_ERR_SYSTEM_ERROR, "cannot list the threads of the domain: %s",
                                 cause->message);
        }
        g_auto(GStrv) tids = g_strsplit(g_strstrip(text), "\n", -1);
        for (char **word = tids; *word; word++) {
                pid_t tid = (pid_t) g_ascii_strtoll(*word, NULL, 10);
                int vcpu = vcpu_of(def, vcpu_tid, tid);
                const CpuMap *wanted =
                        vcpu < 0 ? domain_def_emulator_cpus(def) : domain_def_vcpu_cpus(def, (unsigned) vcpu);
                g_autofree char *who = vcpu < 0 ? g_strdup_printf("the emulator's thread %d", (int) tid)
                                                : g_strdup_printf("vcpu %d", vcpu);
                if (tid > 0 && wanted && !move_thread(cgroup, tid, wanted, bound, who, err))
                        return FALSE;
        }
        return TRUE;
}

gboolean affinity_apply(const char *cgroup, const DomainDef *def, const pid_t *vcpu_tid, GError **err) {
        return !affinity_is_wanted(def) || move_all(cgroup, def, vcpu_tid, NULL, err);
}

/* --- The watch -------------------------------------------------------------------------------- */

/* The vCPUs and one of the others, which stands for all of them: what resets affinities resets them all. Lock held. */
static gboolean in_force(const Domain *d) {
        const CpuMap *emulator = domain_def_emulator_cpus(d->def);
        for (unsigned i = 0; i < MIN(d->def->vcpus, DOMAIN_VCPUS_MAX); i++) {
                const CpuMap *wanted = domain_def_vcpu_cpus(d->def, i);
                if (wanted && !is_at(d->run.vcpu_tid[i], wanted, NULL))
                        return FALSE;
        }
        return !emulator || is_at(vmm_pid(d->run.vmm), emulator, NULL);
}

/* Lock held. A pin that cannot be restored, since an operator took its CPUs away, is logged once. */
static void mend(Domain *d) {
        g_autoptr(GError) err = NULL;
        CpuMap bound;
        scope_read_cpus(d->run.cgroup, &bound);
        gboolean ok = move_all(d->run.cgroup, d->def, d->run.vcpu_tid, &bound, &err);
        if (!ok && !d->run.misplaced)
                domain_log(d, G_LOG_LEVEL_WARNING, "%s", err->message);
        d->run.misplaced = !ok;
}

/*
 * Whether this one has to be looked at again. A domain whose job is held is skipped: the change in progress may have
 * placed threads but not yet replaced the definition.
 */
static gboolean look_at(Domain *d) {
        domain_lock(d);
        gboolean again = d->job;
        if (!again) {
                again = domain_active(d) && d->run.vmm && d->run.cgroup && affinity_is_wanted(d->def);
                gboolean known = d->run.vcpu_tid[0] > 0; /* FALSE until an adopted monitor has answered */
                if (again && known && !d->run.ended && !in_force(d))
                        mend(d);
        }
        domain_unlock(d);
        return again;
}

static gboolean look_at_all(Driver *driver) {
        g_autoptr(GPtrArray) all = driver_snapshot(driver);
        gboolean pinned = FALSE;
        for (guint i = 0; i < all->len && !driver_stopping(driver); i++)
                pinned |= look_at(g_ptr_array_index(all, i));
        return pinned;
}

/* Waits for work; FALSE when the daemon stops. */
static gboolean watch_wait(AffinityWatch *w, gboolean pinned) {
        gint64 deadline = g_get_monotonic_time() + WATCH_SECONDS * G_TIME_SPAN_SECOND;
        g_mutex_lock(&w->lock);
        while (!w->ending && !w->kicked) {
                if (!pinned)
                        g_cond_wait(&w->changed, &w->lock);
                else if (!g_cond_wait_until(&w->changed, &w->lock, deadline))
                        break;
        }
        w->kicked = FALSE;
        gboolean go_on = !w->ending;
        g_mutex_unlock(&w->lock);
        return go_on;
}

static gpointer watch_main(gpointer data) {
        AffinityWatch *w = data;
        gboolean pinned = TRUE;
        while (watch_wait(w, pinned))
                pinned = look_at_all(w->driver);
        return NULL;
}

AffinityWatch *affinity_watch_new(Driver *driver) {
        AffinityWatch *w = g_new0(AffinityWatch, 1);
        w->driver = driver;
        g_mutex_init(&w->lock);
        g_cond_init(&w->changed);
        w->thread = g_thread_new("affinity", watch_main, w);
        return w;
}

static void watch_tell(AffinityWatch *w, gboolean ending) {
        g_mutex_lock(&w->lock);
        w->kicked = TRUE;
        w->ending |= ending;
        g_cond_signal(&w->changed);
        g_mutex_unlock(&w->lock);
}

void affinity_watch_kick(AffinityWatch *w) {
        watch_tell(w, FALSE);
}

void affinity_watch_free(AffinityWatch *w) {
        watch_tell(w, TRUE);
        (void) g_thread_join(w->thread);
        g_cond_clear(&w->changed);
        g_mutex_clear(&w->lock);
        g_free(w);
}
