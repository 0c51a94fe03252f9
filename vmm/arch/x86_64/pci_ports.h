/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PCI configuration by I/O ports.
 */
#pragma once

#include "../../core/bus.h"
#include "../../core/part.h"
#include "../../core/pci.h"

struct pci_ports;

int pci_ports_new(struct parts *parts, struct bus *pio, struct pci_host *host, struct pci_ports **ret);
struct pci_ports *pci_ports_free(struct pci_ports *ports); /* before its host; NULL is fine; returns NULL */
