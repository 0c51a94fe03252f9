/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The random number generator: a domain has one, or none. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "conf/vmm_config.h"
#include "domain/plug.h"
#include "util/error.h"

static gboolean rng_check(const DomainDef *def, const DomainDevice *device, virErrorNumber taken, GError **err) {
        if (!def->rng)
                return TRUE;
        return error_set(err, taken, "the domain has a random number generator already");
}

static gpointer rng_insert(DomainDef *def, const DomainDevice *device) {
        g_autoptr(DomainDef) copy = domain_def_copy(device->def);
        domain_def_set_rng(def, g_steal_pointer(&copy->rng));
        return def->rng;
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

static gpointer rng_at(const DomainDef *def, guint index) {
        return def->rng;
}

static char *rng_name(gconstpointer device) {
        return g_strdup("rng");
}

static void rng_remove(DomainDef *def, guint index) {
        domain_def_set_rng(def, NULL);
}

/* --- In a monitor ------------------------------------------------------------------------ */

static void rng_list(const DomainDef *def, GPtrArray *ret) {
        if (def->rng)
                g_ptr_array_add(ret, def->rng);
}

static const char *rng_alias(gconstpointer device) {
        const DomainRng *rng = device;
        return rng->alias;
}

static gboolean rng_open(Plug *plug, const PlugHost *host, GError **err) {
        const DomainRng *rng = plug->device;
        plug->type = CTL_ADD_RNG;
        const char *path = rng->backend_path ? rng->backend_path : "/dev/urandom";
        plug->fd[0] = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        return plug->fd[0] >= 0 || error_set_errno(err, errno, "cannot open '%s'", path);
}

static gboolean rng_describe(Plug *plug, const PlugHost *host, GError **err) {
        plug->size = sizeof(plug->message.rng);
        vmm_config_rng(plug->device, &plug->message.rng);
        return TRUE;
}

const DeviceKind device_kind_rng = {
        .elements = { "rng" },
        .check = rng_check,
        .insert = rng_insert,
        .find = rng_find,
        .find_alias = rng_find_alias,
        .at = rng_at,
        .remove = rng_remove,
        .name = rng_name,
        .list = rng_list,
        .alias = rng_alias,
        .open = rng_open,
        .describe = rng_describe,
};
