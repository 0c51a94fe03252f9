/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: installers read two things here: that the host runs domains of
 * type kvm with os type hvm, and which machine and features to ask for; management tools
 * read the CPUs and NUMA cells. No CPU model is named, because a guest gets the host's
 * CPU and not a model.
 */
#include "conf/capabilities.h"

#include "conf/arch.h"
#include "conf/host_info.h"
#include "conf/machine.h"
#include "conf/xml_write.h"

static void format_pages(XmlWriter *w) {
        for (unsigned i = 0; i < HOST_PAGE_SIZES; i++) {
                xml_begin(w, "pages");
                xml_put(w, "unit", "KiB");
                xml_put_u64(w, "size", host_page_kib[i]);
                xml_end(w);
        }
}

static void format_cpu(XmlWriter *w, const HostInfo *info) {
        xml_begin(w, "cpu");
        xml_element(w, "arch", ARCH_NAME);
        xml_element(w, "vendor", info->vendor);
        xml_begin(w, "microcode");
        xml_put_u64(w, "version", info->microcode);
        xml_end_used(w);
        if (info->family != 0) {
                xml_begin(w, "signature");
                xml_putf(w, "family", "%u", info->family);
                xml_putf(w, "model", "%u", info->model);
                xml_putf(w, "stepping", "%u", info->stepping);
                xml_end(w);
        }
        xml_begin(w, "topology");
        xml_putf(w, "sockets", "%u", info->sockets);
        xml_putf(w, "dies", "%u", info->dies);
        xml_putf(w, "cores", "%u", info->cores);
        xml_putf(w, "threads", "%u", info->threads);
        xml_end(w);
        format_pages(w);
        xml_end(w);
}

static void format_cell_memory(XmlWriter *w, const HostCell *cell) {
        g_autofree char *memory = g_strdup_printf("%" G_GUINT64_FORMAT, cell->memory_kib);
        xml_begin(w, "memory");
        xml_put(w, "unit", "KiB");
        xml_end_text(w, memory);
        for (unsigned i = 0; i < HOST_PAGE_SIZES; i++) {
                g_autofree char *count = g_strdup_printf("%" G_GUINT64_FORMAT, cell->pages[i]);
                xml_begin(w, "pages");
                xml_put(w, "unit", "KiB");
                xml_put_u64(w, "size", host_page_kib[i]);
                xml_end_text(w, count);
        }
}

static void format_distances(XmlWriter *w, const HostInfo *info, const HostCell *cell) {
        if (cell->distances->len != info->cells->len)
                return;
        xml_begin(w, "distances");
        for (guint i = 0; i < cell->distances->len; i++) {
                xml_begin(w, "sibling");
                xml_putf(w, "id", "%u", ((HostCell *) g_ptr_array_index(info->cells, i))->id);
                xml_putf(w, "value", "%u", g_array_index(cell->distances, unsigned, i));
                xml_end(w);
        }
        xml_end(w);
}

static void format_cell_cpu(XmlWriter *w, const HostCpu *cpu) {
        g_autofree char *siblings = cpumap_format(&cpu->siblings);
        xml_begin(w, "cpu");
        xml_putf(w, "id", "%u", cpu->id);
        xml_putf(w, "socket_id", "%u", cpu->socket);
        xml_putf(w, "die_id", "%u", cpu->die);
        xml_putf(w, "core_id", "%u", cpu->core);
        xml_put(w, "siblings", siblings);
        xml_end(w);
}

static void format_cell(XmlWriter *w, const HostInfo *info, const HostCell *cell) {
        unsigned count = 0;
        for (guint i = 0; i < info->cpus->len; i++)
                count += cpumap_get(&cell->cpus, g_array_index(info->cpus, HostCpu, i).id);
        xml_begin(w, "cell");
        xml_putf(w, "id", "%u", cell->id);
        format_cell_memory(w, cell);
        format_distances(w, info, cell);
        xml_begin(w, "cpus");
        xml_putf(w, "num", "%u", count);
        for (guint i = 0; i < info->cpus->len; i++) {
                const HostCpu *cpu = &g_array_index(info->cpus, HostCpu, i);
                if (cpumap_get(&cell->cpus, cpu->id))
                        format_cell_cpu(w, cpu);
        }
        xml_end(w);
        xml_end(w);
}

static void format_host(XmlWriter *w, const HostInfo *info) {
        char uuid[37];
        domain_uuid_format(info->uuid, uuid);
        xml_begin(w, "host");
        xml_element(w, "uuid", info->has_uuid ? uuid : NULL);
        format_cpu(w, info);
        xml_leaf(w, "power_management");
        xml_leaf_attr(w, "iommu", "support", info->iommu ? "yes" : "no");
        xml_begin(w, "topology");
        xml_begin(w, "cells");
        xml_putf(w, "num", "%u", info->cells->len);
        for (guint i = 0; i < info->cells->len; i++)
                format_cell(w, info, g_ptr_array_index(info->cells, i));
        xml_end(w);
        xml_end(w);
        xml_end(w);
}

static void format_toggle(XmlWriter *w, const char *name) {
        xml_begin(w, name);
        xml_put(w, "default", "on");
        xml_put(w, "toggle", "no");
        xml_end(w);
}

/* The first is what virt-install takes. */
static void format_machine(XmlWriter *w, const char *name, const char *canonical) {
        xml_begin(w, "machine");
        xml_put(w, "canonical", canonical);
        xml_putf(w, "maxCpus", "%u", DOMAIN_VCPUS_MAX);
        xml_end_text(w, name);
}

static void format_guest(XmlWriter *w, const char *emulator) {
        xml_begin(w, "guest");
        xml_element(w, "os_type", "hvm");
        xml_begin(w, "arch");
        xml_put(w, "name", ARCH_NAME);
        xml_element(w, "wordsize", ARCH_WORDSIZE);
        xml_element(w, "emulator", emulator);
        format_machine(w, MACHINE_NEWEST, machine_newest());
        for (guint i = 0; machine_versions[i]; i++)
                format_machine(w, machine_versions[i], NULL);
        xml_leaf_attr(w, "domain", "type", "kvm");
        xml_end(w);
        xml_begin(w, "features");
        format_toggle(w, "acpi");
        format_toggle(w, "apic");
        xml_end(w);
        xml_end(w);
}

char *capabilities_format_host(const HostInfo *info, const char *emulator) {
        XmlWriter w;
        xml_writer_init(&w);
        xml_begin(&w, "capabilities");
        format_host(&w, info);
        format_guest(&w, emulator);
        xml_end(&w);
        return xml_writer_finish(&w);
}

char *capabilities_format(const char *emulator, GError **err) {
        g_autoptr(HostInfo) info = host_info_read("/");
        return capabilities_format_host(info, emulator);
}
