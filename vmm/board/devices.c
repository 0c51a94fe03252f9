/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices by their ids. One path makes them, whether the command line or the control protocol asks: both fill in
 * the protocol's struct, and the kind makes a device of it. Ports are collected first, because all of them share one
 * console device, which is made when the devices join the machine.
 */
#include "devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/cleanup.h"
#include "../core/pci.h"
#include "../core/virtio.h"
#include "fail.h"
#include "vm.h"

/* A row a kind. */
static const struct device_kind *const kinds[] = { &blk_kind, &net_kind, &port_kind, &rng_kind, &vsock_kind };

static const struct device_kind *kind_of(uint16_t type) {
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
                if (kinds[i]->add == type)
                        return kinds[i];
        return NULL;
}

bool devices_know(uint16_t type) {
        return kind_of(type) != NULL;
}

/* All ADD_* have it in the same place. */
static const struct ctl_place *place_of(const struct ctl_header *message) {
        return &((const struct ctl_rng *) message)->place;
}

_Static_assert(CTL_SLOT_MAX == PCI_SLOT_LAST, "a slot is what the protocol says");
_Static_assert(offsetof(struct ctl_disk, place) == offsetof(struct ctl_rng, place) &&
                       offsetof(struct ctl_nic, place) == offsetof(struct ctl_rng, place) &&
                       offsetof(struct ctl_port, place) == offsetof(struct ctl_rng, place) &&
                       offsetof(struct ctl_vsock, place) == offsetof(struct ctl_rng, place),
               "the place comes first");

/* What messages call a device: "disk 'vda'". */
static const char *name_of(const struct ctl_header *message) {
        switch (message->type) {
        case CTL_ADD_DISK:
                return ((const struct ctl_disk *) message)->name;
        case CTL_ADD_NIC:
                return ((const struct ctl_nic *) message)->name;
        case CTL_ADD_PORT:
                return ((const struct ctl_port *) message)->name;
        case CTL_ADD_VSOCK:
                return "vsock";
        default:
                return "rng";
        }
}

static void on_port_open(void *arg, unsigned port, bool open) {
        struct devices *devices = arg;

        report_port_open(&devices->port[port]->report, open);
}

void devices_init(struct devices *devices, void (*wake)(void *arg), void *arg) {
        *devices = (struct devices) {
                .wake = wake,
                .arg = arg,
                .console = { .name = "console", .port_open = on_port_open, .arg = devices },
        };
        for (unsigned i = 0; i < CTL_PORTS_MAX; i++)
                devices->console.ports[i].fd = devices->console.ports[i].log_fd = -EBADF;
}

void devices_done(struct devices *devices) {
        while (devices->first) {
                struct device *d = devices->first;

                devices->first = d->next;
                if (d->virtio && !d->is_joined)
                        d->virtio->ops->free(d->virtio);
                free(d);
        }
        for (unsigned i = 0; i < CTL_PORTS_MAX; i++) {
                close_fd(&devices->console.ports[i].fd);
                close_fd(&devices->console.ports[i].log_fd);
        }
        devices->console.n_ports = 0;
}

struct device *devices_find(const struct devices *devices, uint32_t id) {
        struct device *d = devices->first;

        while (d && d->place.id != id)
                d = d->next;
        return d;
}

struct device *devices_next(const struct devices *devices, uint32_t after) {
        struct device *found = NULL;

        for (struct device *d = devices->first; d; d = d->next)
                if (d->place.id > after && (!found || d->place.id < found->place.id))
                        found = d;
        return found;
}

/* Those of a kind; all PCI functions with NULL, where the ports together are one. */
static unsigned count(const struct devices *devices, const struct device_kind *kind) {
        unsigned n = 0;

        for (const struct device *d = devices->first; d; d = d->next)
                n += kind ? d->kind == kind : d->kind != &port_kind;
        return kind ? n : n + (devices->console.n_ports > 0);
}

/* The per-kind limits add up to more than there are slots. */
static int check_room(const struct devices *devices, const struct device_kind *kind, const char *name, char *text) {
        bool takes_slot = kind != &port_kind || devices->console.n_ports == 0;

        if (count(devices, kind) >= kind->max)
                return fail(text, -E2BIG, "%s '%s': already %u of them, the maximum", kind->name, name,
                            count(devices, kind));
        if (takes_slot && count(devices, NULL) >= CTL_DEVICES_MAX)
                return fail(text, -E2BIG, "%s '%s': already %u PCI devices, the maximum", kind->name, name,
                            count(devices, NULL));
        return 0;
}

