/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the requests before START have put together: a configuration and devices.
 */
#pragma once

#include <stdbool.h>

#include "../board/devices.h"
#include "../board/vm.h"
#include "ctl.h"
#include "message.h"
#include "notes.h"

struct setup {
        struct vm_config config;
        bool has_machine;
        bool is_spent; /* START was tried */
        struct devices devices;
};

void setup_init(struct setup *setup, struct notes *notes);
void setup_done(struct setup *setup);

/*
 * Handles one checked request, CTL_SET_* or CTL_ADD_*, and takes the descriptors that it
 * uses out of the message. On error `text` gets a sentence.
 */
int setup_request(struct setup *setup, struct ctl_message *message, char text[static CTL_TEXT_MAX]);

/* Builds the VM and starts it. It can be tried once: what failed half-way is not undone. */
int setup_start(struct setup *setup, const struct vm_callbacks *callbacks, struct loop *control, bool paused,
                struct vm **ret, char text[static CTL_TEXT_MAX]);
