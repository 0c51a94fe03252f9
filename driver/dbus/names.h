/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words of the D-Bus interface: libvirt's numbers for states, reasons and lifecycle
 * events as `virsh domstate --reason` and `virsh event` print them, object paths, and
 * the D-Bus names of errors. All but the path are static strings.
 */
#pragma once

#include <glib.h>

#define BUS_NAME              "org.virtmicro1"
#define BUS_ROOT              "/org/virtmicro1"
#define BUS_MANAGER_INTERFACE "org.virtmicro1.Manager"
#define BUS_DOMAIN_INTERFACE  "org.virtmicro1.Domain"
#define BUS_ERROR(name)       "org.virtmicro1.Error." name

/* "/org/virtmicro1/domain/b0a5…_…": a UUID's dashes may not stand in a path. */
char *bus_domain_path(const guint8 uuid[16]);

/* Numbers that this version does not know are "unknown". */
const char *state_name(int state);
const char *reason_name(int state, int reason);
const char *lifecycle_event_name(int event);
const char *lifecycle_detail_name(int event, int detail);

/* The D-Bus name for an error of any domain; its message is sent as it is. */
const char *bus_error_name(const GError *err);