static int check_place(const struct devices *devices, const struct device_kind *kind, const struct ctl_place *place,
                       const char *name, char *text) {
        for (const struct device *d = devices->first; d; d = d->next) {
                if (d->place.id == place->id)
                        return fail(text, -EEXIST, "%s '%s': another device has the id %u", kind->name, name,
                                    place->id);
                if (place->slot == 0 || d->place.slot != place->slot || d->place.segment != place->segment)
                        continue;
                if (kind != &port_kind || d->kind != &port_kind)
                        return fail(text, -EEXIST, "%s '%s': another device is in PCI slot %u", kind->name, name,
                                    place->slot);
        }
        return 0;
}

static int collect_port(struct devices *devices, struct device *d, const struct ctl_port *m, int *fds, unsigned n_fds,
                        char *text) {
        unsigned n = devices->console.n_ports;
        bool is_console = m->flags & CTL_PORT_CONSOLE;

        if (is_console == (m->name[0] != '\0'))
                return fail(text, -EINVAL, "port '%s': a channel needs a name, a console must not have one", m->name);
        for (unsigned i = 0; i < n && !is_console; i++)
                if (strcmp(devices->port_names[i], m->name) == 0)
                        return fail(text, -EEXIST, "port '%s' already exists", m->name);
        memcpy(devices->port_names[n], m->name, sizeof(devices->port_names[n]));
        devices->console.ports[n] = (struct console_port_config) {
                .name = devices->port_names[n],
                .is_console = is_console,
                .is_socket = m->flags & CTL_PORT_SOCKET,
                .fd = take_fd(&fds[0]),
                .log_fd = n_fds > 1 ? take_fd(&fds[1]) : -EBADF,
        };
        devices->port[n] = d;
        devices->console.n_ports++;
        return 0;
}

static int create(struct devices *devices, struct device *d, const struct ctl_header *message, int *fds, unsigned n_fds,
                  char *text) {
        const char *why = NULL;
        int r;

        if (!d->kind->create)
                return collect_port(devices, d, (const struct ctl_port *) message, fds, n_fds, text);
        r = d->kind->create(message, fds, n_fds, &d->report, &d->virtio, &why);
        if (r < 0)
                return fail(text, r, "%s '%s': %s", d->kind->name, name_of(message), why ?: strerror(-r));
        for (unsigned i = 0; i < n_fds; i++)
                (void) take_fd(&fds[i]);
        return 0;
}

static void append(struct devices *devices, struct device *d) {
        struct device **end = &devices->first;

        while (*end)
                end = &(*end)->next;
        *end = d;
        devices->last_id = MAX(devices->last_id, d->place.id);
}

int devices_add(struct devices *devices, const struct ctl_header *message, int *fds, unsigned n_fds,
                char text[static CTL_TEXT_MAX]) {
        const struct device_kind *kind = kind_of(message->type);
        AUTOFREE struct device *d = NULL;
        int r;

        if (!kind)
                return fail(text, -EOPNOTSUPP, "there is no such kind of device");
        r = check_room(devices, kind, name_of(message), text);
        if (r == 0)
                r = check_place(devices, kind, place_of(message), name_of(message), text);
        if (r < 0)
                return r;
        d = calloc(1, sizeof(*d));
        if (!d)
                return fail(text, -ENOMEM, "%s '%s': out of memory", kind->name, name_of(message));
        d->kind = kind;
        d->place = *place_of(message);
        d->report.wake = devices->wake;
        d->report.arg = devices->arg;
        r = create(devices, d, message, fds, n_fds, text);
        if (r < 0)
                return r;
        append(devices, TAKE(d));
        return 0;
}

/* The slot that was taken, or a negative errno. */
static int join(struct vm *vm, struct virtio_device *dev, const struct ctl_place *place, char *text) {
        int slot = vm_add_virtio(vm, dev, place->slot);

        if (slot < 0)
                return fail(text, slot, "device '%s': %s", dev->name, strerror(-slot));
        return slot;
}

/* All ports are one device. */
static int join_ports(struct devices *devices, struct vm *vm, char *text) {
        struct console_config *config = &devices->console;
        struct virtio_device *dev;
        int r;

        if (config->n_ports == 0)
                return 0;
        r = console_new(config, &dev);
        if (r < 0)
                return fail(text, r, "device 'console': %s",
                            r == -EINVAL ? "the socket of a port is not listening" : strerror(-r));
        for (unsigned i = 0; i < config->n_ports; i++) {
                (void) take_fd(&config->ports[i].fd);
                (void) take_fd(&config->ports[i].log_fd);
        }
        r = join(vm, dev, &devices->port[0]->place, text);
        if (r < 0) {
                dev->ops->free(dev);
                return r;
        }
        for (unsigned i = 0; i < config->n_ports; i++) {
                devices->port[i]->virtio = dev;
                devices->port[i]->is_joined = true;
                devices->port[i]->place.slot = (uint8_t) r;
        }
        return 0;
}

