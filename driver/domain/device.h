/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of devices, as far as they can be attached, changed and detached: a file and a row of device.c's table for
 * each. What a kind does not do is NULL, and answered with VIR_ERR_OPERATION_UNSUPPORTED.
 */
#pragma once

#include "conf/domain_device.h"
#include "domain/internal.h"
#include "util/error.h"

/* What a change of a running domain asks of the host; zeroes: nothing. */
typedef struct HostChange {
        HostFunc func;
        gpointer data; /* it may point into the old and the new live definition */
        GDestroyNotify free_data;
        const char *added; /* alias of the device that the domain has then; in the new definition */
} HostChange;

typedef struct Plug Plug;
typedef struct PlugHost PlugHost;

typedef struct DeviceKind {
        const char *elements[4]; /* NULL-terminated */
        /* --- In a definition: what calls attach, change and detach --- */
        /* What is wrong with attaching a device to `def`; one that is there already is `taken`. */
        gboolean (*check)(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err);
        gpointer (*insert)(DomainDef *def, const DomainDevice *device); /* returns the one in `def` */
        /* The one that `device` describes; VIR_ERR_DEVICE_MISSING, or OPERATION_FAILED when there are several. */
        gboolean (*find)(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err);
        gboolean (*find_alias)(const DomainDef *def, const char *alias, guint *ret_index);
        gpointer (*at)(const DomainDef *def, guint index);
        void (*remove)(DomainDef *def, guint index);
        /* What messages call one of a definition: "disk 'vda'"; to be freed. */
        char *(*name)(gconstpointer device);
        /* Replaces a device of a persistent definition. */
        gboolean (*update)(DomainDef *def, guint index, const DomainDevice *device, GError **err);
        /* Changes a device of the copy `def` of the live definition `old`, as far as a running domain can follow. */
        gboolean (*update_live)(const DomainDef *old, DomainDef *def, guint index, const DomainDevice *device,
                                HostChange *ret, GError **err);
        /* --- In a monitor: the steps of plug.h; no lock held --- */
        /* Appends those of `def` that a monitor gets, in the order in which it gets them. */
        void (*list)(const DomainDef *def, GPtrArray *ret);
        const char *(*alias)(gconstpointer device);
        /* Whether one can come and go while the domain runs; NULL: all can. */
        gboolean (*is_fixed)(gconstpointer device);
        gboolean (*prepare)(gpointer device, const PlugHost *host, GError **err); /* NULL: nothing is left open */
        gboolean (*open)(Plug *plug, const PlugHost *host, GError **err);
        gboolean (*connect)(Plug *plug, const PlugHost *host, GError **err); /* NULL: nothing is to be found again */
        /* Fills in message and size, when everything that they say is known. */
        gboolean (*describe)(Plug *plug, const PlugHost *host, GError **err);
        /* Takes back what prepare() has noted elsewhere, of a device that was not connected. NULL: nothing. */
        void (*forget)(gpointer device, const PlugHost *host);
        /* Gives back what a device of `def`, which the monitor has not or no longer, has on the host. NULL: nothing. */
        void (*release)(Domain *d, const DomainDef *def, gpointer device);
} DeviceKind;

extern const DeviceKind device_kind_disk, device_kind_nic, device_kind_char, device_kind_rng, device_kind_vsock;
const DeviceKind *device_kind_of(const DomainDevice *device);

/* A device of a definition. */
typedef struct Device {
        const DeviceKind *kind;
        gpointer device;
} Device;
/* Those that a monitor gets, in the order in which it gets them. */
GArray *device_list(const DomainDef *def);
/* The one with an alias; FALSE: there is none. */
gboolean device_find(const DomainDef *def, const char *alias, Device *ret);
/* Removes it from its definition. */
void device_remove(DomainDef *def, const char *alias);
/* Gives back what all of them have on the host; their monitor has ended. No lock held. */
void devices_release(Domain *d, const DomainDef *def);

/* The only item of a list of a DomainDevice's definition, and a copy of it that is the caller's. */
#define device_only(device, list) g_ptr_array_index((device)->def->list, 0)
gpointer device_copy(const DomainDevice *device, gsize list);
#define DEVICE_COPY(device, list) device_copy((device), G_STRUCT_OFFSET(DomainDef, list))
/* A kind's find_alias() in a list of devices whose aliases are at `offset`. */
gboolean device_find_alias(const GPtrArray *list, gsize offset, const char *alias, guint *ret_index);
/* Puts `item` (taken) in the place of another. */
void device_replace(GPtrArray *list, guint index, gpointer item);
