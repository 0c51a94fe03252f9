/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of definitions by calls: the real driver on files in a temporary directory, without a system bus. So no
 * domain can be started; one that counts as running has no scope and no TAP, and every live change fails at the host.
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain/launch.h"
#include "util/error.h"
#include "util/process.h"

#define MAC  "52:54:00:00:00:09"
#define BOTH ((guint) VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)
#define TAP  "vnet-no-tap" /* of a NIC of a domain that counts as running */

typedef struct Fixture {
        char *dir;
        DriverConfig config;
        Driver *driver;
        Domain *domain;
        int monitor_fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        g_autofree char *xml = g_strdup_printf(
                "<domain type='kvm'><name>web1</name><memory unit='MiB'>128</memory><vcpu>2</vcpu>"
                "<os><type>hvm</type><kernel>/nonexistent/vmlinuz</kernel></os>%s<devices>"
                "<interface type='bridge'><mac address='" MAC "'/><source bridge='br0'/></interface>"
                "<channel type='unix'><target type='virtio' name='org.x.0'/></channel></devices></domain>",
                data ? (const char *) data : "");
        *f = (Fixture) { .dir = g_dir_make_tmp("test-domain-XXXXXX", NULL), .monitor_fd = -1 };
        f->config = (DriverConfig) {
                .config_dir = g_build_filename(f->dir, "etc", NULL),
                .state_dir = g_build_filename(f->dir, "run", NULL),
                .vmm_path = g_strdup("/nonexistent/virtmicro-vmm"),
                .uid_base = 100000,
        };
        f->driver = driver_new(&f->config, &err);
        g_assert_no_error(err);
        f->domain = driver_define_xml(f->driver, xml, 0, &err);
        g_assert_no_error(err);
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_autofree char *remove = g_strdup_printf("rm -rf '%s'", f->dir);
        domain_unref(f->domain);
        driver_free(f->driver);
        if (f->monitor_fd >= 0)
                g_assert_cmpint(close(f->monitor_fd), ==, 0);
        g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
        g_free(f->config.config_dir);
        g_free(f->config.state_dir);
        g_free(f->config.vmm_path);
        g_free(f->dir);
}

/* What domain_start() leaves in a Domain; the monitor is this process, which listens and does not answer. */
static void count_as_running(Fixture *f) {
        Domain *d = f->domain;
        DomainChar *channel;
        const VmmCallbacks callbacks = { .data = domain_ref(d) };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        guint64 start_time = 0;
        g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/ctl", f->dir);
        f->monitor_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(f->monitor_fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(f->monitor_fd, 1), ==, 0);
        g_assert_true(process_start_time(getpid(), &start_time, NULL));
        domain_lock(d);
        d->run.vmm = vmm_adopt(address.sun_path, getpid(), start_time, &callbacks, NULL);
        g_assert_nonnull(d->run.vmm);
        domain_def_assign_aliases(d->def);
        d->run.devices = device_ids_new();
        (void) device_ids_give(d->run.devices, "channel0");
        d->newdef = d->def;
        g_autoptr(Launch) launch = launch_new(d, domain_def_copy(d->newdef), 7);
        d->def = g_steal_pointer(&launch->def);
        ((DomainNic *) g_ptr_array_index(d->def->nics, 0))->target = g_strdup(TAP);
        channel = g_ptr_array_index(d->def->chars, 0);
        channel->path = domain_channel_path(d->driver->config->state_dir, d->def->id, channel);
        channel->generated = TRUE;
        d->run.unit = g_strdup("machine-test.scope");
        domain_unlock(d);
}

static char *read_config(Fixture *f) {
        g_autofree char *path = g_build_filename(f->config.config_dir, "web1.xml", NULL);
        char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return text;
}

static void assert_definable(Domain *d) {
        g_autoptr(GError) err = NULL;
        g_autofree char *xml = domain_get_xml(d, VIR_DOMAIN_XML_INACTIVE, &err);
        g_autoptr(DomainDef) def G_GNUC_UNUSED = domain_def_parse(xml, 0, NULL, &err);
        g_assert_no_error(err);
}

