/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: elements come in libvirt's order and only when they carry
 * information, numbers in one unit, so that equal definitions give equal text. A running
 * domain's text has more (id, aliases, pty paths, TAP names), and the daemon's own state
 * also has the notes.
 */
#include "conf/domain_format.h"

#include <string.h>

#include "conf/domain_names.h"

static void format_identity(XmlWriter *w, const DomainDef *def) {
        char uuid[37];
        domain_uuid_format(def->uuid, uuid);
        xml_element(w, "name", def->name);
        xml_element(w, "uuid", uuid);
        xml_element(w, "title", def->title);
        xml_element(w, "description", def->description);
        xml_element_raw(w, "metadata", def->metadata);
}

static void format_kib(XmlWriter *w, const char *name, guint64 kib) {
        if (kib == 0)
                return;
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, kib);
        xml_begin(w, name);
        xml_put(w, "unit", "KiB");
        xml_end_text(w, text);
}

static void format_blkiotune(XmlWriter *w, const DomainBlkioTune *tune) {
        xml_begin(w, "blkiotune");
        xml_element_u64(w, "weight", tune->weight);
        for (guint i = 0; i < tune->devices->len; i++) {
                const DomainBlkioDevice *device = g_ptr_array_index(tune->devices, i);
                xml_begin(w, "device");
                xml_element(w, "path", device->path);
                xml_element_u64(w, "weight", device->weight);
                xml_element_u64(w, "read_iops_sec", device->read_iops_sec);
                xml_element_u64(w, "write_iops_sec", device->write_iops_sec);
                xml_element_u64(w, "read_bytes_sec", device->read_bytes_sec);
                xml_element_u64(w, "write_bytes_sec", device->write_bytes_sec);
                xml_end(w);
        }
        xml_end_used(w);
}

/* A limit above the one that means "none" could not be read back: it would overflow in bytes. */
static void format_limit(XmlWriter *w, const char *name, guint64 kib) {
        format_kib(w, name, MIN(kib, DOMAIN_MEMORY_UNLIMITED));
}

static void format_memtune(XmlWriter *w, const DomainMemTune *tune) {
        xml_begin(w, "memtune");
        format_limit(w, "hard_limit", tune->hard_limit_kib);
        format_limit(w, "soft_limit", tune->soft_limit_kib);
        format_limit(w, "min_guarantee", tune->min_guarantee_kib);
        format_limit(w, "swap_hard_limit", tune->swap_hard_limit_kib);
        xml_end_used(w);
}

static void format_hugepages(XmlWriter *w, const DomainMemory *memory) {
        if (!memory->hugepages)
                return;
        xml_begin(w, "hugepages");
        if (memory->hugepage_kib != 0) {
                xml_begin(w, "page");
                xml_put_u64(w, "size", memory->hugepage_kib);
                xml_put(w, "unit", "KiB");
                xml_end(w);
        }
        xml_end(w);
}

static void format_memory_backing(XmlWriter *w, const DomainMemory *memory) {
        xml_begin(w, "memoryBacking");
        format_hugepages(w, memory);
        if (memory->nosharepages)
                xml_leaf(w, "nosharepages");
        if (memory->locked)
                xml_leaf(w, "locked");
        if (memory->has_source)
                xml_leaf_attr(w, "source", "type", domain_memory_source_names[memory->source]);
        if (memory->has_access)
                xml_leaf_attr(w, "access", "mode", memory->shared ? "shared" : "private");
        if (memory->discard)
                xml_leaf(w, "discard");
        xml_end_used(w);
}

static void put_cpuset(XmlWriter *w, const char *name, const CpuMap *cpus) {
        g_autofree char *text = cpumap_format(cpus);
        xml_put(w, name, text);
}

