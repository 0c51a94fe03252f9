/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One device on its own, as clients send it to be attached, changed or detached. It is read by the parser of
 * definitions, into a definition that has this device and nothing else; so whatever copies, frees or walks definitions
 * does it for a device too.
 */
#pragma once

#include "conf/domain_def.h"

typedef struct DomainDevice {
        char *element;  /* "disk", "interface", "serial", "console", "channel", "rng", "vsock" */
        DomainDef *def; /* its device and, in `notes`, what was left out or replaced */
        gboolean named; /* the XML has an interface's MAC, or a console's port: it was not chosen here */
} DomainDevice;

/*
 * Parses the element of a device as domain_def_parse() does in a domain, by the same table of verdicts, with the same
 * errors; DOMAIN_PARSE_STATUS and _OWN are not for this. Disks are as they were written: their legacy buses are
 * replaced when the domain's targets are known, in domain_def_complete_devices(). A device that no microVM has is
 * VIR_ERR_OPERATION_UNSUPPORTED; one that nobody knows is VIR_ERR_XML_ERROR.
 */
DomainDevice *domain_device_parse(const char *xml, guint flags, GError **err);
void domain_device_free(DomainDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainDevice, domain_device_free)

/*
 * What follows from the devices as a whole: legacy disks and NICs are replaced, disks sorted, consoles paired with
 * serial ports, and the definition is checked. To be called after any change of a persistent definition's devices,
 * with the flags of the parser.
 */
gboolean domain_def_complete_devices(DomainDef *def, guint flags, GError **err);

/* The port of a serial port or console that comes next: they count up within a kind unless they are given. */
guint domain_def_next_port(const DomainDef *def, DomainCharDevice device);

void domain_def_set_rng(DomainDef *def, DomainRng *rng);       /* in place of its present one; taken; NULL: none */
void domain_def_set_vsock(DomainDef *def, DomainVsock *vsock); /* likewise */
/* Drops the notes that speak of a device, by the name that they have for it: "disk 'vda'". */
void domain_def_drop_notes(DomainDef *def, const char *name);
/* Adds copies of notes that are not there yet: what was left out of a device, or replaced. */
void domain_def_add_notes(DomainDef *def, const GPtrArray *notes);
