/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: each virtio device has a slot of PCI bus 0. The one in the XML is honoured; a device without one
 * gets the first that is free, in the order of disks, interfaces, the RNG, vsock and the device of all consoles and
 * channels. From then on it is part of the definition, so that a guest finds a device where it was although others have
 * come or gone. Slot 0 is the host bridge's and the last one the panic device's.
 *
 * Definitions that were made for another machine type carry addresses of its buses. Those that mean something here are
 * kept, the others left out with a note. In the daemon's own files what cannot be is replaced silently, since a domain
 * must not vanish.
 */
#include <string.h>

#include "conf/legacy.h"
#include "util/error.h"

#define SLOT_FIRST 1u

/* One device on the bus. */
typedef struct Occupant {
        DomainPciAddress *pci;
        const char *kind, *name; /* "disk", "vda"; in the definition or `text` */
        char text[18];
} Occupant;

gboolean domain_parse_pci_address(const xmlNode *device, DomainPciAddress *ret, GError **err) {
        const xmlNode *node = xml_first(device, "address");
        g_autofree char *type = xml_attr(node, "type");
        DomainPciAddress pci = { 0 };
        if (g_strcmp0(type, "pci") != 0)
                return TRUE;
        if (!xml_attr_uint(node, "domain", 0xffff, &pci.domain, err) ||
            !xml_attr_uint(node, "bus", 0xff, &pci.bus, err) || !xml_attr_uint(node, "slot", 0x1f, &pci.slot, err) ||
            !xml_attr_uint(node, "function", 7, &pci.function, err))
                return FALSE;
        pci.present = pci.domain != 0 || pci.bus != 0 || pci.slot != 0; /* all zeroes: to be assigned, as in libvirt */
        *ret = pci;
        return TRUE;
}

static void address_format(const DomainPciAddress *pci, char ret[32]) {
        (void) g_snprintf(ret, 32, "%04x:%02x:%02x.%x", pci->domain, pci->bus, pci->slot, pci->function);
}

static gboolean has_ports(const DomainDef *def) {
        for (guint i = 0; i < def->chars->len; i++) {
                const DomainChar *chr = g_ptr_array_index(def->chars, i);
                if (domain_char_is_port(chr))
                        return TRUE;
        }
        return FALSE;
}

/* In the order in which slots are assigned. The names are valid as long as the definition does not change. */
static GArray *list_occupants(DomainDef *def) {
        GArray *all = g_array_new(FALSE, TRUE, sizeof(Occupant));
        for (guint i = 0; i < def->disks->len; i++) {
                DomainDisk *disk = g_ptr_array_index(def->disks, i);
                g_array_append_val(all, ((Occupant) { .pci = &disk->pci, .kind = "disk", .name = disk->target }));
        }
        for (guint i = 0; i < def->nics->len; i++) {
                DomainNic *nic = g_ptr_array_index(def->nics, i);
                Occupant occupant = { .pci = &nic->pci, .kind = "interface" };
                domain_mac_format(nic->mac, occupant.text);
                g_array_append_val(all, occupant);
        }
        if (def->rng)
                g_array_append_val(all, ((Occupant) { .pci = &def->rng->pci, .kind = "rng", .name = "virtio" }));
        if (def->vsock)
                g_array_append_val(all, ((Occupant) { .pci = &def->vsock->pci, .kind = "vsock", .name = "virtio" }));
        if (has_ports(def))
                g_array_append_val(
                        all, ((Occupant) { .pci = &def->ports_pci, .kind = "controller", .name = "virtio-serial" }));
        else
                def->ports_pci = (DomainPciAddress) { 0 };
        return all;
}

static const char *name_of(const Occupant *occupant) {
        return occupant->name ? occupant->name : occupant->text;
}

/* --- What is given ------------------------------------------------------------------------ */

static gboolean fits(const DomainPciAddress *pci) {
        return pci->domain == 0 && pci->bus == 0 && pci->function == 0 && pci->slot >= SLOT_FIRST &&
               pci->slot <= DOMAIN_PCI_SLOT_LAST;
}

static gboolean refuse_place(const Occupant *occupant, GError **err) {
        char text[32];
        address_format(occupant->pci, text);
        return error_set(
                err, VIR_ERR_XML_ERROR,
                "Invalid PCI address %s of %s '%s': write domain='0x0000' bus='0x00' function='0x0' and a slot "
                "of '0x%02x' to '0x%02x', or remove <address>",
                text, occupant->kind, name_of(occupant), SLOT_FIRST, DOMAIN_PCI_SLOT_LAST);
}

static gboolean refuse_double(const Occupant *occupant, const Occupant *other, GError **err) {
        char text[32];
        address_format(occupant->pci, text);
        return error_set(
                err, VIR_ERR_XML_ERROR,
                "Attempted double use of PCI Address %s by %s '%s' and %s '%s': remove <address> from one of them",
                text, other->kind, name_of(other), occupant->kind, name_of(occupant));
}

/* FALSE: refused. `owner` has who is in each slot. */
static gboolean take_given(DomainDef *def, const Occupant *occupant, const Occupant **owner, guint flags,
                           GError **err) {
        gboolean placed = fits(occupant->pci);
        const Occupant *other = placed ? owner[occupant->pci->slot] : NULL;
        if (placed && !other) {
                owner[occupant->pci->slot] = occupant;
                return TRUE;
        }
        if (!domain_parse_is_own(flags) && (flags & DOMAIN_PARSE_FOREIGN) == 0)
                return other ? refuse_double(occupant, other, err) : refuse_place(occupant, err);
        if (!domain_parse_is_own(flags))
                legacy_note_address(def, occupant->kind, name_of(occupant));
        *occupant->pci = (DomainPciAddress) { 0 };
        return TRUE;
}

/* --- What is not --------------------------------------------------------------------------- */

static gboolean take_free(const Occupant *occupant, const Occupant **owner, guint flags, GError **err) {
        for (guint slot = SLOT_FIRST; slot <= DOMAIN_PCI_SLOT_LAST; slot++) {
                if (owner[slot])
                        continue;
                owner[slot] = occupant;
                *occupant->pci = (DomainPciAddress) { .present = TRUE, .slot = slot };
                return TRUE;
        }
        return domain_parse_is_own(flags) || /* the start says it */
               error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                         "No more available PCI slots for %s '%s': a machine has %u, for disks, interfaces, the RNG, "
                         "vsock, and one for all consoles and channels",
                         occupant->kind, name_of(occupant), DOMAIN_PCI_SLOT_LAST);
}

gboolean domain_def_assign_addresses(DomainDef *def, guint flags, GError **err) {
        const Occupant *owner[DOMAIN_PCI_SLOT_LAST + 1] = { NULL };
        g_autoptr(GArray) all = list_occupants(def);
        for (guint i = 0; i < all->len; i++) {
                const Occupant *occupant = &g_array_index(all, Occupant, i);
                if (occupant->pci->present && !take_given(def, occupant, owner, flags, err))
                        return FALSE;
        }
        for (guint i = 0; i < all->len; i++) {
                const Occupant *occupant = &g_array_index(all, Occupant, i);
                if (!occupant->pci->present && !take_free(occupant, owner, flags, err))
                        return FALSE;
        }
        return TRUE;
}
