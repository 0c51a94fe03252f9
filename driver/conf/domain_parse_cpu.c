/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: a guest sees the host's CPU, with the features that are given or
 * denied by name; a model by name becomes the host's (legacy.c). The topology is real.
 * Of the clock, the offset reaches the guest's RTC; timers are kept as text.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/cpu_features.h"
#include "conf/domain_names.h"
#include "util/error.h"

static gboolean parse_cpu_mode(const xmlNode *node, DomainCpu *cpu, GError **err) {
        g_autofree char *mode = xml_attr(node, "mode");
        const xmlNode *model = xml_first(node, "model");
        int word = model ? DOMAIN_CPU_CUSTOM : DOMAIN_CPU_NONE;
        if (mode)
                word = *mode != '\0' ? xml_word_index(domain_cpu_mode_names, mode) : -1;
        if (word < 0) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Invalid mode attribute '%s'", mode);
        }
        cpu->mode = (DomainCpuMode) word;
        return TRUE;
}

static gboolean parse_cpu_attributes(const xmlNode *node, DomainCpu *cpu, GError **err) {
        static const char *const checks[] = { "none", "partial", "full", NULL };
        static const char *const matches[] = { "minimum", "exact", "strict", NULL };
        static const char *const switches[] = { "on", "off", NULL };
        static const char *const fallbacks[] = { "allow", "forbid", NULL };
        const xmlNode *model = xml_first(node, "model");
        if (!xml_attr_word(node, "check", checks, &cpu->check, err) ||
            !xml_attr_word(node, "match", matches, &cpu->match, err) ||
            !xml_attr_word(node, "migratable", switches, &cpu->migratable, err) ||
            !xml_attr_word(model, "fallback", fallbacks, &cpu->fallback, err))
                return FALSE;
        cpu->model = xml_text(model);
        if (cpu->mode == DOMAIN_CPU_CUSTOM && !cpu->match)
                cpu->match = g_strdup("exact");
        if (cpu->model && !cpu->fallback)
                cpu->fallback = g_strdup("allow");
        return TRUE;
}

static gboolean parse_topology(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        DomainCpu *cpu = &def->cpu;
        cpu->sockets = cpu->dies = cpu->cores = cpu->threads = 1;
        if (!node)
                return TRUE;
        if (!xml_attr_positive(node, "sockets", DOMAIN_VCPUS_MAX, &cpu->sockets, err) ||
            !xml_attr_positive(node, "dies", DOMAIN_VCPUS_MAX, &cpu->dies, err) ||
            !xml_attr_positive(node, "cores", DOMAIN_VCPUS_MAX, &cpu->cores, err) ||
            !xml_attr_positive(node, "threads", DOMAIN_VCPUS_MAX, &cpu->threads, err))
                return FALSE;
        cpu->has_topology = TRUE;
        if (!domain_parse_is_own(flags) && cpu->sockets * cpu->dies * cpu->cores * cpu->threads != def->vcpus_max) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU topology doesn't match maximum vcpu count");
        }
        return TRUE;
}

static gboolean has_feature(const DomainCpu *cpu, const char *name) {
        for (guint i = 0; i < cpu->features->len; i++)
                if (strcmp(g_array_index(cpu->features, DomainCpuFeature, i).name, name) == 0)
                        return TRUE;
        return FALSE;
}

static gboolean parse_feature(const xmlNode *node, DomainCpu *cpu, GError **err) {
        DomainCpuFeature feature = { 0 };
        g_autofree char *name = xml_attr(node, "name"), *policy = xml_attr(node, "policy");
        int word = xml_word_index(domain_cpu_policy_names, policy ? policy : "require");
        if (word < 0)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Invalid CPU feature policy '%s'", policy);
        if (!name || *name == '\0')
                return error_set(err, VIR_ERR_XML_ERROR, "Invalid CPU feature name");
        if (cpu_feature_find(name) == NULL)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU feature '%.64s' is not known: remove it", name);
        if (has_feature(cpu, name))
                return error_set(err, VIR_ERR_XML_ERROR, "CPU feature '%s' specified more than once", name);
        if (cpu->features->len == DOMAIN_CPU_FEATURES_MAX)
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %u CPU features", DOMAIN_CPU_FEATURES_MAX);
        feature.policy = (unsigned) word;
        g_strlcpy(feature.name, name, sizeof(feature.name));
        g_array_append_val(cpu->features, feature);
        return TRUE;
}

