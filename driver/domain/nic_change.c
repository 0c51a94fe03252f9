/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing an interface of a running domain, in steps that each leave all or nothing: its limits (by tc on the TAP, and
 * in the network, which accounts for them), its place (the TAP's bridge, and its VLAN and isolation there), and its
 * link (in the monitor, which tells the guest). When a step fails, or something after all of them, change.c asks for
 * the old definition again: then the steps that are in force are taken back, the last one first.
 */
#include "domain/nic_change.h"

#include "domain/launch.h"
#include "util/error.h"

TapConfig nic_tap_config(const DomainNic *nic) {
        TapConfig tap = {
                .name = nic->target,
                .existing = nic->type == DOMAIN_NIC_ETHERNET && !nic->target_managed,
                .bridge = nic->type == DOMAIN_NIC_NETWORK  ? nic->actual_bridge
                          : nic->type == DOMAIN_NIC_BRIDGE ? nic->source
                                                           : NULL,
                .mtu = nic->mtu,
                .has_vlan = nic->has_vlan,
                .vlan_tag = nic->vlan_tag,
                .isolated = nic->isolated,
                .inbound = nic->inbound.present ? &nic->inbound : NULL,
                .outbound = nic->outbound.present ? &nic->outbound : NULL,
        };
        memcpy(tap.mac, nic->mac, sizeof(tap.mac));
        return tap;
}

TapLimits nic_limits(const DomainNic *nic) {
        const DomainBandwidth *in = &nic->inbound, *out = &nic->outbound;
        return (TapLimits) { in->present ? in : NULL, out->present ? out : NULL };
}

typedef struct Step {
        gboolean (*differs)(const DomainNic *from, const DomainNic *to);
        gboolean (*apply)(Domain *d, const DomainNic *from, const DomainNic *to, GError **err);
        gboolean unsure; /* when it fails it may be in force nevertheless */
} Step;

static gboolean same_limit(const DomainBandwidth *a, const DomainBandwidth *b) {
        return a->present == b->present && a->average == b->average && a->peak == b->peak && a->burst == b->burst &&
               a->floor == b->floor;
}

static gboolean limits_differ(const DomainNic *from, const DomainNic *to) {
        return !same_limit(&from->inbound, &to->inbound) || !same_limit(&from->outbound, &to->outbound);
}

/* The network's port first, since the network may refuse. */
static gboolean change_limits(Domain *d, const DomainNic *from, const DomainNic *to, GError **err) {
        const TapLimits old = nic_limits(from), new = nic_limits(to);
        gboolean in_network = to->type == DOMAIN_NIC_NETWORK && to->portid;
        g_autoptr(GError) lost = NULL;
        if (in_network && !network_port_set_bandwidth(d->driver->libvirt, to, err))
                return FALSE;
        if (tap_set_bandwidth(to->target, &old, &new, err))
                return TRUE;
        if (in_network && !network_port_set_bandwidth(d->driver->libvirt, from, &lost))
                g_warning("domain '%s': network '%s' still has limits of '%s' that are not in force: %s", d->name,
                          to->source, to->target, lost->message);
        return FALSE;
}

static gboolean place_differs(const DomainNic *from, const DomainNic *to) {
        return g_strcmp0(from->source, to->source) != 0 || from->has_vlan != to->has_vlan ||
               from->vlan_tag != to->vlan_tag || from->isolated != to->isolated;
}

static gboolean change_place(Domain *d, const DomainNic *from, const DomainNic *to, GError **err) {
        const TapConfig old = nic_tap_config(from), new = nic_tap_config(to);
        return tap_move(to->target, &old, &new, err);
}

static gboolean link_differs(const DomainNic *from, const DomainNic *to) {
        return from->link_down != to->link_down;
}

static gboolean restore_link(Domain *d, Vmm *vmm, const DomainNic *nic, GError **err) {
        struct ctl_link message = { .id = device_ids_find(d->run.devices, nic->alias), .up = !nic->link_down };
        struct ctl_reply reply;
        if (message.id == 0)
                return TRUE;
        domain_unlock(d);
        gboolean ok = vmm_call_briefly(vmm, CTL_SET_LINK, &message, sizeof(message), &reply, sizeof(reply), err);
        domain_lock(d);
        return ok;
}

gboolean nic_restore_links(Domain *d, GError **err) {
        Vmm *vmm = d->run.vmm;
        for (guint i = 0; i < d->def->nics->len; i++)
                if (!restore_link(d, vmm, g_ptr_array_index(d->def->nics, i), err))
                        return FALSE;
        return TRUE;
}

static gboolean change_link(Domain *d, const DomainNic *from, const DomainNic *to, GError **err) {
        struct ctl_link message = { .up = !to->link_down };
        struct ctl_reply reply;
        domain_lock(d);
        gboolean known = domain_device_id(d, to->alias, &message.id, err);
        domain_unlock(d);
        return known &&
               vmm_call(d->run.vmm, CTL_SET_LINK, &message, sizeof(message), NULL, 0, &reply, sizeof(reply), err);
}

static const Step steps[] = {
        { limits_differ, change_limits },
        { place_differs, change_place },
        { link_differs, change_link, .unsure = TRUE },
};

static gboolean go(Domain *d, const NicChange *change, GError **err) {
        for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
                if (!steps[i].differs(change->old, change->new))
                        continue;
                gboolean ok = steps[i].apply(d, change->old, change->new, err);
                if (ok || steps[i].unsure)
                        *change->in_force |= 1u << i;
                if (!ok)
                        return FALSE;
        }
        return TRUE;
}

