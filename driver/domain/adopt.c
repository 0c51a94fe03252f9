/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding running domains again after the daemon was restarted, upgraded or killed. Each
 * status file names a monitor by pid and start time; one that is still there is
 * connected to and asked for its state, one that is not has left an exit record, or
 * nothing when it was killed. Either way the domain's end is reported as an event.
 */
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#include "domain/launch.h"
#include "systemd/scope.h"
#include "util/error.h"

/* The attributes of <domstatus>. */
typedef struct Status {
        int state, reason, registered, reboot_pending;
        pid_t pid;
        guint64 start_time;
        guint32 uid;
        char *unit, *machine, *cgroup, *terminals;
        char *domain_xml;
} Status;

static void status_clear(Status *s) {
        g_free(s->unit);
        g_free(s->machine);
        g_free(s->cgroup);
        g_free(s->terminals);
        g_free(s->domain_xml);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Status, status_clear)

static char *get_string(xmlNodePtr node, const char *name) {
        xmlChar *value = xmlGetProp(node, (const xmlChar *) name);
        char *copy = g_strdup(value ? (const char *) value : "");
        xmlFree(value);
        return copy;
}

static guint64 get_number(xmlNodePtr node, const char *name) {
        g_autofree char *text = get_string(node, name);
        return g_ascii_strtoull(text, NULL, 10);
}

static char *dump_node(xmlDocPtr doc, xmlNodePtr node) {
        xmlBufferPtr buffer = xmlBufferCreate();
        xmlNodeDump(buffer, doc, node, 0, 0);
        char *text = g_strdup((const char *) xmlBufferContent(buffer));
        xmlBufferFree(buffer);
        return text;
}

static gboolean status_parse(const char *text, Status *ret, GError **err) {
        xmlDocPtr doc = xmlReadMemory(text, (int) strlen(text), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR);
        xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
        xmlNodePtr domain = root ? xmlFirstElementChild(root) : NULL;
        gboolean ok = domain && xmlStrEqual(root->name, (const xmlChar *) "domstatus");
        if (ok) {
                *ret = (Status){
                        .state = (int) get_number(root, "state"),
                        .reason = (int) get_number(root, "reason"),
                        .registered = (int) get_number(root, "registered"),
                        .reboot_pending = (int) get_number(root, "reboot-pending"),
                        .pid = (pid_t) get_number(root, "pid"),
                        .start_time = get_number(root, "start-time"),
                        .uid = (guint32) get_number(root, "uid"),
                        .unit = get_string(root, "unit"),
                        .machine = get_string(root, "machine"),
                        .cgroup = get_string(root, "cgroup"),
                        .terminals = get_string(root, "terminals"),
                        .domain_xml = dump_node(doc, domain),
                };
        } else {
                error_set(err, VIR_ERR_XML_ERROR, "not a <domstatus> that holds a domain");
        }
        xmlFreeDoc(doc);
        return ok;
}

static gboolean status_load(Driver *driver, const char *name, Status *ret, DomainDef **ret_def, GError **err) {
        g_autofree char *path = state_path(driver, name, ".xml");
        g_autofree char *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, err) || !status_parse(text, ret, err))
                return FALSE;
        *ret_def = domain_def_parse(ret->domain_xml, DOMAIN_PARSE_STATUS, driver->config->schema_dir, err);
        return *ret_def != NULL;
}

/* The domain that a live definition belongs to: a persistent one, or a new transient one. Takes def. */
static Domain *attach(Driver *driver, DomainDef *def, const Status *status) {
        Domain *d = driver_lookup_by_uuid(driver, def->uuid, NULL);
        int id = def->id;
        if (d) {
                d->newdef = d->def;
                d->def = def;
        } else {
                d = domain_new(driver, def);
                if (!driver_insert(driver, d))
                        g_warning("two domains are named '%s'", def->name);
        }
        d->def->id = id;
        d->state = status->state;
        d->reason = status->reason;
        d->run = (DomainRuntime){
                .unit = g_strdup(status->unit),
                .machine = g_strdup(status->machine),
                .cgroup = g_strdup(status->cgroup),
                .terminals = terminals_restore(def, status->terminals),
                .registered = status->registered != 0,
                .uid = status->uid,
                .reboot_pending = status->reboot_pending != 0,
        };
        driver->last_id = MAX(driver->last_id, id);
        driver_note_uid(driver, status->uid);
        g_atomic_int_inc(&driver->n_active);
        return d;
}