static void assert_error(gboolean ok, GError **err, int code, const char *text) {
        g_assert_false(ok);
        g_assert_error(*err, VIRTMICRO_ERROR, code);
        g_assert_nonnull(strstr((*err)->message, text));
        g_clear_error(err);
}

/* --- Definitions -------------------------------------------------------------------------- */

/* A channel's socket belongs to one run of one domain, also when the live XML is defined as another domain. */
static void test_channel_of_a_clone(Fixture *f, gconstpointer data) {
        g_autoptr(GError) err = NULL;
        count_as_running(f);
        g_assert_false(domain_is_updated(f->domain));
        g_autofree char *live = domain_get_xml(f->domain, 0, &err);
        g_autofree char *inactive = domain_get_xml(f->domain, VIR_DOMAIN_XML_INACTIVE, &err);
        g_assert_nonnull(strstr(live, "/run/7.org.x.0.sock"));
        g_assert_null(strstr(inactive, ".sock"));
        g_autoptr(GRegex) identity = g_regex_new("<name>web1</name>\\s*<uuid>.*</uuid>", 0, 0, NULL);
        g_autofree char *other = g_regex_replace_literal(identity, live, -1, 0, "<name>web2</name>", 0, NULL);
        g_autoptr(Domain) clone = driver_define_xml(f->driver, other, 0, &err);
        g_assert_no_error(err);
        g_autofree char *xml = domain_get_xml(clone, 0, &err);
        g_assert_nonnull(strstr(xml, "<channel type='unix'>"));
        g_assert_null(strstr(xml, ".sock"));
}

/* Without a balloon a guest has the maximum, whatever the definition says of the current amount. */
static void test_memory_of_a_guest(Fixture *f, gconstpointer data) {
        virDomainInfo info;
        virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
        g_autoptr(GError) err = NULL;
        g_assert_true(domain_set_memory(f->domain, 65536, VIR_DOMAIN_AFFECT_CONFIG, &err));
        domain_get_info(f->domain, &info);
        g_assert_cmpuint(info.memory, ==, 65536);
        count_as_running(f);
        domain_get_info(f->domain, &info);
        g_assert_cmpuint(info.memory, ==, 131072);
        g_assert_cmpint(domain_get_memory_stats(f->domain, stats, VIR_DOMAIN_MEMORY_STAT_NR, &err), ==, 2);
        g_assert_cmpint(stats[0].tag, ==, VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON);
        g_assert_cmpuint(stats[0].val, ==, 131072);
        g_autofree char *live = domain_get_xml(f->domain, 0, &err);
        g_autofree char *inactive = domain_get_xml(f->domain, VIR_DOMAIN_XML_INACTIVE, &err);
        g_assert_nonnull(strstr(live, "<currentMemory unit='KiB'>131072<"));
        g_assert_nonnull(strstr(inactive, "<currentMemory unit='KiB'>65536<"));
        g_assert_false(domain_is_updated(f->domain));
        g_assert_true(domain_set_memory(f->domain, 98304, VIR_DOMAIN_AFFECT_CONFIG, &err));
        g_assert_false(domain_is_updated(f->domain));
        g_assert_true(domain_set_vcpus(f->domain, 1, VIR_DOMAIN_AFFECT_CONFIG, &err));
        g_assert_true(domain_is_updated(f->domain));
}

/* --- Statistics ----------------------------------------------------------------------------- */

/* Seconds that domstats of everything takes. */
static gdouble time_stats(Domain *d, guint flags) {
        virTypedParameterPtr params = NULL;
        int n = 0;
        gint64 start = g_get_monotonic_time();
        g_assert_true(domain_get_all_stats(d, 0, flags, &params, &n, NULL));
        g_assert_nonnull(virTypedParamsGet(params, n, "state.state"));
        g_assert_nonnull(virTypedParamsGet(params, n, "block.count"));
        virTypedParamsFree(params, n);
        return (gdouble) (g_get_monotonic_time() - start) / G_USEC_PER_SEC;
}

/* A monitor that does not answer delays one call by a second, and none while another call already waits for it. */
static void test_stats_without_waiting(Fixture *f, gconstpointer data) {
        const guint nowait = VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        count_as_running(f);
        gdouble asked = time_stats(f->domain, nowait);
        g_assert_cmpfloat(asked, >, 0.9);
        g_assert_cmpfloat(asked, <, 10);                          /* others wait for 30 */
        g_assert_cmpfloat(time_stats(f->domain, nowait), <, 0.9); /* it still owes that answer */
}

