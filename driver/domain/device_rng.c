/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The random number generator: a domain has one, or none. */
#include <string.h>

#include "domain/device.h"
#include "util/error.h"

static gboolean rng_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        if (!def->rng)
                return TRUE;
        return error_set(err, taken, "the domain has a random number generator already");
}

static void rng_insert(DomainDef *def, const DomainDevice *device) {
        g_autoptr(DomainDef) copy = domain_def_copy(device->def);
        domain_def_set_rng(def, g_steal_pointer(&copy->rng));
}

static gboolean rng_find(const DomainDef *def, const DomainDevice *device, guint *ret_index, GError **err) {
        const DomainRng *rng = def->rng, *wanted = device->def->rng;
        *ret_index = 0;
        if (rng && rng->rate_bytes == wanted->rate_bytes && rng->rate_period_ms == wanted->rate_period_ms &&
            strcmp(rng->backend_path, wanted->backend_path) == 0 &&
            (!wanted->alias || g_strcmp0(rng->alias, wanted->alias) == 0) &&
            domain_pci_matches(&rng->pci, &wanted->pci))
                return TRUE;
        return error_set(err, VIR_ERR_DEVICE_MISSING, "no matching RNG device was found");
}

static gboolean rng_find_alias(const DomainDef *def, const char *alias, guint *ret_index) {
        *ret_index = 0;
        return def->rng && g_strcmp0(def->rng->alias, alias) == 0;
}

static void rng_remove(DomainDef *def, guint index) {
        domain_def_set_rng(def, NULL);
}

const DeviceKind device_kind_rng = {
        .elements = { "rng" },
        .check = rng_check,
        .insert = rng_insert,
        .find = rng_find,
        .find_alias = rng_find_alias,
        .remove = rng_remove,
};
