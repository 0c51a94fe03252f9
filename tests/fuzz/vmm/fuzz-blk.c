/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block device under a hostile driver. The image is small; it never grows.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include "dev/blk.h"
#include "fuzz-device.h"

#define IMAGE_SIZE 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct blk_config config = { .name = "vda", .serial = "fuzz", .discard = true };
        struct guest_mem *mem = fuzz_memory();
        struct virtio_device *dev;
        struct stat st;
        int check;

        config.fd = memfd_create("image", MFD_CLOEXEC);
        check = dup(config.fd);
        if (check < 0 || ftruncate(config.fd, IMAGE_SIZE) < 0 || blk_new(&config, &dev) < 0)
                abort();
        fuzz_run(dev, mem, data, size, NULL);
        dev->ops->free(dev);
        if (fstat(check, &st) < 0 || st.st_size != IMAGE_SIZE)
                abort();
        close_fd(&check);
        guest_mem_free(mem);
        return 0;
}
