/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPU sets. The text form is a comma-separated list of numbers and ranges, where a
 * leading ^ removes a number; formatting always gives the shortest ranges.
 */
#include "util/cpumap.h"

#include <string.h>

#include "util/error.h"

gboolean cpumap_get(const CpuMap *map, unsigned bit) {
        return bit < CPUMAP_BITS && (map->bytes[bit / 8] & (1u << (bit % 8))) != 0;
}

void cpumap_set(CpuMap *map, unsigned bit) {
        if (bit < CPUMAP_BITS)
                map->bytes[bit / 8] |= (guint8) (1u << (bit % 8));
}

static void cpumap_unset(CpuMap *map, unsigned bit) {
        map->bytes[bit / 8] &= (guint8) ~(1u << (bit % 8));
}

void cpumap_fill(CpuMap *map, unsigned bits) {
        memset(map, 0, sizeof(*map));
        for (unsigned i = 0; i < MIN(bits, CPUMAP_BITS); i++)
                cpumap_set(map, i);
}

void cpumap_from_bytes(CpuMap *map, const guint8 *bytes, gsize len) {
        memset(map, 0, sizeof(*map));
        memcpy(map->bytes, bytes, MIN(len, sizeof(map->bytes)));
}

unsigned cpumap_count(const CpuMap *map) {
        unsigned n = 0;
        for (gsize i = 0; i < sizeof(map->bytes); i++)
                n += (unsigned) __builtin_popcount(map->bytes[i]);
        return n;
}

gboolean cpumap_is_empty(const CpuMap *map) {
        return cpumap_count(map) == 0;
}

gboolean cpumap_is_subset(const CpuMap *map, const CpuMap *of) {
        for (gsize i = 0; i < sizeof(map->bytes); i++)
                if (map->bytes[i] & ~of->bytes[i])
                        return FALSE;
        return TRUE;
}

int cpumap_last(const CpuMap *map) {
        for (int i = CPUMAP_BITS - 1; i >= 0; i--)
                if (cpumap_get(map, (unsigned) i))
                        return i;
        return -1;
}

/* Reads a decimal number below CPUMAP_BITS and moves *p behind it. */
static gboolean parse_number(const char **p, unsigned *ret) {
        if (!g_ascii_isdigit(**p))
                return FALSE;
        char *end = NULL;
        guint64 value = g_ascii_strtoull(*p, &end, 10);
        if (value >= CPUMAP_BITS)
                return FALSE;
        *p = end;
        *ret = (unsigned) value;
        return TRUE;
}

static const char *skip_space(const char *p) {
        while (g_ascii_isspace(*p))
                p++;
        return p;
}

/* One item of the list: "^N", "N" or "N-M". */
static gboolean parse_item(const char **p, CpuMap *map) {
        gboolean negate = **p == '^';
        unsigned first, last;
        if (negate)
                (*p)++;
        if (!parse_number(p, &first))
                return FALSE;
        last = first;
        *p = skip_space(*p);
        if (!negate && **p == '-') {
                *p = skip_space(*p + 1);
                if (!parse_number(p, &last) || last < first)
                        return FALSE;
        }
        for (unsigned i = first; i <= last; i++)
                negate ? cpumap_unset(map, i) : cpumap_set(map, i);
        return TRUE;
}

gboolean cpumap_parse(const char *text, CpuMap *ret, GError **err) {
        CpuMap map = { 0 };
        const char *p = skip_space(text);
        for (;;) {
                if (!parse_item(&p, &map))
                        break;
                p = skip_space(p);
                if (*p == '\0') {
                        *ret = map;
                        return TRUE;
                }
                if (*p != ',')
                        break;
                p = skip_space(p + 1);
        }
        return error_set(err, VIR_ERR_INVALID_ARG,
                         "Failed to parse bitmap '%s': expected a list such as 0-3,^2,8 of numbers below %u", text,
                         CPUMAP_BITS);
}

char *cpumap_format(const CpuMap *map) {
        GString *s = g_string_new(NULL);
        for (unsigned i = 0; i < CPUMAP_BITS; i++) {
                unsigned first = i;
                if (!cpumap_get(map, i))
                        continue;
                while (cpumap_get(map, i + 1))
                        i++;
                g_string_append_printf(s, "%s%u", s->len > 0 ? "," : "", first);
                if (i > first)
                        g_string_append_printf(s, "-%u", i);
        }
        return g_string_free(s, FALSE);
}
