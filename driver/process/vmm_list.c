/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What devices a monitor has, page by page. A caller concludes from a device's absence that the guest does not have it,
 * so a list that breaks a rule of the protocol is an error as a whole, not shortened; nor can a monitor make one long
 * or slow, since only a full page may have another behind it.
 */
#include "util/error.h"
#include "vmm.h"

/* What of each kind a monitor accepts; of entropy and socket devices one. */
#define DEVICES_MAX (CTL_DISKS_MAX + CTL_NICS_MAX + CTL_PORTS_MAX + 2)

static const char *fault_of_entry(const struct ctl_list_entry *entry, guint32 after) {
        if (entry->place.id <= after)
                return "its ids do not rise";
        if (entry->place.segment >= CTL_SEGMENTS_MAX || entry->place.slot > CTL_SLOT_MAX)
                return "a PCI address is out of range";
        switch (entry->type) {
        case CTL_ADD_DISK:
        case CTL_ADD_NIC:
        case CTL_ADD_PORT:
        case CTL_ADD_RNG:
        case CTL_ADD_VSOCK:
                return NULL;
        default:
                return "a device is of no known kind";
        }
}

/* Appends a page whose counts are in range; what is wrong with it, or NULL. */
static const char *take_page(const struct ctl_list_reply *page, guint32 *after, GArray *all) {
        for (guint32 i = 0; i < page->n; i++) {
                const char *fault = fault_of_entry(&page->entry[i], *after);
                if (fault)
                        return fault;
                *after = page->entry[i].place.id;
        }
        g_array_append_vals(all, page->entry, page->n);
        if (page->more && page->n < CTL_LIST_MAX)
                return "a page with another behind it is not full";
        return all->len > DEVICES_MAX ? "it has more devices than a machine" : NULL;
}

static gboolean fetch(Vmm *vmm, gboolean wait, guint32 after, struct ctl_list_reply *ret, GError **err) {
        struct ctl_list message = { .after = after };
        if (wait)
                return vmm_call(vmm, CTL_LIST, &message, sizeof(message), NULL, 0, ret, sizeof(*ret), err);
        return vmm_call_briefly(vmm, CTL_LIST, &message, sizeof(message), ret, sizeof(*ret), err);
}

GArray *vmm_list_devices(Vmm *vmm, gboolean wait, GError **err) {
        g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct ctl_list_entry));
        struct ctl_list_reply page;
        guint32 after = 0;
        do {
                if (!fetch(vmm, wait, after, &page, err))
                        return NULL;
                const char *fault = take_page(&page, &after, all);
                if (fault)
                        return error_null(err, VIR_ERR_OPERATION_FAILED,
                                          "the monitor's list of its devices is invalid: %s", fault);
        } while (page.more);
        return g_steal_pointer(&all);
}
