/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UUIDs as keys: the hash is the one that GLib has for strings, over bytes of which some may be 0.
 */
#include "util/uuid.h"

#include <string.h>

guint uuid_hash(gconstpointer key) {
        guint h = 5381;
        for (const guint8 *p = key; p < (const guint8 *) key + UUID_SIZE; p++)
                h = h * 33 + *p;
        return h;
}

gboolean uuid_equal(gconstpointer a, gconstpointer b) {
        return memcmp(a, b, UUID_SIZE) == 0;
}
