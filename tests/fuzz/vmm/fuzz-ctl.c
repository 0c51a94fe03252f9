/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control messages as a hostile peer would send them, to either side's check. Whatever
 * passes is read the way handlers do: every string of it has to end.
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

/* First byte: how many descriptors; the rest is the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct ctl_message *m;
        char text[CTL_TEXT_MAX];

        if (size < 1 || size - 1 > CTL_MESSAGE_MAX)
                return 0;
        m = calloc(1, sizeof(*m));
        if (!m)
                return 0;
        m->n_fds = data[0] % (CTL_FDS_MAX + 1);
        m->length = size - 1;
        memset(m->data, 'x', sizeof(m->data)); /* what an earlier packet left */
        memcpy(m->data, data + 1, size - 1);
        if (ctl_check(m, CTL_SENDER_DAEMON, text) == 0 || ctl_check(m, CTL_SENDER_MONITOR, text) == 0)
                use_strings(m);
        free(m);
        return 0;
}
