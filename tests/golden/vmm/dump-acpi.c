/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the ACPI tables of a machine to files, for iasl: dump-acpi DIRECTORY SOCKETS CORES THREADS VCPUS.
 * On the way it checks what a guest would: signatures, lengths, sums, and that every pointer leads to a table.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/layout.h"
#include "board/version.h"

static uint8_t tables[LAYOUT_ACPI_SIZE];
static size_t used;

static void check(int condition, const char *what) {
        if (condition)
                return;
        (void) fprintf(stderr, "wrong: %s\n", what);
        exit(1);
}

static const uint8_t *at(uint64_t gpa, size_t len) {
        check(gpa >= LAYOUT_ACPI && gpa - LAYOUT_ACPI <= used && len <= used - (gpa - LAYOUT_ACPI), "pointer");
        return tables + (gpa - LAYOUT_ACPI);
}

static uint64_t load(const uint8_t *p, size_t len) {
        uint64_t value = 0;

        memcpy(&value, p, len);
        return value;
}

static void check_sum(const uint8_t *p, size_t len) {
        uint8_t sum = 0;

        for (size_t i = 0; i < len; i++)
                sum = (uint8_t) (sum + p[i]);
        check(sum == 0, "checksum");
}

/* Checks a table, writes it to DIRECTORY/SIGNATURE.dat and returns it. */
static const uint8_t *dump(const char *directory, uint64_t gpa) {
        const uint8_t *p = at(gpa, 36);
        size_t len = load(p + 4, 4);
        char path[4096];
        FILE *file;

        check(len >= 36, "length");
        p = at(gpa, len);
        check_sum(p, len);
        (void) snprintf(path, sizeof(path), "%s/%.4s.dat", directory, (const char *) p);
        file = fopen(path, "w");
        check(file && fwrite(p, 1, len, file) == len && fclose(file) == 0, path);
        return p;
}

int main(int argc, char **argv) {
        struct topology topology = { .dies = 1 };
        const uint8_t *xsdt, *fadt;

        check(argc == 6, "arguments");
        topology.sockets = (unsigned) atoi(argv[2]);
        topology.cores = (unsigned) atoi(argv[3]);
        topology.threads = (unsigned) atoi(argv[4]);
        topology.vcpus = (unsigned) atoi(argv[5]);
        check(acpi_build(machine_version_newest(), &topology, LAYOUT_ACPI, tables, 16, &used) < 0,
              "too little room goes unnoticed");
        check(acpi_build(machine_version_newest(), &topology, LAYOUT_ACPI, tables, sizeof(tables), &used) == 0,
              "build");

        check(memcmp(tables, "RSD PTR ", 8) == 0 && tables[15] == 2, "RSDP");
        check_sum(tables, 20);
        check_sum(tables, load(tables + 20, 4));
        xsdt = dump(argv[1], load(tables + 24, 8));
        fadt = dump(argv[1], load(xsdt + 36, 8));
        check(memcmp(fadt, "FACP", 4) == 0, "the FADT comes first");
        for (size_t i = 44; i < load(xsdt + 4, 4); i += 8)
                (void) dump(argv[1], load(xsdt + i, 8));
        (void) dump(argv[1], load(fadt + 140, 8));
        return 0;
}
