/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of machines, scopes and slices; limits as systemd gets them; what a control group's files say. */
#include <glib/gstdio.h>

#include "systemd/scope_internal.h"
#include "util/error.h"

static void test_machine_name(void) {
        static const struct {
                int id;
                const char *domain, *machine;
        } rows[] = {
                { 1, "web1", "micro-1-web1" },
                { 12, "a.b-c", "micro-12-a.b-c" },
                { 1, "-x", "micro-1-x" },
                { 1, "..x--y.-z", "micro-1-x-y.z" }, /* of neighbouring separators the first stays */
                { 1, "web 1_2/3", "micro-1-web123" },
                { 1, "x-.", "micro-1-x" },
                { 1, "\xe6\x97\xa5", "micro-1" },
                { 3, "0123456789012345678901234567890123456789012345678901234567890123456789",
                  "micro-3-01234567890123456789012345678901234567890123456789012345" },
                { 3, "01234567890123456789012345678901234567890123456789012.a-b",
                  "micro-3-01234567890123456789012345678901234567890123456789012.a" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *machine = scope_machine_name(rows[i].id, rows[i].domain);
                g_assert_cmpstr(machine, ==, rows[i].machine);
                g_assert_cmpuint(strlen(machine), <=, 64);
        }
}

static void test_unit_name(void) {
        g_autofree char *plain = scope_unit_name("micro-1-web1");
        g_autofree char *odd = scope_unit_name("micro-1-a.b");
        g_assert_cmpstr(plain, ==, "machine-micro\\x2d1\\x2dweb1.scope");
        g_assert_cmpstr(odd, ==, "machine-micro\\x2d1\\x2da.b.scope");
}

/* Without systemd nothing is known; that is not to say that the scope is of another domain. */
static void test_identity_without_answer(void) {
        g_autoptr(GTestDBus) alone = g_test_dbus_new(G_TEST_DBUS_NONE);
        g_autoptr(GError) err = NULL;
        guint8 uuid[16];
        g_assert_cmpint(scope_identify(NULL, "x.scope", "/x.scope", "x", uuid), ==, SCOPE_UNKNOWN);
        g_test_dbus_up(alone); /* nobody has systemd's name on it */
        g_autoptr(GDBusConnection) bus = g_dbus_connection_new_for_address_sync(
                g_test_dbus_get_bus_address(alone),
                G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL,
                NULL, &err);
        g_assert_no_error(err);
        g_assert_cmpint(scope_identify(bus, "x.scope", "/x.scope", "x", uuid), ==, SCOPE_UNKNOWN);
        g_assert_true(g_dbus_connection_close_sync(bus, NULL, &err));
        g_test_dbus_down(alone);
}

static void test_slice_name(void) {
        static const struct {
                const char *partition, *slice;
        } rows[] = {
                { NULL, "machine.slice" },
                { "/machine", "machine.slice" },
                { "/machine/a/b", "machine-a-b.slice" },
                { "/machine/web-tier", "machine-web\\x2dtier.slice" },
                { "/.hidden", "\\x2ehidden.slice" },
                { "/a b", "a\\x20b.slice" },
                { "machine", NULL },
                { "", NULL },
                { "/", NULL },
                { "/a//b", NULL },
                { "/a/", NULL },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *slice = scope_slice_name(rows[i].partition, &err);
                g_assert_cmpstr(slice, ==, rows[i].slice);
                if (!slice)
                        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        }
}

typedef void (*AddLimits)(GVariantBuilder *properties, const DomainDef *def, gboolean reset);

static void assert_limits(AddLimits add, const DomainDef *def, gboolean reset, const char *expected) {
        GVariantBuilder builder;
        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(sv)"));
        add(&builder, def, reset);
        g_autoptr(GVariant) list = g_variant_ref_sink(g_variant_builder_end(&builder));
        GString *text = g_variant_print_string(list, NULL, FALSE);
        (void) g_string_replace(text, "uint64 ", "", 0);
        g_assert_cmpstr(text->str, ==, expected);
        g_string_free(text, TRUE);
}

static void pin(DomainDef *def, unsigned vcpu, const char *cpus) {
        DomainVcpuPin p = { .vcpu = vcpu };
        g_assert_true(cpumap_parse(cpus, &p.cpus, NULL));
        g_array_append_val(def->cputune.vcpupin, p);
}

static void test_quota(void) {
        static const struct {
                DomainCpuTune tune;
                unsigned vcpus;
                const char *expected;
        } rows[] = {
                { {}, 2, "[('CPUWeight', <100>)]" },
                { { .shares = 2048 }, 2, "[('CPUWeight', <2048>)]" },
                { { .shares = 262144 }, 2, "[('CPUWeight', <10000>)]" },
                { { .quota_us = -1, .period_us = 1000 }, 2, "[('CPUWeight', <100>)]" },
                { { .global_quota_us = 50000, .quota_us = 1 },
                  2,
                  "[('CPUWeight', <100>), ('CPUQuotaPerSecUSec', <500000>)]" },
                { { .global_quota_us = 50000, .global_period_us = 25000 },
                  1,
                  "[('CPUWeight', <100>), ('CPUQuotaPeriodUSec', <25000>), ('CPUQuotaPerSecUSec', <2000000>)]" },
                { { .quota_us = 50000 }, 4, "[('CPUWeight', <100>), ('CPUQuotaPerSecUSec', <2000000>)]" },
                { { .quota_us = 50000, .emulator_quota_us = 10000 },
                  4,
                  "[('CPUWeight', <100>), ('CPUQuotaPerSecUSec', <2100000>)]" },
                { { .emulator_quota_us = 10000 }, 4, "[('CPUWeight', <100>)]" },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
                DomainDef def = { .cputune = rows[i].tune, .vcpus = rows[i].vcpus };
                assert_limits(limits_add_cputune, &def, FALSE, rows[i].expected);
        }
}

static void test_pins(void) {
        DomainDef def = { .vcpus = 2 };
        def.cputune.vcpupin = g_array_new(FALSE, TRUE, sizeof(DomainVcpuPin));

        pin(&def, 0, "1");
        pin(&def, 1, "9");
        assert_limits(limits_add_cputune, &def, FALSE,
                      "[('CPUWeight', <100>)]"); /* the emulator's threads may run anywhere */
        def.cputune.has_emulatorpin = TRUE;
        g_assert_true(cpumap_parse("0", &def.cputune.emulatorpin, NULL));
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>), ('AllowedCPUs', <[byte 0x03, 0x02]>)]");
        def.vcpus = 3;
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>)]"); /* so may vCPU 2 */
        def.has_cpuset = TRUE;
        g_assert_true(cpumap_parse("2-3", &def.cpuset, NULL));
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>), ('AllowedCPUs', <[byte 0x0f, 0x02]>)]");
        g_array_unref(def.cputune.vcpupin);
}

