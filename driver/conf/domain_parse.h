/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser's parts, one per family of elements; each fills in its share of the definition. */
#pragma once

#include "conf/domain_def_internal.h"
#include "conf/xml_read.h"

/* What the daemon wrote is taken as it is. */
static inline gboolean domain_parse_is_own(guint flags) {
        return (flags & (DOMAIN_PARSE_OWN | DOMAIN_PARSE_STATUS)) != 0;
}

/* cputune, memtune, blkiotune, numatune */
gboolean domain_parse_tuning(const xmlNode *root, DomainDef *def, guint flags, GError **err);
/* cpu, clock */
gboolean domain_parse_cpu(const xmlNode *cpu, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_clock(const xmlNode *clock, DomainDef *def, GError **err);
/* devices */
gboolean domain_parse_devices(const xmlNode *devices, DomainDef *def, guint flags, GError **err);
gboolean domain_check_device_count(const xmlNode *devices, GError **err); /* counts dropped ones too */
gboolean domain_parse_disk(const xmlNode *node, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_nic(const xmlNode *node, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_char(const xmlNode *node, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_rng(const xmlNode *node, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_vsock(const xmlNode *node, DomainDef *def, guint flags, GError **err);
gboolean domain_parse_controller(const xmlNode *node, DomainDef *def, guint flags, GError **err);

/* <alias>: the client's own ("ua-…") always, others only of a running domain. */
char *domain_parse_alias(const xmlNode *device, guint flags);
/* <address type='pci'>; others mean nothing here. */
gboolean domain_parse_pci_address(const xmlNode *device, DomainPciAddress *ret, GError **err);
gboolean domain_parse_boot_order(const xmlNode *device, guint *ret, GError **err);
gboolean domain_parse_cpuset(const char *text, const char *what, CpuMap *ret, GError **err);

/* The content of a <metadata> element as text; *ret stays as it is when there is none. */
gboolean domain_metadata_from_xml(const xmlNode *metadata, char **ret, GError **err);

/* Serial ports and the console that stands for the first one, as libvirt pairs them. Sorts def->chars. */
void domain_def_pair_consoles(DomainDef *def);
void domain_def_sort_disks(DomainDef *def);
/*
 * Checks the PCI addresses that the XML gives and chooses those that it does not. After the disks have been sorted.
 * VIR_ERR_XML_ERROR: one is outside the bus, or taken. VIR_ERR_CONFIG_UNSUPPORTED: there are too many devices.
 */
gboolean domain_def_assign_addresses(DomainDef *def, guint flags, GError **err);

/* Checks <domain> against schema_dir/domain.rng: VIR_ERR_XML_INVALID_SCHEMA. */
gboolean domain_validate_schema(xmlDoc *doc, const char *schema_dir, GError **err);
/* A definition, once formatted, has to pass the parser again: VIR_ERR_XML_ERROR. */
gboolean domain_check_size(const DomainDef *def, GError **err);
/* Checks across elements: duplicates, limits, combinations. */
gboolean domain_validate_def(const DomainDef *def, GError **err);