static void test_stats_of_a_busy_domain(Fixture *f, gconstpointer data) {
        count_as_running(f);
        g_assert_true(domain_job_begin(f->domain, NULL));
        domain_unlock(f->domain);
        g_assert_cmpfloat(time_stats(f->domain, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT), <, 0.9);
        domain_lock(f->domain);
        domain_job_end(f->domain);
}

/* A domain whose monitor has gone is reported as not running, by one error, although it still has an id. */
static void test_console_without_monitor(Fixture *f, gconstpointer data) {
        GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
        guint64 session = 0;
        GError *err = NULL;
        f->domain->def->id = 7;
        assert_error(domain_open_console(f->domain, NULL, 0, NULL, NULL, &session, &err) >= 0, &err,
                     VIR_ERR_OPERATION_INVALID, "domain is not running");
        assert_error(domain_open_channel(f->domain, NULL, 0, NULL, NULL, &session, &err) >= 0, &err,
                     VIR_ERR_OPERATION_INVALID, "domain is not running");
        f->domain->def->id = -1;
        (void) g_log_set_always_fatal(fatal);
}

static void assert_agent(Fixture *f, int code, const char *text) {
        GError *err = NULL;
        assert_error(domain_get_vcpus(f->domain, VIR_DOMAIN_VCPU_GUEST, &err) >= 0, &err, code, text);
        assert_error(domain_get_addresses(f->domain, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0, &err) != NULL, &err,
                     code, text);
}