static void test_numa(void) {
        DomainDef def = { .vcpus = 1, .numatune = { .present = TRUE, .mode = DOMAIN_NUMA_STRICT } };
        g_assert_true(cpumap_parse("0-1", &def.numatune.nodeset, NULL));
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>), ('AllowedMemoryNodes', <[byte 0x03]>)]");
        def.numatune.mode = DOMAIN_NUMA_RESTRICTIVE;
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>), ('AllowedMemoryNodes', <[byte 0x03]>)]");
        def.numatune.mode = DOMAIN_NUMA_PREFERRED;
        assert_limits(limits_add_cputune, &def, FALSE, "[('CPUWeight', <100>)]");
}

static void test_memory(void) {
        DomainDef def = { .memtune = { .hard_limit_kib = 1024, .soft_limit_kib = DOMAIN_MEMORY_UNLIMITED } };
        assert_limits(limits_add_memtune, &def, FALSE, "[('MemoryMax', <1048576>)]");
        assert_limits(limits_add_memtune, &def, TRUE,
                      "[('MemoryMax', <1048576>), ('MemoryHigh', <18446744073709551615>), "
                      "('MemorySwapMax', <18446744073709551615>), ('MemoryMin', <0>)]");
}

static void test_blkio(void) {
        DomainBlkioDevice disk = {
                .path = (char *) "/dev/vda", .weight = 200, .read_bytes_sec = 1000, .write_iops_sec = 5
        };
        DomainDef def = { .blkiotune = { .weight = 500, .devices = g_ptr_array_new() } };

        g_ptr_array_add(def.blkiotune.devices, &disk);
        assert_limits(limits_add_blkiotune, &def, FALSE,
                      "[('IOWeight', <500>), ('IODeviceWeight', <[('/dev/vda', 200)]>), "
                      "('IOReadBandwidthMax', <[('/dev/vda', 1000)]>), ('IOWriteIOPSMax', <[('/dev/vda', 5)]>)]");
        g_ptr_array_set_size(def.blkiotune.devices, 0);
        def.blkiotune.weight = 0;
        assert_limits(limits_add_blkiotune, &def, TRUE,
                      "[('IOWeight', <18446744073709551615>), ('IODeviceWeight', <@a(st) []>), "
                      "('IOReadBandwidthMax', <@a(st) []>), ('IOWriteBandwidthMax', <@a(st) []>), "
                      "('IOReadIOPSMax', <@a(st) []>), ('IOWriteIOPSMax', <@a(st) []>)]");
        g_ptr_array_unref(def.blkiotune.devices);
}

