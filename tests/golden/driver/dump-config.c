/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one line per message in the order of sending, the message's name
 * first, then its members as name=value; members that are zero are left out, and so is
 * what differs from run to run.
 */
#include "dump-config.h"

#include "conf/domain_names.h"

static const char *const action_names[] = { "destroy", "restart", "preserve" };
static const char *const cache_names[] = { "writeback", "writethrough", "unsafe" };

G_STATIC_ASSERT(G_N_ELEMENTS(action_names) == CTL_ACTION_MAX);
G_STATIC_ASSERT(G_N_ELEMENTS(cache_names) == CTL_CACHE_MAX);

static void add_flag(GString *out, guint32 flags, guint32 flag, const char *name) {
        if ((flags & flag) != 0)
                g_string_append_printf(out, " %s", name);
}

static void dump_machine(GString *out, const struct ctl_machine *m) {
        char uuid[37];
        domain_uuid_format(m->uuid, uuid);
        g_string_append_printf(out, "SET_MACHINE name=%s uuid=%s memory=%" G_GUINT64_FORMAT, m->name, uuid,
                               (guint64) m->memory_bytes);
        g_string_append_printf(out, " version=%u", m->version);
        if (m->hugepage_size != 0)
                g_string_append_printf(out, " hugepage=%" G_GUINT64_FORMAT, (guint64) m->hugepage_size);
        g_string_append_printf(out, " vcpus=%u topology=%u:%u:%u:%u", m->vcpus, m->sockets, m->dies, m->cores,
                               m->threads);
        if (m->rtc_offset != 0)
                g_string_append_printf(out, " rtc=%+" G_GINT64_FORMAT, (gint64) m->rtc_offset);
        g_string_append_printf(out, " on_poweroff=%s on_reboot=%s on_crash=%s", action_names[m->on_poweroff],
                               action_names[m->on_reboot], action_names[m->on_crash]);
        add_flag(out, m->flags, CTL_MACHINE_LOCKED, "locked");
        add_flag(out, m->flags, CTL_MACHINE_SHARED, "shared");
        add_flag(out, m->flags, CTL_MACHINE_HUGETLB, "hugetlb");
        add_flag(out, m->flags, CTL_MACHINE_UTC_LOCALTIME, "localtime");
        g_string_append_c(out, '\n');
}

static void dump_disk(GString *out, const VmmConfig *config, unsigned i) {
        const struct ctl_disk *disk = &config->disk[i];
        const DomainDisk *def = config->disk_def[i];
        g_string_append_printf(out, "ADD_DISK name=%s cache=%s", disk->name, cache_names[disk->cache]);
        if (disk->serial[0] != '\0')
                g_string_append_printf(out, " serial=%s", disk->serial);
        add_flag(out, disk->flags, CTL_DISK_READONLY, "readonly");
        add_flag(out, disk->flags, CTL_DISK_DISCARD, "discard");
        g_string_append_printf(out, " fd=%s%s", config->disk_direct[i] ? "direct:" : "",
                               def->source != NULL ? def->source : def->pool);
        if (def->source == NULL)
                g_string_append_printf(out, "/%s", def->volume);
        g_string_append_c(out, '\n');
}

static void dump_nic(GString *out, const struct ctl_nic *nic) {
        char mac[18];
        domain_mac_format(nic->mac, mac);
        g_string_append_printf(out, "ADD_NIC name=%s mac=%s", nic->name, mac);
        if (nic->mtu != 0)
                g_string_append_printf(out, " mtu=%u", nic->mtu);
        add_flag(out, nic->flags, CTL_NIC_LINK_DOWN, "down");
        g_string_append_c(out, '\n');
}

static void dump_port(GString *out, const VmmConfig *config, unsigned i) {
        const struct ctl_port *port = &config->port[i];
        const DomainChar *def = config->port_def[i];
        g_string_append(out, "ADD_PORT");
        if (port->name[0] != '\0')
                g_string_append_printf(out, " name=%s", port->name);
        add_flag(out, port->flags, CTL_PORT_CONSOLE, "console");
        add_flag(out, port->flags, CTL_PORT_SOCKET, "socket");
        g_string_append_printf(out, " fd=%s", domain_char_backend_names[def->backend]);
        if (def->path != NULL)
                g_string_append_printf(out, ":%s", def->path);
        g_string_append_c(out, '\n');
}

char *vmm_config_dump(const VmmConfig *config) {
        GString *out = g_string_new(NULL);
        dump_machine(out, &config->machine);
        for (unsigned i = 0; i < config->cpu.n; i++) {
                const struct ctl_cpu_feature *f = &config->cpu.feature[i];
                g_string_append_printf(out, "SET_CPU %s=%s %#x.%u register=%u bit=%u\n", f->name,
                                       domain_cpu_policy_names[f->policy], f->function, f->index, f->reg, f->bit);
        }
        g_string_append_printf(out, "SET_CMDLINE %s\n", config->cmdline.text);
        if (config->serial != NULL)
                g_string_append_printf(out, "SET_SERIAL fd=%s\n", domain_char_backend_names[config->serial->backend]);
        for (unsigned i = 0; i < config->n_disks; i++)
                dump_disk(out, config, i);
        for (unsigned i = 0; i < config->n_nics; i++)
                dump_nic(out, &config->nic[i]);
        for (unsigned i = 0; i < config->n_ports; i++)
                dump_port(out, config, i);
        if (config->has_rng)
                g_string_append_printf(out, "ADD_RNG rate=%u/%ums\n", config->rng.rate_bytes, config->rng.rate_period);
        return g_string_free(out, FALSE);
}