static void format_vcpu(XmlWriter *w, const DomainDef *def) {
        char count[16];
        g_snprintf(count, sizeof(count), "%u", def->vcpus_max);
        xml_begin(w, "vcpu");
        xml_put(w, "placement", def->vcpu_placement);
        if (def->has_cpuset && !cpumap_is_empty(&def->cpuset))
                put_cpuset(w, "cpuset", &def->cpuset);
        if (def->vcpus != def->vcpus_max)
                xml_putf(w, "current", "%u", def->vcpus);
        xml_end_text(w, count);
}

static void format_quota(XmlWriter *w, const char *name, gint64 quota) {
        if (quota != 0)
                xml_elementf(w, name, "%" G_GINT64_FORMAT, quota);
}

static void format_cputune(XmlWriter *w, const DomainCpuTune *tune) {
        xml_begin(w, "cputune");
        xml_element_u64(w, "shares", tune->shares);
        xml_element_u64(w, "period", tune->period_us);
        format_quota(w, "quota", tune->quota_us);
        xml_element_u64(w, "global_period", tune->global_period_us);
        format_quota(w, "global_quota", tune->global_quota_us);
        xml_element_u64(w, "emulator_period", tune->emulator_period_us);
        format_quota(w, "emulator_quota", tune->emulator_quota_us);
        for (guint i = 0; i < tune->vcpupin->len; i++) {
                const DomainVcpuPin *pin = &g_array_index(tune->vcpupin, DomainVcpuPin, i);
                if (cpumap_is_empty(&pin->cpus))
                        continue;
                xml_begin(w, "vcpupin");
                xml_putf(w, "vcpu", "%u", pin->vcpu);
                put_cpuset(w, "cpuset", &pin->cpus);
                xml_end(w);
        }
        if (tune->has_emulatorpin && !cpumap_is_empty(&tune->emulatorpin)) {
                xml_begin(w, "emulatorpin");
                put_cpuset(w, "cpuset", &tune->emulatorpin);
                xml_end(w);
        }
        xml_end_used(w);
}

static void format_numatune(XmlWriter *w, const DomainNumaTune *tune) {
        if (!tune->present || cpumap_is_empty(&tune->nodeset))
                return;
        xml_begin(w, "numatune");
        xml_begin(w, "memory");
        xml_put(w, "mode", domain_numa_mode_names[tune->mode]);
        put_cpuset(w, "nodeset", &tune->nodeset);
        xml_end(w);
        xml_end(w);
}

static void format_os(XmlWriter *w, const DomainOs *os) {
        xml_begin(w, "os");
        xml_begin(w, "type");
        xml_put(w, "arch", os->arch);
        xml_put(w, "machine", os->machine);
        xml_end_text(w, "hvm");
        xml_element(w, "kernel", os->kernel);
        xml_element(w, "initrd", os->initrd);
        xml_element(w, "cmdline", os->cmdline);
        for (guint i = 0; i < os->boot->len; i++)
                xml_leaf_attr(w, "boot", "dev", g_ptr_array_index(os->boot, i));
        xml_end(w);
}

static void format_features(XmlWriter *w, const DomainDef *def) {
        xml_begin(w, "features");
        if (def->feature_acpi)
                xml_leaf(w, "acpi");
        if (def->feature_apic)
                xml_leaf(w, "apic");
        if (def->feature_pae)
                xml_leaf(w, "pae");
        xml_end_used(w);
}

static void format_cpu_model(XmlWriter *w, const DomainCpu *cpu) {
        if (!cpu->model && !cpu->fallback)
                return;
        xml_begin(w, "model");
        xml_put(w, "fallback", cpu->fallback);
        if (cpu->model)
                xml_end_text(w, cpu->model);
        else
                xml_end(w);
}

