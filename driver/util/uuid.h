/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UUIDs of 16 bytes as keys of hash tables.
 */
#pragma once

#include <glib.h>

#define UUID_SIZE 16u

/* A GHashFunc and its GEqualFunc; keys point to UUID_SIZE bytes. */
guint uuid_hash(gconstpointer key);
gboolean uuid_equal(gconstpointer a, gconstpointer b);