gboolean domain_parse_cpu(const xmlNode *cpu, DomainDef *def, guint flags, GError **err) {
        if (!cpu)
                return TRUE;
        XML_FOREACH (feature, cpu, "feature")
                if (!parse_feature(feature, &def->cpu, err))
                        return FALSE;
        return parse_cpu_mode(cpu, &def->cpu, err) && parse_cpu_attributes(cpu, &def->cpu, err) &&
               parse_topology(xml_first(cpu, "topology"), def, flags, err);
}

static gboolean parse_timer(const xmlNode *node, DomainClock *clock, GError **err) {
        static const char *const names[] = { "platform", "pit",         "rtc",       "hpet", "tsc",
                                             "kvmclock", "hypervclock", "armvtimer", NULL };
        static const char *const presences[] = { "no", "yes", NULL };
        static const char *const policies[] = { "delay", "catchup", "merge", "discard", NULL };
        g_autoptr(DomainTimer) timer = g_new0(DomainTimer, 1);
        if (!xml_attr_word(node, "name", names, &timer->name, err) ||
            !xml_attr_word(node, "present", presences, &timer->present, err) ||
            !xml_attr_word(node, "tickpolicy", policies, &timer->tickpolicy, err))
                return FALSE;
        if (!timer->name || clock->timers->len == DOMAIN_TIMERS_MAX) {
                return error_set(err, VIR_ERR_XML_ERROR, "%s",
                                 !timer->name ? "Missing required attribute 'name' in element 'timer'"
                                              : "too many timers");
        }
        g_ptr_array_add(clock->timers, g_steal_pointer(&timer));
        return TRUE;
}

/* The seconds of offset='variable', or the start of offset='absolute'. */
static gboolean parse_clock_number(const xmlNode *node, DomainClock *clock, GError **err) {
        gboolean absolute = strcmp(clock->offset, "absolute") == 0;
        const char *name = absolute ? "start" : "adjustment";
        g_autofree char *value = xml_attr(node, name);
        if (!absolute && strcmp(clock->offset, "variable") != 0)
                return TRUE;
        clock->has_adjustment = TRUE;
        if (!value ? !absolute : strcmp(value, "reset") == 0 || xml_parse_i64(value, &clock->adjustment))
                return TRUE;
        return error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute '%s' in element 'clock': '%s'.", name,
                         value ? value : "");
}

/* The name of a zone, which is looked up as a file by the C library. */
static gboolean check_timezone(const char *zone, GError **err) {
        if (!zone)
                error_set(err, VIR_ERR_INTERNAL_ERROR, "missing 'timezone' attribute for clock with offset='timezone'");
        else if (zone[strspn(zone, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "/_+-")] != '\0' || *zone == '/')
                error_set(err, VIR_ERR_XML_ERROR, "'%s' cannot be the name of a time zone", zone);
        else
                return TRUE;
        return FALSE;
}

static gboolean parse_clock_offset(const xmlNode *node, DomainClock *clock, GError **err) {
        static const char *const offsets[] = { "utc", "localtime", "variable", "timezone", "absolute", NULL };
        static const char *const bases[] = { "utc", "localtime", NULL };
        g_autofree char *offset = xml_attr(node, "offset");
        if (offset && xml_word_index(offsets, offset) < 0) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown clock offset '%s'", offset);
        }
        if (offset) {
                g_free(clock->offset);
                clock->offset = g_steal_pointer(&offset);
        }
        if (strcmp(clock->offset, "variable") == 0 && !xml_attr_word(node, "basis", bases, &clock->basis, err))
                return FALSE;
        if (strcmp(clock->offset, "variable") == 0 && !clock->basis)
                clock->basis = g_strdup("utc");
        if (strcmp(clock->offset, "timezone") == 0)
                clock->timezone = xml_attr(node, "timezone");
        if (strcmp(clock->offset, "timezone") == 0 && !check_timezone(clock->timezone, err))
                return FALSE;
        return parse_clock_number(node, clock, err);
}

gboolean domain_parse_clock(const xmlNode *clock, DomainDef *def, GError **err) {
        if (!clock)
                return TRUE;
        if (!parse_clock_offset(clock, &def->clock, err))
                return FALSE;
        XML_FOREACH (timer, clock, "timer")
                if (!parse_timer(timer, &def->clock, err))
                        return FALSE;
        return TRUE;
}
