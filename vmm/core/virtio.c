/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all virtio devices share and no transport owns: how a violation by the guest is
 * handled. It is counted, logged at a bounded rate, and the device asks to be reset
 * (virtio 1.2 §2.1.2); host and monitor go on.
 *
 * Called on the device's loop.
 */
#include "virtio.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_BYTES 256u

void virtio_device_fail(struct virtio_device *dev, const char *format, ...) {
        char text[TEXT_BYTES];
        va_list args;

        va_start(args, format);
        (void) vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        dev->live = false;
        log_guest_error(&dev->guest_errors, dev->name, "%s", text);
        if (dev->transport)
                dev->transport->needs_reset(dev);
}
