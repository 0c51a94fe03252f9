/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: every child of <devices> that the table of verdicts has left goes to
 * the parser of its name. Here are the list of names, what all devices have in common, and
 * the random number generator.
 */
#include "conf/domain_parse.h"

#include <string.h>

#include "conf/legacy.h"
#include "util/error.h"

#define RNG_DEFAULT_PATH "/dev/urandom"
#define VSOCK_CID_MIN    3u /* those below are the hypervisor's, the local and the host's */

static gboolean parse_emulator(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_free(def->emulator);
        def->emulator = xml_text(node);
        return !def->emulator || legacy_emulator(def, flags, err);
}

static const struct {
        const char *name;
        gboolean (*parse)(const xmlNode *node, DomainDef *def, guint flags, GError **err);
} families[] = {
        { "emulator", parse_emulator },    { "disk", domain_parse_disk },
        { "interface", domain_parse_nic }, { "serial", domain_parse_char },
        { "console", domain_parse_char },  { "channel", domain_parse_char },
        { "rng", domain_parse_rng },       { "controller", domain_parse_controller },
        { "vsock", domain_parse_vsock },
};

static gboolean parse_device(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        for (gsize i = 0; i < G_N_ELEMENTS(families); i++)
                if (xml_is(node, families[i].name))
                        return families[i].parse(node, def, flags, err);
        return TRUE;
}

gboolean domain_check_device_count(const xmlNode *devices, GError **err) {
        unsigned n = 0;
        XML_FOREACH (node, devices, NULL) {
                if (++n > DOMAIN_DEVICES_MAX) {
                        return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %u devices", DOMAIN_DEVICES_MAX);
                }
        }
        return TRUE;
}

gboolean domain_parse_devices(const xmlNode *devices, DomainDef *def, guint flags, GError **err) {
        XML_FOREACH (node, devices, NULL)
                if (!parse_device(node, def, flags, err))
                        return FALSE;
        return TRUE;
}

char *domain_parse_alias(const xmlNode *device, guint flags) {
        char *alias = xml_child_attr(device, "alias", "name");
        if (alias && (flags & DOMAIN_PARSE_STATUS) == 0 && !g_str_has_prefix(alias, "ua-"))
                g_clear_pointer(&alias, g_free);
        return alias;
}

gboolean domain_parse_boot_order(const xmlNode *device, guint *ret, GError **err) {
        return xml_attr_positive(xml_first(device, "boot"), "order", G_MAXUINT, ret, err);
}

static gboolean parse_rng_model(const xmlNode *node, GError **err) {
        static const char *const models[] = { "virtio", "virtio-non-transitional", "virtio-transitional", NULL };
        int model = -1;
        if (!xml_attr_enum(node, "model", models, &model, err))
                return FALSE;
        if (model < 0)
                error_set(err, VIR_ERR_XML_ERROR, "missing RNG device model");
        return model >= 0;
}

static gboolean parse_rng_backend(const xmlNode *node, DomainRng *rng, GError **err) {
        const xmlNode *backend = xml_first(node, "backend");
        g_autofree char *model = xml_attr(backend, "model");
        if (!backend || xml_next(backend, "backend") != NULL)
                error_set(err, VIR_ERR_XML_ERROR, "only one RNG backend is supported");
        else if (!model)
                error_set(err, VIR_ERR_XML_ERROR, "missing RNG device backend model");
        else if (strcmp(model, "random") != 0 && strcmp(model, "builtin") != 0)
                error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unknown RNG backend model '%s'", model);
        else {
                rng->backend_path = xml_text(backend);
                if (!rng->backend_path)
                        rng->backend_path = g_strdup(RNG_DEFAULT_PATH);
                return TRUE;
        }
        return FALSE;
}

/* The device of all virtio consoles and channels is the first virtio-serial controller. It is there if they are. */
gboolean domain_parse_controller(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        guint index = 0;
        if (!xml_attr_uint(node, "index", G_MAXUINT, &index, err))
                return FALSE;
        return index != 0 || domain_parse_pci_address(node, &def->ports_pci, err);
}

gboolean domain_parse_rng(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        g_autoptr(DomainRng) rng = g_new0(DomainRng, 1);
        const xmlNode *rate = xml_first(node, "rate");
        rng->model = g_strdup("virtio");
        if (!parse_rng_model(node, err) || !xml_attr_positive(rate, "bytes", G_MAXUINT, &rng->rate_bytes, err) ||
            !xml_attr_uint(rate, "period", G_MAXUINT, &rng->rate_period_ms, err) ||
            !parse_rng_backend(node, rng, err) || !domain_parse_pci_address(node, &rng->pci, err))
                return FALSE;
        if (def->rng) {
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "only one RNG device is supported");
        }
        rng->alias = domain_parse_alias(node, flags);
        def->rng = g_steal_pointer(&rng);
        return TRUE;
}

/* An address that was chosen by itself is the running domain's; in XML of a client it says nothing. */
gboolean domain_parse_vsock(const xmlNode *node, DomainDef *def, guint flags, GError **err) {
        static const char *const models[] = { "virtio", "virtio-non-transitional", "virtio-transitional", NULL };
        static const char *const answers[] = { "no", "yes", NULL };
        g_autoptr(DomainVsock) vsock = g_new0(DomainVsock, 1);
        const xmlNode *cid = xml_first(node, "cid");
        int model = -1, is_auto = -1;
        if (!xml_attr_enum(node, "model", models, &model, err) || !xml_attr_enum(cid, "auto", answers, &is_auto, err) ||
            !xml_attr_positive(cid, "address", G_MAXUINT, &vsock->cid, err) ||
            !domain_parse_pci_address(node, &vsock->pci, err))
                return FALSE;
        vsock->auto_cid = is_auto < 0 ? vsock->cid == 0 : is_auto == 1;
        if (vsock->auto_cid && (flags & DOMAIN_PARSE_STATUS) == 0)
                vsock->cid = 0;
        if (def->vsock)
                return error_set(err, VIR_ERR_XML_ERROR, "only a single vsock device is supported");
        if (vsock->cid != 0 && (vsock->cid < VSOCK_CID_MIN || vsock->cid == G_MAXUINT32))
                return error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "guest CIDs must be >= %u, and not %u", VSOCK_CID_MIN,
                                 G_MAXUINT32);
        vsock->alias = domain_parse_alias(node, flags);
        def->vsock = g_steal_pointer(&vsock);
        return TRUE;
}
