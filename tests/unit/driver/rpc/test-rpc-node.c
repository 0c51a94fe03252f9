/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's numbers: against what libc says of the same host, and in proportion to each other. */
#include <libvirt/libvirt.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "rpc/node.h"
#include "util/error.h"

static void test_info(void) {
        rpc_node_info_ret info;
        struct utsname host;
        g_assert_true(node_get_info(&info, NULL));
        g_assert_cmpint(uname(&host), ==, 0);
        g_assert_cmpstr(info.model, ==, host.machine);
        g_assert_cmpint(info.cpus, ==, sysconf(_SC_NPROCESSORS_ONLN));
        g_assert_cmpint(info.nodes * info.sockets * info.cores * info.threads, ==, info.cpus);
        g_assert_cmpuint(info.memory, >, 0);
}

/* `virsh nodeinfo` and `virsh capabilities` agree about the host. */
static void test_info_and_capabilities(void) {
        rpc_node_info_ret info;
        g_autoptr(HostInfo) host = host_info_read("/");
        g_assert_true(node_get_info(&info, NULL));
        g_assert_cmpint(info.cpus, ==, host->cpus->len);
        if (host->cpus->len != host->cells->len * host->sockets * host->dies * host->cores * host->threads)
                return; /* told as one socket */
        g_assert_cmpint(info.nodes, ==, host->cells->len);
        g_assert_cmpint(info.sockets, ==, host->sockets);
        g_assert_cmpint(info.cores, ==, host->dies * host->cores);
        g_assert_cmpint(info.threads, ==, host->threads);
}

static void test_cpus(void) {
        CpuMap present, online;
        g_assert_true(node_get_cpus(&present, &online, NULL));
        g_assert_cmpuint(cpumap_count(&online), ==, sysconf(_SC_NPROCESSORS_ONLN));
        for (unsigned cpu = 0; cpu < CPUMAP_BITS; cpu++)
                g_assert_true(!cpumap_get(&online, cpu) || cpumap_get(&present, cpu));
}

static void test_cpu_times(void) {
        NodeCpuTimes all, first;
        g_autoptr(GError) err = NULL;
        g_assert_true(node_get_cpu_times(-1, &all, NULL));
        g_assert_true(node_get_cpu_times(0, &first, NULL));
        g_assert_cmpuint(all.idle + all.user + all.kernel, >, 0);
        g_assert_cmpuint(first.user, <=, all.user + 1000000000);
        g_assert_false(node_get_cpu_times(100000, &first, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_INVALID_ARG);
}

static void test_memory(void) {
        HostMemory all, cell;
        CpuMap cells;
        g_autoptr(GError) err = NULL;
        g_assert_true(node_get_memory(-1, &all, NULL));
        g_assert_cmpuint(all.free, <=, all.total);
        g_assert_true(node_get_cells(&cells, NULL));
        g_assert_true(node_get_memory(cpumap_last(&cells), &cell, NULL));
        g_assert_cmpuint(cell.free, <=, cell.total);
        g_assert_false(node_get_memory(cpumap_last(&cells) + 1, &cell, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_INVALID_ARG);
        g_assert_false(node_get_memory(-2, &cell, NULL));
        g_assert_false(node_get_memory(G_MAXINT, &cell, NULL));
}

static void test_pages(void) {
        guint64 count;
        g_autoptr(GError) err = NULL;
        g_assert_true(node_get_free_pages(-1, (guint) (sysconf(_SC_PAGESIZE) / 1024), &count, NULL));
        g_assert_cmpuint(count, >, 0);
        g_assert_false(node_get_free_pages(0, 3, &count, &err));
        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_INVALID_ARG);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/rpc/node/info", test_info);
        g_test_add_func("/rpc/node/info-and-capabilities", test_info_and_capabilities);
        g_test_add_func("/rpc/node/cpus", test_cpus);
        g_test_add_func("/rpc/node/cpu-times", test_cpu_times);
        g_test_add_func("/rpc/node/memory", test_memory);
        g_test_add_func("/rpc/node/pages", test_pages);
        return g_test_run();
}