/* What we did not change is not taken back. All steps are tried; the first error is told. */
static gboolean go_back(Domain *d, const NicChange *change, GError **err) {
        gboolean ok = TRUE;
        for (gsize i = G_N_ELEMENTS(steps); i-- > 0;) {
                if ((*change->in_force & 1u << i) == 0)
                        continue;
                if (steps[i].apply(d, change->new, change->old, ok ? err : NULL))
                        *change->in_force &= ~(1u << i);
                else
                        ok = FALSE;
        }
        return ok;
}

gboolean nic_follows(Domain *d, const DomainDef *def, gconstpointer data, GError **err) {
        gboolean back = def == d->def;
        domain_unlock(d);
        gboolean ok = back ? go_back(d, data, err) : go(d, data, err);
        domain_lock(d);
        return ok;
}

/* --- What the network says --- */

static void keep_limit(const DomainBandwidth *old, DomainBandwidth *wanted) {
        if (!wanted->present)
                *wanted = *old;
        else if (wanted->floor == 0)
                wanted->floor = old->floor;
}

void nic_keep_dictated(const DomainNic *old, DomainNic *wanted) {
        if (old->type != DOMAIN_NIC_NETWORK || wanted->type != DOMAIN_NIC_NETWORK)
                return;
        keep_limit(&old->inbound, &wanted->inbound);
        keep_limit(&old->outbound, &wanted->outbound);
        if (!wanted->has_vlan) {
                wanted->has_vlan = old->has_vlan;
                wanted->vlan_tag = old->vlan_tag;
        }
        wanted->isolated |= old->isolated;
}

/* --- What cannot change ------------------------------------------------------------------- */

typedef struct Text {
        const char *what;
        gsize offset;  /* of a string in DomainNic */
        gboolean kept; /* as it is when it is not given: a start has chosen it, or may have */
} Text;

#define TEXT(name, member, may_be_left_out)                                                                            \
        { name, G_STRUCT_OFFSET(DomainNic, member), may_be_left_out }

static const Text texts[] = {
        TEXT("portgroup", portgroup, FALSE), TEXT("TAP name", target, TRUE), TEXT("driver", driver_name, FALSE),
        TEXT("filter", filter, FALSE),       TEXT("script", script, FALSE),
};

static const char *changed_text(const DomainNic *old, const DomainNic *new) {
        for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
                const char *from = G_STRUCT_MEMBER(char *, old, texts[i].offset);
                const char *to = G_STRUCT_MEMBER(char *, new, texts[i].offset);
                if (g_strcmp0(from, to) != 0 && (to || !texts[i].kept))
                        return texts[i].what;
        }
        return NULL;
}

static const char *changed_part(const DomainNic *old, const DomainNic *new) {
        if (old->type != new->type || old->target_managed != new->target_managed)
                return "type";
        if (old->type != DOMAIN_NIC_BRIDGE && place_differs(old, new))
                return "source, VLAN or isolation";
        if (old->mtu != new->mtu)
                return "MTU";
        if (!domain_pci_matches(&old->pci, &new->pci))
                return "PCI address";
        if (new->boot_order != 0 && old->boot_order != new->boot_order)
                return "boot order";
        if (old->inbound.floor != new->inbound.floor) /* its network has granted it */
                return "inbound.floor";
        return changed_text(old, new);
}

gboolean nic_change_check(const DomainNic *old, const DomainNic *new, GError **err) {
        const char *what = changed_part(old, new);
        if (!what)
                return TRUE;
        return error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                         "%s cannot change while the domain runs: use --config and restart it", what);
}