/* Those that know their slot come first, so that nobody else chooses it. */
static int join_some(struct devices *devices, struct vm *vm, bool is_placed, char *text) {
        for (struct device *d = devices->first; d; d = d->next) {
                int slot;

                if (!d->virtio || d->is_joined || (d->place.slot != 0) != is_placed)
                        continue;
                slot = join(vm, d->virtio, &d->place, text);
                if (slot < 0)
                        return slot;
                d->place.slot = (uint8_t) slot;
                d->is_joined = true;
        }
        return 0;
}

int devices_join(struct devices *devices, struct vm *vm, char text[static CTL_TEXT_MAX]) {
        bool ports_are_placed = devices->console.n_ports > 0 && devices->port[0]->place.slot != 0;
        int r = join_some(devices, vm, true, text);

        if (r == 0 && ports_are_placed)
                r = join_ports(devices, vm, text);
        if (r == 0)
                r = join_some(devices, vm, false, text);
        if (r == 0 && !ports_are_placed)
                r = join_ports(devices, vm, text);
        return r;
}

static void drop(struct devices *devices, struct device *d) {
        struct device **link = &devices->first;

        while (*link != d)
                link = &(*link)->next;
        *link = d->next;
        free(d);
}

int devices_plug(struct devices *devices, struct vm *vm, const struct ctl_header *message, int *fds, unsigned n_fds,
                 char text[static CTL_TEXT_MAX]) {
        const struct device_kind *kind = kind_of(message->type);
        uint32_t last_id = devices->last_id;
        struct device *d;
        int r;

        if (kind == &port_kind)
                return fail(text, -EOPNOTSUPP, "port '%s': ports are added before the machine is started",
                            name_of(message));
        /* Nothing that is still to be said of a device that has gone is taken for this one. */
        if (kind && place_of(message)->id <= last_id)
                return fail(text, -EEXIST, "%s '%s': the id %u is not above %u, which was in use", kind->name,
                            name_of(message), place_of(message)->id, last_id);
        r = devices_add(devices, message, fds, n_fds, text);
        if (r < 0)
                return r;
        d = devices_find(devices, place_of(message)->id);
        r = vm_plug_virtio(vm, d->virtio, d->place.slot);
        if (r < 0) {
                (void) fail(text, r, "%s '%s': %s", d->kind->name, name_of(message),
                            r == -EFBIG ? "it is larger than the monitor may make a file: its RLIMIT_FSIZE comes first"
                                        : strerror(-r));
                d->virtio->ops->free(d->virtio);
                drop(devices, d);
                devices->last_id = last_id;
                return r;
        }
        d->place.slot = (uint8_t) r;
        d->is_joined = true;
        return 0;
}

int devices_unplug(struct devices *devices, struct vm *vm, uint32_t id, bool force, char text[static CTL_TEXT_MAX]) {
        struct device *d = devices_find(devices, id);
        int r;

        if (!d)
                return fail(text, -ENODEV, "no device has the id %u", id);
        if (d->kind == &port_kind)
                return fail(text, -EOPNOTSUPP, "device %u is a port, and ports stay", id);
        /* First, since the device may be gone when the call returns. */
        d->is_asked = true;
        r = vm_unplug_virtio(vm, d->place.slot, force);
        if (r == -EALREADY)
                return fail(text, r, "device %u has left the guest, and goes when its requests have ended", id);
        return r < 0 ? fail(text, r, "device %u: %s", id, strerror(-r)) : 0;
}

bool devices_is_leaving(const struct device *d, const struct vm *vm) {
        return d->is_asked || (d->is_joined && vm_is_leaving(vm, d->place.slot));
}

struct device *devices_in_slot(const struct devices *devices, unsigned slot) {
        struct device *d = devices->first;

        while (d && !(d->is_joined && d->place.slot == slot))
                d = d->next;
        return d;
}

void devices_forget(struct devices *devices, struct device *d) {
        /* The ports' device has gone with all of them. */
        if (d->kind == &port_kind)
                devices->console.n_ports = 0;
        drop(devices, d);
}
