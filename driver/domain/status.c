/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status of a running domain: written as it changes, read by the next daemon.
 *
 * An unreadable status does not lose its guest. The monitor is then found through its scope: the kernel
 * says in which control group a process is and under which uid, systemd whose scope that group is and
 * which name and UUID it was started for (scope_identify()). Nothing that a process says about itself
 * counts, its command line included. With the persistent definition that is enough to show the domain
 * as running, shut it down and end it. The monitor tells which devices it has (device_ids.c). What only
 * the file knew (TAPs, terminals) is lost, and a note in the domain's messages says so. Network ports are found by
 * their owner when they are to be given back (release.c).
 */
#include "domain/status.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "conf/arch.h"
#include "systemd/scope.h"
#include "util/error.h"
#include "util/file.h"
#include "util/process.h"

#define UNIT_PREFIX                                                                                                    \
        "machine-micro\\x2d" /* scope_unit_name(scope_machine_name(…)) begins so, and the number follows             \
                              */

void status_clear(Status *s) {
        g_free(s->unit);
        g_free(s->machine);
        g_free(s->cgroup);
        g_free(s->terminals);
        g_free(s->devices);
        domain_def_free(s->def);
}

/* --- Reading ---------------------------------------------------------------------------- */

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

static void take_attributes(xmlNodePtr root, Status *ret) {
        *ret = (Status) {
                .state = (int) get_number(root, "state"),
                .reason = (int) get_number(root, "reason"),
                .registered = (int) get_number(root, "registered"),
                .reboot_pending = (int) get_number(root, "reboot-pending"),
                .recovered = (int) get_number(root, "recovered"),
                .pid = (pid_t) get_number(root, "pid"),
                .start_time = get_number(root, "start-time"),
                .uid = (guint32) get_number(root, "uid"),
                .unit = get_string(root, "unit"),
                .machine = get_string(root, "machine"),
                .cgroup = get_string(root, "cgroup"),
                .terminals = get_string(root, "terminals"),
                .devices = get_string(root, "devices"),
        };
}

static gboolean status_parse(const char *text, const char *name, const char *schema_dir, Status *ret, GError **err) {
        xmlDocPtr doc = xmlReadMemory(text, (int) strlen(text), NULL, NULL,
                                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
        xmlNodePtr domain = root ? xmlFirstElementChild(root) : NULL;
        g_autofree char *xml = NULL;
        if (domain && xmlStrEqual(root->name, (const xmlChar *) "domstatus")) {
                take_attributes(root, ret);
                xml = dump_node(doc, domain);
        }
        xmlFreeDoc(doc);
        if (!xml)
                return error_set(err, VIR_ERR_XML_ERROR, "not a <domstatus> that holds a domain");
        ret->def = domain_def_parse(xml, DOMAIN_PARSE_STATUS, schema_dir, err);
        if (!ret->def)
                return FALSE;
        if (ret->def->id < 0 || strcmp(ret->def->name, name) != 0 || ret->pid <= 0 || !ret->unit[0])
                return error_set(err, VIR_ERR_XML_ERROR, "the status is incomplete, or of another domain");
        return TRUE;
}

gboolean status_load(Driver *driver, const char *name, Status *ret, GError **err) {
        g_autofree char *path = state_path(driver, name, ".xml");
        g_autofree char *text = NULL;
        return g_file_get_contents(path, &text, NULL, err) &&
               status_parse(text, name, driver->config->schema_dir, ret, err);
}

/* --- Writing ---------------------------------------------------------------------------- */

gboolean status_write(const Driver *driver, const DomainDef *def, const DomainRuntime *run, int state, int reason,
                      GError **err) {
        g_auto(Status) again = { 0 };
        g_autofree char *path = state_path(driver, def->name, ".xml");
        g_autofree char *live = domain_def_format(def, DOMAIN_FORMAT_STATUS | DOMAIN_FORMAT_SECURE);
        g_autofree char *terminals = terminals_format(run->terminals, def);
        g_autofree char *devices = device_ids_format(run->devices, def);
        g_autofree char *head = g_markup_printf_escaped(
                "<domstatus state='%d' reason='%d' pid='%d' start-time='%" G_GUINT64_FORMAT "' uid='%u' unit='%s' "
                "machine='%s' cgroup='%s' registered='%d' recovered='%d' terminals='%s' devices='%s'>\n",
                state, reason, (int) vmm_pid(run->vmm), vmm_start_time(run->vmm), run->uid, run->unit, run->machine,
                run->cgroup ? run->cgroup : "", run->registered, run->recovered, terminals, devices);
        g_autofree char *text = g_strconcat(head, live, "</domstatus>\n", NULL);
        if (status_parse(text, def->name, driver->config->schema_dir, &again, err))
                return file_write_atomic(path, text, err);
        g_prefix_error(err, "the next daemon could not read the domain's status: ");
        return FALSE;
}

gboolean status_save(Domain *d, GError **err) {
        d->n_status_saved++;
        return status_write(d->driver, d->def, &d->run, d->state, d->reason, err);
}

void status_save_or_warn(Domain *d, const char *consequence) {
        g_autoptr(GError) err = NULL;
        if (!status_save(d, &err))
                domain_log(d, G_LOG_LEVEL_WARNING, "%s%s%s", consequence ? consequence : "", consequence ? ": " : "",
                           err->message);
}

void status_delete(Domain *d) {
        static const char *const suffixes[] = { ".xml", ".ctl", ".exit" };
        for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
                g_autofree char *path = state_path(d->driver, d->name, suffixes[i]);
                (void) g_unlink(path);
        }
}

/* --- Recovering --------------------------------------------------------------------------- */