/* An agent that has a channel does not necessarily run. */
static void test_calls_for_an_agent(Fixture *f, gconstpointer data) {
        count_as_running(f);
        DomainChar *channel = g_ptr_array_index(f->domain->def->chars, 0);
        assert_agent(f, VIR_ERR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
        g_free(channel->target_name);
        channel->target_name = g_strdup("org.qemu.guest_agent.0");
        assert_agent(f, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
        channel->target_state = g_strdup("connected");
        assert_agent(f, VIR_ERR_OPERATION_UNSUPPORTED, "does not speak to the guest agent");
}

/* --- Parameters ------------------------------------------------------------------------- */

typedef gboolean (*SetParams)(Domain *d, virTypedParameterPtr params, int n, guint flags, GError **err);

static gboolean set_llong(Domain *d, const char *name, long long value, guint flags, GError **err) {
        virTypedParameter p = { .type = VIR_TYPED_PARAM_LLONG, .value.l = value };
        g_strlcpy(p.field, name, sizeof(p.field));
        return domain_set_scheduler(d, &p, 1, flags, err);
}

static gboolean set_ullong(Domain *d, SetParams set, const char *name, guint64 value, guint flags, GError **err) {
        virTypedParameter p = { .type = VIR_TYPED_PARAM_ULLONG, .value.ul = value };
        g_strlcpy(p.field, name, sizeof(p.field));
        return set(d, &p, 1, flags, err);
}

static gboolean set_string(Domain *d, const char *name, const char *value, guint flags, GError **err) {
        g_autofree char *text = g_strdup(value);
        virTypedParameter p = { .type = VIR_TYPED_PARAM_STRING, .value.s = text };
        g_strlcpy(p.field, name, sizeof(p.field));
        return domain_set_blkio_params(d, &p, 1, flags, err);
}

/* "inbound.average=1000 inbound.peak=…" */
static gboolean set_bandwidth(Domain *d, const char *device, const char *text, guint flags, GError **err) {
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        virTypedParameterPtr params = NULL;
        int n = 0, capacity = 0;
        for (char **word = words; *word; word++) {
                g_auto(GStrv) parts = g_strsplit(*word, "=", 2);
                (void) virTypedParamsAddUInt(&params, &n, &capacity, parts[0], (unsigned) atoi(parts[1]));
        }
        gboolean ok = domain_set_interface_params(d, device, params, n, flags, err);
        virTypedParamsFree(params, n);
        return ok;
}

/* --- Both definitions at once ----------------------------------------------------------------- */

/* A change that the host refuses is in neither definition. */
static void test_live_goes_first(Fixture *f, gconstpointer data) {
        Domain *d = f->domain;
        CpuMap cpus = { 0 };
        GError *err = NULL;
        cpumap_set(&cpus, 0);
        count_as_running(f);
        g_autofree char *before = read_config(f), *live = domain_get_xml(d, 0, NULL);
        assert_error(set_ullong(d, domain_set_scheduler, "cpu_shares", 300, BOTH, &err), &err, VIR_ERR_NO_CONNECT,
                     "bus");
        assert_error(set_ullong(d, domain_set_memory_params, "hard_limit", 300000, BOTH, &err), &err,
                     VIR_ERR_NO_CONNECT, "bus");
        assert_error(set_string(d, "device_weight", "/dev/vda,300", BOTH, &err), &err, VIR_ERR_NO_CONNECT, "bus");
        assert_error(set_bandwidth(d, MAC, "inbound.average=100", BOTH, &err), &err, VIR_ERR_OPERATION_INVALID, TAP);
        assert_error(domain_pin_vcpu(d, 0, &cpus, BOTH, &err), &err, VIR_ERR_NO_CONNECT, "bus");
        g_autofree char *after = read_config(f), *still = domain_get_xml(d, 0, NULL);
        g_assert_cmpstr(after, ==, before);
        g_assert_cmpstr(still, ==, live);
        g_assert_false(domain_is_updated(d));
}

/* A change that the persistent definition cannot take is refused before the host is asked. */
static void test_both_are_checked(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        count_as_running(f);
        assert_error(set_bandwidth(f->domain, TAP, "inbound.average=100", BOTH, &err), &err, VIR_ERR_INVALID_ARG,
                     "is not a known interface");
}

/* Puts a directory where a definition is about to be written. */
static void block_config(Fixture *f) {
        g_autofree char *path = g_build_filename(f->config.config_dir, "web1.xml.new", NULL);
        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
}

static char *read_status(Fixture *f) {
        g_autofree char *path = g_build_filename(f->config.state_dir, "web1.xml", NULL);
        char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return text;
}

typedef struct Host {
        guint64 shares[8];   /* that it was told, in turn */
        unsigned n, fail_at; /* 1: the first time */
        gboolean opens_port; /* meanwhile the guest opens the channel */
        gboolean writes;     /* an event writes the status as soon as the change drops the lock */
        GThread *writer;
} Host;

static gpointer write_status(gpointer data) {
        Domain *d = data;
        domain_lock(d);
        g_assert_true(status_save(d, NULL));
        domain_unlock(d);
        return NULL;
}

static gboolean host_follows(Domain *d, const DomainDef *def, gconstpointer data, GError **err) {
        Host *host = (Host *) data;
        struct ctl_event_port event = {
                .header.type = CTL_EVENT_PORT,
                .id = device_ids_find(d->run.devices, "channel0"),
                .open = 1,
        };
        g_assert_cmpuint(host->n, <, G_N_ELEMENTS(host->shares));
        host->shares[host->n++] = def->cputune.shares;
        if (host->opens_port) {
                domain_unlock(d);
                domain_on_event(d->run.vmm, &event.header, d);
                domain_lock(d);
        }
        if (host->writes)
                host->writer = g_thread_new("writer", write_status, d);
        if (host->n == host->fail_at)
                error_set(err, VIR_ERR_OPERATION_FAILED, "not today");
        return host->n != host->fail_at;
}

/* Both definitions get other shares, with `host` in place of the host. */
static gboolean change_shares(Fixture *f, Host *host, guint64 shares, GError **err) {
        Domain *d = f->domain;
        g_assert_true(domain_job_begin(d, NULL));
        g_autoptr(DomainDef) live = domain_def_copy(d->def);
        g_autoptr(DomainDef) config = domain_def_copy(d->newdef);
        live->cputune.shares = config->cputune.shares = shares;
        gboolean ok = domain_replace_defs(d, &live, &config, host_follows, host, err);
        domain_job_end(d);
        return ok;
}

static void assert_shares(Fixture *f, guint64 shares) {
        g_autofree char *config = read_config(f), *status = read_status(f);
        g_autofree char *text = g_strdup_printf("<shares>%" G_GUINT64_FORMAT "</shares>", shares);
        g_assert_cmpuint(f->domain->def->cputune.shares, ==, shares);
        g_assert_cmpuint(f->domain->newdef->cputune.shares, ==, shares);
        g_assert_nonnull(strstr(config, text));
        g_assert_nonnull(strstr(status, text));
}

/* Whichever step fails: the host, the status, the file and memory say what they said before. */
static void test_failed_step_is_undone(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        Host host = { 0 };
        count_as_running(f);
        g_assert_true(change_shares(f, &host, 300, &err));
        assert_shares(f, 300);

        host = (Host) { .fail_at = 1 };
        assert_error(change_shares(f, &host, 400, &err), &err, VIR_ERR_OPERATION_FAILED, "not today");
        g_assert_cmpuint(host.n, ==, 2);
        g_assert_cmpuint(host.shares[1], ==, 300);
        assert_shares(f, 300);

        g_autofree char *status = g_build_filename(f->config.state_dir, "web1.xml.new", NULL);
        g_assert_cmpint(g_mkdir(status, 0700), ==, 0);
        host = (Host) { 0 };
        assert_error(change_shares(f, &host, 400, &err), &err, VIR_ERR_SYSTEM_ERROR, "cannot create file");
        g_assert_cmpuint(host.shares[1], ==, 300);
        assert_shares(f, 300);
        g_assert_cmpint(g_rmdir(status), ==, 0);

        block_config(f);
        host = (Host) { 0 };
        assert_error(change_shares(f, &host, 400, &err), &err, VIR_ERR_SYSTEM_ERROR, "cannot create file");
        g_assert_cmpuint(host.n, ==, 2);
        g_assert_cmpuint(host.shares[1], ==, 300);
        assert_shares(f, 300);
}

/* A title is in both or in neither. */
static void test_metadata_of_both(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        count_as_running(f);
        g_assert_true(domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_TITLE, "one", NULL, NULL, BOTH, &err));
        block_config(f);
        assert_error(domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_TITLE, "two", NULL, NULL, BOTH, &err), &err,
                     VIR_ERR_SYSTEM_ERROR, "cannot create file");
        g_autofree char *config = read_config(f), *status = read_status(f);
        g_assert_nonnull(strstr(config, "<title>one<"));
        g_assert_nonnull(strstr(status, "<title>one<"));
        g_assert_cmpstr(f->domain->def->title, ==, "one");
        g_assert_cmpstr(f->domain->newdef->title, ==, "one");
}

