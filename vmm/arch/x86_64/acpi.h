/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine's ACPI tables.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../core/topology.h"
#include "../../core/version.h"

/* Builds all tables into `out` as they lie at guest address `base`; the RSDP is at its start. -ENOSPC: too small. */
int acpi_build(const struct machine_version *version, const struct topology *topology, uint64_t base, uint8_t *out,
               size_t size, size_t *ret_used);
