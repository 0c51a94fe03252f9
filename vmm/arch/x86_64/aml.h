/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ACPI Machine Language, as much of it as the DSDT of this machine needs (ACPI 6.5 chapter 20).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_BYTES_MAX 4095u /* what a two-byte PkgLength can express */

struct aml {
        uint8_t bytes[AML_BYTES_MAX];
        size_t used;
        bool overflow; /* something did not fit: the result is useless */
};

/* Open a construct and return a mark; aml_end() with that mark closes it. Names are four characters. */
size_t aml_scope(struct aml *aml, const char *name); /* a root path such as "\\_SB_" */
size_t aml_device(struct aml *aml, const char *name);
size_t aml_method(struct aml *aml, const char *name, unsigned args);
size_t aml_if_bit(struct aml *aml, unsigned local, uint32_t mask); /* If (And (LocalN, mask)) */
void aml_end(struct aml *aml, size_t mark);

void aml_name_integer(struct aml *aml, const char *name, uint64_t value);
void aml_name_string(struct aml *aml, const char *name, const char *value);
void aml_name_eisaid(struct aml *aml, const char *name, const char *id); /* "PNP0501" */
void aml_name_package(struct aml *aml, const char *name, const uint8_t *values, unsigned n);

/* One byte of I/O space as a field of its own. */
void aml_io_byte(struct aml *aml, const char *region, const char *field, uint16_t port);
/* `n` words of four bytes. */
void aml_io_words(struct aml *aml, const char *region, const char *const *fields, unsigned n, uint16_t port);
void aml_store_name(struct aml *aml, const char *name, unsigned local);    /* Store (name, LocalN) */
void aml_store_integer(struct aml *aml, uint64_t value, const char *name); /* Store (value, name) */
void aml_notify(struct aml *aml, const char *name, uint8_t value);
void aml_call(struct aml *aml, const char *const *path, unsigned n); /* a method without arguments, by its root path */

/* Name (_CRS, ResourceTemplate): open, resources, close. */
struct aml_resources {
        size_t package, length, start;
};
struct aml_resources aml_resources(struct aml *aml);
void aml_resources_end(struct aml *aml, struct aml_resources mark);
void aml_resource_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_resource_memory(struct aml *aml, uint32_t address, uint32_t len);
void aml_resource_interrupt(struct aml *aml, uint32_t gsi); /* edge, active high, exclusive */
void aml_resource_bus_range(struct aml *aml, uint16_t first, uint16_t last);
void aml_resource_memory_window(struct aml *aml, uint32_t address, uint32_t len);
