/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The network device under a hostile driver; frames of all sizes arrive from outside.
 * The device's source is included to reach its handler of incoming frames.
 */
#include <sys/socket.h>

#include "dev/net.c"

#include "fuzz-device.h"

static int wire; /* the other end of the cable */

static void incoming(struct virtio_device *dev) {
        static const unsigned sizes[] = { 3, 12, 13, 60, 1514, 9000, 65000 };
        static uint8_t frame[65000];

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
                (void) !send(wire, frame, sizes[i], MSG_DONTWAIT);
        net_receive((struct net *) dev);
        while (recv(wire, frame, sizeof(frame), MSG_DONTWAIT) > 0)
                ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct net_config config = { .name = "tap0", .vhost_fd = -EBADF, .link_up = true };
        struct guest_mem *mem = fuzz_memory();
        struct virtio_device *dev;
        int fds[2], room = 1 << 20;

        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
            setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0)
                abort();
        config.tap_fd = fds[0];
        wire = fds[1];
        if (net_new(&config, &dev) < 0)
                abort();
        fuzz_run(dev, mem, data, size, incoming);
        dev->ops->free(dev);
        close_fd(&fds[1]);
        guest_mem_free(mem);
        return 0;
}
