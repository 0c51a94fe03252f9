/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any text as a domain definition, as a daemon's own state file, as a metadata element, and as a device. Whatever
 * parses has to survive formatting: the text parses again, and to the same text. What the monitor would be told of it
 * passes the check that the monitor makes. A device that a definition accepts is found there, and gone when it is
 * removed.
 */
#include <glib.h>
#include <libvirt/libvirt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../vmm/ctl/message.h"
#include "conf/vmm_config.h"
#include "domain/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what, const char *first, const char *second) {
        (void) fprintf(stderr, "%s:\n%s\n%s\n", what, first, second);
        abort();
}

static void check_stable(const DomainDef *def, guint format_flags, guint parse_flags) {
        g_autoptr(GError) err = NULL;
        g_autofree char *first = domain_def_format(def, format_flags);
        g_autoptr(DomainDef) again = domain_def_parse(first, parse_flags, NULL, &err);
        if (again == NULL)
                fail("formatted, but not parsed", first, err->message);
        g_autofree char *second = domain_def_format(again, format_flags);
        if (!g_str_equal(first, second))
                fail("not stable", first, second);
}

/* As the monitor receives it; each of these types comes with at most one descriptor that has to be there. */
static void check_message(guint16 type, gconstpointer message, gsize length, guint n_fds) {
        g_autofree struct ctl_message *received = g_new0(struct ctl_message, 1);
        char text[CTL_TEXT_MAX];
        memcpy(received->data, message, length);
        ctl_header_init(&received->header, type, 1, length);
        if ((type >= CTL_ADD_DISK && type <= CTL_ADD_RNG) || type == CTL_ADD_VSOCK)
                ((struct ctl_rng *) received->data)->place.id = 1; /* a start gives it */
        received->length = length;
        received->n_fds = n_fds;
        if (ctl_check(received, CTL_SENDER_DAEMON, CTL_VERSION, text) != 0)
                fail("translated, but not understood", ctl_type_name(type), text);
}

static void check_config(const VmmConfig *config) {
        check_message(CTL_SET_MACHINE, &config->machine, sizeof(config->machine), 1);
        check_message(CTL_SET_CPU, &config->cpu, sizeof(config->cpu), 0);
        check_message(CTL_SET_CMDLINE, &config->cmdline, sizeof(config->cmdline), 0);
}

static void check_port(const DomainDef *def, const DomainChar *chr) {
        struct ctl_port port;
        if (domain_char_is_port(chr) && vmm_config_port(def, chr, &port, NULL))
                check_message(CTL_ADD_PORT, &port, sizeof(port), 1);
}

static void check_devices(const DomainDef *def) {
        struct ctl_disk disk;
        struct ctl_nic nic;
        struct ctl_rng rng;
        struct ctl_vsock vsock;
        for (guint i = 0; i < def->disks->len; i++) {
                vmm_config_disk(g_ptr_array_index(def->disks, i), &disk);
                check_message(CTL_ADD_DISK, &disk, sizeof(disk), 1);
        }
        for (guint i = 0; i < def->nics->len; i++) {
                vmm_config_nic(g_ptr_array_index(def->nics, i), &nic);
                check_message(CTL_ADD_NIC, &nic, sizeof(nic), 1);
        }
        for (guint i = 0; i < def->chars->len; i++)
                check_port(def, g_ptr_array_index(def->chars, i));
        if (def->rng) {
                vmm_config_rng(def->rng, &rng);
                check_message(CTL_ADD_RNG, &rng, sizeof(rng), 1);
        }
        if (def->vsock && def->vsock->cid != 0) { /* else the start chooses one */
                vmm_config_vsock(def->vsock, &vsock);
                check_message(CTL_ADD_VSOCK, &vsock, sizeof(vsock), 1);
        }
}

static void use_definition(const DomainDef *def, guint flags) {
        g_autoptr(DomainDef) copy = domain_def_copy(def);
        g_autofree VmmConfig *config = g_new0(VmmConfig, 1);
        check_stable(copy, DOMAIN_FORMAT_INACTIVE,
                     (flags & DOMAIN_PARSE_STATUS) != 0 ? DOMAIN_PARSE_OWN : DOMAIN_PARSE_REJECT_LEGACY);
        check_stable(copy, DOMAIN_FORMAT_STATUS, DOMAIN_PARSE_STATUS);
        (void) domain_def_check_startable(copy, NULL);
        if (!vmm_config_from_def(copy, config, NULL))
                return;
        check_config(config);
        check_devices(copy);
}

static void use_metadata(const char *text) {
        g_autoptr(DomainDef) def = domain_def_parse("<domain type='kvm'><name>fuzz</name><memory>65536</memory><os>"
                                                    "<type>hvm</type></os></domain>",
                                                    0, NULL, NULL);
        for (int i = 0; i < 2; i++) {
                g_autofree char *read = NULL;
                if (!domain_def_set_metadata(def, VIR_DOMAIN_METADATA_ELEMENT, text, "k", "urn:fuzz", NULL))
                        continue;
                read = domain_def_get_metadata(def, VIR_DOMAIN_METADATA_ELEMENT, "urn:fuzz", NULL);
                g_assert_nonnull(read);
                check_stable(def, DOMAIN_FORMAT_STATUS, DOMAIN_PARSE_STATUS);
        }
        (void) domain_def_set_metadata(def, VIR_DOMAIN_METADATA_TITLE, text, NULL, NULL, NULL);
        (void) domain_def_set_metadata(def, VIR_DOMAIN_METADATA_DESCRIPTION, text, NULL, NULL, NULL);
        check_stable(def, DOMAIN_FORMAT_STATUS, DOMAIN_PARSE_STATUS);
}

static void use_device(const char *text, guint flags) {
        g_autoptr(GError) err = NULL;
        g_autoptr(DomainDevice) device = domain_device_parse(text, flags, &err);
        g_assert_true((device == NULL) == (err != NULL));
        if (device == NULL)
                return;
        const DeviceKind *kind = device_kind_of(device);
        g_autoptr(DomainDef) def = domain_def_parse("<domain type='kvm'><name>fuzz</name><memory>65536</memory><os>"
                                                    "<type>hvm</type></os></domain>",
                                                    0, NULL, NULL);
        guint index = G_MAXUINT;
        g_assert_false(kind->find(def, device, &index, NULL));
        if (!kind->check(def, device, VIR_ERR_OPERATION_INVALID, NULL))
                return;
        g_autofree char *before = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        kind->insert(def, device);
        if (!kind->find(def, device, &index, &err))
                fail("attached, but not found", text, err->message);
        g_autoptr(DomainDef) complete = domain_def_copy(def);
        if (domain_def_complete_devices(complete, flags, NULL))
                use_definition(complete, flags);
        kind->remove(def, index);
        g_autofree char *after = domain_def_format(def, DOMAIN_FORMAT_STATUS);
        if (!g_str_equal(before, after))
                fail("attached and detached", before, after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const guint flags[] = { 0, DOMAIN_PARSE_STATUS, DOMAIN_PARSE_REJECT_LEGACY };
        g_autofree char *text = g_strndup((const char *) data, size);
        for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
                g_autoptr(GError) err = NULL;
                g_autoptr(DomainDef) def = domain_def_parse(text, flags[i], NULL, &err);
                g_assert_true((def == NULL) == (err != NULL));
                if (def != NULL)
                        use_definition(def, flags[i]);
        }
        use_metadata(text);
        use_device(text, 0);
        use_device(text, DOMAIN_PARSE_REJECT_LEGACY);
        use_device(text, DOMAIN_PARSE_PARTIAL);
        return 0;
}
