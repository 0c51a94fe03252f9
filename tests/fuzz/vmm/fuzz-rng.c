/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entropy device under a hostile driver, with and without a rate limit.
 */
#include <fcntl.h>

#include "dev/rng.h"
#include "fuzz-device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct rng_config config = { .rate_bytes = size % 2 ? 4096 : 0, .rate_period = 1000 };
        struct guest_mem *mem = fuzz_memory();
        struct virtio_device *dev;

        config.fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        if (config.fd < 0 || rng_new(&config, &dev) < 0)
                abort();
        fuzz_run(dev, mem, data, size, NULL);
        dev->ops->free(dev);
        guest_mem_free(mem);
        return 0;
}