/* Background, with the job that adopt_one() began: a domain whose monitor is gone is cleaned up like any that ended. */
static void finish_lost(Domain *d, gpointer data) {
        int reason, detail;
        domain_lock(d);
        domain_read_exit_record(d, &reason, &detail);
        domain_log(d, G_LOG_LEVEL_MESSAGE, "ended while the daemon was away (%s)",
                   detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN  ? "shut down"
                  : detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED ? "the guest crashed"
                                                               : "its monitor was killed");
        domain_stop(d, reason, detail);
        domain_job_end(d);
}

/* The monitor's own word on its state wins over the file's. */
static void refresh_state(Domain *d, const struct ctl_query_reply *reply) {
        if (reply->state == CTL_STATE_RUNNING && d->state != VIR_DOMAIN_RUNNING) {
                d->state = VIR_DOMAIN_RUNNING;
                d->reason = VIR_DOMAIN_RUNNING_UNKNOWN;
        } else if (reply->state == CTL_STATE_PAUSED && d->state != VIR_DOMAIN_PAUSED) {
                d->state = VIR_DOMAIN_PAUSED;
                d->reason = VIR_DOMAIN_PAUSED_UNKNOWN;
        } else if (reply->state == CTL_STATE_CRASHED) {
                d->state = VIR_DOMAIN_CRASHED;
                d->reason = reply->reason == CTL_REASON_PANIC ? VIR_DOMAIN_CRASHED_PANICKED
                                                              : VIR_DOMAIN_CRASHED_UNKNOWN;
        } else if (reply->state == CTL_STATE_SHUTDOWN) {
                d->state = VIR_DOMAIN_SHUTDOWN;
                d->reason = VIR_DOMAIN_SHUTDOWN_USER;
        }
}

/*
 * Background, with the job that adopt_one() began: greet the monitor, learn the state and threads. One that does not
 * answer, because it is stopped or the host swaps, is left running; and so are those that a daemon which ends already
 * has not come to.
 */
static void finish_adopted(Domain *d, gpointer data) {
        struct ctl_header message = { 0 };
        struct ctl_query_reply reply;
        g_autoptr(GError) err = NULL;
        if (driver_stopping(d->driver)) {
                domain_lock(d);
                domain_job_end(d);
                return;
        }
        gboolean ok = vmm_hello(d->run.vmm, &err) &&
                      vmm_call(d->run.vmm, CTL_QUERY, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), &err);
        domain_lock(d);
        if (ok && reply.state == CTL_STATE_SETUP) {
                domain_log(d, G_LOG_LEVEL_WARNING, "was being started when the daemon ended: ending it");
                domain_stop(d, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
                ok = FALSE;
        } else if (ok) {
                refresh_state(d, &reply);
                (void) domain_read_vcpu_tids(d, NULL, NULL);
        } else {
                domain_log(d, G_LOG_LEVEL_WARNING, "its monitor does not answer: %s", err->message);
        }
        if (ok && d->run.reboot_pending)
                (void) domain_send_actions(d, TRUE, NULL);
        domain_job_end(d);
}

static void adopt_one(Driver *driver, const char *name) {
        g_autoptr(GError) err = NULL;
        g_auto(Status) status = { 0 };
        DomainDef *def = NULL;
        VmmCallbacks callbacks = domain_vmm_callbacks;
        if (!status_load(driver, name, &status, &def, &err)) {
                g_warning("cannot read the status of domain '%s', so a monitor of it is not found again: %s", name,
                          err->message);
                return;
        }
        g_autoptr(Domain) d = attach(driver, def, &status);
        g_autofree char *socket_path = state_path(driver, name, ".ctl");
        callbacks.data = domain_ref(d);
        domain_logs_adopt(d);
        if (!domain_job_begin(d, NULL)) /* nobody else has it yet */
                return;
        d->run.vmm = vmm_adopt(socket_path, status.pid, status.start_time, &callbacks, &err);
        if (d->run.vmm) {
                domain_log(d, G_LOG_LEVEL_MESSAGE, "found again, running as process %d", (int) status.pid);
                driver_run(driver, finish_adopted, d, NULL);
        } else {
                domain_log(d, G_LOG_LEVEL_DEBUG, "%s", err->message);
                domain_unref(d);
                driver_run(driver, finish_lost, d, NULL);
        }
        domain_unlock(d);
}

void driver_adopt_all(Driver *driver) {
        g_autoptr(GDir) dir = g_dir_open(driver->config->state_dir, 0, NULL);
        const char *file;
        while (dir && (file = g_dir_read_name(dir))) {
                if (!g_str_has_suffix(file, ".xml"))
                        continue;
                g_autofree char *name = g_strndup(file, strlen(file) - strlen(".xml"));
                adopt_one(driver, name);
        }
}
