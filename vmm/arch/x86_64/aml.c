/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AML is written front to back into one buffer. A construct with a PkgLength (ACPI 6.5
 * §20.2.4) gets two bytes for it when it is opened, filled in when it is closed: the
 * two-byte form is valid for short lengths, too. What does not fit is dropped and
 * remembered in `overflow`, so that only the end result has to be checked.
 *
 * Opcodes: ACPI 6.5 §20.3; resource descriptors: §6.4.
 */
#include "aml.h"

#include <string.h>

#include "../../base/cleanup.h"

enum {
        OP_ZERO = 0x00,
        OP_ONE = 0x01,
        OP_NAME = 0x08,
        OP_BYTE = 0x0a,
        OP_WORD = 0x0b,
        OP_DWORD = 0x0c,
        OP_STRING = 0x0d,
        OP_QWORD = 0x0e,
        OP_SCOPE = 0x10,
        OP_BUFFER = 0x11,
        OP_PACKAGE = 0x12,
        OP_METHOD = 0x14,
        OP_EXTENDED = 0x5b,
        OP_LOCAL0 = 0x60,
        OP_STORE = 0x70,
        OP_AND = 0x7b,
        OP_NOTIFY = 0x86,
        OP_IF = 0xa0,
        OP_ROOT = 0x5c,
        OP_MULTI_NAME = 0x2f,
        EXTENDED_REGION = 0x80,
        EXTENDED_FIELD = 0x81,
        EXTENDED_DEVICE = 0x82,
};

#define METHOD_SERIALIZED  0x08u
#define REGION_SYSTEM_IO   0x01u
#define FIELD_BYTE_ZEROS   0x41u /* byte access, no lock, write as zeros */
#define FIELD_WORDS_ZEROS  0x43u /* double word access */
#define RESOURCE_IO_DECODE 0x01u /* decodes 16 bits */
#define INTERRUPT_EDGE     0x03u /* consumer, edge, active high, exclusive */
#define WINDOW_FIXED       0x0cu /* minimum and maximum are fixed, positive decode, producer */
#define WINDOW_READ_WRITE  0x01u /* memory, not cacheable */
#define TAG_IO             0x47u
#define TAG_END            0x79u
#define TAG_MEMORY32_FIXED 0x86u
#define TAG_DWORD_WINDOW   0x87u
#define TAG_WORD_WINDOW    0x88u
#define TAG_INTERRUPT      0x89u

static void put(struct aml *aml, const void *data, size_t len) {
        if (len > AML_BYTES_MAX - aml->used) {
                aml->overflow = true;
                return;
        }
        memcpy(aml->bytes + aml->used, data, len);
        aml->used += len;
}

static void put8(struct aml *aml, uint8_t value) {
        put(aml, &value, sizeof(value));
}

static void put16(struct aml *aml, uint16_t value) {
        put(aml, &value, sizeof(value));
}

static void put32(struct aml *aml, uint32_t value) {
        put(aml, &value, sizeof(value));
}

static void put64(struct aml *aml, uint64_t value) {
        put(aml, &value, sizeof(value));
}

static size_t open_package(struct aml *aml) {
        size_t mark = aml->used;

        put16(aml, 0);
        return mark;
}

/* The length counts its own two bytes. Low four bits and the form in the first, the rest in the second. */
void aml_end(struct aml *aml, size_t mark) {
        size_t len = aml->used - mark;

        if (aml->overflow)
                return;
        aml->bytes[mark] = (uint8_t) (0x40 | (len & 0xf));
        aml->bytes[mark + 1] = (uint8_t) (len >> 4);
}

static void put_segment(struct aml *aml, const char *name) {
        put(aml, name, 4);
}

size_t aml_scope(struct aml *aml, const char *name) {
        size_t mark;

        put8(aml, OP_SCOPE);
        mark = open_package(aml);
        put(aml, name, strlen(name));
        return mark;
}

size_t aml_device(struct aml *aml, const char *name) {
        size_t mark;

        put8(aml, OP_EXTENDED);
        put8(aml, EXTENDED_DEVICE);
        mark = open_package(aml);
        put_segment(aml, name);
        return mark;
}

