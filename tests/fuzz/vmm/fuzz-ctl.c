/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control messages as a hostile peer would send them, checked as either side does. What passes is read as handlers read
 * it: every string has to end.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_strings(const struct ctl_message *m) {
        size_t n = 0;

        switch (m->header.type) {
        case CTL_SET_MACHINE:
                n = strlen(((const struct ctl_machine *) m->data)->name);
                break;
        case CTL_SET_CMDLINE:
                n = strlen(((const struct ctl_cmdline *) m->data)->text);
                break;
        case CTL_ADD_DISK:
                n = strlen(((const struct ctl_disk *) m->data)->name);
                n += strlen(((const struct ctl_disk *) m->data)->serial);
                break;
        case CTL_ADD_PORT:
                n = strlen(((const struct ctl_port *) m->data)->name);
                break;
        default:
                if (m->header.type & CTL_REPLY)
                        n = strlen(((const struct ctl_reply *) m->data)->text);
        }
        if (n > m->length)
                abort();
}

/* Once checked, a message fits its own version again, and it is what it was. */
static void send_back(const struct ctl_message *m, uint32_t version, const uint8_t *packet, size_t length) {
        struct ctl_message out = *m;
        char text[CTL_TEXT_MAX];

        if (ctl_fit(&out.header, version, out.n_fds, text) < 0 || out.header.length != length)
                abort();
        if (out.header.type != CTL_HELLO && out.header.type != (CTL_HELLO | CTL_REPLY) &&
            memcmp(out.data, packet, length) != 0)
                abort();
}

static void judge(const uint8_t *data, size_t size, struct ctl_message *m, enum ctl_sender sender, uint32_t version) {
        char text[CTL_TEXT_MAX];

        m->n_fds = data[0] % (CTL_FDS_MAX + 1);
        m->length = size - 1;
        memset(m->data, 'x', sizeof(m->data)); /* what an earlier packet left */
        memcpy(m->data, data + 1, size - 1);
        if (ctl_check(m, sender, version, text) < 0)
                return;
        use_strings(m);
        send_back(m, version, data + 1, size - 1);
}

/* First byte: how many descriptors; the rest is the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct ctl_message *m;

        if (size < 1 || size - 1 > CTL_MESSAGE_MAX)
                return 0;
        m = calloc(1, sizeof(*m));
        if (!m)
                return 0;
        for (uint32_t version = CTL_VERSION_MIN; version <= CTL_VERSION; version++) {
                judge(data, size, m, CTL_SENDER_DAEMON, version);
                judge(data, size, m, CTL_SENDER_MONITOR, version);
        }
        free(m);
        return 0;
}
