/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices that come to a running domain's monitor and leave it. */
#pragma once

#include "domain/device.h"

/* A device of a monitor that a call waits for. */
typedef struct Leaving {
        Vmm *vmm; /* a reference, which hotplug_wait() gives back; NULL: none */
        guint32 id;
} Leaving;

/*
 * What plugs `device`, which has an alias and an address, of the changed live definition `def` into the monitor. The
 * domain must have the job until the change is over.
 */
void hotplug_attach(Domain *d, const DeviceKind *kind, DomainDef *def, gpointer device, HostChange *ret);

/*
 * Asks the guest to let go of the device with this alias, or takes it away (`force`). The device stays in the live
 * definition until the monitor says that it is gone. VIR_ERR_OPERATION_FAILED when another call waits for that already.
 * *ret is for hotplug_wait(). Lock and job held.
 */
gboolean hotplug_detach(Domain *d, const char *alias, gboolean force, Leaving *ret, GError **err);
/* Gives the guest a moment to let go of it. Whether it has is up to the guest; so is when. No lock held. */
void hotplug_wait(Domain *d, const Leaving *leaving);

/* EVENT_REMOVED. Main thread, lock held. */
void hotplug_removed(Domain *d, guint32 id);
/* Goes on with what the last job was in the way of. Lock held, nobody has the job. */
void hotplug_continue(Domain *d);
/*
 * Compares the live definition with what the monitor has, after a time in which neither was seen: a device that only
 * the monitor has is taken from it, one that it has not is gone. In the background, as soon as nobody has the job. Lock
 * held.
 */
void hotplug_compare(Domain *d);