size_t aml_method(struct aml *aml, const char *name, unsigned args) {
        size_t mark;

        put8(aml, OP_METHOD);
        mark = open_package(aml);
        put_segment(aml, name);
        put8(aml, (uint8_t) (METHOD_SERIALIZED | args));
        return mark;
}

static void put_integer(struct aml *aml, uint64_t value) {
        if (value <= 1)
                put8(aml, (uint8_t) (value == 0 ? OP_ZERO : OP_ONE));
        else if (value <= UINT8_MAX) {
                put8(aml, OP_BYTE);
                put8(aml, (uint8_t) value);
        } else if (value <= UINT16_MAX) {
                put8(aml, OP_WORD);
                put16(aml, (uint16_t) value);
        } else if (value <= UINT32_MAX) {
                put8(aml, OP_DWORD);
                put32(aml, (uint32_t) value);
        } else {
                put8(aml, OP_QWORD);
                put64(aml, value);
        }
}

static void open_name(struct aml *aml, const char *name) {
        put8(aml, OP_NAME);
        put_segment(aml, name);
}

void aml_name_integer(struct aml *aml, const char *name, uint64_t value) {
        open_name(aml, name);
        put_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *name, const char *value) {
        open_name(aml, name);
        put8(aml, OP_STRING);
        put(aml, value, strlen(value) + 1);
}

static uint32_t hex_digit(char c) {
        return (uint32_t) (c >= 'A' ? c - 'A' + 10 : c - '0');
}

/* ACPI 6.5 §19.3.4 EISAID: three letters of five bits, four digits, big endian. */
static uint32_t eisaid(const char *id) {
        uint32_t value = (uint32_t) (id[0] - '@') << 26 | (uint32_t) (id[1] - '@') << 21 |
                         (uint32_t) (id[2] - '@') << 16 | hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 |
                         hex_digit(id[5]) << 4 | hex_digit(id[6]);

        return __builtin_bswap32(value);
}

void aml_name_eisaid(struct aml *aml, const char *name, const char *id) {
        open_name(aml, name);
        put8(aml, OP_DWORD);
        put32(aml, eisaid(id));
}

void aml_name_package(struct aml *aml, const char *name, const uint8_t *values, unsigned n) {
        size_t mark;

        open_name(aml, name);
        put8(aml, OP_PACKAGE);
        mark = open_package(aml);
        put8(aml, (uint8_t) n);
        for (unsigned i = 0; i < n; i++)
                put_integer(aml, values[i]);
        aml_end(aml, mark);
}

size_t aml_if_bit(struct aml *aml, unsigned local, uint32_t mask) {
        size_t mark;

        put8(aml, OP_IF);
        mark = open_package(aml);
        put8(aml, OP_AND);
        put8(aml, (uint8_t) (OP_LOCAL0 + local));
        put_integer(aml, mask);
        put8(aml, OP_ZERO); /* no target */
        return mark;
}

static void put_region(struct aml *aml, const char *region, uint16_t port, unsigned len) {
        put8(aml, OP_EXTENDED);
        put8(aml, EXTENDED_REGION);
        put_segment(aml, region);
        put8(aml, REGION_SYSTEM_IO);
        put_integer(aml, port);
        put_integer(aml, len);
}

static size_t open_fields(struct aml *aml, const char *region, uint8_t flags) {
        size_t mark;

        put8(aml, OP_EXTENDED);
        put8(aml, EXTENDED_FIELD);
        mark = open_package(aml);
        put_segment(aml, region);
        put8(aml, flags);
        return mark;
}

/* `bits`, below 64, is a PkgLength of one byte (§20.2.5.2). */
static void put_field(struct aml *aml, const char *name, uint8_t bits) {
        put_segment(aml, name);
        put8(aml, bits);
}

void aml_io_byte(struct aml *aml, const char *region, const char *field, uint16_t port) {
        size_t mark;

        put_region(aml, region, port, 1);
        mark = open_fields(aml, region, FIELD_BYTE_ZEROS);
        put_field(aml, field, 8);
        aml_end(aml, mark);
}