/* An event that arrives while a change waits for the host is part of the definition that the change makes. */
static void test_event_during_a_change(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        Host host = { .opens_port = TRUE };
        count_as_running(f);
        g_assert_true(change_shares(f, &host, 300, &err));
        g_autofree char *live = domain_get_xml(f->domain, 0, &err);
        g_assert_nonnull(strstr(live, "state='connected'"));
        g_assert_nonnull(strstr(live, "<shares>300</shares>"));
}

/* An event that writes the status while the definition's file is written does not bring the old definition back. */
static void test_status_during_a_change(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        Host host = { .writes = TRUE };
        count_as_running(f);
        g_assert_true(change_shares(f, &host, 300, &err));
        (void) g_thread_join(host.writer);
        assert_shares(f, 300);
}

/* --- Bandwidth --------------------------------------------------------------------------------- */

static void assert_bandwidth(Fixture *f, const char *inbound, const char *outbound) {
        g_autofree char *xml = read_config(f);
        if (inbound)
                g_assert_nonnull(strstr(xml, inbound));
        else
                g_assert_null(strstr(xml, "<inbound"));
        if (outbound)
                g_assert_nonnull(strstr(xml, outbound));
        else
                g_assert_null(strstr(xml, "<outbound"));
}

static void test_bandwidth(Fixture *f, gconstpointer data) {
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        GError *err = NULL;
        g_assert_true(set_bandwidth(f->domain, MAC,
                                    "inbound.average=100 inbound.peak=300 inbound.burst=50 "
                                    "outbound.average=7 outbound.peak=9",
                                    config, &err));
        assert_bandwidth(f, "<inbound average='100' peak='300' burst='50'/>", "<outbound average='7' peak='9'/>");
        g_assert_true(set_bandwidth(f->domain, MAC, "inbound.average=200", config, &err));
        assert_bandwidth(f, "<inbound average='200'/>", "<outbound average='7' peak='9'/>");
        assert_error(set_bandwidth(f->domain, MAC, "outbound.peak=10", config, &err), &err, VIR_ERR_INVALID_ARG,
                     "outbound.peak and outbound.burst need an outbound.average");
        assert_bandwidth(f, "<inbound average='200'/>", "<outbound average='7' peak='9'/>");
        g_assert_true(set_bandwidth(f->domain, MAC, "outbound.average=0", config, &err));
        assert_bandwidth(f, "<inbound average='200'/>", NULL);
        g_assert_true(set_bandwidth(f->domain, MAC, "inbound.floor=20", config, &err));
        assert_bandwidth(f, "<inbound floor='20'/>", NULL);
        assert_definable(f->domain);
}