/* Properties have the types that systemd demands. */
static void test_types(void) {
        DomainDef def = { .vcpus = 1, .cputune = { .shares = 1 } };
        GVariantBuilder builder;
        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(sv)"));
        limits_add_cputune(&builder, &def, TRUE);
        g_autoptr(GVariant) list = g_variant_ref_sink(g_variant_builder_end(&builder));
        static const char *const types[] = { "t", "t", "t", "ay", "ay" };

        g_assert_cmpuint(g_variant_n_children(list), ==, G_N_ELEMENTS(types));
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
                g_autoptr(GVariant) value = NULL;
                g_variant_get_child(list, i, "(sv)", NULL, &value);
                g_assert_cmpstr(g_variant_get_type_string(value), ==, types[i]);
        }
        g_assert_cmpuint(limits_tasks_max(&def), ==, 17);
}

static void write_file(const char *dir, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void test_stats(void) {
        g_autofree char *dir = g_dir_make_tmp("cgroup-XXXXXX", NULL);
        CgroupStats stats;
        g_autoptr(GError) err = NULL;

        g_assert_false(cgroup_read_stats(dir, &stats, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_OPERATION_INVALID);
        write_file(dir, "cpu.stat", "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 0\n");
        g_assert_true(cgroup_read_stats(dir, &stats, NULL));
        g_assert_cmpuint(stats.cpu_usage_ns, ==, 30000);
        g_assert_cmpuint(stats.cpu_user_ns, ==, 20000);
        g_assert_cmpuint(stats.cpu_system_ns, ==, 10000);

        g_autofree char *path = g_build_filename(dir, "cpu.stat", NULL);
        (void) g_unlink(path);
        (void) g_rmdir(dir);
}

/* A directory with files like a control group's, by name and content. */
static char *fake_group(const char *const *files) {
        char *dir = g_dir_make_tmp("cgroup-XXXXXX", NULL);
        for (; *files; files += 2)
                write_file(dir, files[0], files[1]);
        return dir;
}

static void drop_group(char *dir) {
        g_autoptr(GDir) open = g_dir_open(dir, 0, NULL);
        const char *name;
        while ((name = g_dir_read_name(open))) {
                g_autofree char *path = g_build_filename(dir, name, NULL);
                (void) g_unlink(path);
        }
        (void) g_rmdir(dir);
        g_free(dir);
}

typedef gboolean (*CheckLimits)(const char *group, const DomainDef *def, GError **err);

/* `refusal`: what the error has to name; NULL: all is in force. */
static void assert_check(CheckLimits check, const char *const *files, const DomainDef *def, const char *refusal) {
        char *dir = fake_group(files);
        g_autoptr(GError) err = NULL;
        gboolean ok = check(dir, def, &err);
        drop_group(dir);
        if (!refusal) {
                g_assert_no_error(err);
                g_assert_true(ok);
                return;
        }
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        if (!strstr(err->message, refusal))
                g_error("'%s' lacks '%s'", err->message, refusal);
}

#define FILES(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define NO_FILES   ((const char *const[]) { NULL })

static void test_check_cpu(void) {
        g_autoptr(DomainDef) def = domain_def_new();
        def->vcpus = 2;
        assert_check(limits_check_cputune, NO_FILES, def, NULL); /* asks for nothing, so nothing has to be there */
        assert_check(limits_check_cputune, FILES("cpu.weight", "100\n", "cpu.max", "max 100000\n"), def, NULL);
        assert_check(limits_check_cputune, FILES("cpu.weight", "100\n", "cpu.max", "5000 100000\n"), def, "cpu.max");
        def->cputune.shares = 512;
        assert_check(limits_check_cputune, NO_FILES, def, "this host's kernel has no cpu.weight");
        assert_check(limits_check_cputune, FILES("cpu.weight", "100\n"), def, "cpu.weight of the scope is '100'");
        def->cputune.quota_us = 20000;
        assert_check(limits_check_cputune, FILES("cpu.weight", "512\n"), def, "no cpu.max");
        assert_check(limits_check_cputune, FILES("cpu.weight", "512\n", "cpu.max", "max 100000\n"), def, "cpu.max");
        assert_check(limits_check_cputune, FILES("cpu.weight", "512\n", "cpu.max", "40000 100000\n"), def, NULL);
        def->has_cpuset = TRUE;
        g_assert_true(cpumap_parse("0", &def->cpuset, NULL));
        assert_check(limits_check_cputune, FILES("cpu.weight", "512\n", "cpu.max", "40000 100000\n"), def,
                     "no cpuset.cpus.effective");
        g_assert_true(cpumap_parse("0,2047", &def->cpuset, NULL));
        assert_check(limits_check_cputune, NO_FILES, def, "the CPUs of vcpu 0, '0,2047' are not all online");
}

static void test_check_memory(void) {
        g_autoptr(DomainDef) def = domain_def_new();
        assert_check(limits_check_memtune, NO_FILES, def, NULL);
        assert_check(limits_check_memtune, FILES("memory.max", "4096\n"), def, "memory.max");
        def->memtune.hard_limit_kib = 1001; /* the kernel counts in pages */
        assert_check(limits_check_memtune, NO_FILES, def, "a control group controller is missing");
        assert_check(limits_check_memtune, FILES("memory.max", "max\n"), def, "memory.max of the scope is 'max'");
        assert_check(limits_check_memtune, FILES("memory.max", "1024000\n"), def, NULL);
        def->memtune.swap_hard_limit_kib = 2000;
        assert_check(limits_check_memtune, FILES("memory.max", "1024000\n"), def, "no memory.swap.max");
}

static void test_check_blkio(void) {
        g_autoptr(DomainDef) def = domain_def_new();
        DomainBlkioDevice *device = g_new0(DomainBlkioDevice, 1);
        device->path = g_strdup("/dev/null");
        g_ptr_array_add(def->blkiotune.devices, device);
        assert_check(limits_check_blkiotune, NO_FILES, def, NULL);
        device->read_bytes_sec = 1;
        assert_check(limits_check_blkiotune, NO_FILES, def, "'/dev/null', which is no block device");
        g_free(device->path);
        device->path = g_strdup("/nonexistent");
        assert_check(limits_check_blkiotune, NO_FILES, def, "'/nonexistent': No such file");
        device->read_bytes_sec = 0;
        def->blkiotune.weight = 300;
        assert_check(limits_check_blkiotune, NO_FILES, def, "no io.weight");
        assert_check(limits_check_blkiotune, FILES("io.weight", "default 100\n"), def, "io.weight");
        assert_check(limits_check_blkiotune, FILES("io.weight", "default 300\n8:0 50\n"), def, NULL);
        assert_check(limits_check_blkiotune, FILES("io.bfq.weight", "default 118\n"), def, NULL);
}

/* Operators see the limits that they set while these are in force, else those that are in force. */
static void test_read(void) {
        char *dir = fake_group(FILES("cpu.weight", "100\n", "cpu.max", "40000 100000\n", "memory.max", "1048576\n",
                                     "memory.high", "max\n", "memory.min", "4096\n", "io.weight", "default 200\n",
                                     "io.max", "1048575:1048575 rbps=10 wbps=max riops=max wiops=3\n"));
        g_autoptr(DomainDef) def = domain_def_new();
        def->vcpus = 2;
        def->cputune.quota_us = 20000;
        def->memtune.soft_limit_kib = 500;
        scope_read_cputune(dir, def);
        g_assert_cmpint(def->cputune.quota_us, ==, 20000);
        g_assert_cmpint(def->cputune.global_quota_us, ==, 0);
        write_file(dir, "cpu.max", "5000 50000\n");
        write_file(dir, "cpu.weight", "7\n");
        scope_read_cputune(dir, def);
        g_assert_cmpint(def->cputune.quota_us, ==, 0);
        g_assert_cmpint(def->cputune.global_quota_us, ==, 5000);
        g_assert_cmpuint(def->cputune.global_period_us, ==, 50000);
        g_assert_cmpuint(def->cputune.shares, ==, 7);
        scope_read_memtune(dir, def);
        g_assert_cmpuint(def->memtune.hard_limit_kib, ==, 1024);
        g_assert_cmpuint(def->memtune.soft_limit_kib, ==, 0);
        g_assert_cmpuint(def->memtune.min_guarantee_kib, ==, 4);
        scope_read_blkiotune(dir, def); /* a device that has gone */
        g_assert_cmpuint(def->blkiotune.weight, ==, 200);
        g_assert_cmpuint(def->blkiotune.devices->len, ==, 0);
        drop_group(dir);
}

static void test_no_bus(void) {
        DomainDef def = { .name = (char *) "n", .vcpus = 1 };
        gboolean registered = TRUE;
        guint8 uuid[16] = {};
        g_autoptr(GError) err = NULL;

        g_assert_false(scope_start(NULL, &def, "x.scope", "machine.slice", 1, 10, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_NO_CONNECT);
        g_assert_false(machined_register(NULL, "m", uuid, 1, NULL, 0, &registered, NULL));
        g_assert_false(registered);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/scope/machine-name", test_machine_name);
        g_test_add_func("/scope/unit-name", test_unit_name);
        g_test_add_func("/scope/slice-name", test_slice_name);
        g_test_add_func("/scope/identity-without-answer", test_identity_without_answer);
        g_test_add_func("/scope/quota", test_quota);
        g_test_add_func("/scope/pins", test_pins);
        g_test_add_func("/scope/numa", test_numa);
        g_test_add_func("/scope/memory", test_memory);
        g_test_add_func("/scope/blkio", test_blkio);
        g_test_add_func("/scope/types", test_types);
        g_test_add_func("/scope/stats", test_stats);
        g_test_add_func("/scope/check/cpu", test_check_cpu);
        g_test_add_func("/scope/check/memory", test_check_memory);
        g_test_add_func("/scope/check/blkio", test_check_blkio);
        g_test_add_func("/scope/read", test_read);
        g_test_add_func("/scope/no-bus", test_no_bus);
        return g_test_run();
}