void aml_io_words(struct aml *aml, const char *region, const char *const *fields, unsigned n, uint16_t port) {
        size_t mark;

        put_region(aml, region, port, n * 4);
        mark = open_fields(aml, region, FIELD_WORDS_ZEROS);
        for (unsigned i = 0; i < n; i++)
                put_field(aml, fields[i], 32);
        aml_end(aml, mark);
}

void aml_store_name(struct aml *aml, const char *name, unsigned local) {
        put8(aml, OP_STORE);
        put_segment(aml, name);
        put8(aml, (uint8_t) (OP_LOCAL0 + local));
}

void aml_store_integer(struct aml *aml, uint64_t value, const char *name) {
        put8(aml, OP_STORE);
        put_integer(aml, value);
        put_segment(aml, name);
}

void aml_call(struct aml *aml, const char *const *path, unsigned n) {
        put8(aml, OP_ROOT);
        put8(aml, OP_MULTI_NAME);
        put8(aml, (uint8_t) n);
        for (unsigned i = 0; i < n; i++)
                put_segment(aml, path[i]);
}

void aml_notify(struct aml *aml, const char *name, uint8_t value) {
        put8(aml, OP_NOTIFY);
        put_segment(aml, name);
        put_integer(aml, value);
}

struct aml_resources aml_resources(struct aml *aml) {
        struct aml_resources mark;

        open_name(aml, "_CRS");
        put8(aml, OP_BUFFER);
        mark.package = open_package(aml);
        put8(aml, OP_WORD);
        mark.length = aml->used;
        put16(aml, 0);
        mark.start = aml->used;
        return mark;
}

void aml_resources_end(struct aml *aml, struct aml_resources mark) {
        uint16_t len;

        put8(aml, TAG_END);
        put8(aml, 0); /* checksum 0: not checked */
        if (aml->overflow)
                return;
        len = (uint16_t) (aml->used - mark.start);
        memcpy(aml->bytes + mark.length, &len, sizeof(len));
        aml_end(aml, mark.package);
}

void aml_resource_io(struct aml *aml, uint16_t port, uint8_t len) {
        put8(aml, TAG_IO);
        put8(aml, RESOURCE_IO_DECODE);
        put16(aml, port);
        put16(aml, port);
        put8(aml, 1); /* alignment */
        put8(aml, len);
}

void aml_resource_memory(struct aml *aml, uint32_t address, uint32_t len) {
        put8(aml, TAG_MEMORY32_FIXED);
        put16(aml, 9); /* bytes that follow */
        put8(aml, WINDOW_READ_WRITE);
        put32(aml, address);
        put32(aml, len);
}

void aml_resource_interrupt(struct aml *aml, uint32_t gsi) {
        put8(aml, TAG_INTERRUPT);
        put16(aml, 6); /* bytes that follow */
        put8(aml, INTERRUPT_EDGE);
        put8(aml, 1); /* one interrupt */
        put32(aml, gsi);
}

/* An address space descriptor: granularity 0, [first, last], no translation. */
void aml_resource_bus_range(struct aml *aml, uint16_t first, uint16_t last) {
        put8(aml, TAG_WORD_WINDOW);
        put16(aml, 13); /* bytes that follow */
        put8(aml, 2);   /* bus numbers */
        put8(aml, WINDOW_FIXED);
        put8(aml, 0);
        put16(aml, 0);
        put16(aml, first);
        put16(aml, last);
        put16(aml, 0);
        put16(aml, (uint16_t) (last - first + 1));
}

void aml_resource_memory_window(struct aml *aml, uint32_t address, uint32_t len) {
        put8(aml, TAG_DWORD_WINDOW);
        put16(aml, 23); /* bytes that follow */
        put8(aml, 0);   /* memory */
        put8(aml, WINDOW_FIXED);
        put8(aml, WINDOW_READ_WRITE);
        put32(aml, 0);
        put32(aml, address);
        put32(aml, address + (len - 1));
        put32(aml, 0);
        put32(aml, len);
}