static void test_floor_is_not_live(Fixture *f, gconstpointer data) {
        GError *err = NULL;
        count_as_running(f);
        assert_error(set_bandwidth(f->domain, MAC, "inbound.average=100 inbound.floor=20", BOTH, &err), &err,
                     VIR_ERR_OPERATION_UNSUPPORTED, "inbound.floor cannot change while the domain runs");
        assert_bandwidth(f, NULL, NULL);
}

/* --- Ranges: what a call has set can be defined again ------------------------------------------------- */

static void test_scheduler_range(Fixture *f, gconstpointer data) {
        static const char *const quotas[] = { "vcpu_quota", "emulator_quota", "global_quota" };
        static const char *const periods[] = { "vcpu_period", "emulator_period", "global_period" };
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        GError *err = NULL;
        for (gsize i = 0; i < G_N_ELEMENTS(quotas); i++) {
                g_assert_true(set_llong(f->domain, quotas[i], DOMAIN_QUOTA_MAX, config, &err));
                assert_definable(f->domain);
                assert_error(set_llong(f->domain, quotas[i], DOMAIN_QUOTA_MAX + 1, config, &err), &err,
                             VIR_ERR_INVALID_ARG, "is out of range [1000, 17592186044415]");
                g_assert_true(set_llong(f->domain, quotas[i], -1, config, &err));
                g_assert_true(set_ullong(f->domain, domain_set_scheduler, periods[i], DOMAIN_PERIOD_MAX, config, &err));
                assert_definable(f->domain);
        }
        g_assert_true(set_ullong(f->domain, domain_set_scheduler, "cpu_shares", DOMAIN_SHARES_MAX, config, &err));
        assert_definable(f->domain);
}

static void test_blkio_range(Fixture *f, gconstpointer data) {
        static const char *const bad[] = { "/dev/vda,9", "/dev/vda,1001", "/dev/vda,-1", "/dev/vda", "vda,100" };
        static const char *const good[] = { "/dev/vda,10", "/dev/vda,1000", "/dev/vda,0" };
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        GError *err = NULL;
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_error(set_string(f->domain, "device_weight", bad[i], config, &err), &err, VIR_ERR_INVALID_ARG,
                             "unable to parse");
        for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
                g_assert_true(set_string(f->domain, "device_weight", good[i], config, &err));
                g_assert_true(set_string(f->domain, "device_read_iops_sec", "/dev/vda,1", config, &err));
                assert_definable(f->domain);
        }
}

static void test_vcpus_of_a_topology(Fixture *f, gconstpointer data) {
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        GError *err = NULL;
        assert_error(domain_set_vcpus(f->domain, 4, config | VIR_DOMAIN_VCPU_MAXIMUM, &err), &err, VIR_ERR_INVALID_ARG,
                     "CPU topology doesn't match the desired vcpu count");
        g_assert_true(domain_set_vcpus(f->domain, 1, config, &err));
        assert_definable(f->domain);
}

/* --- Every setter with the values that its type can carry: what it accepts can be read again --------------- */

static const guint64 extremes[] = {
        0,
        1,
        2,
        65535,
        65536,
        1ull << 31,
        G_MAXUINT32,
        1ull << 32,
        DOMAIN_QUOTA_MAX + 1,
        DOMAIN_MEMORY_UNLIMITED,
        1ull << 53,
        G_MAXINT64,
        1ull << 63,
        G_MAXUINT64,
};

