/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The devices of a machine, each under the id that its creator gave it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "../ctl/ctl.h"
#include "../dev/console.h"
#include "../dev/kind.h"

struct vm;

struct device {
        struct ctl_place place;
        const struct device_kind *kind;
        struct virtio_device *virtio; /* of a port: the console device, NULL before devices_join() */
        struct device_report report;
        bool is_joined;              /* the VM owns `virtio` */
        bool is_asked;               /* its removal was asked for */
        bool open_told, open_wanted; /* of a port, for ctl/notes.c: what was told, and whether to tell it again */
        struct device *next;
};

struct devices {
        struct device *first; /* in the order in which they were added, which is that of their slots where not given */
        uint32_t last_id;     /* the highest that was ever in use */
        void (*wake)(void *arg);
        void *arg;
        struct console_config console; /* its ports, until devices_join() */
        char port_names[CTL_PORTS_MAX][CTL_NAME_MAX];
        struct device *port[CTL_PORTS_MAX];
};

/* `wake`: called on any thread when a device has something to report; NULL: nobody listens. */
void devices_init(struct devices *devices, void (*wake)(void *arg), void *arg);
void devices_done(struct devices *devices); /* after the VM was freed, or before devices_join() */

/*
 * Makes a device, and looks at its descriptors, so that an error names the right one. `message` is an ADD_* that
 * ctl_check() has passed. On success all descriptors are the device's and the array holds -EBADF. On error `text` is a
 * sentence: -EEXIST, the id, the slot or the port's name is in use; -E2BIG, too many; others come from the device.
 */
int devices_add(struct devices *devices, const struct ctl_header *message, int *fds, unsigned n_fds,
                char text[static CTL_TEXT_MAX]);
/* Whether a request of this type adds a device of some kind. */
bool devices_know(uint16_t type);
/* Plugs all into the VM, which owns them from then on, and notes their slots. */
int devices_join(struct devices *devices, struct vm *vm, char text[static CTL_TEXT_MAX]);

/*
 * Hot plug: devices_add() and devices_join() for one device of a machine that was started; nothing is left of it on
 * error. -EEXIST: its id is not above all that were in use. -EOPNOTSUPP: a port.
 */
int devices_plug(struct devices *devices, struct vm *vm, const struct ctl_header *message, int *fds, unsigned n_fds,
                 char text[static CTL_TEXT_MAX]);
/*
 * Has the guest let go of a device, or takes it away; vm_callbacks.removed follows. A guest that has not answered is
 * asked again. -ENODEV: there is none, -EALREADY: it has left the guest, -EOPNOTSUPP: a port.
 */
int devices_unplug(struct devices *devices, struct vm *vm, uint32_t id, bool force, char text[static CTL_TEXT_MAX]);
/* The guest was asked to let go of it, or has done so. */
bool devices_is_leaving(const struct device *d, const struct vm *vm);
struct device *devices_in_slot(const struct devices *devices, unsigned slot); /* one of them; NULL: none */
/* Drops a device whose slot was vacated. */
void devices_forget(struct devices *devices, struct device *d);

struct device *devices_find(const struct devices *devices, uint32_t id); /* NULL: none */
/* The one with the lowest id above `after`; NULL: none. */
struct device *devices_next(const struct devices *devices, uint32_t after);
