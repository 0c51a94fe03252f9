/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one line per message in the order of sending, the message's name
 * first, then its members as name=value; members that are zero are left out, and so is
 * what differs from run to run.
 */
#include "dump-config.h"

#include "conf/domain_def_internal.h"
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

static void dump_disk(GString *out, const DomainDisk *def) {
        struct ctl_disk disk;
        vmm_config_disk(def, &disk);
        g_string_append_printf(out, "ADD_DISK name=%s cache=%s", disk.name, cache_names[disk.cache]);
        if (disk.serial[0] != '\0')
                g_string_append_printf(out, " serial=%s", disk.serial);
        add_flag(out, disk.flags, CTL_DISK_READONLY, "readonly");
        add_flag(out, disk.flags, CTL_DISK_DISCARD, "discard");
        g_string_append_printf(out, " fd=%s%s", vmm_config_disk_is_direct(def) ? "direct:" : "",
                               def->source != NULL ? def->source : def->pool);
        if (def->source == NULL)
                g_string_append_printf(out, "/%s", def->volume);
        g_string_append_c(out, '\n');
}

static void dump_nic(GString *out, const DomainNic *def) {
        struct ctl_nic nic;
        char mac[18];
        vmm_config_nic(def, &nic);
        domain_mac_format(nic.mac, mac);
        g_string_append_printf(out, "ADD_NIC name=%s mac=%s", nic.name, mac);
        if (nic.mtu != 0)
                g_string_append_printf(out, " mtu=%u", nic.mtu);
        add_flag(out, nic.flags, CTL_NIC_LINK_DOWN, "down");
        g_string_append_c(out, '\n');
}

static void dump_port(GString *out, const DomainDef *def, const DomainChar *chr) {
        struct ctl_port port;
        g_assert_true(vmm_config_port(def, chr, &port, NULL));
        g_string_append(out, "ADD_PORT");
        if (port.name[0] != '\0')
                g_string_append_printf(out, " name=%s", port.name);
        add_flag(out, port.flags, CTL_PORT_CONSOLE, "console");
        add_flag(out, port.flags, CTL_PORT_SOCKET, "socket");
        g_string_append_printf(out, " fd=%s", domain_char_backend_names[chr->backend]);
        if (chr->path != NULL)
                g_string_append_printf(out, ":%s", chr->path);
        g_string_append_c(out, '\n');
}

static void dump_rng(GString *out, const DomainRng *def) {
        struct ctl_rng rng;
        vmm_config_rng(def, &rng);
        g_string_append_printf(out, "ADD_RNG rate=%u/%ums\n", rng.rate_bytes, rng.rate_period);
}

static void dump_vsock(GString *out, const DomainVsock *def) {
        struct ctl_vsock vsock;
        vmm_config_vsock(def, &vsock);
        g_string_append_printf(out, "ADD_VSOCK cid=%u\n", vsock.cid);
}

char *vmm_config_dump(const DomainDef *def, const VmmConfig *config) {
        GString *out = g_string_new(NULL);
        const DomainChar *serial = domain_def_first_serial(def);
        dump_machine(out, &config->machine);
        for (unsigned i = 0; i < config->cpu.n; i++) {
                const struct ctl_cpu_feature *f = &config->cpu.feature[i];
                g_string_append_printf(out, "SET_CPU %s=%s %#x.%u register=%u bit=%u\n", f->name,
                                       domain_cpu_policy_names[f->policy], f->function, f->index, f->reg, f->bit);
        }
        g_string_append_printf(out, "SET_CMDLINE %s\n", config->cmdline.text);
        if (serial != NULL)
                g_string_append_printf(out, "SET_SERIAL fd=%s\n", domain_char_backend_names[serial->backend]);
        for (guint i = 0; i < def->disks->len; i++)
                dump_disk(out, g_ptr_array_index(def->disks, i));
        for (guint i = 0; i < def->nics->len; i++)
                dump_nic(out, g_ptr_array_index(def->nics, i));
        for (guint i = 0; i < def->chars->len; i++)
                if (domain_char_is_port(g_ptr_array_index(def->chars, i)))
                        dump_port(out, def, g_ptr_array_index(def->chars, i));
        if (def->rng)
                dump_rng(out, def->rng);
        if (def->vsock)
                dump_vsock(out, def->vsock);
        return g_string_free(out, FALSE);
}