/* What stands in the file is what the domain has, and the next daemon reads it. */
static void assert_readable(Fixture *f) {
        g_autoptr(GError) err = NULL;
        g_autofree char *text = read_config(f);
        g_autoptr(DomainDef) def = domain_def_parse(text, DOMAIN_PARSE_OWN, NULL, &err);
        g_assert_no_error(err);
        g_autofree char *stored = domain_def_format(def, DOMAIN_FORMAT_INACTIVE);
        g_autofree char *known = domain_def_format(f->domain->def, DOMAIN_FORMAT_INACTIVE);
        g_assert_cmpstr(stored, ==, known);
}

static void test_numbers_of_all_setters(Fixture *f, gconstpointer data) {
        static const char *const scheduler[] = { "cpu_shares", "vcpu_period", "emulator_period", "global_period" };
        static const char *const quotas[] = { "vcpu_quota", "emulator_quota", "global_quota" };
        static const char *const memory[] = { "hard_limit", "soft_limit", "swap_hard_limit", "min_guarantee" };
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        for (gsize i = 0; i < G_N_ELEMENTS(extremes); i++) {
                guint64 value = extremes[i];
                for (gsize j = 0; j < G_N_ELEMENTS(scheduler); j++)
                        (void) set_ullong(f->domain, domain_set_scheduler, scheduler[j], value, config, NULL);
                for (gsize j = 0; j < G_N_ELEMENTS(quotas); j++)
                        (void) set_llong(f->domain, quotas[j], (gint64) value, config, NULL);
                for (gsize j = 0; j < G_N_ELEMENTS(memory); j++)
                        (void) set_ullong(f->domain, domain_set_memory_params, memory[j], value, config, NULL);
                assert_readable(f);
                (void) domain_set_memory(f->domain, value, config | VIR_DOMAIN_MEM_MAXIMUM, NULL);
                (void) domain_set_memory(f->domain, value, config, NULL);
                assert_readable(f);
                (void) domain_set_vcpus(f->domain, (guint) MIN(value, G_MAXUINT), config | VIR_DOMAIN_VCPU_MAXIMUM,
                                        NULL);
                (void) domain_set_vcpus(f->domain, (guint) MIN(value, G_MAXUINT), config, NULL);
                assert_readable(f);
        }
}

static void test_limits_of_memory(Fixture *f, gconstpointer data) {
        const guint maximum = VIR_DOMAIN_AFFECT_CONFIG | (guint) VIR_DOMAIN_MEM_MAXIMUM;
        GError *err = NULL;
        assert_error(domain_set_memory(f->domain, 1ull << 53, maximum, &err), &err, VIR_ERR_INVALID_ARG,
                     "at most 9007199254740991 KiB");
        g_assert_true(domain_set_memory(f->domain, DOMAIN_MEMORY_KIB_MAX, maximum, &err));
        assert_readable(f);
        g_assert_true(set_ullong(f->domain, domain_set_memory_params, "hard_limit", G_MAXUINT64,
                                 VIR_DOMAIN_AFFECT_CONFIG, &err));
        g_assert_cmpuint(f->domain->def->memtune.hard_limit_kib, ==, DOMAIN_MEMORY_UNLIMITED);
        assert_readable(f);
}