/* The id in the name of a scope that can only be the domain's; -1: it is not. */
static int id_of_scope(const char *unit, const char *name) {
        int id = -1;
        if (!g_str_has_prefix(unit, UNIT_PREFIX) || sscanf(unit + strlen(UNIT_PREFIX), "%d", &id) != 1 || id < 0)
                return -1;
        g_autofree char *machine = scope_machine_name(id, name);
        g_autofree char *expected = scope_unit_name(machine);
        return strcmp(unit, expected) == 0 ? id : -1;
}

/* The persistent definition, or a minimal one; NULL: there is none of such a name. */
static DomainDef *recover_def(const char *name, const char *uuid, const DomainDef *known) {
        g_autofree char *xml = g_markup_printf_escaped(
                "<domain type='kvm'><name>%s</name><uuid>%s</uuid><memory>%u</memory><vcpu>1</vcpu><os>"
                "<type arch='" ARCH_NAME "'>hvm</type></os></domain>",
                name, uuid, DOMAIN_MEMORY_KIB_MIN);
        DomainDef *def = known ? domain_def_copy(known) : domain_def_parse(xml, DOMAIN_PARSE_OWN, NULL, NULL);
        const char *note = known ? "its status was damaged: TAPs and terminals of this run are not known"
                                 : "its status was damaged: nothing is known but its name, UUID and process";
        if (!def)
                return NULL;
        domain_def_assign_aliases(def);
        g_ptr_array_add(def->notes, g_strdup(note));
        return def;
}

/* The control group of a process, below the root of the hierarchy; NULL with RECOVERY_UNKNOWN or, of one that has gone,
 * RECOVERY_NOTHING. */
static char *group_of(const char *pid, Recovery *ret) {
        g_autofree char *path = g_build_filename("/proc", pid, "cgroup", NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) err = NULL;
        *ret = RECOVERY_NOTHING;
        if (!g_file_get_contents(path, &text, NULL, &err) && file_error_is_shortage(err))
                *ret = RECOVERY_UNKNOWN;
        const char *group = text ? strstr(text, "0::/") : NULL;
        return group ? g_strchomp(g_strdup(group + strlen("0::"))) : NULL;
}

/* The domain that systemd was told of when the scope `unit` was started, if `group` is that scope's. */
static Recovery identify(const Driver *driver, const char *unit, const char *group, const char *name,
                         const DomainDef *known, Status *ret) {
        guint8 uuid[16];
        char text[37];
        switch (driver->bus ? scope_identify(driver->bus, unit, group, name, uuid) : SCOPE_UNKNOWN) {
        case SCOPE_OF_DOMAIN:
                break;
        case SCOPE_OF_ANOTHER:
                return RECOVERY_NOTHING;
        case SCOPE_UNKNOWN:
        default:
                return RECOVERY_UNKNOWN;
        }
        domain_uuid_format(uuid, text);
        ret->def = recover_def(name, text, known && memcmp(known->uuid, uuid, sizeof(uuid)) == 0 ? known : NULL);
        return ret->def ? RECOVERY_DONE : RECOVERY_NOTHING;
}

/* First of all, so that another process of this number is not taken for it: vmm_adopt() compares. */
static Recovery describe_process(const char *pid, int id, Status *ret) {
        *ret = (Status) {
                .id = id,
                .state = VIR_DOMAIN_RUNNING, /* until the monitor has answered */
                .registered = TRUE,
                .recovered = TRUE,
                .pid = (pid_t) g_ascii_strtoll(pid, NULL, 10),
        };
        if (process_start_time(ret->pid, &ret->start_time, NULL) && process_uid(ret->pid, &ret->uid))
                return RECOVERY_DONE;
        return kill(ret->pid, 0) < 0 && errno == ESRCH ? RECOVERY_NOTHING : RECOVERY_UNKNOWN;
}

/* RECOVERY_DONE when the process is in the domain's scope, so that it is its monitor. */
static Recovery recover_from(const Driver *driver, const char *pid, const char *name, const DomainDef *known,
                             Status *ret) {
        Recovery result;
        g_autofree char *group = group_of(pid, &result);
        g_autofree char *unit = group ? g_path_get_basename(group) : NULL;
        int id = unit ? id_of_scope(unit, name) : -1;
        if (id < 0)
                return result;
        result = describe_process(pid, id, ret);
        if (result == RECOVERY_DONE)
                result = identify(driver, unit, group, name, known, ret);
        if (result != RECOVERY_DONE)
                return result;
        ret->def->id = id;
        ret->unit = g_steal_pointer(&unit);
        ret->machine = scope_machine_name(id, name);
        ret->cgroup = g_build_filename("/sys/fs/cgroup", group, NULL);
        ret->terminals = g_strdup(TERMINALS_NONE);
        ret->devices = g_strdup("");
        return RECOVERY_DONE;
}

Recovery status_recover(const Driver *driver, const char *name, const DomainDef *known, Status *ret) {
        g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
        Recovery result = dir ? RECOVERY_NOTHING : RECOVERY_UNKNOWN;
        Status unknown = { 0 };
        const char *pid;
        while (dir && (pid = g_dir_read_name(dir))) {
                Status one = { 0 };
                switch (g_ascii_isdigit(pid[0]) ? recover_from(driver, pid, name, known, &one) : RECOVERY_NOTHING) {
                case RECOVERY_DONE:
                        *ret = one;
                        return RECOVERY_DONE;
                case RECOVERY_UNKNOWN:
                        unknown = one; /* without strings */
                        result = RECOVERY_UNKNOWN;
                        break;
                case RECOVERY_NOTHING:
                default:
                        break;
                }
        }
        *ret = unknown;
        return result;
}