static void format_cpu(XmlWriter *w, const DomainCpu *cpu) {
        xml_begin(w, "cpu");
        if (cpu->mode != DOMAIN_CPU_NONE)
                xml_put(w, "mode", domain_cpu_mode_names[cpu->mode]);
        xml_put(w, "match", cpu->match);
        xml_put(w, "check", cpu->check);
        xml_put(w, "migratable", cpu->migratable);
        format_cpu_model(w, cpu);
        if (cpu->has_topology) {
                xml_begin(w, "topology");
                xml_putf(w, "sockets", "%u", cpu->sockets);
                xml_putf(w, "dies", "%u", cpu->dies);
                xml_putf(w, "cores", "%u", cpu->cores);
                xml_putf(w, "threads", "%u", cpu->threads);
                xml_end(w);
        }
        for (guint i = 0; i < cpu->features->len; i++) {
                const DomainCpuFeature *feature = &g_array_index(cpu->features, DomainCpuFeature, i);
                xml_begin(w, "feature");
                xml_put(w, "policy", domain_cpu_policy_names[feature->policy]);
                xml_put(w, "name", feature->name);
                xml_end(w);
        }
        xml_end_used(w);
}

static void format_clock(XmlWriter *w, const DomainClock *clock) {
        gboolean absolute = strcmp(clock->offset, "absolute") == 0;
        xml_begin(w, "clock");
        xml_put(w, "offset", clock->offset);
        if (clock->has_adjustment)
                xml_putf(w, absolute ? "start" : "adjustment", "%" G_GINT64_FORMAT, clock->adjustment);
        xml_put(w, "basis", clock->basis);
        xml_put(w, "timezone", clock->timezone);
        for (guint i = 0; i < clock->timers->len; i++) {
                const DomainTimer *timer = g_ptr_array_index(clock->timers, i);
                xml_begin(w, "timer");
                xml_put(w, "name", timer->name);
                xml_put(w, "present", timer->present);
                xml_put(w, "tickpolicy", timer->tickpolicy);
                xml_end(w);
        }
        xml_end(w);
}

static void format_partition(XmlWriter *w, const char *partition) {
        if (!partition)
                return;
        xml_begin(w, "resource");
        xml_element(w, "partition", partition);
        xml_end(w);
}

static void format_notes(XmlWriter *w, const GPtrArray *notes) {
        xml_begin(w, "notes");
        for (guint i = 0; i < notes->len; i++)
                xml_element(w, "note", g_ptr_array_index(notes, i));
        xml_end_used(w);
}

static void format_tuning(XmlWriter *w, const DomainDef *def) {
        format_kib(w, "memory", def->memory.maximum_kib);
        format_kib(w, "currentMemory", def->memory.current_kib);
        format_blkiotune(w, &def->blkiotune);
        format_memtune(w, &def->memtune);
        format_memory_backing(w, &def->memory);
        format_vcpu(w, def);
        format_cputune(w, &def->cputune);
        format_numatune(w, &def->numatune);
        format_partition(w, def->partition);
}

char *domain_def_format(const DomainDef *def, guint flags) {
        gboolean status = (flags & DOMAIN_FORMAT_STATUS) != 0;
        gboolean live = status || ((flags & DOMAIN_FORMAT_INACTIVE) == 0 && def->id >= 0);
        XmlWriter w;
        xml_writer_init(&w);
        xml_begin(&w, "domain");
        xml_put(&w, "type", "kvm");
        if (live && def->id >= 0)
                xml_putf(&w, "id", "%d", def->id);
        format_identity(&w, def);
        format_tuning(&w, def);
        format_os(&w, &def->os);
        format_features(&w, def);
        format_cpu(&w, &def->cpu);
        format_clock(&w, &def->clock);
        xml_element(&w, "on_poweroff", domain_action_names[def->on_poweroff]);
        xml_element(&w, "on_reboot", domain_action_names[def->on_reboot]);
        xml_element(&w, "on_crash", domain_action_names[def->on_crash]);
        domain_format_devices(&w, def, live, status);
        if (status || (flags & DOMAIN_FORMAT_OWN) != 0)
                format_notes(&w, def->notes);
        xml_end(&w);
        return xml_writer_finish(&w);
}