static void test_texts_of_all_setters(Fixture *f, gconstpointer data) {
        static const char *const texts[] = {
                "", " ", "a\nb", "a\tb", "\001", "\xff\xfe", "<", "&", "]]>", "'\"", "\xef\xbf\xbf", "a:b",
        };
        static const char *const fields[] = { "device_weight", "device_read_iops_sec", "device_write_iops_sec",
                                              "device_read_bytes_sec", "device_write_bytes_sec" };
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        g_autofree char *huge = g_strnfill(2u << 20, 'x');
        for (gsize i = 0; i <= G_N_ELEMENTS(texts); i++) {
                const char *text = i < G_N_ELEMENTS(texts) ? texts[i] : huge;
                g_autofree char *element = g_strdup_printf("<e>%s</e>", text);
                (void) domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_TITLE, text, NULL, NULL, config, NULL);
                assert_readable(f);
                (void) domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_DESCRIPTION, text, NULL, NULL, config, NULL);
                assert_readable(f);
                (void) domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_ELEMENT, element, text, text, config, NULL);
                (void) domain_set_metadata(f->domain, VIR_DOMAIN_METADATA_ELEMENT, "<e/>", text, text, config, NULL);
                assert_readable(f);
                for (gsize j = 0; j < G_N_ELEMENTS(fields); j++) {
                        g_autofree char *one = g_strdup_printf("/dev/%s,100", text);
                        g_autofree char *two = g_strdup_printf("/dev/a\001%s,100,/dev/a\002%s,200", text, text);
                        (void) set_string(f->domain, fields[j], one, config, NULL);
                        (void) set_string(f->domain, fields[j], two, config, NULL);
                        (void) set_string(f->domain, fields[j], text, config, NULL);
                        assert_readable(f);
                }
        }
}

static void test_cpus_and_rates_of_all_setters(Fixture *f, gconstpointer data) {
        static const char *const rates[] = { "inbound.average",  "inbound.peak",  "inbound.burst", "inbound.floor",
                                             "outbound.average", "outbound.peak", "outbound.burst" };
        const guint config = VIR_DOMAIN_AFFECT_CONFIG;
        CpuMap cpus = { 0 };
        for (unsigned cpu = 0; cpu < CPUMAP_BITS; cpu = cpu * 2 + 1) {
                cpumap_set(&cpus, cpu);
                (void) domain_pin_vcpu(f->domain, cpu, &cpus, config, NULL);
                (void) domain_pin_vcpu(f->domain, 0, &cpus, config, NULL);
                (void) domain_pin_emulator(f->domain, &cpus, config, NULL);
                assert_readable(f);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(rates); i++) {
                g_autofree char *text = g_strdup_printf("%s=%d", rates[i], -1); /* the largest unsigned one */
                g_autofree char *with = g_strdup_printf("%s inbound.average=-1 outbound.average=-1", text);
                (void) set_bandwidth(f->domain, MAC, text, config, NULL);
                (void) set_bandwidth(f->domain, MAC, with, config, NULL);
                assert_readable(f);
        }
}

#define TEST(path, data, func) g_test_add("/domain/" path, Fixture, data, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_assert_true(g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", TRUE));
        g_assert_cmpint(virInitialize(), ==, 0); /* typed parameters need it */
        g_test_init(&argc, &argv, NULL);
        g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK); /* that there is no bus is a warning */
        TEST("channel-of-a-clone", NULL, test_channel_of_a_clone);
        TEST("memory-of-a-guest", NULL, test_memory_of_a_guest);
        TEST("stats-without-waiting", NULL, test_stats_without_waiting);
        TEST("stats-of-a-busy-domain", NULL, test_stats_of_a_busy_domain);
        TEST("console-without-monitor", NULL, test_console_without_monitor);
        TEST("calls-for-an-agent", NULL, test_calls_for_an_agent);
        TEST("live-goes-first", NULL, test_live_goes_first);
        TEST("both-are-checked", NULL, test_both_are_checked);
        TEST("failed-step-is-undone", NULL, test_failed_step_is_undone);
        TEST("metadata-of-both", NULL, test_metadata_of_both);
        TEST("event-during-a-change", NULL, test_event_during_a_change);
        TEST("status-during-a-change", NULL, test_status_during_a_change);
        TEST("bandwidth", NULL, test_bandwidth);
        TEST("floor-is-not-live", NULL, test_floor_is_not_live);
        TEST("scheduler-range", NULL, test_scheduler_range);
        TEST("blkio-range", NULL, test_blkio_range);
        TEST("vcpus-of-a-topology", "<cpu><topology sockets='2' cores='1' threads='1'/></cpu>",
             test_vcpus_of_a_topology);
        TEST("numbers-of-all-setters", NULL, test_numbers_of_all_setters);
        TEST("limits-of-memory", NULL, test_limits_of_memory);
        TEST("texts-of-all-setters", NULL, test_texts_of_all_setters);
        TEST("cpus-and-rates-of-all-setters", NULL, test_cpus_and_rates_of_all_setters);
        return g_test_run();
}
